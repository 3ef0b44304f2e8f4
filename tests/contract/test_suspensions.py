"""Suspension and reactivation at node and clearinghouse: who may, what it stops, and that it is signed and recorded."""

from __future__ import annotations

import asyncio

import pytest
from batch_stories import request_id
from local_parties import (
    AT,
    CLEARINGHOUSE,
    HANGZHOU,
    KEYRING,
    OPERATOR,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    TestKeyring,
    TestSigner,
    answer_of,
    feed_head,
    item,
    keys_of,
    merchant_code,
    outcome,
    purchase,
    refusal_of,
)

from custodian.custody_messages import read_refused
from custodian.servicer import REQUEST_KIND, verify_batch
from custodian.suspensions import SignedSuspension, sign_suspension, verify_suspension
from node.custody import Release
from node.suspending import Suspend
from pki.denylist import DenyList
from pki.identity import Identity
from quanlian.campaign_changes import ChangeKind
from quanlian.errors import BadSignature, InvalidInput
from quanlian.refusals import Refusal, RefusalReason
from quanlian.suspensions import Suspension, SuspensionKind
from quanlian.v1 import claim_pb2, clearing_operator_pb2, custody_pb2, node_operator_pb2
from quanlian.v1 import redemption_pb2 as pb
from quanlian.wire import batch_digest

REGION, KEY, MERCHANT, VOUCHER = (
    SuspensionKind.REGION,
    SuspensionKind.KEY,
    SuspensionKind.MERCHANT,
    SuspensionKind.VOUCHER,
)
MESSAGE, VOUCHER_SIGNER = TestSigner(HANGZHOU, "message"), TestSigner(HANGZHOU, "voucher")


def redeem(number: int, token: bytes, index: int = 0) -> bytes:
    return item(request_id(number), redeem=purchase(token, index, f"order-{number}"))


def voucher(token: bytes, index: int = 0) -> str:
    """A voucher as an operator names it."""
    return f"{keys_of(token)[index].pack_id.hex()}/{index}"


def at_node(node: LocalNode, *contents: bytes) -> list[str]:
    return [outcome(answer) for answer in node.redeem(*contents)]


def at_clearinghouse(clearinghouse: LocalClearinghouse, *contents: bytes, region: str = SHANGHAI) -> list[str]:
    return [outcome(answer) for answer in clearinghouse.redeem(*contents, region=region)]


@pytest.fixture
def token(node: LocalNode) -> bytes:
    """A pack of two of Hangzhou, at home."""
    node.publish()
    return node.claim()[0]


@pytest.fixture
def away(node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes) -> bytes:
    """The same pack, in the clearinghouse's custody."""
    clearinghouse.learn(node)
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(token))))
    return token


