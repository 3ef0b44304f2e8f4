"""Step 6: figures and checks, from the databases alone; on the screen and as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chassis import console
from quanlian.refusals import RefusalReason
from simulations.auditor import Check
from simulations.demo.setting import REGIONS
from simulations.demo.stage import step
from simulations.figures import Figures, percent, two_decimals

_NAMES = {region.code: f"{region.name_zh} {region.name_en}" for region in REGIONS}


def show(figures: Figures, refusals: Mapping[str, int], checks: Sequence[Check]) -> None:
    """Tables for a person: campaigns, regions, refusals, checks."""
    step(6, "汇总与核对", "Summary and checks")
    out = console.console
    out.print(_campaigns(figures))
    out.print(_regions(figures))
    out.print(_refusals(refusals))
    out.print(_checks(checks))
    for check in checks:
        for finding in check.findings[:5]:
            out.print(f"    [red]{check.name}[/red]: {finding}")


def as_data(figures: Figures, refusals: Mapping[str, int], checks: Sequence[Check]) -> dict[str, Any]:
    """What `--json` writes; the same seed gives the same."""
    return {
        "regions": {code: region._asdict() for code, region in figures.regions.items()},
        "campaigns": {name: campaign._asdict() for name, campaign in figures.campaigns.items()},
        "refusals": dict(sorted(refusals.items())),
        "checks": {check.name: check.holds for check in checks},
        "net_sum_fen": figures.net_sum_fen,
    }


def _campaigns(figures: Figures) -> Any:
    headings: list[console.Heading] = [
        ("活动", "Campaign"),
        ("发放张数", "Issued"),
        ("核销张数", "Redeemed"),
        ("核销率", "Rate"),
        ("订单金额", "Orders, yuan"),
        ("核销金额", "Discounts, yuan"),
        ("退款金额", "Refunded, yuan"),
        ("商户数", "Merchants"),
        ("直接带动比", "Direct multiplier"),
    ]
    rows = []
    for name, each in figures.campaigns.items():
        rows.append(
            (
                "\n".join(figures.titles[name]),
                each.issued_count,
                each.redeemed_count,
                console.figure(percent(each.rate_ppm)),
                console.yuan(each.order_fen),
                console.yuan(each.redeemed_fen),
                console.yuan(each.refunded_fen),
                each.merchants,
                console.figure(two_decimals(each.direct_multiplier)),
            )
        )
    return console.table("各活动 · Campaigns (net of refunds)", headings, rows)


def _regions(figures: Figures) -> Any:
    headings: list[console.Heading] = [
        ("地区", "Region"),
        ("发放（最高）", "Issued at most, yuan"),
        ("本地核销", "Redeemed at home"),
        ("在异地核销", "Redeemed away"),
        ("受理外地券", "Accepted for others"),
        ("净额（正为应收）", "Net (+ receives)"),
    ]
    rows = [
        (
            f"{code} {_NAMES.get(code, '')}",
            console.yuan(each.issued_fen),
            console.yuan(each.redeemed_home_fen),
            console.yuan(each.redeemed_away_fen),
            console.yuan(each.accepted_for_others_fen),
            console.yuan(each.net_fen),
        )
        for code, each in figures.regions.items()
    ]
    return console.table("各地区 · Regions (yuan, net of refunds)", headings, rows)


def _refusals(refusals: Mapping[str, int]) -> Any:
    headings: list[console.Heading] = [("原因", "Reason"), "", ("次数", "Count")]
    rows = [(name, RefusalReason[name].summary_zh, count) for name, count in sorted(refusals.items())]
    return console.table("拒绝 · Refusals", headings, rows)


def _checks(checks: Sequence[Check]) -> Any:
    headings: list[console.Heading] = [("核对", "Check"), "", ("检查数", "Examined"), ("结果", "Result")]
    rows = [
        (check.title_zh, check.title_en, check.examined, "✓ 成立 holds" if check.holds else "✗ 不成立 FAILS")
        for check in checks
    ]
    return console.table("独立核对 · Checks, by SQL and arithmetic of their own", headings, rows)
