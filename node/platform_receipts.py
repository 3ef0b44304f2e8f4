"""What this node decided alone after the copy that it was restored from: booked again from the platforms' receipts.

A decision depends on nothing but the books, its time and its ids, so deciding again must give the very bytes that this
node signed; what does not is disputed, and its voucher is dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from custodian.decisions import Answered, Received
from custodian.receiving import receive
from node.desk import Desk
from node.engine import Engine
from node.redeeming import Intake
from pki.trust import Keyring
from quanlian import custody, wire
from quanlian.custody import in_custody
from quanlian.errors import BadSignature, ConfigurationError, InvalidInput, QuanlianError, Unavailable
from quanlian.evidence import ANSWER_KIND, REQUEST_KIND, Message
from quanlian.refusals import RefusalReason
from quanlian.v1 import node_operator_pb2 as pb
from quanlian.v1 import redemption_pb2
from quanlian.vouchers import VoucherKey

_NO_ID = bytes(16)


@dataclass(slots=True)
class BookAgain:
    """A platform's request and the answer that this node gave to it; returns whether it was news."""

    received: Received
    answer: redemption_pb2.RedemptionAnswer
    content: bytes

    def load(self, desk: Desk) -> None:
        Intake(self.received, _NO_ID).load(desk)

    def decide(self, desk: Desk) -> bool:
        """Raises InvalidInput where the books do not give what was signed."""
        known = desk.books.request((self.received.participant, self.received.request_id))
        if known is not None:
            self._require(known.answer == self.content, "账上答复不同 · is answered otherwise in these books")
            return False
        desk.at = self.answer.decided_at
        reply = Intake(self.received, _NO_ID).decide(desk)
        content = reply.content if isinstance(reply, Answered) else None
        self._require(content is not None, "该券不由本节点托管 · its voucher is not in this node's custody")
        self._require(content == self.content, "重新裁决与所答复的不同 · is decided otherwise now than it was answered")
        return not self.answer.HasField("refusal") or RefusalReason(self.answer.refusal.reason).consumes_request_id

    def _require(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise InvalidInput(otherwise, place=f"receipt {self.received.request_id.hex()}")


@dataclass(slots=True)
class Bury:
    """A voucher that somebody was told is captured, and that these books cannot take so: it is never spent again."""

    key: VoucherKey

    def load(self, desk: Desk) -> None:
        desk.books.want(vouchers=[self.key])

    def decide(self, desk: Desk) -> None:
        voucher = desk.books.voucher(self.key)
        if voucher is not None and in_custody(voucher, desk.name) and voucher.status == custody.USABLE:
            desk.books.put_voucher(voucher._replace(status=custody.CANCELLED))


class PlatformReceipts:
    """Verifies receipts and books them in the order of their times."""

    def __init__(self, engine: Engine, keyring: Keyring) -> None:
        self._engine = engine
        self._keyring = keyring
        self.platforms: set[str] = set()
        """Whose receipts were shown, signed by them and by this node."""

    async def book(self, receipts: Iterable[pb.PlatformReceipt]) -> pb.BookReceiptsResponse:
        """Book what these books lack; each receipt counts once, however often it comes."""
        response = pb.BookReceiptsResponse()
        waiting: list[BookAgain] = []
        for receipt in receipts:
            try:
                work = await self._verified(receipt)
            except QuanlianError as error:
                id = wire.request_id_of(receipt.request.content).hex()
                response.disputed.add(region=self._engine.region.code, id=id, reason=str(error))
                continue
            if work is None:
                response.known += 1
            else:
                waiting.append(work)
        waiting.sort(key=lambda work: (work.answer.decided_at, work.received.request_id))
        await asyncio.to_thread(self._book, waiting, response)
        return response

    def _book(self, waiting: Sequence[BookAgain], response: pb.BookReceiptsResponse) -> None:
        for work, reason in self._apply(waiting, response):
            response.disputed.add(region=self._engine.region.code, id=work.received.request_id.hex(), reason=reason)
            if work.answer.HasField("posting"):
                posting = work.answer.posting
                self._engine.decide_together([Bury(VoucherKey(posting.issuer, posting.pack_id, posting.index))])

    def _apply(self, waiting: Sequence[BookAgain], response: pb.BookReceiptsResponse) -> list[tuple[BookAgain, str]]:
        """Book what can be, again and again: of what was decided in one second, one may depend on another."""
        while waiting:
            left: list[tuple[BookAgain, str]] = []
            for work in waiting:
                try:
                    news = self._engine.decide_together([work])[0]
                except (Unavailable, ConfigurationError):
                    raise
                except QuanlianError as error:
                    left.append((work, str(error)))
                else:
                    response.booked, response.known = response.booked + news, response.known + (not news)
            if len(left) == len(waiting):
                return left
            waiting = [work for work, _ in left]
        return []

    async def _verified(self, receipt: pb.PlatformReceipt) -> BookAgain | None:
        """None for what the clearinghouse decided. Raises BadSignature or UnknownKey for what is not signed so."""
        asked = _message(REQUEST_KIND, receipt.request)
        key = self._keyring.verify(asked.key_id, REQUEST_KIND, asked.digest, asked.signature)
        use, _, platform = key.purpose.partition(".")
        told = _message(ANSWER_KIND, receipt.answer)
        own = self._keyring.verify(told.key_id, ANSWER_KIND, told.digest, told.signature)
        region = self._engine.region.code
        if (key.owner, use) != (region, "message") or not platform or asked.position < 0:
            raise BadSignature(
                f"请求由 {key.owner} 的 {key.purpose} 密钥签名 · "
                f"the request is signed by {key.owner}'s key for {key.purpose}"
            )
        if (own.owner, own.purpose) != (region, "message") or told.position < 0:
            raise BadSignature(
                f"答复由 {own.owner} 的 {own.purpose} 密钥签名 · "
                f"the answer is signed by {own.owner}'s key for {own.purpose}"
            )
        self.platforms.add(platform)
        answer = wire.parse(redemption_pb2.RedemptionAnswer, told.content, "answer")
        if answer.decider != region:
            return None
        received = receive(
            asked.content,
            participant=platform,
            acquirer=platform,
            redeeming_region=region,
            redemption_id=answer.redemption_id,
            verifier=self._keyring,
        )
        if received.request_id != answer.request_id:
            raise BadSignature("答复与请求不对应 · the answer is to another request")
        return BookAgain(received, answer, told.content)


def _message(kind: str, shown: pb.ShownMessage) -> Message:
    return Message(kind, shown.content, shown.hashes, shown.key_id, shown.signature)
