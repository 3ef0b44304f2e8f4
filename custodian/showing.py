"""What the operators of both parties are shown alike: suspensions, limit warnings, running totals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

import typer

from chassis import console
from custodian.stats import FIGURES
from quanlian.refusals import CHINA
from quanlian.suspensions import SuspensionKind
from quanlian.v1 import limit_pb2, stats_pb2
from quanlian.v1.suspension_pb2 import Suspension, SuspensionRecord
from quanlian.v1.undecided_pb2 import UndecidedRequest

PPM = 1_000_000
By = Literal["campaign", "regions", "category", "day", "hour"]
_BY: dict[str, stats_pb2.StatsBy.ValueType] = {
    "campaign": stats_pb2.STATS_BY_CAMPAIGN,
    "regions": stats_pb2.STATS_BY_REGIONS,
    "category": stats_pb2.STATS_BY_CATEGORY,
    "day": stats_pb2.STATS_BY_DAY,
    "hour": stats_pb2.STATS_BY_HOUR,
}
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="原因，存档备查 · The reason, kept for the audit.")]
History = Annotated[bool, typer.Option("--history", help="含已恢复的 · Also what was reactivated.")]
StatsBy = Annotated[By, typer.Option("--by", help="汇总口径 · What to add up by; regions: issuing and redeeming.")]
Campaign = Annotated[str, typer.Option("--campaign", metavar="CAMPAIGN", help="只看此活动 · This campaign only.")]
Region = Annotated[
    str, typer.Option("--region", metavar="REGION", help="只看此地区发券或核销的 · Issued or redeemed there only.")
]
Category = Annotated[str, typer.Option("--category", metavar="NAME", help="只看此类别 · This category only.")]
Day = Annotated[
    datetime | None,
    typer.Option("--day", formats=["%Y-%m-%d"], help="只看此日（北京时间） · This day only, Asia/Shanghai."),
]

# Suspensions

_KINDS_ZH = {
    SuspensionKind.REGION: "地区",
    SuspensionKind.CAMPAIGN: "活动",
    SuspensionKind.KEY: "签名密钥",
    SuspensionKind.MERCHANT: "商户",
    SuspensionKind.VOUCHER: "券",
}


def suspension_data(suspension: Suspension) -> dict[str, Any]:
    return {
        "authority": suspension.authority,
        "number": suspension.number,
        "kind": SuspensionKind(suspension.kind).name.lower(),
        "subject": suspension.subject,
        "suspended": suspension.suspended,
        "at": _beijing(suspension.at).isoformat(),
        "by": suspension.by,
        "why": suspension.why,
        "bad_from": _beijing(suspension.bad_from).isoformat() if suspension.bad_from else None,
    }


def say_suspension(suspension: Suspension) -> None:
    """That it was done, to what, in both languages."""
    kind = SuspensionKind(suspension.kind)
    done_zh, done_en = ("已暂停", "suspended") if suspension.suspended else ("已恢复", "reactivated")
    console.say(f"{done_zh}{_KINDS_ZH[kind]} · {kind.name.capitalize()} {done_en}: {suspension.subject}")


def show_suspensions(records: Iterable[SuspensionRecord], as_json: bool) -> None:
    """A table or JSON of what is suspended, by whom, since when and why."""
    records = list(records)
    if as_json:
        console.print_json([suspension_data(each.suspension) | {"in_force": each.in_force} for each in records])
        return
    if not records:
        console.say("没有暂停 · Nothing is suspended")
        return
    rows = [
        [
            f"{_KINDS_ZH[SuspensionKind(each.suspension.kind)]} {SuspensionKind(each.suspension.kind).name.lower()}",
            each.suspension.subject,
            "暂停 suspended" if each.suspension.suspended else "恢复 reactivated",
            console.yes_no(each.in_force),
            _shown(each.suspension.at),
            each.suspension.by,
            each.suspension.why,
        ]
        for each in records
    ]
    headings: list[console.Heading] = [
        ("种类", "Kind"),
        ("对象", "Subject"),
        ("决定", "Decision"),
        ("有效", "In force"),
        ("时间", "When"),
        ("经办", "By"),
        ("原因", "Why"),
    ]
    console.console.print(console.table("", headings, rows))


# Limit warnings

_MEASURES = {
    limit_pb2.LIMIT_MEASURE_NET_DEBIT: ("net_debit", "净借记限额 net debit"),
    limit_pb2.LIMIT_MEASURE_CREDIT_LINE: ("credit_line", "信用额度 credit line"),
}


def warnings_data(warnings: Iterable[limit_pb2.LimitWarning]) -> list[dict[str, Any]]:
    return [
        {
            "region": each.region,
            "number": each.number,
            "measure": _MEASURES[each.measure][0],
            "percent": each.percent,
            "used_fen": each.used_fen,
            "limit_fen": each.limit_fen,
            "at": _beijing(each.at).isoformat(),
        }
        for each in warnings
    ]


def show_warnings(warnings: Sequence[limit_pb2.LimitWarning]) -> None:
    """A table of the latest warnings, where there is any."""
    if not warnings:
        return
    headings: list[console.Heading] = [
        ("时间", "When"),
        ("地区", "Region"),
        ("限额", "Limit"),
        ("达到", "Reached"),
        ("已用（元）", "Used, yuan"),
        ("限额（元）", "Limit, yuan"),
    ]
    rows = [
        (
            _shown(each.at),
            each.region,
            _MEASURES[each.measure][1],
            console.figure(f"{each.percent} %"),
            console.yuan(each.used_fen),
            console.yuan(each.limit_fen),
        )
        for each in warnings
    ]
    console.console.print(console.table("限额预警 · Limit warnings", headings, rows))


# Requests left undecided


def undecided_data(requests: Iterable[UndecidedRequest]) -> list[dict[str, Any]]:
    return [
        {
            "sender": each.sender,
            "request_id": each.request_id.hex(),
            "since": _beijing(each.since).isoformat(),
            "fault": each.fault,
        }
        for each in requests
    ]


def show_undecided(requests: Sequence[UndecidedRequest]) -> None:
    """A table of them, where there is any."""
    if not requests:
        return
    headings: list[console.Heading] = [("自", "Since"), ("来自", "Sent by"), ("请求号", "Request"), ("故障", "Fault")]
    rows = [(_shown(each.since), each.sender, each.request_id.hex(), each.fault) for each in requests]
    console.console.print(
        console.table("本方故障致未能办理的请求 · Requests that a fault here left undecided", headings, rows)
    )
    console.say("故障排除后随重发办理 · Decided when they are sent again, once the fault is mended: see the log")


# Running totals


def stats_query(by: By, campaign: str, region: str, category: str, day: datetime | None) -> stats_pb2.StatsQuery:
    """`day` is a day of Asia/Shanghai, from 0:00 to 24:00."""
    query = stats_pb2.StatsQuery(by=_BY[by], campaign=campaign, region=region, category=category)
    if day is not None:
        query.from_at = _midnight(day.date())
        query.to_at = _midnight(day.date() + timedelta(days=1))
    return query


def show_stats(by: By, rows: Sequence[stats_pb2.StatsRow], as_json: bool) -> None:
    """A table or JSON of the sums, their total last; the multiplier is order ÷ discount, net of refunds."""
    total = stats_pb2.StatsRow(**{name: sum(getattr(row, name) for row in rows) for name in FIGURES})
    if as_json:
        data = [_keys(by, row) | _figures(row) for row in rows]
        console.print_json({"by": by, "rows": data, "total": _figures(total)})
        return
    headings: list[console.Heading] = [
        *_KEY_HEADINGS[by],
        ("核销笔数", "Captures"),
        ("订单金额（元）", "Orders, yuan"),
        ("优惠金额（元）", "Discounts, yuan"),
        ("退款笔数", "Refunds"),
        ("退货金额（元）", "Returned orders, yuan"),
        ("退回优惠（元）", "Returned, yuan"),
        ("直接带动比", "Multiplier"),
    ]
    cells: list[list[console.Cell]] = [[*map(str, _keys(by, row).values()), *_cells(row)] for row in rows]
    cells.append(["合计 Total", *[""] * (len(_KEY_HEADINGS[by]) - 1), *_cells(total)])
    console.console.print(console.table("", headings, cells))


_KEY_HEADINGS: dict[str, list[console.Heading]] = {
    "campaign": [("活动", "Campaign"), ("发券地", "Issuer")],
    "regions": [("发券地", "Issuer"), ("核销地", "Redeemed in")],
    "category": [("类别", "Category")],
    "day": [("日期", "Day")],
    "hour": [("起始时间", "Hour from")],
}


def _keys(by: By, row: stats_pb2.StatsRow) -> dict[str, Any]:
    match by:
        case "campaign":
            return {"campaign": row.campaign, "issuer": row.issuer}
        case "regions":
            return {"issuer": row.issuer, "redeeming_region": row.redeeming_region}
        case "category":
            return {"category": row.category}
        case "day":
            return {"day": _beijing(row.from_at).date().isoformat()}
        case "hour":
            return {"hour": _beijing(row.from_at).isoformat()}


def _figures(row: stats_pb2.StatsRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FIGURES} | {"multiplier_ppm": multiplier_ppm(row)}


def _cells(row: stats_pb2.StatsRow) -> list[console.Cell]:
    ppm = multiplier_ppm(row)
    return [
        row.captures,
        console.yuan(row.order_fen),
        console.yuan(row.discount_fen),
        row.refunds,
        console.yuan(row.refunded_order_fen),
        console.yuan(row.refunded_fen),
        console.figure("—" if ppm is None else f"{ppm // PPM:,}.{ppm % PPM // 10_000:02d}"),
    ]


def multiplier_ppm(row: stats_pb2.StatsRow) -> int | None:
    """直接带动比 in millionths, rounded down: orders ÷ discounts, both net of refunds; None without a discount."""
    discount_fen = row.discount_fen - row.refunded_fen
    return (row.order_fen - row.refunded_order_fen) * PPM // discount_fen if discount_fen > 0 else None


# Time


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=CHINA).timestamp())


def _beijing(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC).astimezone(CHINA)


def _shown(at: int) -> str:
    return _beijing(at).strftime("%Y-%m-%d %H:%M:%S")
