"""The sum that a redeeming region owes under an agreement, told so that a person can do it again."""

from __future__ import annotations

import pytest

from quanlian.agreement_sum import sum_of
from quanlian.agreements import (
    Agreement,
    FiscalCapacity,
    Fixed,
    IssuerPays,
    LeverageTiered,
    Method,
    OrderRate,
    Parameters,
    Tier,
)

TIERS = LeverageTiered((Tier(5, 1, 3, 1), Tier(8, 1, 1, 1)))
PUBLIC, DISCOUNT = 800, 1000


@pytest.mark.parametrize(
    ("method", "parameters", "order_fen", "told", "due_fen"),
    [
        ("fixed", Fixed(70, 30), 5800, "region 70:30, 8.00 × 30 ÷ 100 by largest remainder", 240),
        ("fiscal-capacity", FiscalCapacity(300, 100), 5800, "region 300:100, 8.00 × 100 ÷ 400", 200),
        ("leverage-tiered", TIERS, 5800, "leverage of 58.00 ÷ 10.00 reaches the tier 5; weights of issuing", 200),
        ("leverage-tiered", TIERS, 8000, "leverage of 80.00 ÷ 10.00 reaches the tier 8", 400),
        ("leverage-tiered", TIERS, 4900, "leverage of 49.00 ÷ 10.00 is below the lowest tier, 5", 0),
        (
            "order-rate",
            OrderRate(57_500, 3_000),
            5800,
            "the lesser of 58.00 × 57,500 ÷ 1,000,000 and 8.00 × 3,000 ÷ 10,000, rounded down",
            240,
        ),
        ("issuer-pays", IssuerPays(), 5800, "the issuing region pays all", 0),
    ],
)
def test_every_method_tells_its_figures(
    method: Method, parameters: Parameters, order_fen: int, told: str, due_fen: int
) -> None:
    agreement = Agreement("A", 1, method, parameters)
    words = sum_of(agreement, PUBLIC, order_fen, DISCOUNT)
    assert told in words.en
    assert words.zh != words.en
    assert agreement.redeemer_pays(PUBLIC, order_fen, DISCOUNT) == due_fen
