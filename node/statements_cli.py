"""Statements at a node: show, reconcile, confirm, dispute, export what proves them, report a campaign."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from chassis import console
from chassis.operating import Config, Json, call, follow, operator_settings, read_file
from pki.tls_files import ROOT
from quanlian.statements import BALANCE, FunderFigures, LineFigures, json_to_statement
from quanlian.v1 import node_operator_pb2 as pb
from quanlian.v1 import settlement_pb2
from quanlian.v1.node_operator_pb2_grpc import NodeOperatorServiceStub
from reporting import names
from reporting.campaign_report import report_data, show_report, write_report
from reporting.disputes import HEADINGS, booked_data, booked_table, dispute_cells, dispute_data
from reporting.evidence_files import write_evidence
from reporting.signed_file import SignedFile
from reporting.statement_files import write_statement
from reporting.statement_options import Format, Formats, Month, Out, Window, check_period

app = typer.Typer(add_completion=False)

_RECORDED_BY = {
    "lodged": "quanlian node lodge",
    "paid_out": "quanlian node receipt --from-clearinghouse",
}
"""With which command the department records its side of money at the bank, by the balance's name."""


@app.command()
def statement(
    out: Out,
    window: Window = 0,
    month: Month = "",
    formats: Formats = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """取本地区对账单：已签名的 JSON、Excel、可打印网页 · Fetch this region's statement: JSON, workbook, page."""
    check_period(window, month)
    console.tell_files(write_statement(_signed(config, window, month), out, formats or list(Format)), as_json)


@app.command("export-evidence")
def export_evidence(
    out: Out, window: Window = 0, month: Month = "", config: Config = None, as_json: Json = False
) -> None:
    """导出可复核的依据：对账单、逐笔核销、细则、协议 · Export a statement with all that it can be recomputed from.

    用 quanlian verify 复核 · `quanlian verify` recomputes it, with these files alone.
    """
    check_period(window, month)
    settings = operator_settings(config)
    signed = _signed(config, window, month)
    (path,) = write_statement(signed, out, [Format.JSON])
    files: list[dict[str, Any]] = [{"file": str(path)}]
    if not as_json:
        console.say(str(path))
    root = read_file(settings.tls_directory / ROOT)
    for number in json_to_statement(signed.body).covers:
        request = pb.GetOwnEvidenceRequest(window=number)
        messages = follow(settings, NodeOperatorServiceStub, lambda stub: stub.GetOwnEvidence, request)
        lines = chain.from_iterable(message.lines for message in messages)
        path, count = write_evidence(out, f"{settings.host}-window-{number}", root, lines)
        files.append({"file": str(path), "redemptions": count})
        if not as_json:
            console.say(f"{path} ({count:,} 笔 redemptions)")
    if as_json:
        console.print_json(files)


@app.command()
def reconcile(window: Window = 0, month: Month = "", config: Config = None, as_json: Json = False) -> None:
    """对账：一致、缺少、多出、不符，逐行列出双方数字 · A statement line by line beside this node's own books.

    缺少：仅我方账上有；多出：仅对账单上有。 Missing: only in our books; extra: only in the statement.
    仅对方有：我方未登记的缴存与划出。 Only theirs: money at the bank that we keep no record of.
    """
    check_period(window, month)
    request = pb.GetReconciliationRequest(window=window, month=month)
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.GetReconciliation, request)
    if as_json:
        console.print_json(_reconciliation_data(answer))
        return
    balances = [each for each in answer.lines if each.key[0] == BALANCE]
    lines = [each for each in answer.lines if len(each.key) == 3 and each not in balances]
    funders = [each for each in answer.lines if len(each.key) == 2]
    counts = {name: sum(each.list == name for each in answer.lines) for name in names.LISTS}
    console.say("  ".join(f"{zh} {en}: {counts[name]:,}" for name, (zh, en) in names.LISTS.items()))
    console.say(f"已确认 Confirmed: {console.yes_no(answer.confirmed)}")
    if answer.reservation:
        console.say(f"保留意见 With reservation: {answer.reservation}")
    if answer.not_reconciled:
        numbers = ", ".join(map(str, answer.not_reconciled))
        console.say(
            f"场次 {numbers} 尚未对账，存入与划出暂列为多出 · windows {numbers} are not reconciled here yet: "
            "until they are, what was lodged and paid out shows as extra"
        )
    headings: list[console.Heading] = [
        ("对账", "List"),
        ("余额", "Balance"),
        ("对账单（元）", "Statement, yuan"),
        ("我方（元）", "Own books, yuan"),
    ]
    in_order = list(names.BALANCES)
    balances.sort(key=lambda each: in_order.index(each.key[2]))
    rows = [[_list(each), " ".join(names.BALANCES[each.key[2]]), *_yuans(each)] for each in balances]
    console.console.print(console.table("余额 Balances", headings, rows))
    for each in balances:
        if each.list == "different" and each.key[2] in _RECORDED_BY:
            _say_recorded(each)
    headings = [
        ("对账", "List"),
        ("角色", "Role"),
        ("对方地区", "Counterpart"),
        ("活动", "Campaign"),
        ("账面", "Side"),
        *names.LINE_FIGURES,
    ]
    rows = [row for each in lines for row in _rows(each, [names.role(each.key[0]), *each.key[1:]], _line_cells)]
    console.console.print(console.table("明细 Lines", headings, rows))
    headings = [
        ("对账", "List"),
        ("出资账户", "Funding account"),
        ("对方地区", "Counterpart"),
        ("账面", "Side"),
        *names.FUNDER_FIGURES,
    ]
    rows = [row for each in funders for row in _rows(each, [*each.key], _funder_cells)]
    console.console.print(console.table("出资方 Funders", headings, rows))
    if answer.disputes:
        _show_disputes(answer.disputes)


