"""The life of a redemption: authorize, capture, void, expire, refund (protocol.md, "Redemption life cycle").

Every function is pure: it takes the redemption and voucher as they are and returns what they become, with the
movements that the ledger books in the same commit, or a refusal. Node and clearinghouse run the same code; they differ
in `credit`, the account that is owed the discount: `payable/<acquirer>` at a node, `reimbursement/<region>` at the
clearinghouse.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from quanlian import custody
from quanlian.accounts import account_region, advance_account, borne_account
from quanlian.apportionment import Leg, Reservation, Split, capture_release, reduce_legs, refund_due
from quanlian.custody import VoucherState
from quanlian.discounts import Order
from quanlian.errors import InvalidInput
from quanlian.ledger import Movement, is_limited
from quanlian.money import yuan
from quanlian.refusals import Refusal, RefusalReason
from quanlian.vouchers import VoucherKey

COMPILED = 16_384
"""How many ways of paying a discount are remembered: vouchers of one type, campaign and pair of regions share one."""


class State(IntEnum):
    AUTHORIZED = 1
    CAPTURED = 2
    PARTLY_REFUNDED = 3
    REFUNDED = 4
    VOIDED = 5
    EXPIRED = 6


class Sides(NamedTuple):
    """Between which two regions a voucher is used, and of which campaign it is."""

    issuer: str
    redeeming_region: str
    campaign: str


class Sale(NamedTuple):
    """The sale that a voucher is used for, as the redeeming side attests it."""

    merchant: str
    order_id: str
    order: Order


class Redemption(NamedTuple):
    """One use of one voucher as its decider stores it. Amounts in fen, times in UTC seconds.

    `order_fen` and `discount_fen` are as held, then as captured; `legs` bear that discount, `standing` what is left of
    it after refunds. `rest` is the part of the voucher's reservation that the hold did not use. `returned_fen` is what
    returns and adjusting entries gave funders of the discount, `shopper_fen` what returns gave the shopper.
    """

    id: bytes
    voucher: VoucherKey
    campaign: str
    terms_hash: bytes
    redeeming_region: str
    participant: str
    acquirer: str
    sale: Sale
    order_fen: int
    discount_fen: int
    legs: tuple[Leg, ...]
    standing: tuple[Leg, ...]
    rest: Reservation
    expires_at: int
    authorized_at: int
    agreement: str = ""
    state: State = State.AUTHORIZED
    captured_at: int = 0
    window: int = 0
    refunded_order_fen: int = 0
    returned_fen: int = 0
    shopper_fen: int = 0
    postings: int = 0

    @property
    def sides(self) -> Sides:
        return Sides(self.voucher.issuer, self.redeeming_region, self.campaign)

    @property
    def standing_fen(self) -> int:
        """The discount less what refunds returned."""
        return sum(leg.amount_fen for leg in self.standing)

    @property
    def withheld_fen(self) -> int:
        """What of the parts returned so far the shopper did not get: the funders' by the refund rule alone."""
        return self.refunded_order_fen - self.shopper_fen


class Posting(NamedTuple):
    """A capture (positive) or refund (negative) as it enters history; never changed, numbered from 1."""

    redemption_id: bytes
    number: int
    kind: str
    order_fen: int
    discount_fen: int
    legs: tuple[Leg, ...]
    window: int
    at: int


class Outcome(NamedTuple):
    """What an accepted operation changes."""

    redemption: Redemption
    voucher: VoucherState
    movements: tuple[Movement, ...]
    posting: Posting | None = None
    returned_fen: int = 0
    shopper_fen: int = 0


def authorize(draft: Redemption, voucher: VoucherState, split: Split) -> Outcome:
    """Hold the voucher and the money of `split`; `draft` carries its legs and rest already."""
    held = voucher._replace(status=custody.HELD, hold=draft.id, reservation=custody.EMPTY)
    reserved = {leg.account for leg in voucher.reservation.legs()}
    movements = tuple(
        Movement(
            leg.account,
            counterpart_of(leg.account, draft.sides),
            reserved_fen=-leg.amount_fen if leg.account in reserved else 0,
            held_fen=leg.amount_fen,
        )
        for leg in split.legs
        if _has_budget(leg)
    )
    return Outcome(draft, held, movements)


def redeem(draft: Redemption, voucher: VoucherState, split: Split, credit: str, window: int, at: int) -> Outcome:
    """Authorize and capture at once: what the two leave one after the other, with the net of their movements."""
    captured = draft._replace(state=State.CAPTURED, rest=custody.EMPTY, captured_at=at, window=window, postings=1)
    posting = Posting(draft.id, 1, "capture", draft.order_fen, draft.discount_fen, draft.legs, window, at)
    movements = redeemed(draft.sides, voucher.reservation, split, credit)
    return Outcome(captured, voucher.captured(), movements, posting)


