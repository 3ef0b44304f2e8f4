"""The money rules give what an independent implementation gave, case by case (proto/vectors)."""

from __future__ import annotations

from typing import Any

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
from quanlian.money import allocate

Case = dict[str, Any]


def test_a_total_is_divided_by_largest_remainder(allocation_case: Case) -> None:
    assert allocate(allocation_case["total"], allocation_case["weights"]) == allocation_case["parts"]


def test_an_amount_is_paid_by_its_funders(funder_split_case: Case) -> None:
    case = funder_split_case
    assert fund(case["amount"], case["weights"], case["budgets_left"], case["rule"]) == case["paid"]


def test_public_money_is_shared_between_two_regions(region_split_case: Case) -> None:
    case = region_split_case
    agreement = Agreement("GOLDEN", 1, case["method"], _parameters(case["method"], case["agreement"]))
    redeemer_fen = agreement.redeemer_pays(case["public"], case["order"], case["discount"])
    assert (case["public"] - redeemer_fen, redeemer_fen) == (case["issuer"], case["redeemer"])


def test_refunds_give_back_to_every_leg(refunds_case: Case) -> None:
    case = refunds_case
    legs = [Leg(f"leg {number}", amount_fen) for number, amount_fen in enumerate(case["legs"])]
    refunded_order_fen = returned_fen = 0
    for refund in case["refunds"]:
        refunded_order_fen += refund["order_refunded"]
        due_fen = refund_due(case["discount"], case["order"], refunded_order_fen, "pro-rata", 0)
        back = reduce_legs(legs, due_fen - returned_fen)
        assert back == refund["legs"]
        legs = [Leg(leg.account, leg.amount_fen - part) for leg, part in zip(legs, back, strict=True)]
        returned_fen = due_fen


def _parameters(method: str, given: Case) -> Parameters:
    match method:
        case "issuer-pays":
            return IssuerPays()
        case "fixed":
            return Fixed(given["issuer"], given["redeemer"])
        case "leverage-tiered":
            return LeverageTiered(
                tuple(Tier(*tier["leverage"], tier["issuer"], tier["redeemer"]) for tier in given["tiers"])
            )
        case "order-rate":
            return OrderRate(given["rate_ppm"], given["cap_bp"])
        case "fiscal-capacity":
            return FiscalCapacity(given["issuer_capacity"], given["redeemer_capacity"])
    raise AssertionError(f"the vectors name an unknown method: {method}")
