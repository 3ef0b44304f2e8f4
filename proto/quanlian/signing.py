"""What is signed: `quanlian/v1/<kind>\\0` followed by the very bytes that are carried (protocol.md, Conventions).

Nothing is re-encoded to be checked. `pki` implements `Verifier` and `Signer`; this package only names them.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple, Protocol

KEY_ID_BYTES = 8
SIGNATURE_BYTES = 64


def signing_bytes(kind: str, payload: bytes) -> bytes:
    """The bytes that a signature over `payload` covers; `kind` keeps one use of a key from serving another."""
    return b"quanlian/v1/" + kind.encode("ascii") + b"\0" + payload


def digest(kind: str, payload: bytes) -> bytes:
    """SHA-256 over the same prefixed bytes: how terms, batches and answers are named."""
    return hashlib.sha256(signing_bytes(kind, payload)).digest()


class SigningKey(NamedTuple):
    """A public signing key that a region's authority vouched for.

    `owner` is the host of its certificate's SPIFFE id without `.quanlian`: an adcode, or `clearinghouse`.
    `purpose` is what it may sign: `voucher`, `terms`, `message`, `statement`. Validity is `[not_before, not_after)`,
    UTC seconds.
    """

    key_id: bytes
    owner: str
    purpose: str
    public_key: bytes
    not_before: int
    not_after: int
    revoked_from: int | None = None


class Signer(Protocol):
    """Signs for one purpose with a private key that never leaves its store."""

    @property
    def key_id(self) -> bytes: ...

    def sign(self, kind: str, payload: bytes) -> bytes:
        """The 64-byte signature over `signing_bytes(kind, payload)`."""
        ...


class Verifier(Protocol):
    """Finds a key and checks a signature; judging the key's owner, purpose and validity is the caller's."""

    def key(self, key_id: bytes) -> SigningKey:
        """Raises UnknownKey."""
        ...

    def verify(self, key_id: bytes, kind: str, payload: bytes, signature: bytes) -> SigningKey:
        """Raises UnknownKey or BadSignature."""
        ...
