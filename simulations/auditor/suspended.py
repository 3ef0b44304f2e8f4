"""What an issuer suspended is not spent at its own node: by the order in which clients were answered and asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from quanlian.v1 import redemption_pb2, voucher_pb2
from simulations.auditor.inquiry import Inquiry
from simulations.auditor.promises import Promise


class Suspended(NamedTuple):
    """A voucher whose issuer's operator was told at second `at` that it is suspended."""

    issuer: str
    pack_id: bytes
    voucher_index: int
    at: float


def examine_suspended(suspended: Sequence[Suspended], promises: Sequence[Promise], inquiry: Inquiry) -> None:
    """Who asks its issuer for a suspended voucher afterwards gets no discount; nothing is reactivated."""
    for each in suspended:
        for promise in promises:
            if promise.asked_at > each.at and _shown_voucher(promise) == (each.pack_id, each.voucher_index):
                answer = redemption_pb2.RedemptionAnswer.FromString(promise.answer)
                accepted = answer.decider == each.issuer and not answer.HasField("refusal")
                inquiry.require(
                    not accepted,
                    f"{promise.name} at {promise.region}: was accepted of a voucher that was suspended before it",
                )


def _shown_voucher(promise: Promise) -> tuple[bytes, int]:
    """The pack and index that a purchase shows; nothing for other requests."""
    if promise.is_claim:
        return b"", 0
    item = redemption_pb2.RedemptionItem.FromString(promise.content)
    operation = item.WhichOneof("operation")
    if operation not in ("redeem", "authorize"):
        return b"", 0
    purchase = item.redeem if operation == "redeem" else item.authorize
    token = voucher_pb2.VoucherToken.FromString(purchase.token)
    return voucher_pb2.VoucherBody.FromString(token.body).pack_id, purchase.index
