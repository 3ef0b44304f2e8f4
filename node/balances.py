"""The balances of a statement by this node's own books (money.md, Statement): what the statement before closed with,
what the department lodged and received by its own bank, what refunds gave back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from chassis.database import Query, Transaction
from node import schema
from node.bank import LODGING
from quanlian.accounts import settlement_account
from quanlian.money_at_bank import ON_ITS_WAY_SECONDS, Recorded, own_amount
from quanlian.statements import LineFigures, LineKey, Statement, net_fen

_WINDOW, _PAYMENT, _RECEIPT = schema.settlement_window.c, schema.payment.c, schema.bank_receipt.c
_WINDOWS = Query(
    select(
        _WINDOW.number,
        _WINDOW.statement.is_not(None).label("is_kept"),
        _WINDOW.closed_at,
        _WINDOW.closing_fen,
        _WINDOW.lodged_fen,
        _WINDOW.paid_out_fen,
    ).order_by(_WINDOW.number)
)

_NEVER = 0
"""A payment to the region may stand on its statement as late as the clearinghouse likes: nobody loses by it."""


def own_balances(
    transaction: Transaction, statement: Statement, lines: Mapping[LineKey, LineFigures]
) -> dict[str, int | None]:
    """By name, in fen. None: the department keeps no record of such money. Absent: it cannot be told, the statement
    before is not here.
    """
    windows = transaction.rows(_WINDOWS)
    before = [row for row in windows if row.number < statement.covers[0]]
    covered = [row for row in windows if row.number in statement.covers]
    found: dict[str, int | None] = {"refunded": sum(each.refunded_fen for each in lines.values())}
    if not before or before[-1].is_kept:
        found["opening"] = before[-1].closing_fen if before else 0
    if not statement.month:
        found["lodged"] = _at_bank(
            _lodgings(transaction), statement, "lodged_fen", before, statement.closed_at - ON_ITS_WAY_SECONDS
        )
        receipts = _receipts(transaction, statement.region)
        found["paid_out"] = _at_bank(receipts, statement, "paid_out_fen", before, _NEVER)
    elif all(row.is_kept for row in covered):
        found["lodged"] = sum(row.lodged_fen for row in covered)
        found["paid_out"] = sum(row.paid_out_fen for row in covered)
    found["closing"] = _closing_fen(statement, lines, found)
    return found


def _at_bank(
    recorded: Sequence[Recorded], statement: Statement, name: str, before: Sequence[Any], missed_by: int
) -> int | None:
    """None before the department began to record such money."""
    since = min((each.at for each in recorded), default=statement.closed_at + 1) - ON_ITS_WAY_SECONDS
    if not recorded or statement.closed_at < since:
        return None
    stated_before_fen = sum(getattr(row, name) for row in before if row.closed_at >= since)
    return own_amount(recorded, getattr(statement, name), stated_before_fen, missed_by)


def _closing_fen(statement: Statement, lines: Mapping[LineKey, LineFigures], own: Mapping[str, int | None]) -> int:
    """Opening + lodged - paid out + net, by our books as far as they tell."""

    def known(name: str, stated_fen: int) -> int:
        found = own.get(name)
        return stated_fen if found is None else found

    opening_fen, lodged_fen = known("opening", statement.opening_fen), known("lodged", statement.lodged_fen)
    net = sum(net_fen(key, figures) for key, figures in lines.items())
    return opening_fen + lodged_fen - known("paid_out", statement.paid_out_fen) + net


def _lodgings(transaction: Transaction) -> list[Recorded]:
    """Paid to the clearinghouse, and not sent back by the bank."""
    made = (_PAYMENT.kind == LODGING, _PAYMENT.paid_at.is_not(None), _PAYMENT.returned_reference.is_(None))
    query = select(_PAYMENT.paid_at, _PAYMENT.amount_fen).where(*made).order_by(_PAYMENT.number)
    return [Recorded(row.paid_at, row.amount_fen) for row in transaction.connection.execute(query)]


def _receipts(transaction: Transaction, region: str) -> list[Recorded]:
    """Received from the clearinghouse."""
    received = select(_RECEIPT.received_at, _RECEIPT.amount_fen).where(_RECEIPT.account == settlement_account(region))
    query = received.order_by(_RECEIPT.received_at, _RECEIPT.bank_reference)
    return [Recorded(row.received_at, row.amount_fen) for row in transaction.connection.execute(query)]
