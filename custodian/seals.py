"""Digests by which `quanlian ledger check` finds what was changed behind a party's back (security.md, Tampering).

The journal is a chain: each entry's digest covers the one before, its lines, and the captures and refunds of its
commit. Rows that change are sealed one by one: a seal covers every other column of its row. Neither is a secret; they
catch whoever edits a database without running this code, and an anchor outside the database catches the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

BEGINNING = bytes(32)
SEAL = "seal"


def seal(table: sa.Table, row: Mapping[str, Any]) -> bytes:
    """Of one row, as it is about to be written or was read."""
    return hashlib.sha256(repr((table.name, _values_of(table)(row))).encode()).digest()


def sealed(table: sa.Table, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, SEAL: seal(table, row)} for row in rows]


def entry_digest(
    before: bytes,
    entry: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
    postings: Sequence[Mapping[str, Any]],
) -> bytes:
    """The next link of the chain; `before` is the digest of the entry before."""
    link = hashlib.sha256(before)
    link.update(repr(_ENTRY(entry)).encode())
    link.update(repr(sorted(map(_LINE, lines))).encode())
    link.update(repr(sorted(map(_POSTING, postings))).encode())
    return link.digest()


@lru_cache
def _values_of(table: sa.Table) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    return itemgetter(*(column.name for column in table.columns if column.name != SEAL))


_ENTRY = itemgetter("number", "kind", "settlement_window", "at", "reference")
_LINE = itemgetter("entry", "number", "account", "counterpart", "posted_fen", "reserved_fen", "held_fen", "limit_fen")
_POSTING = itemgetter(
    "redemption_id", "number", "kind", "order_fen", "discount_fen", "legs", "settlement_window", "at", "entry"
)
