"""PostgreSQL is there and does nothing (SIGSTOP): who waits for it is told so in time, and only so many threads do."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from own_postgresql import own_server

from chassis.commit import STALLED_SECONDS
from chassis.database import Database
from chassis.waiting import READERS
from quanlian.errors import Unavailable


def test_reads_end_in_time_then_at_once_and_are_good_again_once_it_goes_on() -> None:
    with own_server() as server:
        database = Database.open(server.url)

        def count() -> int:
            with database.snapshot() as transaction:
                return int(transaction.connection.exec_driver_sql("SELECT 1").scalar_one())

        async def refused(as_what: str = "not answer") -> float:
            """After how long; a connection that is not made in time says so itself."""
            started = time.monotonic()
            with pytest.raises(Unavailable, match=as_what):
                await database.read(count)
            return time.monotonic() - started

        def create() -> None:
            with database.transaction() as transaction:
                transaction.connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS written (n INTEGER)")

        async def run() -> None:
            assert await database.read(count) == 1
            with server.frozen():
                first = await asyncio.gather(*(refused() for _ in range(3 * READERS)))
                assert max(first) < 2 * STALLED_SECONDS
                with pytest.raises(Unavailable, match="nothing is read or written"):
                    await database.write(create)
                assert max([await refused("database has not answered for") for _ in range(100)]) < 1.0, "it is known"
                assert sum(thread.name.startswith("reader") for thread in threading.enumerate()) == READERS
            async with asyncio.timeout(60):
                while not await _is_read(database, count):
                    pass
            await database.write(create)

        asyncio.run(run())
        database.close()


async def _is_read(database: Database, count: object) -> bool:
    try:
        return await database.read(count) == 1  # type: ignore[arg-type]
    except Unavailable:
        return False
