"""A campaign's terms as a workbook: a round trip changes nothing, and every fault is told in its own cell."""

from __future__ import annotations

from datetime import datetime, time
from io import BytesIO
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from openpyxl.workbook import Workbook
from workbook_edits import (
    EXAMPLES,
    Change,
    Edit,
    cell_of,
    changed,
    complete_file,
    exported,
    layout,
    opened,
    put,
    resaved,
    typed,
)

from node.campaign.workbook.cells import Lost, Raw
from node.campaign.workbook.conversion import Import, export_workbook, import_workbook, read_campaign
from node.campaign.workbook.layout import LAYOUTS, Form
from node.campaign.workbook.pages import cell_at
from node.campaign.workbook.reading import Workbook as OpenWorkbook
from quanlian.terms_file import InvalidTerms
from quanlian.terms_parsing import parse_terms


def imported(*edits: Edit) -> Import:
    """The complete file of the documentation, edited as a workbook."""
    return import_workbook(resaved(exported(complete_file()), *edits), "terms.xlsx")


def read(*changes: Change) -> Import:
    """The same, its cells changed as they are read."""
    return read_campaign(changed(complete_file(), *changes), "terms.xlsx")


def faults(found: Import) -> dict[str, str]:
    return {str(fault.place): f"{fault.value} {fault.rule.wrong.en} — {fault.rule.remedy.en}" for fault in found.errors}


# ---- round trips


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_comes_back_to_the_byte(path: Path) -> None:
    content = path.read_bytes()
    book = exported(content)
    for version in (book, resaved(book)):
        found = import_workbook(version, path.name)
        assert found.errors == ()
        assert found.content == content
        assert found.terms == parse_terms(content, path.name)


def test_the_complete_file_of_the_documentation_comes_back() -> None:
    found = imported()
    assert found.content == complete_file()


def test_the_same_terms_give_the_same_workbook() -> None:
    assert export_workbook(complete_file(), "a") == export_workbook(complete_file(), "b")


def test_without_the_hidden_source_the_terms_are_the_same_and_only_comments_are_lost() -> None:
    def forget(book: Workbook) -> None:
        del book["原文 Source"]

    found = imported(forget)
    old = parse_terms(complete_file(), "old")
    assert found.terms is not None
    assert {name: getattr(found.terms, name) for name in old.__slots__ if name != "terms_hash"} == {
        name: getattr(old, name) for name in old.__slots__ if name != "terms_hash"
    }
    assert b"#" not in found.content


@pytest.mark.parametrize(
    "hidden", ["not base64!", "W2NhbXBhaWduXQo=", "YSA9IFtbW1tbWw=="], ids=["text", "half", "deep"]
)
def test_a_hidden_source_that_somebody_changed_decides_nothing(hidden: str) -> None:
    def spoil(book: Workbook) -> None:
        book["原文 Source"]["A2"] = hidden

    found = imported(spoil)
    assert found.errors == ()
    assert found.terms is not None
    assert found.terms.campaign == "autumn-2026"


def test_an_edit_changes_its_field_and_keeps_the_comments() -> None:
    found = imported(put("Vouchers", "face", 8), put("Rounds", "quota", "６０，０００"))
    before, after = complete_file().decode().splitlines(), found.content.decode().splitlines()
    assert [line for line in after if line not in before] == [
        "face = 8.00",
        "quota = 60_000                                  # 份 · packs",
    ]
    assert [line for line in before if line not in after] == [
        "face = 10.00",
        "quota = 50_000                                  # 份 · packs",
    ]


def test_rows_may_be_added_moved_and_separated_by_empty_ones() -> None:
    def add(book: Workbook) -> None:
        sheet = book[layout("Groups").title]
        sheet.insert_rows(4, 3)
        sheet["A9"], sheet["B9"], sheet["C9"] = "students", "学生", "Students"
        sheet["A500"] = "　"

    found = imported(add)
    assert found.terms is not None
    assert [group.id for group in found.terms.groups] == ["low-income", "students"]


