"""A party's real process on a database restored from an older copy: noticed, closed, recovered by command, sound."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from network_processes import living

from quanlian.v1 import redemption_pb2
from quanlian.wire import request_id_of
from simulations.demo import opening, settling, shopping
from simulations.demo.client import Clients
from simulations.demo.network import Network
from simulations.demo.plan import HANGZHOU, Plan
from simulations.demo.run import examine
from simulations.demo.setting import CLEARINGHOUSE, PLATFORM
from simulations.demo.stage import Stage, answer_of

SEED, SHOPPERS = 23, 40
SHANGHAI = "310000"
NOTICED_SECONDS = 60
"""Far more than a sweep comes after, by which a party notices to which nothing is written."""

Copy = dict[str, list[dict[str, Any]]]


def _connected(network: Network, party: str) -> tuple[sa.Engine, sa.MetaData]:
    url, schema = sa.make_url(network.party_url(party)), network.party_schema(party) or None
    engine = sa.create_engine(url if url.drivername == "sqlite" else url.set(drivername="postgresql+psycopg"))
    tables = sa.MetaData(schema=schema)
    tables.reflect(engine)
    return engine, tables


def back_up(network: Network, party: str) -> Copy:
    engine, tables = _connected(network, party)
    with engine.connect() as connection:
        rows = {each.name: connection.execute(each.select()).all() for each in tables.sorted_tables}
    engine.dispose()
    return {name: [dict(row._mapping) for row in each] for name, each in rows.items()}


def restore(network: Network, party: str, copy: Copy) -> None:
    engine, tables = _connected(network, party)
    with engine.begin() as connection:
        for table in tables.sorted_tables:
            connection.execute(table.delete())
            if copy[table.name]:
                connection.execute(table.insert(), copy[table.name])
    engine.dispose()


def _group(party: str) -> str:
    return "clearinghouse" if party == CLEARINGHOUSE else "node"


def operator(network: Network, party: str, command: str, *options: str) -> subprocess.CompletedProcess[str]:
    """An operator's command."""
    group = _group(party)
    config = network.directory / party / "operator.toml"
    line = [sys.executable, "-m", "chassis", group, command, "--config", str(config), *options]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
@pytest.mark.parametrize(
    "party", [CLEARINGHOUSE, HANGZHOU, SHANGHAI], ids=["clearinghouse", "issuing-node", "redeeming-node"]
)
def test_a_restored_party_answers_nothing_until_its_operator_has_had_it_recovered(
    party: str, backend: str, tmp_path: Path, network_database: Callable[[str], str]
) -> None:
    network = Network(tmp_path / "network", network_database(backend))
    asyncio.run(_live_through(network, party, running=False))
    assert living(network.directory) == []


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
@pytest.mark.parametrize("party", [CLEARINGHOUSE, HANGZHOU], ids=["clearinghouse", "issuing-node"])
def test_a_party_whose_database_is_set_back_while_it_runs_notices_without_a_restart(
    party: str, backend: str, tmp_path: Path, network_database: Callable[[str], str]
) -> None:
    network = Network(tmp_path / "network", network_database(backend))
    asyncio.run(_live_through(network, party, running=True))
    assert living(network.directory) == []


async def _live_through(network: Network, party: str, running: bool) -> None:
    fingerprint = network.create(int(time.time()))
    with network.running():
        async with Clients(network) as clients:
            stage = Stage(network, clients, Plan(SEED, SHOPPERS))
            await opening.admit(stage, fingerprint)
            await opening.publish(stage, int(time.time()))
            stage.vouchers = await shopping.claim(stage, stage.plan.claims(stage.terms))
            first, second = _away(stage)
            answers = await clients.platforms[SHANGHAI].stream(first, lambda count: None)
            await shopping.quiet(stage)
            copy = await asyncio.to_thread(back_up, network, party)
            answers |= await clients.platforms[SHANGHAI].stream(second, lambda count: None)
            await shopping.quiet(stage)
            if running:
                await asyncio.to_thread(restore, network, party, copy)
            else:
                network.kill(party)
                await asyncio.to_thread(restore, network, party, copy)
                await asyncio.to_thread(network.start, party)
            status = await _noticed(network, party, within=NOTICED_SECONDS if running else 0)
            assert status.returncode == 1
            assert "须恢复，现不受理任何请求 · RECOVERY NEEDED" in status.stdout
            assert f"{_group(party)} recover" in status.stdout
            report = await _recovered(network, party)
            kept = await asyncio.to_thread(operator, network, party, "recovery", "--json")
            assert json.loads(kept.stdout) == report
            assert (await asyncio.to_thread(operator, network, party, "status")).returncode == 0
            assert report["lost_commits"] > 0
            assert report["disputed"] == []
            assert (report["answers"] >= len(second)) == (party != HANGZHOU)
            again = await clients.platforms[SHANGHAI].stream([*first, *second], lambda count: None)
            assert again == answers, "a repeated request got another answer"
            await shopping.quiet(stage)
            await settling.settle(stage)
            await shopping.quiet(stage)
    assert not [answer for answer in map(answer_of, answers.values()) if answer.HasField("refusal")]
    _, checks = examine(network, clients.promises)
    assert [check.findings for check in checks if not check.holds] == []


async def _noticed(network: Network, party: str, within: float) -> subprocess.CompletedProcess[str]:
    """What `status` says once it says that something is wrong, or after so many seconds."""
    deadline = time.monotonic() + within
    while True:
        status = await asyncio.to_thread(operator, network, party, "status")
        if status.returncode or time.monotonic() > deadline:
            return status


async def _recovered(network: Network, party: str) -> dict[str, Any]:
    """The command's report, once every node has handed over what it holds."""
    without = [] if party == CLEARINGHOUSE else ["--without", PLATFORM]
    for _ in range(60):
        done = await asyncio.to_thread(operator, network, party, "recover", *without, "--json")
        if done.returncode == 0:
            return dict(json.loads(done.stdout))
        assert "handed over" in done.stderr or "UNAVAILABLE" in done.stderr, done.stderr
        await asyncio.sleep(0.5)
    raise AssertionError(f"{party} was not recovered: {done.stderr}")


def _away(stage: Stage) -> tuple[list[bytes], list[bytes]]:
    """Hangzhou's roaming vouchers, each redeemed once in Shanghai, in two halves."""
    items = []
    for voucher in stage.vouchers:
        if voucher.issuer == HANGZHOU and voucher.roaming != "never":
            purchase = stage.plan.purchase(voucher, SHANGHAI)
            item = redemption_pb2.RedemptionItem(request_id=stage.plan.request_id(), redeem=purchase)
            items.append(item.SerializeToString())
    assert len({request_id_of(each) for each in items}) == len(items) > 10
    return items[: len(items) // 2], items[len(items) // 2 :]
