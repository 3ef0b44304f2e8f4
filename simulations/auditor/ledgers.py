"""Each ledger: entries sum to zero, accounts and running totals are the sums of their lines, nothing is missing."""

from __future__ import annotations

from collections import Counter
from typing import Any

from simulations.auditor.databases import Book, Network, legs
from simulations.auditor.inquiry import Inquiry

MEMO_KINDS = ("ceiling/", "advance/", "advance_away/")
"""Accounts outside the double entry."""

MEMO = " OR ".join(f"account LIKE '{kind}%'" for kind in MEMO_KINDS)
AMOUNTS = ("posted_fen", "reserved_fen", "held_fen", "limit_fen")


def examine(network: Network, inquiry: Inquiry) -> None:
    for book in network.books:
        _entries(book, inquiry)
        _accounts(book, inquiry)
        _turnovers(book, inquiry)


def _entries(book: Book, inquiry: Inquiry) -> None:
    """Numbered without a gap, each summing to zero."""
    numbers = [row.number for row in book.rows("SELECT number FROM entry ORDER BY number")]
    counters = book.rows("SELECT value FROM counter WHERE name = 'entry'")
    last = counters[0].value if counters else 0
    missing = sorted({*range(1, last + 1)} ^ {*numbers})
    inquiry.require(not missing, f"{book.name}: the journal numbers {last} entries and does not fit at {_few(missing)}")
    known = set(numbers)
    for row in book.rows(
        f"SELECT entry, SUM(CASE WHEN {MEMO} THEN 0 ELSE posted_fen END) AS fen FROM line GROUP BY entry ORDER BY entry"
    ):
        inquiry.require(
            row.entry in known and row.fen == 0,
            f"{book.name}: lines of entry {row.entry} sum to {int(row.fen)} fen"
            + ("" if row.entry in known else ", and there is no such entry"),
        )


def _accounts(book: Book, inquiry: Inquiry) -> None:
    """Each account's four amounts against its lines, and all that is posted against zero."""
    sums = {
        row.account: row
        for row in book.rows(
            "SELECT account, SUM(posted_fen) AS posted_fen, SUM(reserved_fen) AS reserved_fen, "
            "SUM(held_fen) AS held_fen, SUM(limit_fen) AS limit_fen FROM line GROUP BY account"
        )
    }
    for account in sorted({*sums, *book.accounts}):
        said, recomputed = _amounts(book.accounts.get(account)), _amounts(sums.get(account))
        for amount, one, other in zip(AMOUNTS, said, recomputed, strict=True):
            inquiry.equal(f"{book.name}: {amount} of account {account}", one, other)
    whole = sum(row.posted_fen for row in book.accounts.values() if not row.account.startswith(MEMO_KINDS))
    inquiry.require(whole == 0, f"{book.name}: all accounts together are posted {whole} fen instead of 0")


def _turnovers(book: Book, inquiry: Inquiry) -> None:
    said = book.rows("SELECT settlement_window, account, counterpart, posted_fen FROM turnover")
    recomputed = book.rows(
        "SELECT e.settlement_window, l.account, l.counterpart, SUM(l.posted_fen) AS posted_fen "
        "FROM line l JOIN entry e ON e.number = l.entry GROUP BY e.settlement_window, l.account, l.counterpart"
    )
    inquiry.same_sums(f"{book.name}: turnover of window", _by_key(said), _by_key(recomputed))
    _given_back(book, inquiry)


def _given_back(book: Book, inquiry: Inquiry) -> None:
    """What running totals say that refunds gave back to each funder, against the refunds themselves."""
    rows = book.rows(
        "SELECT settlement_window, account, counterpart, refunded_fen FROM turnover WHERE refunded_fen <> 0"
    )
    said = {(row.settlement_window, row.account, row.counterpart): int(row.refunded_fen) for row in rows}
    recomputed: Counter[tuple[int, str, str]] = Counter()
    for posting in book.postings:
        if posting.kind == "refund":
            for account, fen in legs(posting.legs):
                bears_at = account.split("/")[1]
                other = posting.redeeming_region if bears_at == posting.issuer else posting.issuer
                recomputed[posting.settlement_window, account, other] -= fen
    inquiry.same_sums(f"{book.name}: refunds in the turnover of window", said, recomputed)


def _by_key(rows: Any) -> dict[tuple[int, str, str], int]:
    return {(row.settlement_window, row.account, row.counterpart): int(row.posted_fen) for row in rows}


def _amounts(row: Any) -> tuple[int, ...]:
    if row is None:
        return (0, 0, 0, 0)
    return int(row.posted_fen), int(row.reserved_fen), int(row.held_fen), int(row.limit_fen)


def _few(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    return f"{shown}, …" if len(numbers) > 5 else shown