def test_columns_may_be_moved_and_a_column_of_notes_added() -> None:
    def move(book: Workbook) -> None:
        sheet = book[layout("Groups").title]
        for row in range(1, 5):
            cells = [sheet.cell(row, column) for column in range(1, 4)]
            values = [cell.value for cell in cells]
            for cell, value in zip([sheet.cell(row, 5), sheet.cell(row, 1), sheet.cell(row, 2)], values, strict=True):
                cell.value = value
            sheet.cell(row, 3).value = "备注" if row != 3 else None

    assert imported(move).content == complete_file()


def test_a_repeated_voucher_may_be_counted_or_listed() -> None:
    found = imported(put("Pack contents", "count", None), put("Pack contents", "count", 3, entry=2))
    assert found.terms is not None
    assert found.terms.pack("residents").vouchers == ("off-10-from-50", *["towns"] * 6)


def test_a_tab_of_ones_own_is_told_as_not_read() -> None:
    found = imported(lambda book: book.create_sheet("测算"))
    assert found.unread == ("测算",)
    assert found.content == complete_file()


def test_terms_with_errors_are_not_exported() -> None:
    with pytest.raises(InvalidTerms, match="is missing"):
        export_workbook(complete_file().replace(b"issuer", b"issuerr"), "bad.toml")


def test_warnings_do_not_stop_an_import_and_have_their_cells() -> None:
    found = imported(put("Campaign", "fiscal_year", 2027))
    assert found.content
    assert [str(fault.place) for fault in found.warnings] == [f"活动 Campaign!{cell_of('Campaign', 'fiscal_year')}"]


# ---- what the workbook offers


def test_every_closed_set_has_a_drop_down_and_every_field_a_message() -> None:
    book = openpyxl.load_workbook(BytesIO(exported(complete_file())))
    closed = {Form.WORD, Form.FLAG, Form.TICK, Form.REFERENCE, Form.REGION, Form.SCOPE, Form.WORDS}
    for sheet in LAYOUTS:
        rules = {str(rule.sqref).split(":")[0]: rule for rule in book[sheet.title].data_validations.dataValidation}
        for column in sheet.columns:
            rule = rules[cell_of(sheet.title, column.key)]
            assert column.field.zh in rule.promptTitle or column.form is Form.TICK
            assert column.field.en[:30] in rule.prompt
            assert (rule.type == "list") == (column.form in closed)


def offered(book: Workbook, formula: str) -> list[Any]:
    title, _, cells = formula.partition("!")
    return [row[0].value for row in book[title.strip("'")][cells.replace("$", "")]]


@pytest.mark.parametrize(
    ("title", "key", "some"),
    [
        ("Vouchers", "kind", {"满减 threshold", "门票 ticket"}),
        ("Campaign", "refund_policy", {"按比例退回 pro-rata", "全额收回 full-clawback"}),
        ("Campaign", "issuer", {"330100 杭州市", "310118 青浦区"}),
        ("Regions", "region", {"* 全国", "yrd 长三角三省一市", "140502 城区"}),
        ("Rounds", "pack", {"residents", "low-income", "goods"}),
        ("Tiers", "voucher_type", {"car", "phone"}),
    ],
)
def test_a_drop_down_offers_what_may_be_written(title: str, key: str, some: set[str]) -> None:
    book = openpyxl.load_workbook(BytesIO(exported(complete_file())))
    cell = cell_of(title, key)
    rules = book[layout(title).title].data_validations.dataValidation
    rule = next(rule for rule in rules if str(rule.sqref).split(":")[0] == cell)
    assert some <= set(offered(book, rule.formula1))


