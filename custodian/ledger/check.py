"""Replays a party's books and names what does not hold: what was changed, removed or made up behind its back.

Each check reads one thing and compares it with what the rest of the books say it must be. The journal's chain of
digests and the seals of single rows tell an edit that keeps every sum right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any

import sqlalchemy as sa

from chassis.database import Transaction
from custodian import schema
from custodian.books import json_to_legs
from custodian.ledger.findings import ENTRY_POINTS, Check, Finding, PartyChecks
from custodian.seals import BEGINNING, entry_digest, seal
from quanlian import custody
from quanlian.accounts import account_region, advance_account, is_memo
from quanlian.apportionment import Leg
from quanlian.errors import ConfigurationError
from quanlian.ledger import is_limited
from quanlian.money import yuan

AMOUNTS = ("posted_fen", "reserved_fen", "held_fen", "limit_fen")
CAPTURED_STATES = ("CAPTURED", "PARTLY_REFUNDED", "REFUNDED")


def check_books(transaction: Transaction) -> list[Finding]:
    """Everything that does not hold. Raises ConfigurationError for a database that is no party's."""
    party = _party(transaction)
    checks: tuple[Check, ...] = (
        *_SHARED,
        lambda each: _redemptions(each, party.decided_elsewhere(each)),
        lambda each: _reserved(each, party.reserved_elsewhere(each)),
        *party.checks,
    )
    return [finding for check in checks for finding in check(transaction)]


def _party(transaction: Transaction) -> PartyChecks:
    inspector = sa.inspect(transaction.connection)
    for entry in entry_points(group=ENTRY_POINTS):
        party: PartyChecks = entry.load()
        if inspector.has_table(party.has_table):
            return party
    raise ConfigurationError("is neither a node's nor the clearinghouse's", place="database", remedy="name a party's")


def run(transaction: Transaction, query: sa.Executable) -> list[Any]:
    return list(transaction.connection.execute(query))


def difference(said: int, found: int) -> tuple[str, str]:
    """The same words for every amount that does not fit."""
    return f"记为{yuan(said)}元，应为{yuan(found)}元", f"says {yuan(said)}, must be {yuan(found)} yuan"


# The journal


def _chain(transaction: Transaction) -> Iterator[Finding]:
    """Numbers without a gap, each entry's digest as its lines and postings give it, nothing that no entry wrote."""
    lines = _grouped(run(transaction, schema.line.select()))
    postings = _grouped(run(transaction, schema.posting.select()))
    counters = run(transaction, sa.select(schema.counter.c.value).where(schema.counter.c.name == "entry"))
    last = counters[0].value if counters else 0
    before, expected = BEGINNING, 1
    for row in run(transaction, schema.entry.select().order_by(schema.entry.c.number)):
        for number in range(expected, row.number):
            yield _missing(number, lines.get(number, []))
        own, booked = lines.pop(row.number, []), postings.pop(row.number, [])
        fen = _debits(own)
        if row.number > last:
            zh, en = f"计数器只到{last}，此分录系添加", f"the counter ends at {last}: it was added"
            yield Finding("entry", f"{row.number} {row.kind}", row.number, fen, zh, en)
        elif row.digest != entry_digest(before, row._mapping, own, booked):
            what = f"{row.number} {row.kind} {row.reference}".rstrip()
            zh = f"摘要不符：分录、其{len(own)}行或其{len(booked)}笔收退被改动"
            en = (
                f"its digest does not fit: the entry, one of its {len(own)} lines or {len(booked)} postings was changed"
            )
            yield Finding("entry", what, row.number, fen, zh, en)
        before, expected = row.digest, row.number + 1
    for number in range(expected, last + 1):
        yield _missing(number, lines.get(number, []))
    for number in sorted(lines.keys() | postings.keys()):
        zh, en = (
            "没有这样的分录，明细系添加或分录被删除",
            "there is no such entry: its rows were added, or it was deleted",
        )
        yield Finding("line", f"entry {number}", number, _debits(lines.get(number, [])), zh, en)


