"""Suspension, limits and statistics over real processes, by the operators' commands: what they say is what happens."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from network_processes import living

from chassis import cli
from pki.keystore import FileKeyStore
from quanlian import wire
from quanlian.refusals import CHINA, RefusalReason
from quanlian.v1 import redemption_pb2
from simulations.demo import opening, shopping
from simulations.demo.client import Clients
from simulations.demo.network import Network
from simulations.demo.plan import HANGZHOU, HeldVoucher, Plan
from simulations.demo.run import examine
from simulations.demo.setting import CLEARINGHOUSE
from simulations.demo.stage import Stage, answer_of, until

SEED, SHOPPERS = 7, 20
SHANGHAI = "310000"


class Region:
    """Operators and a platform at a running network."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    async def say(self, party: str, *arguments: str) -> str:
        """An operator's command, which succeeds; what it shows."""
        group = "clearinghouse" if party == CLEARINGHOUSE else "node"
        settings = self.stage.network.directory / party / "operator.toml"
        shown, error = io.StringIO(), io.StringIO()

        def run() -> int:
            with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(error):
                return cli.main([group, *arguments, "--config", str(settings)])

        assert await asyncio.to_thread(run) == 0, error.getvalue()
        return shown.getvalue()

    async def data(self, party: str, *arguments: str) -> Any:
        return json.loads(await self.say(party, *arguments, "--json"))

    async def knows(self, party: str, subject: str, *, suspended: bool) -> None:
        """Wait until a party lists something as suspended, or no more."""

        async def listed() -> bool:
            return suspended == any(each["subject"] == subject for each in await self.data(party, "suspensions"))

        await until(listed, f"{party} to hear of {subject}")

    async def redeem(self, voucher: HeldVoucher, region: str) -> tuple[str, redemption_pb2.RedemptionAnswer]:
        """The refusal's name or CAPTURED, and the answer."""
        purchase = self.stage.plan.purchase(voucher, region)
        item = redemption_pb2.RedemptionItem(request_id=self.stage.plan.request_id(), redeem=purchase)
        answer = answer_of(await self.stage.clients.platforms[region].call("redeem", item.SerializeToString()))
        refused = answer.HasField("refusal")
        return RefusalReason(answer.refusal.reason).name if refused else "CAPTURED", answer


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(tmp_path / "network")


def test_what_operators_suspend_and_top_up_counts_at_every_process(network: Network) -> None:
    asyncio.run(_live(network))
    assert living(network.directory) == []
    _, checks = examine(network)
    assert [check.findings for check in checks if not check.holds] == []


async def _live(network: Network) -> None:
    fingerprint = network.create(int(time.time()))
    with network.running():
        async with Clients(network) as clients:
            stage = Stage(network, clients, Plan(SEED, SHOPPERS))
            await opening.admit(stage, fingerprint)
            await opening.publish(stage, int(time.time()))
            held = await shopping.claim(stage, stage.plan.claims(stage.terms))
            hangzhous = iter([each for each in held if each.issuer == HANGZHOU and each.roaming != "never"])
            region = Region(stage)
            await _a_lost_voucher(region, next(hangzhous))
            await _a_region(region, next(hangzhous), next(hangzhous))
            await _a_key(region, network, next(hangzhous))
            await _a_limit(region, next(hangzhous), next(hangzhous))
            await _statistics(region)
            await shopping.quiet(stage)


async def _a_lost_voucher(region: Region, voucher: HeldVoucher) -> None:
    pack_id = wire.body_to_voucher(wire.bytes_to_token(voucher.token).body).pack_id
    subject = f"{pack_id.hex()}/{voucher.index}"
    known = f"{HANGZHOU}/{subject}"
    suspended = await region.data(HANGZHOU, "suspend", "voucher", subject.upper(), "--why", "挂失")
    assert (suspended["subject"], suspended["why"], suspended["announced"]) == (known, "挂失", True)
    assert suspended["by"].startswith(f"spiffe://{HANGZHOU}.quanlian/operator/")
    for party in (CLEARINGHOUSE, SHANGHAI):
        await region.knows(party, known, suspended=True)
    name, answer = await region.redeem(voucher, SHANGHAI)
    assert (name, answer.decider) == ("VOUCHER_SUSPENDED", SHANGHAI), "the redeeming node ends it"
    shown = await region.say(HANGZHOU, "reactivate", "voucher", subject, "--why", "找到了")
    assert shown == f"已恢复券 · Voucher reactivated: {known}\n"
    await region.knows(SHANGHAI, known, suspended=False)
    assert (await region.redeem(voucher, SHANGHAI))[0] == "CAPTURED"
    history = await region.data(SHANGHAI, "suspensions", "--history")
    assert [(each["suspended"], each["why"]) for each in history] == [(True, "挂失"), (False, "找到了")]


