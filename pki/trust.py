"""What is believed, and why. Every certificate is judged by these rules, the intermediate before the leaf:

1. The chain is a leaf and its intermediate; the root may follow, if it is ours.
2. The root signed the intermediate, and the intermediate the leaf.
3. The intermediate is an authority that cannot delegate (`pathlen:0`); the leaf is none.
4. The leaf carries exactly one SPIFFE URI, no subject, and no other name but its host's own DNS name.
5. The intermediate is permitted exactly that host, as URI and as DNS name, so no region can mint another.
6. For a peer: all three are valid now, none is on the deny-list, and its role is one that speaks TLS.
   For a signing key: an Ed25519 key with the role `signer`; validity and revocation are values that the
   caller judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from pki import suites
from pki.denylist import CertificateId, DenyList
from pki.identity import TRUST_DOMAIN_SUFFIX, Identity, identity_of
from pki.profiles import name_constraints
from quanlian.errors import TrustError, UnknownKey
from quanlian.signing import SigningKey

CACHED_CHAINS = 4096
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class VerifiedChain(NamedTuple):
    """A chain that leads to the root; all of it is valid in `[not_before, not_after)`."""

    identity: Identity
    leaf: x509.Certificate
    certificates: tuple[CertificateId, ...]
    not_before: int
    not_after: int


class CertifiedKey(NamedTuple):
    """A signing key before revocation, with the certificates whose revocation would be the key's."""

    key: SigningKey
    certificates: tuple[CertificateId, ...]


