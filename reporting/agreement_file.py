"""A funding agreement on disk: the file that was signed, and beside it `<name>.sig` with everybody's signature."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pki import files
from quanlian.errors import InvalidInput
from reporting.signed_file import signature_path

KIND = "agreement"


class AgreementSignature(NamedTuple):
    """`signer` is a region's code or `clearinghouse`; `signed_at` in UTC seconds, as the clearinghouse took it."""

    signer: str
    key_id: bytes
    signature: bytes
    signed_at: int

    def data(self) -> dict[str, Any]:
        """As JSON carries it."""
        text = b64encode(self.signature).decode("ascii")
        return {**self._asdict(), "key_id": self.key_id.hex(), "signature": text}

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> AgreementSignature:
        """Raises ValueError, KeyError or TypeError for what is none."""
        signature = b64decode(data["signature"], validate=True)
        return cls(str(data["signer"]), bytes.fromhex(data["key_id"]), signature, int(data["signed_at"]))


class AgreementFile(NamedTuple):
    """The very bytes that were signed, and who signed them."""

    document: bytes
    signatures: Sequence[AgreementSignature]

    def write(self, path: Path) -> None:
        """Both files, each whole or not at all. Raises ConfigurationError where they cannot be written."""
        proof = {"kind": KIND, "signatures": [each.data() for each in self.signatures]}
        files.write_atomically(path, self.document)
        files.write_atomically(signature_path(path), json.dumps(proof, indent=1).encode() + b"\n")


def read_agreement_file(path: Path) -> AgreementFile:
    """Raises ConfigurationError for a file that cannot be read, InvalidInput for signatures that are none."""
    document = files.read(path, "name the file that was written beside its .sig")
    proof_path = signature_path(path)
    content = files.read(proof_path, "keep the .sig beside the document")
    try:
        proof = json.loads(content)
        if proof["kind"] != KIND:
            raise ValueError(f"it is of a {proof['kind']}")
        return AgreementFile(document, [AgreementSignature.read(each) for each in proof["signatures"]])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"holds no signatures ({error})", place=str(proof_path), remedy="fetch it again") from error
