"""What a node's rows name, for `quanlian ledger check`."""

from __future__ import annotations

from collections.abc import Iterator

from chassis.database import Transaction
from custodian import schema as books
from custodian.ledger.findings import Finding
from custodian.ledger.references import Reference, Series, dangling, gaps, is_recovered
from node import schema

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
SERIES = (Series(schema.dispute, "number"),)


def references(transaction: Transaction) -> Iterator[Finding]:
    """Every row that others name is there, and every number up to the last, as long as no recovery was needed."""
    if is_recovered(transaction):
        return
    yield from dangling(transaction, REFERENCES)
    yield from gaps(transaction, SERIES)
