"""Whose money is paid ahead (预拨资金): a funder of a campaign, or of a region's standing fund for visitors; and which
deposits it goes back to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from quanlian.accounts import VISITORS, prefund_of, visitors_account
from quanlian.errors import InvalidInput

_FIRST_YEAR = 2000
"""Before any voucher of these was issued."""


DAYS_TO_RETURN = 15
"""Working days after the last voucher's end within which unused money goes back to its funders (Jincheng plan, 9.4)."""


class Deposit(NamedTuple):
    """A payment that a funder made ahead, by the bank's reference; fen, UTC seconds."""

    bank_reference: str
    received_at: int
    left_fen: int
    """What of it did not go back yet."""


def newest_first(deposits: Iterable[Deposit], unused_fen: int) -> list[tuple[Deposit, int]]:
    """What goes back of which deposits, to the accounts that they came from, where `unused_fen` are left of all."""
    parts = []
    for deposit in sorted(deposits, key=lambda each: (each.received_at, each.bank_reference), reverse=True):
        fen = min(unused_fen, deposit.left_fen)
        if fen > 0:
            parts.append((deposit, fen))
            unused_fen -= fen
    return parts


class Funder(NamedTuple):
    """A funder of a campaign; of campaign `visitors`, of the region's standing fund for visitors.

    Each year's use of a visitors' fund is a purse of its own: `fiscal_year` tells which, 0 for the present one. A
    campaign's money is of the year of its terms.
    """

    campaign: str
    name: str
    fiscal_year: int = 0

    def purse(self, region: str, budgets: Collection[str] | None, present: int) -> str:
        """The `prefund` account on which its money stands.

        `budgets` are the `funding` accounts that its campaign or fund has in that year, None where they are not known
        here; `present` is the year in Asia/Shanghai. Raises InvalidInput for a funder that is not among them, or a
        year that cannot be.
        """
        self._require_year(present)
        if self.campaign == VISITORS:
            found = visitors_account(region, self.fiscal_year or present, self.name)
            known = budgets is None or found in budgets
        else:
            own = [each for each in budgets or () if each.split("/")[3:] == [self.campaign, self.name]]
            known, found = bool(own), own[-1] if own else ""
        if not known:
            raise InvalidInput(
                f"{self.campaign} 没有出资方 {self.name} · no funder {self.name} of {self.campaign}",
                place="funding",
                remedy="写本地区已发布的活动及其出资方 · "
                "name a published campaign of this region and one of its funders",
            )
        return prefund_of(found)

    def _require_year(self, present: int) -> None:
        """A fund is paid for years past, or for the one to come."""
        if not self.fiscal_year:
            return
        if self.campaign != VISITORS:
            raise InvalidInput(
                "年度仅用于异地用券资金 · a year is given for the visitors' fund alone",
                place="--year",
                remedy="不写年度；活动资金按细则的年度 · leave it out: a campaign's money is of the year of its terms",
            )
        if not _FIRST_YEAR <= self.fiscal_year <= present + 1:
            raise InvalidInput(
                f"年度{self.fiscal_year}不在{_FIRST_YEAR}至{present + 1}之间 · "
                f"{self.fiscal_year} is not from {_FIRST_YEAR} to {present + 1}",
                place="--year",
                remedy="写资金所属年度 · give the year whose use the money pays",
            )
