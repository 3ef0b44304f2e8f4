"""A clearinghouse whose database was restored from a backup learns again what its nodes hold.

Hand-overs, returns and answers are signed. What this party signed is booked as it was signed. Where the redeeming node
never had the answer and the issuer's has the posting, the request that still waits is decided again under the
posting's id and at its time, and must give that posting. What cannot be booked is disputed: its voucher is dead, and
issuer and redeeming region are told by their feeds to take it back. Every receipt fails by itself; nothing but a
database that does not answer ends a recovery.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy import bindparam, func, select

from chassis import telemetry
from chassis.database import Query, Transaction
from clearinghouse import schema
from clearinghouse.engine import Engine
from clearinghouse.feed_heads import head_of
from clearinghouse.lacking import Reliance
from clearinghouse.relearning import DOCUMENTS, IN_TIME, Contradicted, Relearning, Waiting, groups, id_of, order_of
from clearinghouse.withdrawing import Withdrawing, reason_of
from custodian.books import last_numbers
from custodian.continuity import Continuity
from custodian.feed_heads import sign_head, verify_head
from custodian.incarnations import known, learn
from custodian.lineage import Lineage
from custodian.recovering import Recovering
from pki.trust import Keyring
from quanlian.errors import BadSignature, InvalidInput, QuanlianError, UnknownKey
from quanlian.v1 import custody_pb2, recovery_pb2, signed_pb2

_LAST_HAND_OVER = Query(
    select(func.max(schema.hand_over.c.number).label("last")).where(schema.hand_over.c.issuer == bindparam("region"))
)
_log = telemetry.logger("recovery")
PENDING, WITHDRAWN = "pending", "withdrawn"
"""Receipts that are not applied: what is asked for still, and what a recovery before this one had taken back."""
UNREADABLE = "unreadable"
PAGE = 100
"""Receipts that are read at once: those that nodes hand over may be more than the memory."""
Name = tuple[str, str, bytes]
"""Region, kind and id of a receipt."""


class Failure(NamedTuple):
    """Why a receipt was not applied, and whether the books have something else that stands."""

    reason: str
    contradicted: bool


class Recovery:
    """Takes receipts in, and applies them once all nodes have handed over theirs."""

    def __init__(self, engine: Engine, keyring: Keyring, continuity: Continuity) -> None:
        self.database = engine.database
        self.keyring = keyring
        self._engine = engine
        self._continuity = continuity
        self._told: set[str] = set()
        """Regions that have heard from here which incarnation is to come."""
        self.job = Recovering(engine.database, continuity)

    # Noticing

    def compare(self, region: str, theirs: custody_pb2.Position) -> custody_pb2.Position:
        """Where this party stands with a region. Raises RecoveryNeeded where the region shows that it has seen more of
        it, InvalidInput where it only says so.
        """
        shown = self._shown(region, theirs.head)
        with self.database.snapshot() as transaction:
            taken, newest = _last_hand_over(transaction, region), known(transaction, region)
            head = _head(transaction, region)
        if shown.sequence > head.sequence:
            raise self._continuity.breaks(
                f"{region} 已收第 {shown.sequence} 号通知，本方最后一号为 {head.sequence} · "
                f"{region} has event {shown.sequence} of its feed, {head.sequence} is the last here"
            )
        self._continuity.require_newest(region, shown.incarnation)
        if theirs.feed > head.sequence or theirs.peer_incarnation > self._continuity.incarnation:
            raise _disbelieved(
                region,
                f"所称通知第 {theirs.feed} 号、本方第 {theirs.peer_incarnation} 代未经本方签名证明 · "
                f"no signature of this party shows event {theirs.feed} or its incarnation {theirs.peer_incarnation}",
            )
        if theirs.incarnation > newest:
            newest = theirs.incarnation
            with self.database.transaction() as transaction:
                learn(transaction, region, newest)
        return custody_pb2.Position(
            incarnation=self._continuity.incarnation,
            hand_overs=taken,
            feed=head.sequence,
            peer_incarnation=newest,
            head=sign_head(head, self._engine.signer),
        )

    def _shown(self, region: str, message: signed_pb2.SignedMessage) -> custody_pb2.FeedHead:
        """How far the region has seen this party come, by what this party itself signed, now or in a former life.

        Nothing where the region was told nothing yet. Raises InvalidInput for what this party did not sign.
        """
        if not message.signature:
            return custody_pb2.FeedHead()
        try:
            return verify_head(message, region, self.keyring)
        except (UnknownKey, BadSignature) as error:
            raise _disbelieved(
                region, f"所示进度非本方所签 · it shows a head that this party did not sign: {error}"
            ) from error

    # Taking in

    async def hand_receipts(
        self, region: str, request: custody_pb2.HandReceiptsRequest
    ) -> custody_pb2.HandReceiptsResponse:
        """Take in what a node holds of this party, while it needs it; it hears which incarnation is to come of it.

        Raises InvalidInput for a head that this party did not sign.
        """
        lineage = self._continuity.lineage
        if not self._continuity.broken or lineage is None:
            return custody_pb2.HandReceiptsResponse(wanted=False)
        shown = self._shown(region, request.head)
        coming = lineage.coming(0 if region in self._told else shown.incarnation)
        self._told.add(region)
        if request.receipts or request.complete:
            await asyncio.to_thread(self._keep, region, request, shown, lineage.recovery)

        def load() -> custody_pb2.HandReceiptsResponse:
            with self.database.snapshot() as transaction:
                after, head = _last_hand_over(transaction, region), _head(transaction, region)
                complete = {row.region for row in _complete(transaction, lineage.recovery)}
            head.incarnation = coming
            head.sequence = max(head.sequence, shown.sequence)
            head.last_window = max(head.last_window, shown.last_window)
            return custody_pb2.HandReceiptsResponse(
                wanted=region not in complete,
                after_hand_over=after,
                since=lineage.restored.at,
                head=sign_head(head, self._engine.signer),
            )

        return await self.database.read(load)

    def _keep(
        self, region: str, request: custody_pb2.HandReceiptsRequest, shown: custody_pb2.FeedHead, mark: str
    ) -> None:
        """Store a node's receipts; what it signed or holds signed is checked when it is applied."""
        rows = [_row(region, each, mark) for each in request.receipts]
        once = {(row["kind"], row["id"]): row for row in rows}
        with self.database.transaction() as transaction:
            transaction.upsert(schema.receipt, list(once.values()))
            if request.complete:
                done = {"region": region, "feed": shown.sequence, "last_window": shown.last_window, "recovery": mark}
                transaction.upsert(schema.receipts_complete, [done])
                self._go_on_numbering(transaction, region, shown.sequence)

    def _go_on_numbering(self, transaction: Transaction, region: str, seen: int) -> None:
        """No number that a node has seen is given out again, nor missing to one that is an older copy itself."""
        desk = self._engine.desk(transaction)
        desk.pass_over_news(region, seen)
        desk.save("recovery", window=0)

    # Applying

    async def run(self, without: Sequence[str], dispute_lacking: bool = False) -> recovery_pb2.RecoveryReport:
        """Apply everything that was handed over, begin a new incarnation, and serve again.

        Where the books lack what receipts rely on, nothing is applied, and the report, which has no incarnation then,
        says what; with `dispute_lacking` the rest is applied, and they are disputed. Raises InvalidInput where nothing
        needs it, while a node's receipts are missing, and for a copy from before the close of a window.
        """
        lineage = self._continuity.require_broken()
        report = recovery_pb2.RecoveryReport()
        self._engine.shelf.clear()
        await asyncio.to_thread(self._learn, lineage, without, dispute_lacking, report)
        if report.lacking and not dispute_lacking:
            return report
        await self._continuity.go_on(report)
        await asyncio.to_thread(self._drop)
        self._told.clear()
        return report

    def state(self) -> recovery_pb2.RecoveryState:
        """Why this party needs recovery, if it does, and who has handed over what it holds."""
        state, lineage = self.job.state(), self._continuity.lineage
        if state.why and lineage is not None:
            with self.database.snapshot() as transaction:
                regions = {row.region for row in transaction.connection.execute(schema.participant.select())}
                complete = {row.region for row in _complete(transaction, lineage.recovery)}
            state.handed_over.extend(sorted(complete))
            state.missing.extend(sorted(regions - complete))
        return state

    def _learn(
        self, lineage: Lineage, without: Sequence[str], dispute_lacking: bool, report: recovery_pb2.RecoveryReport
    ) -> None:
        self._drop(
            schema.receipt.c.recovery != lineage.recovery, schema.receipts_complete.c.recovery != lineage.recovery
        )
        self._require_all(without, lineage.recovery)
        restored = lineage.restored.incarnation
        withdrawing = Withdrawing(self._engine, self.keyring, restored, lineage.coming())
        taken_back = withdrawing.learn(self._stored(WITHDRAWN), report)
        pending = {(row.region, row.id): _pending(row) for row in self._stored(PENDING)}
        relearning = Relearning(self._engine, self.keyring, pending, taken_back, restored)
        names = self._in_order()
        reliance = Reliance(self._engine, self.keyring, taken_back)
        for page in self._pages(relearning, names):
            reliance.count(page)
        report.lacking.extend(reliance.lacking())
        if report.lacking and not dispute_lacking:
            return
        self.job.total = len(names)
        failures = self._apply_all(relearning, names, report)
        for each in chain.from_iterable(self._pages(relearning, list(failures))):
            withdrawing.dispute(each, *failures[each.name], report)
        for row in self._stored(UNREADABLE):
            report.disputed.add(
                region=row.region, id=row.id.hex(), reason="凭据无法读出 · is a receipt that cannot be read"
            )
        withdrawing.keep_dead(taken_back.values(), report)

    def _apply_all(
        self, relearning: Relearning, names: Sequence[Name], report: recovery_pb2.RecoveryReport
    ) -> dict[Name, Failure]:
        """Apply what can be, again and again, for one depends on another; returns the rest, each with why not.

        Once nothing goes on, holds that stand in the way of what was answered after them count as over.
        """
        over = False
        while names:
            left: dict[Name, Failure] = {}
            for page in self._pages(relearning, names):
                for group in groups(page):
                    left |= self._apply(relearning, group, over, report)
            stuck = len(left) == len(names)
            if stuck and over:
                return left
            names, over = list(left), stuck
        return {}

    def _apply(
        self, relearning: Relearning, group: Sequence[Waiting], over: bool, report: recovery_pb2.RecoveryReport
    ) -> dict[Name, Failure]:
        """Together; where that fails one by one, for each fails by itself. Returns those that do, with why."""
        try:
            relearning.apply(group, over, report)
            self.job.done += len(group)
        except Exception as error:
            failure = Failure(reason_of(error), isinstance(error, Contradicted))
            if len(group) == 1:
                return {group[0].name: failure}
            alone = [self._apply(relearning, [each], over, report) for each in group]
            return {name: why for each in alone for name, why in each.items()}
        return {}

    def _in_order(self) -> list[Name]:
        """What is to be applied, in the order in which it is tried."""
        table = schema.receipt
        query = select(table.c.region, table.c.kind, table.c.id, table.c.at)
        query = query.where(table.c.kind.in_((*DOCUMENTS, *IN_TIME)))
        with self.database.snapshot() as transaction:
            rows = transaction.connection.execute(query).all()
        return [(row.region, row.kind, row.id) for row in sorted(rows, key=order_of)]

    def _pages(self, relearning: Relearning, names: Sequence[Name]) -> Iterator[list[Waiting]]:
        table = schema.receipt
        columns = [table.c.region, table.c.kind, table.c.id]
        for start in range(0, len(names), PAGE):
            page = names[start : start + PAGE]
            with self.database.snapshot() as transaction:
                rows = {(row.region, row.kind, row.id): row for row in transaction.select_keys(table, columns, page)}
            yield [relearning.read(rows[name]) for name in page]

    def _drop(self, receipts: Any = None, complete: Any = None) -> None:
        """Forget receipts: those of another recovery, which a copy brought along that was made during it, or all."""
        with self.database.transaction() as transaction:
            for table, which in ((schema.receipt, receipts), (schema.receipts_complete, complete)):
                statement = table.delete() if which is None else table.delete().where(which)
                transaction.connection.execute(statement)

    def _require_all(self, without: Sequence[str], mark: str) -> None:
        with self.database.snapshot() as transaction:
            regions = {row.region for row in transaction.connection.execute(schema.participant.select())}
            complete = _complete(transaction, mark)
            open_window = self._engine.desk(transaction).window
        missing = sorted(regions - {row.region for row in complete} - set(without))
        if missing:
            raise InvalidInput(
                f"{'、'.join(missing)} 尚未交回所持记录 · {', '.join(missing)} have not handed over what they hold",
                place="recovery",
                remedy="启动其节点，或以 --without 略过 · start their nodes, or name them with --without",
            )
        ahead = [row for row in complete if row.last_window >= open_window and row.region not in without]
        if ahead:
            raise InvalidInput(
                f"{ahead[0].region} 已获知场次{ahead[0].last_window}截止，此处场次{open_window}尚未截止 · "
                f"{ahead[0].region} was told that window {ahead[0].last_window} is closed, and here {open_window} is "
                "open",
                place="recovery",
                remedy="改用该场次截止后的备份 · restore a backup from after that window was closed",
            )

    def _stored(self, *kinds: str) -> list[Any]:
        table = schema.receipt
        with self.database.snapshot() as transaction:
            return list(transaction.connection.execute(table.select().where(table.c.kind.in_(kinds))).all())


