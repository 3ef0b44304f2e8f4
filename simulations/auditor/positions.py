"""Each settlement window: net positions sum to zero and follow from the captures and refunds of that window."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

from simulations.auditor.databases import Book, Network, legs
from simulations.auditor.inquiry import Inquiry

Pair = tuple[str, str]
BEFORE_CALCULATION = ("OPEN", "CLOSED")


def owed_by_window(clearinghouse: Book) -> dict[int, Counter[Pair]]:
    """What each issuing region owes each redeeming one, from single postings: window → (debtor, creditor) → fen."""
    windows: dict[int, Counter[Pair]] = defaultdict(Counter)
    for posting in clearinghouse.postings:
        if posting.issuer is not None and posting.issuer != posting.redeeming_region:
            windows[posting.settlement_window][(posting.issuer, posting.redeeming_region)] += owed_by_issuer(posting)
    return windows


def owed_by_issuer(posting: Any) -> int:
    """The part of a posting that the issuing region's side bears."""
    own = f"funding/{posting.issuer}/"
    return sum(fen for account, fen in legs(posting.legs) if account.startswith(own) and not _is_merchants(account))


def positions_of(owed: Counter[Pair]) -> Counter[str]:
    """Each region's position, positive receiving."""
    net: Counter[str] = Counter()
    for (debtor, creditor), fen in owed.items():
        net[debtor] -= fen
        net[creditor] += fen
    return net


def examine(network: Network, inquiry: Inquiry) -> None:
    book = network.clearinghouse
    owed = owed_by_window(book)
    bilateral: dict[int, Counter[Pair]] = defaultdict(Counter)
    for row in book.rows("SELECT settlement_window, debtor, creditor, amount_fen FROM bilateral"):
        bilateral[row.settlement_window][(row.debtor, row.creditor)] += row.amount_fen
    net: dict[int, Counter[str]] = defaultdict(Counter)
    for row in book.rows("SELECT settlement_window, region, net_fen FROM net_position"):
        net[row.settlement_window][row.region] += row.net_fen
    windows = {row.number: row for row in book.rows("SELECT number, state, gross_fen FROM settlement_window")}
    for number in sorted({*owed, *bilateral, *net} - windows.keys()):
        inquiry.find(f"clearinghouse: window {number} has postings or positions and does not exist")
    for number, window in sorted(windows.items()):
        place = f"clearinghouse: window {number}"
        total_fen = sum(net[number].values())
        inquiry.require(total_fen == 0, f"{place}: net positions sum to {total_fen} fen instead of 0")
        if window.state not in BEFORE_CALCULATION:
            inquiry.same_sums(
                f"{place}, net position by bilateral sums of", net[number], positions_of(bilateral[number])
            )
            inquiry.same_sums(f"{place}, net position by postings of", net[number], positions_of(owed[number]))
            gross_fen = sum(map(abs, bilateral[number].values()))
            inquiry.equal(f"{place}, gross amount", window.gross_fen, gross_fen)
    _statements(book, net, inquiry)
    _exposures(book, owed, windows, inquiry)


def _statements(book: Book, net: dict[int, Counter[str]], inquiry: Inquiry) -> None:
    """What was signed is what was calculated."""
    for row in book.rows("SELECT settlement_window, region, document FROM statement"):
        document = json.loads(row.document)
        place = f"clearinghouse: statement of window {row.settlement_window} for {row.region}"
        inquiry.equal(f"{place}, net", document["net_fen"], net[row.settlement_window][row.region])
        named = (document["window"], document["region"])
        inquiry.equal(f"{place}, named", named, (row.settlement_window, row.region), "")


def _exposures(book: Book, owed: dict[int, Counter[Pair]], windows: dict[int, Any], inquiry: Inquiry) -> None:
    """What stands against the net debit caps: debts and claims of windows not yet settled, and debts on hold."""
    debts: Counter[str] = Counter()
    claims: Counter[str] = Counter()
    for number, pairs in owed.items():
        if number in windows and windows[number].state != "SETTLED":
            for (debtor, creditor), fen in pairs.items():
                debts[debtor] += fen
                claims[creditor] += fen
    holds: Counter[str] = Counter()
    for row in book.redemptions.values():
        if row.state == "AUTHORIZED" and row.issuer != row.redeeming_region:
            holds[row.issuer] += owed_by_issuer(row)
    for row in book.rows("SELECT region, owed_held_fen, owed_posted_fen, due_posted_fen FROM participant"):
        place = f"clearinghouse: participant {row.region}"
        inquiry.equal(f"{place}, owed_held_fen", row.owed_held_fen, holds[row.region])
        inquiry.equal(f"{place}, owed_posted_fen", row.owed_posted_fen, debts[row.region])
        inquiry.equal(f"{place}, due_posted_fen", row.due_posted_fen, claims[row.region])


def examine_caps(network: Network, inquiry: Inquiry) -> None:
    """No region owes more than its cap, where nobody lowered a cap or let claims of its own count (`credit_offset`)."""
    book = network.clearinghouse
    columns = "region, net_debit_cap_fen, owed_held_fen, owed_posted_fen"
    for row in book.rows(f"SELECT {columns} FROM participant WHERE credit_offset_bp = 0"):
        owed_fen = row.owed_held_fen + row.owed_posted_fen
        inquiry.require(
            owed_fen <= row.net_debit_cap_fen,
            f"clearinghouse: {row.region} owes {owed_fen} fen, more than its cap of {row.net_debit_cap_fen} fen",
        )


def _is_merchants(account: str) -> bool:
    return account.endswith("/merchant")
