"""What a restored node learned, replayed: each thing in the order in which it happened, then again what did not go in.

One may depend on another, and the clocks of node and clearinghouse differ. Only what does not go in at the very end is
disputed; a voucher that a platform was told is captured is dead then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from custodian.campaigns import verify_change
from custodian.recovering import Recovering
from custodian.suspensions import verify_suspension
from node.desk import Work
from node.disputes import RelearnDispute
from node.engine import Engine
from node.learned import ANSWER, DOCUMENT, HAND_OVER, PLATFORM, RETURN, Learned, Name, Receipt
from node.platform_receipts import BookAgain, Bury, read_receipt
from node.relearning import (
    CountHandOvers,
    RelearnAnswer,
    RelearnChange,
    RelearnHandOver,
    RelearnReturn,
    RelearnSuspension,
    RelearnTerms,
)
from pki.trust import Keyring
from quanlian import hand_overs, wire
from quanlian.errors import ConfigurationError, InvalidInput, Unavailable
from quanlian.hand_overs import HandOver
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import custody_pb2, recovery_pb2, settlement_pb2, signed_pb2
from quanlian.vouchers import VoucherKey


class Replaying:
    """Of one recovery."""

    def __init__(self, engine: Engine, keyring: Keyring, learned: Learned, job: Recovering) -> None:
        self._engine = engine
        self._keyring = keyring
        self._learned = learned
        self._job = job
        self._coming = ComingHome((), ())
        self._report = recovery_pb2.RecoveryReport()

    def replay(self) -> recovery_pb2.RecoveryReport:
        """What was learned, and what could not be, with why."""
        names = self._learned.in_order()
        self._job.total = len(names)
        handed, returned = ([name for name in names if name[1] == kind] for kind in (HAND_OVER, RETURN))
        self._coming = ComingHome(map(_moved, self._learned.read(handed)), map(_moved, self._learned.read(returned)))
        left = self._apply_all(names)
        for receipt in self._learned.read(list(left)):
            self._dispute(receipt, left[receipt.name])
        last = max((_moved(each).head.number for each in self._learned.read(handed)), default=0)
        self._engine.decide_together([CountHandOvers(last)])
        return self._report

    def _apply_all(self, names: Sequence[Name]) -> dict[Name, str]:
        """Apply what can be, again and again, for one depends on another; returns the rest, each with why not.

        Once nothing goes on, the vouchers of a hand-over whose money the books cannot take are given up without it.
        """
        giving_up = False
        while names:
            left: dict[Name, str] = {}
            for receipt in self._learned.read(names):
                why = self._apply(receipt, giving_up)
                if why:
                    left[receipt.name] = why
                else:
                    self._job.done += 1
            stuck = len(left) == len(names)
            if stuck and giving_up:
                return left
            names, giving_up = list(left), stuck
        return {}

    def _apply(self, receipt: Receipt, giving_up: bool) -> str:
        """Why it does not go in; empty where it does. Nothing but a database that does not answer is raised."""
        try:
            work = self._work(receipt)
            if isinstance(work, BookAgain):
                self._require_home(work)
            self._count(receipt.kind, work, int(self._engine.decide_together([work])[0] or 0))
        except Exception as error:
            why = _reason_of(error)
            return self._give_up(receipt, why) if giving_up and receipt.kind == HAND_OVER else why
        if receipt.kind == RETURN:
            self._coming.have_come(_moved(receipt))
        return ""

    def _give_up(self, receipt: Receipt, why: str) -> str:
        """The vouchers of a hand-over are the clearinghouse's, though these books cannot take its money."""
        work = self._work(receipt)
        assert isinstance(work, RelearnHandOver)
        try:
            self._count(HAND_OVER, work, int(self._engine.decide_together([replace(work, limit=False)])[0]))
        except Exception as error:
            return f"券与资金均未取回，请核对 · its vouchers and money could not be taken ({_reason_of(error)}): {why}"
        self._dispute(
            receipt,
            "券已归清分平台，其资金未从出资限额中扣减，请核对 · its vouchers are the clearinghouse's, their money was "
            f"not taken off the funders' limits: go through them: {why}",
        )
        return ""

    def _require_home(self, work: BookAgain) -> None:
        if work.taken is not None and self._coming.awaits(work.taken, work.answer.decided_at):
            raise InvalidInput(
                "其券曾移交并已退回，此退回未取回 · its voucher had been given and come home, "
                "and that return could not be learned",
                place=f"receipt {work.received.request_id.hex()}",
            )

    def _dispute(self, receipt: Receipt, why: str) -> None:
        self._report.disputed.add(region=self._engine.region.code, id=_called(receipt), reason=why)
        if receipt.kind != PLATFORM:
            return
        answer = read_receipt(receipt, self._keyring, self._engine.region.code).answer
        if answer.HasField("posting"):
            posting = answer.posting
            self._bury(VoucherKey(posting.issuer, posting.pack_id, posting.index), why)

    def _bury(self, key: VoucherKey, why: str) -> None:
        try:
            self._engine.decide_together([Bury(key, why)])
        except Exception as error:
            id, reason = f"{key.pack_id.hex()}/{key.voucher_index}", _reason_of(error)
            self._report.disputed.add(region=key.issuer, id=id, reason=reason)

    def _work(self, receipt: Receipt) -> Work:
        if receipt.kind == PLATFORM:
            return read_receipt(receipt, self._keyring, self._engine.region.code)
        if receipt.kind == ANSWER:
            return RelearnAnswer(custody_pb2.AnsweredItem.FromString(receipt.body))
        if receipt.kind == DOCUMENT:
            return self._published(custody_pb2.RegionDocument.FromString(receipt.body))
        message = signed_pb2.SignedMessage.FromString(receipt.body)
        return RelearnHandOver(message) if receipt.kind == HAND_OVER else RelearnReturn(message)

    def _published(self, document: custody_pb2.RegionDocument) -> Work:
        if document.HasField("terms"):
            return RelearnTerms(document.terms)
        if document.HasField("change"):
            return RelearnChange(verify_change(document.change, self._keyring))
        if document.HasField("dispute"):
            return RelearnDispute(document.dispute)
        return RelearnSuspension(verify_suspension(document.suspension, self._keyring))

    def _count(self, kind: str, work: Work, learned: int) -> None:
        report = self._report
        if kind == HAND_OVER:
            report.hand_overs, report.vouchers = report.hand_overs + bool(learned), report.vouchers + learned
        elif kind == RETURN:
            report.vouchers += learned
        elif kind == ANSWER:
            report.answers += learned
        elif kind == PLATFORM:
            report.receipts += learned
        elif isinstance(work, RelearnChange):
            report.changes += learned
        elif isinstance(work, RelearnSuspension):
            report.suspensions += learned
        elif isinstance(work, RelearnDispute):
            report.disputes += learned


