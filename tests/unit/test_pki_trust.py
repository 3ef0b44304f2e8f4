from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from pki import profiles
from pki.authority import RegionAuthority, RootAuthority
from pki.denylist import CertificateId, DenyList
from pki.identity import Identity
from pki.suites import key_id
from pki.trust import Keyring, Trust, certificate_id
from quanlian.errors import BadSignature, TrustError, UnknownKey
from quanlian.signing import signing_bytes

AT = 1_800_000_000
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC_KEY = KEY.public_key().public_bytes_raw()
KEY_ID = key_id(PUBLIC_KEY)
NODE, VOUCHER_SIGNER = Identity("330100", "node"), Identity("330100", "signer", "voucher")
NO_SUBJECT = x509.Name([])


@dataclass
class Network:
    directory: Path
    root: RootAuthority
    hangzhou: RegionAuthority
    shanghai: RegionAuthority
    trust: Trust


@pytest.fixture
def network(tmp_path: Path) -> Network:
    root = RootAuthority.create(tmp_path / "root", AT)
    hangzhou, shanghai = (root.enrol(tmp_path / host, host, AT) for host in ["330100", "310000"])
    return Network(tmp_path, root, hangzhou, shanghai, Trust(pem(root.certificate), root.fingerprint))


def test_a_certified_key_is_known_with_its_owner_purpose_and_validity(network: Network) -> None:
    key = network.trust.signing_key(network.hangzhou.issue_signer("voucher", PUBLIC_KEY, AT, 3600))
    assert key == (KEY_ID, "330100", "voucher", PUBLIC_KEY, AT, AT + 3600, None)


def test_a_key_backdated_before_its_authority_is_valid_only_from_the_authority_on(network: Network) -> None:
    leaf = signer(network.hangzhou, not_before=AT - 999, not_after=AT + 99 * 365 * 86_400)
    key = network.trust.signing_key(pem(leaf, network.hangzhou.certificate))
    assert key.not_before == AT
    assert key.not_after == network.hangzhou.certificate.not_valid_after_utc.timestamp()


def test_a_root_of_another_fingerprint_is_not_trusted(network: Network) -> None:
    with pytest.raises(TrustError, match="fingerprint"):
        Trust(pem(network.root.certificate), "00" * 32)
    colons = ":".join(f"{byte:02X}" for byte in bytes.fromhex(network.root.fingerprint))
    Trust(pem(network.root.certificate), colons)


def test_what_is_no_root_certificate_is_not_trusted(network: Network) -> None:
    for wrong in [b"", b"rubbish", pem(network.hangzhou.certificate)]:
        with pytest.raises(TrustError):
            Trust(wrong)


@pytest.mark.parametrize("host", ["330100", "clearinghouse"])
def test_a_rogue_authority_cannot_certify_a_key_of_another_host(network: Network, host: str) -> None:
    leaf = signer(network.shanghai, Identity(host, "signer", "voucher"))
    with pytest.raises(TrustError, match="authority of 310000 cannot vouch"):
        network.trust.signing_key(pem(leaf, network.shanghai.certificate))


def test_an_intermediate_of_another_root_is_not_believed(network: Network) -> None:
    forged = RootAuthority.create(network.directory / "forged", AT)
    region = forged.enrol(network.directory / "forged-330100", "330100", AT)
    with pytest.raises(TrustError, match="trusted root"):
        network.trust.signing_key(region.issue_signer("voucher", PUBLIC_KEY, AT, 3600))


def test_a_leaf_shown_with_another_intermediate_is_not_believed(network: Network) -> None:
    leaf = signer(network.hangzhou)
    with pytest.raises(TrustError):
        network.trust.signing_key(pem(leaf, network.shanghai.certificate))


def test_a_party_cannot_certify_keys_with_its_own_certificate(network: Network) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    own = profiles.tls_certificate(
        NODE, key.public_key(), network.hangzhou.certificate, network.hangzhou._key, AT, 3600
    )
    leaf = signer(RegionAuthority("330100", own, key, network.root.certificate))
    for chain in [
        pem(leaf, own),
        pem(leaf, own, network.hangzhou.certificate),
        pem(leaf, own, network.root.certificate),
    ]:
        with pytest.raises(TrustError):
            network.trust.signing_key(chain)


@pytest.mark.parametrize(
    "constraints",
    [
        None,
        x509.NameConstraints([x509.UniformResourceIdentifier("330100.quanlian")], None),
        x509.NameConstraints([x509.DNSName("330100.quanlian")], None),
        x509.NameConstraints([x509.UniformResourceIdentifier(".quanlian"), x509.DNSName("330100.quanlian")], None),
        x509.NameConstraints(
            [x509.UniformResourceIdentifier("330100.quanlian"), x509.DNSName("330100.quanlian")], None
        ),
        x509.NameConstraints(
            [*(profiles.name_constraints("330100").permitted_subtrees or []), x509.DNSName("310000.quanlian")],
            profiles.name_constraints("330100").excluded_subtrees,
        ),
    ],
)
def test_an_intermediate_not_bound_to_exactly_one_host_is_not_believed(
    network: Network, constraints: x509.NameConstraints | None
) -> None:
    region = intermediate(network, constraints)
    with pytest.raises(TrustError, match="intermediate"):
        network.trust.signing_key(pem(signer(region), region.certificate))


