"""Money in and out of the dedicated account: deposits, receipts nobody is known for yet, cures, pay-outs and those
that the bank returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from clearinghouse import schema
from clearinghouse.arrears import cure
from clearinghouse.balances import Promises, settlement_fen
from clearinghouse.desk import Desk
from clearinghouse.domain.funding_modes import FundingMode
from clearinghouse.prefunding import purse_of
from custodian.prefund import Funder
from quanlian.accounts import bank_account, settlement_account, suspense_account
from quanlian.bank_references import booked_form
from quanlian.errors import InvalidInput
from quanlian.ledger import Movement
from quanlian.money import yuan

BANK = bank_account("clearinghouse")
CHECK_REFERENCE = "核对银行流水号 · check the bank's reference"
REVERSE_IT = (
    f"{CHECK_REFERENCE}；登记有误的先冲正 · if it was recorded wrongly, reverse it first: "
    "quanlian clearinghouse reverse-deposit"
)


@dataclass(slots=True)
class RecordDeposit:
    """Dr `bank` / Cr `settlement`; of a funder Cr `prefund`, without a region Cr `suspense`. A bank reference is
    booked once.

    Gives what stands on the account that is credited, in fen.
    """

    region: str
    amount_fen: int
    bank_reference: str
    memo: str = ""
    funder: Funder | None = None

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> int:
        require_payment("deposit", self.amount_fen)
        self.bank_reference = as_booked(desk, self.bank_reference)
        if self.region or self.funder:
            require_enrolled(desk, self.region)
        account, known = _credited(desk, self.region, self.funder), _deposit(desk, self.bank_reference)
        if known is None:
            require_new_reference(desk, self.bank_reference)
            self._book(desk, account)
        elif (known.account, known.amount_fen) != (account, self.amount_fen):
            raise InvalidInput(
                f"{self.bank_reference} 已登记为另一笔来款 · {self.bank_reference} was booked for another deposit",
                place="bank_reference",
                remedy=REVERSE_IT,
            )
        return -desk.books.posted_fen(account)

    def _book(self, desk: Desk, account: str) -> None:
        money = [Movement(BANK, "", posted_fen=self.amount_fen), Movement(account, "", posted_fen=-self.amount_fen)]
        desk.books.book("deposit" if self.region else "receipt", desk.at, self.bank_reference, money)
        desk.transaction.insert(
            schema.deposit,
            [
                {
                    "bank_reference": self.bank_reference,
                    "region": self.region,
                    "account": account,
                    "amount_fen": self.amount_fen,
                    "received_at": desk.at,
                    "settlement_window": desk.window,
                    "memo": self.memo,
                    "assigned": False,
                }
            ],
        )
        if self.region:
            _credit(desk, self.region, self.funder, self.amount_fen, self.bank_reference)


@dataclass(slots=True)
class AssignReceipt:
    """Dr `suspense` / Cr `settlement`, of a funder `prefund`: it is found out whose a receipt is."""

    bank_reference: str
    region: str
    funder: Funder | None = None

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> int:
        require_enrolled(desk, self.region)
        self.bank_reference = as_booked(desk, self.bank_reference)
        account, known = _credited(desk, self.region, self.funder), _deposit(desk, self.bank_reference)
        if known is None:
            raise InvalidInput(
                f"没有来款 {self.bank_reference} · no receipt {self.bank_reference}",
                place="bank_reference",
                remedy="先列出待认领来款 · list the receipts",
            )
        if known.account not in (suspense_account(), account):
            raise InvalidInput(
                f"{self.bank_reference} 已归 {known.account} · {self.bank_reference} is {known.account}'s already",
                place="bank_reference",
                remedy=REVERSE_IT,
            )
        if known.account == suspense_account():
            found = [
                Movement(suspense_account(), "", posted_fen=known.amount_fen),
                Movement(account, "", posted_fen=-known.amount_fen),
            ]
            desk.books.book("assignment", desk.at, self.bank_reference, found)
            owner = {
                "region": self.region,
                "account": account,
                "settlement_window": desk.window,
                "assigned": True,
            }
            desk.transaction.update(schema.deposit, {"bank_reference": self.bank_reference}, owner)
            _credit(desk, self.region, self.funder, known.amount_fen, self.bank_reference)
        return -desk.books.posted_fen(account)


@dataclass(slots=True)
class PayOut:
    """Dr `settlement` / Cr `bank`, at a region's wish: what it has lodged too much, or what was withheld and is cured.

    Must leave what the region owes within its limit, what instructed windows take or pay out, and what is withheld
    while others are in arrears.
    """

    region: str
    amount_fen: int
    bank_reference: str

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> int:
        require_enrolled(desk, self.region)
        require_payment("pay-out", self.amount_fen)
        self.bank_reference = as_booked(desk, self.bank_reference)
        table = schema.payout
        known = desk.transaction.select_keys(table, [table.c.bank_reference], [(self.bank_reference,)])
        if not known:
            require_new_reference(desk, self.bank_reference)
            self._require_enough(desk)
            book_payout(desk, self.region, self.amount_fen, self.bank_reference)
            desk.watch(self.region)
        elif (known[0].region, known[0].amount_fen) != (self.region, self.amount_fen):
            raise InvalidInput(
                f"{self.bank_reference} 已登记为另一笔付款 · {self.bank_reference} was booked for another payment",
                place="bank_reference",
                remedy=CHECK_REFERENCE,
            )
        return settlement_fen(desk, self.region)

    def _require_enough(self, desk: Desk) -> None:
        position = desk.position(self.region)
        promises = Promises(desk)
        own_fen = promises.there_fen(self.region) + desk.prefund_fen(self.region)
        covering_fen = own_fen + position.credit_line_fen - position.arrears_fen
        free_fen = min(promises.free_fen(self.region), covering_fen - position.exposure_fen)
        if self.amount_fen > free_fen:
            raise InvalidInput(
                f"{self.region} 现可提取{yuan(max(0, free_fen))}元 · "
                f"{self.region} may take out {yuan(max(0, free_fen))} yuan now, not {yuan(self.amount_fen)}",
                place="pay-out",
                remedy="须留足未结清场次的应付、已出具指令的付款和他地欠付的部分 · "
                "leave what it owes in windows not yet settled, what is instructed to be paid, and what others in "
                "arrears owe it",
            )


class Returned(NamedTuple):
    """A pay-out that the bank sent back, and what its region has at the clearinghouse then, in fen."""

    region: str
    amount_fen: int
    settlement_fen: int


@dataclass(slots=True)
class MarkReturned:
    """Dr `bank` / Cr `settlement`: the bank sent a pay-out back (退汇). Told again it changes nothing.

    The money is the region's again and cures its arrears first; what is free of it goes out by another pay-out.
    """

    pay_out: str
    """The bank's reference of the pay-out."""
    bank_reference: str
    """Of its return."""

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> Returned:
        self.pay_out, self.bank_reference = as_booked(desk, self.pay_out), as_booked(desk, self.bank_reference)
        table = schema.payout
        rows = desk.transaction.select_keys(table, [table.c.bank_reference], [(self.pay_out,)])
        if not rows:
            raise InvalidInput(
                f"没有已入账的划出 {self.pay_out} · no pay-out {self.pay_out} is booked",
                place="pay-out",
                remedy="核对其流水号；属场次付款的，先结清该场次 · "
                "check its reference; if it is of a window, settle its window first",
            )
        payout = rows[0]
        if payout.returned_reference is None:
            require_new_reference(desk, self.bank_reference)
            self._book(desk, payout.region, payout.amount_fen)
        elif payout.returned_reference != self.bank_reference:
            raise InvalidInput(
                f"{self.pay_out} 已以 {payout.returned_reference} 登记退汇 · "
                f"{self.pay_out} was returned as {payout.returned_reference}",
                place="bank_reference",
                remedy=CHECK_REFERENCE,
            )
        return Returned(payout.region, payout.amount_fen, settlement_fen(desk, payout.region))

    def _book(self, desk: Desk, region: str, amount_fen: int) -> None:
        desk.books.book("returned-pay-out", desk.at, self.bank_reference, payout_movements(region, -amount_fen))
        returned = {
            "returned_reference": self.bank_reference,
            "returned_at": desk.at,
            "returned_window": desk.window,
        }
        desk.transaction.update(schema.payout, {"bank_reference": self.pay_out}, returned)
        _arrived(desk, region, self.bank_reference)


