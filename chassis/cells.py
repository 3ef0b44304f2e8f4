"""Values in PostgreSQL's binary form, a column at a time.

Its parameters and arrays are made of such cells, and a row's digest is taken over them. This is a hot path: what all
rows of a column share is written once, and the others by functions that go over a column without the interpreter,
which costs a fifth of writing row by row.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import groupby, repeat
from operator import add
from typing import Any, NamedTuple

import sqlalchemy as sa

Rows = Sequence[tuple[Any, ...]]
Cells = bytes | list[bytes]
"""Of a column: the one cell that all rows share, or the cell of each."""

NOT_OF_THE_KIND = (TypeError, ValueError, LookupError, OverflowError, struct.error)
"""What writing a value raises that its column does not take: of a row that was changed by another program."""

_NULL = b"\xff\xff\xff\xff"
_LENGTH = struct.Struct("!i").pack
_ARRAY = struct.Struct("!5i").pack
_INT4, _INT8 = struct.Struct("!ii").pack, struct.Struct("!iq").pack
_BOOL = {False: _LENGTH(1) + b"\0", True: _LENGTH(1) + b"\1"}


class Kind(NamedTuple):
    """A type of column: PostgreSQL's number for it, and how many values, or one, are written."""

    oid: int
    many: Callable[[Sequence[Any]], list[bytes]]
    one: Callable[[Any], bytes]

    def cell(self, value: Any) -> bytes:
        return _NULL if value is None else self.one(value)


def _texts(values: Sequence[Any]) -> list[bytes]:
    """Most texts are said by many rows; ids and what is like them by one."""
    distinct = set(values)
    if 2 * len(distinct) <= len(values):
        cells = {text: _text(text) for text in distinct}
        return [*map(cells.__getitem__, values)]
    contents = [*map(str.encode, values)]
    return [*map(add, map(_LENGTH, map(len, contents)), contents)]


def _text(value: Any) -> bytes:
    content = str.encode(value)
    return _LENGTH(len(content)) + content


def _bytes(values: Sequence[Any]) -> list[bytes]:
    return [*map(add, map(_LENGTH, map(len, values)), values)]


_KINDS: dict[type[Any], Kind] = {
    sa.BigInteger: Kind(20, lambda values: [*map(_INT8, repeat(8), values)], lambda value: _INT8(8, value)),
    sa.Integer: Kind(23, lambda values: [*map(_INT4, repeat(4), values)], lambda value: _INT4(4, value)),
    sa.Boolean: Kind(16, lambda values: [*map(_BOOL.__getitem__, values)], _BOOL.__getitem__),
    sa.String: Kind(1043, _texts, _text),
    sa.Text: Kind(25, _texts, _text),
    sa.LargeBinary: Kind(17, _bytes, lambda value: _LENGTH(len(value)) + value),
}


def kind_of(column: sa.Column[Any]) -> Kind:
    """Raises KeyError for a type that these databases are not used with."""
    return _KINDS[type(column.type)]


def cells(values: Sequence[Any], kind: Kind) -> Cells:
    """Of the values of a column, one at least."""
    first = values[0]
    if values.count(first) == len(values):
        return kind.cell(first)
    if None in values:
        return [*map(kind.cell, values)]
    return kind.many(values)


def columns(rows: Rows, kinds: Sequence[Kind]) -> list[Cells]:
    """Of each column of at least one row."""
    return [*map(cells, zip(*rows, strict=True), kinds)]


def bodies(columns: Sequence[Cells], count: int) -> list[bytes]:
    """The cells of each of so many rows, one after another."""
    pieces: list[Any] = []
    for is_shared, run in groupby(columns, lambda each: isinstance(each, bytes)):
        if is_shared:
            pieces.append(repeat(b"".join(run), count))  # type: ignore[arg-type]
        else:
            pieces.extend(run)
    return [*map(b"".join, zip(*pieces, strict=True))]


def array(cells: Sequence[bytes], kind: Kind) -> bytes:
    """Of at least one cell, any of which may be NULL."""
    return _ARRAY(1, 1, kind.oid, len(cells), 1) + b"".join(cells)


def value(cell: bytes) -> bytes | None:
    """What a cell says, without its length; None for NULL."""
    return None if cell == _NULL else cell[4:]
