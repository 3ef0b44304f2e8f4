"""Reads and writes beside the event loop: given up where the database does not answer, and only there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from chassis.database import Database
from chassis.waiting import READERS, WRITERS, Waiting
from quanlian.errors import Unavailable

PATIENCE = 60.0
STALLED_SECONDS = 0.2


@pytest.fixture
def impatient(database: Database) -> Database:
    """It counts as stalled soon."""
    database._waiting.close()
    database._waiting = Waiting(database.place, database._ask, STALLED_SECONDS)
    return database


@contextmanager
def stalled(database: Database) -> Iterator[threading.Event]:
    """No connection of it gets anything done until the event is set."""
    goes_on = threading.Event()

    def wait(*_: Any) -> None:
        goes_on.wait(PATIENCE)

    sa.event.listen(database.engine, "checkout", wait)
    try:
        yield goes_on
    finally:
        goes_on.set()
        sa.event.remove(database.engine, "checkout", wait)


def one(database: Database) -> int:
    with database.snapshot() as transaction:
        return int(transaction.connection.exec_driver_sql("SELECT 1").scalar_one())


def test_a_read_gives_what_it_found_or_raises(impatient: Database) -> None:
    async def run() -> None:
        assert await impatient.read(one, impatient) == 1
        with pytest.raises(ZeroDivisionError):
            await impatient.read(divmod, 1, 0)

    asyncio.run(run())


@pytest.mark.parametrize(("doing", "threads"), [("read", READERS), ("write", WRITERS)])
def test_a_stalled_database_ends_what_waits_then_refuses_it_at_once_and_holds_no_more_threads(
    impatient: Database, doing: str, threads: int
) -> None:
    async def refused() -> None:
        with pytest.raises(Unavailable, match="has not answered for"):
            await getattr(impatient, doing)(one, impatient)

    others = set(threading.enumerate())

    def working() -> int:
        return sum(thread.name.startswith(doing[:4]) for thread in set(threading.enumerate()) - others)

    async def run() -> None:
        with stalled(impatient) as goes_on:
            async with asyncio.timeout(PATIENCE / 2):
                await asyncio.gather(*(refused() for _ in range(5 * threads)))
            assert working() == threads
            known = getattr(impatient, doing)(one, impatient)
            with pytest.raises(Unavailable, match="nothing is read or written"):
                known.send(None)
            assert working() == threads
            goes_on.set()
            async with asyncio.timeout(PATIENCE):
                while not await _is_read(impatient):
                    pass

    asyncio.run(run())


def test_a_write_that_was_given_up_may_be_done_when_the_database_goes_on_and_its_caller_is_told_so(
    impatient: Database,
) -> None:
    written = threading.Event()

    def store() -> None:
        with impatient.transaction() as transaction:
            transaction.connection.exec_driver_sql("CREATE TABLE written (n INTEGER)")
        written.set()

    async def run() -> None:
        with stalled(impatient) as goes_on:
            with pytest.raises(Unavailable, match="not known whether this was written"):
                await impatient.write(store)
            goes_on.set()
            assert await asyncio.to_thread(written.wait, PATIENCE)

    asyncio.run(run())


def test_a_read_that_is_only_slow_goes_on(impatient: Database) -> None:
    asked, enough = 0, threading.Event()
    ask = impatient._waiting._ask

    def count() -> None:
        nonlocal asked
        ask()
        asked += 1
        if asked == 3:
            enough.set()

    impatient._waiting._ask = count

    def slow() -> bool:
        return enough.wait(PATIENCE)

    async def run() -> bool:
        return await impatient.read(slow)

    assert asyncio.run(run())


def test_reads_go_on_while_a_writer_holds_the_database(impatient: Database) -> None:
    with impatient.transaction() as transaction:
        transaction.connection.exec_driver_sql("CREATE TABLE held (n INTEGER)")
        assert asyncio.run(impatient.read(one, impatient)) == 1


def test_one_that_is_given_up_before_its_turn_is_not_read(impatient: Database) -> None:
    go_on, read = threading.Event(), []

    async def run() -> None:
        busy = [asyncio.create_task(impatient.read(go_on.wait, PATIENCE)) for _ in range(READERS)]
        late = asyncio.create_task(impatient.read(read.append, 1))
        await asyncio.wait([late], timeout=STALLED_SECONDS)
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)
        go_on.set()
        await asyncio.gather(*busy)
        assert await impatient.read(one, impatient) == 1

    asyncio.run(run())
    assert read == []


async def _is_read(database: Database) -> bool:
    try:
        return await database.read(one, database) == 1
    except Unavailable:
        return False
