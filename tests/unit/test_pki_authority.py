from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID

from pki.authority import RegionAuthority, RootAuthority
from pki.identity import Identity
from pki.trust import Trust
from quanlian.errors import ConfigurationError, InvalidInput, TrustError

AT = 1_800_000_000
PUBLIC_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key().public_bytes_raw()
NODE = Identity("330100", "node")


@pytest.fixture
def root(tmp_path: Path) -> RootAuthority:
    return RootAuthority.create(tmp_path / "root", AT)


@pytest.fixture
def hangzhou(root: RootAuthority, tmp_path: Path) -> RegionAuthority:
    return root.enrol(tmp_path / "330100", "330100", AT)


@pytest.mark.usefixtures("hangzhou")
def test_an_authority_is_kept_closed_to_others(tmp_path: Path) -> None:
    for name in ["root", "330100"]:
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o700
        assert (tmp_path / name / "key.pem").stat().st_mode & 0o777 == 0o600


def test_an_authority_is_the_same_after_loading(root: RootAuthority, hangzhou: RegionAuthority, tmp_path: Path) -> None:
    loaded_root = RootAuthority.load(tmp_path / "root")
    assert loaded_root.certificate == root.certificate
    assert loaded_root.fingerprint == root.fingerprint
    assert len(root.fingerprint) == 64
    loaded = RegionAuthority.load(tmp_path / "330100")
    assert (loaded.host, loaded.certificate, loaded.root) == (
        "330100",
        hangzhou.certificate,
        root.certificate,
    )
    Trust((tmp_path / "root/certificate.pem").read_bytes(), loaded_root.fingerprint).signing_key(
        loaded.issue_signer("voucher", PUBLIC_KEY, AT, 60)
    )


def test_an_authority_is_never_overwritten(root: RootAuthority, hangzhou: RegionAuthority, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="already exists"):
        RootAuthority.create(tmp_path / "root", AT)
    with pytest.raises(ConfigurationError, match="already exists"):
        root.enrol(tmp_path / "330100", "330100", AT)
    assert RegionAuthority.load(tmp_path / "330100").certificate == hangzhou.certificate


@pytest.mark.parametrize("surviving_writes", [0, 1, 2])
def test_an_enrolment_cut_off_by_a_crash_is_no_authority_and_can_be_done_again(
    root: RootAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, surviving_writes: int
) -> None:
    _crash_after(surviving_writes, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        root.enrol(tmp_path / "330100", "330100", AT)
    monkeypatch.undo()
    with pytest.raises(ConfigurationError):
        RegionAuthority.load(tmp_path / "330100")
    again = root.enrol(tmp_path / "330100", "330100", AT)
    assert RegionAuthority.load(tmp_path / "330100").certificate == again.certificate


def test_an_intermediate_cannot_delegate_and_is_bound_to_its_host_as_uri_and_dns_name(
    hangzhou: RegionAuthority,
) -> None:
    extensions = hangzhou.certificate.extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    constraints = extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert constraints.value.permitted_subtrees == [
        x509.UniformResourceIdentifier("330100.quanlian"),
        x509.DNSName("330100.quanlian"),
    ]
    key = hangzhou.certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)


@pytest.mark.parametrize("host", ["", "3301", "330100.quanlian", "../330100", "Clearinghouse", "beijing"])
def test_only_an_adcode_or_the_clearinghouse_is_enrolled(root: RootAuthority, tmp_path: Path, host: str) -> None:
    with pytest.raises(TrustError):
        root.enrol(tmp_path / "new", host, AT)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("identity", "dns_names", "usages"),
    [
        (NODE, ["330100.quanlian"], {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}),
        (Identity("330100", "platform", "alipay"), [], {ExtendedKeyUsageOID.CLIENT_AUTH}),
        (Identity("330100", "operator", "li-wei"), [], {ExtendedKeyUsageOID.CLIENT_AUTH}),
    ],
)
def test_a_node_may_serve_while_platforms_and_operators_only_call(
    hangzhou: RegionAuthority, tmp_path: Path, identity: Identity, dns_names: list[str], usages: set[object]
) -> None:
    leaf = hangzhou.issue_tls(identity, tmp_path / "tls", AT)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [identity.uri]
    assert names.get_values_for_type(x509.DNSName) == dns_names
    assert set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == usages


