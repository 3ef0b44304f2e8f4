"""Evidence as files: what `quanlian verify` reads, beside the statement that it proves."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from quanlian.errors import ConfigurationError, InvalidInput
from reporting.agreement_file import AgreementFile, AgreementSignature
from reporting.signed_file import SignedFile

REDEMPTIONS, TERMS, AGREEMENTS = "redemptions", "terms", "agreements"
DENY_LIST = "deny-list.json"
_DOCUMENTS = (b'{"kind":"terms"', b'{"kind":"agreement"', b'{"kind":"deny-list"')


def write_evidence(out: Path, name: str, root_pem: bytes, lines: Iterable[bytes]) -> tuple[Path, int]:
    """Write the lines of one region and window; returns the file of redemptions, and how many there are.

    Terms and agreements go to folders of their own, each document as it was signed, the newest deny-list beside them;
    the rest stays one file in its order, the root certificate put before it. Raises ConfigurationError where something
    cannot be written.
    """
    path, count = out / f"{REDEMPTIONS}-{name}.jsonl", 0
    unfinished = path.with_name(f".{path.name}.part")
    try:
        for folder in (TERMS, AGREEMENTS):
            (out / folder).mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            root = {"kind": "root", "pem": root_pem.decode("ascii")}
            file.write(json.dumps(root, separators=(",", ":")).encode() + b"\n")
            for line in lines:
                if line.startswith(_DOCUMENTS):
                    _write_document(out, json.loads(line))
                    continue
                count += line.startswith(b'{"kind":"redemption"')
                file.write(line + b"\n")
        unfinished.replace(path)
    except OSError as error:
        raise ConfigurationError(
            f"cannot be written ({error.strerror})", place=str(out), remedy="name a folder that you may write to"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return path, count


def _write_document(out: Path, line: dict[str, Any]) -> None:
    """Raises InvalidInput for a line that holds no document."""
    try:
        if line["kind"] == "deny-list":
            _signed("deny-list", line, b64decode(line["body"], validate=True)).write(out / DENY_LIST)
            return
        document = b64decode(line["document"], validate=True)
        if line["kind"] == "agreement":
            name = f"{_plain(line['number'])}-v{int(line['version'])}.toml"
            signatures = [AgreementSignature.read(each) for each in line["signatures"]]
            AgreementFile(document, signatures).write(out / AGREEMENTS / name)
            return
        signed = _signed("terms", line, document)
        name = f"{_plain(line['campaign'])}-{signed.signature.hex()[:8]}.toml"
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"holds no document ({error})", place=f"evidence, {line.get('kind')}") from error
    signed.write(out / TERMS / name)


def _signed(kind: str, line: dict[str, Any], document: bytes) -> SignedFile:
    return SignedFile(kind, document, bytes.fromhex(line["key_id"]), b64decode(line["signature"], validate=True))


def _plain(name: str) -> str:
    """A name that came over the network, fit to be a file's."""
    if not name or any(not (each.isalnum() or each in "-_") for each in name):
        raise InvalidInput(f"{name!r} cannot name a file", place="evidence")
    return name
