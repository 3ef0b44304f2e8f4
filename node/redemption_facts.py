"""What a node's own tables know of a redemption, for `quanlian settlement explain`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from chassis.database import Transaction
from custodian.book_rows import json_to_legs
from custodian.settlement.facts import PartyFacts
from node import schema
from node.desk import reservation_of_pack
from pki.identity import CLEARINGHOUSE
from quanlian.apportionment import Reservation
from quanlian.mirrored_story import Mirrored
from quanlian.redemptions import Posting, State
from quanlian.story_steps import Window
from quanlian.terms import Terms, VoucherType
from quanlian.terms_parsing import parse_terms
from quanlian.v1.redemption_pb2 import RedemptionRecord
from quanlian.v1.settlement_pb2 import DisputeDecision
from quanlian.vouchers import VoucherKey


def _terms(transaction: Transaction, terms_hash: bytes) -> bytes | None:
    table = schema.terms
    rows = transaction.select_keys(table, [table.c.terms_hash], [(terms_hash,)])
    return bytes(rows[0].document) if rows else None


def _reserved(transaction: Transaction, key: VoucherKey) -> Reservation | None:
    """As the claim reserved it."""
    table = schema.pack
    for row in transaction.select_keys(table, [table.c.pack_id], [(key.pack_id,)]):
        return reservation_of_pack(row, key.voucher_index)
    return None


def _window(transaction: Transaction, number: int) -> Window:
    """As far as a node knows: home redemptions belong to no window, and those of the clearinghouse it hears of."""
    table = schema.settlement_window
    for row in transaction.select_keys(table, [table.c.number], [(number,)]):
        if row.settled:
            return Window(number, "SETTLED")
        if row.confirmed:
            return Window(number, "CONFIRMED_HERE")
        return Window(number, "CALCULATED" if row.statement is None else "STATEMENT_RECEIVED")
    return Window(number, "OPEN")


def _mirrored(transaction: Transaction, redemption_id: bytes) -> Mirrored | None:
    """A use away by what the feed and the clearinghouse's answers told: of either region's own side, or both."""
    item, away = schema.clearing_item, schema.away
    query = item.select().where(item.c.redemption_id == redemption_id).order_by(item.c.number, item.c.side)
    rows = {row.number: row for row in transaction.connection.execute(query)}
    ours = next(iter(transaction.select_keys(away, [away.c.redemption_id], [(redemption_id,)])), None)
    record = RedemptionRecord.FromString(ours.particulars) if ours else RedemptionRecord()
    first = next(iter(rows.values()), None)
    if first is None and not record.issuer:
        return None
    postings = tuple(map(_posting, rows.values()))
    windows = sorted({each.window for each in postings})
    key = VoucherKey(
        first.issuer if first else record.issuer,
        first.pack_id if first else record.pack_id,
        first.voucher_index if first else record.index,
    )
    terms, voucher_type = _issued_under(transaction, key)
    return Mirrored(
        decider=CLEARINGHOUSE,
        issuer=key.issuer,
        redeeming_region=first.redeeming_region if first else record.redeeming_region,
        campaign=first.campaign if first else record.campaign,
        state=ours.state if ours else _state(postings).name,
        postings=postings,
        windows=tuple(_window(transaction, number) for number in windows),
        terms=terms,
        voucher_type=voucher_type,
        reserved=_reserved(transaction, key),
        merchant=ours.merchant if ours else "",
        order_id=ours.order_id if ours else "",
        agreement=record.agreement,
        disputes=_disputes(transaction, redemption_id, postings),
    )


def _disputes(transaction: Transaction, redemption_id: bytes, postings: Sequence[Posting]) -> dict[int, str]:
    """The dispute that each adjusting entry follows, by the posting's number: decisions tell window and amount."""
    waiting = [each for each in postings if each.kind == "refund" and not each.order_fen]
    table, named = schema.dispute_decision, dict[int, str]()
    if not waiting:
        return named
    decisions = [DisputeDecision.FromString(row.body) for row in transaction.connection.execute(table.select())]
    for decision in sorted(decisions, key=lambda each: each.at):
        for booked in decision.booked:
            figures = (booked.window, -booked.amount_fen)
            meant = [each for each in waiting if (each.window, each.discount_fen) == figures]
            if booked.redemption_id == redemption_id and meant:
                named[meant[0].number] = f"{decision.dispute.region}/{decision.dispute.number}"
                waiting.remove(meant[0])
    return named


def _posting(row: Any) -> Posting:
    kind = "capture" if row.discount_fen >= 0 and row.order_fen > 0 else "refund"
    legs, window = json_to_legs(row.legs), row.settlement_window
    return Posting(row.redemption_id, row.number, kind, row.order_fen, row.discount_fen, legs, window, row.at)


def _state(postings: Sequence[Posting]) -> State:
    """As captures and refunds of the order leave it."""
    left_fen = sum(each.order_fen for each in postings)
    returned = any(each.order_fen < 0 for each in postings)
    return State.CAPTURED if not returned else State.PARTLY_REFUNDED if left_fen else State.REFUNDED


def _issued_under(transaction: Transaction, key: VoucherKey) -> tuple[Terms | None, VoucherType | None]:
    """The terms that its pack was issued under, and its type by them; None at a node that did not issue it."""
    table = schema.pack
    for row in transaction.select_keys(table, [table.c.pack_id], [(key.pack_id,)]):
        document = _terms(transaction, row.terms_hash)
        if document is not None:
            terms, number = parse_terms(document, "terms"), int(json.loads(row.voucher_types)[key.voucher_index])
            return terms, terms.voucher_types[number - 1]
    return None, None


FACTS = PartyFacts(
    "pack", _terms, lambda transaction, name: None, _reserved, lambda transaction, id: None, _window, _mirrored
)
