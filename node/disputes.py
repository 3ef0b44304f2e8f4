"""Disputes that concern this region, and how the clearinghouse decided them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import Table, select

from chassis.database import Transaction
from custodian.books import Books
from node import schema
from node.desk import Desk
from node.signatures import require_clearinghouse
from pki.trust import Keyring
from quanlian import wire
from quanlian.errors import BadSignature, InvalidInput
from quanlian.signing import digest
from quanlian.v1 import node_operator_pb2 as pb
from quanlian.v1 import settlement_pb2, signed_pb2

DISPUTE = "dispute"
"""What a region signs, and the kind of the journal's entry for one that was taken."""
TAKEN = "dispute-taken"
Name = tuple[str, int]
"""Of a dispute: the region that raised it, and its number there."""


@dataclass(slots=True)
class RelearnDispute:
    """A dispute of this region that the clearinghouse has, both signatures checked before. Returns whether it was
    news.
    """

    told: settlement_pb2.TakenDispute

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> bool:
        """One of its number that the clearinghouse never took gives way, for it was refused or did not get there.

        Raises InvalidInput where it took another under that number.
        """
        number = settlement_pb2.Dispute.FromString(self.told.dispute.body).number
        table = schema.dispute
        rows = desk.transaction.select_keys(table, [table.c.number], [(number,)])
        known = rows[0] if rows else None
        is_same = known is not None and known.body == self.told.dispute.body
        if known is not None and known.taken is not None and not is_same:
            raise InvalidInput(
                f"第{number}号在此是另一份异议 · number {number} is another dispute here", place=f"dispute {number}"
            )
        keep_taken(desk.transaction, desk.books, desk.at, self.told)
        return not is_same


def require_taken(keyring: Keyring, dispute: signed_pb2.SignedMessage, taken: signed_pb2.SignedMessage) -> None:
    """Raises TrustError for a word that the clearinghouse did not sign, BadSignature for one on another dispute."""
    require_clearinghouse(keyring, taken, TAKEN)
    require_of(taken, dispute.body)


def require_of(taken: signed_pb2.SignedMessage, dispute: bytes) -> None:
    """Raises BadSignature for a word about another dispute."""
    if wire.parse(settlement_pb2.DisputeTaken, taken.body, TAKEN).dispute_digest != digest(DISPUTE, dispute):
        raise BadSignature("回执是另一份异议的 · the receipt is of another dispute")


def keep_taken(transaction: Transaction, books: Books, at: int, told: settlement_pb2.TakenDispute) -> None:
    """A dispute with the clearinghouse's word that it has it; an entry of the journal says so."""
    dispute = settlement_pb2.Dispute.FromString(told.dispute.body)
    row = {
        "number": dispute.number,
        "settlement_window": dispute.window,
        "body": told.dispute.body,
        "key_id": told.dispute.key_id,
        "signature": told.dispute.signature,
        "sent": True,
        "taken": told.taken.SerializeToString(),
    }
    transaction.upsert(schema.dispute, [row])
    books.record(DISPUTE, at, str(dispute.number), told.dispute.signature)


def send_again(transaction: Transaction) -> None:
    """A clearinghouse that has begun a new life may have lost what it took: each dispute is brought once more."""
    transaction.update(schema.dispute, {"sent": True}, {"sent": False})


def word_in(taken: bytes | None) -> signed_pb2.SignedMessage:
    """The clearinghouse's, empty while it gave none."""
    return signed_pb2.SignedMessage.FromString(taken or b"")


def last_number(transaction: Transaction, region: str) -> int:
    """Of the region's disputes, those too of which only the decision is known here."""
    decision = schema.dispute_decision.c
    queries = select(schema.dispute.c.number), select(decision.number).where(decision.region == region)
    found = (transaction.connection.execute(each).scalars() for each in queries)
    return max(chain.from_iterable(found), default=0)


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
