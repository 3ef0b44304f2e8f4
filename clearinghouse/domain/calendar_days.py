"""Terms in calendar days of Asia/Shanghai."""

from __future__ import annotations

from datetime import datetime, timedelta

from quanlian.refusals import CHINA


def end_of_term(begun_at: int, days: int) -> int:
    """The first second at which it is too late: the end of the last of `days` calendar days of Asia/Shanghai after
    the day of `begun_at`, which does not count itself (Civil Code, articles 201 and 203).
    """
    day = datetime.fromtimestamp(begun_at, CHINA).replace(hour=0, minute=0, second=0, microsecond=0)
    return int((day + timedelta(days=days + 1)).timestamp())


def last_day(ends_at: int) -> str:
    """The last day that is in time, like `2026-06-13`."""
    return datetime.fromtimestamp(ends_at - 1, CHINA).strftime("%Y-%m-%d")
