"""How every schedule begins: regions enrolled and funded, campaigns published, some packs claimed. Played once by the
real services without faults; each schedule starts from copies of the databases.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any, NamedTuple

from custodian.lineage import Mark
from pki.identity import CLEARINGHOUSE
from quanlian.merchants import check_character
from quanlian.v1 import (
    agreement_pb2,
    agreement_pb2_grpc,
    claim_pb2,
    claim_pb2_grpc,
    clearing_operator_pb2,
    clearing_operator_pb2_grpc,
    node_operator_pb2,
    node_operator_pb2_grpc,
)
from simulations.faults import parties
from simulations.faults.stage import Stage

HOLD_SECONDS = 20
CAP_FEN, TIGHT_CAP_FEN = 5_000, 1_000
"""The first region's is tight: one discount away fits, two do not."""

BEFORE_SECONDS = 3600
CAMPAIGNS = {"spring": "on-demand", "autumn": "at-issue"}
PACK_SIZE = 2
READY_PACKS = ("spring", "autumn", "spring")
"""Packs that are claimed before the schedule begins, in each region."""

TERMS = """
[campaign]
id = "{campaign}"
title_zh = "{campaign}"
title_en = "{campaign}"
issuer = "{issuer}"
fiscal_year = 2026
budget_document = "test"
starts_at = 2026-01-01T00:00:00+08:00
ends_at = 2027-01-01T00:00:00+08:00
roaming = "{roaming}"
regions = ["*"]
channels = ["shop"]
hold_seconds = {hold_seconds}
refund_policy = "pro-rata"

[funding]
shortfall_rule = "cascade"
cascade = "borne"

[[funder]]
name = "city"
title_zh = "市"
level = "city"
weight = 2
budget = {budgets[0]}.00

[[funder]]
name = "county"
title_zh = "县"
level = "county"
weight = 1
budget = {budgets[1]}.00

[[voucher_type]]
id = "ten"
title_zh = "满40元减10元"
title_en = "10 off 40"
kind = "threshold"
categories = ["retail"]
face = 10.00
minimum_spend = 40.00

[[pack]]
id = "two"
title_zh = "两张"
title_en = "Two"
vouchers = ["ten", "ten"]
valid_days = 7

[[round]]
id = "r1"
pack = "two"
mode = "first-come"
opens_at = 2026-01-01T00:00:00+08:00
closes_at = 2026-12-01T00:00:00+08:00
quota = 6
per_person = 100
"""

AGREEMENT = b"""
number = "TEST"
version = 1
title = { zh = "test", en = "test" }
effective_from = 2020-01-01T00:00:00+08:00
method = "fixed"
when_visitors_run_out = "issuer-pays"

[parameters]
issuer = 70
redeemer = 30
"""


BUDGETS, LARGER_BUDGETS = (42, 28), (43, 29)
"""Yuan of city and county, as published and as amended."""


def terms_of(campaign: str, issuer: str, budgets: tuple[int, int]) -> bytes:
    """A campaign's TOML file."""
    roaming = CAMPAIGNS[campaign]
    values = {"campaign": campaign, "roaming": roaming, "issuer": issuer, "budgets": budgets}
    return TERMS.format(hold_seconds=HOLD_SECONDS, **values).encode()


class Opening(NamedTuple):
    """The parties' databases, how far each has come, and the tokens of the packs that are out, by region in the order
    of `READY_PACKS`.
    """

    databases: dict[str, bytes]
    marks: dict[str, Mark]
    tokens: dict[str, tuple[bytes, ...]]


def merchant_of(region: str) -> str:
    """The one merchant of a region."""
    first = f"91{region}000000000"
    return first + check_character(first)


@cache
def opening(regions: tuple[str, ...]) -> Opening:
    """The same, to the byte, in every process."""
    stage = Stage("opening", regions)
    for name in stage.parties:
        machine = stage.machine(name)
        machine.offset_seconds = -BEFORE_SECONDS
        machine.disk.begin(_tables(name))
    stage.start()
    tokens = stage.play(_prepare(stage))
    machines = {name: stage.machine(name) for name in stage.parties}
    marks = {name: machine.beside.mark for name, machine in machines.items() if machine.beside.mark}
    return Opening({name: machine.disk.content for name, machine in machines.items()}, marks, tokens)


