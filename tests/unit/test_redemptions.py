"""The life of a redemption, and what the ledger books of it (protocol.md, Redemption life cycle; money.md)."""

from __future__ import annotations

import pytest
from journals import Journal

from quanlian import custody
from quanlian.accounts import merchant_account
from quanlian.agreements import Agreement, Fixed
from quanlian.apportionment import CoFunder, FundingPlan, Leg, Reservation, reserve, split
from quanlian.custody import VoucherState
from quanlian.discounts import Order
from quanlian.redemptions import (
    Outcome,
    Redemption,
    RefundRule,
    Sale,
    State,
    adjust,
    authorize,
    capture,
    expire_voucher,
    not_authorized,
    owed_between_regions,
    refund,
    release_hold,
    void,
)
from quanlian.refusals import Refusal, RefusalReason
from quanlian.vouchers import VoucherKey

HANGZHOU, SHANGHAI = "330100", "310000"
CAMPAIGN = "hangzhou-2020-r1"
PROVINCE, CITY, COUNTY, ALIPAY = (
    f"funding/{HANGZHOU}/2020/{CAMPAIGN}/{funder}" for funder in ("province", "city", "county", "alipay")
)
VISITORS = "funding/310000/2020/visitors/city"
MERCHANTS = merchant_account("", 2020, CAMPAIGN)
OWED_TO_SHANGHAI, OWED_TO_ALIPAY = "reimbursement/310000", "payable/alipay"
BOOKS = Journal(
    {
        "province": PROVINCE,
        "city": CITY,
        "county": COUNTY,
        "alipay": ALIPAY,
        "visitors": VISITORS,
        "merchants": merchant_account(SHANGHAI, 2020, CAMPAIGN),
        "borne-by-merchants": f"borne/310000/{CAMPAIGN}",
        "owed-to-shanghai": OWED_TO_SHANGHAI,
        "owed-to-alipay": OWED_TO_ALIPAY,
    }
)
FOUR_FOUR_TWO = FundingPlan((PROVINCE, CITY, COUNTY), (4, 4, 2), "cascade")
IN_EQUAL_PARTS = FundingPlan((PROVINCE, CITY, COUNTY), (1, 1, 1), "cascade")
SHANGHAI_VISITORS = FundingPlan((VISITORS,), (1,), "refuse")
PLATFORM = CoFunder("platform", ALIPAY, 200_000, public_pays_if_dry=False)
MERCHANTS_TENTH = CoFunder("merchant", MERCHANTS, 100_000, public_pays_if_dry=False)
SEVENTY_THIRTY = Agreement("A", 1, "fixed", Fixed(70, 30))
TWO_ONE = Agreement("B", 1, "fixed", Fixed(2, 1))

AT, EXPIRES_AT, WINDOW = 1_585_300_000, 1_585_300_900, 7
PRO_RATA, CLAWBACK = RefundRule("pro-rata", 4000), RefundRule("full-clawback", 4000)


def issued(plan: FundingPlan, *cofunders: CoFunder, face_fen: int = 1000) -> VoucherState:
    """A voucher of 10 yuan off 40, its money reserved."""
    reservation = reserve(face_fen, cofunders, plan, lambda account: 10**9)
    assert reservation is not None
    key = VoucherKey(HANGZHOU, bytes(15), 0)
    return VoucherState(key, CAMPAIGN, bytes(32), 1, bytes(16), AT - 1, AT + 10**6, reservation)


def held(
    voucher: VoucherState,
    agreement: Agreement | None,
    *,
    region: str = SHANGHAI,
    order_fen: int = 5800,
    discount_fen: int = 1000,
) -> Outcome:
    """The voucher authorized for an order of 58.00."""
    paid = split(
        discount_fen, order_fen, voucher.reservation, agreement, region, HANGZHOU, SHANGHAI_VISITORS, lambda _: 10**9
    )
    assert paid is not None
    draft = Redemption(
        id=b"redemption-id-16",
        voucher=voucher.key,
        campaign=CAMPAIGN,
        terms_hash=bytes(32),
        redeeming_region=region,
        participant="spiffe://310000.quanlian/platform/alipay",
        acquirer="alipay",
        sale=Sale("91310000MA1FL2MN4X", "order-1", Order(order_fen, "catering", "shop")),
        order_fen=order_fen,
        discount_fen=discount_fen,
        legs=paid.legs,
        standing=paid.legs,
        rest=paid.released,
        expires_at=EXPIRES_AT,
        authorized_at=AT,
    )
    return authorize(draft, voucher, paid)


