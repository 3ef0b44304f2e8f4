"""Warnings at 75 and 90 % of a region's limits: once a crossing, in its feed, kept; and top-ups that count at once."""

from __future__ import annotations

import pytest
from batch_stories import request_id
from local_parties import (
    AT,
    HANGZHOU,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    answer_of,
    item,
    keys_of,
    outcome,
    purchase,
)

from custodian.decisions import Answered
from quanlian.v1 import clearing_operator_pb2, limit_pb2
from quanlian.v1 import redemption_pb2 as pb

OWED_FEN = 700
"""What Hangzhou owes Shanghai for one voucher of 10.00, by 70:30."""


def redeem(number: int, token: bytes, index: int = 0) -> bytes:
    return item(request_id(number), redeem=purchase(token, index, f"order-{number}"))


def limits(clearinghouse: LocalClearinghouse, cap_fen: int, credit_fen: int = 0, region: str = HANGZHOU) -> None:
    request = clearing_operator_pb2.SetLimitsRequest(
        region=region, net_debit_cap_fen=cap_fen, credit_line_fen=credit_fen
    )
    clearinghouse.do(clearinghouse.service.operations.set_limits(request))


def deposit(clearinghouse: LocalClearinghouse, fen: int, reference: str) -> None:
    request = clearing_operator_pb2.RecordDepositRequest(region=HANGZHOU, amount_fen=fen, bank_reference=reference)
    clearinghouse.do(clearinghouse.service.settlement.record_deposit(request))


def told(clearinghouse: LocalClearinghouse, region: str = HANGZHOU) -> list[tuple[str, int, int, int]]:
    """Measure, percent, used and limit of each warning in a region's feed."""
    warnings = [event.limit_warning for event in clearinghouse.feed(region) if event.HasField("limit_warning")]
    assert [each.number for each in warnings] == list(range(1, len(warnings) + 1))
    return [
        (limit_pb2.LimitMeasure.Name(each.measure)[14:], each.percent, each.used_fen, each.limit_fen)
        for each in warnings
    ]


@pytest.fixture
def tokens(node: LocalNode, clearinghouse: LocalClearinghouse) -> list[bytes]:
    """Ten vouchers of Hangzhou in the clearinghouse's custody, two to a pack."""
    node.publish()
    clearinghouse.learn(node)
    tokens = node.claim(5)
    keys = [key for token in tokens for key in keys_of(token)]
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys)))
    return tokens


