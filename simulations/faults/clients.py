"""Those who call the network: payment platforms for their shoppers, and an operator. They never give up.

A request is sent again with the same bytes until it is answered, and every answer is kept as a promise.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc
import grpc.aio

from custodian.servicer import sign_items
from pki.identity import CLEARINGHOUSE
from quanlian.v1 import (
    campaign_pb2,
    claim_pb2,
    claim_pb2_grpc,
    clearing_operator_pb2,
    clearing_operator_pb2_grpc,
    custody_pb2,
    node_operator_pb2,
    node_operator_pb2_grpc,
    redemption_pb2,
    redemption_pb2_grpc,
    settlement_pb2,
    settlement_pb2_grpc,
    suspension_pb2,
    voucher_pb2,
)
from quanlian.wire import item_hashes
from simulations.auditor import Promise, Suspended
from simulations.faults import parties
from simulations.faults.opening import (
    LARGER_BUDGETS,
    READY_PACKS,
    claim_item,
    merchant_of,
    request_id,
    terms_of,
)
from simulations.faults.plan import Operation, Plan, VoucherChoice
from simulations.faults.stage import OPERATOR, Stage, platform_machine

CALL_SECONDS = 4.0
AGAIN_SECONDS = (0.3, 1.5)
DECREES = ("pause", "suspend", "amend")
NOTHING_TO_RECOVER = "nothing needs to be recovered"
PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INTERNAL,
)
"""What a client tries again after. A party that must be recovered refuses with FAILED_PRECONDITION; INTERNAL is a fault
of the service, and counted as one where it happens.
"""


class Request:
    """One operation of the plan on its way: its bytes once they are known, its answer once it came."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.content: bytes = b""
        self.answer: bytes | None = None
        self.sent = asyncio.Event()
        self.done = asyncio.Event()


def _shown(content: bytes, key_id: bytes, signature: bytes) -> node_operator_pb2.ShownMessage:
    hashes = b"".join(item_hashes([content]))
    return node_operator_pb2.ShownMessage(content=content, hashes=hashes, key_id=key_id, signature=signature)


def _is_request(id: str) -> bool:
    """Whether what a recovery disputes is a request, and not a document or a hand-over."""
    return re.fullmatch("[0-9a-f]{32}", id) is not None


