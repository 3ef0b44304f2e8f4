"""Real gRPC servers, sync and aio, over loopback: who gets in, as whom, and for how long."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from pki import profiles
from pki.authority import RegionAuthority, RootAuthority
from pki.credentials import channel_credentials, peer_identity, server_credentials, target_options
from pki.denylist import DenyList
from pki.identity import Identity
from pki.trust import Trust, certificate_id
from quanlian.errors import TrustError

NOW = int(time.time())
METHOD = "/quanlian.test.Who/AmI"
NODE = Identity("330100", "node")
ALIPAY = Identity("330100", "platform", "alipay")
SERVER = Identity("clearinghouse", "server")

Kind = Literal["sync", "aio"]


@dataclass
class Network:
    """A root, the clearinghouse and two regions, with the clock by which calls are judged."""

    directory: Path
    root: RootAuthority
    clearinghouse: RegionAuthority
    hangzhou: RegionAuthority
    shanghai: RegionAuthority
    trust: Trust
    at: int = NOW

    def tls(self, identity: Identity, authority: RegionAuthority, name: str = "tls") -> Path:
        directory = self.directory / name
        authority.issue_tls(identity, directory, NOW)
        return directory


@pytest.fixture
def network(tmp_path: Path) -> Network:
    root = RootAuthority.create(tmp_path / "root", NOW)
    hosts = ["clearinghouse", "330100", "310000"]
    authorities = [root.enrol(tmp_path / "authorities" / host, host, NOW) for host in hosts]
    trust = Trust((tmp_path / "root/certificate.pem").read_bytes(), root.fingerprint)
    return Network(tmp_path, root, *authorities, trust)


@pytest.fixture(params=["sync", "aio"])
def server(network: Network, request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of the clearinghouse, which answers every caller with the identity it takes it for."""
    directory = network.tls(SERVER, network.clearinghouse, "server")
    with serving(network, directory, request.param) as port:
        yield port


def test_a_caller_is_known_by_its_certificate(network: Network, server: int) -> None:
    assert call(server, network.tls(NODE, network.hangzhou)) == NODE.uri
    assert call(server, network.tls(ALIPAY, network.hangzhou, "alipay")) == ALIPAY.uri


@pytest.mark.usefixtures("network")
def test_a_caller_without_certificate_is_not_let_in(network: Network, server: int) -> None:
    root = (network.directory / "root/certificate.pem").read_bytes()
    refused_at_the_handshake(server, grpc.ssl_channel_credentials(root))


def test_a_caller_of_a_forged_root_is_not_let_in(network: Network, server: int) -> None:
    forged = RootAuthority.create(network.directory / "forged", NOW)
    region = forged.enrol(network.directory / "forged-330100", "330100", NOW)
    directory = network.tls(NODE, region)
    (directory / "root.crt").write_bytes((network.directory / "root/certificate.pem").read_bytes())
    key, chain, root = (directory / name for name in ["tls.key", "tls.crt", "root.crt"])
    credentials = grpc.ssl_channel_credentials(root.read_bytes(), key.read_bytes(), chain.read_bytes())
    refused_at_the_handshake(server, credentials)


def test_a_caller_whose_certificate_has_expired_is_not_let_in(network: Network, server: int) -> None:
    region = network.root.enrol(network.directory / "early", "330100", NOW)
    leaf, key = minted(region, NODE, ["330100.quanlian"], not_after=NOW - 10)
    refused_at_the_handshake(server, caller(network, region, leaf, key))


def test_a_certificate_that_expires_ends_the_calls_of_an_open_channel(network: Network, server: int) -> None:
    with channel(server, channel_credentials(network.tls(NODE, network.hangzhou))) as open_channel:
        assert ask(open_channel) == NODE.uri
        network.at = NOW + 86_400
        assert "expired" in refusal(open_channel)


def test_a_revoked_certificate_ends_the_calls_of_an_open_channel_from_that_time_on(
    network: Network, server: int
) -> None:
    leaf = network.hangzhou.issue_tls(NODE, network.directory / "tls", NOW)
    with channel(server, channel_credentials(network.directory / "tls")) as open_channel:
        assert ask(open_channel) == NODE.uri
        revoked = certificate_id(leaf, network.hangzhou.certificate)
        network.trust.deny(DenyList(1, NOW, certificates={revoked: NOW + 5}))
        assert ask(open_channel) == NODE.uri
        network.at = NOW + 5
        assert "revoked" in refusal(open_channel)
    with channel(server, channel_credentials(network.directory / "tls")) as resumed:
        assert "revoked" in refusal(resumed)
    network.hangzhou.issue_tls(NODE, network.directory / "tls", NOW)
    assert call(server, network.directory / "tls") == NODE.uri


