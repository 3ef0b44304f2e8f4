"""What happened in a schedule, event by event: hashed as it happens, kept only where a story will be told."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple


class Event(NamedTuple):
    """`words` is a format for `details`; `message` a protobuf message that passed, where one did."""

    seconds: float
    who: str
    words: str
    details: tuple[Any, ...]
    message: Any = None


class Trace:
    """The events of one schedule in order. Two runs of one schedule have the same digest."""

    def __init__(self, keep: bool = False) -> None:
        """`keep` the events, which only a story needs."""
        self._keep = keep
        self.events: list[Event] = []
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, seconds: float, who: str, words: str, *details: Any) -> None:
        if self._keep:
            self.events.append(Event(seconds, who, words, details))
        self._digest.update(repr((seconds, who, words, details)).encode())

    def passed(self, seconds: float, who: str, words: str, details: tuple[Any, ...], message: Any, data: bytes) -> None:
        """A message, with the bytes that went over the wire."""
        if self._keep:
            self.events.append(Event(seconds, who, words, details, message))
        self._digest.update(repr((seconds, who, words, details)).encode())
        self._digest.update(data)

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()
