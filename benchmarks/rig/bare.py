"""The bare baseline: the rows that a run has left, written once more by the driver alone, as many to a commit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

import sqlalchemy as sa

from chassis.database import Database


def seconds_to_write(
    url: str, schema: str, tables: Sequence[sa.Table], commits: int, at_most: int | None = None
) -> float:
    """Wall seconds for all rows of the tables, or so many of each, in so many durable commits, into tables of the same
    shape beside them.
    """
    with closing(Database.open(url, schema)) as database:
        rows, copies = [], []
        with database.transaction() as transaction:
            for table in tables:
                rows.append([tuple(row) for row in transaction.connection.execute(table.select().limit(at_most))])
                copies.append(_copy(table))
                copies[-1].create(transaction.connection)
        statements = [_insert(copy, database) for copy in copies]
        began = time.perf_counter()
        for number in range(commits):
            with database.engine.begin() as connection:
                for statement, each in zip(statements, rows, strict=True):
                    part = each[len(each) * number // commits : len(each) * (number + 1) // commits]
                    if part:
                        connection.exec_driver_sql(statement, part)
        return time.perf_counter() - began


def _copy(table: sa.Table) -> sa.Table:
    """With its primary key and without the other indexes' names, which are taken."""
    columns = [sa.Column(each.name, each.type, primary_key=each.primary_key) for each in table.columns]
    return sa.Table(f"bare_{table.name}", sa.MetaData(), *columns)


def _insert(table: sa.Table, database: Database) -> str:
    mark = "?" if database.dialect == "sqlite" else "%s"
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    return f'INSERT INTO "{table.name}" ({names}) VALUES ({", ".join([mark] * len(table.columns))})'
