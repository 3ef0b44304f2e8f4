"""What was answered to a reverse, against what became of the request that it reversed: nothing of it may stand."""

from __future__ import annotations

from collections.abc import Sequence

from quanlian.v1 import redemption_pb2
from simulations.auditor.databases import Network
from simulations.auditor.inquiry import Inquiry
from simulations.auditor.promises import Promise

UNDONE_STATES = ("VOIDED", "EXPIRED", "REFUNDED")


def examine_reversals(network: Network, promises: Sequence[Promise], inquiry: Inquiry) -> None:
    """Whether the original came before the reverse or after it: its id is known, and what it did is undone."""
    reversals = [(each, reversed_id) for each in promises if (reversed_id := _reversed(each))]
    if not reversals:
        return
    redemptions = {id: (book.name, row) for book in network.books for id, row in book.redemptions.items()}
    for promise, original_id in reversals:
        place = f"{promise.name} at {promise.region}"
        original = network.nodes[promise.region].requests.get((promise.participant, original_id))
        inquiry.require(original is not None, f"{place}: was answered as done, and the original could still come")
        if original is not None and original.redemption_id in redemptions:
            decider, row = redemptions[original.redemption_id]
            inquiry.require(
                row.state in UNDONE_STATES,
                f"{place}: was answered as done, and {decider} has the original {row.state} "
                f"with {row.discount_fen} fen: redemption {row.id.hex()}",
            )


def _reversed(promise: Promise) -> bytes:
    """The request that a reverse undid; empty for other requests, and where it was refused."""
    if promise.is_claim:
        return b""
    item = redemption_pb2.RedemptionItem.FromString(promise.content)
    if item.WhichOneof("operation") != "reverse":
        return b""
    refused = redemption_pb2.RedemptionAnswer.FromString(promise.answer).HasField("refusal")
    return b"" if refused else item.reverse.original_request_id
