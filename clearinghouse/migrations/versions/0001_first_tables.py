"""The first tables of the clearinghouse."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "clearinghouse_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "agreement",
        sa.Column("number", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("number", "version"),
    )
    op.create_table(
        "agreement_signature",
        sa.Column("number", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("signer", sa.String(), nullable=False, comment="a region, or clearinghouse: signed by it, it counts"),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("signed_at", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("number", "version", "signer"),
    )
    op.create_table(
        "bilateral",
        sa.Column("settlement_window", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("debtor", sa.String(), nullable=False),
        sa.Column("creditor", sa.String(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("settlement_window", "debtor", "creditor"),
    )
    op.create_table(
        "close_out",
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("campaign", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("closed_by", sa.String(), nullable=False),
        sa.Column(
            "due_on", sa.String(), nullable=False, comment="day by which its funders have their money, Asia/Shanghai"
        ),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("region", "campaign"),
        comment="campaigns and years of visitors' funds whose funders get back what stands here of their money",
    )
    op.create_table(
        "custody_return",
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("given_at", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("region", "number"),
        comment="custody given back to issuers",
    )
    op.create_table(
        "deposit",
        sa.Column("bank_reference", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False, comment="empty: in suspense, nobody's yet"),
        sa.Column("account", sa.String(), nullable=False, comment="whose it is: settlement, prefund or suspense"),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("settlement_window", sa.BigInteger(), nullable=False, comment="open when it became the region's"),
        sa.Column("memo", sa.Text(), nullable=False),
        sa.Column("assigned", sa.Boolean(), nullable=False, comment="whether it was a receipt in suspense first"),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("bank_reference"),
    )
    op.create_index(op.f("ix_deposit_settlement_window"), "deposit", ["settlement_window"], unique=False)
    op.create_table(
        "deposit_reversal",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("bank_reference", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False, comment="as the deposit was, like all before `reversed_at`"),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("assigned", sa.Boolean(), nullable=False, comment="its assignment alone was taken back"),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("settlement_window", sa.BigInteger(), nullable=False, comment="that had counted it"),
        sa.Column("memo", sa.Text(), nullable=False),
        sa.Column("reversed_at", sa.BigInteger(), nullable=False),
        sa.Column("reversed_window", sa.BigInteger(), nullable=False, comment="that counts it less"),
        sa.Column("reversed_by", sa.String(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("number"),
        comment="deposits and assignments that were taken back by reversing entries",
    )
    op.create_index(op.f("ix_deposit_reversal_bank_reference"), "deposit_reversal", ["bank_reference"], unique=False)
    op.create_index(op.f("ix_deposit_reversal_reversed_window"), "deposit_reversal", ["reversed_window"], unique=False)
    op.create_index(
        op.f("ix_deposit_reversal_settlement_window"), "deposit_reversal", ["settlement_window"], unique=False
    )
    op.create_table(
        "dispute",
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("settlement_window", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False, comment="a serialised Dispute, as the region signed it"),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("raised_at", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False, comment="open, upheld or rejected"),
        sa.Column("resolution", sa.Text(), nullable=False, comment="why it was decided so"),
        sa.Column("resolved_at", sa.BigInteger(), nullable=False, comment="0 while open"),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("region", "number"),
    )
    op.create_table(
        "feed",
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event", sa.LargeBinary(), nullable=False, comment="a serialised FeedEvent"),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("region", "sequence"),
    )
    op.create_table(
        "fund_return",
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("region", "number"),
        comment="freed money given back to issuers",
    )
    op.create_table(
        "hand_over",
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("taken_at", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("issuer", "number"),
        comment="custody taken from issuers, as they signed it",
    )
    op.create_table(
        "handed_voucher",
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("pack_id", sa.LargeBinary(), nullable=False),
        sa.Column("voucher_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("issuer", "pack_id", "voucher_index"),
        comment="which hand-over brought a voucher last: the issuer's word on its reserved money",
    )
    op.create_table(
        "monthly_statement",
        sa.Column("month", sa.String(), nullable=False, comment="2026-05"),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False, comment="JSON, as signed"),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column(
            "confirmation", sa.LargeBinary(), nullable=True, comment="the region's signed confirmation, by a person"
        ),
        sa.Column("confirmation_key_id", sa.LargeBinary(), nullable=True),
        sa.Column("confirmation_signature", sa.LargeBinary(), nullable=True),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("month", "region"),
    )
    op.create_table(
        "net_position",
        sa.Column("settlement_window", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("net_fen", sa.BigInteger(), nullable=False, comment="positive: receives"),
        sa.Column("payout_fen", sa.BigInteger(), nullable=False, comment="what of it is paid out once settled"),
        sa.Column("bank_reference", sa.String(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("settlement_window", "region"),
    )
    op.create_table(
        "participant",
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("name_zh", sa.String(), nullable=False),
        sa.Column("name_en", sa.String(), nullable=False),
        sa.Column("net_debit_cap_fen", sa.BigInteger(), nullable=False),
        sa.Column("credit_line_fen", sa.BigInteger(), nullable=False),
        sa.Column("credit_offset_bp", sa.Integer(), nullable=False),
        sa.Column("funding_mode", sa.String(), nullable=False, comment="prefunded, advanced or mixed"),
        sa.Column(
            "credit_days", sa.Integer(), nullable=False, comment="to pay a shortfall in, calendar days; 0: at once"
        ),
        sa.Column("owed_held_fen", sa.BigInteger(), nullable=False, comment="to other regions, on hold"),
        sa.Column(
            "owed_posted_fen", sa.BigInteger(), nullable=False, comment="to other regions, posted and not settled"
        ),
        sa.Column(
            "due_posted_fen", sa.BigInteger(), nullable=False, comment="from other regions, posted and not settled"
        ),
        sa.Column(
            "limit_percent", sa.Integer(), nullable=False, comment="threshold that its exposure has reached: 0, 75, 90"
        ),
        sa.Column(
            "credit_percent", sa.Integer(), nullable=False, comment="threshold that its use of credit has reached"
        ),
        sa.Column(
            "withheld_fen", sa.BigInteger(), nullable=False, comment="of its pay-outs, while others are in arrears"
        ),
        sa.Column(
            "prefund_fen", sa.BigInteger(), nullable=False, comment="running total of what its funders paid ahead here"
        ),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("region"),
    )
    op.create_table(
        "payout",
        sa.Column("bank_reference", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("paid_at", sa.BigInteger(), nullable=False),
        sa.Column("settlement_window", sa.BigInteger(), nullable=False, comment="open when it was booked"),
        sa.Column("returned_reference", sa.String(), nullable=True, comment="empty unless the bank sent it back"),
        sa.Column("returned_at", sa.BigInteger(), nullable=True),
        sa.Column("returned_window", sa.BigInteger(), nullable=True, comment="open when it came back"),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("bank_reference"),
        sa.UniqueConstraint("returned_reference"),
    )
    op.create_index(op.f("ix_payout_returned_window"), "payout", ["returned_window"], unique=False)
    op.create_index(op.f("ix_payout_settlement_window"), "payout", ["settlement_window"], unique=False)
    op.create_table(
        "prefund_return",
        sa.Column("bank_reference", sa.String(), nullable=False),
        sa.Column("deposit", sa.String(), nullable=False, comment="bank reference of the deposit that it gives back"),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("campaign", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("paid_at", sa.BigInteger(), nullable=False),
        sa.Column("settlement_window", sa.BigInteger(), nullable=False, comment="open when it was booked"),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("bank_reference"),
        comment="what the bank paid back to funders",
    )
    op.create_index(op.f("ix_prefund_return_settlement_window"), "prefund_return", ["settlement_window"], unique=False)
    op.create_table(
        "proof",
        sa.Column("redemption_id", sa.LargeBinary(), nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=False, comment="as the shopper showed it"),
        sa.Column("order_fen", sa.BigInteger(), nullable=False, comment="as held, before a smaller capture"),
        sa.Column("discount_fen", sa.BigInteger(), nullable=False, comment="as held"),
        sa.Column(
            "visitors",
            sa.Text(),
            nullable=True,
            comment="JSON: {rule, funders: [[account, weight, fen left], …], ceiling_left_fen}",
        ),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("redemption_id"),
        comment="what a redemption was decided on, for anyone who recomputes it",
    )
    op.create_table(
        "receipt",
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False, comment="a serialised Receipt"),
        sa.Column(
            "recovery",
            sa.String(),
            nullable=False,
            comment="how far the lineage went that the copy was found behind of",
        ),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("region", "kind", "id"),
        comment="during a recovery: what nodes hold of this clearinghouse, not applied yet",
    )
    op.create_table(
        "receipts_complete",
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("feed", sa.BigInteger(), nullable=False),
        sa.Column("last_window", sa.BigInteger(), nullable=False),
        sa.Column("recovery", sa.String(), nullable=False, comment="as of `receipt`"),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("region"),
        comment="during a recovery: nodes that handed over everything, and what else they have seen",
    )
    op.create_table(
        "release_refusal",
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("pack_id", sa.LargeBinary(), nullable=False),
        sa.Column("voucher_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("issuer", "pack_id", "voucher_index"),
        comment="why an issuer did not release a voucher, as it signed it last",
    )
    op.create_table(
        "returned_voucher",
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("pack_id", sa.LargeBinary(), nullable=False),
        sa.Column("voucher_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("issuer", "pack_id", "voucher_index"),
        comment="which return gave a voucher back last",
    )
    op.create_table(
        "settlement_window",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=False, comment="0 while open"),
        sa.Column("gross_fen", sa.BigInteger(), nullable=False, comment="sum over all pairs before netting"),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "shortfall",
        sa.Column("settlement_window", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False, comment="from when on what is left of it is past due"),
        sa.Column(
            "called_at", sa.BigInteger(), nullable=False, comment="when it was found past due or paid by then; 0 before"
        ),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("settlement_window", "region"),
        comment="what a settlement left a region owing; cures pay the oldest first",
    )
    op.create_table(
        "signing_chain",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("chain", sa.LargeBinary(), nullable=False, comment="PEM"),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("owner", "key_id"),
    )
    op.create_table(
        "statement",
        sa.Column("settlement_window", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("closing_fen", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False, comment="JSON, as signed"),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("confirmation", sa.LargeBinary(), nullable=True, comment="the region's signed confirmation"),
        sa.Column("confirmation_key_id", sa.LargeBinary(), nullable=True),
        sa.Column("confirmation_signature", sa.LargeBinary(), nullable=True),
        sa.Column(
            "silent_at",
            sa.BigInteger(),
            nullable=True,
            comment="when it counted as confirmed, unanswered until its dispute deadline",
        ),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("settlement_window", "region"),
    )
    op.create_table(
        "terms",
        sa.Column("terms_hash", sa.LargeBinary(), nullable=False),
        sa.Column("campaign", sa.String(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("terms_hash"),
    )
    op.create_table(
        "visitors_funder",
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("fiscal_year", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("weight", sa.BigInteger(), nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("budget_fen", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("region", "fiscal_year", "position"),
        comment="a region's standing fund for visitors, by year",
    )
    op.create_table(
        "withdrawn_posting",
        sa.Column("redemption_id", sa.LargeBinary(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("incarnation", sa.BigInteger(), autoincrement=False, nullable=False, comment="of the recovery"),
        sa.Column("body", sa.LargeBinary(), nullable=False, comment="a serialised Withdrawal, as it was signed"),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("withdrawn_at", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("redemption_id", "number", "incarnation"),
        comment="postings that a recovery could not book, and had taken back",
    )
