"""What gRPC needs to know who is calling, and how a call is attributed to an identity (security, finding 1).

A TLS handshake happens once, while certificates expire and are revoked later, and a resumed session skips
the check altogether. So `peer_identity` judges the certificate anew on every call.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc

from pki import tls_files
from pki.identity import Identity, host_name
from pki.trust import Trust
from quanlian.errors import ConfigurationError, TrustError

_log = logging.getLogger(__name__)


def utc_seconds() -> int:
    return int(time.time())


def server_credentials(directory: Path, clock: Callable[[], int] = utc_seconds) -> grpc.ServerCredentials:
    """Credentials that demand a client certificate and follow the files of `directory` as they are renewed.

    Files that are unfit now raise ConfigurationError. Files that become unfit later are logged and the last
    good ones stay in use. The files are looked at for every handshake, and no TLS session outlives a change
    of files. Unchanged files give no new configuration: gRPC replaces the old one without waiting for the
    handshakes that others begin with it, and a server that renews it for each ends with SIGSEGV under a few
    hundred connections (grpc/grpc#36693).
    """

    def read() -> tls_files.TlsFiles:
        material = tls_files.read(directory, clock())
        if material.identity.role not in ("node", "server"):
            raise ConfigurationError(
                f"{material.identity.uri} may call but not serve",
                place=str(directory / tls_files.CERTIFICATE),
                remedy="issue the certificate of a node or server",
            )
        return material

    used = read()

    def renewed() -> Any:
        nonlocal used
        try:
            found = read()
        except ConfigurationError as error:
            _log.error("the TLS files were not reloaded, the last good ones stay in use: %s", error)
            return None
        if found == used:
            return None
        used = found
        return _configuration(found)

    return grpc.dynamic_ssl_server_credentials(_configuration(used), renewed, require_client_authentication=True)


def channel_credentials(directory: Path, clock: Callable[[], int] = utc_seconds) -> grpc.ChannelCredentials:
    """Credentials of a caller from the files of `directory`. Raises ConfigurationError when they are unfit.

    A channel keeps what it was built with: after a renewal, build a new one (security, finding 6).
    """
    material = tls_files.read(directory, clock())
    return grpc.ssl_channel_credentials(material.root, material.key, material.chain)


def target_options(host: str) -> list[tuple[str, str]]:
    """Channel options that accept, at any address, only a server certified as `host`."""
    return [("grpc.ssl_target_name_override", host_name(host))]


def peer_identity(auth_context: Mapping[str, Any], trust: Trust, at: int) -> Identity:
    """Who makes this call, judged at `at` (UTC seconds); `auth_context` is `context.auth_context()` of grpc
    or grpc.aio.

    Raises TrustError for a caller without certificate, with one that expired, is revoked or does not lead
    to the root, and when the certificate, the chain and the SPIFFE id that gRPC reports are not one and the
    same party's.
    """
    spiffe_id = _only(auth_context, "peer_spiffe_id")
    leaf = _only(auth_context, "x509_pem_cert")
    chain = _only(auth_context, "x509_pem_cert_chain")
    # A server is given the caller's chain without the leaf, a client the server's with it.
    identity = trust.peer_from_pem(chain if chain.startswith(leaf) else leaf + chain, at)
    if identity.uri.encode("ascii") != spiffe_id:
        raise TrustError(f"the caller's certificate is {identity.uri}, its connection says {spiffe_id!r}")
    return identity


def _configuration(material: tls_files.TlsFiles) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.chain)], material.root)


def _only(auth_context: Mapping[str, Any], name: str) -> bytes:
    values = auth_context.get(name, ())
    values = [values] if isinstance(values, bytes) else list(values)
    if len(values) != 1 or not values[0]:
        raise TrustError(
            f"the caller shows {len(values)} values of {name}, expected one — call with a client certificate"
        )
    return bytes(values[0])
