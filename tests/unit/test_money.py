"""Amounts in fen, and their division by largest remainder."""

from __future__ import annotations

import pytest

from quanlian.errors import InvalidInput
from quanlian.money import allocate, parse_yuan, yuan


def test_a_unit_left_over_goes_to_the_largest_remainder() -> None:
    assert allocate(10, [1, 1, 4]) == [2, 2, 6]
    assert allocate(2, [12, 1, 30]) == [1, 0, 1]


def test_equal_remainders_go_to_the_earlier_in_declared_order() -> None:
    assert allocate(1000, [1, 1, 1]) == [334, 333, 333]


def test_a_zero_weight_gets_nothing() -> None:
    assert allocate(2, [0, 1, 1, 1]) == [0, 1, 1, 0]


@pytest.mark.parametrize("weights", [[], [0, 0], [3, 1]])
def test_nothing_is_divided_into_nothing_whatever_the_weights(weights: list[int]) -> None:
    assert allocate(0, weights) == [0] * len(weights)


@pytest.mark.parametrize(("total", "weights"), [(1, []), (1, [0, 0]), (-1, [1]), (5, [2, -1])])
def test_an_amount_that_no_weight_can_take_is_an_error(total: int, weights: list[int]) -> None:
    with pytest.raises(InvalidInput, match="cannot divide"):
        allocate(total, weights)


@pytest.mark.parametrize(
    ("fen", "text"), [(0, "0.00"), (-5, "-0.05"), (123450, "1,234.50"), (-100_000_000, "-1,000,000.00")]
)
def test_an_amount_reads_as_yuan(fen: int, text: str) -> None:
    assert yuan(fen) == text


@pytest.mark.parametrize(("text", "fen"), [("0.00", 0), ("0.07", 7), ("40.00", 4000), ("1234.50", 123450)])
def test_yuan_with_two_decimals_is_read_exactly(text: str, fen: int) -> None:
    assert parse_yuan(text) == fen


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.5",
        "1.505",
        "1,234.50",
        "-1.00",
        "+1.00",
        " 1.00",
        "1.00\n",
        "01.00",
        ".50",
        "1e2.00",
        "１.00",
    ],
)
def test_any_other_spelling_of_an_amount_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="exactly two decimals"):
        parse_yuan(text)
