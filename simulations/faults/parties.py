"""The real services of clearinghouse and nodes, started as their own processes start them, on simulated machines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

from chassis.host import Host
from chassis.service import every
from clearinghouse import server as clearinghouse_server
from clearinghouse.service import ClearinghouseService
from custodian.servicer import RedemptionServicer
from node import server as node_server
from node.adapters.clearing import ClearingLink
from node.adapters.grpc_services import NodeOperatorServicer
from node.desk import Region
from node.operations import NodeOperations
from node.service import NodeService, Signers
from node.settling import NodeSettling
from node.treasury import NodeTreasury
from pki.identity import CLEARINGHOUSE, Identity
from pki.trust import Keyring
from simulations.faults.keys import KnownKeys, SeededSigner
from simulations.faults.machines import EPOCH, Process
from simulations.faults.network import Channel, Network, Server

RELEASE_SECONDS = 2.0
SWEEP_SECONDS = 4.0
LOOK_SECONDS = 2.0
"""How often a node looks for statements to confirm and changes to announce."""

PLATFORM = "alipay"
REGIONS = ("330100", "310000", "340100")

Program = Callable[[Process], Coroutine[Any, Any, None]]


def _signers(owner: str, *purposes: str) -> dict[str, SeededSigner]:
    return {purpose: SeededSigner(owner, purpose, EPOCH) for purpose in purposes}


CLEARING_SIGNERS = _signers(CLEARINGHOUSE, "message", "statement")
NODE_SIGNERS = {region: _signers(region, "voucher", "terms", "message") for region in REGIONS}
PLATFORM_SIGNERS = {region: SeededSigner(region, f"message.{PLATFORM}", EPOCH) for region in REGIONS}
_ALL = [
    *CLEARING_SIGNERS.values(),
    *(signer for signers in NODE_SIGNERS.values() for signer in signers.values()),
    *PLATFORM_SIGNERS.values(),
]
VOUCHED_FOR = {signer.key_id: signer for signer in _ALL}


def chains(region: str) -> list[bytes]:
    """A region's certified keys, as it sends them to be enrolled."""
    return [signer.key_id for signer in NODE_SIGNERS[region].values()]


def clearinghouse(network: Network) -> Program:
    """What runs on the clearinghouse's machine."""

    async def program(process: Process) -> None:
        machine = process.machine
        own = [signer.key_id for signer in CLEARING_SIGNERS.values()]
        keyring = cast(Keyring, KnownKeys(VOUCHED_FOR, own))
        message, statement = CLEARING_SIGNERS["message"], CLEARING_SIGNERS["statement"]
        database = machine.database(process)
        service = ClearinghouseService(
            database,
            keyring,
            message,
            statement,
            RELEASE_SECONDS,
            ids=machine.ids(),
            commit=machine.commit(process),
        )
        redemptions = RedemptionServicer(service, keyring, message, machine.ids())
        continuity = service.continuity
        process.closed = lambda method: "" if method in clearinghouse_server.IN_RECOVERY else continuity.broken
        continuity.begin(machine.lineage(database))
        service.start()
        service.keep_chains(own)
        if not continuity.broken:
            await service.settlement.calculate_closed()
        clearinghouse_server.register(_host(process), service, redemptions, own, b"")
        await every(SWEEP_SECONDS, "sweep", service.sweep)

    return program


def node(network: Network, region: str) -> Program:
    """What runs on a region's machine."""

    async def program(process: Process) -> None:
        machine, signers = process.machine, NODE_SIGNERS[region]
        keyring = cast(Keyring, KnownKeys(VOUCHED_FOR, [signer.key_id for signer in signers.values()]))
        link = _Link(network, process, region, signers["message"], keyring)
        named = Signers(signers["voucher"], signers["terms"], signers["message"])
        database = machine.database(process)
        service = NodeService(
            database,
            Region(region, None, signers["message"], signers["voucher"], bytes(32), keyring),
            named,
            keyring,
            link,
            machine.ids(),
            machine.commit(process),
        )
        service.directory.load_keys()
        service.directory.load_deny_list()
        settling = NodeSettling(service, link, signers["message"])
        operations = NodeOperations(service, signers["terms"], b"")
        operator = NodeOperatorServicer(operations, settling, NodeTreasury(service.engine, operations))
        node_server.register(_host(process), service, operator, link, keyring, named)
        process.closed = lambda method: "" if method in node_server.IN_RECOVERY else service.continuity.broken
        service.continuity.begin(machine.lineage(database))
        service.start()
        await asyncio.gather(
            link.run(service),
            every(SWEEP_SECONDS, "sweep", service.sweep),
            node_server.learn_directory(service),
        )

    return program


class _Registering:
    """Stands for the host: keeps registrations until somebody calls."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._server: Any = Server(process)

    def add(self, registration: Callable[[Any], object]) -> None:
        self._process.offers.append(lambda: registration(self._server))


def _host(process: Process) -> Host:
    return cast(Host, _Registering(process))


class _Link(ClearingLink):
    """The node's real link to the clearinghouse, over the simulated network."""

    def __init__(self, network: Network, process: Process, region: str, signer: SeededSigner, keyring: Keyring) -> None:
        self._simulated = Channel(network, process, CLEARINGHOUSE, Identity(region, "node"))
        super().__init__("", Path(), signer, keyring, process.machine.ids())

    def _open_channel(self) -> None:
        self._call_over(cast(Any, self._simulated))

    async def _reconcile(self, service: NodeService) -> None:
        await every(LOOK_SECONDS, "reconcile", service.reconciler.reconcile_open_windows)

    async def _announce(self, service: NodeService) -> None:
        changes, suspensions = service.announcements.announce_changes, service.announcements.announce_suspensions
        await asyncio.gather(
            every(LOOK_SECONDS, "announce changes", changes), every(LOOK_SECONDS, "announce suspensions", suspensions)
        )

    def _renew_channel(self) -> None:
        """A simulated channel has no certificate."""
