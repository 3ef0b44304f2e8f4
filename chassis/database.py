"""One database of one party: SQLite or PostgreSQL, durable or refused.

SQLAlchemy Core owns schema, pool and transactions; the bulk functions of a `Transaction` go to the driver,
because building statements row by row costs more than the database does. A writing transaction excludes
every other writer of the same party (`BEGIN IMMEDIATE`, or an advisory lock named after the schema), so
what it read stays true until it commits; writers of one process come to turn in the order in which they asked.
"""

from __future__ import annotations

import importlib.util
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, RootTransaction

from chassis.database_errors import KeyTaken, plain_errors
from chassis.queries import Query
from chassis.rows import Form, OnConflict, Row, Rows, Tuples, computed_value, distinct_by_key, form_of, given_rows
from chassis.turns import Turns
from chassis.waiting import Given, Result, Waiting
from quanlian.errors import ConfigurationError

__all__ = ["Database", "Found", "KeyTaken", "Query", "Transaction"]

Found = Callable[[], list[Row]]
"""The answer to a question that was asked; whoever calls it first waits for it."""

LOCK_WAIT_SECONDS = 30.0


class Transaction(ABC):
    """What a service does within one transaction."""

    def __init__(self, connection: Connection, database: Database) -> None:
        self._connection = connection
        self._dialect = connection.dialect
        self._database = database
        self._at: int | None = None

    @property
    def connection(self) -> Connection:
        """Runs any other SQLAlchemy statement."""
        self.finish()
        return self._connection

    @abstractmethod
    def finish(self) -> None:
        """Has done what waits to be done: a driver may put off what gives nothing back. The database's to call."""

    @abstractmethod
    def exclude_writers(self) -> None:
        """Whatever comes after it finds no other writer. The database's to call."""

    @abstractmethod
    def abandon(self) -> None:
        """Leaves what is half done, so that its connection can be used again. The database's to call."""

    def now(self) -> int:
        """The database's clock in UTC seconds, one value per transaction.

        It is never below a value that the same Database object gave before.
        """
        if self._at is None:
            self._at = self._database._advance(self._clock())
        return self._at

    @abstractmethod
    def _clock(self) -> int: ...

    def insert(self, table: sa.Table, rows: Rows) -> None:
        """Stores new rows, all giving the same columns; server defaults fill the others, Python-side ones
        do not, and a column that is computed from its row (`chassis.rows.COMPUTED`) is.

        Leaves the transaction with KeyTaken if a unique key exists.
        """
        if rows:
            self._store(table, *given_rows(table, rows), "fail")

    def append(self, table: sa.Table, rows: Tuples) -> None:
        """Stores new rows as `insert` does, for those who write many: each a tuple of all columns of the table in
        order, as the driver takes them, without the one that is computed. Leaves with KeyTaken as `insert` does.
        """
        if rows:
            self._store(table, form_of(table), rows, "fail")

    def replace(self, table: sa.Table, rows: Tuples) -> None:
        """Stores rows as `upsert` does, given as for `append`; no two of them with one primary key."""
        if rows:
            self._store(table, form_of(table), rows, "replace")

    def upsert(self, table: sa.Table, rows: Rows) -> None:
        """Stores rows by primary key; where one exists, its other given columns are replaced.

        Of rows with one key in `rows` the last wins. Where a column is computed from its row, give whole rows.
        """
        if rows:
            self._store(table, *given_rows(table, distinct_by_key(table, rows)), "replace")

    @abstractmethod
    def select_keys(
        self,
        table: sa.Table,
        columns: Sequence[sa.Column[Any]],
        keys: Sequence[tuple[Any, ...]],
        fetch: Sequence[sa.Column[Any]] = (),
    ) -> list[Row]:
        """The rows whose `columns` are among `keys`, each once, in no particular order.

        `fetch` limits the columns that are read; without it all are.
        """

    @abstractmethod
    def rows(self, query: Query, **values: Any) -> list[Row]:
        """What a query finds with these values for its parameters."""

    def ask_keys(
        self,
        table: sa.Table,
        columns: Sequence[sa.Column[Any]],
        keys: Sequence[tuple[Any, ...]],
        fetch: Sequence[sa.Column[Any]] = (),
    ) -> Found:
        """As `select_keys`. All that is asked before the first answer is called for goes to the server together."""
        found = self.select_keys(table, columns, keys, fetch)
        return lambda: found

    def ask(self, query: Query, **values: Any) -> Found:
        """As `rows`, and `ask_keys`."""
        found = self.rows(query, **values)
        return lambda: found

    def add(self, table: sa.Table, sums: Mapping[tuple[Any, ...], Sequence[int]]) -> None:
        """Adds to running totals: by the values of the primary key, what is added to each of the other columns.

        A key that has no row yet gets one. The key's columns are the table's first, and none is computed.
        """
        if sums:
            self._store(table, form_of(table), [(*key, *amounts) for key, amounts in sums.items()], "add")

    def update(self, table: sa.Table, key: dict[str, Any], values: dict[str, Any]) -> int:
        """Sets `values` in the rows that have `key` in its columns; returns how many they are.

        A column that is computed from its row follows; the rows are read for it unless `key` and `values` tell them.
        """
        form = form_of(table)
        if form.compute is None:
            return self._update(table, key, values)
        computed, told = form.names[-1], key | values
        if told.keys() >= set(form.given):
            return self._update(table, key, values | {computed: computed_value(table, told)})
        rows = self.select_keys(table, [table.c[name] for name in key], [tuple(key.values())])
        for row in rows:
            own = {column.name: row._mapping[column.name] for column in table.primary_key}
            self._update(table, own, values | {computed: computed_value(table, {**row._mapping, **values})})
        return len(rows)

    @abstractmethod
    def _store(self, table: sa.Table, form: Form, rows: Tuples, on_conflict: OnConflict) -> None:
        """At least one row."""

    @abstractmethod
    def _update(self, table: sa.Table, key: dict[str, Any], values: dict[str, Any]) -> int: ...


