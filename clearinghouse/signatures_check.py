"""Signatures of what the clearinghouse keeps, for `quanlian ledger check`."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from clearinghouse import schema
from custodian import schema as books
from custodian.ledger.signatures import (
    STATEMENT,
    Document,
    KeysOnFile,
    SignatureChecks,
    body_of,
    require_signed,
    require_told,
    verify_fund_return,
    verify_hand_over,
    verify_terms,
    verify_token,
)
from custodian.withdrawals import read_withdrawal
from quanlian import wire
from quanlian.agreement_signatures import verify_signature
from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import BadSignature
from quanlian.signing import Verifier, digest
from quanlian.v1 import custody_pb2, settlement_pb2, signed_pb2


def _agreement(row: Any, verifier: Verifier) -> None:
    owner = verify_signature(row.document, row.key_id, row.signature, verifier)
    if owner != row.signer:
        raise BadSignature(f"is signed by {owner}, not {row.signer}")


def _statement(row: Any, verifier: Verifier) -> None:
    """The clearinghouse's statement, and the region's confirmation of just that one."""
    signed = (row.document, row.key_id, row.signature)
    require_signed(verifier, "statement", signed, CLEARINGHOUSE, STATEMENT)
    if row.confirmation is None:
        return
    confirmed = (row.confirmation, row.confirmation_key_id, row.confirmation_signature)
    require_signed(verifier, "confirmation", confirmed, row.region)
    said = wire.parse(settlement_pb2.Confirmation, row.confirmation, "confirmation")
    if (said.region, said.statement_digest) != (row.region, digest("statement", row.document)):
        raise BadSignature(f"the confirmation is {said.region}'s of another statement")


def _release_refusal(row: Any, verifier: Verifier) -> None:
    require_signed(verifier, "custody-refused", body_of(row), row.issuer)
    said = wire.parse(custody_pb2.CustodyRefused, row.body, "custody refused")
    require_told(row, issuer=said.issuer, pack_id=said.voucher.pack_id, voucher_index=said.voucher.index)


def _dispute(row: Any, verifier: Verifier) -> None:
    require_signed(verifier, "dispute", body_of(row), row.region)
    said = wire.parse(settlement_pb2.Dispute, row.body, "dispute")
    require_told(row, region=said.region, number=said.number, settlement_window=said.window)


def _withdrawal(row: Any, verifier: Verifier) -> None:
    message = signed_pb2.SignedMessage(body=row.body, key_id=row.key_id, signature=row.signature)
    said = read_withdrawal(message, verifier)
    require_told(
        row, number=said.posting.number, redemption_id=said.posting.redemption_id, incarnation=said.incarnation
    )


def _proof(row: Any, verifier: Verifier) -> None:
    """The token that a shopper showed: of the voucher that the redemption used."""
    voucher = verify_token(row.token, verifier)
    require_told(row, issuer=voucher.issuer, pack_id=voucher.pack_id, terms_hash=voucher.terms_hash)


def _fund_return(row: Any, verifier: KeysOnFile) -> None:
    said = verify_fund_return(row, verifier)
    require_told(row, region=said.region, number=said.number)


_AGREED = sa.and_(
    schema.agreement_signature.c.number == schema.agreement.c.number,
    schema.agreement_signature.c.version == schema.agreement.c.version,
)
_PROVEN = (
    sa.select(
        schema.proof,
        books.redemption.c.issuer,
        books.redemption.c.pack_id,
        books.redemption.c.terms_hash,
        books.posting.c.entry,
    )
    .join_from(schema.proof, books.redemption, schema.proof.c.redemption_id == books.redemption.c.id)
    .outerjoin(
        books.posting, sa.and_(books.posting.c.redemption_id == books.redemption.c.id, books.posting.c.number == 1)
    )
)
CHECKS = SignatureChecks(
    lambda transaction: CLEARINGHOUSE,
    (schema.signing_chain,),
    (
        Document(schema.terms, verify_terms),
        Document(
            schema.agreement_signature,
            _agreement,
            sa.select(schema.agreement_signature, schema.agreement.c.document).join(schema.agreement, _AGREED),
        ),
        Document(schema.hand_over, lambda row, verifier: verify_hand_over(row, row.issuer, verifier)),
        Document(schema.custody_return, lambda row, verifier: verify_hand_over(row, CLEARINGHOUSE, verifier)),
        Document(schema.release_refusal, _release_refusal),
        Document(schema.fund_return, _fund_return),
        Document(schema.proof, _proof, _PROVEN),
        Document(schema.statement, _statement),
        Document(schema.monthly_statement, _statement),
        Document(schema.dispute, _dispute),
        Document(schema.withdrawn_posting, _withdrawal),
    ),
)
