"""What clients were told, against the books: an acknowledged answer is durable, and one request id has one answer."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from quanlian.v1 import claim_pb2, redemption_pb2, refusal_pb2, voucher_pb2
from simulations.auditor.databases import Network
from simulations.auditor.inquiry import Inquiry

_NOT_KEPT = (
    refusal_pb2.REFUSAL_REASON_MALFORMED,
    refusal_pb2.REFUSAL_REASON_UNKNOWN_KEY,
    refusal_pb2.REFUSAL_REASON_BAD_SIGNATURE,
    refusal_pb2.REFUSAL_REASON_KEY_NOT_VALID,
    refusal_pb2.REFUSAL_REASON_KEY_REVOKED,
    refusal_pb2.REFUSAL_REASON_REQUEST_ID_REUSED,
    refusal_pb2.REFUSAL_REASON_QUOTA_EXHAUSTED,
)
"""Answers that do not consume the request id: the next attempt is judged anew."""


class Promise(NamedTuple):
    """An answer that reached a client at second `at`: `region` is the node that gave it, `name` how people speak of
    the request, `asked_at` when one of its id was first sent.
    """

    region: str
    participant: str
    request_id: bytes
    name: str
    is_claim: bool
    content: bytes
    answer: bytes
    at: float
    asked_at: float = 0.0


def redemption_of(promise: Promise) -> bytes:
    """The redemption that an answer is about; empty for a claim, and for a refusal of a first request."""
    return b"" if promise.is_claim else redemption_pb2.RedemptionAnswer.FromString(promise.answer).redemption_id


def posting_of(promise: Promise) -> redemption_pb2.Posting | None:
    """What an answer said was captured or refunded; None where it said no such thing."""
    if promise.is_claim:
        return None
    answer = redemption_pb2.RedemptionAnswer.FromString(promise.answer)
    return answer.posting if answer.HasField("posting") else None


def examine_promises(network: Network, promises: Sequence[Promise], inquiry: Inquiry) -> None:
    by_request: defaultdict[tuple[str, str, bytes], list[Promise]] = defaultdict(list)
    for promise in promises:
        if _refusal(promise) not in _NOT_KEPT:
            by_request[(promise.region, promise.participant, promise.request_id)].append(promise)
    for (region, participant, request_id), told in by_request.items():
        first = told[0]
        place = f"{first.name} at {region}"
        answers = {each.answer for each in told}
        inquiry.require(len(answers) == 1, f"{place}: one request id was answered in {len(answers)} ways")
        known = network.nodes[region].requests.get((participant, request_id))
        inquiry.require(known is not None, f"{place}: was answered, and the database has no such request")
        if known is not None and known.answer not in answers:
            inquiry.find(f"{place}: was answered otherwise than the database says")
        if known is not None and known.body_hash is not None:
            for each in told:
                own = hashlib.sha256(each.content).digest() == known.body_hash
                inquiry.require(own, f"{each.name} at {region}: has other bytes than the request whose answer it got")
    _packs_exist(network, promises, inquiry)
    _captured_once(promises, inquiry)


def examine_postings(network: Network, promises: Sequence[Promise], inquiry: Inquiry) -> None:
    """What clients were told was captured or refunded stands so in the books of the party that decided it."""
    books = {each.name: each for each in network.books}
    posted = {name: {(row.redemption_id, row.number): row for row in book.postings} for name, book in books.items()}
    for promise in promises:
        said = posting_of(promise)
        if said is not None:
            decider = redemption_pb2.RedemptionAnswer.FromString(promise.answer).decider
            row = posted[decider].get((said.redemption_id, said.number))
            stands = row is not None and (row.order_fen, row.discount_fen) == (said.order_fen, said.discount_fen)
            inquiry.require(stands, f"{promise.name}: {said.discount_fen} fen were posted and {decider} has them not")


def _packs_exist(network: Network, promises: Sequence[Promise], inquiry: Inquiry) -> None:
    """A token that a shopper was given stands for a pack of its issuer."""
    for promise in promises:
        if promise.is_claim and not _refusal(promise):
            token = voucher_pb2.VoucherToken.FromString(claim_pb2.ClaimAnswer.FromString(promise.answer).token)
            pack_id = voucher_pb2.VoucherBody.FromString(token.body).pack_id
            inquiry.require(
                pack_id in network.nodes[promise.region].packs,
                f"{promise.name} at {promise.region}: the shopper has a pack that the database does not know",
            )


def _captured_once(promises: Sequence[Promise], inquiry: Inquiry) -> None:
    """By what clients were told alone: one redemption a voucher was captured."""
    captures: defaultdict[bytes, dict[bytes, str]] = defaultdict(dict)
    purchases: dict[bytes, bytes] = {}
    for promise in promises:
        if promise.is_claim or _refusal(promise):
            continue
        item = redemption_pb2.RedemptionItem.FromString(promise.content)
        answer = redemption_pb2.RedemptionAnswer.FromString(promise.answer)
        operation = item.WhichOneof("operation")
        if operation in ("redeem", "authorize"):
            purchase = item.redeem if operation == "redeem" else item.authorize
            purchases[answer.redemption_id] = purchase.token + bytes([purchase.index])
        if operation in ("redeem", "capture") and answer.redemption_id in purchases:
            captures[purchases[answer.redemption_id]][answer.redemption_id] = promise.name
    for by in captures.values():
        inquiry.require(
            len(by) == 1, f"clients were told of {len(by)} captures of one voucher: {', '.join(by.values())}"
        )


def _refusal(promise: Promise) -> int:
    """Why a request was refused; 0 if it was not."""
    if promise.is_claim:
        return claim_pb2.ClaimAnswer.FromString(promise.answer).refusal.reason
    return redemption_pb2.RedemptionAnswer.FromString(promise.answer).refusal.reason
