"""Statements at the clearinghouse: any region's, what proves them, disputes, a campaign's figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from chassis import console
from chassis.operating import Config, Json, amount, call, follow, operator_settings, read_file
from pki.tls_files import ROOT
from quanlian.statements import json_to_statement
from quanlian.v1 import clearing_operator_pb2 as pb
from quanlian.v1.clearing_operator_pb2_grpc import ClearingOperatorServiceStub
from reporting.campaign_report import report_data, show_report, write_report
from reporting.disputes import HEADINGS, OUTCOMES, booked_data, booked_table, dispute_cells, dispute_data
from reporting.evidence_files import write_evidence
from reporting.signed_file import SignedFile
from reporting.statement_files import write_statement
from reporting.statement_options import Format, Formats, Month, Out, Window, check_period

app = typer.Typer(add_completion=False)
Region = Annotated[str, typer.Argument(metavar="REGION", help="地区代码 · Region code, like 330100.")]
Dispute = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="异议号 · Number of the dispute.")]
Why = Annotated[str, typer.Option("--why", help="理由，告知该地区 · The reason, which the region is told.")]


@app.command()
def statement(
    region: Region,
    out: Out,
    window: Window = 0,
    month: Month = "",
    formats: Formats = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """取任一地区的对账单：已签名的 JSON、Excel、可打印网页 · Fetch a region's statement: JSON, workbook, page."""
    check_period(window, month)
    console.tell_files(write_statement(_signed(config, region, window, month), out, formats or list(Format)), as_json)


@app.command("export-evidence")
def export_evidence(
    region: Region, out: Out, window: Window = 0, month: Month = "", config: Config = None, as_json: Json = False
) -> None:
    """导出某地区可复核的依据 · Export a region's statement with all that it can be recomputed from.

    用 quanlian verify 复核 · `quanlian verify` recomputes it, with these files alone.
    """
    check_period(window, month)
    settings = operator_settings(config)
    signed = _signed(config, region, window, month)
    (path,) = write_statement(signed, out, [Format.JSON])
    files: list[dict[str, Any]] = [{"file": str(path)}]
    if not as_json:
        console.say(str(path))
    root = read_file(settings.tls_directory / ROOT)
    for number in json_to_statement(signed.body).covers:
        request = pb.GetRegionEvidenceRequest(region=region, window=number)
        messages = follow(settings, ClearingOperatorServiceStub, lambda stub: stub.GetRegionEvidence, request)
        lines = chain.from_iterable(message.lines for message in messages)
        path, count = write_evidence(out, f"{region}-window-{number}", root, lines)
        files.append({"file": str(path), "redemptions": count})
        if not as_json:
            console.say(f"{path} ({count:,} 笔 redemptions)")
    if as_json:
        console.print_json(files)


@app.command()
def disputes(config: Config = None, as_json: Json = False) -> None:
    """各地区的异议 · Disputes of all regions, the open ones first."""
    request = pb.ListDisputesRequest()
    listed = call(operator_settings(config), ClearingOperatorServiceStub, lambda stub: stub.ListDisputes, request)
    if as_json:
        console.print_json([_dispute_data(each) for each in listed.disputes])
        return
    rows = [dispute_cells(each.dispute, each.outcome, each.resolution) for each in listed.disputes]
    console.show("", HEADINGS, rows, "没有异议 · There is no dispute")


@app.command()
def uphold(
    region: Region,
    number: Dispute,
    why: Why,
    adjustments: Annotated[
        list[str] | None,
        typer.Argument(metavar="REDEMPTION=YUAN", help="核销编号与退回金额 · Redemptions, and what goes back of each."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """异议成立：在当前场次作调整分录，退回各出资方 · Uphold a dispute by adjusting entries in the open window.

    对账单漏列一行的，无须调整 · None is needed where a statement left a line out.
    """
    request = pb.ResolveDisputeRequest(
        region=region, number=number, upheld=True, why=why, adjustments=_adjustments(adjustments or ())
    )
    _resolve(request, config, as_json)


@app.command()
def reject(region: Region, number: Dispute, why: Why, config: Config = None, as_json: Json = False) -> None:
    """驳回异议 · Reject a dispute."""
    _resolve(pb.ResolveDisputeRequest(region=region, number=number, upheld=False, why=why), config, as_json)


@app.command()
def report(
    campaign: Annotated[str, typer.Argument(metavar="CAMPAIGN", help="活动编号 · Campaign id.")],
    xlsx: Annotated[Path | None, typer.Option("--xlsx", help="写出 Excel · Write a workbook.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """活动报告：清分平台裁决的部分，各地区 · A campaign over all regions, as far as the clearinghouse decided it.

    本地核销与发放数在发券地节点 · Use at home and what was issued are with the issuer's node.
    """
    request = pb.GetCampaignReportRequest(campaign=campaign)
    settings = operator_settings(config)
    figures = call(settings, ClearingOperatorServiceStub, lambda stub: stub.GetCampaignReport, request).figures
    if xlsx is not None:
        write_report(xlsx, figures)
    if as_json:
        console.print_json(report_data(figures))
    else:
        show_report(figures)


def _signed(config: Path | None, region: str, window: int, month: str) -> SignedFile:
    request = pb.GetRegionStatementRequest(region=region, window=window, month=month)
    settings = operator_settings(config)
    answer = call(settings, ClearingOperatorServiceStub, lambda stub: stub.GetRegionStatement, request)
    message = answer.statement
    if answer.reservation:
        typer.echo(
            f"该地区确认时的保留意见 · The region confirmed it with a reservation: {answer.reservation}", err=True
        )
    return SignedFile("statement", message.body, message.key_id, message.signature, answer.chain)


def _resolve(request: pb.ResolveDisputeRequest, config: Path | None, as_json: bool) -> None:
    settings = operator_settings(config)
    answer = call(settings, ClearingOperatorServiceStub, lambda stub: stub.ResolveDispute, request)
    if as_json:
        console.print_json({**_dispute_data(answer.dispute), "booked": booked_data(answer.booked)})
        return
    outcome = answer.dispute.outcome
    console.say(f"{request.region} 异议第 {request.number} 号：{OUTCOMES[outcome]} · dispute {outcome}")
    if answer.booked:
        console.console.print(booked_table(answer.booked))


def _adjustments(texts: Sequence[str]) -> list[pb.Adjustment]:
    """Raises BadParameter for a redemption that is named twice."""
    adjustments = [_adjustment(text) for text in texts]
    for redemption_id, times in Counter(each.redemption_id for each in adjustments).items():
        if times > 1:
            raise typer.BadParameter(
                f"核销 {redemption_id.hex()} 写了{times}次，请只写一次 · "
                f"redemption {redemption_id.hex()} is named {times} times: name it once, with all that goes back"
            )
    return adjustments


def _adjustment(text: str) -> pb.Adjustment:
    """`<32 hex digits>=12.34`. Raises BadParameter."""
    redemption, equals, yuan = text.partition("=")
    try:
        redemption_id = bytes.fromhex(redemption)
    except ValueError:
        redemption_id = b""
    if not equals or len(redemption_id) != 16:
        raise typer.BadParameter(f"{text!r} is not REDEMPTION=YUAN — write the id's 32 hexadecimal digits, =, the yuan")
    return pb.Adjustment(redemption_id=redemption_id, amount_fen=amount(yuan))


def _dispute_data(each: pb.DisputeRecord) -> dict[str, Any]:
    return dispute_data(each.dispute, each.outcome, each.resolution)
