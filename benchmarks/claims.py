"""Claims at a node: packs of five signed vouchers a second, as a payment platform gets them over gRPC with mutual TLS.

- packs_per_s: over one stream, 200 claims a message, the next message when the one before is answered; p99_ms is of a
  message,
- unary_per_s: one call a claim, 64 in flight; unary_p99_ms of a call,
- cpu_us_*: CPU of each process for a pack over the stream; the database server's own is not in it,
- ratio_to_baseline: against the driver alone writing the rows that the run left, as many to a commit.

Figures without a suffix are of PostgreSQL. After each part every party's books are checked; if they do not balance,
nothing is reported.

    python benchmarks/claims.py --quick --json claims.json
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rig.bare import seconds_to_write
from rig.parts import run
from rig.processes import CAMPAIGN, IN_FLIGHT, ISSUER, PER_MESSAGE, Field, Figures, batches, in_flight, serving

from custodian import schema as books
from node import schema
from quanlian.v1 import claim_pb2

USUAL, QUICK, BYTES_A_PACK = 20_000, 2_000, 8_000
CALL_SECONDS = 60.0


async def measure(folder: Path, url: str, count: int) -> Figures:
    async with serving(folder, url) as field:
        await field.claim(range(PER_MESSAGE))
        streamed = _items(field, count, 1_000_000)
        stream = await field.timed(count, lambda latencies: _stream(field, streamed, latencies))
        single = _items(field, count // 10, 2_000_000)
        unary = await field.timed(len(single), lambda latencies: _unary(field, single, latencies))
        network = field.stage.network
    bare_s = seconds_to_write(
        network.party_url(ISSUER), network.party_schema(ISSUER), _written(), (count + len(single)) // PER_MESSAGE
    )
    packs = count + len(single) + PER_MESSAGE
    return {
        "packs_per_s": stream.per_second,
        "p50_ms": stream.percentile_ms(50),
        "p99_ms": stream.percentile_ms(99),
        "unary_per_s": unary.per_second,
        "unary_p99_ms": unary.percentile_ms(99),
        "ratio_to_baseline": stream.per_second / (packs / bare_s),
        **{f"cpu_us_{party}": us for party, us in stream.cpu_us().items()},
        **{f"cpu_us_unary_{party}": us for party, us in unary.cpu_us().items()},
    }


def _written() -> list[sa.Table]:
    """What the node writes of each pack, a row or more."""
    return [books.request, schema.pack, schema.holder_claim]


def _items(field: Field, count: int, first: int) -> list[bytes]:
    plan, terms = field.stage.plan, field.stage.terms
    return [plan.claim(ISSUER, CAMPAIGN, terms, first + number).item for number in range(count)]


async def _stream(field: Field, items: list[bytes], latencies: list[float]) -> None:
    call = field.stage.clients.platforms[ISSUER]._claims.ClaimStream()
    for message in batches(items, PER_MESSAGE):
        began = time.perf_counter()
        await call.write(claim_pb2.ClaimStreamRequest(items=message))
        response: Any = await call.read()
        latencies.append(time.perf_counter() - began)
        for each in response.answers:
            _require_pack(each)
    await call.done_writing()


async def _unary(field: Field, items: list[bytes], latencies: list[float]) -> None:
    stub = field.stage.clients.platforms[ISSUER]._claims

    async def claim(item: bytes) -> None:
        _require_pack((await stub.Claim(claim_pb2.ClaimRequest(item=item), timeout=CALL_SECONDS)).answer)

    await in_flight(items, IN_FLIGHT, claim, latencies)


def _require_pack(content: bytes) -> None:
    answer = claim_pb2.ClaimAnswer.FromString(content)
    if not answer.token:
        raise SystemExit(f"a claim was refused: {answer.refusal}")


if __name__ == "__main__":
    run("claims", measure, USUAL, QUICK, BYTES_A_PACK)
