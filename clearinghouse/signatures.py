"""What a region sends the clearinghouse signed."""

from __future__ import annotations

from custodian.servicer import require_not_denied
from pki.trust import Keyring
from quanlian.errors import BadSignature
from quanlian.v1 import signed_pb2


def require_signed(keyring: Keyring, message: signed_pb2.SignedMessage, kind: str, region: str) -> None:
    """Raises UnknownKey, or BadSignature for what the region did not sign with its key for this kind of message."""
    key = keyring.verify(message.key_id, kind, message.body, message.signature)
    require_not_denied(key)
    purpose = "terms" if kind == "terms" else "message"
    if key.owner != region or key.purpose != purpose:
        raise BadSignature(f"{kind} of {region} is signed by {key.owner}'s key for {key.purpose}")