def capture(
    redemption: Redemption, voucher: VoucherState, order_fen: int, credit: str, window: int, at: int
) -> Outcome | Refusal:
    """Take the hold, at most what was held; what a smaller order frees, and the unused rest, return at once.

    `order_fen` 0 takes all. Thresholds are not tested again.
    """
    refusal = _not_on_hold(redemption, voucher, at)
    if refusal:
        return refusal
    taken = order_fen or redemption.order_fen
    if taken > redemption.order_fen:
        figures = {"order_fen": taken, "held_order_fen": redemption.order_fen}
        return Refusal(RefusalReason.AMOUNT_EXCEEDS_HOLD, figures)
    released = capture_release(redemption.discount_fen, redemption.order_fen, taken)
    legs = _less(redemption.legs, reduce_legs(redemption.legs, released))
    captured = redemption._replace(
        state=State.CAPTURED,
        order_fen=taken,
        discount_fen=redemption.discount_fen - released,
        legs=legs,
        standing=legs,
        rest=custody.EMPTY,
        captured_at=at,
        window=window,
        postings=1,
    )
    movements = [
        Movement(leg.account, counterpart_of(leg.account, redemption.sides), held_fen=-leg.amount_fen)
        for leg in redemption.legs
        if _has_budget(leg)
    ]
    movements += _free_rest(redemption.rest)
    movements += _posted(captured.sides, legs, credit, 1)
    posting = Posting(redemption.id, 1, "capture", taken, captured.discount_fen, legs, window, at)
    return Outcome(captured, voucher.captured(), tuple(movements), posting)


def release_hold(redemption: Redemption, voucher: VoucherState, into: State) -> Outcome:
    """Void or expire a hold: the issuer's legs are reserved again with the voucher, visitors' money is free."""
    reservation, movements = _reserved_again(redemption)
    freed = redemption._replace(state=into, standing=(), rest=custody.EMPTY)
    usable = voucher._replace(status=custody.USABLE, hold=None, reservation=reservation)
    return Outcome(freed, usable, movements)


def void(redemption: Redemption, voucher: VoucherState, at: int) -> Outcome | Refusal:
    """Free a hold at its owner's wish."""
    refusal = _not_on_hold(redemption, voucher, at)
    if refusal:
        return refusal
    return release_hold(redemption, voucher, State.VOIDED)


class RefundRule(NamedTuple):
    """How the terms treat a return: `policy` is `pro-rata` or `full-clawback`."""

    policy: str
    minimum_spend_fen: int


class Return(NamedTuple):
    """A part of the order that came back, and what of its price funders and shopper get."""

    order_fen: int
    returned_fen: int
    shopper_fen: int


def refund(
    redemption: Redemption,
    voucher: VoucherState,
    order_fen: int,
    rule: RefundRule,
    credit: str,
    window: int,
    at: int,
) -> Outcome | Refusal:
    """Give part of the order back: the funders get theirs in proportion, the shopper the rest (money.md, Refunds).

    A return gives funders at most what was returned: what a full clawback cannot take from it, the next returns give.
    An adjusting entry is between funders and the redeeming region: what it gave funders already is not given twice,
    and the shopper gets what a redemption that nobody disputed would give.
    Never refused for cap, budget, suspension or close-out.
    """
    if redemption.state not in (State.CAPTURED, State.PARTLY_REFUNDED, State.REFUNDED):
        return Refusal(RefusalReason.NOT_CAPTURED)
    left = redemption.order_fen - redemption.refunded_order_fen
    if order_fen > left or order_fen <= 0:
        return Refusal(RefusalReason.REFUND_EXCEEDS_CAPTURE, {"order_fen": order_fen, "left_fen": left})
    total = redemption.refunded_order_fen + order_fen
    due = refund_due(redemption.discount_fen, redemption.order_fen, total, rule.policy, rule.minimum_spend_fen)
    due = min(due, redemption.withheld_fen + order_fen)
    shopper_fen = order_fen - (due - redemption.withheld_fen)
    given = Return(order_fen, max(0, due - redemption.returned_fen), shopper_fen)
    return give_back(redemption, voucher, given, credit, window, at)


