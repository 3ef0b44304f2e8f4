"""Replays a party's books and names what does not hold: what was changed, removed or made up behind its back.

Each check reads one thing and compares it with what the rest of the books say it must be. The journal's chain of
digests and the seals of single rows tell an edit that keeps every sum right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from importlib.metadata import entry_points
from itertools import chain, groupby
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from chassis.database import Transaction
from custodian import schema
from custodian.book_rows import redemption_of
from custodian.campaigns import KIND as CAMPAIGN_CHANGE
from custodian.ledger.decoding import ROWS_AT_ONCE, UNREADABLE, Encoded, legs_in, strict_legs, unreadable
from custodian.ledger.findings import ENTRY_POINTS, Check, Counted, Finding, PartyChecks, row_key
from custodian.ledger.records import Recorded, unrecorded
from custodian.ledger.references import Reference, Series, dangling, gaps, is_recovered
from custodian.seals import BEGINNING, entry_digest, is_sealed, seal
from custodian.totals import HOUR_SECONDS, Sums, add_up
from custodian.withdrawals import CLOSING, closing_document
from pki.denylist import KIND as DENY_LIST
from quanlian import custody
from quanlian.accounts import account_region, advance_account, is_funding, is_memo
from quanlian.apportionment import Leg
from quanlian.errors import ConfigurationError
from quanlian.ledger import is_limited
from quanlian.money import yuan
from quanlian.redemptions import Sides, counterpart_of

AMOUNTS = ("posted_fen", "reserved_fen", "held_fen", "limit_fen")
CAPTURED_STATES = ("CAPTURED", "PARTLY_REFUNDED", "REFUNDED")


def check_books(transaction: Transaction) -> list[Finding]:
    """Everything that does not hold. Raises ConfigurationError for a database that is no party's."""
    return list(findings(transaction))


def findings(transaction: Transaction) -> Iterator[Finding]:
    """What does not hold, one after another, those that are found soonest first. Raises as `check_books`."""
    party = party_of(transaction)
    checks: tuple[Check, ...] = (
        lambda each: _seals(each, (schema.METADATA, party.tables)),
        lambda each: unreadable(each, _ENCODED + party.encoded),
        *_SHARED,
        lambda each: _redemptions(each, party.is_decided_elsewhere(each)),
        lambda each: _reserved(each, party.reserved_elsewhere(each)),
        lambda each: _hours(each, party.counted_elsewhere(each)),
        *party.checks,
    )
    for check in checks:
        yield from _to_its_end(check, transaction)


def _to_its_end(check: Check, transaction: Transaction) -> Iterator[Finding]:
    """A check that a value of the wrong kind stops says so, and the next one goes on."""
    try:
        yield from check(transaction)
    except UNREADABLE as error:
        words = f"{type(error).__name__} {error}"
        yield Finding("", check.__name__, None, 0, f"检查中断：{words}", f"a value of another kind stopped it: {words}")


def party_of(transaction: Transaction) -> PartyChecks:
    """Whose books these are, by its tables. Raises ConfigurationError for no party's."""
    inspector = sa.inspect(transaction.connection)
    for entry in entry_points(group=ENTRY_POINTS):
        party: PartyChecks = entry.load()
        if inspector.has_table(party.has_table):
            return party
    raise ConfigurationError("is neither a node's nor the clearinghouse's", place="database", remedy="name a party's")


def run(transaction: Transaction, query: sa.Executable) -> list[Any]:
    """All rows at once: for tables that do not grow with redemptions."""
    return list(transaction.connection.execute(query))


def stream(transaction: Transaction, query: sa.Executable) -> Iterator[Any]:
    """Rows one after another, however many there are."""
    yield from transaction.connection.execute(query, execution_options={"yield_per": ROWS_AT_ONCE})


def joined(*streams: tuple[Iterator[Any], Callable[[Any], Any]]) -> Iterator[tuple[Any, list[list[Any]]]]:
    """Rows of several streams by key, in order: each key once, with the rows that each stream has of it.

    A stream comes with its key, by which it is sorted; no more than one key's rows are held at a time.
    """
    groups = [groupby(rows, key) for rows, key in streams]
    heads = [next(group, None) for group in groups]
    while any(head is not None for head in heads):
        key = min(head[0] for head in heads if head is not None)
        found: list[list[Any]] = [[] for _ in heads]
        for n, head in enumerate(heads):
            if head is not None and head[0] == key:
                found[n] = list(head[1])
                heads[n] = next(groups[n], None)
        yield key, found


