"""The shipped campaigns give the amounts of the source texts, or of the press where the files mark them so."""

from __future__ import annotations

from pathlib import Path

import pytest

from quanlian.apportionment import fund
from quanlian.campaign_check import check_campaign
from quanlian.discounts import Discount, Order, discount
from quanlian.explanation import explain
from quanlian.leverage import bound_of
from quanlian.terms import Terms
from quanlian.terms_parsing import parse_terms

CAMPAIGNS = Path(__file__).parents[2] / "examples" / "campaigns"
FILES = sorted(path.name for path in CAMPAIGNS.glob("*.toml"))
WARNED = {
    "flash-demo.toml": ["round[1].closes_at"],
    "hangzhou-2020-r1.toml": ["voucher_type[1].minimum_spend", "round[1].closes_at"],
}
"""The demonstration rewrites flash-demo; Hangzhou's 40−10 is under Jincheng's leverage and its week was cut short."""
YUAN = 100
MILLION = 1_000_000 * YUAN


def campaign(name: str) -> Terms:
    path = CAMPAIGNS / f"{name}.toml"
    return parse_terms(path.read_bytes(), path.name)


def off(terms: Terms, voucher: str, order_fen: int, category: str, **more: object) -> Discount:
    return discount(terms.voucher_type(voucher), Order(order_fen, category, "shop", **more))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FILES)
def test_each_example_checks_clean_but_for_what_history_did(name: str) -> None:
    report = check_campaign((CAMPAIGNS / name).read_bytes(), name)
    assert report.errors == ()
    assert [each.field for each in report.warnings] == WARNED.get(name, [])


@pytest.mark.parametrize(("spend", "face"), [(100, 20), (200, 35), (300, 45)])
def test_hangzhous_second_round_takes_off_what_the_press_reports(spend: int, face: int) -> None:
    terms, voucher = campaign("hangzhou-2020-r2"), f"off-{face}-from-{spend}"
    assert off(terms, voucher, spend * YUAN, "retail") == Discount(face * YUAN)
    assert off(terms, voucher, spend * YUAN - 1, "retail").refusal == "BELOW_MINIMUM_SPEND"


def test_hangzhous_second_round_is_1_5_million_packs_of_three_good_for_seven_days() -> None:
    terms = campaign("hangzhou-2020-r2")
    pack = terms.pack("three")
    assert pack.vouchers == ("off-20-from-100", "off-35-from-200", "off-45-from-300")
    assert (terms.rounds[0].quota, pack.valid_days) == (1_500_000, 7)
    assert sum(terms.voucher_type(name).face_fen for name in pack.vouchers) == 100 * YUAN


def test_shanxi_gives_300_yuan_that_pay_like_cash_without_change() -> None:
    terms = campaign("shanxi-2020")
    assert off(terms, "special-300", 300 * YUAN, "staples") == Discount(300 * YUAN)
    assert off(terms, "special-300", 120 * YUAN, "staples") == Discount(120 * YUAN)
    assert terms.channels == {"shop"}


@pytest.mark.parametrize(
    ("level", "members", "short_million"),
    [("province", 900_000, 0), ("city", 2_260_000, 248), ("county", 4_600_000, 1220)],
)
def test_shanxis_levels_fall_short_of_300_yuan_a_member_by_what_the_text_says(
    level: str, members: int, short_million: int
) -> None:
    terms = campaign("shanxi-2020")
    funder = next(each for each in terms.funders if each.name == level)
    planned_fen = members * 300 * YUAN
    cards_fen = 34 * MILLION if level == "province" else 0
    assert funder.weight * MILLION == planned_fen
    assert planned_fen - (funder.budget_fen - cards_fen) == short_million * MILLION


def test_shanxi_planned_2_33_billion_for_7_76_million_members_and_issued_0_86() -> None:
    terms = campaign("shanxi-2020")
    planned_million = sum(funder.weight for funder in terms.funders)
    issued = sum(entry.quota for entry in terms.rounds if entry.pack == "voucher")
    assert planned_million == 2328 == 7_760_000 * 300 // 1_000_000
    assert issued * 300 // 1_000_000 == 859
    assert terms.round("card").quota == 170_000


