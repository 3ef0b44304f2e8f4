"""The dedicated account (专用账户): what came in, whose it is, and what is spoken for (money.md, Ledger)."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from chassis.database import Query
from custodian import schema as books_schema
from custodian.prefund import Funder
from node import schema
from node.desk import Desk
from node.publishing import current_terms
from quanlian.accounts import (
    VISITORS,
    bank_account,
    clearing_account,
    contribution_of,
    funding_of,
    prefund_of,
    settlement_account,
    suspense_account,
)
from quanlian.bank_references import booked_form
from quanlian.errors import InvalidInput
from quanlian.ledger import Movement
from quanlian.refusals import CHINA

ACQUIRER, RETURN, LODGING = "acquirer", "return", "lodging"
"""Kinds of payment."""
DEPOSIT, RECEIPT, ASSIGNMENT, PAYMENT = "deposit", "receipt", "assignment", "payment"
"""Kinds of the journal's entries, under the bank's reference: of a known payer, in suspense, assigned; paid."""
_USE, _WINDOW = schema.away_use.c, schema.settlement_window.c
_NOT_DRAWN = Query(
    sa.select(schema.away_use)
    .join(schema.settlement_window, _WINDOW.number == _USE.settlement_window)
    .where(_WINDOW.settled, _USE.used_fen != _USE.drawn_fen)
    .order_by(_USE.settlement_window, _USE.account)
)
_NOT_PAID = Query(sa.select(schema.payment.c["items"]).where(schema.payment.c.bank_reference.is_(None)))
CHECK_REFERENCE = "核对银行流水号 · check the bank's reference"
REVERSE_IT = (
    f"{CHECK_REFERENCE}；登记有误的先冲正 · if it was recorded wrongly, reverse it first: quanlian node reverse"
)


class Payer(NamedTuple):
    """Who paid something in: a funder of a campaign, the clearinghouse, or (nothing of it) nobody known yet.

    Campaign `visitors` is the region's standing fund for visitors, each year's a purse of its own: `fiscal_year` tells
    which year's use is paid, 0 for the present one.
    """

    campaign: str = ""
    funder: str = ""
    clearinghouse: bool = False
    fiscal_year: int = 0

    def account(self, desk: Desk) -> str:
        """Whose account is credited. Raises InvalidInput for a funder that the campaign does not have, or a year that
        cannot be.
        """
        funder, present = Funder(self.campaign, self.funder, self.fiscal_year), china_year(desk.at)
        if self.campaign == VISITORS:
            return funder.purse(desk.name, None, present)
        if self.campaign or self.fiscal_year:
            terms = current_terms(desk, self.campaign)
            return funder.purse(desk.name, terms.budgets() if terms else (), present)
        return settlement_account(desk.name) if self.clearinghouse else suspense_account()


@dataclass(slots=True)
class RecordReceipt:
    """Dr `bank` / Cr `prefund`, `settlement` or `suspense`. A bank reference is booked once.

    `at` is the bank's date in UTC seconds, 0 for now; told again with another one, the date is corrected. Gives what
    stands on the payer's account, in fen.
    """

    payer: Payer
    amount_fen: int
    bank_reference: str
    memo: str = ""
    at: int = 0

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> int:
        require_amount(self.amount_fen, "receipt")
        self.bank_reference = as_booked(desk, self.bank_reference)
        require_past(desk, self.at)
        account = self.payer.account(desk)
        known = receipt_of(desk, self.bank_reference)
        if known is None:
            require_new_reference(desk, self.bank_reference)
            self._book(desk, account)
        elif (known.account, known.amount_fen) != (account, self.amount_fen):
            raise InvalidInput(
                f"{self.bank_reference} 已登记为另一笔来款 · {self.bank_reference} was booked for another payment",
                place="funding",
                remedy=REVERSE_IT,
            )
        elif self.at:
            key = {"bank_reference": self.bank_reference}
            desk.transaction.update(schema.bank_receipt, key, {"received_at": self.at})
        return _standing_fen(desk, account)

    def _book(self, desk: Desk, account: str) -> None:
        money = receipt_movements(desk.name, account, self.amount_fen)
        desk.books.book(receipt_kind(account), desk.at, self.bank_reference, money)
        row = {
            "bank_reference": self.bank_reference,
            "account": account,
            "amount_fen": self.amount_fen,
            "received_at": self.at or desk.at,
            "memo": self.memo,
            "assigned": False,
        }
        desk.transaction.insert(schema.bank_receipt, [row])
        draw_settled(desk)


@dataclass(slots=True)
class AssignReceipt:
    """Dr `suspense` / Cr whose it is: it is found out who paid."""

    bank_reference: str
    payer: Payer

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> int:
        self.bank_reference = as_booked(desk, self.bank_reference)
        account, known = self.payer.account(desk), receipt_of(desk, self.bank_reference)
        if account == suspense_account():
            raise InvalidInput(
                "未写明来款方 · names nobody",
                place="receipt",
                remedy="写活动和出资方，或写清分平台 · name campaign and funder, or the clearinghouse",
            )
        if known is None or known.account not in (suspense_account(), account):
            reference = self.bank_reference
            fault = f"{reference} 不是已登记的来款 · {reference} is not a receipt"
            if known:
                fault = f"{reference} 已归 {known.account} · {reference} is {known.account}'s already"
            remedy = REVERSE_IT if known else "先列出来款 · list the receipts"
            raise InvalidInput(fault, place="receipt", remedy=remedy)
        if known.account == suspense_account():
            found = assignment_movements(account, known.amount_fen)
            desk.books.book(ASSIGNMENT, desk.at, self.bank_reference, found)
            key = {"bank_reference": self.bank_reference}
            desk.transaction.update(schema.bank_receipt, key, {"account": account, "assigned": True})
            draw_settled(desk)
        return _standing_fen(desk, account)


def receipt_kind(account: str) -> str:
    """Of the entry that books a receipt."""
    return RECEIPT if account == suspense_account() else DEPOSIT


def receipt_movements(region: str, account: str, fen: int) -> list[Movement]:
    """Money that comes, of whoever's account that is. Money that goes there is the opposite."""
    return [Movement(bank_account(region), "", posted_fen=fen), Movement(account, "", posted_fen=-fen)]


