"""A node's own tables against its journal, for `quanlian ledger check`."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from chassis.database import Transaction
from custodian import schema as books_schema
from custodian.ledger.check import CAPTURED_STATES, difference, joined, one_sided, run, stream
from custodian.ledger.decoding import (
    Encoded,
    legs_in,
    listed,
    read,
    returned_legs,
    strict_hand_over,
    strict_legs,
    vouchers_in,
)
from custodian.ledger.findings import Counted, Finding, PartyChecks
from node import payment_check, schema, signatures_check
from node.desk import pack_reservations
from node.domain.claims import china_day
from node.payment_check import own_region
from node.redeeming import used_away
from node.references_check import references
from node.withdrawing import taken_back, withdrawn_rows
from quanlian import wire
from quanlian.accounts import account_region, clearing_account
from quanlian.apportionment import Leg
from quanlian.errors import InvalidInput
from quanlian.ledger import is_limited
from quanlian.money import yuan
from quanlian.statements import json_to_statement
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import custody_pb2

_NO_CLAIM = (0, 0, 0)


def _reserved_in_packs(transaction: Transaction) -> dict[str, int]:
    """What vouchers keep reserved that have no row of their own yet."""
    pack, voucher = schema.pack, books_schema.voucher
    rows = sa.select(voucher.c.pack_id, voucher.c.voucher_index).order_by(voucher.c.pack_id)
    sums: dict[str, int] = defaultdict(int)
    for _, (packs, own) in joined(
        (stream(transaction, pack.select().order_by(pack.c.pack_id)), attrgetter("pack_id")),
        (stream(transaction, rows), attrgetter("pack_id")),
    ):
        for row in packs:
            if row.roaming == "at-issue":
                continue
            for index, legs in enumerate(_reserved_of(row)):
                if index not in {each.voucher_index for each in own}:
                    for leg in legs:
                        sums[leg.account] += leg.amount_fen
    return dict(sums)


def _packs(transaction: Transaction) -> Iterator[Finding]:
    """Packs add up to what they reserved, and their rounds and holders were counted."""
    rounds: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    holders: dict[tuple[str, str, bytes], tuple[int, int, int]] = {}
    for row in stream(transaction, schema.pack.select()):
        known, reservations = rounds[(row.campaign, row.round)], _reserved_of(row)
        known[:] = [
            known[0] + 1,
            known[1] + len(reservations),
            known[2] + row.reserved_fen,
            max(known[3], row.not_after),
        ]
        _count_holder(holders, row)
        total = sum(leg.amount_fen for legs in reservations for leg in legs)
        if total != row.reserved_fen:
            words = difference(row.reserved_fen, total)
            yield Finding("pack", row.pack_id.hex(), None, row.reserved_fen - total, *words)
    stored = {tuple(row)[:2]: list(tuple(row)[2:]) for row in run(transaction, schema.claim_round.select())}
    yield from one_sided("claim_round", rounds.keys(), stored.keys(), " ".join)
    for key in sorted(stored.keys() | rounds.keys()):
        said, found = stored.get(key, [0] * 4), rounds.get(key, [0] * 4)
        if said != found:
            zh, en = f"记为{said}，券包合计{found}", f"says {said}, its packs give {found}"
            yield Finding("claim_round", " ".join(key), None, said[2] - found[2], zh, en)
    claims = {
        (row.campaign, row.round, row.holder_tag): (row.claims, row.day, row.claims_on_day)
        for row in run(transaction, schema.holder_claim.select())
    }
    yield from one_sided("holder_claim", holders.keys(), claims.keys(), _holder)
    for holder in sorted(claims.keys() | holders.keys()):
        counted, packs = claims.get(holder, _NO_CLAIM), holders.get(holder, _NO_CLAIM)
        if counted != packs:
            zh, en = f"记有{counted}（份数、末日、当日），券包{packs}", f"counts {counted}, its packs give {packs}"
            yield Finding("holder_claim", _holder(holder), None, 0, zh, en)


def _holder(key: tuple[str, str, bytes]) -> str:
    campaign, claim_round, tag = key
    return f"{campaign} {claim_round} {tag.hex()}"


def _count_holder(holders: dict[tuple[str, str, bytes], tuple[int, int, int]], pack: Any) -> None:
    """Packs in the round, the day of the last, packs on that day: in whatever order they are read."""
    key, issued = (pack.campaign, pack.round, pack.holder_tag), china_day(pack.issued_at)
    claims, day, on_day = holders.get(key, _NO_CLAIM)
    if issued == day:
        holders[key] = (claims + 1, day, on_day + 1)
    else:
        holders[key] = (claims + 1, issued, 1) if issued > day else (claims + 1, day, on_day)


def _limits(transaction: Transaction) -> Iterator[Finding]:
    """Budgets of the campaigns in force, less hand-overs and what close-outs released, with what came back, are its
    limits.
    """
    expected: dict[str, int] = defaultdict(int)
    query = sa.select(schema.campaign.c.campaign, schema.terms.c.document).join_from(
        schema.campaign, schema.terms, schema.campaign.c.terms_hash == schema.terms.c.terms_hash
    )
    for row in run(transaction, query):
        terms = read(lambda document: parse_terms(document, row.campaign), row.document, None)  # noqa: B023
        for account, fen in terms.budgets().items() if terms else ():
            expected[account] += fen
    for table, sign in ((schema.hand_over, -1), (schema.custody_return, 1)):
        for row in run(transaction, table.select()):
            for voucher in vouchers_in(row.body):
                for leg in voucher.reservation.legs():
                    expected[leg.account] += sign * leg.amount_fen if is_limited(leg.account) else 0
    for row in run(transaction, schema.fund_return.select()):
        for leg in returned_legs(row.body):
            expected[leg.account] += leg.amount_fen
    for row in run(transaction, schema.close_out.select()):
        for account, fen in listed(row.released):
            expected[account] -= fen
    limits = {
        row.account: int(row.limit_fen) for row in run(transaction, books_schema.account.select()) if row.limit_fen
    }
    for account in sorted(expected.keys() | limits.keys()):
        said, found = limits.get(account, 0), expected.get(account, 0)
        if said != found:
            yield Finding("hand_over", f"{account} limit_fen", None, said - found, *difference(said, found))


def _hand_overs(transaction: Transaction) -> Iterator[Finding]:
    """Numbered without a gap; each voucher's latest is the one that names it."""
    counters = {row.name: row.value for row in run(transaction, books_schema.counter.select())}
    latest, rows = {}, run(transaction, schema.hand_over.select())
    for row in sorted(rows, key=lambda row: int(row.number)):
        for voucher in vouchers_in(row.body):
            latest[(voucher.key.pack_id, voucher.key.voucher_index)] = (row.number, voucher.reservation.total_fen)
    for number in sorted(set(range(1, counters.get("hand-over", 0) + 1)) ^ {row.number for row in rows}):
        yield Finding("hand_over", str(number), None, 0, "移交单缺失或系添加", "is missing, or was added")
    known = {tuple(row)[:2]: row.number for row in run(transaction, schema.handed_voucher.select())}
    for key in sorted(latest.keys() | known.keys()):
        number, fen = latest.get(key, (None, 0))
        if known.get(key) != number:
            row = f"{key[0].hex()}/{key[1]}"
            zh, en = f"记为移交单{known.get(key)}，应为{number}", f"says hand-over {known.get(key)}, must be {number}"
            yield Finding("handed_voucher", row, None, fen, zh, en)
    returns = {row.number for row in run(transaction, schema.fund_return.select())}
    for number in sorted(set(range(1, max(returns, default=0) + 1)) - returns):
        yield Finding("fund_return", str(number), None, 0, "退款单缺失", "is missing")


