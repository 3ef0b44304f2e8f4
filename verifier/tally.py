"""What redemptions add up to: those that are alike are counted, so that their legs are added once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from quanlian import statements
from quanlian.apportionment import Leg
from quanlian.statements import ItemFigures, LineFigures, Sums


@dataclass(slots=True, eq=False)
class ItemKind:
    """What captures, or refunds, have in common that differ in their orders alone; one is made for many of them."""

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

    def add(self, kinds: Iterable[ItemKind], order_fen: int, discount_fen: int) -> None:
        """Take one item, seen from each side that it has. Raises TypeError for what is no amount."""
        for kind in kinds:
            known = self._kinds.get(kind)
            if known is None:
                self._kinds[kind] = [1, order_fen, discount_fen]
            else:
                known[0] += 1
                known[1] += order_fen
                known[2] += discount_fen

    def sums(self, region: str) -> Sums:
        """The lines and funders that a region's statement makes of them."""
        together: dict[tuple[Any, ...], _Together] = {}
        for kind, (count, order_fen, discount_fen) in self._kinds.items():
            line = (kind.side, kind.issuer, kind.redeeming_region, kind.campaign, kind.refund)
            together.setdefault(line, _Together()).add(kind.legs, count, order_fen, discount_fen)
        return statements.add_up(region, (each.figures(line) for line, each in together.items()))


@dataclass(slots=True)
class _Together:
    """Kinds that differ in their legs alone, added up."""

    count: int = 0
    order_fen: int = 0
    discount_fen: int = 0
    paid_fen: dict[str, int] = field(default_factory=dict)

    def add(self, legs: Iterable[Leg], count: int, order_fen: int, discount_fen: int) -> None:
        self.count += count
        self.order_fen += order_fen
        self.discount_fen += discount_fen
        paid_fen = self.paid_fen
        for account, fen, _ in legs:
            paid_fen[account] = paid_fen.get(account, 0) + fen * count

    def figures(self, line: tuple[Any, ...]) -> ItemFigures:
        legs = [Leg(account, fen) for account, fen in self.paid_fen.items()]
        side, issuer, redeemer, campaign, _ = line
        return ItemFigures(side, issuer, redeemer, campaign, self.order_fen, self.discount_fen, legs, self.count)


def add_sums(whole: Sums, part: Sums) -> None:
    """Take another portion's sums into those of the whole."""
    for key, figures in part.lines.items():
        known = whole.lines.setdefault(key, LineFigures())
        for name in LineFigures.__dataclass_fields__:
            setattr(known, name, getattr(known, name) + getattr(figures, name))
    statements.add_funders(whole.funders, part.funders)
