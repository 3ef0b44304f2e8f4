"""What this region decided and every party must know: told to the clearinghouse until it has it."""

from __future__ import annotations

import asyncio

from sqlalchemy import select

from chassis.database import Query
from custodian import schema as custodian_schema
from custodian.campaigns import Campaigns, SignedChange
from custodian.suspensions import SignedSuspension, Suspensions
from node import schema
from node.engine import Engine
from node.ports import Clearinghouse
from quanlian.v1 import signed_pb2

ANNOUNCED = "suspensions-announced"
_ANNOUNCEMENT = schema.announcement.c
_OPEN = Query(
    schema.announcement.select()
    .where(_ANNOUNCEMENT.announced.is_(False))
    .order_by(_ANNOUNCEMENT.campaign, _ANNOUNCEMENT.number)
)


class Announcements:
    """Changes of own campaigns and own suspensions, each in its order."""

    def __init__(self, engine: Engine, clearinghouse: Clearinghouse) -> None:
        self._engine = engine
        self._clearinghouse = clearinghouse

    async def announce_changes(self) -> None:
        """Make own campaign changes known that the clearinghouse does not have yet, in order. Raises Unavailable."""
        for change, terms in await self._engine.database.read(self._open_announcements):
            await self._clearinghouse.publish_terms(terms)
            await self._clearinghouse.publish_change(change.message)
            await asyncio.to_thread(self._mark_announced, change)

    async def all_announced(self) -> bool:
        """Whether the clearinghouse has every change of this region's campaigns."""
        table = schema.announcement
        return not await self._engine.read(select(table.c.number).where(table.c.announced.is_(False)).limit(1))

    def _open_announcements(self) -> list[tuple[SignedChange, signed_pb2.SignedMessage]]:
        documents = schema.terms
        found = []
        with self._engine.database.snapshot() as transaction:
            for row in transaction.rows(_OPEN):
                change = Campaigns(transaction).changes(self._engine.region.code, row.campaign)[row.number - 1]
                key = (change.change.terms_hash,)
                (terms,) = transaction.select_keys(documents, [documents.c.terms_hash], [key])
                message = signed_pb2.SignedMessage(body=terms.document, key_id=terms.key_id, signature=terms.signature)
                found.append((change, message))
        return found

    def _mark_announced(self, change: SignedChange) -> None:
        key = {"campaign": change.change.campaign, "number": change.change.number}
        with self._engine.database.transaction() as transaction:
            transaction.update(schema.announcement, key, {"announced": True})

    async def announce_suspensions(self) -> None:
        """Make own suspensions known that the clearinghouse does not have yet, in order. Raises Unavailable."""
        for each in await self._engine.database.read(self._open_suspensions):
            await self._clearinghouse.publish_suspension(each.message)
            await asyncio.to_thread(self._mark_suspension_announced, each.suspension.number)

    async def suspensions_announced(self) -> int:
        """Number of the last own suspension that the clearinghouse has."""
        table = custodian_schema.counter
        rows = await self._engine.read(select(table.c.value).where(table.c.name == ANNOUNCED))
        return rows[0].value if rows else 0

    def _open_suspensions(self) -> list[SignedSuspension]:
        table = custodian_schema.counter
        with self._engine.database.snapshot() as transaction:
            rows = transaction.select_keys(table, [table.c.name], [(ANNOUNCED,)])
            return Suspensions(transaction).history_of(self._engine.region.code, rows[0].value if rows else 0)

    def _mark_suspension_announced(self, number: int) -> None:
        with self._engine.database.transaction() as transaction:
            transaction.upsert(custodian_schema.counter, [{"name": ANNOUNCED, "value": number}])
