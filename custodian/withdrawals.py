"""The clearinghouse's signed word that a posting counts nowhere any more: restored, it could not book it."""

from __future__ import annotations

from typing import NamedTuple

from quanlian import wire
from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import BadSignature
from quanlian.signing import Signer, Verifier
from quanlian.v1 import custody_pb2, redemption_pb2, signed_pb2

KIND = "withdrawal"


class Withdrawal(NamedTuple):
    """What was taken back, and the message that proves it.

    `incarnation` is the one that the clearinghouse began by that recovery: copies of that or a later one know of it.
    """

    posting: redemption_pb2.Posting
    incarnation: int
    message: signed_pb2.SignedMessage


def sign_withdrawal(
    posting: redemption_pb2.Posting, incarnation: int, at: int, reason: str, signer: Signer
) -> signed_pb2.SignedMessage:
    """`posting` with the id of its request, if anybody asked for it."""
    body = custody_pb2.Withdrawal(posting=posting, incarnation=incarnation, at=at, reason=reason).SerializeToString()
    return signed_pb2.SignedMessage(body=body, key_id=signer.key_id, signature=signer.sign(KIND, body))


def read_withdrawal(message: signed_pb2.SignedMessage, verifier: Verifier) -> Withdrawal:
    """Raises UnknownKey, BadSignature unless the clearinghouse signed it, or InvalidInput."""
    key = verifier.verify(message.key_id, KIND, message.body, message.signature)
    if (key.owner, key.purpose) != (CLEARINGHOUSE, "message"):
        raise BadSignature(f"a withdrawal is signed by {key.owner}'s key for {key.purpose}")
    said = wire.parse(custody_pb2.Withdrawal, message.body, "withdrawal")
    return Withdrawal(said.posting, said.incarnation, message)
