"""The evidence behind a statement: the shape of its lines, and what its seal signs (money.md, Verification)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

SEAL_KIND = "statement-evidence"
VERSION = 1
"""Of the shape of the lines."""


class SealedAgreement(NamedTuple):
    """What the clearinghouse attests of an agreement: the hash of its file, in hex, and when it counted from on."""

    hash: str
    signed_at: int


def seal_payload(
    region: str, window: int, lines: int, sha256: bytes, at: int, agreements: Mapping[str, SealedAgreement]
) -> bytes:
    """What the clearinghouse signs: whose evidence, of which window, SHA-256 over its lines with a newline each, when
    it was sealed in UTC seconds, and each agreement by `number vN`.
    """
    content = {
        "region": region,
        "window": window,
        "lines": lines,
        "sha256": sha256.hex(),
        "at": at,
        "agreements": {name: each._asdict() for name, each in sorted(agreements.items())},
    }
    return json.dumps(content, separators=(",", ":")).encode()