def test_an_intermediate_that_may_delegate_is_not_believed(network: Network) -> None:
    region = intermediate(network, profiles.name_constraints("330100"), path_length=1)
    with pytest.raises(TrustError, match="pathlen 0"):
        network.trust.signing_key(pem(signer(region), region.certificate))
    sound = intermediate(network, profiles.name_constraints("330100"))
    network.trust.signing_key(pem(signer(sound), sound.certificate))


def test_a_leaf_with_a_subject_or_with_further_names_is_not_believed(network: Network) -> None:
    uri = x509.UniformResourceIdentifier("spiffe://330100.quanlian/signer/voucher")
    second = x509.UniformResourceIdentifier("spiffe://330100.quanlian/node")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "clearinghouse.quanlian")])
    leaves = [
        signer(network.hangzhou, subject=subject),
        signer(network.hangzhou, names=[uri, second]),
        signer(network.hangzhou, names=[uri, x509.DNSName("www.330100.quanlian")]),
        signer(network.hangzhou, names=[uri, x509.RFC822Name("a@330100.quanlian")]),
        signer(network.hangzhou, names=[]),
    ]
    for leaf in leaves:
        with pytest.raises(TrustError):
            network.trust.signing_key(pem(leaf, network.hangzhou.certificate))


def test_a_leaf_with_an_unknown_critical_extension_is_not_believed(network: Network) -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    with pytest.raises(TrustError, match="unknown critical extension"):
        network.trust.signing_key(pem(signer(network.hangzhou, extra=unknown), network.hangzhou.certificate))


def test_a_tls_certificate_is_no_signing_key_and_a_signing_key_no_peer(network: Network) -> None:
    tls = network.hangzhou.issue_tls(NODE, network.directory / "tls", AT)
    with pytest.raises(TrustError, match="no signing key"):
        network.trust.signing_key(pem(tls, network.hangzhou.certificate))
    with pytest.raises(TrustError, match="may not connect"):
        network.trust.peer([signer(network.hangzhou), network.hangzhou.certificate], AT)


