"""What operators of both parties are shown of suspensions, warnings and totals: two languages, aligned, in yuan."""

from __future__ import annotations

import io
import json
from datetime import datetime

import pytest
import typer
from rich.console import Console

from chassis import console
from custodian import showing
from node import status_cli, vouchers_cli
from quanlian.refusals import RefusalReason
from quanlian.v1 import limit_pb2, stats_pb2, suspension_pb2
from quanlian.v1 import node_operator_pb2 as pb
from quanlian.v1.cancellation_pb2 import Cancellation
from quanlian.v1.custody_pb2 import VoucherRef

AT = 1_780_000_000
"""2026-05-29 04:26:40 in China."""

SPRING = stats_pb2.StatsRow(
    campaign="spring",
    issuer="330100",
    captures=1234,
    order_fen=715_720_00,
    discount_fen=123_400_00,
    refunds=1,
    refunded_order_fen=2000,
    refunded_fen=344,
)
AUTUMN = stats_pb2.StatsRow(campaign="autumn", issuer="330100", captures=1, order_fen=4000, discount_fen=1000)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is shown on a wide terminal."""
    shown = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=shown, width=200))
    return shown


def test_totals_are_a_table_in_yuan_with_the_sum_last(screen: io.StringIO) -> None:
    showing.show_stats("campaign", [SPRING, AUTUMN], as_json=False)
    text = screen.getvalue()
    for heading in (
        "活动",
        "Campaign",
        "核销笔数",
        "Captures",
        "退回优惠",
        "Returned,",
        "直接带动比",
        "Multiplier",
    ):
        assert heading in text
    *_, last = [line for line in text.splitlines() if "│" in line]
    cells = [cell.strip() for cell in last.strip("│").split("│")]
    assert cells == ["合计 Total", "", "1,235", "715,760.00", "123,410.00", "1", "20.00", "3.44", "5.79"]


def test_json_has_fen_and_the_multiplier_in_millionths(capsys: pytest.CaptureFixture[str]) -> None:
    showing.show_stats("campaign", [AUTUMN], as_json=True)
    data = json.loads(capsys.readouterr().out)
    assert data["rows"] == [{"campaign": "autumn", "issuer": "330100", **data["total"]}]
    assert data["total"]["order_fen"] == 4000
    assert data["total"]["multiplier_ppm"] == 4_000_000


def test_nothing_redeemed_has_no_multiplier(screen: io.StringIO) -> None:
    showing.show_stats("day", [], as_json=False)
    assert "—" in screen.getvalue()
    given_back = stats_pb2.StatsRow(
        captures=1, order_fen=4000, discount_fen=1000, refunded_order_fen=4000, refunded_fen=1000
    )
    assert showing.multiplier_ppm(given_back) is None


def test_a_day_of_shanghai_is_asked_for_from_its_midnight_to_the_next() -> None:
    query = showing.stats_query("hour", "", "", "", datetime(2026, 5, 29))  # noqa: DTZ001
    assert (query.from_at, query.to_at) == (AT - 16_000, AT - 16_000 + 86_400)
    assert not showing.stats_query("hour", "", "", "", None).from_at


def test_a_suspension_is_listed_with_whom_when_and_why(screen: io.StringIO) -> None:
    suspension = suspension_pb2.Suspension(
        authority="330100",
        number=1,
        kind=suspension_pb2.SUSPENSION_KIND_VOUCHER,
        subject="330100/ab/0",
        suspended=True,
        at=AT,
        by="spiffe://330100.quanlian/operator/li",
        why="挂失",
    )
    showing.show_suspensions([suspension_pb2.SuspensionRecord(suspension=suspension, in_force=True)], as_json=False)
    text = screen.getvalue()
    for part in ("券 voucher", "330100/ab/0", "暂停 suspended", "是 yes", "2026-05-29 04:26:40", "operator/li", "挂失"):
        assert part in text


def test_warnings_name_the_limit_and_what_is_used_of_it(screen: io.StringIO) -> None:
    warning = limit_pb2.LimitWarning(
        region="330100",
        number=1,
        measure=limit_pb2.LIMIT_MEASURE_CREDIT_LINE,
        percent=75,
        used_fen=75_000_00,
        limit_fen=100_000_00,
        at=AT,
    )
    showing.show_warnings([warning])
    text = screen.getvalue()
    for part in ("限额预警 · Limit warnings", "信用额度 credit line", "75 %", "75,000.00", "100,000.00"):
        assert part in text
    assert showing.warnings_data([warning])[0]["measure"] == "credit_line"


def test_without_warnings_no_table_is_shown(screen: io.StringIO) -> None:
    showing.show_warnings([])
    assert screen.getvalue() == ""


MADE = Cancellation(issuer="330100", pack_id=bytes(14) + b"\1", index=1, at=AT, by="me", why="误发", freed_fen=123_456)


def test_cancelled_vouchers_are_a_table_in_yuan_with_the_sum_last(screen: io.StringIO) -> None:
    vouchers_cli.show_cancellations([MADE, MADE], as_json=False)
    first, _, last = [line for line in screen.getvalue().splitlines() if "│" in line][-3:]
    for shown in (f"{MADE.pack_id.hex()}/1", "2026-05-29", "误发", "1,234.56"):
        assert shown in first
    assert [cell.strip() for cell in last.strip("│").split("│")] == ["合计 Total", "", "", "", "2,469.12"]
    vouchers_cli.show_cancellations([], as_json=False)
    assert "没有作废的券 · No voucher is cancelled" in screen.getvalue()


def test_cancelled_vouchers_as_json_have_fen(capsys: pytest.CaptureFixture[str]) -> None:
    vouchers_cli.show_cancellations([MADE], as_json=True)
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["voucher"], shown["freed_fen"], shown["why"]) == (f"{MADE.pack_id.hex()}/1", 123_456, "误发")
    assert shown["at"] == "2026-05-29T04:26:40+08:00"


def kept_away(count: int, reason: RefusalReason, first: int = 0) -> list[pb.RecallRefused]:
    return [
        pb.RecallRefused(voucher=VoucherRef(pack_id=bytes(15), index=n), reason=reason.value)  # type: ignore[arg-type]
        for n in range(first, first + count)
    ]


def test_what_a_recall_left_away_is_counted_by_reason_and_listed_where_it_is_little(screen: io.StringIO) -> None:
    refused = [*kept_away(1, RefusalReason.ALREADY_HELD), *kept_away(3, RefusalReason.ALREADY_REDEEMED, 1)]
    vouchers_cli.show_recalled(1234, refused, as_json=False)
    text = screen.getvalue()
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if "│" in line]
    assert "1,234 taken back" in text
    assert ["券已核销 ALREADY_REDEEMED", "3"] in cells
    assert ["合计 Total", "4"] in cells
    assert [f"{'0' * 30}/0", "券正在占用中 ALREADY_HELD"] in cells


def test_many_vouchers_that_a_recall_left_away_are_only_counted(
    screen: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = kept_away(vouchers_cli.LISTED + 1, RefusalReason.ALREADY_REDEEMED)
    vouchers_cli.show_recalled(0, refused, as_json=False)
    assert "0" * 30 not in screen.getvalue()
    capsys.readouterr()
    vouchers_cli.show_recalled(0, refused, as_json=True)
    assert len(json.loads(capsys.readouterr().out)["refused"]) == vouchers_cli.LISTED + 1


def test_a_named_voucher_that_does_not_come_back_ends_the_command_with_1(
    screen: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a campaign, what was redeemed stays away as it must."""
    response = pb.RecallVouchersResponse(refused=kept_away(1, RefusalReason.ALREADY_REDEEMED))
    monkeypatch.setattr(vouchers_cli, "operator_settings", lambda config: None)
    monkeypatch.setattr(vouchers_cli, "call", lambda *request: response)
    with pytest.raises(typer.Exit) as ended:
        vouchers_cli.recall(vouchers=[f"{bytes(15).hex()}/0"])
    assert ended.value.exit_code == 1
    vouchers_cli.recall(campaign="spring")


def test_a_table_without_rows_says_a_sentence_and_not_a_bare_frame(screen: io.StringIO) -> None:
    console.show("", ["what"], [], "没有 · nothing")
    assert screen.getvalue() == "没有 · nothing\n"


def test_a_key_is_spoken_of_when_it_is_bad_or_will_soon_end() -> None:
    month = 30 * 86_400
    sound = pb.OwnKey(purpose="voucher", key_id=b"\x01\x02", not_after=AT + month + 1)
    assert status_cli.key_warning(sound, AT) == ""
    assert "将于2026-06-28 04:26:41到期" in status_cli.key_warning(sound, AT + 1)
    assert "has ended: certify another" in status_cli.key_warning(sound, AT + month + 1)
    sound.bad_from = AT
    assert status_cli.key_warning(sound, AT).startswith("密钥 Key voucher 0102 自2026-05-29 04:26:40起已暂停或吊销")
