"""Redemptions as a redeeming region sends them, every message signed before the clock starts, and what they got."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc.aio

from chassis.host import channel
from custodian.servicer import ANSWER_KIND, sign_items, verify_batch
from pki.identity import Identity
from quanlian.errors import Unavailable
from quanlian.refusals import RefusalReason
from quanlian.signing import Signer, Verifier
from quanlian.v1 import redemption_pb2, redemption_pb2_grpc
from quanlian.v1.redemption_pb2 import RedeemRequest, RedeemStreamRequest, RedeemStreamResponse
from rig.timing import batches, in_flight
from simulations.demo.setting import CLEARINGHOUSE

UNARY_IN_FLIGHT, MESSAGES_IN_FLIGHT, CALL_SECONDS = 64, 8, 60.0


class Sender:
    """A redeeming region's node, as the clearinghouse knows it by its certificate and its key."""

    def __init__(self, region: str, signer: Signer, address: str, tls: Path) -> None:
        self.region, self._signer = region, signer
        self._channel = channel(address, CLEARINGHOUSE, tls)
        self._stub = redemption_pb2_grpc.RedemptionServiceStub(self._channel)

    def messages(self, items: Sequence[bytes], size: int) -> list[RedeemStreamRequest]:
        return [sign_items(each, self._signer) for each in batches(items, size)]

    def calls(self, items: Sequence[bytes]) -> list[RedeemRequest]:
        signed = self.messages(items, 1)
        items_ = (redemption_pb2.SignedItem(item=m.items[0], key_id=m.key_id, signature=m.signature) for m in signed)
        return [RedeemRequest(item=each) for each in items_]

    async def stream(
        self, messages: Sequence[RedeemStreamRequest], latencies: list[float], pause_s: float = 0.0
    ) -> list[RedeemStreamResponse]:
        return await stream(self._stub.RedeemStream(), messages, latencies, pause_s)

    async def unary(self, requests: Sequence[RedeemRequest], latencies: list[float]) -> list[RedeemStreamResponse]:
        responses: list[RedeemStreamResponse] = []

        async def redeem(request: RedeemRequest) -> None:
            one: Any = (await self._stub.Redeem(request, timeout=CALL_SECONDS)).answer
            responses.append(RedeemStreamResponse(answers=[one.answer], key_id=one.key_id, signature=one.signature))

        await in_flight(requests, UNARY_IN_FLIGHT, redeem, latencies)
        return responses

    async def close(self) -> None:
        await self._channel.close()


async def stream(
    call: Any, messages: Sequence[RedeemStreamRequest], latencies: list[float], pause_s: float = 0.0
) -> list[RedeemStreamResponse]:
    """Some messages in flight at any time, or one every `pause_s`; a message's latency is until the last of its
    answers. Raises AioRpcError or Unavailable where the stream ends before.
    """
    room = asyncio.Semaphore(len(messages) if pause_s else MESSAGES_IN_FLIGHT)
    sent: list[tuple[float, int]] = []
    responses: list[RedeemStreamResponse] = []

    async def write() -> None:
        began = time.perf_counter()
        for number, message in enumerate(messages):
            if pause_s:
                await asyncio.sleep(max(0.0, began + number * pause_s - time.perf_counter()))
            await room.acquire()
            sent.append((time.perf_counter(), len(message.items)))
            await call.write(message)

    writing, left = asyncio.create_task(write()), 0
    try:
        while len(latencies) < len(messages):
            response = await call.read()
            if response is grpc.aio.EOF:
                raise Unavailable("the stream ended before its answers")
            responses.append(response)
            left += len(response.answers)
            while len(latencies) < len(sent) and left >= sent[len(latencies)][1]:
                left -= sent[len(latencies)][1]
                latencies.append(time.perf_counter() - sent[len(latencies)][0])
                room.release()
        await call.done_writing()
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    return responses


def require_answers(
    responses: Sequence[RedeemStreamResponse], accepted: int, refused: Mapping[RefusalReason, int], verifier: Verifier
) -> None:
    """So many were accepted and so many refused, all signed by the clearinghouse. Raises SystemExit."""
    server = Identity(CLEARINGHOUSE, "server")
    for each in responses:
        verify_batch(verifier, server, ANSWER_KIND, each.answers, each.key_id, each.signature)
    found = Counter(_refusal(answer) for each in responses for answer in each.answers)
    expected: Counter[RefusalReason | None] = Counter({None: accepted})
    expected.update(refused)
    if found != +expected:
        raise SystemExit(f"answers were {found}, must be {expected}")


def _refusal(content: bytes) -> RefusalReason | None:
    answer = redemption_pb2.RedemptionAnswer.FromString(content)
    return RefusalReason(answer.refusal.reason) if answer.HasField("refusal") else None
