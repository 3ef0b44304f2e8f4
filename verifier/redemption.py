"""One redemption recomputed: token, terms, reserved money, discount, split, capture, refunds (money.md, Who pays)."""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from quanlian import vouchers, wire
from quanlian.accounts import visitors_account
from quanlian.agreements import Agreement
from quanlian.apportionment import FundingPlan, Leg, Reservation, split
from quanlian.discounts import Order, discount
from quanlian.errors import QuanlianError
from quanlian.signing import Verifier
from quanlian.terms import Terms, VoucherType
from quanlian.vouchers import Voucher, VoucherKey
from verifier.documents import Documents
from verifier.findings import Finder, Finding
from verifier.handed import Handed
from verifier.postings import LegData, check_postings, leg_data, legs_of
from verifier.reserved import Difference, reserved_differences
from verifier.tally import ItemKind, Tally

ID_BYTES = 16
CHINA_OFFSET_SECONDS, DAY_SECONDS = 8 * 3600, 86_400
REMEMBERED = 100_000
_BY_ORDER = ("leverage-tiered", "order-rate")
"""Methods whose split depends on the order, not on the discount alone."""


class Paid(NamedTuple):
    """Who pays a discount, also as the evidence writes it."""

    legs: tuple[Leg, ...]
    data: list[LegData]


@dataclass(slots=True)
class Reserved:
    """Vouchers of one type with the same money reserved: what holds for one of them holds for all.

    `differences` are those from its terms; `paid` has the splits recomputed already, by all else that one depends on.
    """

    terms: Terms
    voucher_type: VoucherType
    reservation: Reservation
    differences: list[Difference]
    paid: dict[tuple[Any, ...], Paid | None] = field(default_factory=dict)


@dataclass(slots=True)
class Grounds:
    """What redemptions are judged by. `handed` is the signed hand-over that stands before them, if it is sound."""

    region: str
    windows: Mapping[int, tuple[int, int]]
    """The windows that are added up, each with the span of time that its postings lie in."""
    documents: Documents
    verifier: Verifier
    window: int = 0
    """Whose file is read: what happened in other windows is recomputed, and added up from their own files."""
    handed: Handed | None = None
    tokens: dict[str, tuple[Voucher, str]] = field(default_factory=dict)
    """Packs seen, by token: the voucher, and why its signature does not count. The vouchers of a pack share a token."""
    reserved: dict[tuple[bytes, int, Reservation], Reserved] = field(default_factory=dict)
    """By terms and number of the voucher type."""
    splits: int = 0
    """How many are remembered, of all that is reserved."""

    def begin_portion(self, window: int) -> None:
        """Forget what only the portion before needed."""
        self.handed, self.window = None, window
        self.tokens.clear()
        if self.splits + len(self.reserved) > REMEMBERED:
            self.reserved.clear()
            self.splits = 0


class Recomputed(NamedTuple):
    """What one line contributes, and what does not hold of it.

    `id` and `voucher` tell it from others: the redemption's id, and the issuer, pack and index of what was captured.
    """

    id: bytes
    voucher: bytes
    findings: list[Finding]


