"""Where the CPU time of a redemption in another region goes at the clearinghouse, stage by stage, and how it grows.

One clearinghouse of 41 regions in this process, without network: batches of a thousand items, vouchers of fifty
campaigns in the order of chance and not in that of their issue, a fifth of them by rate, each with a discount of its
own. With `--stored` so many redemptions are in the books already, made in bulk (rig/bulk.py), and the vouchers are
those left over from all their hand-overs; several numbers give the ratio of the rates.

- read: parse, hash and verify the item, look up the tree's root,
- look_up: the transaction, and what the batch reads before it decides,
- decide: checks, split, movements, positions, answer,
- rows: rows, their seals and the signature over the answers,
- write: the driver's statements; the database server's own time is not in it,
- commit: the rest of the transaction.

    python benchmarks/stages.py --database postgresql --stored 0 100000 --json stages.json

The books are checked after each; where they do not balance, nothing is reported.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rig.books import require_balance
from rig.bulk import BYTES_A_REDEMPTION, Bulk
from rig.delta import Setting, delta_cities, open_clearinghouse, open_database, publish_campaigns
from rig.issuing import PACK, Issued, Issuer
from rig.machine import durability, machine, need_room, server
from rig.parts import DATABASES
from rig.traffic import purchase_item, require_accepted

from chassis import postgresql, sqlite
from chassis.console import progress
from chassis.ids import FreshIds
from chassis.rows import Form
from chassis.service import COLLECT_AFTER
from clearinghouse.custody import read_hand_over
from clearinghouse.desk import Desk
from clearinghouse.redeeming import Redeem
from clearinghouse.service import ClearinghouseService
from custodian.books import Books
from custodian.receiving import receive
from custodian.verification import RootMemory
from quanlian.terms import Terms

USUAL, QUICK, BATCH = 10_000, 2_000, 1000
STAGES = ("read", "look_up", "decide", "rows", "write", "commit")
OTHER = "of the benchmark itself"


class Stages:
    """CPU seconds of this thread, by stage; every moment counts for one of them."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._stage, self._since = OTHER, time.thread_time()

    def enter(self, stage: str) -> str:
        """What follows is of this stage; returns the one before."""
        now = time.thread_time()
        self.seconds[self._stage] += now - self._since
        before, self._stage, self._since = self._stage, stage, now
        return before

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Tell the stages of the service's own code by its functions, within the block."""
        drivers = (sqlite.SqliteTransaction, postgresql.PostgresqlTransaction)
        places: list[tuple[Any, str, str, str | None]] = [
            (Books, "fetch", "look_up", "decide"),
            (Desk, "save", "rows", "commit"),
            *((driver, name, "write", None) for driver in drivers for name in ("_store", "finish")),
            (Form, "columns", "rows", None),
            (Form, "completed", "rows", None),
        ]
        kept = [(owner, name, getattr(owner, name)) for owner, name, _, _ in places]
        for owner, name, during, after in places:
            setattr(owner, name, self._told(getattr(owner, name), during, after))
        try:
            yield
        finally:
            for owner, name, original in kept:
                setattr(owner, name, original)

    def _told(self, function: Callable[..., Any], during: str, after: str | None) -> Callable[..., Any]:
        def told(*arguments: Any, **named: Any) -> Any:
            before = self.enter(during)
            try:
                return function(*arguments, **named)
            finally:
                self.enter(after or before)

        return told


