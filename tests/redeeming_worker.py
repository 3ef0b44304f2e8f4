"""A process that redeems vouchers at a clearinghouse's database, beside others that do the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

import sqlalchemy as sa
from local_parties import (
    HANGZHOU,
    SHANGHAI,
    LocalClearinghouse,
    answer_of,
    item,
    open_standing,
    purchase,
)

from clearinghouse import schema
from quanlian.v1 import redemption_pb2

BATCH, REFUNDED, TOLD = 20, 12, 10


def redeem_all(
    url: str,
    schema: str,
    worker: int,
    vouchers: Sequence[tuple[bytes, int]],
    ready: Barrier,
    results: Queue[tuple[list[str], int]],
) -> None:
    """Capture every voucher at both regions' merchants, return part of most, and tell faults and how many windows at
    most closed while a batch waited.
    """
    party = _Worker(LocalClearinghouse.another(open_standing(url, schema)), worker)
    ready.wait()
    for start in range(0, len(vouchers), BATCH):
        party.run(vouchers[start : start + BATCH], SHANGHAI if start % 3 else HANGZHOU)
    results.put((party.faults[:TOLD], party.most_closed))


class _Worker:
    def __init__(self, clearinghouse: LocalClearinghouse, worker: int) -> None:
        self._clearinghouse = clearinghouse
        self._numbers: Iterator[int] = itertools.count(worker * 1_000_000)
        self.faults: list[str] = []
        self.most_closed = 0

    def run(self, vouchers: Sequence[tuple[bytes, int]], region: str) -> None:
        purchases = [
            {"redeem": purchase(token, index, f"order-{next(self._numbers)}", 4000 + 17 * n)}
            for n, (token, index) in enumerate(vouchers)
        ]
        answers = self._ask(region, purchases)
        refunds = [
            {"refund": redemption_pb2.Refund(redemption_id=answer.redemption_id, order_fen=1000 + 7 * n)}
            for n, answer in enumerate(answers[:REFUNDED])
        ]
        self._ask(region, refunds)

    def _ask(self, region: str, operations: Sequence[dict[str, Any]]) -> list[redemption_pb2.RedemptionAnswer]:
        works = []
        for operation in operations:
            id = next(self._numbers).to_bytes(16, "big")
            work = self._clearinghouse.request(item(id, **operation), region)
            work.received = replace(work.received, redemption_id=b"\xff" + id[1:])
            works.append(work)
        opened = self._windows()
        replies = self._clearinghouse.decide(*works)
        self.most_closed = max(self.most_closed, self._windows() - opened)
        answers = [answer_of(reply.content) for reply in replies]
        self.faults += [str(answer.refusal) for answer in answers if answer.HasField("refusal")]
        return answers

    def _windows(self) -> int:
        with self._clearinghouse.database.snapshot() as transaction:
            query = sa.select(sa.func.max(schema.settlement_window.c.number))
            return int(transaction.connection.execute(query).scalar_one())
