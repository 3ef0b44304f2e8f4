"""Reversing entries (冲正): a receipt or lodging that was recorded wrongly, or a receipt assigned to the wrong payer.

What is booked stays; an entry of the opposite takes it back, and a row tells who, when and why (money.md, Bank entries
taken back).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from custodian import schema as books_schema
from node import schema
from node.bank import (
    ASSIGNMENT,
    CHECK_REFERENCE,
    DEPOSIT,
    LODGING,
    PAYMENT,
    RETURN,
    as_booked,
    assignment_movements,
    committed_fen,
    opposite,
    receipt_kind,
    receipt_movements,
    receipt_of,
    standing_money,
)
from node.desk import Desk
from quanlian.accounts import bank_account, clearing_account, funding_of, settlement_account, suspense_account
from quanlian.errors import InvalidInput
from quanlian.ledger import Movement
from quanlian.money import yuan

_RECEIPT, _PAYMENT, _REVERSAL = schema.bank_receipt, schema.payment, schema.bank_reversal


class Reversed(NamedTuple):
    """The row that tells of a reversal; `before`: it was told already, and nothing was changed now."""

    row: Any
    before: bool


@dataclass(slots=True)
class Reverse:
    """Take back what a bank reference was last booked for, as long as the money was not used.

    An assigned receipt is nobody's again: Dr `prefund` or `settlement` / Cr `suspense`. Any other receipt never came:
    Dr its account / Cr `bank`; a lodging never went: Dr `bank` / Cr `settlement`. Their reference can be recorded anew.
    Told again with the same reason it changes nothing.
    """

    bank_reference: str
    by: str
    why: str

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> Reversed:
        if not self.why.strip():
            raise InvalidInput(
                "缺少理由 · has no reason", place="reversal", remedy="用 --why 写明 · give it with --why"
            )
        typed, self.bank_reference = self.bank_reference, as_booked(desk, self.bank_reference)
        named = [(each,) for each in sorted({typed, self.bank_reference})]
        told = desk.transaction.select_keys(_REVERSAL, [_REVERSAL.c.bank_reference], named)
        known = next((row for row in told if row.why == self.why), None)
        return Reversed(known, before=True) if known else Reversed(self._reverse(desk), before=False)

    def _reverse(self, desk: Desk) -> Any:
        receipt = receipt_of(desk, self.bank_reference)
        taken = _take_receipt(desk, receipt) if receipt else _take_lodging(desk, self.bank_reference)
        number = desk.books.next_number("reversal")
        told = {"bank_reference": self.bank_reference, "reversed_at": desk.at, "reversed_by": self.by, "why": self.why}
        desk.transaction.insert(_REVERSAL, [{"number": number, **told, **taken}])
        (row,) = desk.transaction.select_keys(_REVERSAL, [_REVERSAL.c.number], [(number,)])
        taken_back = opposite(reversed_movements(desk.name, row))
        desk.books.book(reversing_kind(row.kind), desk.at, self.bank_reference, taken_back)
        return row


def reversing_kind(kind: str) -> str:
    """Of the entry that takes back one of `kind`."""
    return f"reversed-{kind}"


def reversed_movements(region: str, reversal: Any) -> list[Movement]:
    """What the entry had moved that was taken back."""
    if reversal.kind == ASSIGNMENT:
        return assignment_movements(reversal.account, reversal.amount_fen)
    received = receipt_movements(region, reversal.account, reversal.amount_fen)
    return opposite(received) if reversal.kind == PAYMENT else received


def _take_receipt(desk: Desk, receipt: Any) -> dict[str, Any]:
    """Of an assigned one its assignment alone. Gives what its row said."""
    _require_nothing_given_back(desk, receipt)
    _require_unused(desk, receipt)
    if receipt.assigned:
        nobodys = {"account": suspense_account(), "assigned": False}
        desk.transaction.update(_RECEIPT, {"bank_reference": receipt.bank_reference}, nobodys)
    else:
        chosen = _RECEIPT.c.bank_reference == receipt.bank_reference
        desk.transaction.connection.execute(_RECEIPT.delete().where(chosen))
    return {
        "kind": ASSIGNMENT if receipt.assigned else receipt_kind(receipt.account),
        "account": receipt.account,
        "amount_fen": receipt.amount_fen,
        "banked_at": receipt.received_at,
        "memo": receipt.memo,
        "payment": None,
        "made_by": "",
    }


def _take_lodging(desk: Desk, bank_reference: str) -> dict[str, Any]:
    """Nothing here is decided by what stands at the clearinghouse, so it does not matter what was drawn on there."""
    payment = _standing_lodging(desk, bank_reference)
    desk.transaction.connection.execute(_PAYMENT.delete().where(_PAYMENT.c.number == payment.number))
    return {
        "kind": PAYMENT,
        "account": settlement_account(desk.name),
        "amount_fen": payment.amount_fen,
        "banked_at": payment.paid_at,
        "memo": "",
        "payment": payment.number,
        "made_by": payment.made_by,
    }


def _standing_lodging(desk: Desk, bank_reference: str) -> Any:
    rows = desk.transaction.select_keys(_PAYMENT, [_PAYMENT.c.bank_reference], [(bank_reference,)])
    if not rows:
        raise InvalidInput(
            f"没有已登记的到账或缴存 {bank_reference} · no receipt or lodging {bank_reference} is booked",
            place="bank_reference",
            remedy=CHECK_REFERENCE,
        )
    (payment,) = rows
    if payment.kind != LODGING:
        raise InvalidInput(
            f"{bank_reference} 是付款{payment.number}的流水号，只冲正到账和缴存 · "
            f"{bank_reference} names payment {payment.number}: only receipts and lodgings are reversed",
            place="reversal",
            remedy="银行退汇的，登记退汇 · if the bank sent it back, tell so: quanlian node payments returned",
        )
    if payment.returned_reference:
        shown, returned = yuan(payment.amount_fen), payment.returned_reference
        raise InvalidInput(
            f"{bank_reference} 的{shown}元已以 {returned} 退汇 · "
            f"the bank sent the {shown} yuan of {bank_reference} back as {returned}",
            place="reversal",
            remedy="款项已回账，无须冲正 · they are in the account again: there is nothing to reverse",
        )
    return payment


def _require_nothing_given_back(desk: Desk, receipt: Any) -> None:
    rows = desk.transaction.connection.execute(
        _PAYMENT.select().where(
            _PAYMENT.c.kind == RETURN,
            _PAYMENT.c.deposit == receipt.bank_reference,
            _PAYMENT.c.returned_reference.is_(None),
        )
    ).all()
    if rows:
        numbers, shown = ", ".join(str(row.number) for row in rows), yuan(sum(row.amount_fen for row in rows))
        raise InvalidInput(
            f"{receipt.bank_reference} 的{shown}元已退或待退出资方（付款{numbers}） · "
            f"{shown} yuan of {receipt.bank_reference} go back to its funder: payment {numbers}",
            place="reversal",
            remedy="与出资方核对 · settle it with the funder",
        )


def _require_unused(desk: Desk, receipt: Any) -> None:
    """Only money that is still there is taken back: what was used or is promised is no mistake of one entry."""
    if receipt.account == suspense_account():
        return
    unused_fen = _unused_fen(desk, receipt)
    if receipt.amount_fen > unused_fen:
        shown, needed = yuan(max(0, unused_fen)), yuan(receipt.amount_fen)
        raise InvalidInput(
            f"{receipt.account} 现仅余{shown}元未动用，不足冲正{needed}元 · "
            f"{shown} yuan of {receipt.account} are neither used nor promised, {needed} would be taken back",
            place="reversal",
            remedy="待同一来款方补足后再冲正；实收较少的，先以加标记的流水号登记实收金额 · "
            "reverse it once what is missing has come from the same payer; "
            "if less came than was typed, first record that under its reference with a mark",
        )


def _unused_fen(desk: Desk, receipt: Any) -> int:
    """What of its payer's money is neither paid out nor made out to be.

    Where more was lodged than the clearinghouse and settled use had brought before the receipt came, that is nothing
    that the receipt was used for.
    """
    is_clearings = receipt.account == settlement_account(desk.name)
    payer = clearing_account(desk.name) if is_clearings else funding_of(receipt.account)
    standing_fen = standing_money(desk)[payer]
    lacked_fen = min(0, standing_fen - _moved_since(desk, receipt)) if is_clearings else 0
    return standing_fen - max(0, committed_fen(desk)[payer]) - lacked_fen


def _moved_since(desk: Desk, receipt: Any) -> int:
    """What the entry that made it the clearinghouse's money, and those after it, changed of money that is free."""
    entry, line = books_schema.entry, books_schema.line
    run = desk.transaction.connection.execute
    kind = ASSIGNMENT if receipt.assigned else DEPOSIT
    booked = sa.select(entry.c.number).where(entry.c.kind == kind, entry.c.reference == receipt.bank_reference)
    first = run(booked.order_by(entry.c.number.desc()).limit(1)).scalar_one()
    others = line.c.account.startswith("prefund/") | (line.c.account == suspense_account())
    moved = sa.select(sa.func.sum(line.c.posted_fen)).where(
        line.c.entry >= first, others | (line.c.account == bank_account(desk.name))
    )
    return int(run(moved).scalar_one())
