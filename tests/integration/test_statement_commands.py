"""What departments do with statements over the command line, at the network that a demonstration left behind."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from chassis import cli
from pki.authority import RootAuthority
from simulations.demo.network import Network
from simulations.demo.run import examine, run

HANGZHOU, SHANGHAI, CLEARINGHOUSE = "330100", "310000", "clearinghouse"
CAMPAIGN = "hangzhou-2020-r1"
SHOPPERS, SEED = 60, 2020


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """All parties again, after a demonstration that settled window 1."""
    network = Network(tmp_path_factory.mktemp("network") / "demo")
    with contextlib.redirect_stdout(io.StringIO()):
        assert asyncio.run(run(network, SEED, SHOPPERS)).sound
    with network.running():
        yield network


@pytest.fixture(scope="module")
def fingerprint(network: Network) -> str:
    return RootAuthority.load(network.directory / "root").fingerprint


def quanlian(*arguments: str | Path) -> tuple[int, str, str]:
    shown, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(error):
        code = cli.main([*map(str, arguments)])
    return code, shown.getvalue(), error.getvalue()


def operate(network: Network, party: str, *arguments: str | Path) -> str:
    group = "clearinghouse" if party == CLEARINGHOUSE else "node"
    code, shown, error = quanlian(group, *arguments, "--config", network.directory / party / "operator.toml")
    assert code == 0, error
    return shown


def refused(network: Network, party: str, *arguments: str | Path) -> str:
    group = "clearinghouse" if party == CLEARINGHOUSE else "node"
    code, _, error = quanlian(group, *arguments, "--config", network.directory / party / "operator.toml")
    assert code == 1, error
    return error


def data(network: Network, party: str, *arguments: str | Path) -> Any:
    return json.loads(operate(network, party, *arguments, "--json"))


def test_a_statement_reconciles_line_by_line(network: Network) -> None:
    lists = data(network, HANGZHOU, "reconcile", "1")
    assert lists["confirmed"]
    assert [lists[name] for name in ("missing", "extra", "different")] == [[], [], []]
    assert lists["matched"]
    assert all(each["statement"] == each["own"] for each in lists["matched"])
    shown = operate(network, HANGZHOU, "reconcile", "1")
    assert "一致 matched" in shown
    assert CAMPAIGN in shown


def test_netting_is_explained_by_who_owed_whom(network: Network) -> None:
    window = data(network, CLEARINGHOUSE, "window", "1")
    netting = data(network, CLEARINGHOUSE, "netting", "1")
    owed = netting["obligations"]
    positions = dict.fromkeys((each["region"] for each in window["positions"]), 0)
    for each in owed:
        positions[each["debtor"]] -= each["amount_fen"]
        positions[each["creditor"]] += each["amount_fen"]
    assert positions == {each["region"]: each["net_fen"] for each in window["positions"]}
    received = sum(fen for fen in positions.values() if fen > 0)
    assert (netting["gross_fen"], netting["netted_fen"]) == (window["gross_fen"], received)
    assert 0 < received <= netting["gross_fen"]
    shown = operate(network, CLEARINGHOUSE, "netting", "1")
    assert "轧差后 · after" in shown
    assert "is not calculated" in refused(network, CLEARINGHOUSE, "netting", "999")


def test_windows_are_listed_the_newest_first(network: Network) -> None:
    numbers = [each["number"] for each in data(network, CLEARINGHOUSE, "windows")["windows"]]
    assert numbers == list(range(len(numbers), 0, -1))
    assert [each["number"] for each in data(network, CLEARINGHOUSE, "windows", "--last", "1")["windows"]] == numbers[:1]
    assert "进行中 OPEN" in operate(network, CLEARINGHOUSE, "windows")


def test_node_and_clearinghouse_write_the_same_statement(network: Network, tmp_path: Path) -> None:
    written = data(network, HANGZHOU, "statement", "1", "--out", tmp_path / "node")
    assert all(Path(each["file"]).is_file() for each in written)
    operate(network, CLEARINGHOUSE, "statement", HANGZHOU, "1", "--out", tmp_path / "clearinghouse")
    name = f"statement-{HANGZHOU}-window-1"
    for form in ("json", "json.sig", "html"):
        mine, theirs = ((tmp_path / who / f"{name}.{form}").read_bytes() for who in ("node", "clearinghouse"))
        assert mine == theirs
    statement = json.loads((tmp_path / "node" / f"{name}.json").read_bytes())
    book = openpyxl.load_workbook(tmp_path / "node" / f"{name}.xlsx", data_only=True)
    values = {row[0].value: row[1].value for row in book["汇总 Summary"].iter_rows(max_col=2) if row[0].value}
    assert round(values["净额（应收减应付）（元） Net: received less paid, yuan"] * 100) == statement["net_fen"]
    assert round(values["期末余额（元） Closing balance, yuan"] * 100) == statement["closing_fen"]


@pytest.mark.parametrize("party", [HANGZHOU, CLEARINGHOUSE])
def test_exported_evidence_verifies(network: Network, tmp_path: Path, fingerprint: str, party: str) -> None:
    region = [] if party == HANGZHOU else [HANGZHOU]
    operate(network, party, "export-evidence", *region, "1", "--out", tmp_path)
    options = ["--terms", tmp_path / "terms", "--agreements", tmp_path / "agreements", "--trust", fingerprint]
    files = [tmp_path / f"statement-{HANGZHOU}-window-1.json", "--redemptions"]
    files += [tmp_path / f"redemptions-{HANGZHOU}-window-1.jsonl"]
    code, shown, error = quanlian("verify", *files, *options, "--json")
    assert code == 0, shown + error
    verdict = json.loads(shown)
    assert verdict["holds"]
    assert verdict["redemptions"] > 0
    path = tmp_path / f"statement-{HANGZHOU}-window-1.json"
    path.write_bytes(path.read_bytes().replace(b'"captures": ', b'"captures": 1', 1))
    code, shown, _ = quanlian("verify", *files, *options)
    assert code == 1
    assert "captures" in shown
    assert "signature" in shown


def test_a_campaign_s_report_equals_the_demonstration_s_figures(network: Network, tmp_path: Path) -> None:
    figures, _ = examine(network)
    wanted = figures.campaigns[CAMPAIGN]
    report = data(network, HANGZHOU, "report", CAMPAIGN, "--xlsx", tmp_path / "report.xlsx")
    names = ("issued_count", "redeemed_count", "order_fen", "redeemed_fen", "refunded_fen", "merchants")
    assert {name: report[name] for name in names} == {name: getattr(wanted, name) for name in names}
    assert report["redemption_rate_ppm"] == wanted.rate_ppm
    for group in ("by_category", "by_region", "by_day"):
        assert sum(each["redeemed_fen"] for each in report[group]) == wanted.redeemed_fen
        assert sum(each["redeemed_count"] for each in report[group]) == wanted.redeemed_count
    assert sum(each["used_fen"] for each in report["funders"] + report["others"]) == wanted.redeemed_fen
    assert sum(each["used_fen"] for each in report["levels"]) == sum(each["used_fen"] for each in report["funders"])
    book = openpyxl.load_workbook(tmp_path / "report.xlsx", data_only=True)
    totals = [row[3].value for row in book["按地区 By region"].iter_rows() if row[0].value == "合计 Total"]
    assert [round(total * 100) for total in totals] == [wanted.redeemed_fen]
    away = data(network, CLEARINGHOUSE, "report", CAMPAIGN)
    assert 0 < away["redeemed_fen"] < wanted.redeemed_fen
    assert sum(each["used_away_fen"] for each in away["funders"] + away["others"]) == away["redeemed_fen"]
    assert "直接带动比" in operate(network, HANGZHOU, "report", CAMPAIGN)


def test_a_dispute_ends_in_an_adjusting_entry_that_every_book_has(network: Network, tmp_path: Path) -> None:
    assert "is no line of window 1" in refused(
        network, HANGZHOU, "dispute", "1", "--line", f"issuer/999999/{CAMPAIGN}", "--why", "typing error"
    )
    line = next(
        each
        for each in data(network, HANGZHOU, "reconcile", "1")["matched"]
        if each.get("role") == "issuer" and each["campaign"] == CAMPAIGN
    )
    name = f"issuer/{line['counterpart']}/{CAMPAIGN}"
    sent = data(network, HANGZHOU, "dispute", "1", "--line", name, "--why", "the order was 20 yuan less")
    assert (sent["window"], sent["lines"]) == (1, [name])
    (open_dispute,) = data(network, CLEARINGHOUSE, "disputes")
    assert (open_dispute["outcome"], open_dispute["why"]) == ("open", "the order was 20 yuan less")
    redemption = captured_at(network, tmp_path, line["counterpart"])
    twice = [f"{redemption}=1.23"] * 2
    code, _, error = quanlian("clearinghouse", "uphold", HANGZHOU, "1", *twice, "--why", "no")
    assert (code, "is named 2 times" in " ".join(error.split())) == (2, True), error
    upheld = ("uphold", HANGZHOU, "1", f"{redemption}=1.23", "--why", "the till was wrong")
    (booked,) = data(network, CLEARINGHOUSE, *upheld)["booked"]
    assert (booked["redemption_id"], booked["amount_fen"]) == (redemption, 123)
    assert "is upheld already" in refused(network, CLEARINGHOUSE, "reject", HANGZHOU, "1", "--why", "no")
    window = data(network, CLEARINGHOUSE, "close")["number"]
    positions = {each["region"]: each["net_fen"] for each in wait_for_confirmations(network, window)}
    assert sum(positions.values()) == 0
    assert positions[HANGZHOU] > 0, "the issuer gets back"
    assert data(network, HANGZHOU, "reconcile", str(window))["confirmed"]
    (decided,) = data(network, HANGZHOU, "disputes")
    assert (decided["outcome"], decided["resolution"], decided["booked"]) == ("upheld", "the till was wrong", [booked])
    assert data(network, HANGZHOU, "status")["disputes_open"] == 0
    assert "1.23" in operate(network, HANGZHOU, "disputes")
    (told,) = data(network, line["counterpart"], "disputes")
    assert (told["region"], told["by"], told["outcome"]) == (HANGZHOU, "", "upheld")
    operate(network, CLEARINGHOUSE, "deposit", SHANGHAI, "1000.00", "--reference", "TYPO")
    taken = data(network, CLEARINGHOUSE, "reverse-deposit", "TYPO", "--why", "it was 100.00")
    assert (taken["region"], taken["amount_fen"], taken["why"]) == (SHANGHAI, 100_000, "it was 100.00")
    assert taken["by"].startswith("spiffe://")
    assert "1,000.00" in operate(network, CLEARINGHOUSE, "reverse-deposit", "TYPO", "--why", "it was 100.00")


def test_a_mistyped_bank_entry_of_a_department_is_taken_back(network: Network) -> None:
    operate(network, HANGZHOU, "lodge", "1000.00", "--reference", "TYPO")
    assert "reverse it first" in refused(network, HANGZHOU, "lodge", "100.00", "--reference", "TYPO")
    taken = data(network, HANGZHOU, "reverse", "TYPO", "--why", "it was 100.00")
    assert (taken["kind"], taken["amount_fen"], taken["reversed_before"]) == ("payment", 100_000, False)
    assert taken["by"].startswith("spiffe://")
    said = operate(network, HANGZHOU, "reverse", "TYPO", "--why", "it was 100.00")
    assert "本次未变更" in said
    assert "nothing was changed" in said
    operate(network, HANGZHOU, "lodge", "100.00", "--reference", "TYPO")
    assert "缴存 lodging TYPO: 100.00" in operate(network, HANGZHOU, "reverse", "TYPO", "--why", "it never went")
    assert "no receipt or lodging TYPO" in refused(network, HANGZHOU, "reverse", "TYPO", "--why", "once more")


def captured_at(network: Network, folder: Path, region: str) -> str:
    """The id of a redemption of Hangzhou's voucher at a region's merchant that stands captured in full."""
    _, exported = data(network, HANGZHOU, "export-evidence", "1", "--out", folder)
    assert exported["redemptions"] > 0
    lines = (folder / f"redemptions-{HANGZHOU}-window-1.jsonl").read_text(encoding="utf-8").splitlines()
    redemptions = [json.loads(line) for line in lines if line.startswith('{"kind":"redemption"')]
    return next(
        str(each["id"])
        for each in redemptions
        if each["redeeming_region"] == region
        and len(each["postings"]) == 1
        and f"/{CAMPAIGN}/" in json.dumps(each["postings"][0]["legs"])
    )


def wait_for_confirmations(network: Network, window: int) -> list[Any]:
    async def confirmed() -> list[Any]:
        for _ in range(300):
            shown = data(network, CLEARINGHOUSE, "window", str(window))
            if shown["state"] == "CONFIRMED":
                return list(shown["positions"])
            await asyncio.sleep(0.1)
        raise AssertionError(f"window {window} is {shown['state']}")

    return asyncio.run(confirmed())


def test_closing_a_window_again_by_its_number_changes_nothing(network: Network) -> None:
    first = data(network, CLEARINGHOUSE, "close")
    again = data(network, CLEARINGHOUSE, "close", str(first["number"]))
    assert again["closed_at"] == first["closed_at"]
    assert "is not open yet" in refused(network, CLEARINGHOUSE, "close", "99")


def test_a_receipt_waits_in_suspense_until_it_is_assigned(network: Network) -> None:
    arrived = data(network, CLEARINGHOUSE, "receipt", "12.34", "--reference", "R-1", "--memo", "consumption vouchers")
    assert arrived == {"bank_reference": "R-1", "amount_fen": 1234, "suspense_fen": 1234}
    (waiting,) = data(network, CLEARINGHOUSE, "receipts")
    assert (waiting["amount_fen"], waiting["memo"]) == (1234, "consumption vouchers")
    before = {each["region"]: each["settlement_fen"] for each in data(network, CLEARINGHOUSE, "status")["regions"]}
    assert data(network, CLEARINGHOUSE, "assign", "R-1", SHANGHAI)["region"] == SHANGHAI
    assert data(network, CLEARINGHOUSE, "receipts") == []
    after = {each["region"]: each["settlement_fen"] for each in data(network, CLEARINGHOUSE, "status")["regions"]}
    assert after[SHANGHAI] == before[SHANGHAI] + 1234
    operate(network, CLEARINGHOUSE, "pay-out", SHANGHAI, "12.34", "--reference", "P-1")
    assert "已退汇 · Returned 12.34 元" in operate(network, CLEARINGHOUSE, "returned", "P-1", "--reference", "P-1-back")
    returned = data(network, CLEARINGHOUSE, "returned", "P-1", "--reference", "P-1-back")
    assert returned == {"region": SHANGHAI, "amount_fen": 1234, "settlement_fen": after[SHANGHAI]}
    assert "no pay-out P-9 is booked" in refused(network, CLEARINGHOUSE, "returned", "P-9", "--reference", "P-9-back")
    operate(network, CLEARINGHOUSE, "pay-out", SHANGHAI, "12.34", "--reference", "P-1-again")
    assert "may take out" in refused(network, CLEARINGHOUSE, "pay-out", SHANGHAI, "900000000", "--reference", "P-2")


def test_a_period_is_a_window_or_a_month_and_not_both(network: Network, tmp_path: Path) -> None:
    for period in ([], ["1", "--month", "2026-05"]):
        code, _, _ = quanlian("node", "statement", *period, "--out", tmp_path)
        assert code == 2
    assert "no statement of" in refused(network, HANGZHOU, "statement", "--month", "2020-01", "--out", tmp_path)


def test_after_all_that_every_check_of_the_auditor_holds(network: Network) -> None:
    _, checks = examine(network)
    assert [(check.name, check.findings[:3]) for check in checks if not check.holds] == []


class TestTheDedicatedAccount:
    def test_acquirers_are_paid_and_the_bank_gets_a_list(self, network: Network, tmp_path: Path) -> None:
        made = json.loads(operate(network, HANGZHOU, "payments", "instruct", "--json"))
        (payment,) = made["payments"]
        assert (payment["kind"], payment["payee"], made["held_back"]) == ("acquirer", "alipay", [])
        assert {item["window"] for item in payment["items"]} == {0, 1}, "home, and away of the settled window"
        assert payment["amount_fen"] == sum(item["amount_fen"] for item in payment["items"])
        shown = operate(network, HANGZHOU, "payments", "list")
        assert f"{payment['amount_fen'] // 100:,}.{payment['amount_fen'] % 100:02d}" in shown
        workbook, table = operate(network, HANGZHOU, "payments", "export", "--out", tmp_path).split()
        sheet = openpyxl.load_workbook(workbook, data_only=True).active
        assert sheet is not None
        figures = [cell.value for row in sheet.iter_rows() for cell in row]
        assert figures.count(payment["amount_fen"] / 100) == 2, "the payment and the total"
        assert Path(table).read_text(encoding="utf-8-sig").splitlines()[1].split(",")[2] == "alipay"
        paid = json.loads(
            operate(network, HANGZHOU, "payments", "paid", payment["number"], "--reference", "ICBC-1", "--json")
        )
        assert (paid["bank_reference"], paid["amount_fen"]) == ("ICBC-1", payment["amount_fen"])
        assert json.loads(operate(network, HANGZHOU, "payments", "list", "--json")) == []
        returned = json.loads(
            operate(network, HANGZHOU, "payments", "returned", payment["number"], "--reference", "ICBC-2", "--json")
        )
        assert (returned["bank_reference"], returned["returned_reference"]) == ("ICBC-1", "ICBC-2")
        assert returned["returned_at"] >= returned["paid_at"]
        assert "ICBC-2" in operate(network, HANGZHOU, "payments", "list", "--all")
        made = json.loads(operate(network, HANGZHOU, "payments", "instruct", "--json"))
        assert [each["amount_fen"] for each in made["payments"]] == [payment["amount_fen"]]
        for party in network.parties:
            settings = network.directory / party / "settings.toml"
            code, shown, error = quanlian("ledger", "check", "--json", "--config", settings)
            assert code == 0, shown + error
            assert json.loads(shown)["signatures_verified"] is True

    def test_a_stray_receipt_is_listed_until_it_is_assigned(self, network: Network) -> None:
        operate(network, HANGZHOU, "receipt", "12.34", "--reference", "stray-1", "--memo", "付款人不明")
        (listed,) = json.loads(operate(network, HANGZHOU, "receipts", "--unmatched", "--json"))
        assert (listed["account"], listed["amount_fen"], listed["memo"]) == ("suspense", 1234, "付款人不明")
        assigned = json.loads(operate(network, HANGZHOU, "assign", "stray-1", "--from-clearinghouse", "--json"))
        assert json.loads(operate(network, HANGZHOU, "receipts", "--unmatched", "--json")) == []
        assert "is no funder" in refused(network, HANGZHOU, "assign", "stray-1", "--funder", "city")
        lodged = json.loads(operate(network, HANGZHOU, "lodge", "12.34", "--reference", "lodged-1", "--json"))
        assert lodged["balance_fen"] == assigned["balance_fen"] + 1234

    def test_a_campaign_that_runs_is_not_closed_out_and_it_is_said_why(self, network: Network) -> None:
        error = refused(network, HANGZHOU, "close-campaign", CAMPAIGN)
        assert "活动至" in error
        assert "yuan reserved" in error
