"""What took how long: wall time, the latency of each message or call, and CPU by process."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psutil

from chassis.database import Database

Cpu = dict[tuple[str, int], float]
"""CPU seconds so far, by the name of a party and the id of one of its processes."""

CLIENT, SERVER = "client", "database"
NOTICED_S = 0.005
"""CPU below what the system counts in is left out."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(slots=True)
class Timed:
    """Requests answered, wall seconds, each message's or call's latency, CPU by party."""

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
        """CPU of each party for one request, in microseconds."""
        return {party: 1e6 * seconds / self.requests for party, seconds in self.cpu_s.items() if seconds > NOTICED_S}


async def timed(
    requests: int, cpu: Callable[[], Cpu], work: Callable[[list[float]], Awaitable[_Result]]
) -> tuple[Timed, _Result]:
    """Do the work, which notes latencies in the list that it gets."""
    found = Timed(requests)
    before, began = cpu(), time.perf_counter()
    result = await work(found.latencies_s)
    found.wall_s = time.perf_counter() - began
    for (party, pid), seconds in cpu().items():
        found.cpu_s[party] = found.cpu_s.get(party, 0.0) + seconds - before.get((party, pid), 0.0)
    return found, result


def cpu_of(processes: Mapping[str, Iterable[psutil.Process]]) -> Cpu:
    """CPU seconds so far of each process that still runs, this one as the client."""
    found = {}
    for party, running in {CLIENT: [psutil.Process()], **processes}.items():
        for each in running:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                found[(party, each.pid)] = times.user + times.system
    return found


def server_processes(database: Database) -> list[psutil.Process]:
    """A PostgreSQL server and each of its backends; none where it runs on another machine, or for SQLite."""
    if database.dialect == "sqlite":
        return []
    with database.snapshot() as transaction:
        backend = int(transaction.connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
    with contextlib.suppress(psutil.NoSuchProcess):
        if (postmaster := psutil.Process(backend).parent()) is not None:
            return [postmaster, *postmaster.children(recursive=True)]
    return []


def batches(items: Sequence[_Item], size: int) -> list[Sequence[_Item]]:
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
