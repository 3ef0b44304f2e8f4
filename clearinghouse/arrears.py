"""Shortfall, arrears, suspension and cure, each as entries of their own (money.md, Settlement windows)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from clearinghouse.balances import Promises, arrears_fen
from clearinghouse.desk import Desk
from clearinghouse.domain import arrears
from clearinghouse.suspending import end_suspension_for_arrears, suspend_for_arrears
from quanlian import netting
from quanlian.ledger import Movement
from quanlian.money import yuan


def stand_in_arrears(desk: Desk, promises: Promises, reference: str) -> int:
    """Book what each debtor of a window lacks. Returns what its creditors go without, the debtors' sum."""
    lacking_fen = 0
    moved: list[Movement] = []
    for region in desk.regions:
        change = arrears.shortfall(promises.balance(region))
        moved += arrears.arrears_movements(region, change.arrears_fen)
        desk.withhold(region, -change.passed_on_fen)
        lacking_fen += sum(change)
    desk.books.book("arrears", desk.at, reference, moved)
    return lacking_fen


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
    """Suspend every region that is left in arrears by a settlement, unless it is suspended already."""
    for region in desk.regions:
        fen = arrears_fen(desk, region)
        if fen:
            why = f"场次{window}结清后欠款{yuan(fen)}元 · in arrears of {yuan(fen)} yuan after window {window}"
            suspend_for_arrears(desk, region, why)