def captured(hold: Outcome, order_fen: int = 0, credit: str = OWED_TO_SHANGHAI) -> Outcome:
    return accepted(capture(hold.redemption, hold.voucher, order_fen, credit, WINDOW, AT + 60))


def refunded(before: Outcome, order_fen: int, rule: RefundRule = PRO_RATA, credit: str = OWED_TO_SHANGHAI) -> Outcome:
    return accepted(refund(before.redemption, before.voucher, order_fen, rule, credit, WINDOW + 1, AT + 9999))


def adjusted(before: Outcome, amount_fen: int) -> Outcome:
    return adjust(before.redemption, before.voucher, amount_fen, OWED_TO_SHANGHAI, WINDOW + 1, AT + 999)


def accepted(result: Outcome | Refusal) -> Outcome:
    assert isinstance(result, Outcome), result
    return result


def amounts(legs: tuple[Leg, ...]) -> list[int]:
    return [leg.amount_fen for leg in legs]


class TestWorkedExample1:
    """40-10 of Hangzhou on an order of 58.00 in Shanghai: a platform, three tiers, 70:30."""

    RESERVED = """
        alipay      limit 200   reserved 200
        city        limit 320   reserved 320
        county      limit 160   reserved 160
        province    limit 320   reserved 320
        visitors    limit 5000
    """
    HELD = """
        alipay      limit 200   held 200
        city        limit 320   reserved 96   held 224
        county      limit 160   reserved 48   held 112
        province    limit 320   reserved 96   held 224
        visitors    limit 5000  held 240
    """
    CAPTURED = """
        alipay              limit 200   posted 200
        city                limit 320   posted 224
        county              limit 160   posted 112
        owed-to-shanghai    posted -1000
        province            limit 320   posted 224
        visitors            limit 5000  posted 240
    """

    @pytest.fixture
    def hold(self) -> Outcome:
        return held(issued(FOUR_FOUR_TWO, PLATFORM), SEVENTY_THIRTY)

    def test_authorize_turns_the_used_reserved_legs_into_held_ones(self, hold: Outcome) -> None:
        assert BOOKS.after(self.RESERVED, hold.movements) == BOOKS.tidy(self.HELD)

    def test_the_entry_of_an_authorize_names_the_other_region(self, hold: Outcome) -> None:
        assert BOOKS.entry(hold.movements) == BOOKS.tidy("""
            alipay @310000      reserved -200  held 200
            city @310000        reserved -224  held 224
            county @310000      reserved -112  held 112
            province @310000    reserved -224  held 224
            visitors @330100    held 240
        """)

    def test_a_hold_takes_the_voucher(self, hold: Outcome) -> None:
        voucher = hold.voucher
        assert (voucher.status, voucher.hold) == (custody.HELD, hold.redemption.id)
        assert voucher.reservation == custody.EMPTY
        assert hold.redemption.state is State.AUTHORIZED
        assert hold.posting is None

    def test_capture_posts_each_leg_and_returns_the_unused_rest(self, hold: Outcome) -> None:
        assert BOOKS.after(self.HELD, captured(hold).movements) == BOOKS.tidy(self.CAPTURED)

    def test_the_entry_of_a_capture_debits_funders_and_credits_the_redeeming_region(self, hold: Outcome) -> None:
        assert BOOKS.entry(captured(hold).movements) == BOOKS.tidy("""
            alipay @310000              held -200  posted 200
            city                        reserved -96
            city @310000                held -224  posted 224
            county                      reserved -48
            county @310000              held -112  posted 112
            owed-to-shanghai @330100    posted -1000
            province                    reserved -96
            province @310000            held -224  posted 224
            visitors @330100            held -240  posted 240
        """)

    def test_a_captured_voucher_is_dead_and_its_posting_is_history(self, hold: Outcome) -> None:
        outcome = captured(hold)
        assert (outcome.voucher.status, outcome.voucher.hold) == (custody.CAPTURED, None)
        redemption, posting = outcome.redemption, outcome.posting
        assert redemption.rest == custody.EMPTY
        assert (redemption.state, redemption.captured_at, redemption.window) == (State.CAPTURED, AT + 60, WINDOW)
        assert posting is not None
        assert posting[1:] == (1, "capture", 5800, 1000, hold.redemption.legs, WINDOW, AT + 60)

    def test_hangzhou_owes_shanghai_all_but_the_visitors_fund(self, hold: Outcome) -> None:
        assert owed_between_regions(hold.redemption, hold.redemption.legs) == 760

    @pytest.mark.parametrize("into", [State.VOIDED, State.EXPIRED])
    def test_void_and_expiry_put_everything_back_as_it_was(self, hold: Outcome, into: State) -> None:
        before = issued(FOUR_FOUR_TWO, PLATFORM)
        freed = release_hold(hold.redemption, hold.voucher, into)
        assert freed.voucher == before
        assert (freed.redemption.state, freed.redemption.standing) == (into, ())
        assert BOOKS.after(self.HELD, freed.movements) == BOOKS.tidy(self.RESERVED)

    def test_a_freed_voucher_can_be_authorized_again(self, hold: Outcome) -> None:
        freed = accepted(void(hold.redemption, hold.voucher, AT + 1))
        again = held(freed.voucher, SEVENTY_THIRTY)
        assert again == hold
        assert BOOKS.after(self.RESERVED, hold.movements, freed.movements, again.movements) == BOOKS.tidy(self.HELD)