class ComingHome:
    """Vouchers that were given and given back after the copy: what was decided here after that waits until these books
    have them back.
    """

    def __init__(self, handed: Iterable[HandOver], returned: Iterable[HandOver]) -> None:
        self._given: dict[VoucherKey, dict[int, int]] = defaultdict(dict)
        """By the epoch in which each comes back: when it was given; 0 where the copy knows that."""
        for each in returned:
            for voucher in each.vouchers():
                self._given[voucher.key][voucher.epoch] = 0
        for each in handed:
            for voucher in each.vouchers():
                back = voucher.epoch + 1
                if voucher.key in self._given and back in self._given[voucher.key]:
                    self._given[voucher.key][back] = each.head.at

    def awaits(self, key: VoucherKey, at: int) -> bool:
        """Whether one of its returns is not learned yet that may have been before `at`."""
        return any(given <= at for given in self._given[key].values()) if key in self._given else False

    def have_come(self, returned: HandOver) -> None:
        for voucher in returned.vouchers():
            self._given[voucher.key].pop(voucher.epoch, None)


def _moved(receipt: Receipt) -> HandOver:
    return hand_overs.read(signed_pb2.SignedMessage.FromString(receipt.body).body)


def _called(receipt: Receipt) -> str:
    """What an operator calls it."""
    if receipt.kind == PLATFORM:
        return receipt.id[:16].hex()
    if receipt.kind == ANSWER:
        return receipt.id.hex()
    if receipt.kind == HAND_OVER:
        return f"移交 hand-over {int.from_bytes(receipt.id, 'big')}"
    if receipt.kind == RETURN:
        return f"退回 return {int.from_bytes(receipt.id, 'big')}"
    return _titled(custody_pb2.RegionDocument.FromString(receipt.body))


def _titled(document: custody_pb2.RegionDocument) -> str:
    if document.HasField("terms"):
        return parse_terms(document.terms.body, "terms").campaign
    if document.HasField("change"):
        change = wire.body_to_change(document.change.body)
        return f"变更 change {change.number} of {change.campaign}"
    if document.HasField("dispute"):
        return f"异议 dispute {settlement_pb2.Dispute.FromString(document.dispute.dispute.body).number}"
    return f"暂停 suspension {wire.body_to_suspension(document.suspension.body).number}"


def _reason_of(error: Exception) -> str:
    """Why something cannot be learned. A database that fails is raised: nobody's fault."""
    if isinstance(error, Unavailable | ConfigurationError):
        raise error
    return str(error) or repr(error)
