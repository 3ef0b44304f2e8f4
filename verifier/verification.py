"""A statement against its evidence: signatures, every redemption, sums and nets, seal (money.md, Verification)."""

from __future__ import annotations

import hashlib
import json
import os
from base64 import b64decode
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pki.identity import CLEARINGHOUSE
from pki.trust import Keyring, Trust
from quanlian.errors import ConfigurationError, InvalidInput, QuanlianError
from quanlian.statement_evidence import SEAL_KIND, seal_payload
from quanlian.statements import Statement, Sums, statement_to_json
from reporting.signed_file import SignedFile, read_signed
from verifier.documents import Documents, read_documents
from verifier.portion import Basis, Judged, judge, line_place
from verifier.redemption import Finding, Grounds

PORTION = 4_000
Progress = Callable[[int], None]


@dataclass(slots=True)
class Verdict:
    """What was looked at, and whatever does not hold."""

    statement: str
    redemptions: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.findings


def verify(
    statement: Path,
    redemptions: Sequence[Path],
    terms: Path,
    agreements: Path,
    fingerprint: str,
    progress: Progress = lambda lines: None,
) -> Verdict:
    """Recompute a statement. Raises TrustError for another root than `fingerprint`, ConfigurationError or InvalidInput
    for files that are missing or are none of these kinds; everything else is a finding.
    """
    signed = read_signed(statement)
    heads = [_Head.read(path) for path in redemptions]
    root_pem = heads[0].root_pem
    keyring = Keyring(Trust(root_pem, fingerprint))
    verdict = Verdict(statement.name)
    chains = []
    for chain in dict.fromkeys([signed.chain, *(chain for head in heads for chain in head.chains)]):
        try:
            keyring.add(chain)
            chains.append(chain)
        except QuanlianError as error:
            verdict.findings.append(Finding("certificate chain", "trust", str(error)))
    told = _statement_data(signed, keyring, verdict)
    documents, unsound = read_documents(terms, agreements, keyring)
    verdict.findings += [Finding(each.place, "document", each.why) for each in unsound]
    basis = Basis(told["region"], _windows(told), root_pem, chains, documents)
    _check_heads(heads, basis, verdict)
    judged = _judge_files(heads, basis, keyring, verdict, progress)
    verdict.findings += judged.findings
    _check_duplicates(judged, verdict)
    _compare(told, judged.sums, verdict)
    return verdict


@dataclass(slots=True)
class _Head:
    """What stands before the first hand-over of a file."""

    path: Path
    root_pem: bytes
    region: str
    window: int
    chains: list[bytes]

    @classmethod
    def read(cls, path: Path) -> _Head:
        """Raises ConfigurationError or InvalidInput for what is no evidence."""
        root, region, window, chains = b"", "", 0, []
        for content in _lines(path):
            if content.startswith((b'{"kind":"hand-over"', b'{"kind":"redemption"', b'{"kind":"seal"')):
                break
            try:
                line = json.loads(content)
                match line["kind"]:
                    case "root":
                        root = line["pem"].encode("ascii")
                    case "chain":
                        chains.append(line["pem"].encode("ascii"))
                    case "evidence":
                        region, window = line["region"], line["window"]
            except (ValueError, KeyError, TypeError, AttributeError):
                break
        if not (root and region and window):
            raise InvalidInput(
                "does not begin with root certificate and evidence",
                place=str(path),
                remedy="name a file that export-evidence wrote",
            )
        return cls(path, root, region, window, chains)