def _missing(number: int, lines: list[Mapping[str, Any]]) -> Finding:
    return Finding("entry", str(number), number, _debits(lines), "分录缺失", "the entry is missing")


def _debits(lines: Iterable[Mapping[str, Any]]) -> int:
    """What an entry moves: debits, or else what it reserves, holds and allows."""
    lines = list(lines)
    posted = sum(int(line["posted_fen"]) for line in lines if line["posted_fen"] > 0)
    return posted or sum(abs(int(line[name])) for line in lines for name in AMOUNTS[1:])


def _grouped(rows: Iterable[Any]) -> dict[int, list[Mapping[str, Any]]]:
    groups: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row.entry].append(row._mapping)
    return dict(groups)


def _zero_sums(transaction: Transaction) -> Iterator[Finding]:
    sums: dict[int, int] = defaultdict(int)
    for line in run(transaction, sa.select(schema.line.c.entry, schema.line.c.account, schema.line.c.posted_fen)):
        sums[line.entry] += 0 if is_memo(line.account) else line.posted_fen
    for number, fen in sorted(sums.items()):
        if fen:
            yield Finding("line", f"entry {number}", number, fen, "借贷不平", "its lines do not sum to zero")


def _accounts(transaction: Transaction) -> Iterator[Finding]:
    """Each account's amounts are the sums of its lines."""
    line = schema.line.c
    query = sa.select(line.account, *(sa.func.sum(line[name]).label(name) for name in AMOUNTS)).group_by(line.account)
    sums = {row.account: row for row in run(transaction, query)}
    known = {row.account: row for row in run(transaction, schema.account.select())}
    last = dict(map(tuple, run(transaction, sa.select(line.account, sa.func.max(line.entry)).group_by(line.account))))
    for account in sorted(sums.keys() | known.keys()):
        for name in AMOUNTS:
            said = int(getattr(known[account], name)) if account in known else 0
            found = int(getattr(sums[account], name)) if account in sums else 0
            if said != found:
                row = f"{account} {name}"
                yield Finding("account", row, last.get(account), said - found, *difference(said, found))


def _turnovers(transaction: Transaction) -> Iterator[Finding]:
    entry, line = schema.entry.c, schema.line.c
    query = (
        sa.select(entry.settlement_window, line.account, line.counterpart, sa.func.sum(line.posted_fen).label("fen"))
        .join_from(schema.line, schema.entry, line.entry == entry.number)
        .group_by(entry.settlement_window, line.account, line.counterpart)
    )
    sums = {tuple(row)[:3]: int(row.fen) for row in run(transaction, query)}
    known = {tuple(row)[:3]: int(row.posted_fen) for row in run(transaction, schema.turnover.select())}
    for key in sorted(sums.keys() | known.keys()):
        said, found = known.get(key, 0), sums.get(key, 0)
        if said != found:
            row = f"window {key[0]} {key[1]} @{key[2]}"
            yield Finding("turnover", row, None, said - found, *difference(said, found))


# Captures and refunds


def _postings(transaction: Transaction) -> Iterator[Finding]:
    """Legs sum to their discount, and what an entry posts on funders is what its captures and refunds say."""
    posted: dict[tuple[int, str], int] = defaultdict(int)
    line = schema.line.c
    query = sa.select(line.entry, line.account, line.posted_fen).where(line.account.startswith("funding/"))
    for row in run(transaction, query):
        posted[(row.entry, row.account)] += row.posted_fen
    for row in run(transaction, schema.posting.select()):
        legs = json_to_legs(row.legs)
        total = sum(leg.amount_fen for leg in legs)
        if total != row.discount_fen:
            place = f"{row.redemption_id.hex()}/{row.number} {row.kind}"
            words = difference(row.discount_fen, total)
            yield Finding("posting", place, row.entry, row.discount_fen - total, *words)
        for leg in legs:
            posted[(row.entry, leg.account)] -= leg.amount_fen
    for (number, account), fen in sorted(posted.items()):
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
    for row in run(transaction, query):
        for leg in json_to_legs(row.legs):
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
    for row in run(transaction, query):
        known = sums[tuple(row)[:4]]
        first = 0 if row.kind == "capture" else 3
        for step, fen in enumerate((1, abs(row.order_fen), abs(row.discount_fen))):
            known[first + step] += fen
    names = [column.name for column in flow.columns if not column.primary_key]
    stored = {tuple(row)[:4]: list(tuple(row)[4:]) for row in run(transaction, flow.select())}
    for key in sorted(sums.keys() | stored.keys()):
        for name, said, found in zip(names, stored.get(key, [0] * 6), sums.get(key, [0] * 6), strict=True):
            if said != found:
                row = f"window {key[0]} {key[1]}→{key[2]} {key[3]} {name}"
                zh, en = f"记为{said:,}，应为{found:,}", f"says {said:,}, must be {found:,}"
                yield Finding("flow", row, None, said - found, zh, en)


