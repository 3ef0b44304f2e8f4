"""Account codes name the ledger's chart."""

from __future__ import annotations

import pytest

from quanlian.accounts import (
    account_region,
    bank_account,
    borne_account,
    funding_account,
    merchant_account,
    payable_account,
    prefund_account,
    settlement_account,
    suspense_account,
    visitors_account,
)
from quanlian.errors import InvalidInput


def test_a_funding_account_names_region_year_campaign_and_funder() -> None:
    code = funding_account("330100", 2020, "hangzhou-2020-r1", "city")
    assert code == "funding/330100/2020/hangzhou-2020-r1/city"
    assert account_region(code) == "330100"


def test_a_visitors_fund_is_a_funding_account_of_the_campaign_visitors() -> None:
    assert visitors_account("310000", 2026, "city") == "funding/310000/2026/visitors/city"


def test_a_merchants_leg_has_no_region_until_it_is_redeemed() -> None:
    assert borne_account("310000", "hangzhou-2020-r1") == "borne/310000/hangzhou-2020-r1"
    assert account_region(merchant_account("", 2020, "hangzhou-2020-r1")) == ""


def test_accounts_of_a_region_tell_it() -> None:
    assert account_region(settlement_account("340100")) == "340100"
    assert account_region(prefund_account("340100", 2026, "spring", "city")) == "340100"


@pytest.mark.parametrize("code", [bank_account("clearinghouse"), suspense_account(), payable_account("alipay")])
def test_an_account_of_no_region_is_not_taken_for_one(code: str) -> None:
    with pytest.raises(InvalidInput, match="belongs to no region"):
        account_region(code)


def test_a_name_with_a_slash_cannot_pass_for_another_account() -> None:
    with pytest.raises(InvalidInput, match="without a '/'"):
        funding_account("330100", 2020, "spring/city", "county")
