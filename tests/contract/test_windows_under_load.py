"""Windows close without pause while several processes capture and refund: none falls between, none is in two."""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from local_parties import HANGZHOU, LocalClearinghouse, LocalNode, keys_of
from redeeming_worker import redeem_all

from clearinghouse.domain.windows import WindowState
from quanlian.apportionment import Leg
from quanlian.statements import ItemFigures, add_up, json_to_statement
from quanlian.v1 import clearing_operator_pb2 as pb

PACKS, WORKERS, JOIN_SECONDS = 1100, 3, 120
A_FEW = 10
"""Windows that close while one batch waits: a close is a batch too, and those of three workers are between."""


class Acquirers:
    """Processes that redeem at both regions' merchants and then return part, batch after batch (`redeeming_worker`)."""

    def __init__(self, clearinghouse: LocalClearinghouse, tokens: list[bytes]) -> None:
        spawn = multiprocessing.get_context("spawn")
        database = clearinghouse.database
        url = database.engine.url.set(drivername=database.dialect).render_as_string(hide_password=False)
        vouchers = [(token, index) for token in tokens for index in range(2)]
        self._results = spawn.Queue()
        self._ready = spawn.Barrier(WORKERS + 1)
        self._processes = [
            spawn.Process(
                target=redeem_all,
                args=(url, database.schema, worker, vouchers[worker::WORKERS], self._ready, self._results),
            )
            for worker in range(WORKERS)
        ]
        self.faults: list[str] = []
        self.most_closed = 0

    def start(self) -> None:
        for process in self._processes:
            process.start()
        self._ready.wait(JOIN_SECONDS)

    def working(self) -> bool:
        return any(process.is_alive() for process in self._processes)

    def join(self) -> None:
        for process in self._processes:
            process.join(JOIN_SECONDS)
        codes = [process.exitcode for process in self._processes]
        assert codes == [0] * WORKERS, f"workers ended with {codes}"
        for _ in self._processes:
            faults, most_closed = self._results.get(timeout=JOIN_SECONDS)
            self.faults += faults
            self.most_closed = max(self.most_closed, most_closed)


@pytest.fixture
def loaded(node: LocalNode, clearinghouse: LocalClearinghouse) -> tuple[LocalClearinghouse, list[bytes]]:
    """Twenty-two hundred of Hangzhou's vouchers in the clearinghouse's custody."""
    node.publish(city=80_000, county=40_000, quota=PACKS)
    clearinghouse.learn(node)
    lodged = pb.RecordDepositRequest(region=HANGZHOU, amount_fen=5_000_000, bank_reference="before the campaign")
    clearinghouse.do(clearinghouse.service.settlement.record_deposit(lodged))
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
    assert acquirers.most_closed <= A_FEW
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
