"""The checker tells errors and warnings apart, all at once, with the source of each rule."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from quanlian.campaign_check import Report, check_campaign
from quanlian.leverage import Bound
from quanlian.terms_fields import FIELDS

EXAMPLES = Path(__file__).parents[2] / "examples" / "campaigns"
R2 = (EXAMPLES / "hangzhou-2020-r2.toml").read_text(encoding="utf-8")
ZHEJIANG = (EXAMPLES / "zhejiang-2020.toml").read_text(encoding="utf-8")
ROUND_CLOSES = "closes_at = 2020-04-08T00:00:00+08:00"


def checked(text: str, old: str = "", new: str = "") -> Report:
    assert old in text
    return check_campaign(text.replace(old, new, 1).encode(), "a.toml")


WARNINGS = [
    (R2, "quota = 1_500_000", "quota = 1_500_001", "funder[1]", "funders together, which cannot cover the quota"),
    (R2, 'shortfall_rule = "cascade"', 'shortfall_rule = "refuse"', None, ""),
    (R2, "budget = 30_000_000.00", "budget = 29_999_999.99", "cofunder[1].budget", "0.01 short"),
    (R2, "valid_days = 7", "valid_days = 4", "round[1].closes_at", "round longer than the term"),
    (R2, "valid_days = 7", "valid_days = 366", "pack[1].valid_days", "over a year"),
    (
        R2,
        "valid_days = 7",
        "valid_until = 2020-04-07T00:00:00+08:00",
        "round[1].closes_at",
        "round longer than the term",
    ),
    (R2, "valid_days = 7", "valid_days = 30", "round[1].closes_at", "campaign's end cuts short"),
    (
        R2,
        "ends_at = 2020-04-14T00:00:00+08:00",
        "ends_at = 2021-04-14T00:00:00+08:00",
        "campaign.ends_at",
        "a term over a year",
    ),
    (ZHEJIANG, "budget = 52_000_000.00", "budget = 1_000_000.00", "funder[1]", "funders together, which cannot cover"),
    (ZHEJIANG, 'shortfall_rule = "cascade"', 'shortfall_rule = "pro-rata"', "funder[4].weight", "never pays under"),
    (ZHEJIANG, 'groups = ["low-income"]\n', "", "round[1].mode", "names no population group"),
    (R2, 'regions = ["330100"]', 'regions = ["330000", "320000"]', "campaign.roaming", "not reached"),
    (R2, 'regions = ["330100"]', 'regions = ["320000"]', "campaign.regions", "do not cover the issuer"),
    (R2, "fiscal_year = 2020", "fiscal_year = 2021", "campaign.fiscal_year", "is not a year of the campaign"),
    (R2, '"off-35-from-200", ', "", "voucher_type[2].id", "is in no pack"),
    (R2, R2[R2.index("[[round]]") :], "", "", "nobody can claim"),
]


@pytest.mark.parametrize(("text", "old", "new", "field", "rule"), WARNINGS)
def test_what_is_seldom_meant_is_a_warning_and_no_error(
    text: str, old: str, new: str, field: str | None, rule: str
) -> None:
    report = checked(text, old, new)
    assert report.terms is not None
    assert report.errors == ()
    found = [(each.field, each.rule) for each in report.warnings]
    if field is None:
        assert found == []
    else:
        assert any(place == field and rule in told for place, told in found), found
    assert all(each.source and each.remedy and each.line for each in report.warnings)


def test_a_voucher_under_another_regions_leverage_is_told_with_both_ratios() -> None:
    text = R2.replace('roaming = "never"', 'roaming = "on-demand"').replace('["330100"]', '["330100", "310000"]')
    bounds = [Bound("310000", Fraction(11, 2), "refuse", "Shanghai, 2020"), Bound("320000", Fraction(9), "refuse", "x")]
    report = check_campaign(text.encode(), "a.toml", bounds)
    (warning,) = report.warnings
    assert warning.field == "voucher_type[1].minimum_spend"
    assert "is 5 times the face, under the leverage of 5.5 of region Shanghai 310000" in warning.rule
    assert warning.source == "Shanghai, 2020"


def test_vouchers_that_stay_at_home_meet_no_other_regions_bound() -> None:
    bounds = [Bound("310000", Fraction(9), "refuse", "x")]
    assert check_campaign(R2.replace('["330100"]', '["330100", "310000"]').encode(), "a", bounds).errors == ()
    assert not [w for w in check_campaign(R2.encode(), "a", bounds).warnings if "leverage" in w.rule]


FORTY = """\
[campaign]
id = "Bad Id"
title_zh = ""
title_en = 5
issuer = "999999"
fiscal_year = 1999
budget_document = false
starts_at = 2026-01-01
ends_at = 2026-01-01T00:00:00
roaming = "always"
regions = ["mars"]
channels = ["moon"]
hold_seconds = 0
refund_policy = "none"
minimum_leverage = 0.5
visitors_leverage = "maybe"
vouchers_per_order = 2
other_discounts = "after"
agreement = 7
colour = "red"

