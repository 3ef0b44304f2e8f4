"""The clearinghouse's own tables against its journal, for `quanlian ledger check`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, groupby, zip_longest
from operator import attrgetter
from typing import Any, NamedTuple

import sqlalchemy as sa

from chassis.database import Transaction
from clearinghouse import balances_check, documents_check, prefund_check, schema, signatures_check
from clearinghouse.domain.ceilings import ceiling_movements
from clearinghouse.domain.windows import Flow, Totals, Turnover, bilateral, funding, statement_lines, totals
from clearinghouse.references_check import open_window, references
from custodian import schema as books_schema
from custodian.book_rows import redemption_of
from custodian.ledger.check import difference, run, stream
from custodian.ledger.decoding import Encoded, legs_in, read, returned_legs, strict_hand_over, vouchers_in
from custodian.ledger.findings import Finding, PartyChecks
from quanlian import netting, wire
from quanlian.accounts import account_region, bank_account, settlement_account, suspense_account, visitors_account
from quanlian.apportionment import capture_release
from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import InvalidInput
from quanlian.ledger import is_limited
from quanlian.money import yuan
from quanlian.redemptions import State, owed_between_regions
from quanlian.signing import digest
from quanlian.statements import Statement, json_to_statement, statement_to_json
from quanlian.v1 import custody_pb2
from quanlian.vouchers import VoucherKey


class _Payment(NamedTuple):
    """An entry of the dedicated account as a table tells it: the row, and the account and amount that it credits."""

    place: str
    account: str
    amount_fen: int


def _money(transaction: Transaction) -> Iterator[Finding]:
    """Each deposit, receipt, assignment, pay-out and return of one is one entry under its bank reference, and each such
    entry one. What was reversed was booked too.
    """
    booked, expected = _booked_money(transaction), _expected_money(transaction)
    for key in sorted(expected.keys() | booked.keys()):
        table, (kind, reference) = _MONEY[key[0]], key
        wanted, found = list(expected.get(key, ())), []
        for row in booked.get(key, ()):
            same = next((each for each in wanted if each[1:] == (row.account, -row.posted_fen)), None)
            if same is None:
                found.append(row)
            else:
                wanted.remove(same)
        for said, row in zip_longest(wanted, found):
            if said is None:
                zh, en = f"{kind}分录没有相应的登记", f"the {kind} that the entry books is missing"
                yield Finding(table, reference, row.number, -row.posted_fen, zh, en)
            elif row is None:
                zh, en = f"没有相应的{kind}分录", f"no {kind} entry has its bank reference"
                yield Finding(table, said.place, None, said.amount_fen, zh, en)
            else:
                zh, en = difference(said.amount_fen, -row.posted_fen)
                zh, en = f"{zh}，记入{row.account}", f"{en}, booked on {row.account}, not {said.account}"
                yield Finding(table, said.place, row.number, said.amount_fen + row.posted_fen, zh, en)


def _expected_money(transaction: Transaction) -> dict[tuple[str, str], list[_Payment]]:
    """What the entries of the dedicated account must be, by kind and bank reference."""
    expected: dict[tuple[str, str], list[_Payment]] = defaultdict(list)
    suspense, bank = suspense_account(), bank_account(CLEARINGHOUSE)
    for row in run(transaction, schema.deposit.select()):
        place, in_suspense = f"{row.bank_reference} {row.region}", row.assigned or row.account == suspense
        if row.assigned:
            expected["assignment", row.bank_reference].append(_Payment(place, row.account, row.amount_fen))
        kind, account = ("receipt", suspense) if in_suspense else ("deposit", row.account)
        expected[kind, row.bank_reference].append(_Payment(place, account, row.amount_fen))
    for row in run(transaction, schema.deposit_reversal.select()):
        kind = "assignment" if row.assigned else "receipt" if row.account == suspense else "deposit"
        place = f"{row.bank_reference} {row.region}"
        expected[kind, row.bank_reference].append(_Payment(place, row.account, row.amount_fen))
    for row in run(transaction, schema.payout.select()):
        place = f"{row.bank_reference} {row.region}"
        expected["pay-out", row.bank_reference].append(_Payment(place, bank, row.amount_fen))
        if row.returned_reference is not None:
            returned = _Payment(place, settlement_account(row.region), row.amount_fen)
            expected["returned-pay-out", row.returned_reference].append(returned)
    for row in run(transaction, schema.prefund_return.select()):
        place = f"{row.bank_reference} {row.account}"
        expected["prefund-return", row.bank_reference].append(_Payment(place, bank, row.amount_fen))
    return expected


def _owners(transaction: Transaction) -> Iterator[Finding]:
    """A deposit is the region's whose account was credited."""
    booked = _booked_money(transaction)
    for row in run(transaction, schema.deposit.select()):
        if row.region != (account_region(row.account) if row.account != suspense_account() else ""):
            entries = booked.get(("assignment" if row.assigned else "deposit", row.bank_reference))
            zh, en = f"地区与账户{row.account}不符", f"its region is not that of {row.account}"
            number = entries[-1].number if entries else None
            yield Finding("deposit", f"{row.bank_reference} {row.region}", number, row.amount_fen, zh, en)


