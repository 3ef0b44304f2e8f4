"""Nobody waits for ever: what fails on the way of an answer or a hand-over is tried again without being asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from local_parties import (
    HANGZHOU,
    KEYRING,
    PLATFORM,
    LocalNode,
    NoClearinghouse,
    TestSigner,
    item,
    keys_of,
    outcome,
    purchase,
)

from custodian.evidence import SignedBatch
from custodian.servicer import sign_answers
from node.adapters import clearing
from node.adapters.clearing import ClearingLink
from node.service import NodeService
from pki.authority import RootAuthority
from pki.identity import Identity
from quanlian.errors import InvalidInput, Unavailable
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


class TestAnswers:
    def test_an_answer_that_cannot_be_booked_is_told_after_the_others_are_booked(self, node: LocalNode) -> None:
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
            with pytest.raises(InvalidInput, match="did not send"):
                await service.clearinghouse_answered([answered(first), stranger])
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