async def _a_region(region: Region, away: HeldVoucher, home: HeldVoucher) -> None:
    await region.say(CLEARINGHOUSE, "suspend", "region", HANGZHOU, "--why", "inspection")
    assert (await region.redeem(away, SHANGHAI))[0] == "REGION_SUSPENDED"
    await region.knows(HANGZHOU, HANGZHOU, suspended=True)
    name, answer = await region.redeem(home, HANGZHOU)
    assert (name, answer.decider) == ("REGION_SUSPENDED", HANGZHOU)
    assert f"已暂停 · Suspended: {HANGZHOU} 杭州市" in await region.say(CLEARINGHOUSE, "status")
    await region.say(CLEARINGHOUSE, "reactivate", "region", HANGZHOU, "--why", "all well")
    for party in (HANGZHOU, SHANGHAI):
        await region.knows(party, HANGZHOU, suspended=False)
    assert (await region.redeem(away, SHANGHAI))[0] == "CAPTURED"
    assert (await region.redeem(home, HANGZHOU))[0] == "CAPTURED"


async def _a_key(region: Region, network: Network, voucher: HeldVoucher) -> None:
    """Hangzhou's key was stolen an hour ago: what it signed since is refused until it is known better."""
    key_id = FileKeyStore(network.directory / HANGZHOU / "keys").signer("voucher").key_id.hex()
    hour_ago = (datetime.now(UTC).astimezone(CHINA) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S")
    await region.say(CLEARINGHOUSE, "suspend", "key", key_id, "--why", "stolen", "--bad-from", hour_ago)
    assert (await region.redeem(voucher, SHANGHAI))[0] == "KEY_REVOKED"
    await region.knows(HANGZHOU, key_id, suspended=True)
    name, answer = await region.redeem(voucher, HANGZHOU)
    assert name == "KEY_REVOKED"
    assert hour_ago[:10] in answer.refusal.message_zh
    await region.say(CLEARINGHOUSE, "reactivate", "key", key_id, "--why", "found")
    for party in (HANGZHOU, SHANGHAI):
        await region.knows(party, key_id, suspended=False)
    assert (await region.redeem(voucher, HANGZHOU))[0] == "CAPTURED"


async def _a_limit(region: Region, first: HeldVoucher, second: HeldVoucher) -> None:
    """The cap leaves no room; raised, the same connections go on; both operators see the warnings."""
    (hangzhou,) = await _status(region)
    owed = hangzhou["exposure_fen"]
    cap = ("limits", HANGZHOU, "--credit", "0", "--offset-bp", "0", "--cap")
    await region.say(CLEARINGHOUSE, *cap, f"{owed // 100}.{owed % 100:02d}")
    name, answer = await region.redeem(first, SHANGHAI)
    assert name == "DEBIT_CAP_EXCEEDED"
    figures = {figure.name: figure.value for figure in answer.refusal.figures}
    assert (figures["exposure_fen"], figures["limit_fen"]) == (owed, owed)
    (hangzhou,) = await _status(region)
    assert hangzhou["limit_percent"] == 90
    assert f"已达净借记限额 90 % · of its net debit limit: {HANGZHOU}" in await region.say(CLEARINGHOUSE, "status")
    await region.say(CLEARINGHOUSE, *cap, "100000")
    assert (await region.redeem(first, SHANGHAI))[0] == "CAPTURED"
    assert (await region.redeem(second, SHANGHAI))[0] == "CAPTURED"

    async def warned() -> bool:
        status = await region.data(HANGZHOU, "status")
        return [each["percent"] for each in status["warnings"]] == [90, 75]

    await until(warned, "Hangzhou to hear of its limits")
    assert "限额预警 · Limit warnings" in await region.say(HANGZHOU, "status")
    assert "限额预警 · Limit warnings" in await region.say(CLEARINGHOUSE, "status")


async def _statistics(region: Region) -> None:
    """Four away and two at home were captured."""

    async def heard() -> bool:
        return bool((await region.data(HANGZHOU, "stats"))["total"]["captures"] == 6)

    await until(heard, "Hangzhou to hear of what was posted away")
    central = await region.data(CLEARINGHOUSE, "stats", "--by", "regions")
    assert [(row["issuer"], row["redeeming_region"], row["captures"]) for row in central["rows"]] == [
        (HANGZHOU, SHANGHAI, 4)
    ]
    assert central["total"]["captures"] == 4
    shanghais = await region.data(SHANGHAI, "stats", "--by", "regions")
    assert shanghais == central
    today = str(datetime.now(UTC).astimezone(CHINA).date())
    hours = await region.data(HANGZHOU, "stats", "--by", "hour", "--day", today)
    assert sum(row["captures"] for row in hours["rows"]) == hours["total"]["captures"] <= 6
    shown = await region.say(HANGZHOU, "stats", "--campaign", "hangzhou-2020-r1")
    assert "合计" in shown
    assert "合计" in await region.say(CLEARINGHOUSE, "stats", "--by", "day", "--region", SHANGHAI)


async def _status(region: Region) -> list[dict[str, Any]]:
    status = await region.data(CLEARINGHOUSE, "status")
    return [each for each in status["regions"] if each["region"] == HANGZHOU]
