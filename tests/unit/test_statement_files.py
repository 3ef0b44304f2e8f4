"""A statement as a workbook and a page: figures visible before anything is calculated, one page that loads nothing."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import openpyxl
import pytest

from quanlian.errors import BooksDoNotBalance, InvalidInput
from quanlian.money import yuan
from quanlian.statements import (
    HOME,
    ISSUER,
    REDEEMER,
    FunderFigures,
    LineFigures,
    LineKey,
    Statement,
    json_to_statement,
    monthly,
)
from quanlian.statements import statement_to_json as to_json
from reporting import workbook
from reporting.campaign_report import report_data, report_workbook, show_report
from reporting.evidence_files import write_evidence
from reporting.names import STATEMENT_BALANCES
from reporting.signed_file import SignedFile, read_signed
from reporting.statement_files import write_statement
from reporting.statement_options import Format
from reporting.statement_page import bars, statement_page
from reporting.statement_workbook import statement_workbook
from reporting.workbook import FIRST_ROW

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
HANGZHOU, SHANGHAI = "330100", "310000"
SPRING, SUMMER = "hangzhou-2020-r1", "shanghai-55"
LINES = {
    LineKey(ISSUER, SHANGHAI, SPRING): LineFigures(1200, 7_000_000, 1_200_000, 30, 120_000, 20_000, 826_000),
    LineKey(REDEEMER, SHANGHAI, SUMMER): LineFigures(800, 5_000_000, 800_000, 10, 60_000, 9_000, 237_300),
    LineKey(HOME, HANGZHOU, SPRING): LineFigures(10, 58_000, 10_001, 0, 0, 0, 10_001),
}
FUNDERS = {
    ("funding/330100/2020/hangzhou-2020-r1/city", SHANGHAI): FunderFigures(840_000, 14_000),
    ("funding/330100/2026/visitors/city", SHANGHAI): FunderFigures(240_000, 2_700),
}


def a_statement(window: int = 7, opening_fen: int = 50_000_003, **more: int) -> Statement:
    return Statement(window, HANGZHOU, 1_780_000_000, 1_780_086_400, opening_fen, dict(LINES), dict(FUNDERS), **more)


STATEMENT = a_statement(lodged_fen=1_000_000, paid_out_fen=20_000)
NOTHING = Statement(8, HANGZHOU, 1_780_086_400, 1_780_172_800, 5, {})


def sheets(content: bytes, cached: bool) -> openpyxl.Workbook:
    return openpyxl.load_workbook(io.BytesIO(content), data_only=cached)


class TestWorkbook:
    CONTENT = statement_workbook(STATEMENT, "reference")

    def test_sums_are_formulas_and_their_values_are_there_before_anything_is_calculated(self) -> None:
        cached, formulas = (sheets(self.CONTENT, each)["明细 Lines"] for each in (True, False))
        total = next(row for row in range(1, 30) if cached.cell(row, 1).value == "合计 Total")
        for column, wanted in ((5, 2010), (6, 120_580), (7, 20_100.01), (12, 10_733.01), (13, -2723.0)):
            assert str(formulas.cell(total, column).value).startswith("=SUM(")
            assert cached.cell(total, column).value == pytest.approx(wanted)

    def test_every_formula_gives_what_it_says(self) -> None:
        """Recomputed here: each row's net discount and net, and the summary from the lines."""
        cached = sheets(self.CONTENT, True)
        rows = [[cell.value for cell in row] for row in cached["明细 Lines"].iter_rows(min_row=4, max_row=6)]
        for row in rows:
            assert row[10] == pytest.approx(row[6] - row[9])
            net = {"发券地 issuer": -row[11], "核销地 redeemer": row[10] - row[11], "本地 home": 0}[row[0]]
            assert row[12] == pytest.approx(net)
        summary = {row[0].value: row[1].value for row in cached["汇总 Summary"].iter_rows(max_col=2)}
        assert summary["加：应收（元） Plus: received, yuan"] == pytest.approx(
            sum(row[12] for row in rows if row[12] > 0)
        )
        assert summary["减：应付（元） Less: paid, yuan"] == pytest.approx(-sum(row[12] for row in rows if row[12] < 0))
        assert summary["期末余额（元） Closing balance, yuan"] == pytest.approx(STATEMENT.closing_fen / 100)

    def test_each_funder_has_what_it_was_used_for_what_came_back_and_the_difference(self) -> None:
        cached, formulas = (sheets(self.CONTENT, each)["出资方 Funders"] for each in (True, False))
        rows = [[cell.value for cell in row][5:] for row in cached.iter_rows(min_row=4, max_row=6)]
        assert rows == [[8400.0, 140.0, 8260.0], [2400.0, 27.0, 2373.0], [10_800.0, 167.0, 10_633.0]]
        assert formulas.cell(4, 8).value == "=F4-G4"
        assert str(formulas.cell(6, 8).value).startswith("=SUM(")

    def test_headings_are_in_both_languages_and_frozen_and_amounts_have_two_decimals(self) -> None:
        lines = sheets(self.CONTENT, True)["明细 Lines"]
        assert lines.cell(3, 7).value == "优惠金额（元）\nDiscounts, yuan"
        assert lines.freeze_panes == "A4"
        assert lines.cell(4, 7).number_format.startswith("#,##0.00")
        assert lines.column_dimensions["D"].width >= len("hangzhou-2020-r1")

    def test_maker_checker_and_approver_have_lines_to_sign(self) -> None:
        labels = [row[0].value for row in sheets(self.CONTENT, True)["汇总 Summary"].iter_rows(max_col=1)]
        assert {"经办 Maker", "复核 Checker", "审批（盖章） Approver (seal)"} <= set(labels)

    def test_no_text_of_the_summary_spills_out_of_its_cells(self) -> None:
        reference = f"statement-310000-window-1.json SHA-256 {'0f' * 32} key {'ab' * 8}"
        summary = sheets(statement_workbook(STATEMENT, reference), False)["汇总 Summary"]
        columns = {each.start_cell.coordinate: each.size["columns"] for each in summary.merged_cells.ranges}
        assert reference in [summary[cell].value for cell in columns]
        for cell in (cell for row in summary.iter_rows(2) for cell in row if cell.data_type == "s"):
            held = summary.column_dimensions[cell.column_letter].width + 9 * (columns.get(cell.coordinate, 1) - 1)
            lines = summary.row_dimensions[cell.row].height // 18 if cell.alignment.wrap_text else 1
            assert workbook._width(cell.value) <= held * lines, cell.value

    def test_a_window_in_which_nothing_happened_is_a_workbook_too(self) -> None:
        summary = sheets(statement_workbook(NOTHING, "reference"), True)["汇总 Summary"]
        values = {row[0].value: row[1].value for row in summary.iter_rows(max_col=2)}
        assert values["期末余额（元） Closing balance, yuan"] == pytest.approx(0.05)

    def test_a_name_that_looks_like_a_formula_stays_text(self) -> None:
        lines = {LineKey(ISSUER, SHANGHAI, "=1+1"): LineFigures(1, 100, 10)}
        content = statement_workbook(Statement(1, HANGZHOU, 1, 2, 0, lines), "=2+2")
        cell = sheets(content, False)["明细 Lines"].cell(4, 4)
        assert (cell.value, cell.data_type) == ("=1+1", "s")


