"""The node's group commit: all works of a batch over one desk, in one durable transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from chassis.commit import GroupCommit, Overloaded
from chassis.database import Database, Query
from custodian.batching import raised
from custodian.continuity import Continuity
from custodian.overdue import decide_after_passed_holds
from node.claiming import Claim, ClaimBatch, claims_of
from node.desk import Desk, Region, TermsShelf, Work

LOOKED_AT = 20_000
"""Claims of rounds that are sold out that may be looked at and not answered yet; the rest is turned away."""


def decide_batch(database: Database, region: Region, shelf: TermsShelf, works: Sequence[Work | Claim]) -> list[Any]:
    """Load → decide in order → seal packs → commit; returns each work's result.

    Claims that follow one another are decided together (node/claiming.py).
    """
    with database.transaction() as transaction:
        desk = Desk(transaction, region, shelf)
        runs = [(kind is Claim, list(run)) for kind, run in groupby(works, type)]
        for are_claims, run in runs:
            _load(desk, run, are_claims)
        desk.fetch()
        results = [result for are_claims, run in runs for result in _decide(desk, run, are_claims)]
        for seal in desk.sealing:
            seal()
        desk.save()
    return [result() if callable(result) else result for result in results]


def _load(desk: Desk, run: Sequence[Any], are_claims: bool) -> None:
    if are_claims:
        claims_of(desk).expect(run)
    else:
        for work in run:
            work.load(desk)


def _decide(desk: Desk, run: Sequence[Any], are_claims: bool) -> Sequence[Any]:
    return claims_of(desk).decide(run) if are_claims else [work.decide(desk) for work in run]


class Engine:
    """A node's books with the group commit that writes them.

    `commit` runs the group commit: this machine's, unless a simulation brings its own.
    """

    def __init__(
        self,
        database: Database,
        region: Region,
        continuity: Continuity,
        commit: Callable[..., GroupCommit[Work | Claim, Any]] = GroupCommit,
    ) -> None:
        self.database = database
        self.region = region
        self.shelf = TermsShelf()
        self.group = commit(self.decide, name=f"node {region.code}")
        self._continuity = continuity
        self._looking = 0

    def decide(self, works: list[Work | Claim]) -> list[Any]:
        """A batch of the group commit. Raises RecoveryNeeded."""
        self._continuity.require()
        return decide_after_passed_holds(self.decide_together, works)

    def decide_together(self, works: Sequence[Work | Claim]) -> list[Any]:
        """One transaction, whatever this party answers at present."""
        return decide_batch(self.database, self.region, self.shelf, works)

    async def look(self, claims: Sequence[Claim]) -> list[bytes | None]:
        """The answers of claims that need no commit (`ClaimBatch.look`), by the books as they stand; None for others.

        Raises Overloaded at once where too many are being looked at, RecoveryNeeded.
        """
        self._continuity.require()
        if self._looking + len(claims) > LOOKED_AT:
            raise Overloaded(
                f"node {self.region.code}: {self._looking} claims are waiting — send the same request again later"
            )
        self._looking += len(claims)
        try:
            return await self.database.read(self._look, claims)
        finally:
            self._looking -= len(claims)

    def _look(self, claims: Sequence[Claim]) -> list[bytes | None]:
        with self.database.snapshot() as transaction:
            desk = Desk(transaction, self.region, self.shelf)
            batch = ClaimBatch(desk)
            batch.expect(claims)
            desk.books.fetch()  # nothing is written: no numbers are needed
            return batch.look(claims)

    async def submit(self, work: Work) -> Any:
        """Decide one work with the next batch. Raises what it raises."""
        return raised(await self.group.submit(work))

    async def read(self, query: Any) -> Sequence[Any]:
        """The rows of one SELECT."""

        def run() -> Sequence[Any]:
            with self.database.snapshot() as transaction:
                return transaction.connection.execute(query).all()

        return await self.database.read(run)

    async def rows(self, query: Query, **values: Any) -> Sequence[Any]:
        """The rows of one query with these values for its parameters."""

        def run() -> Sequence[Any]:
            with self.database.snapshot() as transaction:
                return transaction.rows(query, **values)

        return await self.database.read(run)
