"""A funding agreement as a sheet that people read and sign off, in Chinese or English."""

from __future__ import annotations

from datetime import datetime

from quanlian.agreement_signatures import signatories
from quanlian.agreements import (
    Agreement,
    FiscalCapacity,
    Fixed,
    IssuerPays,
    LeverageTiered,
    OrderRate,
    PublishedCapacities,
    agreement_hash,
)
from quanlian.custody import CLEARINGHOUSE
from quanlian.money import yuan
from quanlian.refusals import CHINA
from quanlian.regions import region
from quanlian.sheet import Language, Section, Sheet
from quanlian.terms import decimal_of

_METHODS = {
    "issuer-pays": ("发券地全部承担", "the issuing region pays all"),
    "fixed": ("按固定权重", "by fixed weights"),
    "leverage-tiered": ("按订单杠杆比分档", "by tiers of the order's leverage"),
    "order-rate": ("核销地按订单额的比例承担", "the redeeming region pays a rate of the order"),
    "fiscal-capacity": ("按财力", "by fiscal capacity"),
}
_DRY = {
    "issuer-pays": (
        "核销地异地用券资金用尽或年度上限已满时，由发券地承担其部分。",
        "When the redeeming region's fund for visitors or its yearly ceiling is used up, the issuing region pays.",
    ),
    "refuse": (
        "核销地异地用券资金用尽或年度上限已满时，不予核销。",
        "When the redeeming region's fund for visitors or its yearly ceiling is used up, redemptions are refused.",
    ),
}
_FRAUD = {
    "issuer": ("欺诈损失由发券地承担。", "Losses by fraud are the issuing region's."),
    "redeemer": ("欺诈损失由核销地承担。", "Losses by fraud are the redeeming region's."),
    "shared": ("欺诈损失由双方按优惠的分担办法分担。", "Losses by fraud are shared as the discount was."),
}


def agreement_sheet(agreement: Agreement, document: bytes, language: Language) -> Sheet:
    """The whole agreement of a file's bytes; amounts in yuan, times in Beijing time."""
    writer = _Writer(agreement, language == "zh")
    sections = (writer.overview(document), writer.parties(), writer.split(), writer.rules())
    titles = (agreement.title_zh, agreement.title_en)
    subtitle = writer.say("消费券资金分担协议", "Agreement on sharing the funding of vouchers")
    shown = tuple(each for each in sections if each.rows or each.notes)
    return Sheet(language, writer.say(*titles), subtitle, shown, writer.seals())