class TestPage:
    def test_it_loads_nothing_and_shows_every_figure(self) -> None:
        page = statement_page(STATEMENT, "reference")
        assert not re.search(r"""(src|href)=|@import|url\(|<script""", page)
        for shown in ("杭州市", "Hangzhou", "500,000.03", "-2,723.00", "12,000.00", "经办 Maker", "<svg"):
            assert shown in page

    def test_a_name_cannot_break_it(self) -> None:
        lines = {LineKey(ISSUER, SHANGHAI, "<script>alert(1)</script>"): LineFigures(1, 100, 10, own_share_fen=10)}
        assert "<script" not in statement_page(Statement(1, HANGZHOU, 1, 2, 0, lines), "<b>")

    def test_the_chart_s_bars_are_in_proportion_and_the_largest_flow_comes_first(self) -> None:
        (bar,) = bars(STATEMENT)
        assert (bar.code, bar.received_fen, bar.paid_fen) == (SHANGHAI, 553_700, 826_000)
        assert bar.received_width == bar.paid_width * 553_700 // 826_000
        assert bars(NOTHING) == []

    def test_a_window_in_which_nothing_happened_says_so(self) -> None:
        assert "本期无往来" in statement_page(NOTHING, "reference")

    def test_who_signs_sees_every_line_however_many(self) -> None:
        names = [f"campaign-{n:04d}" for n in range(2000)]
        lines = {
            LineKey(ISSUER, SHANGHAI, name): LineFigures(1, 5000, 1000, own_share_fen=n) for n, name in enumerate(names)
        }
        funders = {(f"funding/330100/2026/{name}/city", SHANGHAI): FunderFigures(n) for n, name in enumerate(names)}
        page = statement_page(Statement(1, HANGZHOU, 1, 2, 0, lines, funders), "statement.json SHA-256 abc")
        assert re.findall(r"campaign-\d{4}", page) == names * 2
        assert f"{sum(range(2000)) / 100:,.2f}" in page, "the total"
        assert "statement.json SHA-256 abc" in page

    def test_what_refunds_took_back_of_orders_stands_beside_the_orders(self) -> None:
        page = statement_page(STATEMENT, "reference")
        lines = [re.findall(r'<td class="n">(.*?)</td>', each) for each in re.findall(r"<tr>.*?</tr>", page, re.DOTALL)]
        amounts = [(each[1], each[4]) for each in lines if len(each) == 8]
        told = [(yuan(LINES[key].order_fen), yuan(LINES[key].refunded_order_fen)) for key in sorted(LINES)]
        assert amounts == [*told, (yuan(12_058_000), yuan(180_000))]

    def test_a_fund_that_gets_back_of_one_year_and_is_used_of_the_next_has_each_with_its_year(self) -> None:
        funders = {
            (f"funding/{HANGZHOU}/{year}/visitors/city", SHANGHAI): figures
            for year, figures in ((2026, FunderFigures(0, 300)), (2027, FunderFigures(500, 0)))
        }
        page = statement_page(Statement(1, HANGZHOU, 1, 2, 0, dict(LINES), funders), "reference")
        assert re.findall(r"visitors&#39; fund 市级 city</td><td>(\d+)</td>", page) == ["2026", "2027"]

    def test_page_and_workbook_show_the_same_amounts_with_the_same_signs(self) -> None:
        summary = sheets(statement_workbook(STATEMENT, "reference"), True)["汇总 Summary"]
        cells = {row[0].value: row[1].value for row in summary.iter_rows(max_col=2)}
        page = statement_page(STATEMENT, "reference")
        assert STATEMENT_BALANCES.keys() >= {"opening", "lodged", "paid_out", "refunded", "paid", "closing"}
        for name, (zh, en) in STATEMENT_BALANCES.items():
            fen = getattr(STATEMENT, f"{name}_fen")
            assert cells[f"{zh}（元） {en}, yuan"] == pytest.approx(fen / 100), name
            assert re.search(rf"{re.escape(zh)} .*{re.escape(en)}</span></th><td class=\"n\">{yuan(fen)}</td>", page), (
                name
            )

    def test_every_funder_of_a_usual_day_is_shown(self) -> None:
        funders = {(f"funding/330100/2026/spring/funder-{n}", SHANGHAI): FunderFigures(100 + n) for n in range(13)}
        page = statement_page(Statement(1, HANGZHOU, 1, 2, 0, dict(LINES), funders), "reference")
        assert {f"funder-{n}<" in page for n in range(13)} == {True}
        assert "其余" not in page

    @pytest.mark.skipif(CHROMIUM is None, reason="no browser that prints is installed here")
    @pytest.mark.parametrize(("lines", "funders", "pages"), [(5, 13, 1), (40, 40, 3)])
    def test_it_prints_on_one_page_and_a_longer_one_has_its_lines_to_sign_on_the_first(
        self, tmp_path: Path, lines: int, funders: int, pages: int
    ) -> None:
        assert CHROMIUM is not None
        many = {
            LineKey(ISSUER, SHANGHAI, f"hangzhou-2020-r{n}"): LineFigures(
                1200, 7_000_000, 1_200_000, 30, 120_000, 20_000, 826_000
            )
            for n in range(lines)
        }
        used = {
            (f"funding/330100/2026/hangzhou-2020-r{n}/city", SHANGHAI): FunderFigures(826_000) for n in range(funders)
        }
        page = tmp_path / "page.html"
        page.write_text(
            statement_page(
                Statement(7, HANGZHOU, 1_780_000_000, 1_780_086_400, 50_000_003, many, used),
                "statement-330100-window-7.json SHA-256 " + "ab" * 32,
            ),
            encoding="utf-8",
        )
        arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-pdf-header-footer",
            f"--print-to-pdf={tmp_path / 'page.pdf'}",
        ]
        subprocess.run([CHROMIUM, *arguments, page.as_uri()], check=True, capture_output=True, timeout=120)
        assert len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "page.pdf").read_bytes())) == pages
        text = page.read_text(encoding="utf-8")
        assert text.index("期末余额") < text.index("经办 Maker") < text.index("明细")


