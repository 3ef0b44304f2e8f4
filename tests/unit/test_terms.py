"""What published terms say: validity, scope, lookups, funding (protocol.md, Campaign terms)."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from pathlib import Path

import pytest

from quanlian.apportionment import CoFunder, FundingPlan
from quanlian.errors import InvalidInput
from quanlian.signing import digest
from quanlian.terms import Pack, Terms
from quanlian.terms_parsing import parse_terms, read_terms

HANGZHOU = Path(__file__).parents[2] / "examples" / "campaigns" / "hangzhou-2020-r1.toml"


@pytest.fixture(scope="module")
def hangzhou() -> Terms:
    return parse_terms(HANGZHOU.read_bytes(), HANGZHOU.name)


def beijing(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}+08:00").timestamp())


def a_pack(*, days: int | None = None, until: str | None = None, campaign_ends: str = "2026-12-31T00:00:00") -> Pack:
    return Pack(
        id="p",
        title_zh="券包",
        title_en="pack",
        vouchers=("v",),
        roaming="never",
        valid_days=days,
        valid_until=beijing(until) if until else None,
        ends_at=beijing(campaign_ends),
    )


@pytest.mark.parametrize("claimed", ["2026-03-01T00:00:00", "2026-03-01T10:30:00", "2026-03-01T23:59:59"])
@pytest.mark.parametrize(("days", "end"), [(1, "2026-03-02T00:00:00"), (7, "2026-03-08T00:00:00")])
def test_n_days_end_at_midnight_of_day_n_with_the_claim_day_as_day_one(claimed: str, days: int, end: str) -> None:
    assert a_pack(days=days).validity(beijing(claimed)) == (beijing(claimed), beijing(end))


def test_validity_stops_at_the_end_of_the_campaign() -> None:
    claimed = beijing("2026-12-28T09:00:00")
    assert a_pack(days=30).validity(claimed) == (claimed, beijing("2026-12-31T00:00:00"))


def test_a_fixed_end_is_the_same_for_every_claim() -> None:
    pack = a_pack(until="2026-06-01T00:00:00")
    assert pack.validity(beijing("2026-05-01T08:00:00"))[1] == beijing("2026-06-01T00:00:00")
    assert pack.validity(beijing("2026-05-31T23:59:59"))[1] == beijing("2026-06-01T00:00:00")


def test_a_pack_whose_end_has_come_is_not_issued() -> None:
    with pytest.raises(InvalidInput, match=r"pack p: its validity ended at 2026-06-01T00:00:00\+08:00"):
        a_pack(until="2026-06-01T00:00:00").validity(beijing("2026-06-01T00:00:00"))


def test_terms_are_named_by_the_hash_of_their_very_bytes(hangzhou: Terms) -> None:
    content = HANGZHOU.read_bytes()
    assert hangzhou.terms_hash == digest("terms", content)
    assert parse_terms(content + b"\n", "t").terms_hash != hangzhou.terms_hash


def test_dates_are_held_as_utc_seconds(hangzhou: Terms) -> None:
    assert hangzhou.starts_at == beijing("2020-03-27T00:00:00")
    assert hangzhou.round("r1").opens_at == beijing("2020-03-27T10:00:00")


def test_everywhere_covers_every_region(hangzhou: Terms) -> None:
    assert all(hangzhou.covers_region(code) for code in ("330100", "310000", "140502"))


def test_funders_become_a_plan_over_their_accounts(hangzhou: Terms) -> None:
    names = ("province", "city", "county")
    accounts = tuple(f"funding/330100/2020/hangzhou-2020-r1/{name}" for name in names)
    assert hangzhou.funding_plan() == FundingPlan(accounts, (4, 4, 2), "cascade")


def test_a_platform_pays_its_share_from_its_own_account(hangzhou: Terms) -> None:
    account = "funding/330100/2020/hangzhou-2020-r1/alipay"
    assert hangzhou.cofunder_plan() == (CoFunder("platform", account, 200_000, False),)
    assert hangzhou.budgets()[account] == 2_000_000_000


def test_a_merchants_share_has_no_budget_and_no_account_yet() -> None:
    merchant = b'[[cofunder]]\nkind = "merchant"\nname = "merchants"\nshare_percent = 12.5\n\n[[voucher_type]]'
    terms = parse_terms(HANGZHOU.read_bytes().replace(b"[[voucher_type]]", merchant), "t")
    assert terms.cofunder_plan()[1] == CoFunder("merchant", "funding//2020/hangzhou-2020-r1/merchant", 125_000, False)
    assert len(terms.budgets()) == 4


def test_a_pack_inherits_the_campaigns_roaming(hangzhou: Terms) -> None:
    assert hangzhou.pack("five-tens").roaming == "on-demand"


def test_optional_fields_have_their_defaults() -> None:
    lines = HANGZHOU.read_text(encoding="utf-8").splitlines()
    optional = ("hold_seconds", "refund_policy", "cascade =", "public_pays_if_dry")
    terms = parse_terms("\n".join(line for line in lines if not line.startswith(optional)).encode(), "t")
    assert (terms.hold_seconds, terms.refund_policy, terms.cascade) == (900, "pro-rata", "borne")
    assert (terms.minimum_leverage, terms.agreement, terms.rounds[0].per_day) == (None, None, None)
    assert terms.cofunders[0].public_pays_if_dry is False


def test_leverage_is_a_fraction_and_only_of_threshold_vouchers(hangzhou: Terms) -> None:
    assert hangzhou.voucher_types[0].leverage == Fraction(4, 1)
    shanghai = HANGZHOU.read_bytes().replace(b"40.00 ", b"1000.00").replace(b"10.00 ", b"300.00")
    assert parse_terms(shanghai, "t").voucher_types[0].leverage == Fraction(10, 3)


@pytest.mark.parametrize("what", ["pack", "round", "voucher_type"])
def test_asking_for_what_the_terms_do_not_name_says_so(hangzhou: Terms, what: str) -> None:
    with pytest.raises(InvalidInput, match=r"campaign hangzhou-2020-r1: 没有.* no .* 'nothing'"):
        getattr(hangzhou, what)("nothing")


def test_a_file_without_problems_reads_with_an_empty_list() -> None:
    terms, problems = read_terms(HANGZHOU.read_bytes(), "t")
    assert terms is not None
    assert problems == []
