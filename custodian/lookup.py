"""Redemptions as a party stores them, for those who may see them."""

from __future__ import annotations

from sqlalchemy import ColumnElement, select

from chassis.database import Database
from custodian import schema
from custodian.books import Books
from quanlian.redemptions import Redemption


def find(database: Database, redemption_id: bytes) -> Redemption | None:
    """One redemption by its id."""
    with database.snapshot() as transaction:
        return Books(transaction).redemption(redemption_id)


def page(database: Database, visible: ColumnElement[bool], after: bytes, size: int) -> list[Redemption]:
    """At most `size` visible redemptions after an id, in the order of their ids, which is the order of time."""
    table = schema.redemption
    query = select(table.c.id).where(table.c.id > after, visible).order_by(table.c.id).limit(size)
    with database.snapshot() as transaction:
        ids = [row.id for row in transaction.connection.execute(query)]
        books = Books(transaction)
        books.load_redemptions(ids)
        return [found for id in ids if (found := books.redemption(id))]
