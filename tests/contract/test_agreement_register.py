"""Agreements at the clearinghouse: who signs in which order, what counts, and the ceiling of a year."""

from __future__ import annotations

import asyncio

import pytest
from agreement_documents import agreement_document
from batch_stories import request_id
from local_parties import (
    AT,
    CLEARINGHOUSE,
    HANGZHOU,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    TestKeyring,
    TestSigner,
    answer_of,
    item,
    keys_of,
    outcome,
    purchase,
    undone,
)
from sound_parties import check

from clearinghouse import schema
from clearinghouse.agreements import AgreementRegister, ask_agreements, documents_in_force
from node.agreements import RegionSignatory
from quanlian.errors import BadSignature, InvalidInput
from quanlian.v1 import agreement_pb2, directory_pb2, signed_pb2
from quanlian.v1 import redemption_pb2 as pb

SIGNERS = {
    **{region: TestSigner(region, "terms") for region in (HANGZHOU, SHANGHAI, "320500")},
    CLEARINGHOUSE: TestSigner(CLEARINGHOUSE, "statement"),
}
KEYRING = TestKeyring({signer.key_id: signer.certified for signer in SIGNERS.values()})
DOCUMENT = agreement_document("12.00")


def version(number: int) -> bytes:
    return DOCUMENT.replace(b"version = 1", b"version = %d" % number)


@pytest.fixture
def register(clearinghouse: LocalClearinghouse) -> AgreementRegister:
    clearinghouse.service.keyring.update(KEYRING)  # type: ignore[attr-defined]
    return AgreementRegister(clearinghouse.database, KEYRING, SIGNERS[CLEARINGHOUSE])


def signed(region: str, document: bytes = DOCUMENT) -> signed_pb2.SignedMessage:
    signer = SIGNERS[region]
    return signed_pb2.SignedMessage(body=document, key_id=signer.key_id, signature=signer.sign("agreement", document))


def submit(register: AgreementRegister, region: str, proposes: bool = False, document: bytes = DOCUMENT) -> list[str]:
    """Who has signed after it."""
    kept = asyncio.run(register.submit(region, signed(region, document), proposes))
    return sorted(each.signer for each in kept.signatures)


def countersign(register: AgreementRegister, document: bytes = DOCUMENT, proposes: bool = False) -> list[str]:
    kept = asyncio.run(register.sign_agreement(document, "hz-sh.toml", proposes))
    return sorted(each.signer for each in kept.signatures)


def in_force(clearinghouse: LocalClearinghouse) -> list[str]:
    with clearinghouse.database.snapshot() as transaction:
        return sorted(each.number for each in documents_in_force(ask_agreements(transaction)))


def agree(register: AgreementRegister, document: bytes = DOCUMENT) -> None:
    submit(register, HANGZHOU, True, document)
    submit(register, SHANGHAI, False, document)
    countersign(register, document)


