"""How a node stands: what waits, what could not be taken, what was taken back, how statements were reconciled."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import typer

from chassis import console
from chassis.operating import Config, Json, call, operator_settings
from custodian import showing
from custodian.recovery_report import show_state, state_data
from custodian.withdrawal_report import show_withdrawn, withdrawn_data
from quanlian.refusals import CHINA
from quanlian.v1 import node_operator_pb2 as pb
from quanlian.v1.node_operator_pb2_grpc import NodeOperatorServiceStub
from reporting.names import moment

app = typer.Typer(add_completion=False)
NOT_REACHED = (
    "清分平台暂不可达，外地券暂不能核销 · "
    "The clearinghouse cannot be reached: visitors' vouchers cannot be redeemed until it can"
)
_SOON_SECONDS = 30 * 86_400
feed = typer.Typer(help="清分平台通知 · The clearinghouse's feed.", no_args_is_help=True)
app.add_typer(feed, name="feed")


@app.command()
def status(config: Config = None, as_json: Json = False) -> None:
    """节点状态与各场次对账 · What waits, and how statements were reconciled.

    须从备份恢复时先行说明，退出码为 1 · Where it needs recovery it says so first, and exits with 1.
    """
    answer = call(
        operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.GetNodeStatus, pb.GetNodeStatusRequest()
    )
    if as_json:
        console.print_json(_status_data(answer))
    else:
        _show_status(answer)
    if answer.recovery.why:
        raise typer.Exit(1)


def _show_status(answer: pb.GetNodeStatusResponse) -> None:
    if answer.recovery.why:
        show_state(answer.recovery)
    console.say(f"节点 · Node {answer.region}")
    if not answer.clearinghouse_reached:
        console.say(NOT_REACHED)
    now = int(datetime.now(CHINA).timestamp())
    for warning in filter(None, (key_warning(key, now) for key in answer.keys)):
        console.say(warning)
    since = datetime.fromtimestamp(answer.unanswered_since, CHINA).isoformat(" ") if answer.unanswered else ""
    console.say(
        f"待清分平台答复 · Waiting for the clearinghouse: {answer.unanswered:,}"
        + (f"，最早自 the oldest since {since}" if since else "")
    )
    console.say(f"移交未确认 · Hand-overs not yet taken: {answer.hand_overs_open:,}")
    console.say(f"已收通知序号 · Feed received up to: {answer.feed_sequence:,}")
    console.say(f"异议待处理 · Disputes not decided yet: {answer.disputes_open:,}")
    if answer.parked:
        _show_parked(answer.parked)
    showing.show_undecided(answer.undecided)
    show_withdrawn(answer.withdrawn, "quanlian node")
    _show_windows(answer.windows)
    showing.show_warnings(answer.warnings)


def key_warning(key: pb.OwnKey, now: int) -> str:
    """What is wrong with a key, or soon will be; empty where nothing is."""
    name = f"密钥 Key {key.purpose} {key.key_id.hex()}"
    if key.bad_from:
        return (
            f"{name} 自{moment(key.bad_from)}起已暂停或吊销，所签不被采信 · "
            "is suspended or revoked: what it signs is not believed"
        )
    if key.not_after <= now:
        return f"{name} 已于{moment(key.not_after)}到期，请换发 · has ended: certify another"
    if key.not_after <= now + _SOON_SECONDS:
        return f"{name} 将于{moment(key.not_after)}到期，请换发 · ends soon: certify another"
    return ""


def _show_windows(windows: Iterable[pb.WindowConfirmation]) -> None:
    headings: list[console.Heading] = [
        ("场次", "Window"),
        ("一致", "Matched"),
        ("缺少", "Missing"),
        ("多出", "Extra"),
        ("不符", "Different"),
        ("已确认", "Confirmed"),
        ("已结清", "Settled"),
    ]
    rows = [
        (
            each.window,
            each.matched,
            each.missing,
            each.extra,
            each.different,
            console.yes_no(each.confirmed),
            console.yes_no(each.settled),
        )
        for each in windows
    ]
    console.show("", headings, rows, "尚无场次 · There is no settlement window yet")


@feed.command("list")
def feed_list(config: Config = None, as_json: Json = False) -> None:
    """列出未能入账的通知及原因 · List the events that could not be taken, and why."""
    answer = call(
        operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.GetNodeStatus, pb.GetNodeStatusRequest()
    )
    if as_json:
        console.print_json([_parked_data(each) for each in answer.parked])
    elif answer.parked:
        _show_parked(answer.parked)
    else:
        console.say("没有搁置的通知 · No event is parked")


@feed.command("retry")
def feed_retry(config: Config = None, as_json: Json = False) -> None:
    """原因排除后重试 · Try parked events again once their cause is gone."""
    request = pb.RetryFeedRequest()
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.RetryFeed, request)
    if as_json:
        console.print_json({"taken": list(answer.taken), "parked": [_parked_data(each) for each in answer.parked]})
        return
    console.say(f"已入账 {len(answer.taken):,} 条 · {len(answer.taken):,} taken: {', '.join(map(str, answer.taken))}")
    if answer.parked:
        _show_parked(answer.parked)


def _show_parked(events: Iterable[pb.ParkedEvent]) -> None:
    headings: list[console.Heading] = [
        ("序号", "Sequence"),
        ("类别", "Kind"),
        ("搁置时间", "Parked"),
        ("原因", "Reason"),
    ]
    rows = [
        (each.sequence, each.kind, datetime.fromtimestamp(each.parked_at, CHINA).isoformat(" "), each.reason)
        for each in events
    ]
    console.console.print(console.table("未能入账、已搁置的通知 · Events that could not be taken", headings, rows))
    console.say("原因排除后重试 · Once the cause is gone: quanlian node feed retry")


def _parked_data(event: pb.ParkedEvent) -> dict[str, Any]:
    return {name: getattr(event, name) for name in ("sequence", "kind", "reason", "parked_at")}


def _status_data(answer: pb.GetNodeStatusResponse) -> dict[str, Any]:
    names = ("window", "matched", "missing", "extra", "different", "confirmed", "settled")
    return {
        "region": answer.region,
        "unanswered": answer.unanswered,
        "unanswered_since": answer.unanswered_since,
        "undecided": showing.undecided_data(answer.undecided),
        "hand_overs_open": answer.hand_overs_open,
        "feed_sequence": answer.feed_sequence,
        "disputes_open": answer.disputes_open,
        "clearinghouse_reached": answer.clearinghouse_reached,
        "keys": [
            {
                "purpose": each.purpose,
                "key_id": each.key_id.hex(),
                "not_after": each.not_after,
                "bad_from": each.bad_from,
            }
            for each in answer.keys
        ],
        "parked": [_parked_data(each) for each in answer.parked],
        "withdrawn": [withdrawn_data(each) for each in answer.withdrawn],
        "windows": [{name: getattr(each, name) for name in names} for each in answer.windows],
        "warnings": showing.warnings_data(answer.warnings),
        "recovery": state_data(answer.recovery),
    }
