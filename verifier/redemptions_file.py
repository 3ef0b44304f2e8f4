"""A file of evidence, read a block at a time: what stands before its lines, the lines, and the seal over them."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pki.identity import CLEARINGHOUSE
from pki.trust import Keyring
from quanlian.errors import BadSignature, ConfigurationError, InvalidInput, QuanlianError
from quanlian.statement_evidence import SEAL_KIND, VERSION, SealedAgreement, seal_payload
from verifier.documents import Documents, compare_seal
from verifier.findings import Finding
from verifier.keys import require_valid

BLOCK_BYTES = 4 << 20
PARTS, LEAST_BYTES = 16, 512 << 10
"""Towards the end of a file a block is one of so many parts of what is left, at least so large; it ends at a hand-over,
for beginning within one means reading it again.
"""
LONGEST_SEAL = 4 << 20
"""A seal names each agreement in some hundred bytes."""

_HEAD = (b'{"kind":"root"', b'{"kind":"chain"', b'{"kind":"campaign-change"', b'{"kind":"evidence"')
_HEAD_FIELDS = {
    "root": {"kind", "pem"},
    "chain": {"kind", "pem"},
    "campaign-change": {"kind", "body", "key_id", "signature"},
    "evidence": {"kind", "version", "region", "window"},
}
_HAND_OVER, _SEAL = b'{"kind":"hand-over"', b'{"kind":"seal"'


class Portion(NamedTuple):
    """Some lines of a window's file, fit to be judged by themselves; `first` is the number of the first.

    `hand_over` is the line, with its number, that tells the reserved money of the redemptions they begin with.
    """

    file: str
    window: int
    first: int
    content: bytes
    hand_over: tuple[int, bytes] | None


@dataclass(slots=True)
class RedemptionsFile:
    """What stands before the first hand-over of a file, and where its lines and its seal are."""

    path: Path
    root_pem: bytes
    region: str
    window: int
    chains: list[bytes]
    changes: list[dict[str, Any]]
    faults: list[Finding]
    """What stands in the head that does not belong there."""
    body: tuple[int, int] = (0, 0)
    first: int = 0
    seal: bytes = b""

    @classmethod
    def open(cls, path: Path) -> RedemptionsFile:
        """Raises ConfigurationError or InvalidInput for what is no evidence."""
        try:
            with path.open("rb") as file:
                head: dict[str, Any] = {"chains": [], "changes": [], "faults": [], "told": {}}
                first, begin = 1, 0
                while (line := file.readline()).startswith(_HEAD):
                    _take_head(line, head)
                    head["faults"] += _head_faults(line, head, path.name, first)
                    first, begin = first + 1, file.tell()
                end, seal = _seal(file, begin)
        except OSError as error:
            raise _unreadable(path, error) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _no_evidence(path) from error
        if not (head.get("root") and head.get("region") and head.get("window")):
            raise _no_evidence(path)
        opened = cls(
            path, head["root"], head["region"], head["window"], head["chains"], head["changes"], head["faults"]
        )
        opened.body, opened.first, opened.seal = (begin, end), first, seal
        return opened

    @property
    def size(self) -> int:
        """Bytes of hand-overs and redemptions."""
        return self.body[1] - self.body[0]

    def sealed_agreements(self) -> dict[str, SealedAgreement]:
        """What the seal says of agreements, sound or not; nothing where it cannot be read."""
        try:
            agreements = json.loads(self.seal)["agreements"]
            return {name: SealedAgreement(each["hash"], each["signed_at"]) for name, each in agreements.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}

    def portions(self, keyring: Keyring, documents: Documents, findings: list[Finding]) -> Iterator[Portion]:
        """The lines; once all were given, `findings` has what is wrong with the seal over them."""
        number, digest, hand_over, before = self.first, hashlib.sha256(), None, (self.first, b"")
        for block in self._blocks():
            digest.update(block)
            if block.startswith(_HAND_OVER):
                hand_over = None
            else:
                hand_over = _last_hand_over(*before) or hand_over
            yield Portion(self.path.name, self.window, number, block, hand_over)
            before = (number, block)
            number += block.count(b"\n")
        findings += self._seal_findings(number - self.first, digest.digest(), keyring, documents)

    def _blocks(self) -> Iterator[bytes]:
        """Whole lines, some megabytes at a time, up to the last hand-over where there is one: its vouchers' redemptions
        follow it. Blocks towards the end are smaller, so that of several processes none is left alone with a large one.
        """
        try:
            with self.path.open("rb") as file:
                at, end = self.body
                while at < end:
                    file.seek(at)
                    block = _lines(file, end - at)
                    if not block:
                        raise InvalidInput("became shorter while it was read", place=str(self.path))
                    at += len(block)
                    yield block if block.endswith(b"\n") else block + b"\n"
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def unsealed(self) -> Iterator[Finding]:
        """A file without its last line says nothing of what it lacks, nor since when an agreement counts."""
        if not self.seal:
            yield Finding(f"redemptions {self.path.name}", "seal", "missing", "the last line", self.path.name)

    def _seal_findings(self, count: int, sha256: bytes, keyring: Keyring, documents: Documents) -> Iterator[Finding]:
        """The clearinghouse signed just these lines, and these agreements."""
        place, name, at = f"redemptions {self.path.name}", self.path.name, self.first + count
        if not self.seal:
            return
        try:
            seal, sealed = _read(self.seal), self.sealed_agreements()
            payload = seal_payload(self.region, self.window, count, sha256, seal["at"], sealed)
            signature = b64decode(seal["signature"], validate=True)
            key = keyring.verify(bytes.fromhex(seal["key_id"]), SEAL_KIND, payload, signature)
            if (key.owner, key.purpose) != (CLEARINGHOUSE, "statement"):
                raise BadSignature(f"is {key.owner}'s key for {key.purpose}")
            require_valid(key, seal["at"])
        except (QuanlianError, ValueError, KeyError, TypeError, AttributeError) as error:
            yield Finding(place, "seal", f"does not fit its {count} lines: {error}", file=name, line=at)
        else:
            must = {**json.loads(payload), "kind": "seal", "key_id": key.key_id.hex()}
            must["signature"] = b64encode(signature).decode("ascii")
            del must["region"], must["window"]
            yield from (each._replace(place=place, file=name, line=at) for each in _differences("seal", seal, must))
            yield from compare_seal(sealed, documents)


def _read(content: bytes) -> dict[str, Any]:
    """A line with each name once. Raises ValueError."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(read := dict(pairs)) != len(pairs):
            raise ValueError("a name stands there twice")
        return read

    return dict(json.loads(content, object_pairs_hook=once))


