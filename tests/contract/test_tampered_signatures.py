"""Whoever alters a signed document in a database, its seal with it, is found by the signature that he cannot make.

Sound books of both parties on both databases, with every kind of document that they keep; then each kind is altered,
given another signature, and signed by somebody whose word it is not. Seals are recomputed by the tampering itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from evidence_files import Authorities
from local_parties import (
    AT,
    CLEARINGHOUSE,
    HANGZHOU,
    PLATFORM,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    TestSigner,
    answer_of,
    item,
    keys_of,
    purchase,
    received,
)
from sound_parties import BOTH, CLEARING, NODE, Sound

from chassis import cli
from chassis.database import Transaction
from clearinghouse.disputes import TakeDispute, sign_taken
from clearinghouse.redeeming import Redeem
from clearinghouse.statements import StateMonth
from custodian.custody_messages import refused
from custodian.evidence import SignedBatch
from custodian.ledger.check import party_of
from custodian.ledger.findings import Finding
from custodian.ledger.signatures import check_signatures, signed_rows
from custodian.servicer import sign_answers, sign_items
from node.cancelling import Cancel
from node.redeeming import ClearinghouseAnswer, Forwarded, Intake
from pki.denylist import DenyList
from pki.trust import Keyring, Trust
from quanlian import hand_overs
from quanlian.evidence import ANSWER_KIND, REQUEST_KIND
from quanlian.hand_overs import Head, Incarnations
from quanlian.refusals import RefusalReason
from quanlian.signing import digest
from quanlian.suspensions import SuspensionKind
from quanlian.v1 import claim_pb2, settlement_pb2, signed_pb2

HANGZHOU_MESSAGES, SHANGHAI_MESSAGES = TestSigner(HANGZHOU, "message"), TestSigner(SHANGHAI, "message")
ALIPAY = TestSigner(HANGZHOU, f"message.{PLATFORM}")
CLEARING_MESSAGES, STATEMENTS = TestSigner(CLEARINGHOUSE, "message"), TestSigner(CLEARINGHOUSE, "statement")
STRANGERS = {purpose: TestSigner(SHANGHAI, purpose) for purpose in ("message", "terms", "statement", "voucher")}


Alter = Callable[..., list[Finding]]


class Signed(NamedTuple):
    """Sound books with every kind of signed document, and the root that all keys lead to."""

    sound: Sound
    root_pem: bytes

    def findings(self, transaction: Transaction) -> list[Finding]:
        keyring = Keyring(Trust(self.root_pem))
        return list(check_signatures(transaction, party_of(transaction).signatures, keyring))


@pytest.fixture(scope="module")
def signed(sound: Sound, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    authorities = Authorities(tmp_path_factory.mktemp("pki"))
    node, clearinghouse = sound.parties[NODE], sound.parties[CLEARING]
    assert isinstance(node, LocalNode)
    assert isinstance(clearinghouse, LocalClearinghouse)
    for signer in (ALIPAY, *STRANGERS.values()):
        authorities.admit(clearinghouse, signer.certified)
    authorities.introduce(clearinghouse)
    vouch(node, clearinghouse, authorities)
    sign_everything(node, clearinghouse)
    return Signed(sound, authorities.root_pem)


def vouch(node: LocalNode, clearinghouse: LocalClearinghouse, authorities: Authorities) -> None:
    """Both parties keep the chains of all keys, as the directory tells them."""
    rows = []
    for (owner, _), chain in authorities.chains.items():
        key = Keyring(Trust(authorities.root_pem)).add(chain)
        rows.append({"owner": owner, "key_id": key.key_id, "chain": chain})
    with clearinghouse.database.transaction() as transaction:
        transaction.upsert(clearinghouse.tables["signing_chain"], rows)
    with node.database.transaction() as transaction:
        known = [{name: row[name] for name in ("key_id", "chain")} for row in rows]
        transaction.insert(node.tables["known_chain"], known)
        chain = authorities.chains[(HANGZHOU, ALIPAY.certified.purpose)]
        transaction.insert(node.tables["platform"], [{"name": PLATFORM, "chain": chain}])


def sign_everything(node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
    """What the story of the sound books leaves out: messages, confirmations, disputes, suspensions and the rest."""
    (token, idle) = node.claim(2)
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(token))))
    node.decide(Cancel(keys_of(idle)[1], "operator", "torn"))
    request_in_messages(node, clearinghouse, token)
    voucher = keys_of(idle)[0]
    node.suspend(SuspensionKind.VOUCHER, f"{voucher.pack_id.hex()}/{voucher.voucher_index}")
    clearinghouse.suspend(SuspensionKind.REGION, SHANGHAI)
    statements(clearinghouse)
    disputed = settlement_pb2.Dispute(region=HANGZHOU, number=1, window=1, why="w", by="b").SerializeToString()
    message = signed_message(disputed, "dispute", HANGZHOU_MESSAGES)
    clearinghouse.decide(TakeDispute(message, settlement_pb2.Dispute.FromString(disputed)))
    denied = DenyList(1, AT).payload()
    deny_list = {"number": 1, **columns(signed_message(denied, "deny-list", CLEARING_MESSAGES))}
    refusal = refused(HANGZHOU_MESSAGES, HANGZHOU, voucher, RefusalReason.ALREADY_HELD, AT)
    leaves = hand_overs.kept(node.rows("hand_over")[0]["body"]).leaves
    head = Head(CLEARINGHOUSE, HANGZHOU, 1, AT, Incarnations(1, 1))
    returned = columns(hand_overs.sign(head, leaves, CLEARING_MESSAGES))
    with node.database.transaction() as transaction:
        taken = sign_taken(message, AT, CLEARING_MESSAGES).SerializeToString()
        dispute = {"number": 1, "settlement_window": 1, "sent": True, "taken": taken, **columns(message)}
        transaction.insert(node.tables["dispute"], [dispute])
        (word,) = [row["confirmation"] for row in clearinghouse.rows("monthly_statement") if row["confirmation"]]
        confirmation = signed_message(word, "confirmation", HANGZHOU_MESSAGES).SerializeToString()
        confirmed = {"confirmed": True, "confirmation": confirmation}
        month = {"month": "2026-05", "confirmed_by": "b", "reservation": "", **confirmed}
        transaction.insert(node.tables["statement_month"], [month])
        transaction.update(node.tables["settlement_window"], {"number": 1}, confirmed)
        transaction.insert(node.tables["deny_list"], [deny_list])
        transaction.insert(node.tables["custody_return"], [{"number": 1, "taken_at": AT, **returned}])
    with clearinghouse.database.transaction() as transaction:
        transaction.insert(clearinghouse.tables["deny_list"], [deny_list])
        transaction.insert(clearinghouse.tables["release_refusal"], [{**voucher._asdict(), **columns(refusal)}])
        given = {"region": HANGZHOU, "number": 1, "given_at": AT, **returned}
        transaction.insert(clearinghouse.tables["custody_return"], [given])


def request_in_messages(node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes) -> None:
    """A platform's signed request that its node sends on, and the clearinghouse's signed answer to it."""
    asked = item(b"asked in a messg", redeem=purchase(token, 0, "order-in-a-message"))
    work = node.intake(asked)
    (sent,) = node.decide(Intake(replace(work.received, batch=message_of([asked], ALIPAY)), work.own_id))
    assert isinstance(sent, Forwarded)
    assert sent.content is not None
    request = received(sent.content, HANGZHOU, HANGZHOU, clearinghouse.ids.fresh())
    (reply,) = clearinghouse.decide(Redeem(replace(request, batch=message_of([sent.content], HANGZHOU_MESSAGES))))
    answers = sign_answers([reply.content], CLEARING_MESSAGES)
    batch = SignedBatch(bytes(15) + b"a", ANSWER_KIND, (reply.content,), answers.key_id, answers.signature)
    node.decide(ClearinghouseAnswer(reply.content, batch))
    assert not answer_of(reply.content).HasField("refusal")


def message_of(items: list[bytes], signer: TestSigner) -> SignedBatch:
    signature = sign_items(items, signer)
    return SignedBatch(bytes(15) + b"r", REQUEST_KIND, tuple(items), signature.key_id, signature.signature)


def statements(clearinghouse: LocalClearinghouse) -> None:
    """A statement of a month, and the region's confirmation of both."""
    clearinghouse.decide(StateMonth("2026-05", STATEMENTS))
    for table, period in (("statement", {"window": 1}), ("monthly_statement", {"month": "2026-05"})):
        document = next(row["document"] for row in clearinghouse.rows(table) if row["region"] == HANGZHOU)
        said = settlement_pb2.Confirmation(
            region=HANGZHOU, statement_digest=digest("statement", document), **period
        ).SerializeToString()
        clearinghouse.do(
            clearinghouse.service.settlement.confirm(HANGZHOU, signed_message(said, "confirmation", HANGZHOU_MESSAGES))
        )


