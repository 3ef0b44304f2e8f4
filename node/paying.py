"""Paying acquirers, and marking what the bank paid (money.md, Paying acquirers)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from node import schema
from node.bank import (
    ACQUIRER,
    LODGING,
    PAYMENT,
    REVERSE_IT,
    as_booked,
    draw_settled,
    free_money,
    opposite,
    require_amount,
    require_new_reference,
    require_past,
    settled_use,
)
from node.desk import Desk
from node.domain.payment_plan import Due, HeldBack, plan
from node.dues import AT_ONCE
from quanlian.accounts import bank_account, clearing_account, payable_account, prefund_of, settlement_account
from quanlian.errors import InvalidInput
from quanlian.ledger import Movement


class Item(NamedTuple):
    """A part of a payment: what it is for, by window and account."""

    window: int
    account: str
    fen: int


class Instructed(NamedTuple):
    """Payments made out, by number, and what waits for want of money."""

    numbers: list[int]
    held_back: list[HeldBack]


@dataclass(slots=True)
class InstructPayments:
    """Make out a payment to each acquirer for all that is due and covered.

    Due are redemptions decided here, and away ones of settled windows.
    """

    by: str

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> Instructed:
        draw_settled(desk)
        planned = plan(dues(desk), free_money(desk))
        numbers = []
        for acquirer, own in sorted(planned.payments.items()):
            items = [Item(each.window, each.account, each.fen) for each in own]
            numbers.append(make_out(desk, ACQUIRER, acquirer, items, self.by))
            for each in own:
                _add_instructed(desk, each)
        return Instructed(numbers, planned.held_back)


@dataclass(slots=True)
class MarkPaid:
    """The bank's word that a payment was made; told again it changes nothing.

    To an acquirer: Dr `payable` / Cr `bank`, and for each funder's part Dr `prefund` / Cr `contribution`. Back to a
    funder: Dr `prefund` / Cr `bank`.
    """

    number: int
    bank_reference: str

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        payment = _payment(desk, self.number)
        self.bank_reference = as_booked(desk, self.bank_reference)
        if payment.bank_reference == self.bank_reference:
            return
        if payment.bank_reference:
            raise InvalidInput(
                f"付款{self.number}的流水号：{payment.bank_reference} · "
                f"payment {self.number} is marked with {payment.bank_reference}",
                place="bank_reference",
                remedy="写该笔付款的银行流水号 · give the bank's reference of this payment",
            )
        require_new_reference(desk, self.bank_reference)
        desk.books.book(PAYMENT, desk.at, self.bank_reference, payment_movements(desk.name, payment))
        made = {"bank_reference": self.bank_reference, "paid_at": desk.at}
        desk.transaction.update(schema.payment, {"number": self.number}, made)


@dataclass(slots=True)
class MarkReturned:
    """The bank's word that it sent a payment back (退汇); told again it changes nothing.

    Moves the opposite of what the payment moved. What an acquirer was paid for is due again; a funder's money goes
    back by closing out again.
    """

    number: int
    bank_reference: str

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        payment = _payment(desk, self.number)
        self.bank_reference = as_booked(desk, self.bank_reference)
        if payment.returned_reference == self.bank_reference:
            return
        self._require_returnable(payment)
        require_new_reference(desk, self.bank_reference)
        returning = opposite(payment_movements(desk.name, payment))
        desk.books.book("returned-payment", desk.at, self.bank_reference, returning)
        returned = {"returned_reference": self.bank_reference, "returned_at": desk.at}
        desk.transaction.update(schema.payment, {"number": self.number}, returned)
        if payment.kind == ACQUIRER:
            for item in items_of(payment):
                _add_instructed(desk, Due(item.window, payment.payee, item.account, -item.fen))

    def _require_returnable(self, payment: Any) -> None:
        if payment.returned_reference:
            raise InvalidInput(
                f"付款{self.number}已以 {payment.returned_reference} 登记退汇 · "
                f"payment {self.number} was returned as {payment.returned_reference}",
                place="bank_reference",
                remedy="核对付款编号 · check the payment's number",
            )
        if not payment.bank_reference:
            raise InvalidInput(
                f"付款{self.number}尚未登记已付 · payment {self.number} was not made",
                place="payment",
                remedy="先登记已付 · mark it as paid first",
            )


@dataclass(slots=True)
class Lodge:
    """Dr `settlement` / Cr `bank`: the region paid the clearinghouse, as the bank tells. A reference is booked once.

    `at` is the bank's date in UTC seconds, 0 for now; told again with another one, the date is corrected.
    """

    amount_fen: int
    bank_reference: str
    by: str
    at: int = 0

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> int:
        """What stands at the clearinghouse by this node's books, in fen."""
        require_amount(self.amount_fen, "lodging")
        self.bank_reference = as_booked(desk, self.bank_reference)
        require_past(desk, self.at)
        table, account = schema.payment, settlement_account(desk.name)
        known = desk.transaction.select_keys(table, [table.c.bank_reference], [(self.bank_reference,)])
        number = known[0].number if known else 0
        if not known:
            items = [Item(AT_ONCE, account, self.amount_fen)]
            number = make_out(desk, LODGING, "clearinghouse", items, self.by)
            MarkPaid(number, self.bank_reference).decide(desk)
        elif (known[0].kind, known[0].amount_fen) != (LODGING, self.amount_fen):
            raise InvalidInput(
                f"{self.bank_reference} 是另一笔款项的流水号 · {self.bank_reference} names another payment",
                place="bank_reference",
                remedy=REVERSE_IT,
            )
        if self.at:
            desk.transaction.update(table, {"number": number}, {"paid_at": self.at})
        return desk.books.balance(account).posted_fen


