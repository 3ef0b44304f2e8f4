"""A node as a process: open the database, load the keys, serve, follow the clearinghouse, stop cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from chassis import telemetry
from chassis.database import Database
from chassis.host import Host
from chassis.service import announce_ready, every, run, until
from custodian.agreements.servicer import AGREEMENT_METHODS, AgreementServicer
from custodian.lineage import Lineage
from custodian.servicer import REDEMPTION_METHODS, RedemptionServicer
from node.adapters.clearing import ClearingLink
from node.adapters.grpc_services import ClaimServicer, NodeOperatorServicer
from node.agreements import RegionSignatory
from node.config import NodeSettings
from node.desk import Region
from node.operations import NodeOperations
from node.service import NodeService, Signers
from node.settling import NodeSettling
from node.treasury import NodeTreasury
from pki import files
from pki.keystore import FileKeyStore
from pki.tls_files import ROOT
from pki.tls_files import read as read_tls
from pki.trust import Keyring, Trust
from quanlian.errors import ConfigurationError, QuanlianError
from quanlian.v1 import agreement_pb2_grpc, claim_pb2_grpc, node_operator_pb2_grpc, redemption_pb2_grpc

PURPOSES = ("voucher", "terms", "message")
TAG_KEY_BYTES = 32
_PACKAGE = "/quanlian.v1."
_log = telemetry.logger("node")

OPERATOR_METHODS = (
    "PublishCampaign",
    "ChangeCampaign",
    "ListCampaignChanges",
    "AdmitMerchants",
    "AdmitPlatform",
    "RecordDedicatedReceipt",
    "AssignDedicatedReceipt",
    "ListDedicatedReceipts",
    "RecordLodging",
    "ReverseBankEntry",
    "InstructPayments",
    "ListPayments",
    "MarkPaymentMade",
    "MarkPaymentReturned",
    "CloseOutCampaign",
    "GetNodeStatus",
    "RetryFeed",
    "RecallVouchers",
    "GetNodeEvidence",
    "RecoverNode",
    "GetNodeRecovery",
    "BookReceipts",
    "Suspend",
    "ListSuspensions",
    "CancelVoucher",
    "ListCancellations",
    "ListWithdrawals",
    "CloseWithdrawal",
    "GetNodeStats",
    "GetOwnStatement",
    "GetOwnEvidence",
    "GetReconciliation",
    "ConfirmOwnStatement",
    "DisputeOwnStatement",
    "ListOwnDisputes",
    "GetOwnCampaignReport",
)
ALLOW = {
    **{f"{_PACKAGE}RedemptionService/{method}": frozenset({"platform"}) for method in REDEMPTION_METHODS},
    f"{_PACKAGE}RedemptionService/GetRedemption": frozenset({"platform", "operator"}),
    f"{_PACKAGE}RedemptionService/ListRedemptions": frozenset({"platform", "operator"}),
    **{f"{_PACKAGE}ClaimService/{method}": frozenset({"platform"}) for method in ("Claim", "ClaimStream")},
    **{f"{_PACKAGE}NodeOperatorService/{method}": frozenset({"operator"}) for method in OPERATOR_METHODS},
    **{f"{_PACKAGE}AgreementService/{method}": frozenset({"operator"}) for method in AGREEMENT_METHODS},
}


IN_RECOVERY = frozenset(
    f"{_PACKAGE}NodeOperatorService/{method}"
    for method in ("RecoverNode", "BookReceipts", "GetNodeRecovery", "GetNodeStatus")
)


def serve(settings: NodeSettings) -> None:
    """Run until SIGTERM or Ctrl-C. Raises ConfigurationError for whatever the operator must mend first."""
    run(lambda stop: _serve(settings, stop))


async def _serve(settings: NodeSettings, stop: asyncio.Event) -> None:
    trust, keyring, region, signers = load_identity(settings)
    reasons: list[Callable[[], str]] = []
    host = Host(
        closed=lambda method: "" if method in IN_RECOVERY else next((each() for each in reasons), ""),
        listen=settings.listen,
        credentials_directory=settings.tls_directory,
        trust=trust,
        now=lambda: int(time.time()),
        allow=ALLOW,
        hosts=dict.fromkeys(ALLOW, frozenset({settings.region})),
    )
    port = host.bind()
    database = open_database(settings)
    link = ClearingLink(settings.clearinghouse, settings.tls_directory, signers.message, keyring)
    service = NodeService(database, region, signers, keyring, link)
    service.directory.load_keys()
    service.directory.load_deny_list()
    root = (settings.tls_directory / ROOT).read_bytes()
    settling = NodeSettling(service, link, signers.message)
    operations = NodeOperations(service, signers.terms, root)
    operator = NodeOperatorServicer(operations, settling, NodeTreasury(service.engine, operations))
    register(host, service, operator, link, keyring, signers)
    reasons.append(lambda: service.continuity.broken)
    service.continuity.begin(Lineage(database, settings.keys_directory / "lineage"))
    service.start()
    await host.start()
    background = [
        asyncio.create_task(link.run(service)),
        asyncio.create_task(every(settings.sweep_seconds, "sweep", service.sweep)),
        asyncio.create_task(every(settings.sweep_seconds, "disputes", settling.send_disputes)),
        asyncio.create_task(learn_directory(service)),
    ]
    announce_ready(f"node/{settings.region}", f"{settings.listen.rpartition(':')[0]}:{port}")
    try:
        await until(stop, background)
    finally:
        await host.stop()
        await link.close()
        await asyncio.to_thread(service.close)
        database.close()


def register(
    host: Host,
    service: NodeService,
    operator: NodeOperatorServicer,
    link: ClearingLink,
    keyring: Keyring,
    signers: Signers,
) -> None:
    """Every service that a node offers."""
    redemptions = RedemptionServicer(service, keyring, signers.message, service.ids)
    host.add(lambda server: redemption_pb2_grpc.add_RedemptionServiceServicer_to_server(redemptions, server))
    host.add(lambda server: claim_pb2_grpc.add_ClaimServiceServicer_to_server(ClaimServicer(service), server))
    agreements = AgreementServicer(RegionSignatory(service, link, signers.terms))
    host.add(lambda server: agreement_pb2_grpc.add_AgreementServiceServicer_to_server(agreements, server))
    host.add(lambda server: node_operator_pb2_grpc.add_NodeOperatorServiceServicer_to_server(operator, server))


def open_database(settings: NodeSettings) -> Database:
    """The node's database, migrated, and refused if its durability is off."""
    database = Database.open(settings.database_url, settings.database_schema)
    database.check_durability()
    database.migrate("custodian:migrations", "custodian_version")
    database.migrate("node:migrations", "node_version")
    return database


