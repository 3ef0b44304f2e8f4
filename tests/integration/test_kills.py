"""Parties and PostgreSQL itself die by SIGKILL at random moments under load; after each every invariant is checked.

The short run kills five times, the long one a hundred times, everybody in turns whose order is drawn; which party, on
which database and at which moment is written down, kill by kill, in `.pytest_cache/d/kills/`; the seed
`QUANLIAN_KILL_SEED` draws the same victims and rests again.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest
from load_under_kills import SHANGHAI, Load, Traffic
from network_processes import living
from own_postgresql import Server, own_server

from quanlian.refusals import RefusalReason
from simulations.auditor import Party, Promise, audit
from simulations.demo import opening, settling, shopping
from simulations.demo.client import Clients
from simulations.demo.network import Network
from simulations.demo.plan import HANGZHOU, Plan
from simulations.demo.run import examine
from simulations.demo.setting import CLEARINGHOUSE
from simulations.demo.stage import Stage, answer_of

POSTGRESQL = "postgresql"
EVERYBODY = [POSTGRESQL, CLEARINGHOUSE, HANGZHOU, SHANGHAI]
SEED = int(os.environ.get("QUANLIAN_KILL_SEED", "41"))
REST_SECONDS = (0.2, 1.5)
"""Between a recovery and the next kill."""

HONEST = {"ISSUER_UNREACHABLE", "NOT_IN_CUSTODY"}
"""Somebody was down: an answer that is true and final for its id."""


@pytest.fixture
def server() -> Iterator[Server]:
    with own_server() as made:
        yield made


class Kill(NamedTuple):
    """What died, on which database, and how long after the load began."""

    victim: str
    database: str
    second: float
    answered: int


@dataclass
class Killer:
    """Kills at random moments, starts again what it killed, and has every book examined; `count` times."""

    network: Network
    victims: list[str]
    count: int
    server: Server | None
    record: Path
    draw: random.Random
    answered: int = 0
    kills: list[Kill] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Traffic)
    told: Callable[[], list[Promise]] = list
    """What platforms were answered so far."""

    def progressed(self, answers: int) -> None:
        self.answered += answers

    async def run(self) -> None:
        began, database = time.monotonic(), POSTGRESQL if self.server else "sqlite"
        drawn: list[str] = []
        for _ in range(self.count):
            await asyncio.sleep(self.draw.uniform(*REST_SECONDS))
            drawn = drawn or self.draw.sample(self.victims, len(self.victims))
            victim = drawn.pop()
            self._note(Kill(victim, database, round(time.monotonic() - began, 2), self.answered))
            if victim == POSTGRESQL:
                assert self.server is not None
                await asyncio.to_thread(self.server.kill)
                await asyncio.to_thread(self.server.start)
            else:
                await asyncio.to_thread(self.network.kill, victim)
                await asyncio.to_thread(self.network.start, victim)
            async with self.traffic.held():
                await asyncio.to_thread(self._examine, victim, self.told())

    def _examine(self, victim: str, promises: list[Promise]) -> None:
        """What nodes have still to hear by their feeds may be under way, nothing else; whatever was answered stands."""
        network = self.network
        parties = [Party(party, network.party_url(party), network.party_schema(party)) for party in network.parties]
        checks = audit(parties, quiescent=False, promises=promises)
        found = {each.name: each.findings for each in checks if each.findings}
        assert not found, f"after the death of {victim}, number {len(self.kills)}: {found}"
        assert {"caps_kept", "promises_kept"} <= {each.name for each in checks}

    def _note(self, kill: Kill) -> None:
        """Before it is done, so that a run that breaks off has it too."""
        self.kills.append(kill)
        with self.record.open("a", encoding="utf-8") as file:
            file.write(",".join(map(str, (len(self.kills), *kill))) + "\n")


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Path:
    """Where the kills of a test are written down, kept until its next run."""
    path = request.config.cache.mkdir("kills") / f"{request.node.name}.csv"
    path.write_text(f"# QUANLIAN_KILL_SEED={SEED}\nnumber,{','.join(Kill._fields)}\n", encoding="utf-8")
    return path


def test_five_kills_under_load(server: Server, tmp_path: Path, record: Path) -> None:
    _survive(Network(tmp_path / "network", server.url), server, EVERYBODY, 5, record)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_hundred_kills_on_postgresql(server: Server, tmp_path: Path, record: Path) -> None:
    _survive(Network(tmp_path / "network", server.url), server, EVERYBODY, 100, record)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_hundred_kills_on_sqlite(tmp_path: Path, record: Path) -> None:
    _survive(Network(tmp_path / "network"), None, [CLEARINGHOUSE, HANGZHOU, SHANGHAI], 100, record)


def _survive(network: Network, server: Server | None, victims: list[str], count: int, record: Path) -> None:
    killer = Killer(network, victims, count, server, record, random.Random(SEED))
    try:
        asyncio.run(_live_through(network, killer))
    finally:
        print(f"{record}:\n{record.read_text(encoding='utf-8')}")
    assert len(killer.kills) == count
    assert living(network.directory) == []


async def _live_through(network: Network, killer: Killer) -> None:
    fingerprint = network.create(int(time.time()))
    with network.running():
        async with Clients(network) as clients:
            stage = Stage(network, clients, Plan(SEED, 40 + 20 * killer.count))
            await opening.admit(stage, fingerprint)
            await opening.publish(stage, int(time.time()))
            stage.vouchers = await shopping.claim(stage, stage.plan.claims(stage.terms))
            killing = asyncio.create_task(killer.run())
            killer.told = lambda: clients.promises
            load = Load(stage, killer.traffic, killer.progressed, killing)
            await asyncio.gather(*(load.redeem_at(region) for region in load.left), load.claim())
            await killing
            await settling.settle(stage)
            again = await load.ask_again()
            await shopping.quiet(stage)
    assert again == load.answers, "a repeated request got another answer"
    _check(network, load, clients.promises)


def _check(network: Network, load: Load, promises: list[Promise]) -> None:
    read = [answer_of(load.answers[id]) for id in load.purchases]
    refused = {RefusalReason(each.refusal.reason).name for each in read if each.HasField("refusal")}
    assert refused <= HONEST, refused
    accepted = [each.redemption_id for each in read if not each.HasField("refusal")]
    assert len(set(accepted)) == len(accepted) > len(read) // 2
    _, checks = examine(network, promises)
    assert [check.findings for check in checks if not check.holds] == []
