"""What a region sends the clearinghouse signed."""

from __future__ import annotations

from custodian.servicer import require_not_denied
from pki.trust import Keyring
from quanlian.errors import BadSignature
from quanlian.signing import SigningKey
from quanlian.v1 import signed_pb2


def require_signed(keyring: Keyring, message: signed_pb2.SignedMessage, kind: str, region: str) -> None:
    """Raises UnknownKey, or BadSignature for what the region did not sign with its key for this kind of message, or by
    one that is denied now.
    """
    require_not_denied(verify_signed(keyring, message, kind, region))


def verify_signed(keyring: Keyring, message: signed_pb2.SignedMessage, kind: str, owner: str) -> SigningKey:
    """The same for what may have been signed before its key was denied."""
    key = keyring.verify(message.key_id, kind, message.body, message.signature)
    purpose = "terms" if kind == "terms" else "message"
    if key.owner != owner or key.purpose != purpose:
        raise BadSignature(f"{kind} of {owner} is signed by {key.owner}'s key for {key.purpose}")
    return key