class Clients:
    """Everybody who asks for something in one schedule."""

    def __init__(self, stage: Stage, plan: Plan, tokens: dict[str, tuple[bytes, ...]]) -> None:
        self.requests = {each.number: Request(each) for each in plan.operations}
        self.promises: list[Promise] = []
        self.suspended: list[Suspended] = []
        self.broken_calls: list[str] = []
        self.recovering: list[str] = []
        self.disputed: list[str] = []
        self.booked_again: dict[str, set[bytes]] = {}
        """By region: the requests whose receipts were shown to its latest recovery, and that it did not dispute."""
        self._receipts: dict[str, dict[tuple[bytes, bytes], node_operator_pb2.PlatformReceipt]] = {}
        """By region, and by request id and answer: an id that was used twice got one of each request."""
        self._asked: dict[bytes, float] = {}
        self._stage, self._plan, self._tokens = stage, plan, tokens
        self._redemptions = {
            region: redemption_pb2_grpc.RedemptionServiceStub(_any(stage.platform_channel(region)))
            for region in stage.regions
        }
        self._claims = {
            region: claim_pb2_grpc.ClaimServiceStub(_any(stage.platform_channel(region))) for region in stage.regions
        }
        self._operator = clearing_operator_pb2_grpc.ClearingOperatorServiceStub(
            _any(stage.operator_channel(CLEARINGHOUSE))
        )
        self._settlement = settlement_pb2_grpc.SettlementServiceStub(_any(stage.operator_channel(CLEARINGHOUSE)))

    def start(self) -> None:
        for request in self.requests.values():
            machine = platform_machine(request.operation.region)
            by_operator = request.operation.kind in ("close-window", "recall", *DECREES)
            process = self._stage.client(OPERATOR if by_operator else machine)
            process.spawn(self._perform(request))

    def have_recovered(self, party: str) -> None:
        """An operator runs a party's recovery until it serves again."""
        self.recovering.append(party)
        self._stage.client(OPERATOR).spawn(self._recover(party))

    async def _recover(self, party: str) -> None:
        channel = _any(self._stage.operator_channel(party))
        if party == CLEARINGHOUSE:
            stub: Any = clearing_operator_pb2_grpc.ClearingOperatorServiceStub(channel)
            call = partial(stub.RecoverClearinghouse, _pb.RecoverClearinghouseRequest(), timeout=CALL_SECONDS)
        else:
            stub = node_operator_pb2_grpc.NodeOperatorServiceStub(channel)
            call = partial(self._recover_node, stub, party)
        machine = self._stage.machine(party)
        while True:
            await asyncio.sleep(AGAIN_SECONDS[-1])
            try:
                answer = await call()
            except grpc.aio.AioRpcError as error:
                if NOTHING_TO_RECOVER not in str(error.details()) or machine.needs_recovery:
                    continue
            else:
                if not answer.report.incarnation or machine.needs_recovery:
                    continue
                disputed = answer.report.disputed
                if party in self.booked_again:
                    self.booked_again[party] -= {bytes.fromhex(each.id) for each in disputed if _is_request(each.id)}
                self.disputed += [f"{party}: {each.region} {each.id}: {each.reason}" for each in disputed]
            self.recovering.remove(party)
            return

    async def _recover_node(self, stub: Any, region: str) -> node_operator_pb2.RecoverNodeResponse:
        """With all that the region's platform holds by now of what the node decided alone."""
        held = dict(self._receipts.get(region, {}))
        if held:
            shown = node_operator_pb2.BookReceiptsRequest(receipts=held.values())
            await stub.BookReceipts(shown, timeout=CALL_SECONDS)
        request = node_operator_pb2.RecoverNodeRequest(without=[parties.PLATFORM])
        answer: node_operator_pb2.RecoverNodeResponse = await stub.RecoverNode(request, timeout=CALL_SECONDS)
        self.booked_again[region] = {id for id, _ in held}
        return answer

    async def ask_again(self) -> None:
        """Every request once more, with the bytes of its first time."""
        known = [request for request in self.requests.values() if request.content]
        await asyncio.gather(*(self._send(request.operation, request.content) for request in known))

    def names(self) -> dict[bytes, str]:
        """What a story calls requests and packs."""
        names = {request_id(self._name(each.operation)): f"step {each.operation.number}" for each in self._all()}
        for region, tokens in self._tokens.items():
            for number, token in enumerate(tokens):
                names[_pack_of(token)] = f"{region}/{READY_PACKS[number]}-{number}"
        for request in self._all():
            token = claim_pb2.ClaimAnswer.FromString(request.answer or b"").token
            if request.operation.kind == "claim" and token:
                campaign = request.operation.campaign
                names[_pack_of(token)] = f"{request.operation.region}/{campaign}-of-step-{request.operation.number}"
        return names

    def _all(self) -> list[Request]:
        return list(self.requests.values())

    async def _perform(self, request: Request) -> None:
        operation = request.operation
        await asyncio.sleep(operation.at)
        if operation.kind == "close-window":
            await self._insist(lambda: self._operator.CloseWindow(_pb.CloseWindowRequest(), timeout=CALL_SECONDS))
        elif operation.kind == "recall" and operation.voucher is not None:
            await self._recall(operation.region, operation.voucher)
        elif operation.kind in DECREES:
            await self._decree(operation)
        else:
            content = await self._content(operation)
            if content:
                request.content = content
                request.sent.set()
                request.answer = await self._send(operation, content)
            else:
                self._stage.machine(platform_machine(operation.region)).say(
                    "has nothing to do for step {}", operation.number
                )
        request.sent.set()
        request.done.set()

    async def _recall(self, region: str, voucher: VoucherChoice) -> None:
        token = await self._token(voucher)
        if token:
            refs = [custody_pb2.VoucherRef(pack_id=_pack_of(token), index=voucher.index)]
            recall = node_operator_pb2.RecallVouchersRequest(vouchers=refs)
            stub = node_operator_pb2_grpc.NodeOperatorServiceStub(_any(self._stage.operator_channel(region)))
            await self._insist(lambda: stub.RecallVouchers(recall, timeout=CALL_SECONDS))

    async def _decree(self, operation: Operation) -> None:
        """Tried once: an operator who gets no answer looks again, and finds that it is done or that it is not."""
        stub = node_operator_pb2_grpc.NodeOperatorServiceStub(_any(self._stage.operator_channel(operation.region)))
        try:
            if operation.kind == "suspend":
                await self._suspend(stub, operation.voucher)
            else:
                await self._change(stub, operation)
        except grpc.aio.AioRpcError as error:
            if error.code() not in (*PASSING, grpc.StatusCode.INVALID_ARGUMENT):
                self.broken_calls.append(f"a call ended with {error.code().name}: {error.details()}")

    async def _suspend(self, stub: Any, voucher: VoucherChoice | None) -> None:
        token = await self._token(voucher) if voucher else b""
        if voucher and token:
            subject = f"{_pack_of(token).hex()}/{voucher.index}"
            kind = suspension_pb2.SUSPENSION_KIND_VOUCHER
            request = node_operator_pb2.SuspendRequest(kind=kind, subject=subject, suspended=True, why="lost")
            await stub.Suspend(request, timeout=CALL_SECONDS)
            at = self._stage.loop.time()
            self.suspended.append(Suspended(voucher.issuer, _pack_of(token), voucher.index, at))

    async def _change(self, stub: Any, operation: Operation) -> None:
        """Pause a campaign, or give it a larger budget, on what its changes say now."""
        asked = node_operator_pb2.ListCampaignChangesRequest(campaign=operation.campaign)
        known = (await stub.ListCampaignChanges(asked, timeout=CALL_SECONDS)).changes[-1]
        change = node_operator_pb2.ChangeCampaignRequest(
            campaign=operation.campaign,
            kind=campaign_pb2.CAMPAIGN_CHANGE_KIND_PAUSE,
            expected_terms_hash=known.terms_hash,
            expected_number=known.number,
            why="decreed",
        )
        if operation.kind == "amend":
            change.kind = campaign_pb2.CAMPAIGN_CHANGE_KIND_AMEND
            change.document = terms_of(operation.campaign, operation.region, LARGER_BUDGETS)
        await stub.ChangeCampaign(change, timeout=CALL_SECONDS)

    async def _send(self, operation: Operation, content: bytes) -> bytes:
        """Ask until there is an answer, and keep it."""
        kind = self._kind(operation)
        if kind == "claim":
            call = self._claims[operation.region].Claim
            message: Any = claim_pb2.ClaimRequest(item=content)
        else:
            signed = sign_items([content], parties.PLATFORM_SIGNERS[operation.region])
            item = redemption_pb2.SignedItem(item=content, key_id=signed.key_id, signature=signed.signature)
            call = getattr(self._redemptions[operation.region], kind.capitalize())
            message = getattr(redemption_pb2, f"{kind.capitalize()}Request")(item=item)
        parsed = claim_pb2.ClaimItem if kind == "claim" else redemption_pb2.RedemptionItem
        id = parsed.FromString(content).request_id
        asked_at = self._asked.setdefault(id, self._stage.loop.time())
        response = await self._insist(lambda: call(message, timeout=CALL_SECONDS))
        answer: bytes = response.answer if kind == "claim" else response.answer.answer
        if kind != "claim" and redemption_pb2.RedemptionAnswer.FromString(answer).decider == operation.region:
            self._receipts.setdefault(operation.region, {})[id, answer] = node_operator_pb2.PlatformReceipt(
                request=_shown(content, signed.key_id, signed.signature),
                answer=_shown(answer, response.answer.key_id, response.answer.signature),
            )
        name = f"step {operation.number}, {operation.kind}"
        promise = Promise(
            operation.region,
            parties.PLATFORM,
            id,
            name,
            kind == "claim",
            content,
            answer,
            self._stage.loop.time(),
            asked_at,
        )
        self.promises.append(promise)
        return answer

    def _kind(self, operation: Operation) -> str:
        """The call that an operation makes; a repetition makes that of its original."""
        if operation.kind == "again" and operation.of in self.requests:
            return self.requests[operation.of].operation.kind
        return operation.kind

    async def _insist(self, call: Callable[[], Awaitable[Any]]) -> Any:
        wait, longest = AGAIN_SECONDS
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if error.code() not in PASSING:
                    self.broken_calls.append(f"a call ended with {error.code().name}: {error.details()}")
                    raise
            await asyncio.sleep(wait)
            wait = min(2 * wait, longest)

    # What is asked

    async def _content(self, operation: Operation) -> bytes:
        """The bytes of a request; empty where what it follows up never came to be."""
        if operation.kind == "claim":
            return claim_item(self._name(operation), operation.campaign, f"holder of {operation.number}")
        if operation.kind == "again":
            return await self._repeated(operation)
        if operation.voucher is not None:
            return await self._purchase(operation, operation.voucher)
        original = self.requests.get(operation.of or 0)
        if original is None:
            return b""
        item = redemption_pb2.RedemptionItem(request_id=request_id(self._name(operation)))
        if operation.kind == "reverse":
            await original.sent.wait()
            item.reverse.original_request_id = request_id(self._name(original.operation))
            return item.SerializeToString()
        await original.done.wait()
        redemption_id = redemption_pb2.RedemptionAnswer.FromString(original.answer or b"").redemption_id
        if not redemption_id:
            return b""
        if operation.kind == "capture":
            item.capture.redemption_id, item.capture.order_fen = redemption_id, operation.order_fen
        elif operation.kind == "void":
            item.void.redemption_id = redemption_id
        else:
            item.refund.redemption_id, item.refund.order_fen = redemption_id, operation.order_fen or 1
        return item.SerializeToString()

    async def _repeated(self, operation: Operation) -> bytes:
        original = self.requests.get(operation.of or 0)
        if original is None:
            return b""
        await original.sent.wait()
        if not original.content or not operation.altered:
            return original.content
        if original.operation.kind == "claim":
            return original.content + claim_pb2.ClaimItem(holder_id="somebody else").SerializeToString()
        item = redemption_pb2.RedemptionItem.FromString(original.content)
        which = item.WhichOneof("operation") or ""
        if which in ("redeem", "authorize"):
            getattr(item, which).order.order_fen += 100
        elif which in ("capture", "refund"):
            getattr(item, which).order_fen += 1
        return item.SerializeToString()

    async def _purchase(self, operation: Operation, voucher: VoucherChoice) -> bytes:
        token = await self._token(voucher)
        if not token:
            return b""
        order = redemption_pb2.Order(
            merchant=merchant_of(operation.region),
            order_id=operation.order,
            order_fen=operation.order_fen,
            category="retail",
            channel="shop",
        )
        purchase = redemption_pb2.Purchase(token=token, index=voucher.index, order=order)
        fields: dict[str, Any] = {operation.kind: purchase}
        item = redemption_pb2.RedemptionItem(request_id=request_id(self._name(operation)), **fields)
        return item.SerializeToString()

    async def _token(self, voucher: VoucherChoice) -> bytes:
        if voucher.claim is None:
            return self._tokens[voucher.issuer][voucher.pack]
        claim = self.requests.get(voucher.claim)
        if claim is None:
            return b""
        await claim.done.wait()
        return bytes(claim_pb2.ClaimAnswer.FromString(claim.answer or b"").token)

    def _name(self, operation: Operation) -> str:
        return f"{self._plan.seed} {operation.number}"

    # Settlement

    async def close_window(self) -> None:
        await self._insist(lambda: self._operator.CloseWindow(_pb.CloseWindowRequest(), timeout=CALL_SECONDS))

    async def settle(self, number: int) -> None:
        """Take a confirmed window to its end."""
        call = self._insist
        await call(
            lambda: self._operator.InstructWindow(_pb.InstructWindowRequest(window=number), timeout=CALL_SECONDS)
        )
        window = await call(
            lambda: self._settlement.GetWindow(settlement_pb2.GetWindowRequest(number=number), timeout=CALL_SECONDS)
        )
        for position in window.window.positions:
            if position.net_fen > 0:
                paid = _pb.MarkPaidRequest(
                    window=number, region=position.region, bank_reference=f"pay-{number}-{position.region}"
                )
                await call(partial(self._operator.MarkPaid, paid, timeout=CALL_SECONDS))
        await call(lambda: self._operator.SettleWindow(_pb.SettleWindowRequest(window=number), timeout=CALL_SECONDS))


_pb = clearing_operator_pb2


def _pack_of(token: bytes) -> bytes:
    return voucher_pb2.VoucherBody.FromString(voucher_pb2.VoucherToken.FromString(token).body).pack_id


def _any(value: object) -> Any:
    """A simulated channel, where a stub is typed for gRPC's own."""
    return value
