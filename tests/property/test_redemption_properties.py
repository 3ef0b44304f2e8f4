"""What holds of vouchers and their money after any sequence of operations, at home and away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from quanlian import custody
from quanlian.accounts import borne_account, merchant_account
from quanlian.agreements import Agreement, Fixed
from quanlian.apportionment import CoFunder, FundingPlan, Leg, Split, reserve, split
from quanlian.custody import VoucherState
from quanlian.discounts import Order
from quanlian.ledger import Balance, Movement, check_limits, is_limited, lines, netted
from quanlian.redemptions import (
    Outcome,
    Posting,
    Redemption,
    RefundRule,
    Sale,
    State,
    adjust,
    authorize,
    capture,
    expire_voucher,
    redeem,
    refund,
    release_hold,
    void,
)
from quanlian.refusals import Refusal
from quanlian.vouchers import VoucherKey

HANGZHOU, SHANGHAI, CAMPAIGN = "330100", "310000", "spring"
FUNDERS = tuple(f"funding/{HANGZHOU}/2026/{CAMPAIGN}/{name}" for name in ("province", "city", "county"))
ALIPAY, MERCHANT = f"funding/{HANGZHOU}/2026/{CAMPAIGN}/alipay", merchant_account("", 2026, CAMPAIGN)
VISITORS = tuple(f"funding/{SHANGHAI}/2026/visitors/{name}" for name in ("city", "district"))
CREDIT = "reimbursement/310000"
HOLD_SECONDS = 900

WEIGHT = st.integers(0, 9)
AMOUNT = st.integers(1, 9_999)
SHARE_PPM = st.sampled_from([0, 1, 125_000, 333_333])
ADJUSTABLE = (State.CAPTURED, State.PARTLY_REFUNDED)
MONEY_OF_CAPTURED = (State.CAPTURED, State.PARTLY_REFUNDED, State.REFUNDED)


class Redemptions(RuleBasedStateMachine):
    """One voucher after another, each until it is dead, on one set of books."""

    @initialize(
        budgets=st.tuples(*[st.integers(0, 40_000)] * 3),
        visitors=st.tuples(*[st.integers(0, 3_000)] * 2),
        policy=st.sampled_from(["pro-rata", "full-clawback"]),
    )
    def open_books(self, budgets: tuple[int, ...], visitors: tuple[int, ...], policy: str) -> None:
        limits = {
            **dict(zip(FUNDERS, budgets, strict=True)),
            **dict(zip(VISITORS, visitors, strict=True)),
            ALIPAY: 9_000,
        }
        self.books = {account: Balance(account, limit_fen=limit) for account, limit in limits.items()}
        self.limits = limits
        self.policy = policy
        self.at = 1_000
        self.voucher: VoucherState | None = None
        self.current: Redemption | None = None
        self.past: list[Redemption] = []
        self.postings: list[Posting] = []
        self.shopper_fen: Counter[bytes] = Counter()
        self.undisputed: dict[bytes, Redemption] = {}

    # Operations

    @precondition(lambda self: self.voucher is None)
    @rule(
        face_fen=AMOUNT,
        weights=st.tuples(WEIGHT, WEIGHT, WEIGHT).filter(any),
        platform=SHARE_PPM,
        merchant=SHARE_PPM,
        advanced=st.booleans(),
    )
    def issue(self, face_fen: int, weights: tuple[int, ...], platform: int, merchant: int, advanced: bool) -> None:
        cofunders = [CoFunder("platform", ALIPAY, platform, True), CoFunder("merchant", MERCHANT, merchant, False)]
        reservation = reserve(face_fen, cofunders, FundingPlan(FUNDERS, weights, "cascade", advanced), self.free_fen)
        if reservation is None:
            return
        key = VoucherKey(HANGZHOU, bytes(15), len(self.past))
        self.voucher = VoucherState(key, CAMPAIGN, bytes(32), 1, bytes(16), 0, 10**9, reservation)
        self.book(
            Movement(leg.account, "", reserved_fen=leg.amount_fen)
            for leg in reservation.legs()
            if is_limited(leg.account)
        )

    @precondition(lambda self: self.status == custody.USABLE)
    @rule(order_fen=AMOUNT, where=st.sampled_from([HANGZHOU, SHANGHAI]), weights=st.tuples(WEIGHT, WEIGHT).filter(any))
    def authorize(self, order_fen: int, where: str, weights: tuple[int, int]) -> None:
        assert self.voucher is not None
        self.before = self.voucher
        discount_fen = min(order_fen, self.voucher.reservation.total_fen)
        plan = FundingPlan(VISITORS, (1, 1), "pro-rata")
        agreement = Agreement("A", 1, "fixed", Fixed(*weights))
        paid = split(discount_fen, order_fen, self.voucher.reservation, agreement, where, HANGZHOU, plan, self.free_fen)
        assert paid is not None
        draft = Redemption(
            id=len(self.past).to_bytes(16, "big"),
            voucher=self.voucher.key,
            campaign=CAMPAIGN,
            terms_hash=bytes(32),
            redeeming_region=where,
            participant="alipay",
            acquirer="alipay",
            sale=Sale("shop", "order", Order(order_fen, "retail", "shop")),
            order_fen=order_fen,
            discount_fen=discount_fen,
            legs=paid.legs,
            standing=paid.legs,
            rest=paid.released,
            expires_at=self.at + HOLD_SECONDS,
            authorized_at=self.at,
        )
        held = authorize(draft, self.voucher, paid)
        _require_the_same_at_once(draft, self.voucher, paid, held, self.at)
        self.apply(held)

    @precondition(lambda self: self.status == custody.HELD)
    @rule(taken_fen=st.integers(0, 9_999))
    def capture(self, taken_fen: int) -> None:
        held, voucher = self.redemption_and_voucher()
        result = capture(held, voucher, taken_fen, CREDIT, 1, self.at)
        if taken_fen > held.order_fen:
            assert isinstance(result, Refusal)
            return
        assert isinstance(result, Outcome)
        self.apply(result)
        assert result.redemption.discount_fen <= result.redemption.order_fen

    @precondition(lambda self: self.status == custody.HELD)
    @rule(late=st.booleans())
    def free_the_hold(self, late: bool) -> None:
        held, voucher = self.redemption_and_voucher()
        if late:
            self.at = held.expires_at
            assert isinstance(void(held, voucher, self.at), Refusal)
            self.apply(release_hold(held, voucher, State.EXPIRED))
        else:
            result = void(held, voucher, self.at)
            assert isinstance(result, Outcome)
            self.apply(result)
        assert self.voucher == self.before

    @precondition(lambda self: self.current is not None and self.current.state in MONEY_OF_CAPTURED)
    @rule(order_fen=AMOUNT, whole=st.booleans(), minimum_spend_fen=AMOUNT)
    def refund(self, order_fen: int, whole: bool, minimum_spend_fen: int) -> None:
        sale, voucher = self.redemption_and_voucher()
        left = sale.order_fen - sale.refunded_order_fen
        rule = RefundRule(self.policy, self.voucher_minimum(minimum_spend_fen))
        result = refund(sale, voucher, left if whole else order_fen, rule, CREDIT, 2, self.at)
        if left == 0 or (not whole and order_fen > left):
            assert isinstance(result, Refusal)
            return
        assert isinstance(result, Outcome)
        self.apply(result)
        assert min(result.shopper_fen, result.returned_fen) >= 0, "nobody pays for a return"
        self.shopper_fen[sale.id] += result.shopper_fen
        after = result.redemption
        assert self.shopper_fen[sale.id] == after.shopper_fen
        assert result.posting is not None
        assert self.as_if_undisputed(after, order_fen=-result.posting.order_fen, rule=rule) == after.shopper_fen
        if after.state is State.REFUNDED:
            assert after.shopper_fen == after.order_fen - after.discount_fen, "what was paid"
            assert not any(leg.amount_fen for leg in after.standing)

    @precondition(lambda self: self.current is not None and self.current.state in ADJUSTABLE)
    @rule(amount_fen=AMOUNT)
    def adjust(self, amount_fen: int) -> None:
        """By an upheld dispute, at most what is left."""
        sale, voucher = self.redemption_and_voucher()
        amount_fen = min(amount_fen, sale.standing_fen)
        if amount_fen:
            self.apply(adjust(sale, voucher, amount_fen, CREDIT, 2, self.at))

    @precondition(lambda self: self.status == custody.USABLE)
    @rule()
    def expire_the_voucher(self) -> None:
        assert self.voucher is not None
        self.voucher, movements = expire_voucher(self.voucher)
        self.book(movements)

    @precondition(lambda self: self.status in (custody.CAPTURED, custody.EXPIRED))
    @rule()
    def take_another_voucher(self) -> None:
        if self.current is not None and self.current not in self.past:
            self.past.append(self.current)
        self.voucher = self.current = None
        self.__dict__.pop("minimum", None)

    # What always holds

    @invariant()
    def a_discount_is_the_sum_of_its_legs(self) -> None:
        for redemption in self.redemptions():
            assert redemption.discount_fen == sum(leg.amount_fen for leg in redemption.legs)
            if redemption.state in MONEY_OF_CAPTURED:
                assert redemption.standing_fen == redemption.discount_fen - redemption.returned_fen
                assert all(leg.amount_fen >= 0 for leg in redemption.standing)

    @invariant()
    def every_account_holds_what_vouchers_and_redemptions_say(self) -> None:
        reserved = _sums(self.voucher.reservation.legs()) if self.voucher else Counter()
        held: Counter[str] = Counter()
        posted: Counter[str] = Counter()
        for redemption in self.redemptions():
            if redemption.state is State.AUTHORIZED:
                held += _sums(redemption.legs)
                reserved += _sums(redemption.rest.legs())
            elif redemption.state in MONEY_OF_CAPTURED:
                posted += _sums(redemption.standing)
        for account, limit in self.limits.items():
            expected = Balance(account, posted[account], reserved[account], held[account], limit)
            assert self.books[account] == expected
            assert expected.free_fen + reserved[account] + held[account] + posted[account] == limit

    @invariant()
    def what_funders_used_is_owed_or_borne(self) -> None:
        standing = [r for r in self.redemptions() if r.state in MONEY_OF_CAPTURED]
        limited = sum(leg.amount_fen for r in standing for leg in r.standing if is_limited(leg.account))
        owed = self.books.get(CREDIT, Balance(CREDIT))
        assert owed.posted_fen == -limited
        for where in (HANGZHOU, SHANGHAI):
            borne = self.books.get(borne_account(where, CAMPAIGN), Balance("")).posted_fen
            share = self.books.get(merchant_account(where, 2026, CAMPAIGN), Balance("")).posted_fen
            assert share == -borne >= 0
        owed_in_advance = {account for account in self.books if account.startswith("advance/")}
        assert sum(self.books[account].posted_fen for account in self.books.keys() - owed_in_advance) == 0
        advanced_fen = sum(fen for r in standing for leg in r.standing for _, fen in leg.advanced)
        assert sum(self.books[account].posted_fen for account in owed_in_advance) == advanced_fen

    @invariant()
    def postings_add_up_to_what_stands(self) -> None:
        for redemption in self.redemptions():
            if redemption.state not in MONEY_OF_CAPTURED:
                continue
            postings = [posting for posting in self.postings if posting.redemption_id == redemption.id]
            assert [posting.number for posting in postings] == list(range(1, redemption.postings + 1))
            assert sum(posting.discount_fen for posting in postings) == redemption.standing_fen
            assert (
                sum(posting.order_fen for posting in postings) == redemption.order_fen - redemption.refunded_order_fen
            )
            columns = zip(*(posting.legs for posting in postings), strict=True)
            assert [sum(leg.amount_fen for leg in column) for column in columns] == [
                leg.amount_fen for leg in redemption.standing
            ]

    # The books

    def as_if_undisputed(self, sale: Redemption, order_fen: int, rule: RefundRule) -> int:
        """What returns would have given the shopper of a sale that nobody disputed."""
        undisputed = self.undisputed.get(sale.id)
        if undisputed is None:
            captured = next(each for each in self.postings if each.redemption_id == sale.id)
            undisputed = sale._replace(
                state=State.CAPTURED,
                standing=captured.legs,
                refunded_order_fen=0,
                returned_fen=0,
                shopper_fen=0,
                postings=1,
            )
        assert self.voucher is not None
        result = refund(undisputed, self.voucher, order_fen, rule, CREDIT, 2, self.at)
        assert isinstance(result, Outcome)
        self.undisputed[sale.id] = result.redemption
        assert result.redemption.shopper_fen == sale.refunded_order_fen - result.redemption.returned_fen
        assert sale.returned_fen >= result.redemption.returned_fen, "funders get no less for a dispute"
        return result.redemption.shopper_fen

    @property
    def status(self) -> str:
        return self.voucher.status if self.voucher else "none"

    def voucher_minimum(self, drawn_fen: int) -> int:
        """Terms do not change under a voucher: the first minimum spend that is drawn stays."""
        self.minimum: int = getattr(self, "minimum", drawn_fen)
        return self.minimum

    def redemptions(self) -> list[Redemption]:
        return [*self.past, *([self.current] if self.current else [])]

    def redemption_and_voucher(self) -> tuple[Redemption, VoucherState]:
        assert self.current is not None
        assert self.voucher is not None
        return self.current, self.voucher

    def free_fen(self, account: str) -> int:
        return self.books[account].free_fen

    def apply(self, outcome: Outcome) -> None:
        self.book(outcome.movements)
        self.current, self.voucher = outcome.redemption, outcome.voucher
        if outcome.posting:
            self.postings.append(outcome.posting)
        if outcome.redemption.state in (State.VOIDED, State.EXPIRED):
            self.past.append(outcome.redemption)
            self.current = None

    def book(self, movements: Iterable[Movement]) -> None:
        """As the ledger does: lines that sum to zero, then the limits."""
        for line in lines(movements):
            known = self.books.get(line.account, Balance(line.account))
            self.books[line.account] = known.moved(line)
        check_limits(self.books.values())


def _require_the_same_at_once(draft: Redemption, voucher: VoucherState, paid: Split, held: Outcome, at: int) -> None:
    """Redeeming leaves what authorizing and capturing leave, and moves the net of what they move."""
    captured = capture(held.redemption, held.voucher, 0, CREDIT, 1, at)
    assert isinstance(captured, Outcome)
    at_once = redeem(draft, voucher, paid, CREDIT, 1, at)
    assert at_once._replace(movements=()) == captured._replace(movements=())
    assert sorted(at_once.movements) == sorted(netted([*held.movements, *captured.movements]))


def _sums(legs: Iterable[Leg]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for leg in legs:
        sums[leg.account] += leg.amount_fen
    return sums


@given(
    weights=st.tuples(WEIGHT, WEIGHT, WEIGHT).filter(any),
    left=st.tuples(*[st.integers(0, 50)] * 2),
    face_fen=st.integers(1, 3_000),
    discount_fen=st.integers(1, 3_000),
)
@example(weights=(1, 1, 1), left=(0, 0), face_fen=3_000, discount_fen=2_999)
def test_a_hold_that_is_freed_leaves_the_make_up_of_advanced_legs_as_it_was(
    weights: tuple[int, ...], left: tuple[int, int], face_fen: int, discount_fen: int
) -> None:
    """Its order too, by which the next discount is shared."""
    money = dict(zip(FUNDERS, (*left, 10_000), strict=True))
    reservation = reserve(face_fen, [], FundingPlan(FUNDERS, weights, "cascade", advanced=True), money.__getitem__)
    assert reservation is not None
    discount_fen = min(discount_fen, face_fen)
    paid = split(discount_fen, discount_fen, reservation, None, HANGZHOU, HANGZHOU, None, money.__getitem__)
    assert paid is not None
    voucher = VoucherState(VoucherKey(HANGZHOU, bytes(15), 0), CAMPAIGN, bytes(32), 1, bytes(16), 0, 1, reservation)
    sale = Sale("shop", "order", Order(discount_fen, "retail", "shop"))
    draft = Redemption(
        bytes(16), voucher.key, CAMPAIGN, bytes(32), HANGZHOU, "alipay", "alipay", sale, discount_fen, discount_fen,
        paid.legs, paid.legs, paid.released, HOLD_SECONDS, 0,
    )  # fmt: skip
    held = authorize(draft, voucher, paid)
    assert release_hold(held.redemption, held.voucher, State.EXPIRED).voucher == voucher


TestRedemptions = Redemptions.TestCase
TestRedemptions.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
