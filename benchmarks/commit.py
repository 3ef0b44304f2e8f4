"""Group commit: rows acknowledged a second through `chassis`, against the bare driver in the same run.

Both sides write the same rows in the same batches with the same durability, to tables of the same shape in the same
database. The bare side is a loop over `sqlite3` or psycopg and nothing else; the other side is what a service does:
callers await `GroupCommit`, which inserts through `Database` and answers after the commit. Rounds alternate; the median
counts. It asserts nothing about speed: a benchmark reports.

    python benchmarks/commit.py --rows 20000 --rounds 3 --json commit.json
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table
from rig.machine import machine, server

from chassis.commit import GroupCommit
from chassis.database import Database

BATCHES = (1, 100, 1000)
IN_FLIGHT = 2
SINGLE_ROWS = 1000
SCHEMA = "bench_commit"

METADATA = sa.MetaData()
ROW = sa.Table(
    "row",
    METADATA,
    sa.Column("id", sa.LargeBinary, primary_key=True),
    sa.Column("participant", sa.String, nullable=False),
    sa.Column("body_hash", sa.LargeBinary, nullable=False),
    sa.Column("amount_fen", sa.BigInteger, nullable=False),
    sa.Column("decided_at", sa.BigInteger, nullable=False),
)
NAMES = [column.name for column in ROW.columns]
COLUMNS = ", ".join(NAMES)
Rows = list[dict[str, Any]]


class Side(NamedTuple):
    """One of the two ways to write: seconds for these rows in batches of that size."""

    name: str
    write: Callable[[Rows, int], float]


class Result(NamedTuple):
    database: str
    batch: int
    bare_per_second: int
    chassis_per_second: int

    @property
    def ratio(self) -> float:
        return self.chassis_per_second / self.bare_per_second


def rows(count: int, run: int) -> Rows:
    """Fresh rows with ids in the order of time, as pack ids and request ids are."""
    return [
        {
            "id": run.to_bytes(6, "big") + number.to_bytes(10, "big"),
            "participant": "spiffe://330100.quanlian/platform/alipay",
            "body_hash": number.to_bytes(32, "big"),
            "amount_fen": 1000 + number,
            "decided_at": 1_790_000_000,
        }
        for number in range(count)
    ]


def batches(given: Rows, size: int) -> Iterator[Rows]:
    for start in range(0, len(given), size):
        yield given[start : start + size]


def through_chassis(database: Database) -> Side:
    """Two callers keep a batch in flight each, as two messages of a stream do."""

    def decide(items: Rows) -> list[bytes]:
        with database.transaction() as transaction:
            transaction.insert(ROW, items)
        return [item["id"] for item in items]

    async def run(given: Rows, size: int) -> float:
        engine = GroupCommit(decide, name="benchmark", max_batch=size)
        engine.start()
        waiting = batches(given, size)

        async def caller() -> None:
            for batch in waiting:
                await engine.submit_many(batch)

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
        elapsed = time.perf_counter() - began
        engine.close()
        return elapsed

    return Side("chassis", lambda given, size: asyncio.run(run(given, size)))


def bare_sqlite(connection: sqlite3.Connection) -> Side:
    statement = f"INSERT INTO bare ({COLUMNS}) VALUES ({', '.join('?' * len(NAMES))})"

    def write(given: Rows, size: int) -> float:
        values = [tuple(row.values()) for row in given]
        began = time.perf_counter()
        for start in range(0, len(values), size):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(statement, values[start : start + size])
            connection.execute("COMMIT")
        return time.perf_counter() - began

    return Side("bare", write)


def bare_postgresql(connection: psycopg.Connection[Any]) -> Side:
    def write(given: Rows, size: int) -> float:
        values = [tuple(row.values()) for row in given]
        began = time.perf_counter()
        for start in range(0, len(values), size):
            with connection.cursor() as cursor, cursor.copy(f"COPY bare ({COLUMNS}) FROM STDIN".encode()) as copy:
                for row in values[start : start + size]:
                    copy.write_row(row)
            connection.commit()
        return time.perf_counter() - began

    return Side("bare", write)


def measure(name: str, sides: tuple[Side, Side], count: int, rounds: int) -> Iterator[Result]:
    """One result a batch size; the side that begins changes from round to round."""
    run = 0
    for size in BATCHES:
        seconds: dict[str, list[float]] = {side.name: [] for side in sides}
        written = min(count, SINGLE_ROWS) if size == 1 else count
        for round_ in range(rounds):
            for side in sides if round_ % 2 else reversed(sides):
                run += 1
                seconds[side.name].append(side.write(rows(written, run), size))
        bare, chassis = (round(written / statistics.median(seconds[each])) for each in ("bare", "chassis"))
        yield Result(name, size, bare, chassis)


@contextlib.contextmanager
def sqlite(folder: Path) -> Iterator[tuple[tuple[Side, Side], str]]:
    file = folder / "commit.db"
    database = Database.open(f"sqlite:///{file}")
    database.check_durability()
    with database.transaction() as transaction:
        METADATA.create_all(transaction.connection)
    connection = sqlite3.connect(file, isolation_level=None)
    journal = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    connection.execute("PRAGMA synchronous = FULL")
    synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
    connection.execute(_create_bare(database))
    settings = f"SQLite {sqlite3.sqlite_version}, journal_mode={journal}, synchronous={synchronous} (2 is FULL)"
    try:
        yield (bare_sqlite(connection), through_chassis(database)), settings
    finally:
        connection.close()
        database.close()


@contextlib.contextmanager
def postgresql(url: str) -> Iterator[tuple[tuple[Side, Side], str]]:
    connection = psycopg.connect(url)
    connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    connection.execute(f"CREATE SCHEMA {SCHEMA}")
    connection.execute(f"SET search_path TO {SCHEMA}")
    connection.commit()
    database = Database.open(url, SCHEMA)
    database.check_durability()
    with database.transaction() as transaction:
        METADATA.create_all(transaction.connection)
    connection.execute(_create_bare(database).encode())
    connection.commit()
    shown = [(name, _setting(connection, name)) for name in ("server_version", "fsync", "synchronous_commit")]
    connection.commit()
    try:
        settings = "PostgreSQL " + ", ".join(f"{name}={value}" for name, value in shown)
        yield (bare_postgresql(connection), through_chassis(database)), settings
    finally:
        connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
        connection.commit()
        connection.close()
        database.close()


def _create_bare(database: Database) -> str:
    """The same table once more, under the name `bare`."""
    table = ROW.to_metadata(sa.MetaData(), name="bare")
    return str(sa.schema.CreateTable(table).compile(dialect=database.engine.dialect))


def _setting(connection: psycopg.Connection[Any], name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    return str(row[0]) if row else "unknown"


def show(results: list[Result], settings: list[str], arguments: argparse.Namespace) -> None:
    single = min(arguments.rows, SINGLE_ROWS)
    print(f"Rows acknowledged a second: median of {arguments.rounds} rounds of {arguments.rows} ({single} one by one)")
    table = Table()
    for heading in ("database", "rows a commit", "bare driver", "chassis", "ratio"):
        table.add_column(heading, justify="left" if heading == "database" else "right")
    for result in results:
        figures = (f"{result.bare_per_second:,}", f"{result.chassis_per_second:,}", f"{result.ratio:.2f}")
        table.add_row(result.database, str(result.batch), *figures)
    Console(width=100).print(table)
    print("\n".join([machine(), *settings]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000, help=f"rows a round (at most {SINGLE_ROWS} one by one)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--database-url", help="a PostgreSQL server; without it an embedded one is started")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as data too")
    arguments = parser.parse_args()
    results: list[Result] = []
    settings: list[str] = []
    with tempfile.TemporaryDirectory(prefix="quanlian-bench-") as folder, sqlite(Path(folder)) as (sides, durability):
        settings.append(durability)
        results += measure("SQLite", sides, arguments.rows, arguments.rounds)
    with server(arguments.database_url) as url, postgresql(url) as (sides, durability):
        settings.append(durability)
        results += measure("PostgreSQL", sides, arguments.rows, arguments.rounds)
    show(results, settings, arguments)
    if arguments.json:
        data = {
            "machine": machine(),
            "durability": settings,
            "rows": arguments.rows,
            "rounds": arguments.rounds,
            "results": [{**result._asdict(), "ratio": round(result.ratio, 3)} for result in results],
        }
        arguments.json.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
