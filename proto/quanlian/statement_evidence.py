"""The evidence behind a statement: the shape of its lines, and what its seal signs (money.md, Verification)."""

from __future__ import annotations

import json
from collections.abc import Mapping

SEAL_KIND = "statement-evidence"


def seal_payload(region: str, window: int, lines: int, sha256: bytes, agreements: Mapping[str, str]) -> bytes:
    """What the clearinghouse signs: whose evidence, of which window, SHA-256 over its lines with a newline each, and
    the hash of each agreement, in hex, by `number vN`.
    """
    content = {
        "region": region,
        "window": window,
        "lines": lines,
        "sha256": sha256.hex(),
        "agreements": dict(sorted(agreements.items())),
    }
    return json.dumps(content, separators=(",", ":")).encode()
