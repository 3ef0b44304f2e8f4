"""What a check of the books finds, and the port by which a party adds checks of its own tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from chassis.database import Transaction


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


Check = Callable[[Transaction], Iterator[Finding]]


class PartyChecks(NamedTuple):
    """A kind of party: the table that tells its database, its own checks, and what it keeps beside the shared tables.

    `reserved_elsewhere` gives what is reserved beside vouchers' rows, by account; `decided_elsewhere` the redemptions
    that its stored answers name and others decided.
    """

    has_table: str
    checks: tuple[Check, ...]
    reserved_elsewhere: Callable[[Transaction], dict[str, int]]
    decided_elsewhere: Callable[[Transaction], set[bytes]]


ENTRY_POINTS = "quanlian.ledger_checks"
"""A party registers its `PartyChecks` here, so that this package needs to know none of them."""
