"""Running totals by hour, regions, campaign and category against the single captures and refunds behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from simulations.auditor.databases import Book, Network
from simulations.auditor.inquiry import Inquiry

HOUR_SECONDS = 3600
FIGURES = ("captures", "order_fen", "discount_fen", "refunds", "refunded_order_fen", "refunded_fen")
Key = tuple[Any, ...]


def examine(network: Network, inquiry: Inquiry) -> None:
    """Each party's totals are of what it decided; a node's also of what the clearinghouse decided for its region."""
    central = network.clearinghouse
    _compare(central, _by_hour(central.postings), inquiry)
    for node in network.nodes.values():
        if network.quiescent:
            away = [each for each in central.postings if node.name in (each.issuer, each.redeeming_region)]
            _compare(node, _by_hour(node.postings) + _by_hour(away), inquiry)
        else:
            _compare_heard(node, inquiry)


def _compare(book: Book, recomputed: Counter[Key], inquiry: Inquiry) -> None:
    inquiry.same_sums(f"{book.name}: hourly flow", _stored(book), recomputed)


def _compare_heard(node: Book, inquiry: Inquiry) -> None:
    """While postings are on their way: what the node decided, and what it has heard of so far, whatever the hour."""
    items = node.rows(
        "SELECT DISTINCT redemption_id, number, issuer, redeeming_region, campaign, order_fen, discount_fen "
        "FROM clearing_item"
    )
    said: Counter[Key] = Counter()
    for (_, issuer, redeemer, campaign, _, figure), amount in _stored(node).items():
        said[(issuer, redeemer, campaign, figure)] += amount
    recomputed: Counter[Key] = Counter()
    for each in (*node.postings, *items):
        _add(recomputed, (each.issuer, each.redeeming_region, each.campaign), each)
    inquiry.same_sums(f"{node.name}: hourly flow over all hours", said, recomputed)


def _stored(book: Book) -> Counter[Key]:
    stored: Counter[Key] = Counter()
    for row in book.rows("SELECT * FROM hourly_flow"):
        key = (row.hour, row.issuer, row.redeeming_region, row.campaign, row.category)
        for figure in FIGURES:
            stored[(*key, figure)] = getattr(row, figure)
    return stored


def _by_hour(postings: Iterable[Any]) -> Counter[Key]:
    sums: Counter[Key] = Counter()
    for each in postings:
        hour = each.at // HOUR_SECONDS * HOUR_SECONDS
        _add(sums, (hour, each.issuer, each.redeeming_region, each.campaign, each.category), each)
    return sums


def _add(sums: Counter[Key], key: Key, posting: Any) -> None:
    """A refund's amounts are negative."""
    names = FIGURES[:3] if posting.order_fen > 0 else FIGURES[3:]
    for name, amount in zip(names, (1, abs(posting.order_fen), abs(posting.discount_fen)), strict=True):
        sums[(*key, name)] += amount
