"""How far this party has come with a region, for the region to show if a copy of these books ever knows less."""

from __future__ import annotations

from sqlalchemy import func, select

from chassis.database import Query, Transaction
from clearinghouse import schema
from clearinghouse.domain.windows import WindowState
from custodian.incarnations import own
from quanlian.v1 import custody_pb2

_WINDOW = schema.settlement_window.c
_IS_TOLD = (_WINDOW.state != WindowState.OPEN.name) & (_WINDOW.state != WindowState.CLOSED.name)
_LAST_TOLD = Query(select(func.max(_WINDOW.number).label("number")).where(_IS_TOLD))


def head_of(transaction: Transaction, region: str, sequence: int) -> custody_pb2.FeedHead:
    """With the region's feed told up to `sequence`."""
    last_window = transaction.rows(_LAST_TOLD)[0].number or 0
    return custody_pb2.FeedHead(region=region, incarnation=own(transaction), sequence=sequence, last_window=last_window)
