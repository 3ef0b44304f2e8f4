"""A node's dedicated account, acquirers' dues and funders' settled use, for `quanlian ledger check`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from chassis.database import Transaction
from custodian import schema as books_schema
from custodian.ledger.check import difference, one_sided, run, stream
from custodian.ledger.decoding import legs_in, listed
from custodian.ledger.findings import Finding
from node import schema
from node.bank import (
    ACQUIRER,
    ASSIGNMENT,
    DEPOSIT,
    PAYMENT,
    RECEIPT,
    RETURN,
    assignment_movements,
    opposite,
    receipt_kind,
    receipt_movements,
)
from node.dues import AT_ONCE
from node.paying import payment_movements
from node.reversing import reversed_movements, reversing_kind
from node.withdrawing import taken_back
from quanlian.accounts import (
    VISITORS,
    clearing_account,
    contribution_of,
    payable_account,
    suspense_account,
)
from quanlian.ledger import Movement, is_limited


def own_region(transaction: Transaction) -> str:
    """Whose node this is, by its accounts; empty for one that has none yet."""
    holder = ""
    for code in run(transaction, sa.select(books_schema.account.c.account).order_by(books_schema.account.c.account)):
        kind, _, rest = code.account.partition("/")
        region = str(rest.partition("/")[0])
        if region and (kind in ("clearing", "used_away", "prefund") or (kind == "funding" and VISITORS not in rest)):
            return region
        holder = holder or (region if kind == "bank" else "")
    return holder


def _receipts(transaction: Transaction) -> Iterator[Finding]:
    """Each receipt is one entry under its bank reference, and one more where it was assigned later. What was reversed
    was booked too.
    """
    region, kinds = own_region(transaction), (DEPOSIT, RECEIPT, ASSIGNMENT)
    expected = _reversed(transaction, region, kinds)
    for row in run(transaction, schema.bank_receipt.select()):
        reference, first = row.bank_reference, suspense_account() if row.assigned else row.account
        _add(expected[(receipt_kind(first), reference)], receipt_movements(region, first, row.amount_fen))
        if row.assigned:
            _add(expected[(ASSIGNMENT, reference)], assignment_movements(row.account, row.amount_fen))
    yield from _against_entries("bank_receipt", expected, _entries(transaction, kinds))


def _payments(transaction: Transaction) -> Iterator[Finding]:
    """Numbered without a gap, each the sum of its items; one entry under its bank reference once it is made, and its
    opposite under the return's once it was sent back.
    """
    region = own_region(transaction)
    expected = _reversed(transaction, region, (PAYMENT,))
    numbers = {row.payment for row in run(transaction, schema.bank_reversal.select()) if row.payment is not None}
    returned: Counter[str] = Counter()
    for row in run(transaction, schema.payment.select()):
        numbers.add(row.number)
        total = sum(fen for _, _, fen in listed(row.items))
        if total != row.amount_fen:
            words = difference(row.amount_fen, total)
            yield Finding("payment", str(row.number), None, row.amount_fen - total, *words)
        if row.kind == RETURN and not row.returned_reference:
            returned[row.deposit] += row.amount_fen
        if row.bank_reference:
            _add(expected[(PAYMENT, row.bank_reference)], payment_movements(region, row))
        if row.returned_reference:
            _add(expected[("returned-payment", row.returned_reference)], opposite(payment_movements(region, row)))
    counters = run(transaction, books_schema.counter.select().where(books_schema.counter.c.name == "payment"))
    for number in sorted(numbers ^ set(range(1, (counters[0].value if counters else 0) + 1))):
        yield Finding("payment", str(number), None, 0, "付款缺失或系添加", "is missing, or was added")
    receipts = {row.bank_reference: row.amount_fen for row in run(transaction, schema.bank_receipt.select())}
    for deposit, fen in sorted(returned.items()):
        if fen > receipts.get(deposit, 0):
            zh, en = "退回多于到账", "more of it went back than came in"
            yield Finding("payment", f"returns of {deposit}", None, fen - receipts.get(deposit, 0), zh, en)
    yield from _against_entries("payment", expected, _entries(transaction, (PAYMENT, "returned-payment")))


def _reversals(transaction: Transaction) -> Iterator[Finding]:
    """Each reversal is one entry of the opposite of what it takes back, under the same bank reference."""
    region, kinds = own_region(transaction), [reversing_kind(kind) for kind in _REVERSIBLE]
    expected: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in run(transaction, schema.bank_reversal.select()):
        taken_back = opposite(reversed_movements(region, row))
        _add(expected[(reversing_kind(row.kind), row.bank_reference)], taken_back)
    yield from _against_entries("bank_reversal", expected, _entries(transaction, kinds))


def _reversed(transaction: Transaction, region: str, kinds: Sequence[str]) -> dict[tuple[str, str], Counter[str]]:
    """Lines of the entries of some kinds that were taken back since, by kind and reference; of others none."""
    table, lines = schema.bank_reversal, defaultdict[tuple[str, str], Counter[str]](Counter)
    for row in run(transaction, table.select().where(table.c.kind.in_(kinds))):
        _add(lines[(row.kind, row.bank_reference)], reversed_movements(region, row))
    return lines


def _add(lines: Counter[str], movements: Iterable[Movement]) -> None:
    for each in movements:
        lines[each.account] += each.posted_fen


def _dues(transaction: Transaction) -> Iterator[Finding]:
    """What acquirers are owed is what their captures and refunds say; what of it is instructed, their payments."""
    owed = _owed(transaction)
    instructed: Counter[tuple[Any, ...]] = Counter()
    payable: Counter[str] = Counter()
    payment = schema.payment
    standing = (payment.c.kind == ACQUIRER) & payment.c.returned_reference.is_(None)
    for row in run(transaction, payment.select().where(standing)):
        for window, account, fen in listed(row.items):
            instructed[(window, row.payee, account)] += fen
        payable[payable_account(row.payee)] += row.amount_fen if row.bank_reference else 0
    for key, fen in owed.items():
        payable[payable_account(key[1])] -= fen
    stored = {tuple(row)[:3]: row for row in run(transaction, schema.acquirer_due.select())}
    yield from one_sided("acquirer_due", owed.keys(), stored.keys(), _shown)
    yield from _totals("acquirer_due", {key: row.owed_fen for key, row in stored.items()}, owed)
    yield from _totals("acquirer_due", {key: row.instructed_fen for key, row in stored.items()}, instructed)
    yield from _totals("account", _posted(transaction, "payable/"), {(code,): fen for code, fen in payable.items()})


def _owed(transaction: Transaction) -> Counter[tuple[Any, ...]]:
    """By window, acquirer and payer, from single captures and refunds."""
    posting, redemption, item, away = (
        books_schema.posting,
        books_schema.redemption,
        schema.clearing_item,
        schema.away,
    )
    owed: Counter[tuple[Any, ...]] = Counter()
    home = sa.select(redemption.c.acquirer, posting.c.legs).join_from(
        posting, redemption, posting.c.redemption_id == redemption.c.id
    )
    for row in stream(transaction, home):
        for leg in legs_in(row.legs):
            if is_limited(leg.account):
                owed[(AT_ONCE, row.acquirer, leg.account)] += leg.amount_fen
    elsewhere = (
        sa.select(item.c.settlement_window, away.c.caller, item.c.legs)
        .join_from(item, away, item.c.redemption_id == away.c.redemption_id)
        .where(item.c.side == "merchant")
    )
    clearing = clearing_account(own_region(transaction))
    for row in stream(transaction, elsewhere):
        fen = sum(leg.amount_fen for leg in legs_in(row.legs) if is_limited(leg.account))
        owed[(row.settlement_window, row.caller, clearing)] += fen
    for side, each in taken_back(transaction):
        if side == "merchant":
            told = sa.select(away.c.caller).where(away.c.redemption_id == each.redemption_id)
            for row in run(transaction, told):
                owed[(each.window, row.caller, clearing)] += 0
    return owed


def _away_use(transaction: Transaction) -> Iterator[Finding]:
    """What funders used away is what postings say; what is drawn, with home use that is paid, is `contribution`."""
    region, item = own_region(transaction), schema.clearing_item.c
    used: Counter[tuple[Any, ...]] = Counter()
    concerned = (item.side == "funder") | (item.issuer != region)
    for row in stream(transaction, sa.select(item.settlement_window, item.legs).where(concerned)):
        for leg in legs_in(row.legs):
            if is_limited(leg.account) and leg.account.startswith(f"funding/{region}/"):
                used[(row.settlement_window, leg.account)] += leg.amount_fen
    for _, posting in taken_back(transaction):
        for told in posting.legs:
            if is_limited(told.account) and told.account.startswith(f"funding/{region}/"):
                used[(posting.window, told.account)] += 0
    stored = run(transaction, schema.away_use.select())
    known = {tuple(row)[:2]: row.used_fen for row in stored}
    yield from one_sided("away_use", used.keys(), known.keys(), _shown)
    yield from _totals("away_use", known, used)
    settled: Counter[tuple[Any, ...]] = Counter()
    for row in stored:
        settled[(contribution_of(row.account),)] -= row.drawn_fen
        if not 0 <= row.drawn_there_fen <= max(0, row.used_fen):
            place, beyond_fen = f"{row.settlement_window} {row.account}", row.drawn_there_fen - max(0, row.used_fen)
            zh, en = "清分平台所付多于已用", "more was paid by the clearinghouse than was used"
            yield Finding("away_use", place, None, beyond_fen, zh, en)
    payment = schema.payment
    standing = (payment.c.kind == ACQUIRER) & payment.c.returned_reference.is_(None)
    for row in run(transaction, payment.select().where(standing, payment.c.bank_reference.is_not(None))):
        for window, account, fen in listed(row.items):
            if window == AT_ONCE:
                settled[(contribution_of(account),)] -= fen
    yield from _totals("away_use", _posted(transaction, "contribution/"), settled)


def _entries(transaction: Transaction, kinds: Sequence[str]) -> dict[tuple[str, str], tuple[int, Counter[str]]]:
    """Number and lines of the entries of some kinds, by kind and reference; the first's number where it was booked
    again after a reversal.
    """
    entry, line = books_schema.entry, books_schema.line
    query = (
        sa.select(entry.c.kind, entry.c.reference, entry.c.number, line.c.account, line.c.posted_fen)
        .join_from(entry, line, line.c.entry == entry.c.number)
        .where(entry.c.kind.in_(kinds))
    )
    found: dict[tuple[str, str], tuple[int, Counter[str]]] = {}
    for row in run(transaction, query):
        found.setdefault((row.kind, row.reference), (row.number, Counter()))[1][row.account] += row.posted_fen
    return found


def _against_entries(
    table: str,
    expected: Mapping[tuple[str, str], Counter[str]],
    booked: Mapping[tuple[str, str], tuple[int, Counter[str]]],
) -> Iterator[Finding]:
    for key in sorted(expected.keys() | booked.keys()):
        kind, reference = key
        number, lines = booked.get(key, (None, Counter[str]()))
        wanted = expected.get(key, Counter[str]())
        wrong = {account: lines[account] - wanted[account] for account in lines.keys() | wanted.keys()}
        fen = max((abs(each) for each in wrong.values()), default=0)
        if fen:
            zh, en = f"与{kind}分录不符", f"differs from its {kind} entry"
            yield Finding(table, reference, number, fen, zh, en)


def _totals(table: str, said: Mapping[Any, int], found: Mapping[Any, int]) -> Iterator[Finding]:
    for key in sorted(said.keys() | found.keys()):
        stored, counted = said.get(key, 0), found.get(key, 0)
        if stored != counted:
            yield Finding(table, _shown(key), None, stored - counted, *difference(stored, counted))


def _shown(key: tuple[Any, ...]) -> str:
    return " ".join(map(str, key))


def _posted(transaction: Transaction, kind: str) -> dict[tuple[str], int]:
    table = books_schema.account
    rows = run(transaction, table.select().where(table.c.account.startswith(kind)))
    return {(row.account,): int(row.posted_fen) for row in rows}


_REVERSIBLE = (DEPOSIT, RECEIPT, ASSIGNMENT, PAYMENT)
CHECKS = (_receipts, _payments, _reversals, _dues, _away_use)
