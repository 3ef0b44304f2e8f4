"""Whether a shopper gets a pack, and what is reserved for it (protocol.md, Claiming; money.md, Reserved at issue)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from quanlian.apportionment import Reservation, reserve
from quanlian.ledger import is_limited
from quanlian.refusals import Refusal, RefusalReason
from quanlian.signing import SigningKey
from quanlian.terms import Pack, Round, Terms
from quanlian.vouchers import key_was_revoked, key_was_valid

RUN_MODES = frozenset({"first-come", "application"})
"""Modes of a round that a node runs; terms with another mode are not published."""

CHINA_OFFSET_SECONDS = 8 * 3600
DAY_SECONDS = 86_400
WHOLE_ROUND = 0
_PLENTY_FEN = 2**62


class Evidence(NamedTuple):
    """What an application shows: `used` tells whether any of its numbers counted before."""

    complete: bool
    used: bool


@dataclass(frozen=True, slots=True)
class ClaimFacts:
    """What the node knows when a claim is decided; counts are packs. `usual` is this round's `usual_issue`.

    `key` is what its vouchers are signed with, as suspensions and the deny-list have it now.
    """

    terms: Terms | None
    round_id: str
    claimed_in_round: int
    claimed_by_holder: int
    claimed_by_holder_today: int
    evidence: Evidence
    suspended: bool = False
    """Paused or withdrawn: nothing is issued."""
    suspended_at: int = 0
    region: str = ""
    region_suspended_at: int | None = None
    usual: Issue | None = None
    key: SigningKey | None = None


@dataclass(frozen=True, eq=False)
class Issue:
    """A pack that may be issued, with the money of each of its vouchers, by index."""

    terms: Terms
    round: Round
    pack: Pack
    reservations: tuple[Reservation, ...]

    @cached_property
    def reserved_fen(self) -> int:
        return sum(reservation.total_fen for reservation in self.reservations)

    @cached_property
    def needs(self) -> dict[str, int]:
        """What it takes of each account that has a limit."""
        taken: dict[str, int] = {}
        for reservation in self.reservations:
            for leg in reservation.legs():
                if is_limited(leg.account):
                    taken[leg.account] = taken.get(leg.account, 0) + leg.amount_fen
        return taken

    @cached_property
    def voucher_types(self) -> tuple[int, ...]:
        """The number of each voucher's type, by index."""
        return tuple(self.terms.voucher_type(each).number for each in self.pack.vouchers)


def decide_claim(facts: ClaimFacts, free_fen: Callable[[str], int], at: int) -> Issue | Refusal:
    """Issue a pack or refuse it; `free_fen` tells what an account may still commit.

    Reserves each voucher's highest discount, so that nobody is turned away at the till for want of money.
    """
    terms = facts.terms
    refusal = _check_key(facts.key, at) if facts.key else None
    if refusal:
        return refusal
    if facts.region_suspended_at is not None:
        figures = {"region": int(facts.region), "since_at": facts.region_suspended_at}
        return Refusal(RefusalReason.REGION_SUSPENDED, figures)
    if terms is None:
        return Refusal(RefusalReason.CAMPAIGN_UNKNOWN)
    if facts.suspended:
        figures = {"since_at": facts.suspended_at} if facts.suspended_at else {}
        return Refusal(RefusalReason.CAMPAIGN_SUSPENDED, figures)
    opening = next((each for each in terms.rounds if each.id == facts.round_id), None)
    if opening is None:
        return Refusal(RefusalReason.ROUND_UNKNOWN)
    if not opening.opens_at <= at < opening.closes_at:
        return Refusal(RefusalReason.ROUND_NOT_OPEN, {"opens_at": opening.opens_at, "closes_at": opening.closes_at})
    refusal = _check_person(opening, facts)
    if refusal:
        return refusal
    pack = terms.pack(opening.pack)
    last_at = pack.ends_at if pack.valid_until is None else min(pack.valid_until, pack.ends_at)
    if at >= last_at:
        return Refusal(RefusalReason.ROUND_NOT_OPEN, {"opens_at": opening.opens_at, "closes_at": last_at})
    if facts.claimed_in_round >= opening.quota:
        return Refusal(RefusalReason.QUOTA_EXHAUSTED)
    if facts.usual and all(free_fen(account) >= fen for account, fen in facts.usual.needs.items()):
        return facts.usual
    reservations = _reserve_pack(terms, pack, free_fen)
    if reservations is None:
        needed_fen = sum(terms.voucher_type(each).max_discount_fen for each in pack.vouchers)
        return Refusal(RefusalReason.FUNDING_EXHAUSTED, {"needed_fen": needed_fen})
    return Issue(terms, opening, pack, reservations)


def usual_issue(terms: Terms | None, round_id: str) -> Issue | None:
    """What a round issues while every funder has enough: one object for all, None where no pack can be.

    A funder's share depends on its money only when it lacks some (money.md, A funder that runs dry), so whoever finds
    each account with what `needs` says may issue this.
    """
    opening = next((each for each in terms.rounds if each.id == round_id), None) if terms else None
    if terms is None or opening is None:
        return None
    pack = terms.pack(opening.pack)
    reservations = _reserve_pack(terms, pack, lambda account: _PLENTY_FEN)
    return Issue(terms, opening, pack, reservations) if reservations is not None else None


def china_day(at: int) -> int:
    """The day in Asia/Shanghai as days since 1970-01-01: what a cap per day counts by."""
    return (at + CHINA_OFFSET_SECONDS) // DAY_SECONDS


def _check_key(key: SigningKey, at: int) -> Refusal | None:
    """No voucher is issued that nobody would take; another key, or this one's word again, lets claims go on."""
    if not key_was_valid(key, at):
        figures = {"not_before_at": key.not_before, "not_after_at": key.not_after, "issued_at": at}
        return Refusal(RefusalReason.KEY_NOT_VALID, figures, may_pass=True)
    if key.revoked_from is not None and key_was_revoked(key, at):
        return Refusal(RefusalReason.KEY_REVOKED, {"revoked_at": key.revoked_from, "issued_at": at}, may_pass=True)
    return None


def _check_person(opening: Round, facts: ClaimFacts) -> Refusal | None:
    if opening.mode == "application":
        if not facts.evidence.complete:
            return Refusal(RefusalReason.EVIDENCE_MISSING)
        if facts.evidence.used:
            return Refusal(RefusalReason.EVIDENCE_ALREADY_USED)
    if facts.claimed_by_holder >= opening.per_person:
        return Refusal(RefusalReason.CLAIM_LIMIT_REACHED, {"limit": opening.per_person})
    if opening.per_day is not None and facts.claimed_by_holder_today >= opening.per_day:
        return Refusal(RefusalReason.CLAIM_LIMIT_REACHED, {"limit_per_day": opening.per_day})
    return None


def _reserve_pack(terms: Terms, pack: Pack, free_fen: Callable[[str], int]) -> tuple[Reservation, ...] | None:
    """All vouchers of the pack or none; each sees what the ones before it took."""
    taken: dict[str, int] = {}
    plan, cofunders = terms.funding_plan(), terms.cofunder_plan()
    reservations = []
    for type_id in pack.vouchers:
        reservation = reserve(
            terms.voucher_type(type_id).max_discount_fen,
            cofunders,
            plan,
            lambda account: free_fen(account) - taken.get(account, 0),
        )
        if reservation is None:
            return None
        for leg in reservation.legs():
            taken[leg.account] = taken.get(leg.account, 0) + leg.amount_fen
        reservations.append(reservation)
    return tuple(reservations)