def signed_message(body: bytes, kind: str, signer: TestSigner) -> signed_pb2.SignedMessage:
    return signed_pb2.SignedMessage(body=body, key_id=signer.key_id, signature=signer.sign(kind, body))


def columns(message: signed_pb2.SignedMessage) -> dict[str, bytes]:
    return {"body": message.body, "key_id": message.key_id, "signature": message.signature}


class Kept(NamedTuple):
    """Where a kind of document stands: the column with what was signed, of whose key and signature the others tell."""

    table: str
    kind: str
    body: str = "body"
    purpose: str = "message"
    key_id: str = "key_id"
    signature: str = "signature"
    payload: Callable[[bytes], bytes] = bytes


HAND_OVERS = [
    Kept(table, "hand-over", payload=lambda body: hand_overs.signed_head(signed_pb2.SignedMessage(body=body)).body)
    for table in ("hand_over", "custody_return")
]
CONFIRMATION = Kept("", "confirmation", "confirmation", "message", "confirmation_key_id", "confirmation_signature")
SHARED = [
    Kept("suspension", "suspension"),
    Kept("campaign_change", "campaign-change", purpose="terms"),
    Kept("deny_list", "deny-list"),
    Kept("terms", "terms", "document", "terms"),
    Kept("dispute", "dispute"),
    Kept("fund_return", "fund-return", key_id=""),
    *HAND_OVERS,
]
OWN = {
    NODE: [Kept("cancellation", "cancellation"), Kept("feed_head", "feed-head")],
    CLEARING: [
        Kept("release_refusal", "custody-refused"),
        Kept("statement", "statement", "document", "statement"),
        Kept("monthly_statement", "statement", "document", "statement"),
        CONFIRMATION._replace(table="statement"),
        CONFIRMATION._replace(table="monthly_statement"),
    ],
}
CASES = [(name, kept) for name in BOTH for kept in (*SHARED, *OWN[name])]
NAMES = [f"{name}-{kept.table}-{kept.kind}" for name, kept in CASES]
EACH_KIND = pytest.mark.parametrize(("name", "kept"), CASES, ids=NAMES)


