"""A party is there and does nothing (SIGSTOP): the others say so soon, go on with what is theirs, and lose nothing."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from network_processes import living

from quanlian.refusals import RefusalReason
from quanlian.v1 import redemption_pb2
from simulations.demo import opening, shopping
from simulations.demo.client import Clients
from simulations.demo.network import Network
from simulations.demo.plan import HANGZHOU, JINCHENG, HeldVoucher, Plan
from simulations.demo.run import examine
from simulations.demo.setting import CLEARINGHOUSE
from simulations.demo.stage import Stage, answer_of, until

SEED, SHOPPERS = 19, 40
SHANGHAI = "310000"
PATIENCE = 0.5
"""Seconds after which a shopper's till stops looking at one sale and serves the next, whose answer it still awaits."""

Redeem = Callable[[HeldVoucher, str], Coroutine[Any, Any, str]]


@pytest.fixture(params=["sqlite", "postgresql"])
def network(
    request: pytest.FixtureRequest, tmp_path: Path, network_database: Callable[[str], str]
) -> Iterator[Network]:
    network = Network(tmp_path / "network", network_database(request.param))
    yield network
    assert living(network.directory) == []
    _, checks = examine(network)
    assert [check.findings for check in checks if not check.holds] == []


def test_a_frozen_clearinghouse_stops_no_sale_at_home_and_answers_what_it_was_asked_once_it_goes_on(
    network: Network,
) -> None:
    async def live() -> None:
        async with _trading(network) as (stage, redeem):
            home, first, *away = _hangzhous(stage)
            assert await redeem(first, SHANGHAI) == "CAPTURED"
            with _frozen(network, CLEARINGHOUSE):
                asked, refused = await _until_one_is_answered(redeem, away)
                assert asked, "it froze before the first sale"
                assert await refused == "NOT_IN_CUSTODY"
                assert await redeem(home, HANGZHOU) == "CAPTURED"
                assert not any(sale.done() for sale in asked)
            assert set(await asyncio.gather(*asked)) == {"CAPTURED"}
            again = away[len(asked)]

            async def captured() -> bool:
                return await redeem(again, SHANGHAI) == "CAPTURED"

            await until(captured, "Shanghai to reach the clearinghouse again")
            await shopping.quiet(stage)

    asyncio.run(live())


def test_frozen_issuers_vouchers_are_refused_abroad_unless_the_clearinghouse_has_them(network: Network) -> None:
    async def live() -> None:
        async with _trading(network) as (stage, redeem):
            on_demand = _hangzhous(stage)[0]
            handed_over = next(
                each for each in stage.vouchers if each.issuer == JINCHENG and each.roaming == "at-issue"
            )
            with _frozen(network, HANGZHOU), _frozen(network, JINCHENG):
                assert await redeem(on_demand, SHANGHAI) == "ISSUER_UNREACHABLE"
                assert await redeem(handed_over, SHANGHAI) == "CAPTURED"

            async def captured() -> bool:
                return await redeem(on_demand, SHANGHAI) == "CAPTURED"

            await until(captured, "Hangzhou to release its voucher")
            await shopping.quiet(stage)

    asyncio.run(live())


@asynccontextmanager
async def _trading(network: Network) -> AsyncIterator[tuple[Stage, Redeem]]:
    """The network runs and shoppers hold vouchers; how one is redeemed, as the refusal's name or CAPTURED."""
    fingerprint = network.create(int(time.time()))
    with network.running():
        async with Clients(network) as clients:
            stage = Stage(network, clients, Plan(SEED, SHOPPERS))
            await opening.admit(stage, fingerprint)
            await opening.publish(stage, int(time.time()))
            stage.vouchers = await shopping.claim(stage, stage.plan.claims(stage.terms))

            async def redeem(voucher: HeldVoucher, region: str) -> str:
                purchase = stage.plan.purchase(voucher, region)
                item = redemption_pb2.RedemptionItem(request_id=stage.plan.request_id(), redeem=purchase)
                answer = answer_of(await clients.platforms[region].call("redeem", item.SerializeToString()))
                return RefusalReason(answer.refusal.reason).name if answer.HasField("refusal") else "CAPTURED"

            yield stage, redeem


def _hangzhous(stage: Stage) -> list[HeldVoucher]:
    return [each for each in stage.vouchers if each.issuer == HANGZHOU and each.roaming != "never"]


@contextmanager
def _frozen(network: Network, party: str) -> Iterator[None]:
    process = network.processes[party]
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


async def _until_one_is_answered(
    redeem: Redeem, vouchers: list[HeldVoucher]
) -> tuple[list[asyncio.Task[str]], asyncio.Task[str]]:
    """Sales in Shanghai, one after the other, until one is answered: those that wait, and that one."""
    waiting: list[asyncio.Task[str]] = []
    for voucher in vouchers:
        sale = asyncio.create_task(redeem(voucher, SHANGHAI))
        await asyncio.wait([sale], timeout=PATIENCE)
        if sale.done():
            return waiting, sale
        waiting.append(sale)
    raise AssertionError("nobody noticed that the clearinghouse is silent")
