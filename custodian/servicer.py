"""The redemption service over gRPC, the same at node and clearinghouse: signatures at the edge, bytes inside.

Every message is signed once by its sender and every answer once by its decider; the items inside are decided, stored
and answered as bytes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

from chassis.host import Context, caller
from chassis.ids import FreshIds
from custodian.allowance import Allowance, Allowances
from custodian.evidence import SignedBatch
from custodian.lookup import Listed
from custodian.paging import pages
from custodian.undecided import Undecided
from pki.identity import Identity
from quanlian.errors import BadSignature, ConfigurationError, InvalidInput, Unavailable
from quanlian.evidence import ANSWER_KIND as ANSWER_KIND
from quanlian.evidence import REQUEST_KIND as REQUEST_KIND
from quanlian.signing import Signer, SigningKey, Verifier
from quanlian.v1 import redemption_pb2 as pb
from quanlian.v1 import redemption_pb2_grpc
from quanlian.wire import answer_request_id, batch_digest, operation_of, request_id_of

REDEMPTION_METHODS = (
    "Quote",
    "Authorize",
    "Capture",
    "Void",
    "Reverse",
    "Refund",
    "Redeem",
    "GetRedemption",
    "ListRedemptions",
    "RedeemStream",
)
MAX_ITEMS_PER_MESSAGE = 2000
PING: Sequence[bytes] = ()
"""In place of answers: a message without items came."""

PAGE_LIMIT = 1000
_TOKEN, _TOKENS = b"after/%d", re.compile(rb"after/([1-9][0-9]{0,17})")

Emit = Callable[[Sequence[bytes]], None]


class Decider(Protocol):
    """Decides items for a caller and hands their answers to `emit`, in the order in which they were decided.

    `submit` raises what kept an item from being decided, once the others have their answers.
    """

    undecided: Undecided

    async def submit(
        self, caller: Identity, items: Sequence[bytes], emit: Emit, batch: SignedBatch | None = None
    ) -> None: ...

    async def find(self, caller: Identity, redemption_id: bytes) -> pb.RedemptionRecord | None: ...

    async def page(self, caller: Identity, after: int, size: int) -> list[Listed]: ...


def check_item_count(items: Sequence[bytes]) -> None:
    """Raises InvalidInput for a message with more items than one may carry."""
    if len(items) > MAX_ITEMS_PER_MESSAGE:
        raise InvalidInput(f"{len(items)} items", place="items", remedy=f"send {MAX_ITEMS_PER_MESSAGE} at most")


def require_not_denied(key: SigningKey) -> None:
    """What comes in now under a key on the deny-list is not believed, whatever time it names. Raises BadSignature."""
    if key.revoked_from is not None:
        raise BadSignature(f"{key.owner}'s {key.purpose} key {key.key_id.hex()} is suspended or revoked")


def message_purpose(sender: Identity) -> str:
    """The purpose of a sender's message key: a platform has one of its own, so that it cannot sign as its node."""
    return f"message.{sender.name}" if sender.role == "platform" else "message"


def sign_answers(answers: Sequence[bytes], signer: Signer) -> pb.RedeemStreamResponse:
    signature = signer.sign(ANSWER_KIND, batch_digest(answers))
    return pb.RedeemStreamResponse(answers=answers, key_id=signer.key_id, signature=signature)


def sign_items(items: Sequence[bytes], signer: Signer) -> pb.RedeemStreamRequest:
    signature = signer.sign(REQUEST_KIND, batch_digest(items))
    return pb.RedeemStreamRequest(items=items, key_id=signer.key_id, signature=signature)


def verify_batch(
    verifier: Verifier, sender: Identity, kind: str, items: Sequence[bytes], key_id: bytes, signature: bytes
) -> None:
    """Raises UnknownKey, or BadSignature when the bytes or the key do not fit the sender, or the key is denied."""
    key = verifier.verify(key_id, kind, batch_digest(items), signature)
    require_not_denied(key)
    if key.owner != sender.host or key.purpose != message_purpose(sender):
        raise BadSignature(f"key {key_id.hex()} is not the message key of {sender.uri}")


