"""Signed messages, kept as they came: what a party can show of who asked what, and who answered what.

A message is signed once, over the hashes of its items, so one row keeps it for all of them; what it decided points to
that row. A party's own answers are signed once more in the commit that decides them, one signature a participant.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from chassis.database import Transaction
from custodian import schema
from quanlian.evidence import ANSWER_KIND, Exchange, Message
from quanlian.signing import Signer
from quanlian.v1 import redemption_pb2
from quanlian.wire import batch_digest, item_hashes

MILLISECONDS = 1000


class SignedBatch(NamedTuple):
    """A message as it was received and found good; `id` is fresh and begins with the time.

    `hashes` are those of all items where only some were shown.
    """

    id: bytes
    kind: str
    items: tuple[bytes, ...]
    key_id: bytes
    signature: bytes
    hashes: bytes = b""


def received_row(batch: SignedBatch, at: int) -> dict[str, Any]:
    """The row of a message of another party, with its items."""
    return {
        "id": batch.id,
        "kind": batch.kind,
        "key_id": batch.key_id,
        "signature": batch.signature,
        "hashes": batch.hashes or b"".join(item_hashes(batch.items)),
        "items": redemption_pb2.RedeemStreamRequest(items=batch.items).SerializeToString(),
        "at": at,
    }


def own_answers_row(answers: Sequence[bytes], signer: Signer, at: int) -> dict[str, Any]:
    """The row of answers that this party signs; the answers themselves are kept with their requests."""
    signature = signer.sign(ANSWER_KIND, batch_digest(answers))
    return {
        "id": _id_at(at, signature),
        "kind": ANSWER_KIND,
        "key_id": signer.key_id,
        "signature": signature,
        "hashes": b"".join(item_hashes(answers)),
        "items": None,
        "at": at,
    }


def shown_batch(message: Message, at: int) -> SignedBatch:
    """A message of which one item was shown, to be kept as if it had come at `at`."""
    id = _id_at(at, message.signature + message.content)
    return SignedBatch(id, message.kind, (message.content,), message.key_id, message.signature, message.hashes)


def _id_at(at: int, content: bytes) -> bytes:
    return (at * MILLISECONDS).to_bytes(6, "big") + hashlib.sha256(content).digest()[:10]


class Kept:
    """The messages that some requests point to, for showing them."""

    def __init__(self, transaction: Transaction, ids: Iterable[bytes | None]) -> None:
        table = schema.signed_batch
        wanted = [(id,) for id in dict.fromkeys(ids) if id is not None]
        self._rows = {row.id: row for row in transaction.select_keys(table, [table.c.id], wanted)}
        self._answers: dict[bytes, dict[bytes, bytes]] = {}

    def item(self, id: bytes | None, hash: bytes) -> Message | None:
        """The item of a received message that has this hash, as its sender signed it."""
        row = self._rows.get(id) if id else None
        if row is None or row.items is None:
            return None
        for content in redemption_pb2.RedeemStreamRequest.FromString(row.items).items:
            if hashlib.sha256(content).digest() == hash:
                return _message(row, content)
        return None

    def answer_to(self, id: bytes | None, request_id: bytes) -> Message | None:
        """The answer to a request within a message of another party's answers."""
        row = self._rows.get(id) if id else None
        if row is None or row.items is None:
            return None
        if row.id not in self._answers:
            contents = redemption_pb2.RedeemStreamRequest.FromString(row.items).items
            read = redemption_pb2.RedemptionAnswer.FromString
            self._answers[row.id] = {read(content).request_id: content for content in contents}
        content = self._answers[row.id].get(request_id)
        return _message(row, content) if content is not None else None

    def own_answer(self, id: bytes | None, content: bytes) -> Message | None:
        """An answer of this party, as it was signed in its commit."""
        row = self._rows.get(id) if id else None
        return _message(row, content) if row is not None else None


def _message(row: Any, content: bytes) -> Message:
    return Message(row.kind, content, row.hashes, row.key_id, row.signature)


class Requests:
    """The stored requests that an id names: a request id of one of `participants`, or a redemption's id."""

    def __init__(self, transaction: Transaction, id: bytes, participants: Iterable[str]) -> None:
        table = schema.request
        keys = [(each, id) for each in participants]
        rows = transaction.select_keys(table, [table.c.participant, table.c.request_id], keys)
        rows += transaction.select_keys(table, [table.c.redemption_id], [(id,)])
        self.rows = sorted((row for row in rows if row.operation != "claim"), key=lambda row: int(row.decided_at))
        self._kept = Kept(transaction, [each for row in rows for each in (row.request_batch, row.answer_batch)])

    def exchange(self, row: Any, asker: str, decider: str) -> Exchange:
        """What was asked and answered, each as its sender signed it."""
        asked = self._kept.item(row.request_batch, row.body_hash) if row.body_hash else None
        return Exchange(asker, decider, asked, self._kept.own_answer(row.answer_batch, row.answer))


def signed_now(content: bytes, kind: str, signer: Signer) -> Message:
    """One item, signed anew by the party that shows it."""
    digest = batch_digest([content])
    return Message(kind, content, b"".join(item_hashes([content])), signer.key_id, signer.sign(kind, digest))
