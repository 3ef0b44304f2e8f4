"""The auditor divides by a way of its own, and comes to what the network's rule says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quanlian.money import allocate
from simulations.auditor.proportions import in_proportion, less

AMOUNTS = st.lists(st.integers(0, 100_000), min_size=1, max_size=6)


def _legs(amounts: list[int]) -> tuple[tuple[str, int], ...]:
    return tuple((f"funding/{number}", fen) for number, fen in enumerate(amounts))


@given(AMOUNTS, st.data())
def test_the_auditors_parts_are_those_of_the_largest_remainder(amounts: list[int], data: st.DataObject) -> None:
    amount_fen = data.draw(st.integers(0, sum(amounts)))
    parts = in_proportion(amount_fen, _legs(amounts))
    assert parts == allocate(amount_fen, amounts)
    assert sum(parts) == amount_fen


def test_a_tie_goes_to_the_earlier_leg() -> None:
    assert in_proportion(500, _legs([667, 333])) == [334, 166]
    assert in_proportion(500, _legs([333, 667])) == [167, 333]


def test_legs_that_hold_nothing_give_nothing() -> None:
    assert in_proportion(0, _legs([0, 0])) == [0, 0]
    assert in_proportion(10, _legs([0, 10])) == [0, 10]


def test_what_is_left_is_what_was_not_given() -> None:
    assert less(_legs([667, 333]), [334, 166]) == (("funding/0", 333), ("funding/1", 167))
