"""A portion of the evidence, judged by itself, so that several processes can share one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from typing import NamedTuple

from custodian.verification import RootMemory
from quanlian.statement_evidence import fits_its_checksum
from quanlian.statements import LineKey, Sums
from verifier.documents import Documents
from verifier.findings import Finding
from verifier.handed import Handed, read_hand_over
from verifier.keys import Keys
from verifier.lines import HandOverLine, Posting, RedemptionLine, read_line
from verifier.redemption import Grounds, recompute
from verifier.redemptions_file import Portion
from verifier.tally import Tally

WINDOW_BYTES, NUMBER_BYTES, DIGEST_BYTES = 8, 4, 32


class Basis(NamedTuple):
    """What every portion is judged by, fit to be sent to another process."""

    region: str
    windows: Mapping[int, tuple[int, int]]
    keys: Keys
    documents: Documents

    def grounds(self) -> Grounds:
        return Grounds(self.region, self.windows, self.documents, RootMemory(self.keys))


@dataclass(slots=True)
class Judged:
    """What a portion contributes. `ids` are its redemptions, each with its window; `uses` each voucher captured with
    the redemption that captured it; `told`, of a statement with several files, each posting with what it says; `heads`
    each hand-over with the head that was signed; `orders` each order with the redemption that discounted it: records
    end to end.
    """

    sums: Sums = field(default_factory=lambda: Sums({}, {}))
    findings: list[Finding] = field(default_factory=list)
    redemptions: int = 0
    ids: bytes = b""
    uses: bytes = b""
    told: bytes = b""
    heads: bytes = b""
    orders: bytes = b""


def judge(portion: Portion, grounds: Grounds) -> Judged:
    """Recompute the redemptions of a portion; the hand-overs that tell their reserved money stand before them."""
    judged, tally, months = Judged(), Tally(), len(grounds.windows) > 1
    ids, uses, told, heads = bytearray(), bytearray(), bytearray(), bytearray()
    window = portion.window.to_bytes(WINDOW_BYTES, "big")
    grounds.begin_portion(portion.window)
    if portion.hand_over is not None:
        before = read_line(portion.hand_over[1])
        if isinstance(before, HandOverLine):
            _take_hand_over(before, grounds)
    for number, content in enumerate(BytesIO(portion.content), portion.first):
        line = read_line(content)
        if isinstance(line, RedemptionLine):
            id, voucher, findings = recompute(line, grounds, tally)
            if not findings and not fits_its_checksum(content.removesuffix(b"\n")):
                findings = [Finding(f"redemption {line.id}", "line", "altered", "as it was sealed")]
            if id:
                ids += window + id
                uses += voucher + id
                if months:
                    told += _told(line.postings, id)
            judged.redemptions += 1
        elif isinstance(line, HandOverLine):
            findings = _take_hand_over(line, grounds)
            heads += grounds.handed.record if grounds.handed else b""
        else:
            findings = [line.finding]
            judged.redemptions += line.kind == "redemption"
            if line.kind == "hand-over":
                grounds.handed = None
        if findings:
            judged.findings += [each._replace(file=portion.file, line=number) for each in findings]
    judged.orders = bytes(grounds.orders)
    judged.sums = tally.sums(grounds.region)
    judged.ids, judged.uses, judged.told, judged.heads = bytes(ids), bytes(uses), bytes(told), bytes(heads)
    return judged


def _told(postings: Sequence[Posting], id: bytes) -> bytes:
    """Each posting's redemption and place in its history, and a digest of what it says."""
    return b"".join(
        id + number.to_bytes(NUMBER_BYTES, "big") + sha256(repr(posting).encode()).digest()
        for number, posting in enumerate(postings)
    )


def _take_hand_over(line: HandOverLine, grounds: Grounds) -> list[Finding]:
    """The money of the redemptions that follow; nothing counts of a hand-over that is not sound."""
    read = read_hand_over(line, grounds.verifier)
    grounds.handed = read if isinstance(read, Handed) else None
    return [read] if isinstance(read, Finding) else []


def line_place(key: Sequence[str]) -> str:
    """How a statement's line or funder is named in a finding."""
    return (
        f"statement line {'/'.join(key)}"
        if len(key) == len(LineKey._fields)
        else f"statement funder {key[0]}, {key[1]}"
    )