@pytest.mark.parametrize(
    "chain_pem", [b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_chain_that_cannot_be_read_is_a_trust_error(network: Network, chain_pem: bytes) -> None:
    for judge in [network.trust.signing_key, lambda pem: network.trust.peer_from_pem(pem, AT)]:
        with pytest.raises(TrustError):
            judge(chain_pem)


def test_a_peer_is_judged_at_the_time_of_the_call(network: Network) -> None:
    leaf = network.hangzhou.issue_tls(NODE, network.directory / "tls", AT)
    chain = [leaf, network.hangzhou.certificate]
    assert network.trust.peer(chain, AT) == NODE
    assert network.trust.peer([*chain, network.root.certificate], AT + 86_399) == NODE
    for at, reason in [(AT - 1, "only from"), (AT + 86_400, "expired")]:
        with pytest.raises(TrustError, match=reason):
            network.trust.peer(chain, at)
        with pytest.raises(TrustError, match=reason):
            network.trust.peer_from_pem(pem(*chain), at)


def test_a_chain_verified_before_is_still_judged_by_a_newer_deny_list(network: Network) -> None:
    leaf = network.hangzhou.issue_tls(NODE, network.directory / "tls", AT)
    chain = pem(leaf, network.hangzhou.certificate)
    assert network.trust.peer_from_pem(chain, AT + 10) == NODE
    revoked = certificate_id(leaf, network.hangzhou.certificate)
    network.trust.deny(DenyList(1, AT, certificates={revoked: AT + 10}))
    assert network.trust.peer_from_pem(chain, AT + 9) == NODE
    with pytest.raises(TrustError, match=f"revoked.*deny-list 1, serial {leaf.serial_number:x}"):
        network.trust.peer_from_pem(chain, AT + 10)


def test_an_older_or_forked_deny_list_does_not_replace_the_known_one(network: Network) -> None:
    known = DenyList(3, AT, keys={KEY_ID: AT})
    network.trust.deny(known)
    network.trust.deny(known)
    for stale in [DenyList(2, AT), DenyList(3, AT)]:
        with pytest.raises(TrustError, match="deny-list"):
            network.trust.deny(stale)
    assert network.trust.denylist is known


def test_the_keyring_finds_who_signed(network: Network) -> None:
    keyring = Keyring(network.trust)
    added = keyring.add(network.hangzhou.issue_signer("voucher", PUBLIC_KEY, AT, 3600))
    signature = KEY.sign(signing_bytes("voucher", b"body"))
    assert keyring.verify(KEY_ID, "voucher", b"body", signature) == added == keyring.key(KEY_ID)
    assert keyring.keys() == [added]
    for kind, payload in [("voucher", b"other"), ("terms", b"body")]:
        with pytest.raises(BadSignature):
            keyring.verify(KEY_ID, kind, payload, signature)
    with pytest.raises(UnknownKey):
        keyring.verify(bytes(8), "voucher", b"body", signature)


def test_a_key_is_revoked_by_its_id_its_certificate_or_its_authority_from_the_earliest_of_them(
    network: Network,
) -> None:
    keyring = Keyring(network.trust)
    chain = network.hangzhou.issue_signer("voucher", PUBLIC_KEY, AT, 3600)
    keyring.add(chain)
    leaf = x509.load_pem_x509_certificate(chain)
    own = certificate_id(leaf, network.hangzhou.certificate)
    authority = certificate_id(network.hangzhou.certificate, network.root.certificate)
    lists: list[tuple[dict[CertificateId, int], dict[bytes, int]]] = [
        ({}, {KEY_ID: AT + 9}),
        ({own: AT + 8}, {KEY_ID: AT + 9}),
        ({own: AT + 8, authority: AT + 7}, {KEY_ID: AT + 9}),
    ]
    for number, (certificates, keys) in enumerate(lists, start=1):
        network.trust.deny(DenyList(number, AT, certificates, keys))
        assert keyring.key(KEY_ID).revoked_from == AT + 10 - number
        assert network.trust.signing_key(chain).revoked_from == AT + 10 - number
    network.trust.deny(DenyList(4, AT))
    assert keyring.key(KEY_ID).revoked_from is None


def test_no_region_can_take_over_the_key_of_another(network: Network) -> None:
    keyring = Keyring(network.trust)
    rightful = keyring.add(network.hangzhou.issue_signer("voucher", PUBLIC_KEY, AT, 3600))
    for authority, purpose in [(network.shanghai, "voucher"), (network.hangzhou, "message")]:
        with pytest.raises(TrustError, match="voucher key of 330100"):
            keyring.add(authority.issue_signer(purpose, PUBLIC_KEY, AT, 3600))
    assert keyring.key(KEY_ID) == rightful


def test_a_renewed_certificate_widens_the_validity_of_its_key(network: Network) -> None:
    keyring = Keyring(network.trust)
    keyring.add(network.hangzhou.issue_signer("voucher", PUBLIC_KEY, AT + 1000, 3600))
    renewed = keyring.add(network.hangzhou.issue_signer("voucher", PUBLIC_KEY, AT + 3000, 3600))
    assert (renewed.not_before, renewed.not_after) == (AT + 1000, AT + 6600)
    assert keyring.keys() == [renewed]


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def signer(
    authority: RegionAuthority,
    identity: Identity = VOUCHER_SIGNER,
    *,
    names: list[x509.GeneralName] | None = None,
    subject: x509.Name = NO_SUBJECT,
    not_before: int = AT,
    not_after: int = AT + 3600,
    extra: x509.ExtensionType | None = None,
) -> x509.Certificate:
    """What an authority can sign when it does not keep to the rules of its own software."""
    public_key = Ed25519PublicKey.from_public_bytes(PUBLIC_KEY)
    rules = profiles.signer_certificate(identity, public_key, authority.certificate, authority._key, AT, 60)
    builder = x509.CertificateBuilder(
        authority.certificate.subject,
        subject,
        public_key,
        x509.random_serial_number(),
        datetime.fromtimestamp(not_before, UTC),
        datetime.fromtimestamp(not_after, UTC),
    )
    for each in rules.extensions:
        is_names = isinstance(each.value, x509.SubjectAlternativeName)
        value = x509.SubjectAlternativeName(names) if is_names and names is not None else each.value
        builder = builder.add_extension(value, each.critical)
    if extra is not None:
        builder = builder.add_extension(extra, critical=True)
    return builder.sign(authority._key, SHA256())


def intermediate(network: Network, constraints: x509.NameConstraints | None, path_length: int = 0) -> RegionAuthority:
    """An authority as a careless root might have made it."""
    key = ec.generate_private_key(ec.SECP256R1())
    rules = network.hangzhou.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    builder = (
        x509.CertificateBuilder(
            network.root.certificate.subject,
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "careless")]),
            key.public_key(),
            x509.random_serial_number(),
            datetime.fromtimestamp(AT, UTC),
            datetime.fromtimestamp(AT + 86_400, UTC),
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(rules, critical=True)
    )
    if constraints is not None:
        builder = builder.add_extension(constraints, critical=True)
    return RegionAuthority("330100", builder.sign(network.root._key, SHA256()), key, network.root.certificate)
