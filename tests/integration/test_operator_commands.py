"""What operators do over the command line, at running parties: a clearinghouse, Hangzhou and Jincheng."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from chassis import cli
from quanlian.merchants import check_character
from quanlian.refusals import CHINA
from quanlian.terms_parsing import parse_terms
from simulations.demo.network import Network

ROOT = Path(__file__).parents[2]
HANGZHOU, JINCHENG, CLEARINGHOUSE = "330100", "140502", "clearinghouse"
CAMPAIGN = ROOT / "examples/campaigns/hangzhou-2020-r1.toml"
AGREEMENT = ROOT / "examples/agreements/network-default.toml"
PATIENCE_SECONDS = 180.0


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A clearinghouse and two nodes as processes, nobody enrolled."""
    network = Network(tmp_path_factory.mktemp("network") / "demo")
    network.create(int(time.time()))
    try:
        network.start(CLEARINGHOUSE, HANGZHOU, JINCHENG)
        yield network
    finally:
        network.stop()


class Operators:
    """Runs commands with the settings of a party's operator."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def run(self, party: str, *arguments: str | Path, group: str = "") -> tuple[int, str, str]:
        group = group or ("clearinghouse" if party == CLEARINGHOUSE else "node")
        settings = self.network.directory / party / "operator.toml"
        shown, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(error):
            code = cli.main([group, *map(str, arguments), "--config", str(settings)])
        return code, shown.getvalue(), error.getvalue()

    def __call__(self, party: str, *arguments: str | Path) -> str:
        code, shown, error = self.run(party, *arguments)
        assert code == 0, error
        return shown

    def data(self, party: str, *arguments: str | Path) -> Any:
        return json.loads(self(party, *arguments, "--json"))

    def refused(self, party: str, *arguments: str | Path) -> str:
        code, shown, error = self.run(party, *arguments)
        assert (code, shown) == (1, ""), shown
        assert error.count("错误 Error: ") == 1
        return error.removeprefix("错误 Error: ").strip()


@pytest.fixture(scope="module")
def operators(network: Network) -> Operators:
    """Both regions enrolled, with limits, deposits and an agreement."""
    operators = Operators(network)
    for region, zh, en in ((HANGZHOU, "杭州市", "Hangzhou"), (JINCHENG, "晋城市城区", "Jincheng Chengqu")):
        chains = [network.directory / region / "keys" / f"{name}.crt" for name in ("voucher", "terms", "message")]
        assert f"Enrolled {region} {zh} {en} (3 keys)" in operators(
            CLEARINGHOUSE, "enrol", region, *chains, "--name-zh", zh, "--name-en", en
        )
        operators(CLEARINGHOUSE, "limits", region, "--cap", "2000000", "--credit", "0", "--offset-bp", "0")
        operators(CLEARINGHOUSE, "deposit", region, "3000000.00", "--reference", f"deposit-{region}")
    code, shown, error = operators.run(CLEARINGHOUSE, "propose", AGREEMENT, group="agreement")
    assert (code, "QL-DEFAULT, 版本 version 1" in shown) == (0, True), error
    return operators


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_SECONDS:.0f} s for {what}"
        time.sleep(0.05)


# Agreements


def test_two_regions_and_the_clearinghouse_sign_an_agreement(operators: Operators, tmp_path: Path) -> None:
    def run(party: str, *arguments: str | Path) -> str:
        code, shown, error = operators.run(party, *arguments, group="agreement")
        return shown if code == 0 else error

    text = (ROOT / "examples/agreements/fixed.toml").read_text(encoding="utf-8").replace("310000", JINCHENG)
    proposal = tmp_path / "proposal.toml"
    proposal.write_text(text, encoding="utf-8")
    assert f"待签 waits for {JINCHENG}, clearinghouse" in run(HANGZHOU, "propose", proposal)
    received = tmp_path / "received.toml"
    assert "待签 waits for" in run(JINCHENG, "show", "HZ-SH-2026", "--save", received)
    assert received.read_bytes() == proposal.read_bytes()
    assert f"{JINCHENG} has not signed it" in run(CLEARINGHOUSE, "sign", received)
    assert "waits for clearinghouse" in run(JINCHENG, "sign", received)
    assert "已全部签署 complete" in run(CLEARINGHOUSE, "sign", received)
    listed = json.loads(run(HANGZHOU, "list", "--json"))["agreements"]
    assert {each["number"]: each["missing"] for each in listed} == {"HZ-SH-2026": [], "QL-DEFAULT": []}
    assert "HZ-SH-2026" in run(CLEARINGHOUSE, "list")


# The clearinghouse


def test_the_status_shows_connection_limit_and_balance_of_every_region(operators: Operators) -> None:
    def connected() -> bool:
        regions = operators.data(CLEARINGHOUSE, "status")["regions"]
        assert {each["region"] for each in regions} == {HANGZHOU, JINCHENG}
        assert {each["limit_fen"] for each in regions} == {200_000_000}
        return all(each["custody_stream_open"] for each in regions)

    eventually(connected, "both nodes to connect")
    shown = operators(CLEARINGHOUSE, "status")
    assert "晋城市城区" in shown
    assert "2,000,000.00" in shown
    assert "是 yes" in shown


def test_a_deposit_is_booked_once_for_a_bank_reference(operators: Operators) -> None:
    deposit = (CLEARINGHOUSE, "deposit", HANGZHOU, "12.50", "--reference", "bank-1")
    first = operators.data(*deposit)
    assert operators.data(*deposit) == first
    assert "3,000,012.50 元" in operators(*deposit)
    message = operators.refused(CLEARINGHOUSE, "deposit", HANGZHOU, "13", "--reference", "bank-1")
    assert "bank-1 已登记为另一笔来款 · bank-1 was booked for another deposit" in message


@pytest.mark.parametrize(
    "arguments",
    [
        ("deposit", "310000", "1.00", "--reference", "lost"),
        ("limits", "310000", "--cap", "1", "--credit", "0", "--offset-bp", "0"),
        ("visitors", "310000", "2026", "--rule", "cascade", "city=1:1.00"),
    ],
)
def test_a_region_must_be_enrolled_before_it_has_money(operators: Operators, arguments: tuple[str, ...]) -> None:
    message = operators.refused(CLEARINGHOUSE, *arguments)
    assert message.endswith("310000 尚未接入 · 310000 is not enrolled — 先接入该地区 · enrol it first")


def test_a_region_is_enrolled_with_its_own_keys_only(operators: Operators) -> None:
    chain = operators.network.directory / JINCHENG / "keys" / "voucher.crt"
    message = operators.refused(CLEARINGHOUSE, "enrol", HANGZHOU, chain, "--name-zh", "杭州", "--name-en", "Hangzhou")
    assert message == f"{chain}: 是 140502 的密钥 · is 140502's key — 请写 330100 的密钥 · name the keys of 330100"
    own = operators.network.directory / HANGZHOU / "keys" / "voucher.crt"
    again = operators.data(CLEARINGHOUSE, "enrol", HANGZHOU, own, "--name-zh", "杭州市", "--name-en", "Hangzhou")
    assert (again["region"], [each["purpose"] for each in again["keys"]]) == (HANGZHOU, ["voucher"])


def test_a_visitors_fund_is_replaced_as_a_whole(operators: Operators) -> None:
    first = operators(CLEARINGHOUSE, "visitors", HANGZHOU, "2031", "--rule", "cascade", "city=6:300", "county=4:200.00")
    assert "300.00" in first
    assert "county" in first
    told = operators.data(CLEARINGHOUSE, "visitors", HANGZHOU, "2031", "--rule", "refuse", "city=1:100.00")
    assert told["funders"] == [{"name": "city", "weight": 1, "budget_fen": 10_000}]
    with sqlite3.connect(operators.network.directory / CLEARINGHOUSE / "books.sqlite") as books:
        funders = books.execute(
            "SELECT name, rule, budget_fen FROM visitors_funder WHERE region = ? AND fiscal_year = 2031", [HANGZHOU]
        ).fetchall()
        limits = books.execute(
            "SELECT account, limit_fen FROM account WHERE account LIKE 'funding/330100/2031/visitors/%'"
        ).fetchall()
    books.close()
    assert funders == [("city", "refuse", 10_000)]
    assert sorted(limits) == [
        ("funding/330100/2031/visitors/city", 10_000),
        ("funding/330100/2031/visitors/county", 0),
    ]


def test_a_fund_that_could_pay_nobody_is_refused(operators: Operators) -> None:
    fund = (CLEARINGHOUSE, "visitors", HANGZHOU, "2032", "--rule", "cascade")
    assert "no funder has a weight" in operators.refused(*fund, "city=0:1.00")
    assert "city stands there twice" in operators.refused(*fund, "city=1:1.00", "city=2:1.00")
    assert "'City' is no funder's name" in operators.refused(*fund, "City=1:1.00")


def test_a_window_goes_from_open_to_settled_in_its_order(operators: Operators) -> None:
    number = operators.data(CLEARINGHOUSE, "window")["number"]
    closed = operators.data(CLEARINGHOUSE, "close")
    assert (closed["number"], closed["gross_fen"]) == (number, 0)
    assert [each["region"] for each in closed["positions"]] == [JINCHENG, HANGZHOU]
    early = operators.refused(CLEARINGHOUSE, "settle", str(number))
    assert early.startswith(f"clearinghouse at {operators.network.address(CLEARINGHOUSE)}: window: 场次{number}")
    assert f"window {number} is " in early
    assert "this step needs INSTRUCTED" in early

    def confirmed() -> bool:
        return bool(operators.data(CLEARINGHOUSE, "window", str(number))["state"] == "CONFIRMED")

    eventually(confirmed, "the nodes to confirm their statements")
    operators(CLEARINGHOUSE, "instruct", str(number))
    refused = operators.refused(CLEARINGHOUSE, "paid", str(number), HANGZHOU, "--reference", "pay-330100")
    assert f"330100 owes 0.00 yuan in window {number} and is paid nothing" in refused
    shown = operators(CLEARINGHOUSE, "settle", str(number))
    assert f"Window {number}: 已结清 SETTLED" in shown
    assert "进行中 OPEN" in operators(CLEARINGHOUSE, "window")

    def settled() -> bool:
        windows = operators.data(HANGZHOU, "status")["windows"]
        return any(each["window"] == number and each["settled"] for each in windows)

    eventually(settled, "Hangzhou to book the settlement")
    assert "待清分平台答复" in operators(HANGZHOU, "status")


def test_a_window_that_is_not_there_is_named(operators: Operators) -> None:
    message = operators.refused(CLEARINGHOUSE, "window", "99")
    assert message.startswith(
        f"clearinghouse at {operators.network.address(CLEARINGHOUSE)}: window: 没有场次99 · no window 99"
    )


# A node


def test_a_campaign_is_published_with_its_budgets_and_again_without_effect(operators: Operators) -> None:
    terms = parse_terms(CAMPAIGN.read_bytes(), "terms")
    for _ in range(2):
        data = operators.data(HANGZHOU, "publish", CAMPAIGN)
        assert (data["campaign"], data["terms_hash"]) == ("hangzhou-2020-r1", terms.terms_hash.hex())
        assert sum(data["budgets_fen"].values()) == sum(terms.budgets().values())
    shown = operators(HANGZHOU, "publish", CAMPAIGN)
    assert terms.title_zh in shown
    assert "100,000,000.00" in shown


def test_another_campaign_of_the_same_id_is_refused_and_reaches_nobody(operators: Operators, tmp_path: Path) -> None:
    operators(HANGZHOU, "publish", CAMPAIGN)
    changed = tmp_path / "changed.toml"
    changed.write_bytes(CAMPAIGN.read_bytes() + b"# another version\n")
    message = operators.refused(HANGZHOU, "publish", changed)
    assert "campaign hangzhou-2020-r1 is published already, with other terms" in message
    with sqlite3.connect(operators.network.directory / CLEARINGHOUSE / "books.sqlite") as books:
        count = books.execute("SELECT count(*) FROM terms WHERE campaign = 'hangzhou-2020-r1'").fetchone()
    books.close()
    assert count == (1,)


def test_a_campaign_of_another_region_is_refused(operators: Operators) -> None:
    message = operators.refused(JINCHENG, "publish", CAMPAIGN)
    address = operators.network.address(JINCHENG)
    assert message == (
        f"140502 at {address}: {CAMPAIGN}: is a campaign of 330100, this is the node of 140502 — "
        "publish it at the node of 330100"
    )


def test_a_campaign_under_the_region_s_minimum_leverage_is_refused(operators: Operators, tmp_path: Path) -> None:
    path = tmp_path / "low.toml"
    text = CAMPAIGN.read_text(encoding="utf-8").replace('issuer = "330100"', 'issuer = "140502"')
    path.write_text(text.replace("hangzhou-2020-r1", "low-leverage"), encoding="utf-8")
    message = operators.refused(JINCHENG, "publish", path)
    assert "low.toml: leverage under the minimum of 140502, 5: off-10-from-40 has 4 — " in message


def test_jinchengs_plan_is_amended_after_its_difference_was_shown_and_then_noticed(
    operators: Operators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operators(JINCHENG, "publish", ROOT / "examples/campaigns/jincheng-2026.toml")
    amendment = ("amend", ROOT / "examples/campaigns/amendments/jincheng-2026.toml", "--why", "区政府常务会议")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, shown, _ = operators.run(JINCHENG, *amendment)
    assert code == 1
    assert "55,000,000.00 元" in shown
    assert "家装厨卫消费券 满1000元减150元" in shown
    assert len(operators.data(JINCHENG, "changes", "jincheng-2026")) == 1

    assert "add --yes" in operators.run(JINCHENG, *amendment, "--json")[2]
    made = operators.data(JINCHENG, *amendment, "--yes")
    assert (made["number"], made["kind"]) == (2, "amend")
    notice = tmp_path / "notice.toml"
    notice.write_text('[notice]\ncampaign = "jincheng-2026"\nchannels = ["online"]\n', encoding="utf-8")
    given = operators(JINCHENG, "notice", notice, "--why", "线上商户上线", "--yes")
    assert "实体门店、线上" in given
    assert "Change 3 (notice) of jincheng-2026 is published" in given
    assert "holders have that already" in operators.run(JINCHENG, "notice", notice, "--why", "again", "--yes")[2]
    listed = operators.data(JINCHENG, "changes", "jincheng-2026")
    assert [(each["kind"], each["why"]) for each in listed[1:]] == [
        ("amend", "区政府常务会议"),
        ("notice", "线上商户上线"),
    ]
    assert [each["notice"] for each in listed] == [None, None, notice.read_text(encoding="utf-8")]
    kept = tmp_path / "first.toml"
    operators(JINCHENG, "terms", "jincheng-2026", "--number", 1, "--out", kept)
    assert kept.read_bytes() == (ROOT / "examples/campaigns/jincheng-2026.toml").read_bytes()
    in_force = operators(JINCHENG, "terms", "jincheng-2026")
    assert in_force == amendment[1].read_text(encoding="utf-8")
    assert "has no change 4" in operators.refused(JINCHENG, "terms", "jincheng-2026", "--number", 4)


def test_merchants_are_admitted_from_a_file_that_excel_wrote(operators: Operators, tmp_path: Path) -> None:
    codes = [first + check_character(first) for first in ("91330100MA2ABCDE1", "91330100MA2ABCDE2")]
    path = tmp_path / "merchants.csv"
    path.write_bytes(
        f'code,name,categories\r\n{codes[0]},知味观,catering;retail\r\n{codes[1]},"楼外楼, 孤山路",\r\n'.encode(
            "utf-8-sig"
        )
    )
    assert "已准入商户 2 家 · 2 merchants admitted" in operators(HANGZHOU, "merchants", path)
    with sqlite3.connect(operators.network.directory / HANGZHOU / "books.sqlite") as books:
        found = books.execute("SELECT code, name, categories FROM merchant ORDER BY code").fetchall()
    books.close()
    assert operators.data(HANGZHOU, "merchants", path) == {"admitted": 2}
    assert found == [(codes[0], "知味观", '["catering", "retail"]'), (codes[1], "楼外楼, 孤山路", "[]")]


def test_a_platform_is_admitted_by_its_signing_key_and_a_node_s_key_is_none(operators: Operators) -> None:
    folder = operators.network.directory / HANGZHOU
    shown = operators(HANGZHOU, "platform", folder / "platform/keys/message.alipay.crt")
    assert "Platform admitted: alipay" in shown
    assert operators.data(HANGZHOU, "platform", folder / "platform/keys/message.alipay.crt")["platform"] == "alipay"
    message = operators.refused(HANGZHOU, "platform", folder / "keys/message.crt")
    assert f"{folder / 'keys/message.crt'}: 是 330100 用于 message 的密钥 · is 330100's key for message" in message
    assert "issue a key for message.<platform>" in message


def test_a_funder_s_payment_is_booked_once_for_a_bank_reference(operators: Operators) -> None:
    operators(HANGZHOU, "publish", CAMPAIGN)
    payment = (HANGZHOU, "receipt", "1234.50", "--reference", "bank-7", "--funder", "hangzhou-2020-r1/city")
    assert operators.data(*payment)["balance_fen"] == 123_450
    assert operators.data(*payment)["balance_fen"] == 123_450
    assert "1,234.50 元" in operators(*payment)
    other = operators.refused(*payment[:-1], "hangzhou-2020-r1/county")
    assert "bank-7 was booked for another payment" in other
    strange = (HANGZHOU, "receipt", "1", "--reference", "bank-8", "--funder")
    nobody = operators.refused(*strange, "hangzhou-2020-r1/nobody")
    assert "funding: hangzhou-2020-r1 没有出资方 nobody · no funder nobody of hangzhou-2020-r1" in nobody
    assert "write CAMPAIGN/NAME, like spring/city" in operators.refused(*strange, "city")


def test_a_funder_pays_ahead_at_the_clearinghouse(operators: Operators) -> None:
    deposit = (CLEARINGHOUSE, "deposit", HANGZHOU, "100.00", "--reference", "ahead-7", "--funder", "visitors/city")
    refused = operators.refused(*deposit)
    assert "没有出资方 city · no funder city of visitors" in refused
    year = datetime.now(CHINA).year
    operators(CLEARINGHOUSE, "visitors", HANGZHOU, str(year), "city=1:1000", "--rule", "refuse")
    assert operators.data(*deposit) == {"region": HANGZHOU, "funder": "visitors/city", "prefund_fen": 10_000}
    assert "预拨结余 paid ahead and unused 100.00 元" in operators(*deposit)
    (listed,) = operators.data(CLEARINGHOUSE, "prefund", HANGZHOU)
    assert (listed["campaign"], listed["funder"], listed["fiscal_year"]) == ("visitors", "city", year)
    assert (listed["paid_fen"], listed["used_fen"], listed["standing_fen"]) == (10_000, 0, 10_000)
    assert "预拨" in operators(CLEARINGHOUSE, "prefund")
    alone = operators.refused(CLEARINGHOUSE, "deposit", HANGZHOU, "1", "--reference", "x", "--year", str(year))
    assert "a year is given with a funder" in alone


def test_a_region_s_limits_say_how_it_is_funded(operators: Operators) -> None:
    limits = (CLEARINGHOUSE, "limits", JINCHENG, "--cap", "2000000", "--offset-bp", "0", "--credit")
    on_credit = (*limits, "5000", "--mode", "advanced", "--credit-days", "10")
    assert operators.data(*on_credit)["funding_mode"] == "advanced"
    assert "垫付 advanced，10 日 days" in operators(*on_credit)
    (shown,) = [each for each in operators.data(CLEARINGHOUSE, "status")["regions"] if each["region"] == JINCHENG]
    assert (shown["funding_mode"], shown["credit_days"], shown["past_due_fen"]) == ("advanced", 10, 0)
    refused = operators.refused(*limits, "5000", "--mode", "prefunded")
    assert "预拨方式不设信用额度和信用天数 · a prefunded region has no credit line" in refused
    assert operators.data(*limits, "0")["funding_mode"] == "prefunded"


def test_a_campaign_that_is_not_over_keeps_its_funders_money(operators: Operators) -> None:
    unknown = operators.refused(CLEARINGHOUSE, "close-campaign", HANGZHOU, "no-such-campaign")
    assert "no campaign no-such-campaign of 330100" in unknown
    nothing = operators.refused(CLEARINGHOUSE, "return-prefund", "no-such-deposit", "--reference", "back-1")
    assert "no-such-deposit is no deposit of a funder" in nothing


# Reaching a party


def test_a_party_at_another_s_address_is_not_trusted(operators: Operators, monkeypatch: pytest.MonkeyPatch) -> None:
    address = operators.network.address(JINCHENG)
    monkeypatch.setenv("QUANLIAN_OPERATOR_ADDRESS", address)
    message = operators.refused(HANGZHOU, "status")
    assert message.startswith(f"330100 at {address}: the server there is not certified as this party")


def test_a_command_for_the_other_kind_of_party_is_told_so(operators: Operators) -> None:
    code, _, error = operators.run(HANGZHOU, "status", group="clearinghouse")
    assert code == 1
    assert "does not offer this — check `host` and `address`" in error


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        (("feed", "retry"), "it may have done the work all the same — look at its status before you try again"),
        (("status",), "try again later"),
    ],
    ids=["acts", "reads"],
)
def test_a_party_that_does_not_answer_in_time_may_have_done_the_work_where_there_was_any(
    operators: Operators, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], remedy: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("QUANLIAN_OPERATOR_ADDRESS", address)
        monkeypatch.setenv("QUANLIAN_OPERATOR_TIMEOUT_SECONDS", "0.5")
        message = operators.refused(HANGZHOU, *command)
    assert message.strip() == f"330100 at {address}: no answer within 0.5 s; {remedy}"


# Vouchers


def test_a_voucher_is_cancelled_by_its_own_region_alone_and_with_a_reason(operators: Operators) -> None:
    unknown = f"{'0' * 30}/0"
    assert "is no voucher of this region" in operators.refused(HANGZHOU, "cancel-voucher", unknown, "--why", "误发")
    assert "needs why it is made" in operators.refused(HANGZHOU, "cancel-voucher", unknown, "--why", "")
    assert "不是券号 · is no voucher — 券包编号（30位十六进制）/序号 · write PACK/INDEX" in operators.refused(
        HANGZHOU, "cancel-voucher", "9", "--why", "误发"
    )
    assert "没有作废的券 · No voucher is cancelled" in operators(HANGZHOU, "cancellations")
    assert operators.data(HANGZHOU, "cancellations") == []


def test_a_node_that_need_not_be_recovered_takes_no_receipts(operators: Operators, tmp_path: Path) -> None:
    damaged = tmp_path / "receipts.json"
    damaged.write_text("{}", encoding="utf-8")
    told = operators.refused(HANGZHOU, "recover", "--receipts", damaged)
    assert told.startswith(f"{damaged}: ")
    assert "is no evidence file" in told
    assert "nothing needs to be recovered" in operators.refused(HANGZHOU, "recover")
