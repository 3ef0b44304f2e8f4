"""The demonstration's report: one HTML page that opens without a network and prints on A4."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.io import to_html
from plotly.offline import get_plotlyjs

from quanlian.errors import ConfigurationError, InvalidInput
from quanlian.money import yuan
from quanlian.refusals import CHINA, RefusalReason
from quanlian.regions import region
from simulations.auditor import Check
from simulations.figures import Figures, Flow, Funding, percent, two_decimals

CHART_WIDTH = 680
"""Pixels of an A4 page between its margins."""

CALM = ("#2f5d8a", "#5b9279", "#c08a3e", "#8c6bb1", "#b0574f", "#4a9aa8", "#7d8597", "#a3b18a", "#d4a5a5", "#33415c")
FONT = '"Noto Sans CJK SC", "Source Han Sans SC", "Microsoft YaHei", "PingFang SC", sans-serif'
FUNDERS = {
    "central": "中央",
    "province": "省级",
    "city": "市级",
    "county": "区县",
    "district": "区级",
    "alipay": "支付宝",
    "merchant": "商户",
}
REASONS = {
    "NOT_YET_VALID": "券尚未到使用时间",
    "EXPIRED": "券已过期",
    "BELOW_MINIMUM_SPEND": "未达最低消费",
    "NO_MATCHING_TIER": "发票金额不在补贴档次内",
    "LEVERAGE_TOO_LOW": "券的杠杆比低于本地要求",
    "AMOUNT_MISMATCH": "双方计算的抵扣额不一致",
    "HOLD_EXPIRED": "占用已过期",
    "AMOUNT_EXCEEDS_HOLD": "金额超过占用",
    "REFUND_EXCEEDS_CAPTURE": "退款超过可退金额",
    "ROUND_NOT_OPEN": "不在发放时间内",
}
"""Reasons whose own text speaks of figures, which a count has none of."""


class Fact(NamedTuple):
    """A line under the title: what, in Chinese and English, and its value."""

    label_zh: str
    label_en: str
    value: str


@dataclass(frozen=True, slots=True)
class ReportContent:
    """What the page shows. `made_at` carries its zone; `refusals` are counts by reason."""

    title_zh: str
    title_en: str
    made_at: datetime
    seed: int
    figures: Figures
    checks: Sequence[Check]
    refusals: Mapping[str, int]
    facts: Sequence[Fact] = field(default_factory=tuple)


def write_report(path: Path, content: ReportContent) -> None:
    """Write the page, whole or not at all. Raises ConfigurationError where it cannot be written."""
    page = render(content)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(page)
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error


def require_writable(path: Path) -> None:
    """Raises ConfigurationError for a file that could not be written, before the work for it is done."""
    if path.is_dir():
        raise _unwritable(path, "it is a directory")
    if not path.parent.is_dir():
        raise _unwritable(path, "its directory does not exist")
    if not os.access(path.parent, os.W_OK):
        raise _unwritable(path, "its directory does not let you write")


def render(content: ReportContent) -> str:
    """The page as text."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(yuan=yuan, ratio=two_decimals, percent=percent)
    environment.filters.update(region_zh=region_zh, region_en=region_en, reason_zh=reason_zh)
    source = resources.files("simulations.demo").joinpath("report.html.j2").read_text(encoding="utf-8")
    figures = content.figures
    return environment.from_string(source).render(
        content=content,
        figures=figures,
        made_at=content.made_at.astimezone(CHINA).strftime("%Y-%m-%d %H:%M"),
        issuers=sorted({flow.issuer for flow in figures.flows}),
        redeemers=sorted({flow.redeemer for flow in figures.flows}),
        flow_fen={(flow.issuer, flow.redeemer): flow.fen for flow in figures.flows},
        all_hold=all(check.holds for check in content.checks),
        plotly=Markup(get_plotlyjs()),
        flows_chart=_chart(flows_figure(figures.flows)),
        funding_chart=_chart(funding_figure(figures.funding)),
    )


def region_zh(code: str) -> str:
    """The region's Chinese name, a county's with its city; its code where the table lacks it."""
    try:
        found = region(code)
    except InvalidInput:
        return code
    return found.name if code.endswith("00") else f"{region_zh(found.parent)}{found.name}"


def region_en(code: str) -> str:
    try:
        return region(code).name_en or code
    except InvalidInput:
        return code


def reason_zh(reason: str) -> str:
    """What a reason means in Chinese, or its name where the list lacks it."""
    known = RefusalReason.__members__.get(reason)
    return REASONS.get(reason) or (known.summary_zh if known else reason)


