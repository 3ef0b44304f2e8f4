"""The checks before a voucher is held, in their order (protocol.md, Refusal reasons, in order)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from quanlian import custody
from quanlian.custody import VoucherState
from quanlian.discounts import Order
from quanlian.notices import Given
from quanlian.redemptions import Sale
from quanlian.refusals import Refusal, RefusalReason
from quanlian.signing import SigningKey
from quanlian.terms import Terms, Tier, VoucherType
from quanlian.terms_parsing import parse_terms
from quanlian.validation import Discounted, Facts, MerchantFacts, OrderTaken, check
from quanlian.vouchers import Voucher, VoucherKey

HANGZHOU, SHANGHAI = "330100", "310000"
CAMPAIGN = "hangzhou-2020-r1"
AT = 1_585_400_000
FORTY_LESS_TEN, CAR, TABLET = 0, 1, 2
HOLDER, SOMEBODY_ELSE = b"h" * 16, b"s" * 16


def hangzhou() -> Terms:
    """Hangzhou's terms, with a tiered subsidy and a rate beside the voucher of 10 off 40."""
    path = Path(__file__).parents[2] / "examples" / "campaigns" / "hangzhou-2020-r1.toml"
    terms = parse_terms(path.read_bytes(), path.name)
    retail = frozenset({"retail"})
    tiers = (Tier("new-energy", 3_000_000, 80_000), Tier("new-energy", 6_000_000, 200_000))
    car = VoucherType(2, "car", "汽车补贴", "car subsidy", "tiered", retail, tiers=tiers)
    tablet = VoucherType(3, "tablet", "数码补贴", "tablet subsidy", "rate", retail, rate_ppm=150_000, cap_fen=50_000)
    tablet = replace(tablet, price_limit_fen=600_000)
    return replace(terms, voucher_types=(*terms.voucher_types, car, tablet))


TERMS = hangzhou()
VOUCHER = Voucher(
    version=1,
    suite=1,
    key_id=bytes(8),
    issuer=HANGZHOU,
    campaign=CAMPAIGN,
    terms_hash=TERMS.terms_hash,
    pack_id=bytes(15),
    voucher_types=(1, 2, 3),
    holder_tag=HOLDER,
    issued_at=AT - 1000,
    not_before=AT - 1000,
    not_after=AT + 1000,
    roaming="on-demand",
)
KEY = SigningKey(bytes(8), HANGZHOU, "voucher", bytes(32), AT - 2000, AT + 2000)
STATE = VoucherState(
    VoucherKey(HANGZHOU, bytes(15), 0),
    CAMPAIGN,
    TERMS.terms_hash,
    1,
    HOLDER,
    VOUCHER.not_before,
    VOUCHER.not_after,
    custody.EMPTY,
)
DINNER = Order(5800, "catering", "shop")
GOOD = Facts(
    voucher=VOUCHER,
    key=KEY,
    index=FORTY_LESS_TEN,
    sale=Sale("91310000MA1FL2MN4X", "order-1", DINNER),
    expected_fen=1000,
    payer_tag=HOLDER,
    redeeming_region=SHANGHAI,
    suspended_regions={"440300": AT},
    campaign_known=True,
    terms=TERMS,
    known=True,
    state=STATE,
    merchant=MerchantFacts(admitted=True, categories=frozenset({"catering", "retail"})),
    leverage_bound=Fraction(4),
)


def order(facts: Facts, **changes: Any) -> Facts:
    return replace(facts, sale=facts.sale._replace(order=replace(facts.sale.order, **changes)))


def voucher(facts: Facts, **changes: Any) -> Facts:
    return replace(facts, voucher=facts.voucher._replace(**changes))


def merchant(facts: Facts, **changes: Any) -> Facts:
    assert facts.merchant is not None
    return replace(facts, merchant=facts.merchant._replace(**changes))


def status(facts: Facts, recorded: str) -> Facts:
    assert facts.state is not None
    return replace(facts, state=facts.state._replace(status=recorded))


