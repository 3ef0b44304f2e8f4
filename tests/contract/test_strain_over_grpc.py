"""Strain as a platform meets it, over real connections: refused quickly and clearly, and nothing answered is lost.

What was refused for strain is good again later with the same request id; what was answered stays so, byte for byte.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
import sqlalchemy as sa
from local_parties import (
    HANGZHOU,
    KEYRING,
    PLATFORM,
    LocalNode,
    TestSigner,
    answer_of,
    item,
    outcome,
    purchase,
    refusal_of,
)

from chassis.host import RETRY_AFTER_MS, Host, channel
from chassis.ids import FreshIds
from chassis.waiting import Waiting
from custodian import allowance
from custodian.evidence import SignedBatch
from custodian.servicer import MAX_ITEMS_PER_MESSAGE, REDEMPTION_METHODS, Emit, RedemptionServicer, sign_items
from custodian.undecided import Undecided
from node.adapters.grpc_services import ClaimServicer
from node.service import NodeService
from pki.authority import RootAuthority
from pki.credentials import channel_credentials, target_options
from pki.identity import Identity
from pki.trust import Trust
from quanlian.v1 import claim_pb2, claim_pb2_grpc, redemption_pb2_grpc
from quanlian.v1 import redemption_pb2 as pb
from quanlian.wire import MAX_ITEM_BYTES

ALIPAY, SERVER = Identity(HANGZHOU, "platform", PLATFORM), Identity(HANGZHOU, "node")
PLATFORM_KEY = TestSigner(HANGZHOU, f"message.{PLATFORM}")
QUICKLY = 10.0
"""Seconds, on a busy machine too; what would wait without bounds takes a minute here."""


class Certificates(NamedTuple):
    """A region's node and a platform of it."""

    folder: Path
    trust: Trust

    def of(self, identity: Identity) -> Path:
        return self.folder / identity.role


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder, now = tmp_path_factory.mktemp("pki"), int(time.time())
    root = RootAuthority.create(folder / "root", now)
    made = Certificates(folder, Trust((folder / "root/certificate.pem").read_bytes(), root.fingerprint))
    region = root.enrol(folder / "authority", HANGZHOU, now)
    for identity in (SERVER, ALIPAY):
        region.issue_tls(identity, made.of(identity), now)
    KEYRING.setdefault(PLATFORM_KEY.key_id, PLATFORM_KEY.certified)
    return made


Stub = redemption_pb2_grpc.RedemptionServiceStub
services: list[NodeService] = []
"""That `serving` runs, the newest last."""


@asynccontextmanager
async def serving(
    certificates: Certificates, node: LocalNode, decider: Any = None, capacity: int = 1000
) -> AsyncIterator[list[Any]]:
    """A running node, as a caller reaches it: the stub of its service, and the address for channels of other limits."""
    service = node.another_service()
    services.append(service)
    service.engine.group._capacity = capacity
    service.start()
    redemptions = RedemptionServicer(decider or service, KEYRING, TestSigner(HANGZHOU, "message"))
    host = Host(
        listen="127.0.0.1:0",
        credentials_directory=certificates.of(SERVER),
        trust=certificates.trust,
        now=lambda: int(time.time()),
        allow={
            **{f"/quanlian.v1.RedemptionService/{method}": {"platform"} for method in REDEMPTION_METHODS},
            "/quanlian.v1.ClaimService/ClaimStream": {"platform"},
        },
    )
    host.add(lambda server: redemption_pb2_grpc.add_RedemptionServiceServicer_to_server(redemptions, server))
    claims = ClaimServicer(service)
    host.add(lambda server: claim_pb2_grpc.add_ClaimServiceServicer_to_server(claims, server))
    address = f"127.0.0.1:{await host.start()}"
    try:
        async with channel(address, HANGZHOU, certificates.of(ALIPAY), max_message_bytes=64 * 1024 * 1024) as opened:
            yield [Stub(opened), address]
    finally:
        await host.stop(0)
        await asyncio.to_thread(service.close)


def signed(content: bytes) -> pb.SignedItem:
    message = sign_items([content], PLATFORM_KEY)
    return pb.SignedItem(item=content, key_id=message.key_id, signature=message.signature)


async def redeem(stub: Stub, content: bytes, timeout: float | None = 60.0) -> bytes:
    response = await stub.Redeem(pb.RedeemRequest(item=signed(content)), timeout=timeout)
    return bytes(response.answer.answer)


async def stream(stub: Stub, *messages: pb.RedeemStreamRequest) -> list[bytes]:
    answers: list[bytes] = []
    async for response in stub.RedeemStream(iter(messages), timeout=60.0):
        answers += response.answers
    return answers


