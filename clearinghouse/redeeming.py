"""Redemptions that cross a border, and home ones of vouchers in the clearinghouse's custody."""

from __future__ import annotations

from dataclasses import dataclass

from clearinghouse.desk import Desk
from custodian.decisions import Answered, Elsewhere, Received, Reply, decide, settle
from quanlian.refusals import Refusal, RefusalReason
from quanlian.vouchers import VoucherKey
from quanlian.wire import Later, Purchase


@dataclass(slots=True)
class Redeem:
    """A node's request. `release_failed` says why its voucher could not be brought here, once that was tried."""

    received: Received
    release_failed: RefusalReason | None = None

    def load(self, desk: Desk) -> None:
        desk.books.want(requests=[(self.received.participant, self.received.request_id)])
        item = self.received.item
        if item is None:
            return
        if isinstance(item.subject, Purchase):
            desk.books.want(vouchers=[item.subject.key])
            desk.suspensions.want_purchase(item.subject, self.received.redeeming_region)
        elif isinstance(item.subject, Later):
            desk.books.want(redemptions=[item.subject.redemption_id])

    def decide(self, desk: Desk) -> Reply:
        reply = decide(self.received, desk.books, desk)
        if isinstance(reply, Answered):
            return reply
        if reply.voucher is None:
            return self._refuse(desk, RefusalReason.REDEMPTION_UNKNOWN)
        if self.release_failed is not None:
            return self._refuse(desk, self.release_failed)
        return reply

    def _refuse(self, desk: Desk, reason: RefusalReason) -> Answered:
        return settle(self.received, Refusal(reason), desk.books, desk)


def wanted(reply: Reply) -> VoucherKey | None:
    """The voucher that must be released before the request can be decided."""
    return reply.voucher if isinstance(reply, Elsewhere) else None
