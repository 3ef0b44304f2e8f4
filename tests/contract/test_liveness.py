"""Nobody waits for ever: what fails on the way of an answer or a hand-over is tried again without being asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from local_parties import (
    HANGZHOU,
    KEYRING,
    PLATFORM,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    NoClearinghouse,
    TestSigner,
    item,
    keys_of,
    outcome,
    purchase,
)

from chassis.host import handle_as
from clearinghouse.redeeming import Redeem
from custodian.evidence import SignedBatch
from custodian.servicer import RedemptionServicer, sign_answers
from node import service as node_service
from node.adapters import clearing
from node.adapters.clearing import ClearingLink
from node.desk import Desk
from node.redeeming import Intake
from node.service import NodeService
from pki.authority import RootAuthority
from pki.identity import Identity
from quanlian.errors import Unavailable
from quanlian.refusals import Refusal, RefusalReason
from quanlian.v1 import custody_pb2, directory_pb2, redemption_pb2
from quanlian.wire import Stamp, refused, request_id_of

ALIPAY = Identity(HANGZHOU, "platform", PLATFORM)
CLEARING = TestSigner("clearinghouse", "message")


def answered(content: bytes) -> bytes:
    """A clearinghouse's answer to an item, whatever it asks."""
    return refused(Stamp(request_id_of(content), "clearinghouse", 1), Refusal(RefusalReason.ISSUER_UNREACHABLE))


class Catching(NoClearinghouse):
    """Keeps what a node sends."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    def send(self, items: Sequence[bytes]) -> None:
        self.sent += items


def released_vouchers(node: LocalNode, packs: int) -> list[bytes]:
    """Tokens whose vouchers are the clearinghouse's to decide."""
    node.publish()
    tokens = node.claim(packs)
    for token in tokens:
        node.release(*keys_of(token))
    return tokens


class TestSending:
    def test_a_request_is_sent_on_though_its_caller_left_while_it_was_being_committed(self, node: LocalNode) -> None:
        (token,) = released_vouchers(node, 1)
        node.clearinghouse = catching = Catching()
        service = node.another_service()
        content = item(node.ids.fresh(), redeem=purchase(token, 0, "order"))

        async def run() -> None:
            leaving = asyncio.create_task(service.submit(ALIPAY, [content], lambda answers: None))
            while not service.engine.group._accepted:
                await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            service.start()
            async with asyncio.timeout(30):
                while not catching.sent:
                    await asyncio.sleep(0.01)

        asyncio.run(run())
        service.close()
        assert catching.sent == asyncio.run(service.unanswered())

    def test_a_retry_sends_again_what_is_in_flight(self, node: LocalNode) -> None:
        (token,) = released_vouchers(node, 1)
        node.clearinghouse = catching = Catching()
        service = node.another_service()
        service.start()
        content = item(node.ids.fresh(), redeem=purchase(token, 0, "order"))

        async def run() -> None:
            for times in (1, 2):
                waiting = asyncio.create_task(service.submit(ALIPAY, [content], lambda answers: None))
                async with asyncio.timeout(30):
                    while len(catching.sent) < times:
                        await asyncio.sleep(0.01)
                waiting.cancel()

        asyncio.run(run())
        service.close()
        assert len(node.rows("outbox")) == 1
        assert catching.sent == [catching.sent[0]] * 2


