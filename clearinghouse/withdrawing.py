"""Postings that a restored clearinghouse cannot book: nobody's any more, and their vouchers never spent again.

Issuer and redeeming region are told by their feeds, signed, to take them back. Each keeps that word and hands it over
to a later recovery from a copy that does not know of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from clearinghouse import schema
from clearinghouse.desk import Desk
from clearinghouse.engine import Engine
from clearinghouse.relearning import PostingId, Waiting, posting_id
from clearinghouse.suspending import Suspend
from custodian.withdrawals import Withdrawal, read_withdrawal, sign_withdrawal
from pki.trust import Keyring
from quanlian import custody
from quanlian.custody import CLEARINGHOUSE, in_custody
from quanlian.errors import BadSignature, ConfigurationError, InvalidInput, Unavailable
from quanlian.suspensions import SuspensionKind, voucher_subject
from quanlian.v1 import custody_pb2, recovery_pb2, redemption_pb2
from quanlian.vouchers import VoucherKey

RECOVERY = "recovery"
"""Who suspends a voucher that a recovery finds disputed."""
Report = recovery_pb2.RecoveryReport


class Withdrawing:
    """Of one recovery: from a copy of incarnation `restored`, to begin incarnation `coming`."""

    def __init__(self, engine: Engine, keyring: Keyring, restored: int, coming: int) -> None:
        self._engine = engine
        self._keyring = keyring
        self._restored = restored
        self._coming = coming

    def learn(self, rows: Iterable[Any], report: Report) -> dict[PostingId, Withdrawal]:
        """What recoveries before this one had taken back, as nodes hand it over that it concerns."""
        found: dict[PostingId, Withdrawal] = {}
        for row in rows:
            try:
                message = custody_pb2.Receipt.FromString(row.body).withdrawn
                withdrawal = read_withdrawal(message, self._keyring)
                posting = withdrawal.posting
                if row.region not in (posting.issuer, posting.redeeming_region):
                    raise BadSignature(
                        f"撤回的是 {posting.issuer} 的券，不应由 {row.region} 交回 · "
                        f"a withdrawal of {posting.issuer}'s voucher is not {row.region}'s to hand over"
                    )
                found[posting_id(posting)] = withdrawal
            except Exception as error:
                report.disputed.add(region=row.region, id=row.id.hex(), reason=reason_of(error))
        return found

    def dispute(self, each: Waiting, reason: str, contradicted: bool, report: Report) -> None:
        """Report it, and have a posting that nothing here stands behind taken back, unless the books contradict it."""
        report.disputed.add(region=each.region, id=each.id.hex(), reason=reason)
        posting = each.posting
        if posting is None or contradicted:
            return
        with self._engine.database.transaction() as transaction:
            desk = self._engine.desk(transaction)
            message = sign_withdrawal(posting, self._coming, desk.at, reason, desk.signer)
            for region in sorted({posting.issuer, posting.redeeming_region} & set(desk.regions)):
                desk.tell(region, withdrawn=message)
            _keep(desk, Withdrawal(posting, self._coming, message))
            desk.save("recovery", each.region)
        self._bury(posting, reason, report)

    def keep_dead(self, withdrawals: Iterable[Withdrawal], report: Report) -> None:
        """What was taken back after the copy was made stays so; what stands in the copy all the same is told.

        Of what was taken back before, the copy has the consequences.
        """
        for withdrawal in withdrawals:
            if withdrawal.incarnation <= self._restored:
                continue
            posting = withdrawal.posting
            with self._engine.database.transaction() as transaction:
                desk = self._engine.desk(transaction)
                stands = _stands(desk, posting)
                if not stands:
                    _keep(desk, withdrawal)
            if stands:
                report.disputed.add(
                    region=posting.issuer,
                    id=posting.redemption_id.hex(),
                    reason="此备份仍有该入账，各节点此后已冲回，请改用较新的备份 · "
                    "stands in this copy, and was taken back since by the nodes: restore a later copy",
                )
            else:
                self._bury(posting, "已撤回 · was taken back", report)

    def _bury(self, posting: redemption_pb2.Posting, reason: str, report: Report) -> None:
        """A voucher that somebody was told is captured is never spent again, whoever has it now."""
        key = VoucherKey(posting.issuer, posting.pack_id, posting.index)
        try:
            with self._engine.database.transaction() as transaction:
                desk = self._engine.desk(transaction)
                voucher = desk.books.voucher(key)
                if voucher is None or not in_custody(voucher, CLEARINGHOUSE) or voucher.status == custody.HELD:
                    _suspend(desk, key, reason)
                elif voucher.status == custody.USABLE:
                    desk.books.put_voucher(voucher._replace(status=custody.CANCELLED))
                desk.save("recovery", posting.issuer)
        except InvalidInput as error:
            if isinstance(error, ConfigurationError):
                raise
            report.disputed.add(region=posting.issuer, id=posting.redemption_id.hex(), reason=str(error))


def reason_of(error: Exception) -> str:
    """Why something that a node handed over cannot be learned. A database that fails is raised: nobody's fault."""
    if isinstance(error, Unavailable | ConfigurationError):
        raise error
    return str(error) or repr(error)


def _keep(desk: Desk, withdrawal: Withdrawal) -> None:
    """For people to deal with: `quanlian clearinghouse withdrawn`."""
    posting, message = withdrawal.posting, withdrawal.message
    row = {
        "redemption_id": posting.redemption_id,
        "number": posting.number,
        "incarnation": withdrawal.incarnation,
        "body": message.body,
        "key_id": message.key_id,
        "signature": message.signature,
        "withdrawn_at": desk.at,
    }
    desk.transaction.upsert(schema.withdrawn_posting, [row])


def _stands(desk: Desk, posting: redemption_pb2.Posting) -> bool:
    """Whether the books have just this posting, by the answer to its request."""
    known = desk.books.request((posting.redeeming_region, posting.request_id))
    if known is None:
        return False
    booked = redemption_pb2.RedemptionAnswer.FromString(known.answer).posting
    return (booked.redemption_id, booked.number) == (posting.redemption_id, posting.number)


def _suspend(desk: Desk, key: VoucherKey, reason: str) -> None:
    """Keep a disputed voucher from being spent: with its issuer, which lost that it gave it, or once its hold ends."""
    subject = voucher_subject(key)
    if desk.suspensions.find(SuspensionKind.VOUCHER, subject) is None:
        why = f"恢复时有争议 · disputed in the recovery: {reason}"
        Suspend(SuspensionKind.VOUCHER, subject, True, RECOVERY, why).decide(desk)
