"""Values in PostgreSQL's binary form, a column at a time.

Its COPY takes rows of such cells, its arrays are made of them, and a row's digest is taken over them. This is a hot
path: what all rows of a column share is written once, and the others by functions that go over a column without the
interpreter, which costs a fifth of writing row by row.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, repeat
from typing import Any, NamedTuple

import sqlalchemy as sa

Rows = Sequence[tuple[Any, ...]]
Pieces = tuple[Iterable[bytes], ...]
"""Of each value of a column what is written, in parts that follow one another."""

COPY_BEGINS, COPY_ENDS = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
NOT_OF_THE_KIND = (TypeError, ValueError, LookupError, OverflowError, struct.error)
"""What writing a value raises that its column does not take: of a row that was changed by another program."""

_NULL = b"\xff\xff\xff\xff"
_COUNT = struct.Struct("!h").pack
_LENGTH = struct.Struct("!i").pack
_ARRAY = struct.Struct("!5i").pack
_INT4, _INT8 = struct.Struct("!ii").pack, struct.Struct("!iq").pack
_BOOL = {False: _LENGTH(1) + b"\0", True: _LENGTH(1) + b"\1"}


class Kind(NamedTuple):
    """A type of column: PostgreSQL's number for it, and how many values, or one, are written."""

    oid: int
    many: Callable[[Sequence[Any]], Pieces]
    one: Callable[[Any], bytes]

    def cell(self, value: Any) -> bytes:
        return _NULL if value is None else self.one(value)


def _long_numbers(values: Sequence[Any]) -> Pieces:
    return (map(_INT8, repeat(8), values),)


def _numbers(values: Sequence[Any]) -> Pieces:
    return (map(_INT4, repeat(4), values),)


def _texts(values: Sequence[Any]) -> Pieces:
    """Most texts are said by many rows; ids and what is like them by one."""
    distinct = set(values)
    if 2 * len(distinct) <= len(values):
        cells = {text: _text(text) for text in distinct}
        return (map(cells.__getitem__, values),)
    contents = [*map(str.encode, values)]
    return (map(_LENGTH, map(len, contents)), contents)


def _text(value: Any) -> bytes:
    content = str.encode(value)
    return _LENGTH(len(content)) + content


def _bytes(values: Sequence[Any]) -> Pieces:
    sizes = [*map(len, values)]
    same = sizes.count(sizes[0]) == len(sizes)
    return (repeat(_LENGTH(sizes[0]), len(sizes)) if same else map(_LENGTH, sizes), values)


_KINDS: dict[type[Any], Kind] = {
    sa.BigInteger: Kind(20, _long_numbers, lambda value: _INT8(8, value)),
    sa.Integer: Kind(23, _numbers, lambda value: _INT4(4, value)),
    sa.Boolean: Kind(16, lambda values: (map(_BOOL.__getitem__, values),), _BOOL.__getitem__),
    sa.String: Kind(1043, _texts, _text),
    sa.Text: Kind(25, _texts, _text),
    sa.LargeBinary: Kind(17, _bytes, lambda value: b"".join((_LENGTH(len(value)), value))),
}


def kind_of(column: sa.Column[Any]) -> Kind:
    """Raises KeyError for a type that these databases are not used with."""
    return _KINDS[type(column.type)]


def bodies(rows: Rows, kinds: Sequence[Kind]) -> list[bytes]:
    """The cells of each row, one after another."""
    columns = zip(zip(*rows, strict=True), kinds, strict=True)
    pieces = [piece for values, kind in columns for piece in _pieces(values, kind)]
    return [*map(b"".join, zip(*pieces, strict=True))]


def cells(values: Sequence[Any], kind: Kind) -> list[bytes]:
    """Of each value of a column."""
    return [*map(b"".join, zip(*_pieces(values, kind), strict=True))]


def copied(bodies: Iterable[bytes], width: int) -> bytes:
    """Rows of so many cells as COPY takes them."""
    return b"".join(chain.from_iterable(zip(repeat(_COUNT(width)), bodies, strict=False)))


def array(values: Sequence[Any], kind: Kind) -> bytes:
    """An array of at least one value."""
    begun = _ARRAY(1, int(None in values), kind.oid, len(values), 1)
    return b"".join((begun, *chain.from_iterable(zip(*_pieces(values, kind), strict=True))))


def _pieces(values: Sequence[Any], kind: Kind) -> Pieces:
    first = values[0]
    if values.count(first) == len(values):
        return (repeat(kind.cell(first), len(values)),)
    if None in values:
        return ([*map(kind.cell, values)],)
    return kind.many(values)
