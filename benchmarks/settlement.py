"""Settlement: how long a window of many redemptions takes to close, to state and to verify.

41 regions (the cities of the Yangtze River Delta), 50 campaigns, every redemption in another region than its voucher's.
The books are made in bulk by the service's own functions (rig/bulk.py). Then:

- close_s: close the window and calculate net positions and signed statements for all regions, while other redemptions
  are cleared all the time; with it the slowest batch cleared during the close, beside the median,
- statements_s: write every region's statement as signed JSON, workbook and page,
- verify_s: recompute as many redemptions as the window has from exported files, as a third party does: region after
  region until that many lines are read (each redemption is in two regions' statements).

Beside each stands its bare baseline in the same run: the same totals read and the same statements inserted and
committed; the same bytes written and flushed to disk; the same lines hashed and parsed as JSON, in one process. CPU
seconds are of this process and of those that verify with it. After each part the books are checked; if they do not
balance, no figure is reported.

    python benchmarks/settlement.py --sizes 10000 100000 --json settlement.json

It asserts nothing about speed, but every statement must verify.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table
from rig.books import CHECKED_WHOLE, require_balance
from rig.bulk import BYTES_A_REDEMPTION, Bulk
from rig.delta import (
    CAMPAIGNS,
    CLEARINGHOUSE,
    Setting,
    delta_cities,
    open_clearinghouse,
    open_database,
    publish_campaigns,
)
from rig.issuing import SEED, Issuer
from rig.machine import durability, machine, need_room, server
from rig.traffic import Traffic

from chassis.console import progress
from chassis.service import COLLECT_AFTER
from clearinghouse import schema
from clearinghouse.evidence import evidence
from clearinghouse.service import ClearinghouseService
from clearinghouse.statements import signed_statement
from custodian import schema as books_schema
from quanlian.terms import Terms
from reporting.evidence_files import write_evidence
from reporting.signed_file import SignedFile
from reporting.statement_files import write_statement
from reporting.statement_options import Format
from verifier.verification import verify

BATCH, PACKS_MEANWHILE, MEANWHILE_SECONDS = 100, 250, 1.0
"""What is cleared while the window closes: batches of 100, 2,500 vouchers ready, from a second before on."""

Figures = dict[str, float]
told = Console(stderr=True)


class Stopwatch:
    """Wall seconds, and CPU seconds of this process and those that it started to verify."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), _cpu()
        yield
        self.wall_s += time.perf_counter() - wall
        self.cpu_s += _cpu() - cpu


def _cpu() -> float:
    """Of Python's processes alone: an embedded database server is none."""
    here = psutil.Process()
    below = [each for each in here.children(recursive=True) if "python" in each.name()]
    return sum(sum(each.cpu_times()[:4]) for each in (here, *below))


