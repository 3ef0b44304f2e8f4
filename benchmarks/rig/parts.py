"""The command line that the benchmarks of the hot paths share: parts, databases, the table and the JSON at the end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rig.machine import machine, need_room, server

DATABASES = ("sqlite", "postgresql")
Measure = Callable[[Path, str, int], Awaitable[dict[str, float]]]
"""Folder, URL of the server (empty: SQLite), how many; the figures by name."""


def run(title: str, measure: Measure, usual: int, quick: int, bytes_each: int) -> None:
    """Measure on each database and report."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--only", choices=DATABASES, help="one part; both without it")
    parser.add_argument("--count", type=int, help=f"requests a part; {usual:,} without it")
    parser.add_argument("--quick", action="store_true", help=f"{quick:,} requests a part")
    parser.add_argument("--database-url", help="a PostgreSQL server; without it an embedded one is started")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as data too")
    options = parser.parse_args()
    count = options.count or (quick if options.quick else usual)
    figures: dict[str, float] = {}
    for database in [options.only] if options.only else DATABASES:
        with tempfile.TemporaryDirectory(prefix="quanlian-bench-") as folder, _url(database, options) as url:
            Console(stderr=True).print(f"{database}: {need_room(Path(folder), count * bytes_each)}")
            measured = asyncio.run(measure(Path(folder), url, count))
        suffix = "_sqlite" if database == "sqlite" else ""
        figures |= {f"{name}{suffix}": round(value, 3) for name, value in measured.items()}
    _show(title, figures)
    if options.json:
        data = {**figures, "count": count, "machine": machine()}
        options.json.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _url(database: str, options: argparse.Namespace) -> Iterator[str]:
    if database == "sqlite":
        yield ""
        return
    with server(options.database_url) as url:
        yield url


def _show(title: str, figures: dict[str, float]) -> None:
    table = Table(title=title)
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.3f}" if value < 100 else f"{value:,.0f}")
    Console(width=100).print(table)
    print(machine())
