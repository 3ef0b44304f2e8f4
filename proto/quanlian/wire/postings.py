"""Postings as they are told to both sides, and the messages of plain captures, which are many."""

from __future__ import annotations

from functools import lru_cache

from quanlian.apportionment import Leg
from quanlian.redemptions import COMPILED, Posting, Redemption, Sides, State
from quanlian.v1 import custody_pb2, redemption_pb2
from quanlian.wire.legs import legs_messages


def posting_message(posting: Posting, redemption: Redemption, request_id: bytes = b"") -> redemption_pb2.Posting:
    sides, category = redemption.sides, redemption.sale.order.category
    shared = _shared_posting(sides, posting.legs, posting.discount_fen, redemption.state, category)
    message = redemption_pb2.Posting.FromString(shared)
    message.redemption_id = posting.redemption_id
    message.number = posting.number
    message.window = posting.window
    message.order_fen = posting.order_fen
    message.at = posting.at
    message.pack_id = redemption.voucher.pack_id
    message.index = redemption.voucher.voucher_index
    message.request_id = request_id
    return message


@lru_cache(maxsize=COMPILED)
def _shared_posting(sides: Sides, legs: tuple[Leg, ...], discount_fen: int, state: State, category: str) -> bytes:
    """What the postings of one kind have in common."""
    return redemption_pb2.Posting(
        campaign=sides.campaign,
        issuer=sides.issuer,
        redeeming_region=sides.redeeming_region,
        discount_fen=discount_fen,
        legs=legs_messages(legs),
        state=state.value,  # type: ignore[arg-type]
        category=category,
    ).SerializeToString()


class CaptureMessages:
    """What answers and tells of captures of one kind; what those of a kind share is filled in once."""

    def __init__(
        self, sides: Sides, legs: tuple[Leg, ...], discount_fen: int, category: str, agreement: str, decider: str
    ) -> None:
        state, paid = State.CAPTURED.value, legs_messages(legs)
        self._event = custody_pb2.FeedEvent(
            posting=redemption_pb2.Posting(
                number=1,
                campaign=sides.campaign,
                issuer=sides.issuer,
                redeeming_region=sides.redeeming_region,
                discount_fen=discount_fen,
                legs=paid,
                state=state,  # type: ignore[arg-type]
                category=category,
            )
        )
        self._answer = redemption_pb2.RedemptionAnswer(
            state=state,  # type: ignore[arg-type]
            discount_fen=discount_fen,
            legs=paid,
            decider=decider,
            agreement=agreement,
            posting=self._event.posting,
        )
        self._answered, self._told = self._answer.posting, self._event.posting

    def written(self, redemption: Redemption, request_id: bytes, sequence: int) -> tuple[bytes, bytes]:
        """The answer as `accepted` gives it, and the serialised FeedEvent with `posting_message`."""
        answer, event = self._answer, self._event
        key, at, window, order_fen = redemption.voucher, redemption.captured_at, redemption.window, redemption.order_fen
        answer.request_id, event.sequence = request_id, sequence
        answer.redemption_id, answer.expires_at = redemption.id, redemption.expires_at
        answer.decided_at, answer.order_fen, answer.window = at, order_fen, window
        for posting in (self._answered, self._told):
            posting.redemption_id, posting.window, posting.order_fen, posting.at = redemption.id, window, order_fen, at
            posting.pack_id, posting.index = key.pack_id, key.voucher_index
        self._told.request_id = request_id
        return answer.SerializeToString(), event.SerializeToString()
