"""Regions and roles as a person reads them, in Chinese and English."""

from __future__ import annotations

from datetime import datetime

from quanlian.accounts import MERCHANT, VISITORS
from quanlian.errors import InvalidInput
from quanlian.refusals import CHINA
from quanlian.regions import region
from quanlian.statements import BALANCE, HOME, ISSUER, REDEEMER
from quanlian.terms_words import CATEGORIES, WORDS

CO_FUNDER = "co-funder"
"""The level of a platform, bank or merchant that pays a share, in a report's budgets."""
ROLES = {
    ISSUER: ("发券地", "issuer"),
    REDEEMER: ("核销地", "redeemer"),
    HOME: ("本地", "home"),
    BALANCE: ("余额", "balance"),
}
LISTS = {
    "matched": ("一致", "matched"),
    "missing": ("缺少", "missing"),
    "extra": ("多出", "extra"),
    "different": ("不符", "different"),
    "unchecked": ("仅对方有", "only theirs"),
}
OTHERS = {
    VISITORS: ("其他地区异地用券资金", "other regions' visitors' funds"),
    MERCHANT: ("商户自担", "merchants"),
}
"""Who bears of a campaign's discounts beside its funders."""
STATEMENT_BALANCES = {
    "opening": ("期初余额", "Opening balance"),
    "lodged": ("加：存入", "Plus: lodged"),
    "prefunded": ("加：出资方预拨（减退回）", "Plus: paid ahead by funders, less given back"),
    "paid_out": ("减：划出（减退汇）", "Less: paid out, less returned"),
    "received": ("加：应收", "Plus: received"),
    "paid": ("减：应付", "Less: paid"),
    "refunded": ("其中退回优惠", "Of which refunded"),
    "net": ("净额（应收减应付）", "Net: received less paid"),
    "closing": ("期末余额", "Closing balance"),
}
"""A statement's amounts in the order in which page and workbook show them, with their signs in words."""
BALANCES = {
    "opening": ("期初余额", "Opening"),
    "lodged": ("存入", "Lodged"),
    "prefunded": ("出资方预拨", "Paid ahead"),
    "paid_out": ("划出", "Paid out"),
    "refunded": ("退回优惠", "Refunded"),
    "closing": ("期末余额", "Closing"),
}
LINE_FIGURES = (
    ("核销笔数", "Captures"),
    ("订单金额", "Orders"),
    ("优惠金额", "Discounts"),
    ("退款笔数", "Refunds"),
    ("退款订单金额", "Refunded orders"),
    ("退回优惠", "Refunded"),
    ("本地承担", "Own share"),
)
"""Headings of `LineFigures`, in its order."""
FUNDER_FIGURES = (("使用", "Used"), ("退回", "Refunded"))
"""Headings of `FunderFigures`, in its order."""


def region_zh(code: str) -> str:
    """The region's Chinese name, a county's with its city; its code where the table lacks it."""
    try:
        found = region(code)
    except InvalidInput:
        return code
    return found.name if code.endswith("00") or not found.parent else f"{region_zh(found.parent)}{found.name}"


def region_en(code: str) -> str:
    try:
        return region(code).name_en or code
    except InvalidInput:
        return code


def region_both(code: str) -> str:
    """As a table's cell: `杭州市 Hangzhou`."""
    return f"{region_zh(code)} {region_en(code)}"


def role(name: str) -> str:
    zh, en = ROLES[name]
    return f"{zh} {en}"


def funder(account: str) -> str:
    """A funding account as a person reads it: `市级 city`, `异地用券资金 visitors' fund 市级 city`."""
    _, _, _, campaign, name = account.split("/")
    if campaign == VISITORS:
        return f"异地用券资金 visitors' fund {level(name)}"
    return "商户自担 merchants" if name == MERCHANT else level(name)


def level(name: str) -> str:
    """A level of government, or a funder that is called like one: `市级 city`; another's id as it is."""
    if name == CO_FUNDER:
        return "共同出资方 co-funder"
    return f"{WORDS[name].zh} {name}" if name in WORDS else name


def category(name: str) -> str:
    """A category of goods: `餐饮 catering`."""
    return f"{CATEGORIES[name].zh} {name}" if name in CATEGORIES else name


def moment(at: int) -> str:
    """A time in Asia/Shanghai; a dash for none."""
    return datetime.fromtimestamp(at, CHINA).strftime("%Y-%m-%d %H:%M:%S") if at else "—"
