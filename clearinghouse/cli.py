"""清分平台 · Run and operate the clearinghouse."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from chassis import console, telemetry
from chassis.config import load_settings
from chassis.operating import (
    Amount,
    Config,
    Json,
    Reference,
    Yuan,
    amount,
    call,
    operator_settings,
    read_signing_chain,
)
from clearinghouse import prefund_cli, recovery_cli, statements_cli, windows_cli, withdrawals_cli
from clearinghouse.config import ClearinghouseSettings
from custodian import showing
from custodian.evidence_option import Id, Out, write_evidence
from custodian.funder_option import FunderName, Year, named
from custodian.recovery_report import show_state, state_data
from custodian.withdrawal_report import show_withdrawn, withdrawn_data
from quanlian.errors import InvalidInput
from quanlian.refusals import CHINA
from quanlian.suspensions import SuspensionKind
from quanlian.v1 import clearing_operator_pb2 as pb
from quanlian.v1.clearing_operator_pb2_grpc import ClearingOperatorServiceStub
from reporting.names import moment, region_both

app = typer.Typer(no_args_is_help=True, add_completion=False)

Region = Annotated[str, typer.Argument(metavar="REGION", help="地区代码 · Region code, like 330100.")]
Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="场次号 · Number of the window.")]


@app.callback()
def group() -> None:
    """清分平台：运行与操作 · Run the clearinghouse, and operate it.

    serve 由运维运行；其余命令由清分平台操作员以自己的证书调用。
    `serve` runs it; the others call the running clearinghouse with the operator's certificate.
    """


@app.command()
def serve(
    config: Annotated[
        Path | None,
        typer.Option("--config", help="设置文件 · Settings file (TOML); QUANLIAN_CLEARINGHOUSE_… override it."),
    ] = None,
) -> None:
    """启动服务 · Serve until Ctrl-C or SIGTERM."""
    from clearinghouse.server import serve as run

    settings = load_settings(ClearinghouseSettings, config, "clearinghouse")
    telemetry.configure()
    run(settings)


@app.command()
def enrol(
    region: Region,
    chains: Annotated[list[Path], typer.Argument(metavar="CHAIN", help="签名证书链 · PEM chains of its signing keys.")],
    name_zh: Annotated[str, typer.Option("--name-zh", metavar="NAME", help="中文名 · Name in Chinese.")],
    name_en: Annotated[str, typer.Option("--name-en", metavar="NAME", help="英文名 · Name in English.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """接入地区 · Enrol a region with its signing keys; again to add keys."""
    settings = operator_settings(config)
    contents, keys = [], []
    for path in chains:
        chain, key = read_signing_chain(settings, path)
        if key.owner != region:
            raise InvalidInput(
                f"是 {key.owner} 的密钥 · is {key.owner}'s key",
                place=str(path),
                remedy=f"请写 {region} 的密钥 · name the keys of {region}",
            )
        contents.append(chain)
        keys.append({"key_id": key.key_id.hex(), "purpose": key.purpose})
    request = pb.EnrolParticipantRequest(region=region, name_zh=name_zh, name_en=name_en, signing_chains=contents)
    call(settings, ClearingOperatorServiceStub, lambda stub: stub.EnrolParticipant, request)
    if as_json:
        console.print_json({"region": region, "name_zh": name_zh, "name_en": name_en, "keys": keys})
        return
    console.say(f"已接入 · Enrolled {region} {name_zh} {name_en} ({len(contents)} keys)")


@app.command()
def limits(
    region: Region,
    cap: Annotated[
        Amount, typer.Option("--cap", metavar="YUAN", parser=amount, help="净借记限额（元） · Net debit cap.")
    ],
    credit: Annotated[
        Amount, typer.Option("--credit", metavar="YUAN", parser=amount, help="信用额度（元） · Credit line.")
    ],
    offset_bp: Annotated[
        int,
        typer.Option(
            "--offset-bp", min=0, max=10_000, help="应收抵减（万分之） · Part of its dues that counts, in 1/10000."
        ),
    ],
    mode: Annotated[
        Literal["prefunded", "advanced", "mixed"] | None,
        typer.Option(
            "--mode",
            help="资金方式：预拨、垫付、混合 · How it pays; by default mixed with a credit line, else prefunded.",
        ),
    ] = None,
    credit_days: Annotated[
        int,
        typer.Option(
            "--credit-days", min=0, help="信用天数（自然日） · Calendar days to pay a shortfall in; 0: at once."
        ),
    ] = 0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """设定限额与资金方式，一次全部 · Set a region's limits and how it is funded, all at once."""
    request = pb.SetLimitsRequest(
        region=region,
        net_debit_cap_fen=cap,
        credit_line_fen=credit,
        credit_offset_bp=offset_bp,
        funding_mode=mode or "",
        credit_days=credit_days,
    )
    answer = call(operator_settings(config), ClearingOperatorServiceStub, lambda stub: stub.SetLimits, request)
    if as_json:
        names = ("region", "net_debit_cap_fen", "credit_line_fen", "credit_offset_bp", "credit_days")
        set_to = {name: getattr(request, name) for name in names}
        console.print_json({**set_to, "funding_mode": answer.funding_mode})
        return
    console.say(
        f"{region}: 净借记限额 · net debit cap {console.yuan(cap)}, 信用额度 · credit line {console.yuan(credit)}, "
        f"应收抵减 · offset {offset_bp:,}/10,000, 资金方式 · funding {_mode(answer.funding_mode, credit_days)}"
    )


