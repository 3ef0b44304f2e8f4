"""The checks before a voucher is held, in the order of protocol.md, "Refusal reasons, in order".

Each party runs the whole list over the facts it holds; the first that fails is its answer. A fact that a party does
not hold is None, and its check is passed over. Custody, money and caps (27–30) are judged where they are decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from quanlian.campaign_changes import AS_PUBLISHED, Standing
from quanlian.custody import VoucherState, is_dead, spent_reason
from quanlian.discounts import discount
from quanlian.redemptions import Sale
from quanlian.refusals import Refusal, RefusalReason
from quanlian.signing import SigningKey
from quanlian.terms import Terms, VoucherType
from quanlian.vouchers import Voucher, VoucherKey, key_was_revoked, key_was_valid

PPM = 1_000_000


class MerchantFacts(NamedTuple):
    """What is known of a merchant: since when it is blocked, if it is; an empty `categories` means any."""

    admitted: bool
    blocked_at: int | None = None
    categories: frozenset[str] = frozenset()


class OrderTaken(NamedTuple):
    """The public voucher that stands on an order: held `until` then, or captured, or, with neither, being decided.

    `voucher` is None where it is not known any more which it was.
    """

    voucher: VoucherKey | None
    is_captured: bool
    until: int | None = None


@dataclass(slots=True)
class Facts:
    """What one party knows of a purchase. `voucher` and `key` have passed the signature check (2–3).

    `suspended_regions` tells since when each is suspended; so does `voucher_suspended_at` for a voucher reported lost.
    """

    voucher: Voucher
    key: SigningKey
    index: int
    sale: Sale
    expected_fen: int
    payer_tag: bytes
    redeeming_region: str
    suspended_regions: Mapping[str, int]
    campaign_known: bool
    terms: Terms | None
    campaign_suspended: bool = False
    standing: Standing = AS_PUBLISHED
    """What notices gave the holders since the terms were published."""
    known: bool | None = None
    """Whether the issuer issued this voucher; None where only the issuer can tell."""
    state: VoucherState | None = None
    held_until: int | None = None
    voucher_suspended_at: int | None = None
    merchant: MerchantFacts | None = None
    leverage_bound: Fraction | None = None
    order_taken: OrderTaken | None = None


class Discounted(NamedTuple):
    """What passed: the voucher's type and its discount on this order."""

    terms: Terms
    voucher_type: VoucherType
    discount_fen: int


def check(facts: Facts, at: int) -> Discounted | Refusal:
    """Run checks 4–26. Returns the discount, or the first refusal with its figures.

    A refusal does not call a voucher good that is past use for another reason, further down the list.
    """
    found = _check(facts, at)
    return _told(found, facts, at) if isinstance(found, Refusal) else found


def check_without_terms(facts: Facts, at: int) -> Refusal | None:
    """As `check`, by what needs no terms: for a party that could not ask for them now."""
    refusal = _check_trust(facts) or _check_issue(facts) or _check_scope(facts, None, None, at) or _check_use(facts)
    return _told(refusal, facts, at) if refusal else None


def _told(refusal: Refusal, facts: Facts, at: int) -> Refusal:
    return refusal._replace(voucher_dead=_is_past_use(facts, at)) if refusal.voucher_usable else refusal


def _is_past_use(facts: Facts, at: int) -> bool:
    not_after = facts.standing.not_after(facts.voucher.not_after)
    if facts.known is False or facts.voucher_suspended_at is not None or at >= not_after:
        return True
    if facts.order_taken and facts.order_taken.is_captured and _is_its_own(facts, facts.order_taken):
        return True
    return facts.state is not None and is_dead(facts.state, not_after, at)


def _check(facts: Facts, at: int) -> Discounted | Refusal:
    refusal = _check_trust(facts)
    if refusal:
        return refusal
    if facts.terms is None:
        return Refusal(RefusalReason.TERMS_MISMATCH if facts.campaign_known else RefusalReason.CAMPAIGN_UNKNOWN)
    if (facts.terms.issuer, facts.terms.campaign) != (facts.voucher.issuer, facts.voucher.campaign):
        return Refusal(RefusalReason.TERMS_MISMATCH)
    refusal = _check_issue(facts)
    if refusal:
        return refusal
    voucher_type = _type_of(facts, facts.terms)
    if voucher_type is None:
        return Refusal(RefusalReason.VOUCHER_UNKNOWN)
    refusal = _check_scope(facts, facts.terms, voucher_type, at)
    if refusal:
        return refusal
    found = _discount(facts, voucher_type)
    if isinstance(found, Refusal):
        return found
    refusal = _check_amounts(facts, voucher_type, found) or _check_use(facts)
    return refusal or Discounted(facts.terms, voucher_type, found)


def _check_trust(facts: Facts) -> Refusal | None:
    """4 key not valid at issue · 5 key revoked · 6 region suspended, the issuing one first."""
    key, issued_at = facts.key, facts.voucher.issued_at
    if not key_was_valid(key, issued_at):
        figures = {"issued_at": issued_at, "not_before_at": key.not_before, "not_after_at": key.not_after}
        return Refusal(RefusalReason.KEY_NOT_VALID, figures)
    if key.revoked_from is not None and key_was_revoked(key, issued_at):
        return Refusal(RefusalReason.KEY_REVOKED, {"issued_at": issued_at, "revoked_at": key.revoked_from})
    for region in (facts.voucher.issuer, facts.redeeming_region):
        if region in facts.suspended_regions:
            figures = {"region": int(region), "since_at": facts.suspended_regions[region]}
            return Refusal(RefusalReason.REGION_SUSPENDED, figures)
    return None


def _since(at: int | None) -> dict[str, int]:
    return {"since_at": at} if at else {}


def _check_issue(facts: Facts) -> Refusal | None:
    """9 campaign suspended · 10 not issued."""
    if facts.campaign_suspended:
        return Refusal(RefusalReason.CAMPAIGN_SUSPENDED, _since(facts.standing.paused_at))
    return Refusal(RefusalReason.VOUCHER_UNKNOWN) if facts.known is False else None


def _type_of(facts: Facts, terms: Terms) -> VoucherType | None:
    """10: the voucher type that the token names at the index."""
    types = facts.voucher.voucher_types
    if not 0 <= facts.index < len(types) or not 0 < types[facts.index] <= len(terms.voucher_types):
        return None
    return terms.voucher_types[types[facts.index] - 1]


def _check_scope(facts: Facts, terms: Terms | None, voucher_type: VoucherType | None, at: int) -> Refusal | None:
    """11 cancelled, suspended · 12–13 validity · 14 region · 15 channel · 16–17 merchant · 18 category · 19 holder."""
    voucher = facts.voucher
    spent = spent_reason(facts.state) if facts.state else None
    if spent is RefusalReason.VOUCHER_CANCELLED:
        return Refusal(spent)
    if facts.voucher_suspended_at is not None:
        return Refusal(RefusalReason.VOUCHER_SUSPENDED, _since(facts.voucher_suspended_at))
    if at < voucher.not_before:
        return Refusal(RefusalReason.NOT_YET_VALID, {"not_before_at": voucher.not_before})
    not_after = facts.standing.not_after(voucher.not_after)
    if at >= not_after or spent is RefusalReason.EXPIRED:
        return Refusal(RefusalReason.EXPIRED, {"not_after_at": not_after})
    refusal = coverage_refusal(voucher, terms, facts.standing, facts.redeeming_region, facts.sale.order.channel)
    if refusal:
        return refusal
    merchant = facts.merchant
    if merchant and not merchant.admitted:
        return Refusal(RefusalReason.MERCHANT_NOT_ADMITTED)
    if merchant and merchant.blocked_at is not None:
        return Refusal(RefusalReason.MERCHANT_BLOCKED, _since(merchant.blocked_at))
    category = facts.sale.order.category
    if merchant and merchant.categories and category not in merchant.categories:
        return Refusal(RefusalReason.CATEGORY_NOT_COVERED)
    refusal = category_refusal(voucher_type, category) if voucher_type else None
    if refusal:
        return refusal
    if facts.payer_tag and facts.payer_tag != voucher.holder_tag:
        return Refusal(RefusalReason.HOLDER_MISMATCH)
    return None


