"""Deciding again what was decided before, by what held then: no more than that is known of the past."""

from __future__ import annotations

from chassis.database import Transaction
from clearinghouse.desk import Desk, Shelf
from custodian.suspensions import InForce, Suspensions
from quanlian.redemptions import Redemption
from quanlian.refusals import Refusal
from quanlian.signing import Signer
from quanlian.suspensions import SuspensionKind


class RecoveryDesk(Desk):
    """Decides what was decided before: a net debit cap was judged then, by limits that may not be known now."""

    def __init__(self, transaction: Transaction, shelf: Shelf, signer: Signer) -> None:
        super().__init__(transaction, shelf, signer)
        self.suspensions = SuspensionsThen(transaction, self)

    def over_cap(self, draft: Redemption) -> Refusal | None:
        return None


class SuspensionsThen(Suspensions):
    """What was suspended at the time for which a desk decides: later ones may be known already."""

    def __init__(self, transaction: Transaction, desk: Desk) -> None:
        super().__init__(transaction)
        self._desk = desk

    def find(self, kind: SuspensionKind, subject: str) -> InForce | None:
        found = super().find(kind, subject)
        return found if found is None or found.since_at <= self._desk.at else None