def test_amounts_dates_and_shares_are_real_numbers_and_codes_are_text() -> None:
    book = openpyxl.load_workbook(BytesIO(exported(complete_file())))
    budget = book["出资方 Funders"][cell_of("Funders", "budget")]
    assert (budget.value, budget.number_format) == (10_000_000, "#,##0.00")
    share = book["共同出资方 Co-funders"][cell_of("Co-funders", "share_percent")]
    assert (share.value, share.number_format) == (0.1, "0.00%")
    opens = book["轮次 Rounds"][cell_of("Rounds", "opens_at")]
    assert (opens.is_date, str(opens.value)) == (True, "2026-09-01 10:00:00")
    issuer = book["活动 Campaign"][cell_of("Campaign", "issuer")]
    assert (issuer.value, issuer.number_format) == ("330400 嘉兴市", "@")
    assert book["券种 Vouchers"].freeze_panes == "B4"


def test_a_title_that_looks_like_a_formula_stays_text() -> None:
    content = complete_file().replace("嘉兴市2026年金秋消费券".encode(), b"=1+1")
    book = export_workbook(content, "terms.toml")
    assert openpyxl.load_workbook(BytesIO(book))["活动 Campaign"][cell_of("Campaign", "title_zh")].data_type == "s"
    assert import_workbook(book, "terms.xlsx").content == content


# ---- faults


MISTAKES: dict[str, tuple[str, str, int, Any, str]] = {
    "amount in words": ("Vouchers", "face", 1, "十元", "is not an amount"),
    "three decimals": ("Funders", "budget", 2, 10.005, "more than two decimals"),
    "an amount of nothing": ("Vouchers", "face", 1, 0, "is out of range"),
    "required field left out": ("Campaign", "title_zh", 1, None, "is missing"),
    "word that no list has": ("Vouchers", "kind", 2, "折扣", "is not known"),
    "identifier with capitals": ("Groups", "id", 1, "Low Income", "is not an identifier"),
    "identifier used twice": ("Vouchers", "id", 2, "off-10-from-50", "is used above"),
    "region without a code": ("Campaign", "issuer", 1, "嘉兴", "is not a region code"),
    "region code that is none": ("Regions", "region", 2, 999999, "is not a scope"),
    "code of another region": ("Regions", "region", 1, "330400 杭州市", "is not the name of 330400, 嘉兴市"),
    "share over a hundred": ("Co-funders", "share_percent", 1, "120%", "is not a share"),
    "share that may be two": ("Vouchers", "rate_percent", 5, 0.15, "may mean either"),
    "date that is none": ("Rounds", "opens_at", 1, "9月1日", "is not a date and time"),
    "round that ends before it opens": ("Rounds", "closes_at", 1, "2026-09-01 09:00", "is not after opens_at"),
    "round before the campaign": ("Rounds", "opens_at", 2, "2026年8月31日", "is before the campaign"),
    "half a pack": ("Rounds", "quota", 3, 1.5, "is not a whole number"),
    "pack that is not there": ("Rounds", "pack", 1, "nobody", "is no pack"),
    "voucher that is not there": ("Pack contents", "voucher", 2, "nothing", "is no voucher type"),
    "contents of no pack": ("Pack contents", "pack", 1, "nothing", "is in no row of 券包 Packs"),
    "contents without a voucher": ("Pack contents", "voucher", 3, None, "is missing"),
    "a thousand of a voucher": ("Pack contents", "count", 1, 1000, "is out of range"),
    "tier of no voucher": ("Tiers", "voucher_type", 1, "truck", "is in no row of 券种 Vouchers"),
    "attraction of no voucher": ("Attractions", "voucher_type", 1, None, "is missing"),
    "share of an attraction": ("Attractions", "share_percent", 1, "200%", "is not a share"),
    "group that is not there": ("Rounds", "groups", 2, "nobody", "is no group"),
    "evidence where none is asked": ("Rounds", "evidence: vin", 1, "是", "does not go with mode"),
    "neither yes nor no": ("Rounds", "evidence: vin", 3, "maybe", "neither yes nor no"),
    "threshold under the leverage": ("Vouchers", "minimum_spend", 1, 40, "is under 5 times the face"),
    "formula without a result": ("Vouchers", "cap", 5, Lost("=100*5"), "without a stored result"),
    "error of Excel's": ("Vouchers", "cap", 5, Lost("#N/A"), "is an error of Excel"),
    "two validities": ("Packs", "valid_days", 2, 30, "exactly one is needed"),
    "year of another century": ("Campaign", "fiscal_year", 1, 26, "is out of range"),
    "two vouchers an order": ("Campaign", "vouchers_per_order", 1, 2, "is out of range"),
}


