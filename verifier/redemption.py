"""One redemption recomputed: token, terms, reserved money, discount, split, capture, refunds (money.md, Who pays)."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from quanlian import vouchers, wire
from quanlian.apportionment import (
    FundingPlan,
    Leg,
    Reservation,
    Split,
    capture_release,
    reduce_legs,
    refund_due,
    split,
)
from quanlian.discounts import Order, discount
from quanlian.errors import QuanlianError
from quanlian.signing import Verifier
from quanlian.statements import ItemFigures
from quanlian.terms import Terms, VoucherType
from quanlian.vouchers import Voucher, VoucherKey
from verifier.documents import Documents


class Finding(NamedTuple):
    """Something that does not hold: where, what was found and what follows, in fen where these are amounts."""

    place: str
    what: str
    found: str = ""
    expected: str = ""


class Finder:
    """Collects findings about one place."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.findings: list[Finding] = []

    def equal(self, what: str, found: Any, expected: Any) -> bool:
        if found != expected:
            self.findings.append(Finding(self.place, what, str(found), str(expected)))
        return bool(found == expected)

    def note(self, what: str, why: object) -> None:
        self.findings.append(Finding(self.place, what, str(why)))


@dataclass(slots=True)
class Grounds:
    """What redemptions are judged by. `handed` is the signed hand-over that stands before them, if it is sound."""

    region: str
    windows: Mapping[int, tuple[int, int]]
    """The windows that are added up, each with when it opened and closed; 0 and 0 where that is not known."""
    documents: Documents
    verifier: Verifier
    handed: wire.HandedMoney | None = None
    tokens: dict[str, tuple[Voucher, str]] = field(default_factory=dict)
    """Packs seen, by token: the voucher, and why its signature does not count. The vouchers of a pack share a token."""

    def begin_portion(self) -> None:
        """Forget what only the portion before needed."""
        self.handed = None
        self.tokens.clear()


class Recomputed(NamedTuple):
    """What one line contributes to the statement, and what does not hold of it."""

    id: bytes
    voucher: VoucherKey | None
    items: list[ItemFigures]
    findings: list[Finding]


def recompute(line: Mapping[str, Any], grounds: Grounds) -> Recomputed:
    """Judge one line of evidence. What it says of itself is added up; every deviation is a finding."""
    finder = Finder(f"redemption {line.get('id')}")
    try:
        return _recompute(line, grounds, finder)
    except (QuanlianError, ValueError, KeyError, TypeError, IndexError) as error:
        finder.note("cannot be read", f"{type(error).__name__}: {error}")
        return Recomputed(b"", None, [], finder.findings)


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
    terms = grounds.documents.terms.get(voucher.terms_hash)
    reservation = grounds.handed.reservation(key) if grounds.handed else None
    if terms is None or (terms.issuer, terms.campaign) != (voucher.issuer, voucher.campaign):
        finder.note("terms", f"no signed terms {voucher.terms_hash.hex()} of {voucher.campaign}")
    elif reservation is None:
        finder.note("reserved money", "no signed hand-over brings this voucher")
    else:
        voucher_type = terms.voucher_types[voucher.voucher_types[index] - 1]
        finder.equal("reserved_fen", reservation.total_fen, voucher_type.max_discount_fen)
        paid = _split(line, voucher, voucher_type, reservation, grounds, finder)
        if paid is not None:
            _check_postings(line, terms, voucher_type, paid, finder)
    _check_windows(line["postings"], grounds, finder)
    items = _items(line["postings"], voucher, redeemer, grounds)
    return Recomputed(bytes.fromhex(line["id"]), key, items, finder.findings)


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


def _split(
    line: Mapping[str, Any],
    voucher: Voucher,
    voucher_type: VoucherType,
    reservation: Reservation,
    grounds: Grounds,
    finder: Finder,
) -> Split | None:
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
        agreement = grounds.documents.agreements.get(line["agreement"])
        if agreement is None:
            finder.note("agreement", f"{line['agreement']!r} is not among the agreements")
            return None
        if not agreement.applies(voucher.campaign, voucher.issuer, redeemer, line["authorized_at"]):
            finder.note("agreement", f"{line['agreement']} was not in force for {voucher.issuer} and {redeemer}")
    else:
        finder.equal("agreement", line["agreement"], "")
    plan, left = _visitors(line["visitors"])
    paid = split(
        found.amount_fen, order.order_fen, reservation, agreement, redeemer, voucher.issuer, plan, left.__getitem__
    )
    if paid is None:
        finder.note("legs", "the money did not reach")
    return paid


