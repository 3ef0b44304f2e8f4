"""An amount over legs, worked out anew: what auditors of money on paper do (money.md, Largest remainder)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from simulations.auditor.databases import Legs


def in_proportion(amount_fen: int, standing: Legs) -> list[int]:
    """What each leg gives of an amount: its share rounded down, and the fen left over to the largest fractions, ties
    to the earlier. Nothing of nothing.
    """
    whole_fen = sum(fen for _, fen in standing)
    shares = [Fraction(amount_fen * fen, whole_fen or 1) for _, fen in standing]
    given = [share.numerator // share.denominator for share in shares]
    for _ in range(amount_fen - sum(given) if whole_fen else 0):
        most = max(share - fen for share, fen in zip(shares, given, strict=True))
        place = next(n for n, share in enumerate(shares) if share - given[n] == most)
        given[place] += 1
    return given


def less(standing: Legs, given: Sequence[int]) -> Legs:
    """What is left of legs that gave."""
    return tuple((account, fen - part) for (account, fen), part in zip(standing, given, strict=True))
