"""Redemptions through the clearinghouse's own service, in batches as its streams bring them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from typing import Any

from clearinghouse.custody import read_hand_over
from clearinghouse.redeeming import Redeem
from clearinghouse.service import ClearinghouseService
from custodian.decisions import Answered, Received
from quanlian import wire
from quanlian.errors import Unavailable
from quanlian.terms import Terms
from quanlian.v1 import redemption_pb2
from rig.delta import Setting
from rig.issuing import Issuer

MERCHANT, RETRY_SECONDS = "91330100000000000X", 0.1


class Traffic:
    """Purchases of one campaign's vouchers in the other regions, made ready before and then sent on end."""

    def __init__(self, setting: Setting, service: ClearinghouseService, issuer: Issuer) -> None:
        self._setting, self._service, self._issuer = setting, service, issuer
        self.seconds: list[tuple[float, float]] = []
        """When each batch was sent, and how long it took, both in seconds."""

    async def prepare(self, terms: Terms, packs: int, batch: int) -> Iterator[list[Redeem]]:
        """Batches of purchases whose vouchers are here, at most 256 packs."""
        handed = self._issuer.hand_over(terms, packs)
        await self._service.engine.group.submit(read_hand_over(terms.issuer, handed.message))
        others = [code for code in self._setting.regions if code != terms.issuer]
        works = [
            self._work(self._issuer.random.choice(others), each.token, each.state.key.voucher_index)
            for each in handed.vouchers
        ]
        iterator = iter(works)
        return iter(lambda: list(itertools.islice(iterator, batch)), [])

    async def send(self, batches: Iterator[list[Redeem]]) -> None:
        """One after the other, each when the one before is answered; what is turned away is sent again."""
        for batch in batches:
            began, answered = time.perf_counter(), False
            while not answered:
                try:
                    require_accepted(await self._service.engine.group.submit_many(batch))
                    answered = True
                except Unavailable:
                    await asyncio.sleep(RETRY_SECONDS)
            self.seconds.append((began, time.perf_counter() - began))

    def _work(self, redeemer: str, token: bytes, index: int) -> Redeem:
        redemption_id = self._issuer.fresh()
        order = redemption_pb2.Order(
            merchant=MERCHANT, order_id=redemption_id.hex(), category="retail", channel="shop",
            order_fen=self._issuer.random.randrange(4000, 30_000),
        )  # fmt: skip
        purchase = redemption_pb2.Purchase(token=token, index=index, order=order)
        content = redemption_pb2.RedemptionItem(request_id=self._issuer.fresh(), redeem=purchase).SerializeToString()
        known = wire.bytes_to_item(content)
        assert isinstance(known.subject, wire.Purchase)
        key = self._setting.keyring.key(known.subject.voucher.key_id)
        return Redeem(Received(content, known.request_id, redeemer, "", redeemer, redemption_id, known, key))


def require_accepted(results: list[Any]) -> None:
    for result in results:
        if isinstance(result, Exception):
            raise result
        if isinstance(result, Answered):
            answer = redemption_pb2.RedemptionAnswer.FromString(result.content)
            assert not answer.HasField("refusal"), answer
