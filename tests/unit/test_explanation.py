"""An explanation gives the discount, who pays it by which rule, or the refusal with its figures."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from quanlian.agreements import Agreement, Fixed, IssuerPays, OrderRate
from quanlian.discounts import Order
from quanlian.errors import InvalidInput
from quanlian.explanation import Explanation, explain, network_default
from quanlian.terms import Terms
from quanlian.terms_parsing import parse_terms

ROOT = Path(__file__).parents[2]


def campaign(name: str) -> Terms:
    path = ROOT / "examples" / "campaigns" / f"{name}.toml"
    return parse_terms(path.read_bytes(), path.name)


@pytest.fixture(scope="module")
def hangzhou() -> Terms:
    return campaign("hangzhou-2020-r1")


def told(
    terms: Terms, order_fen: int = 5800, at: str = "330100", agreement: Agreement | None = None, **order: str
) -> Explanation:
    sale = Order(order_fen, order.get("category", "retail"), order.get("channel", "shop"))
    return explain(terms, terms.voucher_types[0], sale, at, agreement)


def paid(explanation: Explanation) -> list[tuple[str, str, int]]:
    return [tuple(leg) for leg in explanation.legs]


def test_at_home_the_issuers_funders_pay_all(hangzhou: Terms) -> None:
    assert paid(told(hangzhou)) == [
        ("330100", "alipay", 200),
        ("330100", "province", 320),
        ("330100", "city", 320),
        ("330100", "county", 160),
    ]


def test_away_the_first_worked_example_of_the_money_rules_comes_out(hangzhou: Terms) -> None:
    assert told(hangzhou, at="310000").as_data() == {
        "discount_fen": 1000,
        "refusal": None,
        "legs": [
            {"region": "330100", "funder": "alipay", "amount_fen": 200},
            {"region": "330100", "funder": "province", "amount_fen": 224},
            {"region": "330100", "funder": "city", "amount_fen": 224},
            {"region": "330100", "funder": "county", "amount_fen": 112},
            {"region": "310000", "funder": "visitors", "amount_fen": 240},
        ],
    }


def test_the_shipped_default_is_the_one_in_the_examples(hangzhou: Terms) -> None:
    example = ROOT / "examples" / "agreements" / "network-default.toml"
    shipped = ROOT / "proto" / "quanlian" / "data" / "network-default.toml"
    assert shipped.read_bytes() == example.read_bytes()
    assert network_default().parameters == Fixed(70, 30)


def test_a_given_agreement_decides(hangzhou: Terms) -> None:
    rate = Agreement("R", 1, "order-rate", OrderRate(57_500, 3_000))
    assert paid(told(hangzhou, at="310000", agreement=rate))[-1] == ("310000", "visitors", 240)
    nothing = Agreement("I", 1, "issuer-pays", IssuerPays())
    assert {leg.region for leg in told(hangzhou, at="310000", agreement=nothing).legs} == {"330100"}


def test_an_agreement_of_other_regions_or_another_campaign_is_refused(hangzhou: Terms) -> None:
    others = Agreement("X", 1, "fixed", Fixed(1, 1), parties=("320500", "340100"))
    with pytest.raises(InvalidInput, match="is between 320500 and 340100, not 330100 and 310000"):
        told(hangzhou, at="310000", agreement=others)
    with pytest.raises(InvalidInput, match="is for campaign other, not hangzhou-2020-r1"):
        told(hangzhou, at="310000", agreement=replace(others, parties=(), campaign="other"))


def test_terms_that_name_an_agreement_need_it(hangzhou: Terms) -> None:
    with pytest.raises(InvalidInput, match="its terms name the agreement HZ-SH-2"):
        told(replace(hangzhou, agreement="HZ-SH-2"), at="310000")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"order_fen": 3850}, "BELOW_MINIMUM_SPEND"),
        ({"channel": "online"}, "CHANNEL_NOT_COVERED"),
        ({"category": "car"}, "CATEGORY_NOT_COVERED"),
    ],
)
def test_a_refusal_names_its_reason_and_nobody_pays(hangzhou: Terms, changes: dict[str, object], reason: str) -> None:
    explanation = told(hangzhou, **changes)  # type: ignore[arg-type]
    assert explanation.as_data() == {"discount_fen": 0, "refusal": reason, "legs": []}


def test_a_refusal_tells_its_figures(hangzhou: Terms) -> None:
    assert told(hangzhou, 3850).steps[-1].zh == "订单38.50元，未满40.00元，差1.50元；券仍可用"


def test_a_voucher_that_does_not_roam_is_refused_away() -> None:
    assert told(campaign("hangzhou-2020-r2"), 10_000, at="310000").as_data()["refusal"] == "REGION_NOT_COVERED"


def test_the_redeeming_regions_leverage_refuses_hangzhous_forty_minus_ten(hangzhou: Terms) -> None:
    order = Order(5800, "retail", "shop")
    explanation = explain(hangzhou, hangzhou.voucher_types[0], order, "140502", leverage_bound=Fraction(5))
    assert explanation.as_data()["refusal"] == "LEVERAGE_TOO_LOW"


def test_the_merchants_share_is_the_redeeming_regions() -> None:
    terms = campaign("zhejiang-2020")
    order = Order(8000, "retail", "shop")
    explanation = explain(terms, terms.voucher_type("off-10-from-50"), order, "330100")
    assert ("330100", "merchants", 50) not in paid(explanation)
    assert ("330100", "merchant", 50) in paid(explanation)
    assert sum(leg.amount_fen for leg in explanation.legs) == 1000


def test_a_budget_that_is_too_small_for_one_voucher_refuses() -> None:
    terms = campaign("trade-in-2026")
    poor = replace(terms, funders=tuple(replace(each, budget_fen=1) for each in terms.funders))
    explanation = explain(poor, poor.voucher_type("appliance"), Order(100_000, "appliance", "shop"), "340100")
    assert explanation.as_data()["refusal"] == "FUNDING_EXHAUSTED"


@pytest.mark.parametrize(
    "name", ["hangzhou-2020-r1", "shanxi-2020", "zhejiang-2020", "delta-pass-2026", "jincheng-2026"]
)
def test_the_legs_always_sum_to_the_discount_and_each_step_has_its_source(name: str) -> None:
    terms = campaign(name)
    for voucher_type in terms.voucher_types:
        klass = next((each.klass for each in voucher_type.tiers), next((a.id for a in voucher_type.attractions), ""))
        order = Order(20_000_033, min(voucher_type.categories), "shop", klass=klass, invoice_fen=20_000_033)
        explanation = explain(terms, voucher_type, order, terms.issuer)
        assert explanation.discount_fen == sum(leg.amount_fen for leg in explanation.legs) > 0
        assert all(step.zh and step.en and step.source for step in explanation.steps)


def refused_because(terms: Terms, voucher: str, order: Order, at: str) -> str:
    found = explain(terms, terms.voucher_type(voucher), order, at)
    assert found.refusal is not None
    return " ".join(f"{step.zh} {step.en}" for step in found.steps)


def test_a_refusal_names_what_it_turned_on() -> None:
    trade_in, jincheng = campaign("trade-in-2026"), campaign("jincheng-2026")
    digital = trade_in.voucher_type("digital")
    dear = refused_because(
        trade_in, "digital", Order(600_001, min(digital.categories), min(trade_in.channels)), trade_in.issuer
    )
    assert "没有档次：价格6,000.01元超过价格上限6,000.00元" in dear
    car = jincheng.voucher_type("car")
    sale = Order(5_000_000, min(car.categories), min(jincheng.channels), next(tier.klass for tier in car.tiers))
    away = refused_because(jincheng, "car", sale, "310000")
    assert "roaming of the pack" in away


def test_a_refusal_names_the_channels_and_categories_that_are_covered(hangzhou: Terms) -> None:
    offline = [step.zh for step in told(hangzhou, channel="group-buying").steps]
    assert offline[0].startswith("本券的消费渠道：实体门店 shop")
    fuel = [step.en for step in told(hangzhou, category="fuel").steps]
    assert fuel[0].startswith("categories of the voucher: ")
    assert "retail" in fuel[0]


def test_an_explanation_says_that_budgets_are_taken_as_whole(hangzhou: Terms) -> None:
    assert any(
        "各方预算按尚未动用计" in step.zh and "all budgets taken as whole" in step.en for step in told(hangzhou).steps
    )


def test_what_a_budget_below_its_part_has_others_advance_is_told() -> None:
    path = ROOT / "examples" / "campaigns" / "shanxi-2020.toml"
    dry = path.read_bytes().replace(b"= 160_000_000.00", b"= 1.00")
    found = told(parse_terms(dry, path.name), 30_000, "140000")
    assert found.refusal is None
    reserved, paying = (step for step in found.steps if "advanced by" in step.en)
    for step in (reserved, paying):
        assert "垫付" in step.zh.split("；其中")[1]
    plain = told(campaign("shanxi-2020"), 30_000, "140000")
    assert not any("advanced by" in step.en for step in plain.steps)
