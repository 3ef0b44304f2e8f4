"""Which acquirers are paid how much, with the money that is there (money.md, Paying acquirers)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Due(NamedTuple):
    """What an acquirer has to get from one payer: a funder's account, or `clearing`; negative after refunds."""

    window: int
    acquirer: str
    account: str
    fen: int

    @property
    def group(self) -> tuple[int, str]:
        """What is paid together or not at all: a campaign's home redemptions, or a window's away ones."""
        kind, *dimensions = self.account.split("/")
        return (self.window, dimensions[2] if kind == "funding" else "")


class HeldBack(NamedTuple):
    """A group that waits, and the payer whose money does not suffice for it and what comes before it."""

    window: int
    campaign: str
    account: str
    short_fen: int


class Plan(NamedTuple):
    """What each acquirer is paid for, and what waits."""

    payments: dict[str, list[Due]]
    held_back: list[HeldBack]


def plan(dues: Sequence[Due], free: Mapping[str, int]) -> Plan:
    """Pay all that `free` covers, by payer's account; where it does not, the latest group waits whole.

    An acquirer that has nothing to get once refunds are taken off is left for the next time, as is what it owes.
    """
    held: dict[tuple[int, str], HeldBack] = {}
    while True:
        payments = _payments([each for each in dues if each.group not in held])
        needed: Counter[str] = Counter()
        for each in (due for due_of in payments.values() for due in due_of):
            needed[each.account] += each.fen
        short = {account: fen - free.get(account, 0) for account, fen in needed.items() if fen > free.get(account, 0)}
        if not short:
            return Plan(payments, list(held.values()))
        account = min(short)
        latest = max(each.group for due_of in payments.values() for each in due_of if each.account == account)
        held[latest] = HeldBack(*latest, account, short[account])


def _payments(dues: Sequence[Due]) -> dict[str, list[Due]]:
    """By acquirer, only those who get something."""
    by_acquirer: dict[str, list[Due]] = {}
    for each in sorted(dues):
        by_acquirer.setdefault(each.acquirer, []).append(each)
    return {acquirer: own for acquirer, own in by_acquirer.items() if sum(each.fen for each in own) > 0}