@app.command()
def visitors(
    region: Region,
    year: Annotated[int, typer.Argument(metavar="YEAR", min=2000, max=2099, help="预算年度 · Fiscal year.")],
    funders: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=WEIGHT:YUAN", help="出资方、权重、预算 · Funders, like city=6:300000 county=4:200000."
        ),
    ],
    rule: Annotated[
        Literal["cascade", "pro-rata", "refuse"],
        typer.Option("--rule", help="资金不足时 · What happens when a funder runs dry."),
    ],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """设定异地用券资金 · Set a region's fund for visitors' vouchers of a year, in place of what it was."""
    request = pb.SetVisitorsFundRequest(
        region=region, fiscal_year=year, rule=rule, funders=[_funder(text) for text in funders]
    )
    call(operator_settings(config), ClearingOperatorServiceStub, lambda stub: stub.SetVisitorsFund, request)
    if as_json:
        fields = ("name", "weight", "budget_fen")
        set_to = [{name: getattr(each, name) for name in fields} for each in request.funders]
        console.print_json({"region": region, "fiscal_year": year, "rule": rule, "funders": set_to})
        return
    rows: list[list[console.Cell]] = [
        [each.name, each.weight, console.yuan(each.budget_fen)] for each in request.funders
    ]
    headings: list[console.Heading] = [("出资方", "Funder"), ("权重", "Weight"), ("预算（元）", "Budget, yuan")]
    console.say(f"{region} {year} 异地用券资金 · visitors' fund ({rule})")
    console.console.print(console.table("", headings, rows))


