"""Net debit caps: what a region owes the others in windows not yet settled may not pass its limit (money.md)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from quanlian.redemptions import Redemption, State, owed_between_regions

BASIS = 10_000


@dataclass(frozen=True, slots=True)
class Position:
    """A region's debts and claims between regions, and what limits them; amounts in fen.

    `secured_fen` is its `settlement` balance and unused prefund at the clearinghouse.
    """

    region: str
    net_debit_cap_fen: int
    credit_line_fen: int
    credit_offset_bp: int
    owed_held_fen: int
    owed_posted_fen: int
    due_posted_fen: int
    secured_fen: int = 0

    @property
    def exposure_fen(self) -> int:
        """Owed, held and posted, less the agreed part of what is due: posted credit can vanish by refund or default."""
        offset = max(0, self.due_posted_fen) * self.credit_offset_bp // BASIS
        return self.owed_held_fen + self.owed_posted_fen - offset

    @property
    def limit_fen(self) -> int:
        return min(self.net_debit_cap_fen, self.secured_fen + self.credit_line_fen)

    def allows(self, more_fen: int) -> bool:
        """Whether the region may owe `more_fen`; what owes nothing is never refused for the cap."""
        return more_fen == 0 or self.exposure_fen + more_fen <= self.limit_fen

    def moved(self, held_fen: int = 0, posted_fen: int = 0, due_fen: int = 0) -> Position:
        return replace(
            self,
            owed_held_fen=self.owed_held_fen + held_fen,
            owed_posted_fen=self.owed_posted_fen + posted_fen,
            due_posted_fen=self.due_posted_fen + due_fen,
        )


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
