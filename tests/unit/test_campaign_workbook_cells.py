"""What a cell shows, as Excel, WPS or a person left it, is what is read; what it does not show is never guessed."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from workbook_edits import layout

from node.campaign.workbook.cells import Lost, Misread, Raw, cell_of, doubt_of, is_blank, shown, value_of
from node.campaign.workbook.layout import LAYOUTS, Column, Form
from quanlian import terms
from quanlian.refusals import CHINA
from quanlian.terms_fields import FIELDS

FACE = layout("Vouchers").column("face")
SHARE = layout("Co-funders").column("share_percent")
QUOTA = layout("Rounds").column("quota")
OPENS = layout("Rounds").column("opens_at")
KIND = layout("Vouchers").column("kind")
TITLE = layout("Vouchers").column("title_zh")
NAME = layout("Vouchers").column("id")
CATEGORIES = layout("Vouchers").column("categories")
ISSUER = layout("Campaign").column("issuer")
REGION = layout("Regions").column("region")
LEVERAGE = layout("Campaign").column("minimum_leverage")
FLAG = layout("Co-funders").column("public_pays_if_dry")
TEN = datetime(2026, 1, 20, 10, tzinfo=CHINA)


def test_every_field_has_a_column_and_closed_sets_are_those_of_the_parser() -> None:
    columns = [column for sheet in LAYOUTS for column in sheet.columns]
    assert {field.name for field in FIELDS} <= {column.field.name for column in columns}
    closed: dict[str, list[str]] = {}
    for column in columns:
        if column.form in (Form.WORD, Form.TICK):
            closed.setdefault(column.field.name, []).extend(column.words)
    assert {name: tuple(words) for name, words in closed.items()} == {
        "campaign.roaming": terms.ROAMING,
        "campaign.channels": terms.CHANNELS,
        "campaign.refund_policy": terms.REFUND_POLICIES,
        "campaign.visitors_leverage": terms.VISITORS_LEVERAGE,
        "campaign.other_discounts": terms.OTHER_DISCOUNTS,
        "funding.shortfall_rule": terms.SHORTFALL_RULES,
        "funding.cascade": terms.CASCADES,
        "funder[].level": terms.LEVELS,
        "cofunder[].kind": terms.COFUNDER_KINDS,
        "merchants.conditions": terms.MERCHANT_CONDITIONS,
        "merchants.vetoes": terms.MERCHANT_VETOES,
        "voucher_type[].kind": terms.VOUCHER_KINDS,
        "pack[].roaming": terms.ROAMING,
        "round[].mode": terms.MODES,
        "round[].evidence": terms.EVIDENCE,
    }


@pytest.mark.parametrize(
    ("column", "found", "value"),
    [
        (FACE, 10, Decimal("10.00")),
        (FACE, 10.5, Decimal("10.50")),
        (FACE, 0.1 + 0.2, Decimal("0.30")),
        (FACE, 999_999_999_999.99, Decimal("999999999999.99")),
        (FACE, "10", Decimal("10.00")),
        (FACE, " 1,234.50 ", Decimal("1234.50")),
        (FACE, "￥１０．５０元", Decimal("10.50")),
        (FACE, "-3", Decimal("-3.00")),
        (SHARE, "12.5%", Decimal("12.5")),
        (SHARE, "２０％", 20),
        (SHARE, "20", 20),
        (SHARE, 20, 20),
        (LEVERAGE, 5.0, 5),
        (LEVERAGE, "3.50倍", Decimal("3.5")),
        (QUOTA, 2_000_000.0, 2_000_000),
        (QUOTA, "２，０００", 2000),
        (OPENS, datetime(2026, 1, 20, 10), TEN),  # noqa: DTZ001
        (OPENS, datetime(2026, 1, 20, 9, 59, 59, 999_997), TEN),  # noqa: DTZ001
        (OPENS, 46042.4166666667, TEN),
        (OPENS, "2026-01-20 10:00", TEN),
        (OPENS, "2026/1/20 10:00:00", TEN),
        (OPENS, "２０２６年１月２０日　１０：００", TEN),
        (OPENS, "2026年1月20日10时", TEN),
        (OPENS, "2026-01-20T10:00:00+08:00", TEN),
        (OPENS, "2026-01-20T02:00:00Z", TEN),
        (OPENS, "2026-01-19 24:00", datetime(2026, 1, 20, tzinfo=CHINA)),
        (OPENS, "2026.1.20", datetime(2026, 1, 20, tzinfo=CHINA)),
        (KIND, "满减 threshold", "threshold"),
        (KIND, "满减", "threshold"),
        (KIND, " Threshold ", "threshold"),
        (NAME, "ｏｆｆ－１０", "off-10"),
        (NAME, "\ufeffoff-10\u200b ", "off-10"),
        (NAME, 2026.0, "2026"),
        (TITLE, "满50元减10元（晋城）", "满50元减10元（晋城）"),
        (TITLE, "　满50元\n减10元　", "满50元 减10元"),
        (TITLE, 2026, "2026"),
        (CATEGORIES, "零售 retail、catering，car", ["retail", "catering", "car"]),
        (CATEGORIES, "零售；餐饮", ["retail", "catering"]),
        (ISSUER, "330100 杭州市", "330100"),
        (ISSUER, 330100.0, "330100"),
        (ISSUER, "３３０１００", "330100"),
        (REGION, "yrd 长三角三省一市", "yrd"),
        (REGION, "* 全国", "*"),
        (REGION, "*", "*"),
        (FLAG, "是 yes", True),
        (FLAG, "√", True),
        (FLAG, True, True),
        (FLAG, 0, False),
        (FLAG, "否", False),
    ],
)
def test_a_cell_is_read_for_what_it_shows(column: Column, found: Any, value: Any) -> None:
    read = value_of(column, Raw(found))
    assert read == value
    assert isinstance(read, bool) == isinstance(value, bool)


@pytest.mark.parametrize(("stored", "percent"), [(0.2, 20), (0.125, Decimal("12.5")), (0.333333, Decimal("33.3333"))])
def test_a_percentage_is_the_one_that_the_cell_shows(stored: float, percent: object) -> None:
    assert value_of(SHARE, Raw(stored, percent=True)) == percent


def test_dates_of_a_workbook_that_counts_from_1904() -> None:
    assert value_of(OPENS, Raw(44580.4166666667, since=date(1904, 1, 1))) == TEN


@pytest.mark.parametrize(
    ("column", "found", "rule"),
    [
        (FACE, "ten", "is not an amount"),
        (FACE, "1,5", "is not an amount"),
        (FACE, "10万", "is not an amount"),
        (FACE, "1e5", "is not an amount"),
        (FACE, 10.005, "more than two decimals"),
        (FACE, float("inf"), "is not an amount"),
        (FACE, 1e300, "is not an amount"),
        (FACE, True, "is not an amount"),
        (FACE, datetime(2026, 1, 10), "is not an amount"),  # noqa: DTZ001
        (FACE, " " * 30_000 + "1", "is not an amount"),
        (SHARE, 0.2, "may mean either"),
        (QUOTA, 1.5, "is not a whole number"),
        (QUOTA, "many", "is not a whole number"),
        (OPENS, "20 January", "is not a date"),
        (OPENS, "2026-13-01", "is not a date"),
        (OPENS, "2026-01-20 25:00", "is not a date"),
        (OPENS, "2026-01-20 24:30", "is not a date"),
        (OPENS, 20260120, "is not a date"),
        (OPENS, 0.5, "is not a date"),
        (OPENS, time(10), "is not a date"),
        (OPENS, timedelta(hours=30), "is not a date"),
        (OPENS, "2026" + " " * 30_000, "is not a date"),
        (KIND, "discount", "is not known"),
        (FLAG, "maybe", "neither yes nor no"),
        (FLAG, 2, "neither yes nor no"),
        (TITLE, datetime(2026, 1, 10), "a time where text belongs"),  # noqa: DTZ001
        (ISSUER, "330100 宁波市", "is not the name of 330100, 杭州市"),
        (FACE, Lost("=B2*2"), "without a stored result"),
        (FACE, Lost("#REF!"), "error of Excel"),
    ],
)
def test_what_a_cell_does_not_show_beyond_doubt_is_said(column: Column, found: Any, rule: str) -> None:
    with pytest.raises(Misread, match=rule):
        value_of(column, Raw(found))


@pytest.mark.parametrize("found", [None, "", "  ", "　\u00a0\n", "\u200b", "\ufeff "])
def test_blanks_of_any_width_are_nothing(found: str | None) -> None:
    assert is_blank(Raw(found))
    assert shown(Raw(found)) == ""


def test_a_message_shows_a_cell_on_one_short_line() -> None:
    assert shown(Raw("a\nb")) == "a b"
    assert len(shown(Raw("x" * 1000))) == 80
    assert shown(Raw(1e-5)) == "0.00001"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (FACE, Decimal("1234567.89")),
        (SHARE, Decimal("33.3333")),
        (SHARE, 20),
        (OPENS, TEN),
        (KIND, "full-value"),
        (CATEGORIES, ["retail", "own-words"]),
        (ISSUER, "310118"),
        (REGION, "yrd-demonstration-zone"),
        (FLAG, False),
        (QUOTA, 10**9),
    ],
)
def test_a_value_written_to_a_cell_is_read_again(column: Column, value: Any) -> None:
    written = cell_of(column, value)
    stored = float(written) if isinstance(written, Decimal) else written
    assert value_of(column, Raw(stored, percent=column.form is Form.PERCENT)) == value


ENDS = [column for sheet in LAYOUTS for column in sheet.columns if column.form is Form.END]
BARE_DAYS = ["2026-12-31", "2026年12月31日", "2026.12.31", "２０２６／１２／３１"]


def test_every_end_of_the_terms_is_read_as_an_end() -> None:
    assert [column.field.name for column in ENDS] == ["campaign.ends_at", "pack[].valid_until", "round[].closes_at"]


@pytest.mark.parametrize("column", ENDS, ids=lambda column: column.key)
@pytest.mark.parametrize("found", BARE_DAYS)
def test_an_end_that_is_typed_without_its_hour_is_not_guessed(column: Column, found: str) -> None:
    with pytest.raises(Misread, match="write 2026-12-31 24:00 if it does, 2026-12-31 0:00 if not"):
        value_of(column, Raw(found))


@pytest.mark.parametrize("column", ENDS, ids=lambda column: column.key)
@pytest.mark.parametrize("found", [datetime(2026, 12, 31), 46387.0, 46387])  # noqa: DTZ001
def test_a_date_cell_at_midnight_says_which_day_is_the_last(column: Column, found: Any) -> None:
    raw = Raw(found)
    value = value_of(column, raw)
    assert value == datetime(2026, 12, 31, tzinfo=CHINA)
    doubt = doubt_of(column, raw, value)
    assert doubt is not None
    assert doubt.wrong.zh == "止于 0:00，最后一天是2026年12月30日"
    assert doubt.remedy.en == "write 2026-12-31 24:00 if 31 December counts, 2026-12-30 24:00 if not"


@pytest.mark.parametrize(
    "found",
    ["2026-12-30 24:00", "2026-12-31 0:00", "2026年12月31日0时", datetime(2026, 12, 31, 18)],  # noqa: DTZ001
)
def test_an_end_with_its_hour_leaves_no_doubt(found: Any) -> None:
    for column in ENDS:
        assert doubt_of(column, Raw(found), value_of(column, Raw(found))) is None


@pytest.mark.parametrize("end", [datetime(2027, 1, 1), datetime(2026, 12, 31, 18), datetime(2026, 12, 31, 23, 59, 59)])  # noqa: DTZ001
def test_an_end_is_exported_as_text_that_reads_back(end: datetime) -> None:
    end = end.replace(tzinfo=CHINA)
    for column in ENDS:
        written = cell_of(column, end)
        assert isinstance(written, str)
        assert (value_of(column, Raw(written)), doubt_of(column, Raw(written), end)) == (end, None)
