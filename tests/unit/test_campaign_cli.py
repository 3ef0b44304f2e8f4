"""`quanlian campaign`: what a department types and reads."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from chassis import console
from chassis.cli import main
from quanlian.terms_words import CATEGORIES

CAMPAIGNS = Path(__file__).parents[2] / "examples" / "campaigns"
R1 = str(CAMPAIGNS / "hangzhou-2020-r1.toml")
R2 = str(CAMPAIGNS / "hangzhou-2020-r2.toml")
JINCHENG = str(CAMPAIGNS / "jincheng-2026.toml")
Out = pytest.CaptureFixture[str]


def run(*arguments: str) -> int:
    return main(["campaign", *arguments])


def test_a_clean_file_says_so_and_exits_with_0(capsys: Out) -> None:
    assert run("check", R2) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "0 个错误 errors, 0 个警告 warnings" in shown.err


def test_errors_exit_with_1_and_name_file_line_value_rule_and_source(tmp_path: Path, capsys: Out) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text(Path(R2).read_text(encoding="utf-8").replace("face = 20.00", "face = 20.0"), encoding="utf-8")
    assert run("check", str(bad), R2) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        rf"{bad}:\d+: 错误 error: voucher_type\[1\]\.face: 20\.0 不是以元为单位的金额 — 恰好写两位小数，如 10\.00 · "
        r"is not an amount in yuan — write exactly two decimals, like 10\.00 \[money\.md, .+\]",
        line,
    )


def test_problems_can_be_read_as_data(capsys: Out) -> None:
    assert run("check", "--json", R1) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["errors"] == []
    assert set(found["warnings"][0]) == {
        "file",
        "line",
        "field",
        "value",
        "rule",
        "remedy",
        "source",
        "rule_zh",
        "remedy_zh",
    }
    assert found["warnings"][0]["source"] == "Jincheng plan, 6.2"
    assert "低于山西省晋城市城区 140502（在本活动适用地区内）的杠杆比下限 5" in found["warnings"][0]["rule_zh"]


def test_a_file_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path, capsys: Out) -> None:
    assert run("check", str(tmp_path / "none.toml"), str(tmp_path), R1) == 1
    shown = capsys.readouterr().out
    assert shown.count("is not a file") == 2
    assert "hangzhou-2020-r1.toml" in shown


def test_a_bound_may_be_given(capsys: Out) -> None:
    assert run("check", R1, "--bound", "310000=4.5", "--bound", "140502=3") == 0
    shown = capsys.readouterr().out
    assert "310000" in shown
    assert "140502" not in shown


def explained(capsys: Out, *arguments: str) -> dict[str, object]:
    assert run("explain", *arguments, "--json") == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    assert set(found) == {"discount_fen", "refusal", "legs"}
    return found


def test_an_order_is_explained_in_figures(capsys: Out) -> None:
    found = explained(capsys, R1, "--voucher", "off-10-from-40", "--order", "58.00", "--at", "310000")
    assert found["discount_fen"] == 1000
    assert found["legs"][-1] == {"region": "310000", "funder": "visitors", "amount_fen": 240}  # type: ignore[index]


def test_an_order_is_explained_in_words(capsys: Out) -> None:
    assert run("explain", R1, "--voucher", "off-10-from-40", "--order", "58", "--at", "310000") == 0
    shown = capsys.readouterr().out
    assert "公共部分8.00元按分担协议QL-DEFAULT（fixed）：杭州市 5.60，上海市 2.40" in shown
    assert "[money.md, Agreements]" in shown


def test_a_published_bound_refuses_away_unless_it_is_switched_off(capsys: Out) -> None:
    order = (R1, "--voucher", "off-10-from-40", "--order", "58", "--at", "140502")
    assert explained(capsys, *order)["refusal"] == "LEVERAGE_TOO_LOW"
    assert explained(capsys, *order, "--leverage", "off")["refusal"] is None


@pytest.mark.parametrize(
    ("options", "discount_fen", "refusal"),
    [
        (("--voucher", "car", "--order", "200000"), 500_000, None),
        (("--voucher", "car", "--order", "200000", "--class", "used"), 400_000, None),
        (("--voucher", "car", "--order", "200000", "--class", "fuel", "--invoice", "99999.99"), 100_000, None),
        (("--voucher", "car", "--order", "20000"), 0, "NO_MATCHING_TIER"),
        (("--voucher", "motorcycle", "--order", "4500"), 30_000, None),
        (("--voucher", "retail-50-5", "--order", "60", "--category", "fuel"), 0, "CATEGORY_NOT_COVERED"),
        (("--voucher", "retail-50-5", "--order", "60", "--channel", "online"), 0, "CHANNEL_NOT_COVERED"),
        (("--voucher", "car", "--order", "200000", "--at", "330100"), 0, "REGION_NOT_COVERED"),
    ],
)
def test_options_left_out_have_sensible_defaults(
    capsys: Out, options: tuple[str, ...], discount_fen: int, refusal: str | None
) -> None:
    found = explained(capsys, JINCHENG, *options)
    assert (found["discount_fen"], found["refusal"]) == (discount_fen, refusal)


@pytest.mark.parametrize(
    "options",
    [
        ("--voucher", "nothing", "--order", "58"),
        ("--voucher", "off-10-from-40", "--order", "-1"),
        ("--voucher", "off-10-from-40", "--order", "1e9"),
        ("--voucher", "off-10-from-40", "--order", "58", "--at", "999999"),
        ("--voucher", "off-10-from-40", "--order", "58", "--at", "310000", "--agreement", R1),
        ("--voucher", "off-10-from-40", "--order", "58", "--channel", "phone"),
    ],
)
def test_what_cannot_be_explained_is_one_message(capsys: Out, options: tuple[str, ...]) -> None:
    assert run("explain", R1, *options) == 1
    assert capsys.readouterr().err.startswith("错误 Error: ")


@pytest.mark.parametrize("path", sorted(CAMPAIGNS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_example_is_shown_in_chinese_and_english_and_as_a_page(path: Path, tmp_path: Path, capsys: Out) -> None:
    page = tmp_path / "sheet.html"
    assert run("show", str(path)) == 0
    shown = capsys.readouterr().out
    assert "活动细则（附件）" in shown
    assert "Terms of the campaign (annex)" in shown
    assert run("show", str(path), "--html", str(page)) == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("<main") == 2
    assert "size: A4" in text
    assert "http" not in text


def test_the_sheet_carries_the_plans_table_of_cars(capsys: Out) -> None:
    assert run("show", JINCHENG, "--language", "zh") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "新能源汽车 │ 30,000（含）—60,000以下 │ 800.00" in shown
    assert "二手车 │ 200,000（含）以上 │ 4,000.00" in shown


def test_a_page_is_safe_whatever_a_title_holds(tmp_path: Path) -> None:
    bad, page = tmp_path / "bad.toml", tmp_path / "page.html"
    text = Path(R2).read_text(encoding="utf-8").replace('"满100元减20元"', '"<script>alert(1)</script>"')
    bad.write_text(text, encoding="utf-8")
    assert run("show", str(bad), "--html", str(page)) == 0
    assert "<script>" not in page.read_text(encoding="utf-8")


def test_the_sheet_is_data_too(capsys: Out) -> None:
    assert run("show", R2, "--json") == 0
    zh, en = json.loads(capsys.readouterr().out)
    assert (zh["language"], en["language"]) == ("zh", "en")


AMENDED = str(CAMPAIGNS / "amendments" / "jincheng-2026.toml")
SHANXI = str(CAMPAIGNS / "shanxi-2020.toml")
NOTICE = str(CAMPAIGNS / "notices" / "shanxi-2020.toml")


def test_the_difference_names_what_is_new_and_from_when_it_counts(capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.console, "width", 150)
    assert run("diff", JINCHENG, AMENDED) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "│ 出资方“晋城市城区财政局” 预算 │ 55,000,000.00 元 │ 60,000,000.00 元 │ — │" in shown
    assert "券种“数码消费券 补贴15%，最高500元”" in shown
    assert "此前已发放的券仍按领取时的细则使用" in shown
    assert "vouchers already out keep the terms they were issued under" in shown


def test_the_difference_is_data_too(capsys: Out) -> None:
    assert run("diff", "--json", JINCHENG, AMENDED) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"takes_effect", "same_file", "changes"}
    assert found["changes"][0]["field"] == "funder[district].budget"
    assert found["changes"][0]["label_en"] == "funder “district”: budget"
    assert {each["holders"] for each in found["changes"][1:]} == {"better"}


def test_no_difference_is_said_in_words(capsys: Out) -> None:
    assert run("diff", JINCHENG, JINCHENG) == 0
    assert capsys.readouterr().out == "没有变更 · Nothing changed\n"


def test_a_difference_to_a_file_with_errors_tells_them(tmp_path: Path, capsys: Out) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text(Path(AMENDED).read_text(encoding="utf-8").replace("per_person = 1\n", "per_person = 0\n"))
    assert run("diff", JINCHENG, str(bad)) == 1
    assert "bad.toml" in capsys.readouterr().err


def test_a_notice_is_checked_and_shown_by_what_it_gives(capsys: Out) -> None:
    assert run("check", NOTICE) == 0
    capsys.readouterr()
    assert run("diff", SHANXI, NOTICE) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "│ 2020-06-30 24:00 │ 2020-07-10 24:00 │ 有利 better │" in shown


def test_a_notice_that_takes_away_is_refused_before_it_is_published(tmp_path: Path, capsys: Out) -> None:
    earlier = tmp_path / "earlier.toml"
    earlier.write_text(Path(NOTICE).read_text(encoding="utf-8").replace("2020-07-11", "2020-06-11"), encoding="utf-8")
    assert run("diff", SHANXI, str(earlier)) == 1
    assert "a notice may only extend" in capsys.readouterr().err


def test_a_notice_with_faults_gets_a_line_for_each(tmp_path: Path, capsys: Out) -> None:
    bad = tmp_path / "notice.toml"
    bad.write_text('[notice]\ncampaign = "X"\nregions = ["mars"]\nchannels = ["moon"]\nface = 1.00\n', encoding="utf-8")
    assert run("check", str(bad)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[1] for line in lines] == ["2", "3", "4", "5"]
    assert "不是地区范围" in lines[1]


def test_a_class_that_the_voucher_has_not_is_told_with_those_it_has(capsys: Out) -> None:
    assert run("explain", JINCHENG, "--voucher", "car", "--order", "90000", "--class", "moped") == 1
    assert "use one of new-energy, fuel, used" in capsys.readouterr().err


def test_an_explanation_names_regions_funders_and_classes(capsys: Out) -> None:
    assert run("explain", JINCHENG, "--voucher", "car", "--order", "90000", "--class", "used") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "按档补贴：二手车，发票90,000.00元所在档次，优惠1,000.00元" in shown
    assert "│ 山西省晋城市城区 140502 │ 晋城市城区财政局 │ 1,000.00 │" in shown


@pytest.mark.parametrize("path", sorted(CAMPAIGNS.rglob("*-20*.toml")), ids=lambda path: path.stem)
def test_every_category_of_the_examples_has_a_word_in_chinese(path: Path) -> None:
    words = set(re.findall(r'"([a-z-]+)"', " ".join(re.findall(r"categories = (\[.*?\])", path.read_text("utf-8")))))
    assert words <= CATEGORIES.keys()


def test_a_file_that_says_the_same_in_other_bytes_is_not_called_unchanged(tmp_path: Path, capsys: Out) -> None:
    commented = tmp_path / "commented.toml"
    commented.write_bytes(Path(JINCHENG).read_bytes() + b"\n# checked\n")
    assert run("diff", JINCHENG, str(commented)) == 0
    assert "Same terms; the file differs in comments, spelling or order" in " ".join(capsys.readouterr().out.split())
    assert run("diff", JINCHENG, JINCHENG) == 0
    assert "Nothing changed" in capsys.readouterr().out


def test_warnings_that_wait_for_an_error_are_announced(tmp_path: Path, capsys: Out) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text(Path(R2).read_text(encoding="utf-8").replace("quota = 1_500_000", "quota = 0"), encoding="utf-8")
    assert run("check", str(bad), R2) == 1
    assert capsys.readouterr().err.splitlines()[0] == (
        f"{bad}: 警告尚未全部判定，请先改正错误 not all warnings are judged yet: mend the errors first"
    )
    assert run("check", "--json", str(bad), R2) == 1
    assert json.loads(capsys.readouterr().out)["not_judged"] == [str(bad)]
