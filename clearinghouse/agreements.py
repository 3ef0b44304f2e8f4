"""The register of funding agreements: proposed by one region, signed by the other, then by the clearinghouse."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select

from chassis.database import Database, Found, Query, Transaction
from clearinghouse import schema
from custodian.books import Books
from quanlian.agreement_signatures import KIND, signatories, verify_signature
from quanlian.agreements import Agreement, parse_agreement
from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import BadSignature, InvalidInput
from quanlian.signing import Signer, Verifier
from quanlian.v1 import agreement_pb2 as pb
from quanlian.v1 import signed_pb2

PLACE = "agreement"
SIGNATURE = "agreement-signature"
"""The kind of the journal's entry."""
_AGREEMENT, _SIGNED = schema.agreement.c, schema.agreement_signature.c
_SIGNATURES = Query(
    select(
        _AGREEMENT.number,
        _AGREEMENT.version,
        _AGREEMENT.document,
        _SIGNED.signer,
        _SIGNED.key_id,
        _SIGNED.signature,
        _SIGNED.signed_at,
    )
    .outerjoin_from(
        schema.agreement,
        schema.agreement_signature,
        (_SIGNED.number == _AGREEMENT.number) & (_SIGNED.version == _AGREEMENT.version),
    )
    .order_by(_AGREEMENT.number, _AGREEMENT.version, _SIGNED.signed_at, _SIGNED.signer)
)


class AgreementRegister:
    """Implements `custodian.agreements.servicer.Signatory` for the clearinghouse's operator."""

    def __init__(self, database: Database, verifier: Verifier, signer: Signer) -> None:
        self._database, self._verifier, self._signer = database, verifier, signer

    async def sign_agreement(self, document: bytes, file_name: str, proposes: bool) -> pb.SignedAgreement:
        """Sign last. Raises InvalidInput while a region's signature is missing."""
        agreement = parse_agreement(document, file_name)
        signature = self._signer.sign(KIND, document)
        message = signed_pb2.SignedMessage(body=document, key_id=self._signer.key_id, signature=signature)
        return await self._database.write(self._store, agreement, CLEARINGHOUSE, message, proposes)

    async def submit(self, region: str, message: signed_pb2.SignedMessage, proposes: bool) -> pb.SignedAgreement:
        """Take a region's signature. Raises BadSignature, or InvalidInput for what the region may not sign."""
        owner = verify_signature(message.body, message.key_id, message.signature, self._verifier)
        if owner != region:
            raise BadSignature(f"an agreement sent by {region} is signed by {owner}")
        agreement = parse_agreement(message.body, PLACE)
        return await self._database.write(self._store, agreement, region, message, proposes)

    async def agreements(self) -> list[pb.SignedAgreement]:
        def load() -> list[pb.SignedAgreement]:
            with self._database.snapshot() as transaction:
                return on_file(transaction)

        return await self._database.read(load)

    def _store(
        self, agreement: Agreement, signer: str, message: signed_pb2.SignedMessage, proposes: bool
    ) -> pb.SignedAgreement:
        with self._database.transaction() as transaction:
            _require_signatory(agreement, signer)
            kept = on_file(transaction)
            known = next((each for each in kept if _same_version(each, agreement)), None)
            _require_step(agreement, known, message.body, proposes, signer, _next_version(agreement.number, kept))
            if known is None or signer not in _signers(known):
                _require_follows(agreement, kept)
            if known is not None and signer == CLEARINGHOUSE:
                _require_complete(agreement, known)
            _keep(transaction, agreement, signer, message, known is None)
            return next(each for each in on_file(transaction) if _same_version(each, agreement))


def on_file(transaction: Transaction) -> list[pb.SignedAgreement]:
    """Every agreement with its signatures in the order they were given, by number and version."""
    return [signed for _, signed in _numbered(ask_agreements(transaction))]


class Complete(NamedTuple):
    """An agreement that everybody signed, and when the clearinghouse did, last: it counts for nothing before that."""

    number: str
    signed: pb.SignedAgreement
    signed_at: int


def ask_agreements(transaction: Transaction) -> Found:
    """Ask for every agreement, for `documents_in_force`."""
    return transaction.ask(_SIGNATURES)


def documents_in_force(found: Found) -> list[Complete]:
    """Every agreement that the clearinghouse, the last, signed, of all that were asked for."""
    return [
        Complete(number, signed, each.signed_at)
        for number, signed in _numbered(found)
        for each in signed.signatures
        if each.signer == CLEARINGHOUSE
    ]


def require_signed(agreement: Agreement, signed: pb.SignedAgreement, verifier: Verifier) -> None:
    """That everybody signed these very bytes. Raises UnknownKey, or BadSignature naming the agreement: such a file was
    changed after it was signed, and no money is split by it.
    """
    signers = set()
    for each in signed.signatures:
        try:
            signers.add(verify_signature(signed.document, each.key_id, each.signature, verifier))
        except BadSignature as error:
            raise BadSignature(f"agreement {agreement.name} as it is stored, by {each.signer}: {error}") from error
    missing = set(signatories(agreement)) - signers
    if missing:
        raise BadSignature(f"agreement {agreement.name} as it is stored: not signed by {', '.join(sorted(missing))}")


