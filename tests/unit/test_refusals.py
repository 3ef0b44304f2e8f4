"""Refusals tell a person, in two languages, what is wrong with which figures (protocol.md, Refusal reasons)."""

from __future__ import annotations

import re
from datetime import datetime
from string import Formatter

import pytest

from quanlian import refusals
from quanlian.refusals import Refusal, RefusalReason
from quanlian.v1 import refusal_pb2

HAN = re.compile(r"[\u4e00-\u9fff]")
PROTOCOL_ORDER = """
    MALFORMED UNKNOWN_KEY BAD_SIGNATURE KEY_NOT_VALID KEY_REVOKED REGION_SUSPENDED CAMPAIGN_UNKNOWN TERMS_MISMATCH
    CAMPAIGN_SUSPENDED VOUCHER_UNKNOWN VOUCHER_CANCELLED|VOUCHER_SUSPENDED NOT_YET_VALID EXPIRED REGION_NOT_COVERED
    CHANNEL_NOT_COVERED MERCHANT_NOT_ADMITTED MERCHANT_BLOCKED CATEGORY_NOT_COVERED HOLDER_MISMATCH BELOW_MINIMUM_SPEND
    NO_MATCHING_TIER LEVERAGE_TOO_LOW AMOUNT_MISMATCH ORDER_ALREADY_DISCOUNTED ALREADY_HELD ALREADY_REDEEMED
    NOT_IN_CUSTODY ISSUER_UNREACHABLE FUNDING_EXHAUSTED DEBIT_CAP_EXCEEDED
"""
every_reason = pytest.mark.parametrize("reason", RefusalReason, ids=lambda reason: reason.name)


def test_the_reasons_are_those_of_the_protocols_messages() -> None:
    wire = {name.removeprefix("REFUSAL_REASON_"): number for name, number in refusal_pb2.RefusalReason.items()}
    del wire["UNSPECIFIED"]
    assert {reason.name: reason.value for reason in RefusalReason} == wire


