"""Running totals of captures and refunds, kept within the transaction that posts them.

Closing a window and reading statistics cost what their keys are, never what the redemptions behind them are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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


class Captures(NamedTuple):
    """How many captures, and their order and discount together."""

    captures: int
    order_fen: int
    discount_fen: int


def add_captures(sums: Sums, key: tuple[Any, ...], captures: Captures) -> None:
    """Count many captures of one key at once."""
    known = sums.get(key) or sums.setdefault(key, [0] * 6)
    for position, figure in enumerate(captures):
        known[position] += figure


class HourlyKey(NamedTuple):
    """What a posting is counted by; `at` in UTC seconds stands for its hour."""

    at: int
    issuer: str
    redeeming_region: str
    campaign: str
    category: str


def _in_hour(key: HourlyKey) -> tuple[Any, ...]:
    return (key.at - key.at % HOUR_SECONDS, *key[1:])


class HourlyFlows:
    """What a transaction posted, or learned to be posted, by the hour (UTC), regions, campaign and category."""

    def __init__(self) -> None:
        self._sums: Sums = {}

    def count(self, key: HourlyKey, order_fen: int, discount_fen: int, times: int = 1) -> None:
        add_up(self._sums, _in_hour(key), order_fen, discount_fen, times)

    def count_captures(self, key: HourlyKey, captures: Captures) -> None:
        add_captures(self._sums, _in_hour(key), captures)

    def save(self, transaction: Transaction) -> None:
        transaction.add(schema.hourly_flow, self._sums)
