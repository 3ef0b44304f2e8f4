"""Redemptions read back: what became of a request whose answer was lost, and a list that misses none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from batch_stories import request_id
from local_parties import (
    HANGZHOU,
    OPERATOR,
    PLATFORM,
    LocalClearinghouse,
    LocalNode,
    answer_of,
    item,
    keys_of,
    outcome,
    purchase,
)

from chassis.host import handle_as
from custodian.lookup import Listed
from custodian.servicer import RedemptionServicer
from node.redeeming import ClearinghouseAnswer, Forwarded
from pki.identity import Identity
from quanlian.errors import InvalidInput
from quanlian.redemptions import adjust
from quanlian.v1 import redemption_pb2 as pb
from quanlian.wire import posting_message

ALIPAY, UNIONPAY = Identity(HANGZHOU, "platform", PLATFORM), Identity(HANGZHOU, "platform", "unionpay")
NODE = Identity(HANGZHOU, "node")
HOLD_SECONDS = 900


@pytest.fixture
def token(node: LocalNode, clearinghouse: LocalClearinghouse) -> bytes:
    """Hangzhou's pack, used at home, in the clearinghouse's custody: its first voucher; the second stayed."""
    node.publish()
    clearinghouse.learn(node)
    (claimed,) = node.claim()
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(keys_of(claimed)[0])))
    return claimed


class Parties:
    """A platform's requests that the node sends on, and both parties' word on what became of them."""

    def __init__(self, node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
        self.node, self.clearinghouse = node, clearinghouse

    def send(self, content: bytes) -> bytes:
        """To the clearinghouse; its answer is on its way back."""
        (forwarded,) = self.node.decide(self.node.intake(content))
        assert isinstance(forwarded, Forwarded), forwarded
        assert forwarded.content is not None
        (answer,) = self.clearinghouse.redeem(forwarded.content, region=HANGZHOU)
        return answer

    def book(self, answer: bytes) -> pb.RedemptionAnswer:
        self.node.decide(ClearinghouseAnswer(answer))
        return answer_of(answer)

    def ask(self, content: bytes) -> pb.RedemptionAnswer:
        return self.book(self.send(content))

    def adjust(self, id: bytes, fen: int) -> None:
        """As an upheld dispute does, and the node hears of it."""
        with self.clearinghouse.database.transaction() as transaction:
            desk = self.clearinghouse.service.engine.desk(transaction)
            before = desk.books.redemption(id)
            assert before is not None
            voucher = desk.books.voucher(before.voucher)
            assert voucher is not None
            outcome = adjust(before, voucher, fen, desk.credit(before), desk.window, desk.at)
            assert outcome.posting is not None
            desk.books.apply(outcome)
            desk.applied(before, outcome)
            desk.tell(HANGZHOU, adjustment=posting_message(outcome.posting, outcome.redemption))
            desk.save()
        self.node.follow(self.clearinghouse)

    def known(self, id: bytes, caller: Identity = ALIPAY) -> pb.RedemptionRecord | None:
        return asyncio.run(self.node.service.find(caller, id))

    def decided(self, id: bytes) -> pb.RedemptionRecord | None:
        return asyncio.run(self.clearinghouse.service.find(NODE, id))

    def listed(self, caller: Identity = ALIPAY) -> list[Listed]:
        return asyncio.run(self.node.service.page(caller, 0, 1000))


@pytest.fixture
def parties(node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes) -> Parties:
    return Parties(node, clearinghouse)


def state(record: pb.RedemptionRecord | None) -> str:
    assert record is not None
    return pb.RedemptionState.Name(record.state).removeprefix("REDEMPTION_STATE_")


class TestAway:
    def test_each_step_is_read_back_as_the_clearinghouse_has_it(self, parties: Parties, token: bytes) -> None:
        id = parties.ask(item(request_id(1), authorize=purchase(token, 0, "order"))).redemption_id
        for number, (operation, then) in enumerate(
            (
                ({"capture": pb.Capture(redemption_id=id, order_fen=5000)}, "CAPTURED"),
                ({"refund": pb.Refund(redemption_id=id, order_fen=1000)}, "PARTLY_REFUNDED"),
                ({"refund": pb.Refund(redemption_id=id, order_fen=4000)}, "REFUNDED"),
            ),
            start=2,
        ):
            assert parties.known(id) == parties.decided(id)
            parties.ask(item(request_id(number), **operation))
            assert state(parties.known(id)) == then
        record = parties.known(id)
        assert record == parties.decided(id)
        assert record is not None
        assert (record.order.order_id, record.order.order_fen, record.returned_fen) == ("order", 5000, 863)

    def test_an_adjusting_entry_is_read_back_with_what_it_gave_each_funder(
        self, parties: Parties, token: bytes
    ) -> None:
        id = parties.ask(item(request_id(1), redeem=purchase(token, 0, "order"))).redemption_id
        parties.adjust(id, 250)
        record = parties.known(id)
        assert record == parties.decided(id)
        assert record is not None
        assert (record.discount_fen, record.returned_fen) == (750, 250)
        parties.ask(item(request_id(2), refund=pb.Refund(redemption_id=id, order_fen=5800)))
        assert parties.known(id) == parties.decided(id)

    @pytest.mark.parametrize(("operation", "then"), [("authorize", "VOIDED"), ("redeem", "REFUNDED")])
    def test_what_was_reversed_is_read_back(self, parties: Parties, token: bytes, operation: str, then: str) -> None:
        id = parties.ask(item(request_id(1), **{operation: purchase(token, 0, "order")})).redemption_id
        parties.ask(item(request_id(2), reverse=pb.Reverse(original_request_id=request_id(1))))
        assert state(parties.known(id)) == then
        assert parties.known(id) == parties.decided(id)

    def test_a_reverse_that_is_answered_before_its_original_tells_what_was_bought(
        self, parties: Parties, token: bytes
    ) -> None:
        parties.send(item(request_id(1), authorize=purchase(token, 0, "order")))
        answer = parties.ask(item(request_id(2), reverse=pb.Reverse(original_request_id=request_id(1))))
        record = parties.known(answer.redemption_id)
        assert record is not None
        assert (state(record), record.issuer, record.campaign) == ("VOIDED", HANGZHOU, "spring")
        assert (record.order.order_id, record.order.category) == ("order", "retail")

    def test_it_is_the_platform_s_and_the_operator_s_and_nobody_else_s(self, parties: Parties, token: bytes) -> None:
        id = parties.ask(item(request_id(1), redeem=purchase(token, 0, "order"))).redemption_id
        assert parties.known(id) == parties.known(id, OPERATOR) == parties.decided(id)
        assert parties.known(id, UNIONPAY) is None
        assert parties.listed(UNIONPAY) == []
        assert [each.record for each in parties.listed(OPERATOR)] == [parties.known(id)]

    def test_a_hold_that_has_passed_is_expired_unless_its_capture_is_on_its_way(
        self, parties: Parties, token: bytes
    ) -> None:
        id = parties.ask(item(request_id(1), authorize=purchase(token, 0, "order"))).redemption_id
        parties.node.pass_seconds(HOLD_SECONDS - 1)
        assert state(parties.known(id)) == "AUTHORIZED"
        answer = parties.send(item(request_id(2), capture=pb.Capture(redemption_id=id)))
        parties.node.pass_seconds(1)
        assert state(parties.known(id)) == "AUTHORIZED", "the clearinghouse may have captured it"
        assert [state(each.record) for each in parties.listed()] == ["AUTHORIZED"]
        parties.book(answer)
        assert state(parties.known(id)) == "CAPTURED"

    def test_a_hold_that_has_passed_is_expired(self, parties: Parties, token: bytes) -> None:
        id = parties.ask(item(request_id(1), authorize=purchase(token, 0, "order"))).redemption_id
        parties.node.pass_seconds(HOLD_SECONDS)
        assert state(parties.known(id)) == "EXPIRED"


class Edge:
    """The list as a platform calls it."""

    def __init__(self, node: LocalNode) -> None:
        self._servicer = RedemptionServicer(node.service, *[None] * 2)  # type: ignore[arg-type]

    def page(self, size: int, token: bytes = b"") -> pb.ListRedemptionsResponse:
        async def call() -> pb.ListRedemptionsResponse:
            handle_as(ALIPAY)
            context: Any = None
            request = pb.ListRedemptionsRequest(page_size=size, page_token=token)
            return await self._servicer.ListRedemptions(request, context)

        return asyncio.run(call())

    def orders(self, size: int) -> list[list[str]]:
        """The order numbers of each page, to the last."""
        pages, token = list[list[str]](), b""
        while not pages or token:
            response = self.page(size, token)
            pages.append([each.order.order_id for each in response.redemptions])
            token = response.next_page_token
        return pages


class TestList:
    @pytest.fixture
    def edge(self, node: LocalNode) -> Edge:
        return Edge(node)

    def test_home_and_away_are_one_list_in_the_order_of_their_commits(
        self, node: LocalNode, parties: Parties, token: bytes, edge: Edge
    ) -> None:
        more, last = node.claim(2)
        node.redeem(item(request_id(1), redeem=purchase(more, 0, "order-1")))
        parties.ask(item(request_id(2), redeem=purchase(token, 0, "order-2")))
        node.redeem(item(request_id(3), redeem=purchase(more, 1, "order-3")))
        node.redeem(item(request_id(4), redeem=purchase(last, 1, "order-4")))
        ordered = [f"order-{n}" for n in (1, 2, 3, 4)]
        assert edge.orders(1) == [[each] for each in ordered]
        assert edge.orders(3) == [ordered[:3], ordered[3:]]
        assert edge.orders(4) == [ordered], "no empty page follows a full one that is the last"
        assert edge.orders(5) == [ordered]

    def test_what_was_asked_first_and_answered_last_comes_behind_what_was_read(
        self, node: LocalNode, parties: Parties, token: bytes, edge: Edge
    ) -> None:
        """Its id is the oldest; a reader that went on from ids would pass it over."""
        more, last = node.claim(2)
        answer = parties.send(item(request_id(1), redeem=purchase(token, 0, "order-1")))
        node.redeem(item(request_id(2), redeem=purchase(more, 0, "order-2")))
        node.redeem(item(request_id(3), redeem=purchase(last, 0, "order-3")))
        first = edge.page(1)
        parties.book(answer)
        read = edge.page(5, first.next_page_token)
        assert [each.order.order_id for each in (*first.redemptions, *read.redemptions)] == [
            "order-2",
            "order-3",
            "order-1",
        ]

    def test_a_redemption_keeps_its_place_whatever_becomes_of_it(
        self, node: LocalNode, parties: Parties, token: bytes, edge: Edge
    ) -> None:
        (more,) = node.claim()
        (home,) = node.redeem(item(request_id(1), redeem=purchase(more, 0, "order-1")))
        away = parties.ask(item(request_id(2), redeem=purchase(token, 0, "order-2")))
        ids = [answer_of(home).redemption_id, away.redemption_id]
        parties.ask(item(request_id(3), refund=pb.Refund(redemption_id=ids[1], order_fen=5800)))
        (answer,) = node.redeem(item(request_id(4), refund=pb.Refund(redemption_id=ids[0], order_fen=5800)))
        assert outcome(answer) == "REFUNDED"
        assert edge.orders(5) == [["order-1", "order-2"]]
        assert [state(each) for each in edge.page(5).redemptions] == ["REFUNDED"] * 2

    @pytest.mark.parametrize(
        "garbage", [b"garbage", bytes(16), b"after/", b"after/0", b"after/-1", b"after/1 ", b"after/" + b"9" * 19]
    )
    def test_a_token_that_no_page_gave_is_refused(self, edge: Edge, garbage: bytes) -> None:
        with pytest.raises(InvalidInput, match="page_token: is not one that this list gave — send next_page_token"):
            edge.page(5, garbage)
