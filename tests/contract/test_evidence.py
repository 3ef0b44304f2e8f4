"""What a party can show of who asked and who answered what, checked without any party's help."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from local_parties import (
    AT,
    CLEARINGHOUSE,
    HANGZHOU,
    PLATFORM,
    LocalClearinghouse,
    LocalNode,
    NoClearinghouse,
    TestSigner,
    answer_of,
    item,
    keys_of,
    outcome,
    purchase,
)
from typer.testing import CliRunner

from custodian import cli, evidence_file
from custodian.evidence import Requests, SignedBatch
from custodian.servicer import sign_answers, sign_items
from node import evidence
from pki.authority import RootAuthority
from pki.identity import Identity
from quanlian.errors import InvalidInput, QuanlianError, TrustError
from quanlian.evidence import ANSWER_KIND, REQUEST_KIND
from quanlian.v1 import custody_pb2, signed_pb2
from quanlian.wire import request_id_of

ALIPAY, NODE = Identity(HANGZHOU, "platform", PLATFORM), Identity(HANGZHOU, "node")
PLATFORM_KEY = TestSigner(HANGZHOU, f"message.{PLATFORM}")
NODE_KEY = TestSigner(HANGZHOU, "message")
CLEARING_KEY = TestSigner(CLEARINGHOUSE, "message")


class Authorities(NamedTuple):
    """A root that vouches for the test's keys."""

    root: bytes
    fingerprint: str
    chains: dict[bytes, bytes]

    def chain(self, key_id: bytes) -> bytes:
        return self.chains[key_id]


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    folder, at = tmp_path_factory.mktemp("pki"), AT - 86_400
    root = RootAuthority.create(folder / "root", at)
    chains = {}
    for host in (HANGZHOU, CLEARINGHOUSE):
        authority = root.enrol(folder / host, host, at)
        for key in (PLATFORM_KEY, NODE_KEY, CLEARING_KEY):
            if key.certified.owner == host:
                public = key.certified.public_key
                chains[key.key_id] = authority.issue_signer(key.certified.purpose, public, at, 30 * 86_400)
    return Authorities((folder / "root" / "certificate.pem").read_bytes(), root.fingerprint, chains)


def message(items: list[bytes], signer: TestSigner, number: int = 1) -> SignedBatch:
    """What arrives when a sender signs items once."""
    signed = sign_items(items, signer)
    return SignedBatch(number.to_bytes(16, "big"), REQUEST_KIND, tuple(items), signed.key_id, signed.signature)


class Forwarding(NoClearinghouse):
    """Carries a node's items to the clearinghouse, and its signed answers back."""

    def __init__(self, clearinghouse: LocalClearinghouse) -> None:
        super().__init__()
        self.far = clearinghouse
        self.sent: list[bytes] = []

    def send(self, items: Any) -> None:
        self.sent += items

    async def carry(self, node_service: Any) -> None:
        while not self.sent:
            await asyncio.sleep(0)
        answers: list[bytes] = []
        await self.far.service.submit(NODE, self.sent, answers.extend, message(self.sent, NODE_KEY, 2))
        signed = sign_answers(answers, CLEARING_KEY)
        batch = SignedBatch(bytes([3]) * 16, ANSWER_KIND, tuple(answers), signed.key_id, signed.signature)
        await node_service.clearinghouse_answered(answers, batch)


def at_home(node: LocalNode, items: list[bytes], batches: int = 1) -> list[bytes]:
    """Answers to a platform's signed messages, each with all items."""
    service, got = node.another_service(), list[bytes]()
    with node.database.transaction() as transaction:
        transaction.upsert(node.tables["platform"], [{"name": PLATFORM, "chain": b""}])
    service.start()
    for number in range(1, batches + 1):
        asyncio.run(service.submit(ALIPAY, items, got.extend, message(items, PLATFORM_KEY, number)))
    service.close()
    return got


def shown_by_node(node: LocalNode, id: bytes, authorities: Authorities) -> bytes:
    with node.database.snapshot() as transaction:
        found = evidence.exchanges(transaction, id, HANGZHOU, NODE_KEY)
    return evidence_file.write(HANGZHOU, id, found, authorities.root, authorities.chain)


def shown_by_clearinghouse(clearinghouse: LocalClearinghouse, id: bytes, authorities: Authorities) -> bytes:
    with clearinghouse.database.snapshot() as transaction:
        requests = Requests(transaction, id, [HANGZHOU])
        found = [requests.exchange(row, row.participant, CLEARINGHOUSE) for row in requests.rows]
    return evidence_file.write(CLEARINGHOUSE, id, found, authorities.root, authorities.chain)


