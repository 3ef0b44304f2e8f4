"""The dedicated account at a node: receipts, payments to acquirers, a campaign's close-out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from chassis import console
from chassis.operating import Config, Json, Reference, Yuan, call, operator_settings, read_file
from custodian.funder_option import FunderName, Year, named
from quanlian.account_names import account_name
from quanlian.errors import InvalidInput
from quanlian.refusals import CHINA
from quanlian.v1 import node_operator_pb2 as pb
from quanlian.v1 import payment_pb2
from quanlian.v1.node_operator_pb2_grpc import NodeOperatorServiceStub
from reporting import names
from reporting.payment_files import Payment, purpose, write_payments

app = typer.Typer(add_completion=False)
payments = typer.Typer(help="付款：付收单机构、退出资方 · Payments for the bank to make.", no_args_is_help=True)
app.add_typer(payments, name="payments")

FromClearing = Annotated[bool, typer.Option("--from-clearinghouse", help="清分平台划来 · The clearinghouse paid it.")]
BankDate = Annotated[
    datetime | None,
    typer.Option("--at", formats=["%Y-%m-%d"], help="银行记账日期，默认为现在 · The bank's date; now unless given."),
]
Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="付款编号 · Number of the payment.")]


@app.command()
def receipt(
    yuan: Yuan,
    reference: Reference,
    funder: FunderName = "",
    from_clearinghouse: FromClearing = False,
    year: Year = 0,
    memo: Annotated[str, typer.Option("--memo", help="银行附言 · What the bank's receipt says.")] = "",
    at: BankDate = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """登记专用账户到账；不知来源的暂挂待认领 · Record what came in; without a payer it stands in suspense."""
    request = pb.RecordDedicatedReceiptRequest(
        payer=_payer(funder, from_clearinghouse, year),
        amount_fen=yuan,
        bank_reference=reference,
        memo=memo,
        at=_seconds(at),
    )
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.RecordDedicatedReceipt, request)
    _say_balance("已登记 recorded", reference, answer.balance_fen, as_json)


def _seconds(day: datetime | None) -> int:
    """The beginning of a day in Asia/Shanghai; 0 for none."""
    return int(day.replace(tzinfo=CHINA).timestamp()) if day else 0


@app.command()
def assign(
    reference: Annotated[str, typer.Argument(metavar="REFERENCE", help="银行流水号 · The bank's reference.")],
    funder: FunderName = "",
    from_clearinghouse: FromClearing = False,
    year: Year = 0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """认领来款：记到出资方或清分平台名下 · Assign a receipt in suspense to whom it is from."""
    payer = _payer(funder, from_clearinghouse, year)
    request = pb.AssignDedicatedReceiptRequest(bank_reference=reference, payer=payer)
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.AssignDedicatedReceipt, request)
    _say_balance("已认领 assigned", reference, answer.balance_fen, as_json)


@app.command()
def receipts(
    unmatched: Annotated[bool, typer.Option("--unmatched", help="只列待认领 · Only those in suspense.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """列出专用账户到账 · List what came into the dedicated account."""
    request = pb.ListDedicatedReceiptsRequest(unmatched=unmatched)
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.ListDedicatedReceipts, request)
    if as_json:
        fields = ("bank_reference", "account", "amount_fen", "received_at", "memo")
        console.print_json([{name: getattr(each, name) for name in fields} for each in answer.receipts])
        return
    headings: list[console.Heading] = [
        ("银行流水号", "Bank reference"),
        ("记入", "Stands on"),
        ("金额（元）", "Yuan"),
        ("到账", "Received"),
        ("附言", "Memo"),
    ]
    rows = [
        [
            each.bank_reference,
            "\n".join(account_name(each.account)),
            console.yuan(each.amount_fen),
            names.moment(each.received_at),
            each.memo,
        ]
        for each in answer.receipts
    ]
    console.show("", headings, rows, "没有到账 · No money has arrived")


@app.command()
def lodge(yuan: Yuan, reference: Reference, at: BankDate = None, config: Config = None, as_json: Json = False) -> None:
    """登记划给清分平台的款项 · Record that the bank paid the clearinghouse; a reference is booked once.

    日期登记有误的，以正确的 --at 再登记一次 · A wrong date is corrected by recording it again with the right --at.
    """
    request = pb.RecordLodgingRequest(amount_fen=yuan, bank_reference=reference, at=_seconds(at))
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.RecordLodging, request)
    _say_balance("已登记 recorded", reference, answer.lodged_fen, as_json)


@app.command()
def reverse(
    reference: Annotated[str, typer.Argument(metavar="REFERENCE", help="银行流水号 · The bank's reference.")],
    why: Annotated[str, typer.Option("--why", help="理由 · The reason.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """冲正：撤销登记有误的到账、认领或缴存 · Take back a receipt, an assignment or a lodging that was mistyped.

    原分录保留，另作相反分录；已认领的来款重回待认领，其余可重新登记。款项须尚未动用；同一理由重复登记不再变更。
    What is booked stays, and an entry of the opposite follows it: an assigned receipt is in suspense again, anything
    else may be recorded anew. The money must not be used; told again with the same reason it changes nothing.
    """
    request = pb.ReverseBankEntryRequest(bank_reference=reference, why=why)
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.ReverseBankEntry, request)
    if as_json:
        fields = ("bank_reference", "kind", "account", "amount_fen", "at", "by", "why", "reversed_before")
        console.print_json({name: getattr(answer, name) for name in fields})
        return
    what = f"{_REVERSED[answer.kind]} {reference}: {console.yuan(answer.amount_fen)} 元 {answer.account}"
    if answer.reversed_before:
        console.say(
            f"此前已以同一理由冲正，本次未变更 · Reversed before for this reason, nothing was changed: {what}"
            f"（{names.moment(answer.at)} {answer.by}）"
        )
        return
    now = "重回待认领 in suspense again" if answer.kind == "assignment" else "可重新登记 may be recorded anew"
    console.say(f"已冲正 · Reversed: {what}；{now}")


_REVERSED = {
    "deposit": "到账 receipt",
    "receipt": "待认领到账 receipt in suspense",
    "assignment": "认领 assignment",
    "payment": "缴存 lodging",
}
"""What was taken back, by the kind of its entry."""


@payments.command("instruct")
def instruct(config: Config = None, as_json: Json = False) -> None:
    """为应付收单机构的款项制单 · Make out what acquirers are owed: of home redemptions, and of settled windows.

    资金不足的活动或场次整体暂缓，并列明缺谁的钱 · What the money at hand does not cover waits, and it is said for whom.
    """
    request = pb.InstructPaymentsRequest()
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.InstructPayments, request)
    if as_json:
        held = [
            {name: getattr(each, name) for name in ("window", "campaign", "account", "short_fen")}
            for each in answer.held_back
        ]
        console.print_json({"payments": [_payment_data(each) for each in answer.payments], "held_back": held})
        return
    _show_payments("新制付款 · Made out", answer.payments)
    if answer.held_back:
        headings: list[console.Heading] = [
            ("场次", "Window"),
            ("活动", "Campaign"),
            ("资金不足", "Whose money does not suffice"),
            ("缺（元）", "Short, yuan"),
        ]
        rows = [
            [each.window or "—", each.campaign, "\n".join(account_name(each.account)), console.yuan(each.short_fen)]
            for each in answer.held_back
        ]
        console.console.print(console.table("暂缓 · Waits for money", headings, rows))


@payments.command("list")
def list_payments(
    made: Annotated[bool, typer.Option("--all", help="含已付、退汇 · Also those made or returned.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """列出待付款项 · List what the bank is to pay."""
    listed = _listed(config, made)
    if as_json:
        console.print_json([_payment_data(each) for each in listed])
        return
    _show_payments("", listed)


@payments.command("paid")
def paid(number: Number, reference: Reference, config: Config = None, as_json: Json = False) -> None:
    """登记银行已付 · Record that the bank made a payment; told again it changes nothing."""
    request = pb.MarkPaymentMadeRequest(number=number, bank_reference=reference)
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.MarkPaymentMade, request)
    if as_json:
        console.print_json(_payment_data(answer.payment))
        return
    console.say(marked(answer.payment))


@payments.command("returned")
def returned(number: Number, reference: Reference, config: Config = None, as_json: Json = False) -> None:
    """登记银行退汇：所付款项重新应付 · Record that the bank sent a payment back: what it paid is due again.

    收单机构的款项下次制单时重付，退出资方的款项再次结清时重退 · An acquirer's is made out anew by instruct, a funder's
    by closing out again.
    """
    request = pb.MarkPaymentReturnedRequest(number=number, bank_reference=reference)
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.MarkPaymentReturned, request)
    if as_json:
        console.print_json(_payment_data(answer.payment))
        return
    console.say(marked(answer.payment))


@payments.command("export")
def export(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="写入的文件夹 · Folder to write into.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """导出待付款项供银行办理：Excel（经办、复核、审批）和 CSV · Write what is to be paid for the bank: XLSX and CSV."""
    settings = operator_settings(config)
    fields = Payment._fields
    found = [Payment(*(getattr(each, name) for name in fields)) for each in _listed(config, made=False)]
    console.tell_files(write_payments(out, settings.host, found), as_json)


@app.command("close-campaign")
def close_campaign(
    campaign: Annotated[str, typer.Argument(metavar="CAMPAIGN", help="活动编号 · Campaign id.")],
    working_days: Annotated[
        Path | None,
        typer.Option("--working-days", metavar="FILE", help="放假安排（TOML） · Holidays of an unknown year."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """活动结清：释放未用预算，结余按原路退回出资方 · Close a campaign out: unused money goes back to its funders.

    未办结的逐项列出；此后的退款再次结清时补退 · What is open is listed; later refunds go back by closing out again.
    """
    request = pb.CloseOutCampaignRequest(campaign=campaign)
    if working_days is not None:
        request.working_days, request.file_name = read_file(working_days), str(working_days)
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.CloseOutCampaign, request)
    if as_json:
        console.print_json(_close_out_data(answer.close_out))
        return
    _show_close_out(answer.close_out)


def _payer(funder: str, from_clearinghouse: bool, year: int) -> pb.Payer:
    if funder and from_clearinghouse:
        raise InvalidInput(
            "出资方与清分平台只能写一个 · names two payers",
            place="--funder",
            remedy="写 --funder 或 --from-clearinghouse · give --funder or --from-clearinghouse",
        )
    if not funder:
        return pb.Payer(clearinghouse=from_clearinghouse, fiscal_year=year)
    found = named(funder, year)
    return pb.Payer(campaign=found.campaign, funder=found.name, fiscal_year=year)


def _say_balance(what: str, reference: str, balance_fen: int, as_json: bool) -> None:
    if as_json:
        console.print_json({"bank_reference": reference, "balance_fen": balance_fen})
        return
    console.say(f"{what}: {reference}；该账户余额 balance of its account {console.yuan(balance_fen)} 元")


def marked(payment: payment_pb2.Payment) -> str:
    """What the bank's word makes of a payment: it is paid, or came back, whichever was told now."""
    what = f"{payment.number} {payment.payee} {console.yuan(payment.amount_fen)} 元"
    if payment.returned_reference:
        return f"已退汇 returned: {what} ({payment.returned_reference})"
    return f"已付 paid: {what} ({payment.bank_reference})"


