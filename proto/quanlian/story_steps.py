"""The steps of a redemption's story: what moved on which accounts, whose money was advanced, what was not used."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from quanlian.account_names import Funds, account_name
from quanlian.accounts import at_region
from quanlian.apportionment import Leg, Reservation
from quanlian.file_rules import Words
from quanlian.ledger import is_limited
from quanlian.money import yuan
from quanlian.refusals import CHINA
from quanlian.regions import region

Titles = Callable[[str], Words]
"""What the funder of an account is called."""


class Window(NamedTuple):
    """A settlement window as the party knows it; `state` in the party's words."""

    number: int
    state: str


class StoryStep(NamedTuple):
    """One step: when, what, by which rule, and the accounts' amounts that it moved, in fen.

    `funds` says what the legs are: money that is reserved, held or used.
    """

    at: int | None
    zh: str
    en: str
    rule: str
    legs: tuple[Leg, ...] = ()
    entry: int | None = None
    funds: Funds = "used"

    def as_data(self) -> dict[str, Any]:
        step = self._asdict()
        funds = step.pop("funds")
        legs = [
            {
                **_named(leg.account, leg.amount_fen, funds),
                "funds": funds,
                "advanced": [_named(debtor, fen, funds) for debtor, fen in leg.advanced],
            }
            for leg in self.legs
        ]
        return {**step, "legs": legs}


def _named(account: str, fen: int, funds: Funds) -> dict[str, Any]:
    zh, en = account_name(account, funds)
    return {"account": account, "name_zh": zh, "name_en": en, "amount_fen": fen}


def advanced(legs: Iterable[Leg], title: Titles) -> Words:
    """The end of a sentence on `legs`: what of them is paid for others (垫付); empty where nothing is."""
    parts = [(title(leg.account), title(debtor), yuan(abs(fen))) for leg in legs for debtor, fen in leg.advanced]
    if not parts:
        return Words("", "")
    zh = "，".join(f"{payer.zh}为{debtor.zh}垫付{fen}元" for payer, debtor, fen in parts)
    en = ", ".join(f"{fen} advanced by {payer.en} for {debtor.en}" for payer, debtor, fen in parts)
    return Words(f"；其中{zh}", f"; of it {en}")


def owed(legs: Iterable[Leg], title: Titles) -> Words:
    """The end of a sentence on legs that are posted: who owes whom for what was advanced, or no longer does."""
    parts = [(title(leg.account), title(debtor), fen) for leg in legs for debtor, fen in leg.advanced]
    return Words(
        "".join(
            f"；{debtor.zh}欠{payer.zh}垫付{yuan(fen)}元"
            if fen > 0
            else f"；{debtor.zh}所欠{payer.zh}的垫付减少{yuan(-fen)}元"
            for payer, debtor, fen in parts
        ),
        "".join(
            f"; {yuan(fen)} owed by {debtor.en} to {payer.en} (advanced)"
            if fen > 0
            else f"; {yuan(-fen)} less owed by {debtor.en} to {payer.en} (advanced)"
            for payer, debtor, fen in parts
        ),
    )


def unused(reserved: Reservation, legs: Iterable[Leg], redeeming_region: str) -> tuple[Leg, ...]:
    """What `legs` leave of each funder's reserved leg; a merchant's share was never any budget's."""
    used = {leg.account: leg for leg in legs}
    left = (
        leg.plus(used[leg.account], -1) if leg.account in used else leg
        for leg in (each._replace(account=at_region(each.account, redeeming_region)) for each in reserved.legs())
        if is_limited(leg.account)
    )
    return tuple(leg for leg in left if leg.amount_fen or leg.advanced)


def opposite(legs: Iterable[Leg]) -> tuple[Leg, ...]:
    return tuple(Leg(leg.account, 0).plus(leg, -1) for leg in legs)


def place(code: str) -> str:
    return region(code).name


def time_of(at: int | None) -> str:
    """A step's time in China, or nothing."""
    return "" if at is None else datetime.fromtimestamp(at, CHINA).strftime("%Y-%m-%d %H:%M:%S")
