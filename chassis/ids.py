"""Fresh ids from the machine's clock and its source of randomness; what is made of them is in `quanlian`."""

from __future__ import annotations

import secrets
import time

from quanlian.ids import RANDOM_BYTES, uuid7


class FreshIds:
    """Where a service takes its ids from: this machine, or whatever stands in for it."""

    def uuid7(self) -> bytes:
        """A UUIDv7 of now, as 16 bytes."""
        return uuid7(self.milliseconds(), self.random(RANDOM_BYTES))

    def uuid7s(self, count: int) -> list[bytes]:
        """Many at once: to ask the machine for randomness costs more than all else of an id."""
        at, random = self.milliseconds(), self.random(count * RANDOM_BYTES)
        return [uuid7(at, random[start : start + RANDOM_BYTES]) for start in range(0, len(random), RANDOM_BYTES)]

    def milliseconds(self) -> int:
        """Unix time."""
        return time.time_ns() // 1_000_000

    def random(self, size: int) -> bytes:
        return secrets.token_bytes(size)