def load_identity(settings: NodeSettings) -> tuple[Trust, Keyring, Region, Signers]:
    """Trust in the network's root and this region's keys. Raises ConfigurationError naming a missing file."""
    tls = read_tls(settings.tls_directory, int(time.time()))
    if tls.identity.host != settings.region:
        raise ConfigurationError(
            f"the certificate is {tls.identity.uri}, the node is {settings.region}",
            place=str(settings.tls_directory),
            remedy="issue the TLS certificate under this region's authority",
        )
    trust = Trust(tls.root)
    keyring = Keyring(trust)
    store = FileKeyStore(settings.keys_directory)
    for purpose in PURPOSES:
        keyring.add(store.chain(purpose))
    signers = Signers(*(store.signer(purpose) for purpose in PURPOSES))
    region = Region(
        settings.region,
        settings.leverage_bound,
        signers.message,
        signers.voucher,
        _tag_key(settings.keys_directory),
        keyring,
        settings.own_leverage_bound,
    )
    return trust, keyring, region, signers


def _tag_key(directory: Path) -> bytes:
    """The secret that holder tags are made with; made at first start, and only this region ever has it."""
    path = directory / "holder-tag.key"
    if not path.exists():
        files.write_new(path, secrets.token_bytes(TAG_KEY_BYTES), files.PRIVATE)
    key = files.read_private(path, "restore it from its backup")
    if len(key) != TAG_KEY_BYTES:
        raise ConfigurationError("is damaged", place=str(path), remedy="restore it from its backup")
    return key


async def learn_directory(service: NodeService) -> None:
    """Learn the other participants' keys as soon as the clearinghouse answers."""
    while True:
        with contextlib.suppress(QuanlianError):
            await service.directory.refresh()
            return
        await asyncio.sleep(1.0)
