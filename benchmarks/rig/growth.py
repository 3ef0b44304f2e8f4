"""Growth: what a clearinghouse does with many redemptions stored, how much they take, and how long it needs to start.

The books are made in bulk (rig/bulk.py), from size to size in one database, and before anything is timed the server
finishes what filling left to it and has in its buffers what every redemption looks up: vouchers, their key and that of
`spend`. What is redeemed then are vouchers left over from all hand-overs: not in the order of issue, and not at the end
of what is stored. In the middle of a stream the process is killed; started again, it gets everything once more, and
must have accepted each once. Just before and just after a clearinghouse without a past does the same on the same
server: a machine may be half as fast an hour later.

- growth_per_s_SIZE, cpu_us_growth_*_SIZE: the stream with so many stored, and CPU of each process for a redemption,
- empty_beside_per_s_SIZE, cpu_us_empty_beside_*_SIZE: over empty books, before and after,
- ratio_at_SIZE: of these rates; cpu_ratio_at_SIZE: of their CPU of clearinghouse and database together,
- bytes_a_redemption_SIZE, log_bytes_a_redemption_SIZE: what tables and indexes, and the log, grew by in that stream,
- stored_gb_SIZE: tables and indexes, all in all,
- fill_cpu_us_SIZE: what making one of them took here, without the database server,
- start_s_SIZE: until a process serves; recovery_s_SIZE: after SIGKILL, until it has answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence

from grpc.aio import AioRpcError
from rich.console import Console

from chassis.console import progress
from quanlian.errors import Unavailable
from rig.books import require_balance
from rig.bulk import Bulk
from rig.issuing import Issued
from rig.load import Sender, require_answers
from rig.lone_clearinghouse import LoneClearinghouse
from rig.machine import bring_in, durability, log_bytes, settle, stored_bytes
from rig.parts import Figures, Run
from rig.timing import CLIENT, Timed
from rig.traffic import purchase_item

SIZES = (0, 1_000_000, 5_000_000, 20_000_000)
SENDER = "310000"
PER_MESSAGE, WARM, KILLED_IN = 250, 1_000, 4
"""Items a message, redemptions to warm up, and a part of the count during which the process is killed."""

BYTES_FILLED = 5_000
"""Of a redemption made in bulk, before that was measured: tables, indexes and the log that PostgreSQL keeps."""


async def growth(run: Run, sizes: Sequence[int], lean: bool) -> Figures:
    """`lean`: what is stored has no answers and feeds."""
    house = LoneClearinghouse(run.folder / "growth", run.url, "growth")
    figures, bytes_each = Figures(), float(BYTES_FILLED)
    await house.create()
    console = Console(stderr=True)
    console.print(durability(house.database))
    for size in sizes:
        name = _name(size)
        if why := _no_room(run, size - house.captured, bytes_each):
            figures.missing[f"ratio_at_{name}"] = why
            continue
        before, stored, cpu = house.captured, stored_bytes(house.database), time.process_time()
        vouchers = await _fill(house, size, WARM + run.count + run.count // KILLED_IN, lean)
        if made := house.captured - before:
            bytes_each = (stored_bytes(house.database) - stored) / made
            figures.values[f"fill_cpu_us_{name}"] = 1e6 * (time.process_time() - cpu) / made
        try:
            async with _without_a_past(run, name) as empty:
                measured = await _measure(house, empty, vouchers, run.count)
        except (AioRpcError, Unavailable) as error:
            words = error.details() if isinstance(error, AioRpcError) else error
            figures.missing[f"ratio_at_{name}"] = f"not answered in time: {words}"
            house.captured = house.redeemed()
            break
        figures.values |= {f"{figure}_{name}": value for figure, value in measured.items()}
        console.print(f"{size:,} stored:", {figure: round(each, 3) for figure, each in measured.items()})
    if lean:  # without answers `quanlian ledger check` would miss them
        house.require_books()
    else:
        require_balance(house.database, 1, house.captured)
    house.close()
    return figures


@contextlib.asynccontextmanager
async def _without_a_past(run: Run, name: str) -> AsyncIterator[LoneClearinghouse]:
    """A new clearinghouse on the same server; its books are checked when it has served."""
    empty = LoneClearinghouse(run.folder / f"empty_{name}", run.url, f"empty_{name}")
    await empty.create()
    try:
        yield empty
        require_balance(empty.database, 1, empty.captured)
    finally:
        empty.close()


def _name(size: int) -> str:
    """20m for 20,000,000, 50k for 50,000."""
    for unit, letter in ((10**6, "m"), (10**3, "k")):
        if size and size % unit == 0:
            return f"{size // unit}{letter}"
    return str(size)


def _no_room(run: Run, more: int, bytes_each: float) -> str:
    """Says what so many more will take; why they cannot be stored, if they cannot."""
    need, free = more * bytes_each / 1e9, shutil.disk_usage(run.folder).free / 1e9
    words = f"{max(0, more):,} more redemptions need about {need:.1f} GB of disk, {free:.0f} GB are free"
    Console(stderr=True).print(words)
    return words if need > free else ""


async def _fill(house: LoneClearinghouse, size: int, wanted: int, lean: bool) -> list[Issued]:
    """As many stored as `size`; at least `wanted` vouchers of other regions that can be redeemed."""
    more = size - house.captured
    if more <= 0:
        return await house.vouchers(SENDER, wanted)
    with progress() as shown:
        task = shown.add_task(f"{size:,} stored", total=more)
        bulk, spared = Bulk(house.setting, house.service, house.issuer), wanted * 11 // 10
        left = await asyncio.to_thread(
            bulk.load, house.campaigns, more, not lean, lambda count: shown.advance(task, count), spared
        )
    house.captured += more
    house.require_books()
    found = [each for each in left if each.state.key.issuer != SENDER]
    house.issuer.random.shuffle(found)
    return found[:wanted]


async def _measure(
    house: LoneClearinghouse, empty: LoneClearinghouse, vouchers: Sequence[Issued], count: int
) -> dict[str, float]:
    items = [purchase_item(each, house.issuer) for each in vouchers]
    settle(house.database)
    bring_in(house.database, "voucher", "voucher_pkey", "spend_pkey")
    earlier = await _over_empty_books(empty, count)
    began = time.perf_counter()
    async with house.serving(SENDER) as (sender,):
        start_s = time.perf_counter() - began
        await _redeem(house, sender, items[:WARM])
        before, log = stored_bytes(house.database), log_bytes(house.database)
        found = await _timed(house, sender, items[WARM : WARM + count])
        grown = {"bytes_a_redemption": (stored_bytes(house.database) - before) / count}
        if log is not None:
            grown["log_bytes_a_redemption"] = ((log_bytes(house.database) or 0) - log) / count
        recovery_s = await _kill(house, items[WARM + count :])
    house.require_books()
    beside = _together(earlier, await _over_empty_books(empty, count))
    cpu, cpu_beside = _cpu_us(found), _cpu_us(beside)
    return {
        "growth_per_s": found.per_second,
        "ratio_at": found.per_second / beside.per_second,
        "cpu_ratio_at": sum(cpu_beside.values()) / sum(cpu.values()),
        **{f"cpu_us_growth_{party}": us for party, us in cpu.items()},
        "empty_beside_per_s": beside.per_second,
        **{f"cpu_us_empty_beside_{party}": us for party, us in cpu_beside.items()},
        **grown,
        "stored_gb": stored_bytes(house.database) / 1e9,
        "start_s": start_s,
        "recovery_s": recovery_s,
    }


async def _over_empty_books(empty: LoneClearinghouse, count: int) -> Timed:
    items = [purchase_item(each, empty.issuer) for each in await empty.vouchers(SENDER, WARM + count)]
    async with empty.serving(SENDER) as (sender,):
        await _redeem(empty, sender, items[:WARM])
        return await _timed(empty, sender, items[WARM:])


async def _timed(house: LoneClearinghouse, sender: Sender, items: Sequence[bytes]) -> Timed:
    messages = sender.messages(items, PER_MESSAGE)
    found, responses = await house.timed(len(items), lambda latencies: sender.stream(messages, latencies))
    require_answers(responses, len(items), {}, house.setting.keyring)
    house.captured += len(items)
    return found


def _together(earlier: Timed, later: Timed) -> Timed:
    cpu_s = Counter(earlier.cpu_s) + Counter(later.cpu_s)
    return Timed(earlier.requests + later.requests, earlier.wall_s + later.wall_s, cpu_s=cpu_s)


def _cpu_us(found: Timed) -> dict[str, float]:
    return {party: us for party, us in found.cpu_us().items() if party != CLIENT}


async def _redeem(house: LoneClearinghouse, sender: Sender, items: Sequence[bytes]) -> None:
    responses = await sender.stream(sender.messages(items, PER_MESSAGE), [])
    require_answers(responses, len(items), {}, house.setting.keyring)
    house.captured += len(items)


async def _kill(house: LoneClearinghouse, items: Sequence[bytes]) -> float:
    """Seconds from the new start to its first answer; the same messages, of which some were decided before."""
    sender, latencies = house.senders[0], list[float]()
    broken = asyncio.create_task(sender.stream(sender.messages(items, PER_MESSAGE), latencies))
    while not latencies and not broken.done():
        await asyncio.sleep(0.001)
    house.kill()
    await asyncio.gather(broken, return_exceptions=True)
    began = time.perf_counter()
    await house.start_again()
    (sender,) = house.senders
    responses = await sender.stream(sender.messages(items[:1], 1), [])
    recovery_s = time.perf_counter() - began
    require_answers(responses, 1, {}, house.setting.keyring)
    house.captured += 1
    await _redeem(house, sender, items[1:])
    return recovery_s
