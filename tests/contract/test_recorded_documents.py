"""Signed documents, counters and running totals that nothing else names: deleted outright, they are missed."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from local_parties import (
    AT,
    HANGZHOU,
    KEYRING,
    LocalClearinghouse,
    LocalNode,
    Party,
    answer_of,
    item,
    keys_of,
    message_signer,
    outcome,
    purchase,
    undone,
)
from sound_parties import check

from clearinghouse.disputes import TakeDispute
from custodian.custody_messages import read_refused
from quanlian.campaign_changes import ChangeKind
from quanlian.signing import digest
from quanlian.suspensions import SuspensionKind
from quanlian.v1 import redemption_pb2, settlement_pb2, signed_pb2


@pytest.fixture
def books(node: LocalNode, clearinghouse: LocalClearinghouse) -> LocalClearinghouse:
    """A capture that was returned in full, a refused release, a change, a revoked key, a confirmation, a dispute."""
    node.publish()
    node.change(ChangeKind.PAUSE)
    clearinghouse.learn(node)
    node.change(ChangeKind.RESUME)
    clearinghouse.learn(node)
    away, home = node.claim(2)
    node.redeem(item(bytes(15) + b"h", redeem=purchase(home, 0, "home")))
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(away))))
    (answer,) = clearinghouse.redeem(item(bytes(15) + b"a", redeem=purchase(away, 0, "away")))
    refund = redemption_pb2.Refund(redemption_id=answer_of(answer).redemption_id, order_fen=5800)
    clearinghouse.redeem(item(bytes(15) + b"r", refund=refund))
    refuse(node, clearinghouse, home)
    clearinghouse.do(clearinghouse.service.settlement.close_window())
    confirm(clearinghouse)
    raised = settlement_pb2.Dispute(region=HANGZHOU, number=1, window=1, why="w", by="b")
    clearinghouse.decide(TakeDispute(signed("dispute", raised.SerializeToString()), raised))
    revoked = next(key for key in KEYRING.values() if (key.owner, key.purpose) == (HANGZHOU, "voucher"))
    clearinghouse.suspend(SuspensionKind.KEY, revoked.key_id.hex(), bad_from=AT)
    assert check(clearinghouse) == []
    return clearinghouse


def refuse(node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes) -> None:
    """The issuer says why it does not release a voucher that was used at home."""
    (message,) = node.release(keys_of(token)[0])
    refusal = read_refused(message.release_refused, HANGZHOU, KEYRING)
    work = clearinghouse.request(item(bytes(15) + b"x", redeem=purchase(token, 0, "other")))
    work.release_failed, work.refusal = refusal.reason, refusal
    (reply,) = clearinghouse.decide(work)
    assert outcome(reply.content) == "ALREADY_REDEEMED"


def confirm(clearinghouse: LocalClearinghouse) -> None:
    (document,) = (row["document"] for row in clearinghouse.rows("statement") if row["region"] == HANGZHOU)
    said = settlement_pb2.Confirmation(region=HANGZHOU, window=1, statement_digest=digest("statement", document))
    message = signed("confirmation", said.SerializeToString())
    clearinghouse.do(clearinghouse.service.settlement.confirm(HANGZHOU, message))


def signed(kind: str, body: bytes) -> signed_pb2.SignedMessage:
    signer = message_signer()
    return signed_pb2.SignedMessage(body=body, key_id=signer.key_id, signature=signer.sign(kind, body))


def found_after(party: Party, *statements: sa.Executable) -> set[tuple[str, str]]:
    """Table and row of every finding, once a database's administrator has run these."""
    with undone(party):
        with party.database.transaction() as transaction:
            for statement in statements:
                transaction.connection.execute(statement)
        return {(each.table, each.row) for each in check(party)}


