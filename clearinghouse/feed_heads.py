"""How far this party has come with a region, for the region to show if a copy of these books ever knows less."""

from __future__ import annotations

from sqlalchemy import func, select

from chassis.database import Query, Transaction
from clearinghouse import schema
from clearinghouse.domain.windows import WindowState
from custodian.incarnations import own
from quanlian.v1 import custody_pb2

_WINDOW = schema.settlement_window.c
_LAST_CLOSED = Query(select(func.max(_WINDOW.number).label("number")).where(_WINDOW.state != WindowState.OPEN.name))


def head_of(transaction: Transaction, region: str, sequence: int) -> custody_pb2.FeedHead:
    """With the region's feed told up to `sequence`."""
    last_window = transaction.rows(_LAST_CLOSED)[0].number or 0
    return custody_pb2.FeedHead(region=region, incarnation=own(transaction), sequence=sequence, last_window=last_window)
