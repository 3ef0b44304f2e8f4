"""Windows close without pause while captures and refunds run in several threads: none falls between, none is in two."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from local_parties import (
    HANGZHOU,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    answer_of,
    item,
    keys_of,
    purchase,
)

from clearinghouse.domain.windows import WindowState
from quanlian.apportionment import Leg
from quanlian.statements import ItemFigures, add_up, json_to_statement
from quanlian.v1 import redemption_pb2

PACKS, BATCH, REFUNDED, WORKERS = 600, 20, 12, 3
SLOWEST_CLOSE_SECONDS = 20.0


class Acquirers:
    """Threads that redeem at both regions' merchants and then return part, batch after batch."""

    def __init__(self, clearinghouse: LocalClearinghouse, tokens: list[bytes]) -> None:
        self._clearinghouse = clearinghouse
        self._vouchers = [(token, index) for token in tokens for index in range(2)]
        self.faults: list[str] = []
        self.slowest = 0.0
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(WORKERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def working(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _run(self, worker: int) -> None:
        try:
            numbers = itertools.count(worker * 1_000_000)
            own = self._vouchers[worker::WORKERS]
            for start in range(0, len(own), BATCH):
                region = SHANGHAI if start % 3 else HANGZHOU
                answers = self._ask(region, numbers, self._purchases(own[start : start + BATCH], worker, start))
                self._ask(region, numbers, self._refunds(answers))
        except Exception as error:
            self.faults.append(repr(error))

    def _purchases(self, vouchers: list[tuple[bytes, int]], worker: int, start: int) -> list[dict[str, Any]]:
        return [
            {"redeem": purchase(token, index, f"order-{worker}-{start + n}", 4000 + 17 * n)}
            for n, (token, index) in enumerate(vouchers)
        ]

    def _refunds(self, answers: list[redemption_pb2.RedemptionAnswer]) -> list[dict[str, Any]]:
        return [
            {"refund": redemption_pb2.Refund(redemption_id=answer.redemption_id, order_fen=1000 + 7 * n)}
            for n, answer in enumerate(answers[:REFUNDED])
        ]

    def _ask(
        self, region: str, numbers: Iterator[int], operations: list[dict[str, Any]]
    ) -> list[redemption_pb2.RedemptionAnswer]:
        works = []
        for operation in operations:
            id = next(numbers).to_bytes(16, "big")
            work = self._clearinghouse.request(item(id, **operation), region)
            work.received = _renamed(work.received, id)
            works.append(work)
        started = time.monotonic()
        replies = self._clearinghouse.decide(*works)
        self.slowest = max(self.slowest, time.monotonic() - started)
        answers = [answer_of(reply.content) for reply in replies]
        self.faults += [str(answer.refusal) for answer in answers if answer.HasField("refusal")]
        return answers


def _renamed(received: Any, id: bytes) -> Any:
    """The redemption takes its request's id: ids of `local_parties` count for one thread."""
    return replace(received, redemption_id=b"\xff" + id[1:])


@pytest.fixture
def loaded(node: LocalNode, clearinghouse: LocalClearinghouse) -> tuple[LocalClearinghouse, list[bytes]]:
    """Twelve hundred of Hangzhou's vouchers in the clearinghouse's custody."""
    node.publish(city=40_000, county=20_000, quota=PACKS)
    clearinghouse.learn(node)
    tokens = node.claim(PACKS)
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*(key for token in tokens for key in keys_of(token)))))
    return clearinghouse, tokens


def test_each_window_s_statement_equals_its_redemptions(loaded: tuple[LocalClearinghouse, list[bytes]]) -> None:
    clearinghouse, tokens = loaded
    acquirers = Acquirers(clearinghouse, tokens)
    acquirers.start()
    closed = 0
    while acquirers.working():
        clearinghouse.do(clearinghouse.service.settlement.close_window())
        closed += 1
    acquirers.join()
    clearinghouse.do(clearinghouse.service.settlement.close_window())
    assert acquirers.faults == []
    assert acquirers.slowest < SLOWEST_CLOSE_SECONDS
    windows = clearinghouse.rows("settlement_window")
    assert closed > 3, "windows were closed while captures ran"
    assert [row["state"] for row in windows[:-1]] == [WindowState.CALCULATED.name] * (len(windows) - 1)
    by_window = postings_by_window(clearinghouse)
    captures = sum(figures["capture"] for figures in by_kind(clearinghouse).values())
    assert captures == PACKS * 2
    assert len(by_window) > 3, "captures fell into several windows"
    for row in clearinghouse.rows("statement"):
        statement = json_to_statement(row["document"])
        sums = add_up(statement.region, seen_from(statement.region, by_window.get(statement.window, [])))
        assert (statement.lines, statement.funders) == (sums.lines, sums.funders), statement.window
    nets = Counter[int]()
    for row in clearinghouse.rows("net_position"):
        nets[row["settlement_window"]] += row["net_fen"]
    assert set(nets.values()) == {0}
    clearinghouse.check_books()


def by_kind(clearinghouse: LocalClearinghouse) -> dict[int, Counter[str]]:
    counts: dict[int, Counter[str]] = {}
    for row in clearinghouse.rows("posting"):
        counts.setdefault(row["settlement_window"], Counter())[row["kind"]] += 1
    return counts


def postings_by_window(clearinghouse: LocalClearinghouse) -> dict[int, list[tuple[Any, Any]]]:
    """Single captures and refunds with their redemptions."""
    redemptions = {row["id"]: row for row in clearinghouse.rows("redemption")}
    found: dict[int, list[tuple[Any, Any]]] = {}
    for row in clearinghouse.rows("posting"):
        found.setdefault(row["settlement_window"], []).append((row, redemptions[row["redemption_id"]]))
    return found


def seen_from(region: str, postings: list[tuple[Any, Any]]) -> Iterator[ItemFigures]:
    """What a region's node would have of them: as funder, as merchants' region, or both."""
    for posting, redemption in postings:
        issuer, redeemer = redemption["issuer"], redemption["redeeming_region"]
        for side, concerned in (("funder", issuer), ("merchant", redeemer)):
            if concerned == region:
                legs = [Leg(account, fen) for account, fen in json.loads(posting["legs"])]
                yield ItemFigures(
                    side, issuer, redeemer, redemption["campaign"], posting["order_fen"], posting["discount_fen"], legs
                )