def last(party: Party, table: str) -> sa.Delete:
    """Deletes the row with the highest key."""
    described = party.tables[table]
    row = party.rows(table)[-1]
    return described.delete().where(*(column == row[column.name] for column in described.primary_key))


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("dispute", f"{HANGZHOU}/1"),
        ("campaign_change", f"{HANGZHOU}/spring 3"),
        ("deny_list", "1"),
        ("agreement_signature", "TEST v1 clearinghouse"),
    ],
)
def test_the_last_document_of_its_kind_is_missed(books: LocalClearinghouse, table: str, row: str) -> None:
    assert (table, row) in found_after(books, last(books, table))


def test_a_refusal_to_release_is_missed_by_its_voucher(books: LocalClearinghouse) -> None:
    (kept,) = books.rows("release_refusal")
    row = f"{HANGZHOU}/{kept['pack_id'].hex()}/{kept['voucher_index']}"
    assert found_after(books, last(books, "release_refusal")) == {("release_refusal", row)}


def test_a_confirmation_that_is_wiped_off_its_statement_is_missed(books: LocalClearinghouse) -> None:
    """With a seal of its own, so that only the journal tells."""
    names = ("confirmation", "confirmation_key_id", "confirmation_signature")
    with undone(books):
        with books.database.transaction() as transaction:
            key = {"settlement_window": 1, "region": HANGZHOU}
            assert transaction.update(books.tables["statement"], key, dict.fromkeys(names)) == 1
        found = check(books)
    assert [(each.table, each.row) for each in found] == [("statement", f"1 {HANGZHOU}")]
    assert found[0].entry in {row["number"] for row in books.rows("entry") if row["kind"] == "confirmation"}


def test_a_totals_row_that_came_to_nothing_is_missed_and_one_made_up_is_named(books: LocalClearinghouse) -> None:
    turnover = books.tables["turnover"]
    gone = next(row for row in books.rows("turnover") if row["posted_fen"] == 0)
    key = {name: gone[name] for name in ("settlement_window", "account", "counterpart")}
    place = f"window {gone['settlement_window']} {gone['account']} @{gone['counterpart']}"
    wanted = sa.and_(*(turnover.c[name] == value for name, value in key.items()))
    assert found_after(books, turnover.delete().where(wanted)) == {("turnover", place)}
    made_up = turnover.insert().values(key | {"account": "bank/nowhere", "posted_fen": 0, "refunded_fen": 0})
    assert {table for table, _ in found_after(books, made_up)} == {"turnover"}
    account: dict[str, Any] = dict.fromkeys(("posted_fen", "reserved_fen", "held_fen", "limit_fen"), 0)
    made_up = books.tables["account"].insert().values(account | {"account": "bank/nowhere"})
    assert found_after(books, made_up) == {("account", "bank/nowhere")}


def test_the_open_window_and_the_counter_of_redemptions_are_missed(books: LocalClearinghouse) -> None:
    assert ("settlement_window", "2") in found_after(books, last(books, "settlement_window"))
    counter = books.tables["counter"]
    assert found_after(books, counter.delete().where(counter.c.name == "redemption")) == {("counter", "redemption")}


def test_keys_of_regions_are_missed_by_what_they_signed(books: LocalClearinghouse) -> None:
    chain = books.tables["signing_chain"]
    with books.database.transaction() as transaction:
        rows = [{"owner": key.owner, "key_id": key.key_id, "chain": b"chain"} for key in KEYRING.values()]
        transaction.insert(chain, rows)
    for purpose in ("terms", "message"):
        key = next(each for each in KEYRING.values() if (each.owner, each.purpose) == (HANGZHOU, purpose))
        found = found_after(books, chain.delete().where(chain.c.key_id == key.key_id))
        assert found == {("signing_chain", f"{HANGZHOU}/{key.key_id.hex()}")}


def test_a_node_misses_the_last_change_of_a_campaign(node: LocalNode, books: LocalClearinghouse) -> None:
    assert len(books.rows("campaign_change")) == 3
    assert check(node) == []
    assert ("campaign_change", f"{HANGZHOU}/spring 3") in found_after(node, last(node, "campaign_change"))
