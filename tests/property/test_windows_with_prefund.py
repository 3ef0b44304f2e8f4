"""Funders pay ahead, windows are instructed, marked and settled in any order: every account stays sound throughout."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from local_parties import HANGZHOU, SHANGHAI, LocalClearinghouse, LocalNode, item, open_standing, purchase, undone
from window_stories import away, close, deposit, instruct, mark, pay_ahead, pay_out

from clearinghouse import balances_check, prefund_check
from custodian.ledger.check import check_books
from quanlian.errors import InvalidInput
from quanlian.v1 import clearing_operator_pb2 as pb
from quanlian.v1 import redemption_pb2

PACKS = 10
ACTIONS = ("redeem", "redeem", "refund", "ahead", "lodge", "instruct", "instruct", "mark", "mark", "settle", "pay-out")
STEP = st.tuples(st.sampled_from(ACTIONS), st.integers(0, 9), st.integers(1, 1500))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalClearinghouse, list[bytes]]]:
    """Hangzhou has credit and has lodged nothing, Shanghai little."""
    folder = tmp_path_factory.mktemp("windows")
    databases = [open_standing(f"sqlite:///{folder / name}.db", "") for name in ("node", "clearinghouse")]
    node, clearinghouse = LocalNode(databases[0]), LocalClearinghouse(databases[1])
    tokens = away(node, clearinghouse, PACKS)
    limits = pb.SetLimitsRequest(region=HANGZHOU, net_debit_cap_fen=10**7, credit_line_fen=10**6)
    clearinghouse.do(clearinghouse.service.operations.set_limits(limits))
    pay_out(clearinghouse, HANGZHOU, 1_000_000, "nothing-lodged")
    pay_out(clearinghouse, SHANGHAI, 999_000, "little-lodged")
    yield clearinghouse, tokens
    for database in databases:
        database.close()


class Windows:
    def __init__(self, clearinghouse: LocalClearinghouse, tokens: list[bytes]) -> None:
        self.clearinghouse, self.tokens = clearinghouse, tokens
        self.redeemed = self.count = 0
        self.instructed: list[int] = []

    def step(self, what: str, which: int, fen: int) -> None:
        self.count += 1
        region, reference = (HANGZHOU, SHANGHAI)[which % 2], f"step-{self.count}"
        match what:
            case "redeem":
                self._redeem()
            case "refund":
                self._refund(which)
            case "ahead":
                funder = ("spring/city", "spring/county", "visitors/city")[which % 3]
                pay_ahead(self.clearinghouse, SHANGHAI if which % 3 == 2 else HANGZHOU, funder, fen, reference)
            case "lodge":
                deposit(self.clearinghouse, region, fen, reference)
            case "instruct":
                number = close(self.clearinghouse)
                instruct(self.clearinghouse, number)
                self.instructed.append(number)
            case "mark" if self.instructed:
                mark(self.clearinghouse, self.instructed[which % len(self.instructed)], region, reference)
            case "settle" if self.instructed:
                number = self.instructed[which % len(self.instructed)]
                self.clearinghouse.do(self.clearinghouse.service.settlement.settle(number))
            case "pay-out":
                pay_out(self.clearinghouse, region, fen, reference)

    def _redeem(self) -> None:
        if self.redeemed < 2 * PACKS:
            token = self.tokens[self.redeemed // 2]
            order = purchase(token, self.redeemed % 2, f"order-{self.redeemed}")
            self.clearinghouse.redeem(item(f"redeem-{self.redeemed}".encode().rjust(16), redeem=order))
            self.redeemed += 1

    def _refund(self, which: int) -> None:
        ids = list(dict.fromkeys(row["redemption_id"] for row in self.clearinghouse.rows("posting")))
        if ids:
            refund = redemption_pb2.Refund(redemption_id=ids[which % len(ids)], order_fen=2900)
            self.clearinghouse.redeem(item(f"refund-{self.count}".encode().rjust(16), refund=refund))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, min_size=8, max_size=30))
def test_whatever_is_paid_ahead_and_settled_every_account_stays_sound(
    story: tuple[LocalClearinghouse, list[bytes]], steps: list[tuple[str, int, int]]
) -> None:
    clearinghouse, tokens = story
    with undone(clearinghouse):
        windows = Windows(clearinghouse, tokens)
        for step in steps:
            with contextlib.suppress(InvalidInput):
                windows.step(*step)
            with clearinghouse.database.snapshot() as transaction:
                for check in (*balances_check.CHECKS, *prefund_check.CHECKS):
                    assert list(check(transaction)) == [], step
        with clearinghouse.database.snapshot() as transaction:
            assert check_books(transaction) == []
