"""Who lacks what when a window is settled, what cures it, and whose money is not there meanwhile (money.md).

Over all regions, what is withheld is what stands in arrears: the bank then holds what is free of every balance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from quanlian.accounts import arrears_account, settlement_account
from quanlian.ledger import Movement
from quanlian.money import allocate


class Balance(NamedTuple):
    """What a region has at the clearinghouse, in fen."""

    settlement_fen: int
    """Credit positive."""
    arrears_fen: int
    withheld_fen: int
    """Of `settlement_fen`, what is not there while others are in arrears."""
    promised_fen: int
    """Of `settlement_fen`, what is or may be under way to others: it pays no other debt."""

    @property
    def usable_fen(self) -> int:
        """What can pay its debts: what is there first, then what is withheld from it, which its creditors take on."""
        return self.settlement_fen - self.promised_fen


class Change(NamedTuple):
    """How a region's arrears change, and what of what was withheld from it its creditors take on, in fen."""

    arrears_fen: int
    passed_on_fen: int


def shortfall(balance: Balance) -> Change:
    """What a region lacks that a window has just been settled with; both amounts are its creditors' to go without."""
    usable_fen = balance.usable_fen
    return Change(max(0, -usable_fen), max(0, balance.withheld_fen - max(0, usable_fen)))


def cure(balance: Balance) -> Change:
    """What a region's balance pays of its arrears. The rest of the amount paid frees what is withheld from others."""
    paid_fen = max(0, min(balance.arrears_fen, balance.usable_fen))
    return Change(-paid_fen, max(0, balance.withheld_fen - balance.usable_fen + paid_fen) if paid_fen else 0)


def arrears_movements(region: str, change_fen: int) -> list[Movement]:
    """What `settlement` cannot cover stands in `arrears`; negative: a cure."""
    if not change_fen:
        return []
    return [
        Movement(arrears_account(region), "", posted_fen=change_fen),
        Movement(settlement_account(region), "", posted_fen=-change_fen),
    ]


class Shortfall(NamedTuple):
    """What a settlement left a region owing, or what is left of it; fen and UTC seconds."""

    settlement_window: int
    fen: int
    due_at: int
    """The first second at which it is past due."""


def unpaid(shortfalls: Sequence[Shortfall], arrears_fen: int) -> list[Shortfall]:
    """What is left of each where `arrears_fen` are left of all, the oldest first: cures pay the oldest first."""
    left = []
    for each in reversed(shortfalls):
        fen = min(each.fen, arrears_fen)
        arrears_fen -= fen
        if fen:
            left.append(each._replace(fen=fen))
    return left[::-1]


def past_due_fen(shortfalls: Iterable[Shortfall], at: int) -> int:
    return sum(each.fen for each in shortfalls if each.due_at <= at)


def released_after_cure(withheld: Mapping[str, int], cured_fen: int) -> dict[str, int]:
    """How much of what is withheld from each region is free again: `allocate(cured, withheld)`, by region code."""
    regions = sorted(withheld)
    parts = allocate(cured_fen, [withheld[region] for region in regions])
    return dict(zip(regions, parts, strict=True))
