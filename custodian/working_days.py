"""China's working days, with its shifted ones, and the day that a number of them leads to.

Holidays are set by the State Council year by year. For a year whose notice the calendar does not have, a file tells
them; nothing is guessed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from datetime import date, timedelta

import chinese_calendar

from quanlian.errors import InvalidInput

SATURDAY = 5
IsWorking = Callable[[date], bool]


def working_day_after(last: date, days: int, is_working: IsWorking) -> date:
    """The `days`-th working day after `last`, the first one after it being day 1."""
    day = last
    while days:
        day += timedelta(days=1)
        days -= is_working(day)
    return day


def calendar(document: bytes = b"", name: str = "working days") -> IsWorking:
    """The known years, and the one that `document` describes: TOML with `year`, `holidays` and `workdays`.

    Holidays are days off, workdays the Saturdays and Sundays that are worked. Raises InvalidInput for a file that
    cannot be read; what is returned raises it for a year that nobody told.
    """
    year, off, worked = _read(document, name) if document else (0, frozenset[date](), frozenset[date]())

    def is_working(day: date) -> bool:
        if day.year == year:
            return day in worked or (day.weekday() < SATURDAY and day not in off)
        try:
            return bool(chinese_calendar.is_workday(day))
        except NotImplementedError:
            raise InvalidInput(
                f"不知道{day.year}年放假安排 the holidays of {day.year} are not known",
                place="working days",
                remedy="用 --working-days 给出国务院办公厅通知所列日期 give the State Council's notice as a file",
            ) from None

    return is_working


def _read(document: bytes, name: str) -> tuple[int, frozenset[date], frozenset[date]]:
    try:
        data = tomllib.loads(document.decode())
        year, off, worked = data.pop("year"), data.pop("holidays"), data.pop("workdays")
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError) as error:
        raise InvalidInput(
            f"is no calendar ({error})", place=name, remedy="write year = 2027, holidays = [2027-01-01], workdays = []"
        ) from error
    days = [*off, *worked] if isinstance(off, list) and isinstance(worked, list) else [None]
    if data or type(year) is not int or any(type(day) is not date or day.year != year for day in days):
        raise InvalidInput(
            "needs a year, and holidays and workdays that are days of it",
            place=name,
            remedy="write year = 2027, holidays = [2027-01-01], workdays = []",
        )
    return year, frozenset(off), frozenset(worked)
