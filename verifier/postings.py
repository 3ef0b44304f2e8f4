"""A redemption's captures and refunds, each on what the ones before left (money.md, Refunds)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from quanlian.apportionment import Leg, capture_release, reduce_legs, refund_due
from quanlian.terms import Terms, VoucherType
from verifier.findings import Finder
from verifier.lines import Posting, RedemptionLine, ToldLeg
from verifier.tally import ItemKind


def told_leg(leg: Leg) -> ToldLeg:
    return ToldLeg(leg.account, leg.amount_fen, leg.advanced)


def legs_of(told: Sequence[ToldLeg]) -> tuple[Leg, ...]:
    return tuple(Leg(each.account, each.fen, each.advanced) for each in told)


class Paid(NamedTuple):
    """Who pays a discount, also as the evidence tells it, and what that comes to.

    `captured` is how a capture of all of it counts, from each side that it has.
    """

    legs: tuple[Leg, ...]
    told: tuple[ToldLeg, ...]
    fen: int
    captured: tuple[ItemKind, ...]

    def is_captured_whole(self, line: RedemptionLine) -> bool:
        """Of most redemptions: a single posting, a capture of all that was held, to the last field as it must be."""
        posting = line.postings[0]
        return bool(
            posting.legs == self.told
            and posting.discount_fen == self.fen
            and posting.order_fen == line.order_fen
            and posting.number == 1
            and posting.kind == "capture"
            and len(line.postings) == 1
        )


class Step(NamedTuple):
    """A capture or refund as it must have been; a refund's amounts are negative."""

    order_fen: int
    discount_fen: int
    legs: tuple[Leg, ...]


def check_postings(line: RedemptionLine, terms: Terms, voucher_type: VoucherType, paid: Paid, finder: Finder) -> None:
    """Compare each posting of a line with what follows from the legs as paid."""
    postings, place = line.postings, finder.place
    steps = _replay(line.order_fen, paid.legs, postings, terms, voucher_type.minimum_spend_fen)
    for number, (posting, step) in enumerate(zip(postings, steps, strict=True), 1):
        finder.place = f"{place}, {posting.kind} {number}"
        _check_kind(posting, number, step.discount_fen, finder)
        _check_legs({leg.account: leg for leg in legs_of(posting.legs)}, step.legs, finder)
    finder.place = place


def _check_kind(posting: Posting, number: int, discount_fen: int, finder: Finder) -> None:
    finder.equal("number", posting.number, number)
    finder.equal("kind", posting.kind, "capture" if number == 1 else "refund")
    if number > 1 and posting.order_fen > 0:
        finder.equal("order_fen", posting.order_fen, "0 or less")
    finder.equal("discount_fen", posting.discount_fen, discount_fen)


def _check_legs(told: Mapping[str, Leg], legs: Sequence[Leg], finder: Finder) -> None:
    """What each funder pays, and what of it for whom."""
    must, nothing = {leg.account: leg for leg in legs}, Leg("", 0)
    for account in sorted(told.keys() | must.keys()):
        found, expected = told.get(account, nothing), must.get(account, nothing)
        finder.equal(f"leg {account}", found.amount_fen, expected.amount_fen)
        advanced, due = dict(found.advanced), dict(expected.advanced)
        for debtor in sorted(advanced.keys() | due.keys()):
            finder.equal(f"leg {account} advanced for {debtor}", advanced.get(debtor, 0), due.get(debtor, 0))


def _replay(
    held_order_fen: int, held: Sequence[Leg], postings: Sequence[Posting], terms: Terms, minimum_spend_fen: int
) -> Iterator[Step]:
    """The capture, then each refund on what the ones before left; only the parts of the order are taken as told."""
    held_fen = sum(leg.amount_fen for leg in held)
    order_fen = postings[0].order_fen
    released = capture_release(held_fen, held_order_fen, order_fen)
    standing = _less(held, _parts(held, released))
    discount_fen, refunded_fen, returned_fen, withheld_fen = held_fen - released, 0, 0, 0
    yield Step(order_fen, discount_fen, tuple(standing))
    for posting in postings[1:]:
        refunded_fen -= posting.order_fen
        if posting.order_fen == 0:  # an adjusting entry, whose amount a dispute decided
            increment = -posting.discount_fen
        else:
            due = refund_due(discount_fen, order_fen, refunded_fen, terms.refund_policy, minimum_spend_fen)
            withheld_fen = min(due, withheld_fen - posting.order_fen)  # also after an adjusting entry
            increment = max(0, withheld_fen - returned_fen)
        returned = _parts(standing, increment)
        returned_fen += increment
        negative = tuple(Leg(leg.account, 0).plus(leg, -1) for leg in returned)
        yield Step(posting.order_fen, -increment, negative)
        standing = _less(standing, returned)


def _parts(legs: Sequence[Leg], fen: int) -> list[Leg]:
    """What each leg gives of an amount, an advanced one by its make-up."""
    return [leg.part(part) for leg, part in zip(legs, reduce_legs(legs, fen), strict=True)]


def _less(legs: Sequence[Leg], parts: Sequence[Leg]) -> list[Leg]:
    return [leg.plus(part, -1) for leg, part in zip(legs, parts, strict=True)]
