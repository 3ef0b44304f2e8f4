"""A payment platform and the operators, as their own software would call the services."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import grpc.aio

from chassis.host import channel
from custodian.servicer import ANSWER_KIND, sign_items, verify_batch
from pki.identity import Identity
from pki.keystore import FileKeyStore
from pki.trust import Keyring, Trust
from quanlian.errors import Unavailable
from quanlian.v1 import (
    agreement_pb2_grpc,
    claim_pb2,
    claim_pb2_grpc,
    clearing_operator_pb2_grpc,
    node_operator_pb2_grpc,
    redemption_pb2,
    redemption_pb2_grpc,
    settlement_pb2_grpc,
)
from quanlian.wire import answer_request_id, request_id_of
from simulations.auditor import Promise
from simulations.demo.network import Network
from simulations.demo.setting import CLEARINGHOUSE, PLATFORM

CALL_SECONDS = 60.0
ITEMS_PER_MESSAGE = 200
RETRY_SECONDS = 0.3
RETRIES = 200
_TRY_AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
"""Nothing is known of the request: the same bytes again get its answer, or have it decided."""

Progressed = Callable[[int], None]


class PlatformClient:
    """The platform in one region. Requests that got no answer are sent again with the same bytes.

    Every answer that came is kept in `promises`, so that the auditor can hold the books to it.
    """

    def __init__(self, network: Network, region: str) -> None:
        tls = network.platform_tls(region)
        self._channel = channel(network.address(region), region, tls)
        self._signer = network.platform_keys(region).signer(f"message.{PLATFORM}")
        self._node = Identity(region, "node")
        self.promises: list[Promise] = []
        self._keyring = Keyring(Trust((tls / "root.crt").read_bytes()))
        node_keys = FileKeyStore(network.directory / region / "keys")
        self._keyring.add(node_keys.chain("message"))
        self._redemptions = redemption_pb2_grpc.RedemptionServiceStub(self._channel)
        self._claims = claim_pb2_grpc.ClaimServiceStub(self._channel)

    async def claim(self, items: Sequence[bytes], progressed: Progressed) -> list[claim_pb2.ClaimAnswer]:
        """Claims over the stream, in order. Raises Unavailable when the stream ends before its answers."""
        answers: list[claim_pb2.ClaimAnswer] = []
        call = self._claims.ClaimStream()
        for start in range(0, len(items), ITEMS_PER_MESSAGE):
            await call.write(claim_pb2.ClaimStreamRequest(items=items[start : start + ITEMS_PER_MESSAGE]))
            response: Any = await asyncio.wait_for(call.read(), CALL_SECONDS)
            if response is grpc.aio.EOF:
                raise Unavailable(f"{self._node.host} ended the stream")
            for item, answer in zip(items[start : start + ITEMS_PER_MESSAGE], response.answers, strict=True):
                self._was_told(claim_pb2.ClaimItem.FromString(item).request_id, item, answer, is_claim=True)
                answers.append(claim_pb2.ClaimAnswer.FromString(answer))
            progressed(len(response.answers))
        await call.done_writing()
        return answers

    async def stream(self, items: Sequence[bytes], progressed: Progressed) -> dict[bytes, bytes]:
        """Redemption items over the stream; every answer's bytes by request id, whatever breaks meanwhile."""
        open_items = {request_id_of(item): item for item in items}
        answers: dict[bytes, bytes] = {}
        for _ in range(RETRIES):
            with contextlib.suppress(grpc.aio.AioRpcError, TimeoutError):
                await self._stream_once(open_items, answers, progressed)
            if not open_items:
                return answers
            await asyncio.sleep(RETRY_SECONDS)
        raise Unavailable(f"{self._node.host}: {len(open_items)} requests were not answered")

    async def _stream_once(
        self, open_items: dict[bytes, bytes], answers: dict[bytes, bytes], progressed: Progressed
    ) -> None:
        """Send what is open and take answers until the stream ends. Raises TimeoutError when it falls silent."""
        call = self._redemptions.RedeemStream()

        async def write() -> None:
            pending = list(open_items.values())
            for start in range(0, len(pending), ITEMS_PER_MESSAGE):
                await call.write(sign_items(pending[start : start + ITEMS_PER_MESSAGE], self._signer))
            await call.done_writing()

        writing = asyncio.create_task(write())
        try:
            response: Any
            while (response := await asyncio.wait_for(call.read(), CALL_SECONDS)) is not grpc.aio.EOF:
                self._verify(response)
                for answer in response.answers:
                    request_id = answer_request_id(answer)
                    if item := open_items.pop(request_id, None):
                        answers[request_id] = answer
                        self._was_told(request_id, item, answer)
                        progressed(1)
        finally:
            call.cancel()
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def call(self, operation: str, item: bytes) -> bytes:
        """One unary call, such as `redeem`; sent again with the same bytes when the service cannot be reached."""
        signed = sign_items([item], self._signer)
        message = redemption_pb2.SignedItem(item=item, key_id=signed.key_id, signature=signed.signature)
        name = operation.capitalize()
        request = getattr(redemption_pb2, f"{name}Request")(item=message)
        for _ in range(RETRIES):
            try:
                response = await getattr(self._redemptions, name)(request, timeout=CALL_SECONDS)
                answer: redemption_pb2.SignedAnswer = response.answer
                self._verify(
                    redemption_pb2.RedeemStreamResponse(
                        answers=[answer.answer], key_id=answer.key_id, signature=answer.signature
                    )
                )
                self._was_told(request_id_of(item), item, answer.answer)
                return answer.answer
            except grpc.aio.AioRpcError as error:
                if error.code() not in _TRY_AGAIN:
                    raise Unavailable(f"{self._node.host}: {error.code().name}: {error.details()}") from error
                await asyncio.sleep(RETRY_SECONDS)
        raise Unavailable(f"{self._node.host} did not answer")

    async def close(self) -> None:
        await self._channel.close()

    def _was_told(self, request_id: bytes, item: bytes, answer: bytes, is_claim: bool = False) -> None:
        name = f"{'claim' if is_claim else 'request'} {request_id.hex()}"
        promise = Promise(self._node.host, PLATFORM, request_id, name, is_claim, item, answer, time.time())
        self.promises.append(promise)

    def _verify(self, response: redemption_pb2.RedeemStreamResponse) -> None:
        verify_batch(self._keyring, self._node, ANSWER_KIND, response.answers, response.key_id, response.signature)


