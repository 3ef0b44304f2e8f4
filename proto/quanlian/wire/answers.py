"""What a party answers to an item."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from quanlian.apportionment import Leg
from quanlian.redemptions import COMPILED, Outcome, State
from quanlian.refusals import Refusal
from quanlian.v1 import redemption_pb2, refusal_pb2
from quanlian.wire.legs import legs_messages
from quanlian.wire.postings import posting_message
from quanlian.wire.reading import parse


class Stamp(NamedTuple):
    """Who answered which request, and when."""

    request_id: bytes
    decider: str
    decided_at: int


def refused(stamp: Stamp, refusal: Refusal) -> bytes:
    return redemption_pb2.RedemptionAnswer(
        request_id=stamp.request_id,
        refusal=refusal_message(refusal),
        decider=stamp.decider,
        decided_at=stamp.decided_at,
    ).SerializeToString()


def accepted(stamp: Stamp, outcome: Outcome) -> bytes:
    """The answer to an operation that went through; also to one that found nothing left to do."""
    redemption, posting = outcome.redemption, outcome.posting
    shared = _shared_answer(redemption.standing, redemption.agreement, redemption.state, stamp.decider)
    answer = redemption_pb2.RedemptionAnswer.FromString(shared)
    answer.request_id = stamp.request_id
    answer.redemption_id = redemption.id
    answer.returned_fen = outcome.returned_fen
    answer.shopper_fen = outcome.shopper_fen
    answer.expires_at = redemption.expires_at
    answer.decided_at = stamp.decided_at
    answer.order_fen = redemption.order_fen
    answer.refunded_order_fen = redemption.refunded_order_fen
    if posting:
        answer.window = posting.window
        answer.posting.CopyFrom(posting_message(posting, redemption))
    return answer.SerializeToString()


@lru_cache(maxsize=COMPILED)
def _shared_answer(standing: tuple[Leg, ...], agreement: str, state: State, decider: str) -> bytes:
    """What the answers to redemptions of one kind have in common: reading it costs a fifth of setting it."""
    return redemption_pb2.RedemptionAnswer(
        state=state.value,  # type: ignore[arg-type]
        discount_fen=sum(leg.amount_fen for leg in standing),
        legs=legs_messages(standing),
        decider=decider,
        agreement=agreement,
    ).SerializeToString()


def quoted(stamp: Stamp, discount_fen: int) -> bytes:
    return redemption_pb2.RedemptionAnswer(
        request_id=stamp.request_id,
        discount_fen=discount_fen,
        decider=stamp.decider,
        decided_at=stamp.decided_at,
    ).SerializeToString()


def done(stamp: Stamp) -> bytes:
    """The answer to a reverse that found nothing to undo."""
    return redemption_pb2.RedemptionAnswer(
        request_id=stamp.request_id, decider=stamp.decider, decided_at=stamp.decided_at
    ).SerializeToString()


def answer_request_id(answer: bytes) -> bytes:
    """Which request an answer is for. Raises InvalidInput."""
    return parse(redemption_pb2.RedemptionAnswer, answer, "answer").request_id


def answered_again(answer: bytes, request_id: bytes) -> bytes:
    """The clearinghouse's answer as a node passes it on, under the caller's own request id."""
    message = redemption_pb2.RedemptionAnswer.FromString(answer)
    message.request_id = request_id
    return message.SerializeToString()


def refusal_message(refusal: Refusal) -> refusal_pb2.Refusal:
    return refusal_pb2.Refusal(
        reason=refusal.reason.value,  # type: ignore[arg-type]
        message_zh=refusal.message_zh,
        message_en=refusal.message_en,
        retryable=refusal.retryable,
        voucher_usable=refusal.voucher_usable,
        figures=[refusal_pb2.Figure(name=name, value=value) for name, value in refusal.figures.items()],
        field=refusal.field,
    )
