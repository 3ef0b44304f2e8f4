"""Fresh ids from the machine's clock and its source of randomness; what is made of them is in `quanlian`."""

from __future__ import annotations

import secrets
import time

from quanlian.ids import RANDOM_BYTES, uuid7


def fresh_uuid7() -> bytes:
    """A UUIDv7 of now, as 16 bytes."""
    return uuid7(unix_milliseconds(), secrets.token_bytes(RANDOM_BYTES))


def unix_milliseconds() -> int:
    return time.time_ns() // 1_000_000