def difference(said: int, found: int) -> tuple[str, str]:
    """The same words for every amount that does not fit."""
    return f"记为{yuan(said)}元，应为{yuan(found)}元", f"says {yuan(said)}, must be {yuan(found)} yuan"


def one_sided(table: str, moved: Set[Any], known: Set[Any], shown: Callable[[Any], str]) -> Iterator[Finding]:
    """Running totals that nothing moved, and totals that are gone, though they may have come to 0."""
    for key in sorted(known - moved):
        yield Finding(table, shown(key), None, 0, "没有任何明细", "nothing on the books gives it: it was made up")
    for key in sorted(moved - known):
        yield Finding(table, shown(key), None, 0, "缺失，有明细记入", "missing, though the books give it")


# The journal


def _chain(transaction: Transaction) -> Iterator[Finding]:
    """Numbers without a gap, each entry's digest as its lines and postings give it, nothing that no entry wrote."""
    counters = run(transaction, sa.select(schema.counter.c.value).where(schema.counter.c.name == "entry"))
    last = int(counters[0].value) if counters else 0
    before, expected = BEGINNING, 1
    for number, (entries, lines, postings) in _by_entry(transaction):
        own = [row._mapping for row in lines]
        if not entries:
            yield from _without_entry(number, own, expected <= number <= last)
            continue
        for missing in range(expected, number):
            yield _missing(missing)
        row, fen = entries[0], _debits(own)
        if number > last:
            zh, en = f"计数器只到{last}，此分录系添加", f"the counter ends at {last}: it was added"
            yield Finding("entry", f"{number} {row.kind}", number, fen, zh, en)
        elif row.digest != entry_digest(before, row._mapping, map(tuple, lines), map(tuple, postings)):
            what = f"{number} {row.kind} {row.reference}".rstrip()
            zh = f"摘要不符：分录、其{len(own)}行或其{len(postings)}笔收退被改动"
            en = (
                f"its digest does not fit: the entry, one of its {len(own)} lines or {len(postings)} postings "
                "was changed"
            )
            yield Finding("entry", what, number, fen, zh, en)
        before, expected = row.digest, number + 1
    for number in range(expected, last + 1):
        yield _missing(number)


def _by_entry(transaction: Transaction) -> Iterator[tuple[int, list[list[Any]]]]:
    """Each entry's number with its row, its lines and the captures and refunds of its commit."""
    entry, line, posting = schema.entry, schema.line, schema.posting
    yield from joined(
        (stream(transaction, entry.select().order_by(entry.c.number)), attrgetter("number")),
        (stream(transaction, line.select().order_by(line.c.entry, line.c.number)), attrgetter("entry")),
        (stream(transaction, posting.select().order_by(posting.c.entry)), attrgetter("entry")),
    )


def _without_entry(number: int, lines: list[Mapping[str, Any]], counted: bool) -> Iterator[Finding]:
    """Lines or postings whose entry is not there: it was deleted, or they were added."""
    fen = _debits(lines)
    if counted:
        yield Finding("entry", str(number), number, fen, "分录缺失", "the entry is missing")
    zh, en = "没有这样的分录，明细系添加或分录被删除", "there is no such entry: its rows were added, or it was deleted"
    yield Finding("line", f"entry {number}", number, fen, zh, en)


def _missing(number: int) -> Finding:
    return Finding("entry", str(number), number, 0, "分录缺失", "the entry is missing")


def _debits(lines: Iterable[Mapping[str, Any]]) -> int:
    """What an entry moves: debits, or else what it reserves, holds and allows."""
    lines = list(lines)
    posted = sum(int(line["posted_fen"]) for line in lines if line["posted_fen"] > 0)
    return posted or sum(abs(int(line[name])) for line in lines for name in AMOUNTS[1:])


