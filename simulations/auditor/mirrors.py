"""Each node's side of what the clearinghouse posted: the same captures and refunds, the same sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from simulations.auditor.captures import CAPTURED_STATES
from simulations.auditor.databases import Book, Network, legs
from simulations.auditor.inquiry import Inquiry
from simulations.auditor.positions import owed_by_issuer

FIGURES = ("settlement_window", "issuer", "redeeming_region", "campaign", "order_fen", "discount_fen")
ItemKey = tuple[str, bytes, int]


def examine(network: Network, inquiry: Inquiry) -> None:
    for node in network.nodes.values():
        items = _items(node)
        expected = _expected(network.clearinghouse, node.name)
        _same_items(network, node, items, expected, inquiry)
        known = expected if network.quiescent else items
        _clearing(network, node, known, inquiry)
        _used_away(node, known.values(), inquiry)
        _windows(network, node, inquiry)
        if network.quiescent:
            _nothing_pending(network, node, inquiry)
            _away(network.clearinghouse, node, inquiry)


def _items(node: Book) -> dict[ItemKey, Any]:
    rows = node.rows(f"SELECT side, redemption_id, number, legs, {', '.join(FIGURES)} FROM clearing_item")
    return {(row.side, row.redemption_id, row.number): row for row in rows}


def _expected(clearinghouse: Book, region: str) -> dict[ItemKey, Any]:
    """The issuing node has a posting as its funders' side, the redeeming node as its merchants'."""
    expected: dict[ItemKey, Any] = {}
    for posting in clearinghouse.postings:
        if posting.issuer == region:
            expected[("funder", posting.redemption_id, posting.number)] = posting
        if posting.redeeming_region == region:
            expected[("merchant", posting.redemption_id, posting.number)] = posting
    return expected


def _same_items(
    network: Network, node: Book, items: dict[ItemKey, Any], expected: dict[ItemKey, Any], inquiry: Inquiry
) -> None:
    for key in sorted(items.keys() | expected.keys()):
        side, id, number = key
        place = f"{node.name}: {side} side of posting {id.hex()}/{number}"
        if key not in items:
            if network.quiescent:
                inquiry.require(False, f"{place}, {expected[key].discount_fen} fen at the clearinghouse, is missing")
        elif key not in expected:
            inquiry.require(False, f"{place}, {items[key].discount_fen} fen, is not at the clearinghouse")
        else:
            _same_figures(place, items[key], expected[key], inquiry)


def _same_figures(place: str, item: Any, posting: Any, inquiry: Inquiry) -> None:
    for name in FIGURES:
        inquiry.equal(f"{place}, {name}", getattr(item, name), getattr(posting, name), "")
    inquiry.equal(f"{place}, legs", legs(item.legs), legs(posting.legs), "")


def _clearing(network: Network, node: Book, known: dict[ItemKey, Any], inquiry: Inquiry) -> None:
    """What the node says the clearinghouse owes it, against postings of windows that are not settled."""
    settled = _settled(network, node)
    owed_fen = 0
    for (side, _, _), posting in known.items():
        if posting.issuer != posting.redeeming_region and posting.settlement_window not in settled:
            owed_fen += owed_by_issuer(posting) if side == "merchant" else -owed_by_issuer(posting)
    account = f"clearing/{node.name}"
    inquiry.equal(f"{node.name}: account {account}", node.posted("clearing").get(account, 0), owed_fen)


def _settled(network: Network, node: Book) -> set[int]:
    if not network.quiescent:
        rows = node.rows("SELECT number, settled FROM settlement_window")
        return {row.number for row in rows if row.settled}
    rows = network.clearinghouse.rows("SELECT number FROM settlement_window WHERE state = 'SETTLED'")
    return {row.number for row in rows}


def _used_away(node: Book, postings: Iterable[Any], inquiry: Inquiry) -> None:
    """The mirror of the region's own legs, each posting counted once."""
    once = {(posting.redemption_id, posting.number): posting for posting in postings}
    recomputed: Counter[str] = Counter()
    for posting in once.values():
        for account, fen in legs(posting.legs):
            if account.startswith(f"funding/{node.name}/") and not account.endswith("/merchant"):
                recomputed[account.replace("funding/", "used_away/", 1)] += fen
    inquiry.same_sums(f"{node.name}: account", node.posted("used_away"), recomputed)


def _windows(network: Network, node: Book, inquiry: Inquiry) -> None:
    """Statements as they were signed, and the net that they say."""
    central = {
        row.settlement_window: row
        for row in network.clearinghouse.rows(
            "SELECT s.settlement_window, s.document, w.state, COALESCE(n.net_fen, 0) AS net_fen FROM statement s "
            "JOIN settlement_window w ON w.number = s.settlement_window "
            "LEFT JOIN net_position n ON n.settlement_window = s.settlement_window AND n.region = s.region "
            "WHERE s.region = :region",
            region=node.name,
        )
    }
    for row in node.rows("SELECT number, statement, net_fen, settled FROM settlement_window ORDER BY number"):
        place = f"{node.name}: window {row.number}"
        known = central.get(row.number)
        if known is None:
            inquiry.require(False, f"{place} has no statement at the clearinghouse")
            continue
        if row.statement is not None:
            inquiry.require(row.statement == known.document, f"{place}: not the statement of the clearinghouse")
            inquiry.equal(f"{place}, net", row.net_fen, known.net_fen)
        if network.quiescent:
            inquiry.equal(f"{place}, settled", bool(row.settled), known.state == "SETTLED", "")


def _nothing_pending(network: Network, node: Book, inquiry: Inquiry) -> None:
    """Every request sent on has its answer, every event of the feed has arrived.

    A clearinghouse that was restored numbers on from what the node has heard; the events themselves may be lost.
    """
    clearinghouse = network.clearinghouse
    waiting = [row.own_id.hex() for row in node.rows("SELECT own_id, answered FROM outbox") if not row.answered]
    inquiry.require(not waiting, f"{node.name}: {len(waiting)} requests wait for an answer: {', '.join(waiting[:3])}")
    last = "SELECT COALESCE(MAX(sequence), 0) AS last FROM feed WHERE region = :region"
    if clearinghouse.name in network.restored:
        last = "SELECT COALESCE(MAX(value), 0) AS last FROM counter WHERE name = 'feed/' || :region"
    told = clearinghouse.rows(last, region=node.name)
    heard = node.rows("SELECT value FROM counter WHERE name = 'feed'")
    inquiry.equal(f"{node.name}: last event of the feed", heard[0].value if heard else 0, told[0].last, "")


def _away(clearinghouse: Book, node: Book, inquiry: Inquiry) -> None:
    """Captures at this region's merchants as the node knows them from answers; `discount_fen` as it stands."""
    columns = "redemption_id, state, order_fen, discount_fen, refunded_order_fen"
    known = {row.redemption_id: tuple(row)[1:] for row in node.rows(f"SELECT {columns} FROM away")}
    for id, row in clearinghouse.redemptions.items():
        if row.redeeming_region == node.name and row.state in CAPTURED_STATES:
            figures = (row.state, row.order_fen, row.discount_fen - row.returned_fen, row.refunded_order_fen)
            inquiry.equal(f"{node.name}: redemption {id.hex()} away", known.get(id), figures, "")
