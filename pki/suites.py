"""The suite that signs vouchers, terms, messages and statements: Ed25519 by libsodium.

The seam for further suites (SM2) is here: a suite is `key_id`, `verify` and the `Signer` of a key store.
"""

from __future__ import annotations

import hashlib

from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from quanlian.errors import BadSignature, TrustError
from quanlian.signing import KEY_ID_BYTES, SIGNATURE_BYTES, signing_bytes

PUBLIC_KEY_BYTES = 32


def key_id(public_key: bytes) -> bytes:
    """The first 8 bytes of SHA-256 of the public key."""
    return hashlib.sha256(public_key).digest()[:KEY_ID_BYTES]


def check_public_key(public_key: bytes) -> None:
    """Raises TrustError for bytes that are no Ed25519 key, or one of small order."""
    if len(public_key) != PUBLIC_KEY_BYTES or not crypto_core_ed25519_is_valid_point(public_key):
        raise TrustError(f"{public_key.hex() or 'nothing'} is not an Ed25519 public key of {PUBLIC_KEY_BYTES} bytes")


def verify(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Raises BadSignature unless `signature` over exactly `message` was made with the key."""
    if len(signature) != SIGNATURE_BYTES:
        raise BadSignature(f"a signature has {SIGNATURE_BYTES} bytes, this one has {len(signature)}")
    try:
        VerifyKey(public_key).verify(message, signature)
    except BadSignatureError as error:
        raise BadSignature(f"the signature does not match key {key_id(public_key).hex()}") from error


def verify_payload(public_key: bytes, kind: str, payload: bytes, signature: bytes) -> None:
    """`verify` over the signing bytes of `kind` and `payload`."""
    verify(public_key, signing_bytes(kind, payload), signature)
