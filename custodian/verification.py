"""Verifying many vouchers that share a signature: a Merkle root is checked once, then only hashed."""

from __future__ import annotations

from collections import OrderedDict

from quanlian.signing import SigningKey, Verifier

REMEMBERED = 10_000


class RootMemory:
    """A `Verifier` that remembers the roots it has verified, the latest `REMEMBERED` of them.

    The key is looked up anew each time, so that a revocation counts at once.
    """

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self._known: OrderedDict[tuple[bytes, bytes, bytes], None] = OrderedDict()

    def key(self, key_id: bytes) -> SigningKey:
        return self._verifier.key(key_id)

    def verify(self, key_id: bytes, kind: str, payload: bytes, signature: bytes) -> SigningKey:
        if kind != "voucher-root":
            return self._verifier.verify(key_id, kind, payload, signature)
        root = (key_id, payload, signature)
        if root in self._known:
            return self._verifier.key(key_id)
        key = self._verifier.verify(key_id, kind, payload, signature)
        self._known[root] = None
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return key
