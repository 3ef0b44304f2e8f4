"""What a region pays under an agreement in a year, against the ceiling that it agreed (money.md, Agreements)."""

from __future__ import annotations

from functools import lru_cache

from clearinghouse.domain.windows import funding
from quanlian.accounts import VISITORS, ceiling_account
from quanlian.agreements import Agreement
from quanlian.apportionment import Leg
from quanlian.ledger import Balance, Movement
from quanlian.redemptions import COMPILED, Redemption, State


def ceiling_left(agreement: Agreement, region: str, used: Balance) -> int | None:
    """What a redeeming region may still pay this year, in fen; None where no ceiling is agreed."""
    ceiling_fen = agreement.yearly_ceiling_fen(region)
    return None if ceiling_fen is None else ceiling_fen - used.posted_fen - used.held_fen


def ceiling_movements(before: Redemption | None, after: Redemption) -> list[Movement]:
    """How an operation changes what the redeeming region holds and has paid under its agreement, versions together.

    The year is that of the visitors' fund that pays: a refund frees the ceiling of the year of the authorize.
    """
    sums: dict[str, list[int]] = {}
    for sign, redemption in ((-1, before), (1, after)):
        if redemption is not None:
            held = redemption.state is State.AUTHORIZED
            for account, fen in _paid(redemption.agreement, redemption.standing):
                known = sums.setdefault(account, [0, 0])
                known[0 if held else 1] += sign * fen
    issuer = after.voucher.issuer
    return [
        Movement(account, issuer, held_fen=held_fen, posted_fen=posted_fen)
        for account, (held_fen, posted_fen) in sums.items()
        if held_fen or posted_fen
    ]


@lru_cache(maxsize=COMPILED)
def _paid(agreement: str, legs: tuple[Leg, ...]) -> tuple[tuple[str, int], ...]:
    """Each leg of a visitors' fund, by the ceiling that it counts against."""
    number = agreement.rpartition(" v")[0]
    funds = [(funding(leg.account), leg.amount_fen) for leg in legs]
    return tuple(
        (ceiling_account(fund.region, fund.year, number), fen)
        for fund, fen in funds
        if fund and fund.campaign == VISITORS and fen
    )
