"""The signed, numbered list of certificates and signing keys that are bad, each with the time from which it
is.

The clearinghouse publishes it and every party holds it. A newer list replaces the older one whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from pki.identity import CLEARINGHOUSE
from quanlian.errors import InvalidInput, TrustError
from quanlian.signing import KEY_ID_BYTES, Verifier

KIND = "deny-list"
SIGNING_PURPOSE = "message"
_PLACE = "deny-list"
_MAX_INTEGER = 2**63 - 1


class CertificateId(NamedTuple):
    """A certificate by its issuer (SHA-256 of the issuer's DER certificate, hex) and its serial number."""

    issuer_fingerprint: str
    serial: int


@dataclass(frozen=True)
class DenyList:
    """`certificates` and signing `keys` (by key id) with the UTC second from which each is bad.

    `number` grows by at least one with every list; `issued_at` is UTC seconds.
    """

    number: int = 0
    issued_at: int = 0
    certificates: Mapping[CertificateId, int] = field(default_factory=lambda: MappingProxyType({}))
    keys: Mapping[bytes, int] = field(default_factory=lambda: MappingProxyType({}))

    def payload(self) -> bytes:
        """The JSON bytes to be signed with kind `deny-list`; the same list always gives the same bytes."""
        certificates = [
            {"issuer": each.issuer_fingerprint, "serial": f"{each.serial:x}", "bad_from": bad_from}
            for each, bad_from in sorted(self.certificates.items())
        ]
        keys = [{"key_id": each.hex(), "bad_from": bad_from} for each, bad_from in sorted(self.keys.items())]
        document = {
            "number": self.number,
            "issued_at": self.issued_at,
            "certificates": certificates,
            "keys": keys,
        }
        return json.dumps(document, indent=1).encode("ascii")

    @classmethod
    def parse(cls, payload: bytes) -> DenyList:
        """Raises InvalidInput, naming the entry, for anything but what `payload()` writes."""
        try:
            document = json.loads(payload)
        except (ValueError, RecursionError) as error:
            raise _malformed(f"not JSON: {error}", _PLACE) from error
        _exact_fields(document, {"number", "issued_at", "certificates", "keys"}, _PLACE)
        return cls(
            number=_integer(document["number"], f"{_PLACE}.number"),
            issued_at=_integer(document["issued_at"], f"{_PLACE}.issued_at"),
            certificates=_entries(document["certificates"], "certificates", {"issuer", "serial"}, _certificate_id),
            keys=_entries(document["keys"], "keys", {"key_id"}, _key_id),
        )

    def check_may_replace(self, known: DenyList) -> None:
        """Raises TrustError when this list is older than `known`, or a different one with the same number."""
        if self.number < known.number:
            raise TrustError(f"deny-list {self.number} is older than the known one, {known.number} — fetch the newest")
        if self.number == known.number and self != known:
            raise TrustError(f"two different deny-lists carry number {self.number} — ask the clearinghouse's operator")


def load_denylist(
    payload: bytes, signature: bytes, key_id: bytes, verifier: Verifier, known: DenyList | None = None
) -> DenyList:
    """The list in `payload`, signed by the clearinghouse's message key while that was valid.

    Raises UnknownKey, BadSignature, TrustError (another's key, a key not valid or revoked, a list older
    than `known`) or InvalidInput. A revoked key signs no list at all: its thief could backdate one.
    """
    key = verifier.verify(key_id, KIND, payload, signature)
    if (key.owner, key.purpose) != (CLEARINGHOUSE, SIGNING_PURPOSE):
        raise TrustError(
            f"deny-list signed by the {key.purpose} key of {key.owner} — only the {SIGNING_PURPOSE} key of "
            f"{CLEARINGHOUSE} may sign one"
        )
    denylist = DenyList.parse(payload)
    if key.revoked_from is not None:
        raise TrustError(f"deny-list {denylist.number} signed by revoked key {key_id.hex()} — fetch the newest")
    if not key.not_before <= denylist.issued_at < key.not_after:
        raise TrustError(f"key {key_id.hex()} was not valid when deny-list {denylist.number} was issued")
    if known is not None:
        denylist.check_may_replace(known)
    return denylist


def _entries(rows: Any, name: str, names: set[str], identify: Any) -> Mapping[Any, int]:
    if not isinstance(rows, list):
        raise _malformed("not a list", f"{_PLACE}.{name}")
    entries: dict[Any, int] = {}
    for index, row in enumerate(rows):
        place = f"{_PLACE}.{name}[{index}]"
        _exact_fields(row, names | {"bad_from"}, place)
        try:
            identifier = identify(row)
        except (ValueError, TypeError) as error:
            raise _malformed(str(error), place) from error
        if identifier in entries:
            raise _malformed("listed twice", place)
        entries[identifier] = _integer(row["bad_from"], f"{place}.bad_from")
    return MappingProxyType(entries)


def _certificate_id(row: Mapping[str, Any]) -> CertificateId:
    fingerprint = bytes.fromhex(row["issuer"])
    if len(fingerprint) != 32:
        raise ValueError("issuer is not a SHA-256 fingerprint")
    return CertificateId(fingerprint.hex(), int(row["serial"], 16))


def _key_id(row: Mapping[str, Any]) -> bytes:
    key_id = bytes.fromhex(row["key_id"])
    if len(key_id) != KEY_ID_BYTES:
        raise ValueError(f"key_id is not {KEY_ID_BYTES} bytes")
    return key_id


def _integer(value: Any, place: str) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_INTEGER:
        raise _malformed("not a whole number of at least 0", place)
    return value


def _exact_fields(value: Any, names: set[str], place: str) -> None:
    if not isinstance(value, dict) or set(value) != names:
        raise _malformed(f"must have exactly the fields {', '.join(sorted(names))}", place)


def _malformed(what: str, place: str) -> InvalidInput:
    return InvalidInput(what, place=place, remedy="fetch the list again from the clearinghouse")
