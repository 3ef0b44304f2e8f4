"""Postings that a clearinghouse took back, because it was restored and could not decide them again.

Two of the three parties lost what led to one. The third's books take it back by opposite movements, so that all three
say the same again; what it was is kept. What a merchant was promised by it is for people to make good: the report of
the clearinghouse's recovery names it, and so does the node's log.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chassis import telemetry
from chassis.database import Transaction
from custodian.ledger.decoding import read
from custodian.withdrawals import Withdrawal
from node import schema
from node.away import withdrawn
from node.desk import Desk
from node.redeeming import book_owed, book_used_away, count_away
from quanlian import wire
from quanlian.apportionment import Leg
from quanlian.v1 import redemption_pb2

CAPTURE = 1
"""Number of a redemption's first posting; refunds and adjusting entries follow it."""

_log = telemetry.logger("withdrawing")


def take_back(desk: Desk, sequence: int, withdrawal: Withdrawal) -> None:
    """Undo a posting on each side of it that stands in these books; event `sequence` of the feed says so.

    A later posting that got its number again, by another request, is not meant.
    """
    posting, message = withdrawal.posting, withdrawal.message
    sides = [each for each in ("funder", "merchant") if _is_meant(desk, each, posting)]
    if not sides:
        return
    opposite = tuple(Leg(leg.account, 0).plus(leg, -1) for leg in wire.legs_of(posting.legs))
    for side in sides:
        row = {"sequence": sequence, "side": side, "posting": posting.SerializeToString(), "withdrawn_at": desk.at}
        signed = {"body": message.body, "key_id": message.key_id, "signature": message.signature}
        desk.withdraw_clearing_item(_key(side, posting), row | signed)
    if "merchant" in sides:
        _take_back_from_acquirer(desk, posting, opposite)
    if "funder" in sides:
        book_used_away(desk, posting, opposite, posting.redeeming_region)
    if "merchant" in sides or posting.redeeming_region != desk.name:
        count_away(desk, posting, -1)
    _log.error(
        "a restored clearinghouse took a posting back",
        redemption=posting.redemption_id.hex(),
        number=posting.number,
        discount_fen=posting.discount_fen,
        redeeming_region=posting.redeeming_region,
        issuer=posting.issuer,
    )


def taken_back(transaction: Transaction) -> Iterator[tuple[str, redemption_pb2.Posting]]:
    """Every posting that was taken back, and on which side; none whose row cannot be read."""
    for row, posting in withdrawn_rows(transaction):
        yield row.side, posting


def withdrawn_rows(transaction: Transaction) -> Iterator[tuple[Any, redemption_pb2.Posting]]:
    """Each row with the posting that it keeps; none that cannot be read."""
    nothing = redemption_pb2.Posting()
    for row in transaction.connection.execute(schema.withdrawn_posting.select()):
        posting = read(redemption_pb2.Posting.FromString, row.posting, nothing)
        if posting.redemption_id:
            yield row, posting


def _take_back_from_acquirer(desk: Desk, posting: redemption_pb2.Posting, opposite: tuple[Leg, ...]) -> None:
    known = desk.away(posting.redemption_id)
    assert known is not None, "a posting at a merchant follows an answer"
    captured = desk.has_clearing_item(("merchant", posting.redemption_id, CAPTURE))
    book_owed(desk, known.caller, posting, opposite)
    desk.put_away(withdrawn(known, posting, captured))
    if not captured:
        desk.free_order(known.merchant, known.order_id, known.redemption_id)


def _is_meant(desk: Desk, side: str, posting: redemption_pb2.Posting) -> bool:
    """Whether the item of that number is of the same time and request. Of the merchants' side the outbox tells it."""
    kept = desk.clearing_item(_key(side, posting))
    if kept is None or kept["at"] != posting.at:
        return False
    if side == "funder":
        return bool(kept["request_id"] == posting.request_id)
    sent = desk.sent_as(posting.request_id)
    return not posting.request_id or (sent is not None and sent.answered)


def _key(side: str, posting: redemption_pb2.Posting) -> tuple[str, bytes, int]:
    return side, posting.redemption_id, posting.number