@app.command()
def confirm(
    window: Window = 0,
    month: Month = "",
    reservation: Annotated[
        str, typer.Option("--with-reservation", metavar="WHY", help="保留意见 · Why differing lines are not agreed to.")
    ] = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """确认对账单：月度由人确认；不符须先提异议 · Confirm a statement by hand; dispute differences first.

    异议期已过的，可附保留意见确认 · What can no longer be disputed is confirmed with a reservation, which is signed.
    """
    check_period(window, month)
    request = pb.ConfirmOwnStatementRequest(window=window, month=month, reservation=reservation)
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.ConfirmOwnStatement, request)
    if as_json:
        period = {"month": month} if month else {"window": window}
        console.print_json({**period, "confirmed_before": answer.confirmed_before, "reservation": reservation})
        return
    told = month or f"场次 window {window}"
    if answer.confirmed_before:
        console.say(f"此前已确认，以首次确认为准 · Was confirmed before, and the first confirmation stays: {told}")
    else:
        console.say(f"已签名确认 · Confirmed and signed: {told}")


@app.command()
def dispute(
    window: Annotated[int, typer.Argument(metavar="WINDOW", min=1, help="场次号 · Number of the window.")],
    lines: Annotated[
        list[str],
        typer.Option("--line", metavar="ROLE/REGION/CAMPAIGN", help="有异议的行，可重复 · A line; may be repeated."),
    ],
    why: Annotated[str, typer.Option("--why", help="理由 · The reason.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """对对账单的若干行提出异议；场次照常结清 · Dispute lines of a statement; the window settles as calculated.

    行写作 角色/对方地区/活动 · A line is written as `quanlian node reconcile` shows it: issuer/310000/my-campaign.
    余额写作 balance/本地区/名称 · A balance as balance/330100/lodged: opening, lodged, prefunded, …
    """
    request = pb.DisputeOwnStatementRequest(window=window, lines=[_line_ref(text) for text in lines], why=why)
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.DisputeOwnStatement, request)
    if as_json:
        console.print_json({"window": window, "number": answer.number, "lines": lines, "why": why})
        return
    console.say(f"异议第 {answer.number} 号已送达清分平台 · Dispute {answer.number} is with the clearinghouse")


@app.command()
def disputes(config: Config = None, as_json: Json = False) -> None:
    """本地区的异议及处理结果，未处理的在前 · This region's disputes and how each was decided, the open ones first.

    另列涉及本地区核销的他地区异议 · Also others' disputes whose adjusting entries concern this region.
    """
    request = pb.ListOwnDisputesRequest()
    known = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.ListOwnDisputes, request)
    if as_json:
        console.print_json([_dispute_data(each) for each in known.disputes])
    else:
        _show_disputes(known.disputes)


@app.command()
def report(
    campaign: Annotated[str, typer.Argument(metavar="CAMPAIGN", help="活动编号 · Campaign id.")],
    xlsx: Annotated[Path | None, typer.Option("--xlsx", help="写出 Excel · Write a workbook.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """活动报告：七项指标、带动比、分类、分地区、分日、预算执行 · What a campaign brought, and its budgets."""
    request = pb.GetOwnCampaignReportRequest(campaign=campaign)
    settings = operator_settings(config)
    figures = call(settings, NodeOperatorServiceStub, lambda stub: stub.GetOwnCampaignReport, request).figures
    if xlsx is not None:
        write_report(xlsx, figures)
    if as_json:
        console.print_json(report_data(figures))
    else:
        show_report(figures)


def _show_disputes(known: Sequence[pb.KnownDispute]) -> None:
    rows = [dispute_cells(each.dispute, *_decided(each)) for each in known]
    console.show("异议 Disputes", HEADINGS, rows, "没有异议 · There is no dispute")
    booked = [part for each in known for part in each.decision.booked]
    if booked:
        console.console.print(booked_table(booked, "清分平台的调整分录 Adjusting entries at the clearinghouse"))


def _decided(each: pb.KnownDispute) -> tuple[str, str]:
    """Outcome and reason; what is not with the clearinghouse yet waits too."""
    if each.HasField("decision"):
        return each.decision.outcome, each.decision.why
    return "open", "" if each.sent else "尚未送达，将自动重送 · not sent yet, will be sent again"


def _dispute_data(each: pb.KnownDispute) -> dict[str, Any]:
    outcome, resolution = (each.decision.outcome, each.decision.why) if each.HasField("decision") else ("open", "")
    data = dispute_data(each.dispute, outcome, resolution)
    return {**data, "sent": each.sent, "decided_at": each.decision.at, "booked": booked_data(each.decision.booked)}


def _signed(config: Path | None, window: int, month: str) -> SignedFile:
    request = pb.GetOwnStatementRequest(window=window, month=month)
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.GetOwnStatement, request)
    message = answer.statement
    return SignedFile("statement", message.body, message.key_id, message.signature, answer.chain)


def _line_ref(text: str) -> settlement_pb2.LineRef:
    parts = text.split("/")
    if len(parts) != 3 or parts[0] not in names.ROLES:
        raise typer.BadParameter(f"{text!r} is not ROLE/REGION/CAMPAIGN — write it like issuer/310000/my-campaign")
    return settlement_pb2.LineRef(role=parts[0], counterpart=parts[1], campaign=parts[2])


def _rows(
    each: pb.ReconciledLine, head: Sequence[str], cells: Callable[[Any], list[console.Cell]]
) -> list[list[console.Cell]]:
    """One row where both sides agree, otherwise one a side."""
    if each.list == "matched":
        return [[_list(each), *head, "双方 both", *cells(each.statement)]]
    sides = [("对账单 statement", each.statement), ("我方 own", each.own)]
    return [[_list(each), *head, name, *cells(figures)] for name, figures in sides]


def _funder_cells(figures: Any) -> list[console.Cell]:
    return [console.yuan(fen) for fen in figures] or [None] * len(names.FUNDER_FIGURES)


def _line_cells(figures: Any) -> list[console.Cell]:
    if not figures:
        return [None] * len(names.LINE_FIGURES)
    return [
        fen if name in ("captures", "refunds") else console.yuan(fen)
        for name, fen in zip(LineFigures.__dataclass_fields__, figures, strict=True)
    ]


def _list(each: pb.ReconciledLine) -> str:
    zh, en = names.LISTS[each.list]
    return f"{zh} {en}"


def _yuans(each: pb.ReconciledLine) -> list[console.Cell]:
    """Both sides' one figure."""
    return [console.yuan(figures[0]) if figures else None for figures in (each.statement, each.own)]


def _say_recorded(each: pb.ReconciledLine) -> None:
    """What our side of money at the bank is made of, and what probably lacks."""
    zh, en = names.BALANCES[each.key[2]]
    stated, own = each.statement[0], each.own[0]
    console.say(
        f"{zh}：对账单{console.yuan(stated)}，我方至截止已登记而前无对账单列出的{console.yuan(own)} · {en}: "
        f"{console.yuan(stated)} stated; recorded here until the close and on no statement before: {console.yuan(own)}"
    )
    for payment in each.payments:
        told = f"{names.moment(payment.at)}  {console.yuan(payment.amount_fen):>16}  {payment.bank_reference}"
        console.say(f"  我方登记 recorded here: {told}")
    if stated > own:
        lacking = console.yuan(stated - own)
        console.say(
            f"  {lacking}可能未在此登记，或登记日期晚于银行日期：{_RECORDED_BY[each.key[2]]} · {lacking} may not be "
            "recorded here, or with a later date than the bank's"
        )
    else:
        lacking = console.yuan(own - stated)
        console.say(
            f"  {lacking}可能未到账、金额有误或记在别地，请附银行流水号向清分平台核对；此处登记有误的先冲正："
            f"quanlian node reverse · {lacking} may not have arrived, have another amount or stand on another region: "
            "ask the clearinghouse with the bank's reference; if it was mistyped here, reverse it"
        )


def _reconciliation_data(answer: pb.GetReconciliationResponse) -> dict[str, Any]:
    lists: dict[str, list[dict[str, Any]]] = {name: [] for name in names.LISTS}
    for each in answer.lines:
        fields, figures = _fields(each)
        sides = {
            side: dict(zip(figures, values, strict=True)) if values else None
            for side, values in (("statement", each.statement), ("own", each.own))
        }
        line: dict[str, Any] = {**dict(zip(fields, each.key, strict=True)), **sides}
        if each.key[2:] and each.key[2] in _RECORDED_BY:
            line["payments"] = [
                {name: getattr(payment, name) for name in ("bank_reference", "amount_fen", "at")}
                for payment in each.payments
            ]
        lists[each.list].append(line)
    disputes = [_dispute_data(each) for each in answer.disputes]
    not_reconciled = list(answer.not_reconciled)
    told = {"confirmed": answer.confirmed, "reservation": answer.reservation, "not_reconciled": not_reconciled}
    return {**told, **lists, "disputes": disputes}


def _fields(each: pb.ReconciledLine) -> tuple[tuple[str, ...], Sequence[str]]:
    """How the parts of a line's key and its figures are named."""
    if each.key[0] == BALANCE:
        return ("role", "region", "balance"), ["amount_fen"]
    if len(each.key) == 2:
        return ("account", "counterpart"), FunderFigures._fields
    return ("role", "counterpart", "campaign"), list(LineFigures.__dataclass_fields__)
