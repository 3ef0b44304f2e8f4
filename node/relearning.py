"""What a restored node learns again of what it published, gave and was answered, one document at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from custodian import schema as custodian_schema
from custodian.campaigns import SignedChange
from custodian.decisions import expire_overdue
from custodian.evidence import SignedBatch, shown_batch
from custodian.suspensions import SignedSuspension
from node import schema
from node.announcing import ANNOUNCED
from node.burying import bury, void_hold
from node.desk import Desk, Sent
from node.publishing import take_change
from node.recall import take_return
from node.redeeming import ClearinghouseAnswer, keep_quote
from quanlian import custody, hand_overs, wire
from quanlian.custody import EMPTY, VoucherState
from quanlian.errors import InvalidInput
from quanlian.evidence import ANSWER_KIND, Message
from quanlian.ledger import Movement, is_limited
from quanlian.redemptions import State
from quanlian.v1 import custody_pb2, redemption_pb2, signed_pb2
from quanlian.wire import Later, Purchase


@dataclass(slots=True)
class RelearnTerms:
    """Terms that this region published, their signature checked before."""

    message: signed_pb2.SignedMessage

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        terms = desk.shelf.put(self.message.body)
        if terms.issuer != desk.name:
            raise InvalidInput(
                f"是 {terms.issuer} 的活动 · is a campaign of {terms.issuer}", place=f"campaign {terms.campaign}"
            )
        row = {
            "terms_hash": terms.terms_hash,
            "campaign": terms.campaign,
            "issuer": terms.issuer,
            "document": self.message.body,
            "key_id": self.message.key_id,
            "signature": self.message.signature,
        }
        desk.transaction.upsert(schema.terms, [row])


@dataclass(slots=True)
class RelearnChange:
    """A change of an own campaign, as it was made and as the clearinghouse has it; returns whether it was news."""

    signed: SignedChange

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> bool:
        """Raises what `take_change` raises, and InvalidInput for another change under its number."""
        change = self.signed.change
        if change.issuer != desk.name:
            raise InvalidInput(
                f"是 {change.issuer} 的变更 · is a change of {change.issuer}", place=f"campaign {change.campaign}"
            )
        desk.at = change.at
        is_news = change.number > desk.campaigns.standing(change.issuer, change.campaign).last_number
        take_change(desk, self.signed)
        key = {"campaign": change.campaign, "number": change.number}
        desk.transaction.update(schema.announcement, key, {"announced": True})
        return is_news


@dataclass(slots=True)
class RelearnSuspension:
    """What this region suspended or reactivated, as the clearinghouse has it; returns whether it was news."""

    signed: SignedSuspension

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> bool:
        """Raises InvalidInput for another region's, and where another has its number."""
        suspension = self.signed.suspension
        if suspension.authority != desk.name:
            raise InvalidInput(
                f"由 {suspension.authority} 决定 · is decided by {suspension.authority}", place="suspension"
            )
        is_news = desk.suspensions.append(self.signed)
        told = max(suspension.number, desk.books.counter(ANNOUNCED))
        desk.transaction.upsert(custodian_schema.counter, [{"name": ANNOUNCED, "value": told}])
        return is_news


@dataclass(slots=True)
class RelearnHandOver:
    """A hand-over that this node signed and no longer has, or does not know to be taken; returns how many vouchers it
    gave that are news.

    Where these books cannot take it so, it is learned without its `limit`: then the vouchers are the clearinghouse's
    all the same, so that nobody spends them twice, and their money is not taken off their funders' limits.
    """

    message: signed_pb2.SignedMessage
    limit: bool = True

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> int:
        given = hand_overs.read(self.message.body)
        table, number = schema.hand_over, given.head.number
        if rows := desk.transaction.select_keys(table, [table.c.number], [(number,)]):
            if hand_overs.kept(rows[0].body).head.root == given.head.root:
                desk.transaction.update(table, {"number": number}, {**_signed(self.message), "taken": True})
                return 0
            if self.limit:
                raise InvalidInput(
                    "该号已移交别的券 · other vouchers were given under its number", place=f"hand-over {number}"
                )
        handed = given.vouchers()
        for voucher in handed:
            _give_again(desk, voucher, self.limit)
        if not rows:
            _keep(desk, number, self.message, handed)
        return len(handed)


@dataclass(slots=True)
class RelearnReturn:
    """Vouchers that the clearinghouse gave back, its signature checked before; returns how many of them are news."""

    message: signed_pb2.SignedMessage

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> int:
        """Raises InvalidInput until the hand-over that gave them is learned, and what `take_return` raises."""
        offered = hand_overs.read(self.message.body).vouchers()
        desk.books.load_vouchers([each.key for each in offered])
        known = [(each, desk.books.voucher(each.key)) for each in offered]
        for each, here in known:
            if here is None or here.epoch < each.epoch - 1:
                raise InvalidInput("其移交尚未取回 · was not given yet, by these books", place=_named(each))
        take_return(desk, self.message)
        return sum(here is not None and here.epoch < each.epoch for each, here in known)


