"""The clearinghouse's services over gRPC, besides redemptions: custody, directory, settlement, its operator's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from chassis import telemetry
from chassis.host import Context, caller
from clearinghouse.service import ClearinghouseService
from quanlian.errors import QuanlianError
from quanlian.v1 import clearing_operator_pb2 as pb
from quanlian.v1 import (
    clearing_operator_pb2_grpc,
    custody_pb2,
    custody_pb2_grpc,
    directory_pb2,
    directory_pb2_grpc,
    settlement_pb2,
    settlement_pb2_grpc,
)

_log = telemetry.logger("custody")


class CustodyServicer(custody_pb2_grpc.CustodyServiceServicer):
    def __init__(self, service: ClearinghouseService) -> None:
        self._service = service

    async def CustodyStream(  # noqa: N802
        self, request_iterator: AsyncIterator[custody_pb2.CustodyStreamRequest], context: Context
    ) -> AsyncIterator[custody_pb2.CustodyStreamResponse]:
        """Release requests out, hand-overs and refusals in; each hand-over is acknowledged once it is durable."""
        region = caller(context).host
        stream = self._service.open_stream(region)
        reading = asyncio.create_task(self._read(region, request_iterator, stream))
        try:
            while True:
                message = asyncio.create_task(stream.get())
                await asyncio.wait({message, reading}, return_when=asyncio.FIRST_COMPLETED)
                if not message.done():
                    message.cancel()
                    await reading
                    return
                for response in _gathered(message.result(), stream):
                    yield response
        finally:
            reading.cancel()
            self._service.close_stream(region, stream)

    async def _read(
        self,
        region: str,
        requests: AsyncIterator[custody_pb2.CustodyStreamRequest],
        stream: asyncio.Queue[custody_pb2.CustodyStreamResponse],
    ) -> None:
        async for request in requests:
            if request.HasField("release_refused"):
                self._service.release_refused(region, request.release_refused)
                continue
            try:
                number = await self._service.take_hand_over(region, request.hand_over)
            except QuanlianError as error:
                _log.error("a hand-over was not taken", region=region, error=str(error))
                continue
            stream.put_nowait(custody_pb2.CustodyStreamResponse(hand_over_taken=number))

    async def FollowFeed(  # noqa: N802
        self, request: custody_pb2.FollowFeedRequest, context: Context
    ) -> AsyncIterator[custody_pb2.FollowFeedResponse]:
        async for events in self._service.follow(caller(context).host, request.after_sequence):
            yield custody_pb2.FollowFeedResponse(events=events)


def _gathered(
    first: custody_pb2.CustodyStreamResponse, stream: asyncio.Queue[custody_pb2.CustodyStreamResponse]
) -> list[custody_pb2.CustodyStreamResponse]:
    """What waits to be sent, all release requests in one message: an issuer answers it with one commit."""
    waiting = [first]
    while not stream.empty():
        waiting.append(stream.get_nowait())
    refs = [ref for each in waiting for ref in each.release_request.vouchers]
    others = [each for each in waiting if not each.HasField("release_request")]
    wanted = custody_pb2.CustodyStreamResponse(release_request=custody_pb2.ReleaseRequest(vouchers=refs))
    return [*others, wanted] if refs else others


class DirectoryServicer(directory_pb2_grpc.DirectoryServiceServicer):
    def __init__(self, service: ClearinghouseService, own_chains: Sequence[bytes]) -> None:
        self._service = service
        self._own_chains = own_chains

    async def GetDirectory(  # noqa: N802
        self, request: directory_pb2.GetDirectoryRequest, context: Context
    ) -> directory_pb2.GetDirectoryResponse:
        return await self._service.directory(self._own_chains)

    async def GetTerms(  # noqa: N802
        self, request: directory_pb2.GetTermsRequest, context: Context
    ) -> directory_pb2.GetTermsResponse:
        return await self._service.terms(request.terms_hash)

    async def PublishTerms(  # noqa: N802
        self, request: directory_pb2.PublishTermsRequest, context: Context
    ) -> directory_pb2.PublishTermsResponse:
        terms_hash = await self._service.publish_terms(caller(context).host, request.terms)
        return directory_pb2.PublishTermsResponse(terms_hash=terms_hash)

    async def PublishChange(  # noqa: N802
        self, request: directory_pb2.PublishChangeRequest, context: Context
    ) -> directory_pb2.PublishChangeResponse:
        await self._service.publish_change(caller(context).host, request.change)
        return directory_pb2.PublishChangeResponse()

    async def SubmitAgreement(  # noqa: N802
        self, request: directory_pb2.SubmitAgreementRequest, context: Context
    ) -> directory_pb2.SubmitAgreementResponse:
        register = self._service.agreements
        signed = await register.submit(caller(context).host, request.agreement, request.proposes)
        return directory_pb2.SubmitAgreementResponse(agreement=signed)


class SettlementServicer(settlement_pb2_grpc.SettlementServiceServicer):
    def __init__(self, service: ClearinghouseService) -> None:
        self._service = service

    async def GetWindow(  # noqa: N802
        self, request: settlement_pb2.GetWindowRequest, context: Context
    ) -> settlement_pb2.GetWindowResponse:
        return settlement_pb2.GetWindowResponse(window=await self._service.window(request.number))

    async def GetStatement(  # noqa: N802
        self, request: settlement_pb2.GetStatementRequest, context: Context
    ) -> settlement_pb2.GetStatementResponse:
        statement = await self._service.statement(caller(context).host, request.window)
        return settlement_pb2.GetStatementResponse(statement=statement)

    async def ConfirmStatement(  # noqa: N802
        self, request: settlement_pb2.ConfirmStatementRequest, context: Context
    ) -> settlement_pb2.ConfirmStatementResponse:
        state = await self._service.confirm(caller(context).host, request.confirmation)
        return settlement_pb2.ConfirmStatementResponse(state=state)  # type: ignore[arg-type]


class ClearingOperatorServicer(clearing_operator_pb2_grpc.ClearingOperatorServiceServicer):
    def __init__(self, service: ClearinghouseService) -> None:
        self._service = service

    async def EnrolParticipant(  # noqa: N802
        self, request: pb.EnrolParticipantRequest, context: Context
    ) -> pb.EnrolParticipantResponse:
        await self._service.enrol(request)
        return pb.EnrolParticipantResponse()

    async def SetLimits(self, request: pb.SetLimitsRequest, context: Context) -> pb.SetLimitsResponse:  # noqa: N802
        await self._service.set_limits(request)
        return pb.SetLimitsResponse()

    async def SetVisitorsFund(  # noqa: N802
        self, request: pb.SetVisitorsFundRequest, context: Context
    ) -> pb.SetVisitorsFundResponse:
        await self._service.set_visitors_fund(request)
        return pb.SetVisitorsFundResponse()

    async def RecordDeposit(  # noqa: N802
        self, request: pb.RecordDepositRequest, context: Context
    ) -> pb.RecordDepositResponse:
        return pb.RecordDepositResponse(settlement_fen=await self._service.record_deposit(request))

    async def CloseWindow(self, request: pb.CloseWindowRequest, context: Context) -> pb.CloseWindowResponse:  # noqa: N802
        number = await self._service.close_window()
        return pb.CloseWindowResponse(window=await self._service.window(number))

    async def InstructWindow(  # noqa: N802
        self, request: pb.InstructWindowRequest, context: Context
    ) -> pb.InstructWindowResponse:
        await self._service.instruct(request.window)
        return pb.InstructWindowResponse(window=await self._service.window(request.window))

    async def MarkPaid(self, request: pb.MarkPaidRequest, context: Context) -> pb.MarkPaidResponse:  # noqa: N802
        await self._service.mark_paid(request)
        return pb.MarkPaidResponse(window=await self._service.window(request.window))

    async def SettleWindow(self, request: pb.SettleWindowRequest, context: Context) -> pb.SettleWindowResponse:  # noqa: N802
        await self._service.settle(request.window)
        return pb.SettleWindowResponse(window=await self._service.window(request.window))

    async def GetClearingStatus(  # noqa: N802
        self, request: pb.GetClearingStatusRequest, context: Context
    ) -> pb.GetClearingStatusResponse:
        return await self._service.status()
