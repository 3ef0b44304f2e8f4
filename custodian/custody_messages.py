"""What the custodians say to each other beside hand-overs: signed refusals to let a voucher go."""

from __future__ import annotations

from typing import NamedTuple

from quanlian import wire
from quanlian.errors import BadSignature, InvalidInput
from quanlian.refusals import RefusalReason
from quanlian.signing import Signer, Verifier
from quanlian.v1 import custody_pb2, signed_pb2
from quanlian.vouchers import VoucherKey

REFUSED_KIND = "custody-refused"


class CustodyRefused(NamedTuple):
    """A custodian will not let a voucher go; the message proves it."""

    key: VoucherKey
    reason: RefusalReason
    message: signed_pb2.SignedMessage


def refused(
    signer: Signer, custodian: str, key: VoucherKey, reason: RefusalReason, at: int
) -> signed_pb2.SignedMessage:
    """The signed word of a custodian (an adcode, or `clearinghouse`) that it keeps a voucher, and why."""
    body = custody_pb2.CustodyRefused(
        custodian=custodian,
        issuer=key.issuer,
        voucher=custody_pb2.VoucherRef(pack_id=key.pack_id, index=key.voucher_index),
        reason=reason.value,  # type: ignore[arg-type]
        at=at,
    ).SerializeToString()
    return signed_pb2.SignedMessage(body=body, key_id=signer.key_id, signature=signer.sign(REFUSED_KIND, body))


def read_refused(message: signed_pb2.SignedMessage, custodian: str, verifier: Verifier) -> CustodyRefused:
    """Raises UnknownKey or BadSignature unless the custodian signed it, InvalidInput for a reason nobody knows."""
    key = verifier.verify(message.key_id, REFUSED_KIND, message.body, message.signature)
    body = wire.parse(custody_pb2.CustodyRefused, message.body, "custody refused")
    if key.owner != custodian or key.purpose != "message" or body.custodian != custodian:
        raise BadSignature(f"a refusal of {custodian} is signed by {key.owner}'s key for {key.purpose}")
    try:
        reason = RefusalReason(body.reason)
    except ValueError:
        raise InvalidInput(f"{body.reason} is no reason", place="custody refused") from None
    return CustodyRefused(VoucherKey(body.issuer, body.voucher.pack_id, body.voucher.index), reason, message)
