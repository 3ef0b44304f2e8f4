"""What a region says that it has seen of the clearinghouse is believed by the clearinghouse's own signature alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from local_parties import CLEARINGHOUSE, HANGZHOU, SHANGHAI, LocalClearinghouse, LocalNode, TestSigner, feed_head
from restored_network import NODE_KEY, Network, back_up, ended, restore

from clearinghouse.adapters.grpc_services import CustodyServicer
from custodian.feed_heads import read_head
from custodian.lineage import RecoveryNeeded
from node.service import NodeService
from quanlian.errors import InvalidInput
from quanlian.v1 import custody_pb2, signed_pb2

LARGE = 10**15
FORGED = {
    "by itself": feed_head(LARGE, LARGE, LARGE, signer=NODE_KEY),
    "by the clearinghouse's key for statements": feed_head(LARGE, signer=TestSigner(CLEARINGHOUSE, "statement")),
    "for another region": feed_head(LARGE, LARGE, LARGE, region=SHANGHAI),
    "by nobody whom it knows": feed_head(LARGE, signer=TestSigner("nobody", "message")),
    "of other figures": signed_pb2.SignedMessage(
        body=feed_head(LARGE).body, key_id=feed_head().key_id, signature=feed_head().signature
    ),
}


@pytest.fixture
def network(node: LocalNode, clearinghouse: LocalClearinghouse, tmp_path: Path) -> Network:
    return Network(node, clearinghouse, tmp_path)


def compare(network: Network, position: custody_pb2.Position, region: str = HANGZHOU) -> custody_pb2.Position:
    async def run(service: NodeService) -> custody_pb2.Position:
        return network.clearinghouse.service.recovery.compare(region, position)

    return network.do(run)


def recover(network: Network, *handed: custody_pb2.HandReceiptsRequest, without: Sequence[str] = ()) -> None:
    """Shanghai hands these over, Hangzhou's node what it holds."""

    async def run(service: NodeService) -> None:
        for each in handed:
            await network.clearinghouse.service.recovery.hand_receipts(SHANGHAI, each)
        await service.recovery.hand_receipts()
        await ended(network.clearinghouse.service.recover(without))

    network.do(run)


class TestPosition:
    @pytest.mark.parametrize(
        "position",
        [
            custody_pb2.Position(feed=1_000_000),
            custody_pb2.Position(peer_incarnation=2),
            custody_pb2.Position(feed=2**64 - 1, peer_incarnation=2**64 - 1, head=feed_head(1)),
            *(custody_pb2.Position(head=head) for head in FORGED.values()),
        ],
    )
    def test_a_word_without_proof_is_refused_and_nothing_stops(
        self, network: Network, position: custody_pb2.Position
    ) -> None:
        with pytest.raises(InvalidInput, match=r"所[示称].* · .*this party") as refused:
            compare(network, position)
        assert not isinstance(refused.value, RecoveryNeeded)
        assert not network.clearinghouse.service.continuity.broken
        assert network.lineage(network.clearinghouse).begin(), "nothing of it is kept"
        assert compare(network, custody_pb2.Position(), SHANGHAI).incarnation == 1

    @pytest.mark.parametrize("shown", [feed_head(99), feed_head(incarnation=2)])
    def test_proof_is_believed(self, network: Network, shown: signed_pb2.SignedMessage) -> None:
        with pytest.raises(RecoveryNeeded):
            compare(network, custody_pb2.Position(head=shown))

    def test_the_answer_is_proof_of_how_far_the_clearinghouse_is(self, network: Network) -> None:
        close_window(network)
        told = compare(network, custody_pb2.Position())
        head = read_head(told.head)
        last = network.clearinghouse.feed(HANGZHOU)[-1].sequence
        assert (head.region, head.incarnation, head.sequence, head.last_window) == (HANGZHOU, 1, last, 1)

        async def meet(service: NodeService) -> custody_pb2.Position:
            await service.recovery.compare(told)
            return await service.recovery.position()

        shown = network.do(meet)
        assert (shown.feed, shown.head) == (0, told.head)
        assert compare(network, shown).head == told.head

    def test_a_node_shows_that_the_clearinghouse_and_its_file_are_an_older_copy(self, network: Network) -> None:
        beside = network.folder / f"{CLEARINGHOUSE}.lineage"
        copy, mark = back_up(network.clearinghouse), beside.read_bytes()
        close_window(network)
        network.follow()
        restore(network.clearinghouse, copy)
        beside.write_bytes(mark)
        position = network.do(lambda service: service.recovery.position())
        with pytest.raises(RecoveryNeeded, match="of its feed"):
            compare(network, position)

    def test_its_stream_ends_with_the_reason_and_others_go_on(self, network: Network) -> None:
        async def asked(position: custody_pb2.Position) -> AsyncIterator[custody_pb2.CustodyStreamRequest]:
            yield custody_pb2.CustodyStreamRequest(position=position)

        async def run(service: NodeService) -> custody_pb2.CustodyStreamResponse:
            servicer = CustodyServicer(network.clearinghouse.service)
            told: asyncio.Queue[custody_pb2.CustodyStreamResponse] = asyncio.Queue()
            with pytest.raises(InvalidInput, match=r"未经本方签名证明 · no signature of this party shows event 99"):
                await servicer._read(HANGZHOU, asked(custody_pb2.Position(feed=99)), told)
            assert told.empty()
            await servicer._read(SHANGHAI, asked(custody_pb2.Position()), told)
            return told.get_nowait()

        assert network.do(run).position.incarnation == 1


