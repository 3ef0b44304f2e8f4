"""What an operator reads of a recovery, the same at both parties: that it is needed, how far it is, its report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Protocol

import typer

from chassis import console
from quanlian.errors import InvalidInput
from quanlian.refusals import CHINA
from quanlian.regions import region
from quanlian.v1 import recovery_pb2

FIGURES = (
    "incarnation",
    "lost_commits",
    "last_commit_at",
    "recovered_at",
    "hand_overs",
    "vouchers",
    "answers",
    "receipts",
    "suspensions",
    "changes",
    "disputes",
    "feed_events",
)
Incarnation = Annotated[
    int,
    typer.Option(
        "--incarnation", min=0, metavar="N", help="恢复后的代次，默认最近一次 · Which recovery; the latest by default."
    ),
]
_LACKING = {
    recovery_pb2.LACKING_KIND_REGION: "地区 Region",
    recovery_pb2.LACKING_KIND_KEY: "签名密钥 Signing key",
    recovery_pb2.LACKING_KIND_AGREEMENT: "分担协议 Agreement",
    recovery_pb2.LACKING_KIND_VISITORS_FUND: "异地用券资金 Visitors' fund",
}
_LACKING_FIGURES = ("region", "name", "fiscal_year", "budget_fen", "needed_fen", "receipts", "remedy")
_STATE = ("why", "remedy", "under_way", "done", "total")


class Asked(Protocol):
    """What a party answers to the command that recovers it."""

    @property
    def report(self) -> recovery_pb2.RecoveryReport: ...

    @property
    def state(self) -> recovery_pb2.RecoveryState: ...

    def HasField(self, name: Any) -> bool: ...  # noqa: N802


def recovered(ask: Callable[[], Asked]) -> recovery_pb2.RecoveryReport:
    """The report, once the recovery is done; it goes on at the party whether or not somebody asks."""
    with console.progress() as bar:
        task = bar.add_task("恢复 recovering", total=None)
        while not (answer := ask()).HasField("report"):
            bar.update(task, completed=answer.state.done, total=answer.state.total or None)
    return answer.report


def show_state(state: recovery_pb2.RecoveryState) -> None:
    """Say that the party answers nothing, why, who has handed over what it holds, and what to do."""
    console.say(f"须恢复，现不受理任何请求 · RECOVERY NEEDED: it answers nothing now\n原因 Why: {state.why}")
    if state.handed_over or state.missing:
        console.say(f"已交回所持记录 · Have handed over: {_regions(state.handed_over)}")
        console.say(f"尚未交回 · Have not: {_regions(state.missing)}")
    if state.under_way:
        of = f" / {state.total:,}" if state.total else ""
        console.say(f"正在恢复，已取回 · Being recovered, learned so far: {state.done:,}{of}")
    waiting = "（节点启动后自动交回 · nodes hand over by themselves once they run）" if state.missing else ""
    console.say(f"处理 What to do: {state.remedy}{waiting}")


def state_data(state: recovery_pb2.RecoveryState) -> dict[str, Any] | None:
    """For programs; None where nothing needs to be recovered."""
    if not state.why:
        return None
    parties = {"handed_over": list(state.handed_over), "missing": list(state.missing)}
    return {**{name: getattr(state, name) for name in _STATE}, **parties}


def show_recovery(report: recovery_pb2.RecoveryReport, as_json: bool, then: str = "") -> None:
    """Say what was learned again, what is disputed, and what nobody else can know; or what must be entered first."""
    if as_json:
        console.print_json(_data(report))
        return
    if report.lacking:
        _show_lacking(report.lacking)
    if not report.incarnation:
        console.say(
            "尚未恢复。请补录以上各项，再次执行；不再补录的，加 --dispute-lacking，依赖其项的列为争议，由各节点冲回。\n"
            "Not recovered yet. Enter these and recover again; or with --dispute-lacking go on without them: "
            "what relies on them is disputed, and taken back at the nodes."
        )
        return
    console.say(
        f"{_moment(report.recovered_at)} 已恢复，重新受理（第 {report.incarnation} 代） · "
        f"Recovered and serving again (incarnation {report.incarnation})"
    )
    rows: list[tuple[console.Cell, ...]] = [
        ("移交 Hand-overs", report.hand_overs),
        ("券的托管 Vouchers whose custody was learned", report.vouchers),
        ("答复 Answers", report.answers),
        ("平台回执 Receipts of platforms", report.receipts),
        ("暂停与恢复 Suspensions and reactivations", report.suspensions),
        ("本地活动变更 Changes of own campaigns", report.changes),
        ("本地区异议 Disputes of the region", report.disputes),
        ("待收通知 Feed events to come", report.feed_events),
        ("有争议 Disputed", len(report.disputed)),
    ]
    console.console.print(console.table("取回的记录 · Learned again", [("项目", "What"), ("数量", "Count")], rows))
    if report.disputed:
        headings: list[console.Heading] = [("地区", "Region"), ("编号", "Id"), ("原因", "Reason")]
        disputed = [(each.region, each.id, each.reason) for each in report.disputed]
        console.console.print(console.table("有争议 · Disputed", headings, disputed))
    at = _moment(report.last_commit_at)
    console.say(
        f"备份截止 {at}；此后本方自行登记的内容（领券、本地核销、作废、到账、商户、限额等）无从取回，请逐项核对。\n"
        f"The copy ends at {at}. What this party alone recorded after that (claims, redemptions at home, "
        "cancellations, deposits, merchants, limits) nobody else has: go through it. "
        f"Commits lost: {report.lost_commits:,}"
    )
    if then:
        console.say(then)


def _show_lacking(lacking: Sequence[recovery_pb2.Lacking]) -> None:
    headings: list[console.Heading] = [
        ("缺少", "Lacking"),
        ("地区", "Region"),
        ("名称", "Name"),
        ("现有预算，元", "Budget, yuan"),
        ("至少须，元", "Needed, yuan"),
        ("凭据数", "Receipts"),
        ("补录命令", "Enter it by"),
    ]
    rows: list[tuple[console.Cell, ...]] = []
    for each in lacking:
        budget, needed = (console.yuan(fen) if each.fiscal_year else "" for fen in (each.budget_fen, each.needed_fen))
        name = f"{each.name} {each.fiscal_year}" if each.fiscal_year else each.name
        rows.append((_LACKING[each.kind], _named(each.region), name, budget, needed, each.receipts, each.remedy))
    console.console.print(
        console.table("凭据所依、账上缺少 · What receipts rely on and these books lack", headings, rows)
    )


def show_kept(
    report: recovery_pb2.RecoveryReport | None, incarnations: Iterable[int], as_json: bool, then: str = ""
) -> None:
    """A report as it was kept, and what other recoveries there were."""
    if report is not None:
        show_recovery(report, as_json, then)
    elif as_json:
        console.print_json(None)
    else:
        console.say("未曾恢复 · Nothing was ever recovered")
    others = [str(each) for each in incarnations if report is not None and each != report.incarnation]
    if others and not as_json:
        console.say(f"其他各次恢复 · Other recoveries, by incarnation: {', '.join(others)}")


def _regions(codes: Iterable[str]) -> str:
    return "、".join(map(_named, codes)) or "无 none"


def _named(code: str) -> str:
    try:
        return f"{code} {region(code).name}"
    except InvalidInput:
        return code


def _moment(at: int) -> str:
    return datetime.fromtimestamp(at, CHINA).strftime("%Y-%m-%d %H:%M:%S")


def _data(report: recovery_pb2.RecoveryReport) -> dict[str, Any]:
    disputed = [{"region": each.region, "id": each.id, "reason": each.reason} for each in report.disputed]
    lacking = [
        {"kind": _lacking_kind(each), **{name: getattr(each, name) for name in _LACKING_FIGURES}}
        for each in report.lacking
    ]
    return {**{name: getattr(report, name) for name in FIGURES}, "disputed": disputed, "lacking": lacking}


def _lacking_kind(each: recovery_pb2.Lacking) -> str:
    return recovery_pb2.LackingKind.Name(each.kind).removeprefix("LACKING_KIND_").lower().replace("_", "-")