def _zero_sums(transaction: Transaction) -> Iterator[Finding]:
    line = schema.line
    query = sa.select(line.c.entry, line.c.account, line.c.posted_fen).order_by(line.c.entry)
    for number, rows in groupby(stream(transaction, query), attrgetter("entry")):
        fen = sum(row.posted_fen for row in rows if not is_memo(row.account))
        if fen:
            yield Finding("line", f"entry {number}", number, fen, "借贷不平", "its lines do not sum to zero")


def _accounts(transaction: Transaction) -> Iterator[Finding]:
    """Each account's amounts are the sums of its lines."""
    line = schema.line.c
    query = sa.select(line.account, *(sa.func.sum(line[name]).label(name) for name in AMOUNTS)).group_by(line.account)
    sums = {row.account: row for row in run(transaction, query)}
    known = {row.account: row for row in run(transaction, schema.account.select())}
    yield from one_sided("account", sums.keys(), known.keys(), str)
    last = dict(map(tuple, run(transaction, sa.select(line.account, sa.func.max(line.entry)).group_by(line.account))))
    for account in sorted(sums.keys() | known.keys()):
        for name in AMOUNTS:
            said = int(getattr(known[account], name)) if account in known else 0
            found = int(getattr(sums[account], name)) if account in sums else 0
            if said != found:
                row = f"{account} {name}"
                yield Finding("account", row, last.get(account), said - found, *difference(said, found))


def _turnovers(transaction: Transaction) -> Iterator[Finding]:
    """Running totals are what their lines come to, and of funders what refunds gave back, by their postings."""
    entry, line = schema.entry.c, schema.line.c
    query = (
        sa.select(entry.settlement_window, line.account, line.counterpart, sa.func.sum(line.posted_fen).label("fen"))
        .join_from(schema.line, schema.entry, line.entry == entry.number)
        .where(line.posted_fen != 0)
        .group_by(entry.settlement_window, line.account, line.counterpart)
    )
    posted = {tuple(row)[:3]: int(row.fen) for row in run(transaction, query)}
    given_back = _given_back(transaction)
    sums = {key: (posted.get(key, 0), given_back.get(key, 0)) for key in posted.keys() | given_back.keys()}
    known = {tuple(row)[:3]: (int(row[3]), int(row[4])) for row in run(transaction, schema.turnover.select())}
    yield from one_sided("turnover", sums.keys(), known.keys(), lambda key: f"window {key[0]} {key[1]} @{key[2]}")
    for key in sorted(sums.keys() | known.keys()):
        for name, said, found in zip(
            ("posted_fen", "refunded_fen"), known.get(key, (0, 0)), sums.get(key, (0, 0)), strict=True
        ):
            if said != found:
                row = f"window {key[0]} {key[1]} @{key[2]} {name}"
                yield Finding("turnover", row, None, said - found, *difference(said, found))


def _given_back(transaction: Transaction) -> dict[tuple[int, str, str], int]:
    """What refunds gave back, by window, funder and counterpart, as the postings have it."""
    posting, redemption = schema.posting.c, schema.redemption.c
    query = (
        sa.select(
            posting.settlement_window, posting.legs, redemption.issuer, redemption.redeeming_region, redemption.campaign
        )
        .join_from(schema.posting, schema.redemption, posting.redemption_id == redemption.id)
        .where(posting.discount_fen < 0)
    )
    sums: dict[tuple[int, str, str], int] = defaultdict(int)
    for row in stream(transaction, query):
        sides = Sides(row.issuer, row.redeeming_region, row.campaign)
        for leg in legs_in(row.legs):
            if leg.amount_fen:
                sums[row.settlement_window, leg.account, counterpart_of(leg.account, sides)] -= leg.amount_fen
    return sums


# Captures and refunds


def _postings(transaction: Transaction) -> Iterator[Finding]:
    """Legs sum to their discount, and what an entry posts on funders is what its captures and refunds say."""
    for number, (_, lines, postings) in _by_entry(transaction):
        posted: dict[str, int] = defaultdict(int)
        for line in lines:
            if is_funding(line.account):
                posted[line.account] += line.posted_fen
        for row in postings:
            legs = legs_in(row.legs)
            total = sum(leg.amount_fen for leg in legs)
            if total != row.discount_fen:
                place = f"{row.redemption_id.hex()}/{row.number} {row.kind}"
                words = difference(row.discount_fen, total)
                yield Finding("posting", place, number, row.discount_fen - total, *words)
            for leg in legs:
                posted[leg.account] -= leg.amount_fen
        for account, fen in sorted(posted.items()):
            if fen:
                zh, en = "分录与其收退明细不符", "the entry's lines and its captures and refunds differ"
                yield Finding("posting", f"entry {number} {account}", number, fen, zh, en)


