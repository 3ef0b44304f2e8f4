"""What a node holds of the clearinghouse, for one that lost its books.

All of it is signed but two things that count only together: what the feed told, and what still waits for an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Column, Select, String, bindparam, select, tuple_

from chassis.database import Database, Query, Transaction
from custodian import schema as custodian_schema
from custodian.book_rows import json_to_legs
from custodian.deny_lists import newest_deny_list
from custodian.evidence import Kept, signed_now
from custodian.paging import pages
from node import schema
from node.desk import Region
from node.feed_heads import kept_head
from quanlian.evidence import REQUEST_KIND
from quanlian.ids import uuid7
from quanlian.signing import Signer
from quanlian.v1 import custody_pb2, redemption_pb2, signed_pb2
from quanlian.wire import legs_messages

MARGIN_SECONDS = 2 * 3600
"""How much earlier than the copy's last commit: by so much the clocks of node and clearinghouse may differ."""
ROWS = 200
"""Of one statement, and of one snapshot: what a node holds may be more than its memory."""

MAX_RECEIPTS = 2000
"""To a page."""

Receipts = Iterator[custody_pb2.Receipt]
Read = Callable[[Transaction, Sequence[Any], Signer], Receipts]
"""Makes receipts of rows; the signer is the node's, for what it sent."""


class _Series(NamedTuple):
    """Receipts of one kind: the rows that they are in, in the order of a unique key, and what some of those say.

    `first` and `next` are a page's queries, from the beginning and after the row that was the last.
    """

    first: Query
    next: Query
    key: tuple[str, ...]
    read: Read

    def page(self, transaction: Transaction, point: dict[str, Any], last: Any) -> Sequence[Any]:
        if last is None:
            return transaction.rows(self.first, **point)
        return transaction.rows(self.next, **point, **{_after(name): getattr(last, name) for name in self.key})


def receipts_held(
    database: Database, region: Region, point: custody_pb2.HandReceiptsResponse
) -> Iterator[custody_pb2.HandReceiptsRequest]:
    """Everything after the point to which the clearinghouse's copy goes, page by page; the last says that it is all.

    Documents are those of `region`'s own campaigns. What it sent is signed anew, for its messages were signed whole.
    Each page is read when it is asked for.
    """
    for receipts in pages(_receipts(database, region, point), custody_pb2.Receipt.ByteSize, MAX_RECEIPTS):
        yield custody_pb2.HandReceiptsRequest(receipts=receipts)
    with database.snapshot() as transaction:
        head = kept_head(transaction)
    yield custody_pb2.HandReceiptsRequest(complete=True, head=head)


def _receipts(database: Database, region: Region, point: custody_pb2.HandReceiptsResponse) -> Receipts:
    """A snapshot is never held while the receipts that it gave are on their way."""
    since = max(0, point.since - MARGIN_SECONDS)
    wanted = {
        "region": region.code,
        "since": since,
        "after_hand_over": point.after_hand_over,
        "after_batch": uuid7(since * 1000, bytes(10)),
    }
    for series in _SERIES:
        last = None
        while True:
            with database.snapshot() as transaction:
                rows = series.page(transaction, wanted, last)
                found = list(series.read(transaction, rows, region.message_signer))
            yield from found
            if len(rows) < ROWS:
                break
            last = rows[-1]
    with database.snapshot() as transaction:
        denied = newest_deny_list(transaction)
    if denied:
        yield custody_pb2.Receipt(at=denied.denylist.issued_at, deny_list=denied.message)


def _signed_as(kind: str, at: str) -> Read:
    """Rows that keep a signed message, as receipts of a kind; the column `at` says when it was given or taken."""

    def read(transaction: Transaction, rows: Sequence[Any], signer: Signer) -> Receipts:
        for row in rows:
            message = signed_pb2.SignedMessage(body=row.body, key_id=row.key_id, signature=row.signature)
            receipt = custody_pb2.Receipt(at=getattr(row, at))
            getattr(receipt, kind).CopyFrom(message)
            yield receipt

    return read


def _terms(transaction: Transaction, rows: Sequence[Any], signer: Signer) -> Receipts:
    for row in rows:
        message = signed_pb2.SignedMessage(body=row.document, key_id=row.key_id, signature=row.signature)
        yield custody_pb2.Receipt(terms=message)


def _pending(transaction: Transaction, rows: Sequence[Any], signer: Signer) -> Receipts:
    for row in rows:
        yield custody_pb2.Receipt(at=row.sent_at, pending=row.content)


def _postings(transaction: Transaction, rows: Sequence[Any], signer: Signer) -> Receipts:
    for row in rows:
        yield custody_pb2.Receipt(at=row.at, told=_told(row))


def _answered(transaction: Transaction, rows: Sequence[Any], signer: Signer) -> Receipts:
    """What was sent on and answered, each with the clearinghouse's signature; what was asked is signed anew.

    It may have been sent long before: the ids of received messages begin with the time.
    """
    kept = Kept(transaction, [row.answer_batch for row in rows])
    for row in rows:
        answer = kept.answer_to(row.answer_batch, row.own_id)
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


def _after(name: str) -> str:
    return f"after_{name}"


def _series(chosen: Select[Any], key: tuple[Column[Any], ...], read: Read) -> _Series:
    page = chosen.order_by(*key).limit(ROWS)
    passed = tuple_(*[bindparam(_after(column.name), type_=column.type) for column in key])
    return _Series(Query(page), Query(page.where(tuple_(*key) > passed)), tuple(column.name for column in key), read)


def _all_series() -> tuple[_Series, ...]:
    """Their queries take `region`, `since`, `after_hand_over` and `after_batch`."""
    terms, changes, suspensions = schema.terms.c, custodian_schema.campaign_change.c, custodian_schema.suspension.c
    handed, returned, sent = schema.hand_over.c, schema.custody_return.c, schema.outbox.c
    told, taken_back = schema.clearing_item.c, schema.withdrawn_posting.c
    own = select(schema.announcement.c.campaign)
    region, since = bindparam("region", type_=String), bindparam("since", type_=BigInteger)
    published = schema.terms.select().where(terms.issuer == region, terms.campaign.in_(own))
    decided = custodian_schema.campaign_change.select().where(changes.issuer == region, changes.campaign.in_(own))
    suspended = custodian_schema.suspension.select().where(suspensions.at >= since)
    given = schema.hand_over.select().where(handed.number > bindparam("after_hand_over"))
    come_back = schema.custody_return.select().where(returned.taken_at >= since)
    answered = schema.outbox.select().where(sent.answer_batch > bindparam("after_batch"))
    pending = schema.outbox.select().where(sent.answered.is_(False))
    postings = schema.clearing_item.select().where(told.side == "funder", told.at >= since)
    withdrawn = schema.withdrawn_posting.select().where(taken_back.withdrawn_at >= since)
    return (
        _series(published, (terms.terms_hash,), _terms),
        _series(decided, (changes.campaign, changes.number), _signed_as("change", "number")),
        _series(suspended, (suspensions.authority, suspensions.number), _signed_as("suspension", "at")),
        _series(given, (handed.number,), _signed_as("hand_over", "given_at")),
        _series(come_back, (returned.number,), _signed_as("custody_return", "taken_at")),
        _series(answered, (sent.own_id,), _answered),
        _series(pending, (sent.own_id,), _pending),
        _series(postings, (told.redemption_id, told.number), _postings),
        _series(withdrawn, (taken_back.sequence, taken_back.side), _signed_as("withdrawn", "withdrawn_at")),
    )


_SERIES = _all_series()
