"""Statements that a region says nothing to: past their dispute deadline they count as confirmed (逾期视为确认), so that
no region can hold up the settlement of all others by silence.
"""

from __future__ import annotations

from sqlalchemy import bindparam

from chassis.database import Query
from clearinghouse import schema
from clearinghouse.desk import Desk
from clearinghouse.domain.calendar_days import end_of_term, last_day
from clearinghouse.domain.dispute_deadline import dispute_days
from quanlian.errors import InvalidInput
from quanlian.statements import Statement, json_to_statement

_TABLE = schema.statement
_UNANSWERED = Query(
    _TABLE.select()
    .where(_TABLE.c.settlement_window == bindparam("number"), _TABLE.c.confirmation.is_(None))
    .order_by(_TABLE.c.region)
)


def confirm_by_silence(desk: Desk, window: int) -> None:
    """Record that every statement of a calculated window that is unanswered counts as confirmed now.

    Raises InvalidInput, naming each region and its last day, while one of them may still be disputed.
    """
    rows = desk.transaction.rows(_UNANSWERED, number=window)
    deadlines = {row.region: deadline(desk, json_to_statement(row.document)) for row in rows}
    waiting = {region: until for region, until in deadlines.items() if desk.at < until}
    if waiting:
        zh = "、".join(f"{region}（异议期至{last_day(until)}）" for region, until in waiting.items())
        en = ", ".join(f"{region} (may dispute it until {last_day(until)})" for region, until in waiting.items())
        raise InvalidInput(
            f"场次{window}尚未确认的地区：{zh} · window {window} is not confirmed by {en}",
            place="window",
            remedy="请其确认；逾期视为确认 · let them confirm it; once the last day is over it counts as confirmed",
        )
    for region in deadlines:
        desk.transaction.update(_TABLE, {"settlement_window": window, "region": region}, {"silent_at": desk.at})


def deadline(desk: Desk, statement: Statement) -> int:
    """The first second at which a window's statement can be disputed no more."""
    return end_of_term(statement.closed_at, dispute_days(statement, desk.agreements()))
