"""Redemptions through the redeeming region's real node, which stores, signs, sends and books each on the same cores.

The vouchers are claimed at a real issuing node. Those that must not cost a release were held away before, and the hold
voided: they stay in the clearinghouse's custody.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence

from chassis.database import Database
from custodian.servicer import sign_items
from quanlian.v1 import redemption_pb2
from rig.load import UNARY_IN_FLIGHT, stream
from rig.machine import stored_bytes
from rig.parts import Figures, Run
from rig.processes import AWAY, SEED, Field, serving
from rig.timing import Timed, batches, in_flight, timed
from simulations.demo.client import PlatformClient
from simulations.demo.plan import HeldVoucher

PER_MESSAGE, PACK, UNARY_IN, RELEASE_IN = 200, 5, 2, 4
"""Items a message, vouchers a pack; of the count, one in so many by unary calls, and for each mix with releases."""

RELEASED_TOGETHER = 500
"""So few are asked of their issuer at once that it can answer for each in the time that the clearinghouse gives it."""

RELEASED_PERCENT = (0, 5, 20)
"""Vouchers of a hundred that their issuer must be asked for first."""


async def through_nodes(run: Run) -> Figures:
    """The parts `node` and `release`, over one network; every party's books are checked at their end."""
    figures = Figures()
    async with serving(run.folder / "network", run.url) as field:
        platform = _Platform(field)
        for name, part in {"node": _node, "release": _release}.items():
            if name in run.parts:
                figures.add(await part(platform, run.count))
    return figures


async def _node(platform: _Platform, count: int) -> Figures:
    """stream_through_node_per_s, unary_through_node_per_s, CPU of each process for a redemption."""
    vouchers = await platform.vouchers(count + count // UNARY_IN)
    await platform.bring_over(vouchers)
    before = platform.stored()
    streamed = await platform.stream(vouchers[:count])
    grown = (platform.stored() - before) / count
    unary = await platform.unary(vouchers[count:])
    return Figures(
        {
            "stream_through_node_per_s": streamed.per_second,
            "bytes_a_redemption_at_node": grown,
            "p50_ms_through_node": streamed.percentile_ms(50),
            "p99_ms_through_node": streamed.percentile_ms(99),
            "unary_through_node_per_s": unary.per_second,
            "unary_p99_ms_through_node": unary.percentile_ms(99),
            **{f"cpu_us_through_node_{party}": us for party, us in streamed.cpu_us().items()},
            **{f"cpu_us_unary_through_node_{party}": us for party, us in unary.cpu_us().items()},
        }
    )


async def _release(platform: _Platform, count: int) -> Figures:
    """release_5_percent_per_s and its like: the stream through the node, some vouchers still with their issuer."""
    figures = Figures()
    for percent in RELEASED_PERCENT:
        vouchers = await platform.vouchers(count // RELEASE_IN)
        await platform.bring_over(vouchers[len(vouchers) * percent // 100 :])
        random.Random(SEED).shuffle(vouchers)
        streamed = await platform.stream(vouchers)
        figures.values[f"release_{percent}_percent_per_s"] = streamed.per_second
        figures.values[f"cpu_us_release_{percent}_percent"] = sum(streamed.cpu_us().values())
    return figures


class _Platform:
    """The payment platform in the redeeming region."""

    def __init__(self, field: Field) -> None:
        self._field, self._shoppers = field, 0
        self._client: PlatformClient = field.stage.clients.platforms[AWAY]

    async def vouchers(self, count: int) -> list[HeldVoucher]:
        first, self._shoppers = self._shoppers, self._shoppers + -(-count // PACK)
        return (await self._field.claim(range(first, self._shoppers)))[:count]

    def stored(self) -> int:
        """Bytes of the redeeming node's tables and indexes."""
        network = self._field.stage.network
        with contextlib.closing(Database.open(network.party_url(AWAY), network.party_schema(AWAY))) as database:
            return stored_bytes(database)

    async def bring_over(self, vouchers: Sequence[HeldVoucher]) -> None:
        plan = self._field.stage.plan
        for some in batches(vouchers, RELEASED_TOGETHER):
            holds = [
                redemption_pb2.RedemptionItem(request_id=plan.request_id(), authorize=plan.purchase(each, AWAY))
                for each in some
            ]
            answers = await self._client.stream([each.SerializeToString() for each in holds], lambda done: None)
            voids = []
            for content in answers.values():
                void = redemption_pb2.Void(redemption_id=_accepted(content).redemption_id)
                voids.append(redemption_pb2.RedemptionItem(request_id=plan.request_id(), void=void).SerializeToString())
            await self._client.stream(voids, lambda done: None)

    async def stream(self, vouchers: Sequence[HeldVoucher]) -> Timed:
        client, items = self._client, self._items(vouchers)
        messages = [sign_items(each, client._signer) for each in batches(items, PER_MESSAGE)]

        async def work(latencies: list[float]) -> list[bytes]:
            responses = await stream(client._redemptions.RedeemStream(), messages, latencies)
            return [answer for each in responses for answer in each.answers]

        found, answers = await timed(len(items), self._field.cpu, work)
        for content in answers:
            _accepted(content)
        return found

    async def unary(self, vouchers: Sequence[HeldVoucher]) -> Timed:
        async def redeem(item: bytes) -> None:
            _accepted(await self._client.call("redeem", item))

        items = self._items(vouchers)
        found, _ = await timed(
            len(items), self._field.cpu, lambda latencies: in_flight(items, UNARY_IN_FLIGHT, redeem, latencies)
        )
        return found

    def _items(self, vouchers: Sequence[HeldVoucher]) -> list[bytes]:
        plan = self._field.stage.plan
        return [
            redemption_pb2.RedemptionItem(
                request_id=plan.request_id(), redeem=plan.purchase(each, AWAY)
            ).SerializeToString()
            for each in vouchers
        ]


def _accepted(content: bytes) -> redemption_pb2.RedemptionAnswer:
    answer = redemption_pb2.RedemptionAnswer.FromString(content)
    if answer.HasField("refusal"):
        raise SystemExit(f"a redemption was refused: {answer.refusal}")
    return answer
