"""What a check of the books finds, and the port by which a party adds checks of its own tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from chassis.database import Transaction

if TYPE_CHECKING:
    from custodian.ledger.decoding import Encoded
    from custodian.ledger.signatures import SignatureChecks


class Finding(NamedTuple):
    """Something that does not hold: in which table, at which row and entry, and by how much.

    `entry` is None for a row that no single entry wrote; `amount_fen` is the difference, or what the row moves.
    """

    table: str
    row: str
    entry: int | None
    amount_fen: int
    zh: str
    en: str


def row_key(table: sa.Table, row: Any) -> str:
    """The primary key of a row, as findings show it."""
    values = (row._mapping[column.name] for column in table.primary_key.columns)
    return "/".join(value.hex() if isinstance(value, bytes) else str(value) for value in values)


Check = Callable[[Transaction], Iterator[Finding]]


class Counted(NamedTuple):
    """A capture or (negative) refund as hourly totals count it; -1 times, one that was taken back."""

    at: int
    issuer: str
    redeeming_region: str
    campaign: str
    category: str
    order_fen: int
    discount_fen: int
    times: int = 1


class PartyChecks(NamedTuple):
    """A kind of party: the table that tells its database, its own checks, and what it keeps beside the shared tables.

    `reserved_elsewhere` gives what is reserved beside vouchers' rows, by account; `is_decided_elsewhere` tells
    whether a redemption that its stored answers name was decided by others; `counted_elsewhere` what of those its
    hourly totals count. `encoded` are its tables with columns that have a form of their own.
    """

    has_table: str
    tables: sa.MetaData
    encoded: tuple[Encoded, ...]
    checks: tuple[Check, ...]
    signatures: SignatureChecks
    reserved_elsewhere: Callable[[Transaction], dict[str, int]]
    is_decided_elsewhere: Callable[[Transaction], Callable[[bytes], bool]]
    counted_elsewhere: Callable[[Transaction], Iterator[Counted]]


ENTRY_POINTS = "quanlian.ledger_checks"
"""A party registers its `PartyChecks` here, so that this package needs to know none of them."""
