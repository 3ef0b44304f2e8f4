"""Until when a statement may be disputed; after that it counts as confirmed (逾期视为确认)."""

from __future__ import annotations

from collections.abc import Iterable

from quanlian.agreements import Agreement, lookup
from quanlian.errors import InvalidInput
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