class TestWorkedExample3:
    """Thirds, 2:1; 20.00 of the 58.00 order come back, then the other 38.00."""

    CAPTURED = """
        city                limit 333   posted 222
        county              limit 333   posted 222
        owed-to-shanghai    posted -1000
        province            limit 334   posted 223
        visitors            limit 5000  posted 333
    """

    @pytest.fixture
    def sale(self) -> Outcome:
        return captured(held(issued(IN_EQUAL_PARTS), TWO_ONE))

    def test_the_first_refund_returns_to_each_funder_in_proportion(self, sale: Outcome) -> None:
        first = refunded(sale, 2000)
        assert (first.returned_fen, first.shopper_fen) == (344, 1656)
        assert BOOKS.entry(first.movements) == BOOKS.tidy("""
            city @310000                posted -76
            county @310000              posted -76
            owed-to-shanghai @330100    posted 344
            province @310000            posted -77
            visitors @330100            posted -115
        """)
        assert first.redemption.state is State.PARTLY_REFUNDED
        assert amounts(first.redemption.standing) == [146, 146, 146, 218]
        assert first.redemption.standing_fen == 656

    def test_a_full_return_empties_every_leg_and_every_account(self, sale: Outcome) -> None:
        first = refunded(sale, 2000)
        second = refunded(first, 3800)
        assert (second.returned_fen, second.shopper_fen) == (656, 3144)
        assert second.redemption.state is State.REFUNDED
        assert amounts(second.redemption.standing) == [0, 0, 0, 0]
        assert BOOKS.after(self.CAPTURED, first.movements, second.movements) == BOOKS.tidy("""
            city        limit 333
            county      limit 333
            province    limit 334
            visitors    limit 5000
        """)

    def test_the_redemption_keeps_what_it_was_captured_with(self, sale: Outcome) -> None:
        after = refunded(refunded(sale, 2000), 3800).redemption
        assert (after.order_fen, after.discount_fen, after.legs) == (5800, 1000, sale.redemption.legs)
        assert (after.window, after.captured_at) == (WINDOW, AT + 60)

    def test_each_refund_is_a_numbered_negative_posting_of_the_window_it_commits_in(self, sale: Outcome) -> None:
        first = refunded(sale, 2000)
        second = refunded(first, 3800)
        assert first.posting is not None
        assert second.posting is not None
        assert first.posting[1:5] == (2, "refund", -2000, -344)
        assert second.posting[1:5] == (3, "refund", -3800, -656)
        assert amounts(first.posting.legs) == [-77, -76, -76, -115]
        assert first.posting.window == WINDOW + 1

    def test_a_refunded_voucher_stays_dead(self, sale: Outcome) -> None:
        assert refunded(sale, 5800).voucher == sale.voucher
        assert sale.voucher.status == custody.CAPTURED