class TestAVoucherReportedLost:
    def test_it_is_refused_with_since_when_until_it_is_reactivated(self, node: LocalNode, token: bytes) -> None:
        node.pass_seconds(60)
        assert node.suspend(VOUCHER, voucher(token)).announced
        (answer,) = node.redeem(redeem(1, token))
        refusal = answer_of(answer).refusal
        assert outcome(answer) == "VOUCHER_SUSPENDED"
        assert {figure.name: figure.value for figure in refusal.figures} == {"since_at": AT + 60}
        assert (refusal.retryable, refusal.voucher_usable) == (True, False)
        assert refusal.message_zh == "券已挂失或暂停，自2026-05-29 04:27:40"
        assert at_node(node, redeem(2, token, index=1)) == ["CAPTURED"], "the other voucher of the pack is good"
        node.suspend(VOUCHER, voucher(token), suspended=False)
        assert at_node(node, redeem(1, token), redeem(3, token)) == ["VOUCHER_SUSPENDED", "CAPTURED"]

    def test_it_counts_within_its_own_batch_for_what_comes_after(self, node: LocalNode, token: bytes) -> None:
        suspend = Suspend(VOUCHER, voucher(token), True, OPERATOR.uri, "lost")
        reactivate = Suspend(VOUCHER, voucher(token), False, OPERATOR.uri, "found")
        quotes = [node.intake(item(request_id(n), quote=purchase(token, 0, "order"))) for n in range(3)]
        before, _, during, _, after = node.decide(quotes[0], suspend, quotes[1], reactivate, quotes[2])
        assert [outcome(each.content) for each in (before, during, after)] == ["quoted", "VOUCHER_SUSPENDED", "quoted"]

    def test_what_is_held_already_is_captured_and_refunded(self, node: LocalNode, token: bytes) -> None:
        (held,) = node.redeem(item(request_id(1), authorize=purchase(token, 0, "order-1")))
        node.suspend(VOUCHER, voucher(token))
        id = answer_of(held).redemption_id
        capture, refund = pb.Capture(redemption_id=id), pb.Refund(redemption_id=id, order_fen=5800)
        assert at_node(node, item(request_id(2), capture=capture), item(request_id(3), refund=refund)) == [
            "CAPTURED",
            "REFUNDED",
        ]

    def test_it_is_refused_away_once_the_clearinghouse_has_heard(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, away: bytes
    ) -> None:
        node.suspend(VOUCHER, voucher(away))
        node.suspend(VOUCHER, voucher(away, 1))
        node.suspend(VOUCHER, voucher(away, 1), suspended=False)
        clearinghouse.learn(node)
        results = at_clearinghouse(clearinghouse, redeem(1, away), redeem(2, away, index=1))
        assert results == ["VOUCHER_SUSPENDED", "CAPTURED"]

    def test_its_issuer_does_not_release_it(self, node: LocalNode, token: bytes) -> None:
        """Else the clearinghouse, which may not have been told yet, would capture it."""
        node.suspend(VOUCHER, voucher(token))
        (answer,) = node.decide(Release([keys_of(token)[0][1:]]))[0]
        assert read_refused(answer.release_refused, HANGZHOU, KEYRING).reason == RefusalReason.VOUCHER_SUSPENDED
        node.suspend(VOUCHER, voucher(token), suspended=False)
        (given,) = node.decide(Release([keys_of(token)[0][1:]]))[0]
        assert given.HasField("hand_over")

    def test_every_region_is_told_once_with_the_very_bytes_that_the_issuer_signed(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, away: bytes
    ) -> None:
        node.suspend(VOUCHER, voucher(away), why="持券人挂失")
        for _ in range(2):
            clearinghouse.learn(node)
        for region in (HANGZHOU, SHANGHAI):
            told = [event.suspension for event in clearinghouse.feed(region) if event.HasField("suspension")]
            assert told == node.clearinghouse.suspensions
        known = verify_suspension(told[0], KEYRING).suspension
        assert (known.by, known.why, known.at) == (OPERATOR.uri, "持券人挂失", AT)
        node.follow(clearinghouse)
        assert len(node.rows("suspension")) == 1, "its own decision comes back and counts once"

    def test_what_could_not_be_announced_is_announced_later(self, node: LocalNode, token: bytes) -> None:
        unreachable = node.clearinghouse.unreachable()
        with unreachable:
            assert not node.suspend(VOUCHER, voucher(token)).announced
        assert at_node(node, redeem(1, token)) == ["VOUCHER_SUSPENDED"], "it counts at home at once"
        assert node.clearinghouse.suspensions == []
        assert node.suspend(MERCHANT, merchant_code()).announced
        numbers = [verify_suspension(each, KEYRING).suspension.number for each in node.clearinghouse.suspensions]
        assert numbers == [1, 2]


