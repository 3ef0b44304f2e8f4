"""Signatures of what a node keeps, for `quanlian ledger check`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from chassis.database import Transaction
from custodian import schema as books
from custodian.books import CLAIM
from custodian.feed_heads import KIND
from custodian.ledger.decoding import UNREADABLE
from custodian.ledger.findings import Finding, row_key
from custodian.ledger.signatures import (
    MESSAGE,
    ROWS_AT_ONCE,
    Document,
    KeysOnFile,
    SignatureChecks,
    body_of,
    require_signed,
    require_told,
    unsound,
    verify_fund_return,
    verify_hand_over,
    verify_terms,
    verify_token,
)
from custodian.withdrawals import read_withdrawal
from node import schema
from node.disputes import TAKEN, require_of, word_in
from node.payment_check import own_region
from quanlian import hand_overs, wire
from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import BadSignature, QuanlianError
from quanlian.signing import Verifier
from quanlian.v1 import cancellation_pb2, redemption_pb2, settlement_pb2, signed_pb2
from quanlian.v1.claim_pb2 import ClaimAnswer


def _hand_over(row: Any, verifier: Verifier) -> None:
    verify_hand_over(row, hand_overs.kept(row.body).head.issuer, verifier)


def _cancellation(row: Any, verifier: Verifier) -> None:
    said = wire.parse(cancellation_pb2.Cancellation, row.body, "cancellation")
    require_signed(verifier, "cancellation", body_of(row), said.issuer)
    require_told(row, pack_id=said.pack_id, voucher_index=said.index, cancelled_at=said.at)


def _dispute(row: Any, verifier: Verifier) -> None:
    said = wire.parse(settlement_pb2.Dispute, row.body, "dispute")
    require_signed(verifier, "dispute", body_of(row), said.region)
    require_told(row, number=said.number, settlement_window=said.window)
    if row.taken is not None:
        taken = word_in(row.taken)
        require_signed(verifier, TAKEN, body_of(taken), CLEARINGHOUSE)
        require_of(taken, row.body)


def _confirmation(row: Any, verifier: Verifier) -> None:
    """Of a window or month, where a word is kept."""
    if row.confirmation is not None:
        word = signed_pb2.SignedMessage.FromString(row.confirmation)
        said = wire.parse(settlement_pb2.Confirmation, word.body, "confirmation")
        require_signed(verifier, "confirmation", body_of(word), said.region)


def _withdrawal(row: Any, verifier: Verifier) -> None:
    message = signed_pb2.SignedMessage(body=row.body, key_id=row.key_id, signature=row.signature)
    said = read_withdrawal(message, verifier)
    require_told(row, posting=said.posting.SerializeToString())


def _feed_head(row: Any, verifier: Verifier) -> None:
    require_signed(verifier, KIND, body_of(row), CLEARINGHOUSE)


def _fund_return(row: Any, verifier: KeysOnFile) -> None:
    require_told(row, number=verify_fund_return(row, verifier).number)


def _claims(transaction: Transaction, verifier: KeysOnFile) -> Iterator[Finding]:
    """The token that each claim was answered with, which its shopper carries."""
    request, region = books.request, own_region(transaction)
    claims = request.select().where(request.c.operation == CLAIM)
    for row in transaction.connection.execute(claims, execution_options={"yield_per": ROWS_AT_ONCE}):
        try:
            token = wire.parse(ClaimAnswer, row.answer, "answer").token
            if token and verify_token(token, verifier).issuer != region:
                raise BadSignature(f"is no voucher of {region}")
        except (QuanlianError, *UNREADABLE) as error:
            yield unsound(request.name, row_key(request, row), error)


def _answers_away(transaction: Transaction, verifier: KeysOnFile) -> Iterator[Finding]:
    """Each answer that the clearinghouse gave is among those that it signed."""
    outbox, batch = schema.outbox, books.signed_batch
    query = (
        sa.select(outbox, batch.c.key_id, batch.c["items"])
        .join_from(outbox, batch, outbox.c.answer_batch == batch.c.id)
        .order_by(outbox.c.answer_batch)
    )
    told, ids = None, frozenset[bytes]()
    for row in transaction.connection.execute(query, execution_options={"yield_per": ROWS_AT_ONCE}):
        try:
            if row.answer_batch != told:
                told, ids = row.answer_batch, _answered(row.items)
            key = verifier.key(row.key_id)
            if (key.owner, key.purpose) != (CLEARINGHOUSE, MESSAGE) or row.own_id not in ids:
                raise BadSignature("its answer is not among those that the clearinghouse signed")
        except (QuanlianError, *UNREADABLE) as error:
            yield unsound(outbox.name, row_key(outbox, row), error)


def _answered(items: bytes) -> frozenset[bytes]:
    answers = redemption_pb2.RedeemStreamRequest.FromString(items).items
    return frozenset(map(wire.answer_request_id, answers))


CHECKS = SignatureChecks(
    own_region,
    (schema.known_chain, schema.platform),
    (
        Document(schema.terms, verify_terms),
        Document(schema.hand_over, _hand_over),
        Document(schema.custody_return, lambda row, verifier: verify_hand_over(row, CLEARINGHOUSE, verifier)),
        Document(schema.fund_return, _fund_return),
        Document(schema.feed_head, _feed_head),
        Document(schema.cancellation, _cancellation),
        Document(schema.withdrawn_posting, _withdrawal),
        Document(schema.dispute, _dispute),
        Document(schema.settlement_window, _confirmation),
        Document(schema.statement_month, _confirmation),
    ),
    (_claims, _answers_away),
)
