"""Hangzhou's department: its node linked to a clearinghouse in this process, and what its operator may do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from local_parties import (
    HANGZHOU,
    KEYRING,
    OPERATOR,
    LocalClearinghouse,
    LocalNode,
    NoClearinghouse,
    TestKeyring,
    message_signer,
    node_signers,
)

from clearinghouse.evidence import evidence
from node.service import NodeService
from node.settling import NodeSettling
from node.treasury import NodeTreasury
from quanlian.v1 import node_operator_pb2, report_pb2, settlement_pb2, signed_pb2

Result = TypeVar("Result")


class Link(NoClearinghouse):
    """The clearinghouse next door, as Hangzhou's node calls it."""

    def __init__(self, clearinghouse: LocalClearinghouse) -> None:
        super().__init__()
        self._clearinghouse = clearinghouse

    async def statement(self, window: int, month: str = "") -> settlement_pb2.GetStatementResponse:
        message = await self._clearinghouse.service.settlement.statement(HANGZHOU, window, month)
        return settlement_pb2.GetStatementResponse(statement=message, chain=b"PEM")

    async def confirm(self, confirmation: signed_pb2.SignedMessage) -> int:
        return await self._clearinghouse.service.settlement.confirm(HANGZHOU, confirmation)

    async def dispute(
        self, dispute: signed_pb2.SignedMessage, taken: signed_pb2.SignedMessage
    ) -> signed_pb2.SignedMessage:
        return await self._clearinghouse.service.settlement.take_dispute(HANGZHOU, dispute, taken)

    async def evidence(self, window: int) -> AsyncIterator[Sequence[bytes]]:
        for lines in evidence(self._clearinghouse.database, self._clearinghouse.statement_signer, HANGZHOU, window):
            yield lines

    async def campaign_figures(self, campaign: str) -> report_pb2.CampaignFigures:
        return await self._clearinghouse.service.settlement.campaign_figures(campaign, HANGZHOU)


@dataclass
class Department:
    """Hangzhou's node with its link, and what its operator may do."""

    node: LocalNode
    clearinghouse: LocalClearinghouse
    service: NodeService
    settling: NodeSettling
    treasury: NodeTreasury
    link: Link

    def do(self, call: Awaitable[Result]) -> Result:
        async def done() -> Result:
            return await call

        return asyncio.run(done())

    def hear(self) -> None:
        """Take the news of the clearinghouse."""
        self.do(self.service.take_news(self.clearinghouse.feed(HANGZHOU), self.clearinghouse.feed_head(HANGZHOU)))

    def reconciliation(self, window: int = 1, month: str = "") -> node_operator_pb2.GetReconciliationResponse:
        return self.do(self.settling.reconciliation(window, month))

    def dispute(self, *lines: settlement_pb2.LineRef, why: str = "wrong order", window: int = 1) -> int:
        request = node_operator_pb2.DisputeOwnStatementRequest(window=window, lines=lines, why=why)
        return self.do(self.settling.dispute(OPERATOR, request))


def linked(node: LocalNode, clearinghouse: LocalClearinghouse) -> Department:
    """The department of a node whose service is to be started, and closed."""
    link = Link(clearinghouse)
    service = NodeService(node.database, node.region, node_signers(), TestKeyring(KEYRING), link)  # type: ignore[arg-type]
    settling = NodeSettling(service, link, message_signer())  # type: ignore[arg-type]
    treasury = NodeTreasury(service.engine, node.operations_of(service))
    return Department(node, clearinghouse, service, settling, treasury, link)
