"""One redemption recomputed: token, terms, reserved money, discount, split, capture, refunds (money.md, Who pays)."""

from __future__ import annotations

from base64 import b64decode
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
from quanlian.statements import ItemFigures
from quanlian.terms import Terms, VoucherType
from quanlian.vouchers import Voucher, VoucherKey
from verifier.documents import Documents
from verifier.findings import Finder, Finding
from verifier.handed import Handed
from verifier.postings import LegData, check_postings, leg_data, legs_of
from verifier.reserved import Difference, reserved_differences

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
    reserved: dict[tuple[bytes, int, Reservation], list[Difference]] = field(default_factory=dict)
    """Reservations compared with their terms already."""
    paid: dict[tuple[Any, ...], Paid | None] = field(default_factory=dict)
    """Splits recomputed already, by all that one depends on."""

    def begin_portion(self, window: int) -> None:
        """Forget what only the portion before needed."""
        self.handed, self.window = None, window
        self.tokens.clear()
        for known in (self.reserved, self.paid):
            if len(known) > REMEMBERED:
                known.clear()


class Recomputed(NamedTuple):
    """What one line contributes to the statement, and what does not hold of it.

    `id` and `voucher` tell it from others: the redemption's id, and the issuer, pack and index of what was captured.
    """

    id: bytes
    voucher: bytes
    items: list[ItemFigures]
    findings: list[Finding]


