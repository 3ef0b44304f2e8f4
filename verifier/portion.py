"""A portion of the evidence, judged by itself, so that several processes can share one file."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from custodian.verification import RootMemory
from pki.trust import Keyring, Trust
from quanlian import statements, wire
from quanlian.errors import BadSignature, QuanlianError
from quanlian.statements import LineFigures, LineKey, Sums
from quanlian.vouchers import VoucherKey
from verifier.documents import Documents
from verifier.redemption import Finding, Grounds, recompute


class Basis(NamedTuple):
    """What every portion is judged by, fit to be sent to another process."""

    region: str
    windows: Mapping[int, tuple[int, int]]
    root_pem: bytes
    chains: Sequence[bytes]
    documents: Documents

    def grounds(self) -> Grounds:
        keyring = Keyring(Trust(self.root_pem))
        for chain in self.chains:
            keyring.add(chain)
        return Grounds(self.region, self.windows, self.documents, RootMemory(keyring))


@dataclass(slots=True)
class Judged:
    """What portions contribute together. `ids` and `vouchers` are every redemption and captured voucher."""

    sums: Sums = field(default_factory=lambda: Sums({}, {}))
    findings: list[Finding] = field(default_factory=list)
    ids: list[bytes] = field(default_factory=list)
    vouchers: list[VoucherKey] = field(default_factory=list)

    def add(self, other: Judged) -> None:
        """Take another portion's sums and findings."""
        self.findings += other.findings
        for key, figures in other.sums.lines.items():
            known = self.sums.lines.setdefault(key, LineFigures())
            for name in LineFigures.__dataclass_fields__:
                setattr(known, name, getattr(known, name) + getattr(figures, name))
        for funder, fen in other.sums.funders.items():
            self.sums.funders[funder] = self.sums.funders.get(funder, 0) + fen


def judge(lines: Sequence[bytes], grounds: Grounds) -> Judged:
    """Recompute the redemptions of a portion; the hand-overs that tell their reserved money stand before them."""
    judged = Judged()
    items: list[statements.ItemFigures] = []
    grounds.begin_portion()
    for content in lines:
        try:
            line = json.loads(content)
            kind = line["kind"]
        except (ValueError, KeyError, TypeError) as error:
            judged.findings.append(Finding("line", "cannot be read", str(error), content[:80].decode(errors="replace")))
            continue
        if kind == "hand-over":
            _take_hand_over(line, grounds, judged)
        elif kind == "redemption":
            result = recompute(line, grounds)
            judged.findings += result.findings
            items += result.items
            judged.ids.append(result.id)
            if result.voucher is not None:
                judged.vouchers.append(result.voucher)
        else:
            judged.findings.append(Finding("line", "kind", str(kind), "hand-over or redemption"))
    judged.sums = statements.add_up(grounds.region, items)
    return judged


def _take_hand_over(line: Mapping[str, Any], grounds: Grounds, judged: Judged) -> None:
    """The issuer's signed word on the money that it reserved."""
    place = f"hand-over {line.get('issuer')}/{line.get('number')}"
    try:
        body = b64decode(line["body"], validate=True)
        key = grounds.verifier.verify(
            bytes.fromhex(line["key_id"]), "hand-over", body, b64decode(line["signature"], validate=True)
        )
        handed = wire.HandedMoney(body)
        if (key.owner, key.purpose) != (handed.issuer, "message"):
            raise BadSignature(f"is signed by {key.owner}'s key for {key.purpose}")
        if (handed.issuer, handed.number) != (line["issuer"], line["number"]):
            raise BadSignature(f"is {handed.issuer}/{handed.number}")
    except (QuanlianError, ValueError, KeyError, TypeError) as error:
        judged.findings.append(Finding(place, "signature", str(error)))
        grounds.handed = None
    else:
        grounds.handed = handed


def line_place(key: Sequence[str]) -> str:
    """How a statement's line or funder is named in a finding."""
    return (
        f"statement line {'/'.join(key)}"
        if len(key) == len(LineKey._fields)
        else f"statement funder {key[0]}, {key[1]}"
    )
