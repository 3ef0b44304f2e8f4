"""The command line that the benchmarks of the hot paths share: parts, databases, the table and the JSON at the end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from chassis.service import COLLECT_AFTER
from rig.machine import machine, need_room, server

DATABASES = ("sqlite", "postgresql")


@dataclass(slots=True)
class Figures:
    """Figures by name, and why some have no value."""

    values: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, more: Figures) -> None:
        self.values |= more.values
        self.missing |= more.missing


@dataclass(frozen=True, slots=True)
class Run:
    """One database's run: a new folder, the URL of the server (empty: SQLite), the parts, how many requests a part."""

    folder: Path
    url: str
    parts: Sequence[str]
    count: int


Measure = Callable[[Run], Coroutine[Any, Any, Figures]]


def parser(title: str, parts: Sequence[str], usual: int, quick: int) -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=title)
    found.add_argument("--only", nargs="+", choices=parts, metavar="PART", help=f"of {', '.join(parts)}")
    found.add_argument("--database", choices=DATABASES, help="both without it")
    found.add_argument("--count", type=int, help=f"requests a part; {usual:,} without it")
    found.add_argument("--quick", action="store_true", help=f"{quick:,} requests a part")
    found.add_argument("--database-url", help="a PostgreSQL server; without it an embedded one is started")
    found.add_argument("--json", type=Path, metavar="FILE", help="write the figures as data too")
    found.set_defaults(usual=usual, of_quick=quick)
    return found


def run(
    title: str,
    options: argparse.Namespace,
    measure: Measure,
    usual_parts: Callable[[str], Sequence[str]],
    bytes_each: int,
    reported: Sequence[str] = (),
) -> None:
    """Measure on each database and report; `reported` figures are in the data even if their part was not run."""
    gc.set_threshold(*COLLECT_AFTER)
    count = options.count or (options.of_quick if options.quick else options.usual)
    figures, loads = Figures(missing=dict.fromkeys(reported, "its part was not run")), []
    for database in [options.database] if options.database else DATABASES:
        parts = options.only or usual_parts(database)
        with tempfile.TemporaryDirectory(prefix="quanlian-bench-") as folder, _url(database, options) as url:
            room = need_room(Path(folder), count * len(parts) * bytes_each)
            Console(stderr=True).print(f"{database}: {', '.join(parts)}; {room}")
            measured = asyncio.run(measure(Run(Path(folder), url, parts, count)))
        loads.append(os.getloadavg()[0])
        suffix = "_sqlite" if database == "sqlite" else ""
        figures.values |= {f"{name}{suffix}": value for name, value in measured.values.items()}
        figures.missing |= {f"{name}{suffix}": why for name, why in measured.missing.items()}
    _show(title, figures)
    if options.json:
        values = {name: round(value, 3) for name, value in figures.values.items()}
        missing = {name: why for name, why in figures.missing.items() if name not in values}
        data = {**dict.fromkeys(missing), **values, "not_measured": missing}
        data |= {"count": count, "machine": machine(), "load_average": loads}
        options.json.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _url(database: str, options: argparse.Namespace) -> Iterator[str]:
    if database == "sqlite":
        yield ""
        return
    with server(options.database_url) as url:
        yield url


def _show(title: str, figures: Figures) -> None:
    table = Table(title=title)
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.values.items():
        table.add_row(name, f"{value:,.3f}" if value < 100 else f"{value:,.0f}")
    console = Console(width=100)
    console.print(table)
    for name, why in figures.missing.items():
        if name not in figures.values:
            console.print(f"{name}: not measured, {why}", style="dim")
    print(f"{machine()}; load average {os.getloadavg()[0]:.1f}")
