"""A long-running process: it announces that it is ready, and stops cleanly when asked to."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import uvloop

from chassis import telemetry

STOP_WITH_PARENT = "QUANLIAN_STOP_WITH_PARENT"
"""Set to 1 in the environment, it makes a service stop when its parent process is gone."""

PARENT_POLL_SECONDS = 1.0
COLLECT_AFTER = (300_000, 20, 50)
"""When Python looks for cycles (`gc.set_threshold`): a batch makes 100,000 objects, and nearly all die with it.

So do those that a verification makes of the lines that it reads.
"""
_log = telemetry.logger("service")


def run(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Runs an asyncio service, on uvloop, until it returns; SIGTERM or Ctrl-C sets the event that asks it to stop.

    A second signal ends the process at once, as if nothing were handling it.
    """
    gc.set_threshold(*COLLECT_AFTER)
    uvloop.run(_until_stopped(main))


def announce_ready(name: str, address: str) -> None:
    """Prints the one line `ready <name> <address>` that a parent process waits for.

    What starting made stays for good, so the collector of garbage need not look through it at every full round.
    """
    gc.collect()
    gc.freeze()
    print(f"ready {name} {address}", flush=True)


async def every(seconds: float, name: str, job: Callable[[], Awaitable[None]]) -> None:
    """Does a job again and again, `seconds` apart, until cancelled; one that fails is logged and tried again."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await job()
        except Exception as error:
            _log.warning("a periodic job failed and will be tried again", job=name, error=str(error))


async def until(stop: asyncio.Event, background: Collection[asyncio.Task[None]]) -> None:
    """Waits until asked to stop, then ends the background tasks. One that fails ends the wait with its error."""
    stopping = asyncio.create_task(stop.wait())
    waiting: set[asyncio.Task[Any]] = {stopping, *background}
    try:
        while not stop.is_set():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _until_stopped(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask_to_stop() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask_to_stop)
    watching = asyncio.create_task(_stop_with_parent(stop)) if os.environ.get(STOP_WITH_PARENT) == "1" else None
    await main(stop)
    if watching is not None:
        watching.cancel()


async def _stop_with_parent(stop: asyncio.Event) -> None:
    """Asks to stop once the process that started this one is gone, however it ended."""
    parent = os.getppid()
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_POLL_SECONDS)
    stop.set()
