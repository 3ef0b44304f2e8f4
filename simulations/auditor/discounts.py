"""Each discount: equal to its legs, to its postings, to the lines booked for them, and to the counted flows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from simulations.auditor.captures import CAPTURED_STATES
from simulations.auditor.databases import Book, Legs, Network, legs
from simulations.auditor.inquiry import Inquiry

COUNTED = ("captures", "order_fen", "discount_fen", "refunds", "refunded_order_fen", "refunded_fen")


def examine(network: Network, inquiry: Inquiry) -> None:
    for book in network.books:
        posted: dict[bytes, list[Any]] = defaultdict(list)
        for posting in book.postings:
            posted[posting.redemption_id].append(posting)
        for id in posted.keys() - book.redemptions.keys():
            inquiry.find(f"{book.name}: {len(posted[id])} postings name redemption {id.hex()}, which does not exist")
        for id, row in book.redemptions.items():
            place = f"{book.name}: redemption {id.hex()}"
            _legs_make_up_the_discount(place, row, inquiry)
            _postings_add_up(place, row, posted.get(id, []), inquiry)
        _flows(book, inquiry)
        _lines_of_entries(book, inquiry)


def _legs_make_up_the_discount(place: str, row: Any, inquiry: Inquiry) -> None:
    borne, standing = legs(row.legs), legs(row.standing)
    inquiry.equal(f"{place}, discount by its legs", row.discount_fen, _sum(borne))
    if row.state in ("VOIDED", "EXPIRED"):
        inquiry.equal(f"{place}, {row.state}, standing legs", _sum(standing), 0)
        return
    inquiry.equal(f"{place}, standing legs", _sum(standing), row.discount_fen - row.returned_fen)
    within = [name for name, _ in borne] == [name for name, _ in standing] and all(
        0 <= left <= whole for (_, left), (_, whole) in zip(standing, borne, strict=False)
    )
    inquiry.require(within, f"{place}: standing legs {standing} do not fit the legs {borne}")
    inquiry.require(
        0 <= row.discount_fen <= row.order_fen,
        f"{place}: a discount of {row.discount_fen} fen on an order of {row.order_fen} fen",
    )


def _postings_add_up(place: str, row: Any, postings: Sequence[Any], inquiry: Inquiry) -> None:
    """A capture with the redemption's own figures, then refunds; nothing for what was never captured."""
    captured = row.state in CAPTURED_STATES
    inquiry.equal(f"{place}, {row.state}, postings", len(postings), row.postings if captured else 0, "")
    for number, posting in enumerate(postings, 1):
        which = f"{place}, posting {posting.number}"
        fits = posting.number == number and posting.kind == ("capture" if number == 1 else "refund")
        inquiry.require(fits, f"{which} is a {posting.kind} in place {number}")
        inquiry.equal(f"{which}, discount by its legs", posting.discount_fen, _sum(legs(posting.legs)))
        if number > 1 and max(posting.discount_fen, posting.order_fen) > 0:
            inquiry.find(f"{which}: a refund of {-posting.discount_fen} fen of an order of {-posting.order_fen} fen")
    if not captured or not postings:
        return
    inquiry.equal(f"{place}, captured discount", postings[0].discount_fen, row.discount_fen)
    inquiry.equal(f"{place}, captured order", postings[0].order_fen, row.order_fen)
    inquiry.same_sums(f"{place}, captured leg", _by_account(legs(postings[0].legs)), _by_account(legs(row.legs)))
    left_fen = row.discount_fen - row.returned_fen
    inquiry.equal(f"{place}, discount by its postings", sum(each.discount_fen for each in postings), left_fen)
    _returns_leave_the_shopper_what_was_paid(place, row, postings[1:], inquiry)
    left_order_fen = row.order_fen - row.refunded_order_fen
    inquiry.equal(f"{place}, order by its postings", sum(each.order_fen for each in postings), left_order_fen)
    together = _by_account(tuple(leg for each in postings for leg in legs(each.legs)))
    inquiry.same_sums(f"{place}, standing leg", _by_account(legs(row.standing)), together)
    state = "CAPTURED" if not row.refunded_order_fen else "REFUNDED" if not left_order_fen else "PARTLY_REFUNDED"
    inquiry.equal(f"{place}, state", row.state, state, "")


