"""A real clearinghouse by itself: one process or two over one database, gRPC with mutual TLS, and 41 regions whose keys
this process has.

What a redemption costs the clearinghouse does not depend on who signed its message, so that messages can be signed
before the clock starts. No node follows its feed, which is written all the same.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from clearinghouse.custody import read_hand_over
from clearinghouse.service import ClearinghouseService
from custodian import schema as books
from custodian.books import Books
from pki.identity import Identity
from pki.keystore import FileKeyStore
from quanlian.accounts import visitors_account
from quanlian.terms import Terms
from quanlian.v1 import clearing_operator_pb2
from quanlian.vouchers import SUITE_ED25519_BATCH
from rig.books import require_sums
from rig.delta import Setting, delta_cities, open_clearinghouse, open_database, publish_campaigns
from rig.issuing import PACK, Issued, Issuer
from rig.load import Sender
from rig.timing import SERVER, Cpu, Timed, cpu_of, server_processes, timed
from simulations.demo.held_port import HeldPort
from simulations.demo.network import Network, write_toml
from simulations.demo.setting import CLEARINGHOUSE

TLS_SECONDS, HAND_OVER_PACKS = 86_400, 200
NO_LIMIT_FEN, FUND_FEN = 10**12, 10**12


class _Process(Network):
    """A clearinghouse process with an address of its own; keys, books and lineage are shared."""

    @property
    def parties(self) -> tuple[str, ...]:
        return (CLEARINGHOUSE,)


class LoneClearinghouse:
    """`captured` is how many redemptions are in its books, as their senders were told. Those of one server have
    different `name`s.
    """

    def __init__(self, folder: Path, url: str, name: str = "alone") -> None:
        self._folder, self._database_url = folder, url
        network = Network(folder, url)
        self.url, self.schema = network.party_url(CLEARINGHOUSE), f"bench_{name}"
        self.at, self.captured = int(time.time()), 0
        self.setting = Setting(folder / "pki", delta_cities())
        self.senders: list[Sender] = []
        self._processes: list[_Process] = []

    async def create(self) -> None:
        """Regions with money, campaigns, keys and certificates."""
        self.setting.certify(self.at - 60)
        (self._folder / CLEARINGHOUSE).mkdir(parents=True, exist_ok=True)
        self.database = open_database(self.url, self.schema)
        self.service: ClearinghouseService = await open_clearinghouse(self.setting, self.database)
        self.campaigns = await publish_campaigns(self.setting, self.service, self.at)
        self.issuer = Issuer(self.setting, self.at)
        folder = self.setting.folder / CLEARINGHOUSE
        store = FileKeyStore(folder / "keys")
        for purpose in ("message", "statement"):
            store.install(purpose, self.setting.chains[(CLEARINGHOUSE, purpose)])
        self._certify(CLEARINGHOUSE, "server")

    def close(self) -> None:
        self.service.close()
        self.database.close()

    def tls_of(self, owner: str) -> Path:
        """Where its certificate is."""
        return self.setting.folder / owner / "tls"

    def _certify(self, owner: str, role: str) -> Path:
        folder = self.tls_of(owner)
        self.setting.authorities[owner].issue_tls(Identity(owner, role), folder, self.at, TLS_SECONDS)
        return folder

    # The processes

    @contextlib.asynccontextmanager
    async def serving(self, *regions: str, processes: int = 1) -> AsyncIterator[list[Sender]]:
        """The regions' nodes as senders, shared out among so many processes."""
        self._processes = [self._process(number) for number in range(processes)]
        try:
            for process in self._processes:
                process.start(CLEARINGHOUSE)
            self.senders = [self._sender(region, number % processes) for number, region in enumerate(regions)]
            yield self.senders
        finally:  # the senders of now, which `start_again` may have made
            for sender in self.senders:
                await sender.close()
            for process in self._processes:
                process.stop()
            self.senders = []

    def kill(self) -> None:
        """End the processes as a crash would."""
        for process in self._processes:
            process.kill(CLEARINGHOUSE)

    async def start_again(self) -> None:
        """After `kill`; the senders connect anew."""
        for process in self._processes:
            process.start(CLEARINGHOUSE)
        regions = [sender.region for sender in self.senders]
        for sender in self.senders:
            await sender.close()
        self.senders = [self._sender(region, number % len(self._processes)) for number, region in enumerate(regions)]

    def _process(self, number: int) -> _Process:
        process = _Process(self._folder / f"process-{number}", self._database_url)
        process.ports = {CLEARINGHOUSE: HeldPort.take()}
        folder, keys = process.directory / CLEARINGHOUSE, self.setting.folder / CLEARINGHOUSE
        folder.mkdir(parents=True, exist_ok=True)
        settings: dict[str, str | float] = {
            "listen": process.address(CLEARINGHOUSE),
            "database_url": self.url,
            "database_schema": self.schema,
            "tls_directory": str(keys / "tls"),
            "keys_directory": str(keys / "keys"),
            "cut_off": "",
        }
        write_toml(folder / "settings.toml", settings)
        return process

    def _sender(self, region: str, process: int) -> Sender:
        tls = self._certify(region, "node")
        signer = self.setting.signers[(region, "message")]
        return Sender(region, signer, self._processes[process].address(CLEARINGHOUSE), tls)

    def cpu(self) -> Cpu:
        running = [psutil.Process(each.processes[CLEARINGHOUSE].pid) for each in self._processes]
        return cpu_of({CLEARINGHOUSE: running, SERVER: server_processes(self.database)})

    async def timed(self, requests: int, work: Callable[[list[float]], Awaitable[Any]]) -> tuple[Timed, Any]:
        return await timed(requests, self.cpu, work)

    # What is sent there, and what came of it

    async def vouchers(
        self, sender: str, count: int, suite: int = SUITE_ED25519_BATCH, issuer: str = ""
    ) -> list[Issued]:
        """In the clearinghouse's custody, of all other regions' campaigns or of one region's, in no order."""
        campaigns = [each for each in self.campaigns if each.issuer != sender and issuer in ("", each.issuer)]
        packs, found = -(-count // PACK), list[Issued]()
        for number, terms in enumerate(campaigns):
            share = packs // len(campaigns) + (number < packs % len(campaigns))
            found += await self._hand_over(terms, share, suite)
        self.issuer.random.shuffle(found)
        return found[:count]

    async def _hand_over(self, terms: Terms, packs: int, suite: int) -> list[Issued]:
        found: list[Issued] = []
        for start in range(0, packs, HAND_OVER_PACKS):
            handed = self.issuer.hand_over(terms, min(HAND_OVER_PACKS, packs - start), suite)
            await self.service.engine.group.submit(read_hand_over(terms.issuer, handed.message))
            found += handed.vouchers
        return found

    async def cap(self, region: str, fen: int = NO_LIMIT_FEN) -> None:
        """The region's net debit cap."""
        limits = clearing_operator_pb2.SetLimitsRequest(region=region, net_debit_cap_fen=fen)
        await self.service.operations.set_limits(limits)

    async def fund(self, region: str, fen: int = FUND_FEN) -> None:
        """The region's money for visitors, this year."""
        pb, year = clearing_operator_pb2, time.gmtime(self.at + 8 * 3600).tm_year
        funder = pb.VisitorsFunder(name="city", weight=1, budget_fen=fen)
        request = pb.SetVisitorsFundRequest(region=region, fiscal_year=year, rule="refuse", funders=[funder])
        await self.service.operations.set_visitors_fund(request)

    async def spent_fen(self, region: str) -> int:
        """What is spent of the region's money for visitors, this year."""
        year = time.gmtime(self.at + 8 * 3600).tm_year
        with self.database.snapshot() as transaction:
            balance = Books(transaction).balance(visitors_account(region, year, "city"))
        return balance.posted_fen + balance.reserved_fen

    def require_books(self) -> None:
        """Sums and counts of the books, after a part. Raises BooksDiffer."""
        require_sums(self.database, 1, self.captured)

    def redeemed(self) -> int:
        """How many redemptions are stored, whatever anyone was told."""
        with self.database.snapshot() as transaction:
            return int(
                transaction.connection.execute(sa.select(sa.func.count()).select_from(books.redemption)).scalar_one()
            )
