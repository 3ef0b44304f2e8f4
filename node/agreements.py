"""A region's signature under funding agreements, given at its node and kept by the clearinghouse."""

from __future__ import annotations

from node.ports import Clearinghouse
from node.service import NodeService
from node.signatures import signed
from quanlian.agreement_signatures import KIND, signatories, verify_signature
from quanlian.agreements import parse_agreement
from quanlian.errors import BadSignature, InvalidInput
from quanlian.signing import Signer
from quanlian.v1 import agreement_pb2 as pb


class RegionSignatory:
    """Implements `custodian.agreements.servicer.Signatory` for the region's operator."""

    def __init__(self, service: NodeService, clearinghouse: Clearinghouse, terms_signer: Signer) -> None:
        self._service, self._clearinghouse, self._signer = service, clearinghouse, terms_signer

    async def sign_agreement(self, document: bytes, file_name: str, proposes: bool) -> pb.SignedAgreement:
        """Sign for this region and hand it to the clearinghouse. Raises InvalidInput for other regions' agreements."""
        agreement = parse_agreement(document, file_name)
        if self._service.region.code not in signatories(agreement):
            raise InvalidInput(
                f"{self._service.region.code} 不是协议方 · {self._service.region.code} is no party of it",
                place=file_name,
                remedy="只签署本地区为一方的协议 · sign only what your region is a party of",
            )
        message = signed(document, KIND, self._signer)
        return await self._clearinghouse.submit_agreement(message, proposes)

    async def agreements(self) -> list[pb.SignedAgreement]:
        """What the clearinghouse keeps, each signature checked here. Raises BadSignature for one that does not hold."""
        directory = await self._service.directory.refresh()
        for agreement in directory.agreements:
            for each in agreement.signatures:
                signer = verify_signature(agreement.document, each.key_id, each.signature, self._service.keyring)
                if signer != each.signer:
                    raise BadSignature(f"the clearinghouse names {each.signer} for a signature of {signer}")
        return list(directory.agreements)
