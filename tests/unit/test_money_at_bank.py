"""What this side says of money at the bank, beside what the statements say."""

from __future__ import annotations

import pytest

from quanlian.money_at_bank import LODGED, ON_ITS_WAY_SECONDS, PAID_OUT, Course, Recorded, Stated, told_of_last

FIRST, SECOND, THIRD = Recorded(10, 500), Recorded(20, 300), Recorded(30, 100)
LATE = 30 + ON_ITS_WAY_SECONDS


def own(stated: list[Stated], recorded: list[Recorded], course: Course = LODGED) -> list[int | None]:
    """What is said of each window, once all before it are known."""
    found = [told_of_last(stated[:number], recorded, course) for number in range(1, len(stated) + 1)]
    return [each.own_fen if each else None for each in found]


@pytest.mark.parametrize(
    "stated",
    [
        [Stated(30, 900)],
        [Stated(10, 500), Stated(20, 300), Stated(30, 100)],
        [Stated(30, 300), Stated(30, 600)],
        [Stated(20, 0), Stated(30, 100), Stated(LATE, 800)],
        [Stated(10, 0), Stated(20, 500), Stated(LATE, 400), Stated(LATE * 2, 0)],
    ],
    ids=["at once", "one by one", "another order", "last one first", "always late"],
)
def test_what_is_stated_is_ours_when_our_payments_make_it_up_in_any_order(stated: list[Stated]) -> None:
    assert own(stated, [THIRD, FIRST, SECOND]) == [each.amount_fen for each in stated]


@pytest.mark.parametrize(
    ("stated", "ours"),
    [
        ([Stated(LATE, 800)], [900]),
        ([Stated(LATE, 0)], [900]),
        ([Stated(30, 501)], [900]),
        ([Stated(10, 800)], [500]),
        ([Stated(30, 1000)], [900]),
        ([Stated(10, 500), Stated(20, 500)], [500, 300]),
        ([Stated(30, 900), Stated(31, 900)], [900, 0]),
        ([Stated(30, 900), Stated(31, -500)], [900, 0]),
    ],
    ids=["one stays away", "nothing came", "a fen more", "before it was paid", "more than all", "twice", "all twice",
         "taken back"],
)  # fmt: skip
def test_otherwise_ours_is_what_we_paid_until_then_and_nothing_explained(stated: list[Stated], ours: list[int]) -> None:
    assert own(stated, [FIRST, SECOND, THIRD]) == ours


def test_a_payment_that_stays_away_is_missed_once_and_may_still_come() -> None:
    stated = [Stated(30, 800), Stated(LATE, 0), Stated(LATE + 1, 0), Stated(LATE + 2, 100), Stated(LATE + 3, 0)]
    assert own(stated, [FIRST, SECOND, THIRD]) == [800, 100, 0, 100, 0]
    told = told_of_last(stated[:2], [FIRST, SECOND, THIRD], LODGED)
    assert told is not None
    assert told.unstated == (THIRD,)


@pytest.mark.parametrize("before", [1, ON_ITS_WAY_SECONDS - 1, ON_ITS_WAY_SECONDS + 1])
def test_what_was_stated_before_our_first_record_is_not_compared_and_takes_nothing_from_it(before: int) -> None:
    at = ON_ITS_WAY_SECONDS * 5
    stated = [Stated(at - before, 1_000_000), Stated(at + 1, 500), Stated(at * 2, 0), Stated(at * 3, 0)]
    assert own(stated, [Recorded(at, 500)]) == [None, 500, 0, 0]
    assert own(stated, []) == [None] * 4


def test_a_record_that_came_late_explains_its_window_when_it_is_missed_later() -> None:
    stated = [Stated(10, 500), Stated(20, 300), Stated(LATE, 0)]
    assert own(stated, [FIRST, Recorded(30, 300)]) == [500, 0, 0]


class TestPaidOut:
    def test_a_payment_to_us_is_stated_before_it_arrives(self) -> None:
        assert own([Stated(10, 500), Stated(15, 300)], [FIRST, SECOND], PAID_OUT) == [500, 300]

    def test_one_that_does_not_arrive_in_time_is_a_difference(self) -> None:
        assert own([Stated(10, 500), Stated(15, 300)], [FIRST, Recorded(LATE, 300)], PAID_OUT) == [500, 0]

    def test_it_may_be_stated_as_late_as_the_other_side_likes(self) -> None:
        assert own([Stated(30, 500), Stated(LATE * 9, 400)], [FIRST, SECOND, THIRD], PAID_OUT) == [500, 400]

    def test_one_of_just_before_our_first_record_may_be_its(self) -> None:
        stated = [Stated(9, 500), Stated(19, 0), Stated(29, 0)]
        assert own(stated, [FIRST], PAID_OUT) == [None, 0, 0]
        assert own([Stated(9, 700), *stated[1:]], [FIRST], PAID_OUT) == [None, 0, 0]

    def test_one_that_the_bank_returned_never_was(self) -> None:
        stated = [Stated(10, 500), Stated(20, 700), Stated(30, -700), Stated(40, 0)]
        assert own(stated, [FIRST], PAID_OUT) == [500, 0, -700, 0]


def test_many_payments_that_make_nothing_up_are_given_up_in_bounded_time() -> None:
    recorded = [Recorded(number, 2 ** (number + 1)) for number in range(60)]
    assert own([Stated(60, 2**60 + 1)], recorded) == [2**61 - 2]
