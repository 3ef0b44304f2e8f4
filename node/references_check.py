"""What a node's rows name, for `quanlian ledger check`."""

from __future__ import annotations

from collections.abc import Iterator

from chassis.database import Transaction
from custodian import schema as books
from custodian.books import REDEMPTIONS
from custodian.ledger.findings import Finding
from custodian.ledger.records import Recorded, unrecorded
from custodian.ledger.references import Numbered, Reference, Series, dangling, gaps, is_recovered, numbers
from node import schema
from node.disputes import DISPUTE
from node.feed import SEQUENCE

USED = ("AUTHORIZED", "CAPTURED", "PARTLY_REFUNDED", "REFUNDED")
ORDER = ("merchant", "order_id")
REFERENCES = (
    Reference(books.voucher, ("terms_hash",), schema.terms, ("terms_hash",)),
    Reference(books.redemption, ("terms_hash",), schema.terms, ("terms_hash",)),
    Reference(schema.pack, ("terms_hash",), schema.terms, ("terms_hash",)),
    Reference(schema.campaign, ("terms_hash",), schema.terms, ("terms_hash",)),
    Reference(schema.pack, ("campaign",), schema.campaign, ("campaign",)),
    Reference(schema.announcement, ("campaign", "number"), books.campaign_change, ("campaign", "number")),
    Reference(schema.campaign, ("campaign",), schema.announcement, ("campaign",)),
    Reference(books.redemption, ("merchant",), schema.merchant, ("code",)),
    Reference(schema.away, ("merchant",), schema.merchant, ("code",)),
    Reference(books.redemption, ORDER, schema.merchant_order, ORDER, books.redemption.c.state.in_(USED)),
    Reference(schema.away, ORDER, schema.merchant_order, ORDER, schema.away.c.state.in_(USED)),
    Reference(schema.away, ORDER, schema.outbox, ORDER),
    Reference(schema.outbox, ("request_batch",), books.signed_batch, ("id",)),
    Reference(schema.outbox, ("answer_batch",), books.signed_batch, ("id",)),
)
SERIES = (Series(schema.dispute, "number"), Series(schema.bank_reversal, "number"))
NUMBERED = (
    Numbered(REDEMPTIONS, (books.redemption.c.number, schema.away.c.number)),
    Numbered("payment", (schema.payment.c.number, schema.bank_reversal.c.payment)),
    Numbered("reversal", (schema.bank_reversal.c.number,)),
)
RECORDED = (Recorded(schema.dispute, DISPUTE, lambda row: str(row.number), where=schema.dispute.c.taken.is_not(None)),)


def references(transaction: Transaction) -> Iterator[Finding]:
    """Every row that others name is there, and every number up to the last, as long as no recovery was needed."""
    yield from unrecorded(transaction, RECORDED)
    if is_recovered(transaction):
        return
    yield from dangling(transaction, REFERENCES)
    yield from gaps(transaction, SERIES)
    yield from numbers(transaction, NUMBERED)
    yield from _heard(transaction)


def _heard(transaction: Transaction) -> Iterator[Finding]:
    """How far the clearinghouse's feed was heard, once it told of a posting or a window."""
    run, counter, item = transaction.connection.execute, books.counter, schema.clearing_item
    news = (item.select().where(item.c.side == "funder"), schema.settlement_window.select())
    told = any(run(query.limit(1)).first() for query in news)
    for table, row, where in (
        (counter, SEQUENCE, counter.c.name == SEQUENCE),
        (schema.feed_head, "", schema.feed_head.c.id == 1),
    ):
        if told and run(table.select().where(where)).first() is None:
            yield Finding(table.name, row, None, 0, "缺失，已听取过通知", "missing, though the feed was heard")
