"""One schedule from its plan to the auditor's word: the storm, the healing, what must finish, and what must be true."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from functools import cache, partial
from itertools import chain
from typing import Any, NamedTuple

from pki.identity import CLEARINGHOUSE
from simulations.auditor import Promise, audit_promises, network_in_memory, posting_of, redemption_of
from simulations.faults.clients import CALL_SECONDS, Clients
from simulations.faults.machines import Machine
from simulations.faults.network import Link, Mishap
from simulations.faults.opening import HOLD_SECONDS, Opening, opening
from simulations.faults.plan import RUNNING, STORM_SECONDS, Fault, Plan
from simulations.faults.stage import Stage
from simulations.faults.storage import Copy, CrashPoint
from simulations.faults.trace import Trace

LOOK_SECONDS = 0.2
FINISH_SECONDS = 90.0
"""How long after the storm everything pending may take, in virtual time."""


class Result(NamedTuple):
    """What came of a schedule: `violations` is empty if everything that must hold does.

    `seconds` is processor time, `names` tells what ids in the trace's messages stand for, where a story was asked for.
    """

    violations: tuple[str, ...]
    digest: str
    seconds: float
    commits: int
    answers: int
    trace: Trace
    names: dict[bytes, str]


def play(plan: Plan, tell: bool = False) -> Result:
    """Play a plan. The same plan gives the same trace, in any process. `tell` keeps what its story is made of."""
    began = time.process_time()
    ready = opening(plan.regions)
    stage = Stage(plan.seed, plan.regions, tell)
    for name in stage.parties:
        stage.machine(name).disk.begin(ready.databases[name])
        stage.machine(name).beside.mark = ready.marks[name]
    world = _World(stage, plan, ready)
    stage.start()
    stage.play(world.story())
    violations = [*world.violations, *stage.faults, *world.clients.broken_calls]
    if not violations:
        violations += _audited(stage, world.clients, world.restores)
    return Result(
        tuple(violations),
        stage.trace.digest,
        time.process_time() - began,
        sum(stage.machine(name).commits for name in stage.parties),
        len(world.clients.promises),
        stage.trace,
        _names(stage, world.clients) if tell else {},
    )


def _names(stage: Stage, clients: Clients) -> dict[bytes, str]:
    """What a story calls the ids of requests, redemptions and packs."""
    names = clients.names()
    for region in stage.regions:
        connection = stage.machine(region).disk.connection
        for own_id, request_id in connection.execute("SELECT own_id, request_id FROM outbox"):
            names[own_id] = names.get(request_id, own_id.hex()[-6:])
    for name in stage.parties:
        query = "SELECT redemption_id, request_id FROM request WHERE redemption_id IS NOT NULL ORDER BY rowid DESC"
        for redemption_id, request_id in stage.machine(name).disk.connection.execute(query):
            names[redemption_id] = f"redemption of {names.get(request_id, request_id.hex()[-6:])}"
    return names


def _audited(stage: Stage, clients: Clients, restores: Sequence[Restore]) -> list[str]:
    connections = {name: stage.machine(name).disk.connection for name in stage.parties}
    books = network_in_memory(connections, restored={each.party for each in restores})
    known = set(books.clearinghouse.redemptions)
    promises = [
        each
        for each in clients.promises
        if each.request_id in clients.booked_again.get(each.region, ()) or not _may_be_lost(each, known, restores)
    ]
    posted = [each for each in promises if not _may_be_taken_back(each, restores)]
    suspended = [each for each in clients.suspended if not any(back.party == each.issuer for back in restores)]
    checks = audit_promises(books, promises, posted, suspended)
    return [f"{check.name}: {finding}" for check in checks for finding in check.findings if check.examined]


class Restore(NamedTuple):
    """A party's database was set back; what that party alone recorded between the two moments nobody else has."""

    party: str
    copied_at: float
    at: float


def _may_be_lost(promise: Promise, known: Collection[bytes], restores: Sequence[Restore]) -> bool:
    """Whether whoever knew of it lost it: its node, and the clearinghouse too if it was decided there."""
    decided_at_home = redemption_of(promise) not in known
    return _lost(promise, promise.region, restores) and (decided_at_home or _lost(promise, CLEARINGHOUSE, restores))


