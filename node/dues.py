"""Running totals of what this region owes acquirers, and of what its funders used at the clearinghouse.

Kept in the transaction that posts them, so that paying and closing out read no redemptions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

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
        _add(transaction, schema.acquirer_due, "owed_fen", "instructed_fen", self._owed)
        _add(transaction, schema.away_use, "used_fen", "drawn_fen", self._used)
        self._owed.clear()
        self._used.clear()


def _add(
    transaction: Transaction, table: sa.Table, total: str, met: str, amounts: Mapping[tuple[Any, ...], int]
) -> None:
    if not amounts:
        return
    keys = list(table.primary_key.columns)
    names = [column.name for column in keys]
    stored = {
        tuple(getattr(row, name) for name in names): row for row in transaction.select_keys(table, keys, list(amounts))
    }
    transaction.upsert(
        table,
        [
            {
                **dict(zip(names, key, strict=True)),
                total: fen + (getattr(stored[key], total) if key in stored else 0),
                met: getattr(stored[key], met) if key in stored else 0,
            }
            for key, fen in amounts.items()
        ],
    )
