"""A party's database in memory: the real SQLite with the real tables, which commits or does not as a fault says."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from chassis.database import Transaction
from chassis.database_errors import DRIVER_ERRORS, translate
from chassis.sqlite import STATEMENTS, SqliteDatabase, SqliteTransaction
from chassis.waiting import Given, Result
from custodian.lineage import Flag, Lineage, Mark
from simulations.faults.loop import Halted


class CrashPoint(StrEnum):
    """Where in a transaction a process stands still: nothing written, written and not committed, or committed."""

    BEFORE = "before"
    WITHIN = "within"
    AFTER = "after"


@dataclass(slots=True, eq=False)
class Copy:
    """A database as it was at one moment: a savepoint in its schedule's transaction, or what it held, written out."""

    savepoint: str
    content: bytes | None = None


class Disk:
    """What outlives a crash: the last commit. One SQLite connection, used for schedule after schedule.

    A schedule runs within one transaction of the connection, and what a party calls a transaction is a savepoint in
    it. To begin anew is to roll back: the tables stay known, and so no statement has to be prepared again.
    """

    def __init__(self) -> None:
        self.connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS
        )
        self.engine = sa.create_engine("sqlite+pysqlite://", poolclass=StaticPool, creator=lambda: self.connection)
        self.statements = self.engine.connect()
        """Runs SQLAlchemy's statements; transactions begin and end on `connection` itself, which costs far less."""
        self._beginning: bytes | None = None
        self._copies: list[Copy] = []
        """Those that are savepoints, the oldest first."""

    def begin(self, content: bytes) -> None:
        """Put the database to what a schedule begins with."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        if self._beginning is not content:
            with closing(sqlite3.connect(":memory:")) as source:
                source.deserialize(content)
                source.backup(self.connection)
            self._beginning = content
        self._copies.clear()
        self.connection.execute("BEGIN")

    @property
    def content(self) -> bytes:
        return self.connection.serialize()

    def copy(self) -> Copy:
        """The database as it is now, outside a party's transaction; to be loaded once at most."""
        copy = Copy(f"copy_{len(self._copies)}")
        self.connection.execute(f"SAVEPOINT {copy.savepoint}")
        self._copies.append(copy)
        return copy

    def load(self, copy: Copy) -> None:
        """Set the database back to a copy of it."""
        while self._copies and self._copies[-1] is not copy:
            self._write_out(self._copies.pop())
        if copy.content is not None:
            self.begin(copy.content)
        else:
            self._roll_back_to(self._copies.pop())

    def _write_out(self, copy: Copy) -> None:
        """Keep what a copy holds, for its savepoint goes: an older one is loaded."""
        self._roll_back_to(copy)
        copy.content = self.content

    def _roll_back_to(self, copy: Copy) -> None:
        self.connection.execute(f"ROLLBACK TO {copy.savepoint}")
        self.connection.execute(f"RELEASE {copy.savepoint}")


class SimulatedDatabase(SqliteDatabase):
    """One process's handle on its party's disk; it dies with the process, and its clock is the machine's."""

    def __init__(self, disk: Disk, clock: Callable[[], int], crash_point: Callable[[], CrashPoint | None]) -> None:
        """`crash_point` is asked at every commit whether to stand still; it raises Halted for a dead process."""
        super().__init__(disk.engine, disk.engine, place="memory", schema="")
        self.disk = disk
        self._machine_clock = clock
        self._crash_point = crash_point

    def clock(self) -> int:
        return self._machine_clock()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        point = self._crash_point()
        if point is CrashPoint.BEFORE:
            raise Halted
        run = self.disk.connection.execute
        run("SAVEPOINT party")
        try:
            transaction = _SimulatedTransaction(self)
            yield transaction
            committed = self._numbering(transaction) if self._numbering else None
            if point is CrashPoint.WITHIN:
                raise Halted
        except BaseException as error:
            run("ROLLBACK TO party")
            run("RELEASE party")
            if isinstance(error, DRIVER_ERRORS) and (plain := translate(error, self.place)):
                raise plain from error
            raise
        run("RELEASE party")
        if point is CrashPoint.AFTER:
            raise Halted
        if committed is not None:
            committed()

    def snapshot(self) -> _SimulatedTransaction:  # type: ignore[override]
        return _SimulatedTransaction(self)

    async def read(self, load: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
        """In the thread of the schedule: time is virtual, and the disk always answers."""
        return await asyncio.to_thread(load, *given, **named)

    async def write(self, store: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
        return await asyncio.to_thread(store, *given, **named)


class Beside:
    """What a machine keeps beside its party's disk: no restore brings it back."""

    def __init__(self) -> None:
        self.mark: Mark | None = None
        self.flag: Flag | None = None


class KeptMark(Lineage):
    """How far a party's database has come, kept by its machine beside the disk."""

    def __init__(self, database: SimulatedDatabase, beside: Beside) -> None:
        super().__init__(database, Path("lineage"))
        self._beside = beside

    def _open(self) -> None:
        """There is no file."""

    def _mark_kept(self) -> Mark | None:
        return self._beside.mark

    def _flag_kept(self) -> Flag | None:
        return self._beside.flag

    def _flag(self, flag: Flag | None) -> None:
        self._beside.flag = flag

    def _write(self, mark: Mark) -> None:
        self.known = self._beside.mark = mark


class _SimulatedTransaction(SqliteTransaction):
    """By itself a snapshot: nothing else runs until it is left."""

    _database: SimulatedDatabase

    def __init__(self, database: SimulatedDatabase) -> None:
        super().__init__(database.disk.statements, database, database.disk.connection)

    def __enter__(self) -> Transaction:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DRIVER_ERRORS) and (plain := translate(error, self._database.place)):
            raise plain from error

    def _clock(self) -> int:
        return self._database.clock()
