"""What a party runs on: a machine with a clock and a disk, and the process that is running there now, if one is."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, MutableMapping
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any

from chassis.commit import GroupCommit
from chassis.ids import FreshIds
from custodian.undecided import LEFT_UNDECIDED
from simulations.faults.loop import Halted, NumberedTask, VirtualLoop
from simulations.faults.storage import Beside, Copy, CrashPoint, Disk, KeptMark, SimulatedDatabase
from simulations.faults.trace import Trace

EPOCH = 1_780_000_000
"""2026-05-29 in China; where every schedule begins."""

COMMIT_SECONDS = (0.001, 0.008)
STAND_STILL_SECONDS = (0.001, 0.2)
"""How long a process that is caught in a commit still listens and sends before its machine is gone."""

_process: ContextVar[Process] = ContextVar("process")


class Process:
    """One life of a party's program: its tasks, its streams, and the end of all that."""

    def __init__(self, machine: Machine, number: int) -> None:
        self.machine, self.number = machine, number
        self.alive = True
        self.halted = False
        self.handlers: dict[str, Any] = {}
        self.offers: deque[Callable[[], object]] = deque()
        self.closed: Callable[[str], str] = lambda method: ""
        self.at_end: dict[int, Callable[[], None]] = {}
        self._context: Context = copy_context()
        self._context.run(_process.set, self)
        self._tasks: list[asyncio.Task[Any]] = []

    def handler(self, method: str) -> Any:
        """What handles a method, None if nothing does; services are registered one by one until it is found."""
        while method not in self.handlers and self.offers:
            self.offers.popleft()()
        return self.handlers.get(method)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something as a part of this process."""
        return self.machine.loop.create_task(work, context=self._context)

    def keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.append(task)
        if len(self._tasks) > 300:
            self._tasks = [each for each in self._tasks if not each.done()]

    def end(self) -> None:
        """Nothing of this process runs any more or reaches anybody; peers will notice."""
        self.alive = False
        for task in self._tasks:
            task.cancel()
        for tell in list(self.at_end.values()):
            tell()


class Machine:
    """A party's machine. Its clock may be wrong, its process may crash; its disk keeps what was committed."""

    def __init__(self, name: str, loop: VirtualLoop, trace: Trace, random: Random, disk: Disk) -> None:
        self.name, self.loop, self.trace, self.random, self.disk = name, loop, trace, random, disk
        self.offset_seconds = 0
        self.process: Process | None = None
        self.commits = 0
        self.crash_points: list[tuple[CrashPoint, float]] = []
        self.beside = Beside()
        self.faults: list[str] = []
        self._lives = 0
        self._program: Callable[[Process], Coroutine[Any, Any, None]] | None = None

    def now(self) -> int:
        """UTC seconds as this machine believes."""
        return EPOCH + int(self.loop.time()) + self.offset_seconds

    def say(self, words: str, *details: Any) -> None:
        self.trace.add(self.loop.time(), self.name, words, *details)

    # The process

    def run(self, program: Callable[[Process], Coroutine[Any, Any, None]]) -> None:
        """What this machine starts now, and after every crash."""
        self._program = program
        self.start()

    def start(self) -> None:
        assert self._program is not None
        if self.process is not None:
            return
        self._lives += 1
        self.process = Process(self, self._lives)
        if self._lives > 1:
            self.say("starts again from its database")
        self.process.spawn(self._program(self.process))

    def crash(self, restart_after: float) -> None:
        """The process is gone at once; the database stands at its last commit."""
        if self.process is None:
            return
        process, self.process = self.process, None
        self.say("crashes")
        process.end()
        self.loop.call_later(restart_after, self.start)

    def restore(self, copy: Copy, running: bool) -> None:
        """The disk is set back to an older copy, under a party that is `running` on or that starts from it."""
        if not running:
            self.crash(0.5)
        self.disk.load(copy)
        self.say("has its database set back to an older copy" + (" while it runs" if running else ""))

    @property
    def needs_recovery(self) -> bool:
        """Whether its database lacks commits that it answered for, or was found to and has not been recovered."""
        row = self.disk.connection.execute("SELECT incarnation, commits FROM lineage").fetchone()
        mark = self.beside.mark
        return self.beside.flag is not None or (mark is not None and (row or (1, 0)) < mark[:2])

    def database(self, process: Process) -> SimulatedDatabase:
        return SimulatedDatabase(self.disk, self.now, lambda: self._crash_point(process))

    def lineage(self, database: SimulatedDatabase) -> KeptMark:
        return KeptMark(database, self.beside)

    def _crash_point(self, process: Process) -> CrashPoint | None:
        if process.halted or not process.alive:
            raise Halted
        self.commits += 1
        if not self.crash_points:
            return None
        point, restart_after = self.crash_points.pop()
        process.halted = True
        self.say(f"stands still {point} its commit")
        self.loop.call_later(self.random.uniform(*STAND_STILL_SECONDS), self._crash_if, process, restart_after)
        return point

    def _crash_if(self, process: Process, restart_after: float) -> None:
        if self.process is process:
            self.crash(restart_after)

    # What services take from a machine

    def ids(self) -> FreshIds:
        return _SeededIds(self)

    def commit(self, process: Process) -> Callable[..., GroupCommit[Any, Any]]:
        """Makes the group commits of a process."""
        return lambda decide, name: _VirtualCommit(decide, process=process, name=name)


class _SeededIds(FreshIds):
    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def milliseconds(self) -> int:
        return self._machine.now() * 1000 + int(self._machine.loop.time() * 1000) % 1000

    def random(self, size: int) -> bytes:
        return self._machine.random.randbytes(size)


class _VirtualCommit(GroupCommit[Any, Any]):
    """The group commit without its thread: it decides what has gathered a moment after the first item came."""

    def __init__(self, decide: Callable[[list[Any]], list[Any]], *, process: Process, name: str) -> None:
        super().__init__(decide, name=name)
        self._process = process
        self._waits = False

    def start(self) -> None:
        self._soon()

    def close(self) -> None:
        self._closed = True

    async def submit_many(self, items: Any) -> list[Any]:
        self._soon()
        return await super().submit_many(items)

    def _soon(self) -> None:
        if not self._waits:
            self._waits = True
            machine = self._process.machine
            machine.loop.call_later(machine.random.uniform(*COMMIT_SECONDS), self._turn)

    def _turn(self) -> None:
        self._waits = False
        if self._waiting and self._process.alive and not self._process.halted:
            self._commit(self._next_batch())
            if self._waiting:
                self._soon()

    def _answer(self, groups: Any, outcome: Any) -> None:
        """A process that stands still in its commit answers nobody."""
        if not self._process.halted:
            super()._answer(groups, outcome)


def make_task(loop: Any, work: Any, *, context: Context | None = None) -> NumberedTask:
    """A task factory: every task belongs to the process that started it."""
    task = NumberedTask(work, loop, context)
    process = context.get(_process) if context is not None else _process.get(None)
    if process is not None:
        process.keep(task)
    return task


def log_to_trace(logger: object, method: str, event: MutableMapping[str, Any]) -> str:
    """What a service logs is a part of the story (a structlog processor)."""
    process = _process.get(None)
    if process is not None:
        process.machine.say("logs: {} {}", str(event.get("event")), str(event.get("error", "")))
        if event.get("event") == LEFT_UNDECIDED:
            process.machine.faults.append(f"{process.machine.name} left a request undecided: {event.get('error')}")
    return ""
