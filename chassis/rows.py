"""Rows on their way to a driver and back: dicts become tuples of what it takes, its tuples become `Row`s."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from operator import is_, itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.default import DefaultDialect

Rows = Sequence[dict[str, Any]]
COMPUTED = "computed"
"""Key of `Column.info`: a function that gives the column from its table's name and the row's other values, in order."""


class Row(tuple[Any, ...]):
    """What was read, its columns as attributes; SQLAlchemy's own rows take many times as long to give one."""

    __slots__ = ()
    _fields: tuple[str, ...]

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    @property
    def _mapping(self) -> dict[str, Any]:
        return dict(zip(self._fields, self, strict=True))


class Mould:
    """What a row shares with another that differs from it in the contents of its bytes alone.

    Rows that are written together are mostly so, and what was worked out for the first of them serves the others.
    """

    __slots__ = ("_lengths", "_pick_bytes", "_pick_rest", "_rest", "_width", "kinds", "own", "places")

    def __init__(self, row: tuple[Any, ...]) -> None:
        """`kinds` are the types of its values, `places` where it has bytes, `own` these."""
        self.kinds, self.places, self._pick_bytes, self._pick_rest = _shape(tuple(map(type, row)))
        self.own, self._rest = self._pick_bytes(row), self._pick_rest(row)
        self._width, self._lengths = len(row), [*map(len, self.own)]

    def contents(self, row: tuple[Any, ...]) -> tuple[bytes, ...] | None:
        """The row's bytes, in order; None where anything else differs: other objects, other lengths, a NULL."""
        if len(row) != self._width or not all(map(is_, self._pick_rest(row), self._rest)):
            return None
        found = self._pick_bytes(row)
        return found if None not in found and [*map(len, found)] == self._lengths else None


_Picker = Callable[[tuple[Any, ...]], tuple[Any, ...]]


@lru_cache(maxsize=1024)
def _shape(kinds: tuple[type, ...]) -> tuple[frozenset[type], tuple[int, ...], _Picker, _Picker]:
    """Which types a row of such values has, where its bytes are, what takes them, and what takes the others."""
    places = tuple(place for place, kind in enumerate(kinds) if kind is bytes)
    others = tuple(place for place in range(len(kinds)) if place not in places)
    return frozenset(kinds), places, _picker(places), _picker(others)


