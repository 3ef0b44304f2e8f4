"""`quanlian campaign export-excel` and `import-excel`: files written whole or not at all, and what is told."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import openpyxl
import pytest
from workbook_edits import EXAMPLES, exported, put, resaved

from chassis.cli import main
from quanlian.terms_parsing import parse_terms

EXAMPLE = next(path for path in EXAMPLES if path.stem == "hangzhou-2020-r2")
Out = pytest.CaptureFixture[str]


def run(*arguments: object) -> int:
    return main(["campaign", *map(str, arguments)])


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    path = tmp_path / "round.toml"
    path.write_bytes(EXAMPLE.read_bytes())
    return path


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    path = tmp_path / "round.xlsx"
    path.write_bytes(
        resaved(exported(EXAMPLE.read_bytes()), put("Vouchers", "face", "ten"), put("Rounds", "pack", "x"))
    )
    return path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_campaign_goes_to_a_workbook_and_back(campaign: Path, capsys: Out) -> None:
    assert run("export-excel", campaign) == 0
    assert run("import-excel", campaign.with_suffix(".xlsx")) == 0
    assert campaign.read_bytes() == EXAMPLE.read_bytes()
    assert files(campaign.parent) == ["round.toml", "round.xlsx"]
    assert "0 个错误 errors, 0 个警告 warnings" in capsys.readouterr().err


def test_the_result_can_be_read_as_data(campaign: Path, capsys: Out) -> None:
    assert run("export-excel", campaign) == 0
    capsys.readouterr()
    assert run("import-excel", campaign.with_suffix(".xlsx"), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "errors": [],
        "warnings": [],
        "not_read": [],
        "campaign": "hangzhou-2020-r2",
        "terms_hash": parse_terms(EXAMPLE.read_bytes(), "x").terms_hash.hex(),
        "written": str(campaign),
        "marked": None,
    }


def test_faults_are_told_with_sheet_and_cell_and_no_terms_are_written(faulty: Path, capsys: Out) -> None:
    assert run("import-excel", faulty) == 1
    shown = capsys.readouterr()
    first, second = shown.out.splitlines()
    assert first.startswith(
        f"{faulty}: 错误 error: 券种 Vouchers!F4: voucher_type[1].face: ten 不是以元为单位的金额 — "
    )
    assert "is not an amount in yuan — write it like 10.00" in first
    assert second.startswith(f"{faulty}: 错误 error: 轮次 Rounds!B4: round[1].pack:")
    assert "2 个错误 errors" in shown.err
    assert files(faulty.parent) == ["round.faults.xlsx", "round.xlsx"]
    marked = openpyxl.load_workbook(faulty.with_name("round.faults.xlsx"))
    assert marked.sheetnames[0] == "错误 Faults"
    assert "is not an amount" in marked["券种 Vouchers"]["F4"].comment.text


def test_faults_can_be_read_as_data(faulty: Path, capsys: Out) -> None:
    assert run("import-excel", faulty, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["terms_hash"], found["written"]) == (None, None)
    assert found["marked"] == str(faulty.with_name("round.faults.xlsx"))
    assert set(found["errors"][0]) == {
        *("sheet", "cell", "field", "value", "rule", "remedy", "source", "rule_zh", "remedy_zh"),
    }
    assert (found["errors"][0]["sheet"], found["errors"][0]["cell"]) == ("券种 Vouchers", "F4")


def test_a_marked_copy_that_was_mended_becomes_the_campaign_file(faulty: Path, capsys: Out) -> None:
    assert run("import-excel", faulty) == 1
    marked = faulty.with_name("round.faults.xlsx")
    marked.write_bytes(resaved(marked.read_bytes(), put("Vouchers", "face", 20), put("Rounds", "pack", "three")))
    assert run("import-excel", marked) == 0
    assert faulty.with_name("round.toml").read_bytes() == EXAMPLE.read_bytes()


def test_a_file_that_says_something_else_is_overwritten_only_by_name(campaign: Path, capsys: Out) -> None:
    book = campaign.with_suffix(".xlsx")
    book.write_bytes(resaved(exported(EXAMPLE.read_bytes()), put("Campaign", "title_en", "Another")))
    before = book.read_bytes()
    assert run("export-excel", campaign) == 1
    assert run("import-excel", book) == 1
    assert capsys.readouterr().err.count("--out") == 2
    assert (book.read_bytes(), campaign.read_bytes()) == (before, EXAMPLE.read_bytes())
    assert run("import-excel", book, "--out", campaign) == 0
    assert parse_terms(campaign.read_bytes(), "x").title_en == "Another"
    assert run("export-excel", campaign, "--out", book) == 0
    assert openpyxl.load_workbook(BytesIO(book.read_bytes()))["活动 Campaign"]["C4"].value == "Another"


def test_what_cannot_be_read_or_written_is_one_error_and_leaves_nothing(campaign: Path, capsys: Out) -> None:
    assert run("import-excel", campaign) == 1
    assert run("import-excel", campaign.with_name("none.xlsx")) == 1
    assert run("export-excel", campaign, "--out", campaign.parent / "none" / "x.xlsx") == 1
    campaign.write_bytes(EXAMPLE.read_bytes().replace(b"face = 20.00", b"face = 20"))
    assert run("export-excel", campaign) == 1
    shown = capsys.readouterr().err
    assert "cannot be opened" in shown
    assert "is not a file" in shown
    assert "none" in shown
    assert "face" in shown
    assert "Traceback" not in shown
    assert files(campaign.parent) == ["round.toml"]


def test_tabs_that_were_not_read_are_named(campaign: Path, capsys: Out) -> None:
    book = campaign.with_suffix(".xlsx")
    book.write_bytes(resaved(exported(EXAMPLE.read_bytes()), lambda each: each.create_sheet("测算")))
    assert run("import-excel", book) == 0
    assert f"{book}: 未读取 not read: 测算" in capsys.readouterr().out


def test_a_marked_copy_that_is_still_faulty_is_never_overwritten(faulty: Path, capsys: Out) -> None:
    assert run("import-excel", faulty) == 1
    marked = faulty.with_name("round.faults.xlsx")
    own = resaved(marked.read_bytes(), put("Rounds", "pack", "three"), lambda book: book.create_sheet("测算"))
    marked.write_bytes(own)
    assert run("import-excel", marked) == 1
    assert run("import-excel", marked) == 1
    assert marked.read_bytes() == own
    assert files(faulty.parent) == ["round.faults-2.xlsx", "round.faults.xlsx", "round.xlsx"]
    assert "未读取 not read: 测算，也不在标红的副本中 nor in the marked copy" in capsys.readouterr().out
    second = faulty.with_name("round.faults-2.xlsx")
    second.write_bytes(resaved(second.read_bytes(), put("Vouchers", "face", 20)))
    assert run("import-excel", second) == 0
    assert faulty.with_name("round.toml").read_bytes() == EXAMPLE.read_bytes()