def _booked_away(transaction: Transaction) -> Iterator[Finding]:
    """What each entry says that own funders used away is what the postings that it booked say."""
    region, entries = own_region(transaction), _used_by_withdrawn(transaction)
    line, item = books_schema.line, schema.clearing_item
    booked = line.select().where(line.c.account.startswith("used_away/", autoescape=True)).order_by(line.c.entry)
    concerned = item.select().where((item.c.side == "funder") | (item.c.issuer != region)).order_by(item.c.entry)
    for number, (lines, items) in joined(
        (stream(transaction, booked), attrgetter("entry")), (stream(transaction, concerned), attrgetter("entry"))
    ):
        left = Counter[str]()
        for row in lines:
            left[row.counterpart] += row.posted_fen
        for row in items:
            left[_elsewhere(row)] -= _used_fen(region, legs_in(row.legs))
        left.subtract(entries.get(number, {}))
        for counterpart, fen in sorted(left.items()):
            if fen:
                zh = (
                    f"该分录记有与{counterpart}所用{yuan(fen)}元，收退明细没有："
                    f"有明细被删除，或其{len(items)}笔之一被改动"
                )
                en = (
                    f"the entry booked {yuan(fen)} yuan used with {counterpart} that no posting shows: "
                    f"one was deleted, or one of its {len(items)} was changed"
                )
                yield Finding("clearing_item", f"entry {number} {counterpart}", number, fen, zh, en)