def _advances(transaction: Transaction) -> Iterator[Finding]:
    """What funders owe each other is what advanced legs of captures and refunds say."""
    posting, redemption = schema.posting.c, schema.redemption.c
    query = sa.select(posting.legs, redemption.campaign).join_from(
        schema.posting, schema.redemption, posting.redemption_id == redemption.id
    )
    sums: dict[str, int] = defaultdict(int)
    for row in stream(transaction, query):
        for leg in legs_in(row.legs):
            region, advancer = account_region(leg.account), leg.account.rpartition("/")[2]
            for debtor, fen in leg.advanced:
                sums[advance_account(region, row.campaign, debtor.rpartition("/")[2], advancer)] += fen
    account = schema.account
    rows = run(transaction, account.select().where(account.c.account.startswith("advance/")))
    known = {row.account: int(row.posted_fen) for row in rows}
    for code in sorted(sums.keys() | known.keys()):
        said, found = known.get(code, 0), sums.get(code, 0)
        if said != found:
            yield Finding("account", code, None, said - found, *difference(said, found))


def _flows(transaction: Transaction) -> Iterator[Finding]:
    posting, redemption, flow = schema.posting.c, schema.redemption.c, schema.flow
    query = sa.select(
        posting.settlement_window,
        redemption.issuer,
        redemption.redeeming_region,
        redemption.campaign,
        posting.kind,
        posting.order_fen,
        posting.discount_fen,
    ).join_from(schema.posting, schema.redemption, posting.redemption_id == redemption.id)
    sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * 6)
    for row in stream(transaction, query):
        known = sums[tuple(row)[:4]]
        first = 0 if row.kind == "capture" else 3
        for step, fen in enumerate((1, abs(row.order_fen), abs(row.discount_fen))):
            known[first + step] += fen
    names = [column.name for column in flow.columns if not column.primary_key]
    stored = {tuple(row)[:4]: list(tuple(row)[4:]) for row in run(transaction, flow.select())}
    yield from one_sided("flow", sums.keys(), stored.keys(), lambda key: f"window {key[0]} {key[1]}→{key[2]} {key[3]}")
    for key in sorted(sums.keys() | stored.keys()):
        for name, said, found in zip(names, stored.get(key, [0] * 6), sums.get(key, [0] * 6), strict=True):
            if said != found:
                row = f"window {key[0]} {key[1]}→{key[2]} {key[3]} {name}"
                zh, en = f"记为{said:,}，应为{found:,}", f"says {said:,}, must be {found:,}"
                yield Finding("flow", row, None, said - found, zh, en)


def _hours(transaction: Transaction, elsewhere: Iterator[Counted]) -> Iterator[Finding]:
    """Hourly totals count each capture and refund once, in the hour in which it was posted."""
    posting, redemption, table = schema.posting.c, schema.redemption.c, schema.hourly_flow
    query = sa.select(
        posting.at,
        redemption.issuer,
        redemption.redeeming_region,
        redemption.campaign,
        redemption.category,
        posting.order_fen,
        posting.discount_fen,
    ).join_from(schema.posting, schema.redemption, posting.redemption_id == redemption.id)
    sums: Sums = {}
    for each in chain((Counted(*row) for row in stream(transaction, query)), elsewhere):
        add_up(sums, (each.at - each.at % HOUR_SECONDS, *each[1:5]), each.order_fen, each.discount_fen, each.times)
    stored = {tuple(row)[:5]: list(tuple(row)[5:]) for row in run(transaction, table.select())}
    yield from one_sided("hourly_flow", sums.keys(), stored.keys(), lambda key: " ".join(map(str, key)))
    for key in sorted(sums.keys() | stored.keys()):
        said, found = stored.get(key, [0] * 6), sums.get(key, [0] * 6)
        if said != found:
            zh, en = f"记为{said}，应为{found}", f"says {said}, must be {found}"
            fen = said[2] - found[2] or said[5] - found[5]
            yield Finding("hourly_flow", " ".join(map(str, key)), None, fen, zh, en)


