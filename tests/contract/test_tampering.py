"""Whoever edits, deletes, doubles, makes up or moves a row behind a party's back is found, by row, entry and amount.

Sound books of a node and the clearinghouse, on both databases, with all that can happen to them; then one kind of
tampering after another, each undone before the next. The chain of digests and the seals are not recomputed by these
tamperers: whoever runs this code against the books needs an anchor outside the database (docs/security.md).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest
import sqlalchemy as sa
from local_parties import HANGZHOU, SHANGHAI, undone
from sound_parties import BOTH, CLEARING, NODE, Sound, check

from chassis import cli

CAPTURE = "(SELECT MIN(redemption_id) FROM posting WHERE kind = 'capture')"
SPENT = "(issuer, pack_id, voucher_index) IN (SELECT issuer, pack_id, voucher_index FROM spend)"
REFUND = "(SELECT MIN(redemption_id) FROM posting WHERE kind = 'refund')"
LAST = "(SELECT MAX(number) FROM entry)"
BATCH = "(SELECT MIN(entry) FROM posting)"
FUNDING = "account LIKE 'funding/%/spring/city'"
ROW_OF_FUNDING = f"entry = {BATCH} AND posted_fen > 0 AND {FUNDING}"


class Tampering(NamedTuple):
    """What somebody does, at which party, the table that the findings must name, and whether entry or amount too."""

    story: str
    parties: tuple[str, ...]
    statements: tuple[str, ...]
    table: str
    entry: bool = False
    amount: bool = False


def kind(story: str, parties: tuple[str, ...], *statements: str, table: str, names: str = "") -> Tampering:
    return Tampering(story, parties, statements, table, "entry" in names, "amount" in names)


TAMPERINGS = [
    # journal
    kind(
        "entry back-dated",
        BOTH,
        f"UPDATE entry SET at = at - 86400 WHERE number = {BATCH}",
        table="entry",
        names="entry amount",
    ),
    kind(
        "entry relabelled",
        BOTH,
        f"UPDATE entry SET kind = 'deposit' WHERE number = {BATCH}",
        table="entry",
        names="entry amount",
    ),
    kind(
        "entry's reference changed",
        BOTH,
        f"UPDATE entry SET reference = 'x' WHERE number = {BATCH}",
        table="entry",
        names="entry amount",
    ),
    kind(
        "entry moved to another window",
        BOTH,
        f"UPDATE entry SET settlement_window = settlement_window + 1 WHERE number = {BATCH}",
        table="entry",
        names="entry amount",
    ),
    kind(
        "entry deleted, its lines left",
        BOTH,
        f"DELETE FROM entry WHERE number = {BATCH}",
        table="entry",
        names="entry amount",
    ),
    kind(
        "entry deleted with its lines",
        BOTH,
        f"DELETE FROM line WHERE entry = {BATCH}",
        f"DELETE FROM entry WHERE number = {BATCH}",
        table="account",
        names="entry amount",
    ),
    kind(
        "last entry cut off with its lines, totals mended",
        BOTH,
        "UPDATE account SET posted_fen = posted_fen - (SELECT COALESCE(SUM(l.posted_fen), 0) FROM line l WHERE "
        f"l.entry = {LAST} AND l.account = account.account), reserved_fen = reserved_fen - (SELECT "
        f"COALESCE(SUM(l.reserved_fen), 0) FROM line l WHERE l.entry = {LAST} AND l.account = account.account)",
        f"DELETE FROM line WHERE entry = {LAST}",
        f"DELETE FROM entry WHERE number = {LAST}",
        table="entry",
        names="entry",
    ),
    kind(
        "entry doubled under a new number",
        BOTH,
        f"INSERT INTO line SELECT 9999, number, account, counterpart, posted_fen, reserved_fen, held_fen, limit_fen "
        f"FROM line WHERE entry = {BATCH}",
        f"INSERT INTO entry SELECT 9999, kind, settlement_window, at, reference, digest FROM entry WHERE "
        f"number = {BATCH}",
        table="entry",
        names="entry amount",
    ),
    kind(
        "entry made up as the next, the counter raised",
        BOTH,
        f"INSERT INTO entry SELECT {LAST} + 1, 'batch', 1, at, '', digest FROM entry WHERE number = {BATCH}",
        "UPDATE counter SET value = value + 1 WHERE name = 'entry'",
        table="entry",
        names="entry",
    ),
    kind(
        "two entries change places",
        BOTH,
        f"UPDATE entry SET number = -1 WHERE number = {BATCH}",
        f"UPDATE entry SET number = {BATCH} WHERE number = {LAST}",
        f"UPDATE entry SET number = {LAST} + 1 WHERE number = -1",
        table="entry",
        names="entry",
    ),
    kind(
        "line edited",
        BOTH,
        f"UPDATE line SET posted_fen = posted_fen + 100 WHERE {ROW_OF_FUNDING}",
        table="line",
        names="entry amount",
    ),
    kind(
        "two lines edited so that they sum to zero",
        BOTH,
        f"UPDATE line SET posted_fen = posted_fen + 100 WHERE {ROW_OF_FUNDING}",
        f"UPDATE line SET posted_fen = posted_fen - 100 WHERE entry = {BATCH} AND posted_fen > 0 AND account LIKE "
        "'%/county'",
        table="account",
        names="entry amount",
    ),
    kind(
        "two lines edited, accounts and totals mended too",
        BOTH,
        f"UPDATE line SET posted_fen = posted_fen + 100 WHERE {ROW_OF_FUNDING}",
        f"UPDATE line SET posted_fen = posted_fen - 100 WHERE entry = {BATCH} AND posted_fen > 0 AND account LIKE "
        "'%/spring/county'",
        f"UPDATE account SET posted_fen = posted_fen + 100 WHERE {FUNDING}",
        "UPDATE account SET posted_fen = posted_fen - 100 WHERE account LIKE 'funding/%/spring/county'",
        table="entry",
        names="entry amount",
    ),
    kind("line deleted", BOTH, f"DELETE FROM line WHERE {ROW_OF_FUNDING}", table="line", names="entry amount"),
    kind(
        "line moved to another entry",
        BOTH,
        f"UPDATE line SET entry = {LAST}, number = 999 WHERE {ROW_OF_FUNDING}",
        table="line",
        names="entry amount",
    ),
    kind(
        "line moved to another account",
        BOTH,
        f"UPDATE line SET account = 'funding/330100/2026/spring/nobody' WHERE {ROW_OF_FUNDING}",
        table="account",
        names="entry amount",
    ),
    kind(
        "line's counterpart changed",
        BOTH,
        f"UPDATE line SET counterpart = '320500' WHERE {ROW_OF_FUNDING}",
        table="turnover",
        names="amount",
    ),
    kind(
        "line of a reservation edited",
        BOTH,
        "UPDATE line SET reserved_fen = reserved_fen + 7 WHERE entry = (SELECT MIN(entry) FROM line WHERE "
        "reserved_fen > 0) AND account LIKE '%/city' AND reserved_fen > 0",
        table="account",
        names="entry amount",
    ),
    kind(
        "pair of lines made up",
        BOTH,
        f"INSERT INTO line VALUES ({BATCH}, 901, 'bank/x', '', 500, 0, 0, 0)",
        f"INSERT INTO line VALUES ({BATCH}, 902, 'settlement/330100', '', -500, 0, 0, 0)",
        table="account",
        names="entry amount",
    ),
    # totals
    kind(
        "balance edited",
        BOTH,
        f"UPDATE account SET posted_fen = posted_fen - 1 WHERE {FUNDING}",
        table="account",
        names="entry amount",
    ),
    kind(
        "budget raised",
        BOTH,
        f"UPDATE account SET limit_fen = limit_fen + 100000 WHERE {FUNDING}",
        table="account",
        names="entry amount",
    ),
    kind("account deleted", BOTH, f"DELETE FROM account WHERE {FUNDING}", table="account", names="entry amount"),
    kind(
        "account made up",
        BOTH,
        "INSERT INTO account VALUES ('bank/nowhere', 12345, 0, 0, 0)",
        table="account",
        names="amount",
    ),
    kind(
        "running total edited",
        BOTH,
        "UPDATE turnover SET posted_fen = posted_fen + 3 WHERE account = (SELECT MIN(account) FROM turnover WHERE "
        f"{FUNDING})",
        table="turnover",
        names="amount",
    ),
    kind(
        "refunds in a running total edited",
        BOTH,
        "UPDATE turnover SET refunded_fen = refunded_fen + 3 WHERE account = (SELECT MIN(account) FROM turnover WHERE "
        f"{FUNDING})",
        table="turnover",
        names="amount",
    ),
    kind("running total deleted", BOTH, f"DELETE FROM turnover WHERE {FUNDING}", table="turnover", names="amount"),
    kind(
        "running total moved to another window",
        BOTH,
        f"UPDATE turnover SET settlement_window = 77 WHERE {FUNDING}",
        table="turnover",
        names="amount",
    ),
    kind("flow edited", BOTH, "UPDATE flow SET discount_fen = discount_fen + 5", table="flow", names="amount"),
    kind(
        "hour's total edited",
        BOTH,
        "UPDATE hourly_flow SET discount_fen = discount_fen + 5",
        table="hourly_flow",
        names="amount",
    ),
    kind(
        "hour's total moved to the hour before",
        BOTH,
        "UPDATE hourly_flow SET hour = hour - 3600",
        table="hourly_flow",
        names="amount",
    ),
    kind("hour's total deleted", BOTH, "DELETE FROM hourly_flow", table="hourly_flow", names="amount"),
    kind("flow deleted", BOTH, "DELETE FROM flow", table="flow", names="amount"),
    kind(
        "entry counter turned back",
        BOTH,
        "UPDATE counter SET value = value - 1 WHERE name = 'entry'",
        table="entry",
        names="entry",
    ),
    # captures and refunds
    kind(
        "capture's discount edited",
        BOTH,
        f"UPDATE posting SET discount_fen = discount_fen + 100 WHERE redemption_id = {CAPTURE} AND kind = 'capture'",
        table="posting",
        names="entry amount",
    ),
    kind(
        "capture's legs moved between funders",
        BOTH,
        "UPDATE posting SET legs = REPLACE(REPLACE(REPLACE(legs, '/city', '/x'), '/county', '/city'), '/x', "
        f"'/county') WHERE redemption_id = {CAPTURE} AND kind = 'capture'",
        table="posting",
        names="entry amount",
    ),
    kind(
        "capture deleted",
        BOTH,
        f"DELETE FROM posting WHERE redemption_id = {CAPTURE}",
        table="posting",
        names="entry amount",
    ),
    kind(
        "refund deleted",
        BOTH,
        f"DELETE FROM posting WHERE redemption_id = {REFUND} AND kind = 'refund'",
        table="posting",
        names="entry amount",
    ),
    kind(
        "refund doubled",
        BOTH,
        "INSERT INTO posting SELECT redemption_id, 99, kind, order_fen, discount_fen, legs, settlement_window, at, "
        "entry FROM posting WHERE kind = 'refund'",
        table="posting",
        names="entry amount",
    ),
    kind(
        "refund moved to another window",
        BOTH,
        "UPDATE posting SET settlement_window = settlement_window + 1 WHERE kind = 'refund'",
        table="entry",
        names="entry amount",
    ),
    kind(
        "refund moved to another redemption",
        BOTH,
        f"UPDATE posting SET redemption_id = (SELECT MIN(redemption_id) FROM posting WHERE redemption_id <> {REFUND}), "
        "number = 50 WHERE kind = 'refund'",
        table="redemption",
        names="amount",
    ),
    # redemptions
    kind(
        "redemption's discount raised",
        BOTH,
        f"UPDATE redemption SET discount_fen = discount_fen + 9 WHERE id = {CAPTURE}",
        table="redemption",
        names="entry amount",
    ),
    kind(
        "redemption's refund taken back",
        BOTH,
        "UPDATE redemption SET refunded_order_fen = 0, returned_fen = 0, shopper_fen = 0, state = 'CAPTURED' WHERE "
        "refunded_order_fen > 0",
        table="redemption",
        names="entry amount",
    ),
    kind(
        "shopper told to have got more of a return than the terms give",
        BOTH,
        "UPDATE redemption SET shopper_fen = shopper_fen + 9 WHERE refunded_order_fen > 0",
        table="redemption",
        names="amount",
    ),
    kind(
        "redemption's merchant exchanged",
        BOTH,
        f"UPDATE redemption SET merchant = '9' WHERE id = {CAPTURE}",
        table="redemption",
        names="amount",
    ),
    kind(
        "redemption deleted",
        BOTH,
        f"DELETE FROM redemption WHERE id = {CAPTURE}",
        table="redemption",
        names="entry amount",
    ),
    kind(
        "redemption's hold freed",
        BOTH,
        "UPDATE redemption SET state = 'VOIDED' WHERE state = 'AUTHORIZED'",
        table="voucher",
        names="amount",
    ),
    kind(
        "redemption renamed",
        BOTH,
        f"UPDATE redemption SET order_id = 'y' WHERE id = {REFUND}",
        table="redemption",
        names="amount",
    ),
    # vouchers
    kind(
        "captured voucher made a cancelled one",
        BOTH,
        f"UPDATE voucher SET status = 'cancelled' WHERE {SPENT}",
        table="voucher",
        names="amount",
    ),
    kind("voucher given a later end", BOTH, "UPDATE voucher SET not_after = not_after + 86400", table="voucher"),
    kind("voucher taken back from the other party", BOTH, "UPDATE voucher SET epoch = epoch + 1", table="voucher"),
    kind(
        "voucher's reserved money enlarged",
        BOTH,
        "UPDATE voucher SET reserved_public = REPLACE(reserved_public, '667', '900') WHERE "
        "reserved_public LIKE '%667%'",
        table="voucher",
    ),
    kind("voucher deleted", BOTH, f"DELETE FROM voucher WHERE {SPENT}", table="voucher", names="amount"),
    kind(
        "spend deleted, so that a voucher could be used again", BOTH, "DELETE FROM spend", table="spend", names="amount"
    ),
    kind(
        "spend turned to another redemption",
        BOTH,
        f"UPDATE spend SET redemption_id = {REFUND} WHERE redemption_id <> {REFUND}",
        table="spend",
        names="amount",
    ),
    kind(
        "spend made up, so that a voucher could not be used",
        BOTH,
        "INSERT INTO spend SELECT issuer, pack_id, 77, pack_id FROM spend WHERE voucher_index = 0",
        table="spend",
    ),
    # answers
    kind(
        "stored answer edited",
        BOTH,
        "UPDATE request SET answer = body_hash WHERE redemption_id IS NOT NULL",
        table="request",
    ),
    kind(
        "stored answer deleted",
        BOTH,
        f"DELETE FROM request WHERE redemption_id = {CAPTURE}",
        table="request",
        names="amount",
    ),
    kind(
        "stored answer moved to another caller",
        BOTH,
        "UPDATE request SET participant = 'x' WHERE redemption_id IS NOT NULL",
        table="request",
    ),
    # the clearinghouse's own
    kind(
        "deposit raised",
        (CLEARING,),
        "UPDATE deposit SET amount_fen = amount_fen + 100 WHERE region = '330100'",
        table="deposit",
        names="entry amount",
    ),
    kind(
        "deposit deleted",
        (CLEARING,),
        "DELETE FROM deposit WHERE region = '330100'",
        table="deposit",
        names="entry amount",
    ),
    kind(
        "receipt assigned to nobody again",
        (CLEARING,),
        "UPDATE deposit SET region = '', account = 'suspense' WHERE bank_reference = 'stray'",
        table="deposit",
        names="entry amount",
    ),
    kind(
        "pay-out lowered",
        (CLEARING,),
        "UPDATE payout SET amount_fen = amount_fen - 1",
        table="payout",
        names="entry amount",
    ),
    kind("pay-out deleted", (CLEARING,), "DELETE FROM payout", table="payout", names="entry amount"),
    kind(
        "pay-out's return made up, so that it is paid again",
        (CLEARING,),
        "UPDATE payout SET returned_reference = 'x', returned_at = paid_at, returned_window = settlement_window "
        "WHERE bank_reference = 'out-again'",
        table="payout",
        names="amount",
    ),
    kind(
        "pay-out's return hidden",
        (CLEARING,),
        "UPDATE payout SET returned_reference = NULL, returned_at = NULL, returned_window = NULL",
        table="payout",
        names="entry amount",
    ),
    kind(
        "pay-out's return told in another window",
        (CLEARING,),
        "UPDATE payout SET returned_window = 1 WHERE bank_reference = 'out'",
        table="statement",
        names="amount",
    ),
    kind(
        "deposit made up",
        (CLEARING,),
        "INSERT INTO deposit SELECT 'b', region, account, 5, received_at, 1, memo, assigned, seal FROM deposit "
        "WHERE bank_reference = 'stray'",
        table="deposit",
        names="amount",
    ),
    kind(
        "deposit turned to another region",
        (CLEARING,),
        "UPDATE deposit SET region = '310000'",
        table="deposit",
        names="entry",
    ),
    kind(
        "what a funder paid ahead turned to another funder",
        (CLEARING,),
        "UPDATE deposit SET account = 'prefund/330100/2026/spring/county' WHERE bank_reference = 'ahead'",
        table="deposit",
        names="entry amount",
    ),
    kind(
        "what a funder paid ahead turned into what its region lodged",
        (CLEARING,),
        "UPDATE deposit SET account = 'settlement/330100' WHERE bank_reference = 'ahead'",
        table="statement",
        names="amount",
    ),
    kind(
        "what funders paid ahead raised",
        (CLEARING,),
        "UPDATE participant SET prefund_fen = prefund_fen + 100 WHERE region = '330100'",
        table="participant",
        names="amount",
    ),
    kind(
        "visitors' budget raised",
        (CLEARING,),
        "UPDATE visitors_funder SET budget_fen = budget_fen + 1",
        table="visitors_funder",
        names="amount",
    ),
    kind("hand-over deleted", (CLEARING,), "DELETE FROM hand_over WHERE number = 1", table="hand_over", names="amount"),
    kind("fund return deleted", (CLEARING,), "DELETE FROM fund_return", table="fund_return"),
    kind("news to a region deleted", (CLEARING,), "DELETE FROM feed WHERE sequence = 1", table="feed"),
    kind(
        "news told to another region",
        (CLEARING,),
        "UPDATE feed SET region = '320500' WHERE region = '330100'",
        table="feed",
    ),
    kind(
        "debt of a region forgotten",
        (CLEARING,),
        "UPDATE participant SET owed_posted_fen = 0 WHERE region = '330100'",
        table="participant",
        names="amount",
    ),
    kind(
        "debt between two regions edited",
        (CLEARING,),
        "UPDATE bilateral SET amount_fen = amount_fen + 1",
        table="bilateral",
        names="amount",
    ),
    kind(
        "net position edited",
        (CLEARING,),
        "UPDATE net_position SET net_fen = net_fen + 1 WHERE region = '330100'",
        table="net_position",
        names="amount",
    ),
    kind(
        "net positions exchanged",
        (CLEARING,),
        "UPDATE net_position SET net_fen = -net_fen",
        table="net_position",
        names="amount",
    ),
    kind(
        "window's gross edited",
        (CLEARING,),
        "UPDATE settlement_window SET gross_fen = gross_fen + 1 WHERE gross_fen > 0",
        table="settlement_window",
        names="amount",
    ),
    kind(
        "statement of another region put in place",
        (CLEARING,),
        "UPDATE statement SET document = (SELECT document FROM statement WHERE region = '310000')",
        table="statement",
        names="amount",
    ),
    kind("terms exchanged under their hash", (CLEARING,), "UPDATE terms SET document = terms_hash", table="terms"),
    kind(
        "ceiling's use forgotten",
        (CLEARING,),
        "UPDATE account SET posted_fen = 0 WHERE account LIKE 'ceiling/%'",
        table="account",
        names="amount",
    ),
    # the node's own
    kind(
        "pack's reserved money edited",
        (NODE,),
        "UPDATE pack SET reserved_fen = reserved_fen + 1",
        table="pack",
        names="amount",
    ),
    kind(
        "pack deleted", (NODE,), "DELETE FROM pack WHERE pack_id = (SELECT MAX(pack_id) FROM pack)", table="claim_round"
    ),
    kind(
        "pack turned to another holder",
        (NODE,),
        "UPDATE pack SET holder_tag = (SELECT MIN(holder_tag) FROM pack)",
        table="holder_claim",
    ),
    kind("round's count turned back", (NODE,), "UPDATE claim_round SET claimed = claimed - 1", table="claim_round"),
    kind(
        "round's issued amount raised",
        (NODE,),
        "UPDATE claim_round SET reserved_fen = reserved_fen + 1",
        table="claim_round",
        names="amount",
    ),
    kind("hand-over deleted at the giver", (NODE,), "DELETE FROM hand_over WHERE number = 1", table="hand_over"),
    kind(
        "voucher's hand-over renumbered",
        (NODE,),
        "UPDATE handed_voucher SET number = number + 1",
        table="handed_voucher",
        names="amount",
    ),
    kind("returned money deleted", (NODE,), "DELETE FROM fund_return", table="hand_over", names="amount"),
    kind(
        "discount that a redemption was decided on edited",
        (CLEARING,),
        "UPDATE proof SET discount_fen = discount_fen + 7 WHERE redemption_id = (SELECT MIN(redemption_id) FROM proof)",
        table="proof",
        names="amount",
    ),
    kind(
        "posting of the clearinghouse edited",
        (NODE,),
        "UPDATE clearing_item SET discount_fen = discount_fen + 1 WHERE side = 'funder'",
        table="clearing_item",
        names="amount",
    ),
    kind(
        "posting of the clearinghouse deleted",
        (NODE,),
        "DELETE FROM clearing_item WHERE side = 'funder'",
        table="clearing_item",
        names="entry amount",
    ),
    kind(
        "redemption away edited",
        (NODE,),
        "UPDATE away SET discount_fen = discount_fen - 1",
        table="away",
        names="amount",
    ),
    kind("redemption away deleted", (NODE,), "DELETE FROM away", table="away", names="amount"),
    kind(
        "window's net edited",
        (NODE,),
        "UPDATE settlement_window SET net_fen = net_fen + 1",
        table="settlement_window",
        names="amount",
    ),
    # the dedicated account
    kind(
        "receipt raised",
        (NODE,),
        "UPDATE bank_receipt SET amount_fen = amount_fen + 1 WHERE bank_reference = 'in-city'",
        table="bank_receipt",
        names="entry amount",
    ),
    kind("receipt deleted", (NODE,), "DELETE FROM bank_receipt", table="bank_receipt", names="entry amount"),
    kind(
        "receipt made up",
        (NODE,),
        "INSERT INTO bank_receipt SELECT 'x', account, amount_fen, received_at, memo, assigned, seal FROM bank_receipt "
        "WHERE bank_reference = 'in-city'",
        table="bank_receipt",
        names="amount",
    ),
    kind(
        "reversal deleted",
        (NODE,),
        "DELETE FROM bank_reversal WHERE bank_reference = 'in-city'",
        table="bank_reversal",
        names="entry amount",
    ),
    kind(
        "reversed assignment turned to another funder",
        (NODE,),
        "UPDATE bank_reversal SET account = 'prefund/330100/2026/spring/county' WHERE kind = 'assignment'",
        table="bank_reversal",
        names="entry amount",
    ),
    kind(
        "receipt hidden behind a reversal that was made up",
        (NODE,),
        "INSERT INTO bank_reversal SELECT 4, bank_reference, 'deposit', account, amount_fen, received_at, memo, NULL, "
        "'', received_at, 'x', 'x', seal FROM bank_receipt WHERE bank_reference = 'in-city'",
        "DELETE FROM bank_receipt WHERE bank_reference = 'in-city'",
        table="bank_reversal",
        names="entry amount",
    ),
    kind(
        "reversed lodging put back",
        (NODE,),
        "INSERT INTO payment SELECT payment, 'lodging', 'clearinghouse', amount_fen, '[]', '', '', banked_at, made_by, "
        "bank_reference, banked_at, NULL, NULL, seal FROM bank_reversal WHERE payment IS NOT NULL",
        table="payment",
        names="entry amount",
    ),
    kind(
        "receipt turned to another funder",
        (NODE,),
        "UPDATE bank_receipt SET account = 'prefund/330100/2026/spring/county' WHERE bank_reference = 'in-city'",
        table="bank_receipt",
        names="entry amount",
    ),
    kind(
        "assigned receipt put back into suspense",
        (NODE,),
        "UPDATE bank_receipt SET account = 'suspense' WHERE bank_reference = 'stray'",
        table="bank_receipt",
        names="entry amount",
    ),
    kind(
        "payment raised",
        (NODE,),
        "UPDATE payment SET amount_fen = amount_fen + 1",
        table="payment",
        names="entry amount",
    ),
    kind(
        "payment turned to another acquirer",
        (NODE,),
        "UPDATE payment SET payee = 'wechat'",
        table="payment",
        names="entry amount",
    ),
    kind("payment deleted", (NODE,), "DELETE FROM payment", table="payment", names="entry amount"),
    kind(
        "payment marked unpaid, to be made again",
        (NODE,),
        "UPDATE payment SET bank_reference = NULL",
        table="payment",
        names="entry amount",
    ),
    kind(
        "payment made up",
        (NODE,),
        "INSERT INTO payment SELECT 9, kind, payee, amount_fen, items, campaign, deposit, made_at, made_by, 'x', "
        "paid_at, NULL, NULL, seal FROM payment WHERE number = 2",
        table="payment",
        names="amount",
    ),
    kind(
        "payment's return made up, so that it is paid again",
        (NODE,),
        "UPDATE payment SET returned_reference = 'x', returned_at = paid_at WHERE number = 2",
        table="payment",
        names="amount",
    ),
    kind(
        "payment's return hidden",
        (NODE,),
        "UPDATE payment SET returned_reference = NULL, returned_at = NULL",
        table="payment",
        names="entry amount",
    ),
    kind(
        "payment's return under another reference",
        (NODE,),
        "UPDATE payment SET returned_reference = 'x' WHERE number = 1",
        table="payment",
        names="amount",
    ),
    kind(
        "payment's parts moved between funders",
        (NODE,),
        "UPDATE payment SET items = REPLACE(REPLACE(REPLACE(items, '/city', '/x'), '/county', '/city'), '/x', "
        "'/county')",
        table="payment",
        names="entry amount",
    ),
    kind(
        "acquirer's dues raised",
        (NODE,),
        "UPDATE acquirer_due SET owed_fen = owed_fen + 100",
        table="acquirer_due",
        names="amount",
    ),
    kind(
        "acquirer's dues made due again",
        (NODE,),
        "UPDATE acquirer_due SET instructed_fen = 0",
        table="acquirer_due",
        names="amount",
    ),
    kind(
        "acquirer's dues moved to another",
        (NODE,),
        "UPDATE acquirer_due SET acquirer = 'wechat'",
        table="acquirer_due",
        names="amount",
    ),
    kind("use away deleted", (NODE,), "DELETE FROM away_use", table="away_use", names="amount"),
    kind(
        "use away told to be drawn",
        (NODE,),
        "UPDATE away_use SET drawn_fen = used_fen",
        table="away_use",
        names="amount",
    ),
    kind(
        "close-out made up, so that a budget seems released",
        (NODE,),
        "INSERT INTO close_out SELECT 'spring', 1, 5, 'x', '2026-06-01', "
        "'[[\"funding/330100/2026/spring/city\",500]]', seal FROM merchant",
        table="hand_over",
        names="amount",
    ),
]
CASES = [(each, party) for each in TAMPERINGS for party in each.parties]


def test_sound_books_hold(sound: Sound) -> None:
    assert {name: check(party) for name, party in sound.parties.items()} == {NODE: [], CLEARING: []}


def test_there_are_at_least_33_kinds_over_all_the_tables_of_money() -> None:
    assert len({each.story for each in TAMPERINGS}) == len(TAMPERINGS) >= 33
    touched = {
        word
        for each in TAMPERINGS
        for statement in each.statements
        for word in statement.replace("INTO", "").split()[1:3]
    }
    shared = {"entry", "line", "account", "turnover", "flow", "counter", "posting", "redemption", "voucher", "spend"}
    assert (
        shared | {"request", "deposit", "visitors_funder", "hand_over", "fund_return", "feed", "participant"}
    ) <= touched | {"FROM"}


@pytest.mark.parametrize(("tampering", "name"), CASES, ids=[f"{name}: {each.story}" for each, name in CASES])
def test_tampering_is_named(sound: Sound, tampering: Tampering, name: str) -> None:
    party = sound.parties[name]
    with undone(party):
        with party.database.engine.begin() as connection:
            changed = sum(connection.execute(sa.text(each)).rowcount for each in tampering.statements)
        assert changed, "nothing was tampered with"
        findings = check(party)
        named = [each for each in findings if each.table == tampering.table]
        assert named, f"not named: {findings}"
        if tampering.entry:
            assert any(each.entry is not None for each in findings), findings
        if tampering.amount:
            assert any(each.amount_fen for each in findings), findings
        assert all(each.zh and each.en for each in findings)


def differences(sound: Sound, name: str, statement: str, table: str) -> set[int]:
    """The amounts of the findings in a table after an edit that concerns one row of it."""
    party = sound.parties[name]
    with undone(party):
        with party.database.engine.begin() as connection:
            assert connection.execute(sa.text(statement)).rowcount == 1
        return {each.amount_fen for each in check(party) if each.table == table}


def test_an_edited_amount_is_named_by_how_much_it_is_off(sound: Sound) -> None:
    one = "(SELECT MIN(redemption_id) FROM proof)"
    for column in ("discount_fen", "order_fen"):
        edit = f"UPDATE proof SET {column} = {column} + 7 WHERE redemption_id = {one}"
        assert 7 in differences(sound, CLEARING, edit, "proof"), column
    first = "(SELECT MIN(redemption_id) FROM clearing_item WHERE side = 'funder')"
    edit = f"UPDATE clearing_item SET discount_fen = discount_fen + 7 WHERE redemption_id = {first} AND number = 1 "
    assert differences(sound, NODE, edit + "AND side = 'funder'", "clearing_item") == {7}


@pytest.mark.parametrize(
    ("rows", "field", "more", "named"),
    [
        ("lines", "order_fen", 7, {("redeemer/330100/spring order_fen", 7)}),
        ("lines", "captures", 1, {("redeemer/330100/spring captures", 0)}),
        ("lines", "own_share_fen", -5, {("redeemer/330100/spring own_share_fen", -5)}),
        ("funders", "used_fen", 9, {("funding/310000/2026/visitors/city, 330100 used_fen", 9)}),
    ],
)
def test_an_edited_figure_of_a_statement_is_named_with_its_line_and_the_difference(
    sound: Sound, rows: str, field: str, more: int, named: set[tuple[str, int]]
) -> None:
    party = sound.parties[CLEARING]
    table = party.tables["statement"]
    own = (table.c.region == SHANGHAI, table.c.settlement_window == 1)
    with undone(party):
        with party.database.engine.begin() as connection:
            document = json.loads(connection.execute(sa.select(table.c.document).where(*own)).scalar_one())
            document[rows][0][field] += more
            connection.execute(table.update().where(*own).values(document=json.dumps(document).encode()))
        found = {(each.row, each.amount_fen) for each in check(party) if each.table == "statement"}
    assert {(f"window 1 {SHANGHAI} {place}", fen) for place, fen in named} <= found


def test_a_line_left_out_of_a_statement_is_named_with_its_figures(sound: Sound) -> None:
    party = sound.parties[CLEARING]
    table = party.tables["statement"]
    own = (table.c.region == SHANGHAI, table.c.settlement_window == 1)
    with undone(party):
        with party.database.engine.begin() as connection:
            document = json.loads(connection.execute(sa.select(table.c.document).where(*own)).scalar_one())
            (line, *document["lines"]) = document["lines"]
            connection.execute(table.update().where(*own).values(document=json.dumps(document).encode()))
        found = {each.row: each.amount_fen for each in check(party) if each.table == "statement"}
    place = f"window 1 {SHANGHAI} {line['role']}/{line['counterpart']}/{line['campaign']}"
    assert (found[f"{place} discount_fen"], found[f"{place} net_fen"]) == (-line["discount_fen"], -line["net_fen"])


def test_a_deleted_posting_of_the_clearinghouse_is_named_by_its_entry_and_amount(sound: Sound) -> None:
    node = sound.parties[NODE]
    (row, *_) = [each for each in node.rows("clearing_item") if each["side"] == "funder"]
    with undone(node):
        with node.database.engine.begin() as connection:
            table = node.tables["clearing_item"]
            mine = (table.c.redemption_id == row["redemption_id"], table.c.number == row["number"])
            connection.execute(table.delete().where(table.c.side == "funder", *mine))
        used = sum(fen for account, fen, *_ in json.loads(row["legs"]) if account.startswith(f"funding/{HANGZHOU}/"))
        (named,) = [each for each in check(node) if each.table == "clearing_item" and each.entry]
        assert (named.entry, named.amount_fen) == (row["entry"], used)
        assert row["redeeming_region"] in named.en


class TestCommands:
    def _run(self, sound: Sound, name: str, *arguments: str) -> tuple[int, list[str]]:
        database = sound.parties[name].database
        url = database.engine.url.set(drivername=database.dialect).render_as_string(hide_password=False)
        return cli.main(["ledger", *arguments, "--database", url, "--schema", database.schema]), [url]

    def test_check_exits_with_1_once_something_was_edited(
        self, sound: Sound, capsys: pytest.CaptureFixture[str]
    ) -> None:
        party = sound.parties[NODE]
        assert self._run(sound, NODE, "check")[0] == 0
        assert "账目全部相符 · The books hold" in capsys.readouterr().out
        with undone(party):
            with party.database.engine.begin() as connection:
                connection.execute(sa.text(f"UPDATE account SET posted_fen = posted_fen + 123 WHERE {FUNDING}"))
            assert self._run(sound, NODE, "check", "--json")[0] == 1
        data = json.loads(capsys.readouterr().out)
        assert data["holds"] is False
        assert 123 in [each["amount_fen"] for each in data["findings"]]

    def test_balances_have_names_in_both_languages(self, sound: Sound, capsys: pytest.CaptureFixture[str]) -> None:
        assert self._run(sound, CLEARING, "balances", "--json", "--account", "settlement/")[0] == 0
        accounts = json.loads(capsys.readouterr().out)["accounts"]
        assert {each["account"]: (each["name_zh"], each["posted_fen"]) for each in accounts} == {
            f"settlement/{HANGZHOU}": ("结算账户·杭州市", -1_000_000),
            f"settlement/{SHANGHAI}": ("结算账户·上海市", -1_000_000),
        }

    def test_the_journal_reads_like_a_plain_text_accounting_file(
        self, sound: Sound, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self._run(sound, CLEARING, "journal", "--account", "bank/")[0] == 0
        first = capsys.readouterr().out.split("\n\n")[0]
        assert first.splitlines()[0] == f"2026-05-29 04:26:40 * 2 到账 deposit deposit-{HANGZHOU}"
        assert first.splitlines()[1].split() == ["bank/clearinghouse", "10,000.00", "CNY"]

    @pytest.mark.parametrize("name", BOTH)
    def test_every_entry_is_named_in_both_languages(
        self, sound: Sound, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self._run(sound, name, "journal")[0] == 0
        headings = [line.split(" * ")[1].split() for line in capsys.readouterr().out.splitlines() if " * " in line]
        entries = [(str(row["number"]), row["kind"]) for row in sound.parties[name].rows("entry")]
        assert [(heading[0], heading[2]) for heading in headings] == entries
        assert [zh for _, zh, *_ in headings if zh.isascii()] == []

    def test_the_journal_of_one_redemption_shows_its_legs(
        self, sound: Sound, capsys: pytest.CaptureFixture[str]
    ) -> None:
        refunded = next(row for row in sound.parties[CLEARING].rows("posting") if row["kind"] == "refund")
        assert self._run(sound, CLEARING, "journal", "--json", "--redemption", refunded["redemption_id"].hex())[0] == 0
        entries = json.loads(capsys.readouterr().out)["entries"]
        kinds = [posting["kind"] for entry in entries for posting in entry["postings"]]
        assert kinds == ["capture", "refund"]
        assert self._run(sound, CLEARING, "journal", "--until", "2026-05-28")[0] == 0
        assert capsys.readouterr().out == ""

    def test_a_wrong_path_is_told_and_nothing_is_made_there(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["ledger", "check", "--database", f"sqlite:///{tmp_path / 'none.db'}"]) == 1
        assert "no such file" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []
