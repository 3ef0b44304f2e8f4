"""Suspending and reactivating, by the clearinghouse's operator or a region, made known to every node.

It counts from the next batch on: here by the row that decisions read, elsewhere once the region's feed has brought it.
"""

from __future__ import annotations

from dataclasses import dataclass

from clearinghouse.desk import Desk
from custodian.deny_lists import keep_deny_list, newest_deny_list, record_deny_list
from custodian.suspensions import SignedSuspension, sign_suspension
from pki.denylist import KIND, DenyList
from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import InvalidInput
from quanlian.suspensions import FOR_ARREARS, Suspension, SuspensionKind, check_suspension
from quanlian.v1 import signed_pb2


@dataclass(slots=True)
class Suspend:
    """The operator's decision; `bad_from`, of a key, in UTC seconds, 0 for now."""

    kind: SuspensionKind
    subject: str
    suspended: bool
    by: str
    why: str
    bad_from: int = 0

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> Suspension:
        """Raises InvalidInput for nothing that could be suspended, or what is so already.

        A region that is suspended for its arrears stays so at the operator's word, whatever cures them.
        """
        is_key = self.kind is SuspensionKind.KEY
        if self.suspended and self.kind is SuspensionKind.REGION:
            end_suspension_for_arrears(desk, self.subject, f"改由{self.by}暂停 · {self.by} suspends it")
        suspension = Suspension(
            authority=CLEARINGHOUSE,
            number=desk.suspensions.last_number(CLEARINGHOUSE) + 1,
            kind=self.kind,
            subject=self.subject,
            suspended=self.suspended,
            at=desk.at,
            by=self.by,
            why=self.why,
            bad_from=(self.bad_from or desk.at) if is_key else 0,
        )
        check_suspension(suspension)
        if self.kind is SuspensionKind.REGION and self.subject not in desk.regions:
            raise InvalidInput(
                f"{self.subject} 尚未接入 · is not enrolled", place="suspension", remedy="查看状态 · look at the status"
            )
        if suspension.bad_from > desk.at:
            raise InvalidInput(
                "时间在将来 · is in the future",
                place="suspension.bad_from",
                remedy="写已过的时间 · give a time that has passed",
            )
        signed = sign_suspension(suspension, desk.signer)
        desk.suspensions.append(signed)
        desk.tell_all(suspension=signed.message)
        if is_key:
            _renew_deny_list(desk)
        return suspension


def suspend_for_arrears(desk: Desk, region: str, why: str) -> None:
    """As a settlement decides; nothing where the region is suspended already."""
    if desk.suspensions.standing(SuspensionKind.REGION, region, CLEARINGHOUSE) is None:
        Suspend(SuspensionKind.REGION, region, True, FOR_ARREARS, why).decide(desk)


def end_suspension_for_arrears(desk: Desk, region: str, why: str) -> None:
    """A suspension by the operator stays."""
    standing = desk.suspensions.standing(SuspensionKind.REGION, region, CLEARINGHOUSE)
    if standing and standing.by == FOR_ARREARS:
        Suspend(SuspensionKind.REGION, region, False, FOR_ARREARS, why).decide(desk)


@dataclass(slots=True)
class TakeSuspension:
    """A region's own decision, its signature checked before."""

    signed: SignedSuspension

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> bool:
        """Keep it and tell all regions, once; whether it was news. Raises InvalidInput for what cannot follow."""
        if not desk.suspensions.append(self.signed):
            return False
        desk.tell_all(suspension=self.signed.message)
        return True


def tell_newcomer(desk: Desk, region: str) -> None:
    """A region that is enrolled learns what was suspended before."""
    for signed in desk.suspensions.history():
        desk.tell(region, suspension=signed.message)
    known = newest_deny_list(desk.transaction)
    if known is not None:
        desk.tell(region, deny_list=known.message)


def _renew_deny_list(desk: Desk) -> None:
    """The list of bad signing keys as the suspensions now have it; certificates stay as they are listed."""
    known = newest_deny_list(desk.transaction)
    before = known.denylist if known else DenyList()
    body = DenyList(before.number + 1, desk.at, before.certificates, desk.suspensions.keys()).payload()
    signature = desk.signer.sign(KIND, body)
    message = signed_pb2.SignedMessage(body=body, key_id=desk.signer.key_id, signature=signature)
    keep_deny_list(desk.transaction, before.number + 1, message)
    record_deny_list(desk.books, desk.at, before.number + 1, message)
    desk.tell_all(deny_list=message)