def give_back(
    redemption: Redemption, voucher: VoucherState, given: Return, credit: str, window: int, at: int
) -> Outcome:
    """A refund of which it is decided who gets what. Raises InvalidInput for more than the funders paid."""
    order_fen, returned_fen, shopper_fen = given
    total = redemption.refunded_order_fen + order_fen
    parts = reduce_legs(redemption.standing, returned_fen)
    returned = tuple(leg.part(part) for leg, part in zip(redemption.standing, parts, strict=True))
    number = redemption.postings + 1
    refunded = redemption._replace(
        state=State.REFUNDED if total == redemption.order_fen else State.PARTLY_REFUNDED,
        standing=_less(redemption.standing, parts),
        refunded_order_fen=total,
        returned_fen=redemption.returned_fen + returned_fen,
        shopper_fen=redemption.shopper_fen + shopper_fen,
        postings=number,
    )
    negative = tuple(Leg(leg.account, 0).plus(leg, -1) for leg in returned)
    posting = Posting(redemption.id, number, "refund", -order_fen, -returned_fen, negative, window, at)
    movements = tuple(_posted(redemption.sides, returned, credit, -1))
    return Outcome(refunded, voucher, movements, posting, returned_fen, shopper_fen)


def adjust(
    redemption: Redemption, voucher: VoucherState, amount_fen: int, credit: str, window: int, at: int
) -> Outcome:
    """Give `amount_fen` of a captured discount back to its funders: the adjusting entry of an upheld dispute.

    It is posted as a refund of no part of the order; what later refunds return to funders is less by it, what they
    give the shopper is not. Raises InvalidInput unless the redemption stands captured with that much left.
    """
    if redemption.state not in (State.CAPTURED, State.PARTLY_REFUNDED) or not 0 < amount_fen <= redemption.standing_fen:
        id, state, left = redemption.id.hex(), redemption.state.name, yuan(redemption.standing_fen)
        raise InvalidInput(
            f"核销 {id} 为{state}，优惠尚余{left}元，不能调整{yuan(amount_fen)}元 · "
            f"redemption {id} is {state} with {left} yuan left, not to be adjusted by {yuan(amount_fen)}",
            place="adjustment",
            remedy="只调整已核销的，至多为尚余的优惠 · "
            "adjust a captured redemption by at most what is left of its discount",
        )
    parts = reduce_legs(redemption.standing, amount_fen)
    returned = tuple(leg.part(part) for leg, part in zip(redemption.standing, parts, strict=True))
    number = redemption.postings + 1
    adjusted = redemption._replace(
        standing=_less(redemption.standing, parts),
        returned_fen=redemption.returned_fen + amount_fen,
        postings=number,
    )
    negative = tuple(Leg(leg.account, 0).plus(leg, -1) for leg in returned)
    posting = Posting(redemption.id, number, "refund", 0, -amount_fen, negative, window, at)
    return Outcome(adjusted, voucher, tuple(_posted(redemption.sides, returned, credit, -1)), posting, amount_fen)


def expire_voucher(voucher: VoucherState) -> tuple[VoucherState, tuple[Movement, ...]]:
    """Only the custodian calls this: the voucher is over and its reserved money is free again."""
    return _end(voucher, custody.EXPIRED)


def cancel_voucher(voucher: VoucherState) -> tuple[VoucherState, tuple[Movement, ...]]:
    """Only the custodian calls this, of a voucher neither held nor used: its money is free again as at expiry."""
    return _end(voucher, custody.CANCELLED)


def _end(voucher: VoucherState, status: str) -> tuple[VoucherState, tuple[Movement, ...]]:
    movements = tuple(
        Movement(leg.account, "", reserved_fen=-leg.amount_fen)
        for leg in voucher.reservation.legs()
        if _has_budget(leg)
    )
    return voucher._replace(status=status, reservation=custody.EMPTY), movements


def owed_between_regions(redemption: Redemption, legs: tuple[Leg, ...]) -> int:
    """What the issuing region owes the redeeming one for `legs`: every leg of its own when the use was away."""
    issuer = redemption.voucher.issuer
    return 0 if issuer == redemption.redeeming_region else borne_by(issuer, legs)


@lru_cache(maxsize=COMPILED)
def borne_by(region: str, legs: tuple[Leg, ...]) -> int:
    """What a region's own funders pay of a discount, in fen."""
    return sum(leg.amount_fen for leg in legs if account_region(leg.account) == region)


def _not_on_hold(redemption: Redemption, voucher: VoucherState, at: int) -> Refusal | None:
    """A hold is good while `at < expires_at`, and only the one that the voucher names is live."""
    if redemption.state is State.EXPIRED or (redemption.state is State.AUTHORIZED and at >= redemption.expires_at):
        return Refusal(RefusalReason.HOLD_EXPIRED, {"expires_at": redemption.expires_at})
    if redemption.state is not State.AUTHORIZED or voucher.hold != redemption.id:
        return not_authorized(redemption)
    return None


def not_authorized(redemption: Redemption) -> Refusal:
    """Why there is no hold, with what was captured and when, or of when the hold was that was voided."""
    figures: dict[str, int] = {}
    if redemption.state is State.VOIDED:
        figures = {"voided_held_at": redemption.authorized_at}
    elif redemption.captured_at:
        figures = {"captured_fen": redemption.discount_fen, "captured_at": redemption.captured_at}
    return Refusal(RefusalReason.NOT_AUTHORIZED, figures)


