"""A node's services over gRPC, besides redemptions: claims for platforms, and the operator's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from chassis.host import Context, caller
from custodian.allowance import Allowances
from custodian.servicer import check_item_count
from node.operations import NodeOperations
from node.service import NodeService
from node.settling import NodeSettling
from node.treasury import NodeTreasury
from quanlian.v1 import claim_pb2, claim_pb2_grpc, node_operator_pb2_grpc
from quanlian.v1 import node_operator_pb2 as pb


class ClaimServicer(claim_pb2_grpc.ClaimServiceServicer):
    def __init__(self, service: NodeService) -> None:
        self._service = service
        self._allowances = Allowances()

    async def Claim(self, request: claim_pb2.ClaimRequest, context: Context) -> claim_pb2.ClaimResponse:  # noqa: N802
        (answer,) = await self._service.claim(caller(context), [request.item])
        return claim_pb2.ClaimResponse(answer=answer)

    async def ClaimStream(  # noqa: N802
        self, request_iterator: AsyncIterator[claim_pb2.ClaimStreamRequest], context: Context
    ) -> AsyncIterator[claim_pb2.ClaimStreamResponse]:
        """Answers leave in the order of the messages; while one message is decided, those behind it are read."""
        sender = caller(context)
        allowance = self._allowances.of(sender)
        deciding: asyncio.Queue[asyncio.Future[list[bytes]] | None] = asyncio.Queue()

        async def read() -> None:
            try:
                async for request in request_iterator:
                    check_item_count(request.items)
                    await allowance.take(len(request.items))
                    deciding.put_nowait(asyncio.ensure_future(self._service.claim(sender, list(request.items))))
            finally:
                deciding.put_nowait(None)

        reading = asyncio.create_task(read())
        try:
            while (answering := await deciding.get()) is not None:
                answers = await answering
                yield claim_pb2.ClaimStreamResponse(answers=answers)
                allowance.give_back(len(answers))
            await reading
        finally:
            reading.cancel()
            allowance.end()
            unheard = [each for _ in range(deciding.qsize()) if (each := deciding.get_nowait()) is not None]
            for each in unheard:
                each.cancel()
            await asyncio.gather(*unheard, return_exceptions=True)


class NodeOperatorServicer(node_operator_pb2_grpc.NodeOperatorServiceServicer):
    def __init__(self, operations: NodeOperations, settling: NodeSettling, treasury: NodeTreasury) -> None:
        self._operations = operations
        self._settling = settling
        self._treasury = treasury

    async def PublishCampaign(  # noqa: N802
        self, request: pb.PublishCampaignRequest, context: Context
    ) -> pb.PublishCampaignResponse:
        return await self._operations.publish_campaign(caller(context), request)

    async def ChangeCampaign(  # noqa: N802
        self, request: pb.ChangeCampaignRequest, context: Context
    ) -> pb.ChangeCampaignResponse:
        return await self._operations.change_campaign(caller(context), request)

    async def ListCampaignChanges(  # noqa: N802
        self, request: pb.ListCampaignChangesRequest, context: Context
    ) -> pb.ListCampaignChangesResponse:
        return await self._operations.list_changes(request.campaign, request.number)

    async def AdmitMerchants(  # noqa: N802
        self, request: pb.AdmitMerchantsRequest, context: Context
    ) -> pb.AdmitMerchantsResponse:
        return pb.AdmitMerchantsResponse(admitted=await self._operations.admit_merchants(request.merchants))

    async def AdmitPlatform(  # noqa: N802
        self, request: pb.AdmitPlatformRequest, context: Context
    ) -> pb.AdmitPlatformResponse:
        return pb.AdmitPlatformResponse(name=await self._operations.admit_platform(request.signing_chain))

    async def RecordDedicatedReceipt(  # noqa: N802
        self, request: pb.RecordDedicatedReceiptRequest, context: Context
    ) -> pb.RecordDedicatedReceiptResponse:
        return pb.RecordDedicatedReceiptResponse(balance_fen=await self._treasury.record_receipt(request))

    async def AssignDedicatedReceipt(  # noqa: N802
        self, request: pb.AssignDedicatedReceiptRequest, context: Context
    ) -> pb.AssignDedicatedReceiptResponse:
        return pb.AssignDedicatedReceiptResponse(balance_fen=await self._treasury.assign_receipt(request))

    async def ListDedicatedReceipts(  # noqa: N802
        self, request: pb.ListDedicatedReceiptsRequest, context: Context
    ) -> pb.ListDedicatedReceiptsResponse:
        return pb.ListDedicatedReceiptsResponse(receipts=await self._treasury.receipts(request.unmatched))

    async def RecordLodging(self, request: pb.RecordLodgingRequest, context: Context) -> pb.RecordLodgingResponse:  # noqa: N802
        return pb.RecordLodgingResponse(lodged_fen=await self._treasury.lodge(caller(context), request))

    async def ReverseBankEntry(  # noqa: N802
        self, request: pb.ReverseBankEntryRequest, context: Context
    ) -> pb.ReverseBankEntryResponse:
        return await self._treasury.reverse(caller(context), request)

    async def InstructPayments(  # noqa: N802
        self, request: pb.InstructPaymentsRequest, context: Context
    ) -> pb.InstructPaymentsResponse:
        return await self._treasury.instruct(caller(context))

    async def ListPayments(self, request: pb.ListPaymentsRequest, context: Context) -> pb.ListPaymentsResponse:  # noqa: N802
        return pb.ListPaymentsResponse(payments=await self._treasury.payments(request.made))

    async def MarkPaymentMade(  # noqa: N802
        self, request: pb.MarkPaymentMadeRequest, context: Context
    ) -> pb.MarkPaymentMadeResponse:
        return pb.MarkPaymentMadeResponse(payment=await self._treasury.mark_made(request))

    async def MarkPaymentReturned(  # noqa: N802
        self, request: pb.MarkPaymentReturnedRequest, context: Context
    ) -> pb.MarkPaymentReturnedResponse:
        return pb.MarkPaymentReturnedResponse(payment=await self._treasury.mark_returned(request))

    async def CloseOutCampaign(  # noqa: N802
        self, request: pb.CloseOutCampaignRequest, context: Context
    ) -> pb.CloseOutCampaignResponse:
        return pb.CloseOutCampaignResponse(close_out=await self._treasury.close_out(caller(context), request))

    async def GetNodeStatus(  # noqa: N802
        self, request: pb.GetNodeStatusRequest, context: Context
    ) -> pb.GetNodeStatusResponse:
        return await self._operations.status()

    async def GetNodeEvidence(  # noqa: N802
        self, request: pb.GetNodeEvidenceRequest, context: Context
    ) -> pb.GetNodeEvidenceResponse:
        return pb.GetNodeEvidenceResponse(document=await self._operations.evidence(request.id))

    async def RecallVouchers(  # noqa: N802
        self, request: pb.RecallVouchersRequest, context: Context
    ) -> pb.RecallVouchersResponse:
        return await self._operations.recall(request)

    async def RecoverNode(self, request: pb.RecoverNodeRequest, context: Context) -> pb.RecoverNodeResponse:  # noqa: N802
        return await self._operations.recover(request.without)

    async def GetNodeRecovery(  # noqa: N802
        self, request: pb.GetNodeRecoveryRequest, context: Context
    ) -> pb.GetNodeRecoveryResponse:
        return await self._operations.recovery(request.incarnation)

    async def BookReceipts(  # noqa: N802
        self, request: pb.BookReceiptsRequest, context: Context
    ) -> pb.BookReceiptsResponse:
        return await self._operations.book_receipts(request)

    async def RetryFeed(self, request: pb.RetryFeedRequest, context: Context) -> pb.RetryFeedResponse:  # noqa: N802
        return await self._operations.retry_feed()

    async def Suspend(self, request: pb.SuspendRequest, context: Context) -> pb.SuspendResponse:  # noqa: N802
        return await self._operations.suspend(caller(context), request)

    async def ListSuspensions(  # noqa: N802
        self, request: pb.ListSuspensionsRequest, context: Context
    ) -> pb.ListSuspensionsResponse:
        return pb.ListSuspensionsResponse(records=await self._operations.suspensions(request.history))

    async def CancelVoucher(  # noqa: N802
        self, request: pb.CancelVoucherRequest, context: Context
    ) -> pb.CancelVoucherResponse:
        return pb.CancelVoucherResponse(cancellation=await self._operations.cancel_voucher(caller(context), request))

    async def ListCancellations(  # noqa: N802
        self, request: pb.ListCancellationsRequest, context: Context
    ) -> pb.ListCancellationsResponse:
        return pb.ListCancellationsResponse(cancellations=await self._operations.cancellations())

    async def ListWithdrawals(  # noqa: N802
        self, request: pb.ListWithdrawalsRequest, context: Context
    ) -> pb.ListWithdrawalsResponse:
        return pb.ListWithdrawalsResponse(withdrawn=await self._operations.withdrawals(request.all))

    async def CloseWithdrawal(  # noqa: N802
        self, request: pb.CloseWithdrawalRequest, context: Context
    ) -> pb.CloseWithdrawalResponse:
        closed = await self._operations.close_withdrawal(caller(context), request)
        return pb.CloseWithdrawalResponse(withdrawn=closed)

    async def GetNodeStats(self, request: pb.GetNodeStatsRequest, context: Context) -> pb.GetNodeStatsResponse:  # noqa: N802
        return pb.GetNodeStatsResponse(rows=await self._operations.stats(request.query))

    async def GetOwnStatement(  # noqa: N802
        self, request: pb.GetOwnStatementRequest, context: Context
    ) -> pb.GetOwnStatementResponse:
        return await self._settling.statement(request.window, request.month)

    async def GetOwnEvidence(  # noqa: N802
        self, request: pb.GetOwnEvidenceRequest, context: Context
    ) -> AsyncIterator[pb.GetOwnEvidenceResponse]:
        async for lines in self._settling.evidence(request.window):
            yield pb.GetOwnEvidenceResponse(lines=lines)

    async def GetReconciliation(  # noqa: N802
        self, request: pb.GetReconciliationRequest, context: Context
    ) -> pb.GetReconciliationResponse:
        return await self._settling.reconciliation(request.window, request.month)

    async def ConfirmOwnStatement(  # noqa: N802
        self, request: pb.ConfirmOwnStatementRequest, context: Context
    ) -> pb.ConfirmOwnStatementResponse:
        return await self._settling.confirm(caller(context), request.window, request.month, request.reservation)

    async def DisputeOwnStatement(  # noqa: N802
        self, request: pb.DisputeOwnStatementRequest, context: Context
    ) -> pb.DisputeOwnStatementResponse:
        return pb.DisputeOwnStatementResponse(number=await self._settling.dispute(caller(context), request))

    async def ListOwnDisputes(  # noqa: N802
        self, request: pb.ListOwnDisputesRequest, context: Context
    ) -> pb.ListOwnDisputesResponse:
        return pb.ListOwnDisputesResponse(disputes=await self._settling.disputes())

    async def GetOwnCampaignReport(  # noqa: N802
        self, request: pb.GetOwnCampaignReportRequest, context: Context
    ) -> pb.GetOwnCampaignReportResponse:
        return pb.GetOwnCampaignReportResponse(figures=await self._settling.report(request.campaign))
