"""The evidence behind a statement: the shape of its lines, and what its seal signs (money.md, Verification)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple
from zlib import crc32

SEAL_KIND = "statement-evidence"
VERSION = 1
"""Of the shape of the lines."""
_CHECKSUM = b',"crc32":"%08x"}'
_CHECKSUM_BYTES = len(_CHECKSUM % 0)


class SealedAgreement(NamedTuple):
    """What the clearinghouse attests of an agreement: the hash of its file, in hex, and when it counted from on."""

    hash: str
    signed_at: int


def with_checksum(line: bytes) -> bytes:
    """A line, a JSON object, with the CRC-32 of its bytes as its last field.

    It proves nothing, as whoever edits a line can make it anew: it names the line where the seal over all is broken.
    """
    return line[:-1] + _CHECKSUM % crc32(line)


def fits_its_checksum(line: bytes) -> bool:
    return line.endswith(_CHECKSUM % crc32(b"}", crc32(line[:-_CHECKSUM_BYTES])))


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
