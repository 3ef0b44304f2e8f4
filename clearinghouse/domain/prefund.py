"""What funders paid ahead at the clearinghouse, and what of it settled windows used (money.md, Ledger)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from clearinghouse.domain.windows import Turnover, funding
from quanlian.accounts import MERCHANT, account_region, prefund_of, settlement_account
from quanlian.ledger import Movement


def uses(region: str, turnovers: Iterable[Turnover]) -> Counter[str]:
    """What each of a region's funders used in windows, net of refunds, by the `prefund` account that would bear it."""
    used: Counter[str] = Counter()
    for each in turnovers:
        account = funding(each.account)
        if account and account.region == region and account.funder != MERCHANT:
            used[prefund_of(each.account)] += each.posted_fen
    return used


def used_first(used: Mapping[str, int], standing: Mapping[str, int]) -> dict[str, int]:
    """What moves to `settlement` of each `prefund` account: what was used, up to what stands there.

    What refunds gave back on the whole (a negative use) moves nothing: it stands on `settlement` like any claim.
    """
    moved = {purse: min(fen, standing.get(purse, 0)) for purse, fen in used.items()}
    return {purse: fen for purse, fen in sorted(moved.items()) if fen > 0}


def use_movements(moved: Mapping[str, int]) -> list[Movement]:
    """Dr `prefund` / Cr `settlement`."""
    return [
        movement
        for purse, fen in moved.items()
        for movement in (
            Movement(purse, "", posted_fen=fen),
            Movement(settlement_account(account_region(purse)), "", posted_fen=-fen),
        )
    ]
