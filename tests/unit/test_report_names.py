"""What departments see are names in Chinese beside the ids of funders, levels, categories and roles."""

from __future__ import annotations

import pytest

from quanlian.statements import BALANCE, HOME, ISSUER, REDEEMER
from reporting import names


@pytest.mark.parametrize(
    ("account", "shown"),
    [
        ("funding/330100/2026/spring/city", "市级 city"),
        ("funding/330100/2026/spring/county", "县（区）级 county"),
        ("funding/330100/2026/spring/alipay", "alipay"),
        ("funding/330100/2026/spring/merchant", "商户自担 merchants"),
        ("funding/330100/2026/visitors/city", "异地用券资金 visitors' fund 市级 city"),
    ],
)
def test_a_funder_is_told_by_its_level_where_it_is_called_like_one(account: str, shown: str) -> None:
    assert names.funder(account) == shown


def test_levels_and_categories_are_told_in_both_languages_and_others_as_they_are() -> None:
    assert [names.level(each) for each in ("province", names.CO_FUNDER, "ward")] == [
        "省级 province",
        "共同出资方 co-funder",
        "ward",
    ]
    assert [names.category(each) for each in ("catering", "toys")] == ["餐饮 catering", "toys"]


def test_the_regions_of_a_line_are_those_that_issue_and_redeem() -> None:
    assert [names.role(each) for each in (ISSUER, REDEEMER, HOME, BALANCE)] == [
        "发券地 issuer",
        "核销地 redeemer",
        "本地 home",
        "余额 balance",
    ]
