"""Net debit caps: what a region owes the others in windows not yet settled may not pass its limit (money.md)."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from quanlian.redemptions import Redemption, State, owed_between_regions

BASIS = 10_000
THRESHOLDS = (75, 90)
"""Percent of a limit at which a region is warned (money.md, Ledger)."""

_ENDLESS_FEN = 2**62


class Measure(IntEnum):
    """What of a region's limits is used: its exposure, and the part of it that its own money does not cover."""

    NET_DEBIT = 1
    CREDIT_LINE = 2


class LimitUse(NamedTuple):
    """How much of a limit is used, in fen."""

    measure: Measure
    used_fen: int
    limit_fen: int

    @property
    def percent(self) -> int:
        """The highest threshold reached, 0 for none: who uses nothing reaches none, whatever the limit."""
        return _threshold(self.used_fen, self.limit_fen)

    @property
    def steady(self) -> tuple[int, int]:
        """From which use on, and up to which, the same threshold is reached, in fen; no use that counts is too low."""
        steps = [max(1, -(-percent * self.limit_fen // 100)) for percent in THRESHOLDS]
        reached = self.percent
        above = [step for percent, step in zip(THRESHOLDS, steps, strict=True) if percent > reached]
        below = [step for percent, step in zip(THRESHOLDS, steps, strict=True) if percent == reached]
        return (below[0] if below else -_ENDLESS_FEN, above[0] if above else _ENDLESS_FEN)


def _threshold(used_fen: int, limit_fen: int) -> int:
    if used_fen > 0:
        for percent in reversed(THRESHOLDS):
            if used_fen * 100 >= percent * limit_fen:
                return percent
    return 0


def exposed_fen(held_fen: int, owed_fen: int, due_fen: int, offset_bp: int) -> int:
    """A region's exposure: what it owes, held and posted, less the agreed part of its claims.

    Posted credit can vanish by refund or default. Refunds turn a claim into a debt and a debt into a claim.
    """
    claims_fen = max(0, due_fen) + max(0, -owed_fen)
    return held_fen + max(0, owed_fen) + max(0, -due_fen) - claims_fen * offset_bp // BASIS


class Position(NamedTuple):
    """A region's debts and claims between regions, and what limits them; amounts in fen.

    `secured_fen` is its `settlement` balance and unused prefund at the clearinghouse; `arrears_fen` what it owes of
    settled windows; `warned` the threshold, by measure, that it has reached and was warned of.
    """

    region: str
    net_debit_cap_fen: int
    credit_line_fen: int
    credit_offset_bp: int
    owed_held_fen: int
    owed_posted_fen: int
    due_posted_fen: int
    secured_fen: int = 0
    arrears_fen: int = 0
    warned: tuple[int, int] = (0, 0)

    @property
    def exposure_fen(self) -> int:
        return exposed_fen(self.owed_held_fen, self.owed_posted_fen, self.due_posted_fen, self.credit_offset_bp)

    @property
    def limit_fen(self) -> int:
        """Arrears have used their part of it already."""
        return min(self.net_debit_cap_fen, self.secured_fen + self.credit_line_fen) - self.arrears_fen

    @property
    def credit_used_fen(self) -> int:
        """What of the exposure the region's own money does not cover."""
        return max(0, self.exposure_fen - max(0, self.secured_fen)) if self.credit_line_fen else 0

    @property
    def uses(self) -> tuple[LimitUse, LimitUse]:
        """In the order of `warned`."""
        return (
            LimitUse(Measure.NET_DEBIT, self.exposure_fen, self.limit_fen),
            LimitUse(Measure.CREDIT_LINE, self.credit_used_fen, self.credit_line_fen),
        )

    @property
    def reached(self) -> tuple[int, int]:
        """The highest threshold of each use, in the order of `warned`."""
        exposure_fen, used_fen = self.exposure_fen, self.credit_used_fen
        return _threshold(exposure_fen, self.limit_fen), _threshold(used_fen, self.credit_line_fen)

    @property
    def quiet_between(self) -> tuple[int, int]:
        """From which exposure on, and up to which, the region is to be warned of nothing that it was not warned of.

        As long as nothing but what it owes and is due changes. The two are the same where there is something now.
        """
        if self.reached != self.warned:
            return 0, 0
        exposure, credit = (use.steady for use in self.uses)
        if not self.credit_line_fen:
            return exposure
        own_fen = max(0, self.secured_fen)
        return max(exposure[0], credit[0] + own_fen), min(exposure[1], credit[1] + own_fen)

    def allows(self, more_fen: int) -> bool:
        """Whether the region may owe `more_fen`; what owes nothing is never refused for the cap."""
        return more_fen == 0 or self.exposure_fen + more_fen <= self.limit_fen

    def moved(self, held_fen: int = 0, posted_fen: int = 0, due_fen: int = 0) -> Position:
        region, cap, line, offset, owed_held_fen, owed_posted_fen, due_posted_fen, secured, arrears, warned = self
        owed = owed_held_fen + held_fen, owed_posted_fen + posted_fen
        return Position(region, cap, line, offset, *owed, due_posted_fen + due_fen, secured, arrears, warned)


def crossed(position: Position) -> list[tuple[LimitUse, int]]:
    """Each use of a limit with each threshold that it has reached since the region was warned last."""
    pairs = zip(position.uses, position.warned, strict=True)
    return [(use, each) for use, known in pairs for each in THRESHOLDS if known < each <= use.percent]


def owed_change(before: Redemption | None, after: Redemption) -> tuple[int, int]:
    """How a redemption's new state changes what its issuer owes its redeeming region: (held, posted) fen."""
    held_before, posted_before = _owed(before)
    held_after, posted_after = _owed(after)
    return held_after - held_before, posted_after - posted_before


def _owed(redemption: Redemption | None) -> tuple[int, int]:
    if redemption is None:
        return 0, 0
    owed = owed_between_regions(redemption, redemption.standing)
    return (owed, 0) if redemption.state is State.AUTHORIZED else (0, owed)
