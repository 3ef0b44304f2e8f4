"""What an older incarnation gave, or was given, is void unless recovery or the feed brings it; it is given anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from local_parties import (
    CLEARINGHOUSE,
    HANGZHOU,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    Party,
    feed_head,
    item,
    keys_of,
    outcome,
    purchase,
)
from restored_network import Network, back_up, restore

from clearinghouse import relearning
from clearinghouse.adapters.grpc_services import CustodyServicer
from clearinghouse.recall import Recall
from custodian.incarnations import Void
from custodian.lineage import RecoveryNeeded
from node.custody import Release
from node.recall import TakeReturns
from node.service import NodeService
from quanlian import hand_overs
from quanlian.errors import InvalidInput, Unavailable
from quanlian.hand_overs import Incarnations
from quanlian.v1 import custody_pb2, signed_pb2
from quanlian.vouchers import VoucherKey


@pytest.fixture
def network(node: LocalNode, clearinghouse: LocalClearinghouse, tmp_path: Path) -> Network:
    return Network(node, clearinghouse, tmp_path)


def give(network: Network, *keys: VoucherKey) -> signed_pb2.SignedMessage:
    """A hand-over that is signed and not sent yet."""
    (message,) = network.node.release(*keys)
    return message.hand_over


def take(network: Network, message: signed_pb2.SignedMessage) -> int:
    return network.do(lambda service: network.clearinghouse.service.take_hand_over(HANGZHOU, message))


def anew(network: Network, number: int) -> list[signed_pb2.SignedMessage]:
    """What the node sends when it hears that one of its hand-overs is void."""
    return [each.hand_over for each in network.do(lambda service: service.hand_over_void(number))]


def incarnations(message: signed_pb2.SignedMessage) -> Incarnations:
    return hand_overs.read(message.body).head.incarnations


def meet(network: Network) -> None:
    """Both tell where they stand, as at the opening of a custody stream."""

    async def run(service: NodeService) -> None:
        position = await service.recovery.position()
        await service.recovery.compare(network.clearinghouse.service.recovery.compare(HANGZHOU, position))

    network.do(run)


def epochs(party: Party) -> list[int]:
    return [row["epoch"] for row in party.rows("voucher")]


def same_bytes(network: Network) -> bool:
    """Whether both hold the same hand-overs."""
    given = {row["number"]: (row["body"], row["signature"]) for row in network.node.rows("hand_over")}
    taken = {row["number"]: (row["body"], row["signature"]) for row in network.clearinghouse.rows("hand_over")}
    return given == taken


class TestRestoredGiver:
    def test_a_hand_over_from_before_the_restore_is_void_and_the_normal_course_goes_on(self, network: Network) -> None:
        first, second = network.node.claim(2)
        copy = back_up(network.node)
        delayed = give(network, *keys_of(first))
        restore(network.node, copy)
        assert network.recover_node().incarnation == 2
        with pytest.raises(Void, match="hand-over 1 of 330100: void: signed in its incarnation 1, and it is in 2"):
            take(network, delayed)
        assert (network.clearinghouse.rows("voucher"), network.clearinghouse.rows("hand_over")) == ([], [])
        given = give(network, *keys_of(second))
        assert incarnations(given) == Incarnations(2, 1)
        assert take(network, given) == 1
        with pytest.raises(Void, match="signed in its incarnation 1"):
            take(network, delayed)
        assert epochs(network.clearinghouse) == [1, 1]
        for number, token in enumerate((first, second)):
            request = item(network.node.ids.fresh(), redeem=purchase(token, 0, f"order-{number}"))
            assert [outcome(each) for each in network.redeem(request)] == ["CAPTURED"]
        assert len(network.clearinghouse.rows("redemption")) == 1, "the first was redeemed at home"
        network.check()

    def test_a_repeated_hand_over_of_the_same_incarnation_is_taken_once(self, network: Network) -> None:
        given = give(network, *keys_of(network.node.claim()[0]))
        assert take(network, given) == 1
        before = network.clearinghouse.rows("voucher"), network.clearinghouse.rows("account")
        assert take(network, given) == 1
        assert (network.clearinghouse.rows("voucher"), network.clearinghouse.rows("account")) == before
        network.check()

    def test_one_number_for_other_vouchers_of_the_same_incarnation_is_told(self, network: Network) -> None:
        first, second = network.node.claim(2)
        copy = back_up(network.node)
        given = give(network, *keys_of(first))
        restore(network.node, copy)
        other = give(network, *keys_of(second))
        take(network, given)
        with pytest.raises(InvalidInput, match="other vouchers came under its number"):
            take(network, other)

    def test_what_the_copy_holds_and_never_arrived_is_given_anew(self, network: Network) -> None:
        (token,) = network.node.claim()
        old = give(network, *keys_of(token))
        copy = back_up(network.node)
        network.node.claim()
        restore(network.node, copy)
        network.recover_node()
        with pytest.raises(Void):
            take(network, old)
        (given,) = anew(network, 1)
        assert incarnations(given) == Incarnations(2, 1)
        assert hand_overs.read(given.body).leaves == hand_overs.read(old.body).leaves
        assert anew(network, 1) == [], "told once more that it is void, which the new one is not"
        assert take(network, given) == 1
        assert same_bytes(network)
        network.check()

    def test_what_the_copy_holds_and_arrived_is_learned_to_be_taken(self, network: Network) -> None:
        (token,) = network.node.claim()
        old = give(network, *keys_of(token))
        copy = back_up(network.node)
        take(network, old)
        network.node.claim()
        restore(network.node, copy)
        report = network.recover_node()
        assert (report.hand_overs, report.vouchers, len(report.disputed)) == (0, 0, 0)
        assert [row["taken"] for row in network.node.rows("hand_over")] == [True]
        assert take(network, old) == 1, "what is here is acknowledged, whoever lived when it was signed"
        assert same_bytes(network)

    def test_a_second_restore_learns_what_was_given_anew_after_the_first(self, network: Network) -> None:
        (token,) = network.node.claim()
        give(network, *keys_of(token))
        copy = back_up(network.node)
        network.node.claim()
        restore(network.node, copy)
        network.recover_node()
        (given,) = anew(network, 1)
        take(network, given)
        restore(network.node, copy)
        assert not same_bytes(network)
        assert network.recover_node().incarnation == 3
        assert same_bytes(network)
        assert [row["taken"] for row in network.node.rows("hand_over")] == [True]
        network.check()

    def test_a_recall_of_what_is_void_asks_to_try_again(self, network: Network) -> None:
        (token,) = network.node.claim()
        give(network, *keys_of(token))
        copy = back_up(network.node)
        network.node.claim()
        restore(network.node, copy)
        network.recover_node()
        with pytest.raises(Unavailable, match="its giver gives it anew"):
            network.do(lambda service: service.recall(keys_of(token)))
        take(network, anew(network, 1)[0])
        recalled = network.do(lambda service: service.recall(keys_of(token)))
        assert (recalled.returned, epochs(network.node)) == (2, [2, 2])
        network.check()

    def test_the_stream_tells_the_node_what_is_void(self, network: Network) -> None:
        (token,) = network.node.claim()
        old = give(network, *keys_of(token))
        copy = back_up(network.node)
        network.node.claim()
        restore(network.node, copy)
        network.recover_node()

        async def requests() -> AsyncIterator[custody_pb2.CustodyStreamRequest]:
            yield custody_pb2.CustodyStreamRequest(hand_over=old)

        async def run(service: NodeService) -> custody_pb2.CustodyStreamResponse:
            told: asyncio.Queue[custody_pb2.CustodyStreamResponse] = asyncio.Queue()
            await CustodyServicer(network.clearinghouse.service)._read(HANGZHOU, requests(), told)
            return told.get_nowait()

        assert network.do(run) == custody_pb2.CustodyStreamResponse(hand_over_void=1)


class TestRestoredTaker:
    def recover_without_receipts(self, network: Network) -> None:
        async def run(service: NodeService) -> None:
            await network.clearinghouse.service.recover([HANGZHOU, SHANGHAI])

        network.do(run)

    def test_what_was_addressed_to_its_former_life_is_void_and_given_anew(self, network: Network) -> None:
        (token,) = network.node.claim()
        copy = back_up(network.clearinghouse)
        old = give(network, *keys_of(token))
        take(network, old)
        restore(network.clearinghouse, copy)
        self.recover_without_receipts(network)
        with pytest.raises(Void, match="addressed to incarnation 1 of clearinghouse, which is in 2"):
            take(network, old)
        meet(network)
        (given,) = anew(network, 1)
        assert incarnations(given) == Incarnations(1, 2)
        assert take(network, given) == 1
        assert same_bytes(network)

    def test_what_a_node_brings_to_the_recovery_counts_as_it_was_signed(self, network: Network) -> None:
        (token,) = network.node.claim()
        copy = back_up(network.clearinghouse)
        old = give(network, *keys_of(token))
        take(network, old)
        restore(network.clearinghouse, copy)
        report = network.recover_clearinghouse(SHANGHAI)
        assert (report.hand_overs, report.vouchers, len(report.disputed)) == (1, 2, 0)
        assert take(network, old) == 1
        assert same_bytes(network)
        network.check()


class TestReturns:
    def test_a_return_that_the_clearinghouse_lost_is_void_however_it_comes(self, network: Network) -> None:
        (token,) = network.node.claim()
        network.release(*keys_of(token))
        copy = back_up(network.clearinghouse)
        (response,) = network.clearinghouse.decide(Recall(HANGZHOU, dict.fromkeys(keys_of(token), 1), []))
        events = network.clearinghouse.feed(HANGZHOU)
        restore(network.clearinghouse, copy)
        network.recover_clearinghouse(SHANGHAI)
        with pytest.raises(Void, match="hand-over 1 of clearinghouse: void: signed in its incarnation 1"):
            network.node.decide(TakeReturns(list(response.returns)))
        with pytest.raises(Void, match="clearinghouse: void: told in incarnation 1, and it is in 2"):
            network.do(lambda service: service.take_news(events, feed_head()))
        assert (epochs(network.node), epochs(network.clearinghouse)) == ([1, 1], [1, 1])
        recalled = network.do(lambda service: service.recall(keys_of(token)))
        assert (recalled.returned, epochs(network.node), epochs(network.clearinghouse)) == (2, [2, 2], [2, 2])
        network.check()

    def test_a_return_from_before_a_restore_comes_by_the_feed(self, network: Network) -> None:
        (token,) = network.node.claim()
        network.release(*keys_of(token))
        network.clearinghouse.decide(Recall(HANGZHOU, dict.fromkeys(keys_of(token), 1), []))
        copy = back_up(network.clearinghouse)
        network.redeem(item(network.node.ids.fresh(), redeem=purchase(token, 0, "order")))
        restore(network.clearinghouse, copy)
        network.recover_clearinghouse(SHANGHAI)
        network.follow()
        assert epochs(network.node) == [2, 2]
        network.check()

    def test_a_restored_node_takes_returns_to_its_former_life_from_the_feed(
        self, network: Network, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where its recovery did not bring them, as of a clearinghouse that does not give them then."""
        (token,) = network.node.claim()
        network.release(*keys_of(token))
        copy = back_up(network.node)
        network.do(lambda service: service.recall(keys_of(token)))
        restore(network.node, copy)
        receipts = network.between.receipts

        async def without_returns(request: custody_pb2.GetReceiptsRequest) -> custody_pb2.GetReceiptsResponse:
            response = await receipts(request)
            response.ClearField("returns")
            return response

        monkeypatch.setattr(network.between, "receipts", without_returns)
        network.recover_node()
        row = network.clearinghouse.rows("custody_return")[0]
        returned = signed_pb2.SignedMessage(body=row["body"], key_id=row["key_id"], signature=row["signature"])
        with pytest.raises(Void, match=f"addressed to incarnation 1 of {HANGZHOU}, which is in 2"):
            network.node.decide(TakeReturns([returned]))
        network.follow()
        assert epochs(network.node) == [2, 2]
        network.check()