def test_each_threshold_is_told_once_in_the_order_in_which_it_was_reached(
    clearinghouse: LocalClearinghouse, tokens: list[bytes]
) -> None:
    limits(clearinghouse, 10 * OWED_FEN)
    clearinghouse.redeem(*(redeem(n, tokens[n // 2], n % 2) for n in range(7)))
    assert told(clearinghouse) == []
    clearinghouse.redeem(redeem(7, tokens[3], 1))
    assert told(clearinghouse) == [("NET_DEBIT", 75, 5600, 7000)]
    clearinghouse.redeem(redeem(8, tokens[4]), redeem(9, tokens[4], 1))
    assert told(clearinghouse) == [("NET_DEBIT", 75, 5600, 7000), ("NET_DEBIT", 90, 6300, 7000)]
    assert told(clearinghouse, SHANGHAI) == [], "who is owed is not warned"


def test_a_threshold_warns_again_only_after_its_use_fell_below(
    clearinghouse: LocalClearinghouse, tokens: list[bytes]
) -> None:
    limits(clearinghouse, 4 * OWED_FEN)
    answers = clearinghouse.redeem(*(redeem(n, tokens[n // 2], n % 2) for n in range(3)))
    assert [percent for _, percent, _, _ in told(clearinghouse)] == [75]
    refund = pb.Refund(redemption_id=answer_of(answers[0]).redemption_id, order_fen=5800)
    clearinghouse.redeem(item(request_id(10), refund=refund))
    assert [percent for _, percent, _, _ in told(clearinghouse)] == [75], "falling below is no warning"
    clearinghouse.redeem(redeem(11, tokens[2]))
    assert [percent for _, percent, _, _ in told(clearinghouse)] == [75, 75]


def test_a_hold_counts_and_its_expiry_arms_again(clearinghouse: LocalClearinghouse, tokens: list[bytes]) -> None:
    limits(clearinghouse, OWED_FEN)
    hold = item(request_id(1), authorize=purchase(tokens[0], 0, "order"))
    clearinghouse.redeem(hold)
    assert told(clearinghouse) == [("NET_DEBIT", 75, 700, 700), ("NET_DEBIT", 90, 700, 700)]
    clearinghouse.pass_seconds(900)
    late = item(request_id(2), void=pb.Void(redemption_id=clearinghouse.rows("redemption")[0]["id"]))
    assert [outcome(answer) for answer in clearinghouse.redeem(late)] == ["HOLD_EXPIRED"]
    clearinghouse.redeem(redeem(3, tokens[0]))
    assert len(told(clearinghouse)) == 4


def test_a_batch_warns_as_its_requests_would_have_one_by_one(
    clearinghouse: LocalClearinghouse, tokens: list[bytes]
) -> None:
    """Up, down and up again within one batch: three crossings."""
    limits(clearinghouse, OWED_FEN)
    hold = clearinghouse.request(item(request_id(1), authorize=purchase(tokens[0], 0, "order-1")))
    void = clearinghouse.request(item(request_id(2), void=pb.Void(redemption_id=hold.received.redemption_id)))
    again = clearinghouse.request(redeem(3, tokens[0], 1))
    replies = clearinghouse.decide(hold, void, again)
    assert [outcome(reply.content) for reply in replies] == ["AUTHORIZED", "VOIDED", "CAPTURED"]
    assert [percent for _, percent, _, _ in told(clearinghouse)] == [75, 90, 75, 90]


def test_the_credit_line_has_its_own_thresholds(clearinghouse: LocalClearinghouse, tokens: list[bytes]) -> None:
    """Hangzhou has 10,000.00 of its own: lodge nothing more and let it use credit."""
    own_fen = 1_000_000
    limits(clearinghouse, 10**8, credit_fen=2 * OWED_FEN)
    with clearinghouse.database.transaction() as transaction:
        participant = clearinghouse.tables["participant"]
        owes = participant.update().where(participant.c.region == HANGZHOU).values(owed_posted_fen=own_fen - OWED_FEN)
        transaction.connection.execute(owes)
    clearinghouse.redeem(redeem(1, tokens[0]))
    assert [measure for measure, *_ in told(clearinghouse)] == ["NET_DEBIT", "NET_DEBIT"], "its own money is used up"
    clearinghouse.redeem(redeem(2, tokens[0], 1), redeem(3, tokens[1]))
    assert told(clearinghouse)[2:] == [("CREDIT_LINE", 75, 1400, 1400), ("CREDIT_LINE", 90, 1400, 1400)]
    (answer,) = clearinghouse.redeem(redeem(4, tokens[1], 1))
    refusal = answer_of(answer).refusal
    figures = {figure.name: figure.value for figure in refusal.figures}
    assert figures == {"exposure_fen": own_fen + 1400, "owed_fen": OWED_FEN, "limit_fen": own_fen + 1400}
    assert "10,014.00" in refusal.message_zh


def test_a_limit_that_is_lowered_warns_and_one_that_is_raised_arms_again(
    clearinghouse: LocalClearinghouse, tokens: list[bytes]
) -> None:
    clearinghouse.redeem(redeem(1, tokens[0]))
    limits(clearinghouse, 900)
    assert told(clearinghouse) == [("NET_DEBIT", 75, 700, 900)]
    limits(clearinghouse, 900)
    assert len(told(clearinghouse)) == 1
    limits(clearinghouse, 10_000)
    limits(clearinghouse, 700)
    assert [percent for _, percent, _, _ in told(clearinghouse)] == [75, 75, 90]


def test_a_top_up_takes_effect_with_the_next_batch_of_the_same_stream(
    clearinghouse: LocalClearinghouse, tokens: list[bytes]
) -> None:
    """Refused, topped up, accepted: what secures Hangzhou is its deposit alone."""
    with clearinghouse.database.transaction() as transaction:
        participant = clearinghouse.tables["participant"]
        owes = participant.update().where(participant.c.region == HANGZHOU).values(owed_posted_fen=1_000_000)
        transaction.connection.execute(owes)
    first = clearinghouse.request(redeem(1, tokens[0]))
    (refused,) = clearinghouse.decide(first)
    assert isinstance(refused, Answered)
    assert outcome(refused.content) == "DEBIT_CAP_EXCEEDED"
    assert answer_of(refused.content).refusal.retryable
    deposit(clearinghouse, OWED_FEN, "top-up")
    again, repeated, over = clearinghouse.decide(
        clearinghouse.request(redeem(2, tokens[0])),
        first,
        clearinghouse.request(redeem(3, tokens[0], 1)),
    )
    assert outcome(again.content) == "CAPTURED"
    assert repeated.content == refused.content, "a refusal is final for its id"
    assert outcome(over.content) == "DEBIT_CAP_EXCEEDED", "the top-up covers one"


def test_a_deposit_arms_the_warnings_again(clearinghouse: LocalClearinghouse, tokens: list[bytes]) -> None:
    with clearinghouse.database.transaction() as transaction:
        participant = clearinghouse.tables["participant"]
        owes = participant.update().where(participant.c.region == HANGZHOU).values(owed_posted_fen=749_999)
        transaction.connection.execute(owes)
    clearinghouse.redeem(redeem(1, tokens[0]))
    deposit(clearinghouse, 1_000_000, "top-up")
    assert [row["limit_percent"] for row in clearinghouse.rows("participant")] == [0, 0]
    assert [percent for _, percent, _, _ in told(clearinghouse)] == [75]


def test_warnings_are_kept_and_shown_to_the_operators_of_both(
    node: LocalNode, clearinghouse: LocalClearinghouse, tokens: list[bytes]
) -> None:
    limits(clearinghouse, OWED_FEN)
    clearinghouse.redeem(redeem(1, tokens[0]))
    node.follow(clearinghouse)
    node.follow(clearinghouse)
    at_clearinghouse = clearinghouse.do(clearinghouse.service.operations.status())
    at_node = node.ask(lambda operations: operations.status())
    assert list(at_node.warnings) == list(at_clearinghouse.warnings)
    assert [(each.percent, each.used_fen, each.at) for each in at_node.warnings] == [(90, 700, AT), (75, 700, AT)]
    (hangzhou,) = [each for each in at_clearinghouse.regions if each.region == HANGZHOU]
    assert (hangzhou.limit_percent, hangzhou.credit_percent) == (90, 0)
    assert node.rows("limit_warning") == clearinghouse.rows("limit_warning")