class Run:
    """Batches over books with `stored` redemptions."""

    def __init__(self, folder: Path, url: str, stored: int, count: int) -> None:
        self._at, self._stored, self._count = int(time.time()), stored, count
        self._setting = Setting(folder / "pki", delta_cities())
        self._setting.certify(self._at - 60)
        self._database = open_database(
            url or f"sqlite:///{folder / 'clearinghouse.sqlite'}", f"bench_stages_{stored}" if url else ""
        )
        self._ids = FreshIds()
        self.durability = durability(self._database)

    async def measure(self) -> dict[str, float]:
        with closing(self._database):
            service = await open_clearinghouse(self._setting, self._database)
            campaigns = await publish_campaigns(self._setting, service, self._at)
            issuer = Issuer(self._setting, self._at)
            with progress() as shown:
                task = shown.add_task(f"{self._stored:,} stored", total=self._stored)
                bulk, spared = Bulk(self._setting, service, issuer), list[Issued]()
                if self._stored:
                    spared = bulk.load(
                        campaigns, self._stored, True, lambda count: shown.advance(task, count), self._count
                    )[: self._count]
            vouchers = spared or await self._handed_over(service, campaigns, issuer)
            items = self._items(vouchers, issuer)
            stages = self._decide(service, items)
            service.close()
            print(f"  books: {require_balance(self._database, 1, self._stored + len(items))}")
        return {stage: 1e6 * stages.seconds[stage] / len(items) for stage in STAGES}

    async def _handed_over(self, service: ClearinghouseService, campaigns: list[Terms], issuer: Issuer) -> list[Issued]:
        """Of all campaigns."""
        found: list[Issued] = []
        for terms in campaigns:
            handed = issuer.hand_over(terms, max(1, self._count // PACK // len(campaigns)))
            await service.engine.group.submit(read_hand_over(terms.issuer, handed.message))
            found += handed.vouchers
        return found

    def _items(self, vouchers: list[Issued], issuer: Issuer) -> list[tuple[str, bytes]]:
        """Redeeming region and item, in no order."""
        found = []
        for each in vouchers:
            others = [code for code in self._setting.regions if code != each.state.key.issuer]
            found.append((issuer.random.choice(others), purchase_item(each, issuer)))
        issuer.random.shuffle(found)
        return found

    def _decide(self, service: ClearinghouseService, items: list[tuple[str, bytes]]) -> Stages:
        roots, stages = RootMemory(self._setting.keyring), Stages()
        with stages.watching():
            for start in range(0, len(items), BATCH):
                stages.enter("read")
                works = [self._work(region, content, roots) for region, content in items[start : start + BATCH]]
                stages.enter("look_up")
                results = service.engine.decide(works)
                stages.enter(OTHER)
                require_accepted(results)
        return stages

    def _work(self, region: str, content: bytes, roots: RootMemory) -> Redeem:
        received = receive(
            content,
            participant=region,
            acquirer="",
            redeeming_region=region,
            redemption_id=self._ids.uuid7(),
            verifier=roots,
        )
        return Redeem(received)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--database-url", help="a PostgreSQL server; without it an embedded one is started")
    parser.add_argument("--stored", type=int, nargs="+", default=[0], help="redemptions in the books already")
    parser.add_argument("--count", type=int, help=f"redemptions measured; {USUAL:,} without it")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:,} redemptions")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as data too")
    options = parser.parse_args()
    count = options.count or (QUICK if options.quick else USUAL)
    gc.set_threshold(*COLLECT_AFTER)
    found: dict[int, dict[str, float]] = {}
    with server(options.database_url) if options.database == "postgresql" else nullcontext("") as url:
        for stored in options.stored:
            with tempfile.TemporaryDirectory(prefix="quanlian-bench-") as folder:
                print(f"{stored:,} stored: {need_room(Path(folder), (stored + count) * BYTES_A_REDEMPTION)}")
                run = Run(Path(folder), url, stored, count)
                print(f"  {run.durability}")
                found[stored] = asyncio.run(run.measure())
    _show(options.database, found)
    if options.json:
        totals = {stored: sum(stages.values()) for stored, stages in found.items()}
        ratios = {f"ratio_at_{stored}": totals[options.stored[0]] / total for stored, total in totals.items()}
        data = {"cpu_us": found, "database": options.database, "count": count, "machine": machine(), **ratios}
        options.json.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def _show(database: str, found: dict[int, dict[str, float]]) -> None:
    table = Table(title=f"CPU µs of a redemption, {database}")
    table.add_column("stage")
    for stored in found:
        table.add_column(f"{stored:,} stored", justify="right")
    for stage in STAGES:
        table.add_row(stage, *(f"{stages[stage]:,.1f}" for stages in found.values()))
    table.add_row("all", *(f"{sum(stages.values()):,.1f}" for stages in found.values()))
    Console(width=100).print(table)
    print(machine())


if __name__ == "__main__":
    main()