def _booked_money(transaction: Transaction) -> dict[tuple[str, str], list[Any]]:
    """The credit line of every entry of the dedicated account, by kind and bank reference."""
    entry, line = books_schema.entry, books_schema.line
    query = (
        sa.select(entry.c.kind, entry.c.reference, entry.c.number, line.c.account, line.c.posted_fen)
        .join_from(entry, line, line.c.entry == entry.c.number)
        .where(entry.c.kind.in_(_MONEY), line.c.posted_fen < 0)
        .order_by(entry.c.number)
    )
    booked: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in run(transaction, query):
        booked[row.kind, row.reference].append(row)
    return booked


def _proofs(transaction: Transaction) -> Iterator[Finding]:
    """What is kept of a decision for whoever recomputes it is what was held, before a smaller capture."""
    proof, redemption = schema.proof, books_schema.redemption
    query = sa.select(
        redemption.c.id, redemption.c.order_fen, redemption.c.discount_fen,
        proof.c.order_fen.label("held_order_fen"), proof.c.discount_fen.label("held_fen"),
    ).join_from(proof, redemption, proof.c.redemption_id == redemption.c.id)  # fmt: skip
    for row in stream(transaction, query):
        if row.held_fen - _released_fen(row) == row.discount_fen and row.held_order_fen >= row.order_fen:
            continue
        name, said, found = "discount_fen", row.held_fen, row.discount_fen
        if said == found:
            name, said, found = "order_fen", row.held_order_fen, row.order_fen
        yield Finding("proof", f"{row.id.hex()} {name}", None, said - found, *difference(said, found))


def _released_fen(row: Any) -> int:
    """What the capture released of the discount that was held."""
    if not 0 <= row.order_fen <= row.held_order_fen or not 0 <= row.held_fen <= row.held_order_fen:
        return 0
    return capture_release(row.held_fen, row.held_order_fen, row.order_fen)


def _visitors_funds(transaction: Transaction) -> Iterator[Finding]:
    """A fund's budgets are the limits of its accounts."""
    budgets: dict[str, int] = {}
    for row in run(transaction, schema.visitors_funder.select()):
        budgets[visitors_account(row.region, row.fiscal_year, row.name)] = row.budget_fen
    limits = _limits(transaction)
    for account in sorted(budgets.keys() | {each for each in limits if "/visitors/" in each}):
        said, found = budgets.get(account, 0), limits.get(account, 0)
        if said != found:
            yield Finding("visitors_funder", account, None, said - found, *difference(said, found))


def _custody(transaction: Transaction) -> Iterator[Finding]:
    """What issuers handed over, less what was given back, is what this book may use of their funders."""
    moved: dict[str, int] = defaultdict(int)
    epochs: dict[VoucherKey, int] = {}
    table = schema.hand_over
    for row in stream(transaction, table.select().order_by(table.c.issuer, table.c.taken_at, table.c.number)):
        vouchers = vouchers_in(row.body)
        known = _known_vouchers(transaction, [each.key for each in vouchers])
        for voucher in vouchers:
            if voucher.epoch <= epochs.get(voucher.key, -1):
                continue
            epochs[voucher.key] = voucher.epoch
            for leg in voucher.reservation.legs():
                moved[leg.account] += leg.amount_fen if is_limited(leg.account) else 0
            if voucher.key not in known:
                place = f"{row.issuer}/{voucher.key.pack_id.hex()}/{voucher.key.voucher_index}"
                zh, en = f"移交单{row.number}所交的券缺失", f"missing, though hand-over {row.number} brought it"
                yield Finding("voucher", place, None, voucher.reservation.total_fen, zh, en)
    for row in run(transaction, schema.custody_return.select()):
        for voucher in vouchers_in(row.body):
            for leg in voucher.reservation.legs():
                moved[leg.account] -= leg.amount_fen if is_limited(leg.account) else 0
    for row in run(transaction, schema.fund_return.select()):
        for leg in returned_legs(row.body):
            moved[leg.account] -= leg.amount_fen
    limits = {account: fen for account, fen in _limits(transaction).items() if "/visitors/" not in account}
    for account in sorted(moved.keys() | limits.keys()):
        said, found = moved.get(account, 0), limits.get(account, 0)
        if said != found:
            zh = f"移交减退还为{yuan(said)}元，本账可用额度为{yuan(found)}元"
            en = f"hand-overs less fund returns give {yuan(said)}, this book may use {yuan(found)} yuan"
            yield Finding("hand_over", account, None, said - found, zh, en)


