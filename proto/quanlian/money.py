"""Amounts of money: integers in fen, divided by largest remainder (money.md). No float ever touches money."""

from __future__ import annotations

import re
from collections.abc import Sequence

from quanlian.errors import InvalidInput

_YUAN = re.compile(r"(0|[1-9][0-9]{0,14})\.([0-9]{2})")


def allocate(total: int, weights: Sequence[int]) -> list[int]:
    """Divide `total` fen by `weights`; the parts sum to it exactly (money.md, Largest remainder).

    Part *i* is `total·w_i div W`; the units left over go one each to the largest remainders, ties to the
    earlier in declared order. So each part is its exact share rounded down or up, and over weights that sum
    to at least `total` no part exceeds its weight. A zero weight gets nothing; a zero total is all zeros,
    whatever the weights. Raises InvalidInput for a negative total or weight, or when no weight is positive.
    """
    if total == 0:
        return [0] * len(weights)
    whole = sum(weights)
    if total < 0 or whole <= 0 or min(weights) < 0:
        raise InvalidInput(
            f"cannot divide {total} fen by the weights {list(weights)}",
            remedy="give an amount and weights that are not negative, and at least one positive weight",
        )
    parts = [total * weight // whole for weight in weights]
    left_over = total - sum(parts)
    if left_over:
        remainders = [total * weight % whole for weight in weights]
        if left_over == 1:
            parts[remainders.index(max(remainders))] += 1
            return parts
        for i in sorted(range(len(weights)), key=remainders.__getitem__, reverse=True)[:left_over]:
            parts[i] += 1
    return parts


def parse_yuan(text: str) -> int:
    """The fen in an amount that a person wrote in yuan: `"1234.50"` is 123450.

    Exactly two decimals, no sign, no thousands separator, less than 10¹⁵ yuan. Raises InvalidInput otherwise.
    """
    match = _YUAN.fullmatch(text)
    if match is None:
        raise InvalidInput(
            f"{text!r} is not an amount in yuan",
            remedy="write it with exactly two decimals and no separators, like 1234.50",
        )
    return int(match[1]) * 100 + int(match[2])


def yuan(fen: int) -> str:
    """The amount in yuan as a person reads it: `"1,234.50"`, `"-0.05"`."""
    whole, cents = divmod(abs(fen), 100)
    return f"{'-' if fen < 0 else ''}{whole:,}.{cents:02d}"
