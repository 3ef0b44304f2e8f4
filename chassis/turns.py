"""Writers take turns before they ask the database for its lock: those of one process, and the processes of one file."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from quanlian.errors import Unavailable

POLL_SECONDS = 0.001


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


class Turnstile:
    """Lets one process at a time ask for the lock of an SQLite file; whoever is in it gets that lock next.

    Otherwise a busy service takes the lock again as soon as it has given it back, and a process that tries every tenth
    of a second never finds it free. The lock is on a file beside the database, which stays empty; to be used by one
    thread at a time.
    """

    def __init__(self, path: str, wait_seconds: float) -> None:
        self._path = path
        self._wait_seconds = wait_seconds
        self._file: int | None = None

    @contextmanager
    def turn(self, place: str) -> Iterator[None]:
        """Raises Unavailable where it does not come in time."""
        if self._file is None:
            self._file = _opened(self._path)
        deadline = time.monotonic() + self._wait_seconds
        while not _locked(self._file):
            if time.monotonic() > deadline:
                raise Unavailable(f"{place}: other processes wrote for too long — try again")
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Gives the file back; the object is of no use afterwards."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise Unavailable(f"{path}: cannot be opened ({error.strerror}) — check the disk, and try again") from error


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