@pytest.fixture
def altered(signed: Signed) -> Alter:
    """Changes columns of the first row that has them, seals it again, and gives what is found; undone at once."""

    def alter(name: str, table: str, change: Callable[[dict[str, Any]], dict[str, Any]], having: str) -> list[Finding]:
        party, found = signed.sound.parties[name], list[Finding]()
        described = party.tables[table]
        row = next(each for each in party.rows(table) if each[having] is not None)
        try:
            with party.database.transaction() as transaction:
                key = {column.name: row[column.name] for column in described.primary_key}
                assert transaction.update(described, key, change(row)) == 1
                found = signed.findings(transaction)
                raise Undone
        except Undone:
            return found

    return alter


class Undone(Exception):
    """Ends a transaction without its changes."""


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def flipped_signature(word: bytes, kind: str) -> bytes:
    message = signed_pb2.SignedMessage.FromString(word)
    message.signature = flipped(message.signature)
    return message.SerializeToString()


def of_a_stranger(word: bytes, kind: str) -> bytes:
    body = signed_pb2.SignedMessage.FromString(word).body
    return signed_message(body, kind, STRANGERS["message"]).SerializeToString()


@pytest.mark.parametrize("name", BOTH)
def test_what_was_signed_holds(signed: Signed, name: str) -> None:
    party = signed.sound.parties[name]
    with party.database.snapshot() as transaction:
        assert signed.findings(transaction) == []
    filled = {table for table in party.tables if party.rows(table)}
    assert {kept.table for each, kept in CASES if each == name} <= filled


