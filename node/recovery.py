"""A node whose database was restored from a backup learns again what the clearinghouse holds of it.

Hand-overs that it gave after the copy was made, and answers to what it sent on; the feed brings the rest by itself.
What it decided alone in that time nobody else has: that is told to the operator, not guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from custodian.decisions import expire_overdue
from node import schema
from node.desk import Desk, Sent
from node.redeeming import ClearinghouseAnswer
from quanlian import custody, redemptions, wire
from quanlian.custody import EMPTY, VoucherState
from quanlian.errors import InvalidInput
from quanlian.ledger import Movement, is_limited
from quanlian.redemptions import State
from quanlian.v1 import custody_pb2, redemption_pb2, signed_pb2
from quanlian.wire import Later, Purchase


@dataclass(slots=True)
class RelearnHandOver:
    """A hand-over that this node signed and no longer has; returns how many vouchers it gave."""

    message: signed_pb2.SignedMessage

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> int:
        body = wire.parse(custody_pb2.HandOver, self.message.body, "hand-over")
        table = schema.hand_over
        if desk.transaction.select_keys(table, [table.c.number], [(body.number,)]):
            return 0
        handed = [wire.handed_voucher(each, desk.name) for each in body.vouchers]
        for voucher in handed:
            _give_again(desk, voucher)
        _keep(desk, body.number, self.message, handed)
        while desk.books.counter("hand-over") < body.number:
            desk.books.next_number("hand-over")
        return len(handed)


def _give_again(desk: Desk, handed: VoucherState) -> None:
    """The voucher is the clearinghouse's, whatever the copy says; so is its money, reserved here or not."""
    known = _without_hold(desk, handed)
    if known is not None and known.epoch >= handed.epoch:
        return
    reserved = known.reservation if known is not None else EMPTY
    gone = replace(handed, reservation=EMPTY, status=custody.USABLE, hold=None)
    desk.books.put_voucher(gone)
    dropped = [leg for leg in reserved.legs() if is_limited(leg.account)]
    handed_legs = [leg for leg in handed.reservation.legs() if is_limited(leg.account)]
    desk.books.move(Movement(leg.account, "", reserved_fen=-leg.amount_fen) for leg in dropped)
    desk.books.move(Movement(leg.account, "", limit_fen=-leg.amount_fen) for leg in handed_legs)


def _without_hold(desk: Desk, handed: VoucherState) -> VoucherState | None:
    """A hold that the copy still has was over when the voucher was given."""
    known = desk.books.voucher(handed.key)
    if known is None or known.hold is None or known.epoch >= handed.epoch:
        return known
    expire_overdue(known, desk.books, desk)
    redemption = desk.books.redemption(known.hold)
    current = desk.books.voucher(handed.key)
    assert current is not None
    if redemption is not None and redemption.state is State.AUTHORIZED:
        outcome = redemptions.release_hold(redemption, current, State.VOIDED)
        desk.books.apply(outcome)
        desk.applied(redemption, outcome)
        current = outcome.voucher
    return current


def _keep(desk: Desk, number: int, message: signed_pb2.SignedMessage, handed: Sequence[VoucherState]) -> None:
    row: dict[str, Any] = {
        "number": number,
        "body": message.body,
        "key_id": message.key_id,
        "signature": message.signature,
        "given_at": desk.at,
        "taken": True,
    }
    desk.transaction.insert(schema.hand_over, [row])
    desk.transaction.upsert(
        schema.handed_voucher,
        [{"pack_id": each.key.pack_id, "voucher_index": each.key.voucher_index, "number": number} for each in handed],
    )


@dataclass(slots=True)
class RelearnAnswer:
    """An item that this node sent on, as the clearinghouse has it, and its answer. Returns whether it was news."""

    answered: custody_pb2.AnsweredItem

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> bool:
        """Raises InvalidInput for an item that does not say whose request it is."""
        message = wire.parse(redemption_pb2.RedemptionItem, self.answered.item, "item")
        known = desk.sent_as(message.request_id)
        if known is not None and known.answered:
            return False
        if known is None:
            self._send_again(desk, message)
        ClearinghouseAnswer(self.answered.answer).decide(desk)
        return True

    def _send_again(self, desk: Desk, message: redemption_pb2.RedemptionItem) -> None:
        """The row of the outbox as it was, the order taken as it was."""
        if not message.HasField("origin"):
            raise InvalidInput("does not say whose request it is", place=f"item {message.request_id.hex()}")
        item, origin = wire.bytes_to_item(self.answered.item), message.origin
        merchant = order_id = ""
        if isinstance(item.subject, Purchase):
            merchant, order_id = item.subject.sale.merchant, item.subject.sale.order_id
            if item.operation != "quote":
                desk.load_orders([(merchant, order_id)])
                desk.take_order(merchant, order_id, item.request_id, None)
        elif isinstance(item.subject, Later):
            away = desk.away(item.subject.redemption_id)
            merchant, order_id = (away.merchant, away.order_id) if away else ("", "")
        else:
            original = desk.sent_as(item.subject)
            merchant, order_id = (original.merchant, original.order_id) if original else ("", "")
        answer = redemption_pb2.RedemptionAnswer.FromString(self.answered.answer)
        desk.put_outbox(
            Sent(
                caller=origin.participant,
                request_id=origin.request_id,
                own_id=item.request_id,
                operation=item.operation,
                body_hash=origin.body_hash,
                content=self.answered.item,
                merchant=merchant,
                order_id=order_id,
                redemption_id=item.subject.redemption_id if isinstance(item.subject, Later) else None,
                sent_at=answer.decided_at,
                answered=False,
            )
        )
