"""A platform's request that its node sends on is one request at the clearinghouse, however often it is sent."""

from __future__ import annotations

import pytest
import structlog
from batch_stories import request_id
from local_parties import (
    AT,
    CLEARINGHOUSE,
    HANGZHOU,
    KEYRING,
    LocalClearinghouse,
    LocalNode,
    answer_of,
    item,
    keys_of,
    outcome,
    purchase,
)

from clearinghouse.recall import Recall
from custodian.custody_messages import read_refused
from custodian.decisions import Answered
from node.recall import TakeReturns
from node.redeeming import ClearinghouseAnswer, Forwarded
from quanlian import wire
from quanlian.suspensions import SuspensionKind
from quanlian.v1 import redemption_pb2 as pb
from quanlian.wire import MAX_ITEM_BYTES

REVERSE = item(request_id(2), reverse=pb.Reverse(original_request_id=request_id(1)))


class Away:
    """Hangzhou's node sends on what it is asked about its own released vouchers."""

    def __init__(self, node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
        self.node, self.clearinghouse = node, clearinghouse
        node.publish()
        clearinghouse.learn(node)
        (self.token,) = node.claim()
        clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(self.token))))
        self.redeem = item(request_id(1), redeem=purchase(self.token, 0, "order"))
        self.authorize = item(request_id(1), authorize=purchase(self.token, 0, "order"))

    def suspend_key(self, suspended: bool = True) -> None:
        """At the clearinghouse; the node has not heard of it."""
        key_id = wire.body_to_voucher(wire.bytes_to_token(self.token).body).key_id.hex()
        bad_from = AT - 100 if suspended else 0
        self.clearinghouse.suspend(SuspensionKind.KEY, key_id, suspended=suspended, bad_from=bad_from)

    def sent(self, content: bytes) -> Forwarded:
        (reply,) = self.node.decide(self.node.intake(content))
        assert isinstance(reply, Forwarded), outcome(reply.content)
        return reply

    def decided(self, sent: Forwarded) -> bytes:
        """What the clearinghouse answers to it, on its way."""
        (answer,) = self.clearinghouse.redeem(sent.content, region=HANGZHOU)
        return answer

    def booked(self, answer: bytes) -> str:
        ((_, given),) = self.node.decide(ClearinghouseAnswer(answer))
        return outcome(given)

    def here(self, content: bytes) -> str:
        """The outcome of a request that the node decides alone."""
        (answer,) = self.node.redeem(content)
        return outcome(answer)

    def recall(self) -> None:
        """The node takes the voucher back."""
        key = keys_of(self.token)[0]
        (given,) = self.clearinghouse.decide(Recall(HANGZHOU, {key: 1}, []))
        self.node.decide(TakeReturns(list(given.returns)))

    def late(self, sent: Forwarded) -> str:
        """The outcome at the clearinghouse of what was sent before: it asks for the voucher, and decides then."""
        work = self.clearinghouse.request(sent.content, HANGZHOU)
        (reply,) = self.clearinghouse.decide(work)
        if isinstance(reply, Answered):
            return outcome(reply.content)
        assert reply.voucher is not None
        messages = self.node.release(reply.voucher)
        self.clearinghouse.decide(*self.clearinghouse.hand_overs(messages))
        refused = [read_refused(each.release_refused, HANGZHOU, KEYRING) for each in messages]
        work.release_failed = refused[0].reason if refused else None
        (reply,) = self.clearinghouse.decide(work)
        return outcome(reply.content)

    def pass_seconds(self, seconds: int) -> None:
        for party in (self.node, self.clearinghouse):
            party.pass_seconds(seconds)

    def check_books(self) -> None:
        for party in (self.node, self.clearinghouse):
            party.check_books()

    def padded(self, size: int) -> bytes:
        """The redeem with an unknown field, so many bytes long."""
        rest = size - len(self.redeem)
        return self.redeem + b"\xfa\x07" + _varint(rest - 4) + bytes(rest - 4)

    def asked(self, content: bytes) -> str:
        """The outcome of a request, wherever it is decided."""
        (reply,) = self.node.decide(self.node.intake(content))
        return outcome(reply.content) if isinstance(reply, Answered) else self.booked(self.decided(reply))


