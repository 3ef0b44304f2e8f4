"""Vouchers and their tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from quanlian.errors import InvalidInput
from quanlian.merkle import HASH_BYTES
from quanlian.v1 import claim_pb2, voucher_pb2
from quanlian.vouchers import PACK_ID_BYTES, TAG_BYTES, Token, Voucher
from quanlian.wire.fields import before
from quanlian.wire.reading import need, need_text, parse

MAXIMUM_VOUCHERS = 64
"""Of one pack."""

ROAMING = {"never": 1, "on-demand": 2, "at-issue": 3}
_ROAMING_NAMES = {number: name for name, number in ROAMING.items()}
_PACK_MARK, _TAG_MARK = b"\xff" * PACK_ID_BYTES, b"\xfe" * TAG_BYTES
"""No text has such bytes, and no digest so many of them."""
_STEP = voucher_pb2.VoucherToken(path=[bytes(HASH_BYTES)]).SerializeToString()[:-HASH_BYTES]
"""What is written before each hash of a path."""


def voucher_to_body(voucher: Voucher) -> bytes:
    """Serialise once; the signature covers these bytes."""
    return _body(voucher).SerializeToString()


class PackBodies:
    """The bodies of packs that differ from a voucher in pack id and holder only: what they share is written once."""

    def __init__(self, shared: Voucher) -> None:
        marked = voucher_to_body(shared._replace(pack_id=_PACK_MARK, holder_tag=_TAG_MARK))
        self._form = marked.replace(b"%", b"%%").replace(_PACK_MARK, b"%b").replace(_TAG_MARK, b"%b")

    def body(self, pack_id: bytes, holder_tag: bytes) -> bytes:
        """Of an id and a tag of their usual lengths."""
        return self._form % (pack_id, holder_tag)


def tree_tokens(bodies: Sequence[bytes], signature: bytes, paths: Sequence[Sequence[bytes]]) -> Iterator[bytes]:
    """The tokens of all packs of a tree, in order, each as `token_to_bytes` gives it.

    A message is its fields one after another, so those that tokens share are written once.
    """
    shared = voucher_pb2.VoucherToken(signature=signature, tree_size=len(bodies)).SerializeToString()
    for index, (body, path) in enumerate(zip(bodies, paths, strict=True)):
        begun = before(voucher_pb2.VoucherToken, "body", len(body))
        yield b"".join((begun, body, shared, _leaf_index(index), _STEP.join((b"", *path))))


def claim_answers(request_ids: Sequence[bytes], tokens: Iterable[bytes], at: int) -> Iterator[bytes]:
    """The answers to claims that were granted at one time, as ClaimAnswer writes them."""
    decided_at = claim_pb2.ClaimAnswer(decided_at=at).SerializeToString()
    for request_id, token in zip(request_ids, tokens, strict=True):
        begun = before(claim_pb2.ClaimAnswer, "request_id", len(request_id))
        yield b"".join((begun, request_id, before(claim_pb2.ClaimAnswer, "token", len(token)), token, decided_at))


@lru_cache(maxsize=256)
def _leaf_index(index: int) -> bytes:
    return voucher_pb2.VoucherToken(leaf_index=index).SerializeToString()


def _body(voucher: Voucher) -> voucher_pb2.VoucherBody:
    return voucher_pb2.VoucherBody(
        version=voucher.version,
        suite=voucher.suite,  # type: ignore[arg-type]
        key_id=voucher.key_id,
        issuer=voucher.issuer,
        campaign=voucher.campaign,
        terms_hash=voucher.terms_hash,
        pack_id=voucher.pack_id,
        voucher_types=voucher.voucher_types,
        holder_tag=voucher.holder_tag,
        issued_at=voucher.issued_at,
        not_before=voucher.not_before,
        not_after=voucher.not_after,
        roaming=ROAMING[voucher.roaming],  # type: ignore[arg-type]
    )


def body_to_voucher(body: bytes) -> Voucher:
    """Raises InvalidInput for a body of another version or with fields of the wrong size."""
    message = parse(voucher_pb2.VoucherBody, body, "token.body")
    if message.version != 1:
        raise InvalidInput(
            f"{message.version} is not known", place="token.body.version", remedy="应为版本1 · send version 1"
        )
    roaming = _ROAMING_NAMES.get(message.roaming)
    if roaming is None:
        raise InvalidInput(
            f"{message.roaming} is not known", place="token.body.roaming", remedy="应为1至3 · send 1 to 3"
        )
    pack_id, holder_tag, voucher_types = message.pack_id, message.holder_tag, tuple(message.voucher_types[:])
    if len(pack_id) != PACK_ID_BYTES:
        need(False, "token.body.pack_id", f"{PACK_ID_BYTES}字节", f"{PACK_ID_BYTES} bytes")
    if len(holder_tag) != TAG_BYTES:
        need(False, "token.body.holder_tag", f"{TAG_BYTES}字节", f"{TAG_BYTES} bytes")
    issuer, campaign = message.issuer, message.campaign
    need_text(issuer, "token.body.issuer", 1, 6)
    need_text(campaign, "token.body.campaign", 1, 64)
    if not 0 < len(voucher_types) <= MAXIMUM_VOUCHERS:
        need(False, "token.body.voucher_types", f"1至{MAXIMUM_VOUCHERS}张券", f"1 to {MAXIMUM_VOUCHERS} vouchers")
    return Voucher(
        message.version,
        message.suite,
        message.key_id,
        issuer,
        campaign,
        message.terms_hash,
        pack_id,
        voucher_types,
        holder_tag,
        message.issued_at,
        message.not_before,
        message.not_after,
        roaming,
    )


def token_to_bytes(token: Token) -> bytes:
    return voucher_pb2.VoucherToken(
        body=token.body,
        signature=token.signature,
        tree_size=token.tree_size,
        leaf_index=token.leaf_index,
        path=token.path,
    ).SerializeToString()


def bytes_to_token(content: bytes) -> Token:
    message = parse(voucher_pb2.VoucherToken, content, "token")
    return Token(message.body, message.signature, message.tree_size, message.leaf_index, tuple(message.path[:]))
