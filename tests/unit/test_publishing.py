"""Which campaigns a region's node publishes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from node.domain.publishing import check_publishable
from quanlian.errors import InvalidInput
from quanlian.terms import Terms
from quanlian.terms_parsing import parse_terms

CAMPAIGNS = Path(__file__).parents[2] / "examples" / "campaigns"
HANGZHOU, JINCHENG = "330100", "140502"


def terms(name: str, *changes: tuple[str, str]) -> Terms:
    text = (CAMPAIGNS / f"{name}.toml").read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_terms(text.encode(), name)


def refusal(campaign: Terms, region: str, minimum_leverage: Fraction | None = None) -> str:
    with pytest.raises(InvalidInput) as refused:
        check_publishable(campaign, "file.toml", region, minimum_leverage)
    return str(refused.value)


def test_a_region_publishes_its_own_campaigns_only() -> None:
    campaign = terms("hangzhou-2020-r1")
    check_publishable(campaign, "file.toml", HANGZHOU, None)
    assert refusal(campaign, JINCHENG) == (
        "file.toml: is a campaign of 330100, this is the node of 140502 — publish it at the node of 330100"
    )


def test_a_round_that_no_node_runs_is_not_opened() -> None:
    lottery = terms("hangzhou-2020-r1", ('mode = "first-come"', 'mode = "lottery"'))
    assert "has mode lottery, which this version can check and show but not run" in refusal(lottery, HANGZHOU)


@pytest.mark.parametrize("bound", [None, Fraction(4), Fraction(39, 10)])
def test_a_voucher_at_the_region_s_minimum_leverage_is_published(bound: Fraction | None) -> None:
    check_publishable(terms("hangzhou-2020-r1"), "file.toml", HANGZHOU, bound)


def test_a_voucher_just_under_the_minimum_leverage_is_not_and_both_figures_are_told() -> None:
    assert refusal(terms("hangzhou-2020-r1"), HANGZHOU, Fraction(401, 100)) == (
        "file.toml: leverage under the minimum of 330100, 401/100: off-10-from-40 has 4 — "
        "raise minimum_spend or lower face"
    )


def test_subsidies_without_a_minimum_spend_have_no_leverage_to_judge() -> None:
    """Jincheng's own bound is 5, and its cars and motorcycles are subsidised by tiers."""
    jincheng = terms("jincheng-2026")
    assert any(each.leverage is None for each in jincheng.voucher_types)
    check_publishable(jincheng, "file.toml", JINCHENG, Fraction(5))
