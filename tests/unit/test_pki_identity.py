from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pki.authority import RootAuthority
from pki.identity import Identity, identity_of
from quanlian.errors import TrustError

AT = 1_800_000_000


@pytest.mark.parametrize(
    ("identity", "uri"),
    [
        (Identity("330100", "node"), "spiffe://330100.quanlian/node"),
        (Identity("330100", "platform", "alipay"), "spiffe://330100.quanlian/platform/alipay"),
        (Identity("330100", "operator", "li-wei"), "spiffe://330100.quanlian/operator/li-wei"),
        (Identity("330100", "signer", "voucher"), "spiffe://330100.quanlian/signer/voucher"),
        (Identity("clearinghouse", "server"), "spiffe://clearinghouse.quanlian/server"),
        (Identity("clearinghouse", "operator", "zhao"), "spiffe://clearinghouse.quanlian/operator/zhao"),
        (Identity("clearinghouse", "signer", "message"), "spiffe://clearinghouse.quanlian/signer/message"),
    ],
)
def test_an_identity_and_its_spiffe_id_name_the_same_party(identity: Identity, uri: str) -> None:
    assert identity.uri == uri
    assert Identity.parse(uri) == identity


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://330100.quanlian/node",
        "spiffe://330100.quanlian",
        "spiffe://330100.quanlian/",
        "spiffe://330100.quanlian/node/",
        "spiffe://330100.quanlian/node/extra",
        "spiffe://330100.quanlian/platform",
        "spiffe://330100.quanlian/platform/",
        "spiffe://330100.quanlian/platform/../node",
        "spiffe://330100.quanlian/platform/a/b",
        "spiffe://330100.quanlian/platform/Alipay",
        "spiffe://330100.quanlian/server",
        "spiffe://330100.quanlian/root",
        "spiffe://clearinghouse.quanlian/node",
        "spiffe://clearinghouse.quanlian/platform/alipay",
        "spiffe://33010.quanlian/node",
        "spiffe://３３０１００.quanlian/node",
        "spiffe://330100.quanlian.example/node",
        "spiffe://330100.quanlian:443/node",
        "spiffe://user@330100.quanlian/node",
        "spiffe://330100.QUANLIAN/node",
        "spiffe://330100.quanlian/node?x",
        "spiffe://330100.quanlian/node\n",
    ],
)
def test_a_uri_that_no_party_can_have_is_refused(uri: str) -> None:
    with pytest.raises(TrustError):
        Identity.parse(uri)


def test_a_certificate_speaks_for_the_party_in_its_uri(tmp_path: Path) -> None:
    region = RootAuthority.create(tmp_path / "root", AT).enrol(tmp_path / "330100", "330100", AT)
    leaf = region.issue_tls(Identity("330100", "node"), tmp_path / "tls", AT)
    assert identity_of(leaf) == Identity("330100", "node")


@pytest.mark.parametrize(
    "uris",
    [
        [],
        ["spiffe://330100.quanlian/node", "spiffe://310000.quanlian/node"],
        ["spiffe://330100.quanlian/node", "https://example.com/"],
    ],
)
def test_a_certificate_without_exactly_one_uri_speaks_for_nobody(uris: list[str]) -> None:
    names = [x509.DNSName("330100.quanlian"), *map(x509.UniformResourceIdentifier, uris)]
    with pytest.raises(TrustError, match="exactly one SPIFFE URI"):
        identity_of(_self_signed(x509.SubjectAlternativeName(names)))


def test_a_certificate_without_any_names_speaks_for_nobody() -> None:
    with pytest.raises(TrustError):
        identity_of(_self_signed())


def _self_signed(*extensions: x509.ExtensionType) -> x509.Certificate:
    from datetime import UTC, datetime, timedelta

    from cryptography.hazmat.primitives.hashes import SHA256

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    at = datetime.fromtimestamp(AT, UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, at, at + timedelta(days=1))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, SHA256())
