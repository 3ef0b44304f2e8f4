"""How far the clearinghouse has come with a region, as it signs it with every message of the feed.

A node keeps the one that shows most and brings it along: of what a region says that it has seen of the clearinghouse,
this alone is believed, for nobody else can make it.
"""

from __future__ import annotations

from quanlian import wire
from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import BadSignature
from quanlian.signing import Signer, Verifier
from quanlian.v1 import custody_pb2, signed_pb2

KIND = "feed-head"


def sign_head(head: custody_pb2.FeedHead, signer: Signer) -> signed_pb2.SignedMessage:
    body = head.SerializeToString()
    return signed_pb2.SignedMessage(body=body, key_id=signer.key_id, signature=signer.sign(KIND, body))


def read_head(message: signed_pb2.SignedMessage) -> custody_pb2.FeedHead:
    """One of whose signature the reader makes nothing: the clearinghouse itself tells it. Raises InvalidInput."""
    return wire.parse(custody_pb2.FeedHead, message.body, KIND)


def verify_head(message: signed_pb2.SignedMessage, region: str, verifier: Verifier) -> custody_pb2.FeedHead:
    """Raises UnknownKey, or BadSignature for what the clearinghouse did not sign of that region."""
    key = verifier.verify(message.key_id, KIND, message.body, message.signature)
    if (key.owner, key.purpose) != (CLEARINGHOUSE, "message"):
        raise BadSignature(
            f"由 {key.owner} 的 {key.purpose} 密钥签名 · is signed by {key.owner}'s key for {key.purpose}"
        )
    head = read_head(message)
    if head.region != region:
        raise BadSignature(f"签给 {head.region} · was signed for {head.region}")
    return head