class TestNumbers:
    def test_a_node_that_lost_its_file_too_begins_above_all_that_was_heard_of(self, network: Network) -> None:
        network.node.claim()
        copy = back_up(network.node)
        network.node.claim()
        restore(network.node, copy)
        assert network.recover_node().incarnation == 2
        restore(network.node, copy)
        (network.folder / "node.lineage").unlink()
        assert network.recover_node().incarnation == 3

    def test_a_clearinghouse_that_lost_its_file_too_begins_above_all_that_was_heard_of(self, network: Network) -> None:
        network.release(*keys_of(network.node.claim()[0]))
        copy = back_up(network.clearinghouse)
        for incarnation in (2, 3):
            network.release(*keys_of(network.node.claim()[0]))
            restore(network.clearinghouse, copy)
            (network.folder / f"{CLEARINGHOUSE}.lineage").unlink()
            assert network.recover_clearinghouse(SHANGHAI).incarnation == incarnation
            meet(network)

    def test_a_party_of_whose_later_life_another_has_heard_needs_recovery(self, network: Network) -> None:
        position = custody_pb2.Position(incarnation=1, peer_incarnation=2, head=feed_head(incarnation=2))

        async def run(service: NodeService) -> None:
            with pytest.raises(RecoveryNeeded, match="has heard of its incarnation 2, and it is in 1"):
                network.clearinghouse.service.recovery.compare(HANGZHOU, position)
            with pytest.raises(RecoveryNeeded, match="has heard of its incarnation 2, and it is in 1"):
                await service.recovery.compare(position)

        network.do(run)
        assert not network.lineage(network.node).begin()
        assert not network.lineage(network.clearinghouse).begin()