def _credited(desk: Desk, region: str, funder: Funder | None) -> str:
    """The account that money from a region, of one of its funders or of nobody known is credited to."""
    if funder:
        _require_paying_ahead(desk, region)
        return purse_of(desk, region, funder)
    return settlement_account(region) if region else suspense_account()


def _require_paying_ahead(desk: Desk, region: str) -> None:
    if desk.funding_mode(region) is FundingMode.ADVANCED:
        raise InvalidInput(
            f"{region} 为垫付方式，不收预拨 · {region} is on credit alone: nobody pays ahead for it",
            place="deposit",
            remedy="先以 limits 改为 mixed；属地区存入的不写出资方 · "
            "set its mode to mixed first, or leave the funder out if the region lodged it",
        )


def _credit(desk: Desk, region: str, funder: Funder | None, amount_fen: int, reference: str) -> None:
    """What a funder paid ahead stands for its own use; what a region lodged cures its arrears first."""
    if funder:
        desk.move_prefund(region, amount_fen)
        desk.watch(region)
    else:
        _arrived(desk, region, reference)


def _arrived(desk: Desk, region: str, reference: str) -> None:
    """What arrived cures arrears first."""
    cure(desk, [region], reference, Promises(desk))
    desk.watch(region)


def book_payout(desk: Desk, region: str, amount_fen: int, bank_reference: str) -> None:
    """The bank's payment to a region as an entry of its own. Raises InvalidInput for more than is there."""
    paid_ahead_fen = sum(map(desk.prefund_fen, desk.regions))
    there_fen = min(settlement_fen(desk, region), desk.books.posted_fen(BANK) - paid_ahead_fen)
    if amount_fen > there_fen:
        raise InvalidInput(
            f"{region} 在专用账户仅有{yuan(there_fen)}元，不足{yuan(amount_fen)}元 · "
            f"{region} has {yuan(there_fen)} yuan in the dedicated account, less than {yuan(amount_fen)}",
            place="pay-out",
            remedy="核对银行回单 · compare with what the bank says",
        )
    desk.books.book("pay-out", desk.at, bank_reference, payout_movements(region, amount_fen))
    desk.transaction.insert(
        schema.payout,
        [
            {
                "bank_reference": bank_reference,
                "region": region,
                "amount_fen": amount_fen,
                "paid_at": desk.at,
                "settlement_window": desk.window,
                "returned_reference": None,
                "returned_at": None,
                "returned_window": None,
            }
        ],
    )


