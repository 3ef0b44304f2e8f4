"""Digests by which `quanlian ledger check` finds what was changed behind a party's back (security.md, Tampering).

The journal is a chain: each entry's digest covers the one before, its lines, and the captures and refunds of its
commit. Every row that does not follow from the journal is sealed: a seal covers the other columns of its row, and a
`Transaction` computes it whenever it writes one. Neither is a secret; they
catch whoever edits a database without running this code, and an anchor outside the database catches the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa

from chassis.rows import COMPUTED, Mould, computed_column

BEGINNING = bytes(32)
SEAL = "seal"


def seal_column() -> sa.Column[Any]:
    """The last column of a table whose rows nothing else in the books can recompute."""
    info = {COMPUTED: _digest_of_row}
    return sa.Column(SEAL, sa.LargeBinary, nullable=False, comment="digest of the row's other columns", info=info)


def is_sealed(table: sa.Table) -> bool:
    return SEAL in table.columns


def seal(table: sa.Table, row: Mapping[Any, Any]) -> bytes:
    """What the seal of a row must be."""
    computed = computed_column(table)
    assert computed is not None
    return bytes(computed.value(row))


def _digest_of_row(table: str, values: tuple[Any, ...]) -> bytes:
    """SHA-256 over the row's numbers and texts as Python writes them and the lengths of its bytes, and then over the
    bytes themselves.

    Bytes written out would be two thirds of the work of storing a row; and rows that are stored together often differ
    in their bytes alone, so what was written for the last row of a table serves the next that has the same.
    """
    last = _last_written.get(table)
    contents = last.mould.contents(values) if last is not None else None
    if last is None or contents is None:
        mould = Mould(values)
        if not mould.kinds <= _PLAIN:
            values = tuple(map(_plain, values))
            mould = Mould(values)
        shown, contents = list(values), mould.own
        for place, value in zip(mould.places, contents, strict=True):
            shown[place] = (len(value),)
        last = _last_written[table] = _Written(mould, repr((table, shown)).encode())
    return hashlib.sha256(b"".join((last.text, *contents))).digest()


class _Written(NamedTuple):
    """A row without its bytes, and what another must have in common with it to be written alike."""

    mould: Mould
    text: bytes


_last_written: dict[str, _Written] = {}


def _plain(value: Any) -> Any:
    """As a database gives it back: an enumeration's members are their text or number."""
    if type(value) in _PLAIN:
        return value
    return str(value) if isinstance(value, str) else bytes(value) if isinstance(value, memoryview) else int(value)


def entry_digest(
    before: bytes,
    entry: Mapping[str, Any],
    lines: Iterable[tuple[Any, ...]],
    postings: Iterable[tuple[Any, ...]],
) -> bytes:
    """The next link of the chain; `before` is the digest of the entry before, lines and postings are whole rows."""
    link = hashlib.sha256(before)
    link.update(repr(_ENTRY(entry)).encode())
    link.update(repr(sorted(lines)).encode())
    link.update(repr(sorted(postings)).encode())
    return link.digest()


_PLAIN = frozenset({int, str, bytes, bool, type(None)})
_ENTRY = itemgetter("number", "kind", "settlement_window", "at", "reference")
