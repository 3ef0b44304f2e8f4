"""SQLite: the embedded default. Write-ahead log, a full sync at every commit, one writer at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from sqlite3 import Connection as DriverConnection
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL, Connection, RootTransaction

from chassis.database import Database, Query, Transaction, shown
from chassis.rows import Form, OnConflict, Row, Tuples, all_columns, conflict_clause, results
from chassis.turns import Turnstile
from quanlian.errors import ConfigurationError

_READ_ONLY = "chassis_read_only"
_FULL = 2
_LOOK_UPS = (1, 4, 16, 64, 256)
"""How many keys the prepared look-ups take; what is left of the last is filled up."""

CHECKPOINT_PAGES = 4000
"""Pages of the log (16 MB) after which they go to the file: what many commits change goes there once."""

STATEMENTS = 1000
"""Prepared statements that a connection keeps; the driver's 128 are fewer than a party uses."""

_NAMED = sqlite.dialect(paramstyle="named")
_quote = _NAMED.identifier_preparer.quote


class SqliteDatabase(Database):
    _turnstile: Turnstile

    @classmethod
    def connect(cls, url: URL, schema: str, lock_wait_seconds: float) -> SqliteDatabase:
        _check_path(url)
        engine = sa.create_engine(
            url.set(drivername="sqlite+pysqlite"),
            connect_args={
                "isolation_level": None,
                "timeout": lock_wait_seconds,
                "check_same_thread": False,
                "cached_statements": STATEMENTS,
            },
        )
        sa.event.listen(engine, "connect", _prepare)
        sa.event.listen(engine, "begin", _begin)
        readers = engine.execution_options(**{_READ_ONLY: True})
        database = cls(engine, readers, shown(url), "", lock_wait_seconds)
        database._turnstile = Turnstile(f"{url.database}-turn", lock_wait_seconds)
        return database

    def close(self) -> None:
        super().close()
        self._turnstile.close()

    def _transaction(self, connection: Connection) -> Transaction:
        return SqliteTransaction(connection, self, cast(DriverConnection, connection.connection.driver_connection))

    def _begin(self, connection: Connection) -> RootTransaction:
        with self._turnstile.turn(self.place):
            return super()._begin(connection)

    def _create_schema(self, connection: Connection) -> None:
        """A file is its own schema."""

    def _durability_faults(self, connection: Connection) -> list[str]:
        faults = []
        synchronous = int(connection.exec_driver_sql("PRAGMA synchronous").scalar_one())
        if synchronous < _FULL:
            faults.append(f"SQLite's synchronous is {synchronous}: set it to FULL (2)")
        journal = str(connection.exec_driver_sql("PRAGMA journal_mode").scalar_one())
        if journal.lower() != "wal":
            faults.append(f"SQLite's journal_mode is {journal}: put the file on a disk that supports WAL")
        return faults