class TestAnswers:
    def test_one_item_that_cannot_be_decided_keeps_no_answer_from_the_others(
        self, node: LocalNode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        node.publish()
        bad, good = (
            item(node.ids.fresh(), redeem=purchase(token, 0, f"o-{n}")) for n, token in enumerate(node.claim(2))
        )
        decide = Intake.decide

        def failing(intake: Intake, desk: Desk) -> Any:
            if intake.received.content == bad:
                raise RuntimeError("a fault of this item")
            return decide(intake, desk)

        monkeypatch.setattr(Intake, "decide", failing)
        service, got = node.another_service(), list[bytes]()
        service.start()
        with pytest.raises(RuntimeError, match="a fault of this item"):
            asyncio.run(service.submit(ALIPAY, [bad, good], got.extend))
        service.close()
        assert [outcome(answer) for answer in got] == ["CAPTURED"]

    def test_the_clearinghouse_answers_the_others_of_a_message_too(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tokens = released_vouchers(node, 2)
        clearinghouse.learn(node)
        for token in tokens:
            clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(token))))
        bad, good = (item(node.ids.fresh(), redeem=purchase(token, 0, f"o-{n}")) for n, token in enumerate(tokens))
        load = Redeem.load

        def failing(work: Redeem, desk: Any) -> None:
            if work.received.content == bad:
                raise RuntimeError("a fault of this item")
            load(work, desk)

        monkeypatch.setattr(Redeem, "load", failing)
        service, got = clearinghouse.service, list[bytes]()
        service.engine.group.start()
        with pytest.raises(RuntimeError, match="a fault of this item"):
            asyncio.run(service.submit(Identity(SHANGHAI, "node"), [bad, good], got.extend))
        service.close()
        assert [outcome(answer) for answer in got] == ["CAPTURED"]

    def test_an_answer_to_nothing_that_was_sent_is_logged_and_the_others_are_booked(self, node: LocalNode) -> None:
        tokens = released_vouchers(node, 2)
        node.clearinghouse = catching = Catching()
        service, got = node.another_service(), list[bytes]()
        service.start()
        items = [item(node.ids.fresh(), redeem=purchase(token, 0, f"o-{n}")) for n, token in enumerate(tokens)]

        async def run() -> None:
            waiting = asyncio.create_task(service.submit(ALIPAY, items, got.extend))
            while len(catching.sent) < 2:
                await asyncio.sleep(0)
            first, second = catching.sent
            stranger = answered(item(bytes(16), void=redemption_pb2.Void(redemption_id=bytes(16))))
            with structlog.testing.capture_logs() as logs:
                await service.clearinghouse_answered([answered(first), stranger])
            (logged,) = logs
            assert "did not send" in logged["event"]
            assert [request_id_of(each) for each in await service.unanswered()] == [request_id_of(second)]
            await service.clearinghouse_answered([answered(second)])
            await asyncio.wait_for(waiting, 10)

        asyncio.run(run())
        service.close()
        assert [outcome(answer) for answer in got] == ["ISSUER_UNREACHABLE"] * 2

    def test_a_directory_that_does_not_come_holds_up_unknown_keys_once_and_not_in_turn(self, node: LocalNode) -> None:
        class Silent(NoClearinghouse):
            asked = 0

            async def directory(self) -> directory_pb2.GetDirectoryResponse:
                self.asked += 1
                raise Unavailable("the clearinghouse: DEADLINE_EXCEEDED")

        node.publish()
        (token,) = node.claim()
        node.clearinghouse = silent = Silent()
        service, got = node.another_service(type(KEYRING)()), list[bytes]()
        service.start()
        items = [item(node.ids.fresh(), redeem=purchase(token, 0, f"o-{n}")) for n in range(5)]
        asyncio.run(service.submit(ALIPAY, items, got.extend))
        service.close()
        assert silent.asked == 1
        assert [outcome(answer) for answer in got] == ["UNKNOWN_KEY"] * 5


class Line:
    """One stream of the link, played by a test: what is written comes to `written`, `responses` are read."""

    def __init__(self) -> None:
        self.written: asyncio.Queue[Any] = asyncio.Queue()
        self.responses: asyncio.Queue[Any] = asyncio.Queue()

    async def write(self, message: Any) -> None:
        self.written.put_nowait(message)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while True:
            yield await self.responses.get()

    def cancel(self) -> None: ...