@asynccontextmanager
async def claiming(certificates: Certificates, address: str) -> AsyncIterator[claim_pb2_grpc.ClaimServiceStub]:
    """A connection of its own for claims."""
    async with channel(address, HANGZHOU, certificates.of(ALIPAY)) as opened:
        yield claim_pb2_grpc.ClaimServiceStub(opened)  # type: ignore[no-untyped-call]


async def claim_stream(stub: claim_pb2_grpc.ClaimServiceStub, *messages: Sequence[bytes]) -> list[list[bytes]]:
    """The answers, message by message; all messages are sent before the first is answered."""
    requests = [claim_pb2.ClaimStreamRequest(items=items) for items in messages]
    call: Any = stub.ClaimStream(iter(requests), timeout=60.0)
    return [list(response.answers) async for response in call]


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


@pytest.fixture
def token(node: LocalNode) -> bytes:
    node.publish()
    return node.claim()[0]


def request(node: LocalNode, token: bytes, index: int = 0, klass: str = "") -> bytes:
    content = purchase(token, index, f"order-{index}")
    content.order.klass = klass
    return item(node.ids.fresh(), redeem=content)


def padded(content: bytes, size: int) -> bytes:
    """An item with a field that no version knows, to be of that many bytes."""
    filling = size - len(content) - 4
    assert 128 <= filling < 128**2
    return content + b"\xa2\x06" + bytes((filling % 128 | 128, filling // 128)) + bytes(filling)


def narrow_channel(address: str, certificates: Certificates) -> grpc.aio.Channel:
    """For callers that take no more than 100 bytes."""
    options = [*target_options(HANGZHOU), ("grpc.max_receive_message_length", 100)]
    return grpc.aio.secure_channel(address, channel_credentials(certificates.of(ALIPAY)), options=options)


def stored(node: LocalNode) -> list[Any]:
    """Answers to redemption requests that the node keeps; the claims are not meant."""
    return [row for row in node.rows("request") if row["operation"] != "claim"]


class TestTooLarge:
    @pytest.mark.parametrize("unary", [True, False], ids=["unary", "stream"])
    def test_a_message_beyond_the_limit_is_refused_and_the_next_one_served(
        self, node: LocalNode, token: bytes, certificates: Certificates, unary: bool
    ) -> None:
        async def run() -> None:
            async with serving(certificates, node) as (stub, _):
                huge = request(node, token, klass="x" * 5_000_000)
                call = redeem(stub, huge) if unary else stream(stub, sign_items([huge], PLATFORM_KEY))
                assert (await refused(call)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert stored(node) == []
                assert outcome(await redeem(stub, request(node, token))) == "CAPTURED"

        asyncio.run(run())

    def test_an_item_of_more_bytes_than_a_token_and_an_order_need_is_malformed_and_kept_nowhere(
        self, node: LocalNode, token: bytes, certificates: Certificates
    ) -> None:
        async def run() -> None:
            async with serving(certificates, node) as (stub, _):
                content = request(node, token)
                answer = await redeem(stub, padded(content, MAX_ITEM_BYTES + 1))
                assert (outcome(answer), answer_of(answer).refusal.field) == ("MALFORMED", "item")
                assert (stored(node), node.rows("outbox")) == ([], [])
                assert outcome(await redeem(stub, padded(content, MAX_ITEM_BYTES))) == "CAPTURED"

        asyncio.run(run())

    def test_a_message_of_more_items_than_the_limit_is_refused_whole(
        self, node: LocalNode, token: bytes, certificates: Certificates
    ) -> None:
        async def run() -> None:
            async with serving(certificates, node) as (stub, _):
                many = sign_items([request(node, token)] * (MAX_ITEMS_PER_MESSAGE + 1), PLATFORM_KEY)
                error = await refused(stream(stub, many))
                assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert "2001 items — send 2000 at most" in str(error.details())
                assert stored(node) == []

        asyncio.run(run())

    def test_answers_that_are_too_many_for_one_message_come_in_several(
        self, node: LocalNode, certificates: Certificates
    ) -> None:
        async def run() -> None:
            async with serving(certificates, node, Taking(b"a" * 10_000)) as (stub, _):
                sizes = []
                answers = 0
                async for response in stub.RedeemStream(iter([sign_items([b"item"] * 2000, PLATFORM_KEY)]), timeout=60):
                    sizes.append(response.ByteSize())
                    answers += len(response.answers)
                assert (answers, len(sizes)) == (2000, 20)
                assert max(sizes) < 2 * 1024 * 1024

        asyncio.run(run())

    def test_an_answer_that_its_caller_cannot_take_is_there_for_the_repeated_request(
        self, node: LocalNode, token: bytes, certificates: Certificates
    ) -> None:
        async def run() -> None:
            async with serving(certificates, node) as (stub, address):
                content = request(node, token)
                async with narrow_channel(address, certificates) as narrow:
                    error = await refused(redeem(Stub(narrow), content))
                    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than the caller's own limit"
                (row,) = stored(node)
                assert await redeem(stub, content) == row["answer"]
                assert outcome(row["answer"]) == "CAPTURED"

        asyncio.run(run())


class TestDeadlines:
    def test_a_call_without_a_deadline_is_refused_before_any_work(
        self, node: LocalNode, token: bytes, certificates: Certificates
    ) -> None:
        async def run() -> None:
            async with serving(certificates, node) as (stub, _):
                error = await refused(redeem(stub, request(node, token), timeout=None))
                assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert "the call has no deadline; set one" in str(error.details())
                assert stored(node) == []

        asyncio.run(run())

    def test_a_deadline_that_ends_while_the_database_stalls_is_kept_and_the_outcome_is_found_again(
        self, node: LocalNode, token: bytes, certificates: Certificates
    ) -> None:
        async def run() -> None:
            async with serving(certificates, node) as (stub, _):
                content = request(node, token)
                with held(node):
                    started = time.monotonic()
                    error = await refused(redeem(stub, content, timeout=1.0))
                    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                    assert time.monotonic() - started < QUICKLY
                answer = await redeem(stub, content)
                assert outcome(answer) == "CAPTURED"
                assert await redeem(stub, content) == answer
                assert len(node.rows("spend")) == 1

        asyncio.run(run())
        node.check_books()


class TestOverload:
    def test_beyond_its_capacity_it_says_at_once_when_to_come_again(
        self, node: LocalNode, token: bytes, certificates: Certificates
    ) -> None:
        contents = [request(node, token, index) for index in (0, 1)]

        async def run() -> None:
            async with serving(certificates, node, capacity=1) as (stub, _):
                error = await refused(stream(stub, sign_items(contents, PLATFORM_KEY)))
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert "send the same request again later" in str(error.details())
                assert retry_after_ms(error) == RETRY_AFTER_MS
                assert stored(node) == []
            async with serving(certificates, node) as (stub, _):
                answers = await stream(stub, sign_items(contents, PLATFORM_KEY))
                assert [outcome(answer) for answer in answers] == ["CAPTURED"] * 2

        asyncio.run(run())

    def test_a_caller_that_does_not_read_stops_being_read_and_gets_everything_once_it_reads(
        self, node: LocalNode, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(allowance, "MAX_OPEN_ITEMS", 100)
        decider, sent = Taking(b"a" * 10_000), 3000

        async def run() -> int:
            async with serving(certificates, node, decider) as (stub, _):
                message = sign_items([b"item"] * 10, PLATFORM_KEY)
                call = stub.RedeemStream(timeout=120)

                async def write() -> None:
                    for _ in range(sent):
                        await call.write(message)
                    await call.done_writing()

                writing = asyncio.create_task(write())
                before = -1
                while decider.taken != before:
                    before = decider.taken
                    await asyncio.sleep(0.5)
                unread = decider.taken
                answers = 0
                async for response in call:
                    answers += len(response.answers)
                await writing
                assert answers == decider.taken == 10 * sent
                return unread

        assert 0 < asyncio.run(run()) < 10 * sent / 3, (
            "what it holds is bounded by the stream's window, not by the caller"
        )


class TestClaimStream:
    def test_answers_leave_in_the_order_of_the_messages(self, node: LocalNode, certificates: Certificates) -> None:
        node.publish(quota=1000, city=40_000, county=20_000)
        messages = [[node.claim_content(f"holder-{n}-{m}") for m in range(n + 1)] for n in range(12)]

        async def run() -> list[list[bytes]]:
            async with serving(certificates, node) as (_, address), claiming(certificates, address) as stub:
                return await claim_stream(stub, *messages)

        answers = asyncio.run(run())
        assert [[claim_pb2.ClaimAnswer.FromString(each).request_id for each in told] for told in answers] == [
            [claim_pb2.ClaimItem.FromString(each).request_id for each in asked] for asked in messages
        ]
        assert len(node.rows("pack")) == sum(map(len, messages))
        node.check_books()

    def test_a_flood_beyond_capacity_is_turned_away_and_harms_no_one_who_is_in(
        self, node: LocalNode, certificates: Certificates
    ) -> None:
        node.publish(quota=1000, city=40_000, county=20_000)
        inside, flood = ([node.claim_content(f"{name}-{n}") for n in range(60)] for name in ("inside", "flood"))

        async def run() -> list[list[bytes]]:
            async with (
                serving(certificates, node, capacity=100) as (_, address),
                claiming(certificates, address) as stub,
                claiming(certificates, address) as another,
            ):
                with held(node):
                    first = asyncio.create_task(claim_stream(stub, inside))
                    while not services[-1].engine.group._accepted:
                        await asyncio.sleep(0.01)
                    for _ in range(3):
                        error = await refused(claim_stream(another, flood))
                        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                        assert retry_after_ms(error) == RETRY_AFTER_MS
                return [*await first, *await claim_stream(another, flood)]

        answers = asyncio.run(run())
        assert [refusal_of(each) for told in answers for each in told] == [""] * 120
        assert len(node.rows("pack")) == 120
        node.check_books()

    def test_more_claims_than_one_message_may_carry_end_the_stream_and_claim_nothing(
        self, node: LocalNode, certificates: Certificates
    ) -> None:
        node.publish()

        async def run() -> None:
            async with serving(certificates, node) as (_, address), claiming(certificates, address) as stub:
                error = await refused(claim_stream(stub, [b""] * (MAX_ITEMS_PER_MESSAGE + 1)))
                assert error.code() is grpc.StatusCode.INVALID_ARGUMENT

        asyncio.run(run())
        assert node.rows("pack") == []


class TestDatabase:
    def test_one_that_another_holds_is_told_as_that_and_the_request_is_good_again_later(
        self, node: LocalNode, token: bytes, certificates: Certificates
    ) -> None:
        async def run() -> None:
            async with serving(certificates, node) as (stub, _):
                content = request(node, token)
                with held(node, 0.5):
                    error = await refused(redeem(stub, content))
                assert error.code() is grpc.StatusCode.UNAVAILABLE
                assert "another writer" in str(error.details())
                assert retry_after_ms(error) == RETRY_AFTER_MS
                async with asyncio.timeout(QUICKLY):
                    assert outcome(await redeemed_in_the_end(stub, content)) == "CAPTURED"

        asyncio.run(run())
        node.check_books()

    def test_one_that_stalls_ends_reads_in_time_and_they_are_good_again_later(
        self, node: LocalNode, token: bytes, certificates: Certificates
    ) -> None:
        node.database._waiting = Waiting(node.database.place, node.database._ask, stalled_seconds=0.2)

        async def run() -> None:
            async with serving(certificates, node) as (stub, _):
                answer = await redeem(stub, request(node, token))
                calls: list[Callable[[], Any]] = [
                    lambda: stub.ListRedemptions(pb.ListRedemptionsRequest(), timeout=60.0),
                    lambda: stub.GetRedemption(pb.GetRedemptionRequest(redemption_id=b"0" * 16), timeout=60.0),
                ]
                with stalled(node):
                    for call in calls:
                        started = time.monotonic()
                        error = await refused(call())
                        assert error.code() is grpc.StatusCode.UNAVAILABLE
                        assert "the database has not answered" in str(error.details())
                        assert retry_after_ms(error) == RETRY_AFTER_MS
                        assert time.monotonic() - started < QUICKLY
                async with asyncio.timeout(QUICKLY):
                    while not (found := await listed(stub)):
                        pass
                assert found == [answer_of(answer).redemption_id]

        asyncio.run(run())

    def test_a_full_disk_is_told_at_once_what_was_answered_stays_and_it_goes_on_once_there_is_room(
        self, node: LocalNode, certificates: Certificates
    ) -> None:
        node.publish(quota=2000, per_person=2000, city=400_000, county=400_000)
        contents = [request(node, token, index) for token in node.claim(100) for index in (0, 1)]
        for number, content in enumerate(contents):
            contents[number] = renamed(content, f"order-{number}")

        async def run() -> None:
            async with serving(certificates, node) as (stub, _):
                answered: dict[bytes, bytes] = {contents[0]: await redeem(stub, contents[0])}
                error: grpc.aio.AioRpcError | None = None
                with no_room(node):
                    for content in contents[1:]:
                        started = time.monotonic()
                        try:
                            answered[content] = await redeem(stub, content)
                        except grpc.aio.AioRpcError as caught:
                            error = caught
                            break
                    assert error is not None, "the disk was to be full"
                    assert time.monotonic() - started < QUICKLY
                    assert error.code() is grpc.StatusCode.UNAVAILABLE
                    assert "disk is full" in str(error.details())
                    assert "make room and try again" in str(error.details())
                    assert await redeem(stub, contents[0]) == answered[contents[0]], "it is still told what it was"
                assert [await redeem(stub, content) for content in answered] == list(answered.values())
                assert outcome(await redeem(stub, content)) == "CAPTURED"
                assert len(node.rows("spend")) == len(answered) + 1

        asyncio.run(run())
        node.check_books()


class Taking:
    """A decider that answers every item at once and counts what it was given."""

    def __init__(self, answer: bytes) -> None:
        self.taken = 0
        self.undecided = Undecided(FreshIds())
        self._answer = answer

    async def submit(
        self, caller: Identity, items: Sequence[bytes], emit: Emit, batch: SignedBatch | None = None
    ) -> None:
        self.taken += len(items)
        emit([self._answer] * len(items))


def retry_after_ms(error: grpc.aio.AioRpcError) -> int:
    return int(dict(error.trailing_metadata() or ())["grpc-retry-pushback-ms"])


def renamed(content: bytes, order_id: str) -> bytes:
    message = pb.RedemptionItem.FromString(content)
    message.redeem.order.order_id = order_id
    return message.SerializeToString()


@contextmanager
def held(node: LocalNode, lock_seconds: float = 60.0) -> Iterator[None]:
    """Another writer holds the node's database, for which its connections wait so long."""
    taken, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with node.database.transaction():
            taken.set()
            let_go.wait(60)

    @sa.event.listens_for(node.database.engine, "checkout")
    def wait_for_locks(connection: Any, record: object, proxy: object) -> None:
        cursor = connection.cursor()
        milliseconds = int(lock_seconds * 1000)
        if node.database.dialect == "sqlite":
            cursor.execute(f"PRAGMA busy_timeout = {milliseconds}")
        else:
            cursor.execute(f"SET lock_timeout = '{milliseconds}ms'")
            connection.commit()
        cursor.close()

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(10)
    try:
        yield
    finally:
        let_go.set()
        holder.join()
        sa.event.remove(node.database.engine, "checkout", wait_for_locks)


@contextmanager
def stalled(node: LocalNode) -> Iterator[None]:
    """No connection of the node gets anything done."""
    go_on = threading.Event()

    def wait(*_: Any) -> None:
        go_on.wait(60)

    sa.event.listen(node.database.engine, "checkout", wait)
    try:
        yield
    finally:
        go_on.set()
        sa.event.remove(node.database.engine, "checkout", wait)


async def redeemed_in_the_end(stub: Stub, content: bytes) -> bytes:
    """The same request again as long as the node does not take it."""
    while True:
        try:
            return await redeem(stub, content)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise


async def listed(stub: Stub) -> list[bytes]:
    """The node's redemptions; none while it does not read."""
    try:
        response = await stub.ListRedemptions(pb.ListRedemptionsRequest(), timeout=60.0)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return []
    return [each.redemption_id for each in response.redemptions]


def no_room(node: LocalNode) -> AbstractContextManager[None]:
    """SQLite's own limit of pages, or what PostgreSQL raises where a file cannot grow."""
    limits: dict[str, Callable[[LocalNode], AbstractContextManager[None]]] = {
        "sqlite": _no_more_pages,
        "postgresql": _no_more_entries,
    }
    return limits[node.database.dialect](node)


@contextmanager
def _no_more_pages(node: LocalNode) -> Iterator[None]:
    def limit(connection: Any, record: object, proxy: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    engine = node.database.engine
    engine.dispose()
    sa.event.listen(engine, "connect", lambda connection, record: limit(connection, record, None), once=True)
    sa.event.listen(engine, "checkout", limit)
    try:
        yield
    finally:
        sa.event.remove(engine, "checkout", limit)
        engine.dispose()


@contextmanager
def _no_more_entries(node: LocalNode) -> Iterator[None]:
    """`entry` is written by every commit that changes the books; its file is as full as the disk."""

    def execute(*statements: str) -> None:
        with node.database.transaction() as transaction:
            for statement in statements:
                transaction.connection.exec_driver_sql(statement)

    execute(
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION"
        " 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$",
        "CREATE TRIGGER no_room BEFORE INSERT ON entry FOR EACH STATEMENT EXECUTE FUNCTION no_room()",
    )
    try:
        yield
    finally:
        execute("DROP TRIGGER no_room ON entry", "DROP FUNCTION no_room")