class SqliteTransaction(Transaction):
    def __init__(self, connection: Connection, database: Database, driver: DriverConnection) -> None:
        super().__init__(connection, database)
        self._driver = driver

    def finish(self) -> None:
        """Nothing waits: to ask SQLite costs no way to a server."""

    def exclude_writers(self) -> None:
        """BEGIN IMMEDIATE did it."""

    def abandon(self) -> None:
        """Nothing is half done."""

    def _clock(self) -> int:
        return int(self.connection.exec_driver_sql("SELECT CAST(strftime('%s', 'now') AS INTEGER)").scalar_one())

    def _store(self, table: sa.Table, form: Form, rows: Tuples, on_conflict: OnConflict) -> None:
        self._driver.executemany(_insert_statement(table, form.names, on_conflict), form.completed(rows))

    def select_keys(
        self,
        table: sa.Table,
        columns: Sequence[sa.Column[Any]],
        keys: Sequence[tuple[Any, ...]],
        fetch: Sequence[sa.Column[Any]] = (),
    ) -> list[Row]:
        """Many keys to a statement: what SQLite does for one is little beside what it takes to ask it."""
        if not keys:
            return []
        read, columns = tuple(fetch) or all_columns(table), tuple(columns)
        if len(keys) == 1:
            values = self._driver.execute(_look_up_statement(table, columns, read, 1), keys[0]).fetchall()
            return results(read, values, self._dialect)
        values, wanted = [], list(dict.fromkeys(keys))
        for first in range(0, len(wanted), _LOOK_UPS[-1]):
            page = wanted[first : first + _LOOK_UPS[-1]]
            size = next(size for size in _LOOK_UPS if size >= len(page))
            given = [*chain.from_iterable(page), *[None] * (len(columns) * (size - len(page)))]
            values += self._driver.execute(_look_up_statement(table, columns, read, size), given).fetchall()
        return results(read, values, self._dialect)

    def rows(self, query: Query, **values: Any) -> list[Row]:
        statement, fixed = query.compiled(_NAMED)
        found = self._driver.execute(statement, fixed | values).fetchall()
        return results(query.columns, found, self._dialect)

    def _update(self, table: sa.Table, key: dict[str, Any], values: dict[str, Any]) -> int:
        statement = _update_statement(table, tuple(values), tuple(key))
        return self._driver.execute(statement, (*values.values(), *key.values())).rowcount


@lru_cache(maxsize=1024)
def _insert_statement(table: sa.Table, names: tuple[str, ...], on_conflict: OnConflict) -> str:
    columns = ", ".join(_quote(name) for name in names)
    statement = f"INSERT INTO {_quote(table.name)} ({columns}) VALUES ({', '.join('?' * len(names))})"
    return statement + conflict_clause(table, names, on_conflict)


@lru_cache(maxsize=1024)
def _look_up_statement(
    table: sa.Table, columns: tuple[sa.Column[Any], ...], read: tuple[sa.Column[Any], ...], size: int
) -> str:
    """Looks up `size` keys. More than one are joined, the keys first, because for `(a, b) IN (VALUES …)` SQLite uses no
    index; NULLs find nothing.
    """
    names = ", ".join(f"t.{_quote(column.name)}" for column in read)
    if size == 1:
        condition = " AND ".join(f"t.{_quote(column.name)} = ?" for column in columns)
        return f"SELECT {names} FROM {_quote(table.name)} AS t WHERE {condition}"
    key = f"({', '.join('?' * len(columns))})"
    condition = " AND ".join(f"t.{_quote(column.name)} = k.column{n}" for n, column in enumerate(columns, 1))
    values = ", ".join([key] * size)
    return f"SELECT {names} FROM (VALUES {values}) AS k CROSS JOIN {_quote(table.name)} AS t ON {condition}"


@lru_cache(maxsize=1024)
def _update_statement(table: sa.Table, names: tuple[str, ...], key: tuple[str, ...]) -> str:
    changed = ", ".join(f"{_quote(name)} = ?" for name in names)
    condition = " AND ".join(f"{_quote(name)} = ?" for name in key)
    return f"UPDATE {_quote(table.name)} SET {changed} WHERE {condition}"


def _prepare(connection: DriverConnection, record: object) -> None:
    log = ("journal_mode = WAL", "synchronous = FULL", f"wal_autocheckpoint = {CHECKPOINT_PAGES}")
    for pragma in (*log, "foreign_keys = ON", "cache_size = -65536"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if reading else 'OFF'}")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _check_path(url: URL) -> None:
    if not url.database or url.database == ":memory:":
        raise ConfigurationError(
            "a database in memory is lost with the process",
            place=shown(url),
            remedy="use sqlite:///path/to/file",
        )
    path = Path(url.database)
    if path.is_dir():
        raise ConfigurationError("this is a folder, not a file", place=str(path), remedy="name a file in it")
    if not path.parent.is_dir():
        raise ConfigurationError("the folder does not exist", place=str(path.parent), remedy="create it first")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise ConfigurationError("not writable for this user", place=str(path), remedy="change owner or mode")
