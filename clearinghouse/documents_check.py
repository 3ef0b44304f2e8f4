"""Agreements, statements and what was paid out by them, for `quanlian ledger check`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from chassis.database import Transaction
from clearinghouse import schema
from clearinghouse.agreements import on_file
from clearinghouse.domain.windows import WindowState
from clearinghouse.reversing import REVERSED_ASSIGNMENT, REVERSED_DEPOSIT, reversing_movements
from custodian import schema as books
from custodian.ledger.check import difference, run
from custodian.ledger.decoding import read
from custodian.ledger.findings import Finding
from quanlian.accounts import settlement_account
from quanlian.agreement_signatures import signatories
from quanlian.agreements import Agreement, parse_agreement
from quanlian.custody import CLEARINGHOUSE
from quanlian.statements import Statement, json_to_statement


def agreements(transaction: Transaction) -> Iterator[Finding]:
    """One that the clearinghouse signed was signed by everybody, and money was split by no other."""
    in_force = set()
    for kept in on_file(transaction):
        agreement: Agreement | None = read(lambda document: parse_agreement(document, "agreement"), kept.document, None)
        if agreement is None:
            yield Finding("agreement", kept.document[:40].hex(), None, 0, "协议无法读出", "cannot be read")
            continue
        signers = {each.signer for each in kept.signatures}
        for missing in sorted(set(signatories(agreement)) - signers) if CLEARINGHOUSE in signers else ():
            place = f"{agreement.name} {missing}"
            yield Finding("agreement_signature", place, None, 0, "签名缺失", "is missing, though the last one signed")
        if CLEARINGHOUSE in signers:
            in_force.add(agreement.name)
    redemption = books.redemption.c
    used = sa.select(redemption.agreement, sa.func.sum(redemption.discount_fen).label("fen")).group_by(
        redemption.agreement
    )
    for row in run(transaction, used):
        if row.agreement and row.agreement not in in_force:
            zh, en = "按其分摊过补贴，但没有生效的该协议", "split discounts, but is not in force"
            yield Finding("agreement", row.agreement, None, int(row.fen), zh, en)


def statements(transaction: Transaction) -> Iterator[Finding]:
    """Each opens with what the one before closed with, and adds the window's deposits and pay-outs, less returned."""
    lodged, prefunded = _paid_in(transaction, of_funders=False), _paid_in(transaction, of_funders=True)
    paid_out, given_back = (_by_region(transaction, table) for table in (schema.payout, schema.prefund_return))
    returned = _by_region(transaction, schema.payout, window="returned_window")
    table = schema.statement
    closing: dict[str, int] = {}
    for row in run(transaction, table.select().order_by(table.c.region, table.c.settlement_window)):
        statement: Statement | None = read(json_to_statement, row.document, None)
        if statement is None:
            continue  # named by the check that compares it with its window
        key = (row.settlement_window, row.region)
        for name, said, found in (
            ("opening_fen", statement.opening_fen, closing.get(row.region, 0)),
            ("lodged_fen", statement.lodged_fen, lodged.get(key, 0)),
            ("prefunded_fen", statement.prefunded_fen, prefunded.get(key, 0) - given_back.get(key, 0)),
            ("paid_out_fen", statement.paid_out_fen, paid_out.get(key, 0) - returned.get(key, 0)),
            ("closing_fen", row.closing_fen, statement.closing_fen),
        ):
            if said != found:
                place = f"window {row.settlement_window} {row.region} {name}"
                yield Finding("statement", place, None, said - found, *difference(said, found))
        closing[row.region] = statement.closing_fen


