"""Settlement: how long a window of many redemptions takes to close, to state and to verify.

41 regions (the cities of the Yangtze River Delta), 50 campaigns. Every voucher is signed, handed over, redeemed in
another region and, some, refunded, by the clearinghouse's own code in batches over a real database on disk. Then:

- close_s: close the window and calculate net positions and signed statements for all regions,
- statements_s: write every region's statement as signed JSON, workbook and page,
- verify_s: recompute as many redemptions from exported files, as a third party does; each redemption is in two
  regions' statements, and all statements are verified, so this is half of the whole time.

    python benchmarks/settlement.py --sizes 10000 100000 --json settlement.json

It asserts nothing about speed, but every statement must verify. QUANLIAN_BENCH_DATABASE names a PostgreSQL server;
SQLite otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from chassis.console import progress
from chassis.database import Database
from clearinghouse.custody import read_hand_over
from clearinghouse.evidence import evidence
from clearinghouse.redeeming import Redeem
from clearinghouse.service import ClearinghouseService
from clearinghouse.statements import signed_statement
from custodian.decisions import Answered, Received
from pki.authority import CERTIFICATE, RootAuthority
from pki.keystore import FileKeyStore
from pki.trust import Keyring, Trust
from quanlian import merkle, vouchers, wire
from quanlian.apportionment import Reservation, reserve
from quanlian.custody import VoucherState
from quanlian.errors import InvalidInput
from quanlian.regions import region
from quanlian.signing import Signer, signing_bytes
from quanlian.terms import Terms
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import clearing_operator_pb2, custody_pb2, redemption_pb2, signed_pb2
from quanlian.vouchers import SUITE_ED25519_BATCH, Token, Voucher, VoucherKey
from reporting.evidence_files import write_evidence
from reporting.signed_file import SignedFile
from reporting.statement_files import write_statement
from reporting.statement_options import Format
from verifier.verification import verify

CAMPAIGNS, PACK, BATCH, HAND_OVER_PACKS, REFUND_IN = 50, 10, 1000, 200, 33
SEED, DAY = 2020, 86_400
CLEARINGHOUSE = "clearinghouse"

TERMS = """
[campaign]
id = "bench-{number}"
title_zh = "测试"
title_en = "Benchmark"
issuer = "{issuer}"
fiscal_year = {year}
budget_document = "none"
starts_at = {year}-01-01T00:00:00+08:00
ends_at = {next_year}-02-01T00:00:00+08:00
roaming = "at-issue"
regions = ["*"]
channels = ["shop"]
hold_seconds = 900
refund_policy = "pro-rata"
[funding]
shortfall_rule = "cascade"
cascade = "borne"
[[funder]]
name = "province"
title_zh = "省"
level = "province"
weight = 4
budget = 9000000000.00
[[funder]]
name = "city"
title_zh = "市"
level = "city"
weight = 6
budget = 9000000000.00
[[voucher_type]]
id = "ten"
title_zh = "满40元减10元"
title_en = "10 off 40"
kind = "threshold"
categories = ["retail"]
face = 10.00
minimum_spend = 40.00
[[pack]]
id = "ten"
title_zh = "十张"
title_en = "Ten"
vouchers = ["ten", "ten", "ten", "ten", "ten", "ten", "ten", "ten", "ten", "ten"]
valid_days = 7
[[round]]
id = "r1"
pack = "ten"
mode = "first-come"
opens_at = {year}-01-01T00:00:00+08:00
closes_at = {next_year}-01-01T00:00:00+08:00
quota = 1000000
per_person = 1000000
"""

AGREEMENT = b"""
number = "BENCH"
version = 1
title = { zh = "x", en = "x" }
effective_from = 2020-01-01T00:00:00+08:00
method = "fixed"
when_visitors_run_out = "issuer-pays"
[parameters]
issuer = 70
redeemer = 30
"""


def delta_cities() -> list[str]:
    """Shanghai and the 40 cities of Jiangsu, Zhejiang and Anhui."""
    numbers = (f"{province}{number:02d}00" for province in (32, 33, 34) for number in range(1, 30))
    return ["310000", *(code for code in numbers if _known(code))]


def _known(code: str) -> bool:
    try:
        return bool(region(code))
    except InvalidInput:
        return False


@dataclass
class Setting:
    """A clearinghouse with its regions, their keys certified by a real root."""

    folder: Path
    regions: list[str]
    signers: dict[tuple[str, str], Signer] = field(default_factory=dict)
    chains: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def certify(self, at: int) -> None:
        root = RootAuthority.create(self.folder / "root", at)
        self.fingerprint = root.fingerprint
        self.root_pem = (self.folder / "root" / CERTIFICATE).read_bytes()
        self.keyring = Keyring(Trust(self.root_pem))
        for owner in (*self.regions, CLEARINGHOUSE):
            authority = root.enrol(self.folder / owner, owner, at)
            store = FileKeyStore(self.folder / owner / "keys")
            purposes = ("message", "statement") if owner == CLEARINGHOUSE else ("voucher", "terms", "message")
            for purpose in purposes:
                chain = authority.issue_signer(purpose, store.create(purpose), at, 365 * DAY)
                self.chains[(owner, purpose)] = chain
                self.signers[(owner, purpose)] = store.signer(purpose)
                self.keyring.add(chain)


async def open_clearinghouse(setting: Setting, database: Database) -> ClearinghouseService:
    """Enrol every region with money and a visitors' fund, under one agreement."""
    pb = clearing_operator_pb2
    service = ClearinghouseService(
        database,
        setting.keyring,
        setting.signers[(CLEARINGHOUSE, "message")],
        setting.signers[(CLEARINGHOUSE, "statement")],
        1.0,
    )
    service.start()
    await service.agreements.sign_agreement(AGREEMENT, "bench", proposes=True)
    year = time.gmtime(time.time() + 8 * 3600).tm_year
    for code in setting.regions:
        chains = [setting.chains[(code, purpose)] for purpose in ("voucher", "terms", "message")]
        await service.enrol(pb.EnrolParticipantRequest(region=code, name_zh=code, name_en=code, signing_chains=chains))
        await service.set_limits(pb.SetLimitsRequest(region=code, net_debit_cap_fen=10**12))
        await service.record_deposit(
            pb.RecordDepositRequest(region=code, amount_fen=10**11, bank_reference=f"bench-{code}")
        )
        funder = pb.VisitorsFunder(name="city", weight=1, budget_fen=10**12)
        await service.set_visitors_fund(
            pb.SetVisitorsFundRequest(region=code, fiscal_year=year, rule="refuse", funders=[funder])
        )
    return service