def dues(desk: Desk) -> list[Due]:
    """What acquirers have to get that no payment is made out for: of now, and of settled windows."""
    desk.dues.save(desk.transaction)
    due, window = schema.acquirer_due, schema.settlement_window
    settled = sa.select(window.c.number).where(window.c.settled)
    query = due.select().where(
        due.c.owed_fen != due.c.instructed_fen,
        (due.c.settlement_window == AT_ONCE) | due.c.settlement_window.in_(settled),
    )
    rows: Sequence[Any] = desk.transaction.connection.execute(query).all()
    return [Due(row.settlement_window, row.acquirer, row.account, row.owed_fen - row.instructed_fen) for row in rows]


def make_out(
    desk: Desk, kind: str, payee: str, items: Sequence[Item], by: str, campaign: str = "", deposit: str = ""
) -> int:
    """A payment for the bank to make; returns its number."""
    number = desk.books.next_number("payment")
    row = {
        "number": number,
        "kind": kind,
        "payee": payee,
        "amount_fen": sum(item.fen for item in items),
        "items": json.dumps(items, separators=(",", ":")),
        "campaign": campaign,
        "deposit": deposit,
        "made_at": desk.at,
        "made_by": by,
        "bank_reference": None,
        "paid_at": None,
        "returned_reference": None,
        "returned_at": None,
    }
    desk.transaction.insert(schema.payment, [row])
    return number


def items_of(payment: Any) -> list[Item]:
    """What a payment is made up of."""
    return [Item(*each) for each in json.loads(payment.items)]


def payment_movements(region: str, payment: Any) -> list[Movement]:
    """What a payment that the bank made moves."""
    paid = Movement(bank_account(region), "", posted_fen=-payment.amount_fen)
    items = items_of(payment)
    if payment.kind != ACQUIRER:
        charged = [item.account if payment.kind == LODGING else prefund_of(item.account) for item in items]
        return [paid, *(Movement(to, "", posted_fen=item.fen) for to, item in zip(charged, items, strict=True))]
    funders = [item for item in items if item.account != clearing_account(region)]
    uses = [movement for item in funders for movement in settled_use(item.account, item.fen)]
    return [Movement(payable_account(payment.payee), "", posted_fen=payment.amount_fen), paid, *uses]


def _payment(desk: Desk, number: int) -> Any:
    """Raises InvalidInput where there is none of that number."""
    table = schema.payment
    rows = desk.transaction.select_keys(table, [table.c.number], [(number,)])
    if not rows:
        raise InvalidInput(
            f"没有付款{number} · no payment {number}", place="payment", remedy="先列出各笔付款 · list the payments"
        )
    return rows[0]


def _add_instructed(desk: Desk, due: Due) -> None:
    table = schema.acquirer_due
    desk.transaction.connection.execute(
        table.update()
        .where(
            table.c.settlement_window == due.window,
            table.c.acquirer == due.acquirer,
            table.c.account == due.account,
        )
        .values(instructed_fen=table.c.instructed_fen + due.fen)
    )
