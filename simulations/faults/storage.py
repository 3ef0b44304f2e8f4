"""A party's database in memory: the real SQLite with the real tables, which commits or does not as a fault says."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from chassis.database import Transaction
from chassis.database_errors import plain_errors
from chassis.sqlite import SqliteDatabase, SqliteTransaction
from simulations.faults.loop import Halted


class CrashPoint(StrEnum):
    """Where in a transaction a process stands still: nothing written, written and not committed, or committed."""

    BEFORE = "before"
    WITHIN = "within"
    AFTER = "after"


class Disk:
    """What outlives a crash: the last commit. One SQLite connection, used for schedule after schedule."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.engine = sa.create_engine("sqlite+pysqlite://", poolclass=StaticPool, creator=lambda: self.connection)
        self.statements = self.engine.connect()
        """Runs SQLAlchemy's statements; transactions begin and end on `connection` itself, which costs far less."""

    def load(self, content: bytes) -> None:
        """Put the database to what a template or a copy has."""
        self.connection.deserialize(content)

    def copy(self) -> bytes:
        return self.connection.serialize()


class SimulatedDatabase(SqliteDatabase):
    """One process's handle on its party's disk; it dies with the process, and its clock is the machine's."""

    def __init__(self, disk: Disk, clock: Callable[[], int], crash_point: Callable[[], CrashPoint | None]) -> None:
        """`crash_point` is asked at every commit whether to stand still; it raises Halted for a dead process."""
        super().__init__(disk.engine, disk.engine, place="memory", schema="")
        self._disk = disk
        self._machine_clock = clock
        self._crash_point = crash_point

    def clock(self) -> int:
        return self._machine_clock()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        point = self._crash_point()
        if point is CrashPoint.BEFORE:
            raise Halted
        run = self._disk.connection.execute
        run("BEGIN")
        try:
            with plain_errors(self.place):
                yield _SimulatedTransaction(self._disk.statements, self)
            if point is CrashPoint.WITHIN:
                raise Halted
        except BaseException:
            run("ROLLBACK")
            raise
        run("COMMIT")
        if point is CrashPoint.AFTER:
            raise Halted

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        with plain_errors(self.place):
            yield _SimulatedTransaction(self._disk.statements, self)


class _SimulatedTransaction(SqliteTransaction):
    def _clock(self) -> int:
        assert isinstance(self._database, SimulatedDatabase)
        return self._database.clock()
