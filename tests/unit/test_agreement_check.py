"""Checking and showing agreements: the shipped examples are clean, and a faulty file is told in both languages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from chassis import cli, console
from custodian.agreements import cli as agreements_cli
from quanlian.agreement_check import check_agreement
from quanlian.agreement_sheet import agreement_sheet
from quanlian.agreements import Method, agreement_hash, parse_agreement
from quanlian.v1.agreement_pb2 import AgreementSignature, SignedAgreement

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "agreements").glob("*.toml"))
FIXED = next(path for path in EXAMPLES if path.name == "fixed.toml")
Out = pytest.CaptureFixture[str]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_clean(path: Path) -> None:
    report = check_agreement(path.read_bytes(), path.name)
    assert (report.errors, report.warnings) == ((), ())


def test_there_is_an_example_of_every_method() -> None:
    methods = {parse_agreement(path.read_bytes(), path.name).method for path in EXAMPLES}
    assert methods == set(Method.__args__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_sheet_names_every_party_figure_and_seal(path: Path, language: str) -> None:
    document = path.read_bytes()
    agreement = parse_agreement(document, path.name)
    sheet = agreement_sheet(agreement, document, language)  # type: ignore[arg-type]
    text = " ".join(cell for section in sheet.sections for row in section.rows for cell in row)
    assert agreement_hash(document).hex() in text
    assert all(code in text for code in agreement.parties)
    assert len(sheet.seals) == 2 * len(agreement.parties) + 2
    assert any("4" in section.title or "四" in section.title for section in sheet.sections)


class TestWarnings:
    @pytest.mark.parametrize(
        ("old", "new", "told"),
        [
            ("yearly_ceiling = 8000000.00\n", "", "310000 未约定年度上限"),
            ("2027-01-01", "2031-01-01", "使期限超过 3 年"),
            ("notice_days = 90", "notice_days = 365", "365 与整个期限一样长"),
            ('method = "fixed"', 'method = "fixed"\nsource = "公报"\nyear = 2020', "2020 比协议生效早 3 年以上"),
        ],
    )
    def test_what_is_allowed_and_seldom_meant(self, old: str, new: str, told: str) -> None:
        report = check_agreement(FIXED.read_bytes().replace(old.encode(), new.encode()), "fixed.toml")
        assert (report.agreement is not None, report.errors) == (True, ())
        (warning,) = report.warnings
        assert told in f"{warning.value} {warning.rule_zh}"


class TestSources:
    """Every problem names where its rule comes from, and that is never a campaign's."""

    def test_every_field_has_a_source(self) -> None:
        text = "\n".join(
            f"{line.partition('=')[0]}= 1979-01-01" if "=" in line and not line.startswith("#") else line
            for line in next(path for path in EXAMPLES if path.name == "order-rate.toml")
            .read_text("utf-8")
            .splitlines()
        )
        errors = check_agreement(f"{text}\nunknown = 1\n".encode(), "all.toml").errors
        assert {re.sub(r"\[\d+\]", "", each.field) for each in errors} >= {"number", "effective_from", "year", "method"}
        assert all(each.source for each in errors)

    def test_whatever_is_missing_has_a_source(self) -> None:
        errors = check_agreement(b'method = "order-rate"\ncampaign = "spring"\n', "empty.toml").errors
        told = {each.field: each.source for each in errors}
        assert told.keys() >= {"number", "version", "title", "source", "year", "dispute_days", "effective_until"}
        assert all(told.values())

    @pytest.mark.parametrize(
        "content", [b"#" * 5_000_000, b"\xff", b"\xef\xbb\xbf", b"x = " + b"[" * 5000, b"x" + b".x" * 200 + b" = 1"]
    )
    def test_a_file_that_cannot_be_read_is_told_as_an_agreement(self, content: bytes) -> None:
        (error,) = check_agreement(content, "odd.toml").errors
        assert error.source == "agreements.md"
        told = f"{error.rule} {error.remedy} {error.rule_zh} {error.remedy_zh}"
        assert not re.search("campaign|活动|细则", told)

    def test_a_wrong_method_is_one_problem(self) -> None:
        faulty = FIXED.read_bytes().replace(b'method = "fixed"', b'method = "half"')
        assert [each.field for each in check_agreement(faulty, "half.toml").errors] == ["method"]
        missing = FIXED.read_bytes().replace(b'method = "fixed"', b"")
        assert [each.field for each in check_agreement(missing, "none.toml").errors] == ["method"]

    def test_parameters_of_a_method_that_has_none_are_still_a_problem(self) -> None:
        faulty = FIXED.read_bytes().replace(b'method = "fixed"', b'method = "issuer-pays"')
        assert [each.field for each in check_agreement(faulty, "none.toml").errors] == ["parameters"]