@pytest.fixture
def home(node: LocalNode) -> tuple[LocalNode, list[bytes], list[bytes]]:
    """Two vouchers redeemed at home in one message: the node, its items, the answers."""
    node.publish()
    (token,) = node.claim()
    items = [item(node.ids.fresh(), redeem=purchase(token, index, f"order-{index}")) for index in (0, 1)]
    return node, items, at_home(node, items)


class TestAtHome:
    def test_a_node_shows_its_platform_s_request_and_its_own_answer(
        self, home: tuple[LocalNode, list[bytes], list[bytes]], authorities: Authorities
    ) -> None:
        node, items, answers = home
        redemption_id = answer_of(answers[1]).redemption_id
        (proven,) = evidence_file.verify(shown_by_node(node, redemption_id, authorities), authorities.fingerprint)
        assert (proven.asker, proven.decider) == (f"{HANGZHOU}/{PLATFORM}", HANGZHOU)
        assert proven.signers == (f"{HANGZHOU}/{PLATFORM}", HANGZHOU)
        assert proven.request is not None
        assert proven.request.SerializeToString() == items[1]
        assert proven.answer == answer_of(answers[1])
        assert proven.notes == ()

    def test_request_and_redemption_name_the_same_evidence(
        self, home: tuple[LocalNode, list[bytes], list[bytes]], authorities: Authorities
    ) -> None:
        node, items, answers = home
        by_request = json.loads(shown_by_node(node, request_id_of(items[0]), authorities))
        by_redemption = json.loads(shown_by_node(node, answer_of(answers[0]).redemption_id, authorities))
        assert by_request["exchanges"] == by_redemption["exchanges"]

    def test_the_other_items_of_a_message_are_not_told(
        self, home: tuple[LocalNode, list[bytes], list[bytes]], authorities: Authorities
    ) -> None:
        node, items, _ = home
        document = json.loads(shown_by_node(node, request_id_of(items[0]), authorities))
        shown = [
            base64.b64decode(each[name]["item"]) for each in document["exchanges"] for name in ("request", "answer")
        ]
        assert shown[0] == items[0]
        assert not any(b"order-1" in each for each in shown)

    def test_a_message_is_kept_once_for_all_its_items(self, home: tuple[LocalNode, list[bytes], list[bytes]]) -> None:
        node, items, answers = home
        rows = {row["kind"]: row for row in node.rows("signed_batch")}
        assert len(node.rows("signed_batch")) == 2
        assert rows[REQUEST_KIND]["hashes"] == b"".join(hashlib.sha256(each).digest() for each in items)
        assert rows[ANSWER_KIND]["hashes"] == b"".join(hashlib.sha256(each).digest() for each in answers)

    def test_a_repeated_message_leaves_the_first_as_evidence(self, node: LocalNode) -> None:
        node.publish()
        (token,) = node.claim()
        items = [item(node.ids.fresh(), redeem=purchase(token, 0, "order"))]
        first, again = at_home(node, items, batches=2)
        assert first == again
        assert len(node.rows("signed_batch")) == 2

    def test_nothing_can_be_shown_of_an_id_that_nobody_gave(self, node: LocalNode, authorities: Authorities) -> None:
        with pytest.raises(InvalidInput, match="nothing was kept"):
            shown_by_node(node, bytes(16), authorities)


class TestSentOn:
    def test_both_sides_show_what_was_sent_on_and_what_the_clearinghouse_answered(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, authorities: Authorities
    ) -> None:
        node.publish(roaming="at-issue")
        (token,) = node.claim()
        clearinghouse.learn(node)
        given = node.rows("hand_over")[0]

        hand_over = signed_pb2.SignedMessage(body=given["body"], key_id=given["key_id"], signature=given["signature"])
        clearinghouse.decide(*clearinghouse.hand_overs([custody_pb2.CustodyStreamRequest(hand_over=hand_over)]))
        node.clearinghouse = forwarding = Forwarding(clearinghouse)
        clearinghouse.service.start = lambda: None  # type: ignore[method-assign]
        clearinghouse.service.engine.group.start()
        service, got = node.another_service(), list[bytes]()
        with node.database.transaction() as transaction:
            transaction.upsert(node.tables["platform"], [{"name": PLATFORM, "chain": b""}])
        service.start()
        request = item(node.ids.fresh(), redeem=purchase(token, 0, "order"))

        async def run() -> None:
            submit = service.submit(ALIPAY, [request], got.extend, message([request], PLATFORM_KEY))
            await asyncio.gather(submit, forwarding.carry(service))

        asyncio.run(run())
        service.close()
        clearinghouse.service.close()
        assert [outcome(each) for each in got] == ["CAPTURED"]
        redemption_id = answer_of(got[0]).redemption_id
        here = evidence_file.verify(shown_by_node(node, redemption_id, authorities), authorities.fingerprint)
        there = evidence_file.verify(
            shown_by_clearinghouse(clearinghouse, redemption_id, authorities), authorities.fingerprint
        )
        assert [(each.asker, each.decider) for each in here] == [
            (f"{HANGZHOU}/{PLATFORM}", HANGZHOU),
            (HANGZHOU, CLEARINGHOUSE),
        ]
        assert [each.signers for each in here] == [(f"{HANGZHOU}/{PLATFORM}", HANGZHOU), (HANGZHOU, CLEARINGHOUSE)]
        assert there[0].request == here[1].request
        assert there[0].answer == here[1].answer
        assert there[0].answer is not None
        assert there[0].answer.state == answer_of(got[0]).state


