"""Sixty-four callers want one voucher at once, through several worker processes: exactly one gets it."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any, NamedTuple

import pytest
from local_parties import (
    CLEARINGHOUSE,
    HANGZHOU,
    KEYRING,
    PLATFORM,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    NoClearinghouse,
    TestSigner,
    item,
    keys_of,
    open_standing,
    outcome,
    purchase,
)

from clearinghouse.custody import read_hand_over
from clearinghouse.service import ClearinghouseService
from node.desk import Region
from node.service import NodeService, Signers
from pki.identity import Identity
from quanlian.wire import request_id_of

WORKERS, CALLERS = 4, 64
PATIENCE_SECONDS = 120
RELEASE_SECONDS = 300.0
ALIPAY = Identity(HANGZHOU, "platform", PLATFORM)
HERE, THERE = Identity(HANGZHOU, "node"), Identity(SHANGHAI, "node")


class Databases(NamedTuple):
    """Where both parties' databases are, for a process of its own."""

    node: tuple[str, str]
    clearinghouse: tuple[str, str]


class Wire(NoClearinghouse):
    """Node and clearinghouse of one worker, joined without a network: what one sends the other decides."""

    def __init__(self, databases: Databases) -> None:
        super().__init__()
        signers = Signers(*(TestSigner(HANGZHOU, purpose) for purpose in ("voucher", "terms", "message")))
        region = Region(HANGZHOU, None, signers.message, signers.voucher, bytes(32), KEYRING)
        keys = TestSigner(CLEARINGHOUSE, "message"), TestSigner(CLEARINGHOUSE, "statement")
        self.databases = [open_standing(*each) for each in databases]
        self.node = NodeService(self.databases[0], region, signers, KEYRING, self)  # type: ignore[arg-type]
        self.clearinghouse = ClearinghouseService(self.databases[1], KEYRING, *keys, RELEASE_SECONDS)  # type: ignore[arg-type]
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, items: Sequence[bytes]) -> None:
        if items:
            self._run(self._decide(list(items)))

    async def _decide(self, items: list[bytes]) -> None:
        answers: list[bytes] = []
        await self.clearinghouse.submit(HERE, items, answers.extend)
        await self.node.clearinghouse_answered(answers)

    async def release(self) -> None:
        """The custody stream, as the node holds it open."""
        stream = self.clearinghouse.open_stream(HANGZHOU)
        while True:
            for message in await self.node.release((await stream.get()).release_request):
                if message.HasField("hand_over"):
                    await self.clearinghouse.take_hand_over(HANGZHOU, message.hand_over)
                else:
                    self.clearinghouse.release_refused(HANGZHOU, message.release_refused)

    def _run(self, job: Any) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def ask(self, at_home: bool, content: bytes) -> bytes:
        got: list[bytes] = []
        party, caller = (self.node, ALIPAY) if at_home else (self.clearinghouse, THERE)
        await party.submit(caller, [content], got.extend)
        return got[0]

    async def all(self, asked: Sequence[tuple[bool, bytes]]) -> list[bytes]:
        """The answers to requests that are asked at once, each then repeated."""
        self.node.start()
        self.clearinghouse.engine.group.start()
        releasing = asyncio.create_task(self.release())
        answers = await asyncio.gather(*(self.ask(*each) for each in asked))
        again = await asyncio.gather(*(self.ask(*each) for each in asked))
        releasing.cancel()
        assert answers == again, "a retry got other bytes"
        return list(answers)

    def close(self) -> None:
        self.node.close()
        self.clearinghouse.close()
        for database in self.databases:
            database.close()


def work(databases: Databases, asked: Sequence[tuple[bool, bytes]], start: Barrier, told: Queue[Any]) -> None:
    """A worker process: everything is open before anybody asks."""
    wire = Wire(databases)
    try:
        start.wait(PATIENCE_SECONDS)
        told.put(asyncio.run(wire.all(asked)))
    except BaseException as error:
        told.put(repr(error))
    finally:
        wire.close()


def race(databases: Databases, asked: list[tuple[bool, bytes]]) -> list[bytes]:
    """The answers of all workers, in the order of what was asked."""
    spawn = multiprocessing.get_context("spawn")
    shares = [asked[number::WORKERS] for number in range(WORKERS)]
    start, tellers = spawn.Barrier(WORKERS), [spawn.Queue() for _ in shares]
    workers = [
        spawn.Process(target=work, args=(databases, share, start, told))
        for share, told in zip(shares, tellers, strict=True)
    ]
    for worker in workers:
        worker.start()
    found = [told.get(timeout=PATIENCE_SECONDS) for told in tellers]
    for worker in workers:
        worker.join(PATIENCE_SECONDS)
    assert all(isinstance(each, list) for each in found), found
    answers: list[bytes] = [b""] * len(asked)
    for number, share in enumerate(found):
        answers[number::WORKERS] = share
    return answers


@pytest.mark.parametrize("away", [0, CALLERS, CALLERS // 2], ids=["home", "away", "home-and-away"])
def test_one_of_sixty_four_callers_gets_the_voucher(
    away: int,
    node: LocalNode,
    clearinghouse: LocalClearinghouse,
    database_url: Callable[[str], str],
    schema: Callable[[str], str],
) -> None:
    node.publish()
    clearinghouse.learn(node)
    (token,) = node.claim()
    if away == CALLERS:
        for message in node.release(*keys_of(token)):
            clearinghouse.decide(read_hand_over(HANGZHOU, message.hand_over))
    asked = [
        (number >= away, item(node.ids.fresh(), redeem=purchase(token, 0, f"order-{number}")))
        for number in range(CALLERS)
    ]
    databases = Databases(*((database_url(name), schema(name)) for name in ("node", "clearinghouse")))
    answers = race(databases, asked)
    outcomes = Counter(map(outcome, answers))
    assert outcomes["CAPTURED"] == 1, outcomes
    assert set(outcomes) <= {"CAPTURED", "ALREADY_REDEEMED"}, outcomes
    assert len(node.rows("spend")) + len(clearinghouse.rows("spend")) == 1
    for party in (node, clearinghouse):
        party.check_books()
    _same_bytes_from_a_new_process(databases, asked, answers)


def _same_bytes_from_a_new_process(databases: Databases, asked: list[tuple[bool, bytes]], answers: list[bytes]) -> None:
    """The winner and a loser, asked again through a process that has seen neither."""
    winner = next(number for number, answer in enumerate(answers) if outcome(answer) == "CAPTURED")
    chosen = [winner, (winner + 1) % len(asked)]
    wire = Wire(databases)
    try:
        again = asyncio.run(wire.all([asked[number] for number in chosen]))
    finally:
        wire.close()
    assert again == [answers[number] for number in chosen]
    assert len({request_id_of(content) for _, content in asked}) == CALLERS
