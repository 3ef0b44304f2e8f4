"""Voucher tokens: what a shopper carries, and how anyone checks it (protocol.md, "The voucher token")."""

from __future__ import annotations

import hmac
from typing import NamedTuple

from quanlian import merkle
from quanlian.errors import BadSignature, InvalidInput
from quanlian.signing import SigningKey, Verifier, signing_bytes

PACK_ID_BYTES = 15
PACK_RANDOM_BYTES = 9
TAG_BYTES = 16
BATCH_LIMIT = 256
"""Packs signed under one root: the path of at most eight steps keeps the QR code small."""

_LEAF_PREFIX = signing_bytes("voucher", b"")

SUITE_ED25519 = 1
SUITE_ED25519_BATCH = 2


class VoucherKey(NamedTuple):
    """A voucher everywhere: with its issuer, so that no region can burn another's."""

    issuer: str
    pack_id: bytes
    voucher_index: int


class Voucher(NamedTuple):
    """The body of a token, field by field as `VoucherBody` in voucher.proto; times are UTC seconds."""

    version: int
    suite: int
    key_id: bytes
    issuer: str
    campaign: str
    terms_hash: bytes
    pack_id: bytes
    voucher_types: tuple[int, ...]
    holder_tag: bytes
    issued_at: int
    not_before: int
    not_after: int
    roaming: str


class Token(NamedTuple):
    """A body as the very bytes that were signed, and what proves it."""

    body: bytes
    signature: bytes
    tree_size: int = 0
    leaf_index: int = 0
    path: tuple[bytes, ...] = ()


def make_pack_id(unix_milliseconds: int, random: bytes) -> bytes:
    """6 bytes of Unix milliseconds, big-endian, and 9 random bytes: keys in time order, not to be guessed."""
    if len(random) != PACK_RANDOM_BYTES:
        raise InvalidInput(f"a pack id takes {PACK_RANDOM_BYTES} random bytes", place="pack id")
    return unix_milliseconds.to_bytes(6, "big") + random


def holder_tag(campaign_key: bytes, holder_id: str) -> bytes:
    """HMAC-SHA-256 of the holder's id, cut to 16 bytes: one person within a campaign, nobody across campaigns."""
    return hmac.digest(campaign_key, holder_id.encode("utf-8"), "sha256")[:TAG_BYTES]


def leaf(body: bytes) -> bytes:
    """The Merkle leaf hash of a body."""
    return merkle.leaf_hash(_LEAF_PREFIX + body)


def root_payload(tree_size: int, root: bytes) -> bytes:
    """What the issuer signs, as kind `voucher-root`, for all packs of a tree."""
    return tree_size.to_bytes(4, "big") + root


def verify(token: Token, voucher: Voucher, verifier: Verifier) -> SigningKey:
    """Check a token's signature; `voucher` is its parsed body. Returns the issuer's key.

    Raises UnknownKey, or BadSignature when signature, path, issuer or purpose do not fit. Whether the key was valid
    when the voucher was issued is judged by `key_was_valid`.
    """
    key = verifier.key(voucher.key_id)
    if key.owner != voucher.issuer or key.purpose != "voucher":
        raise BadSignature(f"key {voucher.key_id.hex()} may not sign vouchers of {voucher.issuer}")
    if voucher.suite == SUITE_ED25519:
        return verifier.verify(voucher.key_id, "voucher", token.body, token.signature)
    if voucher.suite != SUITE_ED25519_BATCH:
        raise BadSignature(f"suite {voucher.suite} is not known")
    if not 0 < token.tree_size <= BATCH_LIMIT:
        raise BadSignature(f"a tree has 1 to {BATCH_LIMIT} packs, not {token.tree_size}")
    try:
        root = merkle.root_from_path(leaf(token.body), token.leaf_index, token.tree_size, token.path)
    except InvalidInput as error:
        raise BadSignature(str(error)) from error
    return verifier.verify(voucher.key_id, "voucher-root", root_payload(token.tree_size, root), token.signature)


def key_was_valid(key: SigningKey, issued_at: int) -> bool:
    """A voucher is good if its key was valid when it was issued (security.md, Trust)."""
    return key.not_before <= issued_at < key.not_after


def key_was_revoked(key: SigningKey, issued_at: int) -> bool:
    """Whether the deny-list calls the key bad for what it signed at `issued_at`."""
    return key.revoked_from is not None and issued_at >= key.revoked_from
