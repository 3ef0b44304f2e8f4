"""What this node decided alone after the copy that it was restored from: booked again from the platforms' receipts.

A decision depends on nothing but the books, its time and its ids, so deciding again must give the very bytes that this
node signed. They are kept until the recovery, which books each in its turn (`replaying.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from custodian.decisions import Answered, Received
from custodian.evidence import shown_batch
from custodian.receiving import receive
from node.burying import bury
from node.desk import Desk
from node.learned import PLATFORM, Learned, Receipt
from node.redeeming import Intake
from pki.trust import Keyring
from quanlian import wire
from quanlian.errors import BadSignature, InvalidInput, QuanlianError
from quanlian.evidence import ANSWER_KIND, REQUEST_KIND, Message
from quanlian.refusals import RefusalReason
from quanlian.v1 import node_operator_pb2 as pb
from quanlian.v1 import redemption_pb2
from quanlian.vouchers import VoucherKey
from quanlian.wire import Purchase

_NO_ID = bytes(16)


@dataclass(slots=True)
class BookAgain:
    """A platform's request and the answer that this node gave to it; returns whether it was news."""

    received: Received
    answer: redemption_pb2.RedemptionAnswer
    content: bytes

    @property
    def taken(self) -> VoucherKey | None:
        """The voucher that was held or captured, which was in this node's custody then."""
        item = self.received.item
        if item is None or not isinstance(item.subject, Purchase) or self.answer.HasField("refusal"):
            return None
        return item.subject.key

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
    """A receipt's voucher that somebody was told is captured, and that these books cannot take so."""

    key: VoucherKey
    why: str

    def load(self, desk: Desk) -> None:
        desk.books.want(vouchers=[self.key])

    def decide(self, desk: Desk) -> None:
        bury(desk, self.key, self.why)


class PlatformReceipts:
    """Verifies receipts, and keeps what is this node's own for the recovery."""

    def __init__(self, learned: Learned, keyring: Keyring, region: str) -> None:
        self._learned = learned
        self._keyring = keyring
        self._region = region
        self.platforms: set[str] = set()
        """Whose receipts were shown, signed by them and by this node."""

    async def keep(self, receipts: Iterable[pb.PlatformReceipt]) -> pb.BookReceiptsResponse:
        """Each counts once, however often it comes."""
        response = pb.BookReceiptsResponse()
        kept: list[Receipt] = []
        for receipt in receipts:
            try:
                own = self._verified(receipt)
            except QuanlianError as error:
                id = wire.request_id_of(receipt.request.content).hex()
                response.disputed.add(region=self._region, id=id, reason=str(error))
                continue
            if own is None:
                response.known += 1
            else:
                kept.append(own)
        response.kept = await asyncio.to_thread(self._learned.keep, kept)
        response.known += len(kept) - response.kept
        return response

    def _verified(self, receipt: pb.PlatformReceipt) -> Receipt | None:
        """None for what the clearinghouse decided, and for refusals that are not kept.

        Raises BadSignature or UnknownKey for what is not signed so.
        """
        asked = _message(REQUEST_KIND, receipt.request)
        key = self._keyring.verify(asked.key_id, REQUEST_KIND, asked.digest, asked.signature)
        use, _, platform = key.purpose.partition(".")
        told = _message(ANSWER_KIND, receipt.answer)
        own = self._keyring.verify(told.key_id, ANSWER_KIND, told.digest, told.signature)
        region = self._region
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
        refused = answer.HasField("refusal") and not RefusalReason(answer.refusal.reason).consumes_request_id
        if answer.decider != region or refused:
            return None
        if wire.request_id_of(asked.content) != answer.request_id:
            raise BadSignature("答复与请求不对应 · the answer is to another request")
        id = answer.request_id + hashlib.sha256(told.content).digest()
        return Receipt(platform, PLATFORM, id, answer.decided_at, receipt.SerializeToString())


def read_receipt(receipt: Receipt, keyring: Keyring, region: str) -> BookAgain:
    """What to book of one that was kept, the platform's message with it."""
    shown = pb.PlatformReceipt.FromString(receipt.body)
    answer = redemption_pb2.RedemptionAnswer.FromString(shown.answer.content)
    received = receive(
        shown.request.content,
        participant=receipt.sender,
        acquirer=receipt.sender,
        redeeming_region=region,
        redemption_id=answer.redemption_id,
        verifier=keyring,
        batch=shown_batch(_message(REQUEST_KIND, shown.request), answer.decided_at),
    )
    return BookAgain(received, answer, shown.answer.content)


def _message(kind: str, shown: pb.ShownMessage) -> Message:
    return Message(kind, shown.content, shown.hashes, shown.key_id, shown.signature)