class TestSigning:
    def test_an_agreement_counts_once_both_regions_and_then_the_clearinghouse_signed(
        self, clearinghouse: LocalClearinghouse, register: AgreementRegister
    ) -> None:
        assert submit(register, HANGZHOU, proposes=True) == [HANGZHOU]
        with pytest.raises(InvalidInput, match="310000 has not signed it"):
            countersign(register)
        assert submit(register, SHANGHAI) == [SHANGHAI, HANGZHOU]
        assert in_force(clearinghouse) == ["TEST"]
        assert countersign(register) == [SHANGHAI, HANGZHOU, CLEARINGHOUSE]
        assert in_force(clearinghouse) == ["HZ-SH", "TEST"]

    def test_it_counts_for_nothing_before_the_clearinghouse_signed_whenever_it_says_it_began(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, register: AgreementRegister
    ) -> None:
        agree(register)
        signed = schema.agreement_signature
        with clearinghouse.database.transaction() as transaction:
            later = signed.update().where(signed.c.number == "HZ-SH").values(signed_at=AT + 60)
            transaction.connection.execute(later)
        node.publish()
        clearinghouse.learn(node)
        (token,) = node.claim()
        clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(token))))
        for seconds, index in ((0, 0), (60, 1)):
            clearinghouse.pass_seconds(seconds)
            clearinghouse.redeem(item(request_id(index), redeem=purchase(token, index, f"order-{index}")))
        used = {row["authorized_at"]: row["agreement"] for row in clearinghouse.rows("redemption")}
        assert used == {AT: "TEST v1", AT + 60: "HZ-SH v1"}

    def test_signing_again_changes_nothing(
        self, clearinghouse: LocalClearinghouse, register: AgreementRegister
    ) -> None:
        agree(register)
        before = clearinghouse.rows("agreement_signature")
        clearinghouse.pass_seconds(60)
        agree(register)
        assert clearinghouse.rows("agreement_signature") == before

    def test_what_nobody_proposed_is_not_signed_and_what_was_is_not_proposed_again(
        self, register: AgreementRegister
    ) -> None:
        with pytest.raises(InvalidInput, match="nobody has proposed it"):
            submit(register, HANGZHOU)
        submit(register, HANGZHOU, proposes=True)
        with pytest.raises(InvalidInput, match="was proposed already"):
            submit(register, SHANGHAI, proposes=True)

    def test_the_text_is_never_replaced(self, clearinghouse: LocalClearinghouse, register: AgreementRegister) -> None:
        submit(register, HANGZHOU, proposes=True)
        other = DOCUMENT.replace(b"issuer = 50", b"issuer = 90")
        with pytest.raises(InvalidInput, match="is on file with another text"):
            submit(register, SHANGHAI, document=other)
        assert DOCUMENT in [row["document"] for row in clearinghouse.rows("agreement")]

    @pytest.mark.parametrize(
        ("document", "region", "problem"),
        [
            (DOCUMENT, "320500", "320500 is no party of it"),
            (DOCUMENT.replace(b'"310000"', b'"320500"'), HANGZHOU, "has the number of another agreement"),
            (version(2), HANGZHOU, "comes after version 3"),
        ],
    )
    def test_a_number_stays_with_its_parties_and_versions_rise(
        self, register: AgreementRegister, document: bytes, region: str, problem: str
    ) -> None:
        agree(register, version(3))
        with pytest.raises(InvalidInput, match=problem):
            submit(register, region, True, document)

    def test_a_version_that_one_party_proposed_alone_blocks_no_other(
        self, clearinghouse: LocalClearinghouse, register: AgreementRegister
    ) -> None:
        agree(register)
        submit(register, SHANGHAI, True, version(1_000_000))
        submit(register, SHANGHAI, True, version(2))
        other = version(2).replace(b"issuer = 50", b"issuer = 90")
        with pytest.raises(InvalidInput, match="is on file with another text") as refused:
            submit(register, HANGZHOU, True, other)
        assert "propose it as version 3" in str(refused.value)
        agree(register, version(3))
        assert in_force(clearinghouse) == ["HZ-SH", "HZ-SH", "TEST"]

    def test_a_proposal_that_was_overtaken_is_signed_by_nobody_any_more(self, register: AgreementRegister) -> None:
        submit(register, HANGZHOU, True, version(1))
        submit(register, HANGZHOU, True, version(2))
        submit(register, SHANGHAI, False, version(2))
        agree(register, version(3))
        with pytest.raises(InvalidInput, match="comes after version 3, which everybody has signed") as refused:
            submit(register, SHANGHAI, False, version(1))
        assert "propose it as version 4" in str(refused.value)
        with pytest.raises(InvalidInput, match="comes after version 3"):
            countersign(register, version(2))
        assert submit(register, HANGZHOU, False, version(1)) == [HANGZHOU], "it had signed it before"

    def test_a_number_belongs_to_those_who_all_sign_first(self, register: AgreementRegister) -> None:
        theirs = DOCUMENT.replace(b'"310000"', b'"320500"')
        submit(register, "320500", True, theirs)
        agree(register, version(2))
        with pytest.raises(InvalidInput, match="has the number of another agreement"):
            submit(register, HANGZHOU, False, theirs)

    def test_the_clearinghouse_proposes_the_network_s_default_only(self, register: AgreementRegister) -> None:
        with pytest.raises(InvalidInput, match="is the regions' to propose"):
            countersign(register, proposes=True)

    def test_a_region_signs_with_its_own_key_for_terms(self, register: AgreementRegister) -> None:
        with pytest.raises(BadSignature, match="sent by 310000 is signed by 330100"):
            asyncio.run(register.submit(SHANGHAI, signed(HANGZHOU), True))
        forged = signed(HANGZHOU)
        forged.body = DOCUMENT.replace(b"50", b"51")
        with pytest.raises(BadSignature):
            asyncio.run(register.submit(HANGZHOU, forged, True))
        message_key = TestSigner(HANGZHOU, "message")
        KEYRING[message_key.key_id] = message_key.certified
        wrong = signed_pb2.SignedMessage(
            body=DOCUMENT, key_id=message_key.key_id, signature=message_key.sign("agreement", DOCUMENT)
        )
        with pytest.raises(BadSignature, match="key for message, not for terms"):
            asyncio.run(register.submit(HANGZHOU, wrong, True))


