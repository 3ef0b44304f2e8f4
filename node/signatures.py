"""What this node signs, and what the clearinghouse must have signed."""

from __future__ import annotations

from pki.identity import CLEARINGHOUSE
from pki.trust import Keyring
from quanlian.errors import BadSignature
from quanlian.signing import Signer
from quanlian.v1 import signed_pb2


def signed(body: bytes, kind: str, signer: Signer) -> signed_pb2.SignedMessage:
    return signed_pb2.SignedMessage(body=body, key_id=signer.key_id, signature=signer.sign(kind, body))


def require_clearinghouse(keyring: Keyring, message: signed_pb2.SignedMessage, kind: str) -> None:
    """Raises UnknownKey, or BadSignature for what the clearinghouse did not sign."""
    key = keyring.verify(message.key_id, kind, message.body, message.signature)
    purpose = "statement" if kind == "statement" else "message"
    if key.owner != CLEARINGHOUSE or key.purpose != purpose:
        raise BadSignature(f"{kind} is not signed by the clearinghouse")