def _other_bytes(message: dict[str, str], name: str) -> None:
    content = bytearray(base64.b64decode(message[name]))
    content[-1] ^= 1
    message[name] = base64.b64encode(bytes(content)).decode()


DEFECTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "another item": lambda document: _other_bytes(document["exchanges"][0]["request"], "item"),
    "another answer": lambda document: _other_bytes(document["exchanges"][0]["answer"], "item"),
    "other hashes": lambda document: _other_bytes(document["exchanges"][0]["request"], "hashes"),
    "another signature": lambda document: _other_bytes(document["exchanges"][0]["answer"], "signature"),
    "another asker": lambda document: document["exchanges"][0].update(asker=HANGZHOU),
    "another decider": lambda document: document["exchanges"][0].update(decider=CLEARINGHOUSE),
    "an answer as request": lambda document: document["exchanges"][0].update(
        request=document["exchanges"][0]["answer"]
    ),
    "a missing chain": lambda document: document["chains"].popitem(),
    "a chain under another name": lambda document: document.update(
        chains=dict(zip(document["chains"], reversed(document["chains"].values()), strict=True))
    ),
    "no exchange": lambda document: document.update(exchanges=[]),
    "a broken exchange": lambda document: document.update(exchanges=[{"asker": "x"}]),
    "another format": lambda document: document.update(format="quanlian-evidence/9"),
}


class TestChecking:
    @pytest.mark.parametrize("defect", DEFECTS)
    def test_what_was_changed_in_a_file_is_found(
        self, defect: str, home: tuple[LocalNode, list[bytes], list[bytes]], authorities: Authorities
    ) -> None:
        node, items, _ = home
        document = json.loads(shown_by_node(node, request_id_of(items[0]), authorities))
        DEFECTS[defect](document)
        with pytest.raises(QuanlianError):
            evidence_file.verify(json.dumps(document).encode(), authorities.fingerprint)

    def test_an_answer_to_another_request_is_found(
        self, home: tuple[LocalNode, list[bytes], list[bytes]], authorities: Authorities
    ) -> None:
        node, items, _ = home
        first, second = (json.loads(shown_by_node(node, request_id_of(each), authorities)) for each in items)
        first["exchanges"][0]["answer"] = second["exchanges"][0]["answer"]
        with pytest.raises(TrustError, match="another request"):
            evidence_file.verify(json.dumps(first).encode(), authorities.fingerprint)

    def test_another_root_is_not_trusted(
        self, home: tuple[LocalNode, list[bytes], list[bytes]], authorities: Authorities
    ) -> None:
        node, items, _ = home
        with pytest.raises(TrustError, match="fingerprint"):
            evidence_file.verify(shown_by_node(node, request_id_of(items[0]), authorities), "00" * 32)

    def test_the_command_says_in_words_what_is_proven(
        self, home: tuple[LocalNode, list[bytes], list[bytes]], authorities: Authorities, tmp_path: Path
    ) -> None:
        node, items, answers = home
        file = tmp_path / "evidence.json"
        file.write_bytes(shown_by_node(node, request_id_of(items[0]), authorities))
        said = CliRunner().invoke(cli.app, ["verify", str(file), "--trust", authorities.fingerprint])
        assert said.exit_code == 0, said.output
        assert "已核销 CAPTURED，优惠 discount 10.00 元 yuan" in said.output
        assert "order-0" in said.output
        told = CliRunner().invoke(cli.app, ["verify", str(file), "--trust", authorities.fingerprint, "--json"])
        (read,) = json.loads(told.output)
        assert read["request"]["order_fen"] == 5800
        assert read["answer"]["redemption_id"] == answer_of(answers[0]).redemption_id.hex()
        assert keys_of(node.claim()[0])[0].issuer == read["request"]["issuer"]
