"""The node's group commit: all works of a batch over one desk, in one durable transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chassis.database import Database
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
