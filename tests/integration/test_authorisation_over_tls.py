"""Who may call what, with real certificates against running parties: every caller at every method."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

import clearinghouse.server
import node.server
from pki.authority import RootAuthority
from pki.credentials import channel_credentials, target_options
from pki.identity import Identity
from quanlian.v1 import clearing_operator_pb2, directory_pb2, node_operator_pb2
from simulations.demo.network import Network
from simulations.demo.setting import CLEARINGHOUSE

HANGZHOU, SHANGHAI = "330100", "310000"
CALL_SECONDS = 60.0
NODE_METHODS, CLEARINGHOUSE_METHODS = sorted(node.server.ALLOW), sorted(clearinghouse.server.ALLOW)
OPERATORS_SERVICES = ("ClearingOperatorService", "NodeOperatorService", "AgreementService")
OPERATING = [method for method in CLEARINGHOUSE_METHODS if method.split("/")[1].endswith(OPERATORS_SERVICES)]
NOT_OPERATING = [method for method in CLEARINGHOUSE_METHODS if method not in OPERATING]
NODE_OPERATING = [method for method in NODE_METHODS if method.split("/")[1].endswith(OPERATORS_SERVICES)]
READING = ("GetRedemption", "ListRedemptions")
NODE_PLATFORM_ONLY = [each for each in NODE_METHODS if each not in NODE_OPERATING and not each.endswith(READING)]


class Caller(NamedTuple):
    role: str
    host: str


PLATFORM, OTHER_PLATFORM = Caller("platform", HANGZHOU), Caller("platform", SHANGHAI)
OPERATOR, OTHER_OPERATOR = Caller("operator", HANGZHOU), Caller("operator", SHANGHAI)
NODE, OTHER_NODE = Caller("node", HANGZHOU), Caller("node", SHANGHAI)
CLEARING_OPERATOR, SERVER = Caller("operator", CLEARINGHOUSE), Caller("server", CLEARINGHOUSE)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A running clearinghouse and Hangzhou's running node; the other regions have certificates only."""
    network = Network(tmp_path_factory.mktemp("authorisation") / "network")
    network.create(int(time.time()))
    try:
        network.start(CLEARINGHOUSE, HANGZHOU)
        yield network
    finally:
        network.stop()


def files(network: Network, caller: Caller) -> Path:
    if caller.role == "platform":
        return network.platform_tls(caller.host)
    return network.directory / caller.host / ("operator" if caller.role == "operator" else "tls")


@contextmanager
def connected(network: Network, target: str, tls: Path) -> Iterator[grpc.Channel]:
    credentials = channel_credentials(tls)
    with grpc.secure_channel(network.address(target), credentials, options=target_options(target)) as channel:
        yield channel


def status(channel: grpc.Channel, method: str, request: bytes = b"") -> grpc.StatusCode:
    """How a call ends; a stream with its one message sent is a call as well."""
    call: Any
    try:
        if method.endswith(("Stream", "FollowFeed")):
            call = channel.stream_stream(method)
            list(call(iter([request]), timeout=CALL_SECONDS))
        else:
            call = channel.unary_unary(method)
            call(request, timeout=CALL_SECONDS)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("caller", "target", "methods"),
    [
        pytest.param(PLATFORM, HANGZHOU, NODE_OPERATING, id="a platform operates no node"),
        pytest.param(PLATFORM, CLEARINGHOUSE, CLEARINGHOUSE_METHODS, id="a platform calls no clearinghouse"),
        pytest.param(OTHER_PLATFORM, HANGZHOU, NODE_METHODS, id="a platform of another region calls no node"),
        pytest.param(OPERATOR, HANGZHOU, NODE_PLATFORM_ONLY, id="an operator redeems and claims nothing"),
        pytest.param(OTHER_OPERATOR, HANGZHOU, NODE_METHODS, id="an operator of another region calls no node"),
        pytest.param(CLEARING_OPERATOR, HANGZHOU, NODE_METHODS, id="the clearinghouse's operator calls no node"),
        pytest.param(SERVER, HANGZHOU, NODE_METHODS, id="the clearinghouse calls no node"),
        pytest.param(NODE, HANGZHOU, NODE_METHODS, id="a node does not call itself"),
        pytest.param(OTHER_NODE, HANGZHOU, NODE_METHODS, id="a node calls no other"),
        pytest.param(NODE, CLEARINGHOUSE, OPERATING, id="a node operates no clearinghouse"),
        pytest.param(OPERATOR, CLEARINGHOUSE, OPERATING, id="a region's operator operates no clearinghouse"),
        pytest.param(
            CLEARING_OPERATOR,
            CLEARINGHOUSE,
            [method for method in NOT_OPERATING if not method.endswith("GetWindow")],
            id="the clearinghouse's operator redeems nothing and hands over nothing",
        ),
    ],
)
def test_a_call_that_is_not_for_this_caller_is_denied(
    network: Network, caller: Caller, target: str, methods: list[str]
) -> None:
    assert methods
    with connected(network, target, files(network, caller)) as channel:
        denied = {method: status(channel, method) for method in methods}
    assert denied == dict.fromkeys(methods, grpc.StatusCode.PERMISSION_DENIED)