def _redemptions(transaction: Transaction, elsewhere: Callable[[bytes], bool]) -> Iterator[Finding]:
    """Each redemption is what its captures and refunds made of it; `elsewhere` tells those that others decided."""
    redemption, posting, request = schema.redemption, schema.posting, schema.request
    answers = sa.select(request.c.redemption_id, request.c.operation).where(request.c.redemption_id.is_not(None))
    for id, (rows, postings, answered) in joined(
        (stream(transaction, redemption.select().order_by(redemption.c.id)), attrgetter("id")),
        (
            stream(transaction, posting.select().order_by(posting.c.redemption_id, posting.c.number)),
            attrgetter("redemption_id"),
        ),
        (stream(transaction, answers.order_by(request.c.redemption_id)), attrgetter("redemption_id")),
    ):
        entry = postings[-1].entry if postings else None
        if not rows and postings:
            fen = sum(row.discount_fen for row in postings)
            yield Finding("redemption", id.hex(), postings[0].entry, fen, "核销缺失", "the redemption is missing")
        elif not rows and not elsewhere(id):
            operation = answered[-1].operation
            zh, en = f"{operation}的答复所指核销缺失", f"missing, though a stored answer to {operation} names it"
            yield Finding("redemption", id.hex(), None, 0, zh, en)
        for row in rows:
            yield from _differences(row, postings)
            if not answered:
                zh, en = "没有任何请求产生过它", "no request made it, or the request's answer was deleted"
                yield Finding("request", f"redemption {id.hex()}", entry, row.discount_fen, zh, en)


def _differences(row: Any, postings: list[Any]) -> Iterator[Finding]:
    entry = postings[-1].entry if postings else None
    for name, said, found in _redemption_figures(row, postings):
        if said != found:
            fen = said - found if isinstance(said, int) and isinstance(found, int) else row.discount_fen
            zh, en = f"{name}：{said} ≠ {found}", f"{name} says {said}, its history gives {found}"
            yield Finding("redemption", row.id.hex(), entry, fen, zh, en)


def _redemption_figures(row: Any, postings: list[Any]) -> Iterator[tuple[str, Any, Any]]:
    """(field, as stored, as its history says)."""
    yield "postings", row.postings, len(postings)
    yield "numbers", list(range(1, len(postings) + 1)), [each.number for each in postings]
    if not postings:
        yield "state", row.state in CAPTURED_STATES, False
        return
    captured, refunds = postings[0], postings[1:]
    yield "kinds", [each.kind for each in postings], ["capture"] + ["refund"] * len(refunds)
    yield "order_fen", row.order_fen, captured.order_fen
    yield "discount_fen", row.discount_fen, captured.discount_fen
    yield "settlement_window", row.settlement_window, captured.settlement_window
    yield "refunded_order_fen", row.refunded_order_fen, -sum(each.order_fen for each in refunds)
    yield "returned_fen", row.returned_fen, -sum(each.discount_fen for each in refunds)
    yield "shopper_fen", row.shopper_fen, _shoppers(row, refunds)
    yield "legs", legs_in(row.legs), legs_in(captured.legs)
    standing: dict[str, int] = defaultdict(int)
    for each in postings:
        _add(standing, legs_in(each.legs))
    stored: dict[str, int] = defaultdict(int)
    _add(stored, legs_in(row.standing))
    yield "standing", dict(stored), dict(standing)
    refunded = -sum(each.order_fen for each in refunds)
    state = "REFUNDED" if refunded == captured.order_fen else "PARTLY_REFUNDED" if refunded else "CAPTURED"
    yield "state", row.state, state


def _shoppers(row: Any, refunds: list[Any]) -> int:
    """What returns gave the shopper: what they did not give funders, and what was paid once all is returned.

    Between an adjusting entry and a full return only the terms say it to the fen, which are not asked here: then what
    was withheld from the shopper is at least what returns gave funders, and at most what funders have.
    """
    refunded, returned = -sum(each.order_fen for each in refunds), -sum(each.discount_fen for each in refunds)
    if refunded == row.order_fen:
        return int(row.order_fen - row.discount_fen)
    adjusted = -sum(each.discount_fen for each in refunds if not each.order_fen)
    return int(refunded - max(returned - adjusted, min(refunded - row.shopper_fen, returned)))


