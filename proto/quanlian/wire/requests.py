"""What is asked of a party: items of redemption, alone and in signed batches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.message import DecodeError

from quanlian.discounts import Order
from quanlian.errors import InvalidInput
from quanlian.redemptions import Sale
from quanlian.v1 import redemption_pb2
from quanlian.vouchers import TAG_BYTES, Token, Voucher, VoucherKey
from quanlian.wire.reading import need, need_amount, need_text, parse
from quanlian.wire.vouchers import MAXIMUM_VOUCHERS, body_to_voucher, bytes_to_token

REQUEST_ID_BYTES = 16
MAX_ITEM_BYTES = 16 * 1024
"""Of one redemption item: many times what a token and an order need, and little beside the limit of a message."""

MAX_FORWARDED_BYTES = MAX_ITEM_BYTES + 1024
"""Of one that a node sends on, with whose it was and what discount the node expects."""


def batch_digest(items: Sequence[bytes]) -> bytes:
    """What a batch's signature covers: SHA-256 over the items' SHA-256 hashes, so that one can be shown alone."""
    return hashlib.sha256(b"".join(item_hashes(items))).digest()


def item_hashes(items: Sequence[bytes]) -> list[bytes]:
    return [hashlib.sha256(item).digest() for item in items]


class Purchase(NamedTuple):
    """A quote, authorize or redeem: one voucher, `key`, for one sale; `shown` is its pack's token as it came."""

    shown: bytes
    token: Token
    voucher: Voucher
    key: VoucherKey
    sale: Sale
    payer_tag: bytes
    expected_fen: int

    @property
    def voucher_index(self) -> int:
        return self.key.voucher_index


class Later(NamedTuple):
    """A capture, void or refund of a redemption; `order_fen` as the message means it."""

    redemption_id: bytes
    order_fen: int


class Item(NamedTuple):
    """One request. `operation` is the oneof's field name; `subject` a Purchase, a Later, or the original request id."""

    request_id: bytes
    operation: str
    subject: Purchase | Later | bytes
    content: bytes


def request_id_of(content: bytes) -> bytes:
    """The request id of an item, also of one that is otherwise malformed; empty when it cannot be read."""
    try:
        return redemption_pb2.RedemptionItem.FromString(content).request_id
    except DecodeError:
        return b""


def operation_of(content: bytes) -> str | None:
    """The operation of an item, also of one that is otherwise malformed; None when it cannot be read or has none."""
    try:
        return redemption_pb2.RedemptionItem.FromString(content).WhichOneof("operation")
    except DecodeError:
        return None


def bytes_to_item(content: bytes, limit: int = MAX_ITEM_BYTES) -> Item:
    """`limit` is of its bytes. Raises InvalidInput naming the field that is wrong: the refusal MALFORMED."""
    if len(content) > limit:
        need(False, "item", f"至多{limit}字节", f"at most {limit} bytes")
    message = parse(redemption_pb2.RedemptionItem, content, "item")
    request_id = message.request_id
    if len(request_id) != REQUEST_ID_BYTES:
        need(False, "request_id", f"{REQUEST_ID_BYTES}字节", f"{REQUEST_ID_BYTES} bytes")
    operation = message.WhichOneof("operation")
    if operation is None:
        raise InvalidInput("no operation", place="item", remedy="应写明一种操作 · set one of the operations")
    subject: Purchase | Later | bytes
    if operation in ("quote", "authorize", "redeem"):
        subject = _purchase(getattr(message, operation))
    elif operation == "reverse":
        subject = message.reverse.original_request_id
        need(
            len(subject) == REQUEST_ID_BYTES,
            "reverse.original_request_id",
            f"{REQUEST_ID_BYTES}字节",
            f"{REQUEST_ID_BYTES} bytes",
        )
        need(subject != request_id, "reverse.original_request_id", "另一请求的请求号", "the id of another request")
    else:
        later = getattr(message, operation)
        order_fen = 0 if operation == "void" else later.order_fen
        need_amount(order_fen, f"{operation}.order_fen")
        need(operation != "refund" or order_fen > 0, "refund.order_fen", "大于0的金额", "more than 0")
        need(len(later.redemption_id) == 16, f"{operation}.redemption_id", "16字节", "16 bytes")
        subject = Later(later.redemption_id, order_fen)
    return Item(request_id, operation, subject, content)


def _purchase(message: redemption_pb2.Purchase) -> Purchase:
    shown = message.token
    token = bytes_to_token(shown)
    voucher = body_to_voucher(token.body)
    order = message.order
    order_fen, invoice_fen, price_fen = order.order_fen, order.invoice_fen, order.price_fen
    merchant, order_id, payer_tag, index = order.merchant, order.order_id, order.payer_tag, message.index
    category, channel, klass = order.category, order.channel, order.klass
    need_amount(order_fen, "order.order_fen")
    need_amount(invoice_fen, "order.invoice_fen")
    need_amount(price_fen, "order.price_fen")
    need_amount(message.expected_discount_fen, "expected_discount_fen")
    need(order_fen > 0, "order.order_fen", "大于0的金额", "more than 0")
    need_text(merchant, "order.merchant", 1, 32)
    need_text(order_id, "order.order_id", 1, 64)
    need_text(category, "order.category", 0, 64)
    need_text(channel, "order.channel", 0, 64)
    need_text(klass, "order.klass", 0, 64)
    if len(payer_tag) > TAG_BYTES:
        need(False, "order.payer_tag", f"至多{TAG_BYTES}字节", f"at most {TAG_BYTES} bytes")
    if index >= MAXIMUM_VOUCHERS:
        need(False, "index", f"小于{MAXIMUM_VOUCHERS}的数", f"less than {MAXIMUM_VOUCHERS}")
    sale = Sale(merchant, order_id, Order(order_fen, category, channel, klass, invoice_fen, price_fen))
    key = VoucherKey(voucher.issuer, voucher.pack_id, index)
    return Purchase(shown, token, voucher, key, sale, payer_tag, message.expected_discount_fen)


class Origin(NamedTuple):
    """Whose request a node sends on; `body_hash` is of the item as it came."""

    participant: str
    request_id: bytes
    body_hash: bytes


def readdressed(content: bytes, request_id: bytes, origin: Origin, expected_discount_fen: int = 0) -> bytes:
    """An item as a node sends it on: the same operation under the node's own request id."""
    message = redemption_pb2.RedemptionItem.FromString(content)
    message.request_id = request_id
    message.origin.CopyFrom(redemption_pb2.Origin(**origin._asdict()))
    if expected_discount_fen:
        getattr(message, str(message.WhichOneof("operation"))).expected_discount_fen = expected_discount_fen
    return message.SerializeToString()


def reverse_item(request_id: bytes, original_request_id: bytes, origin: Origin) -> bytes:
    """A node's reverse of an item that it sent under its own id."""
    reverse = redemption_pb2.Reverse(original_request_id=original_request_id)
    message = redemption_pb2.RedemptionItem(request_id=request_id, reverse=reverse)
    message.origin.CopyFrom(redemption_pb2.Origin(**origin._asdict()))
    return message.SerializeToString()
