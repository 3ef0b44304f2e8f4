"""A campaign's terms as a sheet that people read and sign off, in Chinese (附件 of a work plan) or English."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal, NamedTuple

from quanlian.file_rules import Words
from quanlian.money import yuan
from quanlian.refusals import CHINA
from quanlian.regions import full_name, region
from quanlian.terms import Pack, Round, Terms, VoucherType, decimal_of
from quanlian.terms_words import CATEGORIES, CLASSES, NATURE, REFUNDS, SHORTFALL, VISITORS, WORDS, percent, plain, until

Language = Literal["zh", "en"]


class Section(NamedTuple):
    """A heading with a table, whose columns of figures go to the right, or with notes; either may be empty."""

    title: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    figures: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()


class Sheet(NamedTuple):
    """The whole sheet in one language."""

    language: Language
    title: str
    subtitle: str
    sections: tuple[Section, ...]
    seals: tuple[str, ...] = ()
    """Lines to sign at the end, each by its name."""


def sheet_of(terms: Terms, language: Language) -> Sheet:
    """The terms as a sheet; amounts in yuan, times in Beijing time."""
    writer = _Writer(terms, language)
    titles = (terms.title_zh, terms.title_en)
    subtitle = writer.say("活动细则（附件）", "Terms of the campaign (annex)")
    sections = (
        writer.overview(),
        writer.funding(),
        writer.vouchers(),
        *writer.tables_of_tiers(),
        writer.packs(),
        writer.rounds(),
        writer.rules(),
        writer.merchants(),
    )
    shown = tuple(each for each in sections if each.rows or each.notes)
    return Sheet(language, writer.say(*titles), subtitle, shown, writer.seals())


class _Writer:
    """Words of one language for one campaign's terms."""

    def __init__(self, terms: Terms, language: Language) -> None:
        self.terms, self._zh = terms, language == "zh"

    def say(self, zh: str, en: str) -> str:
        return zh if self._zh or not en else en

    def word(self, name: str, words: Mapping[str, Words] = WORDS) -> str:
        return self.say(*words[name]) if name in words else name

    def sentence(self, name: str, words: Mapping[str, Words] = WORDS) -> str:
        text = self.word(name, words)
        return f"{text[:1].upper()}{text[1:]}{self.say('。', '.')}"

    def listed(self, names: Iterable[str], words: Mapping[str, Words] = WORDS) -> str:
        return self.say("、", ", ").join(self.word(name, words) for name in names)

    def seals(self) -> tuple[str, ...]:
        seals = (("经办", "Maker"), ("复核", "Checker"), ("审批（盖章）", "Approver (seal)"), ("日期", "Date"))
        return tuple(self.say(*each) for each in seals)

    def overview(self) -> Section:
        terms = self.terms
        leverage = decimal_of(terms.minimum_leverage) if terms.minimum_leverage else self.say("未设", "none")
        rows = (
            (self.say("活动编号", "Campaign"), terms.campaign),
            (self.say("发券地", "Issuing region"), self._scope(terms.issuer)),
            (self.say("活动期", "Period"), self._period(terms.starts_at, terms.ends_at)),
            (self.say("预算年度", "Fiscal year"), str(terms.fiscal_year)),
            (self.say("预算文件", "Budget document"), terms.budget_document),
            (self.say("适用地区", "Regions"), self.say("、", ", ").join(map(self._scope, terms.regions))),
            (self.say("消费渠道", "Channels"), self.listed(sorted(terms.channels, key=list(WORDS).index))),
            (self.say("异地使用", "Use away"), self.word(terms.roaming)),
            (
                self.say("分担协议", "Agreement"),
                terms.agreement or self.say("券联网络默认协议", "the network's default"),
            ),
            (self.say("最低杠杆比", "Minimum leverage"), leverage),
            (self.say("细则版本", "Version (SHA-256)"), terms.terms_hash.hex()),
        )
        return Section(self.say("一、基本情况", "1. Overview"), rows=rows)

    def funding(self) -> Section:
        terms = self.terms
        rows = [
            (
                self.say(each.title_zh, each.title_en or each.name),
                self.word(each.level),
                self._weight(each.weight),
                yuan(each.budget_fen),
            )
            for each in terms.funders
        ] + [
            (
                self.say(each.title_zh or each.name, each.title_en or each.name),
                self.word(each.kind),
                f"{percent(each.share_ppm)}",
                yuan(each.budget_fen) if each.budget_fen is not None else "—",
            )
            for each in terms.cofunders
        ]
        total_fen = sum(terms.budgets().values())
        notes = [
            self.say(
                "权重为财政部分的分担；百分比为每笔优惠中先由该方承担的部分。",
                "Weights share the public part; a percentage is taken from each discount first.",
            ),
            self.sentence(terms.shortfall_rule, SHORTFALL),
        ]
        if terms.shortfall_rule == "cascade":
            notes.append(self.sentence(terms.cascade, NATURE))
        return Section(
            self.say("二、资金安排", "2. Funding"),
            (
                self.say("出资方", "Funder"),
                self.say("层级/类别", "Level"),
                self.say("权重/比例", "Weight or share"),
                self.say("预算（元）", "Budget, yuan"),
            ),
            (*rows, (self.say("合计", "Total"), "", "", yuan(total_fen))),
            frozenset({2, 3}),
            tuple(notes),
        )

    def vouchers(self) -> Section:
        rows = tuple(
            (
                self.say(each.title_zh, each.title_en),
                self.word(each.kind),
                self._standard(each),
                decimal_of(each.leverage) if each.leverage else "—",
                self.listed(sorted(each.categories), CATEGORIES),
            )
            for each in self.terms.voucher_types
        )
        columns = (
            self.say("券种", "Voucher"),
            self.say("类别", "Kind"),
            self.say("标准", "Standard"),
            self.say("杠杆比", "Leverage"),
            self.say("适用行业", "Categories"),
        )
        return Section(self.say("三、券种及标准", "3. Vouchers"), columns, rows, frozenset({3}))

    def tables_of_tiers(self) -> list[Section]:
        """A table of its own for each voucher that has steps or attractions."""
        sections = []
        for each in self.terms.voucher_types:
            title = self.say(each.title_zh, each.title_en)
            if each.tiers:
                columns = (
                    self.say("类型", "Class"),
                    self.say("发票金额（元）", "Invoice, yuan"),
                    self.say("补贴金额（元）", "Subsidy, yuan"),
                )
                sections.append(Section(title, columns, tuple(self._tiers(each)), frozenset({1, 2})))
            if each.attractions:
                columns = (
                    self.say("景点", "Attraction"),
                    self.say("分成", "Share"),
                    self.say("每次金额（元）", "A visit, yuan"),
                )
                rows = tuple(
                    (self.say(place.title_zh, place.title_en), percent(place.share_ppm), yuan(each.share_fen(place)))
                    for place in each.attractions
                )
                sections.append(Section(title, columns, rows, frozenset({1, 2})))
        return sections

    def packs(self) -> Section:
        columns = (
            self.say("券包", "Pack"),
            self.say("内含", "Vouchers"),
            self.say("有效期", "Validity"),
            self.say("异地使用", "Use away"),
        )
        rows = tuple(
            (
                self.say(pack.title_zh, pack.title_en),
                self._contents(pack),
                self._validity(pack),
                self.word(pack.roaming),
            )
            for pack in self.terms.packs
        )
        return Section(self.say("四、券包", "4. Packs"), columns, rows)

    def rounds(self) -> Section:
        columns = (
            self.say("轮次", "Round"),
            self.say("券包", "Pack"),
            self.say("方式", "Mode"),
            self.say("领取时间", "Open"),
            self.say("份数", "Packs"),
            self.say("限领", "Limit"),
            self.say("对象/材料", "For whom, evidence"),
            self.say("最高占用（元）", "Reserves at most, yuan"),
        )
        rows = tuple(self._round(entry) for entry in self.terms.rounds)
        return Section(self.say("五、发放轮次", "5. Rounds"), columns, rows, frozenset({4, 7}))

    def rules(self) -> Section:
        terms = self.terms
        notes = [
            self.say(
                "实名使用，不得兑换现金、不找零、不得转让交易。",
                "Used by the person who claimed it; no cash, no change, no transfer.",
            ),
            self.say(
                "单笔交易只能核销1张消费券；商户、平台优惠先行抵减，消费券抵减余额。",
                "One public voucher per order; merchant and platform discounts come off first.",
            ),
            self.sentence(terms.refund_policy, REFUNDS),
            self.say(
                f"订单占用消费券最长{terms.hold_seconds}秒。", f"An order holds a voucher {terms.hold_seconds} s."
            ),
        ]
        if terms.minimum_leverage is not None:
            bound = decimal_of(terms.minimum_leverage)
            notes.append(
                self.say(f"最低消费与面值之比不低于{bound}倍；", f"Minimum spend is at least {bound} times the face; ")
                + self.word(terms.visitors_leverage, VISITORS)
                + self.say("。", ".")
            )
        return Section(self.say("六、使用规则", "6. Rules of use"), notes=tuple(notes))

    def merchants(self) -> Section:
        order = list(WORDS).index
        notes = [self.sentence(name) for name in sorted(self.terms.merchant_conditions, key=order)]
        vetoes = self.listed(sorted(self.terms.merchant_vetoes, key=order))
        if vetoes:
            notes.append(self.say(f"{vetoes}的，一票否决。", f"Barred: {vetoes}."))
        return Section(self.say("七、商户条件", "7. Merchants"), notes=tuple(notes))

    def _weight(self, weight: int) -> str:
        return str(weight) if weight else self.say("兜底", "backstop")

    def _standard(self, each: VoucherType) -> str:
        """What it gives, in one line."""
        face, least, cap = map(plain, (each.face_fen, each.minimum_spend_fen, each.cap_fen))
        match each.kind:
            case "threshold":
                return self.say(f"满{least}元减{face}元", f"{face} off {least}")
            case "tiered":
                return self.say("按类型和发票金额，见附表", "by class and invoice amount, see its table")
            case "rate":
                text = self.say(
                    f"补贴{percent(each.rate_ppm)}，最高{cap}元", f"{percent(each.rate_ppm)}, at most {cap}"
                )
                limit = plain(each.price_limit_fen or 0)
                return text + (
                    self.say(f"，限{limit}元以内", f", up to a price of {limit}") if each.price_limit_fen else ""
                )
            case "ticket" if each.attractions:
                price = plain(each.price_fen)
                return self.say(
                    f"票价{price}元，可用{each.uses}次，按景点分成", f"price {price}, {each.uses} uses, shared"
                )
            case "ticket":
                return self.say(f"每次{face}元，可用{each.uses}次", f"{face} a use, {each.uses} uses")
            case _:
                return self.say(f"{face}元", face)

    def _tiers(self, each: VoucherType) -> Iterable[tuple[str, ...]]:
        for index, tier in enumerate(each.tiers):
            above = [other.from_fen for other in each.tiers[index + 1 :] if other.klass == tier.klass]
            low = plain(tier.from_fen)
            if above:
                high = plain(above[0])
                bounds = self.say(f"{low}（含）—{high}以下", f"{low} to under {high}")
            else:
                bounds = self.say(f"{low}（含）以上", f"from {low}")
            yield self.word(tier.klass, CLASSES), bounds, yuan(tier.amount_fen)

    def _contents(self, pack: Pack) -> str:
        titles = {each.id: self.say(each.title_zh, each.title_en) for each in self.terms.voucher_types}
        counted = Counter(pack.vouchers)
        return self.say("；", "; ").join(f"{titles[name]} × {count}" for name, count in counted.items())

    def _validity(self, pack: Pack) -> str:
        if pack.valid_days is not None:
            return self.say(f"领取当日起{pack.valid_days}天", f"{pack.valid_days} days, the claim day is day 1")
        return self.say(f"至{until(pack.valid_until or 0)}", f"until {until(pack.valid_until or 0)}")

    def _round(self, entry: Round) -> tuple[str, ...]:
        pack = self.terms.pack(entry.pack)
        limit = self.say(f"每人{entry.per_person}份", f"{entry.per_person} a person")
        if entry.per_day is not None:
            limit += self.say(f"，每日{entry.per_day}份", f", {entry.per_day} a day")
        groups = [self.say(each.title_zh, each.title_en) for each in self.terms.groups if each.id in entry.groups]
        evidence = sorted(entry.evidence, key=list(WORDS).index)
        whom = self.say("、", ", ").join([*groups, *map(self.word, evidence)]) or self.say("不限", "everybody")
        most_fen = entry.quota * sum(self.terms.voucher_type(name).max_discount_fen for name in pack.vouchers)
        return (
            entry.id,
            self.say(pack.title_zh, pack.title_en),
            self.word(entry.mode),
            self._period(entry.opens_at, entry.closes_at),
            f"{entry.quota:,}",
            limit,
            whom,
            yuan(most_fen),
        )

    def _period(self, start: int, end: int) -> str:
        first = datetime.fromtimestamp(start, CHINA).strftime("%Y-%m-%d %H:%M")
        return self.say(f"{first}至{until(end)}", f"{first} to {until(end)}")

    def _scope(self, scope: str) -> str:
        if scope in WORDS:
            return self.word(scope)
        found = region(scope)
        return f"{full_name(scope) if self._zh or not found.name_en else found.name_en} {scope}"
