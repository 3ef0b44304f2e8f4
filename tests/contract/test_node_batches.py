"""A node's batches on real databases: what a batch gives, it would have given one by one, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from unittest import mock

import pytest
from batch_stories import HOLDS_A_BATCH, PACKS, STORIES, Story, redemption_id_of, request_id, requests_of
from hypothesis import given, settings
from local_parties import (
    CLEARINGHOUSE,
    HANGZHOU,
    KEYRING,
    MINIMUM_FEN,
    PLATFORM,
    LocalNode,
    StandingFactory,
    answer_of,
    feed_head,
    item,
    keys_of,
    outcome,
    purchase,
    received,
    refusal_of,
    undone,
)

from custodian import overdue as overdue_holds
from custodian.batching import decide_apart
from custodian.custody_messages import read_refused
from node.custody import HandOverTaken, Release, overdue
from node.desk import Desk
from node.feed import News
from node.redeeming import ClearinghouseAnswer, Forwarded, Intake
from node.service import NodeService
from pki.identity import Identity
from quanlian import hand_overs, wire
from quanlian.errors import InvalidInput
from quanlian.redemptions import State
from quanlian.refusals import Refusal, RefusalReason
from quanlian.v1 import claim_pb2, custody_pb2, redemption_pb2, signed_pb2
from quanlian.vouchers import VoucherKey

pb = redemption_pb2


class TestClaims:
    def test_a_claim_reserves_the_highest_discounts_from_every_funder(self, node: LocalNode) -> None:
        node.publish()
        node.claim()
        # Twice 10.00 by weights 2:1, each voucher by itself: 667 + 333.
        assert node.balance("spring/city") == (0, 1334, 0, 400_000)
        assert node.balance("spring/county") == (0, 666, 0, 200_000)
        assert [row["reserved_fen"] for row in node.rows("pack")] == [2000]

    def test_the_last_pack_that_fits_the_quota_is_issued_and_the_next_refused(self, node: LocalNode) -> None:
        node.publish(quota=3)
        answers = node.decide(*(node.claim_work(f"holder-{n}") for n in range(5)))
        assert [refusal_of(answer) for answer in answers] == ["", "", "", "QUOTA_EXHAUSTED", "QUOTA_EXHAUSTED"]
        assert len(node.rows("pack")) == 3

    def test_the_last_pack_that_fits_the_budget_is_issued_and_the_next_refused(self, node: LocalNode) -> None:
        node.publish(city=40, county=20)
        answers = node.decide(*(node.claim_work(f"holder-{n}") for n in range(4)))
        assert [refusal_of(answer) for answer in answers] == ["", "", "", "FUNDING_EXHAUSTED"]
        reserved = node.balance("spring/city")[1] + node.balance("spring/county")[1]
        assert reserved == 3 * 2000 == 6000, "to the last fen, by the cascade"
        node.check_books()

    def test_a_claim_that_is_repeated_within_its_batch_gets_the_same_answer(self, node: LocalNode) -> None:
        node.publish()
        claim = node.claim_work("holder")
        first, second = node.decide(claim, node.claim_work("holder", claim.key[1]))
        assert first == second
        assert len(node.rows("pack")) == 1

    def test_a_claim_that_is_repeated_later_gets_the_same_answer(self, node: LocalNode) -> None:
        node.publish()
        claim = node.claim_work("holder")
        (first,) = node.decide(claim)
        node.pass_seconds(3600)
        (second,) = node.decide(node.claim_work("holder", claim.key[1]))
        assert first == second
        assert len(node.rows("pack")) == 1

    @pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in two batches"])
    def test_the_same_id_with_another_claim_is_refused_for_that_claim_alone(
        self, node: LocalNode, together: bool
    ) -> None:
        node.publish()
        claim = node.claim_work("holder")
        other = node.claim_work("somebody else", claim.key[1])
        answers = node.decide(claim, other) if together else node.decide(claim) + node.decide(other)
        assert [refusal_of(answer) for answer in answers] == ["", "REQUEST_ID_REUSED"]

    def test_a_holder_s_limit_counts_within_a_batch_too(self, node: LocalNode) -> None:
        node.publish(per_person=2)
        answers = node.decide(*(node.claim_work("holder") for _ in range(3)))
        assert [refusal_of(answer) for answer in answers] == ["", "", "CLAIM_LIMIT_REACHED"]
        (later,) = node.decide(node.claim_work("holder"))
        assert refusal_of(later) == "CLAIM_LIMIT_REACHED"

    def test_a_holder_s_limit_of_a_day_counts_anew_the_next_day_and_that_of_the_round_does_not(
        self, node: LocalNode
    ) -> None:
        node.publish(per_person="3\nper_day = 2")
        told = []
        for _ in range(3):
            told.append([refusal_of(each) for each in node.decide(*(node.claim_work("holder") for _ in range(2)))])
            told.append([refusal_of(each) for each in node.decide(node.claim_work("holder"))])
            node.check_books()
            node.pass_seconds(86_400)
        limit = "CLAIM_LIMIT_REACHED"
        assert told == [["", ""], [limit], ["", limit], [limit], [limit, limit], [limit]]

    def test_a_quota_is_exact_whoever_claims_at_the_same_time(self, node: LocalNode) -> None:
        """Two services over one database, as two processes: sixty claims at once for fifty packs."""
        node.publish(quota=50)
        services = [node.another_service() for _ in range(2)]
        answers = asyncio.run(_claim_at_once(services, node, 60))
        assert Counter(map(refusal_of, answers)) == {"": 50, "QUOTA_EXHAUSTED": 10}
        assert len(node.rows("pack")) == 50
        assert node.rows("claim_round")[0]["claimed"] == 50
        node.check_books()

    def test_a_batch_of_many_packs_is_signed_in_trees_that_all_verify(self, node: LocalNode) -> None:
        node.publish(quota=1000, city=40_000, county=20_000)
        tokens = [token for packs in (300, 1) for token in node.claim(packs)]
        assert len({wire.bytes_to_token(token).signature for token in tokens}) == 3
        answers = node.redeem(
            *(item(request_id(n), redeem=purchase(token, 0, f"order-{n}")) for n, token in enumerate(tokens[::50]))
        )
        assert {outcome(answer) for answer in answers} == {"CAPTURED"}


async def _claim_at_once(services: list[NodeService], node: LocalNode, count: int) -> list[bytes]:
    caller = Identity(HANGZHOU, "platform", PLATFORM)
    for service in services:
        service.start()
    contents = [node.claim_content(f"holder-{n}") for n in range(count)]
    calls = [services[n % len(services)].claim(caller, [content]) for n, content in enumerate(contents)]
    answers = [answer for (answer,) in await asyncio.gather(*calls)]
    for service in services:
        await asyncio.to_thread(service.close)
    return answers


class TestRedemptions:
    def test_one_of_two_requests_for_a_voucher_in_one_batch_wins(self, node: LocalNode) -> None:
        node.publish()
        (token,) = node.claim()
        answers = node.redeem(*(item(request_id(n), redeem=purchase(token, 0, f"order-{n}")) for n in range(2)))
        assert [outcome(answer) for answer in answers] == ["CAPTURED", "ALREADY_REDEEMED"]
        node.check_books()

    def test_an_order_takes_one_public_voucher_also_within_a_batch(self, node: LocalNode) -> None:
        node.publish()
        (token,) = node.claim()
        answers = node.redeem(*(item(request_id(n), redeem=purchase(token, n, "order")) for n in range(2)))
        assert [outcome(answer) for answer in answers] == ["CAPTURED", "ORDER_ALREADY_DISCOUNTED"]

    @pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in two batches"])
    def test_a_repeated_request_gets_the_same_bytes_and_changes_nothing(self, node: LocalNode, together: bool) -> None:
        node.publish()
        (token,) = node.claim()
        content = item(request_id(1), redeem=purchase(token, 0, "order"))
        answers = node.redeem(content, content) if together else node.redeem(content) + node.redeem(content)
        assert answers[0] == answers[1]
        assert outcome(answers[0]) == "CAPTURED"
        assert len(node.rows("redemption")) == 1

    def test_the_same_id_with_a_changed_amount_is_refused_for_that_request_alone(self, node: LocalNode) -> None:
        node.publish()
        (token,) = node.claim()
        first = item(request_id(1), redeem=purchase(token, 0, "order", 5800))
        changed = item(request_id(1), redeem=purchase(token, 0, "order", 5900))
        answers = node.redeem(first, changed, first)
        assert [outcome(answer) for answer in answers] == ["CAPTURED", "REQUEST_ID_REUSED", "CAPTURED"]
        assert answers[0] == answers[2]

    def test_a_malformed_request_does_not_use_up_its_id(self, node: LocalNode) -> None:
        node.publish()
        (token,) = node.claim()
        broken = item(request_id(1), redeem=purchase(token, 0, ""))
        (answer,) = node.redeem(broken)
        assert outcome(answer) == "MALFORMED"
        assert answer_of(answer).refusal.field == "order.order_id"
        mended = item(request_id(1), redeem=purchase(token, 0, "order"))
        assert [outcome(answer) for answer in node.redeem(mended)] == ["CAPTURED"]

    def test_a_hold_is_good_to_its_last_second_and_not_a_second_longer(self, node: LocalNode) -> None:
        node.publish()
        (token,) = node.claim()
        holds = node.redeem(*(item(request_id(n), authorize=purchase(token, n, f"order-{n}")) for n in range(2)))
        first, second = (answer_of(hold).redemption_id for hold in holds)
        node.pass_seconds(899)
        (in_time,) = node.redeem(item(request_id(2), capture=pb.Capture(redemption_id=first)))
        node.pass_seconds(1)
        (late,) = node.redeem(item(request_id(3), capture=pb.Capture(redemption_id=second)))
        assert [outcome(in_time), outcome(late)] == ["CAPTURED", "HOLD_EXPIRED"]
        assert node.balance("spring/city")[1:3] == (667, 0), "the money of the hold is reserved again"
        node.check_books()

    def test_whoever_finds_a_hold_expired_may_use_its_voucher_and_its_order(self, node: LocalNode) -> None:
        node.publish()
        (token,) = node.claim()
        node.redeem(item(request_id(1), authorize=purchase(token, 0, "order")))
        node.pass_seconds(900)
        (answer,) = node.redeem(item(request_id(2), redeem=purchase(token, 0, "order")))
        assert outcome(answer) == "CAPTURED"
        assert [row["state"] for row in node.rows("redemption")] == ["EXPIRED", "CAPTURED"]
        node.check_books()

    def test_a_voided_hold_gives_voucher_order_and_money_free(self, node: LocalNode) -> None:
        node.publish()
        (token,) = node.claim()
        before = node.balance("spring/city")
        (hold,) = node.redeem(item(request_id(1), authorize=purchase(token, 0, "order")))
        void = item(request_id(2), void=pb.Void(redemption_id=answer_of(hold).redemption_id))
        again = item(request_id(3), redeem=purchase(token, 0, "order"))
        answers = node.redeem(void, again)
        assert [outcome(answer) for answer in answers] == ["VOIDED", "CAPTURED"]
        assert node.balance("spring/city") == (667, before[1] - 667, 0, before[3])

    def test_the_sweep_expires_holds_and_vouchers_that_nobody_asks_for(self, node: LocalNode) -> None:
        node.publish()
        (token,) = node.claim()
        node.redeem(item(request_id(1), authorize=purchase(token, 0, "order")))
        node.pass_seconds(8 * 86_400)
        with node.database.snapshot() as transaction:
            sweep = overdue(transaction, HANGZHOU, 100)
        node.decide(sweep)
        assert [row["state"] for row in node.rows("redemption")] == ["EXPIRED"]
        assert {row["status"] for row in node.rows("voucher")} == {"expired"}
        assert node.balance("spring/city") == (0, 0, 0, 400_000)
        node.check_books()


class TestReversals:
    def test_a_reverse_of_a_hold_is_a_void_and_of_a_capture_a_full_refund(self, node: LocalNode) -> None:
        node.publish()
        (token,) = node.claim()
        node.redeem(
            item(request_id(1), authorize=purchase(token, 0, "order-1")),
            item(request_id(2), redeem=purchase(token, 1, "order-2")),
        )
        answers = node.redeem(
            *(item(request_id(10 + n), reverse=pb.Reverse(original_request_id=request_id(n))) for n in (1, 2))
        )
        assert [outcome(answer) for answer in answers] == ["VOIDED", "REFUNDED"]
        assert node.balance("spring/city")[0] == 0

    def test_a_claim_is_not_reversed_and_its_pack_stays(self, node: LocalNode) -> None:
        node.publish()
        claim = node.claim_work("holder", request_id(1))
        (granted,) = node.decide(claim)
        (answer,) = node.redeem(item(request_id(2), reverse=pb.Reverse(original_request_id=request_id(1))))
        assert outcome(answer) == "REDEMPTION_UNKNOWN"
        assert node.decide(claim) == [granted]

    @pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in two batches"])
    def test_an_original_that_arrives_after_its_reverse_changes_nothing(self, node: LocalNode, together: bool) -> None:
        node.publish()
        (token,) = node.claim()
        reverse = item(request_id(2), reverse=pb.Reverse(original_request_id=request_id(1)))
        original = item(request_id(1), redeem=purchase(token, 0, "order"))
        answers = node.redeem(reverse, original) if together else node.redeem(reverse) + node.redeem(original)
        assert [outcome(answer) for answer in answers] == ["done", "REVERSED"]
        refusal = answer_of(answers[1]).refusal
        assert not refusal.voucher_usable, "nothing was known of its voucher when it was reversed"
        assert (refusal.message_zh, refusal.message_en) == ("该请求已被冲正", "the request was reversed")
        assert node.rows("redemption") == []
        (other,) = node.redeem(item(request_id(3), redeem=purchase(token, 0, "order")))
        assert outcome(other) == "CAPTURED", "voucher and order are as they were"


class TestFaults:
    def test_a_faulty_work_fails_alone_and_the_others_of_its_batch_get_their_answers(self, node: LocalNode) -> None:
        node.publish()
        (token,) = node.claim()
        unknown = pb.RedemptionAnswer(request_id=request_id(99), decider=CLEARINGHOUSE).SerializeToString()
        gap = News([custody_pb2.FeedEvent(sequence=7, statement_ready=1)], feed_head())
        works = [
            node.intake(item(request_id(1), redeem=purchase(token, 0, "order-1"))),
            ClearinghouseAnswer(unknown),
            gap,
            node.intake(item(request_id(2), redeem=purchase(token, 1, "order-2"))),
        ]
        results = decide_apart(lambda some: node.decide(*some), works)
        assert [outcome(results[n].content) for n in (0, 3)] == ["CAPTURED", "CAPTURED"]
        assert results[1] is None, "an answer to nothing that was sent is dropped"
        assert isinstance(results[2], InvalidInput)
        assert "7 follows 0" in str(results[2])
        node.check_books()


class TestCustody:
    def test_a_released_voucher_takes_its_money_and_its_limit_along(self, node: LocalNode) -> None:
        node.publish()
        first, _ = keys_of(node.claim()[0])
        (message,) = node.release(first)
        handed = hand_overs.read(message.hand_over.body).vouchers()
        assert [(each.key.voucher_index, each.epoch) for each in handed] == [(0, 1)]
        assert node.balance("spring/city") == (0, 667, 0, 400_000 - 667)
        assert [(row["epoch"], row["reserved_public"]) for row in node.rows("voucher")] == [(1, "[]")]

    def test_a_release_that_is_asked_again_gets_the_same_signed_hand_over(self, node: LocalNode) -> None:
        node.publish()
        keys = keys_of(node.claim()[0])
        (first,) = node.release(*keys)
        (again,) = node.release(*keys)
        assert first == again
        assert len(node.rows("hand_over")) == 1

    def test_what_cannot_be_released_is_refused_by_name(self, node: LocalNode) -> None:
        node.publish()
        captured, held = keys_of(node.claim()[0])
        node.redeem(
            item(request_id(1), redeem=purchase(tokens_of(node)[0], 0, "order-1")),
            item(request_id(2), authorize=purchase(tokens_of(node)[0], 1, "order-2")),
        )
        unknown = VoucherKey(HANGZHOU, bytes(15), 0)
        beyond = held._replace(voucher_index=9)
        refused = {
            refusal.key[1:]: refusal.reason.name
            for each in node.release(captured, held, unknown, beyond)
            if (refusal := read_refused(each.release_refused, HANGZHOU, KEYRING))
        }
        assert refused == {
            captured[1:]: "ALREADY_REDEEMED",
            held[1:]: "ALREADY_HELD",
            unknown[1:]: "VOUCHER_UNKNOWN",
            beyond[1:]: "VOUCHER_UNKNOWN",
        }
        assert node.rows("hand_over") == []

    def test_an_expired_hold_does_not_stop_a_release(self, node: LocalNode) -> None:
        node.publish()
        key, _ = keys_of(node.claim()[0])
        node.redeem(item(request_id(1), authorize=purchase(tokens_of(node)[0], 0, "order")))
        node.pass_seconds(900)
        (message,) = node.release(key)
        assert message.HasField("hand_over")
        node.check_books()

    def test_a_release_and_a_redemption_in_one_batch_leave_one_spender(self, node: LocalNode) -> None:
        node.publish()
        first, second = keys_of(node.claim()[0])
        here = node.intake(item(request_id(1), redeem=purchase(tokens_of(node)[0], 0, "order-1")))
        gone = node.intake(item(request_id(2), redeem=purchase(tokens_of(node)[0], 1, "order-2")))
        give = Release([first[1:], second[1:]])
        captured, messages, forwarded = node.decide(here, give, gone)
        assert outcome(captured.content) == "CAPTURED"
        assert [message.WhichOneof("message") for message in messages] == ["hand_over", "release_refused"]
        assert isinstance(forwarded, Forwarded), "a released voucher is the clearinghouse's to decide"

    def test_packs_that_roam_from_their_issue_are_handed_over_in_the_claim_s_commit(self, node: LocalNode) -> None:
        node.publish(roaming="at-issue")
        node.claim(3)
        assert node.balance("spring/city") == (0, 0, 0, 400_000 - 3 * 1334)
        (row,) = node.rows("hand_over")
        assert len(hand_overs.read(row["body"]).leaves) == 6

    def test_a_hand_over_is_open_until_the_clearinghouse_has_taken_it(self, node: LocalNode) -> None:
        node.publish()
        node.release(*keys_of(node.claim()[0]))
        assert [number for number, _ in asyncio.run(node.service.open_hand_overs(0))] == [1]
        node.decide(HandOverTaken(1))
        assert asyncio.run(node.service.open_hand_overs(0)) == []


class TestOutbox:
    def test_a_request_in_flight_is_sent_again_under_one_id_and_a_changed_one_is_refused(self, node: LocalNode) -> None:
        node.publish()
        token = node.claim()[0]
        node.release(*keys_of(token))
        content = item(request_id(1), redeem=purchase(token, 0, "order"))
        changed = item(request_id(1), redeem=purchase(token, 0, "order", MINIMUM_FEN))
        first, second, third = node.decide(*map(node.intake, (content, content, changed)))
        assert second == first
        assert outcome(third.content) == "REQUEST_ID_REUSED"
        assert asyncio.run(node.service.unanswered()) == [first.content]

    def test_an_answer_that_comes_twice_is_booked_once(self, node: LocalNode) -> None:
        node.publish()
        token = node.claim()[0]
        node.release(*keys_of(token))
        (sent,) = node.decide(node.intake(item(request_id(1), redeem=purchase(token, 0, "order"))))
        answer = _accepted(node, token, sent.own_id)
        first, second = node.decide(ClearinghouseAnswer(answer), ClearinghouseAnswer(answer))
        (third,) = node.decide(ClearinghouseAnswer(answer))
        assert first == second == third
        assert outcome(first[1]) == "CAPTURED"
        assert answer_of(first[1]).request_id == request_id(1), "the platform gets it under its own id"
        assert node.balance("payable/alipay")[0] == -1000
        assert asyncio.run(node.service.unanswered()) == []

    def test_an_order_that_was_refused_away_is_free_again(self, node: LocalNode) -> None:
        node.publish()
        token = node.claim()[0]
        node.release(*keys_of(token))
        (sent,) = node.decide(node.intake(item(request_id(1), redeem=purchase(token, 0, "order"))))
        stamp = wire.Stamp(sent.own_id, CLEARINGHOUSE, node.database.at)
        node.decide(ClearinghouseAnswer(wire.refused(stamp, Refusal(RefusalReason.DEBIT_CAP_EXCEEDED))))
        (again,) = node.decide(node.intake(item(request_id(2), redeem=purchase(token, 1, "order"))))
        assert isinstance(again, Forwarded)

    def test_orders_that_a_batch_frees_are_looked_up_together(self, node: LocalNode) -> None:
        """At home, where holds have passed, and away, where the clearinghouse refused."""
        node.publish()
        tokens = node.claim(4)
        node.release(*(key for token in tokens[2:] for key in keys_of(token)))
        requests = [item(request_id(n), authorize=purchase(tokens[n], 0, f"order-{n}")) for n in range(4)]
        *_, first, second = node.decide(*map(node.intake, requests))
        node.pass_seconds(901)
        stamps = [wire.Stamp(sent.own_id, CLEARINGHOUSE, node.database.at) for sent in (first, second)]
        refusals = [wire.refused(stamp, Refusal(RefusalReason.DEBIT_CAP_EXCEEDED)) for stamp in stamps]
        with mock.patch.object(Desk, "load_orders", autospec=True, side_effect=Desk.load_orders) as looked_up:
            node.decide(*map(ClearinghouseAnswer, refusals))
        looked_up.assert_called_once()
        again = [item(request_id(9 + n), redeem=purchase(tokens[n], 1, f"order-{n}")) for n in range(4)]
        home, also_home, *away = node.decide(*map(node.intake, again))
        assert [outcome(each.content) for each in (home, also_home)] == ["CAPTURED"] * 2
        assert all(isinstance(each, Forwarded) for each in away)

    def test_a_hold_that_passed_does_not_take_its_order_back_from_another_voucher(self, node: LocalNode) -> None:
        node.publish()
        tokens = node.claim(2)
        node.release(*keys_of(tokens[0]), *keys_of(tokens[1]))
        (held,) = node.decide(node.intake(item(request_id(1), authorize=purchase(tokens[0], 0, "order"))))
        hold = redemption_pb2.RedemptionAnswer(
            request_id=held.own_id,
            redemption_id=bytes(15) + b"h",
            state=redemption_pb2.REDEMPTION_STATE_AUTHORIZED,
            order_fen=5800,
            expires_at=node.database.at + 4,
        )
        node.decide(ClearinghouseAnswer(hold.SerializeToString()))
        node.pass_seconds(4)
        (other,) = node.decide(node.intake(item(request_id(2), redeem=purchase(tokens[0], 1, "order"))))
        node.decide(ClearinghouseAnswer(_accepted(node, tokens[0], other.own_id)))
        capture = redemption_pb2.Capture(redemption_id=hold.redemption_id)
        (late,) = node.redeem(item(request_id(3), capture=capture))
        (third,) = node.redeem(item(request_id(4), redeem=purchase(tokens[1], 0, "order")))
        assert [outcome(late), outcome(third)] == ["HOLD_EXPIRED", "ORDER_ALREADY_DISCOUNTED"]


class TestFeed:
    def test_news_is_taken_once_and_in_order(self, node: LocalNode) -> None:
        node.publish()
        events = [_fund_return(1, node, 500), _fund_return(2, node, 300)]
        node.decide(News(events, feed_head()))
        node.decide(News(events, feed_head()))
        node.decide(News([events[1], _fund_return(3, node, 1)], feed_head()))
        assert node.balance("spring/city")[3] == 400_000 + 801
        assert [row["number"] for row in node.rows("fund_return")] == [1, 2, 3]

    def test_a_gap_is_refused_and_nothing_of_it_is_taken(self, node: LocalNode) -> None:
        node.publish()
        with pytest.raises(InvalidInput, match="event 3 follows 1"):
            node.decide(News([_fund_return(1, node, 500), _fund_return(3, node, 300)], feed_head()))
        assert node.balance("spring/city")[3] == 400_000
        assert asyncio.run(node.service.feed_position()) == 0


def tokens_of(node: LocalNode) -> list[bytes]:
    """Tokens of the packs that were claimed, in that order."""
    answers = [row["answer"] for row in node.rows("request") if row["operation"] == "claim"]
    return [claim_pb2.ClaimAnswer.FromString(answer).token for answer in answers]


def _accepted(node: LocalNode, token: bytes, own_id: bytes) -> bytes:
    """The clearinghouse's answer to a redemption at home of a voucher in its custody."""
    (account,) = [row["account"] for row in node.rows("account") if row["account"].endswith("spring/city")]
    legs = [signed_pb2.Leg(account=account, amount_fen=1000)]
    posting = pb.Posting(
        redemption_id=b"d" * 16,
        number=1,
        window=1,
        campaign="spring",
        issuer=HANGZHOU,
        redeeming_region=HANGZHOU,
        order_fen=5800,
        discount_fen=1000,
        legs=legs,
        state=State.CAPTURED.value,  # type: ignore[arg-type]
    )
    return pb.RedemptionAnswer(
        request_id=own_id,
        redemption_id=b"d" * 16,
        state=State.CAPTURED.value,  # type: ignore[arg-type]
        discount_fen=1000,
        order_fen=5800,
        decider=CLEARINGHOUSE,
        posting=posting,
    ).SerializeToString()