class TestAMerchant:
    def test_nobody_redeems_there_until_it_is_reactivated(self, node: LocalNode, token: bytes) -> None:
        node.suspend(MERCHANT, merchant_code())
        assert at_node(node, redeem(1, token)) == ["MERCHANT_BLOCKED"]
        node.suspend(MERCHANT, merchant_code(), suspended=False)
        assert at_node(node, redeem(2, token)) == ["CAPTURED"]

    def test_admitting_it_again_does_not_reactivate_it(self, node: LocalNode, token: bytes) -> None:
        node.suspend(MERCHANT, merchant_code())
        merchant = node_operator_pb2.Merchant(code=merchant_code(), name="商户", categories=["retail"])
        node.ask(lambda operations: operations.admit_merchants([merchant]))
        assert at_node(node, redeem(1, token)) == ["MERCHANT_BLOCKED"]

    def test_the_clearinghouse_knows_it_for_the_region_that_said_so_alone(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, away: bytes
    ) -> None:
        node.suspend(MERCHANT, merchant_code())
        clearinghouse.learn(node)
        assert at_clearinghouse(clearinghouse, redeem(1, away), region=HANGZHOU) == ["MERCHANT_BLOCKED"]
        assert at_clearinghouse(clearinghouse, redeem(1, away)) == ["CAPTURED"]

    def test_what_two_suspended_is_good_again_only_when_both_say_so(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        node.suspend(MERCHANT, merchant_code())
        clearinghouse.suspend(MERCHANT, f"{HANGZHOU}/{merchant_code()}")
        node.follow(clearinghouse)
        node.suspend(MERCHANT, merchant_code(), suspended=False)
        assert at_node(node, redeem(1, token)) == ["MERCHANT_BLOCKED"]
        clearinghouse.suspend(MERCHANT, f"{HANGZHOU}/{merchant_code()}", suspended=False)
        node.follow(clearinghouse)
        assert at_node(node, redeem(2, token)) == ["CAPTURED"]


class TestARegion:
    @pytest.mark.parametrize("region", [HANGZHOU, SHANGHAI])
    def test_issuing_or_redeeming_it_stops_new_redemptions_and_nothing_else(
        self, clearinghouse: LocalClearinghouse, away: bytes, region: str
    ) -> None:
        (captured,) = clearinghouse.redeem(redeem(1, away))
        (held,) = clearinghouse.redeem(item(request_id(2), authorize=purchase(away, 1, "order-2")))
        clearinghouse.suspend(REGION, region)
        refund = pb.Refund(redemption_id=answer_of(captured).redemption_id, order_fen=5800)
        void = pb.Void(redemption_id=answer_of(held).redemption_id)
        contents = [item(request_id(3), refund=refund), item(request_id(4), void=void), redeem(5, away, index=1)]
        assert at_clearinghouse(clearinghouse, *contents) == ["REFUNDED", "VOIDED", "REGION_SUSPENDED"]
        clearinghouse.suspend(REGION, region, suspended=False)
        assert at_clearinghouse(clearinghouse, redeem(6, away, index=1)) == ["CAPTURED"]

    def test_its_node_stops_redeeming_and_issuing_when_the_feed_tells(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        clearinghouse.suspend(REGION, HANGZHOU)
        node.follow(clearinghouse)
        (answer,) = node.redeem(redeem(1, token))
        assert outcome(answer) == "REGION_SUSPENDED"
        assert "330100" in answer_of(answer).refusal.message_zh
        (claim,) = node.decide(node.claim_work("somebody"))
        assert refusal_of(claim) == "REGION_SUSPENDED"
        clearinghouse.suspend(REGION, HANGZHOU, suspended=False)
        node.follow(clearinghouse)
        assert at_node(node, redeem(2, token)) == ["CAPTURED"]
        assert refusal_of(node.decide(node.claim_work("somebody"))[0]) == ""

    def test_the_directory_and_the_status_show_it(self, clearinghouse: LocalClearinghouse) -> None:
        clearinghouse.suspend(REGION, SHANGHAI)
        directory = clearinghouse.do(clearinghouse.service.directory([]))
        assert {each.region: each.suspended for each in directory.participants} == {HANGZHOU: False, SHANGHAI: True}
        status = clearinghouse.do(clearinghouse.service.operations.status())
        assert {each.region: each.suspended for each in status.regions} == {HANGZHOU: False, SHANGHAI: True}

    def test_a_region_enrolled_later_learns_of_it(self, clearinghouse: LocalClearinghouse) -> None:
        clearinghouse.suspend(REGION, SHANGHAI)
        clearinghouse.suspend(KEY, VOUCHER_SIGNER.key_id.hex())
        newcomer = clearing_operator_pb2.EnrolParticipantRequest(region="320500", name_zh="苏州市", name_en="Suzhou")
        for _ in range(2):
            clearinghouse.do(clearinghouse.service.operations.enrol(newcomer))
        kinds = [event.WhichOneof("event") for event in clearinghouse.feed("320500")]
        assert kinds == ["suspension", "suspension", "deny_list"]


class TestASigningKey:
    def test_what_it_signed_from_then_on_is_refused_and_what_it_signed_before_is_good(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        for party in (node, clearinghouse):
            party.pass_seconds(100)
        (later,) = node.claim()
        clearinghouse.suspend(KEY, VOUCHER_SIGNER.key_id.hex(), bad_from=AT + 50)
        node.follow(clearinghouse)
        first, second = node.redeem(redeem(1, token), redeem(2, later))
        assert (outcome(first), outcome(second)) == ("CAPTURED", "KEY_REVOKED")
        figures = {each.name: each.value for each in answer_of(second).refusal.figures}
        assert figures == {"issued_at": AT + 100, "revoked_at": AT + 50}
        clearinghouse.suspend(KEY, VOUCHER_SIGNER.key_id.hex(), suspended=False)
        node.follow(clearinghouse)
        assert at_node(node, redeem(2, later)) == ["CAPTURED"], "reasons up to KEY_REVOKED do not consume the id"

    def test_no_voucher_is_issued_with_it_until_it_counts_again_and_the_status_says_so(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        node.publish()
        clearinghouse.suspend(KEY, VOUCHER_SIGNER.key_id.hex(), bad_from=AT)
        node.follow(clearinghouse)
        before = node.balance("spring/city")
        (answer,) = node.decide(node.claim_work("holder-1"))
        refusal = claim_pb2.ClaimAnswer.FromString(answer).refusal
        assert (RefusalReason(refusal.reason).name, refusal.retryable) == ("KEY_REVOKED", True)
        assert node.balance("spring/city") == before, "nothing is reserved for a voucher that nobody would take"
        service = node.another_service()
        keys = {each.purpose: each.bad_from for each in asyncio.run(node.operations_of(service).status()).keys}
        assert keys == {"voucher": AT, "terms": 0, "message": 0}
        clearinghouse.suspend(KEY, VOUCHER_SIGNER.key_id.hex(), suspended=False)
        node.follow(clearinghouse)
        (answer,) = node.decide(node.claim_work("holder-1"))
        assert claim_pb2.ClaimAnswer.FromString(answer).token

    def test_the_clearinghouse_refuses_it_with_its_next_batch(
        self, clearinghouse: LocalClearinghouse, away: bytes
    ) -> None:
        known_before = clearinghouse.request(redeem(1, away))
        clearinghouse.suspend(KEY, VOUCHER_SIGNER.key_id.hex(), bad_from=AT)
        (reply,) = clearinghouse.decide(known_before)
        assert outcome(reply.content) == "KEY_REVOKED", "also a request whose signature was checked before"

    def test_every_party_gets_the_deny_list_that_the_clearinghouse_signed(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        clearinghouse.suspend(KEY, VOUCHER_SIGNER.key_id.hex(), bad_from=AT - 5)
        clearinghouse.suspend(KEY, MESSAGE.key_id.hex())
        clearinghouse.suspend(KEY, MESSAGE.key_id.hex(), suspended=False)
        told = [event.deny_list for event in clearinghouse.feed(SHANGHAI) if event.HasField("deny_list")]
        lists = [DenyList.parse(each.body) for each in told]
        assert [each.number for each in lists] == [1, 2, 3]
        assert dict(lists[1].keys) == {VOUCHER_SIGNER.key_id: AT - 5, MESSAGE.key_id: AT}
        assert dict(lists[2].keys) == {VOUCHER_SIGNER.key_id: AT - 5}
        assert clearinghouse.service.keyring.denylist == lists[2]
        assert node.follow(clearinghouse).keyring.denylist == lists[2]

    def test_a_restarted_node_denies_what_its_database_says(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        clearinghouse.suspend(KEY, MESSAGE.key_id.hex())
        node.follow(clearinghouse)
        restarted = node.another_service()
        restarted.directory.load_deny_list()
        assert restarted.keyring.key(MESSAGE.key_id).revoked_from == AT

    def test_nothing_is_taken_from_a_denied_message_key(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        clearinghouse.suspend(KEY, MESSAGE.key_id.hex())
        node.suspend(VOUCHER, voucher(token))
        with pytest.raises(BadSignature, match="suspended or revoked"):
            clearinghouse.learn(node)
        keyring = TestKeyring(KEYRING)
        items = [b"anything"]
        signature = MESSAGE.sign(REQUEST_KIND, batch_digest(items))
        arguments = (Identity(HANGZHOU, "node"), REQUEST_KIND, items, MESSAGE.key_id, signature)
        verify_batch(keyring, *arguments)
        keyring.deny(DenyList(1, AT, keys={MESSAGE.key_id: AT}))
        with pytest.raises(BadSignature, match="suspended or revoked"):
            verify_batch(keyring, *arguments)

    def test_a_forged_deny_list_in_the_feed_is_not_taken(self, node: LocalNode) -> None:
        body = DenyList(1, AT, keys={VOUCHER_SIGNER.key_id: AT}).payload()
        event = custody_pb2.FeedEvent(sequence=1)
        event.deny_list.body, event.deny_list.key_id = body, MESSAGE.key_id
        event.deny_list.signature = MESSAGE.sign("deny-list", body)
        service = node.another_service()
        service.start()
        asyncio.run(service.take_news([event], feed_head()))
        service.close()
        (parked,) = node.rows("parked_event")
        assert "only the message key of clearinghouse" in parked["reason"]
        assert node.rows("deny_list") == []

    @pytest.mark.parametrize(
        ("subject", "problem"),
        [
            ("ff" * 8, "no key"),
            ("hangzhou", "no key"),
            (TestSigner(CLEARINGHOUSE, "message").key_id.hex(), "own key"),
        ],
    )
    def test_only_a_participant_s_key_can_be_suspended(
        self, clearinghouse: LocalClearinghouse, subject: str, problem: str
    ) -> None:
        with pytest.raises(InvalidInput, match=problem):
            clearinghouse.suspend(KEY, subject)

    def test_no_key_is_bad_from_a_time_to_come(self, clearinghouse: LocalClearinghouse) -> None:
        with pytest.raises(InvalidInput, match="in the future"):
            clearinghouse.suspend(KEY, MESSAGE.key_id.hex(), bad_from=AT + 1)
        assert clearinghouse.rows("suspension") == []


class TestWhoMay:
    @pytest.mark.parametrize(
        ("kind", "subject", "problem"),
        [
            (REGION, SHANGHAI, "cannot suspend a region"),
            (KEY, "ab" * 8, "cannot suspend a key"),
            (MERCHANT, "9133", "names no merchant"),
            (MERCHANT, merchant_code(7), "no merchant"),
            (VOUCHER, "ab" * 15 + "/0", "no voucher"),
            (VOUCHER, "lost", "names no voucher"),
            (SuspensionKind.CAMPAIGN, "spring", "paused by its issuer"),
        ],
    )
    def test_a_region_suspends_what_is_its_own_and_there(
        self, node: LocalNode, kind: SuspensionKind, subject: str, problem: str
    ) -> None:
        with pytest.raises(InvalidInput, match=problem):
            node.suspend(kind, subject)
        assert node.rows("suspension") == []

    def test_the_clearinghouse_does_not_believe_one_region_about_another(
        self, clearinghouse: LocalClearinghouse
    ) -> None:
        for subject, problem in ((f"{SHANGHAI}/{'ab' * 15}/0", "is not of 330100"), (SHANGHAI, "names no voucher")):
            suspension = Suspension(HANGZHOU, 1, VOUCHER, subject, True, AT, OPERATOR.uri, "envy")
            signed = sign_suspension(suspension, MESSAGE)
            with pytest.raises(InvalidInput, match=problem):
                clearinghouse.do(clearinghouse.service.publish_suspension(HANGZHOU, signed.message))

    def test_what_somebody_else_signed_or_altered_is_not_believed(self, clearinghouse: LocalClearinghouse) -> None:
        signed = _signed_by_hangzhou(1)
        with pytest.raises(BadSignature):
            clearinghouse.do(clearinghouse.service.publish_suspension(SHANGHAI, signed.message))
        pretended = sign_suspension(signed.suspension._replace(authority=CLEARINGHOUSE), MESSAGE)
        with pytest.raises(BadSignature, match="a suspension of clearinghouse is signed by 330100"):
            clearinghouse.do(clearinghouse.service.publish_suspension(HANGZHOU, pretended.message))
        signed.message.body = signed.message.body.replace(b"lost", b"l0st")
        with pytest.raises(BadSignature):
            clearinghouse.do(clearinghouse.service.publish_suspension(HANGZHOU, signed.message))
        assert clearinghouse.rows("suspension") == []

    def test_numbers_leave_no_gap_and_none_is_said_twice(self, clearinghouse: LocalClearinghouse) -> None:
        publish = clearinghouse.service.publish_suspension
        with pytest.raises(InvalidInput, match="number 2 of 330100 cannot follow 0"):
            clearinghouse.do(publish(HANGZHOU, _signed_by_hangzhou(2).message))
        clearinghouse.do(publish(HANGZHOU, _signed_by_hangzhou(1).message))
        with pytest.raises(InvalidInput, match="something else under number 1"):
            clearinghouse.do(publish(HANGZHOU, _signed_by_hangzhou(1, why="found").message))

    def test_nothing_is_suspended_twice_nor_reactivated_that_is_not_nor_without_a_reason(
        self, node: LocalNode, token: bytes
    ) -> None:
        with pytest.raises(InvalidInput, match=r"并未暂停（330100） · .* is not suspended by 330100"):
            node.suspend(VOUCHER, voucher(token), suspended=False)
        node.suspend(VOUCHER, voucher(token))
        with pytest.raises(InvalidInput, match="is suspended already by 330100"):
            node.suspend(VOUCHER, voucher(token))
        with pytest.raises(InvalidInput, match="why"):
            node.suspend(MERCHANT, merchant_code(), why=" ")

    def test_a_region_that_is_not_enrolled_cannot_be_suspended(self, clearinghouse: LocalClearinghouse) -> None:
        with pytest.raises(InvalidInput, match="320500 尚未接入 · is not enrolled"):
            clearinghouse.suspend(REGION, "320500")


class TestTheList:
    def test_it_tells_what_is_suspended_by_whom_since_when_and_why(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        node.suspend(VOUCHER, voucher(token), why="lost")
        node.suspend(MERCHANT, merchant_code(), why="under inspection")
        node.suspend(MERCHANT, merchant_code(), suspended=False, why="all well")
        node.change(ChangeKind.PAUSE, why="too fast")
        clearinghouse.suspend(REGION, SHANGHAI)
        node.follow(clearinghouse)
        listed = node.ask(lambda operations: operations.suspensions(history=False))
        assert {(each.suspension.subject, each.suspension.why) for each in listed} == {
            (f"{HANGZHOU}/{voucher(token)}", "lost"),
            (f"{HANGZHOU}/spring", "too fast"),
            (SHANGHAI, "as decided"),
        }
        assert {each.suspension.by for each in listed} == {
            OPERATOR.uri,
            "spiffe://clearinghouse.quanlian/operator/test",
        }
        assert all(each.in_force and each.suspension.at == AT for each in listed)
        everything = node.ask(lambda operations: operations.suspensions(history=True))
        assert [each.in_force for each in everything].count(False) == 2, "a merchant suspended, and reactivated"

    def test_a_campaign_resumed_is_not_listed(self, node: LocalNode) -> None:
        node.publish()
        node.change(ChangeKind.PAUSE)
        node.change(ChangeKind.RESUME)
        assert node.ask(lambda operations: operations.suspensions(history=False)) == []
        assert len(node.ask(lambda operations: operations.suspensions(history=True))) == 2


def _signed_by_hangzhou(number: int, why: str = "lost") -> SignedSuspension:
    subject = f"{HANGZHOU}/{'ab' * 15}/0"
    return sign_suspension(Suspension(HANGZHOU, number, VOUCHER, subject, True, AT, OPERATOR.uri, why), MESSAGE)


def test_every_suspension_s_refusal_may_be_tried_again() -> None:
    reasons = ("REGION_SUSPENDED", "CAMPAIGN_SUSPENDED", "VOUCHER_SUSPENDED", "MERCHANT_BLOCKED")
    assert all(Refusal(RefusalReason[name]).retryable for name in reasons)
