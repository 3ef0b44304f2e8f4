"""The clearinghouse as a process: open the database, load the keys, serve, stop cleanly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from chassis import telemetry
from chassis.database import Database
from chassis.host import Host
from chassis.service import announce_ready, every, run, until
from clearinghouse.adapters.grpc_services import (
    ClearingOperatorServicer,
    CustodyServicer,
    DirectoryServicer,
    SettlementServicer,
)
from clearinghouse.config import ClearinghouseSettings
from clearinghouse.service import ClearinghouseService
from custodian.agreements.servicer import AGREEMENT_METHODS, AgreementServicer
from custodian.lineage import Lineage
from custodian.servicer import REDEMPTION_METHODS, RedemptionServicer
from pki.identity import CLEARINGHOUSE
from pki.keystore import FileKeyStore
from pki.tls_files import ROOT
from pki.tls_files import read as read_tls
from pki.trust import Keyring, Trust
from quanlian.errors import ConfigurationError
from quanlian.signing import Signer
from quanlian.v1 import (
    agreement_pb2_grpc,
    clearing_operator_pb2_grpc,
    custody_pb2_grpc,
    directory_pb2_grpc,
    redemption_pb2_grpc,
    settlement_pb2_grpc,
)

PURPOSES = ("message", "statement")
CLOCK_SECONDS = 1.0
_log = telemetry.logger("clearinghouse")
_PACKAGE = "/quanlian.v1."
_NODES = frozenset({"node"})
_OPERATORS = frozenset({"operator"})
CUSTODY_METHODS = ("CustodyStream", "FollowFeed", "Recall", "GetReceipts", "HandReceipts")
DIRECTORY_METHODS = (
    "GetDirectory",
    "GetTerms",
    "PublishTerms",
    "PublishChange",
    "PublishSuspension",
    "SubmitAgreement",
)
OPERATOR_METHODS = (
    "EnrolParticipant",
    "SetLimits",
    "SetVisitorsFund",
    "RecordDeposit",
    "AssignReceipt",
    "ReverseDeposit",
    "ListReceipts",
    "ListPrefund",
    "CloseOutPrefund",
    "MarkPrefundReturned",
    "PayOut",
    "MarkPayOutReturned",
    "CloseWindow",
    "InstructWindow",
    "MarkPaid",
    "SettleWindow",
    "ListWindows",
    "GetNetting",
    "GetClearingStatus",
    "GetClearingEvidence",
    "RecoverClearinghouse",
    "GetClearingRecovery",
    "ListNetworkWithdrawals",
    "CloseNetworkWithdrawal",
    "SuspendInNetwork",
    "ListNetworkSuspensions",
    "GetClearingStats",
    "GetRegionStatement",
    "GetRegionEvidence",
    "ListDisputes",
    "ResolveDispute",
    "GetCampaignReport",
)
NODE_SETTLEMENT_METHODS = ("GetStatement", "ConfirmStatement", "DisputeStatement", "GetEvidence", "GetCampaignFigures")
ALLOW = {
    **{f"{_PACKAGE}RedemptionService/{method}": _NODES for method in REDEMPTION_METHODS},
    **{f"{_PACKAGE}CustodyService/{method}": _NODES for method in CUSTODY_METHODS},
    **{f"{_PACKAGE}DirectoryService/{method}": _NODES for method in DIRECTORY_METHODS},
    **{f"{_PACKAGE}SettlementService/{method}": _NODES for method in NODE_SETTLEMENT_METHODS},
    f"{_PACKAGE}SettlementService/GetWindow": _NODES | _OPERATORS,
    **{f"{_PACKAGE}ClearingOperatorService/{method}": _OPERATORS for method in OPERATOR_METHODS},
    **{f"{_PACKAGE}AgreementService/{method}": _OPERATORS for method in AGREEMENT_METHODS},
}
SET_AGAIN = ("EnrolParticipant", "SetLimits", "SetVisitorsFund")
"""What the operator decided after a copy was made, and enters again before the recovery: receipts may depend on it."""
IN_RECOVERY = frozenset(
    {
        f"{_PACKAGE}CustodyService/HandReceipts",
        f"{_PACKAGE}ClearingOperatorService/RecoverClearinghouse",
        f"{_PACKAGE}ClearingOperatorService/GetClearingRecovery",
        f"{_PACKAGE}ClearingOperatorService/GetClearingStatus",
        f"{_PACKAGE}DirectoryService/SubmitAgreement",
        *(f"{_PACKAGE}ClearingOperatorService/{method}" for method in SET_AGAIN),
        *(f"{_PACKAGE}AgreementService/{method}" for method in AGREEMENT_METHODS),
    }
)
OWN_SERVICES = tuple(f"{_PACKAGE}{service}/" for service in ("ClearingOperatorService", "AgreementService"))
HOSTS = {method: frozenset({CLEARINGHOUSE}) for method in ALLOW if method.startswith(OWN_SERVICES)}


def serve(settings: ClearinghouseSettings) -> None:
    """Run until SIGTERM or Ctrl-C. Raises ConfigurationError for whatever the operator must mend first."""
    run(lambda stop: _serve(settings, stop))


async def _serve(settings: ClearinghouseSettings, stop: asyncio.Event) -> None:
    trust, keyring, message_signer, statement_signer, chains = _load_identity(settings)
    reasons: list[Callable[[], str]] = []
    host = Host(
        closed=lambda method: "" if method in IN_RECOVERY else next((each() for each in reasons), ""),
        listen=settings.listen,
        credentials_directory=settings.tls_directory,
        trust=trust,
        now=lambda: int(time.time()),
        allow=ALLOW,
        hosts=HOSTS,
    )
    port = host.bind()
    database = open_database(settings)
    service = ClearinghouseService(
        database, keyring, message_signer, statement_signer, settings.release_seconds, settings.daily_cut_off
    )
    root = (settings.tls_directory / ROOT).read_bytes()
    register(host, service, RedemptionServicer(service, keyring, message_signer), chains, root)
    reasons.append(lambda: service.continuity.broken)
    service.continuity.begin(Lineage(database, settings.keys_directory / "lineage"))
    service.start()
    service.keep_chains(chains)
    if not service.continuity.broken:
        await service.settlement.calculate_closed()
    await host.start()
    background = [
        asyncio.create_task(every(settings.sweep_seconds, "sweep", service.sweep)),
        asyncio.create_task(every(CLOCK_SECONDS, "cut-off", service.settlement.keep_time)),
    ]
    announce_ready(CLEARINGHOUSE, f"{settings.listen.rpartition(':')[0]}:{port}")
    try:
        await until(stop, background)
    finally:
        await host.stop(grace=1.0)
        await asyncio.to_thread(service.close)
        database.close()


def _load_identity(settings: ClearinghouseSettings) -> tuple[Trust, Keyring, Signer, Signer, list[bytes]]:
    """Trust in the network's root and the clearinghouse's keys. Raises ConfigurationError naming a missing file."""
    tls = read_tls(settings.tls_directory, int(time.time()))
    if tls.identity.host != CLEARINGHOUSE:
        raise ConfigurationError(
            f"the certificate is {tls.identity.uri}",
            place=str(settings.tls_directory),
            remedy="issue the TLS certificate under the clearinghouse's authority",
        )
    trust = Trust(tls.root)
    keyring, store = Keyring(trust), FileKeyStore(settings.keys_directory)
    chains = [store.chain(purpose) for purpose in PURPOSES]
    for chain in chains:
        keyring.add(chain)
    message_signer, statement_signer = (store.signer(purpose) for purpose in PURPOSES)
    return trust, keyring, message_signer, statement_signer, chains


def register(
    host: Host,
    service: ClearinghouseService,
    redemptions: RedemptionServicer,
    chains: Sequence[bytes],
    root: bytes,
) -> None:
    """Every service that the clearinghouse offers."""
    statement_chain = chains[PURPOSES.index("statement")]
    directory, custody = DirectoryServicer(service, chains), CustodyServicer(service)
    settlement = SettlementServicer(service.settlement, statement_chain)
    operator = ClearingOperatorServicer(service, statement_chain, root)
    host.add(lambda server: redemption_pb2_grpc.add_RedemptionServiceServicer_to_server(redemptions, server))
    host.add(lambda server: custody_pb2_grpc.add_CustodyServiceServicer_to_server(custody, server))
    host.add(lambda server: directory_pb2_grpc.add_DirectoryServiceServicer_to_server(directory, server))
    host.add(lambda server: settlement_pb2_grpc.add_SettlementServiceServicer_to_server(settlement, server))
    host.add(lambda server: clearing_operator_pb2_grpc.add_ClearingOperatorServiceServicer_to_server(operator, server))
    agreements = AgreementServicer(service.agreements)
    host.add(lambda server: agreement_pb2_grpc.add_AgreementServiceServicer_to_server(agreements, server))


def open_database(settings: ClearinghouseSettings) -> Database:
    """The clearinghouse's database, migrated, and refused if its durability is off."""
    database = Database.open(settings.database_url, settings.database_schema)
    database.check_durability()
    database.migrate("custodian:migrations", "custodian_version")
    database.migrate("clearinghouse:migrations", "clearinghouse_version")
    return database