@app.command()
def deposit(
    region: Region,
    yuan: Yuan,
    reference: Reference,
    funder: FunderName = "",
    year: Year = 0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """登记到账：地区存入，或出资方预拨；同一流水号只记一次 · Record that money arrived; a reference is booked once.

    不写出资方，记入该地区结算账户 · Without a funder the region lodged it, on its settlement account.
    """
    if not region.strip():
        raise InvalidInput(
            "未写地区 · names no region",
            place="REGION",
            remedy="来款方不明的，暂挂 · if nobody knows whose it is: quanlian clearinghouse receipt",
        )
    request = pb.RecordDepositRequest(
        region=region, amount_fen=yuan, bank_reference=reference, funder=_payer(funder, year)
    )
    answer = call(operator_settings(config), ClearingOperatorServiceStub, lambda stub: stub.RecordDeposit, request)
    if as_json:
        console.print_json(_balance_data(region, funder, answer))
        return
    console.say(f"已登记 · Recorded {console.yuan(yuan)} 元；{_balance(region, funder, answer)}")


@app.command()
def receipt(
    yuan: Yuan,
    reference: Reference,
    memo: Annotated[str, typer.Option("--memo", help="银行附言 · What the bank's receipt says.")] = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """登记不明来款，暂挂待认领 · Record a receipt that is nobody's yet; it stands in suspense."""
    request = pb.RecordDepositRequest(amount_fen=yuan, bank_reference=reference, memo=memo)
    answer = call(operator_settings(config), ClearingOperatorServiceStub, lambda stub: stub.RecordDeposit, request)
    if as_json:
        console.print_json({"bank_reference": reference, "amount_fen": yuan, "suspense_fen": answer.settlement_fen})
        return
    console.say(f"已暂挂 {console.yuan(yuan)} 元 · in suspense; together {console.yuan(answer.settlement_fen)} yuan")


@app.command()
def receipts(config: Config = None, as_json: Json = False) -> None:
    """待认领来款 · Receipts in suspense."""
    request = pb.ListReceiptsRequest()
    listed = call(operator_settings(config), ClearingOperatorServiceStub, lambda stub: stub.ListReceipts, request)
    if as_json:
        fields = ("bank_reference", "amount_fen", "received_at", "memo")
        console.print_json([{name: getattr(each, name) for name in fields} for each in listed.receipts])
        return
    headings: list[console.Heading] = [
        ("银行流水号", "Bank reference"),
        ("金额（元）", "Yuan"),
        ("到账", "Received"),
        ("附言", "Memo"),
    ]
    rows = [
        [each.bank_reference, console.yuan(each.amount_fen), moment(each.received_at), each.memo]
        for each in listed.receipts
    ]
    console.show("", headings, rows, "没有待认领来款 · No receipt is in suspense")


@app.command()
def assign(
    reference: Annotated[str, typer.Argument(metavar="REFERENCE", help="银行流水号 · The bank's reference.")],
    region: Region,
    funder: FunderName = "",
    year: Year = 0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """认领来款：记入某地区或其出资方 · Assign a receipt in suspense to the region, or funder, whose it is."""
    request = pb.AssignReceiptRequest(bank_reference=reference, region=region, funder=_payer(funder, year))
    answer = call(operator_settings(config), ClearingOperatorServiceStub, lambda stub: stub.AssignReceipt, request)
    if as_json:
        console.print_json({"bank_reference": reference, **_balance_data(region, funder, answer)})
        return
    console.say(f"已认领 · Assigned {reference}；{_balance(region, funder, answer)}")


@app.command("reverse-deposit")
def reverse_deposit(
    reference: Annotated[str, typer.Argument(metavar="REFERENCE", help="银行流水号 · The bank's reference.")],
    why: Annotated[str, typer.Option("--why", help="理由 · The reason.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """冲正：撤销登记有误的到账；已认领的来款重回待认领 · Take back a mistyped deposit, or a receipt's assignment.

    原分录保留，另作相反分录；款项须尚未动用 · What is booked stays, and an entry of the opposite follows it,
    as long as the money stands there.
    """
    request = pb.ReverseDepositRequest(bank_reference=reference, why=why)
    answer = call(operator_settings(config), ClearingOperatorServiceStub, lambda stub: stub.ReverseDeposit, request)
    if as_json:
        fields = ("bank_reference", "region", "account", "amount_fen", "assignment", "window", "at", "by", "why")
        console.print_json({name: getattr(answer, name) for name in fields})
        return
    now = "重回待认领 in suspense again" if answer.assignment else "可重新登记 may be recorded anew"
    console.say(f"已冲正 · Reversed {reference}: {console.yuan(answer.amount_fen)} 元 {answer.account}；{now}")


@app.command("pay-out")
def pay_out(region: Region, yuan: Yuan, reference: Reference, config: Config = None, as_json: Json = False) -> None:
    """登记划出：地区取回多余资金或补发欠付 · Record that the bank paid a region what it may take out."""
    request = pb.PayOutRequest(region=region, amount_fen=yuan, bank_reference=reference)
    answer = call(operator_settings(config), ClearingOperatorServiceStub, lambda stub: stub.PayOut, request)
    if as_json:
        console.print_json({"region": region, "settlement_fen": answer.settlement_fen})
        return
    console.say(
        f"已划出 · Paid out {console.yuan(yuan)} 元; {region} 余额 balance {console.yuan(answer.settlement_fen)} 元"
    )


@app.command()
def returned(
    pay_out: Annotated[
        str, typer.Argument(metavar="PAY_OUT", help="被退划出的银行流水号 · Bank reference of the pay-out.")
    ],
    reference: Reference,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """登记银行退汇：划出的款项退回该地区结算账户 · Record that the bank sent a payment to a region back.

    重付用 pay-out · It stands on the region's balance again; pay it again with pay-out.
    """
    request = pb.MarkPayOutReturnedRequest(pay_out=pay_out, bank_reference=reference)
    settings = operator_settings(config)
    answer = call(settings, ClearingOperatorServiceStub, lambda stub: stub.MarkPayOutReturned, request)
    if as_json:
        console.print_json({name: getattr(answer, name) for name in ("region", "amount_fen", "settlement_fen")})
        return
    console.say(
        f"已退汇 · Returned {console.yuan(answer.amount_fen)} 元; "
        f"{answer.region} 余额 balance {console.yuan(answer.settlement_fen)} 元"
    )


@app.command()
def evidence(
    id: Id,
    out: Out,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """出具证据：谁请求、谁答复，各有签名 · Show who asked and who answered what, each signed.

    任何人可离线核验 · Anyone can check the file without the network: quanlian evidence verify.
    """
    request = pb.GetClearingEvidenceRequest(id=id)
    settings = operator_settings(config)
    answer = call(settings, ClearingOperatorServiceStub, lambda stub: stub.GetClearingEvidence, request)
    write_evidence(answer.document, out, as_json)


@app.command()
def status(config: Config = None, as_json: Json = False) -> None:
    """各地区连接与限额 · Which regions are connected, and what each owes within its limit.

    须从备份恢复时先行说明，退出码为 1 · Where it needs recovery it says so first, and exits with 1.
    """
    request = pb.GetClearingStatusRequest()
    answer = call(operator_settings(config), ClearingOperatorServiceStub, lambda stub: stub.GetClearingStatus, request)
    if as_json:
        regions = [{name: getattr(each, name) for name in _STATUS_FIELDS} for each in answer.regions]
        warnings = showing.warnings_data(answer.warnings)
        withdrawn = [withdrawn_data(each) for each in answer.withdrawn]
        console.print_json(
            {
                "regions": regions,
                "warnings": warnings,
                "withdrawn": withdrawn,
                "undecided": showing.undecided_data(answer.undecided),
                "recovery": state_data(answer.recovery),
            }
        )
    else:
        _show_status(answer)
    if answer.recovery.why:
        raise typer.Exit(1)


def _show_status(answer: pb.GetClearingStatusResponse) -> None:
    if answer.recovery.why:
        show_state(answer.recovery)
    headings: list[console.Heading] = [
        ("地区", "Region"),
        ("名称", "Name"),
        ("已连接", "Connected"),
        ("未结应付（元）", "Exposure, yuan"),
        ("限额（元）", "Limit, yuan"),
        ("结算账户（元）", "Settlement account, yuan"),
        ("预拨（元）", "Paid ahead, yuan"),
        ("欠款（元）", "Arrears, yuan"),
        ("逾期（元）", "Past due, yuan"),
        ("暂扣（元）", "Withheld, yuan"),
        ("资金方式", "Funding"),
    ]
    rows = [
        (
            each.region,
            region_both(each.region),
            console.yes_no(each.custody_stream_open),
            console.yuan(each.exposure_fen),
            console.yuan(each.limit_fen),
            console.yuan(each.settlement_fen),
            console.yuan(each.prefund_fen),
            console.yuan(each.arrears_fen),
            console.yuan(each.past_due_fen),
            console.yuan(each.withheld_fen),
            _mode(each.funding_mode, each.credit_days),
        )
        for each in answer.regions
    ]
    console.show("", headings, rows, "尚未接入地区 · No region is enrolled")
    _show_what_is_amiss(answer.regions)
    showing.show_undecided(answer.undecided)
    show_withdrawn(answer.withdrawn, "quanlian clearinghouse")
    showing.show_warnings(answer.warnings)


_STATUS_FIELDS = (
    "region",
    "custody_stream_open",
    "exposure_fen",
    "limit_fen",
    "limit_percent",
    "credit_line_fen",
    "credit_used_fen",
    "credit_percent",
    "settlement_fen",
    "prefund_fen",
    "arrears_fen",
    "past_due_fen",
    "due_at",
    "withheld_fen",
    "funding_mode",
    "credit_days",
    "suspended",
)
_MODES = {"prefunded": "预拨", "advanced": "垫付", "mixed": "混合"}


def _mode(name: str, days: int) -> str:
    return f"{_MODES[name]} {name}" + (f"，{days} 日 days" if days else "")


def _show_what_is_amiss(regions: Iterable[pb.RegionStatus]) -> None:
    """A line for each region that is suspended, owes something, or is near one of its limits now."""
    for each in regions:
        if each.suspended:
            console.say(f"已暂停 · Suspended: {each.region} {region_both(each.region)}")
        if each.past_due_fen:
            fen = console.yuan(each.past_due_fen)
            console.say(f"欠款逾期 · Past due: {each.region} {region_both(each.region)}，{fen} 元 yuan")
        elif each.arrears_fen:
            day = moment(each.due_at)
            console.say(f"欠款须在此前缴清 · Arrears to be paid before {day}: {each.region} {region_both(each.region)}")
        if each.limit_percent:
            console.say(f"已达净借记限额 {each.limit_percent} % · of its net debit limit: {each.region}")
        if each.credit_percent:
            used, line = console.yuan(each.credit_used_fen), console.yuan(each.credit_line_fen)
            console.say(
                f"已用信用额度 {each.credit_percent} % · of its credit line: {each.region}，{used} / {line} 元 yuan"
            )


SubjectKind = Annotated[
    Literal["region", "key", "merchant", "voucher"],
    typer.Argument(metavar="KIND", help="region、key、merchant 或 voucher · What is suspended."),
]
Subject = Annotated[
    str,
    typer.Argument(
        metavar="SUBJECT",
        help="地区代码、密钥号、地区/商户代码、地区/券包/序号 · Region code, key id, REGION/CODE or REGION/PACK/INDEX.",
    ),
]


@app.command()
def suspend(
    kind: SubjectKind,
    subject: Subject,
    why: showing.Why,
    bad_from: Annotated[
        datetime | None,
        typer.Option(
            "--bad-from",
            formats=["%Y-%m-%dT%H:%M:%S"],
            help="密钥自此时（北京时间）起不可信，默认现在 · Of a key: bad since then, Asia/Shanghai; now by default.",
        ),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """暂停地区、密钥、商户或单张券，全网自下一批起生效 · Suspend something, from every party's next batch on.

    退款、冲正与已占用券的确认照常 · Refunds, voids and captures of holds go on.
    """
    if bad_from is not None and kind != "key":
        raise typer.BadParameter("--bad-from is for keys")
    bad_from_at = int(bad_from.replace(tzinfo=CHINA).timestamp()) if bad_from else 0
    _suspend(kind, subject, why, config, as_json, suspended=True, bad_from=bad_from_at)


@app.command()
def reactivate(
    kind: SubjectKind, subject: Subject, why: showing.Why, config: Config = None, as_json: Json = False
) -> None:
    """恢复已暂停的 · Reactivate what the clearinghouse suspended."""
    _suspend(kind, subject, why, config, as_json, suspended=False, bad_from=0)


@app.command()
def suspensions(history: showing.History = False, config: Config = None, as_json: Json = False) -> None:
    """列出暂停：对象、经办、原因 · List what is suspended in the network, by whom and why."""
    request = pb.ListNetworkSuspensionsRequest(history=history)
    settings = operator_settings(config)
    answer = call(settings, ClearingOperatorServiceStub, lambda stub: stub.ListNetworkSuspensions, request)
    showing.show_suspensions(answer.records, as_json)


@app.command()
def stats(
    by: showing.StatsBy = "campaign",
    campaign: showing.Campaign = "",
    region: showing.Region = "",
    category: showing.Category = "",
    day: showing.Day = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """异地核销统计：笔数、金额、退款、带动比 · Running totals of what the clearinghouse decided.

    本地核销由各节点自行统计 · Redemptions at home are in their node's own totals.
    """
    request = pb.GetClearingStatsRequest(query=showing.stats_query(by, campaign, region, category, day))
    settings = operator_settings(config)
    answer = call(settings, ClearingOperatorServiceStub, lambda stub: stub.GetClearingStats, request)
    showing.show_stats(by, answer.rows, as_json)


def _suspend(
    kind: str, subject: str, why: str, config: Path | None, as_json: bool, *, suspended: bool, bad_from: int
) -> None:
    request = pb.SuspendInNetworkRequest(
        kind=SuspensionKind[kind.upper()].value,  # type: ignore[arg-type]
        subject=subject.lower() if kind in ("key", "voucher") else subject,
        suspended=suspended,
        why=why,
        bad_from=bad_from,
    )
    settings = operator_settings(config)
    answer = call(settings, ClearingOperatorServiceStub, lambda stub: stub.SuspendInNetwork, request)
    if as_json:
        console.print_json(showing.suspension_data(answer.suspension))
        return
    showing.say_suspension(answer.suspension)


def _payer(funder: str, year: int) -> pb.Funder | None:
    """Raises InvalidInput for a year without a funder."""
    if not funder:
        if year:
            raise InvalidInput(
                "年度须与出资方同写 · a year is given with a funder",
                place="--year",
                remedy="写明 --funder · give --funder, or leave the year out",
            )
        return None
    found = named(funder, year)
    return pb.Funder(campaign=found.campaign, funder=found.name, fiscal_year=year)


def _balance_data(
    region: str, funder: str, answer: pb.RecordDepositResponse | pb.AssignReceiptResponse
) -> dict[str, Any]:
    if funder:
        return {"region": region, "funder": funder, "prefund_fen": answer.prefund_fen}
    return {"region": region, "settlement_fen": answer.settlement_fen}


def _balance(region: str, funder: str, answer: pb.RecordDepositResponse | pb.AssignReceiptResponse) -> str:
    if funder:
        return f"{region} {funder} 预拨结余 paid ahead and unused {console.yuan(answer.prefund_fen)} 元"
    return f"{region} 结算账户 balance of its settlement account {console.yuan(answer.settlement_fen)} 元"


def _funder(text: str) -> pb.VisitorsFunder:
    """`city=6:300000.00`. Raises BadParameter."""
    name, equals, rest = text.partition("=")
    weight, colon, yuan = rest.partition(":")
    if not (equals and colon and weight.isascii() and weight.isdigit() and len(weight) <= 9):
        raise typer.BadParameter(f"{text!r} is not NAME=WEIGHT:YUAN — write it like city=6:300000.00")
    return pb.VisitorsFunder(name=name, weight=int(weight), budget_fen=amount(yuan))


app.add_typer(prefund_cli.app)
app.add_typer(windows_cli.app)
app.add_typer(recovery_cli.app)
app.add_typer(withdrawals_cli.app, name="withdrawn")
app.add_typer(statements_cli.app)
