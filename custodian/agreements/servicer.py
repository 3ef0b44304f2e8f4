"""The agreement service over gRPC, the same at node and clearinghouse."""

from __future__ import annotations

from typing import Protocol

from chassis.host import Context
from quanlian.v1 import agreement_pb2 as pb
from quanlian.v1 import agreement_pb2_grpc

AGREEMENT_METHODS = ("SignAgreement", "ListAgreements")


class Signatory(Protocol):
    """A party that signs agreements with its own key."""

    async def sign_agreement(self, document: bytes, file_name: str, proposes: bool) -> pb.SignedAgreement: ...

    async def agreements(self) -> list[pb.SignedAgreement]: ...


class AgreementServicer(agreement_pb2_grpc.AgreementServiceServicer):
    def __init__(self, signatory: Signatory) -> None:
        self._signatory = signatory

    async def SignAgreement(self, request: pb.SignAgreementRequest, context: Context) -> pb.SignAgreementResponse:  # noqa: N802
        name = request.file_name or "agreement"
        signed = await self._signatory.sign_agreement(request.document, name, request.proposes)
        return pb.SignAgreementResponse(agreement=signed)

    async def ListAgreements(self, request: pb.ListAgreementsRequest, context: Context) -> pb.ListAgreementsResponse:  # noqa: N802
        return pb.ListAgreementsResponse(agreements=await self._signatory.agreements())