def _spends(transaction: Transaction) -> Iterator[Finding]:
    """One row for each capture, of the voucher that was captured."""
    redemption, spend = schema.redemption, schema.spend
    captured = redemption.select().where(redemption.c.state.in_(CAPTURED_STATES)).order_by(redemption.c.id)
    for id, (captures, spends) in joined(
        (stream(transaction, captured), attrgetter("id")),
        (stream(transaction, spend.select().order_by(spend.c.redemption_id)), attrgetter("redemption_id")),
    ):
        for row in spends:
            place = f"voucher {row.issuer}/{row.pack_id.hex()}/{row.voucher_index}"
            if not captures:
                yield Finding("spend", place, None, 0, "没有这样的核销", f"no capture {id.hex()} is on the books")
            elif _voucher_key(captures[0]) != _voucher_key(row):
                zh, en = "所指核销用的是另一张券", f"redemption {id.hex()} used another voucher"
                yield Finding("spend", place, None, captures[0].discount_fen, zh, en)
        if not spends:
            zh, en = "已核销的券没有核销记录", "a captured voucher has no row: it could be spent again"
            yield Finding("spend", f"redemption {id.hex()}", None, captures[0].discount_fen, zh, en)


# Vouchers and the money that is set aside for them


def _vouchers(transaction: Transaction) -> Iterator[Finding]:
    """A held voucher has a live hold that names it, one that says that it is captured its capture."""
    redemption, voucher = schema.redemption, schema.voucher
    live = redemption.select().where(redemption.c.state.in_(("AUTHORIZED", *CAPTURED_STATES)))
    by_key = (redemption.c.issuer, redemption.c.pack_id, redemption.c.voucher_index)
    for key, (rows, uses) in joined(
        (stream(transaction, voucher.select().order_by(*voucher.primary_key)), _voucher_key),
        (stream(transaction, live.order_by(*by_key)), _voucher_key),
    ):
        used = uses[-1] if uses else None
        place = f"{key[0]}/{key[1].hex()}/{key[2]}"
        if not rows:
            zh, en = "已使用的券缺失", f"missing, though redemption {uses[-1].id.hex()} used it"
            yield Finding("voucher", place, None, uses[-1].discount_fen, zh, en)
        elif not _fits_use(rows[0], used):
            expected = custody.USABLE
            if used is not None:
                expected = custody.HELD if used.state == "AUTHORIZED" else custody.CAPTURED
            fen = used.discount_fen if used is not None else 0
            zh, en = (
                f"状态为{rows[0].status}，核销记录为{expected}",
                f"is {rows[0].status}, its redemptions say {expected}",
            )
            yield Finding("voucher", place, None, fen, zh, en)


def _fits_use(voucher: Any, used: Any) -> bool:
    """Whether a voucher's row says what its live redemption, if there is one, made of it, or found it as."""
    if used is None:
        return voucher.status in (custody.USABLE, custody.EXPIRED, custody.CANCELLED) and voucher.hold is None
    if voucher.status == custody.HELD:
        return bool(voucher.hold == used.id)
    found = (custody.CAPTURED, custody.USABLE) if used.state != "AUTHORIZED" else ()
    return voucher.status in found and voucher.hold is None


def _held(transaction: Transaction) -> Iterator[Finding]:
    """What is held on each funder is what live holds say."""
    redemption = schema.redemption
    sums: dict[str, int] = defaultdict(int)
    for row in stream(transaction, redemption.select().where(redemption.c.state == "AUTHORIZED")):
        _add(sums, legs_in(row.legs))
    yield from _against_accounts(transaction, "held_fen", sums)