@pytest.mark.parametrize("name", BOTH)
def test_progress_ends_at_the_rows_that_were_announced(signed: Signed, name: str) -> None:
    told = list[int]()
    with signed.sound.parties[name].database.snapshot() as transaction:
        party = party_of(transaction).signatures
        assert not list(check_signatures(transaction, party, Keyring(Trust(signed.root_pem)), told.append))
        assert sum(told) == signed_rows(transaction, party) > len(SHARED)


@EACH_KIND
def test_an_altered_document_is_named(altered: Alter, name: str, kept: Kept) -> None:
    found = altered(name, kept.table, lambda row: {kept.body: flipped(row[kept.body])}, kept.body)
    assert kept.table in {each.table for each in found}, found
    assert all("签名不成立" in each.zh for each in found)


@EACH_KIND
def test_another_signature_is_named(altered: Alter, name: str, kept: Kept) -> None:
    found = altered(name, kept.table, lambda row: {kept.signature: flipped(row[kept.signature])}, kept.signature)
    assert [each.table for each in found] == [kept.table], found


@EACH_KIND
def test_a_stranger_s_signature_is_named(altered: Alter, name: str, kept: Kept) -> None:
    stranger = STRANGERS[kept.purpose]

    def sign(row: dict[str, Any]) -> dict[str, Any]:
        signature = stranger.sign(kept.kind, kept.payload(row[kept.body]))
        return {kept.signature: signature} | ({kept.key_id: stranger.key_id} if kept.key_id else {})

    (finding,) = altered(name, kept.table, sign, kept.signature)
    assert finding.table == kept.table
    assert SHANGHAI in finding.en or not kept.key_id


@pytest.mark.parametrize("alter_word", [flipped_signature, of_a_stranger], ids=["altered", "a-stranger-s"])
@pytest.mark.parametrize(
    ("table", "column", "kind"),
    [
        ("dispute", "taken", "dispute-taken"),
        ("settlement_window", "confirmation", "confirmation"),
        ("statement_month", "confirmation", "confirmation"),
    ],
)
def test_a_word_kept_whole_is_named(
    altered: Alter, table: str, column: str, kind: str, alter_word: Callable[[bytes, str], bytes]
) -> None:
    found = altered(NODE, table, lambda row: {column: alter_word(row[column], kind)}, column)
    assert [each.table for each in found] == [table], found


def test_a_word_about_another_dispute_is_named(altered: Alter) -> None:
    other = sign_taken(signed_pb2.SignedMessage(body=b"another"), AT, CLEARING_MESSAGES).SerializeToString()
    found = altered(NODE, "dispute", lambda row: {"taken": other}, "taken")
    assert [each.table for each in found] == ["dispute"], found


@pytest.mark.parametrize(
    ("name", "table", "column"),
    [
        *((name, "suspension", "why") for name in BOTH),
        *((name, "suspension", "decided_by") for name in BOTH),
        *((name, "campaign_change", "why") for name in BOTH),
    ],
)
def test_a_column_that_says_other_than_what_was_signed_is_named(
    altered: Alter, name: str, table: str, column: str
) -> None:
    (finding,) = altered(name, table, lambda row: {column: "another"}, column)
    assert (finding.table, "another" in finding.en) == (table, True)


class TestMessages:
    @pytest.mark.parametrize("name", BOTH)
    @pytest.mark.parametrize("column", ["hashes", "signature", "items"])
    def test_an_altered_message_is_named(self, altered: Alter, name: str, column: str) -> None:
        found = altered(name, "signed_batch", lambda row: {column: flipped(row[column])}, "items")
        assert "signed_batch" in {each.table for each in found}

    @pytest.mark.parametrize("name", BOTH)
    def test_an_altered_answer_is_named(self, altered: Alter, name: str) -> None:
        (finding,) = altered(name, "request", lambda row: {"answer": row["answer"] + b"\x58\x00"}, "answer_batch")
        assert (finding.table, "not among those" in finding.en) == ("request", True)

    @pytest.mark.parametrize("name", BOTH)
    def test_an_answer_taken_out_of_its_message_is_named(self, altered: Alter, name: str) -> None:
        (finding,) = altered(name, "request", lambda row: {"answer_batch": None}, "answer_batch")
        assert (finding.table, "in no signed message" in finding.en) == ("request", True)

    @pytest.mark.parametrize("name", BOTH)
    def test_a_request_that_nobody_sent_is_named(self, altered: Alter, name: str) -> None:
        made_up = hashlib.sha256(b"made up").digest()
        (finding,) = altered(name, "request", lambda row: {"body_hash": made_up}, "request_batch")
        assert (finding.table, "the request is not among" in finding.en) == ("request", True)

    def test_an_answer_away_that_the_clearinghouse_did_not_give_is_named(self, altered: Alter) -> None:
        (finding,) = altered(NODE, "outbox", lambda row: {"own_id": flipped(row["own_id"])}, "answer_batch")
        assert finding.table == "outbox"