def test_a_tenth_of_the_number_is_the_rank() -> None:
    ranks = {reason.name: reason // 10 for reason in RefusalReason if reason < RefusalReason.REQUEST_ID_REUSED}
    assert ranks == {
        name: rank for rank, names in enumerate(PROTOCOL_ORDER.split(), start=1) for name in names.split("|")
    }


@every_reason
def test_a_reason_says_in_chinese_and_in_english_what_is_wrong(reason: RefusalReason) -> None:
    refusal = Refusal(reason, dict.fromkeys(_figures_of(reason), 4_200))
    assert HAN.search(refusal.message_zh)
    assert refusal.message_en.isascii()
    assert len(refusal.message_en.split()) >= 3
    assert not re.search(r"[{}—]", refusal.message_zh + refusal.message_en)


@every_reason
def test_both_languages_speak_of_the_same_figures(reason: RefusalReason) -> None:
    text = refusals._TEXTS[reason]
    assert _places(text.zh) == _places(text.en)


@every_reason
def test_both_languages_tell_whether_the_voucher_is_still_good(reason: RefusalReason) -> None:
    refusal = Refusal(reason)
    assert refusal.message_zh.endswith("；券仍可用") is refusal.voucher_usable
    assert refusal.message_en.endswith("; the voucher is still good") is refusal.voucher_usable


def test_the_refusal_of_a_small_order_reads_as_the_protocol_has_it() -> None:
    figures = {"order_fen": 3850, "minimum_spend_fen": 4000, "short_fen": 150}
    refusal = Refusal(RefusalReason.BELOW_MINIMUM_SPEND, figures)
    assert refusal.message_zh == "订单38.50元，未满40.00元，差1.50元；券仍可用"
    assert refusal.message_en == "the order of 38.50 yuan is 1.50 short of 40.00; the voucher is still good"


def test_figures_read_by_their_unit() -> None:
    nine_in_beijing = int(datetime.fromisoformat("2026-05-01T09:00:00+08:00").timestamp())
    assert "2026-05-01 09:00:00" in Refusal(RefusalReason.NOT_YET_VALID, {"not_before_at": nine_in_beijing}).message_zh
    leverage = Refusal(RefusalReason.LEVERAGE_TOO_LOW, {"leverage_ppm": 3_333_333, "bound_ppm": 5_000_000})
    assert re.findall(r"\d+\.\d\d", leverage.message_zh) == ["3.33", "5.00"]
    large = Refusal(RefusalReason.REFUND_EXCEEDS_CAPTURE, {"order_fen": 123_456_700, "left_fen": 5})
    assert large.message_zh == "退货1,234,567.00元超过未退金额0.05元"


def test_the_limit_a_person_is_told_from_the_limit_a_person_and_day() -> None:
    whole = Refusal(RefusalReason.CLAIM_LIMIT_REACHED, {"limit": 2})
    assert whole.message_zh == "已达领取上限：每人2份"
    assert whole.message_en == "the claim limit is reached: 2 a person"
    daily = Refusal(RefusalReason.CLAIM_LIMIT_REACHED, {"limit_per_day": 1})
    assert daily.message_zh == "已达领取上限：每人每天1份"
    assert daily.message_en == "the claim limit is reached: 1 a person and day"
    assert RefusalReason.CLAIM_LIMIT_REACHED.summary_zh == "已达领取上限"


def test_the_debit_cap_is_told_with_what_is_owed_and_the_limit() -> None:
    figures = {"exposure_fen": 9_000_000, "owed_fen": 700, "limit_fen": 9_000_500}
    refusal = Refusal(RefusalReason.DEBIT_CAP_EXCEEDED, figures)
    assert refusal.message_zh == ("发券地已达净借记限额：未结应付90,000.00元，本笔7.00元，限额90,005.00元；券仍可用")
    assert "it owes 90,000.00 yuan, this adds 7.00, the limit is 90,005.00" in refusal.message_en


def test_a_part_whose_figures_are_not_known_is_left_out() -> None:
    assert Refusal(RefusalReason.ALREADY_HELD).message_zh == "券正在占用中；券仍可用"
    held = Refusal(RefusalReason.ALREADY_HELD, {"expires_at": 1_585_400_000})
    assert held.message_zh == "券正在占用中，至2020-03-28 20:53:20；券仍可用"


def test_a_voucher_known_to_be_past_use_is_never_called_good() -> None:
    refusal = Refusal(RefusalReason.BELOW_MINIMUM_SPEND, {}, voucher_dead=True)
    assert not refusal.voucher_usable
    assert "仍可用" not in refusal.message_zh
    assert "good" not in refusal.message_en


@every_reason
def test_a_summary_is_chinese_and_has_no_figures(reason: RefusalReason) -> None:
    assert HAN.search(reason.summary_zh)
    assert not re.search(r"[{}\[\]—0-9]", reason.summary_zh)


def test_a_figure_that_is_not_known_is_a_dash() -> None:
    assert (
        Refusal(RefusalReason.BELOW_MINIMUM_SPEND, {"order_fen": 1}).message_zh
        == "订单0.01元，未满—元，差—元；券仍可用"
    )


def test_a_request_that_cannot_be_read_is_told_which_field_is_wrong_and_what_to_send() -> None:
    refusal = Refusal(RefusalReason.MALFORMED, field="order.order_fen", remedy="应为大于0的金额 · send more than 0")
    assert refusal.message_zh == "请求格式有误：order.order_fen，应为大于0的金额"
    assert refusal.message_en == "the request cannot be read: order.order_fen, send more than 0"


def test_requests_that_could_not_be_read_or_believed_or_found_nothing_left_do_not_consume_their_id() -> None:
    free = {reason.name for reason in RefusalReason if not reason.consumes_request_id}
    unbelieved = {"MALFORMED", "UNKNOWN_KEY", "BAD_SIGNATURE", "KEY_NOT_VALID", "KEY_REVOKED"}
    assert free == unbelieved | {"REQUEST_ID_REUSED", "QUOTA_EXHAUSTED"}


RETRYABLE = {
    "REGION_SUSPENDED",
    "CAMPAIGN_SUSPENDED",
    "VOUCHER_SUSPENDED",
    "MERCHANT_BLOCKED",
    "NOT_YET_VALID",
    "ALREADY_HELD",
    "NOT_IN_CUSTODY",
    "ISSUER_UNREACHABLE",
    "FUNDING_EXHAUSTED",
    "DEBIT_CAP_EXCEEDED",
    "ROUND_NOT_OPEN",
    "EVIDENCE_MISSING",
}
DEAD = {"VOUCHER_UNKNOWN", "VOUCHER_CANCELLED", "EXPIRED", "ALREADY_REDEEMED", "TERMS_MISMATCH", "BAD_SIGNATURE"}


def test_trying_again_is_advised_only_for_what_may_pass() -> None:
    assert {reason.name for reason in RefusalReason if Refusal(reason).retryable} == RETRYABLE


@pytest.mark.parametrize("name", sorted(DEAD))
def test_nobody_is_told_that_a_dead_voucher_is_good(name: str) -> None:
    assert not Refusal(RefusalReason[name]).voucher_usable


def _places(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}


def _figures_of(reason: RefusalReason) -> set[str]:
    return _places(refusals._TEXTS[reason].zh)