@pytest.fixture
def away(node: LocalNode, clearinghouse: LocalClearinghouse) -> Away:
    return Away(node, clearinghouse)


class TestReversed:
    def test_an_original_that_was_refused_without_using_its_id_up_is_reversed_when_it_comes_late(
        self, away: Away
    ) -> None:
        away.suspend_key()
        assert away.asked(away.redeem) == "KEY_REVOKED"
        assert away.asked(REVERSE) == "done"
        away.suspend_key(suspended=False)
        (late,) = away.node.redeem(away.redeem)
        assert outcome(late) == "REVERSED"
        assert answer_of(late).request_id == request_id(1)
        assert away.clearinghouse.rows("redemption") == []
        assert away.asked(item(request_id(3), redeem=purchase(away.token, 0, "order"))) == "CAPTURED"
        away.node.check_books()
        away.clearinghouse.check_books()

    def test_so_is_a_copy_of_it_that_is_still_on_its_way_to_the_clearinghouse(self, away: Away) -> None:
        away.suspend_key()
        copy = away.sent(away.redeem)
        assert away.booked(away.decided(copy)) == "KEY_REVOKED"
        assert away.asked(REVERSE) == "done"
        away.suspend_key(suspended=False)
        assert away.booked(away.decided(copy)) == "REVERSED"
        assert away.clearinghouse.rows("redemption") == []

    def test_and_one_that_is_tried_again_before_the_reverse_is_decided(self, away: Away) -> None:
        away.suspend_key()
        assert away.asked(away.redeem) == "KEY_REVOKED"
        reverse = away.sent(REVERSE)
        away.suspend_key(suspended=False)
        again = away.sent(away.redeem)
        assert away.booked(away.decided(reverse)) == "done"
        assert away.booked(away.decided(again)) == "REVERSED"
        assert away.asked(away.redeem) == "REVERSED"
        assert away.clearinghouse.rows("redemption") == []

    def test_what_was_captured_meanwhile_is_refunded_by_the_reverse(self, away: Away) -> None:
        away.suspend_key()
        assert away.asked(away.redeem) == "KEY_REVOKED"
        away.suspend_key(suspended=False)
        again = away.sent(away.redeem)
        reverse = away.sent(REVERSE)
        assert away.booked(away.decided(again)) == "CAPTURED"
        assert away.booked(away.decided(reverse)) == "REFUNDED"
        assert away.asked(away.redeem) == "CAPTURED", "its own answer stays what it was"
        away.node.check_books()
        away.clearinghouse.check_books()


class TestReversedAfterItsVoucherCameHome:
    """A request that was sent on and refused without using its id up may be decided here, once its voucher is back."""

    def test_what_was_captured_here_is_refunded_here_at_once(self, away: Away) -> None:
        away.suspend_key()
        copy = away.sent(away.redeem)
        assert away.booked(away.decided(copy)) == "KEY_REVOKED"
        away.suspend_key(suspended=False)
        away.recall()
        assert away.here(away.redeem) == "CAPTURED"
        assert away.here(REVERSE) == "REFUNDED"
        assert away.here(away.redeem) == "CAPTURED", "its own answer stays what it was"
        assert [row["state"] for row in away.node.rows("redemption")] == ["REFUNDED"]
        assert away.late(copy) == "ALREADY_REDEEMED", "its voucher is dead, so a late copy takes nothing"
        away.check_books()

    def test_what_is_held_here_is_voided_once_no_copy_of_it_can_be_held_there(self, away: Away) -> None:
        away.suspend_key()
        copy = away.sent(away.authorize)
        assert away.booked(away.decided(copy)) == "KEY_REVOKED"
        away.suspend_key(suspended=False)
        away.recall()
        assert away.here(away.authorize) == "AUTHORIZED"
        assert away.asked(REVERSE) == "VOIDED"
        assert [row["state"] for row in away.node.rows("redemption")] == ["VOIDED"]
        assert away.late(copy) == "REVERSED"
        assert away.here(away.authorize) == "AUTHORIZED"
        assert away.here(item(request_id(3), redeem=purchase(away.token, 0, "order"))) == "CAPTURED"
        away.check_books()

    @pytest.mark.parametrize("operation", ["redeem", "authorize"])
    def test_what_is_decided_here_while_its_reverse_is_on_its_way_is_undone(self, away: Away, operation: str) -> None:
        original = getattr(away, operation)
        away.suspend_key()
        assert away.asked(original) == "KEY_REVOKED"
        reverse = away.sent(REVERSE)
        away.suspend_key(suspended=False)
        away.recall()
        assert away.here(original) in ("CAPTURED", "AUTHORIZED")
        answer = away.decided(reverse)
        assert outcome(answer) == "done"
        undone = {"redeem": "REFUNDED", "authorize": "VOIDED"}[operation]
        assert [away.booked(answer), away.booked(answer), away.here(REVERSE)] == [undone] * 3
        assert [row["state"] for row in away.node.rows("redemption")] == [undone]
        away.check_books()

    def test_of_a_hold_that_has_passed_here_nothing_is_left_to_undo(self, away: Away) -> None:
        away.suspend_key()
        copy = away.sent(away.authorize)
        assert away.booked(away.decided(copy)) == "KEY_REVOKED"
        away.suspend_key(suspended=False)
        away.recall()
        assert away.here(away.authorize) == "AUTHORIZED"
        away.pass_seconds(900)
        assert away.asked(REVERSE) == "done"
        assert away.late(copy) == "REVERSED"
        assert [row["state"] for row in away.node.rows("redemption")] == ["EXPIRED"]
        away.check_books()


