"""A real node process that issues packs, alone: gRPC with mutual TLS, its own database, no clearinghouse to reach.

What a claim costs does not depend on the rest of the network, and a lone node starts in seconds. This process is the
payment platform.
"""

from __future__ import annotations

import contextlib
import io
import re
import time
from collections.abc import AsyncIterator, Iterator

import psutil
import sqlalchemy as sa

from chassis.config import load_settings
from chassis.database import Database
from custodian import schema as books
from custodian.ledger.check import check_books
from node import schema
from node.adapters.clearing import ClearingLink
from node.config import NodeSettings
from node.server import load_identity
from node.service import NodeService
from quanlian.terms import Terms
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import node_operator_pb2
from rig.books import BooksDiffer
from rig.processes import CAMPAIGN, ISSUER
from rig.timing import SERVER, Cpu, cpu_of, server_processes
from simulations.demo.client import Clients
from simulations.demo.network import Network
from simulations.demo.opening import example, to_today
from simulations.demo.setting import CLEARINGHOUSE

CHECKED_WHOLE = 10_000
"""Packs up to which the whole `quanlian ledger check` is run; beyond it, the counts and sums of the books."""


class LoneNode(Network):
    """The issuing node's folders and process; the clearinghouse has an address where nobody listens."""

    @property
    def parties(self) -> tuple[str, ...]:
        return (CLEARINGHOUSE, ISSUER)

    def cpu(self) -> Cpu:
        """Of the node, of this process, of a PostgreSQL server."""
        with self.database() as database:
            return cpu_of({ISSUER: [psutil.Process(self.processes[ISSUER].pid)], SERVER: server_processes(database)})

    @contextlib.contextmanager
    def database(self) -> Iterator[Database]:
        with contextlib.closing(Database.open(self.party_url(ISSUER), self.party_schema(ISSUER))) as database:
            yield database


async def publish(node: LoneNode, quota: int) -> Terms:
    """Hangzhou's first round, its dates moved to today and its quota as given."""
    document, _ = to_today(example(f"campaigns/{CAMPAIGN}.toml"), int(time.time()))
    document = re.sub(rb"(?m)^quota = [\d_]+", b"quota = %d" % quota, document)
    request = node_operator_pb2.PublishCampaignRequest(terms=document, file_name=f"{CAMPAIGN}.toml")
    async with serving(node) as clients:
        operator = clients.operators[ISSUER]
        with contextlib.redirect_stdout(io.StringIO()):
            await operator.do(operator.node.PublishCampaign, request)
    return parse_terms(document, CAMPAIGN)


@contextlib.asynccontextmanager
async def serving(node: LoneNode) -> AsyncIterator[Clients]:
    """The node as a process, and those who call it."""
    try:
        node.start(ISSUER)
        async with Clients(node) as clients:
            yield clients
    finally:
        node.stop()


@contextlib.contextmanager
def in_this_process(node: LoneNode) -> Iterator[NodeService]:
    """The node's service without gRPC and threads, over the books that its process has left."""
    settings = load_settings(NodeSettings, node.directory / ISSUER / "settings.toml", "node")
    _, keyring, region, signers = load_identity(settings)
    link = ClearingLink(settings.clearinghouse, settings.tls_directory, signers.message, keyring)
    with node.database() as database:
        yield NodeService(database, region, signers, keyring, link)


def require_books(node: LoneNode, packs: int) -> str:
    """Says how the books were checked: so many packs, each answered, counted and reserved once. Raises BooksDiffer."""
    pack, request, holder = schema.pack.c, books.request.c, schema.holder_claim.c
    with node.database() as database, database.snapshot() as transaction:
        run = transaction.connection.execute
        found = {
            "packs": run(sa.select(sa.func.count(), sa.func.sum(pack.reserved_fen))).one(),
            "round": run(sa.select(schema.claim_round.c.claimed, schema.claim_round.c.reserved_fen)).one(),
            "answers": run(sa.select(sa.func.count()).where(request.operation == "claim")).scalar_one(),
            "holders": run(sa.select(sa.func.sum(holder.claims))).scalar_one(),
            "reserved": run(sa.select(sa.func.sum(books.account.c.reserved_fen))).scalar_one(),
        }
        fen = int(found["packs"][1])
        expected = {"packs": (packs, fen), "round": (packs, fen), "answers": packs, "holders": packs, "reserved": fen}
        for what, counted in found.items():
            counted = tuple(map(int, counted)) if isinstance(counted, sa.Row) else int(counted)
            if counted != expected[what]:
                raise BooksDiffer(f"{what}: {counted}, must be {expected[what]}")
        if packs > CHECKED_WHOLE:
            return "counts and sums of the books"
        findings = check_books(transaction)
    if findings:
        raise BooksDiffer(f"{len(findings)} findings, first {findings[0]}")
    return "quanlian ledger check"
