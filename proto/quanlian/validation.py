"""The checks before a voucher is held, in the order of protocol.md, "Refusal reasons, in order".

Each party runs the whole list over the facts it holds; the first that fails is its answer. A fact that a party does
not hold is None, and its check is passed over. Custody, money and caps (27–30) are judged where they are decided.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from quanlian.campaign_changes import AS_PUBLISHED, Standing
from quanlian.custody import VoucherState, spent_reason
from quanlian.discounts import discount
from quanlian.redemptions import Sale
from quanlian.refusals import Refusal, RefusalReason
from quanlian.signing import SigningKey
from quanlian.terms import Terms, VoucherType
from quanlian.vouchers import Voucher, key_was_revoked, key_was_valid

PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class MerchantFacts:
    """What the redeeming region knows of a merchant; an empty `categories` means any."""

    admitted: bool
    blocked: bool = False
    categories: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Facts:
    """What one party knows of a purchase. `voucher` and `key` have passed the signature check (2–3)."""

    voucher: Voucher
    key: SigningKey
    index: int
    sale: Sale
    expected_fen: int
    payer_tag: bytes
    redeeming_region: str
    suspended_regions: frozenset[str]
    campaign_known: bool
    terms: Terms | None
    campaign_suspended: bool = False
    standing: Standing = AS_PUBLISHED
    """What notices gave the holders since the terms were published."""
    known: bool | None = None
    """Whether the issuer issued this voucher; None where only the issuer can tell."""
    state: VoucherState | None = None
    merchant: MerchantFacts | None = None
    leverage_bound: Fraction | None = None
    order_taken: bool = False


@dataclass(frozen=True, slots=True)
class Discounted:
    """What passed: the voucher's type and its discount on this order."""

    terms: Terms
    voucher_type: VoucherType
    discount_fen: int


def check(facts: Facts, at: int) -> Discounted | Refusal:
    """Run checks 4–26. Returns the discount, or the first refusal with its figures."""
    refusal = _check_trust(facts)
    if refusal:
        return refusal
    if facts.terms is None:
        return Refusal(RefusalReason.TERMS_MISMATCH if facts.campaign_known else RefusalReason.CAMPAIGN_UNKNOWN)
    if (facts.terms.issuer, facts.terms.campaign) != (facts.voucher.issuer, facts.voucher.campaign):
        return Refusal(RefusalReason.TERMS_MISMATCH)
    if facts.campaign_suspended:
        return Refusal(RefusalReason.CAMPAIGN_SUSPENDED)
    voucher_type = _type_of(facts, facts.terms)
    if facts.known is False or voucher_type is None:
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
    """4 key not valid at issue · 5 key revoked · 6 region suspended."""
    if not key_was_valid(facts.key, facts.voucher.issued_at):
        return Refusal(RefusalReason.KEY_NOT_VALID)
    if key_was_revoked(facts.key, facts.voucher.issued_at):
        return Refusal(RefusalReason.KEY_REVOKED)
    if {facts.voucher.issuer, facts.redeeming_region} & facts.suspended_regions:
        return Refusal(RefusalReason.REGION_SUSPENDED)
    return None


def _type_of(facts: Facts, terms: Terms) -> VoucherType | None:
    """10: the voucher type that the token names at the index."""
    types = facts.voucher.voucher_types
    if not 0 <= facts.index < len(types) or not 0 < types[facts.index] <= len(terms.voucher_types):
        return None
    return terms.voucher_types[types[facts.index] - 1]


def _check_scope(facts: Facts, terms: Terms, voucher_type: VoucherType, at: int) -> Refusal | None:
    """11 cancelled · 12–13 validity · 14 region · 15 channel · 16–17 merchant · 18 category · 19 holder."""
    voucher = facts.voucher
    spent = spent_reason(facts.state) if facts.state else None
    if spent is RefusalReason.VOUCHER_CANCELLED:
        return Refusal(spent)
    if at < voucher.not_before:
        return Refusal(RefusalReason.NOT_YET_VALID, {"not_before_at": voucher.not_before})
    not_after = facts.standing.not_after(voucher.not_after)
    if at >= not_after or spent is RefusalReason.EXPIRED:
        return Refusal(RefusalReason.EXPIRED, {"not_after_at": not_after})
    away = facts.redeeming_region != voucher.issuer
    if (away and voucher.roaming == "never") or not facts.standing.covers_region(terms, facts.redeeming_region):
        return Refusal(RefusalReason.REGION_NOT_COVERED)
    if not facts.standing.covers_channel(terms, facts.sale.order.channel):
        return Refusal(RefusalReason.CHANNEL_NOT_COVERED)
    merchant = facts.merchant
    if merchant and not merchant.admitted:
        return Refusal(RefusalReason.MERCHANT_NOT_ADMITTED)
    if merchant and merchant.blocked:
        return Refusal(RefusalReason.MERCHANT_BLOCKED)
    category = facts.sale.order.category
    refused_here = merchant and merchant.categories and category not in merchant.categories
    if refused_here or category not in voucher_type.categories:
        return Refusal(RefusalReason.CATEGORY_NOT_COVERED)
    if facts.payer_tag and facts.payer_tag != voucher.holder_tag:
        return Refusal(RefusalReason.HOLDER_MISMATCH)
    return None


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
    leverage, bound = voucher_type.leverage, facts.leverage_bound
    if leverage is not None and bound is not None and leverage < bound:
        figures = {"leverage_ppm": int(leverage * PPM), "bound_ppm": int(bound * PPM)}
        return Refusal(RefusalReason.LEVERAGE_TOO_LOW, figures)
    if facts.expected_fen and facts.expected_fen != discount_fen:
        figures = {"discount_fen": discount_fen, "expected_fen": facts.expected_fen}
        return Refusal(RefusalReason.AMOUNT_MISMATCH, figures)
    return None


def _check_use(facts: Facts) -> Refusal | None:
    """24 one public voucher per order · 25 held · 26 redeemed."""
    if facts.order_taken:
        return Refusal(RefusalReason.ORDER_ALREADY_DISCOUNTED)
    reason = spent_reason(facts.state) if facts.state else None
    return Refusal(reason) if reason else None
