"""Suspensions and reactivations."""

from __future__ import annotations

from quanlian.suspensions import Suspension, SuspensionKind, check_suspension
from quanlian.v1 import suspension_pb2
from quanlian.wire.reading import need, parse

SUSPENSION_KINDS = frozenset(kind.value for kind in SuspensionKind)


def suspension_message(suspension: Suspension) -> suspension_pb2.Suspension:
    return suspension_pb2.Suspension(**suspension._asdict() | {"kind": suspension.kind.value})


def suspension_kind(number: int) -> SuspensionKind:
    """Raises InvalidInput for none that is known."""
    need(number in SUSPENSION_KINDS, "suspension.kind", "所列停用种类之一", "one of the kinds of suspension")
    return SuspensionKind(number)


def suspension_to_body(suspension: Suspension) -> bytes:
    """Serialise once; the signature covers these bytes."""
    return suspension_message(suspension).SerializeToString()


def body_to_suspension(body: bytes) -> Suspension:
    """Raises InvalidInput for what its authority may not say, or one without who and why."""
    message = parse(suspension_pb2.Suspension, body, "suspension")
    need(bool(message.by and message.why), "suspension", "决定人与原因", "who decided it and why")
    suspension = Suspension(
        message.authority,
        message.number,
        suspension_kind(message.kind),
        message.subject,
        message.suspended,
        message.at,
        message.by,
        message.why,
        message.bad_from,
    )
    check_suspension(suspension)
    return suspension
