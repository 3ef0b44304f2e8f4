"""Custody that goes back and forth: a recall, a release in flight, stale messages, a clearinghouse out of reach."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from local_parties import (
    CLEARINGHOUSE,
    HANGZHOU,
    KEYRING,
    PLATFORM,
    LocalClearinghouse,
    LocalNode,
    NoClearinghouse,
    TestSigner,
    feed_head,
    item,
    keys_of,
    message_signer,
    outcome,
    purchase,
)

from clearinghouse.custody import overdue as overdue_there
from clearinghouse.custody import read_hand_over
from clearinghouse.recall import Recall
from custodian.custody_messages import read_refused
from node import service as node_service
from node.custody import Release, overdue
from node.feed import News
from node.recall import TakeReturns
from pki.identity import Identity
from quanlian import hand_overs, wire
from quanlian.errors import InvalidInput
from quanlian.v1 import custody_pb2, node_operator_pb2, redemption_pb2, signed_pb2
from quanlian.vouchers import VoucherKey

CLEARING = TestSigner(CLEARINGHOUSE, "message")
BUDGET_FEN = 400_000


class Between(NoClearinghouse):
    """The clearinghouse as the node reaches it for a recall."""

    def __init__(self, clearinghouse: LocalClearinghouse) -> None:
        super().__init__()
        self._clearinghouse = clearinghouse
        self.sent: list[bytes] = []

    def send(self, items: Sequence[bytes]) -> None:
        self.sent += items

    async def recall(self, request: custody_pb2.RecallRequest) -> custody_pb2.RecallResponse:
        return await self._clearinghouse.service.recall(HANGZHOU, request)


@pytest.fixture
def token(node: LocalNode, clearinghouse: LocalClearinghouse) -> bytes:
    """A pack of two in the clearinghouse's custody."""
    node.publish()
    clearinghouse.learn(node)
    (claimed,) = node.claim()
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(claimed))))
    return claimed


def recall(node: LocalNode, clearinghouse: LocalClearinghouse, *keys: VoucherKey) -> node_service.Recalled:
    node.clearinghouse = Between(clearinghouse)
    service = node.another_service()
    engine = clearinghouse.service.engine
    engine.group = type(engine.group)(engine.decide, name="clearinghouse")
    service.start()
    engine.group.start()
    try:
        return asyncio.run(service.recall(keys))
    finally:
        service.close()
        engine.group.close()


def returned(response: custody_pb2.RecallResponse) -> list[signed_pb2.SignedMessage]:
    return list(response.returns)


def epochs(party: LocalNode | LocalClearinghouse) -> list[int]:
    return [row["epoch"] for row in party.rows("voucher")]


