"""Captures against the holds that their platforms were promised: before the hold's end, and of what was held."""

from __future__ import annotations

from typing import Any

from quanlian.v1 import redemption_pb2
from simulations.auditor.captures import CAPTURED_STATES
from simulations.auditor.databases import Book, Legs, Network, legs
from simulations.auditor.inquiry import Inquiry
from simulations.auditor.proportions import in_proportion, less


def examine(network: Network, inquiry: Inquiry) -> None:
    """Of a voucher redeemed at once, only that it was captured while its hold would have been good."""
    for book in network.books:
        captures = {each.redemption_id: each for each in book.postings if each.kind == "capture"}
        promised = _promised(book)
        for id, row in book.redemptions.items():
            if row.state not in CAPTURED_STATES or id not in captures:
                continue
            place, capture = f"{book.name}: redemption {id.hex()}", captures[id]
            hold = promised.get(id)
            if hold is not None:
                inquiry.equal(f"{place}, end of its hold", row.expires_at, hold.expires_at, "")
                _releases(place, hold, capture, inquiry)
            inquiry.require(
                max(row.captured_at, capture.at) < row.expires_at,
                f"{place} is captured at {capture.at}, and its hold ended at {row.expires_at}",
            )


def _promised(book: Book) -> dict[bytes, redemption_pb2.RedemptionAnswer]:
    """What was answered to the authorize of each redemption that was captured, by its id."""
    rows = book.rows("SELECT redemption_id, answer FROM request WHERE operation = 'authorize'")
    return {
        row.redemption_id: redemption_pb2.RedemptionAnswer.FromString(row.answer)
        for row in rows
        if row.redemption_id in book.redemptions and book.redemptions[row.redemption_id].state in CAPTURED_STATES
    }


def _releases(place: str, hold: redemption_pb2.RedemptionAnswer, capture: Any, inquiry: Inquiry) -> None:
    """Of a smaller order, `D·(O−c) div O` is free again, leg by leg in proportion as held (money.md, Refunds)."""
    held: Legs = tuple((leg.account, leg.amount_fen) for leg in hold.legs)
    inquiry.require(
        0 < capture.order_fen <= hold.order_fen,
        f"{place}: {capture.order_fen} fen are captured of an order of {hold.order_fen} fen on hold",
    )
    left_out_fen = hold.order_fen - capture.order_fen
    released_fen = hold.discount_fen * left_out_fen // hold.order_fen if hold.order_fen else 0
    inquiry.equal(f"{place}, captured discount", capture.discount_fen, hold.discount_fen - released_fen)
    taken = less(held, in_proportion(released_fen, held))
    inquiry.equal(f"{place}, captured legs", legs(capture.legs), taken, "")