def _numbered(found: Found) -> list[tuple[str, pb.SignedAgreement]]:
    numbered: dict[tuple[str, int], pb.SignedAgreement] = {}
    for row in found():
        signed = numbered.setdefault((row.number, row.version), pb.SignedAgreement(document=row.document))
        if row.signer is not None:
            signed.signatures.add(
                signer=row.signer, key_id=row.key_id, signature=row.signature, signed_at=row.signed_at
            )
    return [(number, signed) for (number, _), signed in numbered.items()]


def _same_version(kept: pb.SignedAgreement, agreement: Agreement) -> bool:
    known = parse_agreement(kept.document, PLACE)
    return (known.number, known.version) == (agreement.number, agreement.version)


def _signers(signed: pb.SignedAgreement) -> set[str]:
    return {each.signer for each in signed.signatures}


def _next_version(number: str, kept: list[pb.SignedAgreement]) -> int:
    """The lowest that nobody has taken and that comes after those in force."""
    of_number = [(parse_agreement(each.document, PLACE), _signers(each)) for each in kept]
    taken = {known.version: CLEARINGHOUSE in signers for known, signers in of_number if known.number == number}
    version = max((each for each, in_force in taken.items() if in_force), default=0) + 1
    while version in taken:
        version += 1
    return version


def _require_signatory(agreement: Agreement, signer: str) -> None:
    if signer not in signatories(agreement):
        raise InvalidInput(
            f"{signer} 不是协议方，协议方为 {'、'.join(agreement.parties)} · "
            f"{signer} is no party of it: those are {', '.join(agreement.parties)}",
            place=f"{PLACE} {agreement.number}",
            remedy="只签署本地区为一方的协议 · sign only what your region is a party of",
        )


def _require_step(
    agreement: Agreement,
    known: pb.SignedAgreement | None,
    document: bytes,
    proposes: bool,
    signer: str,
    next_version: int,
) -> None:
    """A new text is proposed, by a region if it has regions; what is on file is signed, byte for byte."""
    place = f"{PLACE} {agreement.name}"
    if known is None:
        if not proposes:
            raise InvalidInput(
                "尚无人提出 · nobody has proposed it",
                place=place,
                remedy="先提出 · propose it: quanlian agreement propose",
            )
        if signer == CLEARINGHOUSE and agreement.parties:
            raise InvalidInput(
                "应由协议地区提出 · is the regions' to propose",
                place=place,
                remedy="请其中一地提出 · let one of its regions propose it",
            )
    elif known.document != document:
        raise InvalidInput(
            "与已备案文本不一致 · is on file with another text",
            place=place,
            remedy=_as_next(next_version),
        )
    elif proposes and signer not in _signers(known):
        raise InvalidInput(
            "已经提出 · was proposed already", place=place, remedy="直接签署 · sign it: quanlian agreement sign"
        )


def _require_follows(agreement: Agreement, kept: list[pb.SignedAgreement]) -> None:
    """A number stays with its parties and campaign, and its versions rise: as far as everybody signed them. What one
    party proposed alone binds nobody, and may be overtaken before the others sign it.
    """
    place = f"{PLACE} {agreement.name}"
    for each in kept:
        known = parse_agreement(each.document, PLACE)
        if known.number != agreement.number or CLEARINGHOUSE not in _signers(each):
            continue
        if (set(known.parties), known.campaign) != (set(agreement.parties), agreement.campaign):
            raise InvalidInput(
                "编号已属另一份协议 · has the number of another agreement",
                place=place,
                remedy="另取编号 · give it its own number",
            )
        if known.version > agreement.version:
            raise InvalidInput(
                f"版本{known.version}已由各方签署 · comes after version {known.version}, which everybody has signed",
                place=place,
                remedy=_as_next(_next_version(agreement.number, kept)),
            )


def _as_next(version: int) -> str:
    return f"作为版本{version}提出 · propose it as version {version}"


def _require_complete(agreement: Agreement, known: pb.SignedAgreement) -> None:
    missing = set(agreement.parties) - _signers(known)
    if missing:
        raise InvalidInput(
            f"{'、'.join(sorted(missing))} 尚未签署 · {', '.join(sorted(missing))} has not signed it",
            place=f"{PLACE} {agreement.name}",
            remedy="清分平台最后签署，请待各地签署 · the clearinghouse signs last: wait for the regions",
        )


def _keep(
    transaction: Transaction, agreement: Agreement, signer: str, message: signed_pb2.SignedMessage, new: bool
) -> None:
    key = {"number": agreement.number, "version": agreement.version}
    if new:
        transaction.insert(schema.agreement, [{**key, "document": message.body}])
    table = schema.agreement_signature
    columns = [table.c.number, table.c.version, table.c.signer]
    if not transaction.select_keys(table, columns, [(*key.values(), signer)]):
        at = transaction.now()
        signature = {"key_id": message.key_id, "signature": message.signature, "signed_at": at}
        transaction.insert(table, [{**key, "signer": signer, **signature}])
        books = Books(transaction)
        books.record(SIGNATURE, at, f"{agreement.name} {signer}", message.signature)
        books.save(SIGNATURE, at)
