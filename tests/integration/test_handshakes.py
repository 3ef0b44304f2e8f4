"""Many connections at once: a server of ours survives them, and takes up renewed files meanwhile."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pki.authority import RegionAuthority, RootAuthority
from pki.identity import Identity

CONNECTIONS, AT_ONCE = 800, 24
SERVER = """
import sys, grpc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pki.credentials import server_credentials
server = grpc.server(ThreadPoolExecutor(2))
print(server.add_secure_port("127.0.0.1:0", server_credentials(Path(sys.argv[1]))), flush=True)
server.start()
server.wait_for_termination()
"""
CLEARINGHOUSE = Identity("clearinghouse", "server")


@pytest.fixture
def authority(tmp_path: Path) -> RegionAuthority:
    now = int(time.time())
    root = RootAuthority.create(tmp_path / "root", now)
    root.enrol(tmp_path / "region", "330100", now).issue_tls(Identity("330100", "node"), tmp_path / "caller", now)
    authority = root.enrol(tmp_path / "authority", "clearinghouse", now)
    authority.issue_tls(CLEARINGHOUSE, tmp_path / "server", now)
    return authority


@pytest.fixture
def server(authority: RegionAuthority, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server in a process of its own, for a fault in it would end the process; and its port."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, tmp_path / "server"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield process, int(process.stdout.readline())
    process.kill()
    process.communicate()


def callers(tmp_path: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tmp_path / "caller" / "root.crt")
    context.load_cert_chain(tmp_path / "caller" / "tls.crt", tmp_path / "caller" / "tls.key")
    context.set_alpn_protocols(["h2"])
    return context


def handshake(port: int, context: ssl.SSLContext) -> bytes:
    """Connects, and returns the certificate that the server showed."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="clearinghouse.quanlian") as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


def test_a_server_survives_many_handshakes_at_once(server: tuple[subprocess.Popen[str], int], tmp_path: Path) -> None:
    """With a new configuration for every handshake it ended with SIGSEGV after a few hundred."""
    process, port = server
    context = callers(tmp_path)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        shown = set(pool.map(lambda _: handshake(port, context), range(CONNECTIONS)))
    assert process.poll() is None
    assert len(shown) == 1


def test_the_handshake_after_a_renewal_shows_the_renewed_certificate(
    server: tuple[subprocess.Popen[str], int], authority: RegionAuthority, tmp_path: Path
) -> None:
    _, port = server
    context = callers(tmp_path)
    first = [handshake(port, context) for _ in range(2)]
    authority.issue_tls(CLEARINGHOUSE, tmp_path / "server", int(time.time()))
    renewed = [handshake(port, context) for _ in range(2)]
    assert len({*first}) == len({*renewed}) == 1
    assert first[0] != renewed[0]
