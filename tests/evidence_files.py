"""A window's statement and evidence as files, from parties whose test keys real authorities have certified."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from local_parties import AT, CLEARINGHOUSE, HANGZHOU, KEYRING, SHANGHAI, LocalClearinghouse

from clearinghouse import schema
from clearinghouse.evidence import evidence
from clearinghouse.statements import signed_statement
from pki.authority import CERTIFICATE, RootAuthority
from quanlian.signing import SigningKey
from reporting.evidence_files import write_evidence
from reporting.signed_file import SignedFile
from reporting.statement_files import write_statement
from reporting.statement_options import Format

BEGINS, YEAR_SECONDS = AT - 86_400, 365 * 86_400


class Exported(NamedTuple):
    """Where the files are that `quanlian verify` reads."""

    statement: Path
    redemptions: list[Path]
    terms: Path
    agreements: Path
    fingerprint: str


class Authorities:
    """A root whose regions vouch for the keys of `local_parties`: for a year, or until the time given of one."""

    def __init__(self, folder: Path, until: Mapping[tuple[str, str], int] | None = None) -> None:
        self._until = until or {}
        root = RootAuthority.create(folder / "root", AT - 86_400)
        self.fingerprint, self.root_pem = root.fingerprint, (folder / "root" / CERTIFICATE).read_bytes()
        self.chains: dict[tuple[str, str], bytes] = {}
        self._authorities = {
            owner: root.enrol(folder / owner, owner, AT - 86_400) for owner in (HANGZHOU, SHANGHAI, CLEARINGHOUSE)
        }
        for key in KEYRING.values():
            self._certify(key)

    def _certify(self, key: SigningKey) -> bytes:
        until = self._until.get((key.owner, key.purpose), BEGINS + YEAR_SECONDS)
        chain = self.certified(key.owner, key.purpose, key.public_key, until)
        self.chains[(key.owner, key.purpose)] = chain
        return chain

    def certified(self, owner: str, purpose: str, public_key: bytes, until: int) -> bytes:
        """The chain of a key that is good from the day before the story on."""
        return self._authorities[owner].issue_signer(purpose, public_key, BEGINS, until - BEGINS)

    def admit(self, clearinghouse: LocalClearinghouse, key: SigningKey) -> None:
        """Vouch for one more key, and enrol it."""
        row = {"owner": key.owner, "key_id": key.key_id, "chain": self._certify(key)}
        with clearinghouse.database.transaction() as transaction:
            transaction.upsert(schema.signing_chain, [row])

    def introduce(self, clearinghouse: LocalClearinghouse) -> None:
        """Enrol the regions' keys as the operator would."""
        rows = [
            {"owner": key.owner, "key_id": key.key_id, "chain": self.chains[(key.owner, key.purpose)]}
            for key in KEYRING.values()
            if key.owner != CLEARINGHOUSE
        ]
        with clearinghouse.database.transaction() as transaction:
            transaction.upsert(schema.signing_chain, rows)

    def export(
        self, clearinghouse: LocalClearinghouse, out: Path, region: str, windows: list[int], month: str = ""
    ) -> Exported:
        """A region's statement of a window (or of a month) and the evidence of its windows."""
        with clearinghouse.database.snapshot() as transaction:
            message = signed_statement(transaction, region, windows[0], month)
        signed = SignedFile(
            "statement", message.body, message.key_id, message.signature, self.chains[(CLEARINGHOUSE, "statement")]
        )
        (statement,) = write_statement(signed, out, [Format.JSON])
        files = []
        for window in windows:
            lines = evidence(clearinghouse.database, clearinghouse.statement_signer, region, window)
            path, _ = write_evidence(out, f"{region}-window-{window}", self.root_pem, chain.from_iterable(lines))
            files.append(path)
        return Exported(statement, files, out / "terms", out / "agreements", self.fingerprint)
