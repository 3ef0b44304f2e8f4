"""Under strain a party says so, quickly and clearly; nothing that it answered is lost, and its memory is bounded."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from local_parties import (
    AT,
    HANGZHOU,
    KEYRING,
    PLATFORM,
    LocalClearinghouse,
    LocalNode,
    NoClearinghouse,
    StandingFactory,
    TestSigner,
    item,
    keys_of,
    outcome,
    purchase,
)

from chassis.commit import GroupCommit, Overloaded
from chassis.host import MAX_MESSAGE_BYTES
from chassis.ids import FreshIds
from clearinghouse import service as clearing_service
from clearinghouse.adapters import grpc_services
from clearinghouse.adapters.grpc_services import CustodyServicer
from clearinghouse.receipts import receipts_of
from custodian import allowance, servicer
from custodian.evidence import SignedBatch
from custodian.servicer import Emit, RedemptionServicer, sign_items
from custodian.undecided import Undecided
from node import service as node_service
from node import way
from node.desk import Desk
from node.redeeming import ClearinghouseAnswer
from node.service import NodeService
from pki.identity import CLEARINGHOUSE, Identity
from quanlian import wire
from quanlian.errors import Unavailable
from quanlian.refusals import Refusal, RefusalReason
from quanlian.v1 import custody_pb2, redemption_pb2, signed_pb2
from quanlian.vouchers import VoucherKey
from quanlian.wire import request_id_of

ALIPAY = Identity(HANGZHOU, "platform", PLATFORM)
UNIONPAY = Identity(HANGZHOU, "platform", "unionpay")
PLATFORM_KEY = TestSigner(HANGZHOU, f"message.{PLATFORM}")
QUICKLY = 5.0


def submit(node: LocalNode, *items: bytes) -> list[bytes]:
    service, got = node.another_service(), list[bytes]()
    service.start()
    try:
        asyncio.run(service.submit(ALIPAY, items, got.extend))
    finally:
        service.close()
    return got


class Sent(NoClearinghouse):
    """A clearinghouse that answers nothing, and what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.contents: list[bytes] = []
        self._more = asyncio.Event()

    def send(self, items: Sequence[bytes]) -> None:
        self.contents += items
        self._more.set()

    async def quote(self, items: Sequence[bytes]) -> Sequence[bytes]:
        self.send(items)
        await asyncio.Event().wait()
        raise AssertionError

    async def items(self, count: int) -> None:
        """Returns when so many were sent."""
        while len(self.contents) < count:
            self._more.clear()
            async with asyncio.timeout(QUICKLY):
                await self._more.wait()


def serve(node: LocalNode, clearinghouse: Sent, told: Callable[[NodeService], Awaitable[None]]) -> None:
    node.clearinghouse = clearinghouse  # type: ignore[assignment]
    service = node.another_service()
    service.start()
    try:
        asyncio.run(told(service))  # type: ignore[arg-type]
    finally:
        service.close()


async def hang_up(*calls: asyncio.Task[None]) -> None:
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


def released(node: LocalNode, count: int) -> list[bytes]:
    """Redemptions of so many packs that the clearinghouse has, and one of a pack that is here."""
    node.publish()
    *away, home = node.claim(count + 1)
    node.release(*(key for token in away for key in keys_of(token)))
    return [item(node.ids.fresh(), redeem=purchase(token, 0, f"o-{n}")) for n, token in enumerate([*away, home])]


def reverse_of(content: bytes) -> redemption_pb2.Reverse:
    return redemption_pb2.Reverse(original_request_id=request_id_of(content))


def refused_by_clearinghouse(content: bytes) -> bytes:
    """Its answer to an item that this node sent."""
    stamp = wire.Stamp(request_id_of(content), CLEARINGHOUSE, AT)
    return wire.refused(stamp, Refusal(RefusalReason.NOT_IN_CUSTODY))