class Trust:
    """The root that everything hangs from, and the deny-list of what no longer does."""

    def __init__(self, root_certificate_pem: bytes, expected_fingerprint: str | None = None) -> None:
        """Raises TrustError for no readable root, or not the one with `expected_fingerprint`."""
        try:
            self._root = x509.load_pem_x509_certificate(root_certificate_pem)
            self._root.verify_directly_issued_by(self._root)
            _check_authority(self._root, path_length=1)
        except (*_UNREADABLE, InvalidSignature) as error:
            raise TrustError(f"不是根证书 · no root certificate: {_reason(error)}") from error
        actual = fingerprint(self._root)
        if expected_fingerprint is not None and _bare_hex(expected_fingerprint) != actual:
            raise TrustError(
                f"根证书的指纹为 {actual}，应为 {expected_fingerprint} · "
                f"the root has fingerprint {actual}, expected {expected_fingerprint} — "
                "请勿使用，向网络运营方索取正确的根证书 · "
                "do not use it; get the right root certificate from the network's operator"
            )
        self._denylist = DenyList()
        self._verified_pem = lru_cache(maxsize=CACHED_CHAINS)(self._verify_pem)
        self._host_of = lru_cache(maxsize=CACHED_CHAINS)(self._verify_authority)

    @property
    def denylist(self) -> DenyList:
        return self._denylist

    def deny(self, denylist: DenyList) -> None:
        """Replaces the deny-list for peers and keys alike. Raises TrustError for an older one."""
        denylist.check_may_replace(self._denylist)
        self._denylist = denylist

    def peer(self, chain: Sequence[x509.Certificate], at: int) -> Identity:
        """Who the TLS peer is at `at` (UTC seconds). Raises TrustError by the rules above."""
        return self._admit(self._verify(chain), at)

    def peer_from_pem(self, chain_pem: bytes, at: int) -> Identity:
        """As `peer`, for every call: the chain is verified once, its time and revocation each time."""
        return self._admit(self._verified_pem(chain_pem), at)

    def signing_key(self, chain_pem: bytes) -> SigningKey:
        """The key that the chain vouches for, valid now or not. Raises TrustError by the rules above."""
        return self.judged(self.certified_key(chain_pem))

    def certified_key(self, chain_pem: bytes) -> CertifiedKey:
        """As `signing_key`, but without looking at the deny-list."""
        chain = self._verify_pem(chain_pem)
        if chain.identity.role != "signer":
            raise TrustError(f"{chain.identity.uri} is no signing key — expected …/signer/<purpose>")
        public_key = chain.leaf.public_key()
        if not isinstance(public_key, Ed25519PublicKey):
            raise TrustError(f"the key of {chain.identity.uri} is not Ed25519")
        raw = public_key.public_bytes_raw()
        suites.check_public_key(raw)
        owner, purpose = chain.identity.host, chain.identity.name
        key = SigningKey(suites.key_id(raw), owner, purpose, raw, chain.not_before, chain.not_after)
        return CertifiedKey(key, chain.certificates)

    def judged(self, certified: CertifiedKey) -> SigningKey:
        """The key with `revoked_from` as the deny-list has it now, for it, certificate or authority."""
        key, certificates = certified
        denylist = self._denylist
        if not (denylist.certificates or denylist.keys):
            return key
        bad_from = [denylist.certificates[each] for each in certificates if each in denylist.certificates]
        if key.key_id in denylist.keys:
            bad_from.append(denylist.keys[key.key_id])
        return key._replace(revoked_from=min(bad_from)) if bad_from else key

    def _admit(self, chain: VerifiedChain, at: int) -> Identity:
        identity = chain.identity
        if at < chain.not_before:
            raise TrustError(f"the certificate of {identity.uri} is valid only from {_utc(chain.not_before)}")
        if at >= chain.not_after:
            raise TrustError(
                f"the certificate of {identity.uri} expired at {_utc(chain.not_after)} — renew it and connect again"
            )
        denylist = self._denylist
        for each in chain.certificates:
            bad_from = denylist.certificates.get(each)
            if bad_from is not None and bad_from <= at:
                raise TrustError(
                    f"the certificate of {identity.uri} is revoked from {_utc(bad_from)} "
                    f"(deny-list {denylist.number}, serial {each.serial:x})"
                )
        if identity.role == "signer":
            raise TrustError(f"{identity.uri} is a signing key and may not connect")
        return identity

    def _verify_pem(self, chain_pem: bytes) -> VerifiedChain:
        try:
            chain = x509.load_pem_x509_certificates(chain_pem)
        except _UNREADABLE as error:
            raise TrustError(f"the certificate chain cannot be read: {error}") from error
        return self._verify(chain)

    def _verify(self, chain: Sequence[x509.Certificate]) -> VerifiedChain:
        # 1
        if len(chain) not in (2, 3) or (len(chain) == 3 and chain[2] != self._root):
            raise TrustError(f"a chain is a leaf and its intermediate, this one has {len(chain)} certificates")
        leaf, intermediate = chain[0], chain[1]
        try:
            # 2, 3, 5 for the intermediate, which many leaves share
            permitted = self._host_of(intermediate)
            # 2
            leaf.verify_directly_issued_by(intermediate)
            # 3
            _check_leaf(leaf)
            # 4
            identity = identity_of(leaf)
            _check_names(leaf, identity)
        except (*_UNREADABLE, InvalidSignature) as error:
            raise TrustError(f"a certificate that does not lead to the trusted root: {_reason(error)}") from error
        if permitted != identity.host:
            raise TrustError(f"the authority of {permitted} cannot vouch for {identity.uri}")
        certificates = (leaf, intermediate, self._root)
        return VerifiedChain(
            identity,
            leaf,
            (certificate_id(leaf, intermediate), certificate_id(intermediate, self._root)),
            max(int(each.not_valid_before_utc.timestamp()) for each in certificates),
            min(int(each.not_valid_after_utc.timestamp()) for each in certificates),
        )

    def _verify_authority(self, intermediate: x509.Certificate) -> str:
        """The host that an intermediate of this root may vouch for."""
        intermediate.verify_directly_issued_by(self._root)
        _check_authority(intermediate, path_length=0)
        return host_of_authority(intermediate)