class Run:
    """One size over a fresh database."""

    def __init__(self, size: int, folder: Path, url: str) -> None:
        self.size, self._folder = size, folder
        self._at = int(time.time())
        self._setting = Setting(folder / "pki", delta_cities())
        self._setting.certify(self._at - 60)
        self._database = open_database(
            url or f"sqlite:///{folder / 'clearinghouse.sqlite'}", f"bench_settlement_{size}" if url else ""
        )
        self.durability = durability(self._database)
        self.figures: Figures = {}

    async def measure(self) -> None:
        with closing(self._database):
            service = await open_clearinghouse(self._setting, self._database)
            campaigns = await publish_campaigns(self._setting, service, self._at)
            issuer = Issuer(self._setting, self._at)
            with self._part("load"):
                self._load(service, campaigns, issuer)
            extra = await self._close(service, campaigns[1], issuer)
            captures = self.size + extra
            told.print(f"  books: {require_balance(self._database, 1, captures)}")
            statements = self._state()
            self._verify(statements)
            service.close()

    def _load(self, service: ClearinghouseService, campaigns: list[Terms], issuer: Issuer) -> None:
        with progress() as shown:
            task = shown.add_task("loading", total=self.size)
            bulk = Bulk(self._setting, service, issuer)
            bulk.load(campaigns, self.size, self.size <= CHECKED_WHOLE, lambda count: shown.advance(task, count))
        _leave_alone_what_is_there()

    async def _close(self, service: ClearinghouseService, terms: Terms, issuer: Issuer) -> int:
        """Close while batches are cleared; how many of them fell into the window."""
        traffic = Traffic(self._setting, service, issuer)
        batches = await traffic.prepare(terms, PACKS_MEANWHILE, BATCH)
        clearing = asyncio.create_task(traffic.send(batches))
        await asyncio.sleep(MEANWHILE_SECONDS)
        watch, began = Stopwatch(), time.perf_counter()
        with watch.running():
            await service.settlement.close_window()
        ended = time.perf_counter()
        await clearing
        during = [seconds for at, seconds in traffic.seconds if at + seconds > began and at < ended]
        usual = statistics.median(seconds for _, seconds in traffic.seconds)
        self._keep("close", watch)
        self.figures |= {"close_slowest_batch_s": max(during, default=0.0), "close_median_batch_s": usual}
        self._baseline("close", self._bare_close)
        with self._database.snapshot() as transaction:
            posting = books_schema.posting
            query = sa.select(sa.func.count()).where(posting.c.settlement_window == 1, posting.c.kind == "capture")
            return int(transaction.connection.execute(query).scalar() or 0) - self.size

    def _bare_close(self) -> None:
        """The totals read and the statements inserted and committed, with nothing in between."""
        table, turnover, flow = schema.statement, books_schema.turnover, books_schema.flow
        copy = sa.Table("bench_statement", sa.MetaData(), *(sa.Column(c.name, c.type) for c in table.columns))
        with self._database.transaction() as transaction:
            run = transaction.connection.execute
            run(turnover.select().where(turnover.c.settlement_window == 1)).all()
            run(flow.select().where(flow.c.settlement_window == 1)).all()
            rows = [dict(row._mapping) for row in run(table.select().where(table.c.settlement_window == 1))]
            copy.create(transaction.connection)
            run(copy.insert(), rows)

    def _state(self) -> dict[str, Path]:
        with self._part("statements"):
            statements = {code: self._write_statement(code) for code in self._setting.regions}
        contents = [path.read_bytes() for code in statements for path in (self._folder / code).iterdir()]
        self._baseline("statements", lambda: [_flush(self._folder / "bare", content) for content in contents])
        return statements

    def _write_statement(self, code: str) -> Path:
        with self._database.snapshot() as transaction:
            message = signed_statement(transaction, code, 1, "")
        chain = self._setting.chains[(CLEARINGHOUSE, "statement")]
        signed = SignedFile("statement", message.body, message.key_id, message.signature, chain)
        return write_statement(signed, self._folder / code, list(Format))[0]

    def _verify(self, statements: dict[str, Path]) -> None:
        """Region after region until as many lines as there are redemptions were recomputed."""
        exporting, verifying, reading, verified = Stopwatch(), Stopwatch(), Stopwatch(), 0
        for code, statement in statements.items():
            folder = self._folder / code
            with exporting.running():
                lines = evidence(self._database, self._setting.signers[(CLEARINGHOUSE, "statement")], code, 1)
                path, _ = write_evidence(folder, code, self._setting.root_pem, itertools.chain.from_iterable(lines))
            with verifying.running():
                fingerprint = self._setting.fingerprint
                verdict = verify(statement, [path], folder / "terms", folder / "agreements", fingerprint)
            if not verdict.holds:
                raise SystemExit(f"the statement of {code} does not hold: {verdict.findings[:3]}")
            with reading.running():
                _bare_read(path)
            verified += verdict.redemptions
            path.unlink()
            if verified >= self.size:
                break
        for name, watch in (("verify", verifying), ("export", exporting)):
            self._keep(name, watch, self.size / verified)
        bare_s = reading.wall_s * self.size / verified
        self.figures["verify_ratio"] = self.figures["verify_s"] / bare_s

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        watch = Stopwatch()
        with watch.running():
            yield
        self._keep(name, watch)

    def _keep(self, name: str, watch: Stopwatch, part: float = 1.0) -> None:
        self.figures |= {f"{name}_s": watch.wall_s * part, f"{name}_cpu_s": watch.cpu_s * part}
        told.print(f"  {name}: {watch.wall_s:,.2f} s, CPU {watch.cpu_s:,.2f} s")

    def _baseline(self, name: str, bare: Callable[[], object]) -> None:
        watch = Stopwatch()
        with watch.running():
            bare()
        self.figures[f"{name}_ratio"] = self.figures[f"{name}_s"] / watch.wall_s


def _leave_alone_what_is_there() -> None:
    """As a service does when it is ready: Python does not look for cycles in what loading left, and does so rarely."""
    gc.set_threshold(*COLLECT_AFTER)
    gc.collect()
    gc.freeze()


def _bare_read(path: Path) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for line in file:
            digest.update(line)
            json.loads(line)


def _flush(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def show(figures: dict[str, dict[str, float]], sizes: list[int], title: str) -> None:
    table = Table(title=title)
    for heading in ("", *(f"{size:,}" for size in sizes)):
        table.add_column(heading, justify="right")
    for name, by_size in figures.items():
        table.add_row(name, *(f"{by_size[str(size)]:,.3f}" for size in sizes))
    Console(width=100).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="redemptions")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--database-url", help="a PostgreSQL server; without it an embedded one is started")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as data too")
    options = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    settings = ""
    with tempfile.TemporaryDirectory(prefix="quanlian-settlement-") as folder:
        told.print(need_room(Path(folder), max(options.sizes) * BYTES_A_REDEMPTION))
        with server(options.database_url) if options.database == "postgresql" else _no_server() as url:
            for size in options.sizes:
                told.print(f"{size:,} redemptions, {len(delta_cities())} regions, {CAMPAIGNS} campaigns")
                run = Run(size, Path(folder) / str(size), url)
                asyncio.run(run.measure())
                settings = run.durability
                for name, seconds in run.figures.items():
                    figures.setdefault(name, {})[str(size)] = round(seconds, 3)
    show(figures, options.sizes, f"settlement on {options.database}, seconds")
    print(f"{machine()}\n{options.database} {settings}")
    if options.json:
        data: dict[str, Any] = {**figures, "database": options.database, "durability": settings}
        data |= {"machine": machine(), "seed": SEED}
        options.json.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _no_server() -> Iterator[str]:
    yield ""


if __name__ == "__main__":
    main()
