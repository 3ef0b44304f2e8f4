"""What the steps of the demonstration share: the network, its clients, the plan, and what is shown meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from chassis import console
from quanlian.errors import Unavailable
from quanlian.refusals import RefusalReason
from quanlian.terms import Terms
from quanlian.v1 import redemption_pb2, refusal_pb2
from simulations.demo.client import Clients
from simulations.demo.network import Network
from simulations.demo.plan import HeldVoucher, Plan

POLL_SECONDS = 0.1
PATIENCE_SECONDS = 180.0
STEPS = 6
SHOWN_SURPRISES = 10


@dataclass(slots=True)
class Stage:
    """One run of the demonstration."""

    network: Network
    clients: Clients
    plan: Plan
    terms: dict[str, Terms] = field(default_factory=dict)
    documents: dict[str, bytes] = field(default_factory=dict)
    vouchers: list[HeldVoucher] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)
    """What did not come out as the plan said; each fails the demonstration."""

    def refused(self, refusal: refusal_pb2.Refusal) -> str:
        """Count a refusal; returns its name."""
        name = RefusalReason(refusal.reason).name
        self.refusals[name] += 1
        return name

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.surprises.append(what)
            if len(self.surprises) <= SHOWN_SURPRISES:
                console.console.print(f"    [red]✗ {what}[/red]")


def step(number: int, zh: str, en: str) -> None:
    console.console.print(f"\n[bold cyan]\\[{number}/{STEPS}][/bold cyan] [bold]{zh}[/bold] · {en}")


def say(zh: str, en: str) -> None:
    console.console.print(f"  {zh} · [dim]{en}[/dim]")


@contextmanager
def counting(zh: str, en: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar over `total` things; one line with the rate when it is done."""
    started = time.monotonic()
    with console.progress() as bar:
        task = bar.add_task(f"  {zh} · {en}", total=total)
        yield lambda done: bar.update(task, advance=done)
    seconds = max(0.001, time.monotonic() - started)
    say(f"{zh}：{total:,}，{seconds:.1f} 秒，每秒 {total / seconds:,.0f}", f"{en}: {total / seconds:,.0f} per second")


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for a state of the network. Raises Unavailable when it does not come."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await holds():
        if time.monotonic() > deadline:
            raise Unavailable(f"waited {PATIENCE_SECONDS:.0f} s in vain: {what}")
        await asyncio.sleep(POLL_SECONDS)


def answer_of(content: bytes) -> redemption_pb2.RedemptionAnswer:
    return redemption_pb2.RedemptionAnswer.FromString(content)