def _picker(places: tuple[int, ...]) -> _Picker:
    """What takes the values at these places."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda row: tuple(row[place] for place in places)


class ComputedColumn(NamedTuple):
    """The one column of a table that follows from its others, whose `names` these are."""

    name: str
    names: tuple[str, ...]
    compute: Callable[[str, tuple[Any, ...]], Any]
    table: str

    def value(self, row: Mapping[Any, Any]) -> Any:
        return self.compute(self.table, tuple(map(row.get, self.names)))


@lru_cache(maxsize=1024)
def computed_column(table: sa.Table) -> ComputedColumn | None:
    for column in table.columns:
        if COMPUTED in column.info:
            names = tuple(each.name for each in table.columns if each is not column)
            return ComputedColumn(column.name, names, column.info[COMPUTED], table.name)
    return None


def completed(table: sa.Table, rows: Rows, dialect: Dialect) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """As `tuples`, with the column that is computed from the others, if the table has one."""
    given = tuple(rows[0])
    names, complete = _completing(table, given, dialect)
    _require_alike(table, given, rows)
    return names, complete(rows)


@lru_cache(maxsize=1024)
def _completing(
    table: sa.Table, given: tuple[str, ...], dialect: Dialect
) -> tuple[tuple[str, ...], Callable[[Rows], list[tuple[Any, ...]]]]:
    """The names of the columns that are written, and what makes tuples of rows that give some of them.

    What is computed is taken from the values themselves, in the order of the table's columns: rows go through here by
    the hundred thousand.
    """
    computed = computed_column(table)
    if computed is None:
        plain, conversions = _to_driver(table, given, dialect)
        return given, lambda rows: _converted(list(map(plain, rows)), conversions)
    if set(given) != set(computed.names):
        names = (*(name for name in given if name != computed.name), computed.name)
        some, conversions = _to_driver(table, names, dialect)
        return names, lambda rows: _converted(
            [some({**row, computed.name: computed.value(row)}) for row in rows], conversions
        )
    whole, conversions = _to_driver(table, computed.names, dialect)
    compute, name = computed.compute, computed.table

    def complete(rows: Rows) -> list[tuple[Any, ...]]:
        values = list(map(whole, rows))
        seals = [compute(name, row) for row in values]
        return [(*row, seal) for row, seal in zip(_converted(values, conversions), seals, strict=True)]

    return (*computed.names, computed.name), complete


Completing = Callable[[Sequence[tuple[Any, ...]]], Sequence[tuple[Any, ...]]]


@lru_cache(maxsize=1024)
def appended(table: sa.Table) -> tuple[tuple[str, ...], Completing]:
    """The names of all columns, the computed one last, and what adds it to rows that give the others in order."""
    computed = computed_column(table)
    if computed is None:
        return tuple(column.name for column in table.columns), lambda rows: rows
    compute, name = computed.compute, table.name
    return (*computed.names, computed.name), lambda rows: [(*row, compute(name, row)) for row in rows]


def tuples(table: sa.Table, rows: Rows, dialect: Dialect) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """The column names of the first row, and every row's values in that order.

    Raises ValueError where a row gives other columns than the first.
    """
    names = tuple(rows[0])
    values_of, conversions = _to_driver(table, names, dialect)
    _require_alike(table, names, rows)
    return names, _converted(list(map(values_of, rows)), conversions)


def _require_alike(table: sa.Table, names: tuple[str, ...], rows: Rows) -> None:
    if len(rows) > 1 and any(len(row) != len(names) for row in rows):
        raise ValueError(f"{table.name}: rows of one call give different columns; the first gives {', '.join(names)}")


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
"""Positions of the columns that need one, such as JSON; numbers, text and bytes go as they are."""


def _converted(values: list[tuple[Any, ...]], conversions: _Conversions) -> list[tuple[Any, ...]]:
    for position, convert in conversions:
        values = [(*row[:position], convert(row[position]), *row[position + 1 :]) for row in values]
    return values


@lru_cache(maxsize=1024)
def _to_driver(
    table: sa.Table, names: tuple[str, ...], dialect: Dialect
) -> tuple[Callable[[dict[str, Any]], tuple[Any, ...]], _Conversions]:
    """How a row gives its values, and which of them must be converted."""
    conversions: _Conversions = []
    for position, column in enumerate(table.columns[name] for name in names):
        convert = column.type.dialect_impl(dialect).bind_processor(dialect)
        if convert is not None and not isinstance(column.type, sa.LargeBinary):
            conversions.append((position, convert))
    if len(names) == 1:
        return lambda row: (row[names[0]],), conversions
    return itemgetter(*names), conversions


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


@lru_cache(maxsize=1024)
def conflict_clause(table: sa.Table, names: tuple[str, ...], adds: bool = False) -> str:
    """`ON CONFLICT` by primary key: replace the other given columns, or add to them; both databases spell it alike."""
    quote = DefaultDialect().identifier_preparer.quote

    def before(name: str) -> str:
        return f"{quote(table.name)}.{quote(name)} + " if adds else ""

    key = [column.name for column in table.primary_key]
    changed = [name for name in names if name not in key]
    target = ", ".join(quote(name) for name in key)
    if not changed:
        return f" ON CONFLICT ({target}) DO NOTHING"
    sets = ", ".join(f"{quote(name)} = {before(name)}excluded.{quote(name)}" for name in changed)
    return f" ON CONFLICT ({target}) DO UPDATE SET {sets}"
