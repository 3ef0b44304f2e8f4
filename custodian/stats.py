"""Statistics from the running totals: they cost what the hours and keys are that they add up, not the redemptions."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from chassis.database import Transaction
from custodian import schema
from quanlian.errors import InvalidInput
from quanlian.v1 import stats_pb2

CHINA_OFFSET_SECONDS = 8 * 3600
DAY_SECONDS = 86_400
FIGURES = ("captures", "order_fen", "discount_fen", "refunds", "refunded_order_fen", "refunded_fen")
_FLOW = schema.hourly_flow.c
_DAY = ((_FLOW.hour + sa.literal_column(str(CHINA_OFFSET_SECONDS))) // sa.literal_column(str(DAY_SECONDS))).label("day")
_KEYS: dict[int, list[Any]] = {
    stats_pb2.STATS_BY_CAMPAIGN: [_FLOW.campaign, _FLOW.issuer],
    stats_pb2.STATS_BY_REGIONS: [_FLOW.issuer, _FLOW.redeeming_region],
    stats_pb2.STATS_BY_CATEGORY: [_FLOW.category],
    stats_pb2.STATS_BY_DAY: [_DAY],
    stats_pb2.STATS_BY_HOUR: [_FLOW.hour.label("hour")],
}


def read_stats(transaction: Transaction, query: stats_pb2.StatsQuery) -> list[stats_pb2.StatsRow]:
    """Sums in the order of their keys. Raises InvalidInput for a query that adds up by nothing."""
    if query.by not in _KEYS:
        raise InvalidInput("adds up by nothing that is known", place="query.by", remedy="choose one of StatsBy")
    keys = _KEYS[query.by]
    sums = [sa.func.sum(_FLOW[name]).label(name) for name in FIGURES]
    selected = sa.select(*keys, *sums).where(*_chosen(query)).group_by(*keys).order_by(*keys)
    return [_row(dict(row._mapping)) for row in transaction.connection.execute(selected)]


def _chosen(query: stats_pb2.StatsQuery) -> list[sa.ColumnElement[bool]]:
    chosen: list[sa.ColumnElement[bool]] = []
    if query.campaign:
        chosen.append(_FLOW.campaign == query.campaign)
    if query.region:
        chosen.append((_FLOW.issuer == query.region) | (_FLOW.redeeming_region == query.region))
    if query.category:
        chosen.append(_FLOW.category == query.category)
    if query.from_at:
        chosen.append(_FLOW.hour >= query.from_at)
    if query.to_at:
        chosen.append(_FLOW.hour < query.to_at)
    return chosen


def _row(values: dict[str, Any]) -> stats_pb2.StatsRow:
    day, hour = values.pop("day", None), values.pop("hour", None)
    values |= {name: int(values[name]) for name in FIGURES}
    from_at = hour if hour is not None else 0 if day is None else int(day) * DAY_SECONDS - CHINA_OFFSET_SECONDS
    return stats_pb2.StatsRow(from_at=from_at, **values)