def _may_be_taken_back(promise: Promise, restores: Sequence[Restore]) -> bool:
    """Whether two of the three parties to a posting lost it: the clearinghouse, and the issuer or the redeemer."""
    posting = posting_of(promise)
    regions = {posting.issuer, posting.redeeming_region} if posting else set()
    return _lost(promise, CLEARINGHOUSE, restores) and any(_lost(promise, each, restores) for each in regions)


def _lost(promise: Promise, party: str, restores: Sequence[Restore]) -> bool:
    """Whether a party's database was set back to before a promise was made."""
    return any(each.party == party and each.copied_at < promise.at < each.at + CALL_SECONDS for each in restores)


class _World:
    def __init__(self, stage: Stage, plan: Plan, ready: Opening) -> None:
        self.violations: list[str] = []
        self.restores: list[Restore] = []
        self._healed = False
        self.clients = Clients(stage, plan, ready.tokens)
        self._stage, self._plan = stage, plan

    async def story(self) -> None:
        self.clients.start()
        for fault in self._plan.faults:
            self._stage.loop.call_at(fault.at, self._strike, fault)
        await asyncio.sleep(STORM_SECONDS)
        self._heal()
        await self._all_finishes()

    # Faults

    def _strike(self, fault: Fault) -> None:
        network, say = self._stage.network, self._tell
        if fault.kind in ("crash", "commit", "clock", "restore"):
            self._strike_machine(fault)
        elif fault.link is not None and fault.kind == "mishap":
            network.befall(fault.link, Mishap(fault.detail))
        elif fault.link is not None and fault.kind == "slow":
            late = float(fault.detail)
            say("fault {}: from {} to {} every message takes {} s longer", fault.number, *fault.link, late)
            network.slow(fault.link, late)
            self._stage.loop.call_later(fault.seconds, network.slow, fault.link, -late)
        elif fault.link is not None:
            say("fault {}: nothing gets from {} to {}, {}", fault.number, *fault.link, fault.detail)
            links = [fault.link]
            if fault.detail == "both ways":
                links.append(Link(fault.link.target, fault.link.source))
            for link in links:
                network.cut(link)
                self._stage.loop.call_later(fault.seconds, network.mend, link)

    def _strike_machine(self, fault: Fault) -> None:
        machine = self._stage.machine(fault.party)
        if fault.kind == "crash":
            machine.crash(fault.seconds)
        elif fault.kind == "commit":
            machine.crash_points.append((CrashPoint(fault.detail), fault.seconds))
        elif fault.kind == "restore":
            copied_at, backup = self._stage.loop.time(), machine.disk.copy()
            restore = partial(self._restore, machine, copied_at, backup, self._windows(), fault.detail == RUNNING)
            self._stage.loop.call_later(fault.seconds, restore)
        else:
            machine.offset_seconds += int(fault.seconds)
            machine.say("has its clock jump by {} s", int(fault.seconds))

    def _restore(self, machine: Machine, copied_at: float, backup: Copy, windows: int, running: bool) -> None:
        """Set a database back and have it recovered; the clearinghouse's backups are from after its last close."""
        if self._healed or (machine.name == CLEARINGHOUSE and windows != self._windows()):
            return
        machine.restore(backup, running)
        self.restores.append(Restore(machine.name, copied_at, self._stage.loop.time()))
        self.clients.have_recovered(machine.name)

    def _windows(self) -> int:
        connection = self._stage.machine(CLEARINGHOUSE).disk.connection
        (count,) = connection.execute("SELECT COUNT(*) FROM settlement_window").fetchone()
        return int(count)

    def _heal(self) -> None:
        """No fault lasts; clocks agree again, late enough that every hold has passed."""
        stage, self._healed = self._stage, True
        self._tell("everything heals; every clock is set past the holds")
        stage.network.heal()
        machines = [stage.machine(name) for name in stage.parties]
        offset = max(0, *(machine.offset_seconds for machine in machines)) + HOLD_SECONDS
        for machine in machines:
            machine.crash_points.clear()
            machine.offset_seconds = offset
            machine.start()

    def _tell(self, words: str, *details: Any) -> None:
        self._stage.trace.add(self._stage.loop.time(), "", words, *details)

    # What must finish

    async def _all_finishes(self) -> None:
        if not await self._finished(self._pending_requests):
            return
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                if self._plan.settles:
                    await self.clients.close_window()
                    await self._settle()
                if self._plan.asks_again:
                    await self.clients.ask_again()
        except TimeoutError:
            self.violations.append("settling or asking again did not come to an end")
        await self._finished(self._pending_news)

    async def _settle(self) -> None:
        """Take every closed window to its end, as soon as all regions have confirmed it."""
        connection = self._stage.machine(CLEARINGHOUSE).disk.connection
        query = "SELECT number FROM settlement_window WHERE state <> 'OPEN' ORDER BY number"
        for (number,) in connection.execute(query).fetchall():
            state = "SELECT state FROM settlement_window WHERE number = ?"
            while connection.execute(state, (number,)).fetchone()[0] not in ("CONFIRMED", "INSTRUCTED", "SETTLED"):
                await asyncio.sleep(LOOK_SECONDS)
            await self.clients.settle(number)

    async def _finished(self, pending: Any) -> bool:
        """Wait until nothing is pending; whether that came in time."""
        deadline = self._stage.loop.time() + FINISH_SECONDS
        while left := pending():
            if self._stage.loop.time() > deadline:
                self.violations += [f"not finished {FINISH_SECONDS:.0f} s after the storm: {each}" for each in left]
                return False
            await asyncio.sleep(LOOK_SECONDS)
        return True

    def _pending_requests(self) -> list[str]:
        waiting = [
            f"step {number}, {request.operation.kind} has no answer"
            for number, request in self.clients.requests.items()
            if not request.done.is_set()
        ]
        waiting += [f"{party} is not recovered" for party in self.clients.recovering]
        return waiting or [each for name in self._stage.parties for each in self._pending_at(name)]

    def _pending_at(self, name: str) -> list[str]:
        """What a party's database says is under way."""
        machine = self._stage.machine(name)
        questions: dict[str, tuple[str, tuple[Any, ...]]] = {
            "holds that have passed": ("redemption WHERE state = 'AUTHORIZED' AND expires_at <= ?", (machine.now(),)),
        }
        if name != CLEARINGHOUSE:
            questions["requests without the clearinghouse's answer"] = ("outbox WHERE answered = 0", ())
            questions["hand-overs that were not taken"] = ("hand_over WHERE taken = 0", ())
            questions["changes that were not announced"] = ("announcement WHERE announced = 0", ())
            told = "(SELECT COALESCE(MAX(value), 0) FROM counter WHERE name = 'suspensions-announced')"
            questions["suspensions that were not announced"] = (
                f"suspension WHERE authority = ? AND number > {told}",
                (name,),
            )
        return self._counted(name, questions)

    def _pending_news(self) -> list[str]:
        connection = self._stage.machine(CLEARINGHOUSE).disk.connection
        told = dict(connection.execute("SELECT name, value FROM counter WHERE name LIKE 'feed/%'").fetchall())
        found = []
        for region in self._stage.regions:
            heard = (
                self._stage.machine(region)
                .disk.connection.execute("SELECT value FROM counter WHERE name = 'feed'")
                .fetchone()
            )
            if (heard[0] if heard else 0) != told.get(f"feed/{region}", 0):
                found.append(f"{region} has not heard all news of the clearinghouse")
            found += self._counted(region, {"windows not confirmed": ("settlement_window WHERE confirmed = 0", ())})
        return found

    def _counted(self, name: str, questions: dict[str, tuple[str, tuple[Any, ...]]]) -> list[str]:
        connection = self._stage.machine(name).disk.connection
        wheres, parameters = zip(*questions.values(), strict=True)
        counts = connection.execute(_counting(wheres), [*chain.from_iterable(parameters)]).fetchone()
        return [f"{name} has {count} {what}" for what, count in zip(questions, counts, strict=True) if count]


@cache
def _counting(wheres: tuple[str, ...]) -> str:
    """One statement for several counts, in their order."""
    return "SELECT " + ", ".join(f"(SELECT COUNT(*) FROM {where})" for where in wheres)
