"""Rows that others name, and rows in a numbered series: a deleted one is missed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa

from chassis.database import Transaction
from custodian.ledger.findings import Finding, row_key
from custodian.schema import counter, lineage


class Reference(NamedTuple):
    """Each row of `table`, or each for which `where` is true, names a row of `named` by these columns."""

    table: sa.Table
    columns: tuple[str, ...]
    named: sa.Table
    by: tuple[str, ...]
    where: sa.ColumnElement[bool] = sa.true()


class Series(NamedTuple):
    """Rows numbered from 1 without a gap in `number`, for each value of the `of` columns."""

    table: sa.Table
    number: str
    of: tuple[str, ...] = ()


class Numbered(NamedTuple):
    """A counter whose last number is the highest in these columns together."""

    counter: str
    columns: tuple[sa.Column[Any], ...]


def is_recovered(transaction: Transaction) -> bool:
    """Whether these books were rebuilt after a loss: they lack what nobody else held."""
    return any(row.incarnation > 1 for row in transaction.connection.execute(lineage.select()))


def dangling(transaction: Transaction, references: Iterable[Reference]) -> Iterator[Finding]:
    """Each row that names one that is not there."""
    for table, columns, named, by, where in references:
        other = named.alias()
        same = (table.c[column] == other.c[key] for column, key in zip(columns, by, strict=True))
        given = (table.c[column].is_not(None) for column in columns)
        query = table.select().where(where, *given, ~sa.exists().where(*same))
        for row in transaction.connection.execute(query, execution_options={"yield_per": 2000}):
            key = row_key(table, row)
            zh, en = f"缺失，{table.name} {key}指向它", f"missing, though {table.name} {key} names it"
            yield Finding(named.name, "/".join(_shown(row._mapping[name]) for name in columns), None, 0, zh, en)


def gaps(transaction: Transaction, series: Iterable[Series]) -> Iterator[Finding]:
    """Each number that a series lacks before its last."""
    for table, number, of in series:
        columns = [table.c[name] for name in (*of, number)]
        rows = transaction.connection.execute(sa.select(*columns).order_by(*columns))
        before: tuple[Any, ...] = ()
        for row in map(tuple, rows):
            first = before[-1] + 1 if before and before[:-1] == row[:-1] else 1
            for missing in range(first, row[-1]):
                place = "/".join(map(_shown, (*row[:-1], missing)))
                yield Finding(table.name, place, None, 0, "编号中断：行缺失", "its number is missing in the series")
            before = row


def numbers(transaction: Transaction, numbered: Iterable[Numbered]) -> Iterator[Finding]:
    """Each counter that says another last number than its rows have, one that is gone included."""
    said = {row.name: int(row.value) for row in transaction.connection.execute(counter.select())}
    for name, columns in numbered:
        highest = (transaction.connection.execute(sa.select(sa.func.max(column))).scalar() for column in columns)
        found = max((int(each) for each in highest if each is not None), default=0)
        if said.get(name, 0) != found:
            zh, en = f"记为{said.get(name, 0)}，应为{found}", f"says {said.get(name, 0)}, the highest number is {found}"
            yield Finding(counter.name, name, None, 0, zh, en)


def _shown(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