def _used_by_withdrawn(transaction: Transaction) -> dict[int, Counter[str]]:
    """By entry and counterpart: what was booked of postings that were taken back, and the opposite where they were."""
    region, entries = own_region(transaction), defaultdict[int, Counter[str]](Counter)
    for row, posting in withdrawn_rows(transaction):
        if row.side == "funder" or posting.issuer != region:
            counterpart = posting.redeeming_region if row.side == "funder" else posting.issuer
            fen = _used_fen(region, wire.legs_of(posting.legs))
            entries[row.booked][counterpart] += fen
            entries[row.entry][counterpart] -= fen
    return entries


def _elsewhere(row: Any) -> str:
    """With which region a clearing item is booked."""
    return str(row.redeeming_region if row.side == "funder" else row.issuer)


def _used_fen(region: str, legs: tuple[Leg, ...]) -> int:
    """What the region's own funders use of these legs."""
    return sum(leg.amount_fen for leg in legs if is_limited(leg.account) and account_region(leg.account) == region)


def _clearing(transaction: Transaction) -> Iterator[Finding]:
    """What the clearinghouse posted for this region is what `used_away`, `advance_away` and `clearing` say."""
    region = own_region(transaction)
    sums: dict[str, int] = defaultdict(int)
    for row in stream(transaction, schema.clearing_item.select()):
        legs = legs_in(row.legs)
        total = sum(leg.amount_fen for leg in legs)
        place = f"{row.side} {row.redemption_id.hex()}/{row.number}"
        if total != row.discount_fen:
            words = difference(row.discount_fen, total)
            yield Finding("clearing_item", place, None, row.discount_fen - total, *words)
        if row.side == "merchant":
            sums[clearing_account(region)] += sum(leg.amount_fen for leg in legs if is_limited(leg.account))
        if row.side == "funder" or row.issuer != region:
            for movement in used_away(region, legs, ""):
                sums[movement.account] += movement.posted_fen
    for row in run(transaction, schema.settlement_window.select()):
        if row.settled:
            sums[clearing_account(region)] -= row.net_fen
    account = books_schema.account.c.account
    mirrors = (account.startswith(f"{kind}/", autoescape=True) for kind in ("used_away", "advance_away", "clearing"))
    query = books_schema.account.select().where(sa.or_(*mirrors))
    known = {row.account: int(row.posted_fen) for row in run(transaction, query)}
    for code in sorted(sums.keys() | known.keys()):
        said, found = known.get(code, 0), sums.get(code, 0)
        if said != found:
            yield Finding("clearing_item", code, None, said - found, *difference(said, found))


