"""Vouchers and their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from quanlian.errors import InvalidInput
from quanlian.v1 import voucher_pb2
from quanlian.vouchers import PACK_ID_BYTES, TAG_BYTES, Token, Voucher
from quanlian.wire.reading import need, need_text, parse

MAXIMUM_VOUCHERS = 64
"""Of one pack."""

ROAMING = {"never": 1, "on-demand": 2, "at-issue": 3}
_ROAMING_NAMES = {number: name for name, number in ROAMING.items()}


def voucher_to_body(voucher: Voucher) -> bytes:
    """Serialise once; the signature covers these bytes."""
    return _body(voucher).SerializeToString()


class PackBodies:
    """The bodies of packs that differ from a voucher in pack id and holder only: what they share is filled in once."""

    def __init__(self, shared: Voucher) -> None:
        self._message = _body(shared)

    def body(self, pack_id: bytes, holder_tag: bytes) -> bytes:
        message = self._message
        message.pack_id, message.holder_tag = pack_id, holder_tag
        return message.SerializeToString()


def tree_tokens(bodies: Sequence[bytes], signature: bytes, paths: Sequence[Sequence[bytes]]) -> Iterator[bytes]:
    """The tokens of all packs of a tree, in order, each as `token_to_bytes` gives it."""
    message = voucher_pb2.VoucherToken(signature=signature, tree_size=len(bodies))
    for index, (body, path) in enumerate(zip(bodies, paths, strict=True)):
        message.body, message.leaf_index, message.path[:] = body, index, path
        yield message.SerializeToString()


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
