"""The Yangtze River Delta as benchmarks play it: 41 cities with real keys, their money, campaigns, one agreement."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from chassis.database import Database
from clearinghouse.service import ClearinghouseService
from pki.authority import CERTIFICATE, RegionAuthority, RootAuthority
from pki.keystore import FileKeyStore
from pki.trust import Keyring, Trust
from quanlian import wire
from quanlian.campaign_changes import Change, ChangeKind
from quanlian.errors import InvalidInput
from quanlian.regions import region
from quanlian.signing import Signer
from quanlian.terms import Terms
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import clearing_operator_pb2, signed_pb2

CAMPAIGNS, RATE_IN, DAY = 50, 5, 86_400
"""One campaign in `RATE_IN` has vouchers by rate, whose discounts are all different; the others take 10 off 40."""

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
{voucher_type}
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

TEN_OFF_FORTY = """
[[voucher_type]]
id = "ten"
title_zh = "满40元减10元"
title_en = "10 off 40"
kind = "threshold"
categories = ["retail"]
face = 10.00
minimum_spend = 40.00
"""

EIGHT_PERCENT_OFF = """
[[voucher_type]]
id = "ten"
title_zh = "按8%优惠，至多20元"
title_en = "8 % off, at most 20"
kind = "rate"
categories = ["retail"]
rate_percent = 8
cap = 20.00
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
    authorities: dict[str, RegionAuthority] = field(default_factory=dict)

    def certify(self, at: int) -> None:
        root = RootAuthority.create(self.folder / "root", at)
        self.fingerprint = root.fingerprint
        self.root_pem = (self.folder / "root" / CERTIFICATE).read_bytes()
        self.keyring = Keyring(Trust(self.root_pem))
        for owner in (*self.regions, CLEARINGHOUSE):
            authority = self.authorities[owner] = root.enrol(self.folder / owner, owner, at)
            store = FileKeyStore(self.folder / owner / "keys")
            purposes = ("message", "statement") if owner == CLEARINGHOUSE else ("voucher", "terms", "message")
            for purpose in purposes:
                chain = authority.issue_signer(purpose, store.create(purpose), at, 365 * DAY)
                self.chains[(owner, purpose)] = chain
                self.signers[(owner, purpose)] = store.signer(purpose)
                self.keyring.add(chain)

    def signed(self, owner: str, purpose: str, kind: str, body: bytes) -> signed_pb2.SignedMessage:
        signer = self.signers[(owner, purpose)]
        return signed_pb2.SignedMessage(body=body, key_id=signer.key_id, signature=signer.sign(kind, body))


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
    service.keep_chains([setting.chains[(CLEARINGHOUSE, purpose)] for purpose in ("message", "statement")])
    await service.agreements.sign_agreement(AGREEMENT, "bench", proposes=True)
    year = time.gmtime(time.time() + 8 * 3600).tm_year
    for code in setting.regions:
        chains = [setting.chains[(code, purpose)] for purpose in ("voucher", "terms", "message")]
        await service.operations.enrol(
            pb.EnrolParticipantRequest(region=code, name_zh=code, name_en=code, signing_chains=chains)
        )
        await service.operations.set_limits(pb.SetLimitsRequest(region=code, net_debit_cap_fen=10**12))
        await service.settlement.record_deposit(
            pb.RecordDepositRequest(region=code, amount_fen=10**11, bank_reference=f"bench-{code}")
        )
        funder = pb.VisitorsFunder(name="city", weight=1, budget_fen=10**12)
        await service.operations.set_visitors_fund(
            pb.SetVisitorsFundRequest(region=code, fiscal_year=year, rule="refuse", funders=[funder])
        )
    return service


def open_database(url: str, schema: str) -> Database:
    """A clearinghouse's, new or as it was left."""
    database = Database.open(url, schema)
    database.migrate("custodian:migrations", "custodian_version")
    database.migrate("clearinghouse:migrations", "clearinghouse_version")
    return database


async def publish_campaigns(setting: Setting, service: ClearinghouseService, at: int) -> list[Terms]:
    """Fifty campaigns over the regions in turn, all at once in every region."""
    year = time.gmtime(at + 8 * 3600).tm_year
    found = []
    for number in range(CAMPAIGNS):
        issuer = setting.regions[number % len(setting.regions)]
        voucher_type = TEN_OFF_FORTY if number % RATE_IN else EIGHT_PERCENT_OFF
        text = TERMS.format(number=number, issuer=issuer, year=year, next_year=year + 1, voucher_type=voucher_type)
        document = text.encode()
        await service.publish_terms(issuer, setting.signed(issuer, "terms", "terms", document))
        terms = parse_terms(document, "bench")
        change = Change(issuer, terms.campaign, 1, ChangeKind.PUBLISH, at, "bench", "as decided", terms.terms_hash)
        body = wire.change_to_body(change)
        await service.publish_change(issuer, setting.signed(issuer, "terms", "campaign-change", body))
        found.append(terms)
    return found