class TestPartialCapture:
    """48.00 of the 58.00 that were held: 1000·1000 div 5800 = 172 are released."""

    @pytest.fixture
    def hold(self) -> Outcome:
        return held(issued(IN_EQUAL_PARTS), TWO_ONE)

    def test_what_a_smaller_order_frees_returns_in_the_same_entry(self, hold: Outcome) -> None:
        before = """
            city        limit 333   reserved 111  held 222
            county      limit 333   reserved 111  held 222
            province    limit 334   reserved 111  held 223
            visitors    limit 5000  held 333
        """
        assert BOOKS.after(before, captured(hold, 4800).movements) == BOOKS.tidy("""
            city                limit 333   posted 184
            county              limit 333   posted 184
            owed-to-shanghai    posted -828
            province            limit 334   posted 184
            visitors            limit 5000  posted 276
        """)

    def test_order_discount_and_legs_are_as_captured(self, hold: Outcome) -> None:
        redemption = captured(hold, 4800).redemption
        assert (redemption.order_fen, redemption.discount_fen) == (4800, 828)
        assert amounts(redemption.legs) == amounts(redemption.standing) == [184, 184, 184, 276]

    def test_the_threshold_is_not_tested_again(self, hold: Outcome) -> None:
        assert captured(hold, 100).redemption.discount_fen == 1000 - 1000 * 5700 // 5800

    @pytest.mark.parametrize("order_fen", [0, 5800])
    def test_nought_and_the_whole_order_both_take_everything(self, hold: Outcome, order_fen: int) -> None:
        assert captured(hold, order_fen).redemption.discount_fen == 1000

    def test_refunds_are_of_the_order_as_captured(self, hold: Outcome) -> None:
        outcome = refunded(captured(hold, 4800), 4800)
        assert (outcome.returned_fen, outcome.redemption.state) == (828, State.REFUNDED)
        refusal = refund(outcome.redemption, outcome.voucher, 1000, PRO_RATA, OWED_TO_SHANGHAI, WINDOW, AT)
        assert refusal == Refusal(RefusalReason.REFUND_EXCEEDS_CAPTURE, {"order_fen": 1000, "left_fen": 0})


class TestMerchantsShare:
    """A tenth is borne by the merchant: no budget, nothing reserved or held, never owed to anyone."""

    @pytest.fixture
    def voucher(self) -> VoucherState:
        return issued(FundingPlan((CITY,), (1,), "cascade"), MERCHANTS_TENTH)

    def test_nothing_is_held_for_it(self, voucher: VoucherState) -> None:
        assert BOOKS.entry(held(voucher, SEVENTY_THIRTY).movements) == BOOKS.tidy("""
            city @310000        reserved -630  held 630
            visitors @330100    held 270
        """)

    def test_capture_credits_it_as_borne_and_the_rest_as_owed(self, voucher: VoucherState) -> None:
        outcome = captured(held(voucher, SEVENTY_THIRTY))
        assert BOOKS.entry(outcome.movements) == BOOKS.tidy("""
            borne-by-merchants @330100    posted -100
            city                          reserved -270
            city @310000                  held -630  posted 630
            merchants @330100             posted 100
            owed-to-shanghai @330100      posted -900
            visitors @330100              held -270  posted 270
        """)
        assert owed_between_regions(outcome.redemption, outcome.redemption.legs) == 630

    def test_a_refund_gives_the_merchant_its_part_back(self, voucher: VoucherState) -> None:
        outcome = refunded(captured(held(voucher, SEVENTY_THIRTY)), 2900)
        assert BOOKS.entry(outcome.movements) == BOOKS.tidy("""
            borne-by-merchants @330100    posted 50
            city @310000                  posted -315
            merchants @330100             posted -50
            owed-to-shanghai @330100      posted 450
            visitors @330100              posted -135
        """)

    def test_a_void_gives_the_share_back_to_the_voucher_without_a_region(self, voucher: VoucherState) -> None:
        hold = held(voucher, SEVENTY_THIRTY, discount_fen=600)
        assert accepted(void(hold.redemption, hold.voucher, AT)).voucher == voucher


