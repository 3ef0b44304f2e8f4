"""What a node's own tables know of a redemption, for `quanlian settlement explain`."""

from __future__ import annotations

import sqlalchemy as sa

from chassis.database import Transaction
from custodian.settlement.facts import PartyFacts
from node import schema
from node.desk import reservation_of_pack
from pki.identity import CLEARINGHOUSE
from quanlian.apportionment import Reservation
from quanlian.redemption_story import Window
from quanlian.vouchers import VoucherKey


def _terms(transaction: Transaction, terms_hash: bytes) -> bytes | None:
    table = schema.terms
    rows = transaction.select_keys(table, [table.c.terms_hash], [(terms_hash,)])
    return bytes(rows[0].document) if rows else None


def _reserved(transaction: Transaction, key: VoucherKey) -> Reservation | None:
    """As the claim reserved it."""
    table = schema.pack
    for row in transaction.select_keys(table, [table.c.pack_id], [(key.pack_id,)]):
        return reservation_of_pack(row, key.voucher_index)
    return None


def _window(transaction: Transaction, number: int) -> Window:
    """A node decides home redemptions, which belong to no window; those of the clearinghouse it only mirrors."""
    table = schema.settlement_window
    rows = transaction.select_keys(table, [table.c.number], [(number,)])
    return Window(number, "SETTLED" if rows and rows[0].settled else "OPEN")


def _elsewhere(transaction: Transaction, redemption_id: bytes) -> str:
    item, away = schema.clearing_item, schema.away
    known = [
        sa.select(item.c.redemption_id).where(item.c.redemption_id == redemption_id),
        sa.select(away.c.redemption_id).where(away.c.redemption_id == redemption_id),
    ]
    found = any(transaction.connection.execute(query).first() for query in known)
    return CLEARINGHOUSE if found else ""


FACTS = PartyFacts("pack", _terms, lambda transaction, name: None, _reserved, _window, _elsewhere)
