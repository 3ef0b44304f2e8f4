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
from typing import Any

import sqlalchemy as sa

from chassis.rows import COMPUTED, computed_value

BEGINNING = bytes(32)
SEAL = "seal"


def seal_column() -> sa.Column[Any]:
    """The last column of a table whose rows nothing else in the books can recompute."""
    info = {COMPUTED: _digests}
    return sa.Column(SEAL, sa.LargeBinary, nullable=False, comment="digest of the row's other columns", info=info)


def is_sealed(table: sa.Table) -> bool:
    return SEAL in table.columns


def seal(table: sa.Table, row: Mapping[Any, Any]) -> bytes:
    """What the seal of a row must be; empty where it has a value that its column cannot have."""
    return computed_value(table, row)


def _digests(table: str, bodies: Iterable[bytes]) -> list[bytes]:
    """SHA-256 over the table's name and the row's cells, as `chassis.cells` writes them, for each row."""
    begun = repr(table).encode()
    return [hashlib.sha256(begun + body).digest() for body in bodies]


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


_ENTRY = itemgetter("number", "kind", "settlement_window", "at", "reference")
