"""Until when a statement may be disputed; after that it counts as confirmed (逾期视为确认)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from quanlian.agreements import Agreement, lookup
from quanlian.errors import InvalidInput
from quanlian.refusals import CHINA
from quanlian.statements import HOME, ISSUER, Statement

DEFAULT_DISPUTE_DAYS = 15
"""Where no agreement that sets `dispute_days` applies to a statement's lines (money.md, Statement)."""


def dispute_days(statement: Statement, agreements: Iterable[Agreement]) -> int:
    """The fewest `dispute_days` of the agreements in force for its lines when the window closed."""
    known = list(agreements)
    agreed = set()
    for role, counterpart, campaign in statement.lines:
        if role == HOME:
            continue
        ends = (statement.region, counterpart) if role == ISSUER else (counterpart, statement.region)
        try:
            clauses = lookup(known, campaign, *ends, statement.closed_at).clauses
        except InvalidInput:
            continue  # the last one ended between a capture and the close
        if clauses:
            agreed.add(clauses.dispute_days)
    return min(agreed, default=DEFAULT_DISPUTE_DAYS)


def dispute_deadline(closed_at: int, days: int) -> int:
    """The first second at which it is too late: the end of the last of `days` calendar days of Asia/Shanghai after
    the day on which the window closed, which does not count itself (Civil Code, articles 201 and 203).
    """
    day = datetime.fromtimestamp(closed_at, CHINA).replace(hour=0, minute=0, second=0, microsecond=0)
    return int((day + timedelta(days=days + 1)).timestamp())


def last_day(deadline: int) -> str:
    """The last day on which a dispute is in time, like `2026-06-13`."""
    return datetime.fromtimestamp(deadline - 1, CHINA).strftime("%Y-%m-%d")
