"""Redemptions as a party stores them, for those who may see them."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import ColumnElement, select

from chassis.database import Transaction
from custodian import schema
from custodian.books import Books
from quanlian.redemptions import Redemption
from quanlian.v1.redemption_pb2 import RedemptionRecord
from quanlian.wire import record_message


class Listed(NamedTuple):
    """A redemption with its place in the list; numbers rise with commits, so what comes later comes behind."""

    number: int
    record: RedemptionRecord


def find(transaction: Transaction, redemption_id: bytes) -> Redemption | None:
    """One redemption by its id."""
    return Books(transaction).redemption(redemption_id)


def page(transaction: Transaction, visible: ColumnElement[bool], after: int, size: int) -> list[Listed]:
    """At most `size` visible redemptions behind a number, in the order in which they were committed."""
    table = schema.redemption
    query = select(table.c.id, table.c.number).where(table.c.number > after, visible)
    rows = transaction.connection.execute(query.order_by(table.c.number).limit(size)).all()
    books = Books(transaction)
    books.load_redemptions(row.id for row in rows)
    return [Listed(row.number, record_message(found)) for row in rows if (found := books.redemption(row.id))]
