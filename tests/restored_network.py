"""A node and the clearinghouse as their processes would run, to be backed up, restored and recovered."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from local_parties import (
    CLEARINGHOUSE,
    HANGZHOU,
    KEYRING,
    PLATFORM,
    LocalClearinghouse,
    LocalNode,
    NoClearinghouse,
    Party,
    TestSigner,
)

from clearinghouse.custody import read_hand_over
from clearinghouse.receipts import receipts_of
from custodian.evidence import SignedBatch
from custodian.lineage import Lineage
from custodian.servicer import sign_answers, sign_items
from node.service import NodeService
from pki.identity import Identity
from quanlian.evidence import ANSWER_KIND, REQUEST_KIND
from quanlian.v1 import custody_pb2, directory_pb2, node_operator_pb2, recovery_pb2, settlement_pb2, signed_pb2
from quanlian.vouchers import VoucherKey
from quanlian.wire import batch_digest

ALIPAY, NODE = Identity(HANGZHOU, "platform", PLATFORM), Identity(HANGZHOU, "node")
PLATFORM_KEY = TestSigner(HANGZHOU, f"message.{PLATFORM}")
NODE_KEY, CLEARING_KEY = TestSigner(HANGZHOU, "message"), TestSigner(CLEARINGHOUSE, "message")
Result = TypeVar("Result")


class Between(NoClearinghouse):
    """The clearinghouse as the node reaches it, every call answered by the real service."""

    def __init__(self, clearinghouse: LocalClearinghouse) -> None:
        super().__init__()
        self.far = clearinghouse
        self.sent: list[bytes] = []

    def send(self, items: Sequence[bytes]) -> None:
        self.sent += items

    def pass_on(self) -> None:
        """What the node published since reaches the clearinghouse."""
        published, changes, suspensions = self.published, self.changes, self.suspensions
        self.published, self.changes, self.suspensions = [], [], []

        async def run() -> None:
            for message in published:
                await self.far.service.publish_terms(HANGZHOU, message)
            for message in changes:
                await self.far.service.publish_change(HANGZHOU, message)
            for message in suspensions:
                await self.far.service.publish_suspension(HANGZHOU, message)

        asyncio.run(run())

    async def terms(self, terms_hash: bytes) -> directory_pb2.GetTermsResponse:
        return await self.far.service.terms(terms_hash)

    async def recall(self, request: custody_pb2.RecallRequest) -> custody_pb2.RecallResponse:
        return await self.far.service.recall(HANGZHOU, request)

    async def receipts(self, request: custody_pb2.GetReceiptsRequest) -> custody_pb2.GetReceiptsResponse:
        return receipts_of(self.far.service.database, HANGZHOU, request, CLEARING_KEY)

    async def hand_receipts(self, request: custody_pb2.HandReceiptsRequest) -> custody_pb2.HandReceiptsResponse:
        return await self.far.service.recovery.hand_receipts(HANGZHOU, request)

    async def statement(self, window: int, month: str = "") -> settlement_pb2.GetStatementResponse:
        message = await self.far.service.settlement.statement(HANGZHOU, window, month)
        return settlement_pb2.GetStatementResponse(statement=message)

    async def confirm(self, confirmation: signed_pb2.SignedMessage) -> int:
        return await self.far.service.settlement.confirm(HANGZHOU, confirmation)

    async def dispute(
        self, dispute: signed_pb2.SignedMessage, taken: signed_pb2.SignedMessage
    ) -> signed_pb2.SignedMessage:
        return await self.far.service.settlement.take_dispute(HANGZHOU, dispute, taken)

    async def directory(self) -> directory_pb2.GetDirectoryResponse:
        return directory_pb2.GetDirectoryResponse()


class Network:
    """Hangzhou's node and the clearinghouse with their services, and their lineages beside the databases."""

    def __init__(self, node: LocalNode, clearinghouse: LocalClearinghouse, folder: Path, **changes: object) -> None:
        """`changes` are those of the campaign that the node publishes."""
        self.node, self.clearinghouse, self.folder = node, clearinghouse, folder
        node.publish(**changes)
        clearinghouse.learn(node)
        self.between = node.clearinghouse = Between(clearinghouse)
        for party in (node, clearinghouse):
            lineage = self.lineage(party)
            assert lineage.begin()

    def lineage(self, party: Party) -> Lineage:
        name = "node" if party is self.node else CLEARINGHOUSE
        return Lineage(party.database, self.folder / f"{name}.lineage")

    @contextmanager
    def serving(self) -> Iterator[NodeService]:
        """Both services, as their processes would start them."""
        service, far = self.node.another_service(), self.clearinghouse.service
        far.engine.group = type(far.engine.group)(far.engine.decide, name=CLEARINGHOUSE)
        for party, each in ((self.node, service), (self.clearinghouse, far)):
            each.continuity.broken = ""
            each.continuity.begin(self.lineage(party))
        service.start()
        far.engine.group.start()
        try:
            yield service
        finally:
            service.close()
            far.close()

    def do(self, job: Callable[[NodeService], Awaitable[Result]]) -> Result:
        with self.serving() as service:

            async def run() -> Result:
                return await job(service)

            return asyncio.run(run())

    def release(self, *keys: VoucherKey) -> None:
        for message in self.node.release(*keys):
            self.clearinghouse.decide(read_hand_over(HANGZHOU, message.hand_over))

    def redeem(self, *items: bytes) -> list[bytes]:
        """What the platform is answered, by way of the clearinghouse."""

        async def run(service: NodeService) -> list[bytes]:
            got: list[bytes] = []
            waiting = asyncio.create_task(service.submit(ALIPAY, items, got.extend))
            while len(self.between.sent) < len(items) and not got and not waiting.done():
                await asyncio.sleep(0)
            sent, self.between.sent = self.between.sent, []
            if sent:
                answers: list[bytes] = []
                signed = sign_items(sent, NODE_KEY)
                number = len(self.clearinghouse.rows("signed_batch")) + 1
                batch = SignedBatch(
                    number.to_bytes(16, "big"), REQUEST_KIND, tuple(sent), signed.key_id, signed.signature
                )
                await self.clearinghouse.service.submit(NODE, sent, answers.extend, batch)
                told = sign_answers(answers, CLEARING_KEY)
                number = len(self.node.rows("signed_batch")) + 1
                id = (self.node.database.at * 1000).to_bytes(6, "big") + b"\xff" + number.to_bytes(9, "big")
                batch = SignedBatch(id, ANSWER_KIND, tuple(answers), told.key_id, told.signature)
                await service.clearinghouse_answered(answers, batch)
            await asyncio.wait_for(waiting, 20)
            return got

        return self.do(run)

    def follow(self) -> None:
        """The node takes what its feed has."""

        async def run(service: NodeService) -> None:
            position = await service.feed_position()
            events = [each for each in self.clearinghouse.feed(HANGZHOU) if each.sequence > position]
            await service.take_news(events, self.clearinghouse.feed_head(HANGZHOU))

        self.do(run)

    def meet(self) -> None:
        """The node hears how far the clearinghouse is, as it does when it opens its custody stream."""

        async def run(service: NodeService) -> None:
            ours = await service.recovery.position()
            await service.recovery.compare(self.clearinghouse.service.recovery.compare(HANGZHOU, ours))

        self.do(run)

    def reconcile(self) -> None:
        self.do(lambda service: service.reconciler.reconcile_open_windows())

    def recover_node(self) -> recovery_pb2.RecoveryReport:
        return self.do(lambda service: ended(service.recovery.run()))

    def book(self, *receipts: node_operator_pb2.PlatformReceipt) -> node_operator_pb2.BookReceiptsResponse:
        """What the operator's command does with a platform's file before the recovery."""
        request = node_operator_pb2.BookReceiptsRequest(receipts=receipts)
        return self.do(lambda service: service.recovery.book_receipts(request))

    def recover_clearinghouse(self, *without: str) -> recovery_pb2.RecoveryReport:
        async def run(service: NodeService) -> recovery_pb2.RecoveryReport:
            await service.recovery.hand_receipts()
            return await ended(self.clearinghouse.service.recover(without))

        return self.do(run)

    def check(self) -> None:
        for party in (self.node, self.clearinghouse):
            party.check_books()
        assert self.node.rows("parked_event") == []