def _away(transaction: Transaction) -> Iterator[Finding]:
    """An away redemption as the answers left it is what its captures and refunds say."""
    item, away = schema.clearing_item, schema.away
    merchants = item.select().where(item.c.side == "merchant").order_by(item.c.redemption_id, item.c.number)
    for id, (rows, items) in joined(
        (stream(transaction, away.select().order_by(away.c.redemption_id)), attrgetter("redemption_id")),
        (stream(transaction, merchants), attrgetter("redemption_id")),
    ):
        row = rows[0] if rows else None
        if row is None or (row.state in CAPTURED_STATES and not items):
            fen = row.discount_fen if row is not None else sum(each.discount_fen for each in items)
            zh, en = "异地核销与其收退明细只存其一", "either the redemption or its postings are missing"
            yield Finding("away", id.hex(), None, fen, zh, en)
        elif items:
            refunded = -sum(each.order_fen for each in items[1:])
            for name, said, found in (
                ("discount_fen", row.discount_fen, sum(each.discount_fen for each in items)),
                ("order_fen", row.order_fen, items[0].order_fen),
                ("refunded_order_fen", row.refunded_order_fen, refunded),
            ):
                if said != found:
                    yield Finding("away", f"{id.hex()} {name}", None, said - found, *difference(said, found))


def _windows(transaction: Transaction) -> Iterator[Finding]:
    """A window's net is its statement's."""
    for row in run(transaction, schema.settlement_window.select()):
        if row.statement is None:
            continue
        place = f"window {row.number}"
        try:
            net = json_to_statement(row.statement).net_fen
        except InvalidInput as error:
            yield Finding("settlement_window", place, None, row.net_fen, f"对账单自相矛盾：{error}", str(error))
            continue
        if net != row.net_fen:
            yield Finding("settlement_window", place, None, row.net_fen - net, *difference(row.net_fen, net))


def _is_away(transaction: Transaction) -> Callable[[bytes], bool]:
    """Whether the clearinghouse decided a redemption here."""
    key = schema.away.c.redemption_id
    return lambda id: bool(transaction.select_keys(schema.away, [key], [(id,)], [key]))


_COUNTED = tuple(name for name in Counted._fields if name != "times")


def _counted_away(transaction: Transaction) -> Iterator[Counted]:
    """What this node heard of the clearinghouse's postings, each once in whichever role, and what was taken back."""
    item, region = schema.clearing_item.c, own_region(transaction)
    columns = (getattr(item, name) for name in _COUNTED)
    once = (item.side == "merchant") | (item.redeeming_region != region)
    for row in stream(transaction, sa.select(*columns).where(once)):
        yield Counted(*row)
    for side, posting in taken_back(transaction):
        if side == "merchant" or posting.redeeming_region != region:
            counted = Counted(*(getattr(posting, name) for name in _COUNTED))
            yield from (counted, counted._replace(times=-1))


def _reserved_of(row: Any) -> list[tuple[Leg, ...]]:
    """As `_reservations`; none where they cannot be read."""
    return read(_reservations, row, list[tuple[Leg, ...]]())


def _reservations(row: Any) -> list[tuple[Leg, ...]]:
    """By index: the legs of each voucher of a pack."""
    return [
        strict_legs(json.dumps(cofunders)) + strict_legs(json.dumps(public))
        for cofunders, public in pack_reservations(row.reservations)
    ]


_ENCODED = (
    Encoded(schema.pack, _reservations),
    Encoded(schema.clearing_item, lambda row: strict_legs(row.legs)),
    Encoded(schema.hand_over, lambda row: strict_hand_over(row.body)),
    Encoded(schema.custody_return, lambda row: strict_hand_over(row.body)),
    Encoded(schema.fund_return, lambda row: custody_pb2.FundReturn.FromString(row.body)),
    Encoded(schema.terms, lambda row: parse_terms(row.document, row.campaign)),
    Encoded(schema.payment, lambda row: json.loads(row.items)),
    Encoded(schema.close_out, lambda row: json.loads(row.released)),
)
CHECKS = PartyChecks(
    "pack",
    schema.METADATA,
    _ENCODED,
    (_packs, _limits, _hand_overs, _booked_away, _clearing, _away, _windows, references, *payment_check.CHECKS),
    signatures_check.CHECKS,
    _reserved_in_packs,
    _is_away,
    _counted_away,
)