def assignment_movements(account: str, fen: int) -> list[Movement]:
    """A receipt in suspense that turns out to be somebody's."""
    return [Movement(suspense_account(), "", posted_fen=fen), Movement(account, "", posted_fen=-fen)]


def opposite(movements: Iterable[Movement]) -> list[Movement]:
    """What takes these back."""
    return [each._replace(posted_fen=-each.posted_fen) for each in movements]


def china_year(at: int) -> int:
    """The calendar year of a moment in Asia/Shanghai, which is the fiscal year."""
    return datetime.fromtimestamp(at, CHINA).year


def draw_settled(desk: Desk) -> None:
    """What own funders used away in settled windows comes out of what they paid ahead, as far as that reaches.

    Dr `prefund` / Cr `contribution`, an entry a window. A funder that owes is drawn on when its money comes.
    """
    desk.dues.save(desk.transaction)
    committed = committed_fen(desk)
    movements: dict[int, list[Movement]] = defaultdict(list)
    left: dict[str, int] = {}
    for row in desk.transaction.rows(_NOT_DRAWN):
        purse = prefund_of(row.account)
        free = left.setdefault(purse, -desk.books.balance(purse).posted_fen - committed[row.account])
        drawn = min(row.used_fen - row.drawn_fen, max(0, free))
        if drawn:
            left[purse] = free - drawn
            movements[row.settlement_window] += settled_use(row.account, drawn)
            key = {"settlement_window": row.settlement_window, "account": row.account}
            desk.transaction.update(schema.away_use, key, {"drawn_fen": row.drawn_fen + drawn})
    for number, moved in movements.items():
        desk.books.book("contribution", desk.at, f"window {number}", moved)


def draw_there(desk: Desk, window: int, parts: Mapping[str, int]) -> None:
    """What own funders paid ahead at the clearinghouse paid of their use in a window, by `prefund` account there.

    Dr `settlement`, where it stands now, / Cr `contribution`. Told again it changes nothing.
    """
    desk.dues.save(desk.transaction)
    use = schema.away_use
    movements: list[Movement] = []
    for purse, fen in parts.items():
        funding = funding_of(purse)
        rows = desk.transaction.select_keys(use, [use.c.settlement_window, use.c.account], [(window, funding)])
        if not rows:
            raise InvalidInput(f"{funding} used nothing", place=f"window {window}", remedy="quanlian node feed retry")
        more_fen = fen - rows[0].drawn_there_fen
        if more_fen:
            drawn = {"drawn_fen": rows[0].drawn_fen + more_fen, "drawn_there_fen": fen}
            desk.transaction.update(use, {"settlement_window": window, "account": funding}, drawn)
            movements.append(Movement(settlement_account(desk.name), "", posted_fen=more_fen))
            movements.append(Movement(contribution_of(funding), "", posted_fen=-more_fen))
    desk.books.book("contribution", desk.at, f"window {window}", movements)


