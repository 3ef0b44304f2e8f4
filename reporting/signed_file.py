"""A signed document on disk: the very bytes that were signed, and beside them `<name>.sig` with who signed."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import NamedTuple

from pki import files
from quanlian.errors import InvalidInput


class SignedFile(NamedTuple):
    """`kind` is what the signature is for (protocol.md, Conventions); `chain` is PEM, empty where others carry it."""

    kind: str
    body: bytes
    key_id: bytes
    signature: bytes
    chain: bytes = b""

    def write(self, path: Path) -> None:
        """Both files, each whole or not at all. Raises ConfigurationError where they cannot be written."""
        proof = {
            "kind": self.kind,
            "key_id": self.key_id.hex(),
            "signature": b64encode(self.signature).decode("ascii"),
            "chain": self.chain.decode("ascii"),
        }
        files.write_atomically(path, self.body)
        files.write_atomically(signature_path(path), json.dumps(proof, indent=1).encode() + b"\n")


def signature_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sig")


def read_signed(path: Path) -> SignedFile:
    """Raises ConfigurationError for a file that cannot be read, InvalidInput for a signature file that is none."""
    body = files.read(path, "name the file that was written beside its .sig")
    proof_path = signature_path(path)
    content = files.read(proof_path, "keep the .sig beside the document")
    try:
        proof = json.loads(content)
        return SignedFile(
            str(proof["kind"]),
            body,
            bytes.fromhex(proof["key_id"]),
            b64decode(proof["signature"], validate=True),
            str(proof["chain"]).encode("ascii"),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"is no signature ({error})", place=str(proof_path), remedy="fetch it again") from error
