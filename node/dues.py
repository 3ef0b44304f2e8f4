"""Running totals of what this region owes acquirers, and of what its funders used at the clearinghouse.

Kept in the transaction that posts them, so that paying and closing out read no redemptions.
"""

from __future__ import annotations

from collections import Counter

from chassis.database import Transaction
from node import schema
from quanlian.apportionment import Leg
from quanlian.ledger import is_limited

AT_ONCE = 0
"""Window of what was decided here: it is due without waiting for a settlement."""


class Dues:
    """What one transaction adds to the totals."""

    def __init__(self) -> None:
        self._owed: Counter[tuple[int, str, str]] = Counter()
        self._used: Counter[tuple[int, str]] = Counter()

    def owe(self, window: int, acquirer: str, account: str, fen: int) -> None:
        """`account` is who pays: a funder's, or `clearing` where the clearinghouse reimburses."""
        self._owed[(window, acquirer, account)] += fen

    def use(self, window: int, region: str, legs: tuple[Leg, ...]) -> None:
        """Own legs that the clearinghouse posted in a window."""
        for leg in legs:
            if is_limited(leg.account) and leg.account.startswith(f"funding/{region}/"):
                self._used[(window, leg.account)] += leg.amount_fen

    def save(self, transaction: Transaction) -> None:
        """Add to the stored totals of each touched key; what is saved once is not added again."""
        transaction.add(schema.acquirer_due, {key: (fen, 0) for key, fen in self._owed.items()})
        transaction.add(schema.away_use, {key: (fen, 0, 0) for key, fen in self._used.items()})
        self._owed.clear()
        self._used.clear()