class TestTriedAgain:
    def test_after_such_a_refusal_the_very_same_bytes_are_sent_again(self, away: Away) -> None:
        away.suspend_key()
        first = away.sent(away.redeem)
        assert away.booked(away.decided(first)) == "KEY_REVOKED"
        assert away.sent(away.redeem) == first
        assert len(away.node.rows("outbox")) == 1

    def test_under_that_id_no_other_body_is_sent(self, away: Away) -> None:
        away.suspend_key()
        assert away.asked(away.redeem) == "KEY_REVOKED"
        other = item(request_id(1), redeem=purchase(away.token, 1, "order"))
        (refused,) = away.node.redeem(other)
        assert outcome(refused) == "REQUEST_ID_REUSED"
        away.suspend_key(suspended=False)
        assert away.asked(away.redeem) == "CAPTURED"

    def test_answers_to_its_copies_that_come_late_are_taken_each(self, away: Away) -> None:
        away.suspend_key()
        copies = [away.sent(away.redeem), away.sent(away.redeem)]
        first, second = map(away.decided, copies)
        assert away.booked(first) == "KEY_REVOKED"
        away.suspend_key(suspended=False)
        again = away.sent(away.redeem)
        captured = away.decided(again)
        assert away.booked(second) == "KEY_REVOKED"
        assert away.booked(captured) == "CAPTURED"
        assert away.asked(away.redeem) == "CAPTURED"
        away.node.check_books()

    def test_an_answer_to_nothing_that_was_sent_is_dropped_and_the_others_of_its_batch_are_booked(
        self, away: Away
    ) -> None:
        answer = away.decided(away.sent(away.redeem))
        stranger = wire.done(wire.Stamp(request_id(99), CLEARINGHOUSE, AT))
        with structlog.testing.capture_logs() as logs:
            dropped, (_, given) = away.node.decide(ClearinghouseAnswer(stranger), ClearinghouseAnswer(answer))
        assert dropped is None
        assert outcome(given) == "CAPTURED"
        assert [each["request_id"] for each in logs] == [request_id(99).hex()]


class TestSize:
    def test_the_longest_item_that_a_platform_may_send_is_decided_away_too(self, away: Away) -> None:
        assert away.asked(away.padded(MAX_ITEM_BYTES)) == "CAPTURED"

    def test_one_that_is_longer_is_refused_by_the_node_and_not_sent_on(self, away: Away) -> None:
        (refused,) = away.node.redeem(away.padded(MAX_ITEM_BYTES + 1))
        assert outcome(refused) == "MALFORMED"
        assert away.node.rows("outbox") == []


def _varint(number: int) -> bytes:
    """Of two bytes."""
    return bytes([number & 0x7F | 0x80, number >> 7])
