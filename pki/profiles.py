"""What each certificate contains (security, Trust). Nothing here reads a clock or a file.

root ─▶ intermediate of one host ─┬▶ TLS leaf, P-256: gRPC refuses Ed25519 leaves
                                  └▶ signing key, Ed25519

An intermediate is bound to its host twice, as URI and as DNS name, because neither constraint binds the
other. And it can give no leaf a subject: a gRPC client takes the common name of a server without a DNS name
for its host, which no constraint on DNS names stops. So a leaf's only names are its alternative names.
"""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_network

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pki.identity import Identity, host_name
from quanlian.errors import InvalidInput

DAY_SECONDS = 86_400
ROOT_VALID_SECONDS = 20 * 365 * DAY_SECONDS
INTERMEDIATE_VALID_SECONDS = 5 * 365 * DAY_SECONDS
TLS_VALID_SECONDS = DAY_SECONDS
TLS_BACKDATE_SECONDS = 60
"""So that a peer whose clock is slow believes a fresh TLS leaf; a signing key is never backdated."""

_BARE_KEY_USAGE = dict.fromkeys(
    [
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ],
    False,
)
_NO_SUBJECT = x509.Name([])
_SERVING_ROLES = ("node", "server")


def root_certificate(key: EllipticCurvePrivateKey, at: int) -> x509.Certificate:
    """The self-signed anchor, valid 20 years from `at`; only intermediates hang below it (`pathlen:1`)."""
    name = _name("Quanlian root")
    public_key = key.public_key()
    builder = _certificate(name, name, public_key, at, at + ROOT_VALID_SECONDS)
    return _authority(builder, public_key, path_length=1).sign(key, SHA256())


def intermediate_certificate(
    host: str,
    public_key: EllipticCurvePublicKey,
    root: x509.Certificate,
    root_key: EllipticCurvePrivateKey,
    at: int,
) -> x509.Certificate:
    """The authority of one host, valid 5 years; it can neither delegate nor name any other host."""
    _check_period(root, at, INTERMEDIATE_VALID_SECONDS)
    builder = _certificate(
        _name(f"Quanlian authority {host}"), root.subject, public_key, at, at + INTERMEDIATE_VALID_SECONDS
    )
    builder = _authority(builder, public_key, path_length=0)
    builder = builder.add_extension(name_constraints(host), critical=True)
    return _issued_by(builder, root_key)


def name_constraints(host: str) -> x509.NameConstraints:
    """Exactly `<host>.quanlian` as URI and as DNS name, no IP address and no subject."""
    name = host_name(host)
    return x509.NameConstraints(
        permitted_subtrees=[x509.UniformResourceIdentifier(name), x509.DNSName(name)],
        excluded_subtrees=[
            x509.IPAddress(ip_network("0.0.0.0/0")),
            x509.IPAddress(ip_network("::/0")),
            x509.DirectoryName(_NO_SUBJECT),
        ],
    )


def tls_certificate(
    identity: Identity,
    public_key: EllipticCurvePublicKey,
    issuer: x509.Certificate,
    issuer_key: EllipticCurvePrivateKey,
    at: int,
    valid_seconds: int,
) -> x509.Certificate:
    """A TLS leaf. A node or server carries its DNS name and may serve; a platform or operator only calls."""
    _check_period(issuer, at, valid_seconds)
    serves = identity.role in _SERVING_ROLES
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if serves:
        names.append(x509.DNSName(identity.dns_name))
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
    builder = _leaf(names, public_key, issuer, at - TLS_BACKDATE_SECONDS, at + valid_seconds)
    builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return _issued_by(builder, issuer_key)


def signer_certificate(
    identity: Identity,
    public_key: Ed25519PublicKey,
    issuer: x509.Certificate,
    issuer_key: EllipticCurvePrivateKey,
    at: int,
    valid_seconds: int,
) -> x509.Certificate:
    """Vouches for an Ed25519 key of the issuer's host, for one purpose, from `at` on."""
    _check_period(issuer, at, valid_seconds)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
    builder = _leaf(names, public_key, issuer, at, at + valid_seconds)
    return _issued_by(builder, issuer_key)


def _leaf(
    names: list[x509.GeneralName],
    public_key: EllipticCurvePublicKey | Ed25519PublicKey,
    issuer: x509.Certificate,
    not_before: int,
    not_after: int,
) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(**_BARE_KEY_USAGE | {"digital_signature": True})
    return (
        _certificate(_NO_SUBJECT, issuer.subject, public_key, not_before, not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
    )


def _authority(
    builder: x509.CertificateBuilder, public_key: EllipticCurvePublicKey, path_length: int
) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(**_BARE_KEY_USAGE | {"key_cert_sign": True, "crl_sign": True})
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _check_period(issuer: x509.Certificate, at: int, valid_seconds: int) -> None:
    """Raises InvalidInput for what would outlive the authority that it hangs from."""
    not_after = at + valid_seconds
    if valid_seconds <= 0:
        raise InvalidInput(
            "a certificate must be valid for some time",
            place="valid seconds",
            remedy="give a positive number",
        )
    issuer_name = issuer.subject.rfc4514_string()
    if at < issuer.not_valid_before_utc.timestamp():
        raise InvalidInput(
            f"{issuer_name} is valid only from {issuer.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC",
            place="valid from",
            remedy="check this machine's clock",
        )
    if not_after > issuer.not_valid_after_utc.timestamp():
        raise InvalidInput(
            f"{issuer_name} ends at {issuer.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC, before what it should issue",
            place="valid seconds",
            remedy="choose a shorter validity, or enrol the authority anew",
        )


def _issued_by(builder: x509.CertificateBuilder, key: EllipticCurvePrivateKey) -> x509.Certificate:
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    return builder.add_extension(identifier, critical=False).sign(key, SHA256())


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: EllipticCurvePublicKey | Ed25519PublicKey,
    not_before: int,
    not_after: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(not_before, UTC))
        .not_valid_after(datetime.fromtimestamp(not_after, UTC))
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
