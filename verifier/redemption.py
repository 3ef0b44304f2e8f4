"""One redemption recomputed: token, terms, reserved money, discount, split, capture, refunds (money.md, Who pays)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from quanlian import vouchers, wire
from quanlian.accounts import account_region, visitors_account
from quanlian.agreements import Agreement
from quanlian.apportionment import FundingPlan, Leg, Reservation, split
from quanlian.discounts import Order, discount
from quanlian.errors import QuanlianError
from quanlian.signing import Verifier
from quanlian.terms import Terms, VoucherType
from quanlian.vouchers import Voucher, VoucherKey
from verifier.documents import Documents, Route
from verifier.eligibility import Packs, check_times, order_record, token_fault, use_differences
from verifier.findings import Finder, Finding
from verifier.handed import Handed
from verifier.keys import fault_at
from verifier.lines import Posting, RedemptionLine, Visitors
from verifier.postings import Paid, check_postings, legs_of, told_leg
from verifier.reserved import Difference, reserved_differences
from verifier.tally import ItemKind, Tally

ID_BYTES = 16
CHINA_OFFSET_SECONDS, DAY_SECONDS = 8 * 3600, 86_400
REMEMBERED = 100_000
_BY_ORDER = ("leverage-tiered", "order-rate")
"""Methods whose split depends on the order, not on the discount alone."""


_Fund = tuple[str, tuple[str, ...], tuple[int, ...]]
"""A redeeming region's standing fund as a redemption tells it: rule, accounts, weights."""
_NO_FUND: _Fund = ("", (), ())
_NOT_ASKED = Visitors()


@dataclass(slots=True)
class Sharing:
    """By what vouchers of one kind are shared in a redeeming region: agreement and fund, judged once for all of them.

    `differences` are what is wrong with either; `paid` has the splits recomputed already, by all else that one
    depends on. `agreement` is None at home, and where there is none by which it could be said who pays.
    """

    redeemer: str
    agreement: Agreement | None
    plan: FundingPlan | None
    differences: list[Difference]
    can_be_split: bool
    by_order: bool = False
    """The split depends on the order, not on the discount alone."""
    ceiling_fen: int | None = None
    """The most that the region pays in a year, where that is agreed."""
    paid: dict[tuple[Any, ...], Paid | None] = field(default_factory=dict)


class Sale(NamedTuple):
    """What the terms have against sales that are alike for them, and how what these take off is shared."""

    differences: list[Difference]
    sharing: Sharing


@dataclass(slots=True)
class Reserved:
    """Vouchers of one type with the same money reserved: what holds for one of them holds for all.

    `differences` are those from its terms.
    """

    terms: Terms
    voucher_type: VoucherType
    reservation: Reservation
    differences: list[Difference]
    valid_until: int = 0
    """Until when a notice keeps them good at least, in UTC seconds."""
    sales: dict[tuple[Any, ...], Sale] = field(default_factory=dict)
    """By all that tells one kind of sale from another."""
    sharing: dict[tuple[Any, ...], Sharing] = field(default_factory=dict)


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
    tokens: dict[bytes, tuple[Voucher, str]] = field(default_factory=dict)
    """Packs seen, by token: the voucher, and why its signature does not count. The vouchers of a pack share a token."""
    packs: Packs = field(default_factory=Packs)
    reserved: dict[tuple[bytes, int, bytes], Reserved] = field(default_factory=dict)
    """By terms, number of the voucher type, and the money as it is written."""
    orders: bytearray = field(default_factory=bytearray)
    """Of the portion, each redemption's order with its id: records end to end."""
    remembered: int = 0
    """How many splits and ways of sharing, of all that is reserved."""

    def begin_portion(self, window: int) -> None:
        """Forget what only the portion before needed."""
        self.handed, self.window = None, window
        self.tokens.clear()
        self.orders.clear()
        if self.remembered + len(self.reserved) > REMEMBERED:
            self.reserved.clear()
            self.remembered = 0


Recomputed = tuple[bytes, bytes, list[Finding]]
"""What one line contributes: the redemption's id, and the issuer, pack and index of the voucher that it captured, which
tell it from others; and what does not hold of it.
"""


