"""The first tables of node and clearinghouse alike."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "custodian_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("posted_fen", sa.BigInteger(), nullable=False, comment="debits positive"),
        sa.Column("reserved_fen", sa.BigInteger(), nullable=False),
        sa.Column("held_fen", sa.BigInteger(), nullable=False),
        sa.Column("limit_fen", sa.BigInteger(), nullable=False, comment="of funding accounts: what this book may use"),
        sa.PrimaryKeyConstraint("account"),
    )
    op.create_table(
        "campaign_change",
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("campaign", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column(
            "body", sa.LargeBinary(), nullable=False, comment="a serialised CampaignChange, as its issuer signed it"
        ),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("issuer", "campaign", "number"),
        comment="every change of every campaign, with who and why; only appended",
    )
    op.create_table(
        "counter",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("name"),
        comment="last number given out",
    )
    op.create_table(
        "deny_list",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("number"),
        comment="signed lists of what is not trusted any more; the newest counts",
    )
    op.create_table(
        "entry",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("settlement_window", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column(
            "reference", sa.String(), nullable=False, comment="what caused it: a bank reference, a window, a hand-over"
        ),
        sa.Column(
            "digest",
            sa.LargeBinary(),
            nullable=False,
            comment="of the entry before, this one, its lines and its postings",
        ),
        sa.PrimaryKeyConstraint("number"),
        comment="journal; only appended",
    )
    op.create_table(
        "flow",
        sa.Column("settlement_window", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("redeeming_region", sa.String(), nullable=False),
        sa.Column("campaign", sa.String(), nullable=False),
        sa.Column("captures", sa.BigInteger(), nullable=False),
        sa.Column("order_fen", sa.BigInteger(), nullable=False),
        sa.Column("discount_fen", sa.BigInteger(), nullable=False),
        sa.Column("refunds", sa.BigInteger(), nullable=False),
        sa.Column("refunded_order_fen", sa.BigInteger(), nullable=False),
        sa.Column("refunded_fen", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("settlement_window", "issuer", "redeeming_region", "campaign"),
    )
    op.create_table(
        "hourly_flow",
        sa.Column("hour", sa.BigInteger(), autoincrement=False, nullable=False, comment="its beginning, UTC seconds"),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("redeeming_region", sa.String(), nullable=False),
        sa.Column("campaign", sa.String(), nullable=False),
        sa.Column("category", sa.String(), nullable=False),
        sa.Column("captures", sa.BigInteger(), nullable=False),
        sa.Column("order_fen", sa.BigInteger(), nullable=False),
        sa.Column("discount_fen", sa.BigInteger(), nullable=False),
        sa.Column("refunds", sa.BigInteger(), nullable=False),
        sa.Column("refunded_order_fen", sa.BigInteger(), nullable=False),
        sa.Column("refunded_fen", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "issuer", "redeeming_region", "campaign", "category"),
        comment="running totals by the hour in which they were posted, so that statistics do not read redemptions",
    )
    op.create_table(
        "limit_warning",
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("measure", sa.String(), nullable=False),
        sa.Column("percent", sa.Integer(), nullable=False),
        sa.Column("used_fen", sa.BigInteger(), nullable=False),
        sa.Column("limit_fen", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("region", "number"),
        comment="a region's use of a limit reached a threshold from below; only appended",
    )
    op.create_table(
        "line",
        sa.Column("entry", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("counterpart", sa.String(), nullable=False),
        sa.Column("posted_fen", sa.BigInteger(), nullable=False),
        sa.Column("reserved_fen", sa.BigInteger(), nullable=False),
        sa.Column("held_fen", sa.BigInteger(), nullable=False),
        sa.Column("limit_fen", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("entry", "number"),
    )
    op.create_table(
        "lineage",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("incarnation", sa.BigInteger(), nullable=False, comment="raised by each recovery"),
        sa.Column("commits", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("id"),
        comment="one row: how many commits this database has seen, to notice an older copy",
    )
    op.create_table(
        "posting",
        sa.Column("redemption_id", sa.LargeBinary(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False, comment="capture or refund"),
        sa.Column("order_fen", sa.BigInteger(), nullable=False),
        sa.Column("discount_fen", sa.BigInteger(), nullable=False),
        sa.Column("legs", sa.Text(), nullable=False, comment="JSON: signed like the discount"),
        sa.Column("settlement_window", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("entry", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("redemption_id", "number"),
        comment="history of each redemption's money; only appended",
    )
    op.create_index("posting_by_window", "posting", ["settlement_window", "redemption_id"], unique=False)
    op.create_table(
        "recovery_report",
        sa.Column("incarnation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("report", sa.LargeBinary(), nullable=False, comment="a serialised RecoveryReport"),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("incarnation"),
        comment="what each recovery brought back and what it left disputed; only appended",
    )
    op.create_table(
        "redemption",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("pack_id", sa.LargeBinary(), nullable=False),
        sa.Column("voucher_index", sa.Integer(), nullable=False),
        sa.Column("campaign", sa.String(), nullable=False),
        sa.Column("terms_hash", sa.LargeBinary(), nullable=False),
        sa.Column("redeeming_region", sa.String(), nullable=False),
        sa.Column("participant", sa.String(), nullable=False),
        sa.Column("acquirer", sa.String(), nullable=False),
        sa.Column("merchant", sa.String(), nullable=False),
        sa.Column("order_id", sa.String(), nullable=False),
        sa.Column("category", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("klass", sa.String(), nullable=False),
        sa.Column("invoice_fen", sa.BigInteger(), nullable=False),
        sa.Column("price_fen", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("order_fen", sa.BigInteger(), nullable=False),
        sa.Column("discount_fen", sa.BigInteger(), nullable=False),
        sa.Column("legs", sa.Text(), nullable=False, comment="JSON: who bears the discount as held or captured"),
        sa.Column("standing", sa.Text(), nullable=False, comment="JSON: what is left of the legs after refunds"),
        sa.Column("rest_cofunders", sa.Text(), nullable=False, comment="JSON: reserved, not used by the hold"),
        sa.Column("rest_public", sa.Text(), nullable=False),
        sa.Column("agreement", sa.String(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("authorized_at", sa.BigInteger(), nullable=False),
        sa.Column("captured_at", sa.BigInteger(), nullable=False),
        sa.Column("settlement_window", sa.BigInteger(), nullable=False),
        sa.Column("refunded_order_fen", sa.BigInteger(), nullable=False),
        sa.Column(
            "returned_fen", sa.BigInteger(), nullable=False, comment="to funders, by returns and adjusting entries"
        ),
        sa.Column("shopper_fen", sa.BigInteger(), nullable=False, comment="to the shopper, by returns"),
        sa.Column("postings", sa.Integer(), nullable=False),
        sa.Column(
            "number", sa.BigInteger(), nullable=False, comment="in the order in which this party committed them, from 1"
        ),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("id"),
        postgresql_with={"fillfactor": 85},
    )
    op.create_index("redemption_by_campaign", "redemption", ["issuer", "campaign"], unique=False)
    op.create_index(
        "redemption_by_expiry",
        "redemption",
        ["expires_at", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'AUTHORIZED'"),
        postgresql_where=sa.text("state = 'AUTHORIZED'"),
    )
    op.create_index("redemption_by_number", "redemption", ["number"], unique=False)
    op.create_table(
        "request",
        sa.Column("participant", sa.String(), nullable=False),
        sa.Column("request_id", sa.LargeBinary(), nullable=False),
        sa.Column(
            "body_hash",
            sa.LargeBinary(),
            nullable=True,
            comment="empty when reversed before it arrived: any body is answered",
        ),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("redemption_id", sa.LargeBinary(), nullable=True),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.Column("request_batch", sa.LargeBinary(), nullable=True, comment="the signed message that it came in"),
        sa.Column(
            "answer_batch", sa.LargeBinary(), nullable=True, comment="the signed answers that its answer is among"
        ),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("participant", "request_id"),
        comment="idempotency: each answer, kept as long as the ledger",
    )
    op.create_index(
        "request_by_redemption",
        "request",
        ["redemption_id"],
        unique=False,
        sqlite_where=sa.text("redemption_id IS NOT NULL"),
        postgresql_where=sa.text("redemption_id IS NOT NULL"),
    )
    op.create_table(
        "signed_batch",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False, comment="SHA-256 of each item, in order: what is signed"),
        sa.Column(
            "items",
            sa.LargeBinary(),
            nullable=True,
            comment="a serialised RedeemStreamRequest with the items; empty for own answers",
        ),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("id"),
        comment="evidence: messages as they were signed, one row for all items of one",
    )
    op.create_table(
        "spend",
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("pack_id", sa.LargeBinary(), nullable=False),
        sa.Column("voucher_index", sa.Integer(), nullable=False),
        sa.Column("redemption_id", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("issuer", "pack_id", "voucher_index"),
        comment="one row a captured voucher, for ever: the unique key that no race passes",
    )
    op.create_table(
        "suspended",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("authority", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("since_at", sa.BigInteger(), nullable=False),
        sa.Column(
            "bad_from", sa.BigInteger(), nullable=False, comment="of a key: what it signed from then on is not believed"
        ),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("kind", "subject", "authority"),
        comment="what is suspended now: the table that a decision looks at",
    )
    op.create_table(
        "suspension",
        sa.Column("authority", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("suspended", sa.Boolean(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column(
            "body", sa.LargeBinary(), nullable=False, comment="a serialised Suspension, as its authority signed it"
        ),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("authority", "number"),
        comment="every suspension and reactivation, with who and why; only appended",
    )
    op.create_table(
        "turnover",
        sa.Column("settlement_window", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("counterpart", sa.String(), nullable=False),
        sa.Column("posted_fen", sa.BigInteger(), nullable=False),
        sa.Column("refunded_fen", sa.BigInteger(), nullable=False, comment="of a funder: what of it refunds gave back"),
        sa.PrimaryKeyConstraint("settlement_window", "account", "counterpart"),
        comment="running totals, so that closing a window does not read redemptions",
    )
    op.create_table(
        "voucher",
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("pack_id", sa.LargeBinary(), nullable=False),
        sa.Column("voucher_index", sa.Integer(), nullable=False),
        sa.Column("campaign", sa.String(), nullable=False),
        sa.Column("terms_hash", sa.LargeBinary(), nullable=False),
        sa.Column("voucher_type", sa.Integer(), nullable=False),
        sa.Column("holder_tag", sa.LargeBinary(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column(
            "status",
            sa.String(),
            nullable=False,
            comment="of a captured one maybe as it was before: spend tells",
        ),
        sa.Column("epoch", sa.Integer(), nullable=False, comment="even: the issuer's, odd: the clearinghouse's"),
        sa.Column("hold", sa.LargeBinary(), nullable=True),
        sa.Column("reserved_cofunders", sa.Text(), nullable=False, comment="JSON: [[account, fen], …]"),
        sa.Column("reserved_public", sa.Text(), nullable=False, comment="JSON: [[account, fen], …]"),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("issuer", "pack_id", "voucher_index"),
    )
    op.create_index(
        "voucher_by_end",
        "voucher",
        ["not_after", "issuer", "pack_id", "voucher_index"],
        unique=False,
        sqlite_where=sa.text("status = 'usable'"),
        postgresql_where=sa.text("status = 'usable'"),
    )
    op.create_table(
        "withdrawal_closing",
        sa.Column("redemption_id", sa.LargeBinary(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "incarnation", sa.BigInteger(), autoincrement=False, nullable=False, comment="as the Withdrawal says"
        ),
        sa.Column("body", sa.LargeBinary(), nullable=False, comment="a serialised WithdrawalClosing"),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("redemption_id", "number", "incarnation"),
        comment="how people dealt with postings that a restored clearinghouse took back; only appended",
    )
