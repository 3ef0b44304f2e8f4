"""What platforms ask while parties die: every kind of operation, and a gate at which all of it can be held up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import grpc.aio

from quanlian.errors import Unavailable
from quanlian.v1 import redemption_pb2
from simulations.demo.client import RETRY_SECONDS
from simulations.demo.plan import HANGZHOU
from simulations.demo.stage import Stage, answer_of

SHANGHAI = "310000"
CLAIMED_MEANWHILE = 10
"""Packs that are claimed one by one while parties die."""


class Traffic:
    """What is under way at platforms; it can be held up until nothing is, so that books can be compared."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._idle = asyncio.Condition()
        self._under_way = 0

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """One exchange, from the request to the answer."""
        await self._open.wait()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            async with self._idle:
                self._idle.notify_all()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Nothing is asked, and whatever was asked has its answer."""
        self._open.clear()
        async with self._idle:
            await self._idle.wait_for(lambda: self._under_way == 0)
        try:
            yield
        finally:
            self._open.set()


class Load:
    """Hangzhou's vouchers, each used once: every third at home, the others in Shanghai where they may be.

    Every fourth is held first and then captured, voided or reversed; of the rest some are returned in part. Packs are
    claimed meanwhile.
    """

    def __init__(
        self, stage: Stage, traffic: Traffic, progressed: Callable[[int], None], killing: asyncio.Task[None]
    ) -> None:
        self.answers: dict[bytes, bytes] = {}
        self.purchases: set[bytes] = set()
        self.left: dict[str, list[redemption_pb2.RedemptionItem]] = {HANGZHOU: [], SHANGHAI: []}
        self._stage, self._traffic, self._progressed, self._killing = stage, traffic, progressed, killing
        self._sent: dict[str, list[bytes]] = {region: [] for region in self.left}
        self._packs: dict[bytes, bytes] = {}
        for number, voucher in enumerate(each for each in stage.vouchers if each.issuer == HANGZHOU):
            region = SHANGHAI if voucher.roaming != "never" and number % 3 else HANGZHOU
            item = self._item()
            kind = item.redeem if number % 4 else item.authorize
            kind.CopyFrom(stage.plan.purchase(voucher, region))
            self.purchases.add(item.request_id)
            self.left[region].append(item)

    async def redeem_at(self, region: str) -> None:
        """A few requests at a time as long as there is killing, so that every moment has some in flight."""
        platform, left = self._stage.clients.platforms[region], self.left[region]
        while left:
            size = 5 if not self._killing.done() else len(left)
            some, left[:size] = left[:size], []
            sent = [each.SerializeToString() for each in some]
            self._sent[region] += sent
            async with self._traffic.passing():
                answers = await platform.stream(sent, self._progressed)
            assert set(answers) == {each.request_id for each in some}
            self.answers |= answers
            left += [next for each in some if (next := self._following(each, answer_of(answers[each.request_id])))]

    async def claim(self) -> None:
        """One pack after the other; who gets no answer asks again with the same bytes."""
        terms, campaign = self._stage.terms, "hangzhou-2020-r1"
        for number in range(CLAIMED_MEANWHILE):
            claim = self._stage.plan.claim(HANGZHOU, campaign, terms, self._stage.plan.shoppers + number)
            await self._ask_for_pack(claim.item)

    async def ask_again(self) -> dict[bytes, bytes]:
        """Everything once more, with the bytes of its first time."""
        for claim in self._packs:
            await self._ask_for_pack(claim)
        again: dict[bytes, bytes] = {}
        for region, sent in self._sent.items():
            again |= await self._stage.clients.platforms[region].stream(sent, lambda count: None)
        return again

    async def _ask_for_pack(self, claim: bytes) -> None:
        """The answer is the same as often as it is asked for."""
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError, TimeoutError, Unavailable):
                async with self._traffic.passing():
                    (answer,) = await self._stage.clients.platforms[HANGZHOU].claim([claim], self._progressed)
                assert answer.token
                assert self._packs.setdefault(claim, answer.token) == answer.token
                return
            await asyncio.sleep(RETRY_SECONDS)

    def _following(
        self, item: redemption_pb2.RedemptionItem, answer: redemption_pb2.RedemptionAnswer
    ) -> redemption_pb2.RedemptionItem | None:
        """What is asked next of the same redemption."""
        if answer.HasField("refusal"):
            return None
        next, turn = self._item(), answer.redemption_id[-1]
        if item.HasField("authorize") and turn % 3:
            next.capture.redemption_id = answer.redemption_id
        elif item.HasField("authorize") and turn % 2:
            next.void.redemption_id = answer.redemption_id
        elif item.HasField("authorize"):
            next.reverse.original_request_id = item.request_id
        elif item.HasField("redeem") and turn % 3 == 0:
            next.refund.redemption_id, next.refund.order_fen = answer.redemption_id, answer.order_fen // 3
        else:
            return None
        return next

    def _item(self) -> redemption_pb2.RedemptionItem:
        return redemption_pb2.RedemptionItem(request_id=self._stage.plan.request_id())
