from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pki import suites
from pki.authority import RootAuthority
from pki.keystore import FileKeyStore
from quanlian.errors import ConfigurationError
from quanlian.signing import signing_bytes

AT = 1_800_000_000


@pytest.fixture
def store(tmp_path: Path) -> FileKeyStore:
    return FileKeyStore(tmp_path / "keys")


def test_a_signature_of_the_store_covers_kind_and_payload_and_a_second_library_verifies_it(
    store: FileKeyStore,
) -> None:
    public_key = store.create("voucher")
    signer = store.signer("voucher")
    signature = signer.sign("voucher", b"body")
    assert signer.key_id == suites.key_id(public_key)
    second = Ed25519PublicKey.from_public_bytes(public_key)
    second.verify(signature, signing_bytes("voucher", b"body"))
    with pytest.raises(InvalidSignature):
        second.verify(signature, signing_bytes("terms", b"body"))


def test_a_private_key_and_its_directory_are_closed_to_others(store: FileKeyStore, tmp_path: Path) -> None:
    store.create("voucher")
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "keys/voucher.key").stat().st_mode & 0o777 == 0o600
    assert [each.name for each in (tmp_path / "keys").iterdir()] == ["voucher.key"]


def test_a_key_is_never_overwritten(store: FileKeyStore) -> None:
    public_key = store.create("voucher")
    with pytest.raises(ConfigurationError, match="already exists"):
        store.create("voucher")
    assert store.public_key("voucher") == public_key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_reach_is_refused_with_the_remedy(store: FileKeyStore, tmp_path: Path, mode: int) -> None:
    store.create("voucher")
    (tmp_path / "keys/voucher.key").chmod(mode)
    with pytest.raises(ConfigurationError, match=r"voucher\.key: .*chmod 600"):
        store.signer("voucher")


def test_a_missing_key_is_reported_with_the_command_that_makes_it(store: FileKeyStore) -> None:
    with pytest.raises(ConfigurationError, match=r"voucher\.key: .*quanlian pki issue signer voucher"):
        store.signer("voucher")


def test_a_corrupt_key_or_one_of_another_kind_is_refused(store: FileKeyStore, tmp_path: Path) -> None:
    store.create("voucher")
    path = tmp_path / "keys/voucher.key"
    p256 = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for damaged in [b"", path.read_bytes()[:60], b"\xff" * 100, p256]:
        path.write_bytes(damaged)
        with pytest.raises(ConfigurationError, match=r"voucher\.key: .*Ed25519"):
            store.signer("voucher")


@pytest.mark.parametrize("purpose", ["", ".", "..", "../voucher", "a/b", "Voucher", "-x", "券"])
def test_a_purpose_that_is_no_plain_name_is_refused(store: FileKeyStore, purpose: str) -> None:
    with pytest.raises(ConfigurationError):
        store.create(purpose)


def test_the_installed_chain_is_given_back(store: FileKeyStore, tmp_path: Path) -> None:
    region = RootAuthority.create(tmp_path / "root", AT).enrol(tmp_path / "330100", "330100", AT)
    chain = region.issue_signer("voucher", store.create("voucher"), AT, 3600)
    store.install("voucher", chain)
    assert store.chain("voucher") == chain


def test_a_chain_for_another_key_is_not_installed(store: FileKeyStore, tmp_path: Path) -> None:
    region = RootAuthority.create(tmp_path / "root", AT).enrol(tmp_path / "330100", "330100", AT)
    store.create("voucher")
    terms_chain = region.issue_signer("terms", store.create("terms"), AT, 3600)
    for wrong in [terms_chain, b"", b"rubbish"]:
        with pytest.raises(ConfigurationError, match=r"voucher\.crt"):
            store.install("voucher", wrong)
    with pytest.raises(ConfigurationError, match="certify the key"):
        store.chain("voucher")
