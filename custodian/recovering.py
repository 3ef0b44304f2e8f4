"""A party's recovery as a job of its own: one at a time, whoever asks, and its report kept for whoever asks later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from chassis import telemetry
from chassis.database import Database, Query
from custodian import schema
from custodian.continuity import Continuity
from quanlian.errors import InvalidInput
from quanlian.v1 import recovery_pb2

ASK_AGAIN_SECONDS = 1
"""How long an operator's call waits for a recovery before it is told how far that is."""

_ALL = Query(schema.recovery_report.select().order_by(schema.recovery_report.c.incarnation))
_log = telemetry.logger("recovery")


class Recovering:
    """Runs a recovery to its end even when those who asked for it do not stay; `done` and `total` say how far it is."""

    def __init__(self, database: Database, continuity: Continuity) -> None:
        self.done = self.total = 0
        self._database = database
        self._continuity = continuity
        self._job: asyncio.Task[recovery_pb2.RecoveryReport] | None = None

    async def report(
        self,
        recover: Callable[[], Coroutine[Any, Any, recovery_pb2.RecoveryReport]],
        within: int | None = None,
    ) -> recovery_pb2.RecoveryReport | None:
        """What `recover` gives, begun unless it is under way already; None where that takes more than `within` seconds.

        Once it is done, the report of the recovery that began this incarnation, however often it is asked for. Raises
        what `recover` raises, and InvalidInput where nothing needs it and nothing was recovered.
        """
        if not self._under_way():
            if not self._continuity.broken:
                return await self._kept()
            self.done = self.total = 0
            self._job = asyncio.ensure_future(recover())
            self._job.add_done_callback(_log_failure)
        job = self._job
        assert job is not None
        await asyncio.wait({job}, timeout=within)
        return job.result() if job.done() else None

    def state(self) -> recovery_pb2.RecoveryState:
        """Why the party needs recovery, if it does, what its operator can do, and how far that is."""
        state = recovery_pb2.RecoveryState(why=self._continuity.why)
        if state.why:
            state.remedy = self._continuity.remedy
            state.under_way = self._under_way()
            state.done, state.total = self.done, self.total
        return state

    async def kept(self, incarnation: int) -> tuple[recovery_pb2.RecoveryReport | None, list[int]]:
        """The report of the recovery that began an incarnation (0: the latest), and what recoveries there were.

        Raises InvalidInput for an incarnation that no recovery began.
        """

        def load() -> tuple[recovery_pb2.RecoveryReport | None, list[int]]:
            with self._database.snapshot() as transaction:
                rows = transaction.rows(_ALL)
            found = {row.incarnation: row.report for row in rows}
            if incarnation and incarnation not in found:
                raise InvalidInput(
                    f"没有开始第 {incarnation} 代的恢复 · no recovery began incarnation {incarnation}",
                    place="recovery",
                    remedy=f"可写 · name one of {', '.join(map(str, found)) or 'none'}",
                )
            newest = found.get(incarnation or max(found, default=0))
            report = recovery_pb2.RecoveryReport.FromString(newest) if newest is not None else None
            return report, list(found)

        return await self._database.read(load)

    async def _kept(self) -> recovery_pb2.RecoveryReport:
        report, _ = await self.kept(0)
        if report is None or report.incarnation != self._continuity.incarnation:
            raise InvalidInput("无须恢复 · nothing needs to be recovered", place="recovery")
        return report

    def _under_way(self) -> bool:
        return self._job is not None and not self._job.done()


def _log_failure(job: asyncio.Task[recovery_pb2.RecoveryReport]) -> None:
    if not job.cancelled() and (error := job.exception()) is not None:
        _log.warning("the recovery was not ended", error=str(error))