class TestDatabase:
    def test_a_database_that_another_holds_is_told_as_that_and_the_request_is_good_again_later(
        self, node: LocalNode, open_party: StandingFactory
    ) -> None:
        node.publish()
        (token,) = node.claim()
        request = item(node.ids.fresh(), redeem=purchase(token, 0, "order"))
        held, let_go = threading.Event(), threading.Event()
        another = open_party("node")

        def hold() -> None:
            with another.transaction():
                held.set()
                let_go.wait(60)

        _wait_for_locks(node, 0.5)
        holder = threading.Thread(target=hold)
        holder.start()
        assert held.wait(10)
        started = time.monotonic()
        with pytest.raises(Unavailable, match="another writer"):
            submit(node, request)
        assert time.monotonic() - started < QUICKLY
        let_go.set()
        holder.join()
        (answer,) = submit(node, request)
        assert outcome(answer) == "CAPTURED"
        node.check_books()

    def test_a_full_disk_is_told_as_that_and_what_was_answered_stays(self, node: LocalNode) -> None:
        if node.database.dialect != "sqlite":
            _require_postgresql_tells_a_full_disk()
            return
        node.publish(quota=2000, per_person=2000, city=40_000, county=40_000)
        tokens = node.claim(2)
        (kept,) = submit(node, first := item(node.ids.fresh(), redeem=purchase(tokens[0], 0, "order-1")))
        with _no_more_pages(node), pytest.raises(Unavailable, match="the disk is full"):
            node.claim(1000)
        assert submit(node, first) == [kept]
        (answer,) = submit(node, item(node.ids.fresh(), redeem=purchase(tokens[1], 0, "order-2")))
        assert outcome(answer) == "CAPTURED", "it goes on once there is room"
        node.check_books()

    def test_while_a_batch_stalls_everyone_is_told_whether_it_was_decided_and_the_batch_is_in_the_end(self) -> None:
        begun, go_on, decided = threading.Event(), threading.Event(), list[int]()

        def decide(items: list[int]) -> list[int]:
            begun.set()
            go_on.wait(60)
            decided.extend(items)
            return items

        engine: GroupCommit[int, int] = GroupCommit(decide, name="stalled", stalled_seconds=0.2)
        engine.start()

        async def run() -> int:
            first = asyncio.create_task(engine.submit(1))
            while not begun.is_set():
                await asyncio.sleep(0)
            with pytest.raises(Unavailable, match="this was not decided"):
                await engine.submit(2)
            with pytest.raises(Unavailable, match="not known whether this was decided"):
                await first
            with pytest.raises(Unavailable, match="nothing new is accepted"):
                await engine.submit(3)
            go_on.set()
            while not decided:
                await asyncio.sleep(0)
            return await _submitted_in_the_end(engine, 4)

        assert asyncio.run(run()) == 4
        engine.close()
        assert decided == [1, 4]


async def _submitted_in_the_end(engine: GroupCommit[int, int], item: int) -> int:
    """Once the batch that stalled is over, which is a moment after it was decided."""
    while True:
        with contextlib.suppress(Unavailable):
            return await engine.submit(item)


