from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pki.authority import RegionAuthority, RootAuthority
from pki.denylist import KIND, CertificateId, DenyList, load_denylist
from pki.suites import key_id
from pki.trust import Keyring, Trust
from quanlian.errors import BadSignature, InvalidInput, TrustError, UnknownKey
from quanlian.signing import signing_bytes

AT = 1_800_000_000
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC_KEY = KEY.public_key().public_bytes_raw()
KEY_ID = key_id(PUBLIC_KEY)
LIST = DenyList(
    7,
    AT + 5,
    certificates={CertificateId("ab" * 32, 2**159): AT, CertificateId("01" * 32, 1): AT + 1},
    keys={b"stolen k": AT + 2, b"a bad 1!": AT + 3},
)


@pytest.fixture
def root(tmp_path: Path) -> RootAuthority:
    return RootAuthority.create(tmp_path / "root", AT)


@pytest.fixture
def clearinghouse(root: RootAuthority, tmp_path: Path) -> RegionAuthority:
    return root.enrol(tmp_path / "clearinghouse", "clearinghouse", AT)


@pytest.fixture
def trust(tmp_path: Path, clearinghouse: RegionAuthority) -> Trust:
    return Trust((tmp_path / "root/certificate.pem").read_bytes())


@pytest.fixture
def keyring(trust: Trust, clearinghouse: RegionAuthority) -> Keyring:
    keyring = Keyring(trust)
    keyring.add(clearinghouse.issue_signer("message", PUBLIC_KEY, AT, 3600))
    return keyring


def sign(payload: bytes) -> bytes:
    return KEY.sign(signing_bytes(KIND, payload))


def test_a_list_reads_back_as_it_was_written_and_is_always_written_alike() -> None:
    assert DenyList.parse(LIST.payload()) == LIST
    turned = DenyList(7, AT + 5, dict(reversed(LIST.certificates.items())), dict(reversed(LIST.keys.items())))
    assert turned.payload() == LIST.payload()


def test_a_list_signed_by_the_clearinghouse_is_taken(keyring: Keyring) -> None:
    assert load_denylist(LIST.payload(), sign(LIST.payload()), KEY_ID, keyring) == LIST
    assert load_denylist(LIST.payload(), sign(LIST.payload()), KEY_ID, keyring, known=LIST) == LIST


def test_a_list_is_not_taken_with_a_changed_byte_or_from_an_unknown_key(keyring: Keyring) -> None:
    changed = LIST.payload().replace(b'"number": 7', b'"number": 9')
    with pytest.raises(BadSignature):
        load_denylist(changed, sign(LIST.payload()), KEY_ID, keyring)
    with pytest.raises(UnknownKey):
        load_denylist(LIST.payload(), sign(LIST.payload()), bytes(8), keyring)


@pytest.mark.parametrize(("host", "purpose"), [("330100", "message"), ("clearinghouse", "statement")])
def test_only_the_message_key_of_the_clearinghouse_signs_the_list(
    root: RootAuthority,
    clearinghouse: RegionAuthority,
    trust: Trust,
    tmp_path: Path,
    host: str,
    purpose: str,
) -> None:
    authority = clearinghouse if host == "clearinghouse" else root.enrol(tmp_path / host, host, AT)
    keyring = Keyring(trust)
    keyring.add(authority.issue_signer(purpose, PUBLIC_KEY, AT, 3600))
    with pytest.raises(TrustError, match=f"{purpose} key of {host}"):
        load_denylist(LIST.payload(), sign(LIST.payload()), KEY_ID, keyring)


@pytest.mark.parametrize("issued_at", [AT - 1, AT + 3600])
def test_a_list_issued_outside_the_validity_of_its_key_is_refused(keyring: Keyring, issued_at: int) -> None:
    payload = DenyList(8, issued_at).payload()
    with pytest.raises(TrustError, match="not valid when"):
        load_denylist(payload, sign(payload), KEY_ID, keyring)


def test_a_revoked_key_signs_no_list_whatever_date_it_writes_on_it(keyring: Keyring, trust: Trust) -> None:
    trust.deny(DenyList(1, AT, keys={KEY_ID: AT + 100}))
    with pytest.raises(TrustError, match="revoked key"):
        load_denylist(LIST.payload(), sign(LIST.payload()), KEY_ID, keyring)


def test_an_older_list_or_another_of_the_same_number_is_refused(keyring: Keyring) -> None:
    for known in [DenyList(8, AT), DenyList(7, AT)]:
        with pytest.raises(TrustError, match="deny-list"):
            load_denylist(LIST.payload(), sign(LIST.payload()), KEY_ID, keyring, known=known)


DOCUMENT: dict[str, Any] = json.loads(LIST.payload())
CERTIFICATE, BAD_KEY = DOCUMENT["certificates"][0], DOCUMENT["keys"][0]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"number": -1}, "deny-list.number"),
        ({"number": True}, "deny-list.number"),
        ({"number": 1.0}, "deny-list.number"),
        ({"issued_at": "now"}, "deny-list.issued_at"),
        ({"issued_at": 2**63}, "deny-list.issued_at"),
        ({"more": []}, "deny-list"),
        ({"keys": {}}, "deny-list.keys"),
        ({"keys": [7]}, "deny-list.keys[0]"),
        ({"keys": [BAD_KEY, BAD_KEY]}, "deny-list.keys[1]"),
        ({"keys": [BAD_KEY | {"key_id": "00"}]}, "deny-list.keys[0]"),
        ({"keys": [BAD_KEY | {"key_id": 5}]}, "deny-list.keys[0]"),
        ({"keys": [BAD_KEY | {"bad_from": None}]}, "deny-list.keys[0].bad_from"),
        ({"keys": [BAD_KEY | {"note": ""}]}, "deny-list.keys[0]"),
        ({"certificates": [CERTIFICATE | {"issuer": "zz"}]}, "deny-list.certificates[0]"),
        ({"certificates": [CERTIFICATE | {"issuer": "ab"}]}, "deny-list.certificates[0]"),
        ({"certificates": [CERTIFICATE | {"serial": "?"}]}, "deny-list.certificates[0]"),
        ({"certificates": [CERTIFICATE | {"serial": 5}]}, "deny-list.certificates[0]"),
    ],
)
def test_a_malformed_list_is_refused_with_the_place_named(change: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        DenyList.parse(json.dumps(DOCUMENT | change).encode())
    assert refused.value.place == place


@pytest.mark.parametrize("payload", [b"", b"\xff", b"[]", b"{}", b"[" * 100_000, b"1" * 10_000])
def test_what_is_no_list_at_all_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidInput):
        DenyList.parse(payload)