Numbering = Callable[[Transaction], Callable[[], None]]


class Database(ABC):
    """A pool of connections to one party's database; safe to use from several threads."""

    def __init__(
        self, engine: Engine, readers: Engine, place: str, schema: str, lock_wait_seconds: float = LOCK_WAIT_SECONDS
    ) -> None:
        self.engine = engine
        self.place = place
        self.schema = schema
        self._readers = readers
        self._last_now = 0
        self._numbering: Numbering | None = None
        self._clock_lock = threading.Lock()
        self._turns = Turns(lock_wait_seconds)
        self._waiting = Waiting(place, self._ask)

    @staticmethod
    def open(url: str, schema: str = "", *, lock_wait_seconds: float = LOCK_WAIT_SECONDS) -> Database:
        """Opens `sqlite:///path` or `postgresql://user:password@host/name` and proves that it answers.

        `schema` names the party's PostgreSQL schema (SQLite ignores it). A writer waits `lock_wait_seconds`
        for another. Raises ConfigurationError for what the operator must mend, Unavailable for a server
        that is down.
        """
        from chassis.postgresql import PostgresqlDatabase
        from chassis.sqlite import SqliteDatabase

        parsed = _parsed(url)
        kinds: dict[str, type[SqliteDatabase] | type[PostgresqlDatabase]] = {
            "sqlite": SqliteDatabase,
            "postgresql": PostgresqlDatabase,
            "postgres": PostgresqlDatabase,
        }
        kind = kinds.get(parsed.drivername.partition("+")[0])
        if kind is None:
            raise ConfigurationError(
                f"{parsed.drivername!r} is not a database Quanlian runs on",
                place=shown(parsed),
                remedy="use sqlite:///path/to/file or postgresql://user@host/database",
            )
        database = kind.connect(parsed, schema, lock_wait_seconds)
        with plain_errors(database.place):
            database.engine.connect().close()
        return database

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.engine.dialect.name

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction that excludes other writers: durable when the block ends, undone when it raises."""
        with self._writer() as connection:
            transaction = self._transaction(connection)
            try:
                transaction.exclude_writers()
                yield transaction
                committed = self._numbering(transaction) if self._numbering else None
                transaction.finish()
            except BaseException:
                transaction.abandon()
                raise
        if committed is not None:
            committed()

    def number_commits(self, numbering: Numbering | None) -> None:
        """Has every writing transaction numbered: `numbering` runs last in it, what it returns after its commit."""
        self._numbering = numbering

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """A reading transaction: one consistent picture from its first read on; writing in it fails."""
        with plain_errors(self.place), self._readers.begin() as connection:
            transaction = self._transaction(connection)
            try:
                yield transaction
                transaction.finish()
            except BaseException:
                transaction.abandon()
                raise

    async def read(self, load: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
        """What `load` finds in a snapshot of its own, on a thread beside the event loop.

        Raises Unavailable where the database does not answer, and at once while it is known not to.
        """
        return await self._waiting.read(load, *given, **named)

    async def write(self, store: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
        """What `store` returns, which writes in transactions of its own, on a thread beside the event loop.

        Raises Unavailable as `read` does; whether it was written is then not known, so `store` must be safe to repeat.
        """
        return await self._waiting.write(store, *given, **named)

    def _ask(self) -> None:
        with self._readers.connect() as connection:
            connection.exec_driver_sql("SELECT 1")

    def check_durability(self) -> None:
        """Raises ConfigurationError naming each setting under which an acknowledged commit could be lost."""
        with plain_errors(self.place), self._readers.begin() as connection:
            faults = self._durability_faults(connection)
        if faults:
            raise ConfigurationError(
                "an acknowledged commit could be lost in a crash",
                place=self.place,
                remedy="; ".join(faults),
            )

    def migrate(self, script_location: str, version_table: str = "alembic_version") -> None:
        """Brings the tables up to the newest migration of a folder (`node/migrations`, `node:migrations` or
        a path).

        `version_table` keeps how far a folder has come, so that several can share a database. The folder holds
        Alembic's `versions/`; no `env.py` or ini file is needed. All steps run in one
        writing transaction, so of two processes starting at once the second finds the work done. Raises
        ConfigurationError where the database was migrated by a newer program.
        """
        from chassis.migrations import upgrade

        with self.transaction() as transaction:
            connection = transaction.connection
            self._create_schema(connection)
            upgrade(connection, _folder(script_location), self.place, version_table)

    def close(self) -> None:
        """Gives back every connection; the object is of no use afterwards."""
        self._waiting.close()
        self.engine.dispose()

    @classmethod
    @abstractmethod
    def connect(cls, url: URL, schema: str, lock_wait_seconds: float) -> Database:
        """The database behind a parsed URL, without speaking to it yet."""

    @abstractmethod
    def _transaction(self, connection: Connection) -> Transaction: ...

    @abstractmethod
    def _create_schema(self, connection: Connection) -> None: ...

    @abstractmethod
    def _durability_faults(self, connection: Connection) -> list[str]: ...

    @contextmanager
    def _writer(self) -> Iterator[Connection]:
        turn = self._turns.turn(self.place)
        with plain_errors(self.place), turn, self.engine.connect() as connection, self._begin(connection):
            yield connection

    def _begin(self, connection: Connection) -> RootTransaction:
        """Begins a writing transaction on a connection that was just opened."""
        return connection.begin()

    def _advance(self, clock: int) -> int:
        with self._clock_lock:
            self._last_now = max(self._last_now, clock)
            return self._last_now


def shown(url: URL) -> str:
    """The URL as a person may see it: without password and options."""
    return url.set(query={}).render_as_string(hide_password=True)


def _parsed(url: str) -> URL:
    try:
        return sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise ConfigurationError(
            "the database URL cannot be read",
            place="database",
            remedy="write sqlite:///path/to/file or postgresql://user:password@host:5432/database, "
            "with special characters of the password percent-encoded",
        ) from None


def _folder(script_location: str) -> Path:
    """A migrations folder given as a path, or as package and folder."""
    direct = Path(script_location)
    if direct.is_dir():
        return direct
    package, _, rest = script_location.replace(":", "/").partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    for parent in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(parent) / rest).is_dir():
            return Path(parent) / rest
    raise ConfigurationError("no such folder of migrations", place=script_location, remedy="reinstall Quanlian")
