"""The money rules give what an independent implementation gave, case by case (proto/vectors)."""

from __future__ import annotations

from typing import Any

import pytest

from quanlian.agreements import (
    Agreement,
    FiscalCapacity,
    Fixed,
    IssuerPays,
    LeverageTiered,
    OrderRate,
    Parameters,
    Tier,
)
from quanlian.apportionment import Leg, fund, reduce_legs, refund_due
from quanlian.errors import InvalidInput
from quanlian.money import allocate

Case = dict[str, Any]


def fields(case: Case, *names: str) -> tuple[Any, ...]:
    """The case's fields, which must be just these: one more would be a rule that nothing here checks."""
    assert case.keys() == set(names), f"a case of {', '.join(names)} has {', '.join(case)}"
    return tuple(case[name] for name in names)


def test_a_total_is_divided_by_largest_remainder(allocation_case: Case) -> None:
    total, weights, parts = fields(allocation_case, "total", "weights", "parts")
    if parts is None:
        with pytest.raises(InvalidInput, match="at least one positive weight"):
            allocate(total, weights)
    else:
        assert allocate(total, weights) == parts


def test_an_amount_is_paid_by_its_funders(funder_split_case: Case) -> None:
    amount, weights, left, rule, paid = fields(funder_split_case, "amount", "weights", "budgets_left", "rule", "paid")
    assert fund(amount, weights, left, rule) == paid


def test_public_money_is_shared_between_two_regions(region_split_case: Case) -> None:
    method, public, order, discount, given, issuer, redeemer = fields(
        region_split_case, "method", "public", "order", "discount", "agreement", "issuer", "redeemer"
    )
    agreement = Agreement("GOLDEN", 1, method, _parameters(method, given))
    redeemer_fen = agreement.redeemer_pays(public, order, discount)
    assert (public - redeemer_fen, redeemer_fen) == (issuer, redeemer)


def test_refunds_give_back_to_every_leg(refunds_case: Case) -> None:
    order_fen, discount_fen, amounts, refunds = fields(refunds_case, "order", "discount", "legs", "refunds")
    assert sum(amounts) == discount_fen
    legs = [Leg(f"leg {number}", amount_fen) for number, amount_fen in enumerate(amounts)]
    refunded_order_fen = returned_fen = 0
    for refund in refunds:
        part_fen, expected = fields(refund, "order_refunded", "legs")
        refunded_order_fen += part_fen
        due_fen = refund_due(discount_fen, order_fen, refunded_order_fen, "pro-rata", 0)
        back = reduce_legs(legs, due_fen - returned_fen)
        assert back == expected
        legs = [Leg(leg.account, leg.amount_fen - part) for leg, part in zip(legs, back, strict=True)]
        returned_fen = due_fen
    if refunded_order_fen == order_fen:
        assert [leg.amount_fen for leg in legs] == [0] * len(legs), "a full return empties every leg"


def _parameters(method: str, given: Case) -> Parameters:
    match method:
        case "issuer-pays":
            fields(given)
            return IssuerPays()
        case "fixed":
            return Fixed(*fields(given, "issuer", "redeemer"))
        case "leverage-tiered":
            (tiers,) = fields(given, "tiers")
            return LeverageTiered(tuple(map(_tier, tiers)))
        case "order-rate":
            return OrderRate(*fields(given, "rate_ppm", "cap_bp"))
        case "fiscal-capacity":
            return FiscalCapacity(*fields(given, "issuer_capacity", "redeemer_capacity"))
    raise AssertionError(f"the vectors name an unknown method: {method}")


def _tier(given: Case) -> Tier:
    leverage, issuer, redeemer = fields(given, "leverage", "issuer", "redeemer")
    return Tier(*leverage, issuer, redeemer)
