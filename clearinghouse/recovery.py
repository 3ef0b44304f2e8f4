"""A clearinghouse whose database was restored from a backup learns again what its nodes hold.

Hand-overs and returns are signed. Redemptions are decided again, at their time and under their id: a decision depends
on nothing else, so it must give the very bytes that were signed; what does not is disputed: its voucher is dead, and
whoever has its posting is told by the feed to take it back.
Where the redeeming node never had the answer and the issuer's has the posting, its time and id are those of the
posting, which must come out again; the node gets the answer when it sends its request once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, func, select

from chassis.database import Query, Transaction
from clearinghouse import schema
from clearinghouse.custody import read_hand_over
from clearinghouse.desk import Desk
from clearinghouse.engine import Engine
from clearinghouse.publishing import PublishChange
from clearinghouse.recall import relearn_return
from clearinghouse.recovery_desk import RecoveryDesk
from clearinghouse.suspending import Suspend, TakeSuspension
from custodian import schema as custodian_schema
from custodian.books import Books, StoredAnswer
from custodian.campaigns import verify_change
from custodian.continuity import Continuity
from custodian.decisions import Elsewhere, Received, decide
from custodian.deny_lists import keep_deny_list, newest_deny_list
from custodian.evidence import SignedBatch, shown_batch
from custodian.incarnations import known, learn
from custodian.receiving import receive
from custodian.suspensions import verify_suspension
from pki.denylist import DenyList, load_denylist
from pki.trust import Keyring
from quanlian import custody, hand_overs, wire
from quanlian.custody import CLEARINGHOUSE, in_custody
from quanlian.errors import BadSignature, InvalidInput, QuanlianError
from quanlian.evidence import ANSWER_KIND, REQUEST_KIND, Message
from quanlian.refusals import RefusalReason
from quanlian.suspensions import SuspensionKind, voucher_subject
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import custody_pb2, recovery_pb2, redemption_pb2, signed_pb2
from quanlian.vouchers import VoucherKey

_LAST_HAND_OVER = Query(
    select(func.max(schema.hand_over.c.number).label("last")).where(schema.hand_over.c.issuer == bindparam("region"))
)
KINDS = ("terms", "change", "hand_over", "custody_return", "answered", "told", "suspension", "deny_list")
PENDING, WITHDRAWN = "pending", "withdrawn"
"""Receipts that are not applied: what is asked for still, and what a recovery before this one had taken back."""
RECOVERY = "recovery"
"""Who suspends a voucher that a recovery finds disputed."""


class _NotYet(QuanlianError):
    """Something that this depends on is not learned yet."""


class _Different(QuanlianError):
    """The books as they stand do not give what was signed."""


class Waiting(NamedTuple):
    """A receipt that is not applied yet."""

    region: str
    id: bytes
    receipt: custody_pb2.Receipt
    received: Received | None


class Recovery:
    """Takes receipts in, and applies them once all nodes have handed over theirs."""

    def __init__(self, engine: Engine, keyring: Keyring, continuity: Continuity) -> None:
        self.database = engine.database
        self.keyring = keyring
        self._engine = engine
        self._continuity = continuity
        self._told: set[str] = set()
        """Regions that have heard from here which incarnation is to come."""
        self._one_at_a_time = asyncio.Lock()

    # Noticing

    def compare(self, region: str, theirs: custody_pb2.Position) -> custody_pb2.Position:
        """Where this party stands with a region. Raises RecoveryNeeded where the region has seen more of it."""
        with self.database.snapshot() as transaction:
            taken, newest = _last_hand_over(transaction, region), known(transaction, region)
            feed = Books(transaction).counter(f"feed/{region}")
        if theirs.feed > feed:
            raise self._continuity.breaks(
                f"{region} 已收第 {theirs.feed} 号通知，本方最后一号为 {feed} · "
                f"{region} has event {theirs.feed} of its feed, {feed} is the last here"
            )
        self._continuity.require_newest(region, theirs.peer_incarnation)
        if theirs.incarnation > newest:
            newest = theirs.incarnation
            with self.database.transaction() as transaction:
                learn(transaction, region, newest)
        return custody_pb2.Position(
            incarnation=self._continuity.incarnation, hand_overs=taken, feed=feed, peer_incarnation=newest
        )

    # Taking in

    async def hand_receipts(
        self, region: str, request: custody_pb2.HandReceiptsRequest
    ) -> custody_pb2.HandReceiptsResponse:
        """Take in what a node holds of this party, while it needs it; it hears which incarnation is to come of it."""
        lineage = self._continuity.lineage
        if not self._continuity.broken or lineage is None:
            return custody_pb2.HandReceiptsResponse(wanted=False)
        coming = lineage.coming(0 if region in self._told else request.incarnation)
        self._told.add(region)
        if request.receipts or request.complete:
            await asyncio.to_thread(self.keep, region, request)

        def load() -> custody_pb2.HandReceiptsResponse:
            with self.database.snapshot() as transaction:
                after = _last_hand_over(transaction, region)
            wanted = not self.complete(region)
            return custody_pb2.HandReceiptsResponse(
                wanted=wanted, after_hand_over=after, since=lineage.restored.at, incarnation=coming
            )

        return await asyncio.to_thread(load)

    def keep(self, region: str, request: custody_pb2.HandReceiptsRequest) -> None:
        """Store a node's receipts; what it signed or holds signed is checked when it is applied."""
        rows = [
            {
                "region": region,
                "id": _id_of(each),
                "kind": str(each.WhichOneof("receipt")),
                "at": each.at,
                "body": each.SerializeToString(),
            }
            for each in request.receipts
        ]
        with self.database.transaction() as transaction:
            transaction.upsert(schema.receipt, rows)
            if request.complete:
                done = {"region": region, "feed": request.feed, "last_window": request.last_window}
                transaction.upsert(schema.receipts_complete, [done])

    def complete(self, region: str) -> bool:
        table = schema.receipts_complete
        with self.database.snapshot() as transaction:
            return bool(transaction.select_keys(table, [table.c.region], [(region,)]))

    # Applying

    async def run(self, without: Sequence[str]) -> recovery_pb2.RecoveryReport:
        """Apply everything that was handed over, begin a new incarnation, and serve again.

        Raises InvalidInput where nothing needs it, while a node's receipts are missing, and for a copy from before the
        close of a window.
        """
        async with self._one_at_a_time:
            return await self._run(without)

    async def _run(self, without: Sequence[str]) -> recovery_pb2.RecoveryReport:
        self._continuity.require_broken()
        self._require_all(without)
        self._go_on_numbering()
        report = recovery_pb2.RecoveryReport()
        pending = {(row.region, row.id): receipt.pending for row, receipt in self._kept(PENDING)}
        withdrawn = {_posting_id(receipt.withdrawn): receipt.withdrawn for _, receipt in self._kept(WITHDRAWN)}
        waiting = [await self._prepared(row, pending) for row in self._receipts()]
        for each, reason in self._apply_all(waiting, withdrawn.keys(), report):
            self._dispute(each, reason, report)
        for posting in withdrawn.values():
            self._bury(posting, "was taken back")
        with self.database.transaction() as transaction:
            for table in (schema.receipt, schema.receipts_complete):
                transaction.connection.execute(table.delete())
        await self._continuity.go_on(report)
        self._told.clear()
        return report

    def _apply_all(
        self, waiting: Sequence[Waiting], withdrawn: Collection[bytes], report: recovery_pb2.RecoveryReport
    ) -> list[tuple[Waiting, str]]:
        """Apply what can be, again and again, for one depends on another; returns the rest, each with why not.

        Once nothing goes on, holds that stand in the way of what was answered after them count as over.
        """
        waiting, over = list(waiting), False
        while waiting:
            left: list[tuple[Waiting, str]] = []
            for each in waiting:
                try:
                    self._apply(each, withdrawn, over, report)
                except QuanlianError as error:
                    left.append((each, str(error)))
            stuck = len(left) == len(waiting)
            if stuck and over:
                return left
            waiting, over = [each for each, _ in left], stuck
        return []

    def _require_all(self, without: Sequence[str]) -> None:
        with self.database.snapshot() as transaction:
            run = transaction.connection.execute
            regions = {row.region for row in run(schema.participant.select())}
            complete = run(schema.receipts_complete.select()).all()
            open_window = self._engine.desk(transaction).window
        missing = sorted(regions - {row.region for row in complete} - set(without))
        if missing:
            raise InvalidInput(
                f"{', '.join(missing)} have not handed over what they hold",
                place="recovery",
                remedy="start their nodes, or name them with --without",
            )
        ahead = [row for row in complete if row.last_window >= open_window]
        if ahead:
            raise InvalidInput(
                f"{ahead[0].region} holds a statement of window {ahead[0].last_window}, and here {open_window} is open",
                place="recovery",
                remedy="restore a backup from after that window was closed",
            )

    def _go_on_numbering(self) -> None:
        """No number that a node has seen is given out again, nor missing to one that is an older copy itself."""
        with self.database.transaction() as transaction:
            desk = self._engine.desk(transaction)
            for row in transaction.connection.execute(schema.receipts_complete.select()).all():
                while desk.books.counter(f"feed/{row.region}") < row.feed:
                    desk.tell(row.region, forgotten=True)
            desk.save("recovery", window=0)

    def _receipts(self) -> list[Any]:
        """What is to be learned: documents first, the rest in the order of their times."""
        table = schema.receipt
        with self.database.snapshot() as transaction:
            rows = transaction.connection.execute(table.select().where(table.c.kind.in_(KINDS))).all()
        return sorted(rows, key=lambda row: (min(KINDS.index(row.kind), 2), row.at, KINDS.index(row.kind), row.id))

    def _kept(self, kind: str) -> list[tuple[Any, custody_pb2.Receipt]]:
        table = schema.receipt
        with self.database.snapshot() as transaction:
            rows = transaction.connection.execute(table.select().where(table.c.kind == kind)).all()
        return [(row, custody_pb2.Receipt.FromString(row.body)) for row in rows]

    async def _prepared(self, row: Any, pending: Mapping[tuple[str, bytes], bytes]) -> Waiting:
        """Signatures inside an item are checked outside the transaction, as they were when it came first."""
        receipt = custody_pb2.Receipt.FromString(row.body)
        received, told = None, receipt.told
        if receipt.HasField("answered"):
            answer = redemption_pb2.RedemptionAnswer.FromString(receipt.answered.answer)
            batch = self._as_sent(row.region, receipt)
            received = self._received(row.region, receipt.answered.item, answer.redemption_id, batch)
        elif (item := pending.get((told.redeeming_region, told.request_id))) is not None:
            received = self._received(told.redeeming_region, item, told.redemption_id)
        return Waiting(row.region, row.id, receipt, received)

    def _received(self, region: str, item: bytes, redemption_id: bytes, batch: SignedBatch | None = None) -> Received:
        return receive(
            item,
            participant=region,
            acquirer="",
            redeeming_region=region,
            redemption_id=redemption_id,
            verifier=self.keyring,
            batch=batch,
        )

    def _as_sent(self, region: str, receipt: custody_pb2.Receipt) -> SignedBatch | None:
        """An item with its node's signature, to be shown to that node if it has to recover in its turn.

        None where the signature is not the node's: what was answered counts by this party's own.
        """
        item, key_id, signature = (
            receipt.answered.item,
            receipt.answered.item_key_id,
            receipt.answered.item_signature,
        )
        message = Message(REQUEST_KIND, item, b"".join(wire.item_hashes([item])), key_id, signature)
        try:
            key = self.keyring.verify(key_id, REQUEST_KIND, message.digest, signature)
        except QuanlianError:
            return None
        return shown_batch(message, receipt.at) if (key.owner, key.purpose) == (region, "message") else None

    def _apply(
        self, each: Waiting, withdrawn: Collection[bytes], over: bool, report: recovery_pb2.RecoveryReport
    ) -> None:
        if (posting := _posting_of(each.receipt)) and _posting_id(posting) in withdrawn:
            raise _Different("was taken back by a recovery before this one")
        with self.database.transaction() as transaction:
            desk = RecoveryDesk(transaction, self._engine.shelf, self._engine.signer)
            kind = each.receipt.WhichOneof("receipt")
            if kind == "terms":
                self._take_terms(transaction, each)
            elif kind == "change":
                PublishChange(verify_change(each.receipt.change, self.keyring)).decide(desk)
            elif kind == "suspension":
                suspension = verify_suspension(each.receipt.suspension, self.keyring)
                report.suspensions += TakeSuspension(suspension).decide(desk)
            elif kind == "deny_list":
                self._take_deny_list(transaction, each.receipt.deny_list)
            elif kind == "hand_over":
                self._verify(hand_overs.signed_head(each.receipt.hand_over), hand_overs.KIND, each.region)
                taken = read_hand_over(each.region, each.receipt.hand_over).relearn(desk)
                report.hand_overs, report.vouchers = report.hand_overs + 1, report.vouchers + len(taken)
            elif kind == "custody_return":
                self._verify(hand_overs.signed_head(each.receipt.custody_return), hand_overs.KIND, CLEARINGHOUSE)
                report.vouchers += relearn_return(desk, each.region, each.receipt.custody_return)
            elif kind == "told":
                report.answers += self._post_again(desk, each, over)
            else:
                report.answers += self._decide_again(desk, each, over)
            desk.save("recovery", each.region)

    def _take_terms(self, transaction: Transaction, each: Waiting) -> None:
        message = each.receipt.terms
        self._verify(message, "terms", each.region)
        terms = parse_terms(message.body, "terms")
        row = {
            "terms_hash": terms.terms_hash,
            "campaign": terms.campaign,
            "issuer": terms.issuer,
            "document": message.body,
            "key_id": message.key_id,
            "signature": message.signature,
        }
        transaction.upsert(schema.terms, [row])

    def _take_deny_list(self, transaction: Transaction, message: signed_pb2.SignedMessage) -> None:
        """The newest list that was signed counts; the keys that it names are suspended by what is learned beside it."""
        newest = newest_deny_list(transaction)
        number = DenyList.parse(message.body).number
        if newest is None or number > newest.denylist.number:
            load_denylist(message.body, message.signature, message.key_id, self.keyring)
            keep_deny_list(transaction, number, message)

    def _decide_again(self, desk: RecoveryDesk, each: Waiting, over: bool) -> int:
        signed, received = each.receipt.answered, each.received
        assert received is not None
        self._verify_answer(signed)
        answer = wire.parse(redemption_pb2.RedemptionAnswer, signed.answer, "answer")
        key = (each.region, answer.request_id)
        if received.request_id != answer.request_id:
            raise _Different("the answer is to another request")
        if desk.books.request(key) is not None:
            return 0
        operation = received.item.operation if received.item else ""
        if not answer.redemption_id:
            if not answer.HasField("refusal") or RefusalReason(answer.refusal.reason).consumes_request_id:
                batch_id = received.batch.id if received.batch else None
                desk.books.keep_batch(received.batch)
                stored = StoredAnswer(received.body_hash, signed.answer, None, operation, batch_id)
                desk.books.answer(key, stored, answer.decided_at)
            return 1
        if answer.HasField("posting") and answer.posting.window != desk.window:
            raise _Different(f"was posted in window {answer.posting.window}, {desk.window} is open")
        desk.at = answer.decided_at
        if over and not answer.HasField("refusal"):
            desk.end_hold(received)
        reply = decide(received, desk.books, desk)
        if isinstance(reply, Elsewhere):
            raise _NotYet("its voucher or redemption is not in custody here")
        if reply.content != signed.answer:
            raise _Different("is decided otherwise now than it was answered")
        return 1

    def _post_again(self, desk: RecoveryDesk, each: Waiting, over: bool) -> int:
        """Decide what an issuer was told of and the redeeming node has no answer to."""
        told, received = each.receipt.told, each.received
        table, key = custodian_schema.posting, (told.redemption_id, told.number)
        if told.issuer != each.region:
            raise _Different(f"is of {told.issuer}'s vouchers")
        if rows := desk.transaction.select_keys(table, [table.c.redemption_id, table.c.number], [key]):
            if (rows[0].order_fen, rows[0].discount_fen) != (told.order_fen, told.discount_fen):
                raise _Different("is posted otherwise now than it was told")
            return 0
        if received is None:
            raise _Different("its redeeming node does not ask for it any more")
        if desk.books.request((received.participant, received.request_id)) is not None:
            raise _Different("its request was answered otherwise")
        if told.window != desk.window:
            raise _Different(f"was posted in window {told.window}, {desk.window} is open")
        desk.at = told.at
        if over:
            desk.end_hold(received)
        reply = decide(received, desk.books, desk)
        if isinstance(reply, Elsewhere):
            raise _NotYet("its voucher or redemption is not in custody here")
        posting = redemption_pb2.RedemptionAnswer.FromString(reply.content).posting
        posting.request_id = told.request_id
        posting.ClearField("state")
        if posting != told:
            raise _Different("is decided otherwise now than it was told")
        return 1

    def _verify(self, message: signed_pb2.SignedMessage, kind: str, owner: str) -> None:
        key = self.keyring.verify(message.key_id, kind, message.body, message.signature)
        if key.owner != owner or key.purpose != ("terms" if kind == "terms" else "message"):
            raise BadSignature(f"{kind} of {owner} is signed by {key.owner}'s key for {key.purpose}")

    def _verify_answer(self, signed: custody_pb2.AnsweredItem) -> None:
        message = Message(ANSWER_KIND, signed.answer, signed.hashes, signed.key_id, signed.signature)
        key = self.keyring.verify(signed.key_id, ANSWER_KIND, message.digest, signed.signature)
        if key.owner != CLEARINGHOUSE or key.purpose != "message" or message.position < 0:
            raise BadSignature(f"an answer is signed by {key.owner}'s key for {key.purpose}")

    def _dispute(self, each: Waiting, reason: str, report: recovery_pb2.RecoveryReport) -> None:
        """Report it, and have its region take back the posting that nothing here stands behind."""
        report.disputed.add(region=each.region, id=each.id.hex(), reason=reason)
        if posting := _posting_of(each.receipt):
            with self.database.transaction() as transaction:
                desk = self._engine.desk(transaction)
                desk.tell(each.region, withdrawn=posting)
                desk.save("recovery", each.region)
            self._bury(posting, reason)

    def _bury(self, posting: redemption_pb2.Posting, reason: str) -> None:
        """A voucher that somebody was told is captured is never spent again, whoever has it now."""
        key = VoucherKey(posting.issuer, posting.pack_id, posting.index)
        with self.database.transaction() as transaction:
            desk = self._engine.desk(transaction)
            voucher = desk.books.voucher(key)
            if voucher is None or not in_custody(voucher, CLEARINGHOUSE) or voucher.status == custody.HELD:
                _suspend(desk, key, reason)
            elif voucher.status == custody.USABLE:
                desk.books.put_voucher(voucher._replace(status=custody.CANCELLED))
            desk.save("recovery", posting.issuer)


