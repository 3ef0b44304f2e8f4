"""PostgreSQL: what production runs.

One schema a party, one advisory lock a schema; rows in bulk go by COPY and unnest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from itertools import chain
from typing import Any, cast

import psycopg
import sqlalchemy as sa
from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL, Connection

from chassis.cells import COPY_BEGINS, COPY_ENDS, array, cells, copied, kind_of
from chassis.database import Database, Query, Transaction, shown
from chassis.rows import Form, Row, Tuples, all_columns, conflict_clause, results
from quanlian.errors import ConfigurationError

CONNECT_SECONDS = 5
FEW_ROWS = 8
"""Up to so many rows of a call are written by a plain statement; more by COPY or as arrays."""

_CLOCK = b"SELECT floor(extract(epoch FROM clock_timestamp()))::bigint"
_REQUIRED_ON = ("fsync", "synchronous_commit", "full_page_writes")
_UNLOGGED = """
    SELECT relname FROM pg_class
    WHERE relnamespace = current_schema::regnamespace AND relkind = 'r' AND relpersistence = 'u' ORDER BY relname
"""
_SCHEMA_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_quote = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]


class PostgresqlDatabase(Database):
    @classmethod
    def connect(cls, url: URL, schema: str, lock_wait_seconds: float) -> PostgresqlDatabase:
        if schema and not _SCHEMA_NAME.fullmatch(schema):
            raise ConfigurationError(
                f"{schema!r} cannot name a schema",
                place=shown(url),
                remedy="use a-z, 0-9 and _, a letter first",
            )
        engine = sa.create_engine(
            _with_options(url, schema, lock_wait_seconds),
            isolation_level="READ COMMITTED",
            pool_size=10,
            pool_pre_ping=True,
            # Plans made while a table was empty would outlive its growth: every statement is planned afresh.
            connect_args={"prepare_threshold": None, "connect_timeout": CONNECT_SECONDS},
        )
        readers = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        return cls(engine, readers, shown(url), schema, lock_wait_seconds)

    def _transaction(self, connection: Connection) -> Transaction:
        return PostgresqlTransaction(connection, self)

    def _exclude_writers(self, connection: Connection) -> None:
        driver = _driver(connection)
        with driver.pipeline():  # it goes together with the BEGIN before it
            driver.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key(self.schema),))

    def _create_schema(self, connection: Connection) -> None:
        if self.schema:
            connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {_quote(self.schema)}")

    def _durability_faults(self, connection: Connection) -> list[str]:
        names = ", ".join(f"'{name}'" for name in _REQUIRED_ON)
        found = connection.exec_driver_sql(f"SELECT name, setting FROM pg_settings WHERE name IN ({names})")
        unlogged = connection.exec_driver_sql(_UNLOGGED).scalars()
        return durability_faults({name: setting for name, setting in found}) + [
            f"the table {name} is unlogged, a crash empties it: ALTER TABLE {name} SET LOGGED" for name in unlogged
        ]


class PostgresqlTransaction(Transaction):
    """What is written waits until something is read or the transaction ends, and then goes to the server together: a
    small commit is mostly waiting for its word on each statement.
    """

    def __init__(self, connection: Connection, database: Database) -> None:
        super().__init__(connection, database)
        self._driver = _driver(connection)
        self._waiting: list[tuple[bytes, Sequence[Any]]] = []
        self._copying = _Copying(self._driver)

    def finish(self) -> None:
        if self._waiting:
            self._send()
        else:
            self._copying.end()

    def abandon(self) -> None:
        self._copying.abandon()

    def _send(self) -> psycopg.Cursor[Any]:
        """Sends what waits and returns the last statement's cursor."""
        self._copying.end()
        waiting, self._waiting = self._waiting, []
        if len(waiting) == 1:
            return self._driver.execute(*waiting[0])
        with self._driver.pipeline():
            for statement, values in waiting:
                cursor = self._driver.cursor()
                cursor.execute(statement, values)
        return cursor

    def _clock(self) -> int:
        self.finish()
        row = self._driver.execute(_CLOCK).fetchone()
        assert row is not None
        return int(row[0])

    def _append(self, table: sa.Table, form: Form, rows: Tuples) -> None:
        if len(rows) <= FEW_ROWS:
            statement = _values_statement(table, form.names, len(rows))
            self._waiting.append((statement, [*chain.from_iterable(form.completed(rows))]))
            return
        content = _to_copy(form, rows)
        if self._waiting or not self._copying.goes_into(table, form.names):
            self.finish()
            self._copying.begin(table, form.names)
        self._copying.write(content)

    def _replace(self, table: sa.Table, form: Form, rows: Tuples) -> None:
        self._merge(table, form, form.completed(rows))

    def _add(self, table: sa.Table, form: Form, rows: Tuples) -> None:
        self._merge(table, form, rows, adds=True)

    def _merge(self, table: sa.Table, form: Form, rows: Tuples, adds: bool = False) -> None:
        """`rows` are complete."""
        if len(rows) <= FEW_ROWS:
            statement = _values_statement(table, form.names, len(rows), "add" if adds else "replace")
            self._waiting.append((statement, [*chain.from_iterable(rows)]))
        else:
            columns = zip(zip(*rows, strict=True), form.kinds, strict=True)
            arrays = [_Array(array(values, kind)) for values, kind in columns]
            self._waiting.append((_unnest_statement(table, form.names, adds), arrays))

    def select_keys(
        self,
        table: sa.Table,
        columns: Sequence[sa.Column[Any]],
        keys: Sequence[tuple[Any, ...]],
        fetch: Sequence[sa.Column[Any]] = (),
    ) -> list[Row]:
        if not keys:
            return []
        read = tuple(fetch) or all_columns(table)
        given = [*zip(*dict.fromkeys(keys), strict=True)]
        shared = tuple(len(set(each)) == 1 for each in given)
        told = [*zip(columns, given, shared, strict=True)]
        values: list[Any] = [_Array(array(each, kind_of(column))) for column, each, same in told if not same]
        values += [each[0] for _, each, same in told if same]
        return self._read(_look_up_statement(table, tuple(columns), shared, read), values, read)

    def rows(self, query: Query, **values: Any) -> list[Row]:
        statement, fixed = query.compiled(self._dialect)
        return self._read(statement.encode(), fixed | values, query.columns)

    def _read(self, statement: bytes, values: Any, columns: tuple[Any, ...]) -> list[Row]:
        self.finish()
        return results(columns, self._driver.execute(statement, values).fetchall(), self._dialect)

    def _update(self, table: sa.Table, key: dict[str, Any], values: dict[str, Any]) -> int:
        statement = _update_statement(table, tuple(values), tuple(key))
        self._waiting.append((statement, (*values.values(), *key.values())))
        return self._send().rowcount


