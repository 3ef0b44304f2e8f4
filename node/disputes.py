"""Disputes that concern this region, and how the clearinghouse decided them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table

from chassis.database import Transaction
from node import schema
from quanlian.v1 import node_operator_pb2 as pb
from quanlian.v1 import settlement_pb2

Name = tuple[str, int]
"""Of a dispute: the region that raised it, and its number there."""


def keep_decision(transaction: Transaction, decision: settlement_pb2.DisputeDecision) -> None:
    """A restored clearinghouse may decide a dispute anew: its last word counts."""
    row = {
        "region": decision.dispute.region,
        "number": decision.dispute.number,
        "settlement_window": decision.dispute.window,
        "body": decision.SerializeToString(),
    }
    transaction.upsert(schema.dispute_decision, [row])


def known_disputes(transaction: Transaction, windows: Sequence[int] = ()) -> list[pb.KnownDispute]:
    """This region's disputes, and others' whose adjusting entries concern it: the undecided first, then by window,
    region and number. Of some windows, or of all.
    """
    known: dict[Name, pb.KnownDispute] = {}
    for row in _rows(transaction, schema.dispute, windows):
        own = settlement_pb2.Dispute.FromString(row.body)
        known[own.region, own.number] = pb.KnownDispute(dispute=own, sent=row.sent)
    for row in _rows(transaction, schema.dispute_decision, windows):
        decision = settlement_pb2.DisputeDecision.FromString(row.body)
        name = (row.region, row.number)
        dispute = known[name].dispute if name in known else decision.dispute
        known[name] = pb.KnownDispute(dispute=dispute, sent=True, decision=decision)
    return sorted(
        known.values(),
        key=lambda each: (
            each.HasField("decision"),
            each.dispute.window,
            each.dispute.region,
            each.dispute.number,
        ),
    )


def open_disputes(transaction: Transaction) -> int:
    """How many of this region's disputes nobody has decided yet."""
    return sum(not each.HasField("decision") for each in known_disputes(transaction))


def _rows(transaction: Transaction, table: Table, windows: Sequence[int]) -> Sequence[Any]:
    query = table.select()
    if windows:
        query = query.where(table.c.settlement_window.in_(windows))
    return transaction.connection.execute(query).all()
