"""The clearinghouse over gRPC: three streams that the node opens, and a few calls.

Each stream reconnects by itself and starts from what the database says: requests not yet answered, hand-overs not yet
taken, the feed's last sequence. So a break, or a crash of either side, loses nothing and repeats harmlessly.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from chassis import telemetry
from chassis.host import channel
from chassis.ids import FreshIds
from chassis.service import every
from custodian.evidence import SignedBatch
from custodian.paging import pages
from custodian.servicer import ANSWER_KIND, MAX_ITEMS_PER_MESSAGE, sign_items, verify_batch
from pki.identity import CLEARINGHOUSE, Identity
from pki.tls_files import CERTIFICATE
from quanlian.errors import InvalidInput, QuanlianError, Unavailable
from quanlian.signing import Signer, Verifier
from quanlian.v1 import (
    agreement_pb2,
    custody_pb2,
    custody_pb2_grpc,
    directory_pb2,
    directory_pb2_grpc,
    redemption_pb2,
    redemption_pb2_grpc,
    report_pb2,
    settlement_pb2,
    settlement_pb2_grpc,
    signed_pb2,
)

if TYPE_CHECKING:
    from node.service import NodeService

CALL_SECONDS = 10.0
RECONNECT_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)
RECONCILE_SECONDS = 1.0
STEADY_SECONDS = 1.0
"""A stream that has held for this long was admitted by the other side."""

PING_SECONDS = 2.0
"""Between an empty message on the stream of redemptions and the next, once it is answered."""

SILENT_SECONDS = 2.0
"""A clearinghouse that says nothing on that stream for so long after an empty message counts as lost from it on."""

RESEND_SECONDS = 5.0
"""A hand-over that was not taken in this time is given again: the clearinghouse may have refused it for a while."""

_PING = b""
"""Among items to be sent: an empty message, which the clearinghouse answers by one."""

_log = telemetry.logger("clearing-link")
_SERVER = Identity(CLEARINGHOUSE, "server")


class ClearingLink:
    """Implements `node.ports.Clearinghouse`; `run` keeps the streams open until it is cancelled."""

    def __init__(
        self, address: str, tls_directory: Path, signer: Signer, verifier: Verifier, ids: FreshIds | None = None
    ) -> None:
        self._address = address
        self._tls_directory = tls_directory
        self._signer = signer
        self._verifier = verifier
        self._ids = ids or FreshIds()
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._hand_overs = asyncio.Event()
        self._open_channel()

    def _open_channel(self) -> None:
        """A channel keeps the certificate that it was opened with."""
        self._certificate_of = _replaced_at(self._tls_directory)
        self._call_over(channel(self._address, CLEARINGHOUSE, self._tls_directory))

    def _call_over(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._redemptions = redemption_pb2_grpc.RedemptionServiceStub(self._channel)
        self._custody = custody_pb2_grpc.CustodyServiceStub(self._channel)
        self._directory = directory_pb2_grpc.DirectoryServiceStub(self._channel)
        self._settlement = settlement_pb2_grpc.SettlementServiceStub(self._channel)

    def _renew_channel(self) -> None:
        """Open a new channel once the certificate was replaced; streams move to it as they break, by age at latest."""
        if _replaced_at(self._tls_directory) != self._certificate_of:
            self._open_channel()

    # Port

    def send(self, items: Sequence[bytes]) -> None:
        for item in items:
            self._outgoing.put_nowait(item)

    async def quote(self, items: Sequence[bytes]) -> Sequence[bytes]:
        """Over a stream of their own: what the long one carries is kept, and sent again after a break."""
        answers: list[bytes] = []
        call = self._redemptions.RedeemStream()
        try:
            async with asyncio.timeout(CALL_SECONDS):
                for page in pages(items, len, MAX_ITEMS_PER_MESSAGE):
                    await call.write(sign_items(page, self._signer))
                async for response in _responses(call):
                    answers += self._verified(response).items
                    if len(answers) >= len(items):
                        break
        except TimeoutError as error:
            raise Unavailable(f"the clearinghouse: no quote in {CALL_SECONDS:.0f} s") from error
        except grpc.aio.AioRpcError as error:
            raise _explained(error) from error
        finally:
            call.cancel()
        return answers

    def hand_overs_waiting(self) -> None:
        self._hand_overs.set()

    async def recall(self, request: custody_pb2.RecallRequest) -> custody_pb2.RecallResponse:
        response: custody_pb2.RecallResponse = await self._call(self._custody.Recall, request)
        return response

    async def receipts(self, request: custody_pb2.GetReceiptsRequest) -> custody_pb2.GetReceiptsResponse:
        response: custody_pb2.GetReceiptsResponse = await self._call(self._custody.GetReceipts, request)
        return response

    async def hand_receipts(self, request: custody_pb2.HandReceiptsRequest) -> custody_pb2.HandReceiptsResponse:
        response: custody_pb2.HandReceiptsResponse = await self._call(self._custody.HandReceipts, request)
        return response

    async def directory(self) -> directory_pb2.GetDirectoryResponse:
        response: directory_pb2.GetDirectoryResponse = await self._call(
            self._directory.GetDirectory, directory_pb2.GetDirectoryRequest()
        )
        return response

    async def terms(self, terms_hash: bytes) -> directory_pb2.GetTermsResponse:
        response: directory_pb2.GetTermsResponse = await self._call(
            self._directory.GetTerms, directory_pb2.GetTermsRequest(terms_hash=terms_hash)
        )
        return response

    async def publish_terms(self, terms: signed_pb2.SignedMessage) -> None:
        await self._call(self._directory.PublishTerms, directory_pb2.PublishTermsRequest(terms=terms))

    async def publish_change(self, change: signed_pb2.SignedMessage) -> None:
        await self._call(self._directory.PublishChange, directory_pb2.PublishChangeRequest(change=change))

    async def publish_suspension(self, suspension: signed_pb2.SignedMessage) -> None:
        request = directory_pb2.PublishSuspensionRequest(suspension=suspension)
        await self._call(self._directory.PublishSuspension, request)

    async def submit_agreement(
        self, agreement: signed_pb2.SignedMessage, proposes: bool
    ) -> agreement_pb2.SignedAgreement:
        request = directory_pb2.SubmitAgreementRequest(agreement=agreement, proposes=proposes)
        response: directory_pb2.SubmitAgreementResponse = await self._call(self._directory.SubmitAgreement, request)
        return response.agreement

    async def statement(self, window: int, month: str = "") -> settlement_pb2.GetStatementResponse:
        request = settlement_pb2.GetStatementRequest(window=window, month=month)
        response: settlement_pb2.GetStatementResponse = await self._call(self._settlement.GetStatement, request)
        return response

    async def confirm(self, confirmation: signed_pb2.SignedMessage) -> int:
        request = settlement_pb2.ConfirmStatementRequest(confirmation=confirmation)
        response: settlement_pb2.ConfirmStatementResponse = await self._call(self._settlement.ConfirmStatement, request)
        return response.state

    async def dispute(
        self, dispute: signed_pb2.SignedMessage, taken: signed_pb2.SignedMessage
    ) -> signed_pb2.SignedMessage:
        request = settlement_pb2.DisputeStatementRequest(dispute=dispute, taken=taken)
        response: settlement_pb2.DisputeStatementResponse = await self._call(self._settlement.DisputeStatement, request)
        return response.taken

    async def evidence(self, window: int) -> AsyncIterator[Sequence[bytes]]:
        try:
            async for response in self._settlement.GetEvidence(settlement_pb2.GetEvidenceRequest(window=window)):
                yield response.lines
        except grpc.aio.AioRpcError as error:
            raise _explained(error) from error

    async def campaign_figures(self, campaign: str) -> report_pb2.CampaignFigures:
        request = settlement_pb2.GetCampaignFiguresRequest(campaign=campaign)
        response: settlement_pb2.GetCampaignFiguresResponse = await self._call(
            self._settlement.GetCampaignFigures, request
        )
        return response.figures

    async def _call(self, method: Any, request: Any) -> Any:
        """Tried again where the server turned the call away as CANCELLED, which gRPC does when its queue is full."""
        for wait in (*RECONNECT_SECONDS[:3], None):
            try:
                return await method(request, timeout=CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                if wait is None or error.code() is not grpc.StatusCode.CANCELLED:
                    raise _explained(error) from error
            await asyncio.sleep(wait)

    # Streams

    async def run(self, service: NodeService) -> None:
        """Keep everything flowing until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, stream in (
                ("redemptions", self._redeem),
                ("custody", self._keep_custody),
                ("feed", self._follow),
                ("statements", self._reconcile),
                ("changes", self._announce),
            ):
                group.create_task(self._forever(name, stream, service))

    async def close(self) -> None:
        await self._channel.close()

    async def _forever(self, name: str, stream: Callable[[NodeService], Awaitable[None]], service: NodeService) -> None:
        """Run a stream again whenever it breaks, a little later each time that it breaks at once."""
        attempt, loop = 0, asyncio.get_running_loop()
        while True:
            await service.continuity.until_serving()
            started = loop.time()
            try:
                self._renew_channel()
                await service.continuity.while_serving(stream(service))
            except grpc.aio.AioRpcError as error:
                _log.info("stream broke", stream=name, code=error.code().name, details=error.details())
                if error.code() is grpc.StatusCode.FAILED_PRECONDITION and name == "custody":
                    await _try_to(service.recovery.hand_receipts)
            except TimeoutError:
                _log.info("the clearinghouse cannot be reached", stream=name)
            except QuanlianError as error:
                _log.warning("stream failed", stream=name, error=str(error))
            except Exception as error:
                _log.error("stream failed by a fault of ours", stream=name, error=repr(error), exc_info=error)
            lasted = loop.time() - started
            attempt = 0 if lasted > RECONNECT_SECONDS[-1] else min(attempt + 1, len(RECONNECT_SECONDS) - 1)
            await asyncio.sleep(RECONNECT_SECONDS[attempt])

    async def _redeem(self, service: NodeService) -> None:
        """Everything unanswered first, then what comes; answers are booked as they arrive.

        A clearinghouse that falls silent counts as lost for what is new; what was sent stays sent.
        """
        service.clearinghouse_lost()
        async with asyncio.timeout(CALL_SECONDS):
            await self._channel.channel_ready()
        call = self._redemptions.RedeemStream()
        while not self._outgoing.empty():
            self._outgoing.get_nowait()
        for item in await service.unanswered():
            self._outgoing.put_nowait(item)
        heard = asyncio.Event()

        async def write() -> None:
            while True:
                items = [await self._outgoing.get()]
                while not self._outgoing.empty() and len(items) < MAX_ITEMS_PER_MESSAGE:
                    items.append(self._outgoing.get_nowait())
                if _PING in items:
                    await call.write(redemption_pb2.RedeemStreamRequest())
                for page in pages([each for each in items if each != _PING], len, MAX_ITEMS_PER_MESSAGE):
                    await call.write(sign_items(page, self._signer))

        async def read() -> None:
            async for response in _responses(call):
                heard.set()
                if response.answers:
                    await service.clearinghouse_answered(response.answers, self._verified(response))

        async def hold() -> None:
            await asyncio.sleep(STEADY_SECONDS)
            while True:
                heard.clear()
                self._outgoing.put_nowait(_PING)
                try:
                    async with asyncio.timeout(SILENT_SECONDS):
                        await heard.wait()
                except TimeoutError:
                    _log.warning("the clearinghouse is silent")
                    service.clearinghouse_lost(SILENT_SECONDS)
                    await heard.wait()
                service.clearinghouse_found()
                await asyncio.sleep(PING_SECONDS)

        await _both(call, write(), read(), hold())

    async def _keep_custody(self, service: NodeService) -> None:
        """Hand-overs not taken yet, and those to come; release requests answered from the books."""
        call = self._custody.CustodyStream()
        outgoing: asyncio.Queue[custody_pb2.CustodyStreamRequest] = asyncio.Queue()
        outgoing.put_nowait(custody_pb2.CustodyStreamRequest(position=await service.recovery.position()))

        async def give() -> None:
            sent = 0
            while True:
                for number, message in await service.open_hand_overs(sent):
                    outgoing.put_nowait(custody_pb2.CustodyStreamRequest(hand_over=message))
                    sent = number
                try:
                    async with asyncio.timeout(RESEND_SECONDS):
                        await self._hand_overs.wait()
                    self._hand_overs.clear()
                except TimeoutError:
                    sent = 0

        async def write() -> None:
            while True:
                await call.write(await outgoing.get())

        async def read() -> None:
            async for response in _responses(call):
                if response.HasField("release_request"):
                    for message in await service.release(response.release_request):
                        outgoing.put_nowait(message)
                elif response.HasField("position"):
                    await service.recovery.compare(response.position)
                elif response.HasField("hand_over_void"):
                    for message in await service.hand_over_void(response.hand_over_void):
                        outgoing.put_nowait(message)
                else:
                    await service.hand_over_taken(response.hand_over_taken)

        await _both(call, give(), write(), read())

    async def _follow(self, service: NodeService) -> None:
        """News after the last that was stored."""
        request = custody_pb2.FollowFeedRequest(after_sequence=await service.feed_position())
        call = self._custody.FollowFeed(request)
        async for response in _responses(call):
            await service.take_news(list(response.events), response.head)

    async def _reconcile(self, service: NodeService) -> None:
        await every(RECONCILE_SECONDS, "reconcile", service.reconciler.reconcile_open_windows)

    async def _announce(self, service: NodeService) -> None:
        async def announce() -> None:
            await service.announcements.announce_changes()
            await service.announcements.announce_suspensions()

        await every(RECONCILE_SECONDS, "announce changes", announce)

    def _verified(self, response: redemption_pb2.RedeemStreamResponse) -> SignedBatch:
        """Raises UnknownKey or BadSignature for answers that are not the clearinghouse's."""
        answers, key_id, signature = tuple(response.answers), response.key_id, response.signature
        verify_batch(self._verifier, _SERVER, ANSWER_KIND, answers, key_id, signature)
        return SignedBatch(self._ids.uuid7(), ANSWER_KIND, answers, key_id, signature)


def _explained(error: grpc.aio.AioRpcError) -> QuanlianError:
    """What the clearinghouse refuses is told as it is; anything else is its absence."""
    if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
        return InvalidInput(str(error.details()))
    return Unavailable(f"the clearinghouse: {error.code().name}: {error.details()}")


def _replaced_at(tls_directory: Path) -> int:
    return (tls_directory / CERTIFICATE).stat().st_mtime_ns


async def _try_to(job: Callable[[], Awaitable[None]]) -> None:
    """Does something that is done again when it fails."""
    try:
        await job()
    except QuanlianError as error:
        _log.info("will be tried again", error=str(error))


async def _responses(call: Any) -> AsyncIterator[Any]:
    """A stream's messages; its end, however orderly, is a break to be mended by opening it again."""
    async for response in call:
        yield response


async def _both(call: Any, *parts: Any) -> None:
    """Run the sides of a stream together; when one ends, the others and the call end too.

    Raises what ended it. Writing to a call that is over tells nothing (InvalidStateError): its status says why.
    """
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        call.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        with contextlib.suppress(asyncio.CancelledError, asyncio.InvalidStateError):
            task.result()
