"""The tables that only a node has; those it shares with the clearinghouse are in `custodian.schema`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

from custodian.seals import seal_column

METADATA = MetaData()

campaign = Table(
    "campaign",
    METADATA,
    Column("campaign", String, primary_key=True),
    Column("terms_hash", LargeBinary, nullable=False),
    Column("published_at", BigInteger, nullable=False),
    seal_column(),
    comment="this region's own campaigns",
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
    comment="terms as their issuers signed them, its own and those of vouchers that came by",
)

announcement = Table(
    "announcement",
    METADATA,
    Column("campaign", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("announced", Boolean, nullable=False),
    seal_column(),
    Index("announcement_open", "announced"),
    comment="own campaign changes, and whether the clearinghouse has them",
)

claim_round = Table(
    "claim_round",
    METADATA,
    Column("campaign", String, primary_key=True),
    Column("round", String, primary_key=True),
    Column("claimed", BigInteger, nullable=False, comment="packs"),
    Column("vouchers", BigInteger, nullable=False),
    Column("reserved_fen", BigInteger, nullable=False, comment="highest discounts of all its vouchers"),
    Column("last_end", BigInteger, nullable=False, comment="of its vouchers' validity, as issued"),
    comment="running totals of what was issued, so that reports do not read packs",
)

holder_claim = Table(
    "holder_claim",
    METADATA,
    Column("holder_tag", LargeBinary, primary_key=True),
    Column("campaign", String, primary_key=True),
    Column("round", String, primary_key=True),
    Column("claims", Integer, nullable=False, comment="packs of the whole round"),
    Column("day", Integer, nullable=False, comment="of the last of them: days since 1970-01-01, Asia/Shanghai"),
    Column("claims_on_day", Integer, nullable=False),
    comment="what caps per person and per day count by; its packs give it again",
    sqlite_with_rowid=False,
)

pack = Table(
    "pack",
    METADATA,
    Column("pack_id", LargeBinary, primary_key=True),
    Column("campaign", String, nullable=False),
    Column("round", String, nullable=False),
    Column("terms_hash", LargeBinary, nullable=False),
    Column("holder_tag", LargeBinary, nullable=False),
    Column("voucher_types", Text, nullable=False, comment="JSON: type number by index"),
    Column("issued_at", BigInteger, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("roaming", String, nullable=False),
    Column(
        "reservations",
        Text,
        nullable=False,
        comment="JSON by index: [[[account, fen], …], [[account, fen], …]], or a like one's index",
    ),
    Column("reserved_fen", BigInteger, nullable=False, comment="highest discounts of all its vouchers"),
    Column("swept", Boolean, nullable=False, comment="its vouchers have rows of their own since they expired"),
    seal_column(),
    Index("pack_by_end", "swept", "not_after", "pack_id"),
    comment="one row a claim; a voucher gets a row of its own when something happens to it",
)

evidence = Table(
    "evidence",
    METADATA,
    Column("kind", String, primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Column("pack_id", LargeBinary, nullable=False),
    seal_column(),
    comment="what an application showed, as digests: each counts once",
)

merchant = Table(
    "merchant",
    METADATA,
    Column("code", String, primary_key=True, comment="unified social credit code"),
    Column("name", String, nullable=False),
    Column("categories", Text, nullable=False, comment="JSON list; empty: any"),
    seal_column(),
)

platform = Table(
    "platform",
    METADATA,
    Column("name", String, primary_key=True),
    Column("chain", LargeBinary, nullable=False),
    seal_column(),
)

known_chain = Table(
    "known_chain",
    METADATA,
    Column("key_id", LargeBinary, primary_key=True),
    Column("chain", LargeBinary, nullable=False, comment="PEM"),
    seal_column(),
    comment="signing keys of others that this node has met, for showing and checking what they signed",
)

merchant_order = Table(
    "merchant_order",
    METADATA,
    Column("merchant", String, primary_key=True),
    Column("order_id", String, primary_key=True),
    Column("taken_by", LargeBinary, nullable=False, comment="redemption here, or request id sent on"),
    Column("until", BigInteger, comment="end of a hold; empty once captured or undecided"),
    seal_column(),
    comment="one public voucher per order",
)

outbox = Table(
    "outbox",
    METADATA,
    Column("caller", String, primary_key=True),
    Column("request_id", LargeBinary, primary_key=True),
    Column("own_id", LargeBinary, nullable=False, unique=True),
    Column("operation", String, nullable=False),
    Column("body_hash", LargeBinary, nullable=False),
    Column("content", LargeBinary, nullable=False, comment="the item's bytes as they are sent, and sent again"),
    Column("merchant", String, nullable=False),
    Column("order_id", String, nullable=False),
    Column("redemption_id", LargeBinary),
    Column("sent_at", BigInteger, nullable=False),
    Column("answered", Boolean, nullable=False),
    Column("request_batch", LargeBinary, comment="the caller's signed message"),
    Column("answer_batch", LargeBinary, comment="the clearinghouse's signed answers that the answer is among"),
    seal_column(),
    Index("outbox_open", "answered"),
    comment="requests that the clearinghouse decides",
)

away = Table(
    "away",
    METADATA,
    Column("redemption_id", LargeBinary, primary_key=True),
    Column("caller", String, nullable=False),
    Column("merchant", String, nullable=False),
    Column("order_id", String, nullable=False),
    Column("state", String, nullable=False),
    Column("order_fen", BigInteger, nullable=False),
    Column("discount_fen", BigInteger, nullable=False, comment="as it stands"),
    Column("refunded_order_fen", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False, comment="in one series with the redemptions decided here"),
    Column("particulars", LargeBinary, nullable=False, comment="a RedemptionRecord with what no other column says"),
    seal_column(),
    Index("away_by_number", "number"),
    comment="redemptions at this region's merchants that the clearinghouse decided",
)

clearing_item = Table(
    "clearing_item",
    METADATA,
    Column("side", String, primary_key=True, comment="merchant: our answer; funder: the clearinghouse's feed"),
    Column("redemption_id", LargeBinary, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("settlement_window", BigInteger, nullable=False, index=True),
    Column("issuer", String, nullable=False),
    Column("redeeming_region", String, nullable=False),
    Column("campaign", String, nullable=False),
    Column("order_fen", BigInteger, nullable=False, comment="negative: a refund"),
    Column("discount_fen", BigInteger, nullable=False),
    Column("legs", Text, nullable=False, comment="JSON: [[account, fen], …]"),
    Column("category", String, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("pack_id", LargeBinary, nullable=False),
    Column("voucher_index", Integer, nullable=False),
    Column("request_id", LargeBinary, nullable=False, comment="funder: the redeeming node's own id of its request"),
    Column("entry", BigInteger, nullable=False, comment="of the journal, that booked it"),
    seal_column(),
    comment="captures and refunds at the clearinghouse that concern this region, by window",
)

acquirer_due = Table(
    "acquirer_due",
    METADATA,
    Column("settlement_window", BigInteger, primary_key=True, autoincrement=False, comment="0: decided here"),
    Column("acquirer", String, primary_key=True),
    Column("account", String, primary_key=True, comment="who pays: a funder, or `clearing` for the clearinghouse"),
    Column("owed_fen", BigInteger, nullable=False, comment="of captures less refunds"),
    Column("instructed_fen", BigInteger, nullable=False, comment="what of it payments are made out for"),
    comment="running totals of what acquirers advanced to merchants, so that paying them reads no redemptions",
)

away_use = Table(
    "away_use",
    METADATA,
    Column("settlement_window", BigInteger, primary_key=True, autoincrement=False),
    Column("account", String, primary_key=True, comment="funding account of this region"),
    Column("used_fen", BigInteger, nullable=False, comment="of legs that the clearinghouse posted"),
    Column("drawn_fen", BigInteger, nullable=False, comment="taken from what was paid ahead, once settled"),
    Column("drawn_there_fen", BigInteger, nullable=False, comment="of it, from what stood at the clearinghouse"),
    comment="running totals of what own funders used at the clearinghouse",
)

bank_receipt = Table(
    "bank_receipt",
    METADATA,
    Column("bank_reference", String, primary_key=True),
    Column("account", String, nullable=False, comment="whose it is: prefund, settlement or suspense"),
    Column("amount_fen", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False, comment="the bank's date"),
    Column("memo", Text, nullable=False, comment="payer and purpose, as the bank tells them"),
    Column("assigned", Boolean, nullable=False, comment="whether it was in suspense first"),
    seal_column(),
    comment="money that came into the dedicated account",
)

bank_reversal = Table(
    "bank_reversal",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("bank_reference", String, nullable=False, index=True),
    Column("kind", String, nullable=False, comment="of the entry taken back: deposit, receipt, assignment, payment"),
    Column("account", String, nullable=False, comment="where the money stood, or for a lodging, was paid to"),
    Column("amount_fen", BigInteger, nullable=False),
    Column("banked_at", BigInteger, nullable=False, comment="the bank's date"),
    Column("memo", Text, nullable=False, comment="of a receipt"),
    Column("payment", BigInteger, comment="number of the payment that a lodging was"),
    Column("made_by", String, nullable=False, comment="who recorded a lodging"),
    Column("reversed_at", BigInteger, nullable=False),
    Column("reversed_by", String, nullable=False),
    Column("why", Text, nullable=False),
    seal_column(),
    comment="receipts, assignments and lodgings that were taken back by reversing entries",
)

payment = Table(
    "payment",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String, nullable=False, comment="acquirer, return or lodging"),
    Column("payee", String, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("items", Text, nullable=False, comment="JSON: [[settlement_window, account, fen], …]"),
    Column("campaign", String, nullable=False, comment="that a return is of; else empty"),
    Column("deposit", String, nullable=False, comment="bank reference of the deposit that a return gives back"),
    Column("made_at", BigInteger, nullable=False),
    Column("made_by", String, nullable=False),
    Column("bank_reference", String, unique=True, comment="empty until the bank has paid it"),
    Column("paid_at", BigInteger, comment="the bank's date, where it was told"),
    Column("returned_reference", String, unique=True, comment="empty unless the bank sent it back"),
    Column("returned_at", BigInteger),
    seal_column(),
    comment="what is to leave the dedicated account, and what has left it",
)

close_out = Table(
    "close_out",
    METADATA,
    Column("campaign", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("closed_by", String, nullable=False),
    Column("due_on", String, nullable=False, comment="day by which its funders have their money, Asia/Shanghai"),
    Column("released", Text, nullable=False, comment="JSON: [[account, fen], …], of budgets that were not used"),
    seal_column(),
    comment="campaigns that were closed out; later ones give back what refunds freed since",
)

hand_over = Table(
    "hand_over",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Column("key_id", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("given_at", BigInteger, nullable=False),
    Column("taken", Boolean, nullable=False),
    seal_column(),
    Index("hand_over_open", "taken"),
    comment="custody given to the clearinghouse; sent again until it is taken",
)

handed_voucher = Table(
    "handed_voucher",
    METADATA,
    Column("pack_id", LargeBinary, primary_key=True),
    Column("voucher_index", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    seal_column(),
    comment="which hand-over gave a voucher last",
)

custody_return = Table(
    "custody_return",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Column("key_id", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("taken_at", BigInteger, nullable=False),
    seal_column(),
    comment="vouchers that came back from the clearinghouse, taken once",
)

receipt = Table(
    "receipt",
    METADATA,
    Column("recovery", String, primary_key=True, comment="how far the lineage went that the copy was found behind of"),
    Column("sender", String, primary_key=True, comment="the clearinghouse, or the platform that holds it"),
    Column("kind", String, primary_key=True),
    Column("id", LargeBinary, primary_key=True),
    Column("at", BigInteger, nullable=False, comment="when it was given or decided; of a document, its place"),
    Column("body", LargeBinary, nullable=False, comment="a serialised message, by the kind"),
    seal_column(),
    comment="during a recovery: what the clearinghouse and platforms hold of this node",
)

cancellation = Table(
    "cancellation",
    METADATA,
    Column("pack_id", LargeBinary, primary_key=True),
    Column("voucher_index", Integer, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Column("key_id", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("cancelled_at", BigInteger, nullable=False),
    seal_column(),
    comment="vouchers that were taken out of use for good, by whom and why, signed",
)

withdrawn_posting = Table(
    "withdrawn_posting",
    METADATA,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False, comment="of the event that told it"),
    Column("side", String, primary_key=True, comment="merchant, funder: as the clearing_item that it was"),
    Column("posting", LargeBinary, nullable=False, comment="a serialised Posting"),
    Column("body", LargeBinary, nullable=False, comment="a serialised Withdrawal, as the clearinghouse signed it"),
    Column("key_id", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("withdrawn_at", BigInteger, nullable=False),
    Column("booked", BigInteger, nullable=False, comment="entry of the journal that booked the item"),
    Column("entry", BigInteger, nullable=False, comment="of the journal, that took it back"),
    seal_column(),
    comment="clearing items that a restored clearinghouse took back",
)
parked_event = Table(
    "parked_event",
    METADATA,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String, nullable=False),
    Column("subject", String, nullable=False, comment="what its order counts for; empty: nothing"),
    Column("event", LargeBinary, nullable=False, comment="a serialised FeedEvent"),
    Column("reason", Text, nullable=False),
    Column("parked_at", BigInteger, nullable=False),
    Column("taken_at", BigInteger, index=True, comment="empty while it is parked"),
    seal_column(),
    comment="events of the feed that the books could not take",
)

feed_head = Table(
    "feed_head",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False, comment="a serialised FeedHead, as the clearinghouse signed it"),
    Column("key_id", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    seal_column(),
    comment="one row: shows how far the clearinghouse had come with this node",
)

fund_return = Table(
    "fund_return",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    seal_column(),
    comment="money that came back from the clearinghouse, taken once",
)

settlement_window = Table(
    "settlement_window",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("statement", LargeBinary, comment="JSON, as the clearinghouse signed it"),
    Column("matched", Integer, nullable=False),
    Column("missing", Integer, nullable=False),
    Column("extra", Integer, nullable=False),
    Column("different", Integer, nullable=False),
    Column("net_fen", BigInteger, nullable=False),
    Column("closed_at", BigInteger, nullable=False, comment="as its statement says; 0 until it is kept"),
    Column("closing_fen", BigInteger, nullable=False, comment="likewise"),
    Column("lodged_fen", BigInteger, nullable=False, comment="likewise"),
    Column("paid_out_fen", BigInteger, nullable=False, comment="likewise"),
    Column("own_lodged_fen", BigInteger, comment="by our books when it was compared last; empty without a record"),
    Column("own_paid_out_fen", BigInteger, comment="likewise"),
    Column("reservation", String, nullable=False, comment="with which it was confirmed; empty without one"),
    Column("confirmed", Boolean, nullable=False, comment="to the clearinghouse as it is now"),
    Column("confirmation", LargeBinary, comment="a serialised SignedMessage: the word that was given"),
    Column("settled", Boolean, nullable=False),
    seal_column(),
)

statement_month = Table(
    "statement_month",
    METADATA,
    Column("month", String, primary_key=True),
    Column("confirmed_by", String, nullable=False, comment="the person who did; empty while nobody has"),
    Column("reservation", String, nullable=False, comment="with which it was confirmed; empty without one"),
    Column("confirmed", Boolean, nullable=False, comment="to the clearinghouse as it is now"),
    Column("confirmation", LargeBinary, comment="a serialised SignedMessage: the word that was given"),
    seal_column(),
    comment="months whose statement can be fetched",
)

dispute_decision = Table(
    "dispute_decision",
    METADATA,
    Column("region", String, primary_key=True, comment="that raised it: this one, or the other of an adjusting entry"),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("settlement_window", BigInteger, nullable=False, comment="whose statement was disputed"),
    Column("body", LargeBinary, nullable=False, comment="a serialised DisputeDecision"),
    seal_column(),
    comment="how the clearinghouse decided disputes",
)

dispute = Table(
    "dispute",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("settlement_window", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False, comment="a serialised Dispute, as it was signed"),
    Column("key_id", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("sent", Boolean, nullable=False, comment="whether the clearinghouse, as it is now, has it"),
    Column("taken", LargeBinary, comment="a serialised SignedMessage: the clearinghouse's word that it took it"),
    seal_column(),
    comment="statement lines that this region does not accept",
)
