"""PostgreSQL: what production runs.

One schema a party, one advisory lock a schema; rows in bulk go by COPY and unnest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL, Connection

from chassis.database import Database, Query, Transaction, shown
from chassis.rows import Rows, all_columns, completed, conflict_clause, distinct_by_key, results, tuples
from quanlian.errors import ConfigurationError

CONNECT_SECONDS = 5
_REQUIRED_ON = ("fsync", "synchronous_commit", "full_page_writes")
_SCHEMA_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_BINARY: dict[type[Any], str] = {
    sa.BigInteger: "int8",
    sa.Integer: "int4",
    sa.Boolean: "bool",
    sa.String: "text",
    sa.Text: "text",
    sa.LargeBinary: "bytea",
}
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
        return cls(engine, readers, place=shown(url), schema=schema)

    def _transaction(self, connection: Connection) -> Transaction:
        return PostgresqlTransaction(connection, self)

    def _exclude_writers(self, connection: Connection) -> None:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (lock_key(self.schema),))

    def _create_schema(self, connection: Connection) -> None:
        if self.schema:
            connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {_quote(self.schema)}")

    def _durability_faults(self, connection: Connection) -> list[str]:
        names = ", ".join(f"'{name}'" for name in _REQUIRED_ON)
        found = connection.exec_driver_sql(f"SELECT name, setting FROM pg_settings WHERE name IN ({names})")
        return durability_faults({name: setting for name, setting in found})


class PostgresqlTransaction(Transaction):
    def _clock(self) -> int:
        return int(
            self.connection.exec_driver_sql("SELECT floor(extract(epoch FROM clock_timestamp()))::bigint").scalar_one()
        )

    def _insert(self, table: sa.Table, rows: Rows) -> None:
        self._append(table, *completed(table, rows, self.connection.dialect))

    def _append(self, table: sa.Table, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
        statement, types = _copy_statement(table, names)
        with self._driver.cursor() as cursor, cursor.copy(statement) as copy:
            if types:
                copy.set_types(types)
            for row in rows:
                copy.write_row(row)

    def _upsert(self, table: sa.Table, rows: Rows) -> None:
        names, values = completed(table, distinct_by_key(table, rows), self.connection.dialect)
        with self._driver.cursor() as cursor:
            cursor.execute(_upsert_statement(table, names), [list(column) for column in zip(*values, strict=True)])

    def select_keys(
        self,
        table: sa.Table,
        columns: Sequence[sa.Column[Any]],
        keys: Sequence[tuple[Any, ...]],
        fetch: Sequence[sa.Column[Any]] = (),
    ) -> list[sa.Row[Any]]:
        wanted = list(dict.fromkeys(keys))
        if not wanted:
            return []
        read = tuple(fetch) or all_columns(table)
        statement = _look_up_statement(table, tuple(columns), read)
        with self._driver.cursor() as cursor:
            cursor.execute(statement, [list(values) for values in zip(*wanted, strict=True)])
            return results(read, cursor.fetchall(), self.connection.dialect)

    def rows(self, query: Query, **values: Any) -> list[sa.Row[Any]]:
        statement, fixed = query.compiled(self.connection.dialect)
        with self._driver.cursor() as cursor:
            cursor.execute(statement.encode(), fixed | values)
            return results(query.columns, cursor.fetchall(), self.connection.dialect)

    def _update(self, table: sa.Table, key: dict[str, Any], values: dict[str, Any]) -> int:
        changed, (new,) = tuples(table, [values], self.connection.dialect)
        names, (old,) = tuples(table, [key], self.connection.dialect)
        with self._driver.cursor() as cursor:
            return cursor.execute(_update_statement(table, changed, names), (*new, *old)).rowcount

    def _add(self, table: sa.Table, rows: Sequence[tuple[Any, ...]]) -> None:
        with self._driver.cursor() as cursor:
            cursor.execute(_add_statement(table), [list(column) for column in zip(*rows, strict=True)])

    @property
    def _driver(self) -> psycopg.Connection[Any]:
        return cast("psycopg.Connection[Any]", self.connection.connection.driver_connection)


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


def _array_type(column: sa.Column[Any]) -> str:
    """The column's type as an array, without its length: a cast cuts silently, storing checks."""
    return re.sub(r"\(.*\)", "", column.type.compile(postgresql.dialect())) + "[]"  # type: ignore[no-untyped-call]


@lru_cache(maxsize=256)
def _copy_statement(table: sa.Table, names: tuple[str, ...]) -> tuple[bytes, list[str]]:
    """COPY, in PostgreSQL's binary form where every column has a plain type; then these, else none."""
    columns = ", ".join(_quote(name) for name in names)
    types = [_BINARY.get(type(table.c[name].type), "") for name in names]
    form = " (FORMAT BINARY)" if all(types) else ""
    statement = f"COPY {_quote(table.name)} ({columns}) FROM STDIN{form}"
    return statement.encode(), types if all(types) else []


@lru_cache(maxsize=256)
def _upsert_statement(table: sa.Table, names: tuple[str, ...]) -> bytes:
    return (_unnested(table, names) + conflict_clause(table, names)).encode()


@lru_cache(maxsize=256)
def _add_statement(table: sa.Table) -> bytes:
    names = tuple(column.name for column in table.columns)
    return (_unnested(table, names) + conflict_clause(table, names, adds=True)).encode()


def _unnested(table: sa.Table, names: tuple[str, ...]) -> str:
    columns = ", ".join(_quote(name) for name in names)
    arrays = ", ".join(f"%b::{_array_type(table.c[name])}" for name in names)
    return f"INSERT INTO {_quote(table.name)} ({columns}) SELECT * FROM unnest({arrays})"


@lru_cache(maxsize=256)
def _update_statement(table: sa.Table, names: tuple[str, ...], key: tuple[str, ...]) -> bytes:
    changed = ", ".join(f"{_quote(name)} = %s" for name in names)
    condition = " AND ".join(f"{_quote(name)} = %s" for name in key)
    return f"UPDATE {_quote(table.name)} SET {changed} WHERE {condition}".encode()


@lru_cache(maxsize=256)
def _look_up_statement(table: sa.Table, columns: tuple[sa.Column[Any], ...], read: tuple[sa.Column[Any], ...]) -> bytes:
    names = ", ".join(f"t.{_quote(column.name)}" for column in read)
    arrays = ", ".join(f"%b::{_array_type(column)}" for column in columns)
    keys = ", ".join(f"k{n}" for n in range(len(columns)))
    condition = " AND ".join(f"t.{_quote(column.name)} = keys.k{n}" for n, column in enumerate(columns))
    return (
        f"SELECT {names} FROM unnest({arrays}) AS keys ({keys}) JOIN {_quote(table.name)} AS t ON {condition}"
    ).encode()
