"""The shipped Jincheng 2026 campaign carries all of the plan's table (Jincheng plan, parts 3, 6, 7 and 9)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from quanlian.discounts import Discount, Order, discount
from quanlian.terms import Terms
from quanlian.terms_parsing import parse_terms

CAMPAIGNS = Path(__file__).parents[2] / "examples" / "campaigns"

THRESHOLDS = {
    "retail": [(50, 5), (100, 10), (200, 30)],
    "fuel": [(100, 10), (200, 20)],
    "hotel": [(200, 20), (500, 50)],
    "catering": [(10, 2), (20, 4), (100, 15), (200, 30)],
}
CAR_SUBSIDY_YUAN = {
    "new-energy": [800, 2000, 3000, 5000],
    "fuel": [600, 1000, 2000, 4000],
    "used": [600, 1000, 2000, 4000],
}
INVOICE_YUAN = [30_000, 60_000, 100_000, 200_000]


@pytest.fixture(scope="module")
def jincheng() -> Terms:
    path = CAMPAIGNS / "jincheng-2026.toml"
    return parse_terms(path.read_bytes(), path.name)


@pytest.mark.parametrize("category", THRESHOLDS)
def test_every_threshold_voucher_of_the_table_is_there_and_no_other(jincheng: Terms, category: str) -> None:
    found = [
        (entry.minimum_spend_fen, entry.face_fen)
        for entry in jincheng.voucher_types
        if entry.kind == "threshold" and entry.categories == {category}
    ]
    assert found == [(spend * 100, face * 100) for spend, face in THRESHOLDS[category]]


@pytest.mark.parametrize("category", THRESHOLDS)
def test_each_pack_holds_the_vouchers_of_its_trade(jincheng: Terms, category: str) -> None:
    in_pack = [jincheng.voucher_type(voucher) for voucher in jincheng.pack(category).vouchers]
    assert [(v.minimum_spend_fen // 100, v.face_fen // 100) for v in in_pack] == THRESHOLDS[category]


@pytest.mark.parametrize("klass", CAR_SUBSIDY_YUAN)
def test_the_car_subsidy_follows_type_and_invoice_to_the_last_fen(jincheng: Terms, klass: str) -> None:
    car = jincheng.voucher_type("car")
    bounds_fen = [yuan * 100 for yuan in INVOICE_YUAN]

    def subsidy(invoice_fen: int) -> Discount:
        return discount(car, Order(invoice_fen, "car", "shop", klass=klass, invoice_fen=invoice_fen))

    steps = [subsidy(bound_fen).amount_fen for bound_fen in bounds_fen]
    just_below = [subsidy(bound_fen - 1).amount_fen for bound_fen in bounds_fen]
    expected = [yuan * 100 for yuan in CAR_SUBSIDY_YUAN[klass]]
    assert steps == expected
    assert just_below == [0, *expected[:-1]]
    assert subsidy(bounds_fen[0] - 1).refusal == "NO_MATCHING_TIER"


def test_a_motorcycle_is_subsidised_with_300_yuan_once(jincheng: Terms) -> None:
    motorcycle = jincheng.voucher_type("motorcycle")
    assert discount(motorcycle, Order(450_000, "motorcycle", "shop")) == Discount(30_000)
    assert jincheng.round("motorcycle-2026").per_person == 1


def test_every_threshold_voucher_keeps_the_plans_leverage_of_five(jincheng: Terms) -> None:
    leverages = [entry.leverage for entry in jincheng.voucher_types if entry.leverage is not None]
    assert jincheng.minimum_leverage == 5
    assert min(leverages) == Fraction(5)


def test_the_budget_is_within_the_plans_50_to_60_million_yuan_and_covers_every_round(jincheng: Terms) -> None:
    budget_fen = sum(jincheng.budgets().values())
    reserved_fen = sum(
        entry.quota * sum(jincheng.voucher_type(v).max_discount_fen for v in jincheng.pack(entry.pack).vouchers)
        for entry in jincheng.rounds
    )
    assert 5_000_000_000 <= budget_fen <= 6_000_000_000
    assert reserved_fen <= budget_fen


def test_vehicle_subsidies_are_applied_for_and_stay_in_the_district(jincheng: Terms) -> None:
    for vehicle in ("car", "motorcycle"):
        assert jincheng.pack(vehicle).roaming == "never"
        assert jincheng.round(f"{vehicle}-2026").mode == "application"


def test_other_vouchers_may_be_used_in_the_delta_too(jincheng: Terms) -> None:
    assert jincheng.covers_region("140502")
    assert jincheng.covers_region("330100")
    assert not jincheng.covers_region("140100")
    assert {jincheng.pack(category).roaming for category in THRESHOLDS} == {"at-issue"}


def test_refunds_go_back_in_proportion(jincheng: Terms) -> None:
    assert jincheng.refund_policy == "pro-rata"


def test_hangzhou_is_written_as_it_was_issued() -> None:
    path = CAMPAIGNS / "hangzhou-2020-r1.toml"
    hangzhou = parse_terms(path.read_bytes(), path.name)
    types = [hangzhou.voucher_type(voucher) for voucher in hangzhou.pack("five-tens").vouchers]
    assert [(v.minimum_spend_fen, v.face_fen) for v in types] == [(4000, 1000)] * 5
    assert types[0].leverage == 4
    assert hangzhou.round("r1").quota == 2_000_000
    assert sum(hangzhou.budgets().values()) == 10_000_000_000


def test_the_flash_campaign_reads_without_a_problem() -> None:
    path = CAMPAIGNS / "flash-demo.toml"
    flash = parse_terms(path.read_bytes(), path.name)
    assert flash.hold_seconds == 8
    assert flash.round("flash").quota == 50
    assert len(flash.pack("flash").vouchers) == 2