class TestCommands:
    @pytest.mark.parametrize(
        ("signed_at", "counts_from"),
        [(None, None), (1_700_000_000, 1_767_196_800), (1_780_000_000, 1_780_000_000)],
        ids=["not signed yet", "signed before its term", "signed within its term"],
    )
    def test_the_list_says_since_when_an_agreement_counts(
        self, capsys: Out, monkeypatch: pytest.MonkeyPatch, signed_at: int | None, counts_from: int | None
    ) -> None:
        signatures = [] if signed_at is None else [AgreementSignature(signer="clearinghouse", signed_at=signed_at)]
        kept = SignedAgreement(document=FIXED.read_bytes(), signatures=signatures)
        monkeypatch.setattr(agreements_cli, "_all", lambda config: [kept])
        assert cli.main(["agreement", "list", "--json"]) == 0
        (told,) = json.loads(capsys.readouterr().out)["agreements"]
        assert (told["effective_from"], told["counts_from"]) == (1_767_196_800, counts_from)

    @pytest.mark.parametrize("file", ["missing.toml", "folder/agreement"])
    def test_show_says_that_a_file_is_missing(self, tmp_path: Path, capsys: Out, file: str) -> None:
        assert cli.main(["agreement", "show", str(tmp_path / file)]) == 1
        error = capsys.readouterr().err
        assert file in error
        assert "name a file that exists" in error
        assert "QUANLIAN_OPERATOR" not in error

    def test_check_tells_file_line_value_and_rule_in_both_languages(self, tmp_path: Path, capsys: Out) -> None:
        faulty = tmp_path / "faulty.toml"
        faulty.write_bytes(FIXED.read_bytes().replace(b"redeemer = 30", b"redeemer = -30").replace(b"= 90", b"= 999"))
        assert cli.main(["agreement", "check", str(faulty), str(FIXED)]) == 1
        first, second = capsys.readouterr().out.splitlines()
        assert re.match(rf"{re.escape(str(faulty))}:\d+: 错误 error: parameters\.redeemer: -30 超出范围 — ", first)
        assert (
            "termination.notice_days: 999 超出范围 — 写 1 至 366 的整数 · is out of range — write a whole number"
            in second
        )

    def test_check_gives_data_and_survives_a_file_that_is_not_there(self, tmp_path: Path, capsys: Out) -> None:
        assert cli.main(["agreement", "check", "--json", str(tmp_path / "none.toml"), str(FIXED)]) == 1
        (error,) = json.loads(capsys.readouterr().out)["errors"]
        assert (error["file"], error["field"]) == (str(tmp_path / "none.toml"), "file")
        assert error["source"] == "agreements.md"

    def test_show_prints_both_languages_and_writes_a_page(
        self, tmp_path: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(console.console, "width", 200)
        assert cli.main(["agreement", "show", str(FIXED)]) == 0
        shown = capsys.readouterr().out
        assert "杭州市财政局" in shown
        assert "Hangzhou Municipal Bureau of Finance" in shown
        assert "8,000,000.00" in shown
        page = tmp_path / "agreement.html"
        assert cli.main(["agreement", "show", str(FIXED), "--html", str(page), "--language", "zh"]) == 0
        assert page.read_text(encoding="utf-8").count("上海市商务委员会") == 2  # its row and its seal

    def test_show_gives_data(self, capsys: Out) -> None:
        assert cli.main(["agreement", "show", str(FIXED), "--json", "--language", "en"]) == 0
        (sheet,) = json.loads(capsys.readouterr().out)
        assert sheet["title"] == "Hangzhou and Shanghai: sharing the funding of vouchers"
