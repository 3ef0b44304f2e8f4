"""A network of real processes: a clearinghouse and five nodes over gRPC with mutual TLS, and this process as payment
platform.

The services are as they are in production, with their checks, evidence and durability; the client is on the same cores
and counts.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import psutil

from chassis.database import Database
from custodian.ledger.check import check_books
from rig.books import BooksDiffer
from rig.timing import Cpu, cpu_of
from simulations.demo import opening, shopping
from simulations.demo.client import Clients
from simulations.demo.network import Network
from simulations.demo.plan import HeldVoucher, Plan
from simulations.demo.stage import Stage

SEED, ISSUER, AWAY, CAMPAIGN = 2020, "330100", "310000", "hangzhou-2020-r1"


class Field:
    """A network that serves, with its campaigns published."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    async def claim(self, shoppers: Iterable[int]) -> list[HeldVoucher]:
        """Packs of five, each by a shopper of its own; the vouchers."""
        plan, terms = self.stage.plan, self.stage.terms
        claims = [plan.claim(ISSUER, CAMPAIGN, terms, shopper) for shopper in shoppers]
        with contextlib.redirect_stdout(io.StringIO()):
            return await shopping.claim(self.stage, claims)

    def cpu(self) -> Cpu:
        processes = self.stage.network.processes
        return cpu_of({party: [psutil.Process(process.pid)] for party, process in processes.items()})


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
