"""The signing keys of the evidence, certified once, fit to be sent to another process."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pki import suites
from quanlian.errors import BadSignature, UnknownKey
from quanlian.refusals import CHINA
from quanlian.signing import SigningKey
from quanlian.vouchers import key_was_revoked, key_was_valid


class Keys:
    """A `Verifier` of keys whose chains were judged before."""

    def __init__(self, keys: Iterable[SigningKey]) -> None:
        self._keys = {each.key_id: each for each in keys}

    def key(self, key_id: bytes) -> SigningKey:
        """Raises UnknownKey."""
        try:
            return self._keys[key_id]
        except KeyError:
            raise UnknownKey(f"no known signing key has the id {key_id.hex()}") from None

    def verify(self, key_id: bytes, kind: str, payload: bytes, signature: bytes) -> SigningKey:
        """The key that signed, for the caller to judge. Raises UnknownKey or BadSignature."""
        key = self.key(key_id)
        suites.verify_payload(key.public_key, kind, payload, signature)
        return key


def fault_at(key: SigningKey, at: int) -> str:
    """Why what a key signed at `at` (UTC seconds) does not count; empty where it does."""
    if not key_was_valid(key, at):
        span = f"from {_written(key.not_before)} until {_written(key.not_after)}"
        return f"its key {key.key_id.hex()} was valid {span}, and it is of {_written(at)}"
    if key.revoked_from is not None and key_was_revoked(key, at):
        return f"its key {key.key_id.hex()} is revoked from {_written(key.revoked_from)}, and it is of {_written(at)}"
    return ""


def _written(at: int) -> str:
    """A time of Asia/Shanghai, or its number where no calendar has it."""
    try:
        return datetime.fromtimestamp(at, CHINA).isoformat()
    except (ValueError, OverflowError, OSError):
        return str(at)


def require_valid(key: SigningKey, at: int) -> None:
    """Raises BadSignature by `fault_at`."""
    if fault := fault_at(key, at):
        raise BadSignature(fault)
