"""A line of evidence between head and seal as it tells itself; `clearinghouse/evidence.py` writes them.

Reading checks shapes alone: a field that is missing, of another type, or unknown.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from msgspec import DecodeError, Meta, Struct
from msgspec.json import Decoder

from verifier.findings import Finding

_BEGINNING = 80
"""Bytes of a line that is no JSON, as its finding shows them."""


class ToldLeg(Struct, array_like=True, forbid_unknown_fields=True, frozen=True, gc=False):
    """`[account, fen]`, with `[[debtor, fen], …]` third where it is advanced."""

    account: str
    fen: int
    advanced: tuple[tuple[str, int], ...] = ()


class Posting(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    number: int
    kind: str
    window: int
    at: int
    order_fen: int
    discount_fen: int
    legs: tuple[ToldLeg, ...]


class Visitors(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """What limited the redeeming region's part: its fund, where that was asked, and what a yearly ceiling left.

    A funder is told with its account, its weight and what it had left.
    """

    rule: str = ""
    funders: Annotated[tuple[tuple[str, int, int], ...], Meta(min_length=1)] | None = None
    ceiling_left_fen: int | None = None


class RedemptionLine(Struct, tag_field="kind", tag="redemption", forbid_unknown_fields=True, frozen=True, gc=False):
    """A redemption; amounts of its order as it was held, each capture and refund in `postings`. `crc32` is of the
    line without it.
    """

    id: str
    token: bytes
    index: int
    redeeming_region: str
    merchant: str
    order_id: str
    category: str
    channel: str
    klass: str
    order_fen: int
    invoice_fen: int
    price_fen: int
    discount_fen: int
    authorized_at: int
    agreement: str
    visitors: Visitors | None
    postings: tuple[Posting, ...]
    crc32: str


class HandOverLine(Struct, tag_field="kind", tag="hand-over", forbid_unknown_fields=True, frozen=True, gc=False):
    """A hand-over's signed head; `vouchers` are shown with their places in its tree, `nodes` hash the others."""

    issuer: str
    number: int
    head: bytes
    key_id: str
    signature: bytes
    vouchers: tuple[tuple[int, bytes], ...]
    nodes: bytes


class Unreadable(NamedTuple):
    """A line that is neither; `kind` is what it calls itself."""

    kind: str
    finding: Finding


_lines: Decoder[RedemptionLine | HandOverLine] = Decoder(RedemptionLine | HandOverLine)
_anything = Decoder()


def read_line(content: bytes) -> RedemptionLine | HandOverLine | Unreadable:
    """What a line tells, or why it cannot be read."""
    try:
        return _lines.decode(content)
    except DecodeError as error:
        return _unreadable(content, error)


def _unreadable(content: bytes, error: DecodeError) -> Unreadable:
    try:
        line: dict[str, Any] = _anything.decode(content)
        kind = str(line["kind"])
    except (ValueError, KeyError, TypeError) as reason:
        begins = content.removesuffix(b"\n")[:_BEGINNING].decode(errors="replace")
        return Unreadable("", Finding("line", "cannot be read", str(reason), begins))
    match kind:
        case "redemption":
            found = Finding(f"redemption {line.get('id')}", "cannot be read", f"{type(error).__name__}: {error}")
        case "hand-over":
            what = "vouchers" if "$.vouchers" in str(error) or "$.nodes" in str(error) else "signature"
            found = Finding(f"hand-over {line.get('issuer')}/{line.get('number')}", what, str(error))
        case _:
            found = Finding("line", "kind", kind, "hand-over or redemption")
    return Unreadable(kind, found)
