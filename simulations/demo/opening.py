"""Steps 1 and 2: admission, money and limits; campaigns published from their files."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from quanlian.errors import ConfigurationError
from quanlian.money import yuan
from quanlian.terms import Terms
from quanlian.terms_file import shift_dates
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import agreement_pb2, clearing_operator_pb2, node_operator_pb2
from simulations.demo.setting import CATEGORIES, PLATFORM, REGIONS, RegionSetting
from simulations.demo.stage import Stage, say, step, until

CHINA = timezone(timedelta(hours=8))
DAY_SECONDS = 86_400
FLASH_SECONDS = 20
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
HISTORIC = ("hangzhou-2020-r1", "jincheng-2026")
FLASH = "flash-demo"


async def admit(stage: Stage, fingerprint: str) -> None:
    """Enrol every region, lodge its money, set its limits; one agreement for the whole network."""
    step(1, "建立信任，接入节点，备足资金", "Trust, admission, money and limits")
    say(f"根证书指纹 {fingerprint[:16]}…", "one root, one intermediate authority per region, mutual TLS everywhere")
    operator = stage.clients.clearinghouse
    document = example("agreements/network-default.toml")
    request = agreement_pb2.SignAgreementRequest(document=document, file_name="network-default.toml", proposes=True)
    await operator.do(operator.agreements.SignAgreement, request)
    say("分担协议：发券地 70 ∶ 核销地 30", "funding agreement: issuing 70 : redeeming 30")
    for region in REGIONS:
        await _admit_region(stage, region)
        say(
            f"{region.name_zh} {region.code}：结算账户 {yuan(region.deposit_fen)} 元，"
            f"净借记限额 {yuan(region.net_debit_cap_fen)} 元，"
            f"异地用券资金 {yuan(sum(each.budget_fen for each in region.visitors))} 元",
            f"{region.name_en}: prefunding, net debit cap, visitors' fund",
        )

    async def all_connected() -> bool:
        status = await operator.do(
            operator.clearing.GetClearingStatus, clearing_operator_pb2.GetClearingStatusRequest()
        )
        nodes = [
            await own.do(own.node.GetNodeStatus, node_operator_pb2.GetNodeStatusRequest())
            for own in stage.clients.operators.values()
        ]
        return all(each.custody_stream_open for each in status.regions) and all(
            each.clearinghouse_reached for each in nodes
        )

    await until(all_connected, "nodes to open their streams to the clearinghouse")


async def _admit_region(stage: Stage, region: RegionSetting) -> None:
    clearing, own = stage.clients.clearinghouse, stage.clients.operators[region.code]
    pb = clearing_operator_pb2
    enrol = pb.EnrolParticipantRequest(
        region=region.code,
        name_zh=region.name_zh,
        name_en=region.name_en,
        signing_chains=stage.network.signing_chains(region.code),
    )
    await clearing.do(clearing.clearing.EnrolParticipant, enrol)
    limits = pb.SetLimitsRequest(region=region.code, net_debit_cap_fen=region.net_debit_cap_fen)
    await clearing.do(clearing.clearing.SetLimits, limits)
    deposit = pb.RecordDepositRequest(
        region=region.code, amount_fen=region.deposit_fen, bank_reference=f"DEMO-DEPOSIT-{region.code}"
    )
    await clearing.do(clearing.clearing.RecordDeposit, deposit)
    fund = pb.SetVisitorsFundRequest(
        region=region.code,
        fiscal_year=datetime.now(CHINA).year,
        rule="cascade",
        funders=[
            pb.VisitorsFunder(name=each.name, weight=each.weight, budget_fen=each.budget_fen)
            for each in region.visitors
        ],
    )
    await clearing.do(clearing.clearing.SetVisitorsFund, fund)
    chain = stage.network.platform_keys(region.code).chain(f"message.{PLATFORM}")
    await own.do(own.node.AdmitPlatform, node_operator_pb2.AdmitPlatformRequest(signing_chain=chain))
    merchants = [
        node_operator_pb2.Merchant(code=each.code, name=each.name, categories=CATEGORIES)
        for each in stage.plan.merchants[region.code]
    ]
    await own.do(own.node.AdmitMerchants, node_operator_pb2.AdmitMerchantsRequest(merchants=merchants))


async def publish(stage: Stage, now: int) -> None:
    """Publish the two historic campaigns, their dates moved by whole days so that their rounds are open."""
    step(2, "公布活动细则", "Publishing campaigns from their files")
    for name in HISTORIC:
        document, days = to_today(example(f"campaigns/{name}.toml"), now)
        terms = await _publish(stage, document, f"{name}.toml")
        kinds = len(terms.voucher_types)
        say(
            f"{terms.title_zh}：{kinds} 种券，预算 {yuan(sum(terms.budgets().values()))} 元；日期平移 {days:+,} 天",
            f"{terms.title_en}: dates moved by {days:+,} whole days to today",
        )


async def publish_flash(stage: Stage, now: int) -> Terms:
    """Publish the small third campaign; its vouchers end a few seconds from now."""
    document, _ = to_today(example(f"campaigns/{FLASH}.toml"), now)
    end = datetime.fromtimestamp(now + FLASH_SECONDS, UTC).astimezone(CHINA).isoformat()
    document = re.sub(rb"(?m)^valid_until = \S+", f"valid_until = {end}".encode(), document)
    return await _publish(stage, document, f"{FLASH}.toml")


def to_today(document: bytes, now: int) -> tuple[bytes, int]:
    """Move a campaign by whole days, to the latest date at which its first round is open now."""
    opens_at = min(each.opens_at for each in parse_terms(document, "terms").rounds)
    days = (now - opens_at) // DAY_SECONDS
    return shift_dates(document, days), days


def example(name: str) -> bytes:
    """A file of the repository's examples. Raises ConfigurationError when it is missing."""
    path = EXAMPLES / name
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"cannot be read ({error.strerror})",
            place=str(path),
            remedy="run the demonstration from a clone of the repository",
        ) from error


async def _publish(stage: Stage, document: bytes, file_name: str) -> Terms:
    terms = parse_terms(document, file_name)
    folder = stage.network.directory / "campaigns"
    await asyncio.to_thread(_keep, folder, file_name, document)
    operator = stage.clients.operators[terms.issuer]
    request = node_operator_pb2.PublishCampaignRequest(terms=document, file_name=file_name)
    await operator.do(operator.node.PublishCampaign, request)
    for account, budget_fen in terms.budgets().items():
        funder = account.rpartition("/")[2]
        paid = node_operator_pb2.RecordDedicatedReceiptRequest(
            payer=node_operator_pb2.Payer(campaign=terms.campaign, funder=funder),
            amount_fen=budget_fen,
            bank_reference=f"DEMO-{terms.campaign}-{funder}",
        )
        await operator.do(operator.node.RecordDedicatedReceipt, paid)
    stage.terms[terms.campaign] = terms
    return terms


def _keep(folder: Path, file_name: str, document: bytes) -> None:
    folder.mkdir(exist_ok=True)
    (folder / file_name).write_bytes(document)
