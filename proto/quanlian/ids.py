"""Ids in the order of time, so that a database appends instead of scattering (performance.md, shape 6)."""

from __future__ import annotations

from quanlian.errors import InvalidInput

RANDOM_BYTES = 10


def uuid7(unix_milliseconds: int, random: bytes) -> bytes:
    """A UUID of version 7 (RFC 9562) as 16 bytes, from the time and 10 random bytes."""
    if len(random) != RANDOM_BYTES:
        raise InvalidInput(f"a UUIDv7 takes {RANDOM_BYTES} random bytes", place="uuid7")
    version = bytes([0x70 | random[0] & 0x0F, random[1], 0x80 | random[2] & 0x3F])
    return unix_milliseconds.to_bytes(6, "big") + version + random[3:]
