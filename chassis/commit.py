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
    more only where one group alone has more; `capacity` bounds the items accepted and not yet answered. Where one
    batch takes longer than `stalled_seconds` whoever waits is told so, and whoever comes then at once: nothing new is
    accepted until it is over.
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
        self._deciding: list[_Group[Item, Answer]] = []
        self._waiting: deque[_Group[Item, Answer]] = deque()
        self._watching: asyncio.AbstractEventLoop | None = None
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

        Raises Overloaded at once where `capacity` would be exceeded, Unavailable after `close` or where a batch
        stalls: their own, which may still be decided, or one before it, after which they are not. Cancelling the caller
        does not take the items back: they are decided, and a retry by idempotency key finds their answers.
        """
        if not items:
            return []
        loop = asyncio.get_running_loop()
        group: _Group[Item, Answer] = _Group(list(items), loop.create_future(), loop)
        with self._changed:
            self._admit(len(group.items))
            self._waiting.append(group)
            self._changed.notify()
        self._watch(loop)
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
        stalled_seconds = self._stalls()
        if stalled_seconds:
            raise self._unavailable(stalled_seconds, "nothing new is accepted")
        if self._accepted + count > self._capacity:
            raise Overloaded(
                f"{self._name}: {self._accepted} items are waiting and {count} more exceed the capacity of "
                f"{self._capacity} — send the same request again later"
            )
        self._accepted += count

    def _stalls(self) -> float:
        """For how long the batch that is being decided has stalled; 0 where it has not."""
        since = self._deciding_since
        seconds = time.monotonic() - since if since is not None else 0.0
        return seconds if seconds > self._stalled_seconds else 0.0

    def _unavailable(self, seconds: float, outcome: str) -> Unavailable:
        return Unavailable(
            f"{self._name}: the database has not answered for {seconds:.0f} s, or another writer holds it, and "
            f"{outcome} — send the same request again later"
        )

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look now and then whether a batch stalls, as long as somebody waits."""
        if self._watching is not loop:
            self._watching = loop
            loop.call_later(self._stalled_seconds / 2, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watching = None
        seconds = self._stalls()
        if seconds:
            with self._changed:
                waiting, deciding = list(self._waiting), self._deciding
                self._waiting.clear()
            self._answer(waiting, self._unavailable(seconds, "this was not decided"))
            self._tell(deciding, self._unavailable(seconds, "it is not known whether this was decided"))
        elif self._accepted:
            self._watch(loop)

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
            self._deciding, self._deciding_since = groups, time.monotonic()
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
            self._deciding, self._deciding_since = [], None

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
        """Hands the outcome over; the items of these groups are no longer accepted ones."""
        with self._changed:
            self._accepted -= sum(len(group.items) for group in groups)
        self._tell(groups, outcome)

    def _tell(self, groups: list[_Group[Item, Answer]], outcome: list[Answer] | Exception) -> None:
        """In one call per event loop (in a service there is only one); who was told before is not told again."""
        settled: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
        position = 0
        for group in groups:
            end = position + len(group.items)
            share = outcome if isinstance(outcome, Exception) else outcome[position:end]
            settled.setdefault(group.loop, []).append((group.answers, share))
            position = end
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
