"""A statement against its evidence: signatures, every redemption, sums and nets, seal (money.md, Verification)."""

from __future__ import annotations

import gc
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, islice
from multiprocessing import forkserver, get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from chassis.service import COLLECT_AFTER
from pki.denylist import load_denylist
from pki.identity import CLEARINGHOUSE
from pki.trust import Keyring, Trust
from quanlian.errors import BadSignature, InvalidInput, QuanlianError, TrustError, UnknownKey
from quanlian.statements import Statement, Sums, statement_to_json
from reporting.signed_file import SignedFile, read_signed
from verifier import handed
from verifier.campaigns import read_campaigns
from verifier.documents import read_documents
from verifier.eligibility import ORDER_BYTES
from verifier.findings import Finding
from verifier.keys import Keys, require_valid
from verifier.portion import DIGEST_BYTES, NUMBER_BYTES, WINDOW_BYTES, Basis, Judged, judge, line_place
from verifier.redemption import ID_BYTES, VOUCHER_BYTES, Grounds
from verifier.redemptions_file import Portion, RedemptionsFile
from verifier.repeats import Records
from verifier.tally import add_sums

WORTH_PROCESSES = 32 << 20
"""Bytes of evidence from which starting other processes costs less than it saves."""

MOST_FINDINGS = 10_000
"""Findings that are told; a file that is wrong in every line has the others counted."""

Progress = Callable[[int], None]


@dataclass(slots=True)
class Verdict:
    """What was looked at, and whatever does not hold; `more` findings beyond those were only counted."""

    statement: str
    redemptions: int = 0
    findings: list[Finding] = field(default_factory=list)
    more: int = 0

    @property
    def holds(self) -> bool:
        return not self.findings

    def add(self, findings: Sequence[Finding]) -> None:
        room = max(0, MOST_FINDINGS - len(self.findings))
        self.findings += findings[:room]
        self.more += len(findings[room:])


def verify(
    statement: Path,
    redemptions: Sequence[Path],
    terms: Path,
    agreements: Path,
    fingerprint: str,
    progress: Progress = lambda lines: None,
    denylist: Path | None = None,
) -> Verdict:
    """Recompute a statement, believing no key that the signed `denylist` calls bad.

    Raises TrustError for another root than `fingerprint` or a deny-list that does not count, ConfigurationError or
    InvalidInput for files that are missing or are none of these kinds; everything else is a finding.
    """
    signed = read_signed(statement)
    files = [RedemptionsFile.open(path) for path in redemptions]
    processes = _processes() if sum(file.size for file in files) >= WORTH_PROCESSES else None
    keyring = Keyring(Trust(files[0].root_pem, fingerprint))
    verdict = Verdict(statement.name)
    verdict.add(list(chain.from_iterable(file.unsealed() for file in files)))
    _certify([signed.chain, *(each for file in files for each in file.chains)], keyring, verdict)
    if denylist is not None:
        _deny(read_signed(denylist), keyring)
    told = _statement_data(signed, keyring, verdict)
    campaigns, findings = read_campaigns(chain.from_iterable(file.changes for file in files), keyring)
    verdict.add(findings)
    documents, findings = read_documents(terms, agreements, campaigns, keyring)
    sealed = {name for file in files for name in file.sealed_agreements()}
    is_sealed = all(file.seal for file in files)
    verdict.add(documents.note_missing(sealed, is_sealed))
    verdict.add(findings)
    if is_sealed:
        verdict.add(documents.count_only(sealed))
    basis = Basis(told["region"], _windows(told), Keys(keyring.keys()), documents)
    _check_files(files, basis, verdict)
    sums = _judge_files(files, basis, keyring, processes, verdict, progress)
    _compare(told, sums, verdict)
    return verdict


def _certify(chains: Sequence[bytes], keyring: Keyring, verdict: Verdict) -> None:
    """Take the keys of the chains that lead to the root, each once."""
    for chain_pem in dict.fromkeys(chains):
        try:
            keyring.add(chain_pem)
        except QuanlianError as error:
            verdict.add([Finding("certificate chain", "trust", str(error))])


