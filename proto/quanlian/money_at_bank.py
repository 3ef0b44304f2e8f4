"""Whether the bank's payments that one side recorded explain what the other side's statements say of them.

A statement tells one amount a window. It is explained where some of the payments that this side recorded, each counted
once over all windows, make up just that amount: in which order the two sides booked them does not matter. Money is on
its way for a while; what stays away longer is missed, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

ON_ITS_WAY_SECONDS = 10 * 86_400
"""How long a payment may take: banks' longest closure, eight days of Spring Festival or National Day, and two days."""
_MOST_SUMS = 50_000
"""How many sums of payments are tried for one window."""


class Recorded(NamedTuple):
    """A payment as this side recorded it: the bank's date in UTC seconds, fen."""

    at: int
    amount_fen: int
    bank_reference: str = ""


class Stated(NamedTuple):
    """What a window's statement says: when it closed, in UTC seconds, and the amount in fen."""

    closed_at: int
    amount_fen: int


class Course(NamedTuple):
    """How payments of a kind may lie to the close of the window that states them, in seconds."""

    ahead: int
    """How much later than the close a payment's own date may be."""
    missed_after: int | None
    """How long after its date a payment is missed if no statement tells of it; None: never."""


LODGED = Course(0, ON_ITS_WAY_SECONDS)
"""What this side paid cannot be stated before."""
PAID_OUT = Course(ON_ITS_WAY_SECONDS, None)
"""A payment to this side is stated before it arrives, or as late as the other side likes: nobody loses by it."""


class Told(NamedTuple):
    """What this side says of a window, in fen, and where that is another amount, which payments it means."""

    own_fen: int
    unstated: tuple[Recorded, ...] = ()


def told_of_last(stated: Sequence[Stated], recorded: Iterable[Recorded], course: Course) -> Told | None:
    """What this side says of the last of some windows, in their order; never less than nothing where it is stated more.

    It says what is stated where its payments explain that, otherwise all that it made until the close and no window
    before explained or missed. None before its first payment: there it kept no record of such money, and what was
    stated then explains nothing of what came after. An amount that was not explained may still be, together with a
    later one: a record that came late, or a payment that was taken back.
    """
    pending, missed = sorted(recorded, key=attrgetter("at")), list[Recorded]()
    first, unexplained, told = pending[0].at if pending else None, list[int](), None
    for each in stated:
        in_time = tuple(payment for payment in pending if payment.at <= each.closed_at)
        due = [payment for payment in in_time if _is_missed(payment, each, course)]
        others = [payment for payment in pending if payment.at <= each.closed_at + course.ahead]
        others = _without(others, due) + missed
        chosen: Sequence[Recorded] | None = in_time if _sum(in_time) == each.amount_fen else None
        for fen in (0, *unexplained):
            if chosen is None and (chosen := _explaining(each.amount_fen + fen, due, others)) is not None and fen:
                unexplained.remove(fen)
        if first is None or each.closed_at < first:
            told = None
        elif chosen is None:
            told = Told(_sum(in_time), in_time)
            unexplained.append(each.amount_fen)
            missed += due
            pending = _without(pending, due)
        else:
            told = Told(each.amount_fen)
        missed, pending = _without(missed, chosen or ()), _without(pending, chosen or ())
    return told


def _is_missed(payment: Recorded, stated: Stated, course: Course) -> bool:
    return course.missed_after is not None and payment.at <= stated.closed_at - course.missed_after


def _explaining(amount_fen: int, due: Sequence[Recorded], others: Sequence[Recorded]) -> Sequence[Recorded] | None:
    """All that are due and those others that make up the amount with them, earlier ones first; None if none do."""
    rest_fen = amount_fen - _sum(due)
    sums: dict[int, tuple[Recorded, ...]] = {0: ()}
    for payment in others:
        for fen, chosen in list(sums.items()):
            if fen + payment.amount_fen <= rest_fen:
                sums.setdefault(fen + payment.amount_fen, (*chosen, payment))
        if rest_fen in sums or len(sums) > _MOST_SUMS:
            break
    return (*due, *sums[rest_fen]) if rest_fen in sums else None


def _without(payments: Iterable[Recorded], others: Iterable[Recorded]) -> list[Recorded]:
    """Each of the others taken out once."""
    left = list(payments)
    for each in others:
        if each in left:
            left.remove(each)
    return left


def _sum(payments: Iterable[Recorded]) -> int:
    return sum(each.amount_fen for each in payments)
