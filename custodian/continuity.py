"""Whether a party's books go on from what it answered; while they do not, it answers nothing until it has recovered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any, TypeVar

from chassis import telemetry
from chassis.database import Transaction
from custodian import schema
from custodian.lineage import Lineage, Mark, RecoveryNeeded
from quanlian.errors import InvalidInput
from quanlian.v1 import recovery_pb2

_log = telemetry.logger("recovery")
Result = TypeVar("Result")


class Continuity:
    """`remedy` is the command that recovers this party.

    `broken` is what whoever asks is told while it must be recovered, `why` the reason in both languages; both empty
    while it need not.
    """

    def __init__(self, remedy: str) -> None:
        self.broken = self.why = ""
        self.lineage: Lineage | None = None
        self.remedy = remedy
        self._serving = asyncio.Event()
        self._serving.set()
        self._streams: dict[asyncio.Future[Any], None] = {}
        """In the order in which they began, so that a schedule is played alike every time."""

    def begin(self, lineage: Lineage) -> None:
        """Number the database's commits, unless it is an older copy than the one that was answered from."""
        self.lineage = lineage
        lineage.on_set_back = self.breaks
        if not lineage.begin():
            self.breaks(lineage.why)

    def breaks(self, why: str) -> RecoveryNeeded:
        """The database is an older copy: nothing is answered from now on. Returns what to tell who asks."""
        needed = RecoveryNeeded(why, self.remedy)
        self.broken, self.why = str(needed), why
        self._serving.clear()
        for stream in tuple(self._streams):
            with contextlib.suppress(RuntimeError):  # its loop is closed
                stream.get_loop().call_soon_threadsafe(stream.cancel)
        if self.lineage is not None:
            self.lineage.mark_as_behind(why)
        _log.error("recovery is needed", why=why, remedy=self.remedy)
        return needed

    def require(self) -> None:
        """Raises RecoveryNeeded, also where another process of this party found that it must be recovered."""
        if not self.broken and self.lineage is not None and (why := self.lineage.flagged()):
            raise self.breaks(why)
        if self.broken:
            raise RecoveryNeeded(self.why, self.remedy)

    def look(self, transaction: Transaction) -> None:
        """Raises RecoveryNeeded where the database was set back while the party runs, also where nothing is written.

        The transaction must not have read anything yet.
        """
        if self.lineage is not None:
            self.lineage.look(transaction)

    def require_broken(self) -> Lineage:
        """Raises InvalidInput where nothing needs to be recovered."""
        if not self.broken or self.lineage is None:
            raise InvalidInput("无须恢复 · nothing needs to be recovered", place="recovery")
        return self.lineage

    def require_newest(self, peer: str, heard: int) -> None:
        """Raises RecoveryNeeded where a peer has heard of a later incarnation of this party than it is in."""
        if heard > self.incarnation:
            raise self.breaks(
                f"{peer} 已知本方第 {heard} 代，数据库为第 {self.incarnation} 代 · "
                f"{peer} has heard of its incarnation {heard}, and it is in {self.incarnation}"
            )

    async def until_serving(self) -> None:
        """Returns once the party need not be recovered."""
        await self._serving.wait()

    async def while_serving(self, stream: Awaitable[Result]) -> Result:
        """What a stream gives, ended where the party breaks: what it has passed on may not be in the database any more.

        Raises RecoveryNeeded then.
        """
        task = asyncio.ensure_future(stream)
        self._streams[task] = None
        if self.broken:
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            asked = asyncio.current_task()
            if self.broken and not (asked and asked.cancelling()):
                raise RecoveryNeeded(self.why, self.remedy) from None
            raise
        finally:
            self._streams.pop(task, None)

    @property
    def incarnation(self) -> int:
        """Which life of the database this is; 1 where nobody counts."""
        return self.lineage.known.incarnation if self.lineage else 1

    async def go_on(self, report: recovery_pb2.RecoveryReport) -> None:
        """Begin a new incarnation, now that the books are recovered, keep its report, and serve again."""
        lineage = self.require_broken()
        report.lost_commits, report.last_commit_at = lineage.lost_commits, lineage.restored.at

        def keep(transaction: Transaction, mark: Mark) -> None:
            report.incarnation, report.recovered_at = mark.incarnation, mark.at
            row = {"incarnation": mark.incarnation, "report": report.SerializeToString()}
            transaction.upsert(schema.recovery_report, [row])

        await asyncio.to_thread(lineage.renew, keep)
        self.broken = self.why = ""
        self._serving.set()