FAULTS: Mapping[str, Callable[[Facts], Facts]] = {
    "KEY_NOT_VALID": lambda facts: replace(facts, key=facts.key._replace(not_before=facts.voucher.issued_at + 1)),
    "KEY_REVOKED": lambda facts: replace(facts, key=facts.key._replace(revoked_from=facts.voucher.issued_at)),
    "REGION_SUSPENDED": lambda facts: replace(facts, suspended_regions={SHANGHAI: AT}),
    "CAMPAIGN_UNKNOWN": lambda facts: replace(facts, campaign_known=False),
    "TERMS_MISMATCH": lambda facts: replace(facts, terms=None),
    "CAMPAIGN_SUSPENDED": lambda facts: replace(facts, campaign_suspended=True),
    "VOUCHER_UNKNOWN": lambda facts: replace(facts, known=False),
    "VOUCHER_CANCELLED": lambda facts: status(facts, custody.CANCELLED),
    "VOUCHER_SUSPENDED": lambda facts: replace(facts, voucher_suspended_at=AT - 60),
    "NOT_YET_VALID": lambda facts: voucher(facts, not_before=AT + 1),
    "EXPIRED": lambda facts: voucher(facts, not_after=AT),
    "REGION_NOT_COVERED": lambda facts: voucher(facts, roaming="never"),
    "CHANNEL_NOT_COVERED": lambda facts: order(facts, channel="delivery"),
    "MERCHANT_NOT_ADMITTED": lambda facts: merchant(facts, admitted=False),
    "MERCHANT_BLOCKED": lambda facts: merchant(facts, blocked_at=AT),
    "CATEGORY_NOT_COVERED": lambda facts: order(facts, category="fuel"),
    "HOLDER_MISMATCH": lambda facts: replace(facts, payer_tag=SOMEBODY_ELSE),
    "BELOW_MINIMUM_SPEND": lambda facts: order(replace(facts, index=FORTY_LESS_TEN), order_fen=3850),
    "NO_MATCHING_TIER": lambda facts: order(replace(facts, index=CAR), category="retail", invoice_fen=2_999_999),
    "LEVERAGE_TOO_LOW": lambda facts: replace(facts, leverage_bound=Fraction(5)),
    "AMOUNT_MISMATCH": lambda facts: replace(facts, expected_fen=999),
    "ORDER_ALREADY_DISCOUNTED": lambda facts: replace(facts, order_taken=OrderTaken(None, is_captured=True)),
    "ALREADY_HELD": lambda facts: status(facts, custody.HELD),
    "ALREADY_REDEEMED": lambda facts: status(facts, custody.CAPTURED),
}
"""What breaks each check. A voucher has one recorded status and one type, so of the faults that set these the one of
the lower rank stands; every other fault of a higher rank is there too."""


def broken_from(name: str) -> Facts:
    """A purchase that breaks this check and every later one."""
    names = list(FAULTS)
    facts = GOOD
    for later in reversed(names[names.index(name) :]):
        facts = FAULTS[later](facts)
    return facts


def refused(facts: Facts, at: int = AT) -> Refusal:
    result = check(facts, at)
    assert isinstance(result, Refusal), result
    return result


