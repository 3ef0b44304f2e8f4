"""A campaign's report: the seven figures, groups, budgets against plan; in the terminal, as data, as a workbook."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from chassis import console
from pki import files
from quanlian.money import yuan
from reporting import names
from reporting.workbook import Cell, Column, Formula, Workbook

PPM = 1_000_000


class GroupFigures(Protocol):
    """Captures and refunds of one category, region or day (report.proto)."""

    name: str
    redeemed_count: int
    order_fen: int
    redeemed_fen: int
    refunded_fen: int


class BudgetFigures(Protocol):
    """A funder's plan and what became of it (report.proto)."""

    funder: str
    title_zh: str
    level: str
    planned_fen: int
    reserved_fen: int
    held_fen: int
    used_home_fen: int
    used_away_fen: int


class CampaignFigures(Protocol):
    """What a campaign brought (report.proto)."""

    campaign: str
    title_zh: str
    title_en: str
    issued_count: int
    issued_fen: int
    redeemed_count: int
    order_fen: int
    redeemed_fen: int
    refunded_fen: int
    merchants: int

    @property
    def by_category(self) -> Sequence[GroupFigures]: ...
    @property
    def by_region(self) -> Sequence[GroupFigures]: ...
    @property
    def by_day(self) -> Sequence[GroupFigures]: ...
    @property
    def funders(self) -> Sequence[BudgetFigures]: ...


GROUPS = (("by_category", "按品类", "By category"), ("by_region", "按地区", "By region"), ("by_day", "按日", "By day"))
MULTIPLIER_NOTE = (
    "直接带动比＝订单金额÷核销金额，不代表新增消费 · The direct multiplier is orders ÷ discounts; "
    "it does not claim additional spending"
)
_GROUP_COLUMNS = (
    Column("核销券数", "Redeemed", "count", summed=True),
    Column("订单金额（元）", "Orders, yuan", "yuan", summed=True),
    Column("核销金额（元）", "Discounts, yuan", "yuan", summed=True),
    Column("退款（元）", "Refunded (gross), yuan", "yuan", summed=True),
)
_BUDGET_COLUMNS = (
    Column("出资方", "Funder"),
    Column("层级", "Level"),
    Column("预算（元）", "Planned, yuan", "yuan", summed=True),
    Column("预留（元）", "Reserved, yuan", "yuan", summed=True),
    Column("占用（元）", "Held, yuan", "yuan", summed=True),
    Column("本地使用（元）", "Used at home, yuan", "yuan", summed=True),
    Column("异地使用（元）", "Used away, yuan", "yuan", summed=True),
    Column("使用合计（元）", "Used, yuan", "yuan", summed=True),
    Column("执行率", "Used of plan", "percent"),
)


def two_decimals(value: Fraction | None) -> str:
    """A ratio rounded half up: `12.35`; a dash for none."""
    if value is None:
        return "—"
    hundredths = (value.numerator * 200 + value.denominator) // (value.denominator * 2)
    return f"{hundredths // 100:,}.{hundredths % 100:02d}"


def rate_ppm(part: int, whole: int) -> int:
    return part * PPM // whole if whole else 0


def direct_multiplier(figures: CampaignFigures) -> Fraction | None:
    """直接带动比: order amount ÷ redeemed amount; None where nothing is redeemed (money.md, The seven figures of a
    campaign).
    """
    return Fraction(figures.order_fen, figures.redeemed_fen) if figures.redeemed_fen else None


def report_data(figures: CampaignFigures) -> dict[str, Any]:
    """For programs; amounts in fen, rates in parts per million."""
    multiplier = direct_multiplier(figures)
    names_of = ("issued_count", "issued_fen", "redeemed_count")
    group_names = ("name", "redeemed_count", "order_fen", "redeemed_fen", "refunded_fen")
    return {
        "campaign": figures.campaign,
        "title_zh": figures.title_zh,
        "title_en": figures.title_en,
        **{name: getattr(figures, name) for name in names_of},
        "redemption_rate_ppm": rate_ppm(figures.redeemed_count, figures.issued_count),
        "order_fen": figures.order_fen,
        "redeemed_fen": figures.redeemed_fen,
        "refunded_fen": figures.refunded_fen,
        "merchants": figures.merchants,
        "direct_multiplier": two_decimals(multiplier) if multiplier else None,
        **{
            group: [{name: getattr(each, name) for name in group_names} for each in getattr(figures, group)]
            for group, _, _ in GROUPS
        },
        "funders": [_budget_data(each) for each in figures.funders],
    }


