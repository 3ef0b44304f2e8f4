"""What ends when a party's database turns out to be an older copy: every stream, and nothing but those."""

from __future__ import annotations

import asyncio
from random import SystemRandom

import pytest

from custodian.continuity import Continuity
from custodian.lineage import RecoveryNeeded

STREAMS = 30


async def broken_under_streams() -> list[int]:
    """The streams in the order in which they were ended."""
    continuity, ended, lying_between = Continuity("recover"), list[int](), []

    async def stream(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    async def keep(number: int) -> None:
        with pytest.raises(RecoveryNeeded, match="an older copy — the operator runs: recover"):
            await continuity.while_serving(stream(number))

    kept = []
    for number in range(STREAMS):
        kept.append(asyncio.create_task(keep(number)))
        lying_between.append(bytearray(SystemRandom().randrange(1, 2000)))
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    continuity.breaks("an older copy")
    await asyncio.gather(*kept)
    return ended


def test_streams_end_in_the_order_in_which_they_began() -> None:
    assert asyncio.run(broken_under_streams()) == list(range(STREAMS))


def test_a_stream_that_begins_at_a_broken_party_ends_at_once() -> None:
    async def begun() -> None:
        continuity = Continuity("recover")
        continuity.breaks("an older copy")
        with pytest.raises(RecoveryNeeded, match="an older copy"):
            await continuity.while_serving(asyncio.Event().wait())

    asyncio.run(begun())


def test_who_ends_a_stream_from_outside_is_not_told_of_a_recovery() -> None:
    async def ended() -> None:
        stream = asyncio.create_task(Continuity("recover").while_serving(asyncio.Event().wait()))
        await asyncio.sleep(0)
        stream.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stream

    asyncio.run(ended())