def coverage_refusal(
    voucher: Voucher, terms: Terms | None, standing: Standing, region: str, channel: str
) -> Refusal | None:
    """14 region · 15 channel, by the voucher, the terms where they are known, and what notices gave since."""
    stays_home = region != voucher.issuer and voucher.roaming == "never"
    if stays_home or (terms and not standing.covers_region(terms, region)):
        return Refusal(RefusalReason.REGION_NOT_COVERED, {"region": int(region)})
    if terms and not standing.covers_channel(terms, channel):
        return Refusal(RefusalReason.CHANNEL_NOT_COVERED)
    return None


def category_refusal(voucher_type: VoucherType, category: str) -> Refusal | None:
    """18, as far as the voucher's type says it."""
    return None if category in voucher_type.categories else Refusal(RefusalReason.CATEGORY_NOT_COVERED)


def _discount(facts: Facts, voucher_type: VoucherType) -> int | Refusal:
    """20 below the minimum spend · 21 no matching tier."""
    order = facts.sale.order
    found = discount(voucher_type, order)
    if found.refusal is None:
        return found.amount_fen
    figures = {"order_fen": order.order_fen, "invoice_fen": order.invoice_fen}
    if found.refusal == "BELOW_MINIMUM_SPEND":
        figures |= {"minimum_spend_fen": found.needed_fen, "short_fen": found.needed_fen - order.order_fen}
    return Refusal(RefusalReason[found.refusal], figures)


def _check_amounts(facts: Facts, voucher_type: VoucherType, discount_fen: int) -> Refusal | None:
    """22 the redeeming region's leverage bound · 23 the sender's expectation."""
    bound = facts.leverage_bound
    if bound is not None and (leverage := voucher_type.leverage) is not None and leverage < bound:
        figures = {"leverage_ppm": int(leverage * PPM), "bound_ppm": int(bound * PPM)}
        return Refusal(RefusalReason.LEVERAGE_TOO_LOW, figures)
    if facts.expected_fen and facts.expected_fen != discount_fen:
        figures = {"discount_fen": discount_fen, "expected_fen": facts.expected_fen}
        return Refusal(RefusalReason.AMOUNT_MISMATCH, figures)
    return None


def _check_use(facts: Facts) -> Refusal | None:
    """24 one public voucher per order · 25 held · 26 redeemed.

    A voucher that is asked for again for the order that it was used on is held or redeemed, wherever that was decided.
    """
    taken, held_until = facts.order_taken, facts.held_until
    reason = spent_reason(facts.state) if facts.state else None
    if taken and not _is_its_own(facts, taken):
        return Refusal(RefusalReason.ORDER_ALREADY_DISCOUNTED, may_pass=not taken.is_captured)
    if taken and not reason:
        reason = RefusalReason.ALREADY_REDEEMED if taken.is_captured else RefusalReason.ALREADY_HELD
        held_until = taken.until
    if reason is RefusalReason.ALREADY_HELD and held_until is not None:
        return Refusal(reason, {"expires_at": held_until})
    return Refusal(reason) if reason else None


def _is_its_own(facts: Facts, taken: OrderTaken) -> bool:
    """Whether the voucher that stands on the order is the very one that is asked for."""
    return taken.voucher == VoucherKey(facts.voucher.issuer, facts.voucher.pack_id, facts.index)
