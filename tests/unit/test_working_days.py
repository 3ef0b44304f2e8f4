"""China's working days with its shifted ones (Jincheng plan, 9.4: money is back within 15 of them)."""

from __future__ import annotations

from datetime import date

import pytest

from custodian.working_days import calendar, working_day_after
from quanlian.errors import InvalidInput

NEXT_YEAR = b"year = 2027\nholidays = [2027-01-01]\nworkdays = [2027-01-03]\n"


@pytest.mark.parametrize(
    ("last", "days", "found"),
    [
        (date(2026, 5, 29), 1, date(2026, 6, 1)),
        (date(2026, 9, 30), 1, date(2026, 10, 8)),
        (date(2026, 9, 30), 3, date(2026, 10, 10)),  # a Saturday that is worked
        (date(2026, 6, 5), 15, date(2026, 6, 29)),  # 19 June, the Dragon Boat Festival, does not count
    ],
)
def test_day_one_is_the_first_working_day_after_the_last(last: date, days: int, found: date) -> None:
    assert working_day_after(last, days, calendar()) == found


def test_a_file_tells_a_year_that_is_not_known() -> None:
    is_working = calendar(NEXT_YEAR)
    days = [date(2027, 1, day) for day in (1, 2, 3, 4)]
    assert [is_working(day) for day in days] == [False, False, True, True]
    assert working_day_after(date(2026, 12, 31), 2, is_working) == date(2027, 1, 4)
    with pytest.raises(InvalidInput, match="the holidays of 2028 are not known"):
        is_working(date(2028, 1, 4))


@pytest.mark.parametrize(
    "document",
    [
        b"year = 2027",
        b"\xff",
        b"year = 2027\nholidays = [2026-01-01]\nworkdays = []",
        b"year = 2027\nholidays = 1\nworkdays = []",
        b"year = 2027\nholidays = ['x']\nworkdays = []",
        b"year = 2027\nholidays = []\nworkdays = []\nmore = 1",
    ],
)
def test_a_file_that_is_no_calendar_is_refused_with_what_to_write(document: bytes) -> None:
    with pytest.raises(InvalidInput, match="write year = 2027"):
        calendar(document, "2027.toml")
