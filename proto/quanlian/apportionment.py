"""Who pays a discount: reserved at issue, split at authorize, given back by refunds (money.md, Who pays).

Every division is `money.allocate`. It gives each part its exact share rounded down or up, and a part whose
share is whole gets just that. So dividing at most what some legs hold by those very legs never passes a leg:
a voucher's split cannot use more than is reserved on any leg, and a refund cannot return more than is left on
one.

Legs of zero are kept, so that legs stay aligned with the terms that declare them; a ledger books none of
them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from quanlian.accounts import at_region
from quanlian.agreements import Agreement
from quanlian.errors import InvalidInput
from quanlian.money import allocate

_WHOLE_PPM = 1_000_000
_REMEMBERED = 16_384
"""How many divisions are remembered: vouchers of one type that are used in one region share theirs."""

ShortfallRule = Literal["cascade", "pro-rata", "refuse"]
CoFunderKind = Literal["platform", "bank", "merchant"]
RefundPolicy = Literal["pro-rata", "full-clawback"]


class Leg(NamedTuple):
    """An account code and what it pays, in fen.

    `advanced` is the make-up of an advanced leg (垫付): what of the amount is paid for others, by debtor's account. The
    rest is its own.
    """

    account: str
    amount_fen: int
    advanced: tuple[tuple[str, int], ...] = ()

    def part(self, amount_fen: int) -> Leg:
        """Some of this leg: `allocate(amount, make-up)`, its own part first, then each debtor's."""
        if not self.advanced:
            return Leg(self.account, amount_fen)
        own_fen = self.amount_fen - sum(fen for _, fen in self.advanced)
        _, *parts = allocate(amount_fen, [own_fen, *(fen for _, fen in self.advanced)])
        debtors = (debtor for debtor, _ in self.advanced)
        return Leg(self.account, amount_fen, _without_zeros(dict(zip(debtors, parts, strict=True))))

    def plus(self, other: Leg, sign: int = 1) -> Leg:
        """Both together, debtor by debtor; with sign -1, what `other` leaves."""
        if not (self.advanced or other.advanced):
            return Leg(self.account, self.amount_fen + sign * other.amount_fen)
        debts = dict(self.advanced)
        for debtor, fen in other.advanced:
            debts[debtor] = debts.get(debtor, 0) + sign * fen
        return Leg(self.account, self.amount_fen + sign * other.amount_fen, _without_zeros(debts))


