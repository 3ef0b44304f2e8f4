"""What each refund gave back to each funder, from the legs as they stood before it (money.md, Refunds)."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from simulations.auditor.databases import Book, Network, legs
from simulations.auditor.inquiry import Inquiry
from simulations.auditor.proportions import in_proportion, less


def examine(network: Network, inquiry: Inquiry) -> None:
    for book in network.books:
        policies = _Policies(book)
        posted: dict[bytes, list[Any]] = defaultdict(list)
        for posting in book.postings:
            posted[posting.redemption_id].append(posting)
        for id, (capture, *refunds) in posted.items():
            place = f"{book.name}: redemption {id.hex()}"
            inquiry.require(capture.kind == "capture", f"{place}: its first posting is a {capture.kind}")
            if refunds:
                _in_proportion(place, capture, refunds, inquiry)
            if refunds and policies.of(book.redemptions.get(id)) == "pro-rata":
                _as_much_as_due(place, capture, refunds, inquiry)


def _in_proportion(place: str, capture: Any, refunds: Sequence[Any], inquiry: Inquiry) -> None:
    standing = legs(capture.legs)
    for refund in refunds:
        given = tuple((account, -fen) for account, fen in legs(refund.legs))
        parts = in_proportion(-refund.discount_fen, standing)
        due = tuple((account, part) for (account, _), part in zip(standing, parts, strict=True))
        inquiry.equal(f"{place}, posting {refund.number}, given back by leg", given, due, "")
        standing = less(standing, parts)


def _as_much_as_due(place: str, capture: Any, refunds: Sequence[Any], inquiry: Inquiry) -> None:
    """`D·ρ div O` of the discount in total, at most the goods of each return; an adjusting entry gave of it before."""
    returned_fen = refunded_order_fen = 0
    for refund in refunds:
        order_fen = -refund.order_fen
        refunded_order_fen += order_fen
        if order_fen:
            due_fen = capture.discount_fen * refunded_order_fen // capture.order_fen
            due_fen = max(0, min(due_fen - returned_fen, order_fen))
            inquiry.equal(f"{place}, posting {refund.number}, given back", -refund.discount_fen, due_fen)
        returned_fen -= refund.discount_fen


class _Policies:
    """Refund policies by the published terms; read where something was refunded."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._by_terms: dict[bytes, str] | None = None

    def of(self, redemption: Any) -> str:
        if redemption is None:
            return ""
        if self._by_terms is None:
            rows = self._book.rows("SELECT terms_hash, document FROM terms")
            self._by_terms = {row.terms_hash: _policy(row.document) for row in rows}
        return self._by_terms.get(redemption.terms_hash, "")


@lru_cache(maxsize=256)
def _policy(document: bytes) -> str:
    return str(tomllib.loads(document.decode())["campaign"].get("refund_policy", "pro-rata"))
