"""Many schedules, on several cores: each stands for itself, so what comes out does not depend on who played it."""

from __future__ import annotations

import gc
import hashlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog

from simulations.faults import parties
from simulations.faults.machines import log_to_trace
from simulations.faults.opening import opening
from simulations.faults.plan import draw
from simulations.faults.world import play

CHUNK = 20
WARMING = 20
"""Schedules after which hardly a statement has to be prepared anew."""

CHUNKS_A_PROCESS = 5
READY = "simulations.faults.ready"
KEPT_FAILURES = 20


class Failure(NamedTuple):
    """A schedule that violated something."""

    schedule: int
    violations: tuple[str, ...]


@dataclass(slots=True)
class Summary:
    """What came of all schedules; only the first failures are kept by name."""

    schedules: int = 0
    failed: int = 0
    commits: int = 0
    answers: int = 0
    cpu_seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    digest: str = ""

    def add(self, chunk: _Chunk) -> None:
        self.schedules += chunk.schedules
        self.failed += len(chunk.failures)
        self.commits += chunk.commits
        self.answers += chunk.answers
        self.cpu_seconds += chunk.cpu_seconds
        self.failures += chunk.failures[: KEPT_FAILURES - len(self.failures)]
        self.digest = hashlib.blake2b((self.digest + chunk.digest).encode(), digest_size=16).hexdigest()


class _Chunk(NamedTuple):
    schedules: int
    failures: list[Failure]
    commits: int
    answers: int
    cpu_seconds: float
    digest: str


class _Range(NamedTuple):
    seed: int
    first: int
    end: int


def simulate(
    seed: int,
    schedules: int,
    workers: int,
    tell: Callable[[Summary], None] = lambda _: None,
) -> Summary:
    """Play schedules 0 … `schedules` - 1 of a seed; `tell` hears how far it is."""
    summary = Summary()
    ranges = (_Range(seed, first, min(first + CHUNK, schedules)) for first in range(0, schedules, CHUNK))
    with _players(min(workers, max(1, schedules // CHUNK))) as play_all:
        for chunk in play_all(ranges):
            summary.add(chunk)
            tell(summary)
    return summary


def first_failure(seed: int, schedules: int) -> Failure | None:
    """The first of `schedules` that violates something, played in this process; None if none does."""
    prepare()
    with _no_collections():
        for first in range(0, schedules, CHUNK):
            for schedule in range(first, min(first + CHUNK, schedules)):
                violations = play(draw(seed, schedule)).violations
                if violations:
                    return Failure(schedule, violations)
            gc.collect()
    return None


@contextmanager
def _players(workers: int) -> Iterator[Callable[[Iterator[_Range]], Iterator[_Chunk]]]:
    """Plays ranges in order: here, or in processes forked from one that has prepared itself and nothing else."""
    if workers <= 1:
        prepare()
        with _no_collections():
            yield lambda ranges: map(_play_and_collect, ranges)
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([READY])
    with context.Pool(workers, _prepare_worker, maxtasksperchild=CHUNKS_A_PROCESS) as pool:
        yield lambda ranges: pool.imap(_play_range, ranges)


def prepare() -> None:
    """Make a process ready to play: its log goes to the schedule's trace, and every schedule's opening is at hand."""
    structlog.configure(
        processors=[log_to_trace],
        wrapper_class=structlog.make_filtering_bound_logger(30),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    for count in (2, 3):
        opening(parties.REGIONS[:count])


def warm_up() -> None:
    """Play a few schedules of no account: statements are prepared, and what can be remembered is."""
    with _no_collections():
        for schedule in range(WARMING):
            play(draw(0, schedule))


def _prepare_worker() -> None:
    """A worker ends before what schedules leave behind, about 1 MB each, needs to be collected."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare()
    gc.freeze()
    gc.disable()


def _play_range(each: _Range) -> _Chunk:
    failures, commits, answers, cpu_seconds = [], 0, 0, 0.0
    digest = hashlib.blake2b(digest_size=16)
    for schedule in range(each.first, each.end):
        result = play(draw(each.seed, schedule))
        digest.update(result.digest.encode())
        commits, answers = commits + result.commits, answers + result.answers
        cpu_seconds += result.seconds
        if result.violations:
            failures.append(Failure(schedule, result.violations))
    return _Chunk(each.end - each.first, failures, commits, answers, cpu_seconds, digest.hexdigest())


def _play_and_collect(each: _Range) -> _Chunk:
    chunk = _play_range(each)
    gc.collect()
    return chunk


@contextmanager
def _no_collections() -> Iterator[None]:
    """A schedule leaves cycles of tasks and streams behind; to look for them once a chunk is enough."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def as_json(summary: Summary) -> dict[str, Any]:
    """For programs."""
    return {
        "schedules": summary.schedules,
        "failed": summary.failed,
        "commits": summary.commits,
        "answers": summary.answers,
        "cpu_seconds": round(summary.cpu_seconds, 3),
        "trace_digest": summary.digest,
        "failures": [{"schedule": each.schedule, "violations": list(each.violations)} for each in summary.failures],
    }
