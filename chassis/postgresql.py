"""PostgreSQL: what production runs.

One schema a party, one advisory lock a schema; rows in bulk go as arrays.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain
from typing import Any, cast

import psycopg
import sqlalchemy as sa
from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL, Connection

from chassis.cells import Cells, Kind, array, cells, kind_of, value
from chassis.database import Database, Found, Query, Transaction, shown
from chassis.rows import Form, OnConflict, Row, Tuples, all_columns, conflict_clause, results
from quanlian.errors import ConfigurationError

CONNECT_SECONDS = 5
FEW_ROWS = 100
"""So many rows of a table wait for those of other tables, to be written by one statement; more go by themselves."""

_NEVER = 2**62
"""After how many runs psycopg prepares a statement by itself: without values the server would keep its plan."""

_CLOCK = b"SELECT floor(extract(epoch FROM clock_timestamp()))::bigint"
_EXCLUDE_WRITERS = b"SELECT pg_advisory_xact_lock($1)"
_REQUIRED_ON = ("fsync", "synchronous_commit", "full_page_writes")
_UNLOGGED = """
    SELECT relname FROM pg_class
    WHERE relnamespace = current_schema::regnamespace AND relkind = 'r' AND relpersistence = 'u' ORDER BY relname
"""
_SCHEMA_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
Values = Sequence[Any] | dict[str, Any]
"""Of a statement's parameters: by number, `$1` the first, or by name, `%(name)s`."""

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
            connect_args={"prepare_threshold": _NEVER, "connect_timeout": CONNECT_SECONDS},
        )
        readers = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        return cls(engine, readers, shown(url), schema, lock_wait_seconds)

    def _transaction(self, connection: Connection) -> Transaction:
        return PostgresqlTransaction(connection, self)

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
    """Many rows, and whatever is asked, are sent at once, and the server's word on it is awaited when an answer is
    called for or the transaction ends: it stores rows while others are made. The few rows of each table that a small
    commit writes go together: what a statement costs both sides is more than what they do.

    So what kept a row from being stored, or this writer from its turn, is raised by whatever comes after it.
    """

    def __init__(self, connection: Connection, database: Database) -> None:
        super().__init__(connection, database)
        self._driver = _driver(connection)
        self._sent = ExitStack()
        self._is_sending = False
        self._gathered: dict[_Insertion, list[_Encoded]] = {}
        """Few rows each, of tables that are all different."""

    def finish(self) -> None:
        self._send_gathered()
        self._is_sending = False
        self._sent.close()

    def exclude_writers(self) -> None:
        self._send(_EXCLUDE_WRITERS, (lock_key(self._database.schema),))

    def abandon(self) -> None:
        self._gathered.clear()
        with suppress(psycopg.Error):
            self.finish()

    def _send(self, statement: bytes, values: Values) -> psycopg.Cursor[Any]:
        if not self._is_sending:
            self._sent.enter_context(self._driver.pipeline())
            self._is_sending = True
        return self._execute(statement, values)

    def _send_gathered(self) -> None:
        gathered, self._gathered = self._gathered, {}
        if gathered:
            self._send(_insertions(tuple(gathered)), [*chain.from_iterable(gathered.values())])

    def _execute(self, statement: bytes, values: Values) -> psycopg.Cursor[Any]:
        """With values it is parsed once a connection and planned each time; without, its plan would be kept too."""
        prepare = bool(values)
        if isinstance(values, dict):
            return self._driver.execute(statement, values, prepare=prepare)
        return psycopg.RawCursor(self._driver).execute(statement, values, prepare=prepare)

    def _clock(self) -> int:
        row = self._driver.execute(_CLOCK).fetchone()
        assert row is not None
        return int(row[0])

    def _store(self, table: sa.Table, form: Form, rows: Tuples, on_conflict: OnConflict) -> None:
        if any(each.table is table for each in self._gathered):
            self._send_gathered()
        insertion, columns = _Insertion(table, form.names, on_conflict), form.columns(rows)
        if len(rows) <= FEW_ROWS:
            lists = [_repeated(each, len(rows)) for each in columns]
            self._gathered[insertion] = [_Encoded(array(*each)) for each in zip(lists, form.kinds, strict=True)]
            return
        if all(isinstance(each, bytes) for each in columns):
            columns[0] = _repeated(columns[0], len(rows))
        shared, values, arrays = _encoded(columns, form.kinds)
        self._send(insertion.statement(shared), [*values, *arrays])

    def select_keys(
        self,
        table: sa.Table,
        columns: Sequence[sa.Column[Any]],
        keys: Sequence[tuple[Any, ...]],
        fetch: Sequence[sa.Column[Any]] = (),
    ) -> list[Row]:
        return self._read(*_look_up(table, columns, keys, fetch)) if keys else []

    def ask_keys(
        self,
        table: sa.Table,
        columns: Sequence[sa.Column[Any]],
        keys: Sequence[tuple[Any, ...]],
        fetch: Sequence[sa.Column[Any]] = (),
    ) -> Found:
        return self._ask(*_look_up(table, columns, keys, fetch)) if keys else list

    def rows(self, query: Query, **values: Any) -> list[Row]:
        statement, fixed = query.compiled(self._dialect)
        return self._read(statement.encode(), fixed | values, query.columns)

    def ask(self, query: Query, **values: Any) -> Found:
        statement, fixed = query.compiled(self._dialect)
        return self._ask(statement.encode(), fixed | values, query.columns)

    def _read(self, statement: bytes, values: Values, columns: tuple[Any, ...]) -> list[Row]:
        self._send_gathered()
        return results(columns, self._execute(statement, values).fetchall(), self._dialect)

    def _ask(self, statement: bytes, values: Values, columns: tuple[Any, ...]) -> Found:
        self._send_gathered()
        asked = self._send(statement, values)
        return cache(lambda: results(columns, asked.fetchall(), self._dialect))

    def _update(self, table: sa.Table, key: dict[str, Any], values: dict[str, Any]) -> int:
        self._send_gathered()
        statement = _update_statement(table, tuple(values), tuple(key))
        sent = self._send(statement, (*values.values(), *key.values()))
        self.finish()
        return sent.rowcount


