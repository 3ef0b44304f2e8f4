"""Quotes: the custodian's answer wherever they are asked, nothing booked, and nobody asked to release a voucher."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from batch_stories import request_id
from local_parties import (
    CLEARINGHOUSE,
    HANGZHOU,
    PLATFORM,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    NoClearinghouse,
    answer_of,
    item,
    keys_of,
    outcome,
    purchase,
)

from clearinghouse.receipts import receipts_of
from custodian.decisions import Answered
from node.recovery import RelearnAnswer
from node.service import NodeService
from pki.identity import Identity
from quanlian.errors import Unavailable
from quanlian.v1 import custody_pb2
from quanlian.v1 import redemption_pb2 as pb

ALIPAY, NODE = Identity(HANGZHOU, "platform", PLATFORM), Identity(HANGZHOU, "node")


class Between(NoClearinghouse):
    """The clearinghouse as the node reaches it for quotes, or does not."""

    def __init__(self, clearinghouse: LocalClearinghouse) -> None:
        super().__init__()
        self.far, self.reachable, self.asked = clearinghouse, True, list[bytes]()
        self.sent: list[bytes] = []

    def send(self, items: Sequence[bytes]) -> None:
        self.sent += items

    async def quote(self, items: Sequence[bytes]) -> Sequence[bytes]:
        if not self.reachable:
            raise Unavailable("the clearinghouse: cut off")
        self.asked += items
        answers: list[bytes] = []
        await self.far.service.submit(NODE, items, answers.extend)
        return answers


@pytest.fixture
def between(node: LocalNode, clearinghouse: LocalClearinghouse) -> Between:
    node.publish()
    clearinghouse.learn(node)
    node.clearinghouse = Between(clearinghouse)
    return node.clearinghouse


@pytest.fixture
def token(node: LocalNode, clearinghouse: LocalClearinghouse, between: Between) -> bytes:
    """Hangzhou's pack in the clearinghouse's custody."""
    (claimed,) = node.claim()
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(claimed))))
    return claimed


def ask(node: LocalNode, clearinghouse: LocalClearinghouse, *contents: bytes, lost: bool = False) -> list[bytes]:
    """What the platform is answered at the node; `lost`: the redeem stream has been away for long."""
    service, engine, got = node.another_service(), clearinghouse.service.engine, list[bytes]()
    engine.group = type(engine.group)(engine.decide, name=CLEARINGHOUSE)

    async def run(service: NodeService) -> None:
        if lost:
            service.clearinghouse_lost()
            service._lost_at = asyncio.get_running_loop().time() - 60
        await service.submit(ALIPAY, contents, got.extend)

    service.start()
    engine.group.start()
    try:
        asyncio.run(run(service))
    finally:
        service.close()
        engine.group.close()
    return got


def quote(number: int, token: bytes, index: int = 0, order_fen: int = 5800) -> bytes:
    return item(request_id(number), quote=purchase(token, index, f"order-{number}", order_fen))


def redeemed(clearinghouse: LocalClearinghouse, token: bytes, index: int = 0, operation: str = "redeem") -> None:
    """In Shanghai, by way of the clearinghouse."""
    request = item(clearinghouse.ids.fresh(), **{operation: purchase(token, index, f"away-{index}")})
    (answer,) = clearinghouse.redeem(request, region=SHANGHAI)
    assert not answer_of(answer).HasField("refusal")


class TestAway:
    def test_a_voucher_used_or_held_away_is_not_quoted_as_good_by_its_issuer(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        first, second = ask(node, clearinghouse, quote(1, token, 0), quote(2, token, 1))
        assert [outcome(first), outcome(second)] == ["quoted", "quoted"]
        assert answer_of(first).discount_fen == 1000
        assert answer_of(first).decider == CLEARINGHOUSE
        redeemed(clearinghouse, token, 0)
        redeemed(clearinghouse, token, 1, "authorize")
        answers = ask(node, clearinghouse, quote(3, token, 0), quote(4, token, 1))
        assert sorted(map(outcome, answers)) == ["ALREADY_HELD", "ALREADY_REDEEMED"]

    def test_a_quote_leaves_nothing_in_the_outbox_takes_no_order_and_books_nothing(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, between: Between, token: bytes
    ) -> None:
        kept = ("voucher", "account", "entry", "redemption")
        before = [{name: party.rows(name) for name in kept} for party in (node, clearinghouse)]
        ask(node, clearinghouse, quote(1, token))
        assert [{name: party.rows(name) for name in kept} for party in (node, clearinghouse)] == before
        assert node.rows("outbox") == node.rows("merchant_order") == between.sent == []

    def test_a_repeated_quote_gets_the_same_bytes_and_asks_nobody_again(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, between: Between, token: bytes
    ) -> None:
        (first,) = ask(node, clearinghouse, quote(1, token))
        redeemed(clearinghouse, token)
        (again,) = ask(node, clearinghouse, quote(1, token))
        assert again == first
        assert len(between.asked) == 1
        (other,) = ask(node, clearinghouse, quote(1, token, order_fen=5900))
        assert outcome(other) == "REQUEST_ID_REUSED"

    def test_the_same_id_twice_in_one_message_has_one_answer(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        first, again, other = ask(
            node, clearinghouse, quote(1, token), quote(1, token), quote(1, token, order_fen=5900)
        )
        assert first == again
        assert outcome(other) == "REQUEST_ID_REUSED"

    @pytest.mark.parametrize("lost", [False, True], ids=["since now", "for long"])
    def test_while_the_clearinghouse_is_out_of_reach_a_quote_is_refused_to_be_tried_again(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, between: Between, token: bytes, lost: bool
    ) -> None:
        between.reachable = False
        (answer,) = ask(node, clearinghouse, quote(1, token), lost=lost)
        assert outcome(answer) == "NOT_IN_CUSTODY"
        assert answer_of(answer).refusal.retryable
        assert node.rows("outbox") == node.rows("merchant_order") == []
        between.reachable = True
        (answer,) = ask(node, clearinghouse, quote(2, token))
        assert outcome(answer) == "quoted"

    def test_what_was_quoted_is_learned_again_after_a_restore_without_an_order_or_an_open_request(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        (first,) = ask(node, clearinghouse, quote(1, token))
        with node.database.transaction() as transaction:
            transaction.connection.execute(node.tables["request"].delete())
        (row,) = [each for each in clearinghouse.rows("request") if each["operation"] == "quote"]
        (sent,) = node.clearinghouse.asked  # type: ignore[attr-defined]
        assert receipts_of(clearinghouse.database, HANGZHOU, custody_pb2.GetReceiptsRequest())
        answered = custody_pb2.AnsweredItem(item=sent, answer=row["answer"])
        assert node.decide(RelearnAnswer(answered), RelearnAnswer(answered)) == [True, False]
        assert ask(node, clearinghouse, quote(1, token)) == [first]
        assert node.rows("outbox") == node.rows("merchant_order") == []


class TestClearinghouse:
    def test_a_voucher_that_it_never_had_is_quoted_by_its_terms_and_nobody_is_asked_for_it(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, between: Between
    ) -> None:
        (claimed,) = node.claim()
        (reply,) = clearinghouse.decide(clearinghouse.request(quote(1, claimed)))
        assert isinstance(reply, Answered)
        assert answer_of(reply.content).discount_fen == 1000
        (reply,) = clearinghouse.decide(clearinghouse.request(quote(2, claimed, order_fen=3000)))
        assert outcome(reply.content) == "BELOW_MINIMUM_SPEND"

    def test_a_quote_at_home_is_the_issuer_s_own(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, between: Between
    ) -> None:
        (claimed,) = node.claim()
        (answer,) = ask(node, clearinghouse, quote(1, claimed))
        assert (outcome(answer), answer_of(answer).decider) == ("quoted", HANGZHOU)
        node.redeem(item(b"r" * 16, redeem=purchase(claimed, 0, "order")))
        (answer,) = ask(node, clearinghouse, quote(2, claimed))
        assert outcome(answer) == "ALREADY_REDEEMED"
        assert between.asked == []

    def test_a_quote_that_was_reversed_while_it_was_asked_stays_reversed(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, between: Between, token: bytes
    ) -> None:
        reverse = item(b"v" * 16, reverse=pb.Reverse(original_request_id=request_id(1)))
        first, second = ask(node, clearinghouse, quote(1, token), reverse)
        assert [outcome(first), outcome(second)] == ["done", "REVERSED"]