def recompute(line: Mapping[str, Any], grounds: Grounds) -> Recomputed:
    """Judge one line of evidence. What it says of itself is added up; every deviation is a finding."""
    finder = Finder(f"redemption {line.get('id')}")
    try:
        return _recompute(line, grounds, finder)
    except (QuanlianError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        finder.note("cannot be read", f"{type(error).__name__}: {error}")
        return Recomputed(b"", b"", [], finder.findings)


def _recompute(line: Mapping[str, Any], grounds: Grounds, finder: Finder) -> Recomputed:
    if line["token"] not in grounds.tokens:
        grounds.tokens[line["token"]] = _read_token(line["token"], grounds.verifier)
    voucher, fault = grounds.tokens[line["token"]]
    index, redeemer = line["index"], line["redeeming_region"]
    if fault:
        finder.note("token", fault)
    if line["authorized_at"] < voucher.not_before:
        finder.equal("authorized_at", line["authorized_at"], f"{voucher.not_before} or later")
    if grounds.region not in (voucher.issuer, redeemer):
        finder.equal("redeeming_region", redeemer, grounds.region)
    key = VoucherKey(voucher.issuer, voucher.pack_id, index)
    terms, paid = grounds.documents.terms.get(voucher.terms_hash), None
    reservation = grounds.handed.money.reservation(key) if grounds.handed else None
    if terms is None or (terms.issuer, terms.campaign) != (voucher.issuer, voucher.campaign):
        finder.note("terms", f"no signed terms {voucher.terms_hash.hex()} of {voucher.campaign}")
    elif reservation is None:
        finder.note("reserved money", "no signed hand-over brings this voucher")
    else:
        number = voucher.voucher_types[index]
        voucher_type = terms.voucher_types[number - 1]
        _check_reserved((voucher.terms_hash, number, reservation), terms, voucher_type, grounds, finder)
        paid = _pay(line, voucher, voucher_type, reservation, grounds, finder)
        if paid is not None:
            check_postings(line, terms, voucher_type, paid.legs, paid.data, finder)
    _check_windows(line["postings"], grounds, finder)
    items = _items(line["postings"], voucher, redeemer, paid, grounds)
    id, used = _told_apart(line, voucher, index)
    return Recomputed(id, used, items, finder.findings)


def _told_apart(line: Mapping[str, Any], voucher: Voucher, index: int) -> tuple[bytes, bytes]:
    id, used = bytes.fromhex(line["id"]), voucher_record(voucher.issuer, voucher.pack_id, index)
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
    token = wire.bytes_to_token(b64decode(content, validate=True))
    voucher = wire.body_to_voucher(token.body)
    try:
        key = vouchers.verify(token, voucher, verifier)
    except QuanlianError as error:
        return voucher, str(error)
    if not vouchers.key_was_valid(key, voucher.issued_at) or vouchers.key_was_revoked(key, voucher.issued_at):
        return voucher, f"its key was not valid at {voucher.issued_at}"
    return voucher, ""


def _check_reserved(
    key: tuple[bytes, int, Reservation], terms: Terms, voucher_type: VoucherType, grounds: Grounds, finder: Finder
) -> None:
    differences = grounds.reserved.get(key)
    if differences is None:
        differences = grounds.reserved[key] = list(reserved_differences(terms, voucher_type, key[2]))
    for difference in differences:
        finder.equal(*difference)


def _pay(
    line: Mapping[str, Any],
    voucher: Voucher,
    voucher_type: VoucherType,
    reservation: Reservation,
    grounds: Grounds,
    finder: Finder,
) -> Paid | None:
    """The discount by the terms, then who pays it by the agreement; None where that cannot be said."""
    order = Order(
        line["order_fen"], line["category"], line["channel"], line["klass"], line["invoice_fen"], line["price_fen"]
    )
    found = discount(voucher_type, order)
    if found.refusal:
        finder.note("order_fen", f"{order.order_fen} gives no discount: {found.refusal}")
        return None
    finder.equal("discount_fen", line["discount_fen"], found.amount_fen)
    redeemer, agreement = line["redeeming_region"], None
    if redeemer != voucher.issuer:
        agreement = _agreement(line, voucher, grounds.documents, finder)
        if agreement is None:
            return None
    else:
        finder.equal("agreement", line["agreement"], "")
    visitors = _visitors(line, agreement, finder)
    paid = _split(
        found.amount_fen, order.order_fen, reservation, agreement, (voucher.issuer, redeemer), visitors, grounds
    )
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
    """The redeeming region's standing fund with what its funders had left, and what its yearly ceiling left."""

    plan: FundingPlan | None
    left: dict[str, int]
    ceiling_left_fen: int | None

    def limits(self, discount_fen: int) -> tuple[Any, ...]:
        """All of it that a split of `discount_fen` can depend on: who has that much left cannot run dry."""
        ample = all(fen >= discount_fen for fen in self.left.values())
        ceiling_fen = self.ceiling_left_fen
        within = ceiling_fen is None or ceiling_fen >= discount_fen
        return (self.plan, None if ample else tuple(self.left.items()), None if within else ceiling_fen)


def _visitors(line: Mapping[str, Any], agreement: Agreement | None, finder: Finder) -> Visitors:
    """As the redemption tells it; a ceiling only where one is agreed, accounts only of that fund and year."""
    told, redeemer = line["visitors"] or {}, line["redeeming_region"]
    ceiling_fen = told.get("ceiling_left_fen")
    agreed_fen = agreement.yearly_ceiling_fen(redeemer) if agreement else None
    if agreed_fen is None or ceiling_fen is None:
        finder.equal("ceiling_left_fen", ceiling_fen, agreed_fen)
    elif ceiling_fen > agreed_fen:
        finder.equal("ceiling_left_fen", ceiling_fen, f"{agreed_fen} or less")
    if "funders" not in told:
        return Visitors(None, {}, ceiling_fen)
    accounts, weights, left = zip(*told["funders"], strict=True)
    fund = _fund(redeemer, _year((line["authorized_at"] + CHINA_OFFSET_SECONDS) // DAY_SECONDS))
    for account in accounts:
        if not account.startswith(fund):
            finder.equal("visitors", account, f"{fund}…")
    return Visitors(FundingPlan(accounts, weights, told["rule"]), dict(zip(accounts, left, strict=True)), ceiling_fen)


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
    reservation: Reservation,
    agreement: Agreement | None,
    regions: tuple[str, str],
    visitors: Visitors,
    grounds: Grounds,
) -> Paid | None:
    """Recomputed once for all redemptions that agree in whatever decides it."""
    by_order = order_fen if agreement is not None and agreement.method in _BY_ORDER else 0
    name = agreement.name if agreement else ""
    key = (discount_fen, by_order, reservation, name, regions, visitors.limits(discount_fen))
    if key not in grounds.paid:
        issuer, redeemer = regions
        found = split(
            discount_fen, order_fen, reservation, agreement, redeemer, issuer,
            visitors.plan, visitors.left.__getitem__, visitors.ceiling_left_fen,
        )  # fmt: skip
        grounds.paid[key] = found and Paid(found.legs, [leg_data(leg) for leg in found.legs])
    return grounds.paid[key]


def _check_windows(postings: Sequence[Any], grounds: Grounds, finder: Finder) -> None:
    """A posting of a stated window happened while it was open."""
    for posting in postings:
        opened_at, closed_at = grounds.windows.get(posting["window"], (posting["at"], posting["at"]))
        if not opened_at <= posting["at"] <= closed_at:
            finder.equal(f"{posting['kind']} {posting['number']} at", posting["at"], f"{opened_at} to {closed_at}")


def _items(
    postings: Sequence[Any], voucher: Voucher, redeemer: str, paid: Paid | None, grounds: Grounds
) -> list[ItemFigures]:
    """What the file's window adds up, seen from the region: as funder, as merchants' region, or at home as both."""
    home = voucher.issuer == redeemer
    sides = ("funder", "merchant") if home else ("funder",) if grounds.region == voucher.issuer else ("merchant",)
    return [
        ItemFigures(
            side,
            voucher.issuer,
            redeemer,
            voucher.campaign,
            posting["order_fen"],
            posting["discount_fen"],
            paid.legs if paid is not None and posting["legs"] == paid.data else legs_of(posting["legs"]),
        )
        for posting in postings
        if posting["window"] == grounds.window and grounds.window in grounds.windows
        for side in sides
    ]
