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
from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, func, select

from chassis.database import Query, Transaction
from clearinghouse import schema
from clearinghouse.engine import Engine
from clearinghouse.relearning import DOCUMENTS, IN_TIME, Relearning, Waiting, id_of, order_of
from clearinghouse.withdrawing import Withdrawing, reason_of
from custodian.books import Books
from custodian.continuity import Continuity
from custodian.incarnations import known, learn
from custodian.lineage import Lineage
from custodian.recovering import Recovering
from pki.trust import Keyring
from quanlian.errors import InvalidInput, QuanlianError
from quanlian.v1 import custody_pb2, recovery_pb2

_LAST_HAND_OVER = Query(
    select(func.max(schema.hand_over.c.number).label("last")).where(schema.hand_over.c.issuer == bindparam("region"))
)
PENDING, WITHDRAWN = "pending", "withdrawn"
"""Receipts that are not applied: what is asked for still, and what a recovery before this one had taken back."""
UNREADABLE = "unreadable"


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
            await asyncio.to_thread(self._keep, region, request, _mark(lineage))

        def load() -> custody_pb2.HandReceiptsResponse:
            with self.database.snapshot() as transaction:
                after = _last_hand_over(transaction, region)
                complete = {row.region for row in _complete(transaction, _mark(lineage))}
            return custody_pb2.HandReceiptsResponse(
                wanted=region not in complete, after_hand_over=after, since=lineage.restored.at, incarnation=coming
            )

        return await asyncio.to_thread(load)

    def _keep(self, region: str, request: custody_pb2.HandReceiptsRequest, mark: str) -> None:
        """Store a node's receipts; what it signed or holds signed is checked when it is applied."""
        rows = [_row(region, each, mark) for each in request.receipts]
        once = {(row["kind"], row["id"]): row for row in rows}
        with self.database.transaction() as transaction:
            transaction.upsert(schema.receipt, list(once.values()))
            if request.complete:
                done = {"region": region, "feed": request.feed, "last_window": request.last_window, "recovery": mark}
                transaction.upsert(schema.receipts_complete, [done])
                self._go_on_numbering(transaction, region, request.feed)

    def _go_on_numbering(self, transaction: Transaction, region: str, seen: int) -> None:
        """No number that a node has seen is given out again, nor missing to one that is an older copy itself."""
        desk = self._engine.desk(transaction)
        while desk.books.counter(f"feed/{region}") < seen:
            desk.tell(region, forgotten=True)
        desk.save("recovery", window=0)

    # Applying

    async def run(self, without: Sequence[str]) -> recovery_pb2.RecoveryReport:
        """Apply everything that was handed over, begin a new incarnation, and serve again.

        Raises InvalidInput where nothing needs it, while a node's receipts are missing, and for a copy from before the
        close of a window.
        """
        lineage = self._continuity.require_broken()
        report = recovery_pb2.RecoveryReport()
        await asyncio.to_thread(self._learn, lineage, without, report)
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
                complete = {row.region for row in _complete(transaction, _mark(lineage))}
            state.handed_over.extend(sorted(complete))
            state.missing.extend(sorted(regions - complete))
        return state

    def _learn(self, lineage: Lineage, without: Sequence[str], report: recovery_pb2.RecoveryReport) -> None:
        self._drop(schema.receipt.c.recovery != _mark(lineage), schema.receipts_complete.c.recovery != _mark(lineage))
        self._require_all(without, _mark(lineage))
        restored = lineage.restored.incarnation
        withdrawing = Withdrawing(self._engine, self.keyring, restored, lineage.coming())
        taken_back = withdrawing.learn(self._stored(WITHDRAWN), report)
        pending = {(row.region, row.id): _pending(row) for row in self._stored(PENDING)}
        relearning = Relearning(self._engine, self.keyring, pending, taken_back, restored)
        waiting = [relearning.read(row) for row in sorted(self._stored(*DOCUMENTS, *IN_TIME), key=order_of)]
        self.job.total = len(waiting)
        for each, why in self._apply_all(relearning, waiting, report):
            withdrawing.dispute(each, why, report)
        for row in self._stored(UNREADABLE):
            report.disputed.add(region=row.region, id=row.id.hex(), reason="is a receipt that cannot be read")
        withdrawing.keep_dead(taken_back.values(), report)

    def _apply_all(
        self, relearning: Relearning, waiting: Sequence[Waiting], report: recovery_pb2.RecoveryReport
    ) -> list[tuple[Waiting, Exception]]:
        """Apply what can be, again and again, for one depends on another; returns the rest, each with why not.

        Once nothing goes on, holds that stand in the way of what was answered after them count as over.
        """
        waiting, over = list(waiting), False
        while waiting:
            left: list[tuple[Waiting, Exception]] = []
            for each in waiting:
                try:
                    relearning.apply(each, over, report)
                    self.job.done += 1
                except Exception as error:
                    reason_of(error)
                    left.append((each, error))
            stuck = len(left) == len(waiting)
            if stuck and over:
                return left
            waiting, over = [each for each, _ in left], stuck
        return []

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
                f"{', '.join(missing)} have not handed over what they hold",
                place="recovery",
                remedy="start their nodes, or name them with --without",
            )
        ahead = [row for row in complete if row.last_window >= open_window and row.region not in without]
        if ahead:
            raise InvalidInput(
                f"{ahead[0].region} holds a statement of window {ahead[0].last_window}, and here {open_window} is open",
                place="recovery",
                remedy="restore a backup from after that window was closed",
            )

    def _stored(self, *kinds: str) -> list[Any]:
        table = schema.receipt
        with self.database.snapshot() as transaction:
            return list(transaction.connection.execute(table.select().where(table.c.kind.in_(kinds))).all())


def _mark(lineage: Lineage) -> str:
    """Names one recovery: how far the party had come, by the file beside its keys, when its copy was found behind."""
    return f"{lineage.known.incarnation}/{lineage.known.commits}"


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