def test_a_revoked_authority_takes_all_of_its_callers_with_it(network: Network, server: int) -> None:
    authority = certificate_id(network.shanghai.certificate, network.root.certificate)
    network.trust.deny(DenyList(1, NOW, certificates={authority: NOW}))
    shanghai = network.tls(Identity("310000", "node"), network.shanghai)
    with channel(server, channel_credentials(shanghai)) as refused:
        assert "revoked" in refusal(refused)
    assert call(server, network.tls(NODE, network.hangzhou, "hangzhou")) == NODE.uri


@pytest.mark.parametrize(
    ("identity", "dns_names"),
    [
        (NODE, []),
        (NODE, ["330100.quanlian"]),
        (NODE, ["310000.quanlian"]),
        (SERVER, []),
        (Identity("clearinghouse", "operator", "zhao"), []),
        (Identity("310000", "node"), ["clearinghouse.quanlian"]),
        (Identity("310000", "node"), ["330100.quanlian"]),
    ],
)
def test_a_rogue_authority_cannot_mint_a_caller_of_another_host(
    network: Network, server: int, identity: Identity, dns_names: list[str]
) -> None:
    leaf, key = minted(network.shanghai, identity, dns_names)
    with channel(server, caller(network, network.shanghai, leaf, key)) as rogue, pytest.raises(grpc.RpcError):
        ask(rogue)


def test_a_caller_cannot_delegate_its_certificate(network: Network, server: int) -> None:
    directory = network.tls(NODE, network.hangzhou)
    own_key = serialization.load_pem_private_key((directory / "tls.key").read_bytes(), None)
    own = x509.load_pem_x509_certificate((directory / "tls.crt").read_bytes())
    assert isinstance(own_key, ec.EllipticCurvePrivateKey)
    delegate = RegionAuthority("330100", own, own_key, network.root.certificate)
    leaf, key = minted(delegate, ALIPAY, [])
    chain = pem(leaf) + pem(own) + pem(network.hangzhou.certificate)
    root = pem(network.root.certificate)
    refused_at_the_handshake(server, grpc.ssl_channel_credentials(root, private_pem(key), chain))


def test_a_caller_with_two_identities_is_none_of_them(network: Network, server: int) -> None:
    leaf, key = minted(network.hangzhou, NODE, [], more_uris=[ALIPAY.uri])
    with channel(server, caller(network, network.hangzhou, leaf, key)) as ambiguous:
        assert "peer_spiffe_id" in refusal(ambiguous)


def test_a_signing_key_does_not_connect(network: Network, server: int) -> None:
    leaf, key = minted(network.hangzhou, Identity("330100", "signer", "message"), [])
    with channel(server, caller(network, network.hangzhou, leaf, key)) as signer:
        assert "may not connect" in refusal(signer)


def test_an_ed25519_certificate_does_not_connect(network: Network, server: int) -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    chain = network.hangzhou.issue_signer("message", key.public_key().public_bytes_raw(), NOW, 3600)
    credentials = grpc.ssl_channel_credentials(pem(network.root.certificate), private_pem(key), chain)
    with channel(server, credentials) as signer, pytest.raises(grpc.RpcError):
        ask(signer)


def test_a_caller_refuses_a_server_of_another_name(network: Network) -> None:
    credentials = channel_credentials(network.tls(ALIPAY, network.hangzhou))
    server_directory = network.tls(Identity("310000", "node"), network.shanghai, "server")
    with serving(network, server_directory, "aio") as port:
        refused_at_the_handshake(port, credentials, expected_host="330100")
        refused_at_the_handshake(port, credentials, expected_host="clearinghouse")
        with channel(port, credentials, expected_host="310000") as right:
            assert ask(right) == ALIPAY.uri


@pytest.mark.parametrize(
    "dns_names",
    [["clearinghouse.quanlian"], ["310000.quanlian", "clearinghouse.quanlian"], ["*.quanlian"], []],
)
@pytest.mark.parametrize("common_name", ["", "clearinghouse.quanlian"])
def test_a_caller_refuses_a_server_that_a_rogue_authority_named_as_the_clearinghouse(
    network: Network, dns_names: list[str], common_name: str
) -> None:
    leaf, key = minted(network.shanghai, Identity("310000", "node"), dns_names, common_name=common_name)
    chain = pem(leaf) + pem(network.shanghai.certificate)
    server = grpc.server(ThreadPoolExecutor(1))
    credentials = grpc.ssl_server_credentials([(private_pem(key), chain)])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        refused_at_the_handshake(port, channel_credentials(network.tls(ALIPAY, network.hangzhou)))
    finally:
        server.stop(None)


def test_a_platform_cannot_pose_as_a_node(network: Network) -> None:
    directory = network.tls(ALIPAY, network.hangzhou)
    server = grpc.server(ThreadPoolExecutor(1))
    pair = ((directory / "tls.key").read_bytes(), (directory / "tls.crt").read_bytes())
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    try:
        credentials = channel_credentials(network.tls(NODE, network.hangzhou, "node"))
        refused_at_the_handshake(port, credentials, expected_host="330100")
    finally:
        server.stop(None)


