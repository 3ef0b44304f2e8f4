"""What shows how far the clearinghouse had come with this node, kept beside its own position in the feed."""

from __future__ import annotations

from chassis.database import Transaction
from custodian.feed_heads import read_head
from node import schema
from quanlian.v1 import custody_pb2, signed_pb2

_TABLE = schema.feed_head
_ONLY = 1


def kept_head(transaction: Transaction) -> signed_pb2.SignedMessage:
    """Empty where none was told yet."""
    rows = transaction.select_keys(_TABLE, [_TABLE.c.id], [(_ONLY,)])
    if not rows:
        return signed_pb2.SignedMessage()
    return signed_pb2.SignedMessage(body=rows[0].body, key_id=rows[0].key_id, signature=rows[0].signature)


def keep_head(transaction: Transaction, message: signed_pb2.SignedMessage) -> None:
    """Unless the one that is kept shows as much, or something that this one does not."""
    if shows_more(transaction, message):
        row = {"id": _ONLY, "body": message.body, "key_id": message.key_id, "signature": message.signature}
        transaction.upsert(_TABLE, [row])


def shows_more(transaction: Transaction, message: signed_pb2.SignedMessage) -> bool:
    """Than the one that is kept, which it can take the place of."""
    told, kept = _figures(read_head(message)), _figures(read_head(kept_head(transaction)))
    return told != kept and all(new >= old for new, old in zip(told, kept, strict=True))


def _figures(head: custody_pb2.FeedHead) -> tuple[int, int, int]:
    return head.incarnation, head.sequence, head.last_window
