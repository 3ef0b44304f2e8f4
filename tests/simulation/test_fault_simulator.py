"""The fault simulator itself: the same in every process, quiet on a sound network, and short when it fails."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from random import SystemRandom
from typing import Any

import pytest

from simulations.auditor import audit_promises, network_in_memory
from simulations.faults import run, world
from simulations.faults.clients import Clients
from simulations.faults.plan import RUNNING, Plan, draw
from simulations.faults.shrinking import shortened
from simulations.faults.stage import Stage
from simulations.faults.story import story

SEED = 2020
SCHEDULES, MANY_SCHEDULES = 5000, 25_000
ALIKE = [n for n in range(100) if n < 10 or any(fault.detail == RUNNING for fault in draw(SEED, n).faults)]
"""Schedules that are played twice: the first, and those with a restore under a running party, which ends many tasks."""


@pytest.fixture(autouse=True, scope="module")
def _prepared() -> None:
    run.prepare()


@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("schedules", [SCHEDULES, pytest.param(MANY_SCHEDULES, marks=pytest.mark.long)])
def test_every_schedule_of_a_seed_keeps_all_invariants(schedules: int) -> None:
    summary = run.simulate(SEED, schedules, workers=os.cpu_count() or 1)
    found = [f"quanlian simulate --faults --seed {SEED} --schedule {each.schedule}" for each in summary.failures]
    assert not summary.failed, "\n".join(found)
    assert summary.schedules == schedules
    assert summary.answers > schedules, "the schedules do something"
    assert summary.commits > 10 * schedules


def test_a_schedule_has_the_same_trace_on_every_run() -> None:
    assert len(ALIKE) > 15
    assert [world.play(draw(SEED, n)).digest for n in ALIKE] == [world.play(draw(SEED, n)).digest for n in ALIKE]


def test_tasks_that_end_together_end_alike_wherever_they_lie_in_memory() -> None:
    """A group of tasks cancels them in the order of a set: by address, were they not numbered."""

    async def ended() -> list[int]:
        order: list[int] = []
        lying_between = []

        async def wait(number: int) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                order.append(number)

        async def run_together() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(20):
                    group.create_task(wait(number))
                    lying_between.append([bytearray(SystemRandom().randrange(1, 2000)) for _ in range(20)])

        together = asyncio.create_task(run_together())
        await asyncio.sleep(1)
        together.cancel()
        await asyncio.wait([together])
        return order

    orders = [Stage("alike", ("310000",)).play(ended()) for _ in range(2)]
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == list(range(20))


def test_a_schedule_has_the_same_trace_in_another_process_with_another_hash_seed() -> None:
    code = (
        "from simulations.faults import run; from simulations.faults.plan import draw; "
        "from simulations.faults.world import play; run.prepare(); "
        f"print(*[play(draw({SEED}, n)).digest for n in {ALIKE}])"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("1", "2")
    }
    assert digests == {" ".join(world.play(draw(SEED, n)).digest for n in ALIKE)}


def test_what_comes_out_does_not_depend_on_the_number_of_workers() -> None:
    assert (
        run.as_json(run.simulate(SEED, 60, 1))["trace_digest"] == run.as_json(run.simulate(SEED, 60, 2))["trace_digest"]
    )


def test_a_schedule_neither_sleeps_nor_starts_threads_nor_opens_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("a simulated schedule did what it must not")

    monkeypatch.setattr(time, "sleep", forbidden)
    monkeypatch.setattr(threading.Thread, "start", forbidden)
    monkeypatch.setattr(socket, "socket", forbidden)
    for schedule in range(5):
        assert not world.play(draw(SEED, schedule)).violations


def test_different_schedules_differ() -> None:
    assert len({world.play(draw(SEED, n)).digest for n in range(10)}) == 10


def test_schedules_have_every_kind_of_fault_and_of_operation() -> None:
    plans = [draw(SEED, n) for n in range(300)]
    assert {fault.kind for plan in plans for fault in plan.faults} == {
        "cut",
        "slow",
        "mishap",
        "crash",
        "commit",
        "clock",
        "restore",
    }
    assert {step.kind for plan in plans for step in plan.operations} == {
        "claim",
        "redeem",
        "authorize",
        "capture",
        "void",
        "reverse",
        "refund",
        "again",
        "recall",
        "close-window",
        "pause",
        "suspend",
        "amend",
    }


def test_a_failing_plan_is_shortened_to_the_steps_that_matter() -> None:
    plan = draw(SEED, 1)
    wanted = (plan.operations[1], plan.faults[0])

    def fails(candidate: Plan) -> bool:
        return wanted[0] in candidate.operations and wanted[1] in candidate.faults

    short = shortened(plan, fails)
    assert (short.operations, short.faults) == ((wanted[0],), (wanted[1],))


def test_a_story_names_seed_plan_and_outcome() -> None:
    plan = draw(SEED, 3)
    lines = story(plan, world.play(plan, tell=True))
    assert lines[0].startswith(f"种子/场次 Seed/schedule {SEED}/3")
    assert sum("step " in line for line in lines) >= len(plan.operations)
    assert lines[-1].strip().startswith("✓")


def test_every_message_that_passes_can_be_told() -> None:
    for plan in (draw(SEED, n) for n in range(60)):
        assert story(plan, world.play(plan, tell=True))


@pytest.mark.parametrize(
    ("tampering", "finding"),
    [
        ("DELETE FROM request", "was answered, and the database has no such request"),
        ("UPDATE request SET answer = x'00'", "was answered otherwise than the database says"),
        ("DELETE FROM pack", "the shopper has a pack that the database does not know"),
        (
            "UPDATE account SET reserved_fen = reserved_fen + 1 WHERE account LIKE 'funding/%'",
            "reserved_fen of account",
        ),
        ("UPDATE settlement_window SET net_fen = net_fen + 1", "net"),
    ],
)
def test_the_auditor_sees_what_a_node_lost_or_changed(
    tampering: str, finding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tampered(stage: Stage, clients: Clients, restores: object) -> list[str]:
        node = stage.machine(stage.regions[0]).disk.connection
        node.execute(tampering)
        books = network_in_memory({name: stage.machine(name).disk.connection for name in stage.parties})
        checks = audit_promises(books, clients.promises, clients.promises)
        return [each for check in checks for each in check.findings if check.examined]

    monkeypatch.setattr(world, "_audited", tampered)
    plan = next(
        plan
        for plan in (draw(SEED, n) for n in range(200))
        if plan.settles and any(step.kind == "claim" and step.region == plan.regions[0] for step in plan.operations)
    )
    violations = world.play(replace(plan, faults=())).violations
    assert any(finding in each for each in violations), violations


def test_the_command_replays_one_schedule_as_data() -> None:
    command = [sys.executable, "-m", "chassis", "simulate", "--faults", "--seed", "5", "--schedule", "2", "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert (told["seed"], told["schedule"]) == (5, 2)
    assert told["violations"] == []
    assert len(told["digest"]) == 32


def test_the_command_says_what_to_give_it() -> None:
    ended = subprocess.run([sys.executable, "-m", "chassis", "simulate"], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "give --faults" in ended.stderr
