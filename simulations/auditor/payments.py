"""Each dedicated account: what came in, what went out and to whom, against single rows and the ledger."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from simulations.auditor.databases import Book, Network, legs
from simulations.auditor.inquiry import Inquiry


def examine(network: Network, inquiry: Inquiry) -> None:
    _clearinghouse(network.clearinghouse, inquiry)
    for node in network.nodes.values():
        receipts = node.rows("SELECT bank_reference, account, amount_fen FROM bank_receipt")
        rows = node.rows(
            "SELECT number, kind, payee, amount_fen, items, deposit, bank_reference, returned_reference FROM payment"
        )
        payments = [row for row in rows if not row.returned_reference]
        paid = [payment for payment in payments if payment.bank_reference]
        sent_back = [row for row in rows if row.returned_reference]
        for row in sent_back:
            inquiry.require(bool(row.bank_reference), f"{node.name}: payment {row.number} was returned, and never made")
        _acquirers(node, paid, inquiry)
        _bank(node, receipts, paid, inquiry)
        _funders(node, receipts, paid, sent_back, inquiry)
        _returns(node, receipts, payments, inquiry)


def _clearinghouse(book: Book, inquiry: Inquiry) -> None:
    """No region is paid what is not there: the bank holds what regions have less what others owe them in arrears."""
    bank, suspense = book.posted("bank").get(f"bank/{book.name}", 0), book.accounts.get("suspense")
    balances = {account.partition("/")[2]: -fen for account, fen in book.posted("settlement").items()}
    arrears_fen = sum(book.posted("arrears").values())
    purses = {account: -fen for account, fen in book.posted("prefund").items()}
    held_fen = sum(balances.values()) + sum(purses.values()) - arrears_fen - (suspense.posted_fen if suspense else 0)
    inquiry.equal(f"{book.name}: account bank/{book.name}", bank, held_fen)
    inquiry.require(bank >= 0, f"{book.name}: account bank/{book.name} is overdrawn by {-bank} fen")
    _purses(book, purses, inquiry)
    withheld = {row.region: row.withheld_fen for row in book.rows("SELECT region, withheld_fen FROM participant")}
    inquiry.equal(f"{book.name}: withheld from all regions", sum(withheld.values()), arrears_fen)
    for region, fen in withheld.items():
        there = balances.get(region, 0)
        beyond = f"{book.name}: {fen} fen are withheld of {region}'s balance of {there} fen"
        inquiry.require(0 <= fen <= there, beyond)


def _purses(book: Book, purses: dict[str, int], inquiry: Inquiry) -> None:
    """What a funder paid ahead stands there less what went back, and what settled windows of its use took: of each
    its use, while it lasts.
    """
    left: Counter[str] = Counter()
    for row in book.rows("SELECT account, amount_fen FROM deposit WHERE account LIKE 'prefund/%'"):
        left[row.account] += row.amount_fen
    for row in book.rows("SELECT account, amount_fen FROM prefund_return"):
        left[row.account] -= row.amount_fen
    used: Counter[tuple[int, str]] = Counter()
    for row in book.rows("SELECT settlement_window, account, posted_fen FROM turnover WHERE account LIKE 'funding/%'"):
        used[row.settlement_window, f"prefund/{_funder(row.account)}"] += row.posted_fen
    taken = book.rows(
        "SELECT e.reference, l.account, l.posted_fen FROM entry e JOIN line l ON l.entry = e.number "
        "WHERE e.kind = 'prefund' AND l.account LIKE 'prefund/%'"
    )
    for row in taken:
        window = int(row.reference.removeprefix("window "))
        left[row.account] -= row.posted_fen
        beyond = f"{book.name}: {row.posted_fen} fen of {row.account} paid for a use of {used[window, row.account]} fen"
        inquiry.require(0 < row.posted_fen <= used[window, row.account], beyond)
    inquiry.same_sums(f"{book.name}: account", purses, left)
    for account, fen in purses.items():
        inquiry.require(fen >= 0, f"{book.name}: {account} is overdrawn by {-fen} fen")


def _acquirers(node: Book, paid: list[Any], inquiry: Inquiry) -> None:
    """What each acquirer advanced to merchants, less what it was paid, is what the region owes it."""
    acquirers = {id: row.acquirer for id, row in node.redemptions.items()}
    owed: Counter[str] = Counter()
    for posting in node.postings:
        owed[f"payable/{acquirers.get(posting.redemption_id, '?')}"] -= _without_merchants(posting.legs)
    for row in node.rows(
        "SELECT a.caller, i.legs FROM clearing_item i JOIN away a ON a.redemption_id = i.redemption_id "
        "WHERE i.side = 'merchant'"
    ):
        owed[f"payable/{row.caller}"] -= _without_merchants(row.legs)
    for payment in paid:
        if payment.kind == "acquirer":
            owed[f"payable/{payment.payee}"] += payment.amount_fen
    inquiry.same_sums(f"{node.name}: account", node.posted("payable"), owed)


def _bank(node: Book, receipts: Any, paid: list[Any], inquiry: Inquiry) -> None:
    came, went = sum(row.amount_fen for row in receipts), sum(payment.amount_fen for payment in paid)
    inquiry.same_sums(f"{node.name}: account", node.posted("bank"), {f"bank/{node.name}": came - went})
    unmatched = -sum(row.amount_fen for row in receipts if row.account == "suspense")
    suspense = node.accounts.get("suspense")
    inquiry.equal(f"{node.name}: account suspense", suspense.posted_fen if suspense else 0, unmatched)


def _funders(node: Book, receipts: Any, paid: list[Any], sent_back: list[Any], inquiry: Inquiry) -> None:
    """What a funder paid ahead is used and settled, given back, or there; what is settled was used.

    It may lack what refunds gave back in payments that the bank returned: that may have been used in between.
    """
    settled: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for receipt in receipts:
        if receipt.account.startswith("prefund/"):
            left[receipt.account] -= receipt.amount_fen
    for row in node.rows("SELECT account, drawn_fen, drawn_there_fen FROM away_use WHERE drawn_fen <> 0"):
        settled[_funder(row.account)] += row.drawn_fen
        left[f"prefund/{_funder(row.account)}"] -= row.drawn_there_fen
    for payment in paid:
        for window, account, fen in json.loads(payment.items):
            if payment.kind == "acquirer" and window == 0:
                settled[_funder(account)] += fen
            elif payment.kind == "return":
                left[f"prefund/{_funder(account)}"] += fen
    for funder, fen in settled.items():
        left[f"prefund/{funder}"] += fen
    contributions = {f"contribution/{funder}": -fen for funder, fen in settled.items()}
    inquiry.same_sums(f"{node.name}: account", node.posted("contribution"), contributions)
    inquiry.same_sums(f"{node.name}: account", node.posted("prefund"), left)
    lacking: Counter[str] = Counter()
    for payment in sent_back:
        for _, account, fen in json.loads(payment.items):
            lacking[f"prefund/{_funder(account)}"] += max(0, -fen)
    for account, fen in node.posted("prefund").items():
        beyond = f"{node.name}: {account} was drawn {fen} fen beyond what was paid ahead"
        inquiry.require(fen <= lacking[account], beyond)


def _returns(node: Book, receipts: Any, payments: Any, inquiry: Inquiry) -> None:
    """Nothing more goes back than the deposit that it is of brought."""
    came = {row.bank_reference: row.amount_fen for row in receipts}
    back: Counter[str] = Counter()
    for payment in payments:
        if payment.kind == "return":
            back[payment.deposit] += payment.amount_fen
    for deposit, fen in back.items():
        came_fen = came.get(deposit, 0)
        inquiry.require(fen <= came_fen, f"{node.name}: {fen} fen of deposit {deposit} went back, {came_fen} came")


def _without_merchants(text: str) -> int:
    return sum(fen for account, fen in legs(text) if not account.endswith("/merchant"))


def _funder(account: str) -> str:
    return account.removeprefix("funding/")
