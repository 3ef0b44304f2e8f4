"""Evidence files of platforms, read for a node that recovers: requests with the answers that it signed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from custodian import evidence_file
from custodian.paging import pages
from quanlian import wire
from quanlian.errors import InvalidInput
from quanlian.evidence import Exchange, Message
from quanlian.v1 import node_operator_pb2 as pb
from quanlian.v1 import redemption_pb2

RECEIPTS_PER_CALL = 200


def receipt_pages(files: Iterable[tuple[str, bytes]]) -> Iterator[pb.BookReceiptsRequest]:
    """Every exchange with a platform in the files (name, content), in the order of their times, as calls to the node.

    Raises InvalidInput for a file that cannot be read, before the first call.
    """
    chains: dict[bytes, bytes] = {}
    receipts: list[pb.PlatformReceipt] = []
    for name, content in files:
        try:
            shown = evidence_file.read(content)
        except InvalidInput as error:
            raise InvalidInput(str(error), place=name) from error
        chains |= shown.chains
        receipts += [made for exchange in shown.exchanges if (made := _receipt(exchange))]
    receipts.sort(key=_decided_at)
    for page in pages(receipts, lambda each: each.ByteSize(), RECEIPTS_PER_CALL):
        yield pb.BookReceiptsRequest(receipts=page, chains=chains.values())


def _receipt(exchange: Exchange) -> pb.PlatformReceipt | None:
    """None for what is no platform's, or not whole."""
    if "/" not in exchange.asker or exchange.request is None or exchange.answer is None:
        return None
    return pb.PlatformReceipt(request=_shown(exchange.request), answer=_shown(exchange.answer))


def _shown(message: Message) -> pb.ShownMessage:
    return pb.ShownMessage(
        content=message.content, hashes=message.hashes, key_id=message.key_id, signature=message.signature
    )


def _decided_at(receipt: pb.PlatformReceipt) -> int:
    """Of an answer that cannot be read, the beginning of time: the node says what is wrong with it."""
    try:
        return wire.parse(redemption_pb2.RedemptionAnswer, receipt.answer.content, "answer").decided_at
    except InvalidInput:
        return 0
