"""What a party shows to prove who asked and who answered what; read without the network.

A message is signed over the hashes of its items, so one item can be shown with the hashes of the others and says
nothing of them. An exchange is a request and its answer; a redemption at a shop far from home has two, one of the
platform with its node and one of the node with the clearinghouse.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from quanlian.errors import BadSignature, InvalidInput

REQUEST_KIND, ANSWER_KIND = "redemption-batch", "answer-batch"
HASH_BYTES = 32


class Message(NamedTuple):
    """One item of a signed message: its bytes, and all items' hashes, 32 bytes each, which the signature covers."""

    kind: str
    content: bytes
    hashes: bytes
    key_id: bytes
    signature: bytes

    @property
    def digest(self) -> bytes:
        """The payload of the signature."""
        return hashlib.sha256(self.hashes).digest()

    @property
    def position(self) -> int:
        """Which item of the message this is, from 0. Raises BadSignature when it is none of them."""
        if len(self.hashes) % HASH_BYTES or not self.hashes:
            raise InvalidInput("is no list of hashes", place="hashes", remedy="send 32 bytes for each item")
        own = hashlib.sha256(self.content).digest()
        for start in range(0, len(self.hashes), HASH_BYTES):
            if self.hashes[start : start + HASH_BYTES] == own:
                return start // HASH_BYTES
        raise BadSignature("the item is not among those that were signed")


class Exchange(NamedTuple):
    """A request and its answer; either may be missing where the party never had it."""

    asker: str
    decider: str
    request: Message | None
    answer: Message | None
