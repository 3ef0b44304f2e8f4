"""Deciding again what was decided before, by what held then: no more than that is known of the past."""

from __future__ import annotations

from chassis.database import Transaction
from clearinghouse.desk import Desk, Shelf
from custodian.decisions import Received
from custodian.suspensions import InForce, Suspensions
from quanlian.redemptions import Redemption, State, release_hold
from quanlian.refusals import Refusal
from quanlian.signing import Signer
from quanlian.suspensions import SuspensionKind
from quanlian.wire import Purchase


class RecoveryDesk(Desk):
    """Decides what was decided before: a net debit cap was judged then, by limits that may not be known now."""

    def __init__(self, transaction: Transaction, shelf: Shelf, signer: Signer) -> None:
        super().__init__(transaction, shelf, signer)
        self.suspensions = SuspensionsThen(transaction, self)

    def over_cap(self, draft: Redemption) -> Refusal | None:
        return None

    def end_hold(self, received: Received) -> None:
        """A hold on what is bought was over when it was bought: void it, as somebody did whose word is lost."""
        item = received.item
        if item is None or not isinstance(item.subject, Purchase):
            return
        voucher = self.books.voucher(item.subject.key)
        redemption = self.books.redemption(voucher.hold) if voucher is not None and voucher.hold else None
        if voucher is not None and redemption is not None and redemption.state is State.AUTHORIZED:
            outcome = release_hold(redemption, voucher, State.VOIDED)
            self.books.apply(outcome)
            self.applied(redemption, outcome)


class SuspensionsThen(Suspensions):
    """What was suspended at the time for which a desk decides: later ones may be known already."""

    def __init__(self, transaction: Transaction, desk: Desk) -> None:
        super().__init__(transaction)
        self._desk = desk

    def find(self, kind: SuspensionKind, subject: str) -> InForce | None:
        found = super().find(kind, subject)
        return found if found is None or found.since_at <= self._desk.at else None
