"""One redemption recomputed: token, terms, reserved money, discount, split, capture, refunds (money.md, Who pays)."""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

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
from verifier.postings import Paid, check_postings, leg_data, legs_of
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


@dataclass(slots=True)
class Reserved:
    """Vouchers of one type with the same money reserved: what holds for one of them holds for all.

    `differences` are those from its terms; `sharing` is by whatever tells it.
    """

    terms: Terms
    voucher_type: VoucherType
    reservation: Reservation
    differences: list[Difference]
    valid_until: int = 0
    """Until when a notice keeps them good at least, in UTC seconds."""
    uses: dict[tuple[str, ...], list[Difference]] = field(default_factory=dict)
    """What the terms have against a sale, by what they ask of it."""
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
    tokens: dict[str, tuple[Voucher, str]] = field(default_factory=dict)
    """Packs seen, by token: the voucher, and why its signature does not count. The vouchers of a pack share a token."""
    packs: Packs = field(default_factory=Packs)
    reserved: dict[tuple[bytes, int, Reservation], Reserved] = field(default_factory=dict)
    """By terms and number of the voucher type."""
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


def recompute(line: Mapping[str, Any], grounds: Grounds, tally: Tally) -> Recomputed:
    """Judge one line of evidence. What it says of itself is added to the tally; every deviation is a finding."""
    finder = Finder(f"redemption {line.get('id')}")
    try:
        return _recompute(line, grounds, tally, finder)
    except (QuanlianError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        finder.note("cannot be read", f"{type(error).__name__}: {error}")
        return b"", b"", finder.findings


def _recompute(line: Mapping[str, Any], grounds: Grounds, tally: Tally, finder: Finder) -> Recomputed:
    voucher = _voucher(line, grounds, finder)
    redeemer, postings = line["redeeming_region"], line["postings"]
    if redeemer != grounds.region != voucher.issuer:
        finder.equal("redeeming_region", redeemer, grounds.region)
    reserved, paid, whole = _reserved(line["index"], voucher, grounds, finder), None, False
    if reserved is not None:
        _check_use(line, voucher, reserved, grounds, finder)
        paid = _pay(line, reserved, grounds, finder)
        whole = paid is not None and paid.is_captured_whole(line)
        if paid is not None and not whole:
            check_postings(line, reserved.terms, reserved.voucher_type, paid, finder)
    _check_windows(postings, grounds, finder)
    id, used = _told_apart(line, voucher)
    grounds.orders += order_record(line) + id
    if grounds.window in grounds.windows:
        counted = [each for each in postings if each["window"] == grounds.window]
        if paid is not None and whole:
            kinds: list[Sequence[ItemKind]] = [paid.captured] * len(counted)
        else:
            kinds = [_kinds(each, voucher, redeemer, paid, grounds) for each in counted]
        for each, seen in zip(counted, kinds, strict=True):
            tally.add(seen, each["order_fen"], each["discount_fen"])
    return id, used, finder.findings


def _voucher(line: Mapping[str, Any], grounds: Grounds, finder: Finder) -> Voucher:
    """What the token says; it was signed by its issuer, for a pack of its terms."""
    known = grounds.tokens.get(line["token"])
    if known is None:
        known = grounds.tokens[line["token"]] = _read_token(line["token"], grounds)
    voucher, fault = known
    if fault:
        finder.note("token", fault)
    return voucher


def _check_use(line: Mapping[str, Any], voucher: Voucher, reserved: Reserved, grounds: Grounds, finder: Finder) -> None:
    """The voucher was good for this sale at that time."""
    sale = (line["redeeming_region"], line["channel"], line["category"])
    key = (*sale, voucher.roaming)
    differences = reserved.uses.get(key)
    if differences is None:
        campaigns = grounds.documents.campaigns
        differences = use_differences(voucher, reserved.terms, reserved.voucher_type, campaigns, sale)
        reserved.uses[key] = differences
        grounds.remembered += 1
    for difference in differences:
        finder.equal(*difference)
    check_times(line, voucher, reserved.terms.hold_seconds, reserved.valid_until, finder)


def _reserved(index: int, voucher: Voucher, grounds: Grounds, finder: Finder) -> Reserved | None:
    """The money that stands behind a voucher, compared with its terms; None where either is not there."""
    terms = grounds.documents.terms.get(voucher.terms_hash)
    if terms is None or terms.issuer != voucher.issuer or terms.campaign != voucher.campaign:
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
        valid_until = grounds.documents.campaigns.standing(terms).given.valid_until
        reserved = grounds.reserved[key] = Reserved(terms, voucher_type, reservation, differences, valid_until)
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


def _read_token(content: str, grounds: Grounds) -> tuple[Voucher, str]:
    """The voucher, and why it does not count: the issuer signed it, with a key that was good then, by its terms."""
    token = wire.bytes_to_token(a2b_base64(content, strict_mode=True))
    voucher = wire.body_to_voucher(token.body)
    try:
        key = vouchers.verify(token, voucher, grounds.verifier)
    except QuanlianError as error:
        return voucher, str(error)
    terms = grounds.documents.terms.get(voucher.terms_hash)
    return voucher, fault_at(key, voucher.issued_at) or (token_fault(voucher, terms, grounds.packs) if terms else "")


def _pay(line: Mapping[str, Any], reserved: Reserved, grounds: Grounds, finder: Finder) -> Paid | None:
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
    told, fund, left = line["visitors"] or {}, _NO_FUND, ()
    if "funders" in told:
        accounts, weights, left = zip(*told["funders"], strict=True)
        fund = (told["rule"], accounts, weights)
    sharing = _sharing(line, reserved, fund, grounds)
    for difference in sharing.differences:
        finder.equal(*difference)
    if not sharing.can_be_split:
        return None
    ceiling_fen = _ceiling(told, sharing, finder)
    paid = _paid(found.amount_fen, order.order_fen, reserved, sharing, left, ceiling_fen, grounds)
    if paid is None:
        finder.note("legs", "the money did not reach")
    return paid


def _sharing(line: Mapping[str, Any], reserved: Reserved, fund: _Fund, grounds: Grounds) -> Sharing:
    """Judged once for all redemptions that tell the same, and in whose time the same agreements and fund count."""
    redeemer, name, at = line["redeeming_region"], line["agreement"], line["authorized_at"]
    day = (at + CHINA_OFFSET_SECONDS) // DAY_SECONDS
    key = (redeemer, name, grounds.documents.moment(at), day, fund)
    sharing = reserved.sharing.get(key)
    if sharing is None:
        sharing = reserved.sharing[key] = _judge_sharing(redeemer, name, at, fund, reserved.terms, grounds.documents)
        grounds.remembered += 1
    return sharing


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


def _ceiling(told: Mapping[str, Any], sharing: Sharing, finder: Finder) -> int | None:
    """What the redeeming region's yearly ceiling left, as told; only where one is agreed."""
    left_fen: int | None = told.get("ceiling_left_fen")
    agreed_fen = sharing.ceiling_fen
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
    return Paid(legs, [leg_data(leg) for leg in legs], sum(leg.amount_fen for leg in legs), tuple(seen))


def _check_windows(postings: Sequence[Any], grounds: Grounds, finder: Finder) -> None:
    """A posting of a stated window happened while it was open."""
    for posting in postings:
        opened_at, closed_at = grounds.windows.get(posting["window"], (posting["at"], posting["at"]))
        if not opened_at <= posting["at"] <= closed_at:
            finder.equal(f"{posting['kind']} {posting['number']} at", posting["at"], f"{opened_at} to {closed_at}")


def _kinds(
    posting: Mapping[str, Any], voucher: Voucher, redeemer: str, paid: Paid | None, grounds: Grounds
) -> list[ItemKind]:
    """What a posting adds up to, seen from the region: as funder, as merchants' region, or at home as both.

    Raises InvalidInput for a leg of an account that no region has, which no line could count.
    """
    legs = paid.legs if paid is not None and posting["legs"] == paid.data else legs_of(posting["legs"])
    for leg in legs:
        account_region(leg.account)
    refund = posting["order_fen"] < 0 or posting["discount_fen"] < 0
    return _seen(grounds.region, voucher.issuer, redeemer, voucher.campaign, refund, legs)


def _seen(
    region: str, issuer: str, redeemer: str, campaign: str, refund: bool, legs: tuple[Leg, ...]
) -> list[ItemKind]:
    home = issuer == redeemer
    sides = ("funder", "merchant") if home else ("funder",) if region == issuer else ("merchant",)
    return [ItemKind(side, issuer, redeemer, campaign, refund, legs) for side in sides]