[funding]
shortfall_rule = "pray"
cascade = "lent"

[[funder]]
name = "City"
title_zh = 1
level = "moon"
weight = -1
budget = 10

[[voucher_type]]
id = "Bad"
title_zh = ""
title_en = ""
kind = "gift"
categories = []

[[pack]]
id = "P!"
title_zh = ""
title_en = ""
vouchers = ["nothing"]
valid_days = 0

[[round]]
id = "R!"
pack = "sack"
mode = "raffle"
opens_at = 1
closes_at = 2
quota = 0
per_person = 0
"""


def test_a_file_with_forty_mistakes_gets_forty_problems_each_with_line_value_rule_remedy_and_source() -> None:
    report = check_campaign(FORTY.encode(), "a.toml")
    mistaken = [number for number, row in enumerate(FORTY.splitlines(), 1) if " = " in row]
    assert len(mistaken) >= 40
    assert [each.line for each in report.errors] == mistaken
    assert all(each.field and each.value and each.rule and each.remedy and each.source for each in report.errors)


def test_a_slip_of_syntax_hides_no_other_problem() -> None:
    broken = FORTY.replace("fiscal_year = 1999", "fiscal_year = 19 99").replace('name = "City"', 'name = "City')
    report = check_campaign(broken.encode(), "a.toml")
    assert [each.line for each in report.errors] == [
        number for number, row in enumerate(FORTY.splitlines(), 1) if " = " in row
    ]
    assert sum(each.source == "TOML 1.0" for each in report.errors) == 2


def test_errors_and_warnings_of_sound_fields_are_told_together() -> None:
    report = checked(ZHEJIANG.replace("fiscal_year = 2020", "fiscal_year = 20"), 'groups = ["low-income"]\n')
    assert [each.field for each in report.errors] == ["campaign.fiscal_year"]
    assert "round[1].mode" in [each.field for each in report.warnings]
    assert report.terms is None


def test_every_field_names_the_source_of_its_rule() -> None:
    assert all(field.source for field in FIELDS)


@pytest.mark.parametrize("content", [b"", b"\xff", b"\x00", b"[", b"x" * 300_000, b'"\\u001b[31m\\n" = 1\n'])
def test_whatever_the_file_holds_the_checker_answers_on_one_line_a_problem(content: bytes) -> None:
    report = check_campaign(content, "a.toml")
    assert report.errors
    assert all("\n" not in f"{each}" and "\x1b" not in f"{each}" for each in report.errors)


def test_a_ticket_for_more_uses_than_can_be_counted_is_one_problem() -> None:
    text = (EXAMPLES / "delta-pass-2026.toml").read_text(encoding="utf-8")
    report = checked(text, "uses = 4", f"uses = {10**30}")
    assert "voucher_type[1].uses" in [each.field for each in report.errors]


STARTS = next(row for row in R2.splitlines() if row.startswith("starts_at = "))


@pytest.mark.parametrize(("end", "warned"), [("2021-09-01", False), ("2021-09-02", True)])
def test_a_term_is_over_a_year_from_the_first_day_after_it(end: str, warned: bool) -> None:
    text = R2.replace(STARTS, "starts_at = 2020-09-01T00:00:00+08:00").replace(
        "ends_at = 2020-04-14", f"ends_at = {end}"
    )
    text = text.replace("opens_at = 2020-", "opens_at = 2021-").replace("closes_at = 2020-", "closes_at = 2021-")
    report = check_campaign(text.encode(), "a.toml")
    assert report.errors == ()
    assert any("over a year" in each.rule for each in report.warnings) is warned


def test_an_error_hides_no_warning_that_does_not_need_its_field() -> None:
    text = R2.replace("quota = 1_500_000", "quota = 1_500_001")
    report = checked(text, 'channels = ["shop"', 'channels = ["shopp"')
    assert [each.field for each in report.errors] == ["campaign.channels[1]"]
    assert any("cannot cover the quota" in each.rule for each in report.warnings)


def test_warnings_that_an_error_kept_from_being_judged_are_told() -> None:
    assert checked(R2).judged
    assert not checked(R2, "quota = 1_500_000", "quota = 0").judged
    assert not checked(R2, "fiscal_year = 2020", "fiscal_year = = 2020").judged
    assert not check_campaign(b"\xff", "a.toml").judged
