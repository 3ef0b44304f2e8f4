"""The offline root and the authorities of single hosts, each kept in a directory of its own.

A directory holds `certificate.pem` and `key.pem`, an intermediate's also `chain.pem` (itself, then the root).
`certificate.pem` is written last: without it an authority was never made, and making it can be tried again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pki import files, profiles, suites, tls_files
from pki.identity import CLEARINGHOUSE, Identity
from pki.trust import fingerprint, host_of_authority
from quanlian.errors import ConfigurationError, TrustError

CERTIFICATE, KEY, CHAIN = "certificate.pem", "key.pem", "chain.pem"
_REMEDY = "name the directory that `quanlian pki init` or `quanlian pki enrol` made, or restore it from its backup"


class RootAuthority:
    """The anchor of all trust. Its directory belongs on a machine without a network."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self._key = key

    @classmethod
    def create(cls, directory: Path, at: int) -> Self:
        """Makes a root valid from `at` (UTC seconds). Raises ConfigurationError when there is one."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = profiles.root_certificate(key, at)
        _keep(directory, key, [certificate])
        return cls(certificate, key)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Raises ConfigurationError for files missing, damaged, exposed, or of an intermediate."""
        certificate, key = _load(directory)
        if certificate.issuer != certificate.subject:
            raise ConfigurationError(
                "holds an intermediate authority, not the root",
                place=str(directory),
                remedy="name the directory that `quanlian pki init` made",
            )
        return cls(certificate, key)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER certificate in hex: what parties compare by telephone before they trust it."""
        return fingerprint(self.certificate)

    def enrol(self, directory: Path, host: str, at: int) -> RegionAuthority:
        """Makes the authority of `host` (an adcode or `clearinghouse`) in `directory`. Raises as `create`."""
        own_role = "server" if host == CLEARINGHOUSE else "node"
        Identity.parse(Identity(host, own_role).uri)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = profiles.intermediate_certificate(host, key.public_key(), self.certificate, self._key, at)
        _keep(directory, key, [certificate, self.certificate])
        return RegionAuthority(host, certificate, key, self.certificate)


class RegionAuthority:
    """The intermediate of one host; whatever else it signs, nobody believes."""

    def __init__(
        self,
        host: str,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        root: x509.Certificate,
    ) -> None:
        self.host = host
        self.certificate = certificate
        self.root = root
        self._key = key

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Raises ConfigurationError when the files are missing, damaged, exposed, or those of a root."""
        certificate, key = _load(directory)
        chain = _certificates(directory / CHAIN)
        if len(chain) != 2 or chain[0] != certificate:
            raise ConfigurationError(
                "must hold this authority's certificate and then the root's",
                place=str(directory / CHAIN),
                remedy=_REMEDY,
            )
        try:
            host = host_of_authority(certificate)
        except TrustError as error:
            raise ConfigurationError(str(error), place=str(directory / CERTIFICATE), remedy=_REMEDY) from error
        return cls(host, certificate, key, chain[1])

    def issue_tls(
        self, identity: Identity, directory: Path, at: int, valid_seconds: int = profiles.TLS_VALID_SECONDS
    ) -> x509.Certificate:
        """Makes a P-256 key and its leaf in `directory`, in place of any that are there, and returns the
        leaf.

        Writes `tls.crt` (leaf, then intermediate), `tls.key` and `root.crt`. The leaf is valid from 60 s
        before `at` (UTC seconds) until `valid_seconds` after. Raises TrustError for an identity that is not
        this host's.
        """
        self._check_own(identity)
        if identity.role == "signer":
            raise TrustError(f"{identity.uri} signs and does not speak TLS — issue a signer certificate instead")
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = profiles.tls_certificate(identity, key.public_key(), self.certificate, self._key, at, valid_seconds)
        tls_files.write(directory, _pem([leaf, self.certificate]), _private_pem(key), _pem([self.root]))
        return leaf

    def issue_signer(self, purpose: str, public_key: bytes, at: int, valid_seconds: int) -> bytes:
        """The PEM chain (leaf, then intermediate) that lets the Ed25519 `public_key` sign for `purpose`
        from `at` on.

        Raises TrustError for a malformed purpose or key, InvalidInput for a validity beyond this
        authority's own.
        """
        identity = Identity(self.host, "signer", purpose)
        self._check_own(identity)
        suites.check_public_key(public_key)
        leaf = profiles.signer_certificate(
            identity,
            Ed25519PublicKey.from_public_bytes(public_key),
            self.certificate,
            self._key,
            at,
            valid_seconds,
        )
        return _pem([leaf, self.certificate])

    def _check_own(self, identity: Identity) -> None:
        Identity.parse(identity.uri)
        if identity.host != self.host:
            raise TrustError(
                f"the authority of {self.host} cannot vouch for {identity.uri} — ask the authority of {identity.host}"
            )


def _keep(directory: Path, key: ec.EllipticCurvePrivateKey, chain: list[x509.Certificate]) -> None:
    files.private_directory(directory)
    files.refuse_existing(directory / CERTIFICATE)
    files.write_atomically(directory / KEY, _private_pem(key), files.PRIVATE)
    if len(chain) > 1:
        files.write_atomically(directory / CHAIN, _pem(chain))
    files.write_new(directory / CERTIFICATE, _pem(chain[:1]))


def _load(directory: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate = _certificates(directory / CERTIFICATE)[0]
    path = directory / KEY
    data = files.read_private(path, _REMEDY)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"holds no readable key: {error}", place=str(path), remedy=_REMEDY) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ConfigurationError(f"is not the key of {CERTIFICATE}", place=str(path), remedy=_REMEDY)
    return certificate, key


def _certificates(path: Path) -> list[x509.Certificate]:
    data = files.read(path, _REMEDY)
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise ConfigurationError(f"holds no readable certificate: {error}", place=str(path), remedy=_REMEDY) from error


def _pem(certificates: list[x509.Certificate]) -> bytes:
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
