"""Which life of its database a party is in, and which it knows the others to be in (protocol.md, Recovery)."""

from __future__ import annotations

from chassis.database import Transaction
from custodian import schema
from quanlian.hand_overs import Incarnations

FIRST = 1


def own(transaction: Transaction) -> int:
    """This party's; the first where nobody numbers its commits."""
    table = schema.lineage
    rows = transaction.select_keys(table, [table.c.id], [(1,)])
    return int(rows[0].incarnation) if rows else FIRST


def known(transaction: Transaction, party: str) -> int:
    """The newest that this party has heard of from `party`, an adcode or `clearinghouse`."""
    table = schema.counter
    rows = transaction.select_keys(table, [table.c.name], [(_name(party),)])
    return int(rows[0].value) if rows else FIRST


def learn(transaction: Transaction, party: str, incarnation: int) -> bool:
    """Remember that `party` is in this one or a later one; whether that is news."""
    if incarnation <= known(transaction, party):
        return False
    transaction.upsert(schema.counter, [{"name": _name(party), "value": incarnation}])
    return True


def giving(transaction: Transaction, taker: str) -> Incarnations:
    """As this party signs them when it gives to `taker`."""
    return Incarnations(own(transaction), known(transaction, taker))


def _name(party: str) -> str:
    return f"incarnation/{party}"
