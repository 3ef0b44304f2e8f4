"""The clearinghouse's services over gRPC, besides redemptions: custody, directory, settlement, its operator's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from chassis import telemetry
from chassis.host import Context, caller
from clearinghouse.receipts import receipts_of
from clearinghouse.service import VOUCHERS_PER_MESSAGE, ClearinghouseService
from clearinghouse.settlement import Settlement
from custodian.incarnations import Void
from custodian.paging import PAGE_BYTES
from custodian.recovering import ASK_AGAIN_SECONDS
from quanlian import hand_overs
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
        serving = self._service.continuity.while_serving
        reading = asyncio.create_task(serving(self._read(region, request_iterator, stream)))
        try:
            while True:
                message = asyncio.create_task(stream.get())
                try:
                    await asyncio.wait({message, reading}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    message.cancel()
                if not message.done():
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
        """Answers wait for room, and with them what comes next, until the issuer reads."""
        async for request in requests:
            if request.HasField("position"):
                ours = await asyncio.to_thread(self._service.recovery.compare, region, request.position)
                await stream.put(custody_pb2.CustodyStreamResponse(position=ours))
                continue
            try:
                if request.HasField("release_refused"):
                    self._service.release_refused(region, request.release_refused)
                    continue
                number = await self._service.take_hand_over(region, request.hand_over)
            except Void as error:
                _log.warning("a hand-over is void", region=region, error=str(error))
                number = hand_overs.kept(request.hand_over.body).head.number
                await stream.put(custody_pb2.CustodyStreamResponse(hand_over_void=number))
                continue
            except Exception as error:
                fault = not isinstance(error, QuanlianError) and error
                _log.error("a custody message was not taken", region=region, error=str(error), exc_info=fault)
                continue
            await stream.put(custody_pb2.CustodyStreamResponse(hand_over_taken=number))

    async def Recall(  # noqa: N802
        self, request: custody_pb2.RecallRequest, context: Context
    ) -> custody_pb2.RecallResponse:
        return await self._service.recall(caller(context).host, request)

    async def GetReceipts(  # noqa: N802
        self, request: custody_pb2.GetReceiptsRequest, context: Context
    ) -> custody_pb2.GetReceiptsResponse:
        service = self._service
        return await service.database.read(
            receipts_of, service.database, caller(context).host, request, service.engine.signer
        )

    async def HandReceipts(  # noqa: N802
        self, request: custody_pb2.HandReceiptsRequest, context: Context
    ) -> custody_pb2.HandReceiptsResponse:
        return await self._service.recovery.hand_receipts(caller(context).host, request)

    async def FollowFeed(  # noqa: N802
        self, request: custody_pb2.FollowFeedRequest, context: Context
    ) -> AsyncIterator[custody_pb2.FollowFeedResponse]:
        async for told in self._service.follow(caller(context).host, request.after_sequence):
            yield told


def _gathered(
    first: custody_pb2.CustodyStreamResponse, stream: asyncio.Queue[custody_pb2.CustodyStreamResponse]
) -> list[custody_pb2.CustodyStreamResponse]:
    """What waits to be sent, release requests joined up to their limit: an issuer answers each with one commit."""
    waiting = [first]
    while not stream.empty():
        waiting.append(stream.get_nowait())
    messages = [each for each in waiting if not each.HasField("release_request")]
    joined: list[custody_pb2.ReleaseRequest] = []
    for each in waiting:
        if each.HasField("release_request"):
            wanted = each.release_request
            if not joined or not _fits(joined[-1], wanted):
                joined.append(custody_pb2.ReleaseRequest())
            joined[-1].MergeFrom(wanted)
    return [*messages, *(custody_pb2.CustodyStreamResponse(release_request=each) for each in joined)]


def _fits(joined: custody_pb2.ReleaseRequest, wanted: custody_pb2.ReleaseRequest) -> bool:
    """Whether one message can ask for both."""
    return (
        len(joined.vouchers) + len(wanted.vouchers) <= VOUCHERS_PER_MESSAGE
        and joined.ByteSize() + wanted.ByteSize() <= PAGE_BYTES
    )


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

    async def PublishSuspension(  # noqa: N802
        self, request: directory_pb2.PublishSuspensionRequest, context: Context
    ) -> directory_pb2.PublishSuspensionResponse:
        await self._service.publish_suspension(caller(context).host, request.suspension)
        return directory_pb2.PublishSuspensionResponse()

    async def SubmitAgreement(  # noqa: N802
        self, request: directory_pb2.SubmitAgreementRequest, context: Context
    ) -> directory_pb2.SubmitAgreementResponse:
        register = self._service.agreements
        signed = await register.submit(caller(context).host, request.agreement, request.proposes)
        return directory_pb2.SubmitAgreementResponse(agreement=signed)


class SettlementServicer(settlement_pb2_grpc.SettlementServiceServicer):
    def __init__(self, settlement: Settlement, statement_chain: bytes) -> None:
        self._settlement = settlement
        self._statement_chain = statement_chain

    async def GetWindow(  # noqa: N802
        self, request: settlement_pb2.GetWindowRequest, context: Context
    ) -> settlement_pb2.GetWindowResponse:
        return settlement_pb2.GetWindowResponse(window=await self._settlement.window(request.number))

    async def GetStatement(  # noqa: N802
        self, request: settlement_pb2.GetStatementRequest, context: Context
    ) -> settlement_pb2.GetStatementResponse:
        statement = await self._settlement.statement(caller(context).host, request.window, request.month)
        return settlement_pb2.GetStatementResponse(statement=statement, chain=self._statement_chain)

    async def ConfirmStatement(  # noqa: N802
        self, request: settlement_pb2.ConfirmStatementRequest, context: Context
    ) -> settlement_pb2.ConfirmStatementResponse:
        state = await self._settlement.confirm(caller(context).host, request.confirmation)
        return settlement_pb2.ConfirmStatementResponse(state=state)  # type: ignore[arg-type]

    async def DisputeStatement(  # noqa: N802
        self, request: settlement_pb2.DisputeStatementRequest, context: Context
    ) -> settlement_pb2.DisputeStatementResponse:
        taken = await self._settlement.take_dispute(caller(context).host, request.dispute, request.taken)
        return settlement_pb2.DisputeStatementResponse(taken=taken)

    async def GetEvidence(  # noqa: N802
        self, request: settlement_pb2.GetEvidenceRequest, context: Context
    ) -> AsyncIterator[settlement_pb2.GetEvidenceResponse]:
        async for lines in self._settlement.statement_evidence(caller(context).host, request.window):
            yield settlement_pb2.GetEvidenceResponse(lines=lines)

    async def GetCampaignFigures(  # noqa: N802
        self, request: settlement_pb2.GetCampaignFiguresRequest, context: Context
    ) -> settlement_pb2.GetCampaignFiguresResponse:
        figures = await self._settlement.campaign_figures(request.campaign, caller(context).host)
        return settlement_pb2.GetCampaignFiguresResponse(figures=figures)


class ClearingOperatorServicer(clearing_operator_pb2_grpc.ClearingOperatorServiceServicer):
    def __init__(self, service: ClearinghouseService, statement_chain: bytes, root: bytes) -> None:
        self._service = service
        self._settlement = service.settlement
        self._operations = service.operations
        self._statement_chain = statement_chain
        self._root = root

    async def RecoverClearinghouse(  # noqa: N802
        self, request: pb.RecoverClearinghouseRequest, context: Context
    ) -> pb.RecoverClearinghouseResponse:
        report = await self._service.recover(list(request.without), request.dispute_lacking, ASK_AGAIN_SECONDS)
        state = await self._service.database.read(self._service.recovery.state)
        return pb.RecoverClearinghouseResponse(report=report, state=state)

    async def GetClearingRecovery(  # noqa: N802
        self, request: pb.GetClearingRecoveryRequest, context: Context
    ) -> pb.GetClearingRecoveryResponse:
        report, incarnations = await self._service.recovery.job.kept(request.incarnation)
        return pb.GetClearingRecoveryResponse(report=report, incarnations=incarnations)

    async def GetClearingEvidence(  # noqa: N802
        self, request: pb.GetClearingEvidenceRequest, context: Context
    ) -> pb.GetClearingEvidenceResponse:
        return pb.GetClearingEvidenceResponse(document=await self._service.evidence(request.id, self._root))

    async def EnrolParticipant(  # noqa: N802
        self, request: pb.EnrolParticipantRequest, context: Context
    ) -> pb.EnrolParticipantResponse:
        await self._operations.enrol(request)
        return pb.EnrolParticipantResponse()

    async def SetLimits(self, request: pb.SetLimitsRequest, context: Context) -> pb.SetLimitsResponse:  # noqa: N802
        limits = await self._operations.set_limits(request)
        return pb.SetLimitsResponse(funding_mode=limits.funding_mode)

    async def SetVisitorsFund(  # noqa: N802
        self, request: pb.SetVisitorsFundRequest, context: Context
    ) -> pb.SetVisitorsFundResponse:
        await self._operations.set_visitors_fund(request)
        return pb.SetVisitorsFundResponse()

    async def RecordDeposit(  # noqa: N802
        self, request: pb.RecordDepositRequest, context: Context
    ) -> pb.RecordDepositResponse:
        fen = await self._settlement.record_deposit(request)
        if request.HasField("funder"):
            return pb.RecordDepositResponse(prefund_fen=fen)
        return pb.RecordDepositResponse(settlement_fen=fen)

    async def AssignReceipt(  # noqa: N802
        self, request: pb.AssignReceiptRequest, context: Context
    ) -> pb.AssignReceiptResponse:
        fen = await self._settlement.assign_receipt(request)
        if request.HasField("funder"):
            return pb.AssignReceiptResponse(prefund_fen=fen)
        return pb.AssignReceiptResponse(settlement_fen=fen)

    async def ReverseDeposit(  # noqa: N802
        self, request: pb.ReverseDepositRequest, context: Context
    ) -> pb.ReverseDepositResponse:
        return await self._settlement.reverse_deposit(caller(context).uri, request)

    async def ListPrefund(self, request: pb.ListPrefundRequest, context: Context) -> pb.ListPrefundResponse:  # noqa: N802
        return pb.ListPrefundResponse(prefund=await self._settlement.prefund(request.region))

    async def ListReceipts(  # noqa: N802
        self, request: pb.ListReceiptsRequest, context: Context
    ) -> pb.ListReceiptsResponse:
        return pb.ListReceiptsResponse(receipts=await self._settlement.bank_receipts())

    async def CloseOutPrefund(  # noqa: N802
        self, request: pb.CloseOutPrefundRequest, context: Context
    ) -> pb.CloseOutPrefundResponse:
        return await self._settlement.close_out(caller(context).uri, request)

    async def MarkPrefundReturned(  # noqa: N802
        self, request: pb.MarkPrefundReturnedRequest, context: Context
    ) -> pb.MarkPrefundReturnedResponse:
        returned = await self._settlement.mark_prefund_returned(request.deposit, request.bank_reference)
        return pb.MarkPrefundReturnedResponse(returned=returned)

    async def PayOut(self, request: pb.PayOutRequest, context: Context) -> pb.PayOutResponse:  # noqa: N802
        return pb.PayOutResponse(settlement_fen=await self._settlement.pay_out(request))

    async def MarkPayOutReturned(  # noqa: N802
        self, request: pb.MarkPayOutReturnedRequest, context: Context
    ) -> pb.MarkPayOutReturnedResponse:
        return await self._settlement.mark_returned(request)

    async def CloseWindow(self, request: pb.CloseWindowRequest, context: Context) -> pb.CloseWindowResponse:  # noqa: N802
        number = await self._settlement.close_window(request.window)
        return pb.CloseWindowResponse(window=await self._settlement.window(number))

    async def InstructWindow(  # noqa: N802
        self, request: pb.InstructWindowRequest, context: Context
    ) -> pb.InstructWindowResponse:
        await self._settlement.instruct(request.window)
        return pb.InstructWindowResponse(window=await self._settlement.window(request.window))

    async def MarkPaid(self, request: pb.MarkPaidRequest, context: Context) -> pb.MarkPaidResponse:  # noqa: N802
        await self._settlement.mark_paid(request)
        return pb.MarkPaidResponse(window=await self._settlement.window(request.window))

    async def SettleWindow(self, request: pb.SettleWindowRequest, context: Context) -> pb.SettleWindowResponse:  # noqa: N802
        await self._settlement.settle(request.window)
        return pb.SettleWindowResponse(window=await self._settlement.window(request.window))

    async def ListWindows(self, request: pb.ListWindowsRequest, context: Context) -> pb.ListWindowsResponse:  # noqa: N802
        return pb.ListWindowsResponse(windows=await self._settlement.windows(request.limit))

    async def GetNetting(self, request: pb.GetNettingRequest, context: Context) -> pb.GetNettingResponse:  # noqa: N802
        return await self._settlement.netting(request.window)

    async def ListNetworkWithdrawals(  # noqa: N802
        self, request: pb.ListNetworkWithdrawalsRequest, context: Context
    ) -> pb.ListNetworkWithdrawalsResponse:
        return pb.ListNetworkWithdrawalsResponse(withdrawn=await self._operations.withdrawals(request.all))

    async def CloseNetworkWithdrawal(  # noqa: N802
        self, request: pb.CloseNetworkWithdrawalRequest, context: Context
    ) -> pb.CloseNetworkWithdrawalResponse:
        closed = await self._operations.close_withdrawal(caller(context), request)
        return pb.CloseNetworkWithdrawalResponse(withdrawn=closed)

    async def GetClearingStatus(  # noqa: N802
        self, request: pb.GetClearingStatusRequest, context: Context
    ) -> pb.GetClearingStatusResponse:
        status = await self._operations.status()
        status.recovery.CopyFrom(await self._service.database.read(self._service.recovery.state))
        return status

    async def SuspendInNetwork(  # noqa: N802
        self, request: pb.SuspendInNetworkRequest, context: Context
    ) -> pb.SuspendInNetworkResponse:
        return pb.SuspendInNetworkResponse(suspension=await self._operations.suspend(caller(context), request))

    async def ListNetworkSuspensions(  # noqa: N802
        self, request: pb.ListNetworkSuspensionsRequest, context: Context
    ) -> pb.ListNetworkSuspensionsResponse:
        return pb.ListNetworkSuspensionsResponse(records=await self._operations.suspensions(request.history))

    async def GetClearingStats(  # noqa: N802
        self, request: pb.GetClearingStatsRequest, context: Context
    ) -> pb.GetClearingStatsResponse:
        return pb.GetClearingStatsResponse(rows=await self._operations.stats(request.query))

    async def GetRegionStatement(  # noqa: N802
        self, request: pb.GetRegionStatementRequest, context: Context
    ) -> pb.GetRegionStatementResponse:
        statement = await self._settlement.statement(request.region, request.window, request.month)
        reservation = await self._settlement.reservation(request.region, request.window, request.month)
        return pb.GetRegionStatementResponse(statement=statement, chain=self._statement_chain, reservation=reservation)

    async def GetRegionEvidence(  # noqa: N802
        self, request: pb.GetRegionEvidenceRequest, context: Context
    ) -> AsyncIterator[pb.GetRegionEvidenceResponse]:
        async for lines in self._settlement.statement_evidence(request.region, request.window):
            yield pb.GetRegionEvidenceResponse(lines=lines)

    async def ListDisputes(  # noqa: N802
        self, request: pb.ListDisputesRequest, context: Context
    ) -> pb.ListDisputesResponse:
        return pb.ListDisputesResponse(disputes=await self._settlement.disputes())

    async def ResolveDispute(  # noqa: N802
        self, request: pb.ResolveDisputeRequest, context: Context
    ) -> pb.ResolveDisputeResponse:
        return await self._settlement.resolve_dispute(request)

    async def GetCampaignReport(  # noqa: N802
        self, request: pb.GetCampaignReportRequest, context: Context
    ) -> pb.GetCampaignReportResponse:
        return pb.GetCampaignReportResponse(figures=await self._settlement.campaign_figures(request.campaign))
