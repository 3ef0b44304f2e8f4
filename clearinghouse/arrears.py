"""Shortfall, arrears, suspension and cure, each as entries of their own (money.md, Settlement windows)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select

from chassis.database import Query, Transaction
from clearinghouse import schema
from clearinghouse.balances import Promises, arrears_fen
from clearinghouse.desk import Desk
from clearinghouse.domain import arrears
from clearinghouse.domain.arrears import Shortfall
from clearinghouse.domain.calendar_days import end_of_term
from clearinghouse.suspending import end_suspension_for_arrears, suspend_for_arrears
from quanlian import netting
from quanlian.ledger import Movement
from quanlian.money import yuan

_TABLE = schema.shortfall
_DUE = Query(select(_TABLE).where(_TABLE.c.called_at == 0, _TABLE.c.due_at <= bindparam("at")))


def stand_in_arrears(desk: Desk, promises: Promises, window: int) -> int:
    """Book what each debtor of a window lacks. Returns what its creditors go without, the debtors' sum."""
    lacking_fen = 0
    moved: list[Movement] = []
    for region in desk.regions:
        change = arrears.shortfall(promises.balance(region))
        moved += arrears.arrears_movements(region, change.arrears_fen)
        desk.withhold(region, -change.passed_on_fen)
        lacking_fen += sum(change)
        if change.arrears_fen:
            desk.transaction.insert(_TABLE, [_shortfall_row(desk, window, region, change.arrears_fen)])
    desk.books.book("arrears", desk.at, f"window {window}", moved)
    return lacking_fen


def _shortfall_row(desk: Desk, window: int, region: str, fen: int) -> dict[str, Any]:
    days = desk.credit_days(region)
    return {
        "settlement_window": window,
        "region": region,
        "amount_fen": fen,
        "at": desk.at,
        "due_at": end_of_term(desk.at, days) if days else desk.at,
        "called_at": 0,
    }


def unpaid_shortfalls(desk: Desk, region: str) -> list[Shortfall]:
    """What is left of what settlements left the region owing, the oldest first."""
    owed_fen = arrears_fen(desk, region)
    if not owed_fen:
        return []
    rows = sorted(desk.transaction.select_keys(_TABLE, [_TABLE.c.region], [(region,)]), key=_age)
    return arrears.unpaid([Shortfall(row.settlement_window, row.amount_fen, row.due_at) for row in rows], owed_fen)


def _age(row: Any) -> tuple[int, int]:
    return row.at, row.settlement_window


def withhold(desk: Desk, credits: Mapping[str, int], lacking_fen: int) -> dict[str, int]:
    """Take from each creditor's credit its part of what is lacking. Returns what is there of each credit, in fen."""
    there = netting.payouts_after_shortfall(credits, lacking_fen)
    for region, credit_fen in credits.items():
        desk.withhold(region, credit_fen - there[region])
    return there


def cure(desk: Desk, regions: Iterable[str], reference: str, promises: Promises) -> None:
    """What these regions have pays their arrears first; what is withheld from others is free again in proportion.

    Who has no arrears left is not suspended for them any more.
    """
    changes = {region: arrears.cure(promises.balance(region)) for region in regions if arrears_fen(desk, region)}
    moved: list[Movement] = []
    for region, change in changes.items():
        moved += arrears.arrears_movements(region, change.arrears_fen)
        desk.withhold(region, -change.passed_on_fen)
    freed_fen = -sum(sum(change) for change in changes.values())
    desk.books.book("cure", desk.at, reference, moved)
    withheld = {region: fen for region in desk.regions if (fen := desk.withheld_fen(region))}
    for creditor, fen in arrears.released_after_cure(withheld, freed_fen).items():
        desk.withhold(creditor, -fen)
    for region in changes:
        if not arrears_fen(desk, region):
            end_suspension_for_arrears(desk, region, f"{reference}：欠款已清 · its arrears are cured")


def suspend_debtors(desk: Desk, window: int) -> None:
    """Suspend every region that is past due after a settlement, unless it is suspended already."""
    for region in desk.regions:
        if arrears.past_due_fen(unpaid_shortfalls(desk, region), desk.at):
            fen = arrears_fen(desk, region)
            why = f"场次{window}结清后欠款{yuan(fen)}元 · in arrears of {yuan(fen)} yuan after window {window}"
            suspend_for_arrears(desk, region, why)
    _mark_called(desk, due_shortfalls(desk.transaction, desk.at))


@dataclass(slots=True)
class CallOverdue:
    """The credit days of shortfalls have passed: who has not paid is suspended, once for each of them.

    A region that the operator reactivated meanwhile stays so until another one is past due.
    """

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        due = due_shortfalls(desk.transaction, desk.at)
        for region in sorted({row.region for row in due}):
            windows = {row.settlement_window for row in due if row.region == region}
            late = [each for each in unpaid_shortfalls(desk, region) if each.settlement_window in windows]
            fen = sum(each.fen for each in late)
            if fen:
                why = f"欠款{yuan(fen)}元逾期未缴 · {yuan(fen)} yuan of its arrears are past due"
                suspend_for_arrears(desk, region, why)
        _mark_called(desk, due)


def due_shortfalls(transaction: Transaction, at: int) -> list[Any]:
    """Those whose credit days have passed and that were not called yet."""
    return transaction.rows(_DUE, at=at)


def _mark_called(desk: Desk, rows: Iterable[Any]) -> None:
    for row in rows:
        key = {"settlement_window": row.settlement_window, "region": row.region}
        desk.transaction.update(_TABLE, key, {"called_at": desk.at})
