"""What this side says of money at the bank, beside what the statement says."""

from __future__ import annotations

import pytest

from quanlian.money_at_bank import Recorded, own_amount

FIRST, SECOND, THIRD = Recorded(10, 500), Recorded(20, 300), Recorded(30, 100)


@pytest.mark.parametrize(
    ("stated_fen", "before_fen", "missed_by", "own_fen"),
    [
        (900, 0, 30, 900),
        (400, 500, 30, 400),
        (0, 900, 30, 0),
        (800, 0, 20, 800),
        (300, 500, 25, 300),
        (0, 0, 9, 0),
    ],
)
def test_what_is_stated_is_ours_when_it_is_our_first_payments_and_none_is_missed(
    stated_fen: int, before_fen: int, missed_by: int, own_fen: int
) -> None:
    assert own_amount([THIRD, FIRST, SECOND], stated_fen, before_fen, missed_by) == own_fen


@pytest.mark.parametrize(
    ("stated_fen", "before_fen", "missed_by", "own_fen"),
    [
        (800, 0, 30, 900),
        (0, 0, 10, 900),
        (501, 0, 10, 900),
        (400, 0, 0, 900),
        (1000, 0, 0, 900),
        (500, 500, 0, 400),
        (-500, 500, 30, 400),
    ],
    ids=["one stays away", "nothing came", "a fen more", "not in order", "more than all", "twice", "taken back"],
)
def test_otherwise_ours_is_all_that_is_not_stated_yet(
    stated_fen: int, before_fen: int, missed_by: int, own_fen: int
) -> None:
    assert own_amount([FIRST, SECOND, THIRD], stated_fen, before_fen, missed_by) == own_fen
