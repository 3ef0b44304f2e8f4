"""The deny-list as a party keeps it: the newest that the clearinghouse signed."""

from __future__ import annotations

from typing import NamedTuple

from chassis.database import Query, Transaction
from custodian import schema
from custodian.books import Books
from pki.denylist import KIND, DenyList
from quanlian.v1 import signed_pb2

_NEWEST = Query(schema.deny_list.select().order_by(schema.deny_list.c.number.desc()).limit(1))


class KeptDenyList(NamedTuple):
    """A list and the message that proves it."""

    denylist: DenyList
    message: signed_pb2.SignedMessage


def keep_deny_list(transaction: Transaction, number: int, message: signed_pb2.SignedMessage) -> None:
    """Store a signed list; its signature was checked."""
    row = {"number": number, "body": message.body, "key_id": message.key_id, "signature": message.signature}
    transaction.upsert(schema.deny_list, [row])


def record_deny_list(books: Books, at: int, number: int, message: signed_pb2.SignedMessage) -> None:
    """Tell the journal of a list that was kept."""
    books.record(KIND, at, str(number), message.signature)


def newest_deny_list(transaction: Transaction) -> KeptDenyList | None:
    """The list that counts, None before the first."""
    rows = transaction.rows(_NEWEST)
    if not rows:
        return None
    row = rows[0]
    message = signed_pb2.SignedMessage(body=row.body, key_id=row.key_id, signature=row.signature)
    return KeptDenyList(DenyList.parse(row.body), message)