class TestAtHome:
    def test_a_node_owes_the_acquirer_and_no_other_region(self) -> None:
        outcome = captured(held(issued(FOUR_FOUR_TWO, PLATFORM), None, region=HANGZHOU), credit=OWED_TO_ALIPAY)
        assert BOOKS.entry(outcome.movements) == BOOKS.tidy("""
            alipay @330100            held -200  posted 200
            city @330100              held -320  posted 320
            county @330100            held -160  posted 160
            owed-to-alipay @330100    posted -1000
            province @330100          held -320  posted 320
        """)
        assert owed_between_regions(outcome.redemption, outcome.redemption.legs) == 0

    def test_a_discount_below_the_highest_leaves_the_rest_reserved_until_capture(self) -> None:
        hold = held(issued(IN_EQUAL_PARTS), None, region=HANGZHOU, order_fen=500, discount_fen=500)
        before = """
            city        limit 333  reserved 333
            county      limit 333  reserved 333
            province    limit 334  reserved 334
        """
        assert BOOKS.after(before, hold.movements) == BOOKS.tidy("""
            city        limit 333  reserved 166  held 167
            county      limit 333  reserved 167  held 166
            province    limit 334  reserved 167  held 167
        """)
        assert amounts(hold.redemption.rest.legs()) == [167, 166, 167]


class TestFullClawback:
    @pytest.fixture
    def sale(self) -> Outcome:
        return captured(held(issued(IN_EQUAL_PARTS), TWO_ONE))

    def test_a_refund_that_keeps_the_threshold_is_in_proportion(self, sale: Outcome) -> None:
        outcome = refunded(sale, 1800, CLAWBACK)
        assert (outcome.returned_fen, outcome.shopper_fen) == (310, 1490)

    def test_a_refund_below_the_threshold_returns_the_whole_discount(self, sale: Outcome) -> None:
        outcome = refunded(sale, 1801, CLAWBACK)
        assert (outcome.returned_fen, outcome.shopper_fen) == (1000, 801)
        assert amounts(outcome.redemption.standing) == [0, 0, 0, 0]
        assert outcome.redemption.state is State.PARTLY_REFUNDED

    def test_a_later_refund_then_goes_to_the_shopper_whole(self, sale: Outcome) -> None:
        outcome = refunded(refunded(sale, 1801, CLAWBACK), 3999, CLAWBACK)
        assert (outcome.returned_fen, outcome.shopper_fen) == (0, 3999)
        assert outcome.redemption.state is State.REFUNDED

    def test_a_return_gives_funders_at_most_itself_and_the_next_one_what_is_still_due(self, sale: Outcome) -> None:
        first = refunded(sale, 1800, CLAWBACK)
        second = refunded(first, 100, CLAWBACK)
        assert (second.returned_fen, second.shopper_fen) == (100, 0)
        third = refunded(second, 700, CLAWBACK)
        assert (third.returned_fen, third.shopper_fen) == (1000 - 310 - 100, 110)
        assert first.shopper_fen + third.shopper_fen == refunded(sale, 2600, CLAWBACK).shopper_fen == 1600

    def test_a_full_return_in_any_steps_gives_back_the_whole_discount(self, sale: Outcome) -> None:
        outcome = refunded(refunded(refunded(sale, 1800, CLAWBACK), 1, CLAWBACK), 3999, CLAWBACK)
        assert outcome.redemption.returned_fen == 1000
        assert amounts(outcome.redemption.standing) == [0, 0, 0, 0]


