"""When a window closes by itself: each day at a set time, and at the end of a fiscal year, both Asia/Shanghai.

The fiscal year of the PRC is the calendar year (Budget Law, article 18), so it ends on 31 December at 24:00.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from quanlian.refusals import CHINA


def last_cut_off(at: int, daily: tuple[int, int] | None) -> int:
    """The latest moment, at or before `at` (UTC seconds), at which a window closes.

    `daily` is hour and minute; None closes only at the end of a fiscal year.
    """
    now = datetime.fromtimestamp(at, CHINA)
    moment = now.replace(month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
    if daily is not None:
        today = now.replace(hour=daily[0], minute=daily[1], second=0, microsecond=0)
        moment = max(moment, today if today <= now else today - timedelta(days=1))
    return int(moment.timestamp())


def is_due(opened_at: int, at: int, daily: tuple[int, int] | None) -> bool:
    """Whether a window that opened at `opened_at` should have closed by now."""
    return opened_at < last_cut_off(at, daily)


def month_of(at: int) -> str:
    """The month of a moment: `2026-05`."""
    return datetime.fromtimestamp(at, CHINA).strftime("%Y-%m")
