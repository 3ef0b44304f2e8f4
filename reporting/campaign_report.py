"""A campaign's report: the seven figures, groups, budgets against plan; in the terminal, as data, as a workbook."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from chassis import console
from pki import files
from reporting import names
from reporting.workbook import UNKNOWN, Cell, Column, Formula, Kind, Workbook, shown

PPM = 1_000_000
_PPM_SHOWN = 100
"""A hundredth of a percent."""


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

    def HasField(self, field_name: Any) -> bool:  # noqa: N802
        """Whether `used_home_fen` is known here."""


class AdvanceFigures(Protocol):
    """What one funder owes another for advanced legs (report.proto)."""

    debtor: str
    debtor_title_zh: str
    advancer: str
    advancer_title_zh: str
    home_fen: int
    away_fen: int

    def HasField(self, field_name: Any) -> bool:  # noqa: N802
        """Whether `home_fen` is known here."""


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

    def HasField(self, field_name: Any) -> bool:  # noqa: N802
        """Whether `issued_count` and `issued_fen` are known here: to the issuer, not to the clearinghouse."""

    @property
    def by_category(self) -> Sequence[GroupFigures]: ...
    @property
    def by_region(self) -> Sequence[GroupFigures]: ...
    @property
    def by_day(self) -> Sequence[GroupFigures]: ...
    @property
    def funders(self) -> Sequence[BudgetFigures]: ...
    @property
    def advances(self) -> Sequence[AdvanceFigures]: ...


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

_ADVANCE_COLUMNS = (
    Column("欠款方", "Debtor"),
    Column("垫付方", "Advanced by"),
    Column("本地使用（元）", "Used at home, yuan", "yuan", summed=True),
    Column("异地使用（元）", "Used away, yuan", "yuan", summed=True),
    Column("应还垫付（元）", "Owed, yuan", "yuan", summed=True),
)


class Figure(NamedTuple):
    """One of the seven figures; `value` is in the unit of its kind, None where it is not known here."""

    zh: str
    en: str
    kind: Kind
    value: int | None

    @property
    def text(self) -> str:
        return UNKNOWN if self.value is None else shown(self.value, self.kind)


def rate_ppm(part: int, whole: int) -> int:
    return part * PPM // whole if whole else 0


def _cut(ppm: int | None) -> int | None:
    """To hundredths of a percent, as people see it."""
    return None if ppm is None else ppm // _PPM_SHOWN * _PPM_SHOWN


def direct_multiplier(figures: CampaignFigures) -> int | None:
    """直接带动比: order amount ÷ redeemed amount in hundredths, rounded down as in the stats; None where nothing is
    redeemed (money.md, The seven figures of a campaign).
    """
    return figures.order_fen * 100 // figures.redeemed_fen if figures.redeemed_fen else None


def report_data(figures: CampaignFigures) -> dict[str, Any]:
    """For programs; amounts in fen, rates in parts per million."""
    multiplier = direct_multiplier(figures)
    issued = {name: _known(figures, name) for name in ("issued_count", "issued_fen")}
    group_names = ("name", "redeemed_count", "order_fen", "redeemed_fen", "refunded_fen")
    return {
        "campaign": figures.campaign,
        "title_zh": figures.title_zh,
        "title_en": figures.title_en,
        **issued,
        "redeemed_count": figures.redeemed_count,
        "redemption_rate_ppm": _redemption_rate_ppm(figures),
        "order_fen": figures.order_fen,
        "redeemed_fen": figures.redeemed_fen,
        "refunded_fen": figures.refunded_fen,
        "merchants": figures.merchants,
        "direct_multiplier": None if multiplier is None else shown(multiplier, "ratio"),
        **{
            group: [{name: getattr(each, name) for name in group_names} for each in getattr(figures, group)]
            for group, _, _ in GROUPS
        },
        "funders": [_budget_data(each) for each in figures.funders],
        "advances": [_advance_data(each) for each in figures.advances],
    }


def show_report(figures: CampaignFigures) -> None:
    """The report in the terminal."""
    console.say(f"{figures.title_zh} · {figures.title_en} ({figures.campaign})")
    seven: list[Sequence[console.Cell]] = [[each.zh, each.en, console.figure(each.text)] for each in _seven(figures)]
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
            _funder(each),
            names.level(each.level),
            console.yuan(each.planned_fen),
            console.yuan(each.reserved_fen),
            console.yuan(each.held_fen),
            _yuan(_known(each, "used_home_fen")),
            console.yuan(each.used_away_fen),
            _yuan(_used(each)),
            console.figure(Figure("", "", "percent", _cut(_used_ppm(each))).text),
        ]
        for each in figures.funders
    ]
    console.console.print(console.table("预算执行 Budgets", headings, budgets))
    if figures.advances:
        _show_advances(figures)


def _show_advances(figures: CampaignFigures) -> None:
    headings: list[console.Heading] = [(each.zh, each.en) for each in _ADVANCE_COLUMNS]
    rows: list[Sequence[console.Cell]] = [
        [
            *_pair(each),
            _yuan(_known(each, "home_fen")),
            console.yuan(each.away_fen),
            _yuan(_owed(each)),
        ]
        for each in figures.advances
    ]
    console.console.print(console.table("应还垫付 Advances owed", headings, rows))


def write_report(path: Path, figures: CampaignFigures) -> None:
    """A workbook, whole or not at all. Raises ConfigurationError where it cannot be written."""
    files.write_atomically(path, report_workbook(figures))


def report_workbook(figures: CampaignFigures) -> bytes:
    title = f"{figures.title_zh} {figures.title_en}"
    book = Workbook(title)
    summary = book.sheet("指标 Figures", title)
    summary.fact("活动编号", "Campaign", figures.campaign)
    for each in _seven(figures):
        summary.figure(each.zh, each.en, each.value, each.kind)
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
    if figures.advances:
        advances = book.sheet("应还垫付 Advances owed", f"{title} · 应还垫付 Advances owed")
        advances.table(_ADVANCE_COLUMNS, [_advance_row(each) for each in figures.advances])
        advances.fit()
    return book.content()


def _seven(figures: CampaignFigures) -> list[Figure]:
    return [
        Figure("发放券数", "Issued", "count", _known(figures, "issued_count")),
        Figure("核销券数", "Redeemed", "count", figures.redeemed_count),
        Figure("核销率", "Redemption rate", "percent", _cut(_redemption_rate_ppm(figures))),
        Figure("订单金额（元）", "Orders, yuan", "yuan", figures.order_fen),
        Figure("核销金额（元）", "Discounts, yuan", "yuan", figures.redeemed_fen),
        Figure("退款（元）", "Refunded (gross), yuan", "yuan", figures.refunded_fen),
        Figure("商户数", "Merchants", "count", figures.merchants),
        Figure("直接带动比", "Direct multiplier", "ratio", direct_multiplier(figures)),
    ]


def _redemption_rate_ppm(figures: CampaignFigures) -> int | None:
    issued = _known(figures, "issued_count")
    return None if issued is None else rate_ppm(figures.redeemed_count, issued)


def _known(figures: CampaignFigures | BudgetFigures | AdvanceFigures, name: str) -> int | None:
    return getattr(figures, name) if figures.HasField(name) else None


def _yuan(fen: int | None) -> console.Cell:
    return console.figure(UNKNOWN) if fen is None else console.yuan(fen)


def _group_row(group: str, each: GroupFigures) -> list[Cell]:
    name = _group_name(group, each.name)
    return [name, each.redeemed_count, each.order_fen, each.redeemed_fen, each.refunded_fen]


def _group_name(group: str, name: str) -> str:
    if group == "by_category":
        return names.category(name)
    return f"{names.region_zh(name)} {name}" if group == "by_region" else name


def _budget_row(each: BudgetFigures) -> list[Cell]:
    used, used_ppm = _used(each), _cut(_used_ppm(each))
    home = _known(each, "used_home_fen")
    return [
        _funder(each),
        names.level(each.level),
        each.planned_fen,
        each.reserved_fen,
        each.held_fen,
        UNKNOWN if home is None else home,
        each.used_away_fen,
        UNKNOWN if used is None else Formula("=F{row}+G{row}", used),
        UNKNOWN if used_ppm is None else Formula("=IF(C{row}=0,0,ROUNDDOWN(H{row}/C{row},4))", used_ppm),
    ]


def _advance_row(each: AdvanceFigures) -> list[Cell]:
    home, owed = _known(each, "home_fen"), _owed(each)
    return [
        *_pair(each),
        UNKNOWN if home is None else home,
        each.away_fen,
        UNKNOWN if owed is None else Formula("=C{row}+D{row}", owed),
    ]


def _pair(each: AdvanceFigures) -> tuple[str, str]:
    debtor, advancer = f"{each.debtor} {each.debtor_title_zh}", f"{each.advancer} {each.advancer_title_zh}"
    return debtor.strip(), advancer.strip()


def _owed(each: AdvanceFigures) -> int | None:
    """Over both ledgers; None where only the clearinghouse's is known."""
    home = _known(each, "home_fen")
    return None if home is None else home + each.away_fen