def _head_faults(content: bytes, head: Mapping[str, Any], file: str, number: int) -> Iterator[Finding]:
    """Whatever of a line before the evidence is not as this version writes it, and where it first stands if twice."""
    line, place = _read(content), f"redemptions {file}"
    kind = line["kind"]
    for name in sorted(line.keys() ^ _HEAD_FIELDS[kind]):
        found, expected = ("there", "not there") if name in line else ("not there", "there")
        yield Finding(place, f"{kind} {name}", found, expected, file, number)
    if kind == "evidence":
        must = {"kind": kind, "version": VERSION, "region": head["region"], "window": head["window"]}
        told = {name: line.get(name) for name in must}
        yield from (each._replace(place=place, file=file, line=number) for each in _differences(kind, told, must))
    first = {"root": 1, "evidence": 2}.get(kind) or head["told"].setdefault(_told_by(line), number)
    if number != first:
        yield Finding(place, kind, f"on line {number}", f"once, on line {first}", file, number)


def _told_by(line: Mapping[str, Any]) -> tuple[str, str]:
    """What makes two lines the same: a chain's certificates or a change's signed bytes, however they are laid out."""
    content = str(line.get("pem", line.get("body", "")))
    return line["kind"], "".join(content.split())


def _differences(what: str, told: Mapping[str, Any], must: Mapping[str, Any]) -> Iterator[Finding]:
    """Each field that is not written as it must be: `true` is not 1."""
    for name in sorted(told.keys() | must.keys()):
        found, expected = (json.dumps(side[name], sort_keys=True) if name in side else "" for side in (told, must))
        if found != expected:
            yield Finding("", f"{what} {name}", found, expected)


def _take_head(content: bytes, head: dict[str, Any]) -> None:
    line = _read(content)
    match line["kind"]:
        case "root":
            head["root"] = line["pem"].encode("ascii")
        case "chain":
            head["chains"].append(line["pem"].encode("ascii"))
        case "campaign-change":
            head["changes"].append(line)
        case _:
            head["region"], head["window"] = str(line["region"]), line["window"]
            if type(line["window"]) is not int or not 0 < line["window"] < 1 << 63:
                raise ValueError("no number of a window")


def _seal(file: Any, begin: int) -> tuple[int, bytes]:
    """Where the lines end, and the last line if it is a seal."""
    end = file.seek(0, 2)
    start = max(begin, end - LONGEST_SEAL)
    file.seek(start)
    tail = file.read().rstrip(b"\n")
    last = tail.rfind(b"\n") + 1
    if not tail.startswith(_SEAL, last):
        return max(begin, end), b""
    return start + last, tail[last:]


def _lines(file: BinaryIO, left: int) -> bytes:
    """The next whole lines of the `left` bytes; nothing where the file ends before them."""
    size = min(BLOCK_BYTES, max(LEAST_BYTES, left // PARTS))
    while True:
        block = file.read(min(size, left))
        if len(block) < min(size, left):
            return b""
        if size >= left:
            return block
        end = block.rfind(b"\n" + _HAND_OVER) + 1
        if end or (size >= BLOCK_BYTES and (end := block.rfind(b"\n") + 1)):
            return block[:end]
        file.seek(-len(block), 1)
        size = max(BLOCK_BYTES, size * 2)


def _last_hand_over(number: int, block: bytes) -> tuple[int, bytes] | None:
    at = block.rfind(b"\n" + _HAND_OVER) + 1
    if not block.startswith(_HAND_OVER, at):
        return None
    return number + block.count(b"\n", 0, at), block[at : block.index(b"\n", at)]


def _unreadable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"cannot be read ({error.strerror})", place=str(path), remedy="name a file that export-evidence wrote"
    )


def _no_evidence(path: Path) -> InvalidInput:
    return InvalidInput(
        "does not begin with root certificate and evidence",
        place=str(path),
        remedy="name a file that export-evidence wrote",
    )