class Played:
    """The stubs of the redemption and custody services; each call opens the next line."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[Line] = asyncio.Queue()

    def _open(self) -> Line:
        line = Line()
        self.lines.put_nowait(line)
        return line

    RedeemStream = CustodyStream = _open


@pytest.fixture
def link(tmp_path: Path) -> tuple[Path, TestSigner]:
    at = int(time.time())
    region = RootAuthority.create(tmp_path / "root", at).enrol(tmp_path / "region", HANGZHOU, at)
    region.issue_tls(Identity(HANGZHOU, "node"), tmp_path / "tls", at)
    return tmp_path / "tls", TestSigner(HANGZHOU, "message")


def played(link: tuple[Path, TestSigner]) -> tuple[ClearingLink, Played]:
    made, stubs = ClearingLink("127.0.0.1:1", *link, KEYRING), Played()

    async def ready() -> None: ...

    made._redemptions = made._custody = stubs  # type: ignore[assignment]
    made._channel.channel_ready = ready  # type: ignore[method-assign]
    return made, stubs


class FailsOnce(NodeService):
    """Its database is away for the first answer."""

    failed = False

    async def clearinghouse_answered(self, answers: Sequence[bytes], batch: SignedBatch | None = None) -> None:
        if not self.failed:
            self.failed = True
            raise Unavailable("the disk is full — make room and try again")
        await super().clearinghouse_answered(answers, batch)


class TestLink:
    def test_an_answer_that_could_not_be_booked_breaks_the_stream_and_is_asked_for_again(
        self, node: LocalNode, link: tuple[Path, TestSigner]
    ) -> None:
        (token,) = released_vouchers(node, 1)
        got: list[bytes] = []

        async def run() -> None:
            made, stubs = played(link)
            node.clearinghouse = made  # type: ignore[assignment]
            service = node.another_service()
            service.__class__ = FailsOnce
            service.start()
            running = asyncio.create_task(made._forever("redemptions", made._redeem, service))
            request = item(node.ids.fresh(), redeem=purchase(token, 0, "order"))
            waiting = asyncio.create_task(service.submit(ALIPAY, [request], got.extend))
            for _ in range(2):
                line = await asyncio.wait_for(stubs.lines.get(), 10)
                sent = await asyncio.wait_for(line.written.get(), 10)
                line.responses.put_nowait(sign_answers([answered(each) for each in sent.items], CLEARING))
            await asyncio.wait_for(waiting, 10)
            running.cancel()
            await asyncio.to_thread(service.close)

        asyncio.run(run())
        assert [outcome(answer) for answer in got] == ["ISSUER_UNREACHABLE"]

    def test_a_hand_over_that_is_not_taken_is_given_again_on_the_same_stream(
        self, node: LocalNode, link: tuple[Path, TestSigner], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(clearing, "RESEND_SECONDS", 0.05)
        released_vouchers(node, 1)

        async def run() -> list[custody_pb2.CustodyStreamRequest]:
            made, stubs = played(link)
            running = asyncio.create_task(made._forever("custody", made._keep_custody, node.another_service()))
            line = await asyncio.wait_for(stubs.lines.get(), 10)
            assert (await asyncio.wait_for(line.written.get(), 10)).HasField("position")
            given = [await asyncio.wait_for(line.written.get(), 10) for _ in range(3)]
            assert stubs.lines.empty()
            running.cancel()
            return given

        given = asyncio.run(run())
        assert given[0].HasField("hand_over")
        assert given == given[:1] * 3


class Answering:
    """The other end of a line, which answers everything until it is told to be silent."""

    def __init__(self, line: Line) -> None:
        self.line, self.speaks = line, asyncio.Event()
        self.speaks.set()

    async def run(self) -> None:
        while True:
            message = await self.line.written.get()
            await self.speaks.wait()
            given = [answered(each) for each in message.items]
            self.line.responses.put_nowait(
                sign_answers(given, CLEARING) if given else redemption_pb2.RedeemStreamResponse()
            )


async def until(service: NodeService, reached: bool) -> None:
    async with asyncio.timeout(10):
        while service.reaches_clearinghouse is not reached:
            await asyncio.sleep(0.01)


class TestSilence:
    """A clearinghouse that is there and says nothing."""

    def test_what_is_new_is_refused_while_it_is_silent_and_what_was_sent_gets_its_answer(
        self, node: LocalNode, link: tuple[Path, TestSigner], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, seconds in (("STEADY_SECONDS", 0.02), ("PING_SECONDS", 0.02), ("SILENT_SECONDS", 0.1)):
            monkeypatch.setattr(clearing, name, seconds)
        monkeypatch.setattr(node_service, "UNREACHABLE_SECONDS", 0.1)
        first, second, third = (
            item(node.ids.fresh(), redeem=purchase(token, 0, f"order-{n}"))
            for n, token in enumerate(released_vouchers(node, 3))
        )

        async def run() -> None:
            made, stubs = played(link)
            node.clearinghouse = made  # type: ignore[assignment]
            service = node.another_service()
            service.start()
            running = asyncio.create_task(made._forever("redemptions", made._redeem, service))
            other_end = Answering(await asyncio.wait_for(stubs.lines.get(), 10))
            answering = asyncio.create_task(other_end.run())
            await until(service, reached=True)

            other_end.speaks.clear()
            got: list[bytes] = []
            waiting = asyncio.create_task(service.submit(ALIPAY, [first], got.extend))
            await until(service, reached=False)
            await asyncio.sleep(0.02)
            new: list[bytes] = []
            await asyncio.wait_for(service.submit(ALIPAY, [second], new.extend), 10)
            assert [outcome(each) for each in new] == ["NOT_IN_CUSTODY"]
            assert not waiting.done(), "it was sent"

            other_end.speaks.set()
            await asyncio.wait_for(waiting, 10)
            assert [outcome(each) for each in got] == ["ISSUER_UNREACHABLE"], "by the clearinghouse's answer"
            await until(service, reached=True)
            again: list[bytes] = []
            await asyncio.wait_for(service.submit(ALIPAY, [third], again.extend), 10)
            assert [outcome(each) for each in again] == ["ISSUER_UNREACHABLE"]
            assert stubs.lines.empty(), "the stream was never broken"
            for task in (running, answering):
                task.cancel()
            await asyncio.to_thread(service.close)

        asyncio.run(run())

    def test_a_message_without_items_is_answered_by_one_without_answers(
        self, clearinghouse: LocalClearinghouse
    ) -> None:
        async def one() -> AsyncIterator[redemption_pb2.RedeemStreamRequest]:
            yield redemption_pb2.RedeemStreamRequest()
            await asyncio.Event().wait()

        async def run() -> redemption_pb2.RedeemStreamResponse:
            handle_as(Identity(SHANGHAI, "node"))
            stream = RedemptionServicer(clearinghouse.service, KEYRING, CLEARING).RedeemStream(one(), SimpleNamespace())  # type: ignore[arg-type]
            response = await asyncio.wait_for(anext(stream), 10)
            await stream.aclose()  # type: ignore[attr-defined]
            return response

        assert asyncio.run(run()) == redemption_pb2.RedeemStreamResponse()