def _redemptions(transaction: Transaction, elsewhere: set[bytes]) -> Iterator[Finding]:
    """Each redemption is what its captures and refunds made of it; `elsewhere` are those that others decided."""
    history: dict[bytes, list[Any]] = defaultdict(list)
    for row in run(transaction, schema.posting.select().order_by(schema.posting.c.number)):
        history[row.redemption_id].append(row)
    answered = {
        row.redemption_id: row.operation
        for row in run(transaction, sa.select(schema.request.c.redemption_id, schema.request.c.operation))
    }
    known = set()
    for row in run(transaction, schema.redemption.select()):
        known.add(row.id)
        postings = history.get(row.id, [])
        entry = postings[-1].entry if postings else None
        for name, said, found in _redemption_figures(row, postings):
            if said != found:
                fen = said - found if isinstance(said, int) and isinstance(found, int) else row.discount_fen
                zh, en = f"{name}：{said} ≠ {found}", f"{name} says {said}, its history gives {found}"
                yield Finding("redemption", row.id.hex(), entry, fen, zh, en)
        if row.id not in answered:
            zh, en = "没有任何请求产生过它", "no request made it, or the request's answer was deleted"
            yield Finding("request", f"redemption {row.id.hex()}", entry, row.discount_fen, zh, en)
    for id in sorted(history.keys() - known):
        fen = sum(row.discount_fen for row in history[id])
        yield Finding("redemption", id.hex(), history[id][0].entry, fen, "核销缺失", "the redemption is missing")
    there = known | elsewhere | {None}
    for id in sorted(answered.keys() - there):
        zh, en = f"{answered[id]}的答复所指核销缺失", f"missing, though a stored answer to {answered[id]} names it"
        yield Finding("redemption", id.hex(), None, 0, zh, en)


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
    yield "legs", json_to_legs(row.legs), json_to_legs(captured.legs)
    standing: dict[str, int] = defaultdict(int)
    for each in postings:
        _add(standing, json_to_legs(each.legs))
    stored: dict[str, int] = defaultdict(int)
    _add(stored, json_to_legs(row.standing))
    yield "standing", dict(stored), dict(standing)
    refunded = -sum(each.order_fen for each in refunds)
    state = "REFUNDED" if refunded == captured.order_fen else "PARTLY_REFUNDED" if refunded else "CAPTURED"
    yield "state", row.state, state


def _spends(transaction: Transaction) -> Iterator[Finding]:
    """One row for each capture, of the voucher that was captured."""
    redemption, spend = schema.redemption, schema.spend
    captured = {
        row.id: row for row in run(transaction, redemption.select().where(redemption.c.state.in_(CAPTURED_STATES)))
    }
    seen = set()
    for row in run(transaction, spend.select()):
        used = captured.get(row.redemption_id)
        seen.add(row.redemption_id)
        place = f"voucher {row.issuer}/{row.pack_id.hex()}/{row.voucher_index}"
        if used is None:
            zh, en = "没有这样的核销", f"no capture {row.redemption_id.hex()} is on the books"
            yield Finding("spend", place, None, 0, zh, en)
        elif (used.issuer, used.pack_id, used.voucher_index) != tuple(row)[:3]:
            zh, en = "所指核销用的是另一张券", f"redemption {row.redemption_id.hex()} used another voucher"
            yield Finding("spend", place, None, used.discount_fen, zh, en)
    for id, row in captured.items():
        if id not in seen:
            zh, en = "已核销的券没有核销记录", "a captured voucher has no row: it could be spent again"
            yield Finding("spend", f"redemption {id.hex()}", None, row.discount_fen, zh, en)


