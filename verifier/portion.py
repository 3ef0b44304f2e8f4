"""A portion of the evidence, judged by itself, so that several processes can share one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from custodian.verification import RootMemory
from pki.trust import Keyring, Trust
from quanlian import statements
from quanlian.statements import LineFigures, LineKey, Sums
from verifier.documents import Documents
from verifier.findings import Finding
from verifier.handed import Handed, read_hand_over
from verifier.redemption import Grounds, recompute
from verifier.redemptions_file import Portion

WINDOW_BYTES, NUMBER_BYTES, DIGEST_BYTES = 8, 4, 32


class Basis(NamedTuple):
    """What every portion is judged by, fit to be sent to another process."""

    region: str
    windows: Mapping[int, tuple[int, int]]
    root_pem: bytes
    chains: Sequence[bytes]
    documents: Documents

    def keyring(self) -> Keyring:
        keyring = Keyring(Trust(self.root_pem))
        for chain in self.chains:
            keyring.add(chain)
        return keyring

    def grounds(self, keyring: Keyring) -> Grounds:
        return Grounds(self.region, self.windows, self.documents, RootMemory(keyring))


@dataclass(slots=True)
class Judged:
    """What a portion contributes. `ids` are its redemptions, each with its window; `uses` each voucher captured with
    the redemption that captured it; `told`, of a statement with several files, each posting with what it says; `heads`
    each hand-over with the head that was signed: records end to end.
    """

    sums: Sums = field(default_factory=lambda: Sums({}, {}))
    findings: list[Finding] = field(default_factory=list)
    redemptions: int = 0
    ids: bytes = b""
    uses: bytes = b""
    told: bytes = b""
    heads: bytes = b""


def add_sums(whole: Sums, part: Sums) -> None:
    """Take another portion's sums into those of the whole."""
    for key, figures in part.lines.items():
        known = whole.lines.setdefault(key, LineFigures())
        for name in LineFigures.__dataclass_fields__:
            setattr(known, name, getattr(known, name) + getattr(figures, name))
    for funder, fen in part.funders.items():
        whole.funders[funder] = whole.funders.get(funder, 0) + fen


def judge(portion: Portion, grounds: Grounds) -> Judged:
    """Recompute the redemptions of a portion; the hand-overs that tell their reserved money stand before them."""
    judged, items = Judged(), list[statements.ItemFigures]()
    ids, uses, told, heads = bytearray(), bytearray(), bytearray(), bytearray()
    window = portion.window.to_bytes(WINDOW_BYTES, "big")
    grounds.begin_portion(portion.window)
    if portion.hand_over is not None:
        _take_hand_over(json.loads(portion.hand_over[1]), grounds)
    text = portion.content.decode("utf-8", errors="replace")
    for number, content in enumerate(text.removesuffix("\n").split("\n"), portion.first):
        findings: list[Finding] = []
        try:
            line = json.loads(content)
            kind = line["kind"]
        except (ValueError, KeyError, TypeError) as error:
            findings.append(Finding("line", "cannot be read", str(error), content[:80]))
        else:
            if kind == "redemption":
                result = recompute(line, grounds)
                findings += result.findings
                items += result.items
                if result.id:
                    ids += window + result.id
                    uses += result.voucher + result.id
                    told += _told(line["postings"], result.id) if len(grounds.windows) > 1 else b""
                judged.redemptions += 1
            elif kind == "hand-over":
                findings += _take_hand_over(line, grounds)
                heads += grounds.handed.record if grounds.handed else b""
            else:
                findings.append(Finding("line", "kind", str(kind), "hand-over or redemption"))
        if findings:
            judged.findings += [each._replace(file=portion.file, line=number) for each in findings]
    judged.sums = statements.add_up(grounds.region, items)
    judged.ids, judged.uses, judged.told, judged.heads = bytes(ids), bytes(uses), bytes(told), bytes(heads)
    return judged


def _told(postings: Sequence[Any], id: bytes) -> bytes:
    """Each posting's redemption and place in its history, and a digest of what it says."""
    return b"".join(
        id + number.to_bytes(NUMBER_BYTES, "big") + sha256(repr(sorted(posting.items())).encode()).digest()
        for number, posting in enumerate(postings)
    )


def _take_hand_over(line: Mapping[str, Any], grounds: Grounds) -> list[Finding]:
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
