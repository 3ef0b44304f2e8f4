"""What funders paid ahead at the clearinghouse: look, close a campaign out, give back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from chassis import console
from chassis.operating import Config, Json, Reference, call, operator_settings, read_file
from quanlian.v1 import clearing_operator_pb2 as pb
from quanlian.v1.clearing_operator_pb2_grpc import ClearingOperatorServiceStub
from reporting.names import moment, region_both

app = typer.Typer(add_completion=False)

_PREFUND_FIELDS = (
    "region",
    "campaign",
    "funder",
    "fiscal_year",
    "paid_fen",
    "used_fen",
    "returned_fen",
    "standing_fen",
)
_RETURN_FIELDS = ("deposit", "funder", "amount_fen", "received_at", "bank_reference")


@app.command()
def prefund(
    region: Annotated[str, typer.Argument(metavar="[REGION]", help="地区代码，默认全部 · All without one.")] = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """各出资方的预拨资金：已拨、已用、结余 · What funders paid ahead here, what of it was used, what stands."""
    request = pb.ListPrefundRequest(region=region)
    listed = call(operator_settings(config), ClearingOperatorServiceStub, lambda stub: stub.ListPrefund, request)
    if as_json:
        console.print_json([{name: getattr(each, name) for name in _PREFUND_FIELDS} for each in listed.prefund])
        return
    headings: list[console.Heading] = [
        ("地区", "Region"),
        ("名称", "Name"),
        ("活动", "Campaign"),
        ("出资方", "Funder"),
        ("年度", "Year"),
        ("预拨（元）", "Paid ahead, yuan"),
        ("已用", "Used"),
        ("已退", "Gone back"),
        ("结余", "Stands"),
    ]
    rows = [
        (
            each.region,
            region_both(each.region),
            each.campaign,
            each.funder,
            str(each.fiscal_year),
            *(console.yuan(getattr(each, name)) for name in _PREFUND_FIELDS[4:]),
        )
        for each in listed.prefund
    ]
    console.console.print(console.table("", headings, rows))


@app.command("close-campaign")
def close_campaign(
    region: Annotated[str, typer.Argument(metavar="REGION", help="发券地区代码 · Code of the issuing region.")],
    campaign: Annotated[
        str, typer.Argument(metavar="CAMPAIGN", help="活动编号，或 visitors · Campaign id, or visitors with --year.")
    ],
    year: Annotated[
        int, typer.Option("--year", metavar="YEAR", min=0, help="异地用券资金的年度 · Year of the visitors' fund.")
    ] = 0,
    working_days: Annotated[
        Path | None,
        typer.Option("--working-days", metavar="FILE", help="放假安排（TOML） · Holidays of an unknown year."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """活动结清：预拨结余按原路退回出资方 · Close a campaign out: what stands of its funders' money goes back.

    未办结的逐项列出；再次执行可看退款进度 · What is open is listed; again it shows what has gone back.
    年度终了后，异地用券资金以 visitors --year 结清 · A visitors' fund is closed out once its year is over.
    """
    request = pb.CloseOutPrefundRequest(region=region, campaign=campaign, fiscal_year=year)
    if working_days is not None:
        request.working_days, request.file_name = read_file(working_days), str(working_days)
    answer = call(operator_settings(config), ClearingOperatorServiceStub, lambda stub: stub.CloseOutPrefund, request)
    if as_json:
        names = ("region", "campaign", "at", "closed_by", "due_on")
        returns = [_return_data(each) for each in answer.returns]
        console.print_json({**{name: getattr(answer, name) for name in names}, "returns": returns})
        return
    console.say(
        f"{answer.campaign} 已结清 · closed out {moment(answer.at)}；"
        f"预拨结余退回截止 its funders have their money by {answer.due_on}"
    )
    headings: list[console.Heading] = [
        ("原到账流水号", "Deposit"),
        ("到账", "Received"),
        ("出资方", "Funder"),
        ("应退（元）", "To go back, yuan"),
        ("退款流水号", "Returned as"),
        ("退款", "Paid"),
    ]
    rows = [
        (
            each.deposit,
            moment(each.received_at),
            each.funder,
            console.yuan(each.amount_fen),
            each.bank_reference,
            moment(each.paid_at),
        )
        for each in answer.returns
    ]
    console.console.print(console.table("退回出资方 · Back to funders", headings, rows))


@app.command("return-prefund")
def return_prefund(
    deposit: Annotated[
        str, typer.Argument(metavar="DEPOSIT", help="原到账流水号 · Bank reference of the deposit that it gives back.")
    ],
    reference: Reference,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """登记银行已退回出资方；同一流水号只记一次 · Record that the bank paid back what was to go back of a deposit."""
    request = pb.MarkPrefundReturnedRequest(deposit=deposit, bank_reference=reference)
    settings = operator_settings(config)
    answer = call(settings, ClearingOperatorServiceStub, lambda stub: stub.MarkPrefundReturned, request)
    if as_json:
        console.print_json(_return_data(answer.returned))
        return
    each = answer.returned
    console.say(f"已退回 · Gone back: {each.deposit} {each.funder} {console.yuan(each.amount_fen)} 元 ({reference})")


def _return_data(each: pb.PrefundReturn) -> dict[str, Any]:
    return {**{name: getattr(each, name) for name in _RETURN_FIELDS}, "paid_at": each.paid_at or None}
