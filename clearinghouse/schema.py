"""The tables that only the clearinghouse has; those it shares with the nodes are in `custodian.schema`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, MetaData, String, Table, Text

from custodian.seals import seal_column

METADATA = MetaData()

participant = Table(
    "participant",
    METADATA,
    Column("region", String, primary_key=True),
    Column("name_zh", String, nullable=False),
    Column("name_en", String, nullable=False),
    Column("net_debit_cap_fen", BigInteger, nullable=False),
    Column("credit_line_fen", BigInteger, nullable=False),
    Column("credit_offset_bp", Integer, nullable=False),
    Column("funding_mode", String, nullable=False, comment="prefunded, advanced or mixed"),
    Column("credit_days", Integer, nullable=False, comment="to pay a shortfall in, calendar days; 0: at once"),
    Column("owed_held_fen", BigInteger, nullable=False, comment="to other regions, on hold"),
    Column("owed_posted_fen", BigInteger, nullable=False, comment="to other regions, posted and not settled"),
    Column("due_posted_fen", BigInteger, nullable=False, comment="from other regions, posted and not settled"),
    Column("limit_percent", Integer, nullable=False, comment="threshold that its exposure has reached: 0, 75, 90"),
    Column("credit_percent", Integer, nullable=False, comment="threshold that its use of credit has reached"),
    Column("withheld_fen", BigInteger, nullable=False, comment="of its pay-outs, while others are in arrears"),
    Column("prefund_fen", BigInteger, nullable=False, comment="running total of what its funders paid ahead here"),
    seal_column(),
)

signing_chain = Table(
    "signing_chain",
    METADATA,
    Column("owner", String, primary_key=True),
    Column("key_id", LargeBinary, primary_key=True),
    Column("chain", LargeBinary, nullable=False, comment="PEM"),
    seal_column(),
)

terms = Table(
    "terms",
    METADATA,
    Column("terms_hash", LargeBinary, primary_key=True),
    Column("campaign", String, nullable=False),
    Column("issuer", String, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("key_id", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    seal_column(),
)

agreement = Table(
    "agreement",
    METADATA,
    Column("number", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("document", LargeBinary, nullable=False),
    seal_column(),
)

agreement_signature = Table(
    "agreement_signature",
    METADATA,
    Column("number", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("signer", String, primary_key=True, comment="a region, or clearinghouse: signed by it, it counts"),
    Column("key_id", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("signed_at", BigInteger, nullable=False),
    seal_column(),
)

visitors_funder = Table(
    "visitors_funder",
    METADATA,
    Column("region", String, primary_key=True),
    Column("fiscal_year", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("name", String, nullable=False),
    Column("weight", BigInteger, nullable=False),
    Column("rule", String, nullable=False),
    Column("budget_fen", BigInteger, nullable=False),
    seal_column(),
    comment="a region's standing fund for visitors, by year",
)

hand_over = Table(
    "hand_over",
    METADATA,
    Column("issuer", String, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Column("key_id", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("taken_at", BigInteger, nullable=False),
    seal_column(),
    comment="custody taken from issuers, as they signed it",
)

custody_return = Table(
    "custody_return",
    METADATA,
    Column("region", String, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Column("key_id", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("given_at", BigInteger, nullable=False),
    seal_column(),
    comment="custody given back to issuers",
)

handed_voucher = Table(
    "handed_voucher",
    METADATA,
    Column("issuer", String, primary_key=True),
    Column("pack_id", LargeBinary, primary_key=True),
    Column("voucher_index", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    seal_column(),
    comment="which hand-over brought a voucher last: the issuer's word on its reserved money",
)

returned_voucher = Table(
    "returned_voucher",
    METADATA,
    Column("issuer", String, primary_key=True),
    Column("pack_id", LargeBinary, primary_key=True),
    Column("voucher_index", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    seal_column(),
    comment="which return gave a voucher back last",
)

release_refusal = Table(
    "release_refusal",
    METADATA,
    Column("issuer", String, primary_key=True),
    Column("pack_id", LargeBinary, primary_key=True),
    Column("voucher_index", Integer, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Column("key_id", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    seal_column(),
    comment="why an issuer did not release a voucher, as it signed it last",
)

receipt = Table(
    "receipt",
    METADATA,
    Column("region", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("id", LargeBinary, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False, comment="a serialised Receipt"),
    Column("recovery", String, nullable=False, comment="how far the lineage went that the copy was found behind of"),
    seal_column(),
    comment="during a recovery: what nodes hold of this clearinghouse, not applied yet",
)

receipts_complete = Table(
    "receipts_complete",
    METADATA,
    Column("region", String, primary_key=True),
    Column("feed", BigInteger, nullable=False),
    Column("last_window", BigInteger, nullable=False),
    Column("recovery", String, nullable=False, comment="as of `receipt`"),
    seal_column(),
    comment="during a recovery: nodes that handed over everything, and what else they have seen",
)

withdrawn_posting = Table(
    "withdrawn_posting",
    METADATA,
    Column("redemption_id", LargeBinary, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("incarnation", BigInteger, primary_key=True, autoincrement=False, comment="of the recovery"),
    Column("body", LargeBinary, nullable=False, comment="a serialised Withdrawal, as it was signed"),
    Column("key_id", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("withdrawn_at", BigInteger, nullable=False),
    seal_column(),
    comment="postings that a recovery could not book, and had taken back",
)

proof = Table(
    "proof",
    METADATA,
    Column("redemption_id", LargeBinary, primary_key=True),
    Column("token", LargeBinary, nullable=False, comment="as the shopper showed it"),
    Column("order_fen", BigInteger, nullable=False, comment="as held, before a smaller capture"),
    Column("discount_fen", BigInteger, nullable=False, comment="as held"),
    Column("visitors", Text, comment="JSON: {rule, funders: [[account, weight, fen left], …], ceiling_left_fen}"),
    seal_column(),
    comment="what a redemption was decided on, for anyone who recomputes it",
)

fund_return = Table(
    "fund_return",
    METADATA,
    Column("region", String, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    seal_column(),
    comment="freed money given back to issuers",
)

feed = Table(
    "feed",
    METADATA,
    Column("region", String, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("event", LargeBinary, nullable=False, comment="a serialised FeedEvent"),
    seal_column(),
)

settlement_window = Table(
    "settlement_window",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("state", String, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("closed_at", BigInteger, nullable=False, comment="0 while open"),
    Column("gross_fen", BigInteger, nullable=False, comment="sum over all pairs before netting"),
    seal_column(),
)

bilateral = Table(
    "bilateral",
    METADATA,
    Column("settlement_window", BigInteger, primary_key=True, autoincrement=False),
    Column("debtor", String, primary_key=True),
    Column("creditor", String, primary_key=True),
    Column("amount_fen", BigInteger, nullable=False),
    seal_column(),
)

net_position = Table(
    "net_position",
    METADATA,
    Column("settlement_window", BigInteger, primary_key=True, autoincrement=False),
    Column("region", String, primary_key=True),
    Column("net_fen", BigInteger, nullable=False, comment="positive: receives"),
    Column("payout_fen", BigInteger, nullable=False, comment="what of it is paid out once settled"),
    Column("bank_reference", String, nullable=False),
    seal_column(),
)

shortfall = Table(
    "shortfall",
    METADATA,
    Column("settlement_window", BigInteger, primary_key=True, autoincrement=False),
    Column("region", String, primary_key=True),
    Column("amount_fen", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False, comment="from when on what is left of it is past due"),
    Column("called_at", BigInteger, nullable=False, comment="when it was found past due or paid by then; 0 before"),
    seal_column(),
    comment="what a settlement left a region owing; cures pay the oldest first",
)

statement = Table(
    "statement",
    METADATA,
    Column("settlement_window", BigInteger, primary_key=True, autoincrement=False),
    Column("region", String, primary_key=True),
    Column("closing_fen", BigInteger, nullable=False),
    Column("document", LargeBinary, nullable=False, comment="JSON, as signed"),
    Column("key_id", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("confirmation", LargeBinary, comment="the region's signed confirmation"),
    Column("confirmation_key_id", LargeBinary),
    Column("confirmation_signature", LargeBinary),
    Column("silent_at", BigInteger, comment="when it counted as confirmed, unanswered until its dispute deadline"),
    seal_column(),
)

monthly_statement = Table(
    "monthly_statement",
    METADATA,
    Column("month", String, primary_key=True, comment="2026-05"),
    Column("region", String, primary_key=True),
    Column("document", LargeBinary, nullable=False, comment="JSON, as signed"),
    Column("key_id", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("confirmation", LargeBinary, comment="the region's signed confirmation, by a person"),
    Column("confirmation_key_id", LargeBinary),
    Column("confirmation_signature", LargeBinary),
    seal_column(),
)

dispute = Table(
    "dispute",
    METADATA,
    Column("region", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("settlement_window", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False, comment="a serialised Dispute, as the region signed it"),
    Column("key_id", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("raised_at", BigInteger, nullable=False),
    Column("outcome", String, nullable=False, comment="open, upheld or rejected"),
    Column("resolution", Text, nullable=False, comment="why it was decided so"),
    Column("resolved_at", BigInteger, nullable=False, comment="0 while open"),
    seal_column(),
)

deposit = Table(
    "deposit",
    METADATA,
    Column("bank_reference", String, primary_key=True),
    Column("region", String, nullable=False, comment="empty: in suspense, nobody's yet"),
    Column("account", String, nullable=False, comment="whose it is: settlement, prefund or suspense"),
    Column("amount_fen", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("settlement_window", BigInteger, nullable=False, index=True, comment="open when it became the region's"),
    Column("memo", Text, nullable=False),
    Column("assigned", Boolean, nullable=False, comment="whether it was a receipt in suspense first"),
    seal_column(),
)

deposit_reversal = Table(
    "deposit_reversal",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("bank_reference", String, nullable=False, index=True),
    Column("region", String, nullable=False, comment="as the deposit was, like all before `reversed_at`"),
    Column("account", String, nullable=False),
    Column("assigned", Boolean, nullable=False, comment="its assignment alone was taken back"),
    Column("amount_fen", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("settlement_window", BigInteger, nullable=False, index=True, comment="that had counted it"),
    Column("memo", Text, nullable=False),
    Column("reversed_at", BigInteger, nullable=False),
    Column("reversed_window", BigInteger, nullable=False, index=True, comment="that counts it less"),
    Column("reversed_by", String, nullable=False),
    Column("why", Text, nullable=False),
    seal_column(),
    comment="deposits and assignments that were taken back by reversing entries",
)

payout = Table(
    "payout",
    METADATA,
    Column("bank_reference", String, primary_key=True),
    Column("region", String, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("paid_at", BigInteger, nullable=False),
    Column("settlement_window", BigInteger, nullable=False, index=True, comment="open when it was booked"),
    Column("returned_reference", String, unique=True, comment="empty unless the bank sent it back"),
    Column("returned_at", BigInteger),
    Column("returned_window", BigInteger, index=True, comment="open when it came back"),
    seal_column(),
)

close_out = Table(
    "close_out",
    METADATA,
    Column("region", String, primary_key=True),
    Column("campaign", String, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("closed_by", String, nullable=False),
    Column("due_on", String, nullable=False, comment="day by which its funders have their money, Asia/Shanghai"),
    seal_column(),
    comment="campaigns and years of visitors' funds whose funders get back what stands here of their money",
)

prefund_return = Table(
    "prefund_return",
    METADATA,
    Column("bank_reference", String, primary_key=True),
    Column("deposit", String, nullable=False, comment="bank reference of the deposit that it gives back"),
    Column("region", String, nullable=False),
    Column("campaign", String, nullable=False),
    Column("account", String, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("paid_at", BigInteger, nullable=False),
    Column("settlement_window", BigInteger, nullable=False, index=True, comment="open when it was booked"),
    seal_column(),
    comment="what the bank paid back to funders",
)