class TestMonths:
    def test_a_month_is_the_sum_of_its_windows(self) -> None:
        first = a_statement(lodged_fen=100)
        second = a_statement(8, first.closing_fen, paid_out_fen=50)
        month = monthly("2026-05", [first, second])
        assert (month.opening_fen, month.closing_fen) == (first.opening_fen, second.closing_fen)
        assert (month.lodged_fen, month.paid_out_fen, month.net_fen) == (100, 50, 2 * first.net_fen)
        assert month.lines[LineKey(ISSUER, SHANGHAI, SPRING)].captures == 2400
        assert month.covers == (7, 8)
        assert json_to_statement(to_json(month)) == month

    def test_windows_that_do_not_follow_on_one_another_are_no_month(self) -> None:
        with pytest.raises(BooksDoNotBalance, match=r"window 7 closes with .* window 8 opens with 1 fen"):
            monthly("2026-05", [a_statement(), a_statement(8, 1)])


class TestFiles:
    SIGNED = SignedFile("statement", to_json(STATEMENT), b"k" * 8, b"s" * 64, b"PEM")

    def test_a_signed_file_comes_back_as_it_was(self, tmp_path: Path) -> None:
        written = write_statement(self.SIGNED, tmp_path / "new", list(Format))
        assert [path.name for path in written] == [f"statement-330100-window-7.{each}" for each in Format]
        assert read_signed(written[0]) == self.SIGNED

    def test_more_lines_than_a_sheet_holds_are_refused_before_anything_is_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(workbook, "MOST_ROWS", FIRST_ROW + len(LINES) - 1)
        with pytest.raises(InvalidInput, match="明细 Lines: has more than the 6 rows of a sheet — leave the workbook"):
            write_statement(self.SIGNED, tmp_path / "new", list(Format))
        assert not (tmp_path / "new").exists()
        assert len(write_statement(self.SIGNED, tmp_path / "new", [Format.JSON, Format.HTML])) == 2
        monkeypatch.setattr(workbook, "MOST_ROWS", FIRST_ROW + len(LINES))
        write_statement(self.SIGNED, tmp_path / "new", list(Format))

    def test_memory_does_not_grow_with_the_rows_of_a_sheet(self) -> None:
        def peak(rows: int) -> int:
            tracemalloc.start()
            book = workbook.Workbook("many")
            sheet = book.sheet("many", "many")
            columns = [workbook.Column("名", "Name"), workbook.Column("元", "yuan", "yuan", summed=True)]
            sheet.table(columns, ((f"row {n}", n) for n in range(rows)))
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert len(book.content()) > rows
            return most

        peak(100)
        assert peak(8000) < 2 * peak(1000)

    def test_a_signature_file_that_is_none_says_so(self, tmp_path: Path) -> None:
        (path,) = write_statement(self.SIGNED, tmp_path, [Format.JSON])
        path.with_name(path.name + ".sig").write_text("{}")
        with pytest.raises(InvalidInput, match="is no signature"):
            read_signed(path)

    def test_a_document_from_the_network_cannot_choose_where_it_is_written(self, tmp_path: Path) -> None:
        line = b'{"kind":"agreement","number":"../evil","version":1,"document":""}'
        with pytest.raises(InvalidInput, match="cannot name a file"):
            write_evidence(tmp_path, "x", b"", [line])
        assert not (tmp_path.parent / "evil-v1.toml").exists()