class TestReturnsAfterAnAdjustment:
    """It is between funders and the redeeming region: what a return gives the shopper stays what it was."""

    @pytest.fixture
    def sale(self) -> Outcome:
        return captured(held(issued(IN_EQUAL_PARTS), TWO_ONE))

    def test_a_full_return_gives_the_shopper_what_was_paid(self, sale: Outcome) -> None:
        outcome = refunded(adjusted(sale, 1000), 5800)
        assert (outcome.returned_fen, outcome.shopper_fen) == (0, 4800)
        assert outcome.redemption.state is State.REFUNDED

    def test_a_partial_return_gives_funders_what_the_adjustment_left_due(self, sale: Outcome) -> None:
        first = refunded(adjusted(sale, 300), 2000)
        assert (first.returned_fen, first.shopper_fen) == (344 - 300, 2000 - 344)
        second = refunded(first, 3800)
        assert (second.returned_fen, second.shopper_fen) == (656, 3800 - 656)

    def test_an_adjustment_between_two_returns_changes_the_shoppers_part_of_neither(self, sale: Outcome) -> None:
        first = refunded(sale, 2000)
        second = refunded(adjusted(first, 600), 1000)
        assert (second.returned_fen, second.shopper_fen) == (0, 1000 - (517 - 344))
        third = refunded(second, 2800)
        assert (third.returned_fen, third.shopper_fen) == (1000 - 344 - 600, 2800 - (1000 - 517))
        assert first.shopper_fen + second.shopper_fen + third.shopper_fen == 4800

    def test_what_a_full_clawback_takes_of_a_return_is_not_more_for_an_adjustment(self, sale: Outcome) -> None:
        first = refunded(adjusted(refunded(sale, 1800, CLAWBACK), 50), 100, CLAWBACK)
        assert (first.returned_fen, first.shopper_fen) == (50, 0)
        second = refunded(first, 700, CLAWBACK)
        assert (second.returned_fen, second.shopper_fen) == (1000 - 310 - 100, 110)