def _has_budget(leg: Leg) -> bool:
    """A merchant's share has no budget, so nothing is reserved or held for it."""
    return is_limited(leg.account)


@lru_cache(maxsize=COMPILED)
def redeemed(sides: Sides, reserved: Reservation, split: Split, credit: str) -> tuple[Movement, ...]:
    """What authorizing and capturing move together: of what was reserved everything, of what is held nothing."""
    issuer, redeemer, campaign = sides
    reserved_accounts, owed = {leg.account for leg in reserved.legs()}, 0
    movements: list[Movement] = []
    for account, fen, advanced in split.legs:
        counterpart = redeemer if account_region(account) == issuer else issuer
        if advanced:
            movements += _advances(Leg(account, fen, advanced), sides, 1)
        if is_limited(account):
            owed += fen
            movements.append(Movement(account, counterpart, fen, -fen if account in reserved_accounts else 0))
        else:
            movements.append(Movement(account, counterpart, fen))
            movements.append(Movement(borne_account(redeemer, campaign), issuer, -fen))
    movements.append(Movement(credit, issuer, -owed))
    movements += _free_rest(split.released)
    return tuple(each for each in movements if any(each[2:]))


def counterpart_of(account: str, sides: Sides) -> str:
    """The other region of a movement: seen from the issuer the redeeming one, and the reverse."""
    return sides.redeeming_region if account_region(account) == sides.issuer else sides.issuer


def _posted(sides: Sides, legs: tuple[Leg, ...], credit: str, sign: int) -> list[Movement]:
    """Debit each funder, credit the merchants' own share and, with the rest, whoever is owed the discount."""
    issuer, owed, movements = sides.issuer, 0, []
    for leg in legs:
        amount = sign * leg.amount_fen
        movements += _advances(leg, sides, sign)
        movements.append(Movement(leg.account, counterpart_of(leg.account, sides), posted_fen=amount))
        if _has_budget(leg):
            owed += amount
        else:
            borne = borne_account(sides.redeeming_region, sides.campaign)
            movements.append(Movement(borne, issuer, posted_fen=-amount))
    movements.append(Movement(credit, issuer, posted_fen=-owed))
    return movements


def _advances(leg: Leg, sides: Sides, sign: int) -> list[Movement]:
    """What the debtors of an advanced leg owe its funder from now on, or no longer."""
    region, name = account_region(leg.account), leg.account.rpartition("/")[2]
    return [
        Movement(
            advance_account(region, sides.campaign, debtor.rpartition("/")[2], name),
            counterpart_of(leg.account, sides),
            posted_fen=sign * fen,
        )
        for debtor, fen in leg.advanced
    ]


def _free_rest(rest: Reservation) -> list[Movement]:
    return [Movement(leg.account, "", reserved_fen=-leg.amount_fen) for leg in rest.legs() if _has_budget(leg)]


def _reserved_again(redemption: Redemption) -> tuple[Reservation, tuple[Movement, ...]]:
    """The voucher's reservation as it was: used legs of the issuer and the rest together."""
    used = {leg.account: leg for leg in redemption.legs}
    merchant_used = sum(leg.amount_fen for leg in redemption.legs if not _has_budget(leg))

    def whole(legs: tuple[Leg, ...]) -> tuple[Leg, ...]:
        return tuple(
            leg.plus(used.pop(leg.account, Leg("", 0)) if _has_budget(leg) else Leg("", merchant_used)) for leg in legs
        )

    reservation = Reservation(whole(redemption.rest.cofunders), _as_reserved(whole(redemption.rest.public)))
    reserved = {leg.account for leg in reservation.legs()}
    movements = tuple(
        Movement(
            leg.account,
            counterpart_of(leg.account, redemption.sides),
            reserved_fen=leg.amount_fen if leg.account in reserved else 0,
            held_fen=-leg.amount_fen,
        )
        for leg in redemption.legs
        if _has_budget(leg)
    )
    return reservation, movements


def _as_reserved(legs: tuple[Leg, ...]) -> tuple[Leg, ...]:
    """With the debtors of each leg in declared order, as a cascade places them: ties are broken by it (money.md).

    A leg and its rest do not tell that order: a debtor that either has nothing of is not in it.
    """
    place = {leg.account: number for number, leg in enumerate(legs)}
    return tuple(leg._replace(advanced=tuple(sorted(leg.advanced, key=lambda debt: place[debt[0]]))) for leg in legs)


def _less(legs: tuple[Leg, ...], parts: list[int]) -> tuple[Leg, ...]:
    return tuple(leg.plus(leg.part(part), -1) for leg, part in zip(legs, parts, strict=True))
