"""Signed documents that the journal recorded when they came: a row that is gone, or that never came, is named.

What other rows name, or a number in a series, is missed when it is deleted; the last of a series and what nothing rests
on is not. So the journal, whose digests are a chain, tells of these that they came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa

from chassis.database import Transaction
from custodian import schema
from custodian.books import record_reference
from custodian.ledger.findings import Finding, row_key
from custodian.ledger.references import is_recovered


class Recorded(NamedTuple):
    """Every row of `table`, or each for which `where` is true, has an entry of `kind` that names it by `document` and a
    digest of its `signature`. The last entry of a document counts, where it came more than once.
    """

    table: sa.Table
    kind: str
    document: Callable[[Any], str]
    signature: str = "signature"
    where: sa.ColumnElement[bool] = sa.true()


def unrecorded(transaction: Transaction, records: tuple[Recorded, ...]) -> Iterator[Finding]:
    """Rows that an entry records and that are not there, and rows that none does."""
    recovered = is_recovered(transaction)
    entry = schema.entry.c
    for each in records:
        query = sa.select(entry.reference, entry.number).where(entry.kind == each.kind).order_by(entry.number)
        came = {reference.rpartition(" ")[0]: (reference, number) for reference, number in _rows(transaction, query)}
        for row in _rows(transaction, each.table.select().where(each.where)):
            document = each.document(row)
            reference, number = came.pop(document, ("", None))
            if reference != record_reference(document, row._mapping[each.signature]) and not (recovered and not number):
                zh, en = (
                    "与记载它的分录不符",
                    "is not the one that its entry records" if number else "no entry records it",
                )
                yield Finding(each.table.name, row_key(each.table, row), number, 0, zh, en)
        for document, (_, number) in came.items():
            zh, en = f"缺失，分录{number}记有它", f"missing, though entry {number} records that it came"
            yield Finding(each.table.name, document, number, 0, zh, en)


def _rows(transaction: Transaction, query: sa.Select[Any]) -> Iterator[Any]:
    yield from transaction.connection.execute(query, execution_options={"yield_per": 2000})