class TestOverload:
    def test_requests_of_a_platform_that_wait_for_the_clearinghouse_are_bounded_and_hold_up_nothing_else(
        self, node: LocalNode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        *away, home = released(node, 4)
        monkeypatch.setattr(way, "MAX_ON_THE_WAY", 2)
        sent = Sent()
        answers: list[bytes] = []
        others: list[bytes] = []

        async def run(service: NodeService) -> None:
            waiting = [asyncio.create_task(service.submit(ALIPAY, away[:2], others.extend))]
            await sent.items(2)
            await service.submit(ALIPAY, [away[2], home], answers.extend)
            waiting.append(asyncio.create_task(service.submit(UNIONPAY, [away[2]], others.extend)))
            await sent.items(3)
            await hang_up(*waiting)

        serve(node, sent, run)
        assert [outcome(answer) for answer in answers] == ["NOT_IN_CUSTODY", "CAPTURED"]
        assert others == []
        assert len(node.rows("outbox")) == 3

    def test_a_caller_that_hung_up_leaves_nothing_waiting_and_has_room_again_once_it_is_answered(
        self, node: LocalNode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second, _ = released(node, 2)
        monkeypatch.setattr(way, "MAX_ON_THE_WAY", 1)
        sent, answers = Sent(), list[bytes]()

        def anew(content: bytes) -> bytes:
            message = redemption_pb2.RedemptionItem.FromString(content)
            message.request_id = node.ids.fresh()
            return message.SerializeToString()

        async def run(service: NodeService) -> None:
            gone = asyncio.create_task(service.submit(ALIPAY, [first], answers.extend))
            await sent.items(1)
            await hang_up(gone)
            assert service._waiting == {}
            await service.submit(ALIPAY, [second], answers.extend)
            assert [outcome(answer) for answer in answers] == ["NOT_IN_CUSTODY"], "the first is on its way still"
            for later in (first, item(node.ids.fresh(), reverse=reverse_of(first))):
                with pytest.raises(Overloaded, match=f"{PLATFORM} has 1 requests on the way"):
                    await service.submit(ALIPAY, [later], answers.extend)
            await service.clearinghouse_answered([refused_by_clearinghouse(each) for each in sent.contents])
            waiting = asyncio.create_task(service.submit(ALIPAY, [anew(second)], answers.extend))
            await sent.items(2)
            await hang_up(waiting)

        serve(node, sent, run)
        assert len(answers) == 1

    def test_what_is_sent_again_over_a_new_stream_counts_once_and_what_was_answered_meanwhile_no_more(
        self, node: LocalNode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second, third, _ = released(node, 3)
        monkeypatch.setattr(way, "MAX_ON_THE_WAY", 2)
        sent, answers = Sent(), list[bytes]()

        async def run(service: NodeService) -> None:
            waiting = [asyncio.create_task(service.submit(ALIPAY, [first], answers.extend)) for _ in range(2)]
            await sent.items(2)
            (unanswered,) = await service.unanswered()
            waiting.append(asyncio.create_task(service.submit(ALIPAY, [second], answers.extend)))
            await sent.items(3)
            node.decide(ClearinghouseAnswer(refused_by_clearinghouse(unanswered)))
            assert len(await service.unanswered()) == 1
            waiting.append(asyncio.create_task(service.submit(ALIPAY, [third], answers.extend)))
            await sent.items(4)
            await hang_up(*waiting)

        serve(node, sent, run)
        assert answers == []

    def test_a_request_whose_commit_failed_takes_no_room(
        self, node: LocalNode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        away, _ = released(node, 1)
        monkeypatch.setattr(way, "MAX_ON_THE_WAY", 1)
        sent, failures = Sent(), iter([Unavailable("the disk is full")])
        save = Desk.save

        def fail_once(desk: Desk) -> None:
            if error := next(failures, None):
                raise error
            save(desk)

        monkeypatch.setattr(Desk, "save", fail_once)

        async def run(service: NodeService) -> None:
            with pytest.raises(Unavailable):
                await service.submit(ALIPAY, [away], lambda answers: None)
            waiting = asyncio.create_task(service.submit(ALIPAY, [away], lambda answers: None))
            await sent.items(1)
            await hang_up(waiting)

        serve(node, sent, run)

    def test_quotes_of_a_platform_take_no_more_streams_than_its_own(
        self, node: LocalNode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        away, _ = released(node, 1)
        monkeypatch.setattr(node_service, "MAX_QUOTE_CALLS", 1)
        content = redemption_pb2.RedemptionItem.FromString(away).redeem
        quotes = [item(node.ids.fresh(), quote=content) for _ in range(3)]
        sent, answers = Sent(), list[bytes]()

        async def run(service: NodeService) -> None:
            asking = [asyncio.create_task(service.submit(ALIPAY, quotes[:1], lambda answers: None))]
            await sent.items(1)
            await service.submit(ALIPAY, quotes[1:2], answers.extend)
            asking.append(asyncio.create_task(service.submit(UNIONPAY, quotes[2:], lambda answers: None)))
            await sent.items(2)
            await hang_up(*asking)

        serve(node, sent, run)
        assert [outcome(answer) for answer in answers] == ["NOT_IN_CUSTODY"]

    def test_an_issuer_that_does_not_read_its_stream_counts_as_unreachable(
        self, clearinghouse: LocalClearinghouse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(clearing_service, "MAX_WAITING_MESSAGES", 3)
        service = clearinghouse.service
        stream = service.open_stream(HANGZHOU)

        async def run() -> None:
            future: Any = asyncio.get_running_loop().create_future()
            for number in range(10):
                key = VoucherKey(HANGZHOU, number.to_bytes(15, "big"), 0)
                service._ask(HANGZHOU, [clearing_service._Wanted(key, 0, None, future)])

        asyncio.run(run())
        assert stream.qsize() == 3

    def test_an_issuer_that_does_not_read_its_stream_is_not_read_from_and_gets_every_answer_once_it_reads(
        self, clearinghouse: LocalClearinghouse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(clearing_service, "MAX_WAITING_MESSAGES", 5)
        hangzhou = Identity(HANGZHOU, "server")
        monkeypatch.setattr(grpc_services, "caller", lambda context: hangzhou)
        taken, sent = 0, 40

        async def positions() -> AsyncIterator[custody_pb2.CustodyStreamRequest]:
            nonlocal taken
            for _ in range(sent):
                taken += 1
                yield custody_pb2.CustodyStreamRequest(position=custody_pb2.Position(incarnation=1, peer_incarnation=1))
            await asyncio.Event().wait()

        async def run() -> int:
            stream = CustodyServicer(clearinghouse.service).CustodyStream(positions(), SimpleNamespace())  # type: ignore[arg-type]
            assert (await anext(stream)).HasField("position")
            before = -1
            while before != taken:
                before = taken
                await asyncio.sleep(0.2)
            unread = taken
            for _ in range(sent - 1):
                assert (await anext(stream)).HasField("position")
            await stream.aclose()  # type: ignore[attr-defined]
            return unread

        assert asyncio.run(run()) <= 5 + 5 + 1, (
            "five that wait, five that are on their way out, and one that waits for room"
        )
        assert taken == sent


class Taking:
    """A decider that answers every item at once and counts what it was given."""

    def __init__(self) -> None:
        self.taken = 0
        self.undecided = Undecided(FreshIds())

    async def submit(
        self, caller: Identity, items: Sequence[bytes], emit: Emit, batch: SignedBatch | None = None
    ) -> None:
        self.taken += len(items)
        emit([b"answer"] * len(items))


class TestStreams:
    def test_a_caller_that_does_not_read_its_answers_is_not_read_from_any_more(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(servicer, "caller", lambda context: ALIPAY)
        monkeypatch.setattr(allowance, "MAX_OPEN_ITEMS", 50)
        KEYRING.setdefault(PLATFORM_KEY.key_id, PLATFORM_KEY.certified)
        decider = Taking()
        stream = RedemptionServicer(decider, KEYRING, TestSigner(HANGZHOU, "message"))  # type: ignore[arg-type]
        message = sign_items([b"item"] * 10, PLATFORM_KEY)

        async def endless() -> AsyncIterator[redemption_pb2.RedeemStreamRequest]:
            while True:
                yield message
                await asyncio.sleep(0)

        async def run() -> int:
            answers = stream.RedeemStream(endless(), SimpleNamespace())  # type: ignore[arg-type]
            first = await anext(answers)
            for _ in range(2000):
                await asyncio.sleep(0)
            unread = decider.taken
            for _ in range(20):
                await anext(answers)
            await answers.aclose()
            assert first.answers
            return unread

        assert asyncio.run(run()) <= 50
        assert decider.taken > 100, "it goes on as soon as answers are read"

    def test_what_a_caller_leaves_unread_is_bounded_over_all_its_streams_and_free_once_they_end(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(servicer, "caller", lambda context: context.caller)
        monkeypatch.setattr(allowance, "MAX_OPEN_ITEMS", 50)
        monkeypatch.setattr(allowance, "MAX_OPEN_ITEMS_OF_CALLER", 80)
        monkeypatch.setattr(servicer, "verify_batch", lambda *_: None)
        decider = Taking()
        service = RedemptionServicer(decider, KEYRING, TestSigner(HANGZHOU, "message"))  # type: ignore[arg-type]
        message = sign_items([b"item"] * 10, PLATFORM_KEY)

        async def endless() -> AsyncIterator[redemption_pb2.RedeemStreamRequest]:
            while True:
                yield message
                await asyncio.sleep(0)

        async def taken_for(sender: Identity, streams: list[AsyncIterator[Any]]) -> int:
            """What is taken of a new stream's items while nobody reads more than its first answer."""
            before = decider.taken
            streams.append(service.RedeemStream(endless(), SimpleNamespace(caller=sender)))  # type: ignore[arg-type]
            await anext(streams[-1])
            for _ in range(500):
                await asyncio.sleep(0)
            return decider.taken - before

        async def run() -> list[int]:
            streams: list[Any] = []
            taken = [await taken_for(ALIPAY, streams), await taken_for(ALIPAY, streams)]
            taken.append(await taken_for(UNIONPAY, streams))
            for each in streams:
                await each.aclose()
            return [*taken, await taken_for(ALIPAY, streams)]

        assert asyncio.run(run()) == [50, 30, 50, 50]

    def test_an_item_that_waits_holds_up_no_other_message(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(servicer, "caller", lambda context: ALIPAY)
        KEYRING.setdefault(PLATFORM_KEY.key_id, PLATFORM_KEY.certified)

        class Waiting(Taking):
            async def submit(
                self, caller: Identity, items: Sequence[bytes], emit: Emit, batch: SignedBatch | None = None
            ) -> None:
                if items[0] == b"waits":
                    await asyncio.Event().wait()
                await super().submit(caller, items, emit, batch)

        stream = RedemptionServicer(Waiting(), KEYRING, TestSigner(HANGZHOU, "message"))  # type: ignore[arg-type]

        async def requests() -> AsyncIterator[redemption_pb2.RedeemStreamRequest]:
            for _ in range(100):
                yield sign_items([b"waits"], PLATFORM_KEY)
            yield sign_items([b"last"], PLATFORM_KEY)
            await asyncio.Event().wait()

        async def run() -> None:
            answers = stream.RedeemStream(requests(), SimpleNamespace())  # type: ignore[arg-type]
            response = await asyncio.wait_for(anext(answers), 10)
            await answers.aclose()
            assert list(response.answers) == [b"answer"]

        asyncio.run(run())


def _wait_for_locks(node: LocalNode, seconds: float) -> None:
    """Have the node's connections wait that long for another writer, and no longer."""

    @sa.event.listens_for(node.database.engine, "checkout")
    def shorten(connection: Any, record: object, proxy: object) -> None:
        cursor = connection.cursor()
        if node.database.dialect == "sqlite":
            cursor.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
        else:
            cursor.execute(f"SET lock_timeout = '{int(seconds * 1000)}ms'")
            connection.commit()
        cursor.close()


class _no_more_pages:  # noqa: N801
    """SQLite's own limit stands for a disk without room."""

    def __init__(self, node: LocalNode) -> None:
        self._engine = node.database.engine

    def __enter__(self) -> None:
        sa.event.listen(self._engine, "checkout", self._limit)

    def __exit__(self, *_: object) -> None:
        sa.event.remove(self._engine, "checkout", self._limit)
        self._engine.dispose()

    @staticmethod
    def _limit(connection: Any, record: object, proxy: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 5}")


def _require_postgresql_tells_a_full_disk() -> None:
    """PostgreSQL tells a full disk by a code of its own; there is no second disk here to fill."""
    import psycopg

    from chassis.database_errors import translate

    told = translate(psycopg.errors.DiskFull("could not extend file"), "server")
    assert isinstance(told, Unavailable)
    assert "disk is full" in str(told)


class TestMessagesStaySmall:
    """However much there is to tell a node, one message takes what fits."""

    def test_receipts_of_large_hand_overs_come_in_pages_that_can_be_sent(
        self, clearinghouse: LocalClearinghouse
    ) -> None:
        body = custody_pb2.HandOver(vouchers=[bytes(300_000)]).SerializeToString()
        table = clearinghouse.tables["hand_over"]
        rows = [
            {"issuer": HANGZHOU, "number": n, "body": body, "key_id": b"k", "signature": b"s", "taken_at": AT}
            for n in range(1, 21)
        ]
        with clearinghouse.database.transaction() as transaction:
            transaction.insert(table, rows)
        asked, pages, given = custody_pb2.GetReceiptsRequest(after_request_id=bytes(16)), 0, 0
        while True:
            response = receipts_of(clearinghouse.database, HANGZHOU, asked, clearinghouse.service.engine.signer)
            assert response.ByteSize() < MAX_MESSAGE_BYTES / 2
            pages, given = pages + 1, given + len(response.hand_overs)
            if not response.HasField("next"):
                break
            asked = response.next
            assert asked.after_hand_over == given
        assert (given, pages) == (20, 7)

    def test_a_feed_of_large_events_comes_in_messages_that_can_be_sent(self, clearinghouse: LocalClearinghouse) -> None:
        large = signed_pb2.SignedMessage(body=bytes(300_000))
        events = [custody_pb2.FeedEvent(sequence=n, custody_return=large) for n in range(101, 111)]
        rows = [{"region": HANGZHOU, "sequence": e.sequence, "event": e.SerializeToString()} for e in events]
        with clearinghouse.database.transaction() as transaction:
            transaction.insert(clearinghouse.tables["feed"], rows)

        async def follow() -> list[int]:
            got = 0
            counts = []
            async for told in clearinghouse.service.follow(HANGZHOU, 100):
                assert told.ByteSize() < MAX_MESSAGE_BYTES / 2
                counts.append(len(told.events))
                got += len(told.events)
                if got == 10:
                    return counts
            raise AssertionError("a feed has no end")

        assert asyncio.run(follow()) == [3, 3, 3, 1]

    def test_vouchers_that_were_returned_together_are_asked_for_with_their_return_once(
        self, clearinghouse: LocalClearinghouse
    ) -> None:
        returned = signed_pb2.SignedMessage(body=bytes(100_000), signature=b"one")
        service = clearinghouse.service
        stream = service.open_stream(HANGZHOU)

        async def run() -> None:
            future: Any = asyncio.get_running_loop().create_future()
            keys = [VoucherKey(HANGZHOU, number.to_bytes(15, "big"), 0) for number in range(40)]
            service._ask(HANGZHOU, [clearing_service._Wanted(key, 2, returned, future) for key in keys])

        asyncio.run(run())
        asked = [stream.get_nowait().release_request for _ in range(stream.qsize())]
        assert sum(len(each.vouchers) for each in asked) == 40
        assert {len(each.returns) for each in asked} == {1}
        assert max(each.ByteSize() for each in asked) < MAX_MESSAGE_BYTES / 2
