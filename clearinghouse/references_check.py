"""What the clearinghouse's rows name, for `quanlian ledger check`."""

from __future__ import annotations

from collections.abc import Iterator

from chassis.database import Transaction
from clearinghouse import schema
from clearinghouse.agreements import SIGNATURE
from custodian import schema as books
from custodian.ledger.findings import Finding
from custodian.ledger.records import Recorded, unrecorded
from custodian.ledger.references import Reference, Series, dangling, gaps, is_recovered

VOUCHER = ("issuer", "pack_id", "voucher_index")
WINDOW = ("settlement_window",)
REFERENCES = (
    *(
        Reference(table, ("region",), schema.participant, ("region",))
        for table in (schema.visitors_funder, schema.feed, schema.statement, schema.net_position, schema.payout)
    ),
    Reference(schema.deposit, ("region",), schema.participant, ("region",), schema.deposit.c.region != ""),
    Reference(schema.agreement_signature, ("number", "version"), schema.agreement, ("number", "version")),
    Reference(schema.agreement, ("number", "version"), schema.agreement_signature, ("number", "version")),
    Reference(schema.handed_voucher, ("issuer", "number"), schema.hand_over, ("issuer", "number")),
    Reference(books.voucher, VOUCHER, schema.handed_voucher, VOUCHER),
    Reference(books.redemption, ("id",), schema.proof, ("redemption_id",)),
    Reference(books.redemption, ("terms_hash",), schema.terms, ("terms_hash",)),
    Reference(books.entry, WINDOW, schema.settlement_window, ("number",), books.entry.c.settlement_window > 0),
    Reference(schema.statement, WINDOW, schema.settlement_window, ("number",)),
)
SERIES = (
    Series(schema.settlement_window, "number"),
    Series(schema.dispute, "number", ("region",)),
    Series(books.limit_warning, "number", ("region",)),
)
RECORDED = (Recorded(schema.agreement_signature, SIGNATURE, lambda row: f"{row.number} v{row.version} {row.signer}"),)


def references(transaction: Transaction) -> Iterator[Finding]:
    """Every row that others name is there, and every number up to the last, as long as no recovery was needed."""
    yield from unrecorded(transaction, RECORDED)
    if is_recovered(transaction):
        return
    yield from dangling(transaction, REFERENCES)
    yield from gaps(transaction, SERIES)
