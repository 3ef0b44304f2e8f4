"""An asyncio event loop whose time passes only when nothing is left to do: no sleeping, no threads, no sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class NothingHappens(RuntimeError):
    """Everything waits, and no timer is set that could end the waiting."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Time is a number that jumps to the next timer. What asyncio would do in a thread happens here, a moment later."""

    def __init__(self, thread_seconds: Callable[[], float]) -> None:
        """`thread_seconds` says how long a thread takes to begin with what it was given."""
        super().__init__()
        self._selector = self
        self._seconds = 0.0
        self._thread_seconds = thread_seconds

    def time(self) -> float:
        return self._seconds

    def select(self, timeout: float | None) -> list[Any]:
        """Where a loop waits for its sockets, this one moves its clock."""
        if timeout is None:
            raise NothingHappens("every task waits and no timer is set")
        self._seconds += timeout
        return []

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Runs `func` in this thread. One that ends in `Halted` belongs to a process that stands still for good."""
        future = self.create_future()

        def run() -> None:
            try:
                result = func(*args)
            except Halted:
                return
            except Exception as error:
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        self.call_later(self._thread_seconds(), run)
        return future

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody calls from another thread."""


class Halted(BaseException):
    """A process that stands still: its database does not return from a commit, and soon its machine is gone."""