class RedemptionServicer(redemption_pb2_grpc.RedemptionServiceServicer):
    """Serves a `Decider`."""

    def __init__(self, decider: Decider, verifier: Verifier, signer: Signer, ids: FreshIds | None = None) -> None:
        self._decider = decider
        self._verifier = verifier
        self._signer = signer
        self._ids = ids or FreshIds()
        self._allowances = Allowances()

    async def Quote(self, request: pb.QuoteRequest, context: Context) -> pb.QuoteResponse:  # noqa: N802
        return pb.QuoteResponse(answer=await self._one(request.item, "quote", context))

    async def Authorize(self, request: pb.AuthorizeRequest, context: Context) -> pb.AuthorizeResponse:  # noqa: N802
        return pb.AuthorizeResponse(answer=await self._one(request.item, "authorize", context))

    async def Capture(self, request: pb.CaptureRequest, context: Context) -> pb.CaptureResponse:  # noqa: N802
        return pb.CaptureResponse(answer=await self._one(request.item, "capture", context))

    async def Void(self, request: pb.VoidRequest, context: Context) -> pb.VoidResponse:  # noqa: N802
        return pb.VoidResponse(answer=await self._one(request.item, "void", context))

    async def Reverse(self, request: pb.ReverseRequest, context: Context) -> pb.ReverseResponse:  # noqa: N802
        return pb.ReverseResponse(answer=await self._one(request.item, "reverse", context))

    async def Refund(self, request: pb.RefundRequest, context: Context) -> pb.RefundResponse:  # noqa: N802
        return pb.RefundResponse(answer=await self._one(request.item, "refund", context))

    async def Redeem(self, request: pb.RedeemRequest, context: Context) -> pb.RedeemResponse:  # noqa: N802
        return pb.RedeemResponse(answer=await self._one(request.item, "redeem", context))

    async def GetRedemption(  # noqa: N802
        self, request: pb.GetRedemptionRequest, context: Context
    ) -> pb.GetRedemptionResponse:
        found = await self._decider.find(caller(context), request.redemption_id)
        return pb.GetRedemptionResponse(redemption=found)

    async def ListRedemptions(  # noqa: N802
        self, request: pb.ListRedemptionsRequest, context: Context
    ) -> pb.ListRedemptionsResponse:
        size = request.page_size or PAGE_LIMIT
        if size > PAGE_LIMIT:
            raise InvalidInput(f"{size} is too many", place="page_size", remedy=f"ask for at most {PAGE_LIMIT}")
        found = await self._decider.page(caller(context), _read_token(request.page_token), size + 1)
        next_token = _TOKEN % found[size - 1].number if len(found) > size else b""
        return pb.ListRedemptionsResponse(
            redemptions=[each.record for each in found[:size]], next_page_token=next_token
        )

    async def RedeemStream(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.RedeemStreamRequest], context: Context
    ) -> AsyncIterator[pb.RedeemStreamResponse]:
        """Answers leave as they are decided, many to a message; an item that waits holds up no other.

        A message without items asks whether anybody is there, and is answered at once by one without answers.
        """
        sender = caller(context)
        allowance = self._allowances.of(sender)
        outgoing: asyncio.Queue[Sequence[bytes] | BaseException | None] = asyncio.Queue()
        reading = asyncio.create_task(self._read_stream(sender, request_iterator, outgoing, allowance))
        try:
            open_ = True
            while open_:
                batch = [await outgoing.get()]
                while not outgoing.empty():
                    batch.append(outgoing.get_nowait())
                answers: list[bytes] = []
                pings = sum(part == PING for part in batch)
                if pings:
                    yield pb.RedeemStreamResponse()
                    allowance.give_back(pings)
                for part in batch:
                    if isinstance(part, BaseException):
                        raise part
                    if part is None:
                        open_ = False
                    else:
                        answers += part
                for page in pages(answers, len, MAX_ITEMS_PER_MESSAGE):
                    yield sign_answers(page, self._signer)
                    allowance.give_back(len(page))
        finally:
            reading.cancel()
            allowance.end()

    async def _read_stream(
        self,
        sender: Identity,
        requests: AsyncIterator[pb.RedeemStreamRequest],
        outgoing: asyncio.Queue[Any],
        allowance: Allowance,
    ) -> None:
        """Feed the decider as long as the caller reads its answers, and tell `outgoing` how it ended."""
        try:
            async with asyncio.TaskGroup() as group:
                async for request in requests:
                    check_item_count(request.items)
                    if not request.items:
                        await allowance.take(1)
                        outgoing.put_nowait(PING)
                        continue
                    await allowance.take(len(request.items))
                    batch = self._received(sender, request.items, request.key_id, request.signature)
                    group.create_task(self._decide(sender, batch.items, batch, outgoing))
            outgoing.put_nowait(None)
        except BaseExceptionGroup as errors:
            outgoing.put_nowait(errors.exceptions[0])

    async def _decide(
        self, sender: Identity, items: Sequence[bytes], batch: SignedBatch, outgoing: asyncio.Queue[Any]
    ) -> None:
        """A fault leaves the item that caused it unanswered, to be sent again, and the stream goes on.

        Raises what concerns every item, such as a database that does not answer.
        """
        given: list[bytes] = []

        def emit(answers: Sequence[bytes]) -> None:
            given.extend(answers)
            outgoing.put_nowait(answers)

        try:
            await self._decider.submit(sender, items, emit, batch)
        except (Unavailable, ConfigurationError):
            raise
        except Exception as error:
            answered = set(map(answer_request_id, given))
            left = [each for each in items if request_id_of(each) not in answered]
            if given or len(items) == 1:
                self._decider.undecided.leave(sender, left, error)
            else:
                await asyncio.gather(*(self._decide(sender, [each], batch, outgoing) for each in items))
        self._decider.undecided.answered(sender, given)

    async def _one(self, message: pb.SignedItem, operation: str, context: Context) -> pb.SignedAnswer:
        sender = caller(context)
        batch = self._received(sender, [message.item], message.key_id, message.signature)
        _check_operation(message.item, operation)
        answers: list[bytes] = []
        await self._decider.submit(sender, batch.items, answers.extend, batch)
        signed = sign_answers(answers, self._signer)
        return pb.SignedAnswer(answer=signed.answers[0], key_id=signed.key_id, signature=signed.signature)

    def _received(self, sender: Identity, items: Sequence[bytes], key_id: bytes, signature: bytes) -> SignedBatch:
        """A message as evidence. Raises UnknownKey or BadSignature for one that is not the sender's."""
        verify_batch(self._verifier, sender, REQUEST_KIND, items, key_id, signature)
        return SignedBatch(self._ids.uuid7(), REQUEST_KIND, tuple(items), key_id, signature)


def _check_operation(content: bytes, operation: str) -> None:
    """A unary call carries its own operation. An item that cannot be read is left to the decider: MALFORMED."""
    sent = operation_of(content)
    if sent not in (operation, None):
        raise InvalidInput(f"a {sent} was sent", place=operation, remedy="call the method of that name")


def _read_token(token: bytes) -> int:
    """The number behind which a page begins; 0 for the first page. Raises InvalidInput."""
    match = _TOKENS.fullmatch(token)
    if token and match is None:
        raise InvalidInput(
            "is not one that this list gave", place="page_token", remedy="send next_page_token as it came, or nothing"
        )
    return int(match[1]) if match else 0
