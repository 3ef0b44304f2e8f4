"""The first tables of the node."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "node_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "acquirer_due",
        sa.Column("settlement_window", sa.BigInteger(), autoincrement=False, nullable=False, comment="0: decided here"),
        sa.Column("acquirer", sa.String(), nullable=False),
        sa.Column(
            "account", sa.String(), nullable=False, comment="who pays: a funder, or `clearing` for the clearinghouse"
        ),
        sa.Column("owed_fen", sa.BigInteger(), nullable=False, comment="of captures less refunds"),
        sa.Column("instructed_fen", sa.BigInteger(), nullable=False, comment="what of it payments are made out for"),
        sa.PrimaryKeyConstraint("settlement_window", "acquirer", "account"),
        comment="running totals of what acquirers advanced to merchants, so that paying them reads no redemptions",
    )
    op.create_table(
        "announcement",
        sa.Column("campaign", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("announced", sa.Boolean(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("campaign", "number"),
        comment="own campaign changes, and whether the clearinghouse has them",
    )
    op.create_index("announcement_open", "announcement", ["announced"], unique=False)
    op.create_table(
        "away",
        sa.Column("redemption_id", sa.LargeBinary(), nullable=False),
        sa.Column("caller", sa.String(), nullable=False),
        sa.Column("merchant", sa.String(), nullable=False),
        sa.Column("order_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("order_fen", sa.BigInteger(), nullable=False),
        sa.Column("discount_fen", sa.BigInteger(), nullable=False, comment="as it stands"),
        sa.Column("refunded_order_fen", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False, comment="in one series with the redemptions decided here"),
        sa.Column(
            "particulars", sa.LargeBinary(), nullable=False, comment="a RedemptionRecord with what no other column says"
        ),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("redemption_id"),
        comment="redemptions at this region's merchants that the clearinghouse decided",
    )
    op.create_index("away_by_number", "away", ["number"], unique=False)
    op.create_table(
        "away_use",
        sa.Column("settlement_window", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account", sa.String(), nullable=False, comment="funding account of this region"),
        sa.Column("used_fen", sa.BigInteger(), nullable=False, comment="of legs that the clearinghouse posted"),
        sa.Column("drawn_fen", sa.BigInteger(), nullable=False, comment="taken from what was paid ahead, once settled"),
        sa.Column(
            "drawn_there_fen", sa.BigInteger(), nullable=False, comment="of it, from what stood at the clearinghouse"
        ),
        sa.PrimaryKeyConstraint("settlement_window", "account"),
        comment="running totals of what own funders used at the clearinghouse",
    )
    op.create_table(
        "bank_receipt",
        sa.Column("bank_reference", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False, comment="whose it is: prefund, settlement or suspense"),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False, comment="the bank's date"),
        sa.Column("memo", sa.Text(), nullable=False, comment="payer and purpose, as the bank tells them"),
        sa.Column("assigned", sa.Boolean(), nullable=False, comment="whether it was in suspense first"),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("bank_reference"),
        comment="money that came into the dedicated account",
    )
    op.create_table(
        "bank_reversal",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("bank_reference", sa.String(), nullable=False),
        sa.Column(
            "kind",
            sa.String(),
            nullable=False,
            comment="of the entry taken back: deposit, receipt, assignment, payment",
        ),
        sa.Column(
            "account", sa.String(), nullable=False, comment="where the money stood, or for a lodging, was paid to"
        ),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("banked_at", sa.BigInteger(), nullable=False, comment="the bank's date"),
        sa.Column("memo", sa.Text(), nullable=False, comment="of a receipt"),
        sa.Column("payment", sa.BigInteger(), nullable=True, comment="number of the payment that a lodging was"),
        sa.Column("made_by", sa.String(), nullable=False, comment="who recorded a lodging"),
        sa.Column("reversed_at", sa.BigInteger(), nullable=False),
        sa.Column("reversed_by", sa.String(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("number"),
        comment="receipts, assignments and lodgings that were taken back by reversing entries",
    )
    op.create_index(op.f("ix_bank_reversal_bank_reference"), "bank_reversal", ["bank_reference"], unique=False)
    op.create_table(
        "campaign",
        sa.Column("campaign", sa.String(), nullable=False),
        sa.Column("terms_hash", sa.LargeBinary(), nullable=False),
        sa.Column("published_at", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("campaign"),
        comment="this region's own campaigns",
    )
    op.create_table(
        "cancellation",
        sa.Column("pack_id", sa.LargeBinary(), nullable=False),
        sa.Column("voucher_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("cancelled_at", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("pack_id", "voucher_index"),
        comment="vouchers that were taken out of use for good, by whom and why, signed",
    )
    op.create_table(
        "claim_round",
        sa.Column("campaign", sa.String(), nullable=False),
        sa.Column("round", sa.String(), nullable=False),
        sa.Column("claimed", sa.BigInteger(), nullable=False, comment="packs"),
        sa.Column("vouchers", sa.BigInteger(), nullable=False),
        sa.Column("reserved_fen", sa.BigInteger(), nullable=False, comment="highest discounts of all its vouchers"),
        sa.Column("last_end", sa.BigInteger(), nullable=False, comment="of its vouchers' validity, as issued"),
        sa.PrimaryKeyConstraint("campaign", "round"),
        comment="running totals of what was issued, so that reports do not read packs",
    )
    op.create_table(
        "clearing_item",
        sa.Column(
            "side", sa.String(), nullable=False, comment="merchant: our answer; funder: the clearinghouse's feed"
        ),
        sa.Column("redemption_id", sa.LargeBinary(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("settlement_window", sa.BigInteger(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("redeeming_region", sa.String(), nullable=False),
        sa.Column("campaign", sa.String(), nullable=False),
        sa.Column("order_fen", sa.BigInteger(), nullable=False, comment="negative: a refund"),
        sa.Column("discount_fen", sa.BigInteger(), nullable=False),
        sa.Column("legs", sa.Text(), nullable=False, comment="JSON: [[account, fen], …]"),
        sa.Column("category", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("pack_id", sa.LargeBinary(), nullable=False),
        sa.Column("voucher_index", sa.Integer(), nullable=False),
        sa.Column(
            "request_id", sa.LargeBinary(), nullable=False, comment="funder: the redeeming node's own id of its request"
        ),
        sa.Column("entry", sa.BigInteger(), nullable=False, comment="of the journal, that booked it"),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("side", "redemption_id", "number"),
        comment="captures and refunds at the clearinghouse that concern this region, by window",
    )
    op.create_index(op.f("ix_clearing_item_settlement_window"), "clearing_item", ["settlement_window"], unique=False)
    op.create_table(
        "close_out",
        sa.Column("campaign", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("closed_by", sa.String(), nullable=False),
        sa.Column(
            "due_on", sa.String(), nullable=False, comment="day by which its funders have their money, Asia/Shanghai"
        ),
        sa.Column(
            "released", sa.Text(), nullable=False, comment="JSON: [[account, fen], …], of budgets that were not used"
        ),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("campaign", "number"),
        comment="campaigns that were closed out; later ones give back what refunds freed since",
    )
    op.create_table(
        "custody_return",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("taken_at", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("number"),
        comment="vouchers that came back from the clearinghouse, taken once",
    )
    op.create_table(
        "dispute",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("settlement_window", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False, comment="a serialised Dispute, as it was signed"),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("sent", sa.Boolean(), nullable=False, comment="whether the clearinghouse, as it is now, has it"),
        sa.Column(
            "taken",
            sa.LargeBinary(),
            nullable=True,
            comment="a serialised SignedMessage: the clearinghouse's word that it took it",
        ),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("number"),
        comment="statement lines that this region does not accept",
    )
    op.create_table(
        "dispute_decision",
        sa.Column(
            "region",
            sa.String(),
            nullable=False,
            comment="that raised it: this one, or the other of an adjusting entry",
        ),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("settlement_window", sa.BigInteger(), nullable=False, comment="whose statement was disputed"),
        sa.Column("body", sa.LargeBinary(), nullable=False, comment="a serialised DisputeDecision"),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("region", "number"),
        comment="how the clearinghouse decided disputes",
    )
    op.create_table(
        "evidence",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("pack_id", sa.LargeBinary(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("kind", "digest"),
        comment="what an application showed, as digests: each counts once",
    )
    op.create_table(
        "fund_return",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("number"),
        comment="money that came back from the clearinghouse, taken once",
    )
    op.create_table(
        "hand_over",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("given_at", sa.BigInteger(), nullable=False),
        sa.Column("taken", sa.Boolean(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("number"),
        comment="custody given to the clearinghouse; sent again until it is taken",
    )
    op.create_index("hand_over_open", "hand_over", ["taken"], unique=False)
    op.create_table(
        "handed_voucher",
        sa.Column("pack_id", sa.LargeBinary(), nullable=False),
        sa.Column("voucher_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("pack_id", "voucher_index"),
        comment="which hand-over gave a voucher last",
    )
    op.create_table(
        "holder_claim",
        sa.Column("holder_tag", sa.LargeBinary(), nullable=False),
        sa.Column("campaign", sa.String(), nullable=False),
        sa.Column("round", sa.String(), nullable=False),
        sa.Column("claims", sa.Integer(), nullable=False, comment="packs of the whole round"),
        sa.Column(
            "day", sa.Integer(), nullable=False, comment="of the last of them: days since 1970-01-01, Asia/Shanghai"
        ),
        sa.Column("claims_on_day", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("holder_tag", "campaign", "round"),
        comment="what caps per person and per day count by; its packs give it again",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "known_chain",
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("chain", sa.LargeBinary(), nullable=False, comment="PEM"),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("key_id"),
        comment="signing keys of others that this node has met, for showing and checking what they signed",
    )
    op.create_table(
        "merchant",
        sa.Column("code", sa.String(), nullable=False, comment="unified social credit code"),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("categories", sa.Text(), nullable=False, comment="JSON list; empty: any"),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("code"),
    )
    op.create_table(
        "merchant_order",
        sa.Column("merchant", sa.String(), nullable=False),
        sa.Column("order_id", sa.String(), nullable=False),
        sa.Column("taken_by", sa.LargeBinary(), nullable=False, comment="redemption here, or request id sent on"),
        sa.Column("until", sa.BigInteger(), nullable=True, comment="end of a hold; empty once captured or undecided"),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("merchant", "order_id"),
        comment="one public voucher per order",
    )
    op.create_table(
        "outbox",
        sa.Column("caller", sa.String(), nullable=False),
        sa.Column("request_id", sa.LargeBinary(), nullable=False),
        sa.Column("own_id", sa.LargeBinary(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("body_hash", sa.LargeBinary(), nullable=False),
        sa.Column(
            "content", sa.LargeBinary(), nullable=False, comment="the item's bytes as they are sent, and sent again"
        ),
        sa.Column("merchant", sa.String(), nullable=False),
        sa.Column("order_id", sa.String(), nullable=False),
        sa.Column("redemption_id", sa.LargeBinary(), nullable=True),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.Column("answered", sa.Boolean(), nullable=False),
        sa.Column("request_batch", sa.LargeBinary(), nullable=True, comment="the caller's signed message"),
        sa.Column(
            "answer_batch",
            sa.LargeBinary(),
            nullable=True,
            comment="the clearinghouse's signed answers that the answer is among",
        ),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("caller", "request_id"),
        sa.UniqueConstraint("own_id"),
        comment="requests that the clearinghouse decides",
    )
    op.create_index("outbox_open", "outbox", ["answered"], unique=False)
    op.create_table(
        "pack",
        sa.Column("pack_id", sa.LargeBinary(), nullable=False),
        sa.Column("campaign", sa.String(), nullable=False),
        sa.Column("round", sa.String(), nullable=False),
        sa.Column("terms_hash", sa.LargeBinary(), nullable=False),
        sa.Column("holder_tag", sa.LargeBinary(), nullable=False),
        sa.Column("voucher_types", sa.Text(), nullable=False, comment="JSON: type number by index"),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("roaming", sa.String(), nullable=False),
        sa.Column(
            "reservations",
            sa.Text(),
            nullable=False,
            comment="JSON by index: [[[account, fen], …], [[account, fen], …]], or a like one's index",
        ),
        sa.Column("reserved_fen", sa.BigInteger(), nullable=False, comment="highest discounts of all its vouchers"),
        sa.Column(
            "swept", sa.Boolean(), nullable=False, comment="its vouchers have rows of their own since they expired"
        ),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("pack_id"),
        comment="one row a claim; a voucher gets a row of its own when something happens to it",
    )
    op.create_index("pack_by_end", "pack", ["swept", "not_after", "pack_id"], unique=False)
    op.create_table(
        "feed_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "body", sa.LargeBinary(), nullable=False, comment="a serialised FeedHead, as the clearinghouse signed it"
        ),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("id"),
        comment="one row: shows how far the clearinghouse had come with this node",
    )
    op.create_table(
        "parked_event",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False, comment="what its order counts for; empty: nothing"),
        sa.Column("event", sa.LargeBinary(), nullable=False, comment="a serialised FeedEvent"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("parked_at", sa.BigInteger(), nullable=False),
        sa.Column("taken_at", sa.BigInteger(), nullable=True, comment="empty while it is parked"),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("sequence"),
        comment="events of the feed that the books could not take",
    )
    op.create_index(op.f("ix_parked_event_taken_at"), "parked_event", ["taken_at"], unique=False)
    op.create_table(
        "payment",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(), nullable=False, comment="acquirer, return or lodging"),
        sa.Column("payee", sa.String(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("items", sa.Text(), nullable=False, comment="JSON: [[settlement_window, account, fen], …]"),
        sa.Column("campaign", sa.String(), nullable=False, comment="that a return is of; else empty"),
        sa.Column(
            "deposit", sa.String(), nullable=False, comment="bank reference of the deposit that a return gives back"
        ),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.String(), nullable=False),
        sa.Column("bank_reference", sa.String(), nullable=True, comment="empty until the bank has paid it"),
        sa.Column("paid_at", sa.BigInteger(), nullable=True, comment="the bank's date, where it was told"),
        sa.Column("returned_reference", sa.String(), nullable=True, comment="empty unless the bank sent it back"),
        sa.Column("returned_at", sa.BigInteger(), nullable=True),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("bank_reference"),
        sa.UniqueConstraint("returned_reference"),
        comment="what is to leave the dedicated account, and what has left it",
    )
    op.create_table(
        "platform",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("chain", sa.LargeBinary(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "receipt",
        sa.Column(
            "recovery",
            sa.String(),
            nullable=False,
            comment="how far the lineage went that the copy was found behind of",
        ),
        sa.Column("sender", sa.String(), nullable=False, comment="the clearinghouse, or the platform that holds it"),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column(
            "at", sa.BigInteger(), nullable=False, comment="when it was given or decided; of a document, its place"
        ),
        sa.Column("body", sa.LargeBinary(), nullable=False, comment="a serialised message, by the kind"),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("recovery", "sender", "kind", "id"),
        comment="during a recovery: what the clearinghouse and platforms hold of this node",
    )
    op.create_table(
        "settlement_window",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("statement", sa.LargeBinary(), nullable=True, comment="JSON, as the clearinghouse signed it"),
        sa.Column("matched", sa.Integer(), nullable=False),
        sa.Column("missing", sa.Integer(), nullable=False),
        sa.Column("extra", sa.Integer(), nullable=False),
        sa.Column("different", sa.Integer(), nullable=False),
        sa.Column("net_fen", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=False, comment="as its statement says; 0 until it is kept"),
        sa.Column("closing_fen", sa.BigInteger(), nullable=False, comment="likewise"),
        sa.Column("lodged_fen", sa.BigInteger(), nullable=False, comment="likewise"),
        sa.Column("paid_out_fen", sa.BigInteger(), nullable=False, comment="likewise"),
        sa.Column(
            "own_lodged_fen",
            sa.BigInteger(),
            nullable=True,
            comment="by our books when it was compared last; empty without a record",
        ),
        sa.Column("own_paid_out_fen", sa.BigInteger(), nullable=True, comment="likewise"),
        sa.Column("reservation", sa.String(), nullable=False, comment="with which it was confirmed; empty without one"),
        sa.Column("confirmed", sa.Boolean(), nullable=False, comment="to the clearinghouse as it is now"),
        sa.Column(
            "confirmation",
            sa.LargeBinary(),
            nullable=True,
            comment="a serialised SignedMessage: the word that was given",
        ),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "statement_month",
        sa.Column("month", sa.String(), nullable=False),
        sa.Column("confirmed_by", sa.String(), nullable=False, comment="the person who did; empty while nobody has"),
        sa.Column("reservation", sa.String(), nullable=False, comment="with which it was confirmed; empty without one"),
        sa.Column("confirmed", sa.Boolean(), nullable=False, comment="to the clearinghouse as it is now"),
        sa.Column(
            "confirmation",
            sa.LargeBinary(),
            nullable=True,
            comment="a serialised SignedMessage: the word that was given",
        ),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("month"),
        comment="months whose statement can be fetched",
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
        comment="terms as their issuers signed them, its own and those of vouchers that came by",
    )
    op.create_table(
        "withdrawn_posting",
        sa.Column(
            "sequence", sa.BigInteger(), autoincrement=False, nullable=False, comment="of the event that told it"
        ),
        sa.Column("side", sa.String(), nullable=False, comment="merchant, funder: as the clearing_item that it was"),
        sa.Column("posting", sa.LargeBinary(), nullable=False, comment="a serialised Posting"),
        sa.Column(
            "body", sa.LargeBinary(), nullable=False, comment="a serialised Withdrawal, as the clearinghouse signed it"
        ),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("withdrawn_at", sa.BigInteger(), nullable=False),
        sa.Column("booked", sa.BigInteger(), nullable=False, comment="entry of the journal that booked the item"),
        sa.Column("entry", sa.BigInteger(), nullable=False, comment="of the journal, that took it back"),
        sa.Column("seal", sa.LargeBinary(), nullable=False, comment="digest of the row's other columns"),
        sa.PrimaryKeyConstraint("sequence", "side"),
        comment="clearing items that a restored clearinghouse took back",
    )