def _statement_data(signed: SignedFile, keyring: Keyring, verdict: Verdict) -> dict[str, Any]:
    """The statement as it stands, its signature judged."""
    try:
        key = keyring.verify(signed.key_id, "statement", signed.body, signed.signature)
        if (key.owner, key.purpose) != (CLEARINGHOUSE, "statement"):
            verdict.findings.append(Finding("statement", "signature", f"{key.owner}'s key for {key.purpose}"))
    except QuanlianError as error:
        verdict.findings.append(Finding("statement", "signature", str(error)))
    try:
        data = json.loads(signed.body)
        for name in ("window", "opened_at", "closed_at", "opening_fen", "lodged_fen", "paid_out_fen"):
            if type(data[name]) is not int:
                raise TypeError(f"{name} is {data[name]!r}")
        if not (isinstance(data["lines"], list) and isinstance(data["funders"], list) and data["region"]):
            raise TypeError("it has no lines")
        data["windows"] = [int(each) for each in data["windows"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"not a statement ({error})", place=verdict.statement) from error
    return dict(data)


def _windows(told: Mapping[str, Any]) -> dict[int, tuple[int, int]]:
    """When each window was open, as far as the statement says it."""
    span = (told["opened_at"], told["closed_at"]) if len(told["windows"]) == 1 else (0, 0)
    return dict.fromkeys(told["windows"], span)


def _check_heads(heads: Sequence[_Head], basis: Basis, verdict: Verdict) -> None:
    """One file for each window of the statement, all of its region."""
    given = sorted(head.window for head in heads)
    if given != sorted(basis.windows):
        verdict.findings.append(Finding("redemptions", "windows", str(given), str(sorted(basis.windows))))
    for head in heads:
        if head.region != basis.region:
            verdict.findings.append(Finding(f"redemptions {head.path.name}", "region", head.region, basis.region))


def _judge_files(
    heads: Sequence[_Head], basis: Basis, keyring: Keyring, verdict: Verdict, progress: Progress
) -> Judged:
    whole, seen_ids, seen_vouchers = Judged(), [], []
    for judged in _results(_portions(heads, keyring, basis.documents, verdict), basis):
        whole.add(judged)
        seen_ids += judged.ids
        seen_vouchers += judged.vouchers
        verdict.redemptions += len(judged.ids)
        progress(len(judged.ids))
    whole.ids, whole.vouchers = seen_ids, seen_vouchers
    return whole


def _results(portions: Iterator[list[bytes]], basis: Basis) -> Iterator[Judged]:
    """The portions judged in order: a small file here, a large one by as many processes as there are cores."""
    first = next(portions, [])
    second = next(portions, None)
    if second is None:
        yield judge(first, basis.grounds())
        return
    workers = os.cpu_count() or 1
    waiting: deque[Future[Judged]] = deque()
    with ProcessPoolExecutor(workers, get_context("spawn"), _prepare, (basis,)) as pool:
        waiting.append(pool.submit(_judge, first))
        waiting.append(pool.submit(_judge, second))
        for portion in portions:
            waiting.append(pool.submit(_judge, portion))
            if len(waiting) > workers * 2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


_grounds: list[Grounds] = []
"""Of a worker process: what its portions are judged by."""


def _prepare(basis: Basis) -> None:
    _grounds.append(basis.grounds())


def _judge(lines: list[bytes]) -> Judged:
    return judge(lines, _grounds[0])


def _portions(
    heads: Sequence[_Head], keyring: Keyring, documents: Documents, verdict: Verdict
) -> Iterator[list[bytes]]:
    """Hand-overs and redemptions of all files; a hand-over is repeated where its redemptions go on in the next."""
    for head in heads:
        place = f"redemptions {head.path.name}"
        seal, count, sealed = hashlib.sha256(), 0, False
        portion: list[bytes] = []
        hand_over: list[bytes] = []
        for content in _lines(head.path):
            if content.startswith((b'{"kind":"root"', b'{"kind":"chain"', b'{"kind":"evidence"')):
                continue
            if content.startswith(b'{"kind":"seal"'):
                _check_seal(content, head, count, seal.digest(), keyring, documents, verdict)
                sealed = True
                continue
            seal.update(content + b"\n")
            count += 1
            if content.startswith(b'{"kind":"hand-over"'):
                hand_over = [content]
            portion.append(content)
            if len(portion) >= PORTION:
                yield portion
                portion = list(hand_over)
        if not sealed:
            verdict.findings.append(Finding(place, "seal", "missing"))
        if portion:
            yield portion


def _check_seal(
    content: bytes,
    head: _Head,
    count: int,
    sha256: bytes,
    keyring: Keyring,
    documents: Documents,
    verdict: Verdict,
) -> None:
    """The clearinghouse signed just these lines, and these agreements."""
    place = f"redemptions {head.path.name}"
    try:
        seal = json.loads(content)
        payload = seal_payload(head.region, head.window, count, sha256, seal["agreements"])
        signature = b64decode(seal["signature"], validate=True)
        key = keyring.verify(bytes.fromhex(seal["key_id"]), SEAL_KIND, payload, signature)
        if (key.owner, key.purpose) != (CLEARINGHOUSE, "statement"):
            verdict.findings.append(Finding(place, "seal", f"{key.owner}'s key for {key.purpose}"))
        for name, found in documents.agreement_hashes.items():
            sealed = seal["agreements"].get(name, "none")
            if found != sealed:
                verdict.findings.append(Finding(f"agreement {name}", "hash", found, sealed))
    except (QuanlianError, ValueError, KeyError, TypeError) as error:
        verdict.findings.append(Finding(place, "seal", f"does not fit its {count} lines: {error}"))


def _check_duplicates(judged: Judged, verdict: Verdict) -> None:
    """Each redemption stands once, and each voucher was captured once."""
    for what, seen in (("redemption", judged.ids), ("voucher", judged.vouchers)):
        if len(set(seen)) == len(seen):
            continue
        known: set[Any] = set()
        for each in seen:
            if each in known:
                name = each.hex() if isinstance(each, bytes) else f"{each.issuer}/{each.pack_id.hex()}/{each[2]}"
                verdict.findings.append(Finding(f"{what} {name}", "stands there", "more than once", "once"))
            known.add(each)


def _compare(told: Mapping[str, Any], sums: Sums, verdict: Verdict) -> None:
    """The statement's lines, funders and totals against those of the redemptions."""
    expected = json.loads(
        statement_to_json(
            Statement(
                told["window"],
                told["region"],
                told["opened_at"],
                told["closed_at"],
                told["opening_fen"],
                sums.lines,
                {funder: fen for funder, fen in sums.funders.items() if fen},
                told["lodged_fen"],
                told["paid_out_fen"],
                told.get("month", ""),
                tuple(told["windows"]) if told.get("month") else (),
            )
        )
    )
    for group, fields in (("lines", ("role", "counterpart", "campaign")), ("funders", ("account", "counterpart"))):
        said, must = (_by_key(data[group], fields) for data in (told, expected))
        if len(said) != len(told[group]):
            verdict.findings.append(Finding("statement", group, "one stands there twice"))
        for key in sorted(said.keys() | must.keys()):
            place = line_place(key)
            if key not in said or key not in must:
                found, wanted = ("there", "not there") if key in said else ("not there", "there")
                verdict.findings.append(Finding(place, "line", found, wanted))
            for name in sorted((said.get(key, {}).keys() | must.get(key, {}).keys()) - set(fields)):
                found, wanted = (side.get(key, {}).get(name, 0) for side in (said, must))
                if found != wanted:
                    verdict.findings.append(Finding(place, name, str(found), str(wanted)))
    for name in sorted((told.keys() | expected.keys()) - {"lines", "funders"}):
        if told.get(name) != expected.get(name):
            verdict.findings.append(Finding("statement", name, str(told.get(name)), str(expected.get(name))))


def _by_key(rows: Sequence[Any], fields: Sequence[str]) -> dict[tuple[str, ...], dict[str, Any]]:
    return {tuple(str(row.get(name)) for name in fields): row for row in rows if isinstance(row, dict)}


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            for content in file:
                yield content.rstrip(b"\n")
    except OSError as error:
        raise ConfigurationError(
            f"cannot be read ({error.strerror})", place=str(path), remedy="name a file that export-evidence wrote"
        ) from error
