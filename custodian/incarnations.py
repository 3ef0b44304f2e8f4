"""Which life of its database a party is in, which it knows the others to be in, and what that makes void.

A restored party begins a new incarnation. What its former life gave, and what was given to that, may rest on what was
lost, so it counts only as a document that recovery or the feed brings (protocol.md, Custody 6).
"""

from __future__ import annotations

from chassis.database import Transaction
from custodian import schema
from quanlian.errors import InvalidInput
from quanlian.hand_overs import Head, Incarnations

FIRST = 1
_ONLY = 1
_LINEAGE_KEY, _INCARNATION = (schema.lineage.c.id,), (schema.lineage.c.incarnation,)
_COUNTER_KEY, _VALUE = (schema.counter.c.name,), (schema.counter.c.value,)


class Void(InvalidInput):
    """A message of an older incarnation of its sender, or to an older one of this party."""


def own(transaction: Transaction) -> int:
    """This party's; the first where nobody numbers its commits."""
    rows = transaction.select_keys(schema.lineage, _LINEAGE_KEY, [(_ONLY,)], _INCARNATION)
    return int(rows[0].incarnation) if rows else FIRST


def known(transaction: Transaction, party: str) -> int:
    """The newest that this party has heard of from `party`, an adcode or `clearinghouse`."""
    rows = transaction.select_keys(schema.counter, _COUNTER_KEY, [(_name(party),)], _VALUE)
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


def require_present(transaction: Transaction, head: Head) -> None:
    """Raises Void for a hand-over of an older incarnation of its giver, or to another one of this party."""
    place = f"hand-over {head.number} of {head.giver}"
    newest, here = known(transaction, head.giver), own(transaction)
    if head.incarnations.giver < newest:
        raise Void(
            f"void: signed in its incarnation {head.incarnations.giver}, and it is in {newest}",
            place=place,
            remedy="its giver gives it anew",
        )
    if head.incarnations.taker != here:
        raise Void(
            f"void: addressed to incarnation {head.incarnations.taker} of {head.taker}, which is in {here}",
            place=place,
            remedy="its giver gives it anew",
        )


def require_not_older(transaction: Transaction, party: str, incarnation: int) -> None:
    """Raises Void for what an older incarnation of `party` told."""
    newest = known(transaction, party)
    if incarnation < newest:
        raise Void(f"void: told in incarnation {incarnation}, and it is in {newest}", place=party)


def _name(party: str) -> str:
    return f"incarnation/{party}"
