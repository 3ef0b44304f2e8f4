"""The TLS files of a party: `tls.crt` (leaf, then intermediate), `tls.key` and `root.crt` in one directory.

Three files cannot be replaced in one step, so the certificate is the commit: a new key is first put beside
the old one as `tls.key.next`, and whoever finds that the certificate belongs to that key uses it. A crash
or a reader in between sees the old pair or the new one, never half of each.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

from pki import files
from pki.identity import Identity
from pki.trust import Trust
from quanlian.errors import ConfigurationError, TrustError

CERTIFICATE, KEY, NEXT_KEY, ROOT = "tls.crt", "tls.key", "tls.key.next", "root.crt"
_REMEDY = "issue it: quanlian pki issue tls"


class TlsFiles(NamedTuple):
    """PEM bytes that were found to belong together, and who they make their holder."""

    identity: Identity
    chain: bytes
    key: bytes
    root: bytes
    not_after: int


def write(directory: Path, chain: bytes, key: bytes, root: bytes) -> None:
    """Replaces the files of `directory`. Raises ConfigurationError when they cannot be written."""
    if not directory.exists():
        files.private_directory(directory)
    files.write_atomically(directory / NEXT_KEY, key, files.PRIVATE)
    files.write_atomically(directory / ROOT, root)
    files.write_atomically(directory / CERTIFICATE, chain)
    files.rename(directory / NEXT_KEY, directory / KEY)


def read(directory: Path, at: int) -> TlsFiles:
    """The files of `directory`, fit for use at `at` (UTC seconds).

    Raises ConfigurationError, with the file and the remedy, for one that is missing, unreadable, exposed,
    expired, or does not belong to the others.
    """
    try:
        return _read(directory, at)
    except ConfigurationError:
        # A renewal may have come between two of our reads; any other fault is still there the second time.
        return _read(directory, at)


def _read(directory: Path, at: int) -> TlsFiles:
    path = directory / CERTIFICATE
    root = files.read(directory / ROOT, _REMEDY)
    chain = files.read(path, _REMEDY)
    try:
        trust = Trust(root)
    except TrustError as error:
        raise ConfigurationError(str(error), place=str(directory / ROOT), remedy=_REMEDY) from error
    try:
        certificates = x509.load_pem_x509_certificates(chain)
        identity = trust.peer(certificates, at)
        public_key = certificates[0].public_key()
    except (TrustError, ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(str(error), place=str(path), remedy=_REMEDY) from error
    if not isinstance(public_key, EllipticCurvePublicKey) or not isinstance(public_key.curve, SECP256R1):
        raise ConfigurationError("a TLS key must be ECDSA P-256", place=str(path), remedy=_REMEDY)
    not_after = int(certificates[0].not_valid_after_utc.timestamp())
    return TlsFiles(identity, chain, _key_of(public_key, directory), root, not_after)


def _key_of(public_key: EllipticCurvePublicKey, directory: Path) -> bytes:
    candidates = [directory / NEXT_KEY, directory / KEY] if (directory / NEXT_KEY).exists() else [directory / KEY]
    for path in candidates:
        data = files.read_private(path, _REMEDY)
        try:
            key = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigurationError("holds no readable private key", place=str(path), remedy=_REMEDY) from error
        if key.public_key() == public_key:
            return data
    raise ConfigurationError(f"is not the key of {CERTIFICATE}", place=str(directory / KEY), remedy=_REMEDY)
