"""Booking and deciding again what was decided before: of the past no more is known than was signed, or told."""

from __future__ import annotations

from dataclasses import replace

from chassis.database import Transaction
from clearinghouse.desk import Desk, Shelf
from custodian.campaigns import Campaigns
from custodian.decisions import Received, draft_of, without_expired_hold
from custodian.suspensions import InForce, Suspensions
from quanlian.apportionment import Split
from quanlian.campaign_changes import Standing
from quanlian.custody import CLEARINGHOUSE, VoucherState, in_custody
from quanlian.errors import QuanlianError
from quanlian.redemptions import Redemption, State, release_hold
from quanlian.refusals import Refusal
from quanlian.signing import Signer
from quanlian.suspensions import SuspensionKind
from quanlian.v1.redemption_pb2 import RedemptionAnswer
from quanlian.validation import Discounted
from quanlian.vouchers import VoucherKey
from quanlian.wire import Purchase


class RecoveryDesk(Desk):
    """Decides what was decided before. Nobody knows what this party had heard by then of pauses and suspensions, nor
    the limits of that time: they do not stand in the way of what both its nodes say was posted.
    """

    def __init__(self, transaction: Transaction, shelf: Shelf, signer: Signer) -> None:
        super().__init__(transaction, shelf, signer)
        self.campaigns = _CampaignsUnpaused(transaction)
        self.suspensions = _SuspensionsUnheard(transaction)

    def over_cap(self, draft: Redemption) -> Refusal | None:
        return None

    def free(self, key: VoucherKey, over: bool) -> VoucherState | None:
        """A voucher here without a hold that had passed by `at`; None where it is not here.

        With `over` any hold on it was over, ended by somebody whose word is lost: it is voided.
        """
        voucher = self.books.voucher(key)
        if voucher is None or not in_custody(voucher, CLEARINGHOUSE):
            return None
        voucher = without_expired_hold(voucher, self.books, self)
        redemption = self.books.redemption(voucher.hold) if over and voucher is not None and voucher.hold else None
        if voucher is not None and redemption is not None and redemption.state is State.AUTHORIZED:
            outcome = release_hold(redemption, voucher, State.VOIDED)
            self.books.apply(outcome)
            self.applied(redemption, outcome)
            return outcome.voucher
        return voucher

    def draft_signed(
        self,
        received: Received,
        purchase: Purchase,
        answer: RedemptionAnswer,
        split: Split,
        voucher: VoucherState,
    ) -> Redemption:
        """The redemption that an answer says, with its proof: what limited the visitors' funders is told where the
        documents and funds of today give the same split, and is lost otherwise.
        """
        draft = draft_of(
            received, purchase, answer.discount_fen, split, answer.agreement, answer.decided_at, answer.expires_at
        )
        terms = self.terms(voucher.terms_hash)
        paid = None
        if terms is not None and 0 < voucher.voucher_type <= len(terms.voucher_types):
            found = Discounted(terms, terms.voucher_types[voucher.voucher_type - 1], answer.discount_fen)
            try:
                paid = self.apportion(received, purchase, found, voucher)
            except QuanlianError:
                paid = None
        if paid is None or paid.split is None or (paid.split.legs, paid.agreement) != (draft.legs, draft.agreement):
            self.prove(draft.id, purchase, draft.discount_fen, None)
        return draft


class _SuspensionsUnheard(Suspensions):
    def find(self, kind: SuspensionKind, subject: str) -> InForce | None:
        return None


class _CampaignsUnpaused(Campaigns):
    def standing(self, issuer: str, campaign: str) -> Standing:
        return replace(super().standing(issuer, campaign), paused=False, paused_at=0)
