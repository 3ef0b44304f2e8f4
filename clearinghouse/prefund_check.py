"""What funders paid ahead at the clearinghouse, for `quanlian ledger check`: replayed from deposits and windows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import sqlalchemy as sa

from chassis.database import Transaction
from clearinghouse import schema
from clearinghouse.domain.prefund import used_first, uses
from clearinghouse.domain.windows import Turnover
from custodian import schema as books_schema
from custodian.ledger.check import difference, run
from custodian.ledger.findings import Finding
from quanlian.accounts import account_region

_ENTRY, _LINE = books_schema.entry.c, books_schema.line.c
_USE = "prefund"
"""Kind of the entry by which a settled window's use moves."""


def _uses(transaction: Transaction) -> Iterator[Finding]:
    """Each settled window took from every purse what was used in it, up to what stood there, and nothing else did."""
    query = (
        sa.select(_ENTRY.number, _ENTRY.kind, _ENTRY.reference, _LINE.account, _LINE.posted_fen)
        .join_from(books_schema.entry, books_schema.line, _LINE.entry == _ENTRY.number)
        .where(_ENTRY.kind.in_(("settlement", _USE)) | _LINE.account.startswith("prefund/"))
        .order_by(_ENTRY.number)
    )
    used = _used_by_window(transaction)
    standing: Counter[str] = Counter()
    expected: dict[tuple[str, str], int] = {}
    settled: set[str] = set()
    for row in run(transaction, query):
        if row.kind == "settlement" and row.reference not in settled:
            settled.add(row.reference)
            due = used_first(used.get(row.reference, {}), standing)
            expected |= {(row.reference, purse): fen for purse, fen in due.items()}
        if not row.account.startswith("prefund/"):
            continue
        standing[row.account] -= row.posted_fen
        if row.kind == _USE:
            due_fen = expected.pop((row.reference, row.account), 0)
            if row.posted_fen != due_fen:
                words = difference(row.posted_fen, due_fen)
                place = f"{row.reference} {row.account}"
                yield Finding("line", place, row.number, row.posted_fen - due_fen, *words)
    for (reference, purse), fen in sorted(expected.items()):
        zh, en = "预拨资金未先用于结算", "what was paid ahead was not used first"
        yield Finding("entry", f"{reference} {purse}", None, fen, zh, en)


def _used_by_window(transaction: Transaction) -> dict[str, Counter[str]]:
    """What each purse's funder used, by the reference of the window's entries."""
    table = books_schema.turnover
    turnovers: dict[tuple[int, str], list[Turnover]] = defaultdict(list)
    for row in run(transaction, table.select().where(table.c.account.startswith("funding/"))):
        turnover = Turnover(row.account, row.counterpart, row.posted_fen, row.refunded_fen)
        turnovers[row.settlement_window, account_region(row.account)].append(turnover)
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for (number, region), each in turnovers.items():
        found[f"window {number}"].update(uses(region, each))
    return found


def _totals(transaction: Transaction) -> Iterator[Finding]:
    """No purse is overdrawn, and a region's running total is what stands on all of its purses."""
    table = books_schema.account
    sums: Counter[str] = Counter()
    for row in run(transaction, table.select().where(table.c.account.startswith("prefund/"))):
        sums[account_region(row.account)] -= row.posted_fen
        if row.posted_fen > 0:
            zh, en = "预拨资金透支", "more was taken than was paid ahead"
            yield Finding("account", row.account, None, row.posted_fen, zh, en)
    for row in run(transaction, schema.participant.select().order_by(schema.participant.c.region)):
        if row.prefund_fen != sums[row.region]:
            words = difference(row.prefund_fen, sums[row.region])
            yield Finding("participant", f"{row.region} prefund_fen", None, row.prefund_fen - sums[row.region], *words)


def _returns(transaction: Transaction) -> Iterator[Finding]:
    """Nothing more goes back than its deposit brought, and from no other purse."""
    deposits = {row.bank_reference: row for row in run(transaction, schema.deposit.select())}
    returned: Counter[str] = Counter()
    for row in run(transaction, schema.prefund_return.select().order_by(schema.prefund_return.c.paid_at)):
        returned[row.deposit] += row.amount_fen
        deposit = deposits.get(row.deposit)
        beyond_fen = returned[row.deposit] - (deposit.amount_fen if deposit else 0)
        place = f"{row.bank_reference} {row.account}"
        if beyond_fen > 0:
            zh, en = "退回多于到账", f"more of {row.deposit} went back than came in"
            yield Finding("prefund_return", place, None, beyond_fen, zh, en)
        elif deposit is None or (deposit.account, deposit.region) != (row.account, row.region):
            zh, en = "不是该笔预拨的账户", f"{row.deposit} was not paid to that account"
            yield Finding("prefund_return", place, None, row.amount_fen, zh, en)
    entry, line = _ENTRY, _LINE
    debits = (
        sa.select(entry.reference, entry.number, line.account)
        .join_from(books_schema.entry, books_schema.line, line.entry == entry.number)
        .where(entry.kind == "prefund-return", line.posted_fen > 0)
    )
    booked = {row.reference: row for row in run(transaction, debits)}
    for row in run(transaction, schema.prefund_return.select()):
        found = booked.get(row.bank_reference)
        if found is not None and found.account != row.account:
            zh, en = f"分录记在{found.account}", f"its entry debits {found.account}"
            place = f"{row.bank_reference} {row.account}"
            yield Finding("prefund_return", place, found.number, row.amount_fen, zh, en)


CHECKS = (_uses, _totals, _returns)