def _tables(name: str) -> bytes:
    """A party's empty tables, as its migrations make them."""
    import sqlite3
    import tempfile
    from pathlib import Path

    from chassis.database import Database

    own = "clearinghouse" if name == CLEARINGHOUSE else "node"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "party.db"
        database = Database.open(f"sqlite:///{path}")
        database.migrate("custodian:migrations", "custodian_version")
        database.migrate(f"{own}:migrations", f"{own}_version")
        database.close()
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("VACUUM")
        content = connection.serialize()
        connection.close()
    return content


async def _prepare(stage: Stage) -> dict[str, tuple[bytes, ...]]:
    await asyncio.sleep(0.1)
    await _enrol(stage)
    await asyncio.sleep(1)
    for region in stage.regions:
        await _publish(stage, region)
    tokens = {
        region: tuple([await _claim(stage, region, n) for n in range(len(READY_PACKS))]) for region in stage.regions
    }
    await asyncio.sleep(3)
    return tokens


async def _enrol(stage: Stage) -> None:
    pb = clearing_operator_pb2
    channel: Any = stage.operator_channel(CLEARINGHOUSE)
    stub = clearing_operator_pb2_grpc.ClearingOperatorServiceStub(channel)
    agreements = agreement_pb2_grpc.AgreementServiceStub(channel)
    request = agreement_pb2.SignAgreementRequest(document=AGREEMENT, file_name="simulated.toml", proposes=True)
    await agreements.SignAgreement(request)
    for number, region in enumerate(stage.regions):
        cap_fen = CAP_FEN if number else TIGHT_CAP_FEN
        enrolment = pb.EnrolParticipantRequest(
            region=region, name_zh=region, name_en=region, signing_chains=parties.chains(region)
        )
        await stub.EnrolParticipant(enrolment)
        await stub.SetLimits(pb.SetLimitsRequest(region=region, net_debit_cap_fen=cap_fen))
        deposit = pb.RecordDepositRequest(region=region, amount_fen=1_000_000, bank_reference=f"deposit-{region}")
        await stub.RecordDeposit(deposit)
        funder = pb.VisitorsFunder(name="city", weight=1, budget_fen=1_000)
        fund = pb.SetVisitorsFundRequest(region=region, fiscal_year=2026, rule="refuse", funders=[funder])
        await stub.SetVisitorsFund(fund)


async def _publish(stage: Stage, region: str) -> None:
    channel: Any = stage.operator_channel(region)
    stub = node_operator_pb2_grpc.NodeOperatorServiceStub(channel)
    merchant = node_operator_pb2.Merchant(code=merchant_of(region), name="商户", categories=["retail"])
    await stub.AdmitMerchants(node_operator_pb2.AdmitMerchantsRequest(merchants=[merchant]))
    await stub.AdmitPlatform(
        node_operator_pb2.AdmitPlatformRequest(signing_chain=parties.PLATFORM_SIGNERS[region].key_id)
    )
    for campaign in CAMPAIGNS:
        document = terms_of(campaign, region, BUDGETS)
        request = node_operator_pb2.PublishCampaignRequest(terms=document, file_name=f"{campaign}.toml")
        await stub.PublishCampaign(request)


async def _claim(stage: Stage, region: str, number: int) -> bytes:
    channel: Any = stage.platform_channel(region)
    stub = claim_pb2_grpc.ClaimServiceStub(channel)
    item = claim_item(f"opening {region} {number}", READY_PACKS[number], f"holder-{number}")
    response = await stub.Claim(claim_pb2.ClaimRequest(item=item))
    return bytes(claim_pb2.ClaimAnswer.FromString(response.answer).token)


def claim_item(name: str, campaign: str, holder: str) -> bytes:
    """A claim's bytes; its request id follows from `name`."""
    item = claim_pb2.ClaimItem(request_id=request_id(name), campaign=campaign, round="r1", holder_id=holder)
    return item.SerializeToString()


def request_id(name: str) -> bytes:
    """An id that is the same in every run."""
    import hashlib

    return hashlib.sha256(name.encode()).digest()[:16]
