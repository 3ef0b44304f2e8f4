"""Rows on their way to a driver and back: what is computed from them is added, a driver's tuples become `Row`s."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.default import DefaultDialect

from chassis.cells import NOT_OF_THE_KIND, Cells, Kind, bodies, cells, columns, kind_of

Rows = Sequence[dict[str, Any]]
Tuples = Sequence[tuple[Any, ...]]
OnConflict = Literal["fail", "replace", "add"]
"""What becomes of a row whose primary key exists: it fails, or the other given columns replace that one's, or are added
to them.
"""
COMPUTED = "computed"
"""Key of `Column.info`: a function that gives the column of many rows from the table's name and, of each row, the cells
of its other columns (`chassis.cells.bodies`).
"""


class Row(tuple[Any, ...]):
    """What was read, its columns as attributes; SQLAlchemy's own rows take many times as long to give one."""

    __slots__ = ()
    _fields: tuple[str, ...]

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    @property
    def _mapping(self) -> dict[str, Any]:
        return dict(zip(self._fields, self, strict=True))


class Form(NamedTuple):
    """How rows of some columns of a table are written: the names and kinds of these, the computed one last if there is
    one, and what computes it.
    """

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    compute: Callable[[Sequence[bytes]], list[bytes]] | None

    @property
    def given(self) -> tuple[str, ...]:
        """The columns that rows give."""
        return self.names if self.compute is None else self.names[:-1]

    def columns(self, rows: Tuples) -> list[Cells]:
        """The cells of at least one row, column by column, with what is computed from them."""
        found = columns(rows, self.kinds[: len(self.given)])
        if self.compute is not None:
            found.append(cells(self.compute(bodies(found, len(rows))), self.kinds[-1]))
        return found

    def completed(self, rows: Tuples) -> Tuples:
        """At least one row, with what is computed from them."""
        if self.compute is None:
            return rows
        found = bodies(columns(rows, self.kinds[:-1]), len(rows))
        return [(*row, value) for row, value in zip(rows, self.compute(found), strict=True)]


@lru_cache(maxsize=1024)
def form_of(table: sa.Table, given: tuple[str, ...] = ()) -> Form:
    """Of rows that give these columns; without `given`, or where one is computed, all others of the table in order.

    Raises KeyError for a column that the table has not.
    """
    computed = next((column for column in table.columns if COMPUTED in column.info), None)
    if computed is None:
        names = given or tuple(column.name for column in table.columns)
        return Form(names, tuple(kind_of(table.c[name]) for name in names), None)
    others = [column for column in table.columns if column is not computed]
    if unknown := set(given) - set(table.columns.keys()):
        raise KeyError(f"{table.name} has no column {', '.join(sorted(unknown))}")
    names, kinds = zip(*((column.name, kind_of(column)) for column in (*others, computed)), strict=True)
    return Form(names, kinds, partial(computed.info[COMPUTED], table.name))


def computed_value(table: sa.Table, row: Mapping[Any, Any]) -> bytes:
    """What the computed column of a row must be; empty where another has a value that its type does not take."""
    form = form_of(table)
    assert form.compute is not None
    try:
        ((*_, value),) = form.completed([tuple(map(row.__getitem__, form.given))])
    except NOT_OF_THE_KIND:
        return b""
    return bytes(value)


def given_rows(table: sa.Table, rows: Rows) -> tuple[Form, Tuples]:
    """Rows as dicts, all giving the columns of the first, and how they are written.

    Raises ValueError where one gives other columns.
    """
    form = form_of(table, tuple(rows[0]))
    if any(row.keys() != rows[0].keys() for row in rows):
        raise ValueError(f"{table.name}: rows of one call give different columns; the first gives {', '.join(rows[0])}")
    return form, [tuple(map(row.get, form.given)) for row in rows]


def results(columns: tuple[sa.Column[Any], ...], values: list[tuple[Any, ...]], dialect: Dialect) -> list[Row]:
    """What the driver read from `columns`, its values as SQLAlchemy would have given them."""
    if not values:
        return []
    row_of, conversions = _from_driver(columns, dialect)
    return list(map(row_of, _converted(values, conversions) if conversions else values))


@lru_cache(maxsize=1024)
def all_columns(table: sa.Table) -> tuple[sa.Column[Any], ...]:
    return tuple(table.columns)


_Conversions = list[tuple[int, Callable[[Any], Any]]]
"""Positions of the columns that need one, such as SQLite's truth values; the others come as they are."""


def _converted(values: list[tuple[Any, ...]], conversions: _Conversions) -> list[tuple[Any, ...]]:
    for position, convert in conversions:
        values = [(*row[:position], convert(row[position]), *row[position + 1 :]) for row in values]
    return values


@lru_cache(maxsize=1024)
def _from_driver(
    columns: tuple[sa.Column[Any], ...], dialect: Dialect
) -> tuple[Callable[[tuple[Any, ...]], Row], _Conversions]:
    """How a Row is made of what the driver read, and which of that must be converted first."""
    conversions: _Conversions = []
    for position, column in enumerate(columns):
        convert = column.type.dialect_impl(dialect).result_processor(dialect, None)
        if convert is not None and not isinstance(column.type, sa.LargeBinary):
            conversions.append((position, convert))
    named = namedtuple("Row", [column.name for column in columns])  # type: ignore[misc]
    return partial(tuple.__new__, type("Row", (Row, named), {"__slots__": ()})), conversions


def distinct_by_key(table: sa.Table, rows: Rows) -> Rows:
    """The rows without those that a later one of the same primary key replaces."""
    if len(rows) == 1:
        return rows
    key = itemgetter(*[column.name for column in table.primary_key])
    by_key = {key(row): row for row in rows}
    return rows if len(by_key) == len(rows) else list(by_key.values())


def conflict_clause(table: sa.Table, names: tuple[str, ...], on_conflict: OnConflict) -> str:
    """`ON CONFLICT` by primary key, for an insertion of these columns; both databases spell it alike."""
    if on_conflict == "fail":
        return ""
    quote = DefaultDialect().identifier_preparer.quote

    def before(name: str) -> str:
        return f"{quote(table.name)}.{quote(name)} + " if on_conflict == "add" else ""

    key = [column.name for column in table.primary_key]
    changed = [name for name in names if name not in key]
    target = ", ".join(quote(name) for name in key)
    if not changed:
        return f" ON CONFLICT ({target}) DO NOTHING"
    sets = ", ".join(f"{quote(name)} = {before(name)}excluded.{quote(name)}" for name in changed)
    return f" ON CONFLICT ({target}) DO UPDATE SET {sets}"