def _known_vouchers(transaction: Transaction, keys: list[VoucherKey]) -> set[VoucherKey]:
    voucher = books_schema.voucher
    columns = [voucher.c.issuer, voucher.c.pack_id, voucher.c.voucher_index]
    rows = transaction.select_keys(voucher, columns, [tuple(key) for key in keys], columns)
    return {VoucherKey(*tuple(row)) for row in rows}


def _series(transaction: Transaction) -> Iterator[Finding]:
    """Feeds, fund returns and custody returns are numbered without a gap, as far as their counters."""
    counters = {row.name: row.value for row in run(transaction, books_schema.counter.select())}
    recovered = any(row.incarnation > 1 for row in run(transaction, books_schema.lineage.select()))
    for table, column, name in (
        (schema.feed, schema.feed.c.sequence, "feed"),
        (schema.fund_return, schema.fund_return.c.number, "fund-return"),
        (schema.custody_return, schema.custody_return.c.number, "custody-return"),
    ):
        numbers: dict[str, set[int]] = defaultdict(set)
        for region, number in run(transaction, sa.select(table.c.region, column)):
            numbers[region].add(number)
        regions = {key.partition("/")[2] for key in counters if key.startswith(f"{name}/")} | numbers.keys()
        for region in sorted(regions):
            expected = set(range(1, counters.get(f"{name}/{region}", 0) + 1))
            if table is schema.feed and recovered:
                expected &= numbers[region]  # what was told and lost is known where it was heard, and not told again
            for number in sorted(expected ^ numbers[region]):
                missing = number in expected
                zh, en = ("缺失", "is missing") if missing else ("系添加", "was added: its counter ends before")
                yield Finding(table.name, f"{region}/{number}", None, 0, zh, en)


def _told(transaction: Transaction) -> Iterator[Finding]:
    """The feed told each issuer just what was posted."""
    posting, redemption, feed = books_schema.posting, books_schema.redemption, schema.feed
    query = (
        sa.select(posting, redemption.c.issuer)
        .join_from(posting, redemption, posting.c.redemption_id == redemption.c.id)
        .order_by(redemption.c.issuer, posting.c.entry)
    )
    told = feed.select().order_by(feed.c.region, feed.c.sequence)
    issuers = groupby(stream(transaction, query), attrgetter("issuer"))
    regions = groupby(stream(transaction, told), attrgetter("region"))
    issuer, region = next(issuers, None), next(regions, None)
    while issuer or region:
        name = min(each[0] for each in (issuer, region) if each)
        own = issuer[1] if issuer and issuer[0] == name else iter(())
        yield from _told_to(name, own, region[1] if region and region[0] == name else iter(()))
        issuer = next(issuers, None) if issuer and issuer[0] == name else issuer
        region = next(regions, None) if region and region[0] == name else region


def _told_to(region: str, postings: Iterator[Any], events: Iterator[Any]) -> Iterator[Finding]:
    """One issuer's postings, in the journal's order, and what it was told, in the feed's, which is nearly the same."""
    waiting: dict[tuple[bytes, int], Any] = {}
    for row in events:
        event = read(custody_pb2.FeedEvent.FromString, row.event, custody_pb2.FeedEvent())
        if not event.HasField("posting"):
            continue
        told = event.posting
        key = (told.redemption_id, told.number)
        while key not in waiting and (booked := next(postings, None)) is not None:
            waiting[(booked.redemption_id, booked.number)] = booked
        found = waiting.pop(key, None)
        if found is None or (told.discount_fen, wire.legs_of(told.legs)) != (
            found.discount_fen,
            legs_in(found.legs),
        ):
            fen = told.discount_fen - (found.discount_fen if found else 0)
            zh, en = "与账上收退不符", f"differs from posting {told.redemption_id.hex()}/{told.number} on the books"
            yield Finding("feed", f"{region}/{row.sequence}", found.entry if found else None, fen, zh, en)
    for each in chain(waiting.values(), postings):
        zh, en = "收退未通知发券地", "a posting that its issuer was not told of"
        yield Finding(
            "feed", f"{region} {each.redemption_id.hex()}/{each.number}", each.entry, each.discount_fen, zh, en
        )