class _Writer:
    """Words of one language for one agreement."""

    def __init__(self, agreement: Agreement, zh: bool) -> None:
        self.agreement, self._zh = agreement, zh

    def say(self, zh: str, en: str) -> str:
        return zh if self._zh else en

    def overview(self, document: bytes) -> Section:
        agreement = self.agreement
        until = agreement.effective_until
        term = self._time(agreement.effective_from) + " — "
        rows = (
            (self.say("编号", "Number"), agreement.number),
            (self.say("版本", "Version"), str(agreement.version)),
            (
                self.say("期限", "Term"),
                term + (self._time(until) if until else self.say("长期", "until it is replaced")),
            ),
            (
                self.say("适用活动", "Campaign"),
                agreement.campaign or self.say("双方之间的全部活动", "every campaign between the parties"),
            ),
            (
                self.say("签署方", "Signed by"),
                self.say("、", ", ").join(map(self._signatory, signatories(agreement))),
            ),
            (self.say("文件摘要", "Digest (SHA-256)"), agreement_hash(document).hex()),
        )
        return Section(self.say("一、基本情况", "1. Overview"), rows=rows)

    def parties(self) -> Section:
        columns = (
            self.say("地区", "Region"),
            self.say("商务部门", "Commerce"),
            self.say("财政部门", "Finance"),
            self.say("年度上限（元）", "Yearly ceiling, yuan"),
        )
        rows = tuple(
            (
                self._place(each.region),
                self.say(*each.commerce),
                self.say(*each.finance),
                yuan(each.yearly_ceiling_fen) if each.yearly_ceiling_fen is not None else self.say("未约定", "none"),
            )
            for each in self.agreement.offices
        )
        return Section(self.say("二、双方", "2. Parties"), columns, rows, frozenset({3}))

    def split(self) -> Section:
        agreement = self.agreement
        notes = [self.say(*_METHODS[agreement.method]) + self.say("分担公共资金部分。", ": the public part is shared.")]
        if agreement.source:
            year = f"{agreement.year}" if agreement.year else ""
            notes.append(self.say(f"数据来源：{agreement.source}（{year}）。", f"Source: {agreement.source} ({year})."))
        columns, rows = self._figures()
        figures = frozenset(range(1, len(columns)))
        return Section(self.say("三、分担办法", "3. How it is shared"), columns, rows, figures, tuple(notes))

    def rules(self) -> Section:
        agreement, clauses = self.agreement, self.agreement.clauses
        notes = [self.say(*_DRY[agreement.when_visitors_run_out])]
        if clauses:
            notes += [
                self.say(*_FRAUD[clauses.fraud_losses]),
                self.say(
                    f"对账单有异议的，自出具之日起{clauses.dispute_days}日内提出；逾期视为确认。",
                    f"A statement may be disputed within {clauses.dispute_days} days of its issue, not later.",
                ),
                self.say(
                    f"任何一方可提前{clauses.notice_days}日书面通知终止；已占用的核销仍按本协议结算。",
                    f"Either party may end it with {clauses.notice_days} days' notice in writing; what was authorized "
                    "before is settled by it.",
                ),
            ]
        return Section(self.say("四、其他约定", "4. Other provisions"), notes=tuple(notes))

    def seals(self) -> tuple[str, ...]:
        """One place for each bureau's seal, and the clearinghouse's."""
        bureaus = [self.say(*each) for office in self.agreement.offices for each in (office.commerce, office.finance)]
        return (*bureaus, self.say("清分平台（盖章）", "Clearinghouse (seal)"), self.say("日期", "Date"))

    def _figures(self) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        """The figures of the method as a table; the first column says what they are of."""
        issuer, redeemer = self.say("发券地", "Issuing region"), self.say("核销地", "Redeeming region")
        match self.agreement.parameters:
            case Fixed(first, second):
                return (self.say("权重", "Weight"), issuer, redeemer), (("", str(first), str(second)),)
            case LeverageTiered(tiers):
                rows = tuple(
                    (f"≥ {decimal_of(tier.leverage)}", str(tier.issuer), str(tier.redeemer))
                    for tier in sorted(tiers, key=lambda tier: tier.leverage)
                )
                return (self.say("订单杠杆比", "Order leverage"), issuer, redeemer), rows
            case OrderRate(rate_ppm, cap_bp, derivation):
                headings = (
                    self.say("依据", "Derivation"),
                    self.say("订单比例（百万分之）", "Rate, ppm"),
                    self.say("上限（万分之）", "Cap, bp"),
                )
                return headings, ((derivation, f"{rate_ppm:,}", f"{cap_bp:,}"),)
            case PublishedCapacities(figures):
                columns = (self.say("地区", "Region"), self.say("财力", "Fiscal capacity"))
                return columns, tuple((self._place(code), f"{figure:,}") for code, figure in figures)
            case FiscalCapacity(first, second):
                return (self.say("财力", "Capacity"), issuer, redeemer), (("", f"{first:,}", f"{second:,}"),)
            case IssuerPays():
                return (), ()

    def _signatory(self, name: str) -> str:
        return self.say("清分平台", "the clearinghouse") if name == CLEARINGHOUSE else self._place(name)

    def _place(self, code: str) -> str:
        return f"{region(code).name} {code}"

    def _time(self, at: int) -> str:
        return datetime.fromtimestamp(at, CHINA).strftime("%Y-%m-%d %H:%M")
