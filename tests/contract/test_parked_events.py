"""An event of the feed that a node cannot take is set aside with its reason, and the rest of the feed goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from local_parties import CLEARINGHOUSE, HANGZHOU, LocalNode, TestSigner, feed_head

from node.feed import FeedGap
from node.operations import NodeOperations
from node.service import NodeService
from quanlian.errors import Unavailable
from quanlian.v1 import custody_pb2, node_operator_pb2, signed_pb2

CLEARING = TestSigner(CLEARINGHOUSE, "message")
Event = custody_pb2.FeedEvent

COUNTS = ("matched", "missing", "extra", "different")
BALANCES = ("closed_at", "closing_fen", "lodged_fen", "paid_out_fen")


@pytest.fixture
def service(node: LocalNode) -> Iterator[NodeService]:
    node.publish()
    made = node.another_service()
    made.start()
    yield made
    made.close()


def fund_return(sequence: int, number: int, amount_fen: int = 100, account: str = "city") -> Event:
    """Money back, signed by the clearinghouse; each `number` counts once."""
    leg = signed_pb2.Leg(account=f"funding/{HANGZHOU}/2026/spring/{account}", amount_fen=amount_fen)
    body = custody_pb2.FundReturn(region=HANGZHOU, number=number, legs=[leg]).SerializeToString()
    signature = CLEARING.sign("fund-return", body)
    message = signed_pb2.SignedMessage(body=body, key_id=CLEARING.key_id, signature=signature)
    return Event(sequence=sequence, fund_return=message)


def take(service: NodeService, *events: Event) -> None:
    asyncio.run(service.take_news(events, feed_head()))


def parked(node: LocalNode) -> dict[int, str]:
    return {row["sequence"]: row["reason"] for row in node.rows("parked_event") if row["taken_at"] is None}


def retry(service: NodeService) -> node_operator_pb2.RetryFeedResponse:
    return asyncio.run(NodeOperations(service, TestSigner(HANGZHOU, "terms")).retry_feed())


def test_a_forged_fund_return_is_parked_and_the_events_around_it_are_taken(
    node: LocalNode, service: NodeService
) -> None:
    forged = fund_return(2, 2)
    forged.fund_return.signature = bytes(64)
    take(service, fund_return(1, 1), forged, fund_return(3, 3))
    assert node.balance("spring/city")[3] == 400_000 + 200
    assert parked(node) == {2: f"the signature does not match key {CLEARING.key_id.hex()}"}
    assert asyncio.run(service.feed_position()) == 3


def test_what_depends_on_a_parked_event_is_parked_with_it(node: LocalNode, service: NodeService) -> None:
    take(service, Event(sequence=1, window_settled=4), Event(sequence=2, statement_ready=4), fund_return(3, 1))
    assert set(parked(node)) == {1, 2}
    assert "depends on event 1, which is parked" in parked(node)[2]
    assert node.rows("settlement_window") == []
    assert node.balance("spring/city")[3] == 400_000 + 100


def test_a_statement_that_is_told_again_opens_its_window_once(node: LocalNode, service: NodeService) -> None:
    """A clearinghouse that was restored to before it told of the statement tells of it again."""
    take(service, Event(sequence=1, statement_ready=4))
    take(service, Event(sequence=2, statement_ready=4), Event(sequence=3, window_settled=4))
    assert parked(node) == {}
    assert [(row["number"], row["settled"]) for row in node.rows("settlement_window")] == [(4, True)]


def test_an_event_of_a_newer_clearinghouse_is_parked_until_the_node_is_upgraded(
    node: LocalNode, service: NodeService
) -> None:
    newer = Event.FromString(Event(sequence=1).SerializeToString() + b"\xf2\x7d\x01x")
    take(service, newer, fund_return(2, 1))
    assert list(parked(node)) == [1]
    assert "upgrade the node" in parked(node)[1]
    (row,) = node.rows("parked_event")
    assert row["event"] == newer.SerializeToString(), "what this version cannot read is kept for the next"


def test_a_retry_takes_the_event_once_its_cause_is_gone(node: LocalNode, service: NodeService) -> None:
    take(service, Event(sequence=1, window_settled=4), Event(sequence=2, window_settled=4))
    assert set(parked(node)) == {1, 2}
    answer = retry(service)
    assert [each.sequence for each in answer.parked] == [1, 2]
    assert not answer.taken
    with node.database.transaction() as transaction:
        row = {"number": 4, "statement": None, "net_fen": 0, "confirmed": True, "confirmation": None}
        row |= {"reservation": "", "settled": False}
        figures = dict.fromkeys((*COUNTS, *BALANCES), 0)
        transaction.insert(node.tables["settlement_window"], [row | figures])
    assert list(retry(service).taken) == [1, 2]
    assert parked(node) == {}
    assert [row["settled"] for row in node.rows("settlement_window")] == [True]
    assert not retry(service).taken, "a parked event is taken once"


def test_a_retry_keeps_the_order_of_a_window_s_events(node: LocalNode, service: NodeService) -> None:
    take(service, Event(sequence=1, window_settled=4), Event(sequence=2, statement_ready=4))
    answer = retry(service)
    assert [each.sequence for each in answer.parked] == [1, 2]
    assert "depends on event 1" in answer.parked[1].reason


def test_the_operator_sees_what_is_parked_and_why(node: LocalNode, service: NodeService) -> None:
    take(service, Event(sequence=1, window_settled=9))
    status = asyncio.run(NodeOperations(service, TestSigner(HANGZHOU, "terms")).status())
    assert [(each.sequence, each.kind) for each in status.parked] == [(1, "window_settled")]
    assert status.feed_sequence == 1


@pytest.mark.parametrize("trouble", [Unavailable("the disk is full"), FeedGap("event 3 follows 1")])
def test_an_outage_or_a_gap_parks_nothing(
    node: LocalNode, service: NodeService, trouble: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(works: object) -> Callable[[], None]:
        raise trouble

    monkeypatch.setattr(service.engine.group, "_decide", fail)
    with pytest.raises(type(trouble)):
        take(service, fund_return(1, 1))
    assert parked(node) == {}
    assert asyncio.run(service.feed_position()) == 0
