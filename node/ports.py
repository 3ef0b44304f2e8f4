"""What a node needs of the world outside; `adapters/` has the real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from quanlian.v1 import agreement_pb2, custody_pb2, directory_pb2, report_pb2, settlement_pb2, signed_pb2


class Clearinghouse(Protocol):
    """The clearinghouse as a node calls it. Raises Unavailable when it cannot be reached."""

    def send(self, items: Sequence[bytes]) -> None:
        """Queue items for the redeem stream; their answers come through `NodeService.clearinghouse_answered`."""
        ...

    async def quote(self, items: Sequence[bytes]) -> Sequence[bytes]:
        """The answers to quotes, in any order; only what was answered."""
        ...

    def hand_overs_waiting(self) -> None:
        """Hand-overs were given; send those that were not sent yet."""
        ...

    async def recall(self, request: custody_pb2.RecallRequest) -> custody_pb2.RecallResponse: ...

    async def receipts(self, request: custody_pb2.GetReceiptsRequest) -> custody_pb2.GetReceiptsResponse: ...

    async def hand_receipts(self, request: custody_pb2.HandReceiptsRequest) -> custody_pb2.HandReceiptsResponse: ...

    async def directory(self) -> directory_pb2.GetDirectoryResponse: ...

    async def terms(self, terms_hash: bytes) -> directory_pb2.GetTermsResponse: ...

    async def publish_terms(self, terms: signed_pb2.SignedMessage) -> None: ...

    async def publish_change(self, change: signed_pb2.SignedMessage) -> None: ...

    async def publish_suspension(self, suspension: signed_pb2.SignedMessage) -> None: ...

    async def submit_agreement(
        self, agreement: signed_pb2.SignedMessage, proposes: bool
    ) -> agreement_pb2.SignedAgreement: ...

    async def statement(self, window: int, month: str = "") -> settlement_pb2.GetStatementResponse: ...

    async def confirm(self, confirmation: signed_pb2.SignedMessage) -> int: ...

    async def dispute(
        self, dispute: signed_pb2.SignedMessage, taken: signed_pb2.SignedMessage
    ) -> signed_pb2.SignedMessage:
        """The clearinghouse's word that it has it; `taken` is the one that it gave before, empty without one."""
        ...

    def evidence(self, window: int) -> AsyncIterator[Sequence[bytes]]: ...

    async def campaign_figures(self, campaign: str) -> report_pb2.CampaignFigures: ...
