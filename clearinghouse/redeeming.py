"""Redemptions that cross a border, and home ones of vouchers in the clearinghouse's custody."""

from __future__ import annotations

from dataclasses import dataclass

from clearinghouse import schema
from clearinghouse.desk import Desk
from clearinghouse.recall import last_return
from custodian.custody_messages import CustodyRefused
from custodian.decisions import Answered, Elsewhere, Received, Reply, decide, settle
from quanlian.refusals import Refusal, RefusalReason
from quanlian.v1 import signed_pb2
from quanlian.vouchers import VoucherKey
from quanlian.wire import Later, Purchase


@dataclass(slots=True)
class Redeem:
    """A node's request. `release_failed` says why its voucher could not be brought here, once that was tried, and
    `refusal` is the issuer's signed word for it.

    Of a voucher that was given back before, `epoch` and `last_return` are what its issuer is asked with.
    """

    received: Received
    release_failed: RefusalReason | None = None
    refusal: CustodyRefused | None = None
    epoch: int = 0
    last_return: signed_pb2.SignedMessage | None = None

    def load(self, desk: Desk) -> None:
        desk.books.want(requests=[(self.received.participant, self.received.request_id)])
        item = self.received.item
        if item is None:
            return
        if isinstance(item.subject, Purchase):
            if self.received.key is None:
                return  # its signature is not good: it is refused, whatever its voucher is
            desk.want_purchase(item.subject, self.received.redeeming_region)
        elif isinstance(item.subject, Later):
            desk.books.want(redemptions=[item.subject.redemption_id])

    def decide(self, desk: Desk) -> Reply:
        reply = decide(self.received, desk.books, desk)
        if isinstance(reply, Answered):
            return reply
        if reply.voucher is None:
            return self._refuse(desk, RefusalReason.REDEMPTION_UNKNOWN)
        if self.received.item is not None and self.received.item.operation == "quote":
            return settle(self.received, reply.discount_fen, desk.books, desk)
        if self.release_failed is not None:
            _keep_refusal(desk, self.refusal)
            return self._refuse(desk, self.release_failed)
        known = desk.books.voucher(reply.voucher)
        if known is not None:
            self.epoch, self.last_return = known.epoch, last_return(desk, reply.voucher)
        return reply

    def _refuse(self, desk: Desk, reason: RefusalReason) -> Answered:
        return settle(self.received, Refusal(reason), desk.books, desk)


RELEASE_REFUSAL = "release-refusal"
"""The kind of the journal's entry."""


def _keep_refusal(desk: Desk, refusal: CustodyRefused | None) -> None:
    if refusal is not None:
        key, message = refusal.key, refusal.message
        row = {"issuer": key.issuer, "pack_id": key.pack_id, "voucher_index": key.voucher_index}
        signed = {"body": message.body, "key_id": message.key_id, "signature": message.signature}
        desk.transaction.upsert(schema.release_refusal, [row | signed])
        document = f"{key.issuer}/{key.pack_id.hex()}/{key.voucher_index}"
        desk.books.record(RELEASE_REFUSAL, desk.at, document, message.signature)


def wanted(reply: Reply) -> VoucherKey | None:
    """The voucher that must be released before the request can be decided."""
    return reply.voucher if isinstance(reply, Elsewhere) else None
