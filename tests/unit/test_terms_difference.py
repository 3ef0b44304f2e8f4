"""The difference between two versions of terms, as a director reads it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from local_parties import campaign

from quanlian.file_rules import Words
from quanlian.notices import Given
from quanlian.refusals import CHINA
from quanlian.terms_difference import (
    _DEPENDS,
    _KEPT,
    _LESS,
    _MORE,
    _NEITHER,
    _ROAMING,
    _UNLIMITED,
    Difference,
    difference,
    notice_difference,
)
from quanlian.terms_fields import FIELDS, TABLES

OLD = campaign()
VOUCHER = (
    '[[voucher_type]]\nid = "twenty"\ntitle_zh = "满百减二十"\ntitle_en = "20 off 100"\nkind = "threshold"\n'
    'categories = ["retail"]\nface = 20.00\nminimum_spend = 100.00\n\n'
).encode()


def with_line(old: str, new: str) -> bytes:
    assert old.encode() in OLD, old
    return OLD.replace(old.encode(), new.encode(), 1)


def only(new: bytes) -> Difference:
    (found,) = difference(OLD, new)
    return found


def test_nothing_changed_is_no_difference() -> None:
    assert difference(OLD, OLD + b"\n# a comment\n") == []


def test_what_is_written_otherwise_and_means_the_same_is_no_difference() -> None:
    assert difference(OLD, with_line("+08:00\nends_at", "+08:00 # Beijing\nends_at")) == []
    assert difference(OLD, with_line('refund_policy = "pro-rata"\n', "")) == []
    assert difference(OLD, with_line("2026-12-01T00:00:00+08:00", "2026-11-30T16:00:00Z")) == []


def test_amounts_are_in_yuan_and_counts_have_their_unit() -> None:
    budget, quota = difference(OLD, campaign(city=5000, quota=3000))
    assert budget.field == "funder[city].budget"
    assert (budget.before, budget.after) == (
        Words("4,000.00 元", "4,000.00 yuan"),
        Words("5,000.00 元", "5,000.00 yuan"),
    )
    assert budget.holders == "neither"
    assert (quota.field, quota.after.zh, quota.holders) == ("round[r1].quota", "3,000 份", "better")


def test_fields_and_entries_are_named_in_chinese_and_english() -> None:
    quota = only(campaign(quota=300))
    assert quota.label.zh.endswith("份数")
    assert "轮次“r1”" in quota.label.zh
    assert quota.label.en == "round “r1”: quota"


def test_an_end_is_in_beijing_time_as_people_write_it() -> None:
    found = only(with_line("closes_at = 2026-12-01T00", "closes_at = 2026-12-15T00"))
    assert (found.before.zh, found.after.zh, found.holders) == ("2026-11-30 24:00", "2026-12-14 24:00", "better")


def test_a_new_voucher_is_shown_with_all_that_it_says() -> None:
    found = only(with_line("[[pack]]", f"{VOUCHER.decode()}[[pack]]"))
    assert (found.field, found.kind, found.holders) == ("voucher_type[twenty]", "added", "better")
    assert found.label == Words("券种“满百减二十”", "voucher type “20 off 100”")
    assert found.after.zh == "类别 满减；适用行业 零售；面值 20.00 元；最低消费 100.00 元"
    assert found.before.zh == ""


def test_a_voucher_that_is_gone_is_shown_as_taken_away() -> None:
    longer = with_line("[[pack]]", f"{VOUCHER.decode()}[[pack]]")
    (found,) = difference(longer, OLD)
    assert (found.kind, found.holders, found.after.zh) == ("removed", "worse", "")
    assert "20.00 元" in found.before.zh


@pytest.mark.parametrize(
    ("old", "new", "field", "holders"),
    [
        ("valid_days = 7", "valid_days = 14", "pack[two].valid_days", "better"),
        ("valid_days = 7", "valid_days = 3", "pack[two].valid_days", "worse"),
        ("minimum_spend = 40.00", "minimum_spend = 30.00", "voucher_type[ten].minimum_spend", "better"),
        ("face = 10.00", "face = 8.00", "voucher_type[ten].face", "worse"),
        ('channels = ["shop"]', 'channels = ["shop", "online"]', "campaign.channels", "better"),
        ('channels = ["shop"]', 'channels = ["online"]', "campaign.channels", "depends"),
        ('"ten", "ten"]', '"ten"]', "pack[two].vouchers", "worse"),
        ('mode = "first-come"', 'mode = "lottery"', "round[r1].mode", "depends"),
        ("fiscal_year = 2026", "fiscal_year = 2027", "campaign.fiscal_year", "refused"),
    ],
)
def test_each_change_says_whom_it_favours(old: str, new: str, field: str, holders: str) -> None:
    found = only(with_line(old, new))
    assert (found.field, found.holders) == (field, holders)


@pytest.mark.parametrize(
    ("before", "after", "holders"),
    [
        ('["330100"]', '["330000"]', "better"),
        ('["yrd"]', '["330000"]', "worse"),
        ('["yrd"]', '["310000", "320000", "330000", "340000", "110000"]', "better"),
        ('["330100"]', '["310000"]', "depends"),
        ('["yrd"]', '["*"]', "better"),
    ],
)
def test_regions_are_compared_by_what_they_cover_and_named(before: str, after: str, holders: str) -> None:
    line = next(row for row in OLD.decode().splitlines() if row.startswith("regions = "))
    old, new = (with_line(line, f"regions = {each}") for each in (before, after))
    (found,) = difference(old, new)
    assert found.holders == holders


def test_a_region_is_shown_by_its_name_and_code() -> None:
    found = only(with_line('regions = ["*"]', 'regions = ["330421", "yrd"]'))
    assert found.before == Words("全国", "everywhere")
    assert found.after.zh == "浙江省嘉兴市嘉善县 330421、长三角三省一市"


def test_a_limit_taken_away_favours_holders_and_a_new_one_does_not() -> None:
    limited = with_line("per_person = ", "per_day = 1\nper_person = ")
    assert [each.holders for each in difference(limited, OLD)] == ["better"]
    assert [each.holders for each in difference(OLD, limited)] == ["worse"]


def test_a_notice_is_shown_by_what_it_gives() -> None:
    notice = '[notice]\ncampaign = "spring"\nvalid_until = 2027-03-01T00:00:00+08:00\nchannels = ["shop", "online"]\n'
    until, channels = notice_difference(OLD, notice.encode())
    assert (until.after.zh, until.holders) == ("7 天，且不早于 2027-02-28 24:00", "better")
    assert (channels.field, channels.before.zh, channels.after.zh) == (
        "campaign.channels",
        "实体门店",
        "实体门店、线上",
    )


def test_every_field_that_is_judged_is_a_field_and_every_table_has_a_name() -> None:
    names = {field.name for field in FIELDS}
    assert names >= _UNLIMITED
    kinds = (_MORE, _LESS, _DEPENDS, _NEITHER, _ROAMING, _KEPT)
    assert sorted(name for kind in kinds for name in kind) == sorted(names), "each field is in exactly one of them"
    assert {field.table for field in FIELDS} == TABLES.keys()


CAMPAIGNS = Path(__file__).parents[2] / "examples" / "campaigns"
FULL_VALUE = with_line('kind = "threshold"', 'kind = "full-value"').replace(b"minimum_spend = 40.00\n", b"")


def test_a_new_minimum_spend_is_worse_and_its_end_better() -> None:
    worse = {each.field: each.holders for each in difference(FULL_VALUE, OLD)}
    assert worse == {"voucher_type[ten].kind": "depends", "voucher_type[ten].minimum_spend": "worse"}
    assert [each.holders for each in difference(OLD, FULL_VALUE)] == ["depends", "better"]


def test_a_cheaper_joint_ticket_is_worse() -> None:
    old = (CAMPAIGNS / "delta-pass-2026.toml").read_bytes()
    price = next(row for row in old.decode().splitlines() if row.startswith("price = "))
    (found,) = difference(old, old.replace(price.encode(), b"price = 20.00"))
    assert (found.field.rpartition(".")[2], found.holders) == ("price", "worse")


def test_another_pack_in_a_round_depends() -> None:
    pack = OLD[OLD.index(b"[[pack]]") : OLD.index(b"[[round]]")]
    longer = OLD.replace(b"[[round]]", pack.replace(b'id = "two"', b'id = "three"') + b"[[round]]", 1)
    (found,) = difference(longer, longer.replace(b'pack = "two"', b'pack = "three"'))
    assert (found.field, found.holders) == ("round[r1].pack", "depends")


def with_funders(*names: str) -> bytes:
    """The terms with funders of these names, which stand in for each other in this order."""
    start = OLD.index(b"[[funder]]")
    rest = OLD.index(b"[[voucher_type]]")
    tables = [
        f'[[funder]]\nname = "{name}"\ntitle_zh = "{name}-zh"\nlevel = "city"\nweight = 1\nbudget = 10.00\n'
        for name in names
    ]
    return OLD[:start] + "\n".join(tables).encode() + OLD[rest:]


def test_who_stands_in_first_is_a_difference() -> None:
    (found,) = difference(with_funders("a", "b"), with_funders("b", "a"))
    assert (found.field, found.label.zh) == ("funder", "出资方顺序（依次递补）")
    assert (found.before, found.after) == (Words("a-zh、b-zh", "a, b"), Words("b-zh、a-zh", "b, a"))


def test_a_funder_put_before_others_changes_the_order_and_one_behind_them_does_not() -> None:
    assert [each.field for each in difference(with_funders("a"), with_funders("b", "a"))] == ["funder", "funder[b]"]
    assert [each.field for each in difference(with_funders("a"), with_funders("a", "b"))] == ["funder[b]"]
    assert [each.field for each in difference(with_funders("a", "b"), with_funders("b"))] == ["funder[a]"]


def test_a_notice_is_shown_beyond_what_earlier_ones_gave() -> None:
    notice = (
        '[notice]\ncampaign = "spring"\nvalid_until = 2027-03-01T00:00:00+08:00\nchannels = ["online", "delivery"]\n'
    )
    february = int(datetime(2027, 2, 1, tzinfo=CHINA).timestamp())
    until, channels = notice_difference(OLD, notice.encode(), Given(february, (), frozenset({"online"})))
    assert (until.before.zh, until.after.zh) == ("7 天，且不早于 2027-01-31 24:00", "7 天，且不早于 2027-02-28 24:00")
    assert (channels.before.zh, channels.after.zh) == ("实体门店、线上", "实体门店、线上、外卖")
