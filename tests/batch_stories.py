"""Random stories of redemption requests: batches some seconds apart, each request fit to be repeated or undone."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from local_parties import MINIMUM_FEN, item, keys_of, purchase

from custodian import overdue
from quanlian import wire
from quanlian.v1 import redemption_pb2 as pb
from quanlian.vouchers import VoucherKey

PACKS = 3
BUYING, LATER = ("redeem", "authorize"), ("capture", "refund", "void")
OPERATIONS = (*BUYING, *BUYING, *LATER, *LATER, "reverse", "repeat", "changed", "release")
STEP = st.tuples(
    st.sampled_from(OPERATIONS),
    st.integers(0, PACKS * 2 - 1),
    st.integers(0, 7),
    st.sampled_from((5800, 5800, 4000, 0, 1000)),
)
STORIES = st.lists(
    st.tuples(st.sampled_from((0, 0, 0, 450, 900)), st.lists(STEP, min_size=3, max_size=15)), min_size=1, max_size=4
)
"""Batches: how many seconds after the last, and its steps: what, which voucher or request, which order, how much."""

HOLDS_A_BATCH = st.sampled_from((1, 2, overdue.HOLDS_A_BATCH))
"""How many passed holds a commit records: a story has a handful, so that at times there are more."""

Step = tuple[str, int, int, int]
Story = list[tuple[int, list[Step]]]


def request_id(number: int) -> bytes:
    return b"r" * 12 + number.to_bytes(4, "big")


def redemption_id_of(content: bytes) -> bytes:
    """The id that a request's redemption gets if it makes one: known beforehand, so that a batch may refer to it."""
    return b"redemption--" + wire.request_id_of(content)[12:]


def requests_of(steps: Sequence[Step], tokens: Sequence[bytes], asked: list[bytes]) -> list[bytes | VoucherKey]:
    """A batch's requests; a voucher's key stands for its release. `asked` has every request so far and grows."""
    requests: list[bytes | VoucherKey] = []
    for what, which, order, fen in steps:
        if what == "release":
            requests.append(keys_of(tokens[which // 2])[which % 2])
            continue
        buying = purchase(tokens[which // 2], which % 2, f"order-{order}", fen or MINIMUM_FEN)
        earlier = [each for each in asked if pb.RedemptionItem.FromString(each).WhichOneof("operation") in BUYING]
        if not earlier and what not in BUYING:
            what = "redeem"
        known = earlier[which % len(earlier)] if earlier else b""
        content = known if what == "repeat" else _content(what, request_id(len(asked)), which, buying, fen, known)
        asked.append(content)
        requests.append(content)
    return requests


def _content(what: str, id: bytes, which: int, buying: pb.Purchase, fen: int, known: bytes) -> bytes:
    match what:
        case "authorize" | "redeem":
            return item(id, **{what: buying})
        case "capture":
            return item(id, capture=pb.Capture(redemption_id=redemption_id_of(known), order_fen=fen))
        case "void":
            return item(id, void=pb.Void(redemption_id=redemption_id_of(known)))
        case "refund":
            return item(id, refund=pb.Refund(redemption_id=redemption_id_of(known), order_fen=fen))
        case "reverse":
            return item(id, reverse=pb.Reverse(original_request_id=request_id(which)))
        case _:
            return item(wire.request_id_of(known), redeem=buying)