def positions(transaction: Transaction) -> Iterator[Finding]:
    """Every position has its statement; its pay-out is its net credit, less what it lacks of a shortfall."""
    windows = {row.number: row.state for row in run(transaction, schema.settlement_window.select())}
    stated = {(row.settlement_window, row.region) for row in run(transaction, schema.statement.select())}
    paid = {row.bank_reference: row for row in run(transaction, schema.payout.select())}
    for row in run(transaction, schema.net_position.select()):
        place = f"window {row.settlement_window} {row.region}"
        if (row.settlement_window, row.region) not in stated:
            yield Finding("statement", place, None, row.net_fen, "对账单缺失", "the statement is missing")
        settled = windows.get(row.settlement_window) == WindowState.SETTLED.name
        most_fen = max(0, row.net_fen)
        if row.payout_fen != most_fen and not (settled and 0 <= row.payout_fen < most_fen):
            words = difference(row.payout_fen, most_fen)
            yield Finding("net_position", f"{place} payout_fen", None, row.payout_fen - most_fen, *words)
        if settled and row.bank_reference and row.payout_fen:
            made = paid.get(row.bank_reference)
            if made is None or (made.region, made.amount_fen) != (row.region, row.payout_fen):
                zh, en = "没有该笔付款", f"no pay-out {row.bank_reference} of that amount was made to it"
                yield Finding("net_position", place, None, row.payout_fen, zh, en)


def payouts(transaction: Transaction) -> Iterator[Finding]:
    """A pay-out went to the region whose settlement account its entry debits."""
    entry, line = books.entry, books.line
    debits = (
        sa.select(entry.c.reference, entry.c.number, line.c.account)
        .join_from(entry, line, line.c.entry == entry.c.number)
        .where(entry.c.kind == "pay-out", line.c.posted_fen > 0)
    )
    booked = {row.reference: row for row in run(transaction, debits)}
    for row in run(transaction, schema.payout.select()):
        found = booked.get(row.bank_reference)
        if found is not None and found.account != settlement_account(row.region):
            zh, en = f"分录记在{found.account}", f"its entry debits {found.account}"
            place = f"{row.bank_reference} {row.region}"
            yield Finding("payout", place, found.number, row.amount_fen, zh, en)


def reversals(transaction: Transaction) -> Iterator[Finding]:
    """Each reversal is one entry that takes back what it says, from the account that had it; each such entry one."""
    entry, line, table = books.entry, books.line, schema.deposit_reversal
    kinds = (REVERSED_DEPOSIT, REVERSED_ASSIGNMENT)
    query = (
        sa.select(entry.c.kind, entry.c.reference, line.c.account, line.c.posted_fen)
        .join_from(entry, line, line.c.entry == entry.c.number)
        .where(entry.c.kind.in_(kinds))
    )
    booked = Counter((row.kind, row.reference, row.account, row.posted_fen) for row in run(transaction, query))
    said = Counter(
        (kinds[row.assigned], row.bank_reference, each.account, each.posted_fen)
        for row in run(transaction, table.select())
        for each in reversing_movements(row)
    )
    for each in sorted((booked - said).elements()):
        zh, en = f"{each[0]}分录没有相应的登记", f"the {each[0]} that the entry books on {each[2]} is missing"
        yield Finding(table.name, each[1], None, each[3], zh, en)
    for each in sorted((said - booked).elements()):
        zh, en = f"{each[2]}没有相应的{each[0]}分录", f"no {each[0]} entry takes that from {each[2]}"
        yield Finding(table.name, each[1], None, each[3], zh, en)


def _paid_in(transaction: Transaction, of_funders: bool) -> dict[tuple[int, str], int]:
    """Deposits by window and region: what was reversed counted where it had come, and less where it was taken back."""
    sums: Counter[tuple[int, str]] = Counter()
    for table in (schema.deposit, schema.deposit_reversal):
        is_funders = table.c.account.startswith("prefund/")
        chosen = is_funders if of_funders else ~is_funders
        sums.update(_by_region(transaction, table, chosen))
    sums.subtract(_by_region(transaction, schema.deposit_reversal, chosen, window="reversed_window"))
    return dict(sums)


def _by_region(
    transaction: Transaction, table: sa.Table, *chosen: Any, window: str = "settlement_window"
) -> dict[tuple[int, str], int]:
    """Amounts by the window that a column tells, and region."""
    sums: dict[tuple[int, str], int] = defaultdict(int)
    for row in run(transaction, table.select().where(*chosen)):
        sums[(row._mapping[window], row.region)] += row.amount_fen
    return dict(sums)


CHECKS = (agreements, statements, positions, payouts, reversals)
