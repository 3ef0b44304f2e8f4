"""Settlement windows at the clearinghouse: close, look at, have paid, settle."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from chassis import console
from chassis.operating import Config, Json, Reference, call, operator_settings
from quanlian.state_names import WINDOW_STATES_ZH
from quanlian.v1 import clearing_operator_pb2 as pb
from quanlian.v1 import settlement_pb2
from quanlian.v1.clearing_operator_pb2_grpc import ClearingOperatorServiceStub
from quanlian.v1.settlement_pb2_grpc import SettlementServiceStub
from reporting.names import moment, region_both, region_en, region_zh

app = typer.Typer(add_completion=False)

Region = Annotated[str, typer.Argument(metavar="REGION", help="地区代码 · Region code, like 330100.")]
Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="场次号 · Number of the window.")]
_PPM_PER_HUNDREDTH = 100
_CONFIRMED_BY = {"": "否 no", "region": "是 yes", "deadline": "逾期视为确认 by deadline"}


@app.command()
def close(
    number: Annotated[
        int,
        typer.Argument(
            metavar="[NUMBER]",
            show_default=False,
            min=0,
            help="场次号，默认当前；写明则可安全重复 · Its number, by default the open one; with it, safe to repeat.",
        ),
    ] = 0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """截止场次并轧差；已截止的不变 · Close a window and calculate it; one that is closed stays as it is."""
    request = pb.CloseWindowRequest(window=number)
    answer = call(operator_settings(config), ClearingOperatorServiceStub, lambda stub: stub.CloseWindow, request)
    _show_window(answer.window, as_json)


@app.command()
def window(
    number: Annotated[
        int,
        typer.Argument(
            metavar="NUMBER", show_default=False, min=0, help="场次号，默认当前 · Its number; the open one by default."
        ),
    ] = 0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """查看场次 · Show a settlement window with its net positions."""
    request = settlement_pb2.GetWindowRequest(number=number)
    answer = call(operator_settings(config), SettlementServiceStub, lambda stub: stub.GetWindow, request)
    _show_window(answer.window, as_json)


@app.command()
def instruct(number: Number, config: Config = None, as_json: Json = False) -> None:
    """出具付款指令；逾期未答视为确认 · Issue the payment instructions of a window that every region confirmed.

    异议期满仍未答复的，视为确认 · A region that said nothing until its dispute deadline counts as having confirmed.
    """
    request = pb.InstructWindowRequest(window=number)
    answer = call(operator_settings(config), ClearingOperatorServiceStub, lambda stub: stub.InstructWindow, request)
    _show_window(answer.window, as_json)


@app.command()
def paid(number: Number, region: Region, reference: Reference, config: Config = None, as_json: Json = False) -> None:
    """登记向地区付款 · Mark what the bank paid a region for a window, with the bank's reference.

    应付地区的到账请用 deposit 登记 · What a region that owes pays in is recorded by deposit.
    """
    request = pb.MarkPaidRequest(window=number, region=region, bank_reference=reference)
    answer = call(operator_settings(config), ClearingOperatorServiceStub, lambda stub: stub.MarkPaid, request)
    _show_window(answer.window, as_json)


@app.command()
def settle(number: Number, config: Config = None, as_json: Json = False) -> None:
    """结清场次 · Settle a window for all regions at once.

    可付款的须已登记；欠款、减额付款与暂停随之入账 · What can be paid must be marked; what debtors lack goes to arrears,
    shrinks what their creditors are paid, and suspends them.
    """
    request = pb.SettleWindowRequest(window=number)
    answer = call(operator_settings(config), ClearingOperatorServiceStub, lambda stub: stub.SettleWindow, request)
    _show_window(answer.window, as_json)


@app.command()
def windows(
    last: Annotated[int, typer.Option("--last", metavar="N", min=0, help="最近几场，0 为全部 · 0: all of them.")] = 30,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """列出场次，最近的在前 · List the settlement windows, the newest first."""
    request = pb.ListWindowsRequest(limit=last)
    listed = call(operator_settings(config), ClearingOperatorServiceStub, lambda stub: stub.ListWindows, request)
    if as_json:
        console.print_json({"windows": [_window_data(each) for each in listed.windows]})
        return
    headings: list[console.Heading] = [
        ("场次", "Window"),
        ("状态", "State"),
        ("起", "Opened"),
        ("止", "Closed"),
        ("轧差前（元）", "Before netting, yuan"),
    ]
    rows = [
        (
            each.number,
            f"{WINDOW_STATES_ZH[_state(each)]} {_state(each)}",
            moment(each.opened_at),
            moment(each.closed_at),
            console.yuan(each.gross_fen),
        )
        for each in listed.windows
    ]
    console.show("", headings, rows, "尚无场次 · There is no settlement window yet")


@app.command()
def netting(number: Number, config: Config = None, as_json: Json = False) -> None:
    """轧差说明：谁欠谁，轧差省了多少 · Who owed whom before netting, and what netting saved."""
    request = pb.GetNettingRequest(window=number)
    answer = call(operator_settings(config), ClearingOperatorServiceStub, lambda stub: stub.GetNetting, request)
    if as_json:
        obligations = [
            {"debtor": each.debtor, "creditor": each.creditor, "amount_fen": each.amount_fen}
            for each in answer.obligations
        ]
        totals = {name: getattr(answer, name) for name in ("gross_fen", "netted_fen", "saved_ppm")}
        console.print_json({"window": number, "obligations": obligations, **totals})
        return
    debtors = sorted({each.debtor for each in answer.obligations})
    creditors = sorted({each.creditor for each in answer.obligations})
    owed = {(each.debtor, each.creditor): console.yuan(each.amount_fen) for each in answer.obligations}
    headings: list[console.Heading] = [("应付方 ↓ 应收方 →", "Debtor ↓ creditor →"), *map(_region_heading, creditors)]
    rows = [[f"{row} {region_both(row)}", *(owed.get((row, column)) for column in creditors)] for row in debtors]
    console.console.print(console.table(f"场次 · Window {number}（元 yuan）", headings, rows))
    whole, hundredths = divmod(answer.saved_ppm // _PPM_PER_HUNDREDTH, 100)
    console.say(
        f"轧差前 · before netting {console.yuan(answer.gross_fen)} 元 yuan，"
        f"轧差后 · after {console.yuan(answer.netted_fen)} 元 yuan，少付 · saved {whole}.{hundredths:02d} %"
    )


def _show_window(shown: settlement_pb2.SettlementWindow, as_json: bool) -> None:
    state = _state(shown)
    if as_json:
        console.print_json({**_window_data(shown), "positions": _positions_data(shown)})
        return
    console.say(f"场次 · Window {shown.number}: {WINDOW_STATES_ZH[state]} {state}")
    console.say(f"起 · opened {moment(shown.opened_at)}，止 · closed {moment(shown.closed_at)}")
    if not shown.positions:
        return
    console.say(f"轧差前 · Before netting {console.yuan(shown.gross_fen)} 元 yuan")
    headings: list[console.Heading] = [
        ("地区", "Region"),
        ("名称", "Name"),
        ("净额（元，正为应收）", "Net, yuan (+ receives)"),
        ("应付出（元）", "Pay-out, yuan"),
        ("已确认", "Confirmed"),
        ("银行流水号", "Bank reference"),
        ("退汇流水号", "Returned"),
    ]
    rows = [
        (
            each.region,
            region_both(each.region),
            console.yuan(each.net_fen),
            console.yuan(each.payout_fen),
            _confirmed(each),
            each.bank_reference,
            each.returned_reference,
        )
        for each in shown.positions
    ]
    console.console.print(console.table("", headings, rows))


def _state(shown: settlement_pb2.SettlementWindow) -> str:
    return settlement_pb2.WindowState.Name(shown.state).removeprefix("WINDOW_STATE_")


def _region_heading(region: str) -> tuple[str, str]:
    return (region_zh(region), f"{region_en(region)} {region}")


def _window_data(shown: settlement_pb2.SettlementWindow) -> dict[str, Any]:
    return {
        "number": shown.number,
        "state": _state(shown),
        "opened_at": shown.opened_at,
        "closed_at": shown.closed_at or None,
        "gross_fen": shown.gross_fen,
    }


def _confirmed(each: settlement_pb2.NetPosition) -> str:
    reserved = f"\n保留意见 reservation: {each.reservation}" if each.reservation else ""
    return _CONFIRMED_BY[each.confirmed_by] + reserved


def _positions_data(shown: settlement_pb2.SettlementWindow) -> list[dict[str, Any]]:
    words = ("confirmed", "confirmed_by", "reservation")
    names = ("region", "net_fen", "payout_fen", *words, "bank_reference", "returned_reference")
    return [{name: getattr(each, name) for name in names} for each in shown.positions]
