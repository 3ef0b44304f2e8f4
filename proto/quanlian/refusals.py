"""Why a request is refused: reasons in their order of precedence, and what each says to a person.

The numbers are those of `refusal.proto`; divided by ten they give the rank of protocol.md, "Refusal reasons, in order".
A refusal is data: it names the figures, whether to try again (with a new request id) and whether the voucher is
still good.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum
from typing import NamedTuple

from quanlian.money import yuan

CHINA = timezone(timedelta(hours=8))
_OPTIONAL = re.compile(r"\[(.*?)\]")
_FIGURE = re.compile(r"\{(\w+)\}")


class RefusalReason(IntEnum):
    """A reason; `reason // 10` is its rank. Reasons up to `KEY_REVOKED` do not consume the request id."""

    MALFORMED = 10
    UNKNOWN_KEY = 20
    BAD_SIGNATURE = 30
    KEY_NOT_VALID = 40
    KEY_REVOKED = 50
    REGION_SUSPENDED = 60
    CAMPAIGN_UNKNOWN = 70
    TERMS_MISMATCH = 80
    CAMPAIGN_SUSPENDED = 90
    VOUCHER_UNKNOWN = 100
    VOUCHER_CANCELLED = 110
    VOUCHER_SUSPENDED = 111
    NOT_YET_VALID = 120
    EXPIRED = 130
    REGION_NOT_COVERED = 140
    CHANNEL_NOT_COVERED = 150
    MERCHANT_NOT_ADMITTED = 160
    MERCHANT_BLOCKED = 170
    CATEGORY_NOT_COVERED = 180
    HOLDER_MISMATCH = 190
    BELOW_MINIMUM_SPEND = 200
    NO_MATCHING_TIER = 210
    LEVERAGE_TOO_LOW = 220
    AMOUNT_MISMATCH = 230
    ORDER_ALREADY_DISCOUNTED = 240
    ALREADY_HELD = 250
    ALREADY_REDEEMED = 260
    NOT_IN_CUSTODY = 270
    ISSUER_UNREACHABLE = 280
    FUNDING_EXHAUSTED = 290
    DEBIT_CAP_EXCEEDED = 300

    REQUEST_ID_REUSED = 400
    REVERSED = 410

    REDEMPTION_UNKNOWN = 500
    NOT_AUTHORIZED = 510
    HOLD_EXPIRED = 520
    AMOUNT_EXCEEDS_HOLD = 530
    NOT_CAPTURED = 540
    REFUND_EXCEEDS_CAPTURE = 550

    ROUND_UNKNOWN = 600
    ROUND_NOT_OPEN = 610
    EVIDENCE_MISSING = 620
    EVIDENCE_ALREADY_USED = 630
    CLAIM_LIMIT_REACHED = 640
    QUOTA_EXHAUSTED = 650

    @property
    def summary_zh(self) -> str:
        """What the reason means, in a few words and without figures."""
        return _SUMMARIES.get(self, _fill(_TEXTS[self].zh, {}))

    @property
    def consumes_request_id(self) -> bool:
        """Whether the answer is stored: a retry of reasons 1–5, of a reused id and of a round that was sold out, is
        judged anew.
        """
        return self > RefusalReason.KEY_REVOKED and self not in _JUDGED_ANEW


_JUDGED_ANEW = frozenset({RefusalReason.REQUEST_ID_REUSED, RefusalReason.QUOTA_EXHAUSTED})
"""Beside those. When a round is gone in seconds, most who come find it so: that costs them and the books nothing."""


class Refusal(NamedTuple):
    """A refusal with the figures it speaks of; amounts in fen, times in UTC seconds, as their names say.

    `voucher_dead`: the decider knows that the voucher is past use, whatever the reason itself leaves open.
    `may_pass`: what stands in the way is not final. `field` is that of a `MALFORMED` request which is wrong, as
    `order.order_fen`, and `remedy` what to send in it: in Chinese and, behind ` · `, in English.
    """

    reason: RefusalReason
    figures: Mapping[str, int] = {}
    voucher_dead: bool = False
    field: str = ""
    remedy: str = ""
    may_pass: bool = False

    @property
    def retryable(self) -> bool:
        return _TEXTS[self.reason].retryable or self.may_pass

    @property
    def voucher_usable(self) -> bool:
        """Whether the voucher can still be used, as far as the decider knows; False where it knows nothing of it."""
        return _TEXTS[self.reason].usable and not self.voucher_dead

    @property
    def message_zh(self) -> str:
        text = _fill(_TEXTS[self.reason].zh, self.figures)
        told = [part for part in (self.field, self._remedies[0]) if part]
        return text + (f"：{'，'.join(told)}" if self.field else "") + ("；券仍可用" if self.voucher_usable else "")

    @property
    def message_en(self) -> str:
        text = _fill(_TEXTS[self.reason].en, self.figures)
        text += f": {self.field}, {self._remedies[1]}" if self.field else ""
        return text + ("; the voucher is still good" if self.voucher_usable else "")

    @property
    def _remedies(self) -> tuple[str, str]:
        """In Chinese, where it is told in both languages, and in English."""
        zh, _, en = self.remedy.rpartition(" · ")
        return zh, en


class _Text(NamedTuple):
    """What a reason says. A part in brackets is left out where one of its figures is not known."""

    zh: str
    en: str
    retryable: bool
    usable: bool


def _fill(template: str, figures: Mapping[str, int]) -> str:
    """Put figures in: `_fen` as yuan, `_ppm` as a ratio, `_at` as Beijing time, what is not known as `—`."""

    def known_part(part: re.Match[str]) -> str:
        return part[1] if all(name in figures for name in _FIGURE.findall(part[1])) else ""

    return _OPTIONAL.sub(known_part, template).format_map(_Shown(figures))


class _Shown(dict[str, int]):
    def __getitem__(self, name: str) -> str:  # type: ignore[override]
        if name not in self:
            return "—"
        value = super().__getitem__(name)
        if name.endswith("_fen"):
            return yuan(value)
        if name.endswith("_ppm"):
            return f"{value // 1_000_000}.{value % 1_000_000 // 10_000:02d}"
        if name.endswith("_at"):
            return datetime.fromtimestamp(value, UTC).astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S")
        return str(value)

    def __missing__(self, name: str) -> str:
        return "—"


R = RefusalReason
_TEXTS: dict[RefusalReason, _Text] = {
    R.MALFORMED: _Text("请求格式有误", "the request cannot be read", False, False),
    R.UNKNOWN_KEY: _Text("签名所用密钥未登记", "signed with a key that nobody vouched for", False, False),
    R.BAD_SIGNATURE: _Text("签名不符", "the signature does not match", False, False),
    R.KEY_NOT_VALID: _Text(
        "发券时所用密钥不在有效期内[（{not_before_at}至{not_after_at}，发券于{issued_at}）]",
        "the key was not valid when the voucher was issued[: {not_before_at} to {not_after_at}, issued at {issued_at}]",
        False,
        False,
    ),
    R.KEY_REVOKED: _Text(
        "签名所用密钥[自{revoked_at}起]已吊销[，发券于{issued_at}]",
        "the key was revoked[ from {revoked_at}] before the voucher was issued[ at {issued_at}]",
        False,
        False,
    ),
    R.REGION_SUSPENDED: _Text(
        "发券地或核销地已暂停[：{region}，自{since_at}]",
        "the issuing or redeeming region is suspended[: {region} since {since_at}]",
        True,
        True,
    ),
    R.CAMPAIGN_UNKNOWN: _Text("活动不存在", "no such campaign", False, True),
    R.TERMS_MISMATCH: _Text(
        "券面所载活动细则版本未公布", "the voucher names terms that were not published", False, False
    ),
    R.CAMPAIGN_SUSPENDED: _Text(
        "活动已暂停[，自{since_at}]", "the campaign is suspended[ since {since_at}]", True, True
    ),
    R.VOUCHER_UNKNOWN: _Text("券不存在", "no such voucher", False, False),
    R.VOUCHER_CANCELLED: _Text("券已作废", "the voucher was cancelled", False, False),
    R.VOUCHER_SUSPENDED: _Text(
        "券已挂失或暂停[，自{since_at}]", "the voucher is suspended[ since {since_at}]", True, False
    ),
    R.NOT_YET_VALID: _Text("券自{not_before_at}起可用", "the voucher is valid from {not_before_at}", True, True),
    R.EXPIRED: _Text("券已于{not_after_at}过期", "the voucher expired at {not_after_at}", False, False),
    R.REGION_NOT_COVERED: _Text(
        "本券不在此地区[（{region}）]使用", "the voucher does not cover this region[, {region}]", False, True
    ),
    R.CHANNEL_NOT_COVERED: _Text("本券不支持此消费渠道", "the voucher does not cover this channel", False, True),
    R.MERCHANT_NOT_ADMITTED: _Text("商户未参加活动", "the merchant is not admitted", False, True),
    R.MERCHANT_BLOCKED: _Text(
        "商户已被暂停资格[，自{since_at}]", "the merchant is suspended[ since {since_at}]", True, True
    ),
    R.CATEGORY_NOT_COVERED: _Text("本券不适用此类商品", "the voucher does not cover this category", False, True),
    R.HOLDER_MISMATCH: _Text("付款人不是领券人", "the payer is not the voucher's holder", False, True),
    R.BELOW_MINIMUM_SPEND: _Text(
        "订单{order_fen}元，未满{minimum_spend_fen}元，差{short_fen}元",
        "the order of {order_fen} yuan is {short_fen} short of {minimum_spend_fen}",
        False,
        True,
    ),
    R.NO_MATCHING_TIER: _Text(
        "发票金额{invoice_fen}元不在补贴档次内",
        "no tier covers the invoice of {invoice_fen} yuan",
        False,
        True,
    ),
    R.LEVERAGE_TOO_LOW: _Text(
        "券的杠杆比{leverage_ppm}倍，低于本地要求的{bound_ppm}倍",
        "the terms' leverage of {leverage_ppm} is under this region's {bound_ppm}",
        False,
        True,
    ),
    R.AMOUNT_MISMATCH: _Text(
        "应抵扣{discount_fen}元，对方报{expected_fen}元",
        "the discount is {discount_fen} yuan, the sender expected {expected_fen}",
        False,
        True,
    ),
    R.ORDER_ALREADY_DISCOUNTED: _Text(
        "该订单已用过另一张消费券，或正在办理",
        "another public voucher was used on the order, or is being decided",
        False,
        True,
    ),
    R.ALREADY_HELD: _Text("券正在占用中[，至{expires_at}]", "the voucher is on hold[ until {expires_at}]", True, True),
    R.ALREADY_REDEEMED: _Text("券已核销", "the voucher was already redeemed", False, False),
    R.NOT_IN_CUSTODY: _Text("券由清分平台托管，暂不可达", "the custodian cannot be reached now", True, True),
    R.ISSUER_UNREACHABLE: _Text("发券地暂不可达", "the issuing region cannot be reached now", True, True),
    R.FUNDING_EXHAUSTED: _Text(
        "资金不足[，需{needed_fen}元][；两地间生效的分担协议{agreements}份]",
        "the funders' money does not reach[ for {needed_fen} yuan]"
        "[; {agreements} funding agreements are in force between the two regions]",
        True,
        True,
    ),
    R.DEBIT_CAP_EXCEEDED: _Text(
        "发券地已达净借记限额[：未结应付{exposure_fen}元，本笔{owed_fen}元，限额{limit_fen}元]",
        "the issuing region is at its net debit cap[: it owes {exposure_fen} yuan, this adds {owed_fen}, "
        "the limit is {limit_fen}]",
        True,
        True,
    ),
    R.REQUEST_ID_REUSED: _Text("请求号已用于另一内容的请求", "the request id was used with another body", False, False),
    R.REVERSED: _Text("该请求已被冲正", "the request was reversed", False, False),
    R.REDEMPTION_UNKNOWN: _Text("核销记录不存在", "no such redemption", False, False),
    R.NOT_AUTHORIZED: _Text(
        "该笔不在占用状态[：优惠{captured_fen}元已于{captured_at}核销][：{voided_held_at}的占用已撤销]",
        "the redemption is not on hold[: a discount of {captured_fen} yuan was captured at {captured_at}]"
        "[: its hold of {voided_held_at} was voided]",
        False,
        True,
    ),
    R.HOLD_EXPIRED: _Text("占用已于{expires_at}到期", "the hold expired at {expires_at}", False, True),
    R.AMOUNT_EXCEEDS_HOLD: _Text(
        "确认金额{order_fen}元超过占用金额{held_order_fen}元",
        "the capture of {order_fen} yuan is more than the held order of {held_order_fen}",
        False,
        True,
    ),
    R.NOT_CAPTURED: _Text("该笔尚未确认核销", "the redemption was not captured", False, True),
    R.REFUND_EXCEEDS_CAPTURE: _Text(
        "退货{order_fen}元超过未退金额{left_fen}元",
        "the refund of {order_fen} yuan is more than the {left_fen} left of the order",
        False,
        False,
    ),
    R.ROUND_UNKNOWN: _Text("发放轮次不存在", "no such round", False, False),
    R.ROUND_NOT_OPEN: _Text(
        "发放时间为{opens_at}至{closes_at}", "the round is open from {opens_at} to {closes_at}", True, False
    ),
    R.EVIDENCE_MISSING: _Text("申领材料不全", "the application lacks evidence", True, False),
    R.EVIDENCE_ALREADY_USED: _Text("申领材料已被使用", "the evidence was used before", False, False),
    R.CLAIM_LIMIT_REACHED: _Text(
        "已达领取上限[：每人{limit}份][：每人每天{limit_per_day}份]",
        "the claim limit is reached[: {limit} a person][: {limit_per_day} a person and day]",
        False,
        False,
    ),
    R.QUOTA_EXHAUSTED: _Text("已领完", "the quota is exhausted", False, False),
}
_SUMMARIES: dict[RefusalReason, str] = {
    R.NOT_YET_VALID: "未到可用时间",
    R.EXPIRED: "券已过期",
    R.BELOW_MINIMUM_SPEND: "未满最低消费",
    R.NO_MATCHING_TIER: "发票金额不在补贴档次内",
    R.LEVERAGE_TOO_LOW: "杠杆比低于本地要求",
    R.AMOUNT_MISMATCH: "优惠金额不一致",
    R.HOLD_EXPIRED: "占用已到期",
    R.AMOUNT_EXCEEDS_HOLD: "确认金额超过占用金额",
    R.REFUND_EXCEEDS_CAPTURE: "退货金额超过未退金额",
    R.ROUND_NOT_OPEN: "不在发放时间内",
}
"""Of the reasons whose texts speak of figures."""
del R