class TestAtANode:
    def test_a_region_signs_only_what_it_is_a_party_of(self, node: LocalNode) -> None:
        signatory = RegionSignatory(node.service, node.clearinghouse, SIGNERS[HANGZHOU])  # type: ignore[arg-type]
        foreign = DOCUMENT.replace(b'"330100"', b'"320500"')
        with pytest.raises(InvalidInput, match="330100 不是协议方 · 330100 is no party of it"):
            asyncio.run(signatory.sign_agreement(foreign, "foreign.toml", True))

    def test_a_node_believes_no_signature_that_it_cannot_check(self, node: LocalNode) -> None:
        node.service.keyring = KEYRING  # type: ignore[assignment]
        signature = signed(HANGZHOU)
        kept = agreement_pb2.SignedAgreement(
            document=DOCUMENT,
            signatures=[
                agreement_pb2.AgreementSignature(
                    signer=SHANGHAI, key_id=signature.key_id, signature=signature.signature, signed_at=AT
                )
            ],
        )

        async def directory() -> directory_pb2.GetDirectoryResponse:
            return directory_pb2.GetDirectoryResponse(agreements=[kept])

        node.clearinghouse.directory = directory  # type: ignore[method-assign]
        signatory = RegionSignatory(node.service, node.clearinghouse, SIGNERS[HANGZHOU])  # type: ignore[arg-type]
        with pytest.raises(BadSignature, match="names 310000 for a signature of 330100"):
            asyncio.run(signatory.agreements())


class TestCeiling:
    """Shanghai pays half of 10.00 for each visitor, at most 12.00 a year: two fit, the third does not."""

    def _redeem(self, node: LocalNode, clearinghouse: LocalClearinghouse, count: int) -> list[bytes]:
        node.publish()
        clearinghouse.learn(node)
        tokens = node.claim(count)
        keys = [key for token in tokens for key in keys_of(token)]
        clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys)))
        return clearinghouse.redeem(
            *(
                item(request_id(number), redeem=purchase(token, 0, f"order-{number}"))
                for number, token in enumerate(tokens)
            )
        )

    def test_past_its_ceiling_the_issuer_pays(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, register: AgreementRegister
    ) -> None:
        agree(register)
        answers = self._redeem(node, clearinghouse, 3)
        assert [_visitors_fen(answer) for answer in answers] == [500, 500, 0]
        assert clearinghouse.balance("ceiling/310000/2026/HZ-SH") == (1000, 0, 0, 0)
        clearinghouse.check_books()

    def test_past_its_ceiling_it_refuses_where_that_was_agreed(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, register: AgreementRegister
    ) -> None:
        agree(register, agreement_document("12.00", dry="refuse"))
        answers = self._redeem(node, clearinghouse, 3)
        assert [outcome(answer) for answer in answers] == ["CAPTURED", "CAPTURED", "FUNDING_EXHAUSTED"]

    def test_a_refund_frees_the_ceiling(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, register: AgreementRegister
    ) -> None:
        agree(register)
        answers = self._redeem(node, clearinghouse, 2)
        back = pb.Refund(redemption_id=answer_of(answers[0]).redemption_id, order_fen=5800)
        clearinghouse.redeem(item(request_id(90), refund=back))
        assert clearinghouse.balance("ceiling/310000/2026/HZ-SH") == (500, 0, 0, 0)
        clearinghouse.check_books()

    def test_a_hold_counts_until_it_ends(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, register: AgreementRegister
    ) -> None:
        agree(register)
        node.publish()
        clearinghouse.learn(node)
        (token,) = node.claim()
        clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(token))))
        (held,) = clearinghouse.redeem(item(request_id(1), authorize=purchase(token, 0, "order")))
        assert clearinghouse.balance("ceiling/310000/2026/HZ-SH") == (0, 0, 500, 0)
        void = pb.Void(redemption_id=answer_of(held).redemption_id)
        clearinghouse.redeem(item(request_id(2), void=void))
        assert clearinghouse.balance("ceiling/310000/2026/HZ-SH") == (0, 0, 0, 0)