def _advance_data(each: AdvanceFigures) -> dict[str, Any]:
    names = ("debtor", "debtor_title_zh", "advancer", "advancer_title_zh")
    amounts = {"home_fen": _known(each, "home_fen"), "away_fen": each.away_fen, "owed_fen": _owed(each)}
    return {name: getattr(each, name) for name in names} | amounts


def _funder(each: BudgetFigures) -> str:
    return f"{each.funder} {each.title_zh}".strip()


def _budget_data(each: BudgetFigures) -> dict[str, Any]:
    fields = ("planned_fen", "reserved_fen", "held_fen")
    amounts: dict[str, int | None] = {name: getattr(each, name) for name in fields}
    amounts |= {"used_home_fen": _known(each, "used_home_fen"), "used_away_fen": each.used_away_fen}
    used = {"used_fen": _used(each), "used_ppm": _used_ppm(each)}
    return {"funder": each.funder, "title_zh": each.title_zh, "level": each.level, **amounts, **used}


def _used(each: BudgetFigures) -> int | None:
    """At home and away; None where only the use away is known."""
    home = _known(each, "used_home_fen")
    return None if home is None else home + each.used_away_fen


def _used_ppm(each: BudgetFigures) -> int | None:
    used = _used(each)
    return None if used is None else rate_ppm(used, each.planned_fen)