def _without_zeros(debts: dict[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple((debtor, fen) for debtor, fen in debts.items() if fen)


class FundingPlan(NamedTuple):
    """Public funders in declared order, the weights they share by, and the rule when one runs dry.

    The rules are told at `fund`. `advanced`: what a cascade pays for a dry funder is owed by it, not borne.
    """

    accounts: tuple[str, ...]
    weights: tuple[int, ...]
    rule: ShortfallRule
    advanced: bool = False


class Loan(NamedTuple):
    """What a cascade lets one funder pay for another, by their positions."""

    debtor: int
    advancer: int
    amount_fen: int


class CoFunder(NamedTuple):
    """A platform, bank or merchant that pays a share of each discount beside the public funders.

    A merchant's `account` has a blank region, for it is not known until redemption.
    """

    kind: CoFunderKind
    account: str
    share_ppm: int
    public_pays_if_dry: bool


class Reservation(NamedTuple):
    """What stays with a voucher from its issue on, leg by leg: its highest possible discount."""

    cofunders: tuple[Leg, ...]
    public: tuple[Leg, ...]

    @property
    def total_fen(self) -> int:
        return sum(leg.amount_fen for leg in self.legs())

    def legs(self) -> tuple[Leg, ...]:
        """Co-funders, then public funders, in declared order."""
        return self.cofunders + self.public


class Split(NamedTuple):
    """Who pays one discount: `legs` are co-funders, issuer's public funders, then visitors' funders.

    `released` is what the discount leaves of each reserved leg. `visitors_dry`: the visitors' funders could
    not meet the redeeming region's part, and the issuer pays it.
    """

    legs: tuple[Leg, ...]
    released: Reservation
    issuer_public_fen: int
    redeemer_public_fen: int
    visitors_dry: bool


def fund(amount: int, weights: Sequence[int], budgets_left: Sequence[int], rule: str) -> list[int] | None:
    """What each funder pays of the amount, in fen, or None: refused (money.md, A funder that runs dry).

    Each wants its `allocate(amount, weights)` and pays at most what it has left; what is missing is placed by
    the rule: `cascade` to the next funder with money, backstops of weight 0 included, `pro-rata` to all with
    money by weight, `refuse` not at all. Raises InvalidInput for another rule or an amount or weights that
    cannot be divided.
    """
    funded = fund_with_loans(amount, weights, budgets_left, rule)
    return None if funded is None else funded[0]


def fund_with_loans(
    amount: int, weights: Sequence[int], budgets_left: Sequence[int], rule: str
) -> tuple[list[int], list[Loan]] | None:
    """As `fund`, with who pays for whom: under `cascade` alone, in the order in which it was placed."""
    if rule not in ("cascade", "pro-rata", "refuse"):
        raise InvalidInput(f"{rule!r} is not a shortfall rule", remedy="use cascade, pro-rata or refuse")
    wanted = allocate(amount, weights)
    paid = [max(0, min(want, left)) for want, left in zip(wanted, budgets_left, strict=True)]
    missing = [want - pays for want, pays in zip(wanted, paid, strict=True)]
    if not any(missing):
        return paid, []
    room = [max(0, left) - pays for left, pays in zip(budgets_left, paid, strict=True)]
    if rule == "cascade":
        loans = _cascade(missing, room)
        for loan in loans or ():
            paid[loan.advancer] += loan.amount_fen
        return None if loans is None else (paid, loans)
    shared = _pro_rata(paid, sum(missing), room, weights) if rule == "pro-rata" else None
    return None if shared is None else (shared, [])


def reserve(
    max_discount_fen: int,
    cofunders: Sequence[CoFunder],
    plan: FundingPlan,
    left: Callable[[str], int],
) -> Reservation | None:
    """Reserve a voucher's highest discount from its issuer's funders, or None: FUNDING_EXHAUSTED.

    `left` tells an account's free money in fen. A merchant's share has no budget. A platform or bank that has
    less left than its part refuses, unless the public pays its part: then the whole part, and its leg is
    zero. Raises InvalidInput when shares pass the whole, or one account pays twice.
    """
    public_ppm = _WHOLE_PPM - sum(cofunder.share_ppm for cofunder in cofunders)
    if public_ppm < 0:
        raise InvalidInput("the co-funders' shares sum to more than 1,000,000 ppm", remedy="lower the shares")
    _require_distinct([cofunder.account for cofunder in cofunders], plan)
    *parts, public_fen = allocate(max_discount_fen, [*(cofunder.share_ppm for cofunder in cofunders), public_ppm])
    legs = []
    for cofunder, part_fen in zip(cofunders, parts, strict=True):
        if cofunder.kind == "merchant" or left(cofunder.account) >= part_fen:
            legs.append(Leg(cofunder.account, part_fen))
        elif cofunder.public_pays_if_dry:
            legs.append(Leg(cofunder.account, 0))
            public_fen += part_fen
        else:
            return None
    public = _fund_by(plan, public_fen, left)
    return None if public is None else Reservation(tuple(legs), public)


def split(
    discount_fen: int,
    order_fen: int,
    reservation: Reservation,
    agreement: Agreement | None,
    redeemer_region: str,
    issuer_region: str,
    visitors: FundingPlan | None,
    left: Callable[[str], int],
    ceiling_left_fen: int | None = None,
) -> Split | None:
    """Who pays a discount (money.md, Split at authorize), or None: FUNDING_EXHAUSTED.

    `agreement` is the one in force at authorize; at home it is not asked and may be None. `visitors` is the
    redeeming region's standing fund, None if it has none, which counts as dry; `left` tells the free money of
    its accounts. A part of more than `ceiling_left_fen`, what the agreement's yearly ceiling leaves, finds the fund
    dry as well. Raises InvalidInput when the discount passes the order or the reservation.
    """
    _require_discount(discount_fen, order_fen)
    # 1. Co-funders, and the public's P
    cofunded, public_fen = _cofunded(discount_fen, reservation)
    # 2. P between issuing and redeeming region
    away = redeemer_region != issuer_region
    agreed = _require_agreement(agreement, issuer_region, redeemer_region) if away else None
    redeemer_fen = agreed.redeemer_pays(public_fen, order_fen, discount_fen) if agreed else 0
    # 3. Each part over its funders
    within_ceiling = ceiling_left_fen is None or redeemer_fen <= ceiling_left_fen
    visitor_legs = _fund_by(visitors if within_ceiling else None, redeemer_fen, left) if redeemer_fen else ()
    visitors_dry = visitor_legs is None
    if visitor_legs is None:
        if agreed and agreed.when_visitors_run_out == "refuse":
            return None
        redeemer_fen, visitor_legs = 0, ()
    used, released = _issuers_part(reservation, cofunded, public_fen - redeemer_fen)
    return Split(
        legs=_at_merchant(used.cofunders, redeemer_region) + used.public + visitor_legs,
        released=released,
        issuer_public_fen=public_fen - redeemer_fen,
        redeemer_public_fen=redeemer_fen,
        visitors_dry=visitors_dry,
    )


def split_shown(legs: tuple[Leg, ...], reservation: Reservation, redeemer_region: str) -> Split:
    """The split of a reservation that `legs`, as they were signed, show.

    They are aligned with what is reserved; the visitors' funders follow. Whether these ran dry does not show. Raises
    InvalidInput for legs that this reservation cannot have given.
    """
    reserved = _at_merchant(reservation.cofunders, redeemer_region) + reservation.public
    used, visitor_legs = legs[: len(reserved)], legs[len(reserved) :]
    fits = len(used) == len(reserved) and all(
        paid.account == kept.account and 0 <= paid.amount_fen <= kept.amount_fen
        for paid, kept in zip(used, reserved, strict=True)
    )
    if not fits or any(leg.amount_fen < 0 for leg in visitor_legs):
        raise InvalidInput("the legs are not of what is reserved for the voucher", place="legs")
    count = len(reservation.cofunders)
    cofunded = tuple(
        paid._replace(account=kept.account) for paid, kept in zip(used[:count], reservation.cofunders, strict=True)
    )
    public = used[count:]
    return Split(
        legs=legs,
        released=_remainder(reservation, Reservation(cofunded, public)),
        issuer_public_fen=sum(leg.amount_fen for leg in public),
        redeemer_public_fen=sum(leg.amount_fen for leg in visitor_legs),
        visitors_dry=False,
    )


@lru_cache(maxsize=_REMEMBERED)
def _cofunded(discount_fen: int, reservation: Reservation) -> tuple[tuple[int, ...], int]:
    """What each co-funder pays, and the public together."""
    if discount_fen > reservation.total_fen:
        raise InvalidInput(
            f"a discount of {discount_fen} fen is more than the {reservation.total_fen} fen reserved",
            remedy="reserve the highest discount that the terms allow",
        )
    reserved_public_fen = sum(leg.amount_fen for leg in reservation.public)
    *cofunded, public_fen = allocate(
        discount_fen, [*(leg.amount_fen for leg in reservation.cofunders), reserved_public_fen]
    )
    return tuple(cofunded), public_fen


@lru_cache(maxsize=_REMEMBERED)
def _issuers_part(
    reservation: Reservation, cofunded: tuple[int, ...], issuer_fen: int
) -> tuple[Reservation, Reservation]:
    """What is used of each reserved leg, and what is left of it: the same wherever the voucher is redeemed."""
    issuer_paid = allocate(issuer_fen, [leg.amount_fen for leg in reservation.public])
    used = Reservation(_pay(reservation.cofunders, cofunded), _pay(reservation.public, issuer_paid))
    return used, _remainder(reservation, used)


def reduce_legs(legs: Sequence[Leg], increment_fen: int) -> list[int]:
    """What each leg gives back of one increment: `allocate(increment, what remains on each leg)`.

    `legs` are as they remain. Raises InvalidInput for more than remains.
    """
    remaining = [leg.amount_fen for leg in legs]
    if not 0 <= increment_fen <= sum(remaining):
        raise InvalidInput(
            f"{increment_fen} fen cannot be given back from legs that hold {sum(remaining)} fen",
            remedy="give back at most what the legs still hold",
        )
    return allocate(increment_fen, remaining)


def refund_due(
    discount_fen: int,
    order_fen: int,
    refunded_order_fen_total: int,
    policy: str,
    minimum_spend_fen: int,
) -> int:
    """What funders have got back in total when refunds of the order reach ρ: `D·ρ div O` (money.md, Refunds).

    Under `full-clawback`, from the refund that brings O − ρ under the minimum spend on, min(D, ρ). Raises
    InvalidInput for another policy, or ρ outside 0…O.
    """
    _require_discount(discount_fen, order_fen)
    if policy not in ("pro-rata", "full-clawback"):
        raise InvalidInput(f"{policy!r} is not a refund policy", remedy="use pro-rata or full-clawback")
    if not 0 <= refunded_order_fen_total <= order_fen:
        raise InvalidInput(
            f"refunds of {refunded_order_fen_total} fen in total do not fit an order of {order_fen} fen",
            remedy="refund at most the order as captured",
        )
    if policy == "full-clawback" and order_fen - refunded_order_fen_total < minimum_spend_fen:
        return min(discount_fen, refunded_order_fen_total)
    return discount_fen * refunded_order_fen_total // order_fen if order_fen else 0


def capture_release(discount_fen: int, held_order_fen: int, captured_order_fen: int) -> int:
    """What capturing c of the held order O releases of its discount: `D·(O − c) div O`.

    Raises InvalidInput for a capture outside 0…O.
    """
    _require_discount(discount_fen, held_order_fen)
    if not 0 <= captured_order_fen <= held_order_fen:
        raise InvalidInput(
            f"a capture of {captured_order_fen} fen does not fit a hold on an order of {held_order_fen} fen",
            remedy="capture at most what was held",
        )
    return discount_fen * (held_order_fen - captured_order_fen) // held_order_fen if held_order_fen else 0


def _cascade(missing: Sequence[int], room: list[int]) -> list[Loan] | None:
    """Deficits in declared order, each whole before the next: from the next funder on, wrapping round."""
    funders, loans = len(room), []
    for dry, deficit in enumerate(missing):
        for step in range(1, funders):
            helper = (dry + step) % funders
            lent = min(deficit, room[helper])
            if lent:
                loans.append(Loan(dry, helper, lent))
            room[helper] -= lent
            deficit -= lent
        if deficit:
            return None
    return loans


def _pro_rata(paid: list[int], missing: int, room: list[int], weights: Sequence[int]) -> list[int] | None:
    """The shortfalls' sum by weight over funders with money left, each capped, until it is placed."""
    while missing:
        open_weights = [weight if space else 0 for weight, space in zip(weights, room, strict=True)]
        if not any(open_weights):
            return None
        for funder, part in enumerate(allocate(missing, open_weights)):
            lent = min(part, room[funder])
            paid[funder] += lent
            room[funder] -= lent
            missing -= lent
    return paid


def _fund_by(plan: FundingPlan | None, amount_fen: int, left: Callable[[str], int]) -> tuple[Leg, ...] | None:
    if plan is None:
        return None
    wanted = _by_weight(plan, amount_fen)
    for leg in wanted:
        if leg.amount_fen > left(leg.account):
            break
    else:
        return wanted
    budgets_left = [left(account) for account in plan.accounts]
    funded = fund_with_loans(amount_fen, plan.weights, budgets_left, plan.rule)
    if funded is None:
        return None
    paid, loans = funded
    return tuple(
        Leg(account, fen, _owed_to(position, loans, plan) if plan.advanced else ())
        for position, (account, fen) in enumerate(zip(plan.accounts, paid, strict=True))
    )


@lru_cache(maxsize=_REMEMBERED)
def _by_weight(plan: FundingPlan, amount_fen: int) -> tuple[Leg, ...]:
    """What the funders pay while none of them runs dry."""
    return tuple(map(Leg, plan.accounts, allocate(amount_fen, plan.weights)))


def _owed_to(advancer: int, loans: Sequence[Loan], plan: FundingPlan) -> tuple[tuple[str, int], ...]:
    return tuple((plan.accounts[loan.debtor], loan.amount_fen) for loan in loans if loan.advancer == advancer)


def _pay(reserved: Sequence[Leg], paid: Sequence[int]) -> tuple[Leg, ...]:
    return tuple(leg.part(amount) for leg, amount in zip(reserved, paid, strict=True))


def _at_merchant(cofunders: Sequence[Leg], region: str) -> tuple[Leg, ...]:
    """A merchant's leg belongs to the redeeming region, which pays its merchant that much less."""
    return tuple(leg._replace(account=at_region(leg.account, region)) for leg in cofunders)


def _remainder(reservation: Reservation, used: Reservation) -> Reservation:
    def less(reserved: tuple[Leg, ...], taken: tuple[Leg, ...]) -> tuple[Leg, ...]:
        return tuple(leg.plus(used, -1) for leg, used in zip(reserved, taken, strict=True))

    return Reservation(less(reservation.cofunders, used.cofunders), less(reservation.public, used.public))


def _require_agreement(agreement: Agreement | None, issuer: str, redeemer: str) -> Agreement:
    if agreement is None:
        raise InvalidInput(
            f"no agreement between {issuer} and {redeemer}", remedy="load the network's default agreement"
        )
    return agreement.between(issuer, redeemer)


def _require_discount(discount_fen: int, order_fen: int) -> None:
    if not 0 <= discount_fen <= order_fen:
        raise InvalidInput(
            f"a discount of {discount_fen} fen does not fit an order of {order_fen} fen",
            remedy="a discount is at least 0 and at most the order",
        )


def _require_distinct(cofunder_accounts: Sequence[str], plan: FundingPlan) -> None:
    accounts = [*cofunder_accounts, *plan.accounts]
    if len(set(accounts)) < len(accounts):
        raise InvalidInput("one account pays two parts of a voucher", remedy="name each funder once in the terms")