@pytest.mark.parametrize(
    ("caller", "target", "method", "request_"),
    [
        (OPERATOR, HANGZHOU, "NodeOperatorService/GetNodeStatus", node_operator_pb2.GetNodeStatusRequest()),
        (NODE, CLEARINGHOUSE, "DirectoryService/GetDirectory", directory_pb2.GetDirectoryRequest()),
        (
            CLEARING_OPERATOR,
            CLEARINGHOUSE,
            "ClearingOperatorService/GetClearingStatus",
            clearing_operator_pb2.GetClearingStatusRequest(),
        ),
    ],
    ids=["a region's operator", "a node", "the clearinghouse's operator"],
)
def test_a_call_that_is_for_this_caller_is_answered(
    network: Network, caller: Caller, target: str, method: str, request_: object
) -> None:
    with connected(network, target, files(network, caller)) as channel:
        found = status(channel, f"/quanlian.v1.{method}", request_.SerializeToString())  # type: ignore[attr-defined]
    assert found is grpc.StatusCode.OK


def test_a_platform_reaches_its_own_node_with_what_it_says(network: Network) -> None:
    with connected(network, HANGZHOU, files(network, PLATFORM)) as channel:
        assert status(channel, "/quanlian.v1.RedemptionService/GetRedemption") is grpc.StatusCode.OK
        assert status(channel, "/quanlian.v1.ClaimService/Claim") is grpc.StatusCode.INVALID_ARGUMENT


def test_who_has_no_certificate_of_this_network_gets_no_connection(network: Network, tmp_path: Path) -> None:
    now = int(time.time())
    stranger = RootAuthority.create(tmp_path / "root", now).enrol(tmp_path / "authority", HANGZHOU, now)
    stranger.issue_tls(Identity(HANGZHOU, "operator", "mallory"), tmp_path / "tls", now)
    (tmp_path / "tls" / "root.crt").write_bytes((files(network, OPERATOR) / "root.crt").read_bytes())
    root = (tmp_path / "tls" / "root.crt").read_bytes()
    key, chain = ((tmp_path / "tls" / name).read_bytes() for name in ("tls.key", "tls.crt"))
    for credentials in (grpc.ssl_channel_credentials(root), grpc.ssl_channel_credentials(root, key, chain)):
        address, options = network.address(HANGZHOU), target_options(HANGZHOU)
        with grpc.secure_channel(address, credentials, options=options) as channel:
            assert status(channel, NODE_OPERATING[0]) is grpc.StatusCode.UNAVAILABLE


def test_a_method_that_does_not_exist_is_no_way_in(network: Network) -> None:
    with connected(network, HANGZHOU, files(network, OPERATOR)) as channel:
        for method in ("/quanlian.v1.NodeOperatorService/Shutdown", "/grpc.reflection.v1.ServerReflection/Info"):
            assert status(channel, method) is grpc.StatusCode.UNIMPLEMENTED