def _deny(signed: SignedFile, keyring: Keyring) -> None:
    """Take a deny-list, whose key its own chain or the evidence vouches for. Raises TrustError or InvalidInput."""
    try:
        if signed.chain:
            keyring.add(signed.chain)
        keyring.deny(load_denylist(signed.body, signed.signature, signed.key_id, keyring))
    except (UnknownKey, BadSignature) as error:
        raise TrustError(f"the deny-list does not count: {error}") from error


def _statement_data(signed: SignedFile, keyring: Keyring, verdict: Verdict) -> dict[str, Any]:
    """The statement as it stands, its signature judged."""
    try:
        data = json.loads(signed.body)
        for name in ("window", "opened_at", "closed_at", "opening_fen", "lodged_fen", "paid_out_fen", "prefunded_fen"):
            if type(data[name]) is not int:
                raise TypeError(f"{name} is {data[name]!r}")
        if not (isinstance(data["lines"], list) and isinstance(data["funders"], list) and data["region"]):
            raise TypeError("it has no lines")
        data["windows"] = [int(each) for each in data["windows"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"not a statement ({error})", place=verdict.statement) from error
    try:
        key = keyring.verify(signed.key_id, "statement", signed.body, signed.signature)
        if (key.owner, key.purpose) != (CLEARINGHOUSE, "statement"):
            raise BadSignature(f"{key.owner}'s key for {key.purpose}")
        require_valid(key, data["closed_at"])
    except QuanlianError as error:
        verdict.add([Finding("statement", "signature", str(error))])
    return dict(data)


def _windows(told: Mapping[str, Any]) -> dict[int, tuple[int, int]]:
    """When each window was open: of a month's all that is told is when the first opened and the last closed."""
    return dict.fromkeys(told["windows"], (told["opened_at"], told["closed_at"]))


def _check_files(files: Sequence[RedemptionsFile], basis: Basis, verdict: Verdict) -> None:
    """One file for each window of the statement, all of its region."""
    given = sorted(file.window for file in files)
    if given != sorted(basis.windows):
        verdict.add([Finding("redemptions", "windows", str(given), str(sorted(basis.windows)))])
    for file in files:
        verdict.add(file.faults)
        if file.region != basis.region:
            place = f"redemptions {file.path.name}"
            verdict.add([Finding(place, "region", file.region, basis.region, file.path.name)])


def _judge_files(
    files: Sequence[RedemptionsFile],
    basis: Basis,
    keyring: Keyring,
    processes: BaseContext | None,
    verdict: Verdict,
    progress: Progress,
) -> Sums:
    sums, seals = Sums({}, {}), list[Finding]()
    ids, uses = Records(WINDOW_BYTES + ID_BYTES), Records(VOUCHER_BYTES + ID_BYTES, VOUCHER_BYTES)
    told = Records(ID_BYTES + NUMBER_BYTES + DIGEST_BYTES, ID_BYTES + NUMBER_BYTES)
    heads = Records(handed.RECORD_BYTES, handed.NAME_BYTES)
    orders = Records(ORDER_BYTES + ID_BYTES, ORDER_BYTES)
    portions = chain.from_iterable(file.portions(keyring, basis.documents, seals) for file in files)
    for judged in _judged_apart(portions, basis, processes) if processes else _judged_here(portions, basis.grounds()):
        add_sums(sums, judged.sums)
        ids.add(judged.ids)
        uses.add(judged.uses)
        told.add(judged.told)
        heads.add(judged.heads)
        orders.add(judged.orders)
        verdict.add(judged.findings)
        verdict.redemptions += judged.redemptions
        progress(judged.redemptions)
    verdict.add(seals)
    verdict.add([_repeated(f"redemption {each[WINDOW_BYTES:].hex()}") for each in ids.repeated()])
    verdict.add([_told_twice(each) for each in told.differing()])
    verdict.add([_repeated(f"voucher {_voucher_name(each)}") for each in uses.differing()])
    verdict.add([_signed_twice(each) for each in heads.differing()])
    verdict.add([_discounted_twice(each) for each in orders.rivals()])
    return sums


def _judged_here(portions: Iterator[Portion], grounds: Grounds) -> Iterator[Judged]:
    return (judge(portion, grounds) for portion in portions)


def _judged_apart(portions: Iterator[Portion], basis: Basis, processes: BaseContext) -> Iterator[Judged]:
    """In order, by as many processes as there are cores."""
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers, processes, _prepare, (basis,)) as pool:
        waiting: deque[Future[Judged]] = deque(pool.submit(_judge, each) for each in islice(portions, workers * 2))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(_judge, each) for each in islice(portions, 1))