def _posting_of(receipt: custody_pb2.Receipt) -> redemption_pb2.Posting | None:
    """The capture or refund that a receipt shows, if any."""
    if receipt.HasField("told"):
        return receipt.told
    answer = redemption_pb2.RedemptionAnswer.FromString(receipt.answered.answer)
    return answer.posting if answer.HasField("posting") else None


def _posting_id(posting: redemption_pb2.Posting) -> bytes:
    return posting.redemption_id + posting.number.to_bytes(4, "big")


def _suspend(desk: Desk, key: VoucherKey, reason: str) -> None:
    """Keep a disputed voucher from being spent: with its issuer, which lost that it gave it, or once its hold ends."""
    subject = voucher_subject(key)
    if desk.suspensions.find(SuspensionKind.VOUCHER, subject) is None:
        why = f"恢复时有争议 disputed in the recovery: {reason}"
        Suspend(SuspensionKind.VOUCHER, subject, True, RECOVERY, why).decide(desk)


def _last_hand_over(transaction: Transaction, region: str) -> int:
    return transaction.rows(_LAST_HAND_OVER, region=region)[0].last or 0


def _id_of(receipt: custody_pb2.Receipt) -> bytes:
    """What names a receipt within its region and kind."""
    kind = receipt.WhichOneof("receipt")
    if kind == "answered":
        return wire.answer_request_id(receipt.answered.answer)
    if kind == PENDING:
        return wire.request_id_of(receipt.pending)
    if kind in ("told", WITHDRAWN):
        return _posting_id(getattr(receipt, kind))
    message: signed_pb2.SignedMessage = getattr(receipt, str(kind))
    return message.signature[:16]
