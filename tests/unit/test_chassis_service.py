"""A service's background work: what fails is not lost, and what must not end ends the service."""

from __future__ import annotations

import asyncio

import pytest

from chassis.service import every, until


def test_a_periodic_job_that_fails_is_tried_again() -> None:
    async def play() -> int:
        runs, third = 0, asyncio.Event()

        async def job() -> None:
            nonlocal runs
            runs += 1
            if runs == 3:
                third.set()
            raise KeyError("not an error that was foreseen")

        task = asyncio.create_task(every(0.0, "job", job))
        await third.wait()
        task.cancel()
        return runs

    assert asyncio.run(play()) == 3


def test_a_service_ends_with_the_error_of_its_background_work() -> None:
    async def fail() -> None:
        raise KeyError("lost")

    async def play() -> None:
        await until(asyncio.Event(), [asyncio.create_task(fail())])

    with pytest.raises(KeyError, match="lost"):
        asyncio.run(play())


def test_work_that_is_done_ends_no_service_and_the_rest_is_cancelled_when_it_stops() -> None:
    async def play() -> bool:
        stop, done = asyncio.Event(), asyncio.Event()

        async def short() -> None:
            done.set()

        endless = asyncio.create_task(asyncio.sleep(3600))
        waiting = asyncio.create_task(until(stop, [asyncio.create_task(short()), endless]))
        await done.wait()
        assert not waiting.done()
        stop.set()
        await waiting
        return endless.cancelled()

    assert asyncio.run(play())
