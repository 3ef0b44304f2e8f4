"""A campaign's terms as a sheet that people read and sign off, in Chinese (附件 of a work plan) or English."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from quanlian.money import yuan
from quanlian.refusals import CHINA
from quanlian.regions import full_name, region
from quanlian.terms import Pack, Round, Terms, VoucherType, decimal_of

Language = Literal["zh", "en"]

_WORDS: dict[str, tuple[str, str]] = {
    "never": ("限发券地使用", "issuing region only"),
    "on-demand": ("异地首次使用时移交托管", "away, released when first used there"),
    "at-issue": ("发券即移交托管，异地可用", "away, from the moment of issue"),
    "shop": ("实体门店", "shops"),
    "online": ("线上", "online"),
    "delivery": ("外卖", "delivery"),
    "group-buying": ("团购", "group buying"),
    "threshold": ("满减", "threshold"),
    "full-value": ("全额代替", "full value"),
    "tiered": ("按档补贴", "tiered"),
    "fixed": ("定额补贴", "fixed"),
    "rate": ("按比例补贴", "rate"),
    "ticket": ("门票", "ticket"),
    "first-come": ("抢券", "first come"),
    "lottery": ("摇号", "lottery"),
    "targeted": ("定向", "targeted"),
    "application": ("申领", "application"),
    "central": ("中央", "central"),
    "province": ("省级", "province"),
    "city": ("市级", "city"),
    "county": ("县（区）级", "county"),
    "township": ("乡镇（街道）", "township"),
    "platform": ("平台", "platform"),
    "bank": ("银行", "bank"),
    "merchant": ("商户", "merchants"),
    "yrd": ("长三角三省一市", "Yangtze River Delta"),
    "yrd-demonstration-zone": ("长三角一体化示范区（青浦、吴江、嘉善）", "Delta demonstration zone"),
    "*": ("全国", "everywhere"),
    "registered": ("已注册统一社会信用代码", "registered with a unified social credit code"),
    "in-region": ("在本地依法经营", "doing business in the region"),
    "sound-accounts": ("财务制度健全、经营状况良好", "sound accounts and business"),
    "physical-shop": ("实体商家", "a physical shop"),
    "full-invoice": ("足额开具票据", "invoices in full"),
    "dishonesty-list": ("被列入失信名单", "on a list of the dishonest"),
    "major-accident": ("发生过重大安全生产事故", "a major accident"),
    "invoice": ("发票", "invoice"),
    "vin": ("车辆识别代号", "vehicle identification number"),
    "registration": ("上户登记证明", "registration"),
    "purchase-tax": ("购置税完税证明", "proof of purchase tax"),
    "trade-in": ("旧机交售凭证", "proof of trade-in"),
}
_CATEGORIES: dict[str, tuple[str, str]] = {
    "appliance": ("家电", "home appliances"),
    "car": ("汽车", "cars"),
    "catering": ("餐饮", "catering"),
    "culture": ("文化", "culture"),
    "digital": ("数码", "digital goods"),
    "fuel": ("成品油", "fuel"),
    "hotel": ("住宿", "hotels"),
    "medicine": ("医药", "medicine"),
    "motorcycle": ("摩托车", "motorcycles"),
    "retail": ("零售", "retail"),
    "staples": ("生活必需品", "staples"),
    "tourism": ("旅游", "tourism"),
}
_CLASSES: dict[str, tuple[str, str]] = {
    "new-energy": ("新能源汽车", "new energy"),
    "fuel": ("燃油汽车", "fuel"),
    "used": ("二手车", "used"),
}
_SHORTFALL: dict[str, tuple[str, str]] = {
    "cascade": ("某一出资方用尽时由其后的出资方依次递补", "what a dry funder lacks is paid by the next in order"),
    "pro-rata": ("某一出资方用尽时由其余出资方按权重分担", "what a dry funder lacks is shared by weight"),
    "refuse": ("任一出资方用尽即停止发放", "no more vouchers once a funder is dry"),
}
_NATURE: dict[str, tuple[str, str]] = {
    "borne": ("递补为承担，不再追偿", "final: nothing is owed for it"),
    "advanced": ("递补为垫付，由用尽一方偿还", "advanced: the dry funder owes it"),
}
_REFUNDS: dict[str, tuple[str, str]] = {
    "pro-rata": (
        "退货时消费券作废，资金按退货比例退回，全额退货全额退回",
        "on a return the voucher is dead; its money goes back in proportion, all of it on a full return",
    ),
    "full-clawback": (
        "退货后未达最低消费的，消费券资金全额退回",
        "on a return that brings the order under the minimum spend, all the voucher's money goes back",
    ),
}
_VISITORS: dict[str, tuple[str, str]] = {
    "refuse": ("外地券低于本地杠杆比的不予核销", "other regions' vouchers under the bound are refused here"),
    "warn": ("外地券低于本地杠杆比的予以提示", "other regions' vouchers under the bound are reported here"),
    "off": ("外地券不受本地杠杆比限制", "the bound does not concern other regions' vouchers"),
}


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
    return Sheet(language, writer.say(*titles), subtitle, tuple(each for each in sections if each.rows or each.notes))


class _Writer:
    """Words of one language for one campaign's terms."""

    def __init__(self, terms: Terms, language: Language) -> None:
        self.terms, self._zh = terms, language == "zh"

    def say(self, zh: str, en: str) -> str:
        return zh if self._zh or not en else en

    def word(self, name: str, words: dict[str, tuple[str, str]] = _WORDS) -> str:
        return self.say(*words[name]) if name in words else name

    def sentence(self, name: str, words: dict[str, tuple[str, str]] = _WORDS) -> str:
        text = self.word(name, words)
        return f"{text[:1].upper()}{text[1:]}{self.say('。', '.')}"

    def listed(self, names: Iterable[str], words: dict[str, tuple[str, str]] = _WORDS) -> str:
        return self.say("、", ", ").join(self.word(name, words) for name in names)

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
            (self.say("消费渠道", "Channels"), self.listed(sorted(terms.channels, key=list(_WORDS).index))),
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
                f"{_percent(each.share_ppm)}",
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
            self.sentence(terms.shortfall_rule, _SHORTFALL),
        ]
        if terms.shortfall_rule == "cascade":
            notes.append(self.sentence(terms.cascade, _NATURE))
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
                self.listed(sorted(each.categories), _CATEGORIES),
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
                    (self.say(place.title_zh, place.title_en), _percent(place.share_ppm), yuan(each.share_fen(place)))
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
            self.sentence(terms.refund_policy, _REFUNDS),
            self.say(
                f"订单占用消费券最长{terms.hold_seconds}秒。", f"An order holds a voucher {terms.hold_seconds} s."
            ),
        ]
        if terms.minimum_leverage is not None:
            bound = decimal_of(terms.minimum_leverage)
            notes.append(
                self.say(f"最低消费与面值之比不低于{bound}倍；", f"Minimum spend is at least {bound} times the face; ")
                + self.word(terms.visitors_leverage, _VISITORS)
                + self.say("。", ".")
            )
        return Section(self.say("六、使用规则", "6. Rules of use"), notes=tuple(notes))

    def merchants(self) -> Section:
        order = list(_WORDS).index
        notes = [self.sentence(name) for name in sorted(self.terms.merchant_conditions, key=order)]
        vetoes = self.listed(sorted(self.terms.merchant_vetoes, key=order))
        if vetoes:
            notes.append(self.say(f"{vetoes}的，一票否决。", f"Barred: {vetoes}."))
        return Section(self.say("七、商户条件", "7. Merchants"), notes=tuple(notes))

    def _weight(self, weight: int) -> str:
        return str(weight) if weight else self.say("兜底", "backstop")

    def _standard(self, each: VoucherType) -> str:
        """What it gives, in one line."""
        face, least, cap = map(_plain, (each.face_fen, each.minimum_spend_fen, each.cap_fen))
        match each.kind:
            case "threshold":
                return self.say(f"满{least}元减{face}元", f"{face} off {least}")
            case "tiered":
                return self.say("按类型和发票金额，见附表", "by class and invoice amount, see its table")
            case "rate":
                text = self.say(
                    f"补贴{_percent(each.rate_ppm)}，最高{cap}元", f"{_percent(each.rate_ppm)}, at most {cap}"
                )
                limit = _plain(each.price_limit_fen or 0)
                return text + (
                    self.say(f"，限{limit}元以内", f", up to a price of {limit}") if each.price_limit_fen else ""
                )
            case "ticket" if each.attractions:
                price = _plain(each.price_fen)
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
            low = _plain(tier.from_fen)
            if above:
                high = _plain(above[0])
                bounds = self.say(f"{low}（含）—{high}以下", f"{low} to under {high}")
            else:
                bounds = self.say(f"{low}（含）以上", f"from {low}")
            yield self.word(tier.klass, _CLASSES), bounds, yuan(tier.amount_fen)

    def _contents(self, pack: Pack) -> str:
        titles = {each.id: self.say(each.title_zh, each.title_en) for each in self.terms.voucher_types}
        counted = Counter(pack.vouchers)
        return self.say("；", "; ").join(f"{titles[name]} × {count}" for name, count in counted.items())

    def _validity(self, pack: Pack) -> str:
        if pack.valid_days is not None:
            return self.say(f"领取当日起{pack.valid_days}天", f"{pack.valid_days} days, the claim day is day 1")
        return self.say(f"至{_until(pack.valid_until or 0)}", f"until {_until(pack.valid_until or 0)}")

    def _round(self, entry: Round) -> tuple[str, ...]:
        pack = self.terms.pack(entry.pack)
        limit = self.say(f"每人{entry.per_person}份", f"{entry.per_person} a person")
        if entry.per_day is not None:
            limit += self.say(f"，每日{entry.per_day}份", f", {entry.per_day} a day")
        groups = [self.say(each.title_zh, each.title_en) for each in self.terms.groups if each.id in entry.groups]
        evidence = sorted(entry.evidence, key=list(_WORDS).index)
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
        return self.say(f"{first}至{_until(end)}", f"{first} to {_until(end)}")

    def _scope(self, scope: str) -> str:
        if scope in _WORDS:
            return self.word(scope)
        found = region(scope)
        return f"{full_name(scope) if self._zh or not found.name_en else found.name_en} {scope}"


def _plain(fen: int) -> str:
    """An amount as plans write it: `50`, `2,000`, `0.50`."""
    return yuan(fen).removesuffix(".00")


def _until(at: int) -> str:
    """An end that is not included, as people write it: midnight is 24:00 of the day before."""
    end = datetime.fromtimestamp(at, CHINA)
    if (end.hour, end.minute, end.second) == (0, 0, 0):
        return (end - timedelta(days=1)).strftime("%Y-%m-%d 24:00")
    return end.strftime("%Y-%m-%d %H:%M:%S").removesuffix(":00")


def _percent(ppm: int) -> str:
    return f"{ppm // 10_000}{_fraction(ppm % 10_000)} %"


def _fraction(ten_thousandths: int) -> str:
    return f".{ten_thousandths:04d}".rstrip("0") if ten_thousandths else ""
