"""A till that had no answer asks again under a new id: what it is told of the voucher, and of the order, is true."""

from __future__ import annotations

import pytest
from batch_stories import request_id
from local_parties import (
    HANGZHOU,
    LocalClearinghouse,
    LocalNode,
    answer_of,
    item,
    keys_of,
    outcome,
    purchase,
)

from node.redeeming import ClearinghouseAnswer, Forwarded
from quanlian.refusals import RefusalReason
from quanlian.v1 import redemption_pb2 as pb
from quanlian.v1 import refusal_pb2

Answered = tuple[str, bool, bool]


@pytest.fixture
def away(node: LocalNode, clearinghouse: LocalClearinghouse) -> list[bytes]:
    """Packs of two that the clearinghouse has in custody."""
    node.publish()
    clearinghouse.learn(node)
    tokens = node.claim(2)
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*(key for each in tokens for key in keys_of(each)))))
    return tokens


def send(node: LocalNode, content: bytes) -> Forwarded:
    (reply,) = node.decide(node.intake(content))
    assert isinstance(reply, Forwarded), outcome(reply.content)
    return reply


def decided(node: LocalNode, clearinghouse: LocalClearinghouse, content: bytes) -> bytes:
    """A request sent on, decided by the clearinghouse and booked here."""
    (answer,) = clearinghouse.redeem(send(node, content).content, region=HANGZHOU)
    ((_, told),) = node.decide(ClearinghouseAnswer(answer))
    return bytes(told)


def refused(node: LocalNode, content: bytes) -> refusal_pb2.Refusal:
    """Why this node itself refuses a request."""
    (answer,) = node.redeem(content)
    return answer_of(answer).refusal


def told(refusal: refusal_pb2.Refusal) -> Answered:
    return RefusalReason(refusal.reason).name, refusal.retryable, refusal.voucher_usable


def test_a_voucher_captured_away_is_not_called_good(
    node: LocalNode, clearinghouse: LocalClearinghouse, away: list[bytes]
) -> None:
    assert outcome(decided(node, clearinghouse, item(request_id(1), redeem=purchase(away[0], 0, "o")))) == "CAPTURED"
    again = refused(node, item(request_id(2), redeem=purchase(away[0], 0, "o")))
    assert told(again) == ("ALREADY_REDEEMED", False, False)
    assert "券仍可用" not in again.message_zh
    cheap = refused(node, item(request_id(3), redeem=purchase(away[0], 0, "o", 3850)))
    assert told(cheap) == ("BELOW_MINIMUM_SPEND", False, False), "nor for a reason that comes before"
    other = refused(node, item(request_id(4), redeem=purchase(away[0], 1, "o")))
    assert told(other) == ("ORDER_ALREADY_DISCOUNTED", False, True)


def test_a_voucher_captured_at_home_is_answered_alike(node: LocalNode) -> None:
    node.publish()
    (token,) = node.claim()
    node.redeem(item(request_id(1), redeem=purchase(token, 0, "o")))
    assert told(refused(node, item(request_id(2), redeem=purchase(token, 0, "o"))))[0] == "ALREADY_REDEEMED"
    other = refused(node, item(request_id(3), redeem=purchase(token, 1, "o")))
    assert told(other) == ("ORDER_ALREADY_DISCOUNTED", False, True)


@pytest.mark.parametrize("where", ["away", "at home"])
def test_a_voucher_on_hold_for_the_order_says_until_when(
    node: LocalNode, clearinghouse: LocalClearinghouse, where: str
) -> None:
    node.publish()
    clearinghouse.learn(node)
    (token,) = node.claim()
    hold = item(request_id(1), authorize=purchase(token, 0, "o"))
    if where == "away":
        clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(token))))
        held = decided(node, clearinghouse, hold)
    else:
        (held,) = node.redeem(hold)
    again = refused(node, item(request_id(2), redeem=purchase(token, 0, "o")))
    assert told(again) == ("ALREADY_HELD", True, True)
    assert {each.name: each.value for each in again.figures} == {"expires_at": answer_of(held).expires_at}
    other = refused(node, item(request_id(3), redeem=purchase(token, 1, "o")))
    assert told(other) == ("ORDER_ALREADY_DISCOUNTED", True, True), "the hold may yet be voided"


def test_while_a_request_is_being_decided_others_may_try_again(
    node: LocalNode, clearinghouse: LocalClearinghouse, away: list[bytes]
) -> None:
    sent = send(node, item(request_id(1), redeem=purchase(away[0], 0, "o")))
    assert told(refused(node, item(request_id(2), redeem=purchase(away[0], 0, "o")))) == ("ALREADY_HELD", True, True)
    other = refused(node, item(request_id(3), redeem=purchase(away[0], 1, "o")))
    assert told(other) == ("ORDER_ALREADY_DISCOUNTED", True, True)
    (answer,) = clearinghouse.redeem(sent.content, region=HANGZHOU)
    node.decide(ClearinghouseAnswer(answer))
    assert told(refused(node, item(request_id(4), redeem=purchase(away[0], 1, "o"))))[1] is False


def test_a_refunded_voucher_still_has_its_order(
    node: LocalNode, clearinghouse: LocalClearinghouse, away: list[bytes]
) -> None:
    captured = decided(node, clearinghouse, item(request_id(1), redeem=purchase(away[0], 0, "o")))
    refund = pb.Refund(redemption_id=answer_of(captured).redemption_id, order_fen=5800)
    assert outcome(decided(node, clearinghouse, item(request_id(2), refund=refund))) == "REFUNDED"
    again = refused(node, item(request_id(3), redeem=purchase(away[0], 0, "o")))
    assert told(again) == ("ALREADY_REDEEMED", False, False)