def payout_movements(region: str, amount_fen: int) -> list[Movement]:
    """Of a payment to a region; negative: of its return."""
    return [
        Movement(settlement_account(region), "", posted_fen=amount_fen),
        Movement(BANK, "", posted_fen=-amount_fen),
    ]


def require_payment(what: str, amount_fen: int) -> None:
    """Raises InvalidInput for a payment of nothing or less."""
    if amount_fen <= 0:
        raise InvalidInput(
            f"金额{yuan(amount_fen)}元须大于零 · the amount of {yuan(amount_fen)} must be above zero",
            place=what,
            remedy="写实际到账或付出的金额 · give what the bank's receipt says",
        )


def require_new_reference(desk: Desk, bank_reference: str) -> None:
    """A bank reference names one payment, deposit, pay-out or return of one. Raises InvalidInput."""
    if is_booked(desk, bank_reference):
        raise InvalidInput(
            f"{bank_reference} 是另一笔款项的流水号 · {bank_reference} names another payment",
            place="bank_reference",
            remedy=CHECK_REFERENCE,
        )


def as_booked(desk: Desk, typed: str) -> str:
    """A bank reference in the form in which it is booked; as typed where older books have it so."""
    return typed if is_booked(desk, typed) else booked_form(typed)


def is_booked(desk: Desk, bank_reference: str) -> bool:
    """Whether it names a payment, deposit, pay-out or return of one."""
    tables = (schema.deposit, schema.payout, schema.prefund_return)
    columns = (*(table.c.bank_reference for table in tables), schema.payout.c.returned_reference)
    find, position = desk.transaction.select_keys, schema.net_position
    marked = bank_reference != "" and find(position, [position.c.bank_reference], [(bank_reference,)])
    return bool(marked) or any(find(column.table, [column], [(bank_reference,)]) for column in columns)


def require_enrolled(desk: Desk, region: str) -> None:
    if region not in desk.regions:
        raise InvalidInput(
            f"{region} 尚未接入 · {region} is not enrolled", place="region", remedy="先接入该地区 · enrol it first"
        )


def _deposit(desk: Desk, bank_reference: str) -> Any:
    table = schema.deposit
    rows = desk.transaction.select_keys(table, [table.c.bank_reference], [(bank_reference,)])
    return rows[0] if rows else None