def _repeated(cells: Cells, count: int) -> list[bytes]:
    return [cells] * count if isinstance(cells, bytes) else cells


class _Encoded:
    """A parameter in the server's own form already."""

    __slots__ = ("content",)

    def __init__(self, content: bytes | None) -> None:
        self.content = content


class _EncodedDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: _Encoded) -> bytes | None:
        return obj.content


psycopg.adapters.register_dumper(_Encoded, _EncodedDumper)


def _encoded(
    columns: Sequence[Cells], kinds: Sequence[Kind]
) -> tuple[tuple[bool, ...], list[_Encoded], list[_Encoded]]:
    """Which columns all rows share, the values of these, and an array for each of the others."""
    shared = tuple(isinstance(each, bytes) for each in columns)
    values = [_Encoded(value(each)) for each in columns if isinstance(each, bytes)]
    varying = zip(columns, kinds, strict=True)
    return shared, values, [_Encoded(array(each, kind)) for each, kind in varying if isinstance(each, list)]


@dataclass(frozen=True, slots=True)
class _Insertion:
    """Of rows of a table that give these columns."""

    table: sa.Table
    names: tuple[str, ...]
    on_conflict: OnConflict

    def statement(self, shared: tuple[bool, ...]) -> bytes:
        """Takes a value for each column that all rows share, and then an array for each of the others."""
        return _insertion(self, shared, 1).encode()


@lru_cache(maxsize=4096)
def _insertion(insertion: _Insertion, shared: tuple[bool, ...], first: int) -> str:
    """Its parameters are numbered from `first` on."""
    table, names, on_conflict = insertion.table, insertion.names, insertion.on_conflict
    values = [name for name, same in zip(names, shared, strict=True) if same]
    varying = [name for name, same in zip(names, shared, strict=True) if not same]
    typed = {name: f"${n}::{_type(table.c[name])}" for n, name in enumerate((*values, *varying), first)}
    given = ", ".join(typed[name] if same else _quote(name) for name, same in zip(names, shared, strict=True))
    arrays = ", ".join(f"{typed[name]}[]" for name in varying)
    rows = f"unnest({arrays}) AS given ({', '.join(map(_quote, varying))})"
    columns = ", ".join(map(_quote, names))
    statement = f"INSERT INTO {_quote(table.name)} ({columns}) SELECT {given} FROM {rows}"
    return statement + conflict_clause(table, names, on_conflict)


@lru_cache(maxsize=256)
def _insertions(insertions: tuple[_Insertion, ...]) -> bytes:
    """One statement for rows of several tables; takes an array for each column of each."""
    parts, first = [], 1
    for each in insertions:
        parts.append(_insertion(each, (False,) * len(each.names), first))
        first += len(each.names)
    *others, last = parts
    before = ", ".join(f"w{n} AS ({part})" for n, part in enumerate(others))
    return (f"WITH {before} {last}" if others else last).encode()


def _look_up(
    table: sa.Table, columns: Sequence[sa.Column[Any]], keys: Sequence[tuple[Any, ...]], fetch: Sequence[sa.Column[Any]]
) -> tuple[bytes, list[_Encoded], tuple[sa.Column[Any], ...]]:
    """Statement and parameters, and the columns that it reads."""
    read = tuple(fetch) or all_columns(table)
    kinds = [kind_of(column) for column in columns]
    found = [cells(*each) for each in zip(zip(*dict.fromkeys(keys), strict=True), kinds, strict=True)]
    shared, values, arrays = _encoded(found, kinds)
    return _look_up_statement(table, tuple(columns), shared, read), [*arrays, *values], read


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
    # A plan made while a table was empty would stay until the table's next ANALYZE.
    settings.append("-c plan_cache_mode=force_custom_plan")
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
def _update_statement(table: sa.Table, names: tuple[str, ...], key: tuple[str, ...]) -> bytes:
    changed = ", ".join(f"{_quote(name)} = ${n}" for n, name in enumerate(names, 1))
    condition = " AND ".join(f"{_quote(name)} = ${n}" for n, name in enumerate(key, len(names) + 1))
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
    varying = [column for column, same in zip(columns, shared, strict=True) if not same]
    arrays = [f"${n}::{_type(column)}[]" for n, column in enumerate(varying, 1)]
    if len(varying) <= 1:
        conditions = [f"t.{_quote(column.name)} = ANY ({each})" for column, each in zip(varying, arrays, strict=True)]
    else:
        source = f"unnest({', '.join(arrays)}) AS keys ({', '.join(f'k{n}' for n in range(len(varying)))}), {source}"
        conditions = [f"t.{_quote(column.name)} = keys.k{n}" for n, column in enumerate(varying)]
    same = [column for column, is_shared in zip(columns, shared, strict=True) if is_shared]
    conditions += [
        f"t.{_quote(column.name)} = ${n}::{_type(column)}" for n, column in enumerate(same, len(varying) + 1)
    ]
    return f"SELECT {names} FROM {source} WHERE {' AND '.join(conditions)}".encode()
