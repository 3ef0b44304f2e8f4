"""Who pays: the worked examples of the money rules, and the cases around them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quanlian.accounts import merchant_account
from quanlian.agreements import Agreement, Fixed, OrderRate
from quanlian.apportionment import (
    CoFunder,
    FundingPlan,
    Leg,
    Reservation,
    Split,
    capture_release,
    fund,
    reduce_legs,
    refund_due,
    reserve,
    split,
)
from quanlian.errors import InvalidInput

CAMPAIGN = "hangzhou-2020-r1"
MERCHANT = merchant_account("", 2020, CAMPAIGN)
HANGZHOU, SHANGHAI = "330100", "310000"
PROVINCE, CITY, COUNTY, ALIPAY = (f"funding/330100/2020/{CAMPAIGN}/{x}" for x in ("p", "ci", "co", "alipay"))
VISITORS = "funding/310000/2020/visitors/city"
FOUR_FOUR_TWO = FundingPlan((PROVINCE, CITY, COUNTY), (4, 4, 2), "cascade")
IN_EQUAL_PARTS = FundingPlan((PROVINCE, CITY, COUNTY), (1, 1, 1), "cascade")
SHANGHAI_VISITORS = FundingPlan((VISITORS,), (1,), "refuse")
SEVENTY_THIRTY = Agreement("A", 1, "fixed", Fixed(70, 30))
TWO_ONE = Agreement("B", 1, "fixed", Fixed(2, 1))


def left(**budgets: int) -> Callable[[str], int]:
    """Everyone has plenty, but those named by the last part of their account."""
    return lambda account: budgets.get(account.rpartition("/")[2], 10**9)


def reserved(amount_fen: int, plan: FundingPlan = IN_EQUAL_PARTS, *cofunders: CoFunder) -> Reservation:
    reservation = reserve(amount_fen, cofunders, plan, left())
    assert reservation is not None
    return reservation


def split_in_shanghai(
    discount_fen: int,
    reservation: Reservation,
    agreement: Agreement,
    visitors: FundingPlan | None = SHANGHAI_VISITORS,
    budgets: Callable[[str], int] = left(),  # noqa: B008
    order_fen: int = 5800,
) -> Split | None:
    return split(discount_fen, order_fen, reservation, agreement, SHANGHAI, HANGZHOU, visitors, budgets)


def amounts(legs: tuple[Leg, ...]) -> list[int]:
    return [leg.amount_fen for leg in legs]


class TestWorkedExamples:
    """The five of money.md."""

    def test_1_a_platform_three_tiers_and_a_seventy_thirty_agreement(self) -> None:
        platform = CoFunder("platform", ALIPAY, 200_000, public_pays_if_dry=False)
        reservation = reserved(1000, FOUR_FOUR_TWO, platform)
        assert reservation.cofunders == (Leg(ALIPAY, 200),)
        assert reservation.public == (Leg(PROVINCE, 320), Leg(CITY, 320), Leg(COUNTY, 160))

        paid = split_in_shanghai(1000, reservation, SEVENTY_THIRTY)
        assert paid is not None
        assert (paid.issuer_public_fen, paid.redeemer_public_fen) == (560, 240)
        assert paid.legs == (
            Leg(ALIPAY, 200),
            Leg(PROVINCE, 224),
            Leg(CITY, 224),
            Leg(COUNTY, 112),
            Leg(VISITORS, 240),
        )
        assert amounts(paid.released.legs()) == [0, 96, 96, 48]

    def test_2_thirds_that_do_not_come_out_even(self) -> None:
        reservation = reserved(1000)
        assert amounts(reservation.public) == [334, 333, 333]
        paid = split_in_shanghai(1000, reservation, TWO_ONE)
        assert paid is not None
        assert amounts(paid.legs) == [223, 222, 222, 333]

    def test_3_two_partial_refunds_empty_every_leg(self) -> None:
        legs = [Leg(account, fen) for account, fen in zip("abcd", (223, 222, 222, 333), strict=True)]
        assert refund_due(1000, 5800, 2000, "pro-rata", 4000) == 344
        assert reduce_legs(legs, 344) == [77, 76, 76, 115]
        remaining = [Leg(account, fen) for account, fen in zip("abcd", (146, 146, 146, 218), strict=True)]
        assert refund_due(1000, 5800, 5800, "pro-rata", 4000) - 344 == 656
        assert reduce_legs(remaining, 656) == [146, 146, 146, 218]

    def test_4_a_rate_on_the_order_is_capped(self) -> None:
        agreement = Agreement("C", 1, "order-rate", OrderRate(57_500, 3_000))
        paid = split_in_shanghai(3000, reserved(3000), agreement, order_fen=20_000)
        assert paid is not None
        assert (paid.issuer_public_fen, paid.redeemer_public_fen) == (2100, 900)

    def test_5_a_dry_county_cascades_to_the_province(self) -> None:
        assert fund(1000, [4, 4, 2], [10_000, 300, 0], "cascade") == [700, 300, 0]


class TestFunders:
    def test_a_backstop_of_weight_zero_pays_only_in_a_cascade(self) -> None:
        assert fund(5, [0, 1], [10, 3], "cascade") == [2, 3]
        assert fund(5, [0, 1], [10, 3], "pro-rata") is None

    def test_a_shortfall_is_shared_by_weight_among_those_with_money(self) -> None:
        assert fund(1096, [1, 0, 4, 1, 4], [10**9, 0, 115, 0, 178], "pro-rata") == [803, 0, 115, 0, 178]

    def test_a_budget_cut_below_its_use_pays_nothing(self) -> None:
        assert fund(100, [1, 1], [-40, 200], "cascade") == [0, 100]

    def test_an_unknown_rule_is_an_error(self) -> None:
        with pytest.raises(InvalidInput, match="'share' is not a shortfall rule"):
            fund(1, [1], [1], "share")


class TestReserving:
    def test_a_dry_platform_refuses(self) -> None:
        platform = CoFunder("platform", ALIPAY, 200_000, public_pays_if_dry=False)
        assert reserve(1000, [platform], FOUR_FOUR_TWO, left(alipay=199)) is None

    def test_the_public_pays_the_whole_part_of_a_dry_platform_if_the_terms_say_so(self) -> None:
        platform = CoFunder("platform", ALIPAY, 200_000, public_pays_if_dry=True)
        reservation = reserve(1000, [platform], FOUR_FOUR_TWO, left(alipay=199))
        assert reservation is not None
        assert amounts(reservation.legs()) == [0, 400, 400, 200]

    def test_a_merchants_share_has_no_budget(self) -> None:
        merchant = CoFunder("merchant", MERCHANT, 100_000, public_pays_if_dry=False)
        reservation = reserve(1000, [merchant], FOUR_FOUR_TWO, left())
        assert reservation is not None
        assert reservation.cofunders == (Leg(MERCHANT, 100),)

    def test_funders_that_cannot_cover_refuse(self) -> None:
        assert reserve(1000, [], FOUR_FOUR_TWO, left(p=900, ci=50, co=49)) is None

    def test_shares_beyond_the_whole_are_an_error(self) -> None:
        greedy = [CoFunder("merchant", MERCHANT, 600_000, False)] * 2
        with pytest.raises(InvalidInput, match="more than 1,000,000 ppm"):
            reserve(1000, greedy, FOUR_FOUR_TWO, left())

    def test_one_account_cannot_pay_two_parts(self) -> None:
        with pytest.raises(InvalidInput, match="name each funder once"):
            reserve(1000, [CoFunder("bank", CITY, 100_000, False)], FOUR_FOUR_TWO, left())


class TestSplitting:
    def test_at_home_the_issuers_funders_pay_it_all(self) -> None:
        paid = split(1000, 5800, reserved(1000), None, HANGZHOU, HANGZHOU, SHANGHAI_VISITORS, left())
        assert paid is not None
        assert amounts(paid.legs) == [334, 333, 333]
        assert (paid.redeemer_public_fen, paid.visitors_dry) == (0, False)

    def test_a_merchants_leg_belongs_to_the_redeeming_region(self) -> None:
        reservation = reserved(1000, IN_EQUAL_PARTS, CoFunder("merchant", MERCHANT, 100_000, False))
        paid = split_in_shanghai(500, reservation, TWO_ONE)
        assert paid is not None
        assert paid.legs[0] == Leg(merchant_account("310000", 2020, CAMPAIGN), 50)
        assert paid.released.cofunders == (Leg(MERCHANT, 50),)

    @pytest.mark.parametrize("visitors", [SHANGHAI_VISITORS, None])
    def test_the_issuer_pays_when_the_visitors_fund_is_dry(self, visitors: FundingPlan | None) -> None:
        paid = split_in_shanghai(1000, reserved(1000), TWO_ONE, visitors, left(city=332))
        assert paid is not None
        assert amounts(paid.legs) == [334, 333, 333]
        assert (paid.issuer_public_fen, paid.redeemer_public_fen, paid.visitors_dry) == (1000, 0, True)

    def test_a_fund_that_runs_dry_between_two_alike_vouchers_pays_only_the_first(self) -> None:
        first, second = (
            split_in_shanghai(1000, reserved(1000), TWO_ONE, SHANGHAI_VISITORS, left(city=fen)) for fen in (333, 332)
        )
        assert first is not None
        assert second is not None
        assert (first.redeemer_public_fen, second.redeemer_public_fen) == (333, 0)

    def test_a_dry_visitors_fund_refuses_when_the_agreement_says_so(self) -> None:
        strict = Agreement("D", 1, "fixed", Fixed(2, 1), when_visitors_run_out="refuse")
        assert split_in_shanghai(1000, reserved(1000), strict, budgets=left(city=332)) is None

    def test_a_discount_beyond_the_reservation_is_an_error(self) -> None:
        with pytest.raises(InvalidInput, match="more than the 1000 fen reserved"):
            split_in_shanghai(1001, reserved(1000), TWO_ONE)

    def test_away_needs_an_agreement(self) -> None:
        with pytest.raises(InvalidInput, match="no agreement between 330100 and 310000"):
            split(1000, 5800, reserved(1000), None, SHANGHAI, HANGZHOU, None, left())


class TestRefundsAndCaptures:
    def test_a_refund_below_the_threshold_claws_back_all_it_can(self) -> None:
        assert refund_due(1000, 5800, 1800, "full-clawback", 4000) == 310
        assert refund_due(1000, 5800, 1801, "full-clawback", 4000) == 1000
        assert refund_due(1000, 4000, 600, "full-clawback", 4000) == 600

    def test_a_full_return_gives_back_the_whole_discount(self) -> None:
        assert refund_due(1000, 5801, 5801, "pro-rata", 0) == 1000

    def test_refunds_beyond_the_order_are_an_error(self) -> None:
        with pytest.raises(InvalidInput, match="do not fit an order of 5800 fen"):
            refund_due(1000, 5800, 5801, "pro-rata", 0)

    def test_capturing_less_releases_its_part_of_the_discount(self) -> None:
        assert capture_release(1000, 5800, 5800) == 0
        assert capture_release(1000, 5800, 3800) == 344

    def test_capturing_more_than_was_held_is_an_error(self) -> None:
        with pytest.raises(InvalidInput, match="capture at most what was held"):
            capture_release(1000, 5800, 5801)

    def test_legs_cannot_give_back_more_than_they_hold(self) -> None:
        with pytest.raises(InvalidInput, match="cannot be given back"):
            reduce_legs([Leg("a", 3), Leg("b", 4)], 8)
