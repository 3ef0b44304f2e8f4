"""Findings as a department reads them: Chinese before the names that `--json` gives, yuan, times in Asia/Shanghai."""

from __future__ import annotations

import re
from collections.abc import Callable

from quanlian.money import yuan
from reporting.names import moment
from verifier.findings import Finding

PLACES = {
    "agreement": "协议",
    "agreements": "协议",
    "campaign-change": "活动变更",
    "certificate": "证书",
    "hand-over": "移交",
    "line": "行",
    "redemption": "核销",
    "redemptions": "核销文件",
    "statement": "对账单",
    "terms": "细则",
    "voucher": "券",
}
"""By the first word of a place."""
WHAT = {
    "advanced_fen": "垫付金额",
    "agreement": "协议",
    "authorized_at": "占用时间",
    "campaign-change": "活动变更",
    "cannot": "无法读取",
    "capture": "核销",
    "captures": "核销笔数",
    "ceiling_left_fen": "年度封顶余额",
    "chain": "证书链",
    "closed_at": "截止时间",
    "closing_fen": "期末余额",
    "discount_fen": "优惠金额",
    "document": "文件",
    "documents": "文件",
    "evidence": "依据",
    "funders": "出资方",
    "hand-over": "移交",
    "hash": "哈希",
    "head": "首部",
    "kind": "类别",
    "leg": "分担",
    "legs": "分担",
    "line": "行",
    "lines": "明细",
    "lodged_fen": "存入",
    "month": "月份",
    "net_fen": "净额",
    "not": "不适用",
    "number": "序号",
    "opened_at": "开始时间",
    "opening_fen": "期初余额",
    "order_fen": "订单金额",
    "order_id": "订单",
    "own_share_fen": "本地承担",
    "paid_fen": "应付",
    "paid_out_fen": "划出",
    "posting": "记账",
    "prefunded_fen": "出资方预拨",
    "received_fen": "应收",
    "redeeming_region": "核销地",
    "redemption": "核销",
    "refund": "退款",
    "refunded_fen": "退回优惠",
    "refunded_order_fen": "退款订单金额",
    "refunds": "退款笔数",
    "region": "地区",
    "reserved": "预留资金",
    "reserved_fen": "预留金额",
    "root": "根证书",
    "seal": "封签",
    "signature": "签名",
    "signed_at": "签署时间",
    "stands": "重复",
    "terms": "细则",
    "token": "券令牌",
    "trust": "信任",
    "used_fen": "使用金额",
    "version": "版本",
    "visitors": "异地用券资金",
    "window": "场次",
    "windows": "场次",
}
"""By the first word of what does not hold."""
PHRASES = {
    "None": "无 none",
    "altered": "被改动 altered",
    "an order with another voucher": "该订单另有一张券 an order with another voucher",
    "as in each file": "各文件应一致 as in each file",
    "as it was sealed": "封签时的内容 as it was sealed",
    "as it is told elsewhere": "与别处一致 as it is told elsewhere",
    "missing": "缺 missing",
    "more than once": "不止一次 more than once",
    "none": "无 none",
    "not there": "缺 not there",
    "once": "一次 once",
    "one public voucher an order": "一单一券 one public voucher an order",
    "one stands there twice": "有重复 one stands there twice",
    "the last line": "末行 the last line",
    "the money did not reach": "资金不足 the money did not reach",
    "there": "有 there",
    "those in force": "当时有效的 those in force",
    "told differently": "前后不一 told differently",
}
PATTERNS = (
    (re.compile(r"on line (\d+)"), r"在第\1行 \g<0>"),
    (re.compile(r"once, on line (\d+)"), r"一次，在第\1行 \g<0>"),
    (re.compile(r"does not fit its (\d+) lines: .*", re.DOTALL), r"与其\1行不符 \g<0>"),
)
_AMOUNT, _TIME = re.compile(r"(?<![\w.])-?\d+(?![\w.])"), re.compile(r"(?<!\d)\d{9,11}(?!\d)")
_MONEY_OF = {"leg"}


def cells(finding: Finding) -> tuple[str, str, str, str]:
    """Place, what, found and expected, each in both languages where there are words for it."""
    shown = _values(finding.what)
    found, expected = (_phrase(text) or shown(text) for text in (finding.found, finding.expected))
    return _both(PLACES, finding.place), _both(WHAT, finding.what), found, expected


def _phrase(text: str) -> str | None:
    matches = (match.expand(both) for pattern, both in PATTERNS if (match := pattern.fullmatch(text)))
    return PHRASES.get(text) or next(matches, None)


def _both(words: dict[str, str], text: str) -> str:
    zh = words.get(text.split(" ", 1)[0])
    return f"{zh} {text}" if zh else text


def _values(what: str) -> Callable[[str], str]:
    """How figures are shown: by what they are figures of."""
    head = what.split(" ", 1)[0]
    if head.endswith("_fen") or head in _MONEY_OF:
        return lambda text: _AMOUNT.sub(lambda each: yuan(int(each[0])), text)
    if head.endswith("_at") or what.endswith(" at"):
        return lambda text: _TIME.sub(lambda each: moment(int(each[0])), text)
    return lambda text: text