@dataclass(slots=True)
class CountHandOvers:
    """Numbers of hand-overs that the clearinghouse has are not given out again, whatever became of them here."""

    last: int

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        desk.books.pass_numbers("hand-over", self.last)


def _give_again(desk: Desk, handed: VoucherState, limit: bool) -> None:
    """The voucher is the clearinghouse's, whatever the copy says; so is its money, reserved here or not.

    One that is captured here never becomes usable again: given up, it is dead wherever it is.
    """
    known = _without_hold(desk, handed)
    if known is not None and known.epoch >= handed.epoch:
        return
    if known is not None and known.status == custody.CAPTURED:
        why = "账上已核销 · is captured in these books"
        if limit:
            raise InvalidInput(why, place=_named(handed))
        desk.books.put_voucher(known._replace(epoch=handed.epoch))
        bury(desk, handed.key, why)
        return
    reserved = known.reservation if known is not None else EMPTY
    gone = handed._replace(reservation=EMPTY, status=custody.USABLE, hold=None)
    desk.books.put_voucher(gone)
    dropped = [leg for leg in reserved.legs() if is_limited(leg.account)]
    handed_legs = [leg for leg in handed.reservation.legs() if limit and is_limited(leg.account)]
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
        current = void_hold(desk, redemption, current)
    return current


def _keep(desk: Desk, number: int, message: signed_pb2.SignedMessage, handed: Sequence[VoucherState]) -> None:
    """One that was learned after a later one of the same vouchers does not take its place."""
    table = schema.handed_voucher
    row = {"number": number, **_signed(message), "given_at": desk.at, "taken": True}
    desk.transaction.insert(schema.hand_over, [row])
    keys = [(each.key.pack_id, each.key.voucher_index) for each in handed]
    rows = desk.transaction.select_keys(table, [table.c.pack_id, table.c.voucher_index], keys)
    later = {(each.pack_id, each.voucher_index) for each in rows if each.number > number}
    desk.transaction.upsert(
        table,
        [{"pack_id": key[0], "voucher_index": key[1], "number": number} for key in keys if key not in later],
    )


def _named(voucher: VoucherState) -> str:
    return f"voucher {voucher.key.pack_id.hex()}/{voucher.key.voucher_index}"


def _signed(message: signed_pb2.SignedMessage) -> dict[str, Any]:
    return {"body": message.body, "key_id": message.key_id, "signature": message.signature}


@dataclass(slots=True)
class RelearnAnswer:
    """An item that this node sent on, as the clearinghouse has it, and its answer. Returns whether it was news."""

    answered: custody_pb2.AnsweredItem

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> bool:
        """Raises InvalidInput for an item that does not say whose request it is.

        One that was refused by reasons 1-5 counts as answered, and may have been sent again since under the same id.
        """
        message = wire.parse(redemption_pb2.RedemptionItem, self.answered.item, "item")
        if message.HasField("quote") and message.HasField("origin"):
            return self._keep_quote(desk, message.origin)
        known = desk.sent_as(message.request_id)
        if known is not None and desk.books.request((known.caller, known.request_id)) is not None:
            return False
        if known is None:
            self._send_again(desk, message)
        ClearinghouseAnswer(self.answered.answer, self._signed(desk.at)).decide(desk)
        return True

    def _signed(self, at: int) -> SignedBatch | None:
        """The clearinghouse's signature, for it to be shown if that has to recover in its turn."""
        told = self.answered
        if not told.signature:
            return None
        return shown_batch(Message(ANSWER_KIND, told.answer, told.hashes, told.key_id, told.signature), at)

    def _keep_quote(self, desk: Desk, origin: redemption_pb2.Origin) -> bool:
        if desk.books.request((origin.participant, origin.request_id)) is not None:
            return False
        key = wire.Origin(origin.participant, origin.request_id, origin.body_hash)
        keep_quote(desk, key, self.answered.answer, None)
        return True

    def _send_again(self, desk: Desk, message: redemption_pb2.RedemptionItem) -> None:
        """The row of the outbox as it was, the order taken as it was."""
        if not message.HasField("origin"):
            raise InvalidInput(
                "未写明是谁的请求 · does not say whose request it is", place=f"item {message.request_id.hex()}"
            )
        item, origin = wire.bytes_to_item(self.answered.item, wire.MAX_FORWARDED_BYTES), message.origin
        merchant = order_id = ""
        if isinstance(item.subject, Purchase):
            merchant, order_id = item.subject.sale.merchant, item.subject.sale.order_id
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