async def ended(recovery: Awaitable[recovery_pb2.RecoveryReport | None]) -> recovery_pb2.RecoveryReport:
    """The report of a recovery that was waited for to its end."""
    report = await recovery
    assert report is not None
    return report


def receipt(
    asked: bytes, answer: bytes, platform_key: TestSigner = PLATFORM_KEY, node_key: TestSigner = NODE_KEY
) -> node_operator_pb2.PlatformReceipt:
    """What a platform kept: its signed request and the answer as its node signed it, each among others."""
    sides = []
    for kind, content, key in ((REQUEST_KIND, asked, platform_key), (ANSWER_KIND, answer, node_key)):
        KEYRING.setdefault(key.key_id, key.certified)
        others = [b"before", content, b"after"]
        hashes = b"".join(hashlib.sha256(each).digest() for each in others)
        signature = key.sign(kind, batch_digest(others))
        sides.append({"content": content, "hashes": hashes, "key_id": key.key_id, "signature": signature})
    return node_operator_pb2.PlatformReceipt(request=sides[0], answer=sides[1])


def in_english(reason: str) -> str:
    """What a report says in both languages."""
    return reason.rpartition(" · ")[2]


def back_up(party: Party) -> dict[str, list[dict[str, Any]]]:
    return {name: [dict(row) for row in party.rows(name)] for name in party.tables}


def set_back(party: Party, copy: dict[str, list[dict[str, Any]]]) -> None:
    """As `restore`, by a tool of the operator's while the party runs on."""
    numbering = party.database._numbering
    restore(party, copy)
    party.database.number_commits(numbering)


def restore(party: Party, copy: dict[str, list[dict[str, Any]]]) -> None:
    party.database.number_commits(None)
    with party.database.transaction() as transaction:
        for name, rows in copy.items():
            transaction.connection.execute(party.tables[name].delete())
            transaction.insert(party.tables[name], rows)