def flows_figure(flows: Iterable[Flow]) -> go.Figure:
    """Issuing regions to the left, redeeming regions to the right; bands in the issuer's colour."""
    shown = [flow for flow in flows if flow.fen > 0]
    issuers = sorted({flow.issuer for flow in shown})
    redeemers = sorted({flow.redeemer for flow in shown})
    colours = {code: CALM[n % len(CALM)] for n, code in enumerate(sorted({*issuers, *redeemers}))}
    given = [sum(flow.fen for flow in shown if flow.issuer == code) for code in issuers]
    taken = [sum(flow.fen for flow in shown if flow.redeemer == code) for code in redeemers]
    labels = [_node_label(code, fen) for code, fen in [*zip(issuers, given), *zip(redeemers, taken)]]  # noqa: B905
    sankey = go.Sankey(
        arrangement="fixed",
        node={
            "label": labels,
            "color": [colours[code] for code in (*issuers, *redeemers)],
            "x": [0.001] * len(issuers) + [0.999] * len(redeemers),
            "y": _heights(given) + _heights(taken),
            "pad": 22,
            "thickness": 14,
            "line": {"width": 0},
            "hovertemplate": "%{label}<extra></extra>",
        },
        link={
            "source": [issuers.index(flow.issuer) for flow in shown],
            "target": [len(issuers) + redeemers.index(flow.redeemer) for flow in shown],
            "value": [flow.fen for flow in shown],
            "color": [_translucent(colours[flow.issuer]) for flow in shown],
            "customdata": [yuan(flow.fen) for flow in shown],
            "hovertemplate": "%{source.label} → %{target.label}<br>%{customdata} 元 yuan<extra></extra>",
        },
        textfont={"size": 12, "color": "#22303c"},
    )
    return go.Figure(sankey, _layout(height=max(280, 58 * max(len(issuers), len(redeemers), 1))))


def funding_figure(funding: Iterable[Funding]) -> go.Figure:
    """One bar a region, stacked by funder, in yuan."""
    by_funder: dict[str, dict[str, int]] = defaultdict(dict)
    for each in funding:
        by_funder[each.funder][each.region] = each.fen
    regions = sorted({code for paid in by_funder.values() for code in paid})
    bars = [
        go.Bar(
            name=funder_label(funder),
            y=[f"{region_zh(code)}<br>{region_en(code)}" for code in regions],
            x=[paid.get(code, 0) / 100 for code in regions],
            customdata=[yuan(paid.get(code, 0)) for code in regions],
            hovertemplate="%{y}<br>%{customdata} 元 yuan",
            orientation="h",
            marker={"color": CALM[n % len(CALM)], "line": {"width": 0}},
        )
        for n, (funder, paid) in enumerate(sorted(by_funder.items(), key=_largest_first))
    ]
    layout = _layout(height=130 + 52 * max(len(regions), 1))
    layout.update(barmode="stack", bargap=0.35, margin={"l": 120, "r": 20, "t": 10, "b": 110})
    layout["legend"] = {
        "orientation": "h",
        "yref": "container",
        "y": 0.01,
        "yanchor": "bottom",
        "x": 0,
        "entrywidth": 150,
    }
    layout.update(
        xaxis={"title": {"text": "元 · yuan", "font": {"size": 11}}, "gridcolor": "#e3e8ec", "tickformat": ",.0f"},
        yaxis={"autorange": "reversed"},
    )
    return go.Figure(bars, layout)


def funder_label(funder: str) -> str:
    """A funder's name in both languages, where it is one we know."""
    visitors, _, name = funder.rpartition("/")
    known = FUNDERS.get(name)
    if visitors:
        return f"异地用券·{known or name} visitors/{name}"
    return f"{known} {name}" if known else name


def _largest_first(item: tuple[str, dict[str, int]]) -> tuple[int, str]:
    return -sum(item[1].values()), item[0]


def _node_label(code: str, fen: int) -> str:
    return f"{region_zh(code)} {region_en(code)}  {yuan(fen)}"


def _heights(sums: Sequence[int]) -> list[float]:
    """Centres of nodes stacked in order, in the share of the height that their sums take."""
    whole, above, centres = sum(sums) or 1, 0, []
    for fen in sums:
        centres.append(min(0.999, max(0.001, (above + fen / 2) / whole)))
        above += fen
    return centres


def _translucent(colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.32)"


def _layout(height: int) -> dict[str, Any]:
    return {
        "width": CHART_WIDTH,
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 14, "b": 14},
        "font": {"family": FONT, "size": 12, "color": "#22303c"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
    }


def _chart(figure: go.Figure) -> Markup:
    config = {"displayModeBar": False, "displaylogo": False, "staticPlot": False}
    return Markup(to_html(figure, config=config, include_plotlyjs=False, full_html=False))


def _unwritable(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"cannot be written ({why})", place=str(path), remedy="name a file in a directory you may write to"
    )