def test_a_tls_leaf_lives_a_day_and_is_backdated_a_minute_for_slow_clocks(
    hangzhou: RegionAuthority, tmp_path: Path
) -> None:
    leaf = hangzhou.issue_tls(NODE, tmp_path / "tls", AT)
    assert leaf.not_valid_before_utc.timestamp() == AT - 60
    assert leaf.not_valid_after_utc.timestamp() == AT + 86_400
    assert (tmp_path / "tls/tls.key").stat().st_mode & 0o777 == 0o600


def test_a_signing_key_is_never_backdated(hangzhou: RegionAuthority) -> None:
    leaf = x509.load_pem_x509_certificates(hangzhou.issue_signer("voucher", PUBLIC_KEY, AT, 3600))[0]
    assert leaf.not_valid_before_utc.timestamp() == AT
    assert leaf.not_valid_after_utc.timestamp() == AT + 3600


@pytest.mark.parametrize(
    "identity",
    [
        Identity("310000", "node"),
        Identity("clearinghouse", "server"),
        Identity("330100", "server"),
        Identity("330100", "platform"),
        Identity("330100", "platform", "../node"),
        Identity("330100", "signer", "voucher"),
    ],
)
def test_an_authority_issues_no_tls_certificate_for_what_is_not_its_own(
    hangzhou: RegionAuthority, tmp_path: Path, identity: Identity
) -> None:
    with pytest.raises(TrustError):
        hangzhou.issue_tls(identity, tmp_path / "tls", AT)
    assert not (tmp_path / "tls").exists()


def test_an_authority_certifies_no_unsound_key_and_no_malformed_purpose(hangzhou: RegionAuthority) -> None:
    for purpose, public_key in [
        ("voucher", bytes(32)),
        ("voucher", b"short"),
        ("", PUBLIC_KEY),
        ("A B", PUBLIC_KEY),
    ]:
        with pytest.raises(TrustError):
            hangzhou.issue_signer(purpose, public_key, AT, 3600)


@pytest.mark.parametrize(
    ("at", "valid_seconds"),
    [(AT - 1, 60), (AT, 0), (AT, -5), (AT, 6 * 365 * 86_400), (AT + 6 * 365 * 86_400, 60)],
)
def test_nothing_is_issued_outside_the_validity_of_its_authority(
    hangzhou: RegionAuthority, tmp_path: Path, at: int, valid_seconds: int
) -> None:
    with pytest.raises(InvalidInput):
        hangzhou.issue_signer("voucher", PUBLIC_KEY, at, valid_seconds)
    with pytest.raises(InvalidInput):
        hangzhou.issue_tls(NODE, tmp_path / "tls", at, valid_seconds)


@pytest.mark.usefixtures("hangzhou")
def test_damaged_authorities_are_refused_with_the_file_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not the root"):
        RootAuthority.load(tmp_path / "330100")
    with pytest.raises(ConfigurationError, match=r"chain\.pem"):
        RegionAuthority.load(tmp_path / "root")
    key = tmp_path / "330100/key.pem"
    good = key.read_bytes()
    for damaged in [b"", good[:80], (tmp_path / "root/key.pem").read_bytes()]:
        key.write_bytes(damaged)
        with pytest.raises(ConfigurationError, match=r"330100/key\.pem"):
            RegionAuthority.load(tmp_path / "330100")
    key.write_bytes(good)
    key.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        RegionAuthority.load(tmp_path / "330100")
    (tmp_path / "330100/certificate.pem").write_bytes(b"rubbish")
    with pytest.raises(ConfigurationError, match=r"certificate\.pem"):
        RegionAuthority.load(tmp_path / "330100")


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="file/root"):
        RootAuthority.create(tmp_path / "file/root", AT)


def _crash_after(writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cuts the process off at the step that would put the next file in place."""
    real = {"replace": os.replace, "link": os.link}
    done = 0

    def step(name: str) -> None:
        def crashing(source: str, target: str) -> None:
            nonlocal done
            if done == writes:
                raise KeyboardInterrupt
            done += 1
            real[name](source, target)

        monkeypatch.setattr(os, name, crashing)

    step("replace")
    step("link")