def recompute(line: Mapping[str, Any], grounds: Grounds, tally: Tally) -> Recomputed:
    """Judge one line of evidence. What it says of itself is added to the tally; every deviation is a finding."""
    finder = Finder(f"redemption {line.get('id')}")
    try:
        return _recompute(line, grounds, tally, finder)
    except (QuanlianError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        finder.note("cannot be read", f"{type(error).__name__}: {error}")
        return Recomputed(b"", b"", finder.findings)


def _recompute(line: Mapping[str, Any], grounds: Grounds, tally: Tally, finder: Finder) -> Recomputed:
    voucher = _voucher(line, grounds, finder)
    redeemer, postings = line["redeeming_region"], line["postings"]
    if grounds.region not in (voucher.issuer, redeemer):
        finder.equal("redeeming_region", redeemer, grounds.region)
    reserved, paid = _reserved(line["index"], voucher, grounds, finder), None
    if reserved is not None:
        paid = _pay(line, voucher, reserved, grounds, finder)
        if paid is not None:
            check_postings(line, reserved.terms, reserved.voucher_type, paid.legs, paid.data, finder)
    _check_windows(postings, grounds, finder)
    id, used = _told_apart(line, voucher)
    tally.add(_items(postings, voucher, redeemer, paid, grounds))
    return Recomputed(id, used, finder.findings)


def _voucher(line: Mapping[str, Any], grounds: Grounds, finder: Finder) -> Voucher:
    """What the token says; it was signed by its issuer and not used before its time."""
    known = grounds.tokens.get(line["token"])
    if known is None:
        known = grounds.tokens[line["token"]] = _read_token(line["token"], grounds.verifier)
    voucher, fault = known
    if fault:
        finder.note("token", fault)
    if line["authorized_at"] < voucher.not_before:
        finder.equal("authorized_at", line["authorized_at"], f"{voucher.not_before} or later")
    return voucher


def _reserved(index: int, voucher: Voucher, grounds: Grounds, finder: Finder) -> Reserved | None:
    """The money that stands behind a voucher, compared with its terms; None where either is not there."""
    terms = grounds.documents.terms.get(voucher.terms_hash)
    if terms is None or (terms.issuer, terms.campaign) != (voucher.issuer, voucher.campaign):
        finder.note("terms", f"no signed terms {voucher.terms_hash.hex()} of {voucher.campaign}")
        return None
    handed = grounds.handed
    reservation = handed.money.reservation(VoucherKey(voucher.issuer, voucher.pack_id, index)) if handed else None
    if reservation is None:
        finder.note("reserved money", "no signed hand-over brings this voucher")
        return None
    number = voucher.voucher_types[index]
    key = (voucher.terms_hash, number, reservation)
    reserved = grounds.reserved.get(key)
    if reserved is None:
        voucher_type = terms.voucher_types[number - 1]
        differences = list(reserved_differences(terms, voucher_type, reservation))
        reserved = grounds.reserved[key] = Reserved(terms, voucher_type, reservation, differences)
    for difference in reserved.differences:
        finder.equal(*difference)
    return reserved


def _told_apart(line: Mapping[str, Any], voucher: Voucher) -> tuple[bytes, bytes]:
    id, used = bytes.fromhex(line["id"]), voucher_record(voucher.issuer, voucher.pack_id, line["index"])
    if len(id) != ID_BYTES:
        raise ValueError(f"an id has {ID_BYTES} bytes")
    return id, used


def voucher_record(issuer: str, pack_id: bytes, index: int) -> bytes:
    """A voucher in 22 bytes: region code, pack, index. Raises ValueError or OverflowError for what does not fit."""
    record = issuer.encode("ascii") + pack_id + index.to_bytes(1, "big")
    if len(record) != VOUCHER_BYTES:
        raise ValueError(f"{issuer!r} is no region's code")
    return record


VOUCHER_BYTES = 6 + vouchers.PACK_ID_BYTES + 1


def _read_token(content: str, verifier: Verifier) -> tuple[Voucher, str]:
    """The voucher, and why it does not count: the issuer signed it, with a key that was good then."""
    token = wire.bytes_to_token(a2b_base64(content, strict_mode=True))
    voucher = wire.body_to_voucher(token.body)
    try:
        key = vouchers.verify(token, voucher, verifier)
    except QuanlianError as error:
        return voucher, str(error)
    if not vouchers.key_was_valid(key, voucher.issued_at) or vouchers.key_was_revoked(key, voucher.issued_at):
        return voucher, f"its key was not valid at {voucher.issued_at}"
    return voucher, ""


def _pay(
    line: Mapping[str, Any], voucher: Voucher, reserved: Reserved, grounds: Grounds, finder: Finder
) -> Paid | None:
    """The discount by the terms, then who pays it by the agreement; None where that cannot be said."""
    order = Order(
        line["order_fen"], line["category"], line["channel"], line["klass"], line["invoice_fen"], line["price_fen"]
    )
    found = discount(reserved.voucher_type, order)
    if found.refusal:
        finder.note("order_fen", f"{order.order_fen} gives no discount: {found.refusal}")
        return None
    if line["discount_fen"] != found.amount_fen:
        finder.equal("discount_fen", line["discount_fen"], found.amount_fen)
    redeemer, agreement = line["redeeming_region"], None
    if redeemer != voucher.issuer:
        agreement = _agreement(line, voucher, grounds.documents, finder)
        if agreement is None:
            return None
    else:
        finder.equal("agreement", line["agreement"], "")
    visitors = _visitors(line, agreement, finder)
    paid = _split(found.amount_fen, order.order_fen, reserved, agreement, redeemer, visitors, grounds)
    if paid is None:
        finder.note("legs", "the money did not reach")
    return paid


def _agreement(line: Mapping[str, Any], voucher: Voucher, documents: Documents, finder: Finder) -> Agreement | None:
    """The one that the redemption names; where that is not there, the one that was in force."""
    route, name = (voucher.campaign, voucher.issuer, line["redeeming_region"]), line["agreement"]
    in_force = documents.in_force(route, line["authorized_at"])
    if name not in in_force:
        finder.equal("agreement", name, " or ".join(in_force) or "one in force: there is none")
    for each in (name, *in_force):
        if each in documents.agreements:
            return documents.agreements[each]
    return None


class Visitors(NamedTuple):
    """The redeeming region's standing fund with what each of its funders had left, and what its yearly ceiling left."""

    plan: FundingPlan | None
    left: tuple[int, ...]
    ceiling_left_fen: int | None

    def limits(self, discount_fen: int) -> tuple[Any, ...]:
        """All of it that a split of `discount_fen` can depend on: who has that much left cannot run dry."""
        ample = not self.left or min(self.left) >= discount_fen
        ceiling_fen = self.ceiling_left_fen
        within = ceiling_fen is None or ceiling_fen >= discount_fen
        return (self.plan, None if ample else self.left, None if within else ceiling_fen)


def _visitors(line: Mapping[str, Any], agreement: Agreement | None, finder: Finder) -> Visitors:
    """As the redemption tells it; a ceiling only where one is agreed, accounts only of that fund and year."""
    told, redeemer = line["visitors"] or {}, line["redeeming_region"]
    ceiling_fen = told.get("ceiling_left_fen")
    agreed_fen = agreement.yearly_ceiling_fen(redeemer) if agreement else None
    if agreed_fen is None or ceiling_fen is None:
        if ceiling_fen != agreed_fen:
            finder.equal("ceiling_left_fen", ceiling_fen, agreed_fen)
    elif ceiling_fen > agreed_fen:
        finder.equal("ceiling_left_fen", ceiling_fen, f"{agreed_fen} or less")
    if "funders" not in told:
        return Visitors(None, (), ceiling_fen)
    accounts, weights, left = zip(*told["funders"], strict=True)
    fund = _fund(redeemer, _year((line["authorized_at"] + CHINA_OFFSET_SECONDS) // DAY_SECONDS))
    for account in accounts:
        if not account.startswith(fund):
            finder.equal("visitors", account, f"{fund}…")
    return Visitors(FundingPlan(accounts, weights, told["rule"]), left, ceiling_fen)


@lru_cache(maxsize=4096)
def _fund(region: str, year: int) -> str:
    return visitors_account(region, year, "")


@lru_cache(maxsize=4096)
def _year(day: int) -> int:
    """The year of a day of Asia/Shanghai, counted from 1970-01-01."""
    return datetime.fromtimestamp(day * DAY_SECONDS, UTC).year


def _split(
    discount_fen: int,
    order_fen: int,
    reserved: Reserved,
    agreement: Agreement | None,
    redeemer: str,
    visitors: Visitors,
    grounds: Grounds,
) -> Paid | None:
    """Recomputed once for all redemptions that agree in whatever decides it."""
    by_order = order_fen if agreement is not None and agreement.method in _BY_ORDER else 0
    name = agreement.name if agreement else ""
    key = (discount_fen, by_order, name, redeemer, visitors.limits(discount_fen))
    if key not in reserved.paid:
        left = dict(zip(visitors.plan.accounts, visitors.left, strict=True)) if visitors.plan else {}
        found = split(
            discount_fen, order_fen, reserved.reservation, agreement, redeemer, reserved.terms.issuer,
            visitors.plan, left.__getitem__, visitors.ceiling_left_fen,
        )  # fmt: skip
        reserved.paid[key] = found and Paid(found.legs, [leg_data(leg) for leg in found.legs])
        grounds.splits += 1
    return reserved.paid[key]


def _check_windows(postings: Sequence[Any], grounds: Grounds, finder: Finder) -> None:
    """A posting of a stated window happened while it was open."""
    for posting in postings:
        opened_at, closed_at = grounds.windows.get(posting["window"], (posting["at"], posting["at"]))
        if not opened_at <= posting["at"] <= closed_at:
            finder.equal(f"{posting['kind']} {posting['number']} at", posting["at"], f"{opened_at} to {closed_at}")


def _items(
    postings: Sequence[Any], voucher: Voucher, redeemer: str, paid: Paid | None, grounds: Grounds
) -> list[tuple[ItemKind, int, int]]:
    """What the file's window adds up, seen from the region: as funder, as merchants' region, or at home as both."""
    home = voucher.issuer == redeemer
    sides = ("funder", "merchant") if home else ("funder",) if grounds.region == voucher.issuer else ("merchant",)
    items = []
    for posting in postings:
        if posting["window"] == grounds.window and grounds.window in grounds.windows:
            order_fen, discount_fen = posting["order_fen"], posting["discount_fen"]
            legs = paid.legs if paid is not None and posting["legs"] == paid.data else legs_of(posting["legs"])
            refund = order_fen < 0 or discount_fen < 0
            for side in sides:
                kind = ItemKind(side, voucher.issuer, redeemer, voucher.campaign, refund, legs)
                items.append((kind, order_fen, discount_fen))
    return items
