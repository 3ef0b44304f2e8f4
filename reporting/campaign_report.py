"""A campaign's report: the seven figures, groups, budgets against plan; in the terminal, as data, as a workbook."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


class OthersFigures(Protocol):
    """What others than a campaign's funders bear (report.proto)."""

    bearer: str
    used_home_fen: int
    used_away_fen: int

    def HasField(self, field_name: Any) -> bool:  # noqa: N802
        """Whether `used_home_fen` is known here."""


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
    @property
    def others(self) -> Sequence[OthersFigures]: ...


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
    Column("直接带动比", "Direct multiplier", "ratio"),
)
_USE_COLUMNS = (
    Column("预算（元）", "Planned, yuan", "yuan", summed=True),
    Column("预留（元）", "Reserved, yuan", "yuan", summed=True),
    Column("占用（元）", "Held, yuan", "yuan", summed=True),
    Column("本地使用（元）", "Used at home, yuan", "yuan", summed=True),
    Column("异地使用（元）", "Used away, yuan", "yuan", summed=True),
    Column("使用合计（元）", "Used, yuan", "yuan", summed=True),
    Column("执行率", "Used of plan", "percent"),
)
_BUDGET_COLUMNS = (Column("出资方", "Funder"), Column("层级", "Level"), *_USE_COLUMNS)
_LEVEL_COLUMNS = (Column("层级", "Level"), Column("出资方数", "Funders", "count", summed=True), *_USE_COLUMNS)
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


class Use(NamedTuple):
    """What one who bears of the discounts, or a level of them, planned and used; None for what is not planned, or not
    known here.
    """

    planned_fen: int | None
    reserved_fen: int | None
    held_fen: int | None
    used_home_fen: int | None
    used_away_fen: int

    @property
    def used_fen(self) -> int | None:
        """At home and away; None where only the use away is known."""
        return None if self.used_home_fen is None else self.used_home_fen + self.used_away_fen

    @property
    def used_ppm(self) -> int | None:
        known = self.used_fen is not None and self.planned_fen is not None
        return rate_ppm(self.used_fen or 0, self.planned_fen or 0) if known else None

    def plus(self, other: Use) -> Use:
        """Of both; what one of them has not planned counts as nothing, what is not known of one is not of both."""
        home = (self.used_home_fen, other.used_home_fen)
        return Use(
            (self.planned_fen or 0) + (other.planned_fen or 0),
            (self.reserved_fen or 0) + (other.reserved_fen or 0),
            (self.held_fen or 0) + (other.held_fen or 0),
            None if None in home else sum(fen or 0 for fen in home),
            self.used_away_fen + other.used_away_fen,
        )

    def data(self) -> dict[str, int | None]:
        return {**self._asdict(), "used_fen": self.used_fen, "used_ppm": self.used_ppm}


NOTHING = Use(0, 0, 0, 0, 0)


class Level(NamedTuple):
    """The funders of one level together."""

    name: str
    funders: int
    use: Use


def rate_ppm(part: int, whole: int) -> int:
    return part * PPM // whole if whole else 0


def _cut(ppm: int | None) -> int | None:
    """To hundredths of a percent, as people see it."""
    return None if ppm is None else ppm // _PPM_SHOWN * _PPM_SHOWN


def direct_multiplier(figures: CampaignFigures | GroupFigures) -> int | None:
    """直接带动比: order amount ÷ redeemed amount in hundredths, rounded down as in the stats; None where nothing is
    redeemed (money.md, The seven figures of a campaign).
    """
    return figures.order_fen * 100 // figures.redeemed_fen if figures.redeemed_fen else None


def report_data(figures: CampaignFigures) -> dict[str, Any]:
    """For programs; amounts in fen, rates in parts per million."""
    issued = {name: _known(figures, name) for name in ("issued_count", "issued_fen")}
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
        "direct_multiplier": _multiplier_data(figures),
        **{group: [_group_data(each) for each in getattr(figures, group)] for group, _, _ in GROUPS},
        "funders": [_budget_data(each) for each in figures.funders],
        "others": [{"bearer": each.bearer, **_others_data(each)} for each in figures.others],
        "levels": [{"level": each.name, "funders": each.funders, **each.use.data()} for each in _levels(figures)],
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
                console.figure(Figure("", "", "ratio", direct_multiplier(each)).text),
            ]
            for each in getattr(figures, group)
        ]
        console.console.print(console.table("", headings, rows))
    _show_budgets(figures)
    if figures.advances:
        _show_advances(figures)