def _visitors_fen(answer: bytes) -> int:
    return sum(leg.amount_fen for leg in answer_of(answer).legs if "/visitors/" in leg.account)


class TestTamperingWithTheRegister:
    """An agreement in force, or one of its signatures, cannot vanish from the books or come into them unseen."""

    def test_every_signature_is_an_entry_of_the_journal(
        self, clearinghouse: LocalClearinghouse, register: AgreementRegister
    ) -> None:
        agree(register)
        told = [row["reference"] for row in clearinghouse.rows("entry") if row["kind"] == "agreement-signature"]
        assert [each.rpartition(" ")[0] for each in told] == [
            "TEST v1 clearinghouse",
            "HZ-SH v1 330100",
            "HZ-SH v1 310000",
            "HZ-SH v1 clearinghouse",
        ]
        clearinghouse.check_books()

    def test_an_agreement_deleted_with_its_signatures_is_named_with_their_entries(
        self, clearinghouse: LocalClearinghouse, register: AgreementRegister
    ) -> None:
        agree(register)
        entries = {row["number"] for row in clearinghouse.rows("entry") if row["reference"].startswith("HZ-SH v1 ")}
        with undone(clearinghouse):
            with clearinghouse.database.transaction() as transaction:
                for table in (schema.agreement, schema.agreement_signature):
                    transaction.connection.execute(table.delete().where(table.c.number == "HZ-SH"))
            found = check(clearinghouse)
        assert {each.table for each in found} == {"agreement_signature"}
        assert {each.entry for each in found} == entries
        assert len(entries) == 3

    def test_another_signature_in_its_place_with_a_seal_of_its_own_is_named(
        self, clearinghouse: LocalClearinghouse, register: AgreementRegister
    ) -> None:
        agree(register)
        with undone(clearinghouse):
            with clearinghouse.database.transaction() as transaction:
                key = {"number": "HZ-SH", "version": 1, "signer": HANGZHOU}
                transaction.update(schema.agreement_signature, key, {"signature": bytes(64)})
            (finding,) = check(clearinghouse)
        assert (finding.table, finding.row) == ("agreement_signature", f"HZ-SH/1/{HANGZHOU}")
        assert finding.en == "is not the one that its entry records"

    def test_a_signature_that_never_came_is_named(
        self, clearinghouse: LocalClearinghouse, register: AgreementRegister
    ) -> None:
        agree(register)
        (row,) = (each for each in clearinghouse.rows("agreement_signature") if each["signer"] == HANGZHOU)
        with undone(clearinghouse):
            with clearinghouse.database.transaction() as transaction:
                made = {name: value for name, value in row.items() if name != "seal"} | {"signer": "320500"}
                transaction.insert(schema.agreement_signature, [made])
            (finding,) = check(clearinghouse)
        assert finding.en == "no entry records it"
