"""Claims at a node: packs of five signed vouchers a second, as a payment platform gets them over gRPC with mutual TLS.

A round is claimed from its start until it is sold out, and then by those who come too late. Parts, each by itself with
`--only` (stages, unary, stream):

- packs_per_s: over one stream, 500 claims a message, 4 messages in flight, until the quota is gone; p50_ms, p99_ms are
  of a message from its sending to its answers,
- unary_per_s: one call a claim, 64 in flight; unary_p99_ms of a call,
- sold_out_per_s: claims over the stream that find nothing left; sold_out_p99_ms of a message,
- bytes_a_pack: what tables and indexes grew by in that rush,
- cpu_us_*: CPU of each process for a claim; of PostgreSQL that of all its processes,
- stage_us_*: CPU of the engine's thread for a pack in batches of 1,000, stage by stage, in this process,
- ratio_to_baseline: against the driver alone writing the rows that the run left, as many to a commit.

Figures without a suffix are of PostgreSQL. After each part counts and sums of the books are checked, and up to 10,000
packs by `quanlian ledger check`; a repeated claim must get the same bytes again. If something differs, nothing is
reported. `--count 1500000` is a rush as large as Hangzhou's.

    python benchmarks/claims.py --quick --json claims.json
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from rig.bare import seconds_to_write
from rig.load import UNARY_IN_FLIGHT
from rig.lone_node import LoneNode, in_this_process, publish, require_books, serving
from rig.machine import stored_bytes
from rig.parts import Figures, Run, parser, run
from rig.processes import CAMPAIGN, ISSUER
from rig.stages import Place, timed_stages
from rig.timing import Timed, batches, in_flight, timed

from chassis.postgresql import PostgresqlTransaction
from chassis.rows import Form
from chassis.sqlite import SqliteTransaction
from custodian import schema as books
from custodian.books import Books
from node import schema
from node.claiming import ClaimBatch
from node.engine import Engine
from node.service import NodeService
from pki.identity import Identity
from quanlian.ids import RANDOM_BYTES, uuid7
from quanlian.refusals import RefusalReason
from quanlian.terms import Terms
from quanlian.v1 import claim_pb2
from simulations.demo.setting import PLATFORM

USUAL, QUICK, BYTES_A_PACK = 50_000, 5_000, 5_000
PER_MESSAGE, MESSAGES_IN_FLIGHT = 500, 4
STAGED, WARM, UNARY_SHARE, LATE_SHARE = 3_000, 1_000, 20, 2
"""Packs claimed stage by stage and to warm up; of the count, one in so many by unary calls, one in so many too late."""

PARTS = ("stages", "unary", "stream")
REPORTED = ("packs_per_s", "packs_per_s_sqlite", "p99_ms", "ratio_to_baseline")
BARE_ROWS, CALL_SECONDS = 50_000, 60.0


class Rush:
    """Shoppers who claim, each once, and what they were told."""

    def __init__(self, node: LoneNode, stub: Any, round_id: str, before: int = 0) -> None:
        """`before` is how many packs others have."""
        self._node, self._stub, self._round, self._shoppers = node, stub, round_id, before
        self.packs = before

    def items(self, count: int) -> list[bytes]:
        """Claims of as many new shoppers, under time-ordered request ids as a platform makes them."""
        first, self._shoppers, at = self._shoppers, self._shoppers + count, time.time_ns() // 1_000_000
        return [
            claim_pb2.ClaimItem(
                request_id=uuid7(at + number // 20, os.urandom(RANDOM_BYTES)),
                campaign=CAMPAIGN,
                round=self._round,
                holder_id=f"bench-shopper-{first + number:08d}",
            ).SerializeToString()
            for number in range(count)
        ]

    async def timed(self, items: Sequence[bytes], work: Callable[..., Awaitable[list[bytes]]]) -> Timed:
        """Claim in one way, then see what was answered: packs first, and nothing else but that none is left."""
        found, answers = await timed(len(items), self._node.cpu, lambda latencies: work(items, latencies))
        refusals = [self._refusal(each) for each in answers]
        granted = refusals.count(None)
        if set(refusals) - {None, RefusalReason.QUOTA_EXHAUSTED} or len(answers) != len(items):
            raise SystemExit(f"claims were not answered as they must be: {set(refusals)}")
        self.packs += granted
        return found

    async def stream(self, items: Sequence[bytes], latencies: list[float]) -> list[bytes]:
        """Some messages in flight at any time; answers come in their order."""
        call, free = self._stub.ClaimStream(), asyncio.Semaphore(MESSAGES_IN_FLIGHT)
        messages = [claim_pb2.ClaimStreamRequest(items=each) for each in batches(items, PER_MESSAGE)]
        sent: list[float] = []

        async def write() -> None:
            for message in messages:
                await free.acquire()
                sent.append(time.perf_counter())
                await call.write(message)
            await call.done_writing()

        writing = asyncio.create_task(write())
        answers: list[bytes] = []
        for number in range(len(messages)):
            response: Any = await call.read()
            latencies.append(time.perf_counter() - sent[number])
            free.release()
            answers += response.answers
        await writing
        return answers

    async def unary(self, items: Sequence[bytes], latencies: list[float]) -> list[bytes]:
        answers: list[bytes] = []

        async def claim(item: bytes) -> None:
            response = await self._stub.Claim(claim_pb2.ClaimRequest(item=item), timeout=CALL_SECONDS)
            answers.append(response.answer)

        await in_flight(items, UNARY_IN_FLIGHT, claim, latencies)
        return answers

    @staticmethod
    def _refusal(content: bytes) -> RefusalReason | None:
        answer = claim_pb2.ClaimAnswer.FromString(content)
        return None if answer.token else RefusalReason(answer.refusal.reason)


async def measure(run: Run) -> Figures:
    """The quota is what the parts that run will claim; the rush comes last, and leaves nothing."""
    node, figures = LoneNode(run.folder / "network", run.url), Figures()
    shares = {"stages": STAGED, "unary": max(1, run.count // UNARY_SHARE), "stream": run.count}
    quota = WARM + sum(shares[part] for part in run.parts)
    node.create(int(time.time()))
    terms = await publish(node, quota)
    if "stages" in run.parts:
        seconds = _stages(node, terms)
        figures.values |= {f"stage_us_{stage}": 1e6 * each / STAGED for stage, each in seconds.items()}
    async with serving(node) as clients:
        before = STAGED if "stages" in run.parts else 0
        rush = Rush(node, clients.platforms[ISSUER]._claims, terms.rounds[0].id, before)
        first = rush.items(WARM)
        kept = await rush.stream(first, [])
        rush.packs += len(kept)
        if "unary" in run.parts:
            figures.add(_unary_figures(await rush.timed(rush.items(shares["unary"]), rush.unary)))
            require_books(node, rush.packs)
        if "stream" in run.parts:
            before = _stored(node)
            burst = await rush.timed(rush.items(run.count), rush.stream)
            figures.add(_burst_figures(burst))
            figures.values["bytes_a_pack"] = (_stored(node) - before) / run.count
            late = await rush.timed(rush.items(max(1, run.count // LATE_SHARE)), rush.stream)
            figures.add(_late_figures(late))
        if await rush.stream(first, []) != kept:
            raise SystemExit("a repeated claim got another answer")
    if rush.packs != quota:
        raise SystemExit(f"{rush.packs} packs were granted, the quota is {quota}")
    require_books(node, quota)
    if "stream" in run.parts:
        figures.values["ratio_to_baseline"] = burst.per_second / _bare_per_second(node, min(quota, BARE_ROWS))
    return figures


def _stored(node: LoneNode) -> int:
    with node.database() as database:
        return stored_bytes(database)


def _burst_figures(burst: Timed) -> Figures:
    return Figures(
        {
            "packs_per_s": burst.per_second,
            "p50_ms": burst.percentile_ms(50),
            "p99_ms": burst.percentile_ms(99),
            **{f"cpu_us_{party}": us for party, us in burst.cpu_us().items()},
        }
    )


def _unary_figures(unary: Timed) -> Figures:
    return Figures(
        {
            "unary_per_s": unary.per_second,
            "unary_p99_ms": unary.percentile_ms(99),
            **{f"cpu_us_unary_{party}": us for party, us in unary.cpu_us().items()},
        }
    )


def _late_figures(late: Timed) -> Figures:
    return Figures(
        {
            "sold_out_per_s": late.per_second,
            "sold_out_p99_ms": late.percentile_ms(99),
            **{f"cpu_us_sold_out_{party}": us for party, us in late.cpu_us().items()},
        }
    )


def _bare_per_second(node: LoneNode, packs: int) -> float:
    """Packs a second by the driver alone: what the node writes of each, a row of each table, as many to a commit."""
    tables: list[sa.Table] = [books.request, schema.pack, schema.holder_claim]
    commits = max(1, packs // (2 * PER_MESSAGE))
    return packs / seconds_to_write(node.party_url(ISSUER), node.party_schema(ISSUER), tables, commits, packs)


def _stages(node: LoneNode, terms: Terms) -> Mapping[str, float]:
    """CPU seconds of the engine's thread by stage, claims decided in batches of 1,000 in this process."""
    rush, caller = Rush(node, None, terms.rounds[0].id), Identity(ISSUER, "platform", PLATFORM)
    transaction = PostgresqlTransaction if node.database_url else SqliteTransaction
    places: dict[str, Place] = {
        "read": (NodeService, "read_claims"),
        "look_up": (transaction, "select_keys"),
        "decide": (ClaimBatch, "decide"),
        "sign": (ClaimBatch, "_sign"),
        "rows": (ClaimBatch, "seal"),
        "seals": (Form, "columns" if node.database_url else "completed"),
        "write": (transaction, "_store"),
        "books": (Books, "save"),
        "commit": (sa.engine.RootTransaction, "commit"),
        "rest": (Engine, "decide_together"),
    }
    with in_this_process(node) as service, timed_stages(places) as seconds:
        for items in batches(rush.items(STAGED), 1_000):
            service.engine.decide_together(service.read_claims(caller, items))
    return seconds


def main() -> None:
    options = parser("claims", PARTS, USUAL, QUICK).parse_args()
    run("claims", options, measure, lambda database: PARTS, BYTES_A_PACK, REPORTED)


if __name__ == "__main__":
    main()