class TestCampaignReport:
    def figures(self) -> object:
        from quanlian.v1 import report_pb2 as pb

        group = pb.GroupFigures(name=SHANGHAI, redeemed_count=3, order_fen=12_345, redeemed_fen=1000, refunded_fen=7)
        budget = pb.BudgetFigures(
            funder="city", title_zh="市级", level="city", planned_fen=10_000, used_home_fen=700, used_away_fen=300
        )
        others = [
            pb.BorneByOthers(bearer="visitors", used_home_fen=0, used_away_fen=150),
            pb.BorneByOthers(bearer="merchant", used_home_fen=40, used_away_fen=10),
        ]
        return pb.CampaignFigures(
            campaign="c", title_zh="春", title_en="Spring", issued_count=9, redeemed_count=3, order_fen=12_345,
            redeemed_fen=1200, refunded_fen=7, merchants=2, by_region=[group], funders=[budget], others=others,
        )  # fmt: skip

    def test_the_seven_figures_and_the_direct_multiplier(self) -> None:
        data = report_data(self.figures())  # type: ignore[arg-type]
        assert (data["redemption_rate_ppm"], data["direct_multiplier"]) == (333_333, "10.28"), "cut, as in the stats"
        assert data["funders"][0]["used_ppm"] == 100_000

    def clearinghouses(self) -> object:
        """What the clearinghouse tells: neither what was issued nor what was used at home."""
        figures = self.figures()
        for message, names_of in (
            (figures, ("issued_count", "issued_fen")),
            *((each, ("used_home_fen",)) for each in (*figures.funders, *figures.others)),  # type: ignore[attr-defined]
        ):
            for name in names_of:
                message.ClearField(name)  # type: ignore[attr-defined]
        return figures

    def test_what_is_not_known_is_a_dash_and_no_zero(self, capsys: pytest.CaptureFixture[str]) -> None:
        data = report_data(self.clearinghouses())  # type: ignore[arg-type]
        assert [data[name] for name in ("issued_count", "issued_fen", "redemption_rate_ppm")] == [None] * 3
        assert [data["funders"][0][name] for name in ("used_home_fen", "used_fen", "used_ppm")] == [None] * 3
        assert data["funders"][0]["used_away_fen"] == 300
        show_report(self.clearinghouses())  # type: ignore[arg-type]
        shown = capsys.readouterr().out
        assert re.search(r"发放券数\W+Issued\W+—", shown)
        assert re.search(r"核销率\W+Redemption rate\W+—", shown)
        summary = sheets(report_workbook(self.clearinghouses()), True)["指标 Figures"]  # type: ignore[arg-type]
        cells = {row[0].value: row[1].value for row in summary.iter_rows(max_col=2)}
        assert (cells["发放券数 Issued"], cells["核销率 Redemption rate"]) == ("—", "—")

    def test_the_seven_figures_are_numbers_in_their_formats(self) -> None:
        summary = sheets(report_workbook(self.figures()), True)["指标 Figures"]  # type: ignore[arg-type]
        cells = {row[0].value: row[1] for row in summary.iter_rows(max_col=2)}
        for name, value, number_format in (
            ("发放券数 Issued", 9, "#,##0"),
            ("核销率 Redemption rate", 0.3333, "0.00%"),
            ("订单金额（元） Orders, yuan", 123.45, "#,##0.00;[Red]-#,##0.00"),
            ("商户数 Merchants", 2, "#,##0"),
            ("直接带动比 Direct multiplier", 10.28, "#,##0.00"),
        ):
            assert (cells[name].data_type, cells[name].number_format) == ("n", number_format), name
            assert cells[name].value == pytest.approx(value), name

    def test_advances_owed_are_summed_over_both_ledgers(self, capsys: pytest.CaptureFixture[str]) -> None:
        from quanlian.v1 import report_pb2 as pb

        assert "应还垫付 Advances owed" not in sheets(report_workbook(self.figures()), True)  # type: ignore[arg-type]
        figures = self.figures()
        titles = {"debtor_title_zh": "县级", "advancer_title_zh": "市级"}
        owed = pb.AdvanceFigures(debtor="county", advancer="city", home_fen=166, away_fen=466, **titles)
        figures.advances.append(owed)  # type: ignore[attr-defined]
        content = report_workbook(figures)  # type: ignore[arg-type]
        cached, formulas = (sheets(content, each)["应还垫付 Advances owed"] for each in (True, False))
        assert [cached.cell(4, column).value for column in (1, 2)] == ["county 县级", "city 市级"]
        assert [cached.cell(4, column).value for column in (3, 4, 5)] == pytest.approx([1.66, 4.66, 6.32])
        assert formulas.cell(4, 5).value == "=C4+D4"
        owed.ClearField("home_fen")
        figures.advances[0].CopyFrom(owed)  # type: ignore[attr-defined]
        show_report(figures)  # type: ignore[arg-type]
        shown = capsys.readouterr().out
        assert re.search(r"county 县级\W+city 市级\W+—\W+4\.66\W+—", shown), "home is not known there"

    def test_budgets_against_plan_are_formulas_with_their_values(self) -> None:
        content = report_workbook(self.figures())  # type: ignore[arg-type]
        cached, formulas = (sheets(content, each)["预算执行 Budgets"] for each in (True, False))
        assert [cached.cell(4, column).value for column in (3, 8, 9)] == pytest.approx([100, 10, 0.1])
        assert formulas.cell(4, 8).value == "=F4+G4"

    def test_use_by_funder_comes_to_the_redeemed_amount_with_what_others_bear(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        data = report_data(self.figures())  # type: ignore[arg-type]
        assert data["others"] == [
            {"bearer": "visitors", "used_home_fen": 0, "used_away_fen": 150, "used_fen": 150},
            {"bearer": "merchant", "used_home_fen": 40, "used_away_fen": 10, "used_fen": 50},
        ]
        assert sum(each["used_fen"] for each in data["funders"] + data["others"]) == data["redeemed_fen"]
        sheet = sheets(report_workbook(self.figures()), True)["预算执行 Budgets"]  # type: ignore[arg-type]
        rows = [[cell.value for cell in row] for row in sheet.iter_rows(min_row=5, max_row=7)]
        assert rows[0][:5] == ["其他地区异地用券资金 other regions' visitors' funds", "—", "—", "—", "—"]
        assert [row[7] for row in rows] == pytest.approx([1.5, 0.5, 12])
        show_report(self.figures())  # type: ignore[arg-type]
        shown = capsys.readouterr().out
        assert re.search(r"合计 Total\W+100\.00\W+0\.00\W+0\.00\W+7\.40\W+4\.60\W+12\.00\W", shown), shown
        show_report(self.clearinghouses())  # type: ignore[arg-type]
        shown = capsys.readouterr().out
        assert re.search(r"合计 Total\W+100\.00\W+0\.00\W+0\.00\W+—\W+4\.60\W+—\W", shown), "home is not known"

    def test_the_funders_of_a_level_are_summed(self, capsys: pytest.CaptureFixture[str]) -> None:
        from quanlian.v1 import report_pb2 as pb

        figures = self.figures()
        more = {"level": "city", "planned_fen": 5_000, "reserved_fen": 9, "used_home_fen": 100, "used_away_fen": 400}
        figures.funders.append(pb.BudgetFigures(funder="second", **more))  # type: ignore[attr-defined]
        (level,) = report_data(figures)["levels"]  # type: ignore[arg-type]
        assert {name: level[name] for name in ("level", "funders", "planned_fen", "reserved_fen", "used_fen")} == {
            "level": "city",
            "funders": 2,
            "planned_fen": 15_000,
            "reserved_fen": 9,
            "used_fen": 1_500,
        }
        assert level["used_ppm"] == 100_000
        content = report_workbook(figures)  # type: ignore[arg-type]
        cached, formulas = (sheets(content, each)["按层级 By level"] for each in (True, False))
        assert [cached.cell(4, column).value for column in (1, 2, 3, 8, 9)] == ["市级 city", 2, 150, 15, 0.1]
        assert formulas.cell(4, 8).value == "=F4+G4"
        show_report(figures)  # type: ignore[arg-type]
        assert re.search(r"市级 city\W+2\W+150\.00", capsys.readouterr().out)

    def test_each_group_has_a_direct_multiplier_of_its_own(self, capsys: pytest.CaptureFixture[str]) -> None:
        figures = self.figures()
        (group,) = report_data(figures)["by_region"]  # type: ignore[arg-type]
        assert group["direct_multiplier"] == "12.34", "cut"
        content = report_workbook(figures)  # type: ignore[arg-type]
        cached, formulas = (sheets(content, each)["按地区 By region"] for each in (True, False))
        assert (cached.cell(4, 6).value, formulas.cell(4, 6).value) == (12.34, "=ROUNDDOWN(C4/D4,2)")
        show_report(figures)  # type: ignore[arg-type]
        assert re.search(r"123\.45\W+10\.00\W+0\.07\W+12\.34", capsys.readouterr().out)
        figures.by_region[0].redeemed_fen = 0  # type: ignore[attr-defined]
        assert report_data(figures)["by_region"][0]["direct_multiplier"] is None  # type: ignore[arg-type]
        sheet = sheets(report_workbook(figures), True)["按地区 By region"]  # type: ignore[arg-type]
        assert sheet.cell(4, 6).value == "—"
