"""A voucher that its issuer takes out of use for good: refused everywhere, its money free again, who and why kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from local_parties import (
    CLEARINGHOUSE,
    HANGZHOU,
    KEYRING,
    OPERATOR,
    LocalClearinghouse,
    LocalNode,
    NoClearinghouse,
    answer_of,
    item,
    keys_of,
    outcome,
    purchase,
)

from clearinghouse.redeeming import Redeem
from custodian.custody_messages import read_refused
from node.cancelling import Cancel
from node.operations import NodeOperations
from quanlian.errors import InvalidInput, Unavailable
from quanlian.refusals import RefusalReason
from quanlian.v1 import cancellation_pb2, custody_pb2, node_operator_pb2
from quanlian.v1 import redemption_pb2 as pb
from quanlian.vouchers import VoucherKey

Result = TypeVar("Result")
WHY = "returned by its holder"
FREE = (0, 0, 0, 400_000)
"""Posted, reserved, held and limit of a budget from which nothing is taken."""


class Reachable(NoClearinghouse):
    """The clearinghouse as the node reaches it for a recall, or does not."""

    def __init__(self, clearinghouse: LocalClearinghouse | None) -> None:
        super().__init__()
        self._clearinghouse = clearinghouse

    async def recall(self, request: custody_pb2.RecallRequest) -> custody_pb2.RecallResponse:
        if self._clearinghouse is None:
            raise Unavailable("the clearinghouse: UNAVAILABLE")
        return await self._clearinghouse.service.recall(HANGZHOU, request)


@pytest.fixture
def token(node: LocalNode) -> bytes:
    """A pack of two vouchers of 10 yuan, in its issuer's custody."""
    node.publish()
    return node.claim()[0]


def cancel(node: LocalNode, key: VoucherKey, why: str = WHY) -> cancellation_pb2.Cancellation:
    ref = custody_pb2.VoucherRef(pack_id=key.pack_id, index=key.voucher_index)
    request = node_operator_pb2.CancelVoucherRequest(voucher=ref, why=why)
    return node.ask(lambda operations: operations.cancel_voucher(OPERATOR, request))


def cancelled(node: LocalNode) -> list[cancellation_pb2.Cancellation]:
    return node.ask(lambda operations: operations.cancellations())


def reserved(node: LocalNode) -> int:
    """What the campaign's two funders have reserved together, in fen."""
    return sum(node.balance(f"spring/{funder}")[1] for funder in ("city", "county"))


def redeem(node: LocalNode, token: bytes, index: int = 0) -> bytes:
    (answer,) = node.redeem(item(node.ids.fresh(), redeem=purchase(token, index, f"order-{index}")))
    return answer


class TestAtHome:
    def test_its_money_is_free_again_and_it_is_refused_from_then_on_while_its_neighbour_stays_good(
        self, node: LocalNode, token: bytes
    ) -> None:
        before = reserved(node)
        made = cancel(node, keys_of(token)[0])
        assert (made.freed_fen, reserved(node)) == (1000, before - 1000)
        answer = answer_of(redeem(node, token))
        assert RefusalReason(answer.refusal.reason) is RefusalReason.VOUCHER_CANCELLED
        assert not answer.refusal.voucher_usable
        assert not answer.refusal.retryable
        assert outcome(redeem(node, token, 1)) == "CAPTURED"
        assert reserved(node) == 0
        node.check_books()

    def test_who_and_why_are_kept_signed_and_shown(self, node: LocalNode, token: bytes) -> None:
        first, second = keys_of(token)
        made = cancel(node, second)
        node.pass_seconds(1)
        cancel(node, first, "issued by mistake")
        assert [(each.index, each.why, each.by) for each in cancelled(node)] == [
            (1, WHY, OPERATOR.uri),
            (0, "issued by mistake", OPERATOR.uri),
        ]
        (row,) = [each for each in node.rows("cancellation") if each["voucher_index"] == 1]
        key = KEYRING[row["key_id"]]
        assert (key.owner, key.purpose) == (HANGZHOU, "message")
        node.service.keyring.verify(row["key_id"], "cancellation", row["body"], row["signature"])
        assert cancellation_pb2.Cancellation.FromString(row["body"]) == made

    def test_within_one_batch_the_order_of_arrival_decides(self, node: LocalNode, token: bytes) -> None:
        first, second = keys_of(token)
        use = node.intake(item(node.ids.fresh(), redeem=purchase(token, 0, "order-0")))
        late = node.intake(item(node.ids.fresh(), redeem=purchase(token, 1, "order-1")))
        captured, *_, refused = node.decide(use, Cancel(second, OPERATOR.uri, WHY), late)
        assert (outcome(captured.content), outcome(refused.content)) == ("CAPTURED", "VOUCHER_CANCELLED")
        with pytest.raises(InvalidInput, match="is redeemed already"):
            cancel(node, first)
        node.check_books()

    def test_a_voucher_that_is_held_is_left_alone_until_its_hold_is_over(self, node: LocalNode, token: bytes) -> None:
        (held,) = node.redeem(item(node.ids.fresh(), authorize=purchase(token, 0, "order")))
        key, _ = keys_of(token)
        with pytest.raises(InvalidInput, match="is on hold for an order — 先撤销占用"):
            cancel(node, key)
        node.redeem(item(node.ids.fresh(), void=pb.Void(redemption_id=answer_of(held).redemption_id)))
        assert cancel(node, key).freed_fen == 1000
        node.check_books()

    def test_a_hold_that_the_clock_has_passed_does_not_stop_it(self, node: LocalNode, token: bytes) -> None:
        node.redeem(item(node.ids.fresh(), authorize=purchase(token, 0, "order")))
        node.pass_seconds(900)
        assert cancel(node, keys_of(token)[0]).freed_fen == 1000
        node.check_books()

    def test_a_reason_is_needed_and_each_voucher_is_cancelled_once(self, node: LocalNode, token: bytes) -> None:
        key, _ = keys_of(token)
        with pytest.raises(InvalidInput, match="needs why it is made"):
            cancel(node, key, "")
        cancel(node, key)
        with pytest.raises(InvalidInput, match="is cancelled already"):
            cancel(node, key)
        with pytest.raises(InvalidInput, match="is no voucher of this region"):
            cancel(node, key._replace(pack_id=bytes(15)))
        with pytest.raises(InvalidInput, match="is no voucher of this region"):
            cancel(node, key._replace(voucher_index=7))
        assert len(cancelled(node)) == 1

    def test_one_that_has_expired_is_told_as_that(self, node: LocalNode, token: bytes) -> None:
        node.pass_seconds(30 * 86_400)
        with pytest.raises(InvalidInput, match="has expired, its money is free already"):
            cancel(node, keys_of(token)[0])

    def test_a_refund_of_what_was_redeemed_before_goes_on(self, node: LocalNode, token: bytes) -> None:
        captured = answer_of(redeem(node, token, 1))
        cancel(node, keys_of(token)[0])
        refund = pb.Refund(redemption_id=captured.redemption_id, order_fen=5800)
        (answer,) = node.redeem(item(node.ids.fresh(), refund=refund))
        assert outcome(answer) == "REFUNDED"
        node.check_books()