def _visitors(told: Any) -> tuple[FundingPlan | None, dict[str, int]]:
    """The redeeming region's standing fund, and what its funders had left."""
    if told is None:
        return None, {}
    accounts, weights, left = zip(*told["funders"], strict=True)
    return FundingPlan(accounts, weights, told["rule"]), dict(zip(accounts, left, strict=True))


class Step(NamedTuple):
    """A capture or refund as it must have been."""

    order_fen: int
    discount_fen: int
    legs: tuple[Leg, ...]


def _check_postings(
    line: Mapping[str, Any], terms: Terms, voucher_type: VoucherType, paid: Split, finder: Finder
) -> None:
    postings, place = line["postings"], finder.place
    steps = _replay(line["order_fen"], paid.legs, postings, terms, voucher_type.minimum_spend_fen)
    for number, (posting, step) in enumerate(zip(postings, steps, strict=True), 1):
        finder.place = f"{place}, {posting['kind']} {number}"
        finder.equal("number", posting["number"], number)
        finder.equal("kind", posting["kind"], "capture" if number == 1 else "refund")
        finder.equal("discount_fen", posting["discount_fen"], step.discount_fen)
        told = {account: fen for account, fen in posting["legs"]}
        must = {leg.account: leg.amount_fen for leg in step.legs}
        for account in sorted(told.keys() | must.keys()):
            finder.equal(f"leg {account}", told.get(account, 0), must.get(account, 0))
    finder.place = place


def _replay(
    held_order_fen: int, held: Sequence[Leg], postings: Sequence[Any], terms: Terms, minimum_spend_fen: int
) -> Iterator[Step]:
    """The capture, then each refund on what the ones before left; only the parts of the order are taken as told."""
    held_fen = sum(leg.amount_fen for leg in held)
    order_fen = postings[0]["order_fen"]
    released = capture_release(held_fen, held_order_fen, order_fen)
    standing = _less(held, reduce_legs(held, released))
    discount_fen, refunded_fen, returned_fen = held_fen - released, 0, 0
    yield Step(order_fen, discount_fen, tuple(standing))
    for posting in postings[1:]:
        refunded_fen -= posting["order_fen"]
        if posting["order_fen"] == 0:  # an adjusting entry, whose amount a dispute decided
            increment = -posting["discount_fen"]
        else:
            due = refund_due(discount_fen, order_fen, refunded_fen, terms.refund_policy, minimum_spend_fen)
            increment = max(0, min(due, returned_fen - posting["order_fen"]) - returned_fen)
        parts = reduce_legs(standing, increment)
        returned_fen += increment
        yield Step(
            posting["order_fen"],
            -increment,
            tuple(Leg(leg.account, -part) for leg, part in zip(standing, parts, strict=True)),
        )
        standing = _less(standing, parts)


def _check_windows(postings: Sequence[Any], grounds: Grounds, finder: Finder) -> None:
    """A posting of a stated window happened while it was open."""
    for posting in postings:
        opened_at, closed_at = grounds.windows.get(posting["window"], (0, 0))
        if closed_at and not opened_at <= posting["at"] <= closed_at:
            finder.equal(f"{posting['kind']} {posting['number']} at", posting["at"], f"{opened_at} to {closed_at}")


def _items(postings: Sequence[Any], voucher: Voucher, redeemer: str, grounds: Grounds) -> list[ItemFigures]:
    """What the stated windows add up, seen from the region: as funder, as merchants' region, or at home as both."""
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
            [Leg(account, fen) for account, fen in posting["legs"]],
        )
        for posting in postings
        if posting["window"] in grounds.windows
        for side in sides
    ]


def _less(legs: Sequence[Leg], parts: Sequence[int]) -> list[Leg]:
    return [Leg(leg.account, leg.amount_fen - part) for leg, part in zip(legs, parts, strict=True)]
