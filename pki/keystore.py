"""Where private signing keys live. They never leave their store; callers get a `Signer`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from nacl.signing import SigningKey as LibsodiumKey

from pki import files, suites
from quanlian.errors import ConfigurationError
from quanlian.signing import Signer, signing_bytes

_PURPOSE = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")


class KeyStore(Protocol):
    """Keeps one Ed25519 key per purpose: in files today, in a PKCS#11 token behind the same calls."""

    def create(self, purpose: str) -> bytes:
        """Makes the key and returns its public half; ConfigurationError when there is one already."""
        ...

    def install(self, purpose: str, chain_pem: bytes) -> None:
        """Keeps the chain that vouches for the key; ConfigurationError when it is for another key."""
        ...

    def signer(self, purpose: str) -> Signer:
        """Raises ConfigurationError when the key is missing, damaged or exposed."""
        ...

    def chain(self, purpose: str) -> bytes:
        """The PEM chain given to `install`. Raises ConfigurationError when there is none."""
        ...


class FileKeyStore:
    """Keys as `<purpose>.key` (PKCS#8, mode 0600) with `<purpose>.crt` beside, directory 0700."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def create(self, purpose: str) -> bytes:
        path = self._path(purpose, "key")
        files.private_directory(self._directory)
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        files.write_new(path, pem, files.PRIVATE)
        return key.public_key().public_bytes_raw()

    def install(self, purpose: str, chain_pem: bytes) -> None:
        path = self._path(purpose, "crt")
        try:
            certified = x509.load_pem_x509_certificate(chain_pem).public_key()
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ConfigurationError(
                f"the certificate for it cannot be read: {error}",
                place=str(path),
                remedy="install the chain that `quanlian pki issue signer` wrote",
            ) from error
        if not isinstance(certified, Ed25519PublicKey) or certified.public_bytes_raw() != self.public_key(purpose):
            raise ConfigurationError(
                "the certificate vouches for another key than the one kept here",
                place=str(path),
                remedy=f"issue a certificate for the public key of {self._path(purpose, 'key')}",
            )
        files.write_atomically(path, chain_pem)

    def signer(self, purpose: str) -> Signer:
        return _FileSigner(self._load(purpose))

    def holds(self, purpose: str) -> bool:
        """Whether a key for `purpose` was made here."""
        return self._path(purpose, "key").exists()

    def public_key(self, purpose: str) -> bytes:
        """The public half of an existing key. Raises as `signer`."""
        return bytes(self._load(purpose).verify_key)

    def chain(self, purpose: str) -> bytes:
        return files.read(
            self._path(purpose, "crt"),
            f"certify the key: {self._command(purpose)}",
        )

    def _load(self, purpose: str) -> LibsodiumKey:
        path = self._path(purpose, "key")
        data = files.read_private(path, f"make one: {self._command(purpose)}")
        try:
            key = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigurationError(
                "holds no readable Ed25519 private key",
                place=str(path),
                remedy="restore it from its backup, or move it away and make a new key",
            )
        return LibsodiumKey(key.private_bytes_raw())

    def _command(self, purpose: str) -> str:
        return f"quanlian pki issue signer {purpose} --keys {self._directory} --authority DIRECTORY"

    def _path(self, purpose: str, suffix: str) -> Path:
        if _PURPOSE.fullmatch(purpose) is None:
            raise ConfigurationError(
                f"{purpose!r} is not a purpose",
                place=str(self._directory),
                remedy="use lower-case letters, digits, '-' and '.': voucher, terms, message, statement",
            )
        return self._directory / f"{purpose}.{suffix}"


class _FileSigner:
    def __init__(self, key: LibsodiumKey) -> None:
        self._key = key
        self._key_id = suites.key_id(bytes(key.verify_key))

    @property
    def key_id(self) -> bytes:
        return self._key_id

    def sign(self, kind: str, payload: bytes) -> bytes:
        return self._key.sign(signing_bytes(kind, payload)).signature
