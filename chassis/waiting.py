"""Reads and writes beside the event loop, which end where the database does not answer instead of waiting for it."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from chassis.commit import STALLED_SECONDS
from quanlian.errors import Unavailable

Given = ParamSpec("Given")
Result = TypeVar("Result")

READERS = 8
WRITERS = 8
"""What one process has under way at a time; the others wait, and a database that stalls holds no more threads."""


class Waiting:
    """Threads that ask one database, each for a caller who waits for it.

    A thread cannot be taken from a database that does not answer. So what takes long has the database asked, on
    a thread of its own, whether it answers at all: while it does, it is only slow and goes on; where it does not,
    it is given up, and until it does, nothing more is begun. `ask` is the least that a database can be asked.
    """

    def __init__(self, place: str, ask: Callable[[], None], stalled_seconds: float = STALLED_SECONDS) -> None:
        self._place = place
        self._ask = ask
        self._patience = stalled_seconds / 2
        self._readers = ThreadPoolExecutor(READERS, "reader")
        self._writers = ThreadPoolExecutor(WRITERS, "writer")
        self._asking_thread = ThreadPoolExecutor(1, "asks the database")
        self._asking: Future[None] | None = None
        self._asked_at = 0.0
        self._closed = False

    async def read(self, load: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
        """What `load` returns or raises. Raises Unavailable where the database does not answer."""
        return await self._wait(self._readers, "nothing is read — ask again later", partial(load, *given, **named))

    async def write(self, store: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
        """What `store` returns or raises. Raises Unavailable where the database does not answer: then it is not known
        whether it was written.
        """
        unknown = "it is not known whether this was written — send the same again later"
        return await self._wait(self._writers, unknown, partial(store, *given, **named))

    def close(self) -> None:
        """Waits for nobody."""
        self._closed = True
        for threads in (self._readers, self._writers, self._asking_thread):
            threads.shutdown(wait=False, cancel_futures=True)

    async def _wait(self, threads: ThreadPoolExecutor, outcome: str, work: Callable[[], Result]) -> Result:
        self._require_answers("nothing is read or written — send the same again later")
        run = partial(contextvars.copy_context().run, work)
        working = asyncio.get_running_loop().run_in_executor(threads, run)
        try:
            while not await self._is_done(working):
                self._begin_asking()
                if await self._is_done(working):
                    break
                self._require_answers(outcome)
            return working.result()
        finally:
            working.cancel()

    async def _is_done(self, working: asyncio.Future[Result]) -> bool:
        """Whether it is done before the patience is over."""
        done, _ = await asyncio.wait([working], timeout=self._patience)
        return bool(done)

    def _begin_asking(self) -> None:
        if self._asking is None or self._asking.done():
            self._asked_at = time.monotonic()
            self._asking = self._asking_thread.submit(self._answer)

    def _answer(self) -> None:
        """Returns with the database's first answer. An error is one too, unless it came of waiting."""
        while not self._closed:
            began = time.monotonic()
            try:
                return self._ask()
            except Exception:
                if time.monotonic() - began < self._patience:
                    return

    def _require_answers(self, outcome: str) -> None:
        waited = time.monotonic() - self._asked_at
        if self._asking is not None and not self._asking.done() and waited >= self._patience:
            raise Unavailable(
                f"{self._place}: the database has not answered for {waited + self._patience:.0f} s and {outcome}"
            )
