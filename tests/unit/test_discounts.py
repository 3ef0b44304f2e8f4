"""What a voucher takes off an order, kind by kind (money.md, Discount on an order)."""

from __future__ import annotations

import pytest

from quanlian.discounts import Discount, Order, discount
from quanlian.errors import InvalidInput
from quanlian.terms import Tier, VoucherType


def a_voucher(kind: str, **amounts: object) -> VoucherType:
    return VoucherType(1, "v", "券", "voucher", kind, frozenset({"retail"}), **amounts)  # type: ignore[arg-type]


def an_order(order_fen: int, **facts: object) -> Order:
    return Order(order_fen, "retail", "shop", **facts)  # type: ignore[arg-type]


TEN_OFF_FORTY = a_voucher("threshold", face_fen=1000, minimum_spend_fen=4000)
CAR = a_voucher(
    "tiered",
    tiers=(
        Tier("fuel", 3_000_000, 60_000),
        Tier("fuel", 6_000_000, 100_000),
        Tier("used", 5_000_000, 40_000),
    ),
)
APPLIANCE = a_voucher("rate", rate_ppm=150_000, cap_fen=150_000)
PHONE = a_voucher("rate", rate_ppm=150_000, cap_fen=50_000, price_limit_fen=600_000)


@pytest.mark.parametrize("order_fen", [4000, 5800, 100_000])
def test_a_threshold_voucher_gives_its_face_from_the_minimum_spend_on(order_fen: int) -> None:
    assert discount(TEN_OFF_FORTY, an_order(order_fen)) == Discount(1000)


def test_a_threshold_voucher_is_refused_one_fen_below_its_minimum_spend() -> None:
    assert discount(TEN_OFF_FORTY, an_order(3999)) == Discount(0, "BELOW_MINIMUM_SPEND", 4000)


@pytest.mark.parametrize(("order_fen", "taken_fen"), [(10_000, 5000), (5000, 5000), (3020, 3020), (0, 0)])
def test_a_full_value_voucher_gives_no_change(order_fen: int, taken_fen: int) -> None:
    assert discount(a_voucher("full-value", face_fen=5000), an_order(order_fen)) == Discount(taken_fen)


@pytest.mark.parametrize(
    ("klass", "invoice_fen", "subsidy_fen"),
    [
        ("fuel", 3_000_000, 60_000),
        ("fuel", 5_999_999, 60_000),
        ("fuel", 6_000_000, 100_000),
        ("used", 90_000_000, 40_000),
    ],
)
def test_a_tier_is_found_by_class_and_invoice_with_its_lower_bound_inclusive(
    klass: str, invoice_fen: int, subsidy_fen: int
) -> None:
    order = an_order(invoice_fen, klass=klass, invoice_fen=invoice_fen)
    assert discount(CAR, order) == Discount(subsidy_fen)


def test_an_invoice_below_every_tier_of_its_class_learns_where_they_begin() -> None:
    order = an_order(4_999_999, klass="used", invoice_fen=4_999_999)
    assert discount(CAR, order) == Discount(0, "NO_MATCHING_TIER", 5_000_000)


@pytest.mark.parametrize("klass", ["", "new-energy"])
def test_a_class_without_tiers_matches_none(klass: str) -> None:
    order = an_order(9_000_000, klass=klass, invoice_fen=9_000_000)
    assert discount(CAR, order) == Discount(0, "NO_MATCHING_TIER", 0)


@pytest.mark.parametrize(
    ("price_fen", "taken_fen"),
    [(100_003, 15_000), (999_999, 149_999), (1_000_000, 150_000), (2_000_000, 150_000)],
)
def test_a_rate_is_rounded_down_and_then_held_to_its_cap(price_fen: int, taken_fen: int) -> None:
    assert discount(APPLIANCE, an_order(price_fen)) == Discount(taken_fen)


def test_a_rate_applies_to_the_stated_price_and_not_to_the_order() -> None:
    assert discount(APPLIANCE, an_order(90_000, price_fen=100_000)) == Discount(15_000)


def test_a_price_above_the_limit_has_no_subsidy() -> None:
    assert discount(PHONE, an_order(600_000)) == Discount(50_000)
    assert discount(PHONE, an_order(600_001)) == Discount(0, "NO_MATCHING_TIER", 600_000)


@pytest.mark.parametrize(
    "voucher",
    [
        a_voucher("full-value", face_fen=5000),
        a_voucher("fixed", face_fen=30_000),
        a_voucher("ticket", face_fen=8000),
        a_voucher("rate", rate_ppm=1_000_000, cap_fen=10_000),
        a_voucher("tiered", tiers=(Tier("fuel", 100, 60_000),)),
    ],
    ids=lambda voucher: voucher.kind,
)
def test_a_discount_is_at_most_the_order(voucher: VoucherType) -> None:
    order = an_order(1234, klass="fuel", invoice_fen=9_000, price_fen=9_000)
    assert discount(voucher, order) == Discount(1234)


@pytest.mark.parametrize("kind", ["fixed", "ticket"])
def test_a_fixed_subsidy_and_a_ticket_give_their_amount(kind: str) -> None:
    assert discount(a_voucher(kind, face_fen=30_000), an_order(500_000)) == Discount(30_000)


@pytest.mark.parametrize("field", ["order_fen", "invoice_fen", "price_fen"])
def test_an_order_has_no_amount_below_zero(field: str) -> None:
    amounts = {"order_fen": 1, field: -1}
    with pytest.raises(InvalidInput, match=f"{field}: -1 fen is below zero"):
        Order(category="retail", channel="shop", **amounts)


@pytest.mark.parametrize(
    ("voucher", "most_fen"),
    [(TEN_OFF_FORTY, 1000), (CAR, 100_000), (APPLIANCE, 150_000)],
    ids=["face", "tier", "cap"],
)
def test_the_most_that_a_voucher_can_cost_is_known_before_any_order(voucher: VoucherType, most_fen: int) -> None:
    assert voucher.max_discount_fen == most_fen