def _listed(config: Path | None, made: bool) -> list[payment_pb2.Payment]:
    request = pb.ListPaymentsRequest(made=made)
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.ListPayments, request)
    return list(answer.payments)


def _show_payments(title: str, listed: Iterable[payment_pb2.Payment]) -> None:
    headings: list[console.Heading] = [
        ("编号", "No."),
        ("用途", "Purpose"),
        ("收款人", "Payee"),
        ("金额（元）", "Yuan"),
        ("活动", "Campaign"),
        ("原到账流水号", "Deposit"),
        ("制单", "Made out"),
        ("银行流水号", "Bank reference"),
        ("退汇流水号", "Returned"),
    ]
    rows: list[list[console.Cell]] = [
        [
            each.number,
            purpose(each.kind),
            each.payee,
            console.yuan(each.amount_fen),
            each.campaign,
            each.deposit,
            names.moment(each.made_at),
            each.bank_reference,
            each.returned_reference,
        ]
        for each in listed
    ]
    console.show(title, headings, rows, "没有此类付款 · There is no such payment")


def _show_close_out(closed: payment_pb2.CloseOut) -> None:
    console.say(
        f"{closed.campaign} 第 {closed.number} 次结清 · closed out ({closed.number}) {names.moment(closed.at)}；"
        f"退款截止 its funders have their money by {closed.due_on}"
    )
    headings: list[console.Heading] = [
        ("出资方", "Funder"),
        ("级次", "Level"),
        ("预算（元）", "Budget, yuan"),
        ("本地已用", "Used at home"),
        ("异地已用", "Used away"),
        ("释放预算", "Released"),
        ("预拨", "Paid ahead"),
        ("已结算", "Settled"),
        ("应退", "To go back"),
        ("已退", "Gone back"),
        ("欠付", "Owes"),
    ]
    rows: list[list[console.Cell]] = [
        [each.title_zh or each.funder, each.level, *(console.yuan(getattr(each, name)) for name in _CLOSED_FIGURES)]
        for each in closed.funders
    ]
    console.console.print(console.table("", headings, rows))
    _show_payments("退回出资方 · Back to funders", closed.returns)


_CLOSED_FIGURES = (
    "budget_fen",
    "used_home_fen",
    "used_away_fen",
    "released_fen",
    "paid_ahead_fen",
    "settled_fen",
    "returned_fen",
    "returned_paid_fen",
    "owed_fen",
)


def _close_out_data(closed: payment_pb2.CloseOut) -> dict[str, Any]:
    return {
        **{name: getattr(closed, name) for name in ("campaign", "number", "at", "closed_by", "due_on")},
        "funders": [
            {name: getattr(each, name) for name in ("funder", "title_zh", "level", *_CLOSED_FIGURES)}
            for each in closed.funders
        ],
        "returns": [_payment_data(each) for each in closed.returns],
    }


def _payment_data(each: payment_pb2.Payment) -> dict[str, Any]:
    fields = ("number", "kind", "payee", "amount_fen", "campaign", "deposit", "made_at", "made_by")
    references = ("bank_reference", "returned_reference")
    items = [{name: getattr(item, name) for name in ("window", "account", "amount_fen")} for item in each.items]
    return {
        **{name: getattr(each, name) for name in (*fields, *references)},
        "paid_at": each.paid_at or None,
        "returned_at": each.returned_at or None,
        "items": items,
    }
