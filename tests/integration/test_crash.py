"""A party dies by SIGKILL in the middle of the stream: nothing acknowledged is lost, nothing happens twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa
from network_processes import living

from quanlian.refusals import RefusalReason
from quanlian.v1 import redemption_pb2
from quanlian.wire import request_id_of
from simulations.demo import opening, settling, shopping
from simulations.demo.client import Clients
from simulations.demo.network import Network
from simulations.demo.plan import HANGZHOU, JINCHENG, Plan
from simulations.demo.run import examine
from simulations.demo.setting import CLEARINGHOUSE
from simulations.demo.stage import Stage, answer_of

SEED, SHOPPERS = 11, 100
SHANGHAI = "310000"
BEFORE_THE_CRASH = 20
"""Answers that have come when the party is killed."""

TRANSIENT = {"ISSUER_UNREACHABLE", "NOT_IN_CUSTODY"}
"""Somebody could not be reached while he was down: an honest answer, to be tried with a new id."""


@dataclass
class Crash:
    """Kills `party` once enough answers have come and others have not; starts it again when told."""

    network: Network
    party: str
    total: int
    answered: int = 0
    open_when_killed: int = 0
    killed: asyncio.Event = field(default_factory=asyncio.Event)

    def count(self, answers: int) -> None:
        self.answered += answers
        if self.answered >= BEFORE_THE_CRASH and not self.killed.is_set():
            self.network.kill(self.party)
            self.open_when_killed = self.total - self.answered
            self.killed.set()

    async def recover(self) -> None:
        await self.killed.wait()
        await asyncio.to_thread(self.network.start, self.party)


@pytest.mark.parametrize(
    ("party", "backend"),
    [
        (CLEARINGHOUSE, "sqlite"),
        (CLEARINGHOUSE, "postgresql"),
        (SHANGHAI, "sqlite"),
        (HANGZHOU, "sqlite"),
        (HANGZHOU, "postgresql"),
    ],
    ids=lambda value: {CLEARINGHOUSE: "clearinghouse", SHANGHAI: "redeeming-node", HANGZHOU: "issuing-node"}.get(
        value, value
    ),
)
def test_a_killed_party_comes_back_to_the_same_answers_and_sound_books(
    party: str, backend: str, tmp_path: Path, network_database: Callable[[str], str]
) -> None:
    network = Network(tmp_path / "network", network_database(backend))
    asyncio.run(_live_through(network, party))
    assert living(network.directory) == []


async def _live_through(network: Network, party: str) -> None:
    fingerprint = network.create(int(time.time()))
    with network.running():
        async with Clients(network) as clients:
            stage = Stage(network, clients, Plan(SEED, SHOPPERS))
            await opening.admit(stage, fingerprint)
            await opening.publish(stage, int(time.time()))
            stage.vouchers = await shopping.claim(stage, stage.plan.claims(stage.terms))
            items = _redemptions(stage)
            crash = Crash(network, party, sum(map(len, items.values())))
            answers, _ = await asyncio.gather(_stream(clients, items, crash.count), crash.recover())
            assert crash.open_when_killed > 0, "every answer had come before the crash"
            assert crash.answered == crash.total, "a request was answered twice, or not at all"
            await settling.settle(stage)
            again = await _stream(clients, items)
            await shopping.quiet(stage)
    assert again == answers, "a repeated request got another answer"
    assert not stage.surprises
    _check_books(network, answers)


def _redemptions(stage: Stage) -> dict[str, list[bytes]]:
    """Every voucher used once: Hangzhou's at home and in Shanghai, Jincheng's in Shanghai where they may be."""
    items: dict[str, list[bytes]] = {HANGZHOU: [], SHANGHAI: [], JINCHENG: []}
    for number, voucher in enumerate(stage.vouchers):
        away = voucher.roaming != "never" and number % 3 != 0
        region = SHANGHAI if away else voucher.issuer
        purchase = stage.plan.purchase(voucher, region)
        item = redemption_pb2.RedemptionItem(request_id=stage.plan.request_id(), redeem=purchase)
        items[region].append(item.SerializeToString())
    return items


async def _stream(
    clients: Clients, items: dict[str, list[bytes]], progressed: Callable[[int], None] = lambda answers: None
) -> dict[bytes, bytes]:
    streams = [clients.platforms[region].stream(each, progressed) for region, each in items.items()]
    found = {}
    for answers in await asyncio.gather(*streams):
        found.update(answers)
    assert set(found) == {request_id_of(item) for each in items.values() for item in each}
    return found


def _check_books(network: Network, answers: dict[bytes, bytes]) -> None:
    """Every audit check holds, and the books have each accepted request once."""
    read = [answer_of(content) for content in answers.values()]
    accepted = [answer.redemption_id for answer in read if not answer.HasField("refusal")]
    refused = Counter(RefusalReason(each.refusal.reason).name for each in read if each.HasField("refusal"))
    assert set(refused) <= TRANSIENT, refused
    assert accepted
    _, checks = examine(network)
    assert [check.findings for check in checks if not check.holds] == []
    assert Counter(accepted) == Counter(_captured(network)), "what was answered is not what was booked"


def _captured(network: Network) -> Iterable[bytes]:
    """The redemptions that any party captured."""
    for party in network.parties:
        url = sa.make_url(network.party_url(party))
        engine = sa.create_engine(url if url.drivername == "sqlite" else url.set(drivername="postgresql+psycopg"))
        schema = f'"{network.party_schema(party)}".' if network.party_schema(party) else ""
        with engine.connect() as connection:
            rows = connection.exec_driver_sql(f"SELECT redemption_id FROM {schema}posting WHERE kind = 'capture'")
            yield from (bytes(row.redemption_id) for row in rows)
        engine.dispose()