def _returns_leave_the_shopper_what_was_paid(place: str, row: Any, refunds: Sequence[Any], inquiry: Inquiry) -> None:
    """Whatever a dispute moved between funders and the redeeming region: it is a refund of no part of the order."""
    undisputed = all(each.order_fen for each in refunds)
    withheld_fen = row.refunded_order_fen - row.shopper_fen
    if row.refunded_order_fen == row.order_fen:
        inquiry.equal(f"{place}, shopper's part of a full return", row.shopper_fen, row.order_fen - row.discount_fen)
    elif undisputed:
        inquiry.equal(f"{place}, withheld from the shopper", withheld_fen, row.returned_fen)
    else:
        by_returns_fen = -sum(each.discount_fen for each in refunds if each.order_fen)
        inquiry.require(
            by_returns_fen <= withheld_fen <= row.returned_fen,
            f"{place}: {withheld_fen} fen withheld from the shopper, {by_returns_fen} fen of returns went to funders, "
            f"who got {row.returned_fen} fen back in all",
        )


def _flows(book: Book, inquiry: Inquiry) -> None:
    """The counted flows of each window against single captures and refunds."""
    recomputed: Counter[tuple[Any, ...]] = Counter()
    for posting in book.postings:
        key = (posting.settlement_window, posting.issuer, posting.redeeming_region, posting.campaign)
        first = 0 if posting.kind == "capture" else 3
        figures = (1, abs(posting.order_fen), abs(posting.discount_fen))
        for column, figure in zip(COUNTED[first : first + 3], figures, strict=True):
            recomputed[(*key, column)] += figure
    said = {
        (row.settlement_window, row.issuer, row.redeeming_region, row.campaign, column): getattr(row, column)
        for row in book.rows("SELECT * FROM flow")
        for column in COUNTED
    }
    inquiry.same_sums(f"{book.name}: flow of window", said, recomputed)


def _lines_of_entries(book: Book, inquiry: Inquiry) -> None:
    """What each entry booked on funders, merchants' shares and claims against the legs of the entry's postings."""
    recomputed: Counter[tuple[int, str]] = Counter()
    for posting in book.postings:
        for account, fen in legs(posting.legs):
            recomputed[(posting.entry, account)] += fen
            if account.endswith("/merchant"):
                recomputed[(posting.entry, f"borne/{posting.redeeming_region}/{posting.campaign}")] -= fen
            elif book.is_clearinghouse:
                recomputed[(posting.entry, f"reimbursement/{posting.redeeming_region}")] -= fen
    entries = {posting.entry for posting in book.postings}
    said: Counter[tuple[int, str]] = Counter()
    for line in book.rows(
        "SELECT entry, account, posted_fen FROM line WHERE posted_fen <> 0 AND (account LIKE 'funding/%' "
        "OR account LIKE 'borne/%' OR account LIKE 'reimbursement/%')"
    ):
        if not line.account.startswith("reimbursement/") or line.entry in entries:
            said[(line.entry, line.account)] += line.posted_fen
    inquiry.same_sums(f"{book.name}: lines of entry", said, recomputed)
    windows = {row.number: row.settlement_window for row in book.rows("SELECT number, settlement_window FROM entry")}
    for posting in book.postings:
        place = f"{book.name}: posting {posting.redemption_id.hex()}/{posting.number}, window of its entry"
        inquiry.equal(place, posting.settlement_window, windows.get(posting.entry), "")


def _sum(of: Legs) -> int:
    return sum(fen for _, fen in of)


def _by_account(of: Legs) -> Counter[str]:
    sums: Counter[str] = Counter()
    for account, fen in of:
        sums[account] += fen
    return sums