def test_when_shanxis_counties_are_dry_the_next_in_order_advance_their_part() -> None:
    terms = campaign("shanxi-2020")
    weights = [funder.weight for funder in terms.funders]
    assert fund(300 * YUAN, weights, [MILLION, MILLION, 0], terms.shortfall_rule) == [21_263, 8_737, 0]
    assert terms.cascade == "advanced"


def test_shanxis_travel_card_is_200_yuan_over_its_uses() -> None:
    terms = campaign("shanxi-2020")
    vouchers = terms.pack("card").vouchers
    assert sum(off(terms, name, 60 * YUAN, "tourism").amount_fen for name in vouchers) == 200 * YUAN


def test_zhejiangs_low_income_groups_buy_staples_and_everybody_else_needs_a_minimum_spend() -> None:
    terms = campaign("zhejiang-2020")
    low_income, residents = terms.round("low-income"), terms.round("residents")
    assert (low_income.mode, low_income.groups) == ("targeted", {"low-income"})
    assert (residents.mode, residents.groups) == ("first-come", frozenset())
    in_pack = {terms.voucher_type(name) for name in terms.pack("low-income").vouchers}
    assert {(each.kind, "staples" in each.categories) for each in in_pack} == {("full-value", True)}
    others = {terms.voucher_type(name) for name in terms.pack("residents").vouchers}
    assert {(each.kind, "staples" in each.categories) for each in others} == {("threshold", False)}


def test_zhejiangs_vouchers_are_good_for_three_to_six_months_in_every_city_of_the_province() -> None:
    terms = campaign("zhejiang-2020")
    assert {pack.valid_days for pack in terms.packs} == {90}
    assert terms.covers_region("330100")
    assert terms.covers_region("330421")
    assert not terms.covers_region("310000")
    assert {each.kind for each in terms.cofunders} == {"platform", "bank", "merchant"}


@pytest.mark.parametrize(
    ("place", "attraction", "visit"),
    [("310118", "zhujiajiao", 60), ("320509", "tongli", 50), ("330421", "xitang", 50), ("340100", "hongcun", 40)],
)
def test_the_delta_pass_pays_each_attraction_its_share_of_the_ticket(place: str, attraction: str, visit: int) -> None:
    terms = campaign("delta-pass-2026")
    order = Order(80 * YUAN, "tourism", "shop", klass=attraction)
    found = explain(terms, terms.voucher_type("pass"), order, place)
    assert (found.refusal, found.discount_fen) == (None, visit * YUAN)
    assert found.legs[-1] == (place, "visitors", visit * YUAN * 3 // 10)


def test_the_delta_pass_opens_nothing_that_it_does_not_name() -> None:
    assert off(campaign("delta-pass-2026"), "pass", 80 * YUAN, "tourism", klass="forbidden-city").refusal


@pytest.mark.parametrize(
    ("voucher", "price", "subsidy"),
    [
        ("appliance", 2_999_00, 449_85),
        ("appliance", 10_000_00, 1_500_00),
        ("appliance", 12_000_00, 1_500_00),
        ("digital", 3_333_33, 499_99),
        ("digital", 3_333_34, 500_00),
        ("digital", 6_000_00, 500_00),
    ],
)
def test_the_trade_in_gives_15_percent_up_to_its_cap(voucher: str, price: int, subsidy: int) -> None:
    assert off(campaign("trade-in-2026"), voucher, price, voucher) == Discount(subsidy)


def test_digital_goods_over_6000_yuan_get_nothing() -> None:
    assert off(campaign("trade-in-2026"), "digital", 6_000_01, "digital").refusal == "NO_MATCHING_TIER"


def test_jincheng_asks_for_what_must_be_done_before_applying_and_bars_whom_the_plan_bars() -> None:
    terms = campaign("jincheng-2026")
    assert terms.round("car-2026").evidence == {"invoice", "vin", "purchase-tax", "registration"}
    assert terms.merchant_vetoes == {"dishonesty-list", "major-accident"}


def test_jinchengs_leverage_is_the_one_that_other_campaigns_are_checked_against() -> None:
    bound = bound_of("140502")
    assert bound is not None
    assert bound.minimum == campaign("jincheng-2026").minimum_leverage
