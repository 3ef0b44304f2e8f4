"""A request on its way into a batch: parsed and its signatures checked, so that a batch only decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from custodian.decisions import Received
from custodian.evidence import SignedBatch
from quanlian import vouchers, wire
from quanlian.errors import BadSignature, InvalidInput, QuanlianError, Unavailable, UnknownKey
from quanlian.refusals import Refusal, RefusalReason
from quanlian.signing import SigningKey, Verifier
from quanlian.wire import Item, Purchase

_REFUSED = (InvalidInput, UnknownKey, BadSignature, Unavailable)
"""What may be wrong with an item; anything else is a fault of this party."""


def receive(
    content: bytes,
    *,
    participant: str,
    acquirer: str,
    redeeming_region: str,
    redemption_id: bytes,
    verifier: Verifier,
    batch: SignedBatch | None = None,
    limit: int = wire.MAX_ITEM_BYTES,
) -> Received:
    """Read one item of at most `limit` bytes.

    What is wrong with it becomes an early refusal (reasons 1–3), which the batch gives as answer.
    """
    item: Item | None = None
    key: SigningKey | None = None
    refusal: Refusal | None = None
    try:
        item = wire.bytes_to_item(content, limit)
        if isinstance(item.subject, Purchase):
            key = vouchers.verify(item.subject.token, item.subject.voucher, verifier)
    except _REFUSED as error:
        refusal = _refused(error)
    return Received(
        content=content,
        request_id=item.request_id if item else wire.request_id_of(content),
        participant=participant,
        acquirer=acquirer,
        redeeming_region=redeeming_region,
        redemption_id=redemption_id,
        item=item,
        key=key,
        refusal=refusal,
        batch=batch,
    )


async def receive_stranger(
    stranger: Received, acquaint: Callable[[Purchase], Awaitable[None]], verifier: Verifier
) -> Received:
    """The same item again, once `acquaint` has fetched keys and terms of a voucher that this party has not met.

    Where they cannot be had now, the item is refused, and that is its answer for good; a voucher whose signature was
    checked is judged before by what needs no terms.
    """
    assert stranger.item is not None
    purchase = stranger.item.subject
    assert isinstance(purchase, Purchase)
    try:
        await acquaint(purchase)
        stranger.key = vouchers.verify(purchase.token, purchase.voucher, verifier)
        stranger.refusal = None
    except Unavailable as error:
        stranger.refusal = _refused(error)
    except _REFUSED as error:
        stranger.key, stranger.refusal = None, _refused(error)
    return stranger


def _refused(error: QuanlianError) -> Refusal:
    if isinstance(error, InvalidInput):
        return Refusal(RefusalReason.MALFORMED, field=error.place, remedy=error.remedy)
    if isinstance(error, UnknownKey):
        return Refusal(RefusalReason.UNKNOWN_KEY)
    if isinstance(error, BadSignature):
        return Refusal(RefusalReason.BAD_SIGNATURE)
    return Refusal(RefusalReason.NOT_IN_CUSTODY)
