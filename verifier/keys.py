"""The signing keys of the evidence, certified once, fit to be sent to another process."""

from __future__ import annotations

from collections.abc import Iterable

from pki import suites
from quanlian.errors import UnknownKey
from quanlian.signing import SigningKey


class Keys:
    """A `Verifier` of keys whose chains were judged before."""

    def __init__(self, keys: Iterable[SigningKey]) -> None:
        self._keys = {each.key_id: each for each in keys}

    def key(self, key_id: bytes) -> SigningKey:
        """Raises UnknownKey."""
        try:
            return self._keys[key_id]
        except KeyError:
            raise UnknownKey(f"no known signing key has the id {key_id.hex()}") from None

    def verify(self, key_id: bytes, kind: str, payload: bytes, signature: bytes) -> SigningKey:
        """The key that signed, for the caller to judge. Raises UnknownKey or BadSignature."""
        key = self.key(key_id)
        suites.verify_payload(key.public_key, kind, payload, signature)
        return key