def test_the_table_has_every_reason_from_4_to_26_in_its_order() -> None:
    expected = [reason.name for reason in RefusalReason if 4 <= reason // 10 <= 26]
    assert list(FAULTS) == expected


@pytest.mark.parametrize("name", FAULTS)
def test_the_first_check_that_fails_is_the_answer(name: str) -> None:
    assert refused(broken_from(name)).reason.name == name


@pytest.mark.parametrize("name", [name for name in FAULTS if name != "CAMPAIGN_UNKNOWN"])
def test_a_check_fails_for_its_own_fault_alone(name: str) -> None:
    assert refused(FAULTS[name](GOOD)).reason.name == name


def test_a_sound_purchase_gives_its_type_and_discount() -> None:
    assert check(GOOD, AT) == Discounted(TERMS, TERMS.voucher_types[0], 1000)


def test_facts_that_a_party_does_not_hold_are_passed_over() -> None:
    bare = replace(GOOD, expected_fen=0, payer_tag=b"", known=None, state=None, merchant=None, leverage_bound=None)
    assert isinstance(check(bare, AT), Discounted)


class TestTrust:
    @pytest.mark.parametrize(("shift", "good"), [(-1, False), (0, True), (3999, True), (4000, False)])
    def test_the_key_must_have_been_valid_when_the_voucher_was_issued(self, shift: int, good: bool) -> None:
        facts = voucher(GOOD, issued_at=KEY.not_before + shift)
        assert isinstance(check(facts, AT), Discounted) is good

    def test_a_key_that_expired_since_is_good(self) -> None:
        assert isinstance(check(replace(GOOD, key=KEY._replace(not_after=AT - 1)), AT), Discounted)

    def test_a_voucher_issued_before_the_revocation_is_good(self) -> None:
        key = KEY._replace(revoked_from=VOUCHER.issued_at + 1)
        assert isinstance(check(replace(GOOD, key=key), AT), Discounted)

    @pytest.mark.parametrize("suspended", [HANGZHOU, SHANGHAI])
    def test_either_region_may_be_suspended(self, suspended: str) -> None:
        refusal = refused(replace(GOOD, suspended_regions={suspended: AT}))
        assert refusal.reason is RefusalReason.REGION_SUSPENDED
        assert refusal.retryable
        assert refusal.voucher_usable

    def test_a_suspended_region_is_named_with_since_when(self) -> None:
        refusal = refused(replace(GOOD, suspended_regions={SHANGHAI: AT - 60}))
        assert refusal.figures == {"region": 310000, "since_at": AT - 60}
        assert refusal.message_zh == "发券地或核销地已暂停：310000，自2020-03-28 20:52:20；券仍可用"

    def test_a_key_out_of_its_validity_or_revoked_is_told_with_the_times(self) -> None:
        late = refused(replace(GOOD, key=KEY._replace(not_after=VOUCHER.issued_at)))
        assert late.figures == {
            "issued_at": VOUCHER.issued_at,
            "not_before_at": KEY.not_before,
            "not_after_at": VOUCHER.issued_at,
        }
        revoked = refused(replace(GOOD, key=KEY._replace(revoked_from=VOUCHER.issued_at - 5)))
        assert revoked.figures == {"issued_at": VOUCHER.issued_at, "revoked_at": VOUCHER.issued_at - 5}
        assert "2020-03-28 20:36:35" in revoked.message_en


class TestWhetherTheVoucherCanStillBeUsed:
    """A refusal for a reason that leaves the voucher good does not call one good that is past use."""

    @pytest.mark.parametrize("fault", ["ALREADY_REDEEMED", "VOUCHER_UNKNOWN", "VOUCHER_SUSPENDED", "EXPIRED"])
    def test_it_cannot_when_it_is_past_use_for_another_reason(self, fault: str) -> None:
        refusal = refused(FAULTS[fault](replace(GOOD, suspended_regions={SHANGHAI: AT})))
        assert refusal.reason is RefusalReason.REGION_SUSPENDED
        assert not refusal.voucher_usable
        assert "仍可用" not in refusal.message_zh
        assert "good" not in refusal.message_en

    @pytest.mark.parametrize("fault", ["ALREADY_HELD", "HOLDER_MISMATCH", "NOT_YET_VALID", "CHANNEL_NOT_COVERED"])
    def test_it_can_when_what_else_is_wrong_may_pass(self, fault: str) -> None:
        assert refused(FAULTS[fault](replace(GOOD, suspended_regions={SHANGHAI: AT}))).voucher_usable

    def test_a_notice_keeps_a_voucher_good_beyond_its_token(self) -> None:
        extended = replace(GOOD.standing, given=Given(valid_until=VOUCHER.not_after + 100))
        small = order(replace(GOOD, standing=extended), order_fen=3850)
        assert refused(small, VOUCHER.not_after + 99).voucher_usable


class TestTerms:
    def test_a_campaign_that_nobody_published_is_unknown(self) -> None:
        assert refused(replace(GOOD, campaign_known=False, terms=None)).reason is RefusalReason.CAMPAIGN_UNKNOWN

    @pytest.mark.parametrize("borrowed", [{"issuer": SHANGHAI}, {"campaign": "hangzhou-2020-r2"}])
    def test_a_voucher_cannot_borrow_the_terms_of_another_issuer_or_campaign(self, borrowed: dict[str, str]) -> None:
        assert refused(voucher(GOOD, **borrowed)).reason is RefusalReason.TERMS_MISMATCH

    @pytest.mark.parametrize("index", [3, 63, -1])
    def test_an_index_outside_the_pack_is_no_voucher(self, index: int) -> None:
        assert refused(replace(GOOD, index=index)).reason is RefusalReason.VOUCHER_UNKNOWN

    @pytest.mark.parametrize("number", [0, 4, 2**32 - 1])
    def test_a_type_that_the_terms_do_not_have_is_no_voucher(self, number: int) -> None:
        assert refused(voucher(GOOD, voucher_types=(number,))).reason is RefusalReason.VOUCHER_UNKNOWN


class TestValidity:
    def test_it_begins_with_its_first_second(self) -> None:
        assert isinstance(check(GOOD, VOUCHER.not_before), Discounted)
        refusal = refused(GOOD, VOUCHER.not_before - 1)
        assert refusal == Refusal(RefusalReason.NOT_YET_VALID, {"not_before_at": VOUCHER.not_before})
        assert refusal.message_zh == "券自2020-03-28 20:36:40起可用；券仍可用"
        assert refusal.retryable

    def test_it_ends_before_its_last(self) -> None:
        assert isinstance(check(GOOD, VOUCHER.not_after - 1), Discounted)
        refusal = refused(GOOD, VOUCHER.not_after)
        assert refusal == Refusal(RefusalReason.EXPIRED, {"not_after_at": VOUCHER.not_after})
        assert refusal.message_zh == "券已于2020-03-28 21:10:00过期"
        assert refusal.message_en == "the voucher expired at 2020-03-28 21:10:00"
        assert not refusal.voucher_usable

    def test_an_expiry_that_the_custodian_recorded_has_its_own_rank_and_figures(self) -> None:
        facts = order(status(GOOD, custody.EXPIRED), channel="delivery")
        assert refused(facts) == Refusal(RefusalReason.EXPIRED, {"not_after_at": VOUCHER.not_after})


class TestScope:
    def test_a_local_voucher_is_good_at_home(self) -> None:
        at_home = replace(voucher(GOOD, roaming="never"), redeeming_region=HANGZHOU)
        assert isinstance(check(at_home, AT), Discounted)

    def test_a_region_outside_the_terms_is_not_covered_though_the_voucher_roams(self) -> None:
        facts = replace(GOOD, terms=replace(TERMS, regions=("330000",)))
        assert refused(facts).reason is RefusalReason.REGION_NOT_COVERED

    def test_the_merchants_own_categories_bind_too(self) -> None:
        facts = merchant(GOOD, categories=frozenset({"retail"}))
        assert refused(facts).reason is RefusalReason.CATEGORY_NOT_COVERED

    def test_a_merchant_without_categories_sells_any(self) -> None:
        assert isinstance(check(merchant(GOOD, categories=frozenset()), AT), Discounted)


class TestFigures:
    def test_a_small_order_says_what_is_short(self) -> None:
        refusal = refused(order(GOOD, order_fen=3850))
        assert refusal.message_zh == "订单38.50元，未满40.00元，差1.50元；券仍可用"
        assert refusal.message_en == "the order of 38.50 yuan is 1.50 short of 40.00; the voucher is still good"
        assert refusal.figures["short_fen"] == 150
        assert (refusal.retryable, refusal.voucher_usable) == (False, True)

    def test_an_order_of_just_the_minimum_passes(self) -> None:
        assert isinstance(check(order(GOOD, order_fen=4000), AT), Discounted)

    def test_an_invoice_below_every_tier_is_named(self) -> None:
        refusal = refused(FAULTS["NO_MATCHING_TIER"](GOOD))
        assert refusal.message_zh == "发票金额29,999.99元不在补贴档次内；券仍可用"
        assert refusal.message_en == "no tier covers the invoice of 29,999.99 yuan; the voucher is still good"

    def test_a_price_above_the_limit_of_a_rate_has_no_tier(self) -> None:
        facts = order(replace(GOOD, index=TABLET), category="retail", order_fen=600_001)
        assert refused(facts).reason is RefusalReason.NO_MATCHING_TIER

    def test_hangzhous_leverage_is_too_low_for_jincheng_whatever_the_order(self) -> None:
        refusal = refused(order(FAULTS["LEVERAGE_TOO_LOW"](GOOD), order_fen=9_999_900))
        figures = {"leverage_ppm": 4_000_000, "bound_ppm": 5_000_000}
        assert refusal == Refusal(RefusalReason.LEVERAGE_TOO_LOW, figures)
        assert refusal.message_zh == "券的杠杆比4.00倍，低于本地要求的5.00倍；券仍可用"

    def test_a_subsidy_without_a_threshold_has_no_leverage_to_be_too_low(self) -> None:
        facts = order(replace(GOOD, index=CAR, leverage_bound=Fraction(99), expected_fen=0), category="retail")
        assert isinstance(check(order(facts, order_fen=10**7, klass="new-energy", invoice_fen=10**7), AT), Discounted)

    def test_another_expectation_than_ours_names_both(self) -> None:
        refusal = refused(replace(GOOD, expected_fen=999))
        assert refusal == Refusal(RefusalReason.AMOUNT_MISMATCH, {"discount_fen": 1000, "expected_fen": 999})
        assert refusal.message_zh == "应抵扣10.00元，对方报9.99元；券仍可用"
        assert refusal.message_en == "the discount is 10.00 yuan, the sender expected 9.99; the voucher is still good"

    def test_a_voucher_held_by_another_order_may_be_tried_again(self) -> None:
        refusal = refused(FAULTS["ALREADY_HELD"](GOOD))
        assert (refusal.retryable, refusal.voucher_usable) == (True, True)

    def test_a_redeemed_voucher_is_dead(self) -> None:
        refusal = refused(FAULTS["ALREADY_REDEEMED"](GOOD))
        assert (refusal.retryable, refusal.voucher_usable) == (False, False)
        assert refusal.message_zh == "券已核销"
