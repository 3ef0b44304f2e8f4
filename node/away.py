"""Redemptions that the clearinghouse decided, as this node keeps them: what its answers and adjusting entries told.

What decisions here go by are columns of their own; the rest of the record is kept for reading it back.
"""

from __future__ import annotations

from node.desk import Away, Desk, Sent
from quanlian import wire
from quanlian.redemptions import State
from quanlian.v1 import redemption_pb2
from quanlian.v1.redemption_pb2 import RedemptionAnswer, RedemptionRecord

_POSTED = {State.CAPTURED.name, State.PARTLY_REFUNDED.name, State.REFUNDED.name}


def keep_away(desk: Desk, sent: Sent, message: RedemptionAnswer) -> None:
    """The redemption as the latest answer tells it; a refund that was overtaken by a later one changes nothing."""
    known = desk.away(message.redemption_id)
    if known is not None and known.refunded_order_fen > message.refunded_order_fen:
        return
    desk.put_away(
        Away(
            redemption_id=message.redemption_id,
            caller=sent.caller,
            merchant=sent.merchant,
            order_id=sent.order_id,
            state=State(message.state).name,
            order_fen=message.order_fen,
            discount_fen=message.discount_fen,
            refunded_order_fen=message.refunded_order_fen,
            expires_at=message.expires_at,
            particulars=_particulars(desk, sent, message, known).SerializeToString(),
            number=known.number if known else 0,
        )
    )


def _particulars(desk: Desk, sent: Sent, message: RedemptionAnswer, known: Away | None) -> RedemptionRecord:
    record = RedemptionRecord.FromString(known.particulars) if known else _bought(desk, sent)
    captured_fen = message.discount_fen + message.returned_fen
    if known is not None and known.state in _POSTED:
        captured_fen = known.discount_fen + record.returned_fen
    if sent.operation in ("authorize", "redeem"):
        record.authorized_at = message.decided_at
    if State(message.state) is State.CAPTURED:
        record.captured_at, record.window = message.posting.at, message.posting.window
    if State(message.state).name in _POSTED:
        record.returned_fen = captured_fen - message.discount_fen
    record.agreement = message.agreement
    del record.legs[:]
    record.legs.extend(message.legs)
    return record


def _bought(desk: Desk, sent: Sent) -> RedemptionRecord:
    """What was bought with which voucher, from the request that began it; of a later one that is not known here."""
    if sent.operation in ("authorize", "redeem"):
        return wire.bought(sent.content, desk.name)
    record = RedemptionRecord(redeeming_region=desk.name)
    subject = wire.bytes_to_item(sent.content, wire.MAX_FORWARDED_BYTES).subject
    if isinstance(subject, bytes):
        original = desk.sent_as(subject)
        return _bought(desk, original) if original is not None and original.own_id != sent.own_id else record
    return record


def adjusted(away: Away, posting: redemption_pb2.Posting) -> Away:
    """After an adjusting entry gave funders part of the discount back."""
    record = RedemptionRecord.FromString(away.particulars)
    given = {leg.account: leg for leg in wire.legs_of(posting.legs)}
    legs = [leg.plus(given[leg.account]) if leg.account in given else leg for leg in wire.legs_of(record.legs)]
    record.returned_fen -= posting.discount_fen
    del record.legs[:]
    record.legs.extend(wire.legs_messages(legs))
    return away._replace(discount_fen=away.discount_fen + posting.discount_fen, particulars=record.SerializeToString())


def withdrawn(away: Away, posting: redemption_pb2.Posting, captured: bool) -> Away:
    """After one of its postings was taken back; `captured`: its capture stands."""
    record = RedemptionRecord.FromString(away.particulars)
    if not captured:
        record.window = 0
        return away._replace(state=State.VOIDED.name, particulars=record.SerializeToString())
    refunded_fen = away.refunded_order_fen + posting.order_fen
    taken = {leg.account: leg for leg in wire.legs_of(posting.legs)}
    legs = [leg.plus(taken[leg.account], -1) if leg.account in taken else leg for leg in wire.legs_of(record.legs)]
    record.returned_fen += posting.discount_fen
    del record.legs[:]
    record.legs.extend(wire.legs_messages(legs))
    return away._replace(
        state=(State.PARTLY_REFUNDED if refunded_fen else State.CAPTURED).name,
        refunded_order_fen=refunded_fen,
        discount_fen=away.discount_fen - posting.discount_fen,
        particulars=record.SerializeToString(),
    )


def record_of(away: Away, at: int, in_flight: bool) -> RedemptionRecord:
    """The whole record. A hold that has passed by now is expired, unless a request of it is `in_flight`."""
    record = RedemptionRecord.FromString(away.particulars)
    state = State[away.state]
    if state is State.AUTHORIZED and at >= away.expires_at and not in_flight:
        state = State.EXPIRED
    record.redemption_id = away.redemption_id
    record.state = state.value  # type: ignore[assignment]
    record.discount_fen = away.discount_fen
    record.refunded_order_fen = away.refunded_order_fen
    record.order.merchant, record.order.order_id = away.merchant, away.order_id
    record.order.order_fen = away.order_fen
    return record
