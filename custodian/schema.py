"""The tables that node and clearinghouse share. Every unique key begins with what would distribute it (ADR 0002)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text, text

from custodian.seals import seal_column

METADATA = MetaData()
_GIVEN = text("redemption_id IS NOT NULL")
_WHERE_GIVEN: dict[str, Any] = {"sqlite_where": _GIVEN, "postgresql_where": _GIVEN}
"""Answers to claims name no redemption and stay out of the index."""
_HELD, _USABLE = text("state = 'AUTHORIZED'"), text("status = 'usable'")
_WHERE_HELD: dict[str, Any] = {"sqlite_where": _HELD, "postgresql_where": _HELD}
_WHERE_USABLE: dict[str, Any] = {"sqlite_where": _USABLE, "postgresql_where": _USABLE}
"""What is over for good stays out of the indexes by which the clock is followed."""
_WITH_ROOM: dict[str, Any] = {"postgresql_with": {"fillfactor": 85}}
"""A row that a capture or refund writes anew finds room in its page. Without, new rows fill what old ones left all over
the table, and each changes a page that nothing else changes.
"""

request = Table(
    "request",
    METADATA,
    Column("participant", String, primary_key=True),
    Column("request_id", LargeBinary, primary_key=True),
    Column("body_hash", LargeBinary, comment="empty when reversed before it arrived: any body is answered"),
    Column("answer", LargeBinary, nullable=False),
    Column("redemption_id", LargeBinary),
    Column("operation", String, nullable=False),
    Column("decided_at", BigInteger, nullable=False),
    Column("request_batch", LargeBinary, comment="the signed message that it came in"),
    Column("answer_batch", LargeBinary, comment="the signed answers that its answer is among"),
    seal_column(),
    Index("request_by_redemption", "redemption_id", **_WHERE_GIVEN),
    comment="idempotency: each answer, kept as long as the ledger",
)

signed_batch = Table(
    "signed_batch",
    METADATA,
    Column("id", LargeBinary, primary_key=True),
    Column("kind", String, nullable=False),
    Column("key_id", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("hashes", LargeBinary, nullable=False, comment="SHA-256 of each item, in order: what is signed"),
    Column("items", LargeBinary, comment="a serialised RedeemStreamRequest with the items; empty for own answers"),
    Column("at", BigInteger, nullable=False),
    seal_column(),
    comment="evidence: messages as they were signed, one row for all items of one",
)

voucher = Table(
    "voucher",
    METADATA,
    Column("issuer", String, primary_key=True),
    Column("pack_id", LargeBinary, primary_key=True),
    Column("voucher_index", Integer, primary_key=True),
    Column("campaign", String, nullable=False),
    Column("terms_hash", LargeBinary, nullable=False),
    Column("voucher_type", Integer, nullable=False),
    Column("holder_tag", LargeBinary, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("status", String, nullable=False, comment="of a captured one maybe as it was before: spend tells"),
    Column("epoch", Integer, nullable=False, comment="even: the issuer's, odd: the clearinghouse's"),
    Column("hold", LargeBinary),
    Column("reserved_cofunders", Text, nullable=False, comment="JSON: [[account, fen], …]"),
    Column("reserved_public", Text, nullable=False, comment="JSON: [[account, fen], …]"),
    seal_column(),
    Index("voucher_by_end", "not_after", "issuer", "pack_id", "voucher_index", **_WHERE_USABLE),
)

spend = Table(
    "spend",
    METADATA,
    Column("issuer", String, primary_key=True),
    Column("pack_id", LargeBinary, primary_key=True),
    Column("voucher_index", Integer, primary_key=True),
    Column("redemption_id", LargeBinary, nullable=False),
    comment="one row a captured voucher, for ever: the unique key that no race passes",
)

redemption = Table(
    "redemption",
    METADATA,
    Column("id", LargeBinary, primary_key=True),
    Column("issuer", String, nullable=False),
    Column("pack_id", LargeBinary, nullable=False),
    Column("voucher_index", Integer, nullable=False),
    Column("campaign", String, nullable=False),
    Column("terms_hash", LargeBinary, nullable=False),
    Column("redeeming_region", String, nullable=False),
    Column("participant", String, nullable=False),
    Column("acquirer", String, nullable=False),
    Column("merchant", String, nullable=False),
    Column("order_id", String, nullable=False),
    Column("category", String, nullable=False),
    Column("channel", String, nullable=False),
    Column("klass", String, nullable=False),
    Column("invoice_fen", BigInteger, nullable=False),
    Column("price_fen", BigInteger, nullable=False),
    Column("state", String, nullable=False),
    Column("order_fen", BigInteger, nullable=False),
    Column("discount_fen", BigInteger, nullable=False),
    Column("legs", Text, nullable=False, comment="JSON: who bears the discount as held or captured"),
    Column("standing", Text, nullable=False, comment="JSON: what is left of the legs after refunds"),
    Column("rest_cofunders", Text, nullable=False, comment="JSON: reserved, not used by the hold"),
    Column("rest_public", Text, nullable=False),
    Column("agreement", String, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("authorized_at", BigInteger, nullable=False),
    Column("captured_at", BigInteger, nullable=False),
    Column("settlement_window", BigInteger, nullable=False),
    Column("refunded_order_fen", BigInteger, nullable=False),
    Column("returned_fen", BigInteger, nullable=False, comment="to funders, by returns and adjusting entries"),
    Column("shopper_fen", BigInteger, nullable=False, comment="to the shopper, by returns"),
    Column("postings", Integer, nullable=False),
    Column("number", BigInteger, nullable=False, comment="in the order in which this party committed them, from 1"),
    seal_column(),
    Index("redemption_by_expiry", "expires_at", "id", **_WHERE_HELD),
    Index("redemption_by_campaign", "issuer", "campaign"),
    Index("redemption_by_number", "number"),
    **_WITH_ROOM,
)

posting = Table(
    "posting",
    METADATA,
    Column("redemption_id", LargeBinary, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("kind", String, nullable=False, comment="capture or refund"),
    Column("order_fen", BigInteger, nullable=False),
    Column("discount_fen", BigInteger, nullable=False),
    Column("legs", Text, nullable=False, comment="JSON: signed like the discount"),
    Column("settlement_window", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("entry", BigInteger, nullable=False),
    Index("posting_by_window", "settlement_window", "redemption_id"),
    comment="history of each redemption's money; only appended",
)

account = Table(
    "account",
    METADATA,
    Column("account", String, primary_key=True),
    Column("posted_fen", BigInteger, nullable=False, comment="debits positive"),
    Column("reserved_fen", BigInteger, nullable=False),
    Column("held_fen", BigInteger, nullable=False),
    Column("limit_fen", BigInteger, nullable=False, comment="of funding accounts: what this book may use"),
)

entry = Table(
    "entry",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String, nullable=False),
    Column("settlement_window", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("reference", String, nullable=False, comment="what caused it: a bank reference, a window, a hand-over"),
    Column("digest", LargeBinary, nullable=False, comment="of the entry before, this one, its lines and its postings"),
    comment="journal; only appended",
)

line = Table(
    "line",
    METADATA,
    Column("entry", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("account", String, nullable=False),
    Column("counterpart", String, nullable=False),
    Column("posted_fen", BigInteger, nullable=False),
    Column("reserved_fen", BigInteger, nullable=False),
    Column("held_fen", BigInteger, nullable=False),
    Column("limit_fen", BigInteger, nullable=False),
)

turnover = Table(
    "turnover",
    METADATA,
    Column("settlement_window", BigInteger, primary_key=True, autoincrement=False),
    Column("account", String, primary_key=True),
    Column("counterpart", String, primary_key=True),
    Column("posted_fen", BigInteger, nullable=False),
    Column("refunded_fen", BigInteger, nullable=False, comment="of a funder: what of it refunds gave back"),
    comment="running totals, so that closing a window does not read redemptions",
)

flow = Table(
    "flow",
    METADATA,
    Column("settlement_window", BigInteger, primary_key=True, autoincrement=False),
    Column("issuer", String, primary_key=True),
    Column("redeeming_region", String, primary_key=True),
    Column("campaign", String, primary_key=True),
    Column("captures", BigInteger, nullable=False),
    Column("order_fen", BigInteger, nullable=False),
    Column("discount_fen", BigInteger, nullable=False),
    Column("refunds", BigInteger, nullable=False),
    Column("refunded_order_fen", BigInteger, nullable=False),
    Column("refunded_fen", BigInteger, nullable=False),
)

hourly_flow = Table(
    "hourly_flow",
    METADATA,
    Column("hour", BigInteger, primary_key=True, autoincrement=False, comment="its beginning, UTC seconds"),
    Column("issuer", String, primary_key=True),
    Column("redeeming_region", String, primary_key=True),
    Column("campaign", String, primary_key=True),
    Column("category", String, primary_key=True),
    Column("captures", BigInteger, nullable=False),
    Column("order_fen", BigInteger, nullable=False),
    Column("discount_fen", BigInteger, nullable=False),
    Column("refunds", BigInteger, nullable=False),
    Column("refunded_order_fen", BigInteger, nullable=False),
    Column("refunded_fen", BigInteger, nullable=False),
    comment="running totals by the hour in which they were posted, so that statistics do not read redemptions",
)

suspension = Table(
    "suspension",
    METADATA,
    Column("authority", String, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("suspended", Boolean, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("decided_by", String, nullable=False),
    Column("why", Text, nullable=False),
    Column("body", LargeBinary, nullable=False, comment="a serialised Suspension, as its authority signed it"),
    Column("key_id", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    seal_column(),
    comment="every suspension and reactivation, with who and why; only appended",
)

suspended = Table(
    "suspended",
    METADATA,
    Column("kind", String, primary_key=True),
    Column("subject", String, primary_key=True),
    Column("authority", String, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("since_at", BigInteger, nullable=False),
    Column("bad_from", BigInteger, nullable=False, comment="of a key: what it signed from then on is not believed"),
    seal_column(),
    comment="what is suspended now: the table that a decision looks at",
)

deny_list = Table(
    "deny_list",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Column("key_id", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    seal_column(),
    comment="signed lists of what is not trusted any more; the newest counts",
)

limit_warning = Table(
    "limit_warning",
    METADATA,
    Column("region", String, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("measure", String, nullable=False),
    Column("percent", Integer, nullable=False),
    Column("used_fen", BigInteger, nullable=False),
    Column("limit_fen", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    seal_column(),
    comment="a region's use of a limit reached a threshold from below; only appended",
)

campaign_change = Table(
    "campaign_change",
    METADATA,
    Column("issuer", String, primary_key=True),
    Column("campaign", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kind", String, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("decided_by", String, nullable=False),
    Column("why", Text, nullable=False),
    Column("body", LargeBinary, nullable=False, comment="a serialised CampaignChange, as its issuer signed it"),
    Column("key_id", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    seal_column(),
    comment="every change of every campaign, with who and why; only appended",
)

lineage = Table(
    "lineage",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("incarnation", BigInteger, nullable=False, comment="raised by each recovery"),
    Column("commits", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    seal_column(),
    comment="one row: how many commits this database has seen, to notice an older copy",
)

recovery_report = Table(
    "recovery_report",
    METADATA,
    Column("incarnation", BigInteger, primary_key=True, autoincrement=False),
    Column("report", LargeBinary, nullable=False, comment="a serialised RecoveryReport"),
    seal_column(),
    comment="what each recovery brought back and what it left disputed; only appended",
)

withdrawal_closing = Table(
    "withdrawal_closing",
    METADATA,
    Column("redemption_id", LargeBinary, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("incarnation", BigInteger, primary_key=True, autoincrement=False, comment="as the Withdrawal says"),
    Column("body", LargeBinary, nullable=False, comment="a serialised WithdrawalClosing"),
    Column("key_id", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    seal_column(),
    comment="how people dealt with postings that a restored clearinghouse took back; only appended",
)

counter = Table(
    "counter",
    METADATA,
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
    seal_column(),
    comment="last number given out",
)
