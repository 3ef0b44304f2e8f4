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
from quanlian.v1 import redemption_pb2, voucher_pb2
from rig.delta import Setting
from rig.issuing import Issued, Issuer

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
        works = [self._work(self._issuer.random.choice(others), each) for each in handed.vouchers]
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

    def _work(self, redeemer: str, issued: Issued) -> Redeem:
        content = purchase_item(issued, self._issuer)
        known = wire.bytes_to_item(content)
        assert isinstance(known.subject, wire.Purchase)
        key = self._setting.keyring.key(known.subject.voucher.key_id)
        id = self._issuer.fresh()
        return Redeem(Received(content, known.request_id, redeemer, "", redeemer, id, known, key))


def purchase_item(issued: Issued, issuer: Issuer) -> bytes:
    """A redemption of the voucher at some order's amount, which is enough for every campaign of rig/delta.py."""
    request_id = issuer.fresh()
    order = redemption_pb2.Order(
        merchant=MERCHANT, order_id=request_id.hex(), category="retail", channel="shop",
        order_fen=issuer.random.randrange(4000, 30_000),
    )  # fmt: skip
    purchase = redemption_pb2.Purchase(token=issued.token, index=issued.state.key.voucher_index, order=order)
    return redemption_pb2.RedemptionItem(request_id=request_id, redeem=purchase).SerializeToString()


def require_accepted(results: list[Any]) -> None:
    for result in results:
        if isinstance(result, Exception):
            raise result
        if isinstance(result, Answered):
            answer = redemption_pb2.RedemptionAnswer.FromString(result.content)
            assert not answer.HasField("refusal"), answer


def spoilt(content: bytes, fresh: bytes) -> bytes:
    """The same under a fresh id with a signature that nobody made, which takes as long to verify as a good one."""
    item = redemption_pb2.RedemptionItem.FromString(content)
    token = voucher_pb2.VoucherToken.FromString(item.redeem.token)
    item.request_id, token.signature = fresh, fresh.rjust(32, b"\0") + token.signature[32:]
    item.redeem.token = token.SerializeToString()
    return item.SerializeToString()