# Vouchers and the money that is set aside for them


def _vouchers(transaction: Transaction) -> Iterator[Finding]:
    """A held voucher has a live hold that names it, a captured one its capture."""
    redemption, voucher = schema.redemption, schema.voucher
    live: dict[tuple[Any, ...], Any] = {}
    for row in run(transaction, redemption.select().where(redemption.c.state.in_(("AUTHORIZED", *CAPTURED_STATES)))):
        live[(row.issuer, row.pack_id, row.voucher_index)] = row
    for row in run(transaction, voucher.select()):
        used = live.pop((row.issuer, row.pack_id, row.voucher_index), None)
        expected = custody.USABLE
        if used is not None:
            expected = custody.HELD if used.state == "AUTHORIZED" else custody.CAPTURED
        hold = used.id if used is not None and used.state == "AUTHORIZED" else None
        idle = (custody.USABLE, custody.EXPIRED, custody.CANCELLED)
        if (
            (used is None and row.status not in idle)
            or (used is not None and row.status != expected)
            or row.hold != hold
        ):
            place = f"{row.issuer}/{row.pack_id.hex()}/{row.voucher_index}"
            fen = used.discount_fen if used is not None else 0
            zh, en = f"状态为{row.status}，核销记录为{expected}", f"is {row.status}, its redemptions say {expected}"
            yield Finding("voucher", place, None, fen, zh, en)
    for key, used in live.items():
        place = f"{key[0]}/{key[1].hex()}/{key[2]}"
        zh, en = "已使用的券缺失", f"missing, though redemption {used.id.hex()} used it"
        yield Finding("voucher", place, None, used.discount_fen, zh, en)


def _held(transaction: Transaction) -> Iterator[Finding]:
    """What is held on each funder is what live holds say."""
    redemption = schema.redemption
    sums: dict[str, int] = defaultdict(int)
    for row in run(transaction, redemption.select().where(redemption.c.state == "AUTHORIZED")):
        _add(sums, json_to_legs(row.legs))
    yield from _against_accounts(transaction, "held_fen", sums)


def _reserved(transaction: Transaction, elsewhere: dict[str, int]) -> Iterator[Finding]:
    """What is reserved on each funder stands with a voucher, or beside a hold."""
    sums: dict[str, int] = defaultdict(int, elsewhere)
    voucher, redemption = schema.voucher, schema.redemption
    for row in run(transaction, sa.select(voucher.c.reserved_cofunders, voucher.c.reserved_public)):
        _add(sums, json_to_legs(row.reserved_cofunders) + json_to_legs(row.reserved_public))
    for row in run(transaction, redemption.select().where(redemption.c.state == "AUTHORIZED")):
        _add(sums, json_to_legs(row.rest_cofunders) + json_to_legs(row.rest_public))
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


def _seals(transaction: Transaction) -> Iterator[Finding]:
    """Each sealed row is as it was written."""
    for table in (schema.voucher, schema.redemption, schema.request):
        for row in run(transaction, table.select()):
            if row.seal != seal(table, row._mapping):
                key = "/".join(_shown(row._mapping[column]) for column in table.primary_key.columns)
                fen = row.discount_fen if table is schema.redemption else 0
                zh, en = "与其封签不符：行被改动、复制或添加", "does not fit its seal: edited, copied or made up"
                yield Finding(table.name, key, None, fen, zh, en)


def _add(sums: dict[str, int], legs: Iterable[Leg]) -> None:
    for leg in legs:
        sums[leg.account] += leg.amount_fen


def _shown(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


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
    _seals,
)
