"""Real processes: a clearinghouse and five nodes over gRPC with mutual TLS, and this process as payment platform.

Both benchmarks of the hot paths measure the services as they are, with the checks, evidence and durability that they
have in production; the client is on the same cores and counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from chassis.database import Database
from custodian.ledger.check import check_books
from rig.books import BooksDiffer
from simulations.demo import opening, shopping
from simulations.demo.client import Clients
from simulations.demo.network import Network
from simulations.demo.plan import HeldVoucher, Plan
from simulations.demo.stage import Stage

SEED, ISSUER, AWAY, CAMPAIGN = 2020, "330100", "310000", "hangzhou-2020-r1"
PER_MESSAGE, IN_FLIGHT = 200, 64
CLIENT = "client"

Figures = dict[str, float]


@dataclass(slots=True)
class Timed:
    """What took how long: requests answered, wall seconds, each message's or call's latency, CPU by process."""

    requests: int = 0
    wall_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    cpu_s: dict[str, float] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        return self.requests / self.wall_s

    def percentile_ms(self, percent: int) -> float:
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]

    def cpu_us(self) -> dict[str, float]:
        """CPU of each process for one request, in microseconds."""
        return {party: 1e6 * seconds / self.requests for party, seconds in self.cpu_s.items() if seconds > 0.005}


class Field:
    """A network that serves, with its campaigns published."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    async def timed(self, requests: int, work: Callable[[list[float]], Any]) -> Timed:
        """Run `work`, which notes latencies in the list that it gets."""
        found = Timed(requests)
        before, began = self._cpu(), time.perf_counter()
        await work(found.latencies_s)
        found.wall_s = time.perf_counter() - began
        found.cpu_s = {party: seconds - before.get(party, 0.0) for party, seconds in self._cpu().items()}
        return found

    async def claim(self, shoppers: Iterable[int]) -> list[HeldVoucher]:
        """Packs of five, each by a shopper of its own; the vouchers."""
        plan, terms = self.stage.plan, self.stage.terms
        claims = [plan.claim(ISSUER, CAMPAIGN, terms, shopper) for shopper in shoppers]
        with contextlib.redirect_stdout(io.StringIO()):
            return await shopping.claim(self.stage, claims)

    def _cpu(self) -> dict[str, float]:
        processes = self.stage.network.processes
        times = {party: psutil.Process(process.pid).cpu_times() for party, process in processes.items()}
        times[CLIENT] = psutil.Process().cpu_times()
        return {party: each.user + each.system for party, each in times.items()}


@contextlib.asynccontextmanager
async def serving(folder: Path, url: str) -> AsyncIterator[Field]:
    """All parties up; once they have stopped, every party's books are checked. Raises BooksDiffer."""
    network = Network(folder / "network", url)
    with contextlib.redirect_stdout(io.StringIO()):
        fingerprint = network.create(int(time.time()))
    with network.running():
        async with Clients(network) as clients:
            stage = Stage(network, clients, Plan(SEED, 1))
            with contextlib.redirect_stdout(io.StringIO()):
                await opening.admit(stage, fingerprint)
                await opening.publish(stage, int(time.time()))
            yield Field(stage)
            await shopping.quiet(stage)
    for party in network.parties:
        _require_sound(network, party)


def _require_sound(network: Network, party: str) -> None:
    database = Database.open(network.party_url(party), network.party_schema(party))
    with contextlib.closing(database), database.snapshot() as transaction:
        findings = check_books(transaction)
    if findings:
        raise BooksDiffer(f"{party}: {len(findings)} findings, first {findings[0]}")


def batches(items: Sequence[bytes], size: int) -> list[Sequence[bytes]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


async def in_flight(items: Sequence[Any], most: int, call: Callable[[Any], Any], latencies: list[float]) -> None:
    """Call for each item, `most` at once."""
    waiting = iter(items)

    async def caller() -> None:
        for item in waiting:
            began = time.perf_counter()
            await call(item)
            latencies.append(time.perf_counter() - began)

    await asyncio.gather(*(caller() for _ in range(most)))
