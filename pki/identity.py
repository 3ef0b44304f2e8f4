"""Who a certificate speaks for. Name constraints bind only hosts, so the region is the host."""

from __future__ import annotations

import re
from typing import NamedTuple

from cryptography import x509

from quanlian.errors import TrustError

CLEARINGHOUSE = "clearinghouse"
TRUST_DOMAIN_SUFFIX = ".quanlian"

_SLUG = r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?"
_URI = re.compile(rf"spiffe://([0-9]{{6}}|clearinghouse)\.quanlian/([a-z]+)(?:/({_SLUG}))?")
_REGIONAL_ROLES = {"node": False, "platform": True, "operator": True, "signer": True}
_CLEARINGHOUSE_ROLES = {"server": False, "operator": True, "signer": True}


class Identity(NamedTuple):
    """A party of the network: `spiffe://<host>.quanlian/<role>[/<name>]`.

    `host` is an adcode or `clearinghouse`; `role` one of `node`, `server`, `platform`, `operator`, `signer`;
    `name` is that of the platform or operator, the purpose of a signer, and empty for a node or server.
    """

    host: str
    role: str
    name: str = ""

    @property
    def uri(self) -> str:
        path = f"{self.role}/{self.name}" if self.name else self.role
        return f"spiffe://{host_name(self.host)}/{path}"

    @property
    def dns_name(self) -> str:
        """The only DNS name that a certificate of this host may carry."""
        return host_name(self.host)

    @classmethod
    def parse(cls, uri: str) -> Identity:
        """The identity that `uri` names, or TrustError when no party of the network can have that name."""
        match = _URI.fullmatch(uri)
        if match is None:
            raise TrustError(
                f"{uri!r} names no party of the network — "
                "expected spiffe://<adcode>.quanlian/<role>[/<name>] or spiffe://clearinghouse.quanlian/…"
            )
        host, role, name = match[1], match[2], match[3] or ""
        roles = _CLEARINGHOUSE_ROLES if host == CLEARINGHOUSE else _REGIONAL_ROLES
        if role not in roles:
            raise TrustError(f"{uri!r}: {host} has no role {role!r} — it may have {', '.join(roles)}")
        if bool(name) is not roles[role]:
            raise TrustError(f"{uri!r}: role {role!r} {'needs a' if roles[role] else 'takes no'} name")
        return cls(host, role, name)


def host_name(host: str) -> str:
    """`330100` → `330100.quanlian`: SPIFFE trust domain and DNS name alike."""
    return host + TRUST_DOMAIN_SUFFIX


def identity_of(certificate: x509.Certificate) -> Identity:
    """The identity in the certificate's one URI. Raises TrustError for none, or more than one."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise TrustError(f"a certificate without readable names: {error}") from error
    if len(uris) != 1:
        raise TrustError(f"a certificate must carry exactly one SPIFFE URI, this one carries {len(uris)}: {uris}")
    return Identity.parse(uris[0])