def recompute(line: RedemptionLine, grounds: Grounds, tally: Tally) -> Recomputed:
    """Judge one line of evidence. What it says of itself is added to the tally; every deviation is a finding."""
    finder = Finder(f"redemption {line.id}")
    try:
        return _recompute(line, grounds, tally, finder)
    except (QuanlianError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        finder.note("cannot be read", f"{type(error).__name__}: {error}")
        return b"", b"", finder.findings


def _recompute(line: RedemptionLine, grounds: Grounds, tally: Tally, finder: Finder) -> Recomputed:
    voucher, fault = grounds.tokens.get(line.token) or _known_token(line.token, grounds)
    if fault:
        finder.note("token", fault)
    if line.redeeming_region != grounds.region != voucher.issuer:
        finder.equal("redeeming_region", line.redeeming_region, grounds.region)
    reserved, paid, whole = _reserved(line.index, voucher, grounds, finder), None, False
    if reserved is not None:
        paid = _pay(line, voucher, reserved, grounds, finder)
        whole = paid is not None and paid.is_captured_whole(line)
        if paid is not None and not whole:
            check_postings(line, reserved.terms, reserved.voucher_type, paid, finder)
    _check_windows(line.postings, grounds, finder)
    id, used = _told_apart(line, voucher)
    grounds.orders += order_record(line) + id
    if grounds.window in grounds.windows:
        for each in line.postings:
            if each.window == grounds.window:
                seen = paid.captured if paid is not None and whole else _kinds(each, line, voucher, paid, grounds)
                tally.add(seen, each.order_fen, each.discount_fen)
    return id, used, finder.findings


def _known_token(content: bytes, grounds: Grounds) -> tuple[Voucher, str]:
    known = grounds.tokens[content] = _read_token(content, grounds)
    return known


def _reserved(index: int, voucher: Voucher, grounds: Grounds, finder: Finder) -> Reserved | None:
    """The money that stands behind a voucher, compared with its terms; None where either is not there."""
    terms = grounds.documents.terms.get(voucher.terms_hash)
    if terms is None or terms.issuer != voucher.issuer or terms.campaign != voucher.campaign:
        finder.note("terms", f"no signed terms {voucher.terms_hash.hex()} of {voucher.campaign}")
        return None
    handed = grounds.handed
    written = handed.money.written(voucher.issuer, voucher.pack_id, index) if handed else None
    if handed is None or written is None:
        finder.note("reserved money", "no signed hand-over brings this voucher")
        return None
    key = (voucher.terms_hash, voucher.voucher_types[index], written)
    reserved = grounds.reserved.get(key)
    if reserved is None:
        reservation = handed.money.reservation(VoucherKey(voucher.issuer, voucher.pack_id, index))
        assert reservation is not None
        reserved = grounds.reserved[key] = _compared(terms, key[1], reservation, grounds.documents)
    for difference in reserved.differences:
        finder.equal(*difference)
    return reserved


def _compared(terms: Terms, number: int, reservation: Reservation, documents: Documents) -> Reserved:
    voucher_type = terms.voucher_types[number - 1]
    differences = list(reserved_differences(terms, voucher_type, reservation))
    valid_until = documents.campaigns.standing(terms).given.valid_until
    return Reserved(terms, voucher_type, reservation, differences, valid_until)


def _told_apart(line: RedemptionLine, voucher: Voucher) -> tuple[bytes, bytes]:
    """The redemption's id; the voucher in 22 bytes: region code, pack, index.

    Raises ValueError or OverflowError for what does not fit.
    """
    id, used = bytes.fromhex(line.id), voucher.issuer.encode("ascii") + voucher.pack_id + line.index.to_bytes(1, "big")
    if len(id) != ID_BYTES:
        raise ValueError(f"an id has {ID_BYTES} bytes")
    if len(used) != VOUCHER_BYTES:
        raise ValueError(f"{voucher.issuer!r} is no region's code")
    return id, used


VOUCHER_BYTES = 6 + vouchers.PACK_ID_BYTES + 1


def _read_token(content: bytes, grounds: Grounds) -> tuple[Voucher, str]:
    """The voucher, and why it does not count: the issuer signed it, with a key that was good then, by its terms."""
    token = wire.bytes_to_token(content)
    voucher = wire.body_to_voucher(token.body)
    try:
        key = vouchers.verify(token, voucher, grounds.verifier)
    except QuanlianError as error:
        return voucher, str(error)
    terms = grounds.documents.terms.get(voucher.terms_hash)
    return voucher, fault_at(key, voucher.issued_at) or (token_fault(voucher, terms, grounds.packs) if terms else "")


def _pay(line: RedemptionLine, voucher: Voucher, reserved: Reserved, grounds: Grounds, finder: Finder) -> Paid | None:
    """The voucher was good for this sale at that time; the discount by the terms, then who pays it by the agreement.

    None where that cannot be said.
    """
    check_times(line, voucher, reserved.terms.hold_seconds, reserved.valid_until, finder)
    told, fund, left = line.visitors or _NOT_ASKED, _NO_FUND, ()
    if told.funders is not None:
        accounts, weights, left = zip(*told.funders, strict=True)
        fund = (told.rule, accounts, weights)
    sale = _sale(line, voucher, reserved, fund, grounds)
    for difference in sale.differences:
        finder.equal(*difference)
    order = Order(line.order_fen, line.category, line.channel, line.klass, line.invoice_fen, line.price_fen)
    found = discount(reserved.voucher_type, order)
    if found.refusal:
        finder.note("order_fen", f"{order.order_fen} gives no discount: {found.refusal}")
        return None
    if line.discount_fen != found.amount_fen:
        finder.equal("discount_fen", line.discount_fen, found.amount_fen)
    sharing = sale.sharing
    for difference in sharing.differences:
        finder.equal(*difference)
    if not sharing.can_be_split:
        return None
    ceiling_fen = _ceiling(told.ceiling_left_fen, sharing.ceiling_fen, finder)
    paid = _paid(found.amount_fen, line.order_fen, reserved, sharing, left, ceiling_fen, grounds)
    if paid is None:
        finder.note("legs", "the money did not reach")
    return paid


def _sale(line: RedemptionLine, voucher: Voucher, reserved: Reserved, fund: _Fund, grounds: Grounds) -> Sale:
    """Judged once for all redemptions that tell the same, and in whose time the same agreements and fund count."""
    redeemer, name, at, documents = line.redeeming_region, line.agreement, line.authorized_at, grounds.documents
    shared = (redeemer, name, documents.moment(at), (at + CHINA_OFFSET_SECONDS) // DAY_SECONDS, fund)
    key = (shared, line.channel, line.category, voucher.roaming)
    sale = reserved.sales.get(key)
    if sale is None:
        sold = (redeemer, line.channel, line.category)
        differences = use_differences(voucher, reserved.terms, reserved.voucher_type, documents.campaigns, sold)
        sharing = reserved.sharing.get(shared)
        if sharing is None:
            sharing = _judge_sharing(redeemer, name, at, fund, reserved.terms, documents)
            reserved.sharing[shared] = sharing
        sale = reserved.sales[key] = Sale(differences, sharing)
        grounds.remembered += 1
    return sale


def _judge_sharing(redeemer: str, name: str, at: int, fund: _Fund, terms: Terms, documents: Documents) -> Sharing:
    differences: list[Difference] = []
    agreement, home = None, redeemer == terms.issuer
    if home:
        differences.append(("agreement", name, ""))
    else:
        agreement = _agreement(name, (terms.campaign, terms.issuer, redeemer), at, documents, differences)
    rule, accounts, weights = fund
    own = _fund_of(redeemer, at)
    differences += [("visitors", each, f"{own}…") for each in accounts if not each.startswith(own)]
    plan = FundingPlan(accounts, weights, rule) if accounts else None  # type: ignore[arg-type]
    sharing = Sharing(redeemer, agreement, plan, differences, home or agreement is not None)
    if agreement is not None:
        sharing.by_order = agreement.method in _BY_ORDER
        sharing.ceiling_fen = agreement.yearly_ceiling_fen(redeemer)
    return sharing


def _agreement(
    name: str, route: Route, at: int, documents: Documents, differences: list[Difference]
) -> Agreement | None:
    """The one that the redemption names; where that is not the one that was in force, either of them that is there.

    None where the folder lacks it, which is told once and of the folder.
    """
    if documents.lacks(name):
        return None
    in_force = documents.in_force(route, at)
    if name not in in_force:
        differences.append(("agreement", name, " or ".join(in_force) or "one in force: there is none"))
    for each in (name, *in_force):
        if each in documents.agreements:
            return documents.agreements[each]
    return None


def _ceiling(left_fen: int | None, agreed_fen: int | None, finder: Finder) -> int | None:
    """What the redeeming region's yearly ceiling left, as told; only where one is agreed."""
    if agreed_fen is None or left_fen is None:
        if left_fen != agreed_fen:
            finder.equal("ceiling_left_fen", left_fen, agreed_fen)
    elif left_fen > agreed_fen:
        finder.equal("ceiling_left_fen", left_fen, f"{agreed_fen} or less")
    return left_fen


def _fund_of(region: str, at: int) -> str:
    """What the accounts of a region's standing fund begin with, in the year of Asia/Shanghai."""
    return visitors_account(region, datetime.fromtimestamp(at + CHINA_OFFSET_SECONDS, UTC).year, "")


def _paid(
    discount_fen: int,
    order_fen: int,
    reserved: Reserved,
    sharing: Sharing,
    left: tuple[int, ...],
    ceiling_fen: int | None,
    grounds: Grounds,
) -> Paid | None:
    """Recomputed once for all redemptions that agree in whatever decides it: who has as much left as the discount
    cannot run dry.
    """
    key = (
        discount_fen,
        order_fen if sharing.by_order else 0,
        None if not left or min(left) >= discount_fen else left,
        None if ceiling_fen is None or ceiling_fen >= discount_fen else ceiling_fen,
    )
    if key not in sharing.paid:
        funders = dict(zip(sharing.plan.accounts, left, strict=True)) if sharing.plan else {}
        found = split(
            discount_fen, order_fen, reserved.reservation, sharing.agreement, sharing.redeemer, reserved.terms.issuer,
            sharing.plan, funders.__getitem__, ceiling_fen,
        )  # fmt: skip
        sharing.paid[key] = _captured(found.legs, reserved.terms, sharing, grounds) if found else None
        grounds.remembered += 1
    return sharing.paid[key]


def _captured(legs: tuple[Leg, ...], terms: Terms, sharing: Sharing, grounds: Grounds) -> Paid:
    seen = _seen(grounds.region, terms.issuer, sharing.redeemer, terms.campaign, False, legs)
    return Paid(legs, tuple(map(told_leg, legs)), sum(leg.amount_fen for leg in legs), tuple(seen))


def _check_windows(postings: Sequence[Posting], grounds: Grounds, finder: Finder) -> None:
    """A posting of a stated window happened while it was open."""
    for posting in postings:
        opened_at, closed_at = grounds.windows.get(posting.window, (posting.at, posting.at))
        if not opened_at <= posting.at <= closed_at:
            finder.equal(f"{posting.kind} {posting.number} at", posting.at, f"{opened_at} to {closed_at}")


def _kinds(
    posting: Posting, line: RedemptionLine, voucher: Voucher, paid: Paid | None, grounds: Grounds
) -> Sequence[ItemKind]:
    """What a posting adds up to, seen from the region: as funder, as merchants' region, or at home as both.

    Raises InvalidInput for a leg of an account that no region has, which no line could count.
    """
    legs = paid.legs if paid is not None and posting.legs == paid.told else legs_of(posting.legs)
    for leg in legs:
        account_region(leg.account)
    refund = posting.order_fen < 0 or posting.discount_fen < 0
    return _seen(grounds.region, voucher.issuer, line.redeeming_region, voucher.campaign, refund, legs)


def _seen(
    region: str, issuer: str, redeemer: str, campaign: str, refund: bool, legs: tuple[Leg, ...]
) -> list[ItemKind]:
    home = issuer == redeemer
    sides = ("funder", "merchant") if home else ("funder",) if region == issuer else ("merchant",)
    return [ItemKind(side, issuer, redeemer, campaign, refund, legs) for side in sides]
