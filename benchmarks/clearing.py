"""Redemptions in another region: how many a second go from payment platform through the redeeming node to the
clearinghouse and back, over gRPC with mutual TLS, signed, checked and durable at both.

- stream_per_s: over one stream, 200 a message, two messages in flight, vouchers at the clearinghouse already,
- release_per_s: the same for vouchers that the issuing node is asked for first,
- unary_per_s: one call a redemption, 64 in flight; unary_p99_ms of a call,
- p99_ms_at_half: of a message, sent at half the rate of the stream,
- cpu_us_*: CPU of each process for a redemption over the stream; the database server's own is not in it,
- ratio_to_baseline: against the driver alone writing the rows that the run left at the clearinghouse.

Figures without a suffix are of PostgreSQL. After each part every party's books are checked; if they do not balance,
nothing is reported.

    python benchmarks/clearing.py --quick --json clearing.json
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rig.bare import seconds_to_write
from rig.parts import run
from rig.processes import AWAY, IN_FLIGHT, PER_MESSAGE, Field, Figures, batches, in_flight, serving

from clearinghouse import schema
from custodian import schema as books
from custodian.servicer import sign_items
from quanlian.v1 import redemption_pb2
from simulations.demo.client import PlatformClient
from simulations.demo.plan import HeldVoucher
from simulations.demo.setting import CLEARINGHOUSE

USUAL, QUICK, BYTES_A_REDEMPTION = 10_000, 1_000, 25_000
MESSAGES_IN_FLIGHT = 2
PACK, HALF_IN, UNARY_IN = 5, 2, 5
"""Vouchers a pack; half as many redemptions at half rate, a fifth by unary calls."""


async def measure(folder: Path, url: str, count: int) -> Figures:
    half, single = count // HALF_IN, count // UNARY_IN
    async with serving(folder, url) as field:
        vouchers = await field.claim(range((count + half + single) * 2 // PACK + 1))
        first, later = vouchers[: count // 2], vouchers[count // 2 :]
        client = field.stage.clients.platforms[AWAY]
        items = _items(field, first)
        release = await field.timed(len(items), lambda latencies: _stream(client, items, latencies))
        await _bring_over(field, client, later[: count + half + single])
        streamed = _items(field, later[:count])
        stream = await field.timed(count, lambda latencies: _stream(client, streamed, latencies))
        paced = _items(field, later[count : count + half])
        pause_s = PER_MESSAGE / (stream.per_second / 2)
        slow = await field.timed(half, lambda latencies: _stream(client, paced, latencies, pause_s))
        one_by_one = _items(field, later[count + half : count + half + single])
        unary = await field.timed(single, lambda latencies: _unary(client, one_by_one, latencies))
        network = field.stage.network
    written = len(first) + count + half + single
    bare_s = seconds_to_write(
        network.party_url(CLEARINGHOUSE), network.party_schema(CLEARINGHOUSE), _written(), written // PER_MESSAGE
    )
    return {
        "stream_per_s": stream.per_second,
        "release_per_s": release.per_second,
        "unary_per_s": unary.per_second,
        "unary_p99_ms": unary.percentile_ms(99),
        "p99_ms_at_full": stream.percentile_ms(99),
        "p50_ms_at_half": slow.percentile_ms(50),
        "p99_ms_at_half": slow.percentile_ms(99),
        "ratio_to_baseline": stream.per_second / (written / bare_s),
        **{f"cpu_us_{party}": us for party, us in stream.cpu_us().items()},
    }


def _written() -> Sequence[sa.Table]:
    """What the clearinghouse writes of each redemption, a row or more."""
    return [books.request, books.redemption, books.posting, books.spend, books.voucher, schema.proof, schema.feed]


def _items(field: Field, vouchers: Sequence[HeldVoucher]) -> list[bytes]:
    plan = field.stage.plan
    return [
        redemption_pb2.RedemptionItem(
            request_id=plan.request_id(), redeem=plan.purchase(each, AWAY)
        ).SerializeToString()
        for each in vouchers
    ]


async def _bring_over(field: Field, client: PlatformClient, vouchers: Sequence[HeldVoucher]) -> None:
    """Hold each voucher away and void the hold: it stays in the clearinghouse's custody."""
    plan = field.stage.plan
    holds = [
        redemption_pb2.RedemptionItem(request_id=plan.request_id(), authorize=plan.purchase(each, AWAY))
        for each in vouchers
    ]
    answers = await client.stream([each.SerializeToString() for each in holds], lambda done: None)
    voids = []
    for content in answers.values():
        answer = redemption_pb2.RedemptionAnswer.FromString(content)
        _require_accepted(answer)
        void = redemption_pb2.Void(redemption_id=answer.redemption_id)
        voids.append(redemption_pb2.RedemptionItem(request_id=plan.request_id(), void=void).SerializeToString())
    await client.stream(voids, lambda done: None)


async def _stream(client: PlatformClient, items: Sequence[bytes], latencies: list[float], pause_s: float = 0.0) -> None:
    """Messages signed before; a message's latency is until the last of its answers."""
    messages = [sign_items(each, client._signer) for each in batches(items, PER_MESSAGE)]
    call = client._redemptions.RedeemStream()
    room, sent = asyncio.Semaphore(len(messages) if pause_s else MESSAGES_IN_FLIGHT), list[list[float]]()

    async def write() -> None:
        began = time.perf_counter()
        for number, message in enumerate(messages):
            if pause_s:
                await asyncio.sleep(max(0.0, began + number * pause_s - time.perf_counter()))
            await room.acquire()
            sent.append([time.perf_counter(), len(message.items)])
            await call.write(message)

    writing, answered = asyncio.create_task(write()), 0
    while answered < len(items):
        response: Any = await call.read()
        for content in response.answers:
            _require_accepted(redemption_pb2.RedemptionAnswer.FromString(content))
        answered += len(response.answers)
        left = answered - PER_MESSAGE * len(latencies)
        while len(latencies) < len(sent) and left >= sent[len(latencies)][1]:
            left -= int(sent[len(latencies)][1])
            latencies.append(time.perf_counter() - sent[len(latencies)][0])
            room.release()
    await writing
    await call.done_writing()


async def _unary(client: PlatformClient, items: Sequence[bytes], latencies: list[float]) -> None:
    async def redeem(item: bytes) -> None:
        _require_accepted(redemption_pb2.RedemptionAnswer.FromString(await client.call("redeem", item)))

    await in_flight(items, IN_FLIGHT, redeem, latencies)


def _require_accepted(answer: redemption_pb2.RedemptionAnswer) -> None:
    if answer.HasField("refusal"):
        raise SystemExit(f"a redemption was refused: {answer.refusal}")


if __name__ == "__main__":
    run("clearing", measure, USUAL, QUICK, BYTES_A_REDEMPTION)