def _processes() -> BaseContext:
    """Processes that have this program's modules when they begin, where the system can fork.

    What they are forked from loads them from now on, while this process reads the documents.
    """
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__])
    forkserver.ensure_running()
    return context


_grounds: list[Grounds] = []
"""Of a worker process: what its portions are judged by."""


def _prepare(basis: Basis) -> None:
    gc.set_threshold(*COLLECT_AFTER)
    _grounds.append(basis.grounds())


def _judge(portion: Portion) -> Judged:
    return judge(portion, _grounds[0])


def _repeated(place: str) -> Finding:
    return Finding(place, "stands there", "more than once", "once")


def _told_twice(record: bytes) -> Finding:
    number = int.from_bytes(record[ID_BYTES:], "big") + 1
    return Finding(f"redemption {record[:ID_BYTES].hex()}", f"posting {number}", "told differently", "as in each file")


def _signed_twice(record: bytes) -> Finding:
    return Finding(f"hand-over {handed.hand_over_name(record)}", "head", "told differently", "as it is told elsewhere")


def _discounted_twice(record: bytes) -> Finding:
    place = f"redemption {record[ORDER_BYTES:].hex()}"
    return Finding(place, "order_id", "an order with another voucher", "one public voucher an order")


def _voucher_name(record: bytes) -> str:
    return f"{record[:6].decode()}/{record[6:-1].hex()}/{record[-1]}"


def _compare(told: Mapping[str, Any], sums: Sums, verdict: Verdict) -> None:
    """The statement's lines, funders and totals against those of the redemptions."""
    month = told["month"] if type(told.get("month")) is str else ""
    expected = json.loads(
        statement_to_json(
            Statement(
                told["window"],
                told["region"],
                told["opened_at"],
                told["closed_at"],
                told["opening_fen"],
                sums.lines,
                sums.funders,
                lodged_fen=told["lodged_fen"],
                paid_out_fen=told["paid_out_fen"],
                prefunded_fen=told["prefunded_fen"],
                month=month,
                windows=tuple(told["windows"]) if month else (),
            )
        )
    )
    for group, fields in (("lines", ("role", "counterpart", "campaign")), ("funders", ("account", "counterpart"))):
        said, must = (_by_key(data[group], fields) for data in (told, expected))
        if len(said) != len(told[group]):
            verdict.add([Finding("statement", group, "one stands there twice")])
        for key in sorted(said.keys() | must.keys()):
            place = line_place(key)
            if key in said and key in must:
                verdict.add(_differing(place, said[key], must[key]))
                continue
            found, wanted = ("there", "not there") if key in said else ("not there", "there")
            verdict.add([Finding(place, "line", found, wanted)])
            figures = (said.get(key) or must[key]).keys() - set(fields)
            sides = ({name: side[key][name] if key in side else 0 for name in figures} for side in (said, must))
            verdict.add(_differing(place, *sides))
    totals = ({name: side[name] for name in side.keys() - {"lines", "funders"}} for side in (told, expected))
    verdict.add(_differing("statement", *totals))


def _differing(place: str, said: Mapping[str, Any], must: Mapping[str, Any]) -> list[Finding]:
    """Fields that one side lacks, or of another type or value: `false` is no 0."""
    texts = [{name: json.dumps(value, ensure_ascii=False) for name, value in side.items()} for side in (said, must)]
    both = ((name, *(side.get(name, "not there") for side in texts)) for name in sorted(said.keys() | must.keys()))
    return [Finding(place, name, found, wanted) for name, found, wanted in both if found != wanted]


def _by_key(rows: Sequence[Any], fields: Sequence[str]) -> dict[tuple[str, ...], dict[str, Any]]:
    return {tuple(str(row.get(name)) for name in fields): row for row in rows if isinstance(row, dict)}
