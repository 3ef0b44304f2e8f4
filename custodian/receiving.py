"""A request on its way into a batch: parsed and its signatures checked, so that a batch only decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from custodian.decisions import Received
from custodian.evidence import SignedBatch
from quanlian import vouchers, wire
from quanlian.errors import BadSignature, InvalidInput, Unavailable, UnknownKey
from quanlian.refusals import Refusal, RefusalReason
from quanlian.signing import SigningKey, Verifier
from quanlian.wire import Item, Purchase


async def receive(
    content: bytes,
    *,
    participant: str,
    acquirer: str,
    redeeming_region: str,
    redemption_id: bytes,
    verifier: Verifier,
    batch: SignedBatch | None = None,
    acquaint: Callable[[Purchase], Awaitable[None]] | None = None,
) -> Received:
    """Read one item. What is wrong with it becomes an early refusal (reasons 1–3), which the batch gives as answer.

    `acquaint` may fetch keys and terms of a voucher that this party has not met; where they cannot be had now, the item
    is refused, and that is its answer for good.
    """
    item: Item | None = None
    key: SigningKey | None = None
    refusal: Refusal | None = None
    try:
        item = wire.bytes_to_item(content)
        if isinstance(item.subject, Purchase):
            if acquaint is not None:
                await acquaint(item.subject)
            key = vouchers.verify(item.subject.token, item.subject.voucher, verifier)
    except InvalidInput as wrong:
        refusal = Refusal(RefusalReason.MALFORMED, field=wrong.place, remedy=wrong.remedy)
    except UnknownKey:
        refusal = Refusal(RefusalReason.UNKNOWN_KEY)
    except BadSignature:
        refusal = Refusal(RefusalReason.BAD_SIGNATURE)
    except Unavailable:
        refusal = Refusal(RefusalReason.NOT_IN_CUSTODY)
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
