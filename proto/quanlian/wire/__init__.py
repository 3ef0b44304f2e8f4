"""Between the messages of `v1/*.proto` and the values of this package; only `hand_overs` knows the stubs as well.

Reading checks shapes and raises InvalidInput that names the field; what the values mean is checked where they are used.
"""

from quanlian.wire.answers import (
    Stamp,
    accepted,
    answer_request_id,
    answered_again,
    done,
    quoted,
    refusal_message,
    refused,
)
from quanlian.wire.campaigns import CHANGE_KINDS, body_to_change, change_message, change_of, change_to_body
from quanlian.wire.custody import handed_message, handed_voucher
from quanlian.wire.legs import legs_messages, legs_of
from quanlian.wire.postings import CaptureMessages, Moment, posting_message
from quanlian.wire.reading import MAXIMUM_AMOUNT_FEN, parse, parse_each
from quanlian.wire.records import bought, order_message, record_message
from quanlian.wire.requests import (
    MAX_FORWARDED_BYTES,
    MAX_ITEM_BYTES,
    REQUEST_ID_BYTES,
    Item,
    Later,
    Origin,
    Purchase,
    batch_digest,
    bytes_to_item,
    item_hashes,
    operation_of,
    readdressed,
    request_id_of,
    reverse_item,
)
from quanlian.wire.suspensions import (
    SUSPENSION_KINDS,
    body_to_suspension,
    suspension_kind,
    suspension_message,
    suspension_to_body,
)
from quanlian.wire.vouchers import (
    MAXIMUM_VOUCHERS,
    ROAMING,
    PackBodies,
    body_to_voucher,
    bytes_to_token,
    claim_answers,
    token_to_bytes,
    tree_tokens,
    voucher_to_body,
)

__all__ = [
    "CHANGE_KINDS",
    "MAXIMUM_AMOUNT_FEN",
    "MAXIMUM_VOUCHERS",
    "MAX_FORWARDED_BYTES",
    "MAX_ITEM_BYTES",
    "REQUEST_ID_BYTES",
    "ROAMING",
    "SUSPENSION_KINDS",
    "CaptureMessages",
    "Item",
    "Later",
    "Moment",
    "Origin",
    "PackBodies",
    "Purchase",
    "Stamp",
    "accepted",
    "answer_request_id",
    "answered_again",
    "batch_digest",
    "body_to_change",
    "body_to_suspension",
    "body_to_voucher",
    "bought",
    "bytes_to_item",
    "bytes_to_token",
    "change_message",
    "change_of",
    "change_to_body",
    "claim_answers",
    "done",
    "handed_message",
    "handed_voucher",
    "item_hashes",
    "legs_messages",
    "legs_of",
    "operation_of",
    "order_message",
    "parse",
    "parse_each",
    "posting_message",
    "quoted",
    "readdressed",
    "record_message",
    "refusal_message",
    "refused",
    "request_id_of",
    "reverse_item",
    "suspension_kind",
    "suspension_message",
    "suspension_to_body",
    "token_to_bytes",
    "tree_tokens",
    "voucher_to_body",
]
