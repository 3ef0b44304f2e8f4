"""What a node learns in a recovery, kept until it is replayed: what the clearinghouse holds of it, and platforms do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import select

from chassis.database import Database, Transaction
from node import schema

DOCUMENT, PLATFORM, HAND_OVER, RETURN, ANSWER = "document", "platform", "hand_over", "custody_return", "answered"
_IN_TIME = (PLATFORM, HAND_OVER, RETURN, ANSWER)
"""In the order in which they are tried of one second; what the region published comes before everything else."""
PAGE = 100
"""Receipts that are read at once: they may be more than the memory."""
_TABLE = schema.receipt
_KEY = (_TABLE.c.recovery, _TABLE.c.sender, _TABLE.c.kind, _TABLE.c.id)
Name = tuple[str, str, bytes]
"""Sender, kind and id of a receipt."""


class Receipt(NamedTuple):
    """One thing that the clearinghouse or a platform (`sender`) holds of this node."""

    sender: str
    kind: str
    id: bytes
    at: int
    body: bytes

    @property
    def name(self) -> Name:
        return self.sender, self.kind, self.id


class Learned:
    """The receipts of one recovery, which `recovery` names: a copy made during another brings along its own."""

    def __init__(self, database: Database, recovery: str) -> None:
        self._database = database
        self._recovery = recovery

    def keep(self, receipts: Sequence[Receipt]) -> int:
        """How many of them are news."""
        once = {each.name: each for each in receipts}
        with self._database.transaction() as transaction:
            known = self._rows(transaction, list(once))
            rows = [{**each._asdict(), "recovery": self._recovery} for each in once.values() if each.name not in known]
            transaction.insert(_TABLE, rows)
        return len(rows)

    def in_order(self) -> list[Name]:
        """All of them, in the order in which they are tried."""
        query = select(_TABLE.c.sender, _TABLE.c.kind, _TABLE.c.id, _TABLE.c.at).where(
            _TABLE.c.recovery == self._recovery
        )
        with self._database.snapshot() as transaction:
            rows = transaction.connection.execute(query).all()
        rows = sorted(rows, key=lambda row: _place(row.kind, row.at, row.id))
        return [(row.sender, row.kind, row.id) for row in rows]

    def read(self, names: Sequence[Name]) -> Iterator[Receipt]:
        """Those of these names, in their order; none is held while another is applied."""
        for start in range(0, len(names), PAGE):
            page = names[start : start + PAGE]
            with self._database.snapshot() as transaction:
                rows = self._rows(transaction, page)
            for name in page:
                yield Receipt(*name, rows[name].at, rows[name].body)

    def _rows(self, transaction: Transaction, names: Sequence[Name]) -> dict[Name, Any]:
        rows = transaction.select_keys(_TABLE, _KEY, [(self._recovery, *name) for name in names])
        return {(row.sender, row.kind, row.id): row for row in rows}

    def forget(self) -> None:
        """What other recoveries left with it."""
        with self._database.transaction() as transaction:
            transaction.connection.execute(_TABLE.delete())


def _place(kind: str, at: int, id: bytes) -> tuple[int, int, int, bytes]:
    return (0, at, 0, id) if kind == DOCUMENT else (1, at, _IN_TIME.index(kind), id)