def show_report(figures: CampaignFigures) -> None:
    """The report in the terminal."""
    console.say(f"{figures.title_zh} · {figures.title_en} ({figures.campaign})")
    seven: list[Sequence[console.Cell]] = [[zh, en, console.figure(value)] for zh, en, value in _seven(figures)]
    console.console.print(console.table("", [("指标", "Figure"), "", ("数值", "Value")], seven))
    console.say(MULTIPLIER_NOTE)
    for group, zh, en in GROUPS:
        headings: list[console.Heading] = [(zh, en), *((each.zh, each.en) for each in _GROUP_COLUMNS)]
        rows: list[Sequence[console.Cell]] = [
            [
                _group_name(group, each.name),
                each.redeemed_count,
                console.yuan(each.order_fen),
                console.yuan(each.redeemed_fen),
                console.yuan(each.refunded_fen),
            ]
            for each in getattr(figures, group)
        ]
        console.console.print(console.table("", headings, rows))
    headings = [(each.zh, each.en) for each in _BUDGET_COLUMNS]
    budgets: list[Sequence[console.Cell]] = [
        [
            each.funder,
            each.level,
            console.yuan(each.planned_fen),
            console.yuan(each.reserved_fen),
            console.yuan(each.held_fen),
            console.yuan(each.used_home_fen),
            console.yuan(each.used_away_fen),
            console.yuan(_used(each)),
            console.figure(_percent(rate_ppm(_used(each), each.planned_fen))),
        ]
        for each in figures.funders
    ]
    console.console.print(console.table("预算执行 Budgets", headings, budgets))


def write_report(path: Path, figures: CampaignFigures) -> None:
    """A workbook, whole or not at all. Raises ConfigurationError where it cannot be written."""
    files.write_atomically(path, report_workbook(figures))


def report_workbook(figures: CampaignFigures) -> bytes:
    title = f"{figures.title_zh} {figures.title_en}"
    book = Workbook(title)
    summary = book.sheet("指标 Figures", title)
    summary.fact("活动编号", "Campaign", figures.campaign)
    for zh, en, value in _seven(figures):
        summary.fact(zh, en, value)
    summary.fact("说明", "Note", MULTIPLIER_NOTE)
    summary.signatures()
    summary.fit()
    for group, zh, en in GROUPS:
        sheet = book.sheet(f"{zh} {en}", f"{title} · {zh} {en}")
        columns = [Column(zh, en), *_GROUP_COLUMNS]
        sheet.table(columns, [_group_row(group, each) for each in getattr(figures, group)])
        sheet.fit()
    budgets = book.sheet("预算执行 Budgets", f"{title} · 预算执行 Budgets")
    budgets.table(_BUDGET_COLUMNS, [_budget_row(each) for each in figures.funders])
    budgets.fit()
    return book.content()


def _seven(figures: CampaignFigures) -> list[tuple[str, str, str]]:
    return [
        ("发放券数", "Issued", f"{figures.issued_count:,}"),
        ("核销券数", "Redeemed", f"{figures.redeemed_count:,}"),
        ("核销率", "Redemption rate", _percent(rate_ppm(figures.redeemed_count, figures.issued_count))),
        ("订单金额（元）", "Orders, yuan", yuan(figures.order_fen)),
        ("核销金额（元）", "Discounts, yuan", yuan(figures.redeemed_fen)),
        ("退款（元）", "Refunded (gross), yuan", yuan(figures.refunded_fen)),
        ("商户数", "Merchants", f"{figures.merchants:,}"),
        ("直接带动比", "Direct multiplier", two_decimals(direct_multiplier(figures))),
    ]


def _group_row(group: str, each: GroupFigures) -> list[Cell]:
    name = _group_name(group, each.name)
    return [name, each.redeemed_count, each.order_fen, each.redeemed_fen, each.refunded_fen]


def _group_name(group: str, name: str) -> str:
    return f"{names.region_zh(name)} {name}" if group == "by_region" else name


def _budget_row(each: BudgetFigures) -> list[Cell]:
    used, planned = _used(each), each.planned_fen
    return [
        f"{each.funder} {each.title_zh}".strip(),
        each.level,
        planned,
        each.reserved_fen,
        each.held_fen,
        each.used_home_fen,
        each.used_away_fen,
        Formula("=F{row}+G{row}", used),
        Formula("=IF(C{row}=0,0,H{row}/C{row})", rate_ppm(used, planned)),
    ]


def _budget_data(each: BudgetFigures) -> dict[str, Any]:
    fields = ("planned_fen", "reserved_fen", "held_fen", "used_home_fen", "used_away_fen")
    amounts = {name: getattr(each, name) for name in fields}
    used = {"used_fen": _used(each), "used_ppm": rate_ppm(_used(each), each.planned_fen)}
    return {"funder": each.funder, "title_zh": each.title_zh, "level": each.level, **amounts, **used}


def _used(each: BudgetFigures) -> int:
    return each.used_home_fen + each.used_away_fen


def _percent(ppm: int) -> str:
    """Cut to two decimals."""
    return f"{ppm // 10_000}.{ppm % 10_000 // 100:02d}%"
