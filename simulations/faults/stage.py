"""The stage of a schedule: virtual time, a network, and a machine for every party."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import cache
from random import Random
from typing import Any, TypeVar

from pki.identity import CLEARINGHOUSE, Identity
from simulations.faults import parties
from simulations.faults.loop import VirtualLoop
from simulations.faults.machines import Machine, Process, make_task
from simulations.faults.network import Channel, Network
from simulations.faults.storage import Disk
from simulations.faults.trace import Trace

THREAD_SECONDS = (0.0, 0.003)
OPERATOR = "operator"
Result = TypeVar("Result")


@cache
def _disk(name: str, regions: tuple[str, ...]) -> Disk:
    """One for each party of a network, for all schedules of this process."""
    return Disk()


def platform_machine(region: str) -> str:
    """Where a region's payment platform runs."""
    return f"{parties.PLATFORM}@{region}"


class Stage:
    """Machines of the clearinghouse, of nodes and of those who call them. Only parties have disks and crash."""

    def __init__(self, seed: str, regions: Sequence[str], tell: bool = False) -> None:
        """`tell` keeps what happens, for a story."""
        threads = Random(f"{seed} threads")
        self.loop = VirtualLoop(lambda: threads.uniform(*THREAD_SECONDS))
        self.loop.set_task_factory(make_task)
        self.trace = Trace(tell)
        self.network = Network(self.loop, self.trace, seed)
        self.regions = tuple(regions)
        for name in (CLEARINGHOUSE, *regions, OPERATOR, *map(platform_machine, regions)):
            random = Random(f"{seed} {name}")
            machine = Machine(name, self.loop, self.trace, random, _disk(name, self.regions))
            self.network.machines[name] = machine
        self.loop.set_exception_handler(self._unexpected)

    @property
    def parties(self) -> tuple[str, ...]:
        return (CLEARINGHOUSE, *self.regions)

    def machine(self, name: str) -> Machine:
        return self.network.machines[name]

    def start(self) -> None:
        """Start every party's services."""
        self.machine(CLEARINGHOUSE).run(parties.clearinghouse(self.network))
        for region in self.regions:
            self.machine(region).run(parties.node(self.network, region))

    def client(self, name: str) -> Process:
        """A process that only calls others; it never crashes."""
        machine = self.machine(name)
        if machine.process is None:
            machine.process = Process(machine, 1)
        return machine.process

    def platform_channel(self, region: str) -> Channel:
        identity = Identity(region, "platform", parties.PLATFORM)
        return Channel(self.network, self.client(platform_machine(region)), region, identity)

    def operator_channel(self, host: str) -> Channel:
        return Channel(self.network, self.client(OPERATOR), host, Identity(host, "operator", "test"))

    def play(self, story: Coroutine[Any, Any, Result]) -> Result:
        """Run to the end of `story`, then end every process and let what they left behind unwind."""
        asyncio.set_event_loop(None)
        try:
            result: Result = self.loop.run_until_complete(self.client(OPERATOR).spawn(story))
            return result
        finally:
            for machine in self.network.machines.values():
                if machine.process is not None:
                    machine.process.end()
            self.loop.run_until_complete(self.loop.create_task(asyncio.sleep(0)))
            self.loop.close()

    @property
    def faults(self) -> list[str]:
        """Whatever a service itself called a fault."""
        left = [fault for name in sorted(self.network.machines) for fault in self.network.machines[name].faults]
        return [*self.network.faults_of_services, *left]

    def _unexpected(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What a task raised and nobody took."""
        error = context.get("exception")
        self.network.faults_of_services.append(repr(error) if error else str(context.get("message")))