def _head(transaction: Transaction, region: str) -> custody_pb2.FeedHead:
    (last,) = last_numbers(transaction, f"feed/{region}")
    return head_of(transaction, region, last)


def _disbelieved(region: str, why: str) -> InvalidInput:
    """A fault of that region alone: the others go on, and so does this party."""
    _log.error("a region's word is not believed", region=region, why=why)
    return InvalidInput(why, place=region)


def _complete(transaction: Transaction, mark: str) -> list[Any]:
    """Who has handed over everything in this recovery."""
    table = schema.receipts_complete
    return list(transaction.connection.execute(table.select().where(table.c.recovery == mark)).all())


def _row(region: str, receipt: custody_pb2.Receipt, mark: str) -> dict[str, Any]:
    body = receipt.SerializeToString()
    try:
        kind, id = str(receipt.WhichOneof("receipt")), id_of(receipt)
    except QuanlianError:
        kind, id = UNREADABLE, hashlib.sha256(body).digest()[:16]
    return {"region": region, "id": id, "kind": kind, "at": receipt.at, "body": body, "recovery": mark}


def _pending(row: Any) -> bytes:
    return custody_pb2.Receipt.FromString(row.body).pending


def _last_hand_over(transaction: Transaction, region: str) -> int:
    return transaction.rows(_LAST_HAND_OVER, region=region)[0].last or 0
