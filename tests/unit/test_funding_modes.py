"""How a region is funded, and what of its arrears is past due."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearinghouse.domain.arrears import Shortfall, past_due_fen, unpaid
from clearinghouse.domain.funding_modes import FundingMode, Limits, check_limits, mode_named
from quanlian.errors import InvalidInput


def limits(mode: FundingMode, credit_fen: int = 0, days: int = 0) -> Limits:
    return Limits(1000, credit_fen, 0, str(mode), days)


@pytest.mark.parametrize(
    "good",
    [
        limits(FundingMode.PREFUNDED),
        limits(FundingMode.ADVANCED, credit_fen=500, days=10),
        limits(FundingMode.MIXED, credit_fen=500),
        limits(FundingMode.MIXED, credit_fen=500, days=366),
    ],
)
def test_each_mode_has_limits_that_go_with_it(good: Limits) -> None:
    check_limits(good, prefund_fen=0)


@pytest.mark.parametrize(
    ("bad", "prefund_fen", "fault"),
    [
        (limits(FundingMode.PREFUNDED, credit_fen=1), 0, "a prefunded region has no credit line"),
        (limits(FundingMode.PREFUNDED, days=1), 0, "no credit days"),
        (limits(FundingMode.ADVANCED, days=10), 0, "advanced needs a credit line"),
        (limits(FundingMode.MIXED), 0, "mixed needs a credit line"),
        (limits(FundingMode.ADVANCED, credit_fen=500), 7, r"0\.07 yuan paid ahead here"),
        (limits(FundingMode.MIXED, credit_fen=-1), 0, "out of range"),
        (limits(FundingMode.MIXED, credit_fen=1, days=367), 0, "out of range"),
        (limits(FundingMode.MIXED, credit_fen=1)._replace(credit_offset_bp=10_001), 0, "out of range"),
    ],
)
def test_what_does_not_fit_the_mode_is_refused(bad: Limits, prefund_fen: int, fault: str) -> None:
    with pytest.raises(InvalidInput, match=fault):
        check_limits(bad, prefund_fen)


def test_without_a_name_the_credit_line_tells_the_mode() -> None:
    assert mode_named("", 0) is FundingMode.PREFUNDED
    assert mode_named("", 1) is FundingMode.MIXED
    assert mode_named("advanced", 1) is FundingMode.ADVANCED
    with pytest.raises(InvalidInput, match="no funding mode free"):
        mode_named("free", 1)


def test_cures_pay_the_oldest_shortfall_first() -> None:
    owed = [Shortfall(1, 100, 10), Shortfall(3, 50, 20), Shortfall(2, 70, 30)]
    assert unpaid(owed, 220) == owed
    assert unpaid(owed, 100) == [Shortfall(3, 30, 20), Shortfall(2, 70, 30)]
    assert unpaid(owed, 0) == []


def test_a_shortfall_is_past_due_from_its_first_second_on() -> None:
    owed = [Shortfall(1, 100, 10), Shortfall(2, 70, 30)]
    assert [past_due_fen(owed, at) for at in (9, 10, 29, 30)] == [0, 100, 100, 170]


@given(st.lists(st.integers(1, 1000), max_size=8), st.data())
def test_what_is_left_of_all_shortfalls_is_what_is_owed(amounts: list[int], data: st.DataObject) -> None:
    owed = [Shortfall(number, fen, number) for number, fen in enumerate(amounts)]
    arrears_fen = data.draw(st.integers(0, sum(amounts)))
    left = {each.settlement_window: each.fen for each in unpaid(owed, arrears_fen)}
    assert sum(left.values()) == arrears_fen
    paid = [left.get(each.settlement_window, 0) == 0 for each in owed]
    assert paid == sorted(paid, reverse=True), "an older one is paid before a younger one is begun"
    assert all(0 < fen <= amounts[number] for number, fen in left.items())