class TestRefusals:
    @pytest.fixture
    def hold(self) -> Outcome:
        return held(issued(IN_EQUAL_PARTS), TWO_ONE)

    def test_a_hold_is_good_until_the_second_before_it_expires(self, hold: Outcome) -> None:
        accepted(capture(hold.redemption, hold.voucher, 0, OWED_TO_SHANGHAI, WINDOW, EXPIRES_AT - 1))
        accepted(void(hold.redemption, hold.voucher, EXPIRES_AT - 1))

    def test_an_expired_hold_is_neither_captured_nor_voided(self, hold: Outcome) -> None:
        late = Refusal(RefusalReason.HOLD_EXPIRED, {"expires_at": EXPIRES_AT})
        assert capture(hold.redemption, hold.voucher, 0, OWED_TO_SHANGHAI, WINDOW, EXPIRES_AT) == late
        assert void(hold.redemption, hold.voucher, EXPIRES_AT) == late
        assert late.message_zh.startswith("占用已于2020-03-27 17:21:40到期")

    def test_a_hold_recorded_as_expired_says_so_whatever_the_time(self, hold: Outcome) -> None:
        gone = release_hold(hold.redemption, hold.voucher, State.EXPIRED)
        late = Refusal(RefusalReason.HOLD_EXPIRED, {"expires_at": EXPIRES_AT})
        assert capture(gone.redemption, gone.voucher, 0, OWED_TO_SHANGHAI, WINDOW, AT) == late

    def test_what_is_not_on_hold_is_neither_captured_nor_voided(self, hold: Outcome) -> None:
        voided = accepted(void(hold.redemption, hold.voucher, AT))
        for gone in (voided, captured(hold), refunded(captured(hold), 2000)):
            refusal = not_authorized(gone.redemption)
            assert refusal.reason is RefusalReason.NOT_AUTHORIZED
            assert refusal.figures, "why is told with a figure"
            assert capture(gone.redemption, gone.voucher, 0, OWED_TO_SHANGHAI, WINDOW, AT) == refusal
            assert void(gone.redemption, gone.voucher, AT) == refusal

    def test_only_the_hold_that_the_voucher_names_is_live(self, hold: Outcome) -> None:
        other = hold.voucher._replace(hold=b"another-hold-16b")
        refusal = capture(hold.redemption, other, 0, OWED_TO_SHANGHAI, WINDOW, AT)
        assert refusal == Refusal(RefusalReason.NOT_AUTHORIZED)

    def test_no_more_is_captured_than_was_held(self, hold: Outcome) -> None:
        refusal = capture(hold.redemption, hold.voucher, 5801, OWED_TO_SHANGHAI, WINDOW, AT)
        assert isinstance(refusal, Refusal)
        assert refusal == Refusal(RefusalReason.AMOUNT_EXCEEDS_HOLD, {"order_fen": 5801, "held_order_fen": 5800})
        assert refusal.message_zh == "确认金额58.01元超过占用金额58.00元；券仍可用"

    def test_no_more_is_refunded_than_is_left_of_the_order(self, hold: Outcome) -> None:
        first = refunded(captured(hold), 2000)
        refusal = refund(first.redemption, first.voucher, 3801, PRO_RATA, OWED_TO_SHANGHAI, WINDOW, AT)
        assert isinstance(refusal, Refusal)
        assert refusal == Refusal(RefusalReason.REFUND_EXCEEDS_CAPTURE, {"order_fen": 3801, "left_fen": 3800})
        assert refusal.message_zh == "退货38.01元超过未退金额38.00元"

    def test_after_a_full_return_nothing_is_left_to_refund(self, hold: Outcome) -> None:
        gone = refunded(captured(hold), 5800)
        refusal = refund(gone.redemption, gone.voucher, 1, PRO_RATA, OWED_TO_SHANGHAI, WINDOW, AT)
        assert refusal == Refusal(RefusalReason.REFUND_EXCEEDS_CAPTURE, {"order_fen": 1, "left_fen": 0})

    @pytest.mark.parametrize("order_fen", [0, -1])
    def test_a_refund_of_nothing_is_none(self, hold: Outcome, order_fen: int) -> None:
        sale = captured(hold)
        refusal = refund(sale.redemption, sale.voucher, order_fen, PRO_RATA, OWED_TO_SHANGHAI, WINDOW, AT)
        assert isinstance(refusal, Refusal)
        assert refusal.reason is RefusalReason.REFUND_EXCEEDS_CAPTURE

    def test_what_was_not_captured_is_not_refunded(self, hold: Outcome) -> None:
        freed = [release_hold(hold.redemption, hold.voucher, state) for state in (State.VOIDED, State.EXPIRED)]
        for outcome in (hold, *freed):
            refusal = refund(outcome.redemption, outcome.voucher, 1000, PRO_RATA, OWED_TO_SHANGHAI, WINDOW, AT)
            assert refusal == Refusal(RefusalReason.NOT_CAPTURED)


class TestExpiryOfAVoucher:
    def test_its_reserved_money_is_free_again(self) -> None:
        expired, movements = expire_voucher(issued(FOUR_FOUR_TWO, PLATFORM))
        assert (expired.status, expired.reservation) == (custody.EXPIRED, Reservation((), ()))
        assert BOOKS.after(TestWorkedExample1.RESERVED, movements) == BOOKS.tidy("""
            alipay      limit 200
            city        limit 320
            county      limit 160
            province    limit 320
            visitors    limit 5000
        """)

    def test_a_merchants_share_moves_nothing(self) -> None:
        _, movements = expire_voucher(issued(FundingPlan((CITY,), (1,), "cascade"), MERCHANTS_TENTH))
        assert BOOKS.entry(movements) == BOOKS.tidy("city    reserved -900")
