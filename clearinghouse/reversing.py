"""Reversing entries (冲正): a deposit that was recorded wrongly, or a receipt that was assigned to the wrong region.

What is booked stays; an entry of the opposite takes it back in the window that is open now, and a row tells who, why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clearinghouse import schema
from clearinghouse.balances import Promises
from clearinghouse.desk import Desk
from clearinghouse.money import BANK, CHECK_REFERENCE, as_booked
from clearinghouse.prefunding import standing_fen
from quanlian.accounts import suspense_account
from quanlian.errors import InvalidInput
from quanlian.ledger import Movement
from quanlian.money import yuan

REVERSED_DEPOSIT, REVERSED_ASSIGNMENT = "reversed-deposit", "reversed-assignment"
"""Kinds of the journal's entries, under the bank reference of what they take back."""
_DEPOSIT, _REVERSAL = schema.deposit, schema.deposit_reversal


@dataclass(slots=True)
class ReverseDeposit:
    """Take back what a bank reference was last booked for. Gives the row that tells of it.

    An assigned receipt is nobody's again: Dr `settlement` or `prefund` / Cr `suspense`. A deposit, or a receipt in
    suspense, never came: Dr its account / Cr `bank`; its reference can be recorded anew. Told again with the same
    reason it changes nothing.
    """

    bank_reference: str
    by: str
    why: str

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> Any:
        if not self.why.strip():
            raise InvalidInput(
                "缺少理由 · has no reason", place="reversal", remedy="用 --why 写明 · give it with --why"
            )
        typed, self.bank_reference = self.bank_reference, as_booked(desk, self.bank_reference)
        named = [(each,) for each in sorted({typed, self.bank_reference})]
        told = desk.transaction.select_keys(_REVERSAL, [_REVERSAL.c.bank_reference], named)
        known = next((row for row in told if row.why == self.why), None)
        return known or self._reverse(desk)

    def _reverse(self, desk: Desk) -> Any:
        rows = desk.transaction.select_keys(_DEPOSIT, [_DEPOSIT.c.bank_reference], [(self.bank_reference,)])
        if not rows:
            raise InvalidInput(
                f"没有已登记的到账 {self.bank_reference} · no deposit or receipt {self.bank_reference} is booked",
                place="bank_reference",
                remedy=CHECK_REFERENCE,
            )
        deposit = rows[0]
        _require_nothing_given_back(desk, deposit)
        _require_standing(desk, deposit)
        kind = REVERSED_ASSIGNMENT if deposit.assigned else REVERSED_DEPOSIT
        desk.books.book(kind, desk.at, self.bank_reference, reversing_movements(deposit))
        key = {"bank_reference": self.bank_reference}
        if deposit.assigned:
            nobody = {"region": "", "account": suspense_account(), "assigned": False, "settlement_window": desk.window}
            desk.transaction.update(_DEPOSIT, key, nobody)
        else:
            chosen = _DEPOSIT.c.bank_reference == self.bank_reference
            desk.transaction.connection.execute(_DEPOSIT.delete().where(chosen))
        number = desk.books.next_number("reversal")
        desk.transaction.insert(_REVERSAL, [self._row(desk, deposit, number)])
        if deposit.account.startswith("prefund/"):
            desk.move_prefund(deposit.region, -deposit.amount_fen)
        if deposit.region:
            desk.watch(deposit.region)
        return desk.transaction.select_keys(_REVERSAL, [_REVERSAL.c.number], [(number,)])[0]

    def _row(self, desk: Desk, deposit: Any, number: int) -> dict[str, Any]:
        copied = ("bank_reference", "region", "account", "assigned", "amount_fen", "received_at", "settlement_window")
        return {
            "number": number,
            **{name: getattr(deposit, name) for name in (*copied, "memo")},
            "reversed_at": desk.at,
            "reversed_window": desk.window,
            "reversed_by": self.by,
            "why": self.why,
        }


def reversing_movements(deposit: Any) -> list[Movement]:
    """The opposite of a deposit's entry or, of an assigned receipt, of its assignment's."""
    return [
        Movement(deposit.account, "", posted_fen=deposit.amount_fen),
        Movement(suspense_account() if deposit.assigned else BANK, "", posted_fen=-deposit.amount_fen),
    ]


def _require_nothing_given_back(desk: Desk, deposit: Any) -> None:
    table = schema.prefund_return
    if desk.transaction.select_keys(table, [table.c.deposit], [(deposit.bank_reference,)]):
        raise InvalidInput(
            f"{deposit.bank_reference} 已退回出资方 · {deposit.bank_reference} went back to its funder already",
            place="reversal",
            remedy="与出资方核对 · settle it with the funder",
        )


def _require_standing(desk: Desk, deposit: Any) -> None:
    """Only money that is still there is taken back: what was used, settled or promised is no mistake of one entry."""
    if not deposit.region:
        return
    if deposit.account.startswith("prefund/"):
        there_fen = standing_fen(desk, deposit.account)
    else:
        there_fen = Promises(desk).free_fen(deposit.region)
    if deposit.amount_fen > there_fen:
        shown = yuan(max(0, there_fen))
        raise InvalidInput(
            f"{deposit.account} 现仅余{shown}元未动用，不足冲正{yuan(deposit.amount_fen)}元 · "
            f"{shown} yuan of {deposit.account} are neither used nor promised, "
            f"{yuan(deposit.amount_fen)} would be taken back",
            place="reversal",
            remedy="待该地区补足后再冲正 · reverse it once the region has lodged what is missing",
        )
