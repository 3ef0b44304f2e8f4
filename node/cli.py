"""节点 · Run and operate a region's node."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from chassis import console, telemetry
from chassis.config import load_settings
from chassis.operating import (
    Config,
    Json,
    OperatorSettings,
    call,
    operator_settings,
    read_file,
    read_signing_chain,
)
from custodian import showing
from custodian.evidence_option import Id, Out, write_evidence
from node import recovery_cli, statements_cli, status_cli, treasury_cli, vouchers_cli, withdrawals_cli
from node.campaign.rendering import show_difference
from node.config import NodeSettings
from node.merchants_file import read_merchants
from node.vouchers_cli import voucher_name, voucher_ref
from pki.files import write_atomically
from quanlian.campaign_changes import ChangeKind, standing
from quanlian.errors import InvalidInput
from quanlian.file_rules import Words
from quanlian.notices import check_notice, doubts_of, parse_notice
from quanlian.refusals import CHINA
from quanlian.suspensions import SuspensionKind
from quanlian.terms import Terms
from quanlian.terms_difference import NOTICE_TAKES_EFFECT, TAKES_EFFECT, Difference, difference, notice_difference
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import node_operator_pb2 as pb
from quanlian.v1.campaign_pb2 import CampaignChange, CampaignChangeKind
from quanlian.v1.node_operator_pb2_grpc import NodeOperatorServiceStub
from quanlian.wire import change_of

app = typer.Typer(no_args_is_help=True, add_completion=False)
AMEND, NOTICE, PAUSE, RESUME, WITHDRAW = (
    CampaignChangeKind.CAMPAIGN_CHANGE_KIND_AMEND,
    CampaignChangeKind.CAMPAIGN_CHANGE_KIND_NOTICE,
    CampaignChangeKind.CAMPAIGN_CHANGE_KIND_PAUSE,
    CampaignChangeKind.CAMPAIGN_CHANGE_KIND_RESUME,
    CampaignChangeKind.CAMPAIGN_CHANGE_KIND_WITHDRAW,
)
NOT_ANNOUNCED = "清分平台暂不可达，恢复后自动通知 · The clearinghouse cannot be reached now and will be told later"
Campaign = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="活动编号 · Campaign id.")]


@app.callback()
def group() -> None:
    """节点：运行与操作 · Run a region's node, and operate it.

    serve 由运维运行；其余命令由商务部门在任何机器上以自己的证书调用。
    `serve` runs the node; the others call a running node with the operator's certificate.
    """


@app.command()
def serve(
    config: Annotated[
        Path | None, typer.Option("--config", help="设置文件 · Settings file (TOML); QUANLIAN_NODE_… override it.")
    ] = None,
) -> None:
    """启动服务 · Serve until Ctrl-C or SIGTERM."""
    from node.server import serve as run

    settings = load_settings(NodeSettings, config, "node")
    telemetry.configure()
    run(settings)


@app.command()
def publish(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="活动细则 · Campaign terms (TOML).")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """公布活动：签署细则、开立预算 · Publish a campaign: its terms are signed, its budgets opened."""
    settings = operator_settings(config)
    content = read_file(file)
    terms = parse_terms(content, str(file))
    request = pb.PublishCampaignRequest(terms=content, file_name=str(file))
    answer = call(settings, NodeOperatorServiceStub, lambda stub: stub.PublishCampaign, request)
    if as_json:
        budgets = {funder: fen for funder, fen in _budgets(terms)}
        data = {"campaign": answer.campaign, "terms_hash": answer.terms_hash.hex(), "budgets_fen": budgets}
        console.print_json(data)
        return
    rows: list[list[console.Cell]] = [[funder, console.yuan(fen)] for funder, fen in _budgets(terms)]
    rows.append(["合计 Total", console.yuan(sum(terms.budgets().values()))])
    if not answer.announced:
        console.say(NOT_ANNOUNCED)
    console.say(f"已公布 · Published {answer.campaign}: {terms.title_zh} · {terms.title_en}")
    console.say(f"细则哈希 · Terms hash {answer.terms_hash.hex()}")
    headings: list[console.Heading] = [("出资方", "Funder"), ("预算（元）", "Budget, yuan")]
    console.console.print(console.table("", headings, rows))


Yes = Annotated[bool, typer.Option("--yes", help="不再询问 · Do not ask.")]
Why = showing.Why


@app.command()
def amend(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="新版细则 · The new version of the terms (TOML).")],
    why: Why,
    config: Config = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """修订活动：仅对此后发放的券生效 · Amend a campaign, for vouchers issued from then on.

    先列出与现行版本的差异；JSON 须加 --yes · Shows the difference to the version in force first; JSON needs --yes.
    """
    _require_yes(yes, as_json)
    settings = operator_settings(config)
    content = read_file(file)
    new = parse_terms(content, str(file))
    known = _changes(settings, new.campaign)
    found = difference(known.terms, content)
    title = f"{new.title_zh} · {new.title_en}"
    if not as_json:
        show_difference(title, found, TAKES_EFFECT, same_file=known.terms == content)
    if not yes and not typer.confirm("公布此修订？ Publish this amendment?"):
        raise typer.Exit(1)
    change = pb.ChangeCampaignRequest(kind=AMEND, why=why, document=content, file_name=str(file))
    _change(settings, known, change, as_json)


@app.command()
def notice(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="公告 · The notice (TOML).")],
    why: Why,
    config: Config = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """公告：对已发放的券作有利于持券人的变更 · Give notice: something in favour of vouchers already out.

    先列出持券人得到什么；公告不能收回；JSON 须加 --yes · Shows what holders gain first; a notice cannot be taken
    back; JSON needs --yes.
    """
    _require_yes(yes, as_json)
    settings = operator_settings(config)
    content = read_file(file)
    known = _changes(settings, parse_notice(content, str(file)).campaign)
    terms = parse_terms(known.terms, "terms in force")
    gains, doubts = notice_preview(known, content, str(file), int(datetime.now(UTC).timestamp()))
    if not as_json:
        show_difference(f"{terms.title_zh} · {terms.title_en}", gains, NOTICE_TAKES_EFFECT, same_file=False)
    for doubt in doubts:
        typer.echo(f"警告 · Warning: {doubt.zh} · {doubt.en}", err=as_json)
    if not yes and not typer.confirm("公布此公告？ Publish this notice?"):
        raise typer.Exit(1)
    change = pb.ChangeCampaignRequest(kind=NOTICE, why=why, document=content, file_name=str(file))
    _change(settings, known, change, as_json)


def notice_preview(
    known: pb.ListCampaignChangesResponse, content: bytes, name: str, at: int
) -> tuple[list[Difference], list[Words]]:
    """What a notice gives beyond earlier ones, and what about it may not be meant. Raises InvalidInput as the node."""
    given, terms = parse_notice(content, name), parse_terms(known.terms, "terms in force")
    earlier = standing(map(change_of, known.changes)).given
    check_notice(given, terms, earlier, at)
    return notice_difference(known.terms, content, earlier), doubts_of(given, terms, at)


@app.command()
def pause(campaign: Campaign, why: Why, config: Config = None, as_json: Json = False) -> None:
    """暂停活动：不发放、不核销，退款照常 · Pause a campaign: no claims, no redemptions; refunds go on."""
    settings = operator_settings(config)
    _change(settings, _changes(settings, campaign), pb.ChangeCampaignRequest(kind=PAUSE, why=why), as_json)


@app.command()
def resume(campaign: Campaign, why: Why, config: Config = None, as_json: Json = False) -> None:
    """恢复活动 · Resume a paused campaign."""
    settings = operator_settings(config)
    _change(settings, _changes(settings, campaign), pb.ChangeCampaignRequest(kind=RESUME, why=why), as_json)


@app.command()
def withdraw(campaign: Campaign, why: Why, config: Config = None, as_json: Json = False) -> None:
    """撤回活动：停止发放，已发放的券仍可用 · Withdraw a campaign: no more claims; vouchers out stay good."""
    settings = operator_settings(config)
    _change(settings, _changes(settings, campaign), pb.ChangeCampaignRequest(kind=WITHDRAW, why=why), as_json)


@app.command()
def changes(campaign: Campaign, config: Config = None, as_json: Json = False) -> None:
    """列出活动的全部变更：时间、经办、原因 · List every change of a campaign, with who and why."""
    listed = _changes(operator_settings(config), campaign).changes
    if as_json:
        console.print_json([_change_data(each) for each in listed])
        return
    rows = [[value or "" for value in _change_data(each).values()] for each in listed]
    headings: list[console.Heading] = [
        ("序号", "No."),
        ("变更", "Change"),
        ("时间", "When"),
        ("经办", "By"),
        ("原因", "Why"),
        ("细则哈希", "Terms hash"),
        ("公告", "Notice"),
    ]
    console.console.print(console.table(campaign, headings, rows))


@app.command("terms")
def show_terms(
    campaign: Campaign,
    number: Annotated[
        int,
        typer.Option("--number", min=0, help="第几次变更后的，默认现行 · After which change; default: last."),
    ] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="写入文件，默认显示 · File; default: print.")] = None,
    config: Config = None,
) -> None:
    """取回细则原文：现行的，或某次变更后的 · The terms in force, or as they were after a change (TOML)."""
    content = _changes(operator_settings(config), campaign, number).terms
    if out is None:
        print(content.decode("utf-8"), end="")
        return
    write_atomically(out, content)
    console.say(f"已写出 written: {out}")


def _require_yes(yes: bool, as_json: bool) -> None:
    """A program cannot answer a question. Raises BadParameter."""
    if as_json and not yes:
        raise typer.BadParameter("--json 不询问，请加 --yes · does not ask: add --yes", param_hint="--json")


def _changes(settings: OperatorSettings, campaign: str, number: int = 0) -> pb.ListCampaignChangesResponse:
    request = pb.ListCampaignChangesRequest(campaign=campaign, number=number)
    listed: pb.ListCampaignChangesResponse = call(
        settings, NodeOperatorServiceStub, lambda stub: stub.ListCampaignChanges, request
    )
    return listed


def _change(
    settings: OperatorSettings,
    known: pb.ListCampaignChangesResponse,
    request: pb.ChangeCampaignRequest,
    as_json: bool,
) -> None:
    """Ask for a change of the campaign as it was just seen."""
    last = known.changes[-1]
    request.campaign = last.campaign
    request.expected_terms_hash = last.terms_hash
    request.expected_number = last.number
    answer = call(settings, NodeOperatorServiceStub, lambda stub: stub.ChangeCampaign, request)
    made = answer.change
    if as_json:
        console.print_json(_change_data(made) | {"announced": answer.announced})
        return
    kind = ChangeKind(made.kind).name.lower()
    console.say(f"第 {made.number} 次变更已签署公布 · Change {made.number} ({kind}) of {made.campaign} is published")
    if not answer.announced:
        console.say(NOT_ANNOUNCED)


def _change_data(change: CampaignChange) -> dict[str, Any]:
    return {
        "number": change.number,
        "kind": ChangeKind(change.kind).name.lower(),
        "at": datetime.fromtimestamp(change.at, UTC).astimezone(CHINA).isoformat(),
        "by": change.by,
        "why": change.why,
        "terms_hash": change.terms_hash.hex(),
        "notice": change.notice.decode("utf-8") or None,
    }


@app.command()
def merchants(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV (UTF-8)，表头 · with the heading code,name,categories.")
    ],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """准入商户，全部或全不 · Admit the merchants of a file, all or none.

    类别以分号分隔，留空表示不限 · Categories are separated by semicolons; none means any.
    """
    settings = operator_settings(config)
    rows = read_merchants(read_file(file), str(file))
    listed = [pb.Merchant(code=each.code, name=each.name, categories=each.categories) for each in rows]
    request = pb.AdmitMerchantsRequest(merchants=listed)
    answer = call(settings, NodeOperatorServiceStub, lambda stub: stub.AdmitMerchants, request)
    if as_json:
        console.print_json({"admitted": answer.admitted})
        return
    console.say(f"已准入商户 {answer.admitted:,} 家 · {answer.admitted:,} merchants admitted")


@app.command()
def platform(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="签名证书链 · PEM chain of its signing key.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """准入支付平台 · Admit a payment platform by its signing key."""
    settings = operator_settings(config)
    chain, key = read_signing_chain(settings, file)
    if key.owner != settings.host or not key.purpose.startswith("message."):
        raise InvalidInput(
            f"是 {key.owner} 用于 {key.purpose} 的密钥 · is {key.owner}'s key for {key.purpose}",
            place=str(file),
            remedy=f"请由 {settings.host} 签发 message.<平台> 密钥 · "
            f"issue a key for message.<platform> under the authority of {settings.host}",
        )
    request = pb.AdmitPlatformRequest(signing_chain=chain)
    answer = call(settings, NodeOperatorServiceStub, lambda stub: stub.AdmitPlatform, request)
    if as_json:
        console.print_json({"platform": answer.name, "key_id": key.key_id.hex()})
        return
    console.say(f"已准入支付平台 · Platform admitted: {answer.name}")


NodeSubject = Annotated[
    str,
    typer.Argument(
        metavar="SUBJECT",
        help="商户信用代码、券包/序号、活动编号 · Credit code, PACK/INDEX in hexadecimal, or campaign id.",
    ),
]
NodeSubjectKind = Annotated[
    Literal["merchant", "voucher", "campaign"],
    typer.Argument(metavar="KIND", help="merchant、voucher（如挂失）或 campaign · What is suspended."),
]


@app.command()
def suspend(
    kind: NodeSubjectKind, subject: NodeSubject, why: showing.Why, config: Config = None, as_json: Json = False
) -> None:
    """暂停商户、单张券（挂失）或活动，自下一批起生效 · Suspend a merchant, a voucher reported lost, or a campaign.

    退款、冲正与已占用券的确认照常；暂停活动即 pause · Refunds, voids and captures of holds go on.
    """
    _suspend(kind, subject, why, config, as_json, suspended=True)


@app.command()
def reactivate(
    kind: NodeSubjectKind, subject: NodeSubject, why: showing.Why, config: Config = None, as_json: Json = False
) -> None:
    """恢复已暂停的 · Reactivate what this region suspended."""
    _suspend(kind, subject, why, config, as_json, suspended=False)


@app.command()
def suspensions(history: showing.History = False, config: Config = None, as_json: Json = False) -> None:
    """列出本节点所知的暂停：对象、经办、原因 · List what this node knows to be suspended, by whom and why."""
    request = pb.ListSuspensionsRequest(history=history)
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.ListSuspensions, request)
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
    """本地区统计：本地券在各地、外地券在本地 · Running totals of this region's vouchers and its merchants' sales."""
    request = pb.GetNodeStatsRequest(query=showing.stats_query(by, campaign, region, category, day))
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.GetNodeStats, request)
    showing.show_stats(by, answer.rows, as_json)


def _suspend(kind: str, subject: str, why: str, config: Path | None, as_json: bool, *, suspended: bool) -> None:
    """A campaign is paused by a change of its own; anything else is suspended."""
    settings = operator_settings(config)
    if kind == "campaign":
        change = pb.ChangeCampaignRequest(kind=PAUSE if suspended else RESUME, why=why)
        _change(settings, _changes(settings, subject), change, as_json)
        return
    request = pb.SuspendRequest(
        kind=SuspensionKind[kind.upper()].value,  # type: ignore[arg-type]
        subject=voucher_name(voucher_ref(subject, "PACK/INDEX")) if kind == "voucher" else subject,
        suspended=suspended,
        why=why,
    )
    answer = call(settings, NodeOperatorServiceStub, lambda stub: stub.Suspend, request)
    if as_json:
        console.print_json(showing.suspension_data(answer.suspension) | {"announced": answer.announced})
        return
    showing.say_suspension(answer.suspension)
    if not answer.announced:
        console.say(NOT_ANNOUNCED)


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
    request = pb.GetNodeEvidenceRequest(id=id)
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.GetNodeEvidence, request)
    write_evidence(answer.document, out, as_json)


def _budgets(terms: Terms) -> list[tuple[str, int]]:
    """Funder and budget in fen, in declared order."""
    return [(account.rpartition("/")[2], fen) for account, fen in terms.budgets().items()]


app.add_typer(status_cli.app)
app.add_typer(recovery_cli.app)
app.add_typer(vouchers_cli.app)
app.add_typer(withdrawals_cli.app, name="withdrawn")
app.add_typer(statements_cli.app)
app.add_typer(treasury_cli.app)
