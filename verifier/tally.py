"""What redemptions add up to: those that are alike are counted, so that their legs are added once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from quanlian import statements
from quanlian.apportionment import Leg
from quanlian.statements import ItemFigures, LineFigures, Sums


class ItemKind(NamedTuple):
    """What captures, or refunds, have in common that differ in their orders alone."""

    side: str
    issuer: str
    redeeming_region: str
    campaign: str
    refund: bool
    legs: tuple[Leg, ...]


class Tally:
    """Counts, orders and discounts by kind."""

    def __init__(self) -> None:
        self._kinds: dict[ItemKind, list[int]] = {}

    def add(self, items: Iterable[tuple[ItemKind, int, int]]) -> None:
        """Take some, each with the fen of its order and discount. Raises TypeError for what is no amount."""
        kinds = self._kinds
        for kind, order_fen, discount_fen in items:
            known = kinds.get(kind)
            if known is None:
                kinds[kind] = [1, order_fen, discount_fen]
            else:
                known[0] += 1
                known[1] += order_fen
                known[2] += discount_fen

    def sums(self, region: str) -> Sums:
        """The lines and funders that a region's statement makes of them."""
        return statements.add_up(region, (_together(kind, *sums) for kind, sums in self._kinds.items()))


def _together(kind: ItemKind, count: int, order_fen: int, discount_fen: int) -> ItemFigures:
    legs = [Leg(leg.account, leg.amount_fen * count) for leg in kind.legs]
    return ItemFigures(*kind[:4], order_fen, discount_fen, legs, count)


def add_sums(whole: Sums, part: Sums) -> None:
    """Take another portion's sums into those of the whole."""
    for key, figures in part.lines.items():
        known = whole.lines.setdefault(key, LineFigures())
        for name in LineFigures.__dataclass_fields__:
            setattr(known, name, getattr(known, name) + getattr(figures, name))
    for funder, fen in part.funders.items():
        whole.funders[funder] = whole.funders.get(funder, 0) + fen
