"""Reserved money against the terms that it was reserved by (money.md, Reserved at issue)."""

from __future__ import annotations

from collections.abc import Iterator

from quanlian.apportionment import CoFunder, FundingPlan, Leg, Reservation
from quanlian.money import allocate
from quanlian.terms import Terms, VoucherType

_WHOLE_PPM = 1_000_000
Difference = tuple[str, int | str | list[str], int | str | list[str]]
"""What, as found, as it must be."""


def reserved_differences(terms: Terms, voucher_type: VoucherType, reservation: Reservation) -> Iterator[Difference]:
    """What of an issuer's reserved legs its terms do not give.

    What each public funder pays depends on budgets that nobody signed; what all of them pay does not, nor, under an
    advanced cascade, what each one owes or pays for itself.
    """
    cofunders, plan = terms.cofunder_plan(), terms.funding_plan()
    if reservation.total_fen != voucher_type.max_discount_fen:
        yield "reserved_fen", reservation.total_fen, voucher_type.max_discount_fen
    accounts = [leg.account for leg in reservation.legs()]
    declared = [*(each.account for each in cofunders), *plan.accounts]
    if accounts != declared:
        yield "reserved accounts", accounts, declared
        return
    yield from _cofunded(cofunders, voucher_type.max_discount_fen, reservation.cofunders)
    yield from _public(plan, reservation.public)


def _cofunded(plan: tuple[CoFunder, ...], whole_fen: int, legs: tuple[Leg, ...]) -> Iterator[Difference]:
    """Each co-funder's share; nothing of one that was dry, where the public pays its part then."""
    shares = [each.share_ppm for each in plan]
    parts = allocate(whole_fen, [*shares, _WHOLE_PPM - sum(shares)])
    for each, part, leg in zip(plan, parts, legs, strict=False):
        if leg.amount_fen != part and not (each.public_pays_if_dry and leg.amount_fen == 0):
            yield f"reserved_fen of {leg.account}", leg.amount_fen, part


def _public(plan: FundingPlan, legs: tuple[Leg, ...]) -> Iterator[Difference]:
    """Every funder's own part and what others advance for it make up what it was wanted for."""
    wanted = allocate(sum(leg.amount_fen for leg in legs), plan.weights)
    owed: dict[str, int] = {}
    for leg in legs:
        for debtor, fen in leg.advanced:
            owed[debtor] = owed.get(debtor, 0) + fen
    settled = plan.rule == "refuse" or (plan.rule == "cascade" and plan.advanced)
    for leg, want in zip(legs, wanted, strict=True):
        advanced_fen = sum(fen for _, fen in leg.advanced)
        borne_fen = leg.amount_fen - advanced_fen + owed.get(leg.account, 0)
        if advanced_fen and not plan.advanced:
            yield f"advanced_fen of {leg.account}", advanced_fen, 0
        elif settled and borne_fen != want:
            yield f"reserved_fen of {leg.account}, advances settled", borne_fen, want