class _Array:
    """A parameter that is an array in the server's own form already."""

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        self.content = content


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: _Array) -> bytes:
        return obj.content


psycopg.adapters.register_dumper(_Array, _ArrayDumper)


def _to_copy(form: Form, rows: Tuples) -> bytes:
    """What is computed of a row follows its body, which it was computed of."""
    written = form.bodies(rows)
    if form.compute is not None:
        computed = cells(form.compute(written), form.kinds[-1])
        written = [body + cell for body, cell in zip(written, computed, strict=True)]
    return copied(written, len(form.names))


class _Copying:
    """A COPY that is left open until something else is to be done: the server stores rows while others are made."""

    def __init__(self, driver: psycopg.Connection[Any]) -> None:
        self._driver = driver
        self._open: AbstractContextManager[psycopg.Copy] | None = None
        self._into: tuple[sa.Table, tuple[str, ...]] | None = None

    def goes_into(self, table: sa.Table, names: tuple[str, ...]) -> bool:
        return self._into == (table, names)

    def begin(self, table: sa.Table, names: tuple[str, ...]) -> None:
        opening = self._driver.cursor().copy(_copy_statement(table, names))
        self._copy = opening.__enter__()
        self._open, self._into = opening, (table, names)
        self._copy.write(COPY_BEGINS)

    def write(self, content: bytes) -> None:
        self._copy.write(content)

    def end(self) -> None:
        """Raises what kept rows from being stored."""
        if self._open is not None:
            self._copy.write(COPY_ENDS)
            self._close(None)

    def abandon(self) -> None:
        """Tells the server to forget the rows."""
        if self._open is not None:
            self._close(InterruptedError("rolled back"))

    def _close(self, error: Exception | None) -> None:
        assert self._open is not None
        closing, self._open, self._into = self._open, None, None
        closing.__exit__(type(error) if error else None, error, None)


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)


