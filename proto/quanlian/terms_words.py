"""The words and figures of campaign terms as people read them, in Chinese and English."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from quanlian.file_rules import Words
from quanlian.money import yuan
from quanlian.refusals import CHINA

WORDS: Final[dict[str, Words]] = {
    "never": Words("限发券地使用", "issuing region only"),
    "on-demand": Words("异地首次使用时移交托管", "away, released when first used there"),
    "at-issue": Words("发券即移交托管，异地可用", "away, from the moment of issue"),
    "shop": Words("实体门店", "shops"),
    "online": Words("线上", "online"),
    "delivery": Words("外卖", "delivery"),
    "group-buying": Words("团购", "group buying"),
    "threshold": Words("满减", "threshold"),
    "full-value": Words("全额代替", "full value"),
    "tiered": Words("按档补贴", "tiered"),
    "fixed": Words("定额补贴", "fixed"),
    "rate": Words("按比例补贴", "rate"),
    "ticket": Words("门票", "ticket"),
    "first-come": Words("抢券", "first come"),
    "lottery": Words("摇号", "lottery"),
    "targeted": Words("定向", "targeted"),
    "application": Words("申领", "application"),
    "central": Words("中央", "central"),
    "province": Words("省级", "province"),
    "city": Words("市级", "city"),
    "county": Words("县（区）级", "county"),
    "township": Words("乡镇（街道）", "township"),
    "platform": Words("平台", "platform"),
    "bank": Words("银行", "bank"),
    "merchant": Words("商户", "merchants"),
    "yrd": Words("长三角三省一市", "Yangtze River Delta"),
    "yrd-demonstration-zone": Words("长三角一体化示范区（青浦、吴江、嘉善）", "Delta demonstration zone"),
    "*": Words("全国", "everywhere"),
    "registered": Words("已注册统一社会信用代码", "registered with a unified social credit code"),
    "in-region": Words("在本地依法经营", "doing business in the region"),
    "sound-accounts": Words("财务制度健全、经营状况良好", "sound accounts and business"),
    "physical-shop": Words("实体商家", "a physical shop"),
    "full-invoice": Words("足额开具票据", "invoices in full"),
    "dishonesty-list": Words("被列入失信名单", "on a list of the dishonest"),
    "major-accident": Words("发生过重大安全生产事故", "a major accident"),
    "invoice": Words("发票", "invoice"),
    "vin": Words("车辆识别代号", "vehicle identification number"),
    "registration": Words("上户登记证明", "registration"),
    "purchase-tax": Words("购置税完税证明", "proof of purchase tax"),
    "trade-in": Words("旧机交售凭证", "proof of trade-in"),
}
CATEGORIES: Final[dict[str, Words]] = {
    "appliance": Words("家电", "home appliances"),
    "bills": Words("生活缴费", "bills"),
    "car": Words("汽车", "cars"),
    "catering": Words("餐饮", "catering"),
    "culture": Words("文化", "culture"),
    "digital": Words("数码", "digital goods"),
    "entertainment": Words("娱乐", "entertainment"),
    "fuel": Words("成品油", "fuel"),
    "home-improvement": Words("家装厨卫", "home improvement and kitchen"),
    "hotel": Words("住宿", "hotels"),
    "medicine": Words("医药", "medicine"),
    "motorcycle": Words("摩托车", "motorcycles"),
    "retail": Words("零售", "retail"),
    "staples": Words("生活必需品", "staples"),
    "tourism": Words("旅游", "tourism"),
    "transport": Words("交通", "transport"),
}
CLASSES: Final[dict[str, Words]] = {
    "new-energy": Words("新能源汽车", "new energy"),
    "fuel": Words("燃油汽车", "fuel"),
    "used": Words("二手车", "used"),
}
SHORTFALL: Final[dict[str, Words]] = {
    "cascade": Words("某一出资方用尽时由其后的出资方依次递补", "what a dry funder lacks is paid by the next in order"),
    "pro-rata": Words("某一出资方用尽时由其余出资方按权重分担", "what a dry funder lacks is shared by weight"),
    "refuse": Words("任一出资方用尽即停止发放", "no more vouchers once a funder is dry"),
}
NATURE: Final[dict[str, Words]] = {
    "borne": Words("递补为承担，不再追偿", "final: nothing is owed for it"),
    "advanced": Words("递补为垫付，由用尽一方偿还", "advanced: the dry funder owes it"),
}
REFUNDS: Final[dict[str, Words]] = {
    "pro-rata": Words(
        "退货时消费券作废，资金按退货比例退回，全额退货全额退回",
        "on a return the voucher is dead; its money goes back in proportion, all of it on a full return",
    ),
    "full-clawback": Words(
        "退货后未达最低消费的，消费券资金全额退回",
        "on a return that brings the order under the minimum spend, all the voucher's money goes back",
    ),
}
VISITORS: Final[dict[str, Words]] = {
    "refuse": Words("外地券低于本地杠杆比的不予核销", "other regions' vouchers under the bound are refused here"),
    "warn": Words("外地券低于本地杠杆比的予以提示", "other regions' vouchers under the bound are reported here"),
    "off": Words("外地券不受本地杠杆比限制", "the bound does not concern other regions' vouchers"),
}


def plain(fen: int) -> str:
    """An amount as plans write it: `50`, `2,000`, `0.50`."""
    return yuan(fen).removesuffix(".00")


def until(at: int) -> str:
    """An end that is not included, as people write it: midnight is 24:00 of the day before."""
    end = datetime.fromtimestamp(at, CHINA)
    if (end.hour, end.minute, end.second) == (0, 0, 0):
        return (end - timedelta(days=1)).strftime("%Y-%m-%d 24:00")
    return end.strftime("%Y-%m-%d %H:%M:%S").removesuffix(":00")


def percent(ppm: int) -> str:
    return f"{ppm // 10_000}{_fraction(ppm % 10_000)} %"


def _fraction(ten_thousandths: int) -> str:
    return f".{ten_thousandths:04d}".rstrip("0") if ten_thousandths else ""