class TestBackAndForth:
    """A voucher that went away, came back and went away again: documents of a recovery come in no certain order."""

    def story(self, network: Network, token: bytes) -> None:
        network.do(lambda service: service.recall(keys_of(token)))
        key = keys_of(token)[0]
        (given,) = network.node.decide(Release([key[1:]], {key[1:]: 2}))[0]
        take(network, given.hand_over)

    def test_a_restored_node_has_its_limits_as_they_were(self, network: Network) -> None:
        (token,) = network.node.claim()
        network.release(*keys_of(token))
        copy = back_up(network.node)
        self.story(network, token)
        before = network.node.rows("account"), network.node.rows("voucher")
        restore(network.node, copy)
        network.recover_node()
        network.follow()
        assert (network.node.rows("account"), network.node.rows("voucher")) == before
        network.check()

    @pytest.mark.parametrize("order", list(permutations(range(3))))
    def test_a_restored_clearinghouse_has_its_money_as_it_was(
        self, network: Network, monkeypatch: pytest.MonkeyPatch, order: tuple[int, ...]
    ) -> None:
        (token,) = network.node.claim()
        copy = back_up(network.clearinghouse)
        network.release(*keys_of(token))
        self.story(network, token)
        before = money(network.clearinghouse), epochs(network.clearinghouse)
        restore(network.clearinghouse, copy)
        places, usual = iter(order), relearning.order_of

        def in_that_order(row: Any) -> tuple[int, int, int, bytes]:
            if row.kind in ("hand_over", "custody_return"):
                return len(relearning.DOCUMENTS), 0, next(places), row.id
            return usual(row)

        monkeypatch.setattr("clearinghouse.recovery.order_of", in_that_order)
        report = network.recover_clearinghouse(SHANGHAI)
        assert list(places) == []
        assert not report.disputed
        assert (money(network.clearinghouse), epochs(network.clearinghouse)) == before
        network.check()


def money(party: Party) -> dict[str, tuple[int, int]]:
    found = {row["account"]: (row["reserved_fen"], row["limit_fen"]) for row in party.rows("account")}
    return {account: figures for account, figures in found.items() if any(figures)}
