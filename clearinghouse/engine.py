"""The clearinghouse's group commit, and the steps that are transactions of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, cast

from chassis.commit import GroupCommit
from chassis.database import Database, Transaction
from clearinghouse.capturing import Payments, Run
from clearinghouse.desk import Desk, Shelf, Work
from clearinghouse.domain.cutoff import is_due
from clearinghouse.redeeming import Redeem
from clearinghouse.windows import Close
from custodian.continuity import Continuity
from custodian.overdue import decide_after_passed_holds
from quanlian.signing import Signer, Verifier


class Engine:
    """Everything that writes the clearinghouse's books, and the bell that rings when a feed grew.

    `commit` runs the group commit: this machine's, unless a simulation brings its own.
    """

    def __init__(
        self,
        database: Database,
        signer: Signer,
        verifier: Verifier,
        continuity: Continuity,
        cut_off: tuple[int, int] | None = None,
        commit: Callable[..., GroupCommit[Work, Any]] = GroupCommit,
    ) -> None:
        self.database = database
        self.signer = signer
        self.shelf = Shelf(verifier)
        self._payments = Payments()
        self.group = commit(self.decide, name="clearinghouse")
        self._continuity = continuity
        self._cut_off = cut_off
        self._news: dict[str, asyncio.Event] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin deciding, for callers on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self.group.start()

    def desk(self, transaction: Transaction) -> Desk:
        return Desk(transaction, self.shelf, self.signer)

    def decide(self, works: list[Work]) -> list[Any]:
        """A batch of the group commit. Raises RecoveryNeeded."""
        self._continuity.require()
        return decide_after_passed_holds(self._decide_together, works)

    def _decide_together(self, works: Sequence[Work]) -> list[Any]:
        with self.database.transaction() as transaction:
            desk = self.desk(transaction)
            self._close_overdue(desk)
            for work in works:
                work.load(desk)
            desk.fetch()
            results = self._results(desk, works)
            desk.save()
        self._announce(desk.told)
        return results

    def _results(self, desk: Desk, works: Sequence[Work]) -> list[Any]:
        """In their order; redemptions that follow one another are decided together (clearinghouse/capturing.py)."""
        results: list[Any] = []
        for kind, run in groupby(works, type):
            if kind is Redeem:
                results += Run(desk, self._payments).decide(cast("list[Redeem]", list(run)))
            else:
                results += [work.decide(desk) for work in run]
        return results

    async def close_if_due(self) -> None:
        """Close the open window if its cut-off has come. A look tells that it has not, without a commit; that it has is
        judged where it is closed: meanwhile a batch or another process may have done it.
        """

        def run() -> None:
            with self.database.snapshot() as transaction:
                overdue = self._is_overdue(self.desk(transaction))
            if overdue:
                self._close_if_due()

        await self.database.write(run)

    def _is_overdue(self, desk: Desk) -> bool:
        return is_due(desk.window_opened_at, desk.at, self._cut_off)

    async def step(self, work: Work, kind: str, window: int | None, reference: str = "") -> Any:
        """One work in a transaction of its own, so that its fault concerns nobody else; window None: the open one.

        A cut-off that has come closes its window first.
        """

        def run() -> Any:
            if not isinstance(work, Close):
                self._close_if_due()
            with self.database.transaction() as transaction:
                desk = self.desk(transaction)
                result = work.decide(desk)
                desk.save(kind, reference, window)
            self._announce(desk.told)
            return result

        return await self.database.write(run)

    def _close_if_due(self) -> None:
        if self._continuity.broken:
            return
        with self.database.transaction() as transaction:
            desk = self.desk(transaction)
            if self._close_overdue(desk):
                desk.save("close", window=0)
        self._announce(desk.told)

    def _close_overdue(self, desk: Desk) -> bool:
        """Whether the open window's cut-off had come, and so it was closed."""
        overdue = self._is_overdue(desk)
        if overdue:
            Close(desk.window).decide(desk)
        return overdue

    async def write(self, store: Callable[[Transaction], Any]) -> None:
        """What needs no desk, in a transaction of its own."""

        def run() -> None:
            with self.database.transaction() as transaction:
                store(transaction)

        await self.database.write(run)

    def news_of(self, region: str) -> asyncio.Event:
        """Set when a region's feed grew."""
        return self._news.setdefault(region, asyncio.Event())

    def _announce(self, told: set[str]) -> None:
        """Wake the followers of the feeds that grew; from any thread."""
        if told and self._loop is not None:
            for region in sorted(told):
                self._loop.call_soon_threadsafe(self.news_of(region).set)
