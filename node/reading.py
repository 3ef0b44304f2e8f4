"""Redemptions at this region's merchants, read back by the platforms that made them: decided here, or away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, true

from chassis.database import Transaction
from custodian import lookup
from custodian import schema as custodian_schema
from custodian.lookup import Listed
from node import schema
from node.away import record_of
from node.desk import Away
from quanlian.v1.redemption_pb2 import RedemptionRecord
from quanlian.wire import record_message


def find(transaction: Transaction, platform: str | None, redemption_id: bytes) -> RedemptionRecord | None:
    """One redemption by its id, if it is the platform's; None: anybody's."""
    own = lookup.find(transaction, redemption_id)
    if own is not None:
        return record_message(own) if platform in (None, own.participant) else None
    table = schema.away
    rows = transaction.select_keys(table, [table.c.redemption_id], [(redemption_id,)])
    return next((each.record for each in _listed(transaction, rows) if platform in (None, rows[0].caller)), None)


def page(transaction: Transaction, platform: str | None, after: int, size: int) -> list[Listed]:
    """At most `size` of the platform's redemptions behind a number, in the order in which this node learned of them."""
    redemption, away = custodian_schema.redemption.c, schema.away
    own = lookup.page(transaction, redemption.participant == platform if platform else true(), after, size)
    query = away.select().where(away.c.number > after, away.c.caller == platform if platform else true())
    rows = transaction.connection.execute(query.order_by(away.c.number).limit(size)).all()
    return sorted([*own, *_listed(transaction, rows)], key=lambda each: each.number)[:size]


def _listed(transaction: Transaction, rows: Sequence[Any]) -> list[Listed]:
    known = [Away(*(getattr(row, name) for name in Away._fields)) for row in rows]
    at = transaction.now()
    outbox, in_flight = schema.outbox.c, set[bytes]()
    if any(at >= each.expires_at for each in known):
        query = select(outbox.redemption_id).where(outbox.answered.is_(False), outbox.redemption_id.is_not(None))
        in_flight = {row.redemption_id for row in transaction.connection.execute(query)}
    return [Listed(each.number, record_of(each, at, each.redemption_id in in_flight)) for each in known]