class Keyring:
    """The signing keys that their regions' authorities vouched for, by key id: the network's `Verifier`."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._known: dict[bytes, CertifiedKey] = {}
        self._chains: dict[bytes, bytes] = {}

    def add(self, chain_pem: bytes) -> SigningKey:
        """Adds the key of a certificate chain; a renewed certificate widens the validity of a key already
        known.

        Raises TrustError by the rules of this module, and when the key is already certified for another
        owner or purpose, so that no region can take over another's key.
        """
        new = self._trust.certified_key(chain_pem)
        known = self._known.get(new.key.key_id)
        if known is not None:
            new = _renewed(known, new)
        self._known[new.key.key_id] = new
        self._chains[new.key.key_id] = chain_pem
        return self.key(new.key.key_id)

    def chain(self, key_id: bytes) -> bytes:
        """The PEM chain, added last, that vouches for a key. Raises UnknownKey."""
        self.key(key_id)
        return self._chains[key_id]

    @property
    def denylist(self) -> DenyList:
        return self._trust.denylist

    def deny(self, denylist: DenyList) -> None:
        """Replaces the deny-list, for the keys and for every peer of the same trust. Raises TrustError."""
        self._trust.deny(denylist)

    def examine(self, chain_pem: bytes) -> SigningKey:
        """The key of a chain that leads to the root, without adding it. Raises TrustError."""
        return self._trust.signing_key(chain_pem)

    def key(self, key_id: bytes) -> SigningKey:
        """The key as the deny-list has it now. Raises UnknownKey."""
        try:
            known = self._known[key_id]
        except KeyError:
            raise UnknownKey(
                f"没有编号为 {key_id.hex()} 的签名密钥 · no known signing key has the id {key_id.hex()}"
            ) from None
        return self._trust.judged(known)

    def keys(self) -> list[SigningKey]:
        """All keys, in the order in which they became known."""
        return [self.key(each) for each in list(self._known)]

    def verify(self, key_id: bytes, kind: str, payload: bytes, signature: bytes) -> SigningKey:
        """The key that signed, for the caller to judge. Raises UnknownKey or BadSignature."""
        key = self.key(key_id)
        suites.verify_payload(key.public_key, kind, payload, signature)
        return key


def _renewed(known: CertifiedKey, new: CertifiedKey) -> CertifiedKey:
    if (known.key.owner, known.key.purpose, known.key.public_key) != (
        new.key.owner,
        new.key.purpose,
        new.key.public_key,
    ):
        raise TrustError(
            f"key {new.key.key_id.hex()} is the {known.key.purpose} key of {known.key.owner} and cannot "
            f"also be the {new.key.purpose} key of {new.key.owner} — make a new key"
        )
    widened = known.key._replace(
        not_before=min(known.key.not_before, new.key.not_before),
        not_after=max(known.key.not_after, new.key.not_after),
    )
    return CertifiedKey(widened, tuple(dict.fromkeys(known.certificates + new.certificates)))


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER certificate, lower-case hex."""
    return certificate.fingerprint(SHA256()).hex()


def certificate_id(certificate: x509.Certificate, issuer: x509.Certificate) -> CertificateId:
    """How a deny-list names `certificate`."""
    return CertificateId(fingerprint(issuer), certificate.serial_number)


def host_of_authority(intermediate: x509.Certificate) -> str:
    """The one host that an intermediate may vouch for. Raises TrustError for any other constraint."""
    try:
        extension = intermediate.extensions.get_extension_for_class(x509.NameConstraints)
    except (x509.ExtensionNotFound, ValueError) as error:
        raise TrustError(f"an intermediate without name constraints: {error}") from error
    permitted = extension.value.permitted_subtrees or []
    hosts = [each.value.removesuffix(TRUST_DOMAIN_SUFFIX) for each in permitted if isinstance(each, x509.DNSName)]
    if len(hosts) != 1 or not extension.critical or extension.value != name_constraints(hosts[0]):
        raise TrustError("an intermediate must be permitted exactly one host, as URI and as DNS name, critically")
    return hosts[0]


def _check_authority(certificate: x509.Certificate, path_length: int) -> None:
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    if not constraints.ca or constraints.path_length != path_length or not usage.key_cert_sign:
        raise TrustError(f"{certificate.subject.rfc4514_string()} is no authority with pathlen {path_length}")
    _check_critical(certificate)


def _check_leaf(leaf: x509.Certificate) -> None:
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    if constraints.ca or usage.key_cert_sign or not usage.digital_signature:
        raise TrustError(f"certificate {leaf.serial_number:x} may not stand at the end of a chain")
    _check_critical(leaf)


def _check_critical(certificate: x509.Certificate) -> None:
    for extension in certificate.extensions:
        if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            raise TrustError(f"a certificate with the unknown critical extension {extension.oid.dotted_string}")


def _check_names(leaf: x509.Certificate, identity: Identity) -> None:
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    allowed = {x509.UniformResourceIdentifier(identity.uri), x509.DNSName(identity.dns_name)}
    foreign = [str(each.value) for each in names if each not in allowed]
    if leaf.subject.rdns:
        foreign.append(leaf.subject.rfc4514_string())
    if foreign:
        raise TrustError(f"the certificate of {identity.uri} also claims to be {', '.join(foreign)}")


def _reason(error: Exception) -> str:
    return "its signature is wrong" if isinstance(error, InvalidSignature) else str(error)


def _bare_hex(text: str) -> str:
    return text.replace(":", "").replace(" ", "").lower()


def _utc(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
