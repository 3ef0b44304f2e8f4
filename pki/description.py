"""A certificate in words, for people and programs to read. Describing is not believing: see `trust.py`."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pki import suites
from pki.trust import fingerprint


def describe(certificate: x509.Certificate) -> dict[str, str]:
    """What the certificate says, without judging it. Raises ValueError when it cannot be parsed."""
    public_key = certificate.public_key()
    description = {
        "kind": _kind(certificate),
        "identity": _names(certificate, x509.UniformResourceIdentifier),
        "dns_names": _names(certificate, x509.DNSName),
        "permitted": _permitted(certificate),
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "valid_from": f"{certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
        "valid_to": f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        "key": _algorithm(public_key),
        "key_id": _signing_key_id(public_key),
        "serial": f"{certificate.serial_number:x}",
        "fingerprint": fingerprint(certificate),
    }
    return {name: value for name, value in description.items() if value}


def _kind(certificate: x509.Certificate) -> str:
    if certificate.issuer == certificate.subject:
        return "root"
    if _permitted(certificate):
        return "intermediate"
    return "signer" if isinstance(certificate.public_key(), Ed25519PublicKey) else "tls"


def _names(certificate: x509.Certificate, kind: type[x509.DNSName | x509.UniformResourceIdentifier]) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    return ", ".join(each.value for each in names if isinstance(each, kind))


def _permitted(certificate: x509.Certificate) -> str:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return ""
    return ", ".join(dict.fromkeys(str(each.value) for each in constraints.permitted_subtrees or []))


def _algorithm(public_key: object) -> str:
    if isinstance(public_key, Ed25519PublicKey):
        return "Ed25519"
    if isinstance(public_key, EllipticCurvePublicKey):
        return f"ECDSA {public_key.curve.name}"
    return type(public_key).__name__


def _signing_key_id(public_key: object) -> str:
    return suites.key_id(public_key.public_bytes_raw()).hex() if isinstance(public_key, Ed25519PublicKey) else ""