class Traffic:
    """Vouchers and their uses, the same for the same seed."""

    def __init__(self, setting: Setting, service: ClearinghouseService, at: int) -> None:
        self._setting, self._service, self._at = setting, service, at
        self._random = random.Random(SEED)
        self._numbers = itertools.count(1)

    async def play(self, size: int) -> None:
        """Issue, hand over, redeem away, refund; `size` captures."""
        terms = await self._publish()
        sizes = [size // CAMPAIGNS + (number < size % CAMPAIGNS) for number in range(CAMPAIGNS)]
        with progress() as shown:
            task = shown.add_task("redeeming", total=size)
            for each, wanted in zip(terms, sizes, strict=True):
                purchases = self._purchases(each, wanted)
                while batch := list(itertools.islice(purchases, BATCH)):
                    self._redeem(each.issuer, batch)
                    shown.advance(task, len(batch))

    async def _publish(self) -> list[Terms]:
        year = time.gmtime(self._at + 8 * 3600).tm_year
        found = []
        for number in range(CAMPAIGNS):
            issuer = self._setting.regions[number % len(self._setting.regions)]
            document = TERMS.format(number=number, issuer=issuer, year=year, next_year=year + 1).encode()
            await self._service.publish_terms(issuer, self._signed(issuer, "terms", "terms", document))
            found.append(parse_terms(document, "bench"))
        return found

    def _purchases(self, terms: Terms, wanted: int) -> Iterator[tuple[Token, Voucher, int]]:
        """Packs are signed and handed over as they are needed, as many as share a hand-over at once."""
        given = 0
        while given < wanted:
            packs = min(HAND_OVER_PACKS, -(-(wanted - given) // PACK))
            for token, voucher in self._issue(terms, packs):
                for index in range(min(PACK, wanted - given)):
                    yield token, voucher, index
                    given += 1

    def _issue(self, terms: Terms, packs: int) -> list[tuple[Token, Voucher]]:
        issuer = terms.issuer
        key_id = self._setting.signers[(issuer, "voucher")].key_id
        issued = [
            Voucher(
                1, SUITE_ED25519_BATCH, key_id, issuer, terms.campaign, terms.terms_hash, self._fresh(15), (1,) * PACK,
                self._fresh(16), self._at, self._at, self._at + 7 * DAY, "at-issue",
            )
            for _ in range(packs)
        ]  # fmt: skip
        bodies = [wire.voucher_to_body(each) for each in issued]
        root, paths = merkle.tree([signing_bytes("voucher", body) for body in bodies])
        signature = self._setting.signers[(issuer, "voucher")].sign("voucher-root", vouchers.root_payload(packs, root))
        self._hand_over(terms, issued)
        return [
            (Token(body, signature, packs, leaf, tuple(path)), voucher)
            for leaf, (body, voucher, path) in enumerate(zip(bodies, issued, paths, strict=True))
        ]

    def _hand_over(self, terms: Terms, issued: list[Voucher]) -> None:
        reserved = reserve(1000, terms.cofunder_plan(), terms.funding_plan(), lambda account: 10**12)
        assert isinstance(reserved, Reservation)
        body = custody_pb2.HandOver(
            issuer=terms.issuer,
            number=next(self._numbers),
            vouchers=[
                wire.handed_message(
                    VoucherState(
                        VoucherKey(each.issuer, each.pack_id, index), each.campaign, each.terms_hash, 1,
                        each.holder_tag, each.not_before, each.not_after, reserved,
                    ),
                    1,
                )
                for each in issued
                for index in range(PACK)
            ],
        ).SerializeToString()  # fmt: skip
        message = self._signed(terms.issuer, "message", "hand-over", body)
        _all_good(self._service._decide([read_hand_over(terms.issuer, message)]))

    def _redeem(self, issuer: str, batch: list[tuple[Token, Voucher, int]]) -> None:
        others = [code for code in self._setting.regions if code != issuer]
        works, refunds = [], []
        for token, _, index in batch:
            redeemer, redemption_id = self._random.choice(others), self._fresh(16)
            order = redemption_pb2.Order(
                merchant="91330100000000000X", order_id=redemption_id.hex(), category="retail", channel="shop",
                order_fen=self._random.randrange(4000, 30_000),
            )  # fmt: skip
            purchase = redemption_pb2.Purchase(token=wire.token_to_bytes(token), index=index, order=order)
            works.append(self._work(redeemer, redemption_id, redeem=purchase))
            if self._random.randrange(REFUND_IN) == 0:
                refund = redemption_pb2.Refund(redemption_id=redemption_id, order_fen=order.order_fen // 3)
                refunds.append(self._work(redeemer, self._fresh(16), refund=refund))
        _all_good(self._service._decide(works))
        if refunds:
            _all_good(self._service._decide(refunds))

    def _work(self, redeemer: str, redemption_id: bytes, **operation: Any) -> Redeem:
        content = redemption_pb2.RedemptionItem(request_id=self._fresh(16), **operation).SerializeToString()
        known = wire.bytes_to_item(content)
        key = None
        if isinstance(known.subject, wire.Purchase):
            key = self._setting.keyring.key(known.subject.voucher.key_id)
        return Redeem(Received(content, known.request_id, redeemer, "", redeemer, redemption_id, known, key))

    def _signed(self, owner: str, purpose: str, kind: str, body: bytes) -> signed_pb2.SignedMessage:
        signer = self._setting.signers[(owner, purpose)]
        return signed_pb2.SignedMessage(body=body, key_id=signer.key_id, signature=signer.sign(kind, body))

    def _fresh(self, size: int) -> bytes:
        return next(self._numbers).to_bytes(size, "big")


def _all_good(results: list[Any]) -> None:
    for result in results:
        if isinstance(result, Exception):
            raise result
        if isinstance(result, Answered):
            answer = redemption_pb2.RedemptionAnswer.FromString(result.content)
            assert not answer.HasField("refusal"), answer


async def measure(size: int, folder: Path, url: str) -> dict[str, float]:
    """Seconds for one size, over a fresh database."""
    at = int(time.time())
    setting = Setting(folder / "pki", delta_cities())
    setting.certify(at - 60)
    name = f"bench_settlement_{size}"
    database = Database.open(url or f"sqlite:///{folder / 'clearinghouse.sqlite'}", name if url else "")
    database.migrate("custodian:migrations", "custodian_version")
    database.migrate("clearinghouse:migrations", "clearinghouse_version")
    service = await open_clearinghouse(setting, database)
    started = time.perf_counter()
    await Traffic(setting, service, at).play(size)
    clearing_s = time.perf_counter() - started
    started = time.perf_counter()
    await service.close_window()
    close_s = time.perf_counter() - started
    started = time.perf_counter()
    statements = {code: _write_statement(setting, database, code, folder / code) for code in setting.regions}
    statements_s = time.perf_counter() - started
    verified, verify_s, export_s = 0, 0.0, 0.0
    for code, statement in statements.items():
        started = time.perf_counter()
        lines = evidence(database, setting.signers[(CLEARINGHOUSE, "statement")], code, 1)
        path, _ = write_evidence(folder / code, code, setting.root_pem, itertools.chain.from_iterable(lines))
        export_s += time.perf_counter() - started
        started = time.perf_counter()
        verdict = verify(statement, [path], folder / code / "terms", folder / code / "agreements", setting.fingerprint)
        verify_s += time.perf_counter() - started
        assert verdict.holds, verdict.findings[:5]
        verified += verdict.redemptions
        path.unlink()
    assert verified == 2 * size, f"{verified} redemptions are on the statements, not twice {size}"
    service.close()
    database.close()
    return {
        "close_s": round(close_s, 3),
        "statements_s": round(statements_s, 3),
        "verify_s": round(verify_s / 2, 3),
        "export_s": round(export_s / 2, 3),
        "clearing_s": round(clearing_s, 3),
    }


def _write_statement(setting: Setting, database: Database, code: str, out: Path) -> Path:
    with database.snapshot() as transaction:
        message = signed_statement(transaction, code, 1, "")
    chain = setting.chains[(CLEARINGHOUSE, "statement")]
    signed = SignedFile("statement", message.body, message.key_id, message.signature, chain)
    return write_statement(signed, out, list(Format))[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="redemptions")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    told, url = Console(stderr=True), os.environ.get("QUANLIAN_BENCH_DATABASE", "")
    figures: dict[str, dict[str, float]] = {}
    for size in options.sizes:
        told.print(f"{size:,} redemptions, {len(delta_cities())} regions, {CAMPAIGNS} campaigns")
        with tempfile.TemporaryDirectory(prefix="quanlian-settlement-") as folder:
            for name, seconds in asyncio.run(measure(size, Path(folder), url)).items():
                figures.setdefault(name, {})[str(size)] = seconds
    table = Table(title="settlement, seconds")
    for heading in ("", *(f"{size:,}" for size in options.sizes)):
        table.add_column(heading, justify="right")
    for name, by_size in figures.items():
        table.add_row(name, *(f"{seconds:,.3f}" for seconds in by_size.values()))
    Console().print(table)
    if options.json:
        machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "seed": SEED}
        database = "postgresql" if url else "sqlite"
        content = {**figures, "database": database, "machine": machine}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
