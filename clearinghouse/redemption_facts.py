"""What the clearinghouse's own tables know of a redemption, for `quanlian settlement explain`."""

from __future__ import annotations

from chassis.database import Transaction
from clearinghouse import schema
from custodian.settlement.facts import PartyFacts
from quanlian import hand_overs
from quanlian.agreements import Agreement, parse_agreement
from quanlian.apportionment import Reservation
from quanlian.story_steps import Window
from quanlian.visitors_story import AskedFund, asked_fund
from quanlian.vouchers import VoucherKey


def _terms(transaction: Transaction, terms_hash: bytes) -> bytes | None:
    table = schema.terms
    rows = transaction.select_keys(table, [table.c.terms_hash], [(terms_hash,)])
    return bytes(rows[0].document) if rows else None


def _agreement(transaction: Transaction, name: str) -> Agreement | None:
    number, _, version = name.rpartition(" v")
    table = schema.agreement
    rows = transaction.select_keys(table, [table.c.number, table.c.version], [(number, int(version))])
    return parse_agreement(rows[0].document, name) if rows else None


def _reserved(transaction: Transaction, key: VoucherKey) -> Reservation | None:
    """As the hand-over that brought the voucher tells it."""
    handed, kept = schema.handed_voucher, schema.hand_over
    columns = [handed.c.issuer, handed.c.pack_id, handed.c.voucher_index]
    for row in transaction.select_keys(handed, columns, [tuple(key)]):
        for hand_over in transaction.select_keys(kept, [kept.c.issuer, kept.c.number], [(row.issuer, row.number)]):
            return hand_overs.kept(hand_over.body).money().reservation(key)
    return None


def _asked(transaction: Transaction, redemption_id: bytes) -> AskedFund | None:
    table = schema.proof
    rows = transaction.select_keys(table, [table.c.redemption_id], [(redemption_id,)])
    return asked_fund(rows[0].visitors) if rows else None


def _window(transaction: Transaction, number: int) -> Window:
    table = schema.settlement_window
    rows = transaction.select_keys(table, [table.c.number], [(number,)])
    return Window(number, rows[0].state if rows else "missing")


FACTS = PartyFacts(
    "participant", _terms, _agreement, _reserved, _asked, _window, lambda transaction, redemption_id: None
)
