"""What is said of a redeeming region's part: how its visitors' fund paid it, or why it did not."""

from __future__ import annotations

import json

import pytest

from quanlian.apportionment import Leg
from quanlian.story_steps import StoryStep
from quanlian.visitors_story import asked_fund, fund_step

CITY, DISTRICT = (f"funding/310000/2026/visitors/{name}" for name in ("city", "district"))


def told(rule: str, left: tuple[int, int], paid: dict[str, int], ceiling_left_fen: int | None = None) -> StoryStep:
    """Of a part of 9.00 asked of two funders 1:2."""
    kept: dict[str, object] = {"rule": rule, "funders": [[CITY, 1, left[0]], [DISTRICT, 2, left[1]]]}
    if ceiling_left_fen is not None:
        kept["ceiling_left_fen"] = ceiling_left_fen
    return fund_step(asked_fund(json.dumps(kept)), 900, tuple(Leg(account, fen) for account, fen in paid.items()))


@pytest.mark.parametrize(
    ("rule", "left", "paid", "en", "zh"),
    [
        ("refuse", (300, 600), {CITY: 300, DISTRICT: 600}, "each has enough: city pays 3.00", "各方足额"),
        ("refuse", (299, 900), {}, "0.01 is missing: the fund counts as dry", "不足0.01元，视为用尽"),
        ("cascade", (100, 900), {CITY: 100, DISTRICT: 800}, "district pays 8.00", "district付8.00"),
        ("pro-rata", (900, 0), {CITY: 900, DISTRICT: 0}, "the missing 6.00 is borne by the others", "不足的6.00元"),
        ("cascade", (100, 700), {}, "is missing: the fund counts as dry", "由发券地承担"),
        ("cascade", (-5, 900), {DISTRICT: 900}, "had -0.05 left", "当时尚余-0.05"),
        ("refuse", (300, 600), {CITY: 600, DISTRICT: 300}, "which does not follow", "与规则不符"),
        ("refuse", (300, 600), {}, "the books say 0.00, which does not follow", "账上为0.00元，与规则不符"),
    ],
)
def test_rule_weights_and_what_each_had_left_say_what_followed(
    rule: str, left: tuple[int, int], paid: dict[str, int], en: str, zh: str
) -> None:
    step = told(rule, left, paid)
    assert en in step.en
    assert zh in step.zh
    assert f"rule {rule}" in step.en
    assert "city of weight 1 is due 3.00" in step.en
    assert "district权重2应付6.00" in step.zh


def test_a_ceiling_that_the_part_would_pass_leaves_the_fund_alone() -> None:
    step = told("cascade", (900, 900), {}, ceiling_left_fen=899)
    assert "yearly ceiling leaves 8.99 for the redeeming region's part of 9.00" in step.en
    assert "协议年度上限仅余8.99元" in step.zh


def test_a_ceiling_that_it_just_reaches_asks_the_fund() -> None:
    assert "each has enough" in told("refuse", (300, 600), {CITY: 300, DISTRICT: 600}, ceiling_left_fen=900).en


@pytest.mark.parametrize("kept", [None, "{}", '{"ceiling_left_fen": 5000}'])
def test_a_region_without_a_fund_pays_nothing(kept: str | None) -> None:
    step = fund_step(asked_fund(kept), 900, ())
    assert "no visitors' fund is known" in step.en
    assert "由发券地承担" in step.zh