def check(node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
    for party in (node, clearinghouse):
        party.check_books()


class TestRecall:
    def test_a_recalled_voucher_comes_back_with_its_money_and_is_spent_at_home(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        assert node.balance("spring/city") == (0, 0, 0, BUDGET_FEN - 1334)
        assert recall(node, clearinghouse, *keys_of(token)) == (2, [])
        assert node.balance("spring/city") == (0, 1334, 0, BUDGET_FEN)
        assert clearinghouse.balance("spring/city") == (0, 0, 0, 0)
        assert (epochs(node), epochs(clearinghouse)) == ([2, 2], [2, 2])
        (answer,) = node.redeem(item(node.ids.fresh(), redeem=purchase(token, 0, "order")))
        assert outcome(answer) == "CAPTURED"
        check(node, clearinghouse)

    def test_what_comes_by_the_feed_too_is_taken_once(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        recall(node, clearinghouse, *keys_of(token))
        news = [each for each in clearinghouse.feed(HANGZHOU) if each.HasField("custody_return")]
        assert len(news) == 1
        news[0].sequence = 1
        node.decide(News(news, feed_head()))
        assert node.balance("spring/city") == (0, 1334, 0, BUDGET_FEN)
        assert epochs(node) == [2, 2]

    def test_a_return_whose_answer_was_lost_comes_by_the_feed(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        clearinghouse.decide(Recall(HANGZHOU, dict.fromkeys(keys_of(token), 1), []))
        (event,) = [each for each in clearinghouse.feed(HANGZHOU) if each.HasField("custody_return")]
        event.sequence = 1
        node.decide(News([event], feed_head()))
        assert epochs(node) == [2, 2]
        check(node, clearinghouse)

    def test_a_held_or_redeemed_voucher_is_refused_with_the_clearinghouse_s_signature(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        clearinghouse.redeem(
            item(node.ids.fresh(), redeem=purchase(token, 0, "order-1")),
            item(node.ids.fresh(), authorize=purchase(token, 1, "order-2")),
        )
        back, refused = recall(node, clearinghouse, *keys_of(token))
        assert back == 0
        assert [each.reason.name for each in refused] == ["ALREADY_REDEEMED", "ALREADY_HELD"]
        for each in refused:
            assert read_refused(each.message, CLEARINGHOUSE, KEYRING).key in keys_of(token)
        assert epochs(clearinghouse) == [1, 1]

    def test_a_hold_that_has_passed_does_not_stop_a_recall(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        clearinghouse.redeem(item(node.ids.fresh(), authorize=purchase(token, 0, "order")))
        clearinghouse.pass_seconds(900)
        assert recall(node, clearinghouse, keys_of(token)[0]).returned == 1
        check(node, clearinghouse)

    def test_a_recall_does_not_overtake_a_release_in_flight(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        node.publish()
        clearinghouse.learn(node)
        (claimed,) = node.claim()
        in_flight = node.release(*keys_of(claimed))
        assert recall(node, clearinghouse, *keys_of(claimed)) == (2, [])
        clearinghouse.decide(*clearinghouse.hand_overs(in_flight))
        assert (epochs(node), epochs(clearinghouse)) == ([2, 2], [2, 2])
        assert not [row for row in clearinghouse.rows("account") if "spring" in row["account"] and row["limit_fen"]]
        assert node.balance("spring/city") == (0, 1334, 0, BUDGET_FEN)
        check(node, clearinghouse)

    def test_a_repeated_recall_gets_the_same_return_again(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        asked = dict.fromkeys(keys_of(token), 1)
        first, again = (returned(clearinghouse.decide(Recall(HANGZHOU, asked, []))[0]) for _ in range(2))
        assert first == again
        node.decide(TakeReturns(first), TakeReturns(again))
        assert node.balance("spring/city") == (0, 1334, 0, BUDGET_FEN)

    def test_other_money_than_was_given_does_not_come_back(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        (message,) = returned(clearinghouse.decide(Recall(HANGZHOU, dict.fromkeys(keys_of(token), 1), []))[0])
        given = hand_overs.read(message.body)
        first = custody_pb2.HandedVoucher.FromString(given.leaves[0])
        first.reservation.public[0].amount_fen += 1
        other = hand_overs.sign(given.head, [first.SerializeToString(), *given.leaves[1:]], message_signer())
        with pytest.raises(InvalidInput, match="other money"):
            node.decide(TakeReturns([other]))
        assert epochs(node) == [1, 1]


class TestBackAndForth:
    def test_a_voucher_goes_away_again_after_it_was_recalled(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        recall(node, clearinghouse, *keys_of(token))
        key = keys_of(token)[0]
        (message,) = node.decide(Release([key[1:]], {key[1:]: 2}))[0]
        clearinghouse.decide(read_hand_over(HANGZHOU, message.hand_over))
        assert clearinghouse.rows("voucher")[0]["epoch"] == 3
        (answer,) = clearinghouse.redeem(item(node.ids.fresh(), redeem=purchase(token, 0, "order")))
        assert outcome(answer) == "CAPTURED"
        check(node, clearinghouse)

    def test_a_release_request_from_before_the_return_gives_nothing(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        recall(node, clearinghouse, *keys_of(token))
        key = keys_of(token)[0]
        (message,) = node.decide(Release([key[1:]], {key[1:]: 0}))[0]
        assert [each.epoch for each in hand_overs.read(message.hand_over.body).vouchers()] == [1, 1]
        assert epochs(node) == [2, 2]
        clearinghouse.decide(read_hand_over(HANGZHOU, message.hand_over))
        assert epochs(clearinghouse) == [2, 2], "a stale hand-over gives nothing"

    def test_a_release_request_brings_the_return_that_the_issuer_has_not_seen(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        clearinghouse.decide(Recall(HANGZHOU, dict.fromkeys(keys_of(token), 1), []))
        work = clearinghouse.request(item(node.ids.fresh(), redeem=purchase(token, 0, "order")))
        clearinghouse.decide(work)
        assert work.epoch == 2
        assert work.last_return is not None
        asked = custody_pb2.ReleaseRequest(returns=[work.last_return])
        key = keys_of(token)[0]
        asked.vouchers.add(pack_id=key.pack_id, index=key.voucher_index, epoch=work.epoch)
        service = node.another_service()
        service.start()
        (message,) = asyncio.run(service.release(asked))
        service.close()
        clearinghouse.decide(read_hand_over(HANGZHOU, message.hand_over))
        assert epochs(node) == [3, 2]
        assert sorted(epochs(clearinghouse)) == [2, 3]
        check(node, clearinghouse)

    def test_only_the_custodian_expires_a_voucher(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        recall(node, clearinghouse, keys_of(token)[1])
        for party in (node, clearinghouse):
            party.pass_seconds(8 * 86_400)
        with node.database.snapshot() as transaction:
            here = overdue(transaction, HANGZHOU, 100)
        with clearinghouse.database.snapshot() as transaction:
            there = overdue_there(transaction, 100)
        node.decide(here)
        clearinghouse.decide(there)
        assert [row["status"] for row in node.rows("voucher")] == ["usable", "expired"]
        assert [row["status"] for row in clearinghouse.rows("voucher")] == ["expired", "usable"]
        check(node, clearinghouse)


class TestRefusals:
    def test_a_refusal_of_a_release_is_the_issuer_s_signed_word_and_is_kept_with_the_answer(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        node.publish()
        clearinghouse.learn(node)
        (claimed,) = node.claim()
        node.redeem(item(node.ids.fresh(), redeem=purchase(claimed, 0, "order")))
        (message,) = node.release(keys_of(claimed)[0])
        refusal = read_refused(message.release_refused, HANGZHOU, KEYRING)
        work = clearinghouse.request(item(node.ids.fresh(), redeem=purchase(claimed, 0, "other")))
        work.release_failed, work.refusal = refusal.reason, refusal
        (reply,) = clearinghouse.decide(work)
        assert outcome(reply.content) == "ALREADY_REDEEMED"
        (row,) = clearinghouse.rows("release_refusal")
        assert row["body"] == message.release_refused.body


class TestOutOfReach:
    def submit(self, node: LocalNode, request: bytes, lost_for: float) -> tuple[list[bytes], list[bytes]]:
        """What the node answers by itself, and what it sends on, when the link has been away for a while."""
        node.clearinghouse = between = Between(None)  # type: ignore[arg-type]
        service, got = node.another_service(), list[bytes]()
        service.start()

        async def run() -> None:
            service.clearinghouse_lost()
            assert service._lost_at is not None
            service._lost_at -= lost_for
            caller = Identity(HANGZHOU, "platform", PLATFORM)
            waiting = asyncio.create_task(service.submit(caller, [request], got.extend))
            while not (got or between.sent):
                await asyncio.sleep(0)
            waiting.cancel()

        asyncio.run(run())
        service.close()
        return got, between.sent

    def test_a_home_redemption_of_a_released_voucher_is_refused_at_once_when_the_clearinghouse_is_away(
        self, node: LocalNode, token: bytes
    ) -> None:
        request = item(node.ids.fresh(), redeem=purchase(token, 0, "order"))
        (answer,), sent = self.submit(node, request, lost_for=node_service.UNREACHABLE_SECONDS + 1)
        assert outcome(answer) == "NOT_IN_CUSTODY"
        assert wire.parse(redemption_pb2.RedemptionAnswer, answer, "answer").refusal.retryable
        assert sent == []
        assert node.rows("outbox") == node.rows("merchant_order") == []

    def test_a_short_break_of_the_link_is_waited_for(self, node: LocalNode, token: bytes) -> None:
        request = item(node.ids.fresh(), redeem=purchase(token, 0, "order"))
        got, sent = self.submit(node, request, lost_for=0)
        assert not got
        assert len(sent) == 1

    def test_a_request_that_was_sent_is_never_refused_for_the_link(self, node: LocalNode, token: bytes) -> None:
        request = item(node.ids.fresh(), redeem=purchase(token, 0, "order"))
        _, sent = self.submit(node, request, lost_for=0)
        intake = node.intake(request)
        intake.unreachable = True
        (again,) = node.decide(intake)
        assert [again.content] == sent, "its outcome is the clearinghouse's to tell"


class TestOperatorsCall:
    @pytest.mark.parametrize(
        ("request_", "why"),
        [
            (node_operator_pb2.RecallVouchersRequest(campaign="nope"), "no campaign nope here"),
            (
                node_operator_pb2.RecallVouchersRequest(vouchers=[custody_pb2.VoucherRef(pack_id=bytes(15), index=3)]),
                "000/3 不是本地所发 · was not issued here",
            ),
        ],
        ids=["campaign", "voucher"],
    )
    def test_what_this_region_did_not_issue_is_not_recalled_as_if_it_had(
        self, node: LocalNode, token: bytes, request_: node_operator_pb2.RecallVouchersRequest, why: str
    ) -> None:
        with pytest.raises(InvalidInput, match=why):
            node.ask(lambda operations: operations.recall(request_))

    def test_a_campaign_comes_back_but_for_what_was_redeemed(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        clearinghouse.redeem(item(b"r" * 16, redeem=purchase(token, 0, "order")))
        node.clearinghouse = Between(clearinghouse)
        engine = clearinghouse.service.engine
        engine.group = type(engine.group)(engine.decide, name="clearinghouse")
        engine.group.start()
        try:
            request = node_operator_pb2.RecallVouchersRequest(campaign="spring")
            response = node.ask(lambda operations: operations.recall(request))
        finally:
            engine.group.close()
        assert response.returned == 1
        assert [(each.voucher.index, each.reason) for each in response.refused] == [(0, 260)]