def settled_use(funding: str, fen: int) -> list[Movement]:
    """Use that is settled comes out of what its funder paid ahead; what a refund gave back goes there again."""
    return [
        Movement(prefund_of(funding), "", posted_fen=fen),
        Movement(contribution_of(funding), "", posted_fen=-fen),
    ]


def committed_fen(desk: Desk) -> Counter[str]:
    """What payments that the bank has not made yet will take, by `funding` account; of `clearing` for the rest."""
    committed: Counter[str] = Counter()
    for (items,) in desk.transaction.rows(_NOT_PAID):
        for _, account, fen in json.loads(items):
            committed[account] += fen
    return committed


def free_money(desk: Desk) -> Counter[str]:
    """What may be paid out now, by who pays: what stands there, less what payments will take."""
    free = standing_money(desk)
    free.subtract(committed_fen(desk))
    return free


def standing_money(desk: Desk) -> Counter[str]:
    """What stands in the dedicated account, by `funding` account; and of `clearing`: what no funder paid ahead and
    nobody waits for, such as the clearinghouse's payments and money that settled use set free.
    """
    table = books_schema.account
    query = sa.select(table.c.account).where(table.c.account.startswith("prefund/"))
    purses = desk.transaction.connection.execute(query).scalars().all()
    standing = Counter({funding_of(each): -desk.books.balance(each).posted_fen for each in purses})
    bank = desk.books.balance(bank_account(desk.name)).posted_fen
    others = sum(standing.values()) - desk.books.balance(suspense_account()).posted_fen
    standing[clearing_account(desk.name)] = bank - others
    return standing


def require_past(desk: Desk, at: int) -> None:
    """Raises InvalidInput for a bank's date to come."""
    if at > desk.at:
        raise InvalidInput(
            f"{datetime.fromtimestamp(at, CHINA):%Y-%m-%d} 尚未到来 · is still to come",
            place="--at",
            remedy="写银行回单上的日期 · give the date of the bank's slip",
        )


def require_amount(amount_fen: int, place: str) -> None:
    if amount_fen <= 0:
        raise InvalidInput(
            "金额须大于零 · needs an amount above 0",
            place=place,
            remedy="照银行回单填写 · give what the bank's receipt says",
        )


def require_new_reference(desk: Desk, bank_reference: str) -> None:
    """A bank reference names one receipt, payment or return of one. Raises InvalidInput."""
    if _is_booked(desk, bank_reference):
        raise InvalidInput(
            f"{bank_reference} 是另一笔款项的流水号 · {bank_reference} names another payment",
            place="bank_reference",
            remedy=REVERSE_IT,
        )


def as_booked(desk: Desk, typed: str) -> str:
    """A bank reference in the form in which it is booked; as typed where older books have it so."""
    return typed if _is_booked(desk, typed) else booked_form(typed)


def _is_booked(desk: Desk, bank_reference: str) -> bool:
    """Whether it names a receipt, payment or return of one."""
    receipt, payment = schema.bank_receipt, schema.payment
    columns = (receipt.c.bank_reference, payment.c.bank_reference, payment.c.returned_reference)
    return any(desk.transaction.select_keys(column.table, [column], [(bank_reference,)]) for column in columns)


def _standing_fen(desk: Desk, account: str) -> int:
    """What a funder has paid ahead or nobody has claimed; what this region has at the clearinghouse."""
    posted_fen = desk.books.balance(account).posted_fen
    return posted_fen if account == settlement_account(desk.name) else -posted_fen


def receipt_of(desk: Desk, bank_reference: str) -> Any:
    """The receipt that a bank reference names, None where it names none."""
    table = schema.bank_receipt
    rows = desk.transaction.select_keys(table, [table.c.bank_reference], [(bank_reference,)])
    return rows[0] if rows else None