def test_a_running_server_takes_up_renewed_files_and_keeps_the_last_good_ones(
    network: Network, server: int, caplog: pytest.LogCaptureFixture
) -> None:
    directory = network.directory / "server"
    caller_files = network.tls(NODE, network.hangzhou)
    before = certificate_of(server, caller_files)
    renewed = network.clearinghouse.issue_tls(SERVER, directory, NOW)
    assert renewed != before
    assert certificate_of(server, caller_files) == renewed
    (directory / "tls.crt").write_bytes(b"half a certif")
    assert certificate_of(server, caller_files) == renewed
    assert "tls.crt" in caplog.text
    repaired = network.clearinghouse.issue_tls(SERVER, directory, NOW)
    assert certificate_of(server, caller_files) == repaired
    assert call(server, caller_files) == NODE.uri


def who(network: Network) -> Callable[[bytes, Any], str]:
    def answer(_: bytes, context: Any) -> str:
        return peer_identity(context.auth_context(), network.trust, network.at).uri

    return answer


@contextmanager
def serving(network: Network, directory: Path, kind: Kind) -> Iterator[int]:
    with (serving_sync if kind == "sync" else serving_aio)(network, directory) as port:
        yield port


@contextmanager
def serving_sync(network: Network, directory: Path) -> Iterator[int]:
    def handle(request: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return who(network)(request, context).encode()
        except TrustError as error:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))

    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((generic(handle),))
    port = server.add_secure_port("127.0.0.1:0", server_credentials(directory))
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


@contextmanager
def serving_aio(network: Network, directory: Path) -> Iterator[int]:
    async def handle(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        try:
            return who(network)(request, context).encode()
        except TrustError as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))

    ports: list[int] = []
    started, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((generic(handle),))
        ports.append(server.add_secure_port("127.0.0.1:0", server_credentials(directory)))
        await server.start()
        started.set()
        await stop.wait()
        await server.stop(None)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(10), "the server did not start"
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def generic(handle: Callable[[bytes, Any], Any]) -> grpc.GenericRpcHandler:
    service, method = METHOD.strip("/").split("/")
    return grpc.method_handlers_generic_handler(service, {method: grpc.unary_unary_rpc_method_handler(handle)})


@contextmanager
def channel(
    port: int, credentials: grpc.ChannelCredentials, expected_host: str = "clearinghouse"
) -> Iterator[grpc.Channel]:
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, target_options(expected_host)) as opened:
        yield opened


def ask(opened: grpc.Channel) -> str:
    return bytes(opened.unary_unary(METHOD)(b"", timeout=60)).decode()


def call(port: int, directory: Path) -> str:
    with channel(port, channel_credentials(directory)) as opened:
        return ask(opened)


def refusal(opened: grpc.Channel) -> str:
    """The server's reason for refusing the call as unauthenticated."""
    with pytest.raises(grpc.RpcError) as refused:
        ask(opened)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    return str(refused.value.details())


def refused_at_the_handshake(
    port: int, credentials: grpc.ChannelCredentials, expected_host: str = "clearinghouse"
) -> None:
    with channel(port, credentials, expected_host) as opened, pytest.raises(grpc.RpcError) as refused:
        ask(opened)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def certificate_of(port: int, directory: Path) -> x509.Certificate:
    """The leaf that the server shows to a fresh connection of a caller."""
    import socket
    import ssl

    context = ssl.create_default_context(cafile=str(directory / "root.crt"))
    context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="clearinghouse.quanlian") as wrapped,
    ):
        return x509.load_der_x509_certificate(wrapped.getpeercert(binary_form=True) or b"")


def minted(
    authority: RegionAuthority,
    identity: Identity,
    dns_names: list[str],
    *,
    more_uris: list[str] | None = None,
    common_name: str = "",
    not_after: int = NOW + 3600,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """What an authority can sign when it does not keep to the rules of its own software."""
    from datetime import UTC, datetime

    key = ec.generate_private_key(ec.SECP256R1())
    uris = [identity.uri, *(more_uris or [])]
    names = [*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, dns_names)]
    rules = profiles.tls_certificate(Identity("330100", "node"), key.public_key(), authority.certificate, key, NOW, 60)
    builder = x509.CertificateBuilder(
        authority.certificate.subject,
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []),
        key.public_key(),
        x509.random_serial_number(),
        datetime.fromtimestamp(NOW - 60, UTC),
        datetime.fromtimestamp(not_after, UTC),
    ).add_extension(x509.SubjectAlternativeName(names), critical=False)
    for kept in [x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage]:
        extension = rules.extensions.get_extension_for_class(kept)
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(authority._key, SHA256()), key


def caller(
    network: Network, authority: RegionAuthority, leaf: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> grpc.ChannelCredentials:
    chain = pem(leaf) + pem(authority.certificate)
    return grpc.ssl_channel_credentials(pem(network.root.certificate), private_pem(key), chain)


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def private_pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
