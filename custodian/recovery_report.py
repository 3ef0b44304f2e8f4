"""What an operator reads after a recovery, the same at node and clearinghouse."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from chassis import console
from quanlian.refusals import CHINA
from quanlian.v1 import recovery_pb2

FIGURES = (
    "incarnation",
    "lost_commits",
    "last_commit_at",
    "hand_overs",
    "vouchers",
    "answers",
    "receipts",
    "suspensions",
    "changes",
    "feed_events",
)


def show_recovery(report: recovery_pb2.RecoveryReport, as_json: bool) -> None:
    """Say what was learned again, what is disputed, and what nobody else can know."""
    if as_json:
        console.print_json(_data(report))
        return
    console.say(f"已恢复，重新受理 · Recovered and serving again (incarnation {report.incarnation})")
    rows: list[tuple[console.Cell, ...]] = [
        ("移交 Hand-overs", report.hand_overs),
        ("券的托管 Vouchers whose custody was learned", report.vouchers),
        ("答复 Answers", report.answers),
        ("平台回执 Receipts of platforms", report.receipts),
        ("暂停与恢复 Suspensions and reactivations", report.suspensions),
        ("本地活动变更 Changes of own campaigns", report.changes),
        ("待收通知 Feed events to come", report.feed_events),
        ("有争议 Disputed", len(report.disputed)),
    ]
    console.console.print(console.table("取回的记录 · Learned again", [("项目", "What"), ("数量", "Count")], rows))
    if report.disputed:
        headings: list[console.Heading] = [("地区", "Region"), ("编号", "Id"), ("原因", "Reason")]
        disputed = [(each.region, each.id, each.reason) for each in report.disputed]
        console.console.print(console.table("有争议 · Disputed", headings, disputed))
    at = datetime.fromtimestamp(report.last_commit_at, CHINA).strftime("%Y-%m-%d %H:%M:%S")
    console.say(
        f"备份截止 {at}；此后本方自行登记的内容（领券、本地核销、到账、限额等）无从取回，请逐项核对。\n"
        f"The copy ends at {at}. What this party alone recorded after that (claims, redemptions at home, deposits, "
        f"limits) nobody else has: go through it. Commits lost: {report.lost_commits:,}"
    )


def _data(report: recovery_pb2.RecoveryReport) -> dict[str, Any]:
    disputed = [{"region": each.region, "id": each.id, "reason": each.reason} for each in report.disputed]
    return {**{name: getattr(report, name) for name in FIGURES}, "disputed": disputed}
