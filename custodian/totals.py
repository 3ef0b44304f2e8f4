"""Running totals of captures and refunds, kept within the transaction that posts them.

Closing a window and reading statistics cost what their keys are, never what the redemptions behind them are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from chassis.database import Transaction
from custodian import schema

HOUR_SECONDS = 3600
Sums = dict[tuple[Any, ...], list[int]]
"""By the table's key: captures, order, discount, refunds, refunded order, refunded discount."""


def add_up(sums: Sums, key: tuple[Any, ...], order_fen: int, discount_fen: int, times: int = 1) -> None:
    """Count one posting, a capture or (negative) a refund; -1 times, one that counts no more."""
    known = sums.get(key) or sums.setdefault(key, [0] * 6)
    first = 0 if order_fen > 0 else 3
    known[first] += times
    known[first + 1] += times * abs(order_fen)
    known[first + 2] += times * abs(discount_fen)


def save_sums(transaction: Transaction, table: sa.Table, sums: Sums) -> None:
    """Add to the stored totals of each touched key: one reading and one writing statement."""
    if not sums:
        return
    keys = list(table.primary_key.columns)
    figures = [column for column in table.columns if not column.primary_key]
    stored = {
        tuple(getattr(row, column.name) for column in keys): [getattr(row, column.name) for column in figures]
        for row in transaction.select_keys(table, keys, list(sums))
    }
    rows = []
    for key, added in sums.items():
        known = stored.get(key, [0] * len(figures))
        row = {column.name: part for column, part in zip(keys, key, strict=True)}
        rows.append(row | {column.name: a + b for column, a, b in zip(figures, known, added, strict=True)})
    transaction.upsert(table, rows)


class HourlyKey(NamedTuple):
    """What a posting is counted by; `at` in UTC seconds stands for its hour."""

    at: int
    issuer: str
    redeeming_region: str
    campaign: str
    category: str


class HourlyFlows:
    """What a transaction posted, or learned to be posted, by the hour (UTC), regions, campaign and category."""

    def __init__(self) -> None:
        self._sums: Sums = {}

    def count(self, key: HourlyKey, order_fen: int, discount_fen: int, times: int = 1) -> None:
        hour = key.at - key.at % HOUR_SECONDS
        add_up(self._sums, (hour, *key[1:]), order_fen, discount_fen, times)

    def save(self, transaction: Transaction) -> None:
        save_sums(transaction, schema.hourly_flow, self._sums)