class TestVouchers:
    def test_a_token_that_no_issuer_signed_is_named_with_its_entry(self, altered: Alter) -> None:
        (finding,) = altered(CLEARING, "proof", lambda row: {"token": flipped(row["token"])}, "token")
        assert finding.table == "proof"
        assert finding.entry is not None
        assert finding.amount_fen > 0

    def test_the_token_of_another_voucher_is_named(self, signed: Signed, altered: Alter) -> None:
        other = signed.sound.parties[CLEARING].rows("proof")[-1]["token"]
        (finding,) = altered(CLEARING, "proof", lambda row: {"token": other}, "token")
        assert "pack_id" in finding.en

    def test_an_altered_claim_s_token_is_named(self, altered: Alter) -> None:
        def change(row: dict[str, Any]) -> dict[str, Any]:
            answer = claim_pb2.ClaimAnswer.FromString(row["answer"])
            answer.token = flipped(answer.token)
            return {"answer": answer.SerializeToString()}

        (finding,) = altered(NODE, "request", change, "answer")
        assert finding.table == "request"


def test_an_agreement_s_altered_text_and_signature_are_named(altered: Alter) -> None:
    for table, column in (("agreement", "document"), ("agreement_signature", "signature")):
        (finding,) = altered(CLEARING, table, lambda row, name=column: {name: flipped(row[name])}, column)
        assert finding.table == "agreement_signature"


@pytest.mark.parametrize(("name", "table"), [(CLEARING, "signing_chain"), (NODE, "known_chain")])
def test_a_chain_of_another_root_is_named_and_what_its_key_signed_counts_no_more(
    signed: Signed, altered: Alter, tmp_path: Path, name: str, table: str
) -> None:
    forged = Authorities(tmp_path / "forged").chains[(HANGZHOU, "terms")]
    terms_key = TestSigner(HANGZHOU, "terms").key_id
    party = signed.sound.parties[name]
    described = party.tables[table]
    try:
        with party.database.transaction() as transaction:
            assert transaction.update(described, {"key_id": terms_key}, {"chain": forged}) == 1
            found = {each.table for each in signed.findings(transaction)}
            raise Undone
    except Undone:
        assert {table, "terms"} <= found


class TestCommand:
    def _check(self, signed: Signed, folder: Path, *arguments: str) -> int:
        database = signed.sound.parties[CLEARING].database
        url = database.engine.url.set(drivername=database.dialect).render_as_string(hide_password=False)
        (folder / "keys").mkdir(exist_ok=True)
        (folder / "root.crt").write_bytes(signed.root_pem)
        named = {"database_url": url, "database_schema": database.schema}
        named |= {"tls_directory": ".", "keys_directory": "keys"}
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in named.items()]
        (folder / "settings.toml").write_text("".join(lines))
        return cli.main(["ledger", "check", "--config", str(folder / "settings.toml"), *arguments])

    def test_with_settings_every_signature_is_verified(
        self, signed: Signed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._check(signed, tmp_path, "--json")
        data = json.loads(capsys.readouterr().out)
        assert data["signatures_verified"] is True
        assert not [each for each in data["findings"] if "签名" in each["zh"]]

    def test_without_them_it_says_that_none_was(self, sound: Sound, capsys: pytest.CaptureFixture[str]) -> None:
        database = sound.parties[NODE].database
        url = database.engine.url.set(drivername=database.dialect).render_as_string(hide_password=False)
        cli.main(["ledger", "check", "--database", url, "--schema", database.schema])
        assert "Signatures were not verified" in capsys.readouterr().out
