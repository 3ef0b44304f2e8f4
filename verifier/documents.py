"""The signed documents that a verification rests on: terms by hash, agreements by number and version."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pki.trust import Keyring
from quanlian.agreements import Agreement, agreement_hash, parse_agreement
from quanlian.errors import InvalidInput, QuanlianError
from quanlian.terms import Terms
from quanlian.terms_parsing import parse_terms
from reporting.signed_file import read_signed


class Documents(NamedTuple):
    """Terms by hash; agreements by `number vN`, as redemptions name them, and their hashes in hex."""

    terms: dict[bytes, Terms]
    agreements: dict[str, Agreement]
    agreement_hashes: dict[str, str]


class Unsound(NamedTuple):
    """A document that does not count, and why."""

    place: str
    why: str


def read_documents(terms: Path, agreements: Path, keyring: Keyring) -> tuple[Documents, list[Unsound]]:
    """Every sound document of both folders; the others are passed over and named."""
    found, unsound = Documents({}, {}, {}), []
    for path in _documents(terms):
        try:
            parsed = _terms(path, keyring)
            found.terms[parsed.terms_hash] = parsed
        except QuanlianError as error:
            unsound.append(Unsound(f"terms {path.name}", str(error)))
    for path in _documents(agreements):
        try:
            content = path.read_bytes()
            agreement = parse_agreement(content, path.name)
            name = f"{agreement.number} v{agreement.version}"
            found.agreements[name] = agreement
            found.agreement_hashes[name] = agreement_hash(content).hex()
        except QuanlianError as error:
            unsound.append(Unsound(f"agreement {path.name}", str(error)))
    return found, unsound


def _terms(path: Path, keyring: Keyring) -> Terms:
    """Terms that their issuer signed with its key for terms."""
    signed = read_signed(path)
    if signed.chain:
        keyring.add(signed.chain)
    key = keyring.verify(signed.key_id, "terms", signed.body, signed.signature)
    parsed = parse_terms(signed.body, path.name)
    if (key.owner, key.purpose) != (parsed.issuer, "terms"):
        raise InvalidInput(f"is signed by {key.owner}'s key for {key.purpose}", place=path.name)
    return parsed


def _documents(folder: Path) -> list[Path]:
    """The documents of a folder by name. Raises InvalidInput where there is no such folder."""
    if not folder.is_dir():
        raise InvalidInput("is no folder", place=str(folder), remedy="name the folder that export-evidence wrote")
    return sorted(folder.glob("*.toml"))
