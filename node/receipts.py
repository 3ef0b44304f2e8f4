"""What a node holds of the clearinghouse, for one that lost its books.

All of it is signed but two things that count only together: what the feed told, and what still waits for an answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import func, select

from chassis.database import Database, Transaction
from custodian import schema as custodian_schema
from custodian.books import json_to_legs
from custodian.deny_lists import newest_deny_list
from custodian.evidence import Kept, signed_now
from node import schema
from node.desk import Region
from node.feed import SEQUENCE
from quanlian.evidence import REQUEST_KIND
from quanlian.ids import uuid7
from quanlian.signing import Signer
from quanlian.v1 import custody_pb2, redemption_pb2, signed_pb2
from quanlian.wire import legs_messages

MARGIN_SECONDS = 2 * 3600
"""How much earlier than the copy's last commit: by so much the clocks of node and clearinghouse may differ."""
PAGE_BYTES = 1024 * 1024


def receipts_held(
    database: Database, region: Region, point: custody_pb2.HandReceiptsResponse
) -> list[custody_pb2.HandReceiptsRequest]:
    """Everything after the point to which the clearinghouse's copy goes, in pages; the last says that it is all.

    Documents are those of `region`'s own campaigns. What it sent is signed anew, for its messages were signed whole.
    """
    pages = [custody_pb2.HandReceiptsRequest()]
    size = 0
    with database.snapshot() as transaction:
        for receipt in _receipts(transaction, region, point):
            size += receipt.ByteSize()
            if size > PAGE_BYTES:
                pages.append(custody_pb2.HandReceiptsRequest())
                size = receipt.ByteSize()
            pages[-1].receipts.append(receipt)
        run, window, counter = transaction.connection.execute, schema.settlement_window, custodian_schema.counter
        pages[-1].last_window = run(select(func.max(window.c.number))).scalar() or 0
        pages[-1].feed = run(select(counter.c.value).where(counter.c.name == SEQUENCE)).scalar() or 0
    pages[-1].complete = True
    return pages


def _receipts(
    transaction: Transaction, region: Region, point: custody_pb2.HandReceiptsResponse
) -> Iterator[custody_pb2.Receipt]:
    run, own, documents, changes = (
        transaction.connection.execute,
        schema.announcement,
        schema.terms,
        custodian_schema.campaign_change,
    )
    campaigns = {row.campaign for row in run(own.select())}
    published = (documents.c.issuer == region.code) & documents.c.campaign.in_(campaigns)
    for row in run(documents.select().where(published)):
        yield custody_pb2.Receipt(terms=_document(row))
    since = max(0, point.since - MARGIN_SECONDS)
    suspensions = custodian_schema.suspension
    for row in run(suspensions.select().where(suspensions.c.at >= since).order_by(suspensions.c.at)):
        yield custody_pb2.Receipt(at=row.at, suspension=_signed(row))
    if denied := newest_deny_list(transaction):
        yield custody_pb2.Receipt(at=denied.denylist.issued_at, deny_list=denied.message)
    decided = (changes.c.issuer == region.code) & changes.c.campaign.in_(campaigns)
    for row in run(changes.select().where(decided).order_by(changes.c.campaign, changes.c.number)):
        yield custody_pb2.Receipt(at=row.number, change=_signed(row))
    handed, returned = schema.hand_over, schema.custody_return
    for row in run(handed.select().where(handed.c.number > point.after_hand_over).order_by(handed.c.number)):
        yield custody_pb2.Receipt(at=row.given_at, hand_over=_signed(row))
    for row in run(returned.select().where(returned.c.taken_at >= since).order_by(returned.c.number)):
        yield custody_pb2.Receipt(at=row.taken_at, custody_return=_signed(row))
    yield from _answers(transaction, region.message_signer, uuid7(since * 1000, bytes(10)))
    sent, told = schema.outbox.c, schema.clearing_item.c
    for row in run(schema.outbox.select().where(sent.answered.is_(False)).order_by(sent.own_id)):
        yield custody_pb2.Receipt(at=row.sent_at, pending=row.content)
    postings = schema.clearing_item.select().where(told.side == "funder", told.at >= since)
    for row in run(postings.order_by(told.at, told.redemption_id, told.number)):
        yield custody_pb2.Receipt(at=row.at, told=_told(row))
    taken_back = schema.withdrawn_posting
    for row in run(taken_back.select().where(taken_back.c.withdrawn_at >= since).order_by(taken_back.c.sequence)):
        yield custody_pb2.Receipt(at=row.withdrawn_at, withdrawn=_signed(row))


def _answers(transaction: Transaction, signer: Signer, after: bytes) -> Iterator[custody_pb2.Receipt]:
    """What was sent on and answered after a time, each with the clearinghouse's signature.

    It may have been sent long before: the ids of received messages begin with the time.
    """
    table = schema.outbox
    query = table.select().where(table.c.answer_batch > after).order_by(table.c.own_id)
    for row in transaction.connection.execute(query):
        answer = Kept(transaction, [row.answer_batch]).answer_to(row.answer_batch, row.own_id)
        if answer is None:
            continue
        asked = signed_now(row.content, REQUEST_KIND, signer)
        item = custody_pb2.AnsweredItem(
            item=row.content,
            answer=answer.content,
            hashes=answer.hashes,
            key_id=answer.key_id,
            signature=answer.signature,
            item_key_id=asked.key_id,
            item_signature=asked.signature,
        )
        yield custody_pb2.Receipt(at=_decided_at(answer.content), answered=item)


def _told(row: Any) -> redemption_pb2.Posting:
    return redemption_pb2.Posting(
        redemption_id=row.redemption_id,
        number=row.number,
        window=row.settlement_window,
        campaign=row.campaign,
        issuer=row.issuer,
        redeeming_region=row.redeeming_region,
        order_fen=row.order_fen,
        discount_fen=row.discount_fen,
        legs=legs_messages(json_to_legs(row.legs)),
        at=row.at,
        pack_id=row.pack_id,
        index=row.voucher_index,
        category=row.category,
        request_id=row.request_id,
    )


def _decided_at(answer: bytes) -> int:
    return redemption_pb2.RedemptionAnswer.FromString(answer).decided_at


def _signed(row: Any) -> signed_pb2.SignedMessage:
    return signed_pb2.SignedMessage(body=row.body, key_id=row.key_id, signature=row.signature)


def _document(row: Any) -> signed_pb2.SignedMessage:
    return signed_pb2.SignedMessage(body=row.document, key_id=row.key_id, signature=row.signature)
