"""Redemptions in another region: how many a second, over gRPC with mutual TLS, signed, checked and durable.

Parts, each by itself with `--only`; figures without a suffix are of PostgreSQL:

- stream: messages of 250 signed before and sent straight to the clearinghouse, 8 in flight: stream_per_s, the plain
  suite's stream_ed25519_per_s, p50 and p99 of a message, CPU of each process for a redemption, ratio_to_baseline
  against the driver alone writing the rows that the run left,
- unary: one call a redemption, 64 in flight: unary_per_s, p50 and p99 of a call, unary_ratio_to_echo against gRPC alone
  with the same requests,
- half: p50_ms_at_half and p99_ms_at_half of a message of 100, at half the rate that the stream has in the same minute,
- bad-signatures: a good sender's rate alone, and beside another of whose vouchers 0, 1 and 50 % have a false signature,
- dry-funder: all from a region whose fund for visitors has no money left, so that the issuer pays,
- cap: of every two vouchers one is of a region that may owe no more, and refused,
- workers: two senders to one process of the clearinghouse, and to two over one database,
- node: the stream and unary calls through the redeeming region's real node,
- release: through the nodes, 0, 5 and 20 % of the vouchers still with their issuer,
- growth: the rate with many redemptions stored, by name only (rig/growth.py).

After each part counts and sums of the books are checked, at the end the whole ledger up to 100,000 redemptions; if
something differs, nothing is reported.

    python benchmarks/clearing.py --quick --json clearing.json
    python benchmarks/clearing.py --only growth --database postgresql --stored 0 1000000 5000000
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType

import sqlalchemy as sa
from rig import growth
from rig.bare import seconds_to_write
from rig.books import require_balance
from rig.echo import echoed, echoing
from rig.load import UNARY_IN_FLIGHT, Sender, require_answers
from rig.lone_clearinghouse import LoneClearinghouse
from rig.parts import Figures, Run, parser, run
from rig.through_node import through_nodes
from rig.timing import Timed
from rig.traffic import purchase_item, spoilt

from clearinghouse import schema
from custodian import schema as books
from quanlian.refusals import RefusalReason
from quanlian.v1.redemption_pb2 import RedeemStreamResponse
from quanlian.vouchers import SUITE_ED25519, SUITE_ED25519_BATCH
from simulations.demo.setting import CLEARINGHOUSE

USUAL, QUICK, BYTES_A_REDEMPTION = 20_000, 1_000, 12_000
PER_MESSAGE, PER_MESSAGE_AT_HALF, BATCH = 250, 100, 1_000
BAD_PERCENT = (0, 1, 50)
SENDER, OTHER, DRY, CAPPED = "310000", "320100", "330100", "340100"
"""Regions that redeem, the third with an empty fund, and one whose vouchers are refused at its cap."""

Refused = Mapping[RefusalReason, int]
Part = Callable[[LoneClearinghouse, int], Awaitable[Figures]]


async def stream(house: LoneClearinghouse, count: int) -> Figures:
    sender = house.senders[0]
    items = await _items(house, sender, count)
    full = await _streamed(house, sender, items)
    plain = await _streamed(house, sender, await _items(house, sender, count, SUITE_ED25519))
    written = await asyncio.to_thread(_bare_per_second, house, count)
    return Figures(
        {
            "stream_per_s": full.per_second,
            "stream_ed25519_per_s": plain.per_second,
            "item_bytes": sum(map(len, items)) / count,
            "p50_ms_at_full": full.percentile_ms(50),
            "p99_ms_at_full": full.percentile_ms(99),
            "ratio_to_baseline": full.per_second / written,
            **{f"cpu_us_{party}": us for party, us in full.cpu_us().items()},
            **{f"cpu_us_ed25519_{party}": us for party, us in plain.cpu_us().items()},
        }
    )


async def unary(house: LoneClearinghouse, count: int) -> Figures:
    sender, count = house.senders[0], count // 2
    calls = sender.calls(await _items(house, sender, count))
    found, responses = await house.timed(count, lambda latencies: sender.unary(calls, latencies))
    _accept(house, responses, count)
    async with echoing(house.tls_of(CLEARINGHOUSE), house.tls_of(sender.region)) as stub:
        bare, _ = await house.timed(count, lambda latencies: echoed(stub, calls, UNARY_IN_FLIGHT, latencies))
    return Figures(
        {
            "unary_per_s": found.per_second,
            "unary_ratio_to_echo": found.per_second / bare.per_second,
            "unary_p50_ms": found.percentile_ms(50),
            "unary_p99_ms": found.percentile_ms(99),
            **{f"cpu_us_unary_{party}": us for party, us in found.cpu_us().items()},
        }
    )


async def half(house: LoneClearinghouse, count: int) -> Figures:
    sender = house.senders[0]
    full = await _streamed(house, sender, await _items(house, sender, count))
    items = await _items(house, sender, count // 2)
    messages = sender.messages(items, PER_MESSAGE_AT_HALF)
    pause_s = PER_MESSAGE_AT_HALF / (full.per_second / 2)
    found, responses = await house.timed(len(items), lambda latencies: sender.stream(messages, latencies, pause_s))
    _accept(house, responses, len(items))
    return Figures({"p50_ms_at_half": found.percentile_ms(50), "p99_ms_at_half": found.percentile_ms(99)})


async def bad_signatures(house: LoneClearinghouse, count: int) -> Figures:
    """The flood has twice as many, so that it lasts as long as the good sender's."""
    good, flood = house.senders[:2]
    alone = await _streamed(house, good, await _items(house, good, count // 2))
    figures = Figures({"good_alone_per_s": alone.per_second})
    for percent in BAD_PERCENT:
        bad = count * percent // 100
        items = await _items(house, flood, count - bad)
        items += [spoilt(items[0], house.issuer.fresh()) for _ in range(bad)]
        house.issuer.random.shuffle(items)
        beside = await _items(house, good, count // 2)
        found, flooded = await asyncio.gather(
            _streamed(house, good, beside), _streamed(house, flood, items, {RefusalReason.BAD_SIGNATURE: bad})
        )
        figures.values[f"good_beside_{percent}_percent_bad_per_s"] = found.per_second
        figures.values[f"flood_of_{percent}_percent_bad_per_s"] = flooded.per_second
    return figures


async def dry_funder(house: LoneClearinghouse, count: int) -> Figures:
    """The first half finds money, which ends with it."""
    sender = next(each for each in house.senders if each.region == DRY)
    before = await _streamed(house, sender, await _items(house, sender, count // 2))
    await house.fund(DRY, await house.spent_fen(DRY))
    dry = await _streamed(house, sender, await _items(house, sender, count // 2))
    await house.fund(DRY)
    return Figures(
        {
            "dry_funder_per_s": dry.per_second,
            "dry_funder_ratio": dry.per_second / before.per_second,
            "cpu_us_dry_funder_clearinghouse": dry.cpu_us()[CLEARINGHOUSE],
            "cpu_us_funded_clearinghouse": before.cpu_us()[CLEARINGHOUSE],
        }
    )


async def cap(house: LoneClearinghouse, count: int) -> Figures:
    sender, refused = house.senders[0], count // 2
    await house.cap(CAPPED, 0)
    items = [
        *await _items(house, sender, count - refused, issuer=OTHER),
        *await _items(house, sender, refused, issuer=CAPPED),
    ]
    house.issuer.random.shuffle(items)
    found = await _streamed(house, sender, items, {RefusalReason.DEBIT_CAP_EXCEEDED: refused})
    await house.cap(CAPPED)
    return Figures({"cap_per_s": found.per_second, "cpu_us_cap_clearinghouse": found.cpu_us()[CLEARINGHOUSE]})


HOUSE_PARTS: dict[str, Part] = {
    "stream": stream,
    "unary": unary,
    "half": half,
    "bad-signatures": bad_signatures,
    "dry-funder": dry_funder,
    "cap": cap,
}
THROUGH_NODES = ("node", "release")
PARTS = (*HOUSE_PARTS, "workers", *THROUGH_NODES, "growth")
REPORTED = ("stream_per_s", "unary_per_s", "p99_ms_at_half", "ratio_to_baseline", "ratio_at_20m")


def usual_parts(database: str) -> Sequence[str]:
    """All but growth; of SQLite, what is to be compared with PostgreSQL."""
    return ("stream", "unary", "half") if database == "sqlite" else PARTS[:-1]


async def measure(run: Run, stored: Sequence[int], lean: bool) -> Figures:
    figures, alone = Figures(), [name for name in run.parts if name in HOUSE_PARTS]
    if alone or "workers" in run.parts:
        house = LoneClearinghouse(run.folder / "alone", run.url)
        await house.create()
        async with house.serving(SENDER, OTHER, DRY) as senders:
            await _warm_up(house, senders)
            for name in alone:
                figures.add(await HOUSE_PARTS[name](house, run.count))
                house.require_books()
        if "workers" in run.parts:
            figures.add(await workers(house, run))
        require_balance(house.database, 1, house.captured)
        house.close()
    if set(THROUGH_NODES) & set(run.parts):
        figures.add(await through_nodes(run))
    if "growth" in run.parts:
        figures.add(await growth.growth(run, stored, lean))
    return figures


async def workers(house: LoneClearinghouse, run: Run) -> Figures:
    if not run.url:
        return Figures(missing={"workers_2_per_s": "SQLite has one writer"})
    figures = Figures()
    for processes in (1, 2):
        async with house.serving(SENDER, OTHER, processes=processes) as senders:
            await _warm_up(house, senders)
            loads = [(each, await _items(house, each, run.count // 2)) for each in senders]
            found = await asyncio.gather(*[_streamed(house, *load) for load in loads])
        house.require_books()
        figures.values[f"workers_{processes}_per_s"] = run.count / max(each.wall_s for each in found)
    return figures


async def _warm_up(house: LoneClearinghouse, senders: Sequence[Sender]) -> None:
    """Each connection made, and what a new process remembers of campaigns and regions learnt."""
    for each in senders:
        await _streamed(house, each, await _items(house, each, PER_MESSAGE))


async def _items(
    house: LoneClearinghouse, sender: Sender, count: int, suite: int = SUITE_ED25519_BATCH, issuer: str = ""
) -> list[bytes]:
    return [purchase_item(each, house.issuer) for each in await house.vouchers(sender.region, count, suite, issuer)]


async def _streamed(
    house: LoneClearinghouse, sender: Sender, items: Sequence[bytes], refused: Refused = MappingProxyType({})
) -> Timed:
    """Signed, then sent on end; all are accepted but so many."""
    messages = sender.messages(items, PER_MESSAGE)
    found, responses = await house.timed(len(items), lambda latencies: sender.stream(messages, latencies))
    _accept(house, responses, len(items), refused)
    return found


def _accept(
    house: LoneClearinghouse, responses: list[RedeemStreamResponse], count: int, refused: Refused = MappingProxyType({})
) -> None:
    accepted = count - sum(refused.values())
    require_answers(responses, accepted, refused, house.setting.keyring)
    house.captured += accepted


def _bare_per_second(house: LoneClearinghouse, count: int) -> float:
    """Redemptions a second by the driver alone: the rows of each that the clearinghouse writes, as many to a commit."""
    tables: list[sa.Table] = [
        books.request,
        books.redemption,
        books.posting,
        books.spend,
        schema.proof,
        schema.feed,
    ]
    return count / seconds_to_write(house.url, house.schema, tables, max(1, count // BATCH), count)


def main() -> None:
    options = parser("clearing", PARTS, USUAL, QUICK)
    options.add_argument("--stored", type=int, nargs="+", default=growth.SIZES, help="redemptions stored, for growth")
    options.add_argument(
        "--lean",
        action="store_true",
        help="store them without their answers and feeds, whose keys come in order of time: two thirds of the disk",
    )
    given = options.parse_args()
    run(
        "clearing",
        given,
        lambda each: measure(each, given.stored, given.lean),
        usual_parts,
        BYTES_A_REDEMPTION,
        REPORTED,
    )


if __name__ == "__main__":
    main()
