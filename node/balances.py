"""The balances of a statement by this node's own books (money.md, Statement): what the statement before closed with,
what the department lodged and received by its own bank, what refunds gave back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, select

from chassis.database import Query, Transaction
from node import schema
from node.bank import LODGING
from quanlian.accounts import settlement_account
from quanlian.money_at_bank import LODGED, PAID_OUT, Course, Recorded, Stated, Told, told_of_last
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
        _WINDOW.own_lodged_fen,
        _WINDOW.own_paid_out_fen,
        _WINDOW.confirmed,
    ).order_by(_WINDOW.number)
)
_LODGINGS = Query(
    select(_PAYMENT.paid_at, _PAYMENT.amount_fen, _PAYMENT.bank_reference)
    .where(_PAYMENT.kind == LODGING, _PAYMENT.paid_at.is_not(None), _PAYMENT.returned_reference.is_(None))
    .order_by(_PAYMENT.number)
)
_RECEIPTS = Query(
    select(_RECEIPT.received_at, _RECEIPT.amount_fen, _RECEIPT.bank_reference)
    .where(_RECEIPT.account == bindparam("account"))
    .order_by(_RECEIPT.received_at, _RECEIPT.bank_reference)
)


def own_balances(
    transaction: Transaction, statement: Statement, lines: Mapping[LineKey, LineFigures]
) -> dict[str, int | None]:
    """By name, in fen. None: the department keeps no record of such money. Absent: it cannot be told, the statement
    before is not here. Of a window that was confirmed, money at the bank is what it was then.
    """
    windows = transaction.rows(_WINDOWS)
    before = [row for row in windows if row.number < statement.covers[0]]
    covered = [row for row in windows if row.number in statement.covers]
    found: dict[str, int | None] = {"refunded": sum(each.refunded_fen for each in lines.values()), "prefunded": None}
    if not before or before[-1].is_kept:
        found["opening"] = before[-1].closing_fen if before else 0
    if not statement.month and covered and covered[0].confirmed:
        found |= {"lodged": covered[0].own_lodged_fen, "paid_out": covered[0].own_paid_out_fen}
    elif not statement.month:
        found |= {name: told.own_fen if told else None for name, told in own_at_bank(transaction, statement).items()}
    elif all(row.is_kept for row in covered):
        found["lodged"] = sum(row.lodged_fen for row in covered)
        found["paid_out"] = sum(row.paid_out_fen for row in covered)
    found["closing"] = _closing_fen(statement, lines, found)
    return found


def not_reconciled(transaction: Transaction, statement: Statement) -> list[int]:
    """Windows of a month that are not kept here yet: what its own books lodged and were paid cannot be told."""
    kept = {row.number for row in transaction.rows(_WINDOWS) if row.is_kept}
    return [number for number in statement.covers if number not in kept] if statement.month else []


def own_at_bank(transaction: Transaction, statement: Statement) -> dict[str, Told | None]:
    """What our books say of the money that went to and came from the clearinghouse, by the balance's name."""
    before = [row for row in transaction.rows(_WINDOWS) if row.number < statement.window and row.is_kept]

    def told(name: str, recorded: Sequence[Recorded], course: Course) -> Told | None:
        stated = [Stated(row.closed_at, getattr(row, name)) for row in before]
        return told_of_last([*stated, Stated(statement.closed_at, getattr(statement, name))], recorded, course)

    return {
        "lodged": told("lodged_fen", _lodgings(transaction), LODGED),
        "paid_out": told("paid_out_fen", _receipts(transaction, statement.region), PAID_OUT),
    }


def _closing_fen(statement: Statement, lines: Mapping[LineKey, LineFigures], own: Mapping[str, int | None]) -> int:
    """Opening + lodged + prefunded - paid out + net, by our books as far as they tell: funders pay the clearinghouse
    themselves.
    """

    def known(name: str, stated_fen: int) -> int:
        found = own.get(name)
        return stated_fen if found is None else found

    opening_fen, lodged_fen = known("opening", statement.opening_fen), known("lodged", statement.lodged_fen)
    net = sum(net_fen(key, figures) for key, figures in lines.items())
    opening_fen += statement.prefunded_fen
    return opening_fen + lodged_fen - known("paid_out", statement.paid_out_fen) + net


def _lodgings(transaction: Transaction) -> list[Recorded]:
    """Paid to the clearinghouse, and not sent back by the bank."""
    return [Recorded(row.paid_at, row.amount_fen, row.bank_reference) for row in transaction.rows(_LODGINGS)]


def _receipts(transaction: Transaction, region: str) -> list[Recorded]:
    """Received from the clearinghouse."""
    rows = transaction.rows(_RECEIPTS, account=settlement_account(region))
    return [Recorded(row.received_at, row.amount_fen, row.bank_reference) for row in rows]
