"""The ledger's entries: what they are made of and what is always true of them (money.md, Ledger).

An account keeps four amounts. `posted` is double entry: debits positive, and every entry sums to zero. `reserved` and
`held` stand beside it on `funding` accounts and are journalled as one-sided memo lines; `limit` is what the account may
use on this book and moves with a voucher's custody. Entries are only appended; one entry of a batch carries one line
per account and counterpart region, each redemption keeps its own legs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from quanlian.accounts import is_funding, is_memo
from quanlian.errors import BooksDoNotBalance


class Movement(NamedTuple):
    """A change of one account; `counterpart` is the other region it concerns, or empty."""

    account: str
    counterpart: str
    posted_fen: int = 0
    reserved_fen: int = 0
    held_fen: int = 0
    limit_fen: int = 0


class Balance(NamedTuple):
    """An account as it stands. `limit_fen` counts on accounts that have one (`is_limited`)."""

    account: str
    posted_fen: int = 0
    reserved_fen: int = 0
    held_fen: int = 0
    limit_fen: int = 0

    @property
    def free_fen(self) -> int:
        """What may still be used of a limited account."""
        return self.limit_fen - self.posted_fen - self.reserved_fen - self.held_fen

    def moved(self, movement: Movement) -> Balance:
        return Balance(
            self.account,
            self.posted_fen + movement.posted_fen,
            self.reserved_fen + movement.reserved_fen,
            self.held_fen + movement.held_fen,
            self.limit_fen + movement.limit_fen,
        )


def is_limited(account: str) -> bool:
    """Budgets bind funders; a merchant's own share has none."""
    return is_funding(account) and not account.endswith("/merchant")


def lines(movements: Iterable[Movement]) -> list[Movement]:
    """One line per account and counterpart, in sorted order, what cancels out left away.

    Raises BooksDoNotBalance when the posted amounts, those of memo accounts left out, do not sum to zero.
    """
    found = sorted(netted(movements))
    difference = sum(line.posted_fen for line in found if not is_memo(line.account))
    if difference:
        raise BooksDoNotBalance(f"an entry's lines sum to {difference} fen instead of zero")
    return found


def netted(movements: Iterable[Movement]) -> tuple[Movement, ...]:
    """One movement per account and counterpart, what cancels out left away."""
    sums: dict[tuple[str, str], Movement] = {}
    for movement in movements:
        key = (movement.account, movement.counterpart)
        known = sums.get(key)
        sums[key] = movement if known is None else _added(known, movement)
    return tuple(each for each in sums.values() if any(each[2:]))


def check_limits(balances: Iterable[Balance]) -> None:
    """No funder beyond its limit, nothing reserved or held below zero. Raises BooksDoNotBalance."""
    for balance in balances:
        if not is_limited(balance.account):
            continue
        if min(balance.free_fen, balance.reserved_fen, balance.held_fen) < 0:
            raise BooksDoNotBalance(
                f"{balance.account}: 额度 {balance.limit_fen}，已用 {balance.posted_fen}，预留 {balance.reserved_fen}，"
                f"占用 {balance.held_fen} 分 · limit {balance.limit_fen}, used {balance.posted_fen}, "
                f"reserved {balance.reserved_fen}, held {balance.held_fen} fen"
            )


def _added(a: Movement, b: Movement) -> Movement:
    return Movement(
        a.account,
        a.counterpart,
        a.posted_fen + b.posted_fen,
        a.reserved_fen + b.reserved_fen,
        a.held_fen + b.held_fen,
        a.limit_fen + b.limit_fen,
    )
