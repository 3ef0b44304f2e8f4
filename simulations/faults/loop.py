"""An asyncio event loop whose time passes only when nothing is left to do: no sleeping, no threads, no sockets."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any


class NothingHappens(RuntimeError):
    """Everything waits, and no timer is set that could end the waiting."""


class _Call(list[Any]):
    """A callback on its way, its arguments and its context: a list, which costs a fraction of asyncio's handles."""

    __slots__ = ()

    def cancel(self) -> None:
        self[0] = None

    def cancelled(self) -> bool:
        return self[0] is None


class NumberedTask(asyncio.Task[Any]):
    """Hashes by its number: asyncio keeps tasks in sets, and a group that ends cancels them in the set's order."""

    def __init__(self, work: Any, loop: VirtualLoop, context: Context | None) -> None:
        loop.tasks += 1
        self._number = loop.tasks
        super().__init__(work, loop=loop, context=context)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.BaseEventLoop):
    """Time is a number that jumps to the next timer. What asyncio would do in a thread happens here, a moment later."""

    _ready: deque[_Call]
    _stopping: bool
    _task_factory: Callable[..., asyncio.Task[Any]]

    def __init__(self, thread_seconds: Callable[[], float]) -> None:
        """`thread_seconds` says how long a thread takes to begin with what it was given."""
        super().__init__()
        self._seconds = 0.0
        self._timers: list[tuple[float, int, _Call]] = []
        self._set_timers = 0
        self.tasks = 0
        """So many were made."""
        self._thread_seconds = thread_seconds

    def time(self) -> float:
        return self._seconds

    get_debug = bool
    """False; every future asks, and this answers without a frame of Python."""

    def create_task(self, work: Any, *, name: object = None, context: Context | None = None) -> asyncio.Task[Any]:
        """As the task factory makes it; names are nobody's business here."""
        return self._task_factory(self, work, context=context)

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        call = _Call((callback, args, context or copy_context()))
        self._ready.append(call)
        return call

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        return self.call_soon(callback, *args, context=context)

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        return self.call_at(self._seconds + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        call = _Call((callback, args, context or copy_context()))
        self._set_timers += 1
        heapq.heappush(self._timers, (when, self._set_timers, call))
        return call

    def _run_once(self) -> None:
        """Run what is ready in order, and let time pass whenever nothing is, until the loop is stopped."""
        ready = self._ready
        while not self._stopping:
            if not ready:
                self._let_time_pass()
            callback, arguments, context = ready.popleft()
            if callback is not None:
                try:
                    context.run(callback, *arguments)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:
                    self.call_exception_handler({"message": "a callback failed", "exception": error})

    def _let_time_pass(self) -> None:
        """Up to the next timers, which are ready then."""
        ready, timers = self._ready, self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise NothingHappens("every task waits and no timer is set")
        self._seconds = max(self._seconds, timers[0][0])
        while timers and timers[0][0] <= self._seconds:
            ready.append(heapq.heappop(timers)[2])

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


class Halted(BaseException):
    """A process that stands still: its database does not return from a commit, and soon its machine is gone."""
