"""Keys that are the same in every run, and a keyring that needs no certificates: trust itself is not simulated."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache

from nacl.signing import SigningKey as LibsodiumKey

from pki import suites
from quanlian.errors import TrustError, UnknownKey
from quanlian.signing import SigningKey, signing_bytes

YEAR = 365 * 86_400


class SeededSigner:
    """A real Ed25519 key, made from its owner's name and purpose."""

    def __init__(self, owner: str, purpose: str, at: int) -> None:
        self._key = LibsodiumKey(hashlib.sha256(f"{owner} {purpose}".encode()).digest())
        public = bytes(self._key.verify_key)
        self.certified = SigningKey(suites.key_id(public), owner, purpose, public, at - YEAR, at + YEAR)

    @property
    def key_id(self) -> bytes:
        return self.certified.key_id

    def sign(self, kind: str, payload: bytes) -> bytes:
        return _signature(self, kind, payload)


@lru_cache(maxsize=1024)
def _signature(signer: SeededSigner, kind: str, payload: bytes) -> bytes:
    return bytes(signer._key.sign(signing_bytes(kind, payload)).signature)


class KnownKeys:
    """A keyring whose certificate chains are the bare ids of keys; a party knows those that it was told of."""

    def __init__(self, vouched_for: Mapping[bytes, SeededSigner], known: Iterable[bytes]) -> None:
        self._vouched_for = vouched_for
        self._known = set(known)

    def add(self, chain: bytes) -> SigningKey:
        key = self.examine(chain)
        self._known.add(chain)
        return key

    def examine(self, chain: bytes) -> SigningKey:
        if chain not in self._vouched_for:
            raise TrustError(f"nobody vouches for {chain.hex()}")
        return self._vouched_for[chain].certified

    def key(self, key_id: bytes) -> SigningKey:
        if key_id not in self._known:
            raise UnknownKey(f"no known signing key has the id {key_id.hex()}")
        return self._vouched_for[key_id].certified

    def verify(self, key_id: bytes, kind: str, payload: bytes, signature: bytes) -> SigningKey:
        """What the key's owner signs the same way is its signature (Ed25519 has one for each payload); the library
        judges any other.
        """
        key = self.key(key_id)
        if self._vouched_for[key_id].sign(kind, payload) != signature:
            suites.verify_payload(key.public_key, kind, payload, signature)
        return key
