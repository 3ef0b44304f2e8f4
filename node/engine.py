"""The node's group commit: all works of a batch over one desk, in one durable transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from chassis.commit import GroupCommit
from chassis.database import Database, Query
from custodian.batching import decide_apart, raised
from custodian.continuity import Continuity
from node.desk import Desk, Region, TermsShelf, Work


def decide_batch(database: Database, region: Region, shelf: TermsShelf, works: Sequence[Work]) -> list[Any]:
    """Load → decide in order → seal packs → commit; returns each work's result."""
    with database.transaction() as transaction:
        desk = Desk(transaction, region, shelf)
        for work in works:
            work.load(desk)
        desk.fetch()
        results = [work.decide(desk) for work in works]
        for seal in desk.sealing:
            seal()
        desk.save()
    return [result() if callable(result) else result for result in results]


class Engine:
    """A node's books with the group commit that writes them.

    `commit` runs the group commit: this machine's, unless a simulation brings its own.
    """

    def __init__(
        self,
        database: Database,
        region: Region,
        continuity: Continuity,
        commit: Callable[..., GroupCommit[Work, Any]] = GroupCommit,
    ) -> None:
        self.database = database
        self.region = region
        self.shelf = TermsShelf()
        self.group = commit(self.decide, name=f"node {region.code}")
        self._continuity = continuity

    def decide(self, works: list[Work]) -> list[Any]:
        """A batch of the group commit. Raises RecoveryNeeded."""
        self._continuity.require()
        return decide_apart(self.decide_together, works)

    def decide_together(self, works: Sequence[Work]) -> list[Any]:
        """One transaction, whatever this party answers at present."""
        return decide_batch(self.database, self.region, self.shelf, works)

    async def submit(self, work: Work) -> Any:
        """Decide one work with the next batch. Raises what it raises."""
        return raised(await self.group.submit(work))

    async def read(self, query: Any) -> Sequence[Any]:
        """The rows of one SELECT."""

        def run() -> Sequence[Any]:
            with self.database.snapshot() as transaction:
                return transaction.connection.execute(query).all()

        return await asyncio.to_thread(run)

    async def rows(self, query: Query, **values: Any) -> Sequence[Any]:
        """The rows of one query with these values for its parameters."""

        def run() -> Sequence[Any]:
            with self.database.snapshot() as transaction:
                return transaction.rows(query, **values)

        return await asyncio.to_thread(run)