class Operator:
    """The operator of a party; `node` or `clearing` is the stub of its service, by party."""

    def __init__(self, network: Network, party: str) -> None:
        self._channel = channel(network.address(party), party, network.operator_tls(party))
        self.node = node_operator_pb2_grpc.NodeOperatorServiceStub(self._channel)
        self.clearing = clearing_operator_pb2_grpc.ClearingOperatorServiceStub(self._channel)
        self.agreements = agreement_pb2_grpc.AgreementServiceStub(self._channel)
        self.settlement = settlement_pb2_grpc.SettlementServiceStub(self._channel)

    async def do(self, method: Any, request: Any) -> Any:
        """Call a method of one of the stubs. Raises Unavailable with what the service said."""
        try:
            return await method(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise Unavailable(f"{error.code().name}: {error.details()}") from error

    async def close(self) -> None:
        await self._channel.close()


class Clients:
    """Everybody who calls the network in the demonstration."""

    def __init__(self, network: Network) -> None:
        regions = [party for party in network.parties if party != CLEARINGHOUSE]
        self.platforms = {region: PlatformClient(network, region) for region in regions}
        self.operators = {region: Operator(network, region) for region in regions}
        self.clearinghouse = Operator(network, CLEARINGHOUSE)

    @property
    def promises(self) -> list[Promise]:
        """Everything that platforms were answered so far."""
        return [each for platform in self.platforms.values() for each in platform.promises]

    async def __aenter__(self) -> Clients:
        return self

    async def __aexit__(self, *_: object) -> None:
        for platform in self.platforms.values():
            await platform.close()
        for operator in (*self.operators.values(), self.clearinghouse):
            await operator.close()
