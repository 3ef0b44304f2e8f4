"""What the clearinghouse holds of a region, for a node that lost its books."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam

from chassis.database import Database, Query, Transaction
from clearinghouse import schema
from clearinghouse.disputes import disputes_of
from custodian import schema as custodian_schema
from custodian.books import Books
from custodian.evidence import Kept, signed_now
from custodian.incarnations import known, learn
from custodian.paging import first_page
from custodian.suspensions import SignedSuspension, Suspensions
from quanlian import wire
from quanlian.evidence import ANSWER_KIND
from quanlian.signing import Signer
from quanlian.v1 import custody_pb2, signed_pb2

PAGE = 500
_TERMS, _CHANGE, _HAND_OVER = schema.terms.c, custodian_schema.campaign_change.c, schema.hand_over.c
_RETURN, _REQUEST = schema.custody_return.c, custodian_schema.request.c
_REQUEST_KEY = tuple(custodian_schema.request.primary_key)
_PUBLISHED = Query(schema.terms.select().where(_TERMS.issuer == bindparam("region")))
_CHANGES = Query(
    custodian_schema.campaign_change.select()
    .where(_CHANGE.issuer == bindparam("region"))
    .order_by(_CHANGE.campaign, _CHANGE.number)
)
_HANDED = Query(
    schema.hand_over.select()
    .where(_HAND_OVER.issuer == bindparam("region"), _HAND_OVER.number > bindparam("after"))
    .order_by(_HAND_OVER.number)
    .limit(PAGE)
)
_RETURNED = Query(
    schema.custody_return.select()
    .where(_RETURN.region == bindparam("region"), _RETURN.number > bindparam("after"))
    .order_by(_RETURN.number)
    .limit(PAGE)
)
_ANSWERED = Query(
    custodian_schema.request.select()
    .where(_REQUEST.participant == bindparam("region"), _REQUEST.request_id > bindparam("after"))
    .order_by(_REQUEST.request_id)
    .limit(PAGE)
)
"""Requests in the order of their ids, which begin with the time."""


def receipts_of(
    database: Database, region: str, asked: custody_pb2.GetReceiptsRequest, signer: Signer
) -> custody_pb2.GetReceiptsResponse:
    """A page of hand-overs, returns and answered requests; `next` says how to go on, if there is more.

    What the region published comes first, for its money rests on that. With the incarnation that the node will begin,
    what an older one gave is void from now on: all that came is here. Asked for `request_ids`, it gives their answers
    alone: what is sent again after a refusal keeps its id, which may be older than any copy.
    """
    with database.snapshot() as transaction:
        newest = known(transaction, region)
    if asked.incarnation > newest:
        with database.transaction() as transaction:
            learn(transaction, region, asked.incarnation)
    if asked.request_ids:
        return _named(database, region, asked.request_ids, signer)
    with database.snapshot() as transaction:
        documents = _documents(transaction, region, signer)[asked.after_document :]
        if documents:
            page = first_page(documents, custody_pb2.RegionDocument.ByteSize, PAGE)
            response = custody_pb2.GetReceiptsResponse(documents=page, incarnation=newest)
            response.next.CopyFrom(asked)
            response.next.after_document += len(page)
            return response
        handed = transaction.rows(_HANDED, region=region, after=asked.after_hand_over)
        given_back = transaction.rows(_RETURNED, region=region, after=asked.after_return)
        rows = transaction.rows(_ANSWERED, region=region, after=asked.after_request_id)
        answered = _answered(transaction, rows, signer)
        feed = Books(transaction).counter(f"feed/{region}")
        response = custody_pb2.GetReceiptsResponse(feed=feed, incarnation=newest)
    hand_overs, returns = (first_page(each, lambda row: len(row.body), PAGE) for each in (handed, given_back))
    requests = first_page(answered, lambda each: each[1].ByteSize(), PAGE)
    response.hand_overs.extend(map(_signed, hand_overs))
    response.returns.extend(map(_signed, returns))
    response.answered.extend(each for _, each in requests if each.item)
    found, shown = len(handed) + len(given_back) + len(rows), len(hand_overs) + len(returns) + len(requests)
    if shown < found or PAGE in (len(handed), len(given_back), len(rows)):
        response.next.after_hand_over = hand_overs[-1].number if hand_overs else asked.after_hand_over
        response.next.after_return = returns[-1].number if returns else asked.after_return
        response.next.after_request_id = requests[-1][0] if requests else asked.after_request_id
        response.next.after_document = asked.after_document
    return response


def _named(database: Database, region: str, ids: Sequence[bytes], signer: Signer) -> custody_pb2.GetReceiptsResponse:
    """The answers to those of the requests that were answered, as many as fit a page."""
    wanted = ids[:PAGE]
    with database.snapshot() as transaction:
        keys = [(region, id) for id in wanted]
        rows = transaction.select_keys(custodian_schema.request, _REQUEST_KEY, keys)
        found = dict(_answered(transaction, rows, signer))
    nothing = custody_pb2.AnsweredItem()
    page = first_page(wanted, lambda id: found.get(id, nothing).ByteSize(), PAGE)
    response = custody_pb2.GetReceiptsResponse(answered=[found[id] for id in page if id in found and found[id].item])
    if len(page) < len(ids):
        response.next.request_ids.extend(ids[len(page) :])
    return response


def _answered(
    transaction: Transaction, rows: Sequence[Any], signer: Signer
) -> list[tuple[bytes, custody_pb2.AnsweredItem]]:
    kept = Kept(transaction, [row.request_batch for row in rows])
    return [(row.request_id, _with_item(kept, row, signer)) for row in rows]


def _documents(transaction: Transaction, region: str, signer: Signer) -> list[custody_pb2.RegionDocument]:
    """The region's terms and changes, campaign by campaign, what it suspended and reactivated, in order, and its
    disputes.
    """
    document = custody_pb2.RegionDocument
    terms = {row.terms_hash: row for row in transaction.rows(_PUBLISHED, region=region)}
    found = []
    for row in transaction.rows(_CHANGES, region=region):
        version = terms.pop(wire.body_to_change(row.body).terms_hash, None)
        if version is not None:
            message = signed_pb2.SignedMessage(
                body=version.document, key_id=version.key_id, signature=version.signature
            )
            found.append(document(terms=message))
        found.append(document(change=_signed(row)))
    suspensions = Suspensions(transaction).history_of(region)
    found += [document(suspension=each.message) for each in sorted(suspensions, key=_number)]
    return found + [document(dispute=each) for each in disputes_of(transaction, region, signer)]


def _number(each: SignedSuspension) -> int:
    return each.suspension.number


def _signed(row: Any) -> signed_pb2.SignedMessage:
    return signed_pb2.SignedMessage(body=row.body, key_id=row.key_id, signature=row.signature)


def _with_item(kept: Kept, row: Any, signer: Signer) -> custody_pb2.AnsweredItem:
    """An answer, signed anew by itself, with what it answers, as far as that was kept."""
    item = kept.item(row.request_batch, row.body_hash) if row.body_hash else None
    answer = signed_now(row.answer, ANSWER_KIND, signer)
    return custody_pb2.AnsweredItem(
        item=item.content if item else b"",
        answer=row.answer,
        hashes=answer.hashes,
        key_id=answer.key_id,
        signature=answer.signature,
    )
