"""Whether the bank's payments that one side recorded explain what the other side's statement says of them.

Money is on its way for a while, and each side records it when its own bank tells: what is not on the one side's books
yet is no difference, what stays away is.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import attrgetter
from typing import NamedTuple

ON_ITS_WAY_SECONDS = 3 * 86_400
"""How long a payment that was made may be missing on a statement: a weekend and a day."""


class Recorded(NamedTuple):
    """A payment as this side recorded it; UTC seconds, fen."""

    at: int
    amount_fen: int


def own_amount(recorded: Sequence[Recorded], stated_fen: int, stated_before_fen: int, missed_by: int) -> int:
    """What this side says of a period, in fen, where the statement says `stated_fen` and those before it
    `stated_before_fen` in all.

    That is `stated_fen` where all that was stated so far is just this side's first payments, in the order of their
    time (of one second as given), and every one recorded by `missed_by` (UTC seconds) is among them; otherwise all
    that is not stated yet.
    """
    payments = sorted(recorded, key=attrgetter("at"))
    amounts = [each.amount_fen for each in payments]
    due_fen = sum(each.amount_fen for each in payments if each.at <= missed_by)
    explained = {fen for fen in accumulate(amounts, initial=0) if fen >= due_fen}
    if stated_before_fen + stated_fen in explained:
        return stated_fen
    return sum(amounts) - stated_before_fen