class TestNode:
    def test_a_node_keeps_what_shows_most(self, network: Network) -> None:
        def shown_after(*told: signed_pb2.SignedMessage) -> signed_pb2.SignedMessage:
            async def run(service: NodeService) -> signed_pb2.SignedMessage:
                for each in told:
                    await service.take_news([], each)
                return (await service.recovery.position()).head

            return network.do(run)

        assert shown_after() == signed_pb2.SignedMessage()
        assert shown_after(feed_head(7, 1, 2), feed_head(5, 1, 2), feed_head(7, 1, 1)) == feed_head(7, 1, 2)
        assert shown_after(feed_head(6, 2, 2)) == feed_head(7, 1, 2), "each shows something that the other does not"
        assert shown_after(feed_head(7, 2, 2)) == feed_head(7, 2, 2)

    def test_what_shows_most_is_kept_with_an_event_that_is_parked(self, network: Network) -> None:
        at = len(network.clearinghouse.feed(HANGZHOU))
        network.follow()
        unknown = custody_pb2.FeedEvent(sequence=at + 1)
        network.do(lambda service: service.take_news([unknown], feed_head(at + 1)))
        position = network.do(lambda service: service.recovery.position())
        assert (position.feed, position.head) == (at + 1, feed_head(at + 1))
        assert len(network.node.rows("parked_event")) == 1


class TestHandingOver:
    @pytest.mark.parametrize("forged", FORGED)
    def test_what_the_clearinghouse_did_not_sign_is_not_taken(self, network: Network, forged: str) -> None:
        copy = back_up(network.clearinghouse)
        close_window(network)
        restore(network.clearinghouse, copy)

        async def hand(service: NodeService) -> None:
            request = custody_pb2.HandReceiptsRequest(complete=True, head=FORGED[forged])
            await network.clearinghouse.service.recovery.hand_receipts(HANGZHOU, request)

        with pytest.raises(InvalidInput, match=r"所示进度非本方所签 · it shows a head that this party did not sign"):
            network.do(hand)
        assert network.clearinghouse.rows("receipts_complete") == []

    def test_nothing_shown_counts_for_nothing(self, network: Network) -> None:
        copy, before = back_up(network.clearinghouse), network.clearinghouse.feed(SHANGHAI)
        close_window(network)
        restore(network.clearinghouse, copy)
        recover(network, custody_pb2.HandReceiptsRequest(complete=True))
        assert network.clearinghouse.feed(SHANGHAI) == before
        assert network.clearinghouse.service.continuity.incarnation == 2

    def test_a_million_lost_events_are_one_row(self, network: Network) -> None:
        copy, before = back_up(network.clearinghouse), len(network.clearinghouse.feed(SHANGHAI))
        close_window(network)
        restore(network.clearinghouse, copy)
        shown = feed_head(1_000_000, region=SHANGHAI)
        recover(network, custody_pb2.HandReceiptsRequest(complete=True, head=shown))
        *_, passed = network.clearinghouse.feed(SHANGHAI)
        assert (passed.sequence, passed.forgotten) == (1_000_000, 1_000_000 - before)
        assert len(network.clearinghouse.feed(SHANGHAI)) == before + 1

    def test_a_window_that_is_shown_asks_for_a_later_copy_or_to_go_on_without_the_region(
        self, network: Network
    ) -> None:
        copy = back_up(network.clearinghouse)
        close_window(network)
        restore(network.clearinghouse, copy)
        shown = custody_pb2.HandReceiptsRequest(complete=True, head=feed_head(last_window=9, region=SHANGHAI))
        with pytest.raises(InvalidInput, match=f"{SHANGHAI} was told that window 9 is closed"):
            recover(network, shown)
        recover(network, without=[SHANGHAI])

    def test_the_incarnation_to_come_is_shown_signed(self, network: Network) -> None:
        """Above all that a node has proof of, and with all that it has seen."""
        copy = back_up(network.clearinghouse)
        close_window(network)
        restore(network.clearinghouse, copy)

        async def hand(service: NodeService) -> custody_pb2.HandReceiptsResponse:
            request = custody_pb2.HandReceiptsRequest(head=feed_head(500, 6, 3))
            return await network.clearinghouse.service.recovery.hand_receipts(HANGZHOU, request)

        assert network.do(hand).head == feed_head(500, 7, 3)


def close_window(network: Network) -> None:
    network.do(lambda service: network.clearinghouse.service.settlement.close_window())
