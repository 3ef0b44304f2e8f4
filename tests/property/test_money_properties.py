"""What holds for every amount, whatever the weights, budgets, discounts and orders."""

from __future__ import annotations

from fractions import Fraction
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from quanlian.agreements import Agreement, Fixed, WhenVisitorsRunOut
from quanlian.apportionment import (
    CoFunder,
    CoFunderKind,
    FundingPlan,
    Leg,
    Reservation,
    ShortfallRule,
    capture_release,
    fund,
    reduce_legs,
    refund_due,
    reserve,
    split,
)
from quanlian.money import allocate, parse_yuan, yuan

AMOUNT = st.integers(0, 10**7) | st.integers(0, 12)
WEIGHT = st.integers(0, 100)
WEIGHTS = st.lists(WEIGHT, min_size=1, max_size=6).filter(any)
FUNDERS = st.lists(st.tuples(WEIGHT, st.integers(-5, 10**6) | st.integers(0, 12)), min_size=1, max_size=6).filter(
    lambda funders: any(weight for weight, _ in funders)
)
RULE: st.SearchStrategy[ShortfallRule] = st.sampled_from(["cascade", "pro-rata", "refuse"])


@given(AMOUNT, WEIGHTS)
def test_parts_sum_to_the_whole_each_within_a_fen_of_its_exact_share(total: int, weights: list[int]) -> None:
    parts = allocate(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        exact = Fraction(total * weight, sum(weights))
        assert abs(part - exact) < 1
        assert part >= 0
        assert weight or part == 0


@given(WEIGHTS, st.data())
def test_no_part_of_at_most_the_legs_exceeds_its_leg(legs: list[int], data: st.DataObject) -> None:
    total = data.draw(st.integers(0, sum(legs)))
    assert all(part <= leg for part, leg in zip(allocate(total, legs), legs, strict=True))


@given(st.integers(0, 10**17 - 1))
def test_an_amount_survives_being_written_and_read(fen: int) -> None:
    assert parse_yuan(yuan(fen).replace(",", "")) == fen


@given(AMOUNT, FUNDERS, RULE)
def test_funders_pay_the_whole_amount_within_their_budgets_or_nothing(
    amount: int, funders: list[tuple[int, int]], rule: str
) -> None:
    weights, budgets = zip(*funders, strict=True)
    paid = fund(amount, weights, budgets, rule)
    if paid is not None:
        assert sum(paid) == amount
        assert all(0 <= pays <= max(0, budget) for pays, budget in zip(paid, budgets, strict=True))


@given(AMOUNT, FUNDERS)
def test_an_amount_is_refused_only_when_the_rule_finds_no_money_for_it(
    amount: int, funders: list[tuple[int, int]]
) -> None:
    weights, budgets = zip(*funders, strict=True)
    wanted = allocate(amount, weights)
    all_money = sum(max(0, budget) for budget in budgets)
    weighted_money = sum(max(0, budget) for weight, budget in funders if weight)
    anyone_short = any(want > max(0, budget) for want, budget in zip(wanted, budgets, strict=True))
    assert (fund(amount, weights, budgets, "cascade") is None) == (all_money < amount)
    assert (fund(amount, weights, budgets, "pro-rata") is None) == (weighted_money < amount)
    assert (fund(amount, weights, budgets, "refuse") is None) == anyone_short


@st.composite
def reservations(draw: st.DrawFn) -> Reservation:
    """What terms reserve: co-funders of whom some are dry, public funders that run dry by any rule."""
    shares = draw(st.lists(st.integers(0, 333_333), max_size=3))
    kinds = draw(st.permutations(get_args(CoFunderKind)))
    cofunders = [
        CoFunder(kind, f"funding/{'' if kind == 'merchant' else '330100'}/2026/spring/{kind}", share, True)
        for kind, share in zip(kinds, shares, strict=False)
    ]
    funders = draw(FUNDERS)
    accounts = tuple(f"funding/330100/2026/spring/public-{number}" for number in range(len(funders)))
    budgets = dict(zip(accounts, (budget for _, budget in funders), strict=True))
    dry = draw(st.booleans())
    plan = FundingPlan(accounts, tuple(weight for weight, _ in funders), draw(RULE))
    highest_fen = draw(AMOUNT)
    found = reserve(highest_fen, cofunders, plan, lambda a: budgets.get(a, 0 if dry else 10**9))
    if found is None:
        plenty = FundingPlan(accounts, plan.weights, "refuse")
        found = reserve(highest_fen, cofunders, plenty, lambda account: 10**9)
    assert found is not None
    assert found.total_fen == highest_fen
    return found


@given(
    reservations(),
    st.data(),
    st.tuples(WEIGHT, WEIGHT).filter(any),
    st.sampled_from(get_args(WhenVisitorsRunOut)),
    st.sampled_from(["330100", "310000"]),
    st.integers(0, 5_000),
)
def test_a_split_pays_the_discount_within_what_is_reserved(
    reservation: Reservation,
    data: st.DataObject,
    weights: tuple[int, int],
    when_dry: WhenVisitorsRunOut,
    where: str,
    budget: int,
) -> None:
    discount_fen = data.draw(st.integers(0, reservation.total_fen))
    agreement = Agreement("A", 1, "fixed", Fixed(*weights), when_visitors_run_out=when_dry)
    visitors = FundingPlan(("funding/310000/2026/visitors/city",), (1,), "refuse")
    paid = split(
        discount_fen,
        discount_fen,
        reservation,
        agreement,
        where,
        "330100",
        visitors,
        lambda _: budget,
    )
    if paid is None:
        assert when_dry == "refuse"
        return
    reserved = reservation.legs()
    own = paid.legs[: len(reserved)]
    assert sum(leg.amount_fen for leg in paid.legs) == discount_fen
    for leg, used, released in zip(reserved, own, paid.released.legs(), strict=True):
        assert 0 <= used.amount_fen <= leg.amount_fen
        assert used.amount_fen + released.amount_fen == leg.amount_fen
        assert used.account == leg.account.replace("funding//", f"funding/{where}/")
        assert released.account == leg.account
    visiting = paid.legs[len(reserved) :]
    assert sum(leg.amount_fen for leg in visiting) == paid.redeemer_public_fen <= budget
    assert sum(leg.amount_fen for leg in own[len(reservation.cofunders) :]) == paid.issuer_public_fen


@given(
    st.lists(st.integers(0, 5_000), min_size=1, max_size=6),
    st.lists(st.integers(1, 3_000), min_size=1, max_size=6),
    st.sampled_from(["pro-rata", "full-clawback"]),
    st.integers(0, 20_000),
    st.data(),
)
def test_refunds_in_any_steps_end_with_empty_legs_on_a_full_return(
    amounts: list[int], steps: list[int], policy: str, minimum_spend_fen: int, data: st.DataObject
) -> None:
    discount_fen = sum(amounts)
    order_fen = discount_fen + data.draw(st.integers(0, 20_000))
    legs = [Leg(str(number), amount) for number, amount in enumerate(amounts)]
    refunded = [min(sum(steps[: count + 1]), order_fen) for count in range(len(steps))]
    returned = 0
    for total in [*refunded, order_fen]:
        due = refund_due(discount_fen, order_fen, total, policy, minimum_spend_fen)
        assert returned <= due <= min(discount_fen, total)
        back = reduce_legs(legs, due - returned)
        legs = [Leg(leg.account, leg.amount_fen - part) for leg, part in zip(legs, back, strict=True)]
        assert all(leg.amount_fen >= 0 for leg in legs)
        returned = due
    assert returned == discount_fen
    assert not any(leg.amount_fen for leg in legs)


@given(AMOUNT, st.integers(0, 10**6), st.data())
def test_a_partial_capture_leaves_a_discount_that_still_fits_its_order(
    discount_fen: int, above: int, data: st.DataObject
) -> None:
    held_fen = discount_fen + above
    captured_fen = data.draw(st.integers(0, held_fen))
    released = capture_release(discount_fen, held_fen, captured_fen)
    assert 0 <= released <= discount_fen
    assert discount_fen - released <= captured_fen
