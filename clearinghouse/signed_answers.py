"""Booking again what this clearinghouse signed.

An answer says what was decided: legs, agreement, window and figures. What holds today, campaigns, funds, suspensions or
agreements, decides nothing about it. What is booked must give the very answer that was signed.
"""

from __future__ import annotations

from clearinghouse.recovery_desk import RecoveryDesk
from custodian.books import StoredAnswer
from custodian.decisions import Received
from quanlian import custody, redemptions, wire
from quanlian.apportionment import split_shown
from quanlian.errors import QuanlianError
from quanlian.redemptions import Outcome, Redemption, State
from quanlian.refusals import Refusal, RefusalReason
from quanlian.state_names import REDEMPTION_STATES_ZH
from quanlian.v1.redemption_pb2 import RedemptionAnswer
from quanlian.wire import Later, Purchase, Stamp

NOT_HERE = "券或核销不在此托管 · its voucher or redemption is not in custody here"
_STATUS_ZH = {
    custody.HELD: "已被占用",
    custody.CAPTURED: "已核销",
    custody.EXPIRED: "已过期",
    custody.CANCELLED: "已作废",
}


class NotYet(QuanlianError):
    """Something that this depends on is not learned yet."""


class Different(QuanlianError):
    """The books as they stand, or what came with it, do not fit what was signed or told."""


def other_window(posted: int, open_now: int) -> str:
    return f"入账于场次{posted}，此处场次{open_now}进行中 · was posted in window {posted}, {open_now} is open"


def book_signed(desk: RecoveryDesk, received: Received, answer: RedemptionAnswer, content: bytes, over: bool) -> None:
    """Book an answer whose signature was checked, as of its time; `content` are its bytes, `over` as of `desk.free`.

    Raises NotYet, Different, or what else its money or voucher runs into.
    """
    desk.at = answer.decided_at
    if answer.redemption_id:
        _book(desk, received, answer, over)
    elif answer.HasField("refusal"):
        if not RefusalReason(answer.refusal.reason).consumes_request_id:
            return
    elif received.item is not None and received.item.operation == "reverse":
        _mark_reversed(desk, received, over)
    operation = received.item.operation if received.item else ""
    batch_id = received.batch.id if received.batch else None
    desk.books.keep_batch(received.batch)
    stored = StoredAnswer(received.body_hash, content, answer.redemption_id or None, operation, batch_id)
    desk.books.answer((received.participant, received.request_id), stored, answer.decided_at)


def _book(desk: RecoveryDesk, received: Received, answer: RedemptionAnswer, over: bool) -> None:
    if answer.HasField("posting") and answer.posting.window != desk.window:
        raise Different(other_window(answer.posting.window, desk.window))
    if received.item is None:
        raise Different("其请求无法读出 · its request cannot be read")
    before = desk.books.redemption(answer.redemption_id)
    subject = received.item.subject
    if isinstance(subject, Purchase):
        if before is not None:
            raise Different("该核销在此属于另一请求 · its redemption is another request's here")
        outcome = _bought(desk, received, subject, answer, over)
    elif before is None or before.participant != received.participant:
        raise NotYet(NOT_HERE)
    else:
        _require_subject(desk, received, subject, before)
        outcome = _changed(desk, before, answer)
    stamp = Stamp(received.request_id, desk.name, answer.decided_at)
    if RedemptionAnswer.FromString(wire.accepted(stamp, outcome)) != answer:
        raise Different("与其请求和账目不符 · does not follow from its request and the books")
    desk.books.apply(outcome)
    desk.applied(before, outcome, received.request_id)


def _bought(
    desk: RecoveryDesk, received: Received, purchase: Purchase, answer: RedemptionAnswer, over: bool
) -> Outcome:
    """A hold or a capture at once. What is not of the voucher's own posting needs the token that the shopper showed."""
    posting = answer.posting
    named = (posting.issuer, posting.pack_id, posting.index) == tuple(purchase.key)
    if (answer.HasField("posting") and not named) or (not named and received.key is None):
        raise Different("答复与请求所指的券不同 · the answer is of another voucher than its request")
    voucher = desk.free(purchase.key, over)
    if voucher is None:
        raise NotYet(NOT_HERE)
    if voucher.status != custody.USABLE:
        raise Different(f"该券{_STATUS_ZH[voucher.status]} · its voucher is {voucher.status}")
    split = split_shown(wire.legs_of(answer.legs), voucher.reservation, received.redeeming_region)
    draft = desk.draft_signed(received, purchase, answer, split, voucher)
    if not answer.HasField("posting"):
        return redemptions.authorize(draft, voucher, split)
    return redemptions.redeem(draft, voucher, split, desk.credit(draft), posting.window, desk.at)


def _require_subject(desk: RecoveryDesk, received: Received, subject: Later | bytes, before: Redemption) -> None:
    if isinstance(subject, Later):
        named: bytes | None = subject.redemption_id
    else:
        original = desk.books.request((received.participant, subject))
        if original is None:
            raise NotYet("所冲正的请求不在此 · the request that it reverses is not here")
        named = original.redemption_id
    if named != before.id:
        raise Different("答复与请求所指的核销不同 · the answer is of another redemption than its request")


def _changed(desk: RecoveryDesk, redemption: Redemption, answer: RedemptionAnswer) -> Outcome:
    """The end of a hold, its capture, or a refund."""
    voucher, posting = desk.books.voucher(redemption.voucher), answer.posting
    assert voucher is not None
    if not answer.HasField("posting"):
        result = redemptions.void(redemption, voucher, desk.at)
    elif posting.number != redemption.postings + 1:
        raise NotYet(
            f"是该核销的第{posting.number}笔入账，此处最后一笔为第{redemption.postings}笔 · "
            f"is posting {posting.number} of its redemption, and {redemption.postings} is the last here"
        )
    elif posting.number == 1:
        credit = desk.credit(redemption)
        result = redemptions.capture(redemption, voucher, posting.order_fen, credit, posting.window, desk.at)
    elif redemption.state not in (State.CAPTURED, State.PARTLY_REFUNDED, State.REFUNDED):
        raise Different(_standing(redemption))
    else:
        given = redemptions.Return(-posting.order_fen, -posting.discount_fen, answer.shopper_fen)
        credit = desk.credit(redemption)
        return redemptions.give_back(redemption, voucher, given, credit, posting.window, desk.at)
    if isinstance(result, Refusal):
        raise Different(f"{_standing(redemption)}, {result.reason.summary_zh} {result.reason.name}")
    return result


def _mark_reversed(desk: RecoveryDesk, received: Received, over: bool) -> None:
    """A reverse that found nothing: its original, should it come yet, changes nothing. It may just not be learned."""
    assert received.item is not None
    original = received.item.subject
    assert isinstance(original, bytes)
    key = (received.participant, original)
    if desk.books.request(key) is None:
        if not over:
            raise NotYet("所冲正的请求不在此 · the request that it reverses is not here")
        refused = wire.refused(Stamp(original, desk.name, desk.at), Refusal(RefusalReason.REVERSED))
        desk.books.answer(key, StoredAnswer(None, refused, None, "reversed"), desk.at)


def _standing(redemption: Redemption) -> str:
    zh = REDEMPTION_STATES_ZH[redemption.state.name]
    return f"该核销{zh} · its redemption is {redemption.state.name}"