def _fund_return(sequence: int, node: LocalNode, amount_fen: int) -> custody_pb2.FeedEvent:
    (account,) = [row["account"] for row in node.rows("account") if row["account"].endswith("spring/city")]
    legs = [signed_pb2.Leg(account=account, amount_fen=amount_fen)]
    body = custody_pb2.FundReturn(region=HANGZHOU, number=sequence, legs=legs).SerializeToString()
    return custody_pb2.FeedEvent(sequence=sequence, fund_return=signed_pb2.SignedMessage(body=body))


# A batch and its requests one by one


@pytest.fixture(scope="module")
def two_nodes(open_lasting_party: StandingFactory) -> tuple[LocalNode, LocalNode]:
    """Two nodes with the same keys, campaign and packs."""
    together, apart = (LocalNode(open_lasting_party(name)) for name in ("together", "apart"))
    for node in (together, apart):
        node.publish()
        node.claim(PACKS)
    return together, apart


@settings(max_examples=25, deadline=None)
@given(story=STORIES, most=HOLDS_A_BATCH)
def test_a_batch_gives_what_its_requests_would_have_given_one_by_one(
    two_nodes: tuple[LocalNode, LocalNode], story: Story, most: int
) -> None:
    together, apart = two_nodes
    with undone(together, apart), mock.patch.object(overdue_holds, "HOLDS_A_BATCH", most):
        tokens, asked = tokens_of(together), list[bytes]()
        assert tokens == tokens_of(apart)
        for seconds, steps in story:
            requests = requests_of(steps, tokens, asked)
            for node in (together, apart):
                node.pass_seconds(seconds)
            singles = [result for request in requests for result in apart.decide(_work(request))]
            assert _answers(together.decide(*map(_work, requests))) == _answers(singles)
        assert together.outcome() == apart.outcome()
        for node in (together, apart):
            node.check_books()


def _work(request: bytes | VoucherKey) -> Intake | Release:
    if isinstance(request, VoucherKey):
        return Release([request[1:]])
    own_id = b"own-id------" + wire.request_id_of(request)[12:]
    return Intake(received(request, PLATFORM, HANGZHOU, redemption_id_of(request)), own_id)


def _answers(results: list[Any]) -> list[Any]:
    return [sorted(map(_refs, result)) if isinstance(result, list) else result for result in results]


def _refs(message: custody_pb2.CustodyStreamRequest) -> tuple[str, list[tuple[bytes, int]]]:
    """What a message gives or refuses; the number of its hand-over is not of interest."""
    if message.HasField("hand_over"):
        return "given", [each.key[1:] for each in hand_overs.read(message.hand_over.body).vouchers()]
    refused = read_refused(message.release_refused, HANGZHOU, KEYRING)
    return refused.reason.name, [refused.key[1:]]
