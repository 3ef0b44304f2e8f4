"""Multilateral netting: what regions owe one another becomes one position each (money.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from quanlian.errors import BooksDoNotBalance, InvalidInput
from quanlian.money import allocate

_PPM = 1_000_000


class NettingFigures(NamedTuple):
    """What netting spared: obligations, the net payments that settle them, the part saved."""

    gross_fen: int
    netted_fen: int
    saved_ppm: int


def net_positions(bilateral: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """Each region's position in fen, by adcode, from what each (debtor, creditor) owes: positive receives.

    An amount may be negative, where refunds exceeded discounts; a region's debt to itself leaves its position
    as it was. Raises BooksDoNotBalance unless the positions sum to zero.
    """
    positions: dict[str, int] = {}
    for (debtor, creditor), amount_fen in bilateral.items():
        positions[debtor] = positions.get(debtor, 0) - amount_fen
        positions[creditor] = positions.get(creditor, 0) + amount_fen
    require_zero_sum(positions)
    return dict(sorted(positions.items()))


def require_zero_sum(positions: Mapping[str, int]) -> None:
    """Raises BooksDoNotBalance unless the net positions of all regions sum to zero."""
    excess_fen = sum(positions.values())
    if excess_fen:
        raise BooksDoNotBalance(
            f"net positions of {len(positions)} regions sum to {excess_fen} fen, not to 0: "
            "do not settle; replay the window from its lines"
        )


def obligations(bilateral: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """Who owes whom before netting, by (debtor, creditor), none negative: what refunds made so is owed back."""
    owed: dict[tuple[str, str], int] = {}
    for (debtor, creditor), amount_fen in bilateral.items():
        pair = (debtor, creditor) if amount_fen >= 0 else (creditor, debtor)
        owed[pair] = owed.get(pair, 0) + abs(amount_fen)
    return dict(sorted(owed.items()))


def figures(bilateral: Mapping[tuple[str, str], int]) -> NettingFigures:
    """Gross obligations between different regions, the sum of net credits, and the part saved."""
    gross_fen = sum(abs(amount) for (debtor, creditor), amount in bilateral.items() if debtor != creditor)
    netted_fen = sum(position for position in net_positions(bilateral).values() if position > 0)
    saved_ppm = (gross_fen - netted_fen) * _PPM // gross_fen if gross_fen else 0
    return NettingFigures(gross_fen, netted_fen, saved_ppm)


def payouts_after_shortfall(net_credits: Mapping[str, int], shortfall_fen: int) -> dict[str, int]:
    """What creditors are paid while debtors are short: each credit less its part of the shortfall.

    The parts are `allocate(shortfall, net credits)`, declared in order of region codes, so that every party
    breaks ties alike. Raises InvalidInput for a negative credit, or a shortfall of more than all credits.
    """
    regions = sorted(net_credits)
    credits = [net_credits[region] for region in regions]
    if min(credits, default=0) < 0 or not 0 <= shortfall_fen <= sum(credits):
        raise InvalidInput(
            f"a shortfall of {shortfall_fen} fen cannot be taken from net credits of {sum(credits)} fen",
            remedy="give the regions that receive, and a shortfall of at most what they receive",
        )
    cuts = allocate(shortfall_fen, credits)
    return {region: credit - cut for region, credit, cut in zip(regions, credits, cuts, strict=True)}
