"""What cannot be decided concerns nobody else: a refusal where the books say why, and otherwise a fault of one item."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any
from unittest import mock

import pytest
import structlog
from batch_stories import request_id
from local_parties import (
    CLEARINGHOUSE,
    HANGZHOU,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    TestSigner,
    answer_of,
    item,
    keys_of,
    outcome,
    purchase,
)

from chassis.host import handle_as
from clearinghouse.desk import Desk
from clearinghouse.redeeming import Redeem
from custodian.servicer import RedemptionServicer, sign_items
from pki.identity import Identity
from quanlian import wire
from quanlian.errors import BadSignature
from quanlian.v1 import redemption_pb2 as pb

SHANGHAIS_NODE = Identity(SHANGHAI, "node")
SHANGHAIS_KEY = TestSigner(SHANGHAI, "message")
NOTHING_AGREED = mock.patch.object(Desk, "agreements", return_value=[])


@pytest.fixture
def tokens(node: LocalNode, clearinghouse: LocalClearinghouse) -> list[bytes]:
    """Packs whose vouchers are with the clearinghouse."""
    node.publish()
    clearinghouse.learn(node)
    found = node.claim(3)
    keys = [key for token in found for key in keys_of(token)]
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys)))
    return found


class TestWithoutAnAgreement:
    def test_a_use_between_the_two_regions_is_refused_for_now_and_says_why(
        self, clearinghouse: LocalClearinghouse, tokens: list[bytes]
    ) -> None:
        with NOTHING_AGREED:
            (content,) = clearinghouse.redeem(item(request_id(1), redeem=purchase(tokens[0], 0, "order-1")))
        refusal = answer_of(content).refusal
        assert outcome(content) == "FUNDING_EXHAUSTED"
        assert (refusal.retryable, refusal.voucher_usable) == (True, True)
        assert refusal.message_zh == "资金不足，需10.00元；两地间生效的分担协议0份；券仍可用"
        assert refusal.message_en == (
            "the funders' money does not reach for 10.00 yuan; 0 funding agreements are in force between the two "
            "regions; the voucher is still good"
        )
        (again,) = clearinghouse.redeem(item(request_id(2), redeem=purchase(tokens[0], 0, "order-1")))
        assert outcome(again) == "CAPTURED", "an agreement is in force now"
        clearinghouse.check_books()

    @pytest.mark.parametrize("operation", ["quote", "authorize"])
    def test_so_is_a_quote_and_a_hold(
        self, clearinghouse: LocalClearinghouse, tokens: list[bytes], operation: str
    ) -> None:
        asked: dict[str, Any] = {operation: purchase(tokens[0], 0, "order-1")}
        with NOTHING_AGREED:
            (content,) = clearinghouse.redeem(item(request_id(1), **asked))
        assert outcome(content) == "FUNDING_EXHAUSTED"
        assert clearinghouse.rows("redemption") == []
        clearinghouse.check_books()

    def test_the_others_of_its_batch_are_decided_with_it_in_one_commit(
        self, clearinghouse: LocalClearinghouse, tokens: list[bytes]
    ) -> None:
        entries = len(clearinghouse.rows("entry"))
        works = [
            clearinghouse.request(item(request_id(n), redeem=purchase(tokens[n], 0, f"order-{n}")), region)
            for n, region in enumerate((HANGZHOU, SHANGHAI, HANGZHOU))
        ]
        with NOTHING_AGREED:
            replies = clearinghouse.decide(*works)
        assert [outcome(each.content) for each in replies] == ["CAPTURED", "FUNDING_EXHAUSTED", "CAPTURED"]
        assert len(clearinghouse.rows("entry")) == entries + 1
        clearinghouse.check_books()


class Stream:
    """A stream of Shanghai's node to the clearinghouse, message by message."""

    def __init__(self, clearinghouse: LocalClearinghouse) -> None:
        keyring = clearinghouse.service.keyring
        keyring[SHANGHAIS_KEY.key_id] = SHANGHAIS_KEY.certified  # type: ignore[index]
        signer = TestSigner(CLEARINGHOUSE, "message")
        servicer = RedemptionServicer(clearinghouse.service, keyring, signer)
        self._requests: asyncio.Queue[Sequence[bytes]] = asyncio.Queue()
        handle_as(SHANGHAIS_NODE)
        self._responses = servicer.RedeemStream(self._sent(), None)  # type: ignore[arg-type]

    async def _sent(self) -> AsyncIterator[pb.RedeemStreamRequest]:
        while True:
            yield sign_items(await self._requests.get(), SHANGHAIS_KEY)

    async def answers(self, *items: bytes, expected: int) -> list[str]:
        """The outcomes of the next so many answers once these were sent together, ordered by their requests."""
        self._requests.put_nowait(items)
        found: list[bytes] = []
        async with asyncio.timeout(30):
            while len(found) < expected:
                found += (await anext(self._responses)).answers
        return [outcome(each) for each in sorted(found, key=wire.answer_request_id)]

    async def close(self) -> None:
        await self._responses.aclose()  # type: ignore[attr-defined]


def redeems(tokens: Sequence[bytes], first: int = 1) -> list[bytes]:
    return [
        item(request_id(n), redeem=purchase(token, first % 2, f"order-{n}")) for n, token in enumerate(tokens, first)
    ]


class Faulty:
    """Makes one item fail as long as it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, content: bytes, error: Exception) -> None:
        self.on, decide = True, Redeem.decide

        def failing(work: Redeem, desk: Any) -> Any:
            if self.on and work.received.content == content:
                raise error
            return decide(work, desk)

        monkeypatch.setattr("clearinghouse.capturing.Run._plain", lambda run, received: None)
        monkeypatch.setattr(Redeem, "decide", failing)


class TestAFaultOfOneItem:
    @pytest.mark.parametrize("error", [RuntimeError("a fault of this item"), BadSignature("an agreement's signature")])
    def test_leaves_it_alone_unanswered_and_the_stream_goes_on(
        self,
        clearinghouse: LocalClearinghouse,
        tokens: list[bytes],
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
    ) -> None:
        bad, *good = redeems(tokens)
        (later,) = redeems(tokens[1:2], 10)
        faulty = Faulty(monkeypatch, bad, error)
        service = clearinghouse.service
        service.engine.group.start()

        async def run() -> None:
            stream = Stream(clearinghouse)
            assert await stream.answers(bad, *good, expected=2) == ["CAPTURED"] * 2
            (left,) = (await service.operations.status()).undecided
            assert (left.sender, left.request_id) == (SHANGHAIS_NODE.uri, request_id(1))
            assert str(error) in left.fault
            assert await stream.answers(later, expected=1) == ["CAPTURED"]
            faulty.on = False
            assert await stream.answers(bad, expected=1) == ["CAPTURED"], "it is sent again and its fault is mended"
            assert list((await service.operations.status()).undecided) == []
            await stream.close()

        with structlog.testing.capture_logs() as logs:
            asyncio.run(run())
        (logged,) = [each for each in logs if each["log_level"] == "error"]
        assert (logged["request_id"], logged["sender"]) == (request_id(1).hex(), SHANGHAIS_NODE.uri)
        service.close()
        clearinghouse.check_books()