def _reserved(transaction: Transaction, elsewhere: dict[str, int]) -> Iterator[Finding]:
    """What is reserved on each funder stands with a voucher, or beside a hold."""
    sums: dict[str, int] = defaultdict(int, elsewhere)
    voucher, redemption = schema.voucher, schema.redemption
    spent = sa.exists().where(*(schema.spend.c[column.name] == column for column in voucher.primary_key))
    unspent = sa.or_(~spent, voucher.c.status != custody.USABLE)
    for row in stream(transaction, sa.select(voucher.c.reserved_cofunders, voucher.c.reserved_public).where(unspent)):
        _add(sums, legs_in(row.reserved_cofunders) + legs_in(row.reserved_public))
    for row in stream(transaction, redemption.select().where(redemption.c.state == "AUTHORIZED")):
        _add(sums, legs_in(row.rest_cofunders) + legs_in(row.rest_public))
    yield from _against_accounts(transaction, "reserved_fen", sums)


def _against_accounts(transaction: Transaction, name: str, sums: Mapping[str, int]) -> Iterator[Finding]:
    known = {
        row.account: int(getattr(row, name))
        for row in run(transaction, schema.account.select())
        if is_limited(row.account)
    }
    for account in sorted(known.keys() | {each for each in sums if is_limited(each)}):
        said, found = known.get(account, 0), sums.get(account, 0)
        if said != found:
            yield Finding("voucher", f"{account} {name}", None, said - found, *difference(said, found))


def _seals(transaction: Transaction, tables: tuple[sa.MetaData, ...]) -> Iterator[Finding]:
    """Each row that does not follow from the journal is as it was written."""
    for table in (table for each in tables for table in each.sorted_tables if is_sealed(table)):
        for row in stream(transaction, table.select()):
            if row.seal != seal(table, row._mapping):
                zh, en = "与其封签不符：行被改动、复制或添加", "does not fit its seal: edited, copied or made up"
                yield Finding(table.name, row_key(table, row), None, _at_stake(row._mapping), zh, en)


def _at_stake(row: Mapping[str, Any]) -> int:
    """By how much a row's discount is not its legs'; where that is not told or no fault, the row's amount."""
    if "legs" in row and "discount_fen" in row:
        off = row["discount_fen"] - sum(leg.amount_fen for leg in legs_in(row["legs"]))
        if off:
            return int(off)
    names = ("discount_fen", "amount_fen", *(name for name in row if name.endswith("_fen")))
    return next((int(row[name]) for name in names if isinstance(row.get(name), int) and row[name]), 0)


def _references(transaction: Transaction) -> Iterator[Finding]:
    yield from gaps(transaction, _SERIES)
    yield from unrecorded(transaction, _RECORDED)
    if not is_recovered(transaction):
        yield from dangling(transaction, _REFERENCES)


_voucher_key = attrgetter("issuer", "pack_id", "voucher_index")


def _add(sums: dict[str, int], legs: Iterable[Leg]) -> None:
    for leg in legs:
        sums[leg.account] += leg.amount_fen


_SHARED: tuple[Check, ...] = (
    _chain,
    _zero_sums,
    _accounts,
    _turnovers,
    _postings,
    _advances,
    _flows,
    _spends,
    _vouchers,
    _held,
    _references,
)
_REFERENCES = (
    Reference(schema.request, ("request_batch",), schema.signed_batch, ("id",)),
    Reference(schema.request, ("answer_batch",), schema.signed_batch, ("id",)),
    Reference(schema.suspended, ("authority", "number"), schema.suspension, ("authority", "number")),
)
_RECORDED = (
    Recorded(schema.campaign_change, CAMPAIGN_CHANGE, lambda row: f"{row.issuer}/{row.campaign} {row.number}"),
    Recorded(schema.deny_list, DENY_LIST, lambda row: str(row.number)),
    Recorded(schema.withdrawal_closing, CLOSING, closing_document),
)
_SERIES = (Series(schema.campaign_change, "number", ("issuer", "campaign")),)
_LEGS = ("legs", "standing", "rest_cofunders", "rest_public")
_ENCODED = (
    Encoded(schema.posting, lambda row: strict_legs(row.legs)),
    Encoded(schema.redemption, lambda row: (redemption_of(row), [strict_legs(row._mapping[name]) for name in _LEGS])),
    Encoded(schema.voucher, lambda row: (strict_legs(row.reserved_cofunders), strict_legs(row.reserved_public))),
)