def _show_budgets(figures: CampaignFigures) -> None:
    """By funder with what others bear, which comes to the redeemed amount; then by level."""
    whole = NOTHING
    budgets: list[Sequence[console.Cell]] = []
    for name, level, use in _bearers(figures):
        budgets.append([name, level, *_use_cells(use)])
        whole = whole.plus(use)
    budgets.append(["合计 Total", "", *_use_cells(whole)[:-1], None])
    headings: list[console.Heading] = [(each.zh, each.en) for each in _BUDGET_COLUMNS]
    console.console.print(console.table("预算执行 Budgets", headings, budgets))
    levels = [[names.level(each.name), each.funders, *_use_cells(each.use)] for each in _levels(figures)]
    headings = [(each.zh, each.en) for each in _LEVEL_COLUMNS]
    console.console.print(console.table("按层级 By level", headings, levels))


def _use_cells(use: Use) -> list[console.Cell]:
    amounts = [*use, use.used_fen]
    return [*map(_yuan, amounts), console.figure(Figure("", "", "percent", _cut(use.used_ppm)).text)]


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
        columns = (Column(zh, en), *_GROUP_COLUMNS)
        sheet.table(columns, [_group_row(group, each) for each in getattr(figures, group)])
        sheet.fit()
    budgets = book.sheet("预算执行 Budgets", f"{title} · 预算执行 Budgets")
    budgets.table(_BUDGET_COLUMNS, [[name, level, *_use_row(use)] for name, level, use in _bearers(figures)])
    budgets.fit()
    levels = book.sheet("按层级 By level", f"{title} · 按层级 By level")
    rows = ([names.level(each.name), each.funders, *_use_row(each.use)] for each in _levels(figures))
    levels.table(_LEVEL_COLUMNS, rows)
    levels.fit()
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


def _known(figures: CampaignFigures | BudgetFigures | AdvanceFigures | OthersFigures, name: str) -> int | None:
    return getattr(figures, name) if figures.HasField(name) else None


def _yuan(fen: int | None) -> console.Cell:
    return console.figure(UNKNOWN) if fen is None else console.yuan(fen)


def _group_row(group: str, each: GroupFigures) -> list[Cell]:
    name, multiplier = _group_name(group, each.name), direct_multiplier(each)
    counted = [each.redeemed_count, each.order_fen, each.redeemed_fen, each.refunded_fen]
    return [name, *counted, UNKNOWN if multiplier is None else Formula("=ROUNDDOWN(C{row}/D{row},2)", multiplier)]


def _group_data(each: GroupFigures) -> dict[str, Any]:
    fields = ("name", "redeemed_count", "order_fen", "redeemed_fen", "refunded_fen")
    return {**{name: getattr(each, name) for name in fields}, "direct_multiplier": _multiplier_data(each)}


def _multiplier_data(figures: CampaignFigures | GroupFigures) -> str | None:
    multiplier = direct_multiplier(figures)
    return None if multiplier is None else shown(multiplier, "ratio")


def _group_name(group: str, name: str) -> str:
    if group == "by_category":
        return names.category(name)
    return f"{names.region_zh(name)} {name}" if group == "by_region" else name


def _use_row(use: Use) -> list[Cell]:
    """From column C on."""
    used, used_ppm = use.used_fen, _cut(use.used_ppm)
    return [
        *(UNKNOWN if fen is None else fen for fen in use),
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
    return {"funder": each.funder, "title_zh": each.title_zh, "level": each.level, **_use(each).data()}


def _others_data(each: OthersFigures) -> dict[str, int | None]:
    told = _use_of_others(each).data()
    return {name: told[name] for name in ("used_home_fen", "used_away_fen", "used_fen")}


def _bearers(figures: CampaignFigures) -> Iterator[tuple[str, str, Use]]:
    """Who bears of the discounts, with the level: each funder, then others; all of it is the redeemed amount."""
    for budget in figures.funders:
        yield _funder(budget), names.level(budget.level), _use(budget)
    for other in figures.others:
        yield " ".join(names.OTHERS[other.bearer]), UNKNOWN, _use_of_others(other)


def _levels(figures: CampaignFigures) -> list[Level]:
    levels: dict[str, Level] = {}
    for each in figures.funders:
        known = levels.get(each.level, Level(each.level, 0, NOTHING))
        levels[each.level] = Level(each.level, known.funders + 1, known.use.plus(_use(each)))
    return list(levels.values())


def _use(each: BudgetFigures) -> Use:
    home = _known(each, "used_home_fen")
    return Use(each.planned_fen, each.reserved_fen, each.held_fen, home, each.used_away_fen)


def _use_of_others(each: OthersFigures) -> Use:
    return Use(None, None, None, _known(each, "used_home_fen"), each.used_away_fen)