def _positions(transaction: Transaction) -> Iterator[Finding]:
    """What regions owe and are due is what live holds and unsettled windows say."""
    window = schema.settlement_window
    unsettled = {row.number for row in run(transaction, window.select()) if row.state != "SETTLED"}
    sums: dict[tuple[str, str], int] = defaultdict(int)
    table, posting = books_schema.redemption, books_schema.posting
    for row in stream(transaction, table.select().where(table.c.state == State.AUTHORIZED.name)):
        held = read(redemption_of, row, None)
        if held is None:
            continue
        sums[(held.voucher.issuer, "owed_held_fen")] += owed_between_regions(held, held.standing)
    query = (
        sa.select(table, posting.c.legs.label("posted_legs"))
        .join_from(posting, table, posting.c.redemption_id == table.c.id)
        .where(posting.c.settlement_window.in_(unsettled))
    )
    for row in stream(transaction, query):
        used = read(redemption_of, row, None)
        if used is None:
            continue
        owed = owed_between_regions(used, legs_in(row.posted_legs))
        sums[(used.voucher.issuer, "owed_posted_fen")] += owed
        sums[(used.redeeming_region, "due_posted_fen")] += owed
    for row in run(transaction, schema.participant.select()):
        for name in ("owed_held_fen", "owed_posted_fen", "due_posted_fen"):
            said, found = int(getattr(row, name)), sums.get((row.region, name), 0)
            if said != found:
                yield Finding("participant", f"{row.region} {name}", None, said - found, *difference(said, found))


def _ceilings(transaction: Transaction) -> Iterator[Finding]:
    """What stands on a ceiling's account is what redemptions under its agreement hold and cost."""
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for row in stream(transaction, books_schema.redemption.select()):
        redemption = read(redemption_of, row, None)
        for movement in ceiling_movements(None, redemption) if redemption else ():
            sums[(movement.account, "held_fen")] += movement.held_fen
            sums[(movement.account, "posted_fen")] += movement.posted_fen
    account = books_schema.account
    rows = run(transaction, account.select().where(account.c.account.startswith("ceiling/")))
    known = {(row.account, name): int(getattr(row, name)) for row in rows for name in ("held_fen", "posted_fen")}
    for key in sorted(sums.keys() | known.keys()):
        said, found = known.get(key, 0), sums.get(key, 0)
        if said != found:
            yield Finding("account", " ".join(key), None, said - found, *difference(said, found))


def _settlement(transaction: Transaction) -> Iterator[Finding]:
    """Pairs, net positions and statements of calculated windows follow from their running totals."""
    turnovers: dict[int, list[Turnover]] = defaultdict(list)
    for row in run(transaction, books_schema.turnover.select()):
        turnover = Turnover(row.account, row.counterpart, row.posted_fen, row.refunded_fen)
        turnovers[row.settlement_window].append(turnover)
    pairs: dict[int, dict[tuple[str, str], int]] = defaultdict(dict)
    for row in run(transaction, schema.bilateral.select()):
        pairs[row.settlement_window][(row.debtor, row.creditor)] = row.amount_fen
    nets = {(row.settlement_window, row.region): row.net_fen for row in run(transaction, schema.net_position.select())}
    for row in run(transaction, schema.settlement_window.select()):
        if row.state in ("OPEN", "CLOSED"):
            continue
        owed = bilateral(turnovers[row.number])
        figures = {
            ("bilateral", "→".join(pair)): (pairs[row.number].get(pair, 0), owed.get(pair, 0))
            for pair in owed.keys() | pairs[row.number].keys()
        }
        net = netting.net_positions(owed)
        regions = {region for number, region in nets if number == row.number} | net.keys()
        figures |= {
            ("net_position", region): (nets.get((row.number, region), 0), net.get(region, 0)) for region in regions
        }
        figures[("settlement_window", "gross_fen")] = (row.gross_fen, netting.figures(owed).gross_fen)
        for (table, key), (said, found) in sorted(figures.items()):
            if said != found:
                yield Finding(table, f"window {row.number} {key}", None, said - found, *difference(said, found))
    yield from _statements(transaction, nets)
    yield from _misstated(transaction, turnovers)


