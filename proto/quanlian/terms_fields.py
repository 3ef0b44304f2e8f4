"""Every field of a campaign's terms: its unit or values, its default, what it means, where its rule comes from.

The parsers in `terms_parsing.py` and `notices.py` ask for exactly these; the sheet, the checker, the difference
between versions and `docs/campaigns.md` are made from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from quanlian.file_rules import Words

REQUIRED: Final = "required"
NONE: Final = "none"

_FORM = "protocol.md, Campaign terms"
_CLAIMING = "protocol.md, Claiming"
_DISCOUNT = "money.md, Discount on an order"
_PAYS = "money.md, Who pays"
_NOTICE = 'protocol.md, "The voucher token"'


class Field(NamedTuple):
    """One field. `name` is without positions: `round.per_day`; a name that ends in `[]` is a table.

    `default` is as written in a file, `required`, or `none` where leaving it out means that there is no such rule.
    """

    name: str
    unit: str
    default: str
    zh: str
    en: str
    source: str = _FORM

    @property
    def table(self) -> str:
        """The table it stands in: `voucher_type[].tier[]`."""
        return self.name.rpartition(".")[0]

    @property
    def key(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def label(self) -> Words:
        """What it is called."""
        return Words(self.zh, self.key.replace("_", " "))


FIELDS: Final[tuple[Field, ...]] = (
    Field("campaign.id", "3–48 of a–z 0–9 -", REQUIRED, "活动编号", "names the campaign for good"),
    Field("campaign.title_zh", "text", REQUIRED, "活动名称", "title in Chinese"),
    Field("campaign.title_en", "text", REQUIRED, "英文名称", "title in English"),
    Field("campaign.issuer", "region code", REQUIRED, "发券地", "the issuing region", "GB/T 2260"),
    Field("campaign.fiscal_year", "year 2000–2099", REQUIRED, "预算年度", "year of the budget that pays", _PAYS),
    Field(
        "campaign.budget_document",
        "text",
        REQUIRED,
        "预算文号",
        "document that allots the money",
        "Jincheng plan, 10.1",
    ),
    Field(
        "campaign.starts_at", "date, time, zone", REQUIRED, "活动开始", "start, included", "protocol.md, Conventions"
    ),
    Field(
        "campaign.ends_at",
        "date, time, zone",
        REQUIRED,
        "活动结束",
        "end, not included; no voucher outlives it",
        "Jincheng plan, 10.2",
    ),
    Field(
        "campaign.roaming",
        "never, on-demand, at-issue",
        REQUIRED,
        "异地使用",
        "whether, and from when, vouchers can be used away",
        "protocol.md, Custody",
    ),
    Field(
        "campaign.regions",
        "list: region code, yrd, yrd-demonstration-zone, *",
        REQUIRED,
        "适用地区",
        "where vouchers may be used; a province has its cities, a city its counties",
        "GB/T 2260",
    ),
    Field(
        "campaign.channels",
        "list: shop, online, delivery, group-buying",
        REQUIRED,
        "消费渠道",
        "ways to buy that are covered",
        "Jincheng plan, 9.1; Shanxi text, 3.3",
    ),
    Field(
        "campaign.hold_seconds",
        "seconds 1–86400",
        "900",
        "占用时限",
        "how long an order holds a voucher",
        'protocol.md, "Redemption life cycle"',
    ),
    Field(
        "campaign.refund_policy",
        "pro-rata, full-clawback",
        "pro-rata",
        "退货规则",
        "what a partial return gives back to the funders",
        "Jincheng plan, 6.2 and 9.4",
    ),
    Field(
        "campaign.minimum_leverage",
        "ratio 1–1000",
        NONE,
        "杠杆比下限",
        "minimum spend ÷ face of every threshold voucher is at least this",
        "Jincheng plan, 6.2",
    ),
    Field(
        "campaign.visitors_leverage",
        "refuse, warn, off",
        "off",
        "外地券杠杆比",
        "how the issuing region's bound treats other regions' vouchers at its merchants; its node's setting decides",
        "protocol.md, Both regions' rules",
    ),
    Field(
        "campaign.vouchers_per_order",
        "1",
        "1",
        "单笔限用",
        "public vouchers per order, over the whole network",
        "Jincheng plan, 9.2",
    ),
    Field(
        "campaign.other_discounts",
        "before",
        "before",
        "叠加优惠",
        "merchant and platform discounts are taken off first, the voucher applies to the rest",
        "Jincheng plan, 6.2",
    ),
    Field(
        "campaign.agreement",
        "text",
        NONE,
        "分担协议",
        "number of the funding agreement between regions; none is the network's default",
        "money.md, Agreements",
    ),
    Field(
        "funding.shortfall_rule",
        "cascade, pro-rata, refuse",
        REQUIRED,
        "资金用尽",
        "who pays when a funder runs dry",
        "money.md, A funder that runs dry",
    ),
    Field(
        "funding.cascade",
        "borne, advanced",
        "borne",
        "递补性质",
        "whether what others pay under cascade is final or owed by the dry funder",
        "money.md, A funder that runs dry",
    ),
    Field("funder[].name", "a–z 0–9 -", REQUIRED, "出资方代号", "names the funder's account", _PAYS),
    Field("funder[].title_zh", "text", REQUIRED, "出资方", "title in Chinese", "Zhejiang proposal"),
    Field("funder[].title_en", "text", NONE, "英文名称", "title in English", "Zhejiang proposal"),
    Field(
        "funder[].level",
        "central, province, city, county, township",
        REQUIRED,
        "财政层级",
        "level of government",
        "Zhejiang proposal",
    ),
    Field(
        "funder[].weight",
        "whole number from 0",
        REQUIRED,
        "出资权重",
        "its part of each discount; 0 is a backstop that pays only what others lack, under cascade",
        "money.md, A funder that runs dry",
    ),
    Field("funder[].budget", "yuan", REQUIRED, "预算", "the most it pays in all", "Zhejiang proposal"),
    Field("cofunder[].kind", "platform, bank, merchant", REQUIRED, "类别", "who shares the cost", "Zhejiang proposal"),
    Field("cofunder[].name", "a–z 0–9 -", REQUIRED, "共同出资方代号", "names its account", _PAYS),
    Field("cofunder[].title_zh", "text", NONE, "共同出资方", "title in Chinese", "Zhejiang proposal"),
    Field("cofunder[].title_en", "text", NONE, "英文名称", "title in English", "Zhejiang proposal"),
    Field(
        "cofunder[].share_percent",
        "percent, to 4 decimals",
        REQUIRED,
        "出资比例",
        "its share of each discount",
        "Zhejiang proposal",
    ),
    Field(
        "cofunder[].public_pays_if_dry",
        "true, false",
        "false",
        "用尽后财政代付",
        "whether the public funders take over its part, or the claim is refused",
        _PAYS,
    ),
    Field(
        "cofunder[].budget",
        "yuan",
        REQUIRED,
        "预算",
        "the most it pays in all; a merchant has none",
        "Zhejiang proposal",
    ),
    Field(
        "merchants.conditions",
        "list: registered, in-region, sound-accounts, physical-shop, full-invoice",
        NONE,
        "商户条件",
        "what a merchant must show to be admitted; its region's node admits",
        "Jincheng plan, 6.2 and 9.3",
    ),
    Field(
        "merchants.vetoes",
        "list: dishonesty-list, major-accident",
        NONE,
        "一票否决",
        "what bars a merchant",
        "Jincheng plan, 6.2",
    ),
    Field("group[].id", "a–z 0–9 -", REQUIRED, "人群代号", "names a population group", "Zhejiang proposal"),
    Field("group[].title_zh", "text", REQUIRED, "发放对象", "title in Chinese", "Zhejiang proposal"),
    Field("group[].title_en", "text", REQUIRED, "英文名称", "title in English", "Zhejiang proposal"),
    Field("voucher_type[].id", "a–z 0–9 -", REQUIRED, "券种代号", "names a kind of voucher"),
    Field("voucher_type[].title_zh", "text", REQUIRED, "券种", "title in Chinese"),
    Field("voucher_type[].title_en", "text", REQUIRED, "英文名称", "title in English"),
    Field(
        "voucher_type[].kind",
        "threshold, full-value, tiered, fixed, rate, ticket",
        REQUIRED,
        "类别",
        "how the discount is found",
        _DISCOUNT,
    ),
    Field(
        "voucher_type[].categories",
        "list of a–z 0–9 -",
        REQUIRED,
        "适用行业",
        "goods and services covered",
        "Zhejiang proposal",
    ),
    Field(
        "voucher_type[].face",
        "yuan",
        "required for threshold, full-value, fixed; ticket: this or attractions",
        "面值",
        "amount of the voucher; of a ticket, for one use",
        _DISCOUNT,
    ),
    Field(
        "voucher_type[].minimum_spend",
        "yuan",
        "required for threshold",
        "最低消费",
        "the order must reach it",
        "Jincheng plan, 6.2",
    ),
    Field(
        "voucher_type[].tier[].class",
        "a–z 0–9 -",
        "required for tiered",
        "档次类别",
        "such as the type of vehicle",
        "Jincheng plan, 7.1",
    ),
    Field(
        "voucher_type[].tier[].from",
        "yuan",
        "required for tiered",
        "发票金额下限",
        "invoice amount, included",
        "Jincheng plan, 7.1",
    ),
    Field(
        "voucher_type[].tier[].amount",
        "yuan",
        "required for tiered",
        "补贴金额",
        "what the tier gives",
        "Jincheng plan, 7.1",
    ),
    Field(
        "voucher_type[].rate_percent",
        "percent, to 4 decimals",
        "required for rate",
        "补贴比例",
        "of the price after all discounts",
        "trade-in practice of 2026",
    ),
    Field(
        "voucher_type[].cap", "yuan", "required for rate", "补贴上限", "the most it gives", "trade-in practice of 2026"
    ),
    Field(
        "voucher_type[].price_limit",
        "yuan",
        NONE,
        "价格上限",
        "of rate: dearer goods get nothing",
        "trade-in practice of 2026",
    ),
    Field(
        "voucher_type[].uses",
        "1–64",
        "1",
        "可用次数",
        "of ticket: how often it is good; a pack lists it once",
        _DISCOUNT,
    ),
    Field(
        "voucher_type[].price",
        "yuan",
        "required for a ticket with attractions",
        "票价",
        "of ticket: what attractions share",
        "State Council opinion, 2022",
    ),
    Field(
        "voucher_type[].attraction[].id",
        "a–z 0–9 -",
        "required for attractions",
        "景点代号",
        "named as the order's class",
        "State Council opinion, 2022",
    ),
    Field(
        "voucher_type[].attraction[].title_zh",
        "text",
        "required for attractions",
        "景点",
        "title in Chinese",
        "State Council opinion, 2022",
    ),
    Field(
        "voucher_type[].attraction[].title_en",
        "text",
        "required for attractions",
        "英文名称",
        "title in English",
        "State Council opinion, 2022",
    ),
    Field(
        "voucher_type[].attraction[].share_percent",
        "percent, to 4 decimals",
        "required for attractions",
        "分成比例",
        "its share of the ticket's price for one use",
        "State Council opinion, 2022",
    ),
    Field("pack[].id", "a–z 0–9 -", REQUIRED, "券包代号", "names a pack"),
    Field("pack[].title_zh", "text", REQUIRED, "券包", "title in Chinese"),
    Field("pack[].title_en", "text", REQUIRED, "英文名称", "title in English"),
    Field(
        "pack[].vouchers",
        "list of voucher types, with repeats",
        REQUIRED,
        "包内券种",
        "what one claim gives, at most 64 vouchers",
        'protocol.md, "The voucher token"',
    ),
    Field(
        "pack[].roaming",
        "never, on-demand, at-issue",
        "the campaign's",
        "异地使用",
        "for this pack alone",
        "protocol.md, Custody",
    ),
    Field(
        "pack[].valid_days",
        "days 1–3650",
        "required unless valid_until",
        "有效天数",
        "the claim day is day 1; ends at 24:00",
        "Zhejiang proposal",
    ),
    Field(
        "pack[].valid_until",
        "date, time, zone",
        "required unless valid_days",
        "有效期止",
        "one end for all, not included",
        "Zhejiang proposal",
    ),
    Field("round[].id", "a–z 0–9 -", REQUIRED, "轮次代号", "names a round", _CLAIMING),
    Field("round[].pack", "a pack", REQUIRED, "券包", "what a claim gives", _CLAIMING),
    Field(
        "round[].mode",
        "first-come, lottery, targeted, application",
        REQUIRED,
        "发放方式",
        "how packs are given out",
        _CLAIMING,
    ),
    Field("round[].opens_at", "date, time, zone", REQUIRED, "开始领取", "opening, included", _CLAIMING),
    Field("round[].closes_at", "date, time, zone", REQUIRED, "停止领取", "closing, not included", _CLAIMING),
    Field("round[].quota", "packs", REQUIRED, "份数", "how many packs", _CLAIMING),
    Field("round[].per_person", "packs", REQUIRED, "每人限领", "in the round", _CLAIMING),
    Field("round[].per_day", "packs", NONE, "每人每日限领", "a person and day of Asia/Shanghai", _CLAIMING),
    Field(
        "round[].groups",
        "list of groups",
        NONE,
        "发放对象",
        "of targeted and lottery: who may claim; none is everybody",
        "Zhejiang proposal",
    ),
    Field(
        "round[].evidence",
        "list: invoice, vin, registration, purchase-tax, trade-in",
        NONE,
        "申领材料",
        "of application: what is shown after the purchase",
        "Jincheng plan, 5 and 6.1",
    ),
)

NOTICE_FIELDS: Final[tuple[Field, ...]] = (
    Field("notice.campaign", "a campaign", REQUIRED, "活动编号", "the campaign whose vouchers gain", _NOTICE),
    Field(
        "notice.valid_until",
        "date, time, zone",
        NONE,
        "有效期延至",
        "vouchers that would end earlier are good until then, not included",
        "Shanxi text, 1",
    ),
    Field(
        "notice.regions",
        "list: region code, yrd, yrd-demonstration-zone, *",
        NONE,
        "增加适用地区",
        "where vouchers may be used as well",
        _NOTICE,
    ),
    Field(
        "notice.channels",
        "list: shop, online, delivery, group-buying",
        NONE,
        "增加消费渠道",
        "ways to buy that are covered as well",
        _NOTICE,
    ),
)
"""Of a notice: each of the last three may be left out, but not all."""

TABLES: Final[dict[str, Words]] = {
    "campaign": Words("活动", "campaign"),
    "funding": Words("资金", "funding"),
    "funder[]": Words("出资方", "funder"),
    "cofunder[]": Words("共同出资方", "co-funder"),
    "merchants": Words("商户", "merchants"),
    "group[]": Words("发放对象", "group"),
    "voucher_type[]": Words("券种", "voucher type"),
    "voucher_type[].tier[]": Words("档次", "tier"),
    "voucher_type[].attraction[]": Words("景点", "attraction"),
    "pack[]": Words("券包", "pack"),
    "round[]": Words("轮次", "round"),
}
"""What each table is called, in the order of the sheet."""

_TABLES = ("", "campaign", "cofunder", "funder", "funding", "merchants", "group", "pack", "round", "voucher_type")

SOURCES: Final[dict[str, str]] = {
    **dict.fromkeys(_TABLES, _FORM),
    "voucher_type.tier": "Jincheng plan, 7.1",
    "voucher_type.attraction": "State Council opinion, 2022",
    **{entry.name.replace("[]", ""): entry.source for entry in FIELDS},
}
"""Where the rule of each field and table comes from, by its name without positions; `""` is the file itself."""
NOTICE_SOURCES: Final[dict[str, str]] = {"": _FORM, "notice": _NOTICE, **{e.name: e.source for e in NOTICE_FIELDS}}
"""As `SOURCES`, of a notice."""


def markdown_table(language: Literal["zh", "en"], fields: Sequence[Field] = FIELDS) -> str:
    """The fields as a table of `docs/campaigns.md` (`en`) and `docs/campaigns.zh-CN.md` (`zh`)."""
    chinese = language == "zh"
    heading = (
        "字段 | 单位或取值 | 缺省 | 含义 | 依据" if chinese else "field | unit or values | default | meaning | source"
    )
    rows = [f"| {heading} |", "|---|---|---|---|---|"]
    for entry in fields:
        unit = in_chinese(entry.unit) if chinese else entry.unit
        default = in_chinese(entry.default) if chinese else entry.default
        meaning = entry.zh if chinese else f"{entry.en} ({entry.zh})"
        rows.append(f"| `{entry.name}` | {unit} | {default} | {meaning} | {entry.source} |".replace(" * |", r" \* |"))
    return "\n".join(rows) + "\n"


def in_chinese(text: str) -> str:
    """A unit or default in Chinese; words of a closed set stay as they are."""
    return _ZH.get(text, text)


_ZH: Final[dict[str, str]] = {  # of units and defaults
    "required": "必填",
    "none": "无此限制",
    "the campaign's": "同活动",
    "required for threshold, full-value, fixed; ticket: this or attractions": (
        "threshold、full-value、fixed必填；ticket与attraction二选一"
    ),
    "required for threshold": "threshold必填",
    "required for tiered": "tiered必填",
    "required for rate": "rate必填",
    "required for a ticket with attractions": "有attraction的ticket必填",
    "required for attractions": "attraction必填",
    "required unless valid_days": "与valid_days二选一",
    "required unless valid_until": "与valid_until二选一",
    "text": "文字",
    "yuan": "元，恰好两位小数",
    "region code": "地区代码",
    "year 2000–2099": "年份2000–2099",
    "date, time, zone": "日期、时间、时区",
    "seconds 1–86400": "秒，1–86400",
    "ratio 1–1000": "倍数1–1000",
    "percent, to 4 decimals": "百分比，至多4位小数",
    "whole number from 0": "0以上整数",
    "packs": "份",
    "days 1–3650": "天，1–3650",
    "a pack": "券包代号",
    "a campaign": "活动编号",
    "3–48 of a–z 0–9 -": "3–48个 a–z 0–9 -",
    "list of a–z 0–9 -": "列表：a–z 0–9 -",
    "list of groups": "列表：人群代号",
    "list of voucher types, with repeats": "列表：券种代号，可重复",
}