def mistake(name: str) -> Change:
    title, key, entry, value, _ = MISTAKES[name]
    return typed(title, key, value, entry)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_in_its_cell_and_writes_no_terms(name: str) -> None:
    title, key, entry, _, rule = MISTAKES[name]
    found = read(mistake(name))
    told = faults(found)
    place = f"{layout(title).title}!{cell_of(title, key, entry)}"
    assert rule in told.get(place, ""), told
    assert len(told) <= 3, told
    assert (found.terms, found.content) == (None, b"")


def test_mistakes_are_told_at_once_in_the_order_of_the_sheets() -> None:
    named = ("share that may be two", "three decimals", "date that is none", "code of another region", "half a pack")
    found = read(*map(mistake, named))
    assert [str(fault.place) for fault in found.errors] == [
        "适用地区 Regions!A4",
        "出资方 Funders!F5",
        f"券种 Vouchers!{cell_of('Vouchers', 'rate_percent', 5)}",
        f"轮次 Rounds!{cell_of('Rounds', 'opens_at')}",
        f"轮次 Rounds!{cell_of('Rounds', 'quota', 3)}",
    ]


def test_a_file_edited_and_saved_has_its_faults_where_they_are_written() -> None:
    found = imported(
        put("Vouchers", "face", "=5*2"),
        put("Co-funders", "share_percent", 0.2, number_format="General"),
        put("Rounds", "closes_at", "2026-09-01 09:00"),
    )
    told = faults(found)
    assert "=5*2 is a formula without" in told["券种 Vouchers!F4"]
    assert "0.2% or 20%" in told["共同出资方 Co-funders!E4"]
    assert "is not after opens_at" in told["轮次 Rounds!E4"]
    assert len(told) == 3


def test_the_marked_copy_has_each_fault_red_with_its_message_and_a_list() -> None:
    names = ("amount in words", "code of another region", "required field left out", "date that is none")
    found = read(*map(mistake, names))
    book = openpyxl.load_workbook(BytesIO(found.marked_copy()))
    listed = list(book["错误 Faults"].iter_rows(min_row=2, values_only=True))
    assert [row[2] for row in listed] == [str(fault.place) for fault in found.errors]
    assert len(listed) == len(names)
    for fault in found.errors:
        cell = book[fault.place.sheet][fault.place.cell]
        assert cell.fill.fgColor.rgb == "FFFF7C80"
        for words in fault.rule:
            assert words.zh in cell.comment.text
            assert words.en in cell.comment.text
    untouched = book["轮次 Rounds"][cell_of("Rounds", "quota")]
    assert untouched.fill.fgColor.rgb != "FFFF7C80"
    assert untouched.value == 50_000


def test_a_marked_copy_mended_is_imported_with_its_comments() -> None:
    found = read(mistake("amount in words"), mistake("date that is none"))
    mended = resaved(found.marked_copy(), put("Vouchers", "face", 10), put("Rounds", "opens_at", "2026-09-01 10:00"))
    assert import_workbook(mended, "terms.faults.xlsx").content == complete_file()


NO_TITLES = [
    Lost("=A1"),
    Lost("#REF!"),
    *map(datetime.fromisoformat, ("1531-12-08", "2026-09-01")),
    time(7, 51),
    float("-inf"),
]


@pytest.mark.parametrize("value", NO_TITLES, ids=str)
def test_what_is_no_title_does_not_become_one_in_the_marked_copy(value: Any) -> None:
    found = read(typed("Campaign", "title_zh", value))
    again = import_workbook(found.marked_copy(), "terms.faults.xlsx")
    assert [fault.place for fault in again.errors] == [fault.place for fault in found.errors]
    assert (again.terms is None) == (found.terms is None)


