"""Who waits longest is next: the writers of one process, before any of them asks the database for its lock."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from quanlian.errors import Unavailable


class Turns:
    """Lets one thread at a time through, in the order in which they came.

    SQLite lets a writer try again every tenth of a second, and Python's locks let whoever asks first: between two
    batches of a busy service both pass over a writer that has waited for seconds.
    """

    def __init__(self, wait_seconds: float) -> None:
        self._wait_seconds = wait_seconds
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def turn(self, place: str) -> Iterator[None]:
        """Raises Unavailable where it does not come in time; not to be asked for by who has it."""
        mine = object()
        try:
            with self._changed:
                self._waiting.append(mine)
                if not self._changed.wait_for(lambda: self._waiting[0] is mine, self._wait_seconds):
                    raise Unavailable(
                        f"{place}: another writer of this service held the database for too long — try again"
                    )
            yield
        finally:
            with self._changed:
                self._waiting.remove(mine)
                self._changed.notify_all()
