"""Group commit: many callers, one durable transaction.

Items are collected while the batch before them commits; then one thread decides all that waited, in the
order of arrival, and every caller gets its answer. An idle engine decides a lone item at once, a busy one fills its
batches by itself; only between small batches of several callers it waits a moment for more of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from quanlian.errors import Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")


STALLED_SECONDS = 5.0
SMALL = 100
"""Items of a batch that costs about as much as one of a single item."""

GATHER_SECONDS = 0.01
"""How long the next batch gathers after a small one of several callers: they come again, and without it each would find
the engine free and have a commit nearly to itself.
"""


class Overloaded(Unavailable):
    """More is waiting than the service lets in. Nothing was decided; send the same request again later."""


@dataclass(slots=True, eq=False)
class _Group(Generic[Item, Answer]):
    """Items of one caller, decided together, and the future that its answers go to."""

    items: list[Item]
    answers: asyncio.Future[list[Answer]]
    loop: asyncio.AbstractEventLoop


class GroupCommit(Generic[Item, Answer]):
    """Collects items and gives them to `decide` (load, decide, one durable transaction) batch by batch.

    `decide` runs on one thread of its own and returns an answer per item, in order. If it raises, every
    item of that batch gets the exception and the engine goes on. A batch holds at most `max_batch` items,
    more only where one group alone has more; `capacity` bounds the items accepted and not yet answered. While one
    batch takes longer than `stalled_seconds` nothing new is accepted: who comes then is told so at once.
    """

    def __init__(
        self,
        decide: Callable[[list[Item]], list[Answer]],
        *,
        name: str,
        max_batch: int = 1000,
        capacity: int = 20_000,
        stalled_seconds: float = STALLED_SECONDS,
    ) -> None:
        self._decide = decide
        self._name = name
        self._max_batch = max_batch
        self._capacity = capacity
        self._stalled_seconds = stalled_seconds
        self._deciding_since: float | None = None
        self._waiting: deque[_Group[Item, Answer]] = deque()
        self._accepted = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"commit {name}", daemon=True)

    def start(self) -> None:
        """Starts deciding; what was submitted before waits for it."""
        self._thread.start()

    async def submit(self, item: Item) -> Answer:
        """The answer to one item, after its commit. Raises Overloaded at once, or what `decide` raised."""
        (answer,) = await self.submit_many([item])
        return answer

    async def submit_many(self, items: Sequence[Item]) -> list[Answer]:
        """The answers to items that are decided together and in order.

        Raises Overloaded at once where `capacity` would be exceeded, Unavailable after `close` or while a batch
        stalls. Cancelling the caller does not take the items back: they are decided, and a retry by idempotency
        key finds their answers.
        """
        if not items:
            return []
        loop = asyncio.get_running_loop()
        group: _Group[Item, Answer] = _Group(list(items), loop.create_future(), loop)
        with self._changed:
            self._admit(len(group.items))
            self._waiting.append(group)
            self._changed.notify()
        return await group.answers

    def close(self) -> None:
        """Refuses new items, decides what was accepted, and returns when the last batch is committed."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _admit(self, count: int) -> None:
        if self._closed:
            raise Unavailable(f"{self._name}: the service is stopping — send the same request again")
        since = self._deciding_since
        if since is not None and time.monotonic() - since > self._stalled_seconds:
            raise Unavailable(
                f"{self._name}: the database has not answered for {time.monotonic() - since:.0f} s and nothing new is "
                "accepted — send the same request again later"
            )
        if self._accepted + count > self._capacity:
            raise Overloaded(
                f"{self._name}: {self._accepted} items are waiting and {count} more exceed the capacity of "
                f"{self._capacity} — send the same request again later"
            )
        self._accepted += count

    def _run(self) -> None:
        while groups := self._next_batch():
            self._commit(groups)
            if len(groups) > 1 and sum(len(group.items) for group in groups) < SMALL:
                self._gather()

    def _gather(self) -> None:
        """Leave the callers whose answers just went out the time to come again together."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, GATHER_SECONDS)

    def _commit(self, groups: list[_Group[Item, Answer]]) -> None:
        items = [item for group in groups for item in group.items]
        try:
            self._deciding_since = time.monotonic()
            answers = self._decide(items)
            if len(answers) != len(items):
                raise RuntimeError(f"{self._name}: {len(answers)} answers were decided for {len(items)} items")
        except Exception as error:
            self._answer(groups, error)
        except BaseException as error:
            self._answer(groups, RuntimeError(f"{self._name}: deciding ended with {error!r}"))
        else:
            self._answer(groups, answers)
        finally:
            self._deciding_since = None

    def _next_batch(self) -> list[_Group[Item, Answer]]:
        """The groups that wait, up to the size of a batch; empty when the engine is closed and drained."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            groups: list[_Group[Item, Answer]] = []
            size = 0
            while self._waiting and (not groups or size + len(self._waiting[0].items) <= self._max_batch):
                groups.append(self._waiting.popleft())
                size += len(groups[-1].items)
            return groups

    def _answer(self, groups: list[_Group[Item, Answer]], outcome: list[Answer] | Exception) -> None:
        """Hands the outcome over, in one call per event loop (in a service there is only one)."""
        settled: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
        position = 0
        for group in groups:
            end = position + len(group.items)
            share = outcome if isinstance(outcome, Exception) else outcome[position:end]
            settled.setdefault(group.loop, []).append((group.answers, share))
            position = end
        with self._changed:
            self._accepted -= position
        for loop, shares in settled.items():
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, shares)


def _settle(shares: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, share in shares:
        if future.done():
            continue
        if isinstance(share, Exception):
            future.set_exception(share)
        else:
            future.set_result(share)