def test_a_share_without_a_percent_sign_keeps_what_it_shows_in_the_marked_copy() -> None:
    found = read(typed("Co-funders", "share_percent", 10), mistake("amount in words"))
    mended = resaved(found.marked_copy(), put("Vouchers", "face", 10))
    assert import_workbook(mended, "terms.faults.xlsx").content == complete_file()


# ---- sheets and headings


def dropped(title: str) -> OpenWorkbook:
    book = opened(complete_file())
    return book._replace(sheets=[sheet for sheet in book.sheets if sheet.title != title])


def doubled(title: str) -> OpenWorkbook:
    book = opened(complete_file())
    same = next(sheet for sheet in book.sheets if sheet.title == title)
    return book._replace(sheets=[*book.sheets, same._replace(title=f"{title} (2)")])


@pytest.mark.parametrize("title", [sheet.title for sheet in LAYOUTS])
def test_a_sheet_that_is_missing_or_there_twice_is_one_fault_of_that_sheet(title: str) -> None:
    for book, rule in ((dropped(title), "sheet that is missing"), (doubled(title), "sheet that is there 2 times")):
        found = read_campaign(book, "terms.xlsx")
        own = [fault for fault in found.errors if fault.place.sheet == title]
        assert [rule in fault.rule.wrong.en for fault in own] == [True], faults(found)
        assert found.content == b""


def heading(title: str, cell: str, value: str | None) -> Change:
    def change(cells: dict[str, dict[tuple[int, int], Raw]]) -> None:
        cells[layout(title).title][cell_at(cell)] = Raw(value)

    return change


@pytest.mark.parametrize(
    ("change", "place", "rule"),
    [
        (heading("Groups", "B3", None), "人群 Groups!A3", "is a field that is missing"),
        (heading("Groups", "B3", "group.title_z"), "人群 Groups!B3", "did you mean group.title_zh"),
        (heading("Groups", "E3", "group.id"), "人群 Groups!E3", "is a field that is there twice"),
        (heading("Campaign", "F2", None), "活动 Campaign!A1", "is a field that is missing"),
        (heading("Campaign", "C1", "Wert"), "活动 Campaign!A1", "no column of values"),
    ],
)
def test_a_heading_that_somebody_changed_is_told_once(change: Change, place: str, rule: str) -> None:
    told = faults(read(change))
    assert rule in told[place], told
    assert len(told) <= 2, told


def test_a_sheet_without_field_names_is_one_fault() -> None:
    def clear(cells: dict[str, dict[tuple[int, int], Raw]]) -> None:
        cells["人群 Groups"].clear()

    told = faults(read(clear))
    assert "has no field names" in told["人群 Groups!A3"]


def test_a_tab_may_have_either_half_of_its_name() -> None:
    def rename(book: Workbook) -> None:
        book["人群 Groups"].title = "人群"
        book["资金 Funding"].title = "funding"

    assert imported(rename).content == complete_file()


def test_a_bare_date_of_an_end_is_a_warning_in_its_cell_and_an_untouched_export_has_none() -> None:
    found = imported(put("Campaign", "ends_at", datetime(2026, 12, 31)))  # noqa: DTZ001
    told = [fault for fault in found.warnings if fault.field == "campaign.ends_at"]
    assert [fault.rule.wrong.en for fault in told] == ["ends at 0:00: the last day is 30 December 2026"]
    assert not [fault for fault in imported().warnings if "0:00" in fault.rule.wrong.en]
    assert b"ends at 0:00" not in found.content


def test_a_bare_day_typed_as_an_end_is_a_fault() -> None:
    found = imported(put("Rounds", "closes_at", "2026年12月31日"))
    assert [fault.field for fault in found.errors] == ["round[1].closes_at"]
    assert found.content == b""
