"""What the clearinghouse's rows name, for `quanlian ledger check`."""

from __future__ import annotations

from collections.abc import Iterator

from chassis.database import Transaction
from clearinghouse import schema
from clearinghouse.agreements import SIGNATURE
from clearinghouse.disputes import DISPUTE
from clearinghouse.domain.windows import WindowState
from clearinghouse.redeeming import RELEASE_REFUSAL
from clearinghouse.windows import CONFIRMATIONS
from custodian import schema as books
from custodian.books import REDEMPTIONS
from custodian.ledger.findings import Finding
from custodian.ledger.records import Recorded, unrecorded
from custodian.ledger.references import Numbered, Reference, Series, dangling, gaps, is_recovered, numbers
from quanlian.custody import CLEARINGHOUSE

VOUCHER = ("issuer", "pack_id", "voucher_index")
WINDOW = ("settlement_window",)
CAMPAIGN = ("region", "campaign")
_KEY = (schema.signing_chain, ("owner", "key_id"))
_ENROLLED = schema.signing_chain.select().exists()
_BY_A_REGION = schema.agreement_signature.c.signer != CLEARINGHOUSE
REFERENCES = (
    *(
        Reference(table, ("region",), schema.participant, ("region",))
        for table in (
            schema.visitors_funder,
            schema.feed,
            schema.statement,
            schema.net_position,
            schema.payout,
            schema.shortfall,
        )
    ),
    Reference(schema.deposit, ("region",), schema.participant, ("region",), schema.deposit.c.region != ""),
    Reference(schema.agreement_signature, ("number", "version"), schema.agreement, ("number", "version")),
    Reference(schema.agreement, ("number", "version"), schema.agreement_signature, ("number", "version")),
    Reference(schema.terms, ("issuer", "key_id"), *_KEY, _ENROLLED),
    Reference(schema.hand_over, ("issuer", "key_id"), *_KEY, _ENROLLED),
    Reference(books.campaign_change, ("issuer", "key_id"), *_KEY, _ENROLLED),
    Reference(schema.agreement_signature, ("signer", "key_id"), *_KEY, _ENROLLED & _BY_A_REGION),
    Reference(schema.handed_voucher, ("issuer", "number"), schema.hand_over, ("issuer", "number")),
    Reference(books.voucher, VOUCHER, schema.handed_voucher, VOUCHER),
    Reference(books.redemption, ("id",), schema.proof, ("redemption_id",)),
    Reference(books.redemption, ("terms_hash",), schema.terms, ("terms_hash",)),
    Reference(books.entry, WINDOW, schema.settlement_window, ("number",), books.entry.c.settlement_window > 0),
    Reference(schema.statement, WINDOW, schema.settlement_window, ("number",)),
    Reference(schema.prefund_return, CAMPAIGN, schema.close_out, CAMPAIGN),
    Reference(schema.prefund_return, ("deposit",), schema.deposit, ("bank_reference",)),
    Reference(schema.close_out, ("region",), schema.participant, ("region",)),
    Reference(schema.shortfall, WINDOW, schema.settlement_window, ("number",)),
)
SERIES = (
    Series(schema.settlement_window, "number"),
    Series(schema.dispute, "number", ("region",)),
    Series(schema.deposit_reversal, "number"),
    Series(books.limit_warning, "number", ("region",)),
)
NUMBERED = (Numbered(REDEMPTIONS, (books.redemption.c.number,)),)
RECORDED = (
    Recorded(schema.agreement_signature, SIGNATURE, lambda row: f"{row.number} v{row.version} {row.signer}"),
    Recorded(schema.dispute, DISPUTE, lambda row: f"{row.region}/{row.number}"),
    Recorded(
        schema.release_refusal,
        RELEASE_REFUSAL,
        lambda row: f"{row.issuer}/{row.pack_id.hex()}/{row.voucher_index}",
    ),
    Recorded(
        schema.statement,
        CONFIRMATIONS["statement"],
        lambda row: f"{row.settlement_window} {row.region}",
        "confirmation_signature",
        schema.statement.c.confirmation.is_not(None),
    ),
    Recorded(
        schema.monthly_statement,
        CONFIRMATIONS["monthly_statement"],
        lambda row: f"{row.month} {row.region}",
        "confirmation_signature",
        schema.monthly_statement.c.confirmation.is_not(None),
    ),
)


def references(transaction: Transaction) -> Iterator[Finding]:
    """Every row that others name is there, and every number up to the last, as long as no recovery was needed."""
    yield from unrecorded(transaction, RECORDED)
    if is_recovered(transaction):
        return
    yield from dangling(transaction, REFERENCES)
    yield from gaps(transaction, SERIES)
    yield from numbers(transaction, NUMBERED)


def open_window(transaction: Transaction) -> Iterator[Finding]:
    """The last window is open: closing one opens the next."""
    table = schema.settlement_window
    last = transaction.connection.execute(table.select().order_by(table.c.number.desc()).limit(1)).first()
    if last is not None and last.state != WindowState.OPEN.name:
        zh, en = "缺失，其前一场次已结束", f"missing, though window {last.number} before it is closed"
        yield Finding(table.name, str(last.number + 1), None, 0, zh, en)
