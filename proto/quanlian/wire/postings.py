"""Postings as they are told to both sides, and the messages of plain captures, which are many."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from quanlian.apportionment import Leg
from quanlian.redemptions import COMPILED, Posting, Redemption, Sides, State
from quanlian.v1 import custody_pb2, redemption_pb2
from quanlian.vouchers import VoucherKey
from quanlian.wire.fields import before, number, tag
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


class Moment:
    """When captures are decided, and in which window, as their messages say it."""

    def __init__(self, at: int, window: int) -> None:
        self.at = at
        self.posting_window, self.posting_at = _posting(window=window), _posting(at=at)
        self.window, self.decided_at = _answer(window=window), _answer(decided_at=at)


class CaptureMessages:
    """What answers and tells of captures of one kind; what those of a kind share is written once.

    Fields are in the order of their numbers, as a serialiser writes them.
    """

    def __init__(
        self,
        sides: Sides,
        legs: tuple[Leg, ...],
        discount_fen: int,
        category: str,
        agreement: str,
        decider: str,
        hold_seconds: int,
    ) -> None:
        issuer, redeemer, campaign = sides
        paid = {"state": State.CAPTURED.value, "discount_fen": discount_fen, "legs": legs_messages(legs)}
        self._hold_seconds = hold_seconds
        self._sides = _posting(campaign=campaign, issuer=issuer, redeeming_region=redeemer)
        self._posting_paid, self._paid = _posting(**paid), _answer(**paid)
        self._category, self._decider = _posting(category=category), _answer(decider=decider)
        self._agreement = _answer(agreement=agreement)

    def written(
        self, id: bytes, key: VoucherKey, order_fen: int, moment: Moment, request_id: bytes, sequence: int
    ) -> tuple[bytes, bytes]:
        """The answer as `accepted` gives it, and the serialised FeedEvent with `posting_message`."""
        _, pack_id, index = key
        order, own_id = number(order_fen), before(_Posting, "redemption_id", len(id)) + id
        posting = b"".join(
            (
                own_id, _FIRST, moment.posting_window, self._sides, _POSTING_ORDER, order, self._posting_paid,
                moment.posting_at, before(_Posting, "pack_id", len(pack_id)), pack_id, _voucher_index(index),
                self._category,
            )
        )  # fmt: skip
        answer = b"".join(
            (
                before(_Answer, "request_id", len(request_id)), request_id,
                before(_Answer, "redemption_id", len(id)), id, self._paid, _expires_at(moment.at + self._hold_seconds),
                moment.window, self._decider, moment.decided_at, _ANSWER_ORDER, order, self._agreement,
                _ANSWER_POSTING, number(len(posting)), posting,
            )
        )  # fmt: skip
        told = b"".join((posting, before(_Posting, "request_id", len(request_id)), request_id))
        return answer, b"".join((_SEQUENCE, number(sequence), _EVENT_POSTING, number(len(told)), told))


_Posting, _Answer = redemption_pb2.Posting, redemption_pb2.RedemptionAnswer


def _posting(**fields: Any) -> bytes:
    return _Posting(**fields).SerializeToString()


def _answer(**fields: Any) -> bytes:
    return _Answer(**fields).SerializeToString()


@lru_cache(maxsize=256)
def _expires_at(at: int) -> bytes:
    return _answer(expires_at=at)


@lru_cache(maxsize=256)
def _voucher_index(index: int) -> bytes:
    return _posting(index=index)


_FIRST = _posting(number=1)
_POSTING_ORDER, _ANSWER_ORDER = tag(_Posting, "order_fen"), tag(_Answer, "order_fen")
_ANSWER_POSTING = _answer(posting=_Posting())[:-1]
_EVENT_POSTING = custody_pb2.FeedEvent(posting=_Posting()).SerializeToString()[:-1]
_SEQUENCE = tag(custody_pb2.FeedEvent, "sequence")
