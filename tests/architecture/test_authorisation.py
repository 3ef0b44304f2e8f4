"""Who may call what: every method of every service has its roles, and they are those of this table."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Mapping
from types import ModuleType

import pytest
from google.protobuf.descriptor import FileDescriptor

import clearinghouse.adapters.grpc_services
import clearinghouse.server
import custodian.agreements.servicer
import custodian.servicer
import node.adapters.grpc_services
import node.server
import quanlian.v1

PACKAGE = "quanlian.v1."
HOSTS: Mapping[str, ModuleType] = {"node": node.server, "clearinghouse": clearinghouse.server}
SERVICERS = (
    custodian.servicer,
    custodian.agreements.servicer,
    node.adapters.grpc_services,
    clearinghouse.adapters.grpc_services,
)

ROLES = {
    "node": {
        "RedemptionService": {"platform"},
        "RedemptionService/GetRedemption": {"platform", "operator"},
        "RedemptionService/ListRedemptions": {"platform", "operator"},
        "ClaimService": {"platform"},
        "NodeOperatorService": {"operator"},
        "AgreementService": {"operator"},
    },
    "clearinghouse": {
        "RedemptionService": {"node"},
        "CustodyService": {"node"},
        "DirectoryService": {"node"},
        "SettlementService": {"node"},
        "SettlementService/GetWindow": {"node", "operator"},
        "ClearingOperatorService": {"operator"},
        "AgreementService": {"operator"},
    },
}
"""By host and service; a method with roles of its own stands below its service."""


def services() -> dict[str, list[str]]:
    """Every service of the protocol with its methods."""
    found: dict[str, list[str]] = {}
    for module in pkgutil.iter_modules(quanlian.v1.__path__):
        if module.name.endswith("_pb2"):
            described: FileDescriptor = importlib.import_module(f"quanlian.v1.{module.name}").DESCRIPTOR
            for service in described.services_by_name.values():
                found[service.name] = [method.name for method in service.methods]
    return found


SERVICES = services()


def served(host: str) -> set[str]:
    """The services that a host registers."""
    return set(re.findall(r"add_(\w+)Servicer_to_server", inspect.getsource(HOSTS[host])))


def methods(host: str) -> set[str]:
    return {f"/{PACKAGE}{service}/{method}" for service in served(host) for method in SERVICES[service]}


def test_every_service_of_the_protocol_is_served_by_somebody() -> None:
    assert set(SERVICES) == served("node") | served("clearinghouse")


@pytest.mark.parametrize("host", HOSTS)
def test_every_method_that_a_host_serves_has_its_roles_and_every_role_its_method(host: str) -> None:
    assert set(HOSTS[host].ALLOW) == methods(host)


@pytest.mark.parametrize("host", HOSTS)
def test_the_roles_of_every_method_are_those_of_the_table(host: str) -> None:
    table = ROLES[host]
    wanted = {}
    for method in methods(host):
        service, _, name = method.removeprefix(f"/{PACKAGE}").partition("/")
        wanted[method] = table.get(f"{service}/{name}", table[service])
    assert {method: set(roles) for method, roles in HOSTS[host].ALLOW.items()} == wanted


def test_only_the_clearinghouse_s_own_operators_operate_it() -> None:
    own = ("/quanlian.v1.ClearingOperatorService/", "/quanlian.v1.AgreementService/")
    operating = {method for method in methods("clearinghouse") if method.startswith(own)}
    assert operating == set(clearinghouse.server.HOSTS)
    assert all(set(hosts) == {"clearinghouse"} for hosts in clearinghouse.server.HOSTS.values())


def test_no_platform_calls_the_clearinghouse() -> None:
    assert not [method for method, roles in clearinghouse.server.ALLOW.items() if "platform" in roles]


@pytest.mark.parametrize("service", SERVICES)
def test_a_servicer_implements_every_method_of_its_service(service: str) -> None:
    classes = [
        each
        for module in SERVICERS
        for each in vars(module).values()
        if inspect.isclass(each) and any(base.__name__ == f"{service}Servicer" for base in each.__bases__)
    ]
    assert len(classes) == 1, f"{service} has {len(classes)} servicers"
    assert not [method for method in SERVICES[service] if method not in vars(classes[0])]


OPEN_IN_RECOVERY = {
    "CustodyService/HandReceipts",
    "ClearingOperatorService/RecoverClearinghouse",
    "ClearingOperatorService/GetClearingRecovery",
    "ClearingOperatorService/GetClearingStatus",
    "ClearingOperatorService/EnrolParticipant",
    "ClearingOperatorService/SetLimits",
    "ClearingOperatorService/SetVisitorsFund",
    "AgreementService/SignAgreement",
    "AgreementService/ListAgreements",
    "DirectoryService/SubmitAgreement",
}


def test_a_clearinghouse_that_must_recover_takes_only_receipts_and_what_they_may_depend_on() -> None:
    assert {method.removeprefix(f"/{PACKAGE}") for method in clearinghouse.server.IN_RECOVERY} == OPEN_IN_RECOVERY
    for host in HOSTS.values():
        assert host.ALLOW.keys() >= host.IN_RECOVERY