def _misstated(transaction: Transaction, turnovers: Mapping[int, Sequence[Turnover]]) -> Iterator[Finding]:
    """Each figure of a statement's lines and funders is what the running totals give."""
    flows: dict[int, list[Flow]] = defaultdict(list)
    for row in run(transaction, books_schema.flow.select()):
        flows[row.settlement_window].append(Flow(*(getattr(row, name) for name in Flow._fields)))
    windows = {each: totals(turnovers.get(each, ()), flows.get(each, ())) for each in turnovers.keys() | flows.keys()}
    for row in run(transaction, schema.statement.select()):
        lines, funders = statement_lines(row.region, windows.get(row.settlement_window, Totals({}, {}, {})))
        due = _figures(statement_to_json(Statement(row.settlement_window, row.region, 0, 0, 0, lines, funders)))
        told = read(_figures, row.document, due)
        for key in sorted(told.keys() | due.keys()):
            said, found = told.get(key, 0), due.get(key, 0)
            if said != found:
                place = f"window {row.settlement_window} {row.region} {' '.join(key)}"
                if key[1].endswith("_fen"):
                    yield Finding("statement", place, None, said - found, *difference(said, found))
                else:
                    yield Finding(
                        "statement", place, None, 0, f"记为{said}笔，应为{found}笔", f"says {said}, must be {found}"
                    )


def _figures(document: bytes) -> dict[tuple[str, str], int]:
    """A statement's figures by the line or funder and their names."""
    data = json.loads(document)
    rows = {f"{row['role']}/{row['counterpart']}/{row['campaign']}": row for row in data["lines"]}
    rows |= {f"{row['account']}, {row['counterpart']}": row for row in data["funders"]}
    return {(place, name): value for place, row in rows.items() for name, value in row.items() if type(value) is int}


def _statements(transaction: Transaction, nets: dict[tuple[int, str], int]) -> Iterator[Finding]:
    for row in run(transaction, schema.statement.select()):
        place, expected = f"window {row.settlement_window} {row.region}", nets.get((row.settlement_window, row.region))
        try:
            statement = json_to_statement(row.document)
        except InvalidInput as error:
            yield Finding("statement", place, None, expected or 0, f"对账单自相矛盾：{error}", str(error))
            continue
        if (statement.window, statement.region, statement.net_fen) != (row.settlement_window, row.region, expected):
            zh, en = "对账单与净额不符", "its net is not the window's"
            yield Finding("statement", place, None, statement.net_fen - (expected or 0), zh, en)
        elif row.confirmation is not None and digest("statement", row.document) not in row.confirmation:
            zh, en = "不是该地确认的那份", "is not the one that the region confirmed"
            yield Finding("statement", place, None, statement.net_fen, zh, en)


def _documents(transaction: Transaction) -> Iterator[Finding]:
    """Terms are what their hash names."""
    for row in run(transaction, schema.terms.select()):
        if digest("terms", row.document) != row.terms_hash:
            zh, en = "细则与其哈希不符", "the terms do not fit their hash"
            yield Finding("terms", f"{row.campaign} {row.terms_hash.hex()}", None, 0, zh, en)


def _limits(transaction: Transaction) -> dict[str, int]:
    rows: list[Any] = run(transaction, books_schema.account.select())
    return {row.account: int(row.limit_fen) for row in rows if funding(row.account) and row.limit_fen}


_MONEY = {
    "deposit": "deposit",
    "receipt": "deposit",
    "assignment": "deposit",
    "pay-out": "payout",
    "returned-pay-out": "payout",
    "prefund-return": "prefund_return",
}
"""Kinds of entry of the dedicated account, with the table that tells of them."""
_ENCODED = (
    Encoded(schema.hand_over, lambda row: strict_hand_over(row.body)),
    Encoded(schema.custody_return, lambda row: strict_hand_over(row.body)),
    Encoded(schema.fund_return, lambda row: custody_pb2.FundReturn.FromString(row.body)),
    Encoded(schema.feed, lambda row: custody_pb2.FeedEvent.FromString(row.event)),
)
CHECKS = PartyChecks(
    "participant",
    schema.METADATA,
    _ENCODED,
    (
        _money,
        _owners,
        _proofs,
        _visitors_funds,
        _custody,
        _series,
        _told,
        _positions,
        _ceilings,
        _settlement,
        *balances_check.CHECKS,
        *prefund_check.CHECKS,
        _documents,
        references,
        open_window,
        *documents_check.CHECKS,
    ),
    signatures_check.CHECKS,
    lambda transaction: {},
    lambda transaction: lambda id: False,
    lambda transaction: iter(()),
)
