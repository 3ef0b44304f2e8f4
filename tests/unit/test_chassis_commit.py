"""Group commit: what waits is decided together, in order, and everyone gets the answer to what was asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from chassis import commit
from chassis.commit import GroupCommit, Overloaded
from quanlian.errors import Unavailable


class Till:
    """Decides by doubling, remembers its batches, and can be held while it decides one."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.deciding = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def decide(self, items: list[int]) -> list[int]:
        self.threads.add(threading.get_ident())
        self.batches.append(items)
        self.deciding.set()
        self.open.wait()
        if 13 in items:
            raise ValueError("thirteen")
        return [item * 2 for item in items]

    async def hold(self, engine: GroupCommit[int, int]) -> asyncio.Task[int]:
        """Lets the engine take the item 0 and keeps it there, so that what comes next has to wait."""
        self.open.clear()
        self.deciding.clear()
        task = asyncio.ensure_future(engine.submit(0))
        await asyncio.sleep(0)
        await asyncio.to_thread(self.deciding.wait)
        return task


async def submitted(engine: GroupCommit[int, int], *items: int) -> list[asyncio.Task[int]]:
    """Tasks whose items wait in the engine."""
    tasks = [asyncio.ensure_future(engine.submit(item)) for item in items]
    await asyncio.sleep(0)
    return tasks


@pytest.fixture
def till() -> Iterator[Till]:
    till = Till()
    yield till
    till.open.set()


def engine_of(till: Till, **limits: int) -> GroupCommit[int, int]:
    engine = GroupCommit(till.decide, name="till", **limits)
    engine.start()
    return engine


def test_what_arrives_while_a_batch_commits_forms_the_next_batch_in_order(till: Till) -> None:
    async def scenario() -> None:
        engine = engine_of(till)
        first = await till.hold(engine)
        waiting = await submitted(engine, 3, 1, 2)
        till.open.set()
        assert await asyncio.gather(first, *waiting) == [0, 6, 2, 4]
        engine.close()

    asyncio.run(scenario())
    assert till.batches == [[0], [3, 1, 2]]
    assert len(till.threads) == 1
    assert threading.get_ident() not in till.threads


def test_a_batch_is_bounded_and_a_group_is_never_split(till: Till) -> None:
    async def scenario() -> None:
        engine = engine_of(till, max_batch=3)
        first = await till.hold(engine)
        groups = [asyncio.ensure_future(engine.submit_many(items)) for items in ([1, 2], [3, 4], [5], [6, 7, 8, 9])]
        await asyncio.sleep(0)
        till.open.set()
        assert await asyncio.gather(*groups) == [[2, 4], [6, 8], [10], [12, 14, 16, 18]]
        await first
        engine.close()

    asyncio.run(scenario())
    assert till.batches == [[0], [1, 2], [3, 4, 5], [6, 7, 8, 9]]


def test_a_group_of_nothing_is_answered_with_nothing(till: Till) -> None:
    async def scenario() -> None:
        engine = engine_of(till)
        assert await engine.submit_many([]) == []
        engine.close()

    asyncio.run(scenario())
    assert till.batches == []


def test_a_batch_that_fails_fails_for_all_in_it_and_for_no_one_else(till: Till) -> None:
    async def scenario() -> None:
        engine = engine_of(till)
        first = await till.hold(engine)
        together = await submitted(engine, 12, 13)
        till.open.set()
        outcomes = await asyncio.gather(first, *together, return_exceptions=True)
        assert outcomes[0] == 0
        assert [str(outcome) for outcome in outcomes[1:]] == ["thirteen", "thirteen"]
        assert await engine.submit(14) == 28
        engine.close()

    asyncio.run(scenario())


def test_answers_that_do_not_match_the_items_reach_nobody() -> None:
    async def scenario() -> None:
        engine: GroupCommit[int, int] = GroupCommit(lambda items: items[1:], name="short")
        engine.start()
        with pytest.raises(RuntimeError, match="0 answers were decided for 1 items"):
            await engine.submit(1)
        engine.close()

    asyncio.run(scenario())


def test_beyond_its_capacity_the_engine_refuses_at_once_and_recovers(till: Till) -> None:
    async def scenario() -> None:
        engine = engine_of(till, capacity=3)
        first = await till.hold(engine)
        waiting = await submitted(engine, 1, 2)
        with pytest.raises(Overloaded, match="capacity of 3"):
            await engine.submit(3)
        till.open.set()
        assert await asyncio.gather(first, *waiting) == [0, 2, 4]
        with pytest.raises(Overloaded):
            await engine.submit_many([1, 2, 3, 4])
        assert await engine.submit_many([1, 2, 3]) == [2, 4, 6]
        engine.close()

    asyncio.run(scenario())
    assert 3 not in till.batches[1]


def test_what_a_cancelled_caller_sent_is_decided_all_the_same(till: Till) -> None:
    async def scenario() -> None:
        engine = engine_of(till)
        first = await till.hold(engine)
        cancelled, patient = await submitted(engine, 1, 2)
        cancelled.cancel()
        await asyncio.sleep(0)
        till.open.set()
        assert await asyncio.gather(first, patient) == [0, 4]
        assert cancelled.cancelled()
        engine.close()

    asyncio.run(scenario())
    assert till.batches == [[0], [1, 2]]


def test_closing_decides_what_was_accepted_and_refuses_what_comes_later(till: Till) -> None:
    async def scenario() -> None:
        engine = engine_of(till)
        first = await till.hold(engine)
        waiting = await submitted(engine, 1, 2)
        closing = asyncio.ensure_future(asyncio.to_thread(engine.close))
        till.open.set()
        await closing
        assert await asyncio.gather(first, *waiting) == [0, 2, 4]
        with pytest.raises(Unavailable, match="stopping"):
            await engine.submit(3)

    asyncio.run(scenario())
    assert till.batches == [[0], [1, 2]]


def test_an_answer_for_an_event_loop_that_is_gone_stops_nothing(till: Till) -> None:
    engine = engine_of(till)

    async def leave() -> None:
        await till.hold(engine)

    asyncio.run(leave())
    till.open.set()
    assert asyncio.run(engine.submit(2)) == 4
    engine.close()


def test_callers_answered_together_have_time_to_come_again_together(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two came in one small batch: the next gathers until the pause is over, or the engine is closed."""
    monkeypatch.setattr(commit, "GATHER_SECONDS", 60.0)

    async def scenario() -> None:
        engine = engine_of(till)
        first = await till.hold(engine)
        both = await submitted(engine, 1, 2)
        till.open.set()
        assert await asyncio.gather(first, *both) == [0, 2, 4]
        again = [*await submitted(engine, 3), *await submitted(engine, 4)]
        await asyncio.to_thread(engine.close)
        assert await asyncio.gather(*again) == [6, 8]

    asyncio.run(scenario())
    assert till.batches == [[0], [1, 2], [3, 4]]