class TestAway:
    def test_the_clearinghouse_is_refused_and_tells_who_asked(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        clearinghouse.learn(node)
        key, _ = keys_of(token)
        cancel(node, key)
        (message,) = node.release(key)
        refusal = read_refused(message.release_refused, HANGZHOU, node.service.keyring)
        assert refusal.reason is RefusalReason.VOUCHER_CANCELLED
        request = clearinghouse.request(item(clearinghouse.ids.fresh(), redeem=purchase(token, 0, "order")))
        (answer,) = clearinghouse.decide(Redeem(request.received, refusal.reason, refusal))
        assert outcome(answer.content) == "VOUCHER_CANCELLED"
        assert not answer_of(answer.content).refusal.voucher_usable

    def test_one_that_is_away_is_recalled_first_with_its_money(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        given(node, clearinghouse, token)
        node.clearinghouse = Reachable(clearinghouse)
        key, other = keys_of(token)
        assert running(clearinghouse, lambda: cancel(node, key)).freed_fen == 1000
        states = {row["voucher_index"]: (row["status"], row["epoch"]) for row in node.rows("voucher")}
        assert states == {key.voucher_index: ("cancelled", 2), other.voucher_index: ("usable", 1)}
        assert reserved(node) == 0, "the other's money is with the clearinghouse"
        request = clearinghouse.request(item(clearinghouse.ids.fresh(), redeem=purchase(token, 0, "order")))
        (elsewhere,) = clearinghouse.decide(request)
        assert not hasattr(elsewhere, "content"), "its issuer is asked, who refuses"
        for party in (node, clearinghouse):
            party.check_books()

    def test_one_that_is_redeemed_there_stays_redeemed(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        given(node, clearinghouse, token)
        node.clearinghouse = Reachable(clearinghouse)
        (answer,) = clearinghouse.redeem(item(clearinghouse.ids.fresh(), redeem=purchase(token, 0, "order")))
        assert outcome(answer) == "CAPTURED"
        with pytest.raises(
            InvalidInput, match=r"the clearinghouse keeps it: 券已核销.*have the order refunded instead"
        ):
            running(clearinghouse, lambda: cancel(node, keys_of(token)[0]))
        assert cancelled(node) == []

    def test_one_that_expired_there_needs_nothing(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        given(node, clearinghouse, token)
        with clearinghouse.database.engine.begin() as connection:
            connection.execute(clearinghouse.tables["voucher"].update().values(status="expired"))
        node.clearinghouse = Reachable(clearinghouse)
        with pytest.raises(InvalidInput, match=r"the clearinghouse keeps it: .* there is nothing to cancel"):
            running(clearinghouse, lambda: cancel(node, keys_of(token)[0]))
        assert cancelled(node) == []

    def test_while_the_clearinghouse_is_away_nothing_is_decided_over_its_head(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        given(node, clearinghouse, token)
        node.clearinghouse = Reachable(None)
        key, _ = keys_of(token)
        with pytest.raises(Unavailable):
            cancel(node, key)
        with pytest.raises(InvalidInput, match="is with the clearinghouse — 先收回 · recall it first"):
            node.ask(lambda operations: _decide(operations, Cancel(key, OPERATOR.uri, WHY)))
        assert cancelled(node) == []
        assert {row["status"] for row in node.rows("voucher")} == {"usable"}


def given(node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes) -> None:
    """The pack is in the clearinghouse's custody."""
    clearinghouse.learn(node)
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(token))))


def running(clearinghouse: LocalClearinghouse, call: Callable[[], Result]) -> Result:
    """A call while the clearinghouse decides."""
    engine = clearinghouse.service.engine
    engine.group = type(engine.group)(engine.decide, name=CLEARINGHOUSE)
    engine.group.start()
    try:
        return call()
    finally:
        engine.group.close()


def _decide(operations: NodeOperations, work: Cancel) -> Awaitable[object]:
    return operations._service.engine.submit(work)