def lock_key(schema: str) -> int:
    """The advisory lock of a party's writers: 64 bits of its schema's name."""
    digest = hashlib.sha256(b"quanlian writer of " + schema.encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def durability_faults(settings: dict[str, str]) -> list[str]:
    """What to change in the server's settings before it may hold money; empty where it is durable.

    `local` and `remote_write` for synchronous_commit are durable on the server itself, as `on` is.
    """
    return [
        f"PostgreSQL's {name} is off: set it to on in postgresql.conf, for the database and for the role"
        for name in _REQUIRED_ON
        if settings.get(name) == "off"
    ]


def _with_options(url: URL, schema: str, lock_wait_seconds: float) -> URL:
    """The URL for psycopg, with session settings that a rolled back transaction cannot undo."""
    given = url.query.get("options", "")
    settings = [given if isinstance(given, str) else " ".join(given)]
    settings.append(f"-c lock_timeout={max(1, round(lock_wait_seconds * 1000))}ms")
    if schema:
        settings.append(f"-c search_path={schema}")
    options = " ".join(setting for setting in settings if setting)
    return url.set(drivername="postgresql+psycopg").update_query_dict(
        {"options": options, "application_name": url.query.get("application_name", "quanlian")}
    )


def _type(column: sa.Column[Any]) -> str:
    """The column's type without its length: a cast cuts silently, storing checks."""
    return re.sub(r"\(.*\)", "", column.type.compile(postgresql.dialect()))  # type: ignore[no-untyped-call]


@lru_cache(maxsize=256)
def _copy_statement(table: sa.Table, names: tuple[str, ...]) -> bytes:
    columns = ", ".join(_quote(name) for name in names)
    return f"COPY {_quote(table.name)} ({columns}) FROM STDIN (FORMAT BINARY)".encode()


@lru_cache(maxsize=1024)
def _values_statement(table: sa.Table, names: tuple[str, ...], rows: int, on_conflict: str = "fail") -> bytes:
    """Inserts so many rows; `on_conflict` with one of the same key it fails, or they replace it or `add` to it."""
    row = ", ".join(f"%b::{_type(table.c[name])}" for name in names)
    statement = f"{_insert_into(table, names)} VALUES {', '.join([f'({row})'] * rows)}"
    if on_conflict != "fail":
        statement += conflict_clause(table, names, adds=on_conflict == "add")
    return statement.encode()


@lru_cache(maxsize=256)
def _unnest_statement(table: sa.Table, names: tuple[str, ...], adds: bool) -> bytes:
    arrays = ", ".join(f"%b::{_type(table.c[name])}[]" for name in names)
    statement = f"{_insert_into(table, names)} SELECT * FROM unnest({arrays})"
    return (statement + conflict_clause(table, names, adds)).encode()


def _insert_into(table: sa.Table, names: tuple[str, ...]) -> str:
    return f"INSERT INTO {_quote(table.name)} ({', '.join(_quote(name) for name in names)})"


@lru_cache(maxsize=256)
def _update_statement(table: sa.Table, names: tuple[str, ...], key: tuple[str, ...]) -> bytes:
    changed = ", ".join(f"{_quote(name)} = %s" for name in names)
    condition = " AND ".join(f"{_quote(name)} = %s" for name in key)
    return f"UPDATE {_quote(table.name)} SET {changed} WHERE {condition}".encode()


@lru_cache(maxsize=1024)
def _look_up_statement(
    table: sa.Table, columns: tuple[sa.Column[Any], ...], shared: tuple[bool, ...], read: tuple[sa.Column[Any], ...]
) -> bytes:
    """Takes an array for each column, and then a value for each whose value all keys share.

    A lone array is sorted by the server, which then goes through the index once; several are joined with the table.
    """
    names = ", ".join(f"t.{_quote(column.name)}" for column in read)
    source = f"{_quote(table.name)} AS t"
    varying = [column for column, is_shared in zip(columns, shared, strict=True) if not is_shared]
    if len(varying) <= 1:
        conditions = [f"t.{_quote(column.name)} = ANY (%b::{_type(column)}[])" for column in varying]
    else:
        arrays = ", ".join(f"%b::{_type(column)}[]" for column in varying)
        source = f"unnest({arrays}) AS keys ({', '.join(f'k{n}' for n in range(len(varying)))}), {source}"
        conditions = [f"t.{_quote(column.name)} = keys.k{n}" for n, column in enumerate(varying)]
    same = [column for column, is_shared in zip(columns, shared, strict=True) if is_shared]
    conditions += [f"t.{_quote(column.name)} = %b::{_type(column)}" for column in same]
    return f"SELECT {names} FROM {source} WHERE {' AND '.join(conditions)}".encode()
