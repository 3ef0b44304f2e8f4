"""In a recovery a region's word decides about its own vouchers and redemptions alone; nothing that it says ends it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from local_parties import (
    HANGZHOU,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    TestSigner,
    answer_of,
    campaign,
    item,
    keys_of,
    outcome,
    purchase,
)
from restored_network import CLEARING_KEY, NODE_KEY, Network, back_up, in_english, restore

from custodian.servicer import sign_answers, sign_items
from custodian.withdrawals import sign_withdrawal
from node.service import NodeService
from quanlian.v1 import custody_pb2, recovery_pb2, signed_pb2
from quanlian.v1 import redemption_pb2 as pb

MINUTE = 60
Copy = dict[str, list[dict[str, Any]]]


@pytest.fixture
def network(node: LocalNode, clearinghouse: LocalClearinghouse, tmp_path: Path) -> Network:
    return Network(node, clearinghouse, tmp_path)


def released(network: Network) -> bytes:
    (token,) = network.node.claim()
    network.release(*keys_of(token))
    return token


def redeemed_and_lost(network: Network) -> tuple[bytes, pb.Posting]:
    """Hangzhou's own voucher at its own merchant; the clearinghouse is then an older copy."""
    token = released(network)
    copy = back_up(network.clearinghouse)
    (answer,) = network.redeem(item(network.node.ids.fresh(), redeem=purchase(token, 0, "order")))
    network.follow()
    restore(network.clearinghouse, copy)
    return token, posting_of(network, answer)


def posting_of(network: Network, answer: bytes) -> pb.Posting:
    """With the id of the node's own request."""
    posting = answer_of(answer).posting
    posting.request_id = network.node.rows("outbox")[-1]["own_id"]
    return posting


def shanghai_says(network: Network, *receipts: custody_pb2.Receipt) -> recovery_pb2.RecoveryReport:
    async def run(service: NodeService) -> recovery_pb2.RecoveryReport:
        complete = custody_pb2.HandReceiptsRequest(receipts=receipts, complete=True)
        await network.clearinghouse.service.recovery.hand_receipts(SHANGHAI, complete)
        await service.recovery.hand_receipts()
        return await network.clearinghouse.service.recover(())

    return network.do(run)


def stands(network: Network, posting: pb.Posting) -> bool:
    """At both parties."""
    at_node = {row["redemption_id"] for row in network.node.rows("clearing_item")}
    at_clearinghouse = {row["redemption_id"] for row in network.clearinghouse.rows("spend")}
    assert at_node == at_clearinghouse
    return posting.redemption_id in at_node


def reasons(report: recovery_pb2.RecoveryReport) -> list[tuple[str, str]]:
    return [(each.region, in_english(each.reason)) for each in report.disputed]


class TestWithdrawals:
    def test_one_that_the_clearinghouse_did_not_sign_is_not_believed(self, network: Network) -> None:
        _, posting = redeemed_and_lost(network)
        forged = sign_withdrawal(posting, 2, posting.at, "", NODE_KEY)
        report = shanghai_says(network, custody_pb2.Receipt(at=1, withdrawn=forged))
        network.follow()
        assert reasons(report) == [(SHANGHAI, f"a withdrawal is signed by {HANGZHOU}'s key for message")]
        assert stands(network, posting)
        network.check()

    def test_one_is_not_taken_from_a_region_that_it_does_not_concern(self, network: Network) -> None:
        _, posting = redeemed_and_lost(network)
        true = sign_withdrawal(posting, 2, posting.at, "", CLEARING_KEY)
        report = shanghai_says(network, custody_pb2.Receipt(at=1, withdrawn=true))
        network.follow()
        assert reasons(report) == [(SHANGHAI, f"a withdrawal of {HANGZHOU}'s voucher is not {SHANGHAI}'s to hand over")]
        assert stands(network, posting)

    def test_a_refund_that_got_the_number_of_one_that_was_taken_back_is_not_taken_back(self, network: Network) -> None:
        token = released(network)
        captured = answer_of(network.redeem(item(network.node.ids.fresh(), redeem=purchase(token, 0, "order")))[0])
        network.follow()
        copy = back_up(network.clearinghouse)
        refund = pb.Refund(redemption_id=captured.redemption_id, order_fen=captured.order_fen // 2)
        network.redeem(item(network.node.ids.fresh(), refund=refund))
        network.follow()
        recover_without_its_request(network, copy, "refund")
        for party in (network.node, network.clearinghouse):
            party.pass_seconds(MINUTE)
        (again,) = network.redeem(item(network.node.ids.fresh(), refund=refund))
        network.follow()
        assert (outcome(again), answer_of(again).posting.number) == ("PARTLY_REFUNDED", 2)
        before = money(network)
        told_again = [(HANGZHOU, "was taken back by a recovery before this one")]
        for copied, disputed in ((back_up(network.clearinghouse), []), (copy, told_again)):
            network.release(*keys_of(network.node.claim()[0]))
            restore(network.clearinghouse, copied)
            assert reasons(network.recover_clearinghouse(SHANGHAI)) == disputed
            network.follow()
            assert money(network) == before
        network.check()

    def test_a_copy_that_still_has_what_was_taken_back_since_is_told(self, network: Network) -> None:
        """Of two copies the older one was recovered from first."""
        token = released(network)
        older = back_up(network.clearinghouse)
        network.redeem(item(network.node.ids.fresh(), redeem=purchase(token, 0, "order")))
        network.follow()
        later = back_up(network.clearinghouse)
        recover_without_its_request(network, older, "redeem")
        restore(network.clearinghouse, later)
        (told,) = network.recover_clearinghouse(SHANGHAI).disputed
        assert in_english(told.reason).startswith("stands in this copy, and was taken back since")


def recover_without_its_request(network: Network, copy: Copy, operation: str) -> None:
    """The node shows another request than was answered, so that the answer is not booked."""
    (sent,) = [row for row in network.node.rows("outbox") if row["operation"] == operation]
    table = network.node.tables["outbox"]
    with network.node.database.transaction() as transaction:
        other = item(network.node.ids.fresh(), void=pb.Void(redemption_id=bytes(16)))
        transaction.upsert(table, [{**sent, "content": other}])
    restore(network.clearinghouse, copy)
    assert [why for _, why in reasons(network.recover_clearinghouse(SHANGHAI))][:1] == [
        "the answer is to another request"
    ]
    network.follow()
    with network.node.database.transaction() as transaction:
        transaction.upsert(table, [sent])


def money(network: Network) -> list[dict[str, int]]:
    return [
        {row["account"]: row["posted_fen"] for row in party.rows("account") if row["posted_fen"]}
        for party in (network.node, network.clearinghouse)
    ]


class TestOthersPostings:
    def test_what_another_region_says_of_a_voucher_does_not_kill_it(self, network: Network) -> None:
        token, _ = redeemed_and_lost(network)
        key = keys_of(token)[1]
        lie = pb.Posting(
            redemption_id=b"x" * 16, number=1, issuer=HANGZHOU, pack_id=key.pack_id, index=key.voucher_index
        )
        report = shanghai_says(network, custody_pb2.Receipt(at=1, told=lie))
        assert reasons(report) == [(SHANGHAI, f"is of {HANGZHOU}'s vouchers")]
        (answer,) = network.redeem(item(network.node.ids.fresh(), redeem=purchase(token, 1, "another-order")))
        assert outcome(answer) == "CAPTURED"

    def test_another_region_s_answer_is_not_its_to_show_with_another_request(self, network: Network) -> None:
        _, posting = redeemed_and_lost(network)
        (sent,) = network.node.rows("outbox")
        answer = answer_of_outbox(network)
        other = item(sent["own_id"], void=pb.Void(redemption_id=bytes(16)))
        report = shanghai_says(network, shown(other, answer, SHANGHAI))
        network.follow()
        assert reasons(report) == [(SHANGHAI, f"is {HANGZHOU}'s to hand over")]
        assert stands(network, posting)

    def test_an_issuer_that_was_told_otherwise_than_the_books_say_takes_nothing_from_the_redeemer(
        self, network: Network
    ) -> None:
        token = released(network)
        (answer,) = network.redeem(item(network.node.ids.fresh(), redeem=purchase(token, 0, "order")))
        network.follow()
        copy = back_up(network.clearinghouse)
        released(network)
        table = network.node.tables["clearing_item"]
        key = {"side": "funder", "redemption_id": answer_of(answer).redemption_id, "number": 1}
        with network.node.database.transaction() as transaction:
            transaction.update(table, key, {"discount_fen": 1})
        restore(network.clearinghouse, copy)
        report = network.recover_clearinghouse(SHANGHAI)
        assert reasons(report) == [(HANGZHOU, "is posted otherwise in these books than it was told")]
        network.follow()
        assert stands(network, answer_of(answer).posting)
        assert network.node.rows("withdrawn_posting") == []

    def test_terms_of_another_issuer_are_not_kept(self, network: Network) -> None:
        redeemed_and_lost(network)
        key, service = TestSigner(SHANGHAI, "terms"), network.clearinghouse.service
        service.keyring[key.key_id] = key.certified  # type: ignore[index]
        body = campaign(campaign="forged", issuer=HANGZHOU)
        message = signed_pb2.SignedMessage(body=body, key_id=key.key_id, signature=key.sign("terms", body))
        ((region, reason),) = reasons(shanghai_says(network, custody_pb2.Receipt(terms=message)))
        assert (region, f"is a campaign of {HANGZHOU}" in reason) == (SHANGHAI, True)
        assert [row["campaign"] for row in network.clearinghouse.rows("terms")] == ["spring"]


UNREADABLE = [
    custody_pb2.Receipt(at=1, told=pb.Posting(redemption_id=b"x" * 16, number=1, issuer="")),
    custody_pb2.Receipt(at=1, told=pb.Posting(redemption_id=b"x", number=1, issuer=SHANGHAI, index=99)),
    custody_pb2.Receipt(at=1, answered=custody_pb2.AnsweredItem(item=b"x", answer=b"\xff\xff\xff")),
    custody_pb2.Receipt(at=1, answered=custody_pb2.AnsweredItem(hashes=b"12345")),
    custody_pb2.Receipt(at=1, hand_over=signed_pb2.SignedMessage(body=b"\xff", signature=b"1")),
    custody_pb2.Receipt(at=1, custody_return=signed_pb2.SignedMessage(body=b"\xff", signature=b"2")),
    custody_pb2.Receipt(at=1, deny_list=signed_pb2.SignedMessage(body=b"[]", signature=b"3")),
    custody_pb2.Receipt(at=1, change=signed_pb2.SignedMessage(body=b"\xff", signature=b"4")),
    custody_pb2.Receipt(at=1, suspension=signed_pb2.SignedMessage(body=b"\xff", signature=b"5")),
    custody_pb2.Receipt(at=1, withdrawn=signed_pb2.SignedMessage(body=b"\xff", signature=b"6")),
    custody_pb2.Receipt(at=1),
]
"""Each with something that was once an error of the recovery, or of its intake."""


def test_what_cannot_be_read_is_refused_one_by_one_and_ends_no_recovery(network: Network) -> None:
    _, posting = redeemed_and_lost(network)
    report = shanghai_says(network, *UNREADABLE, *UNREADABLE)
    assert [region for region, _ in reasons(report)] == [SHANGHAI] * len(UNREADABLE)
    assert all(reason for _, reason in reasons(report))
    network.follow()
    assert stands(network, posting)
    network.check()


class TestStaleReceipts:
    def test_those_that_a_backup_brings_along_are_not_those_of_the_next_recovery(self, network: Network) -> None:
        """A copy is made while the clearinghouse waits for its operator, and is restored an hour later."""
        token = released(network)
        copy = back_up(network.clearinghouse)
        released(network)
        restore(network.clearinghouse, copy)
        safety = self.made_while_receipts_wait(network)
        network.do(lambda service: network.clearinghouse.service.recover(()))
        network.follow()
        (answer,) = network.redeem(item(network.node.ids.fresh(), redeem=purchase(token, 0, "order")))
        network.follow()
        restore(network.clearinghouse, safety)
        report = network.recover_clearinghouse(SHANGHAI)
        assert (report.answers, reasons(report)) == (1, [])
        network.follow()
        assert stands(network, answer_of(answer).posting)
        (twice,) = network.clearinghouse.redeem(item(network.node.ids.fresh(), redeem=purchase(token, 0, "order-2")))
        assert outcome(twice) == "ALREADY_REDEEMED"
        network.check()

    def made_while_receipts_wait(self, network: Network) -> Copy:
        async def hand(service: NodeService) -> None:
            complete = custody_pb2.HandReceiptsRequest(complete=True)
            await network.clearinghouse.service.recovery.hand_receipts(SHANGHAI, complete)
            await service.recovery.hand_receipts()

        network.do(hand)
        copy = back_up(network.clearinghouse)
        assert {row["region"] for row in copy["receipts_complete"]} == {HANGZHOU, SHANGHAI}
        return copy


class TestTellingBothSides:
    def test_a_redeeming_node_that_was_not_waited_for_is_told_too(self, network: Network) -> None:
        """Shanghai's node is down during the recovery, and holds the answer."""
        token = released(network)
        copy = back_up(network.clearinghouse)
        content = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))
        network.clearinghouse.redeem(content, region=SHANGHAI)
        network.follow()
        restore(network.clearinghouse, copy)
        assert len(network.recover_clearinghouse(SHANGHAI).disputed) == 1
        network.follow()
        (row,) = network.node.rows("withdrawn_posting")
        told = [each for each in network.clearinghouse.feed(SHANGHAI) if each.HasField("withdrawn")]
        assert [each.withdrawn.body for each in told] == [row["body"]]

    def test_an_issuer_whose_redeemer_shows_what_cannot_be_booked_is_told_too(self, network: Network) -> None:
        """Issuer and clearinghouse forgot that the voucher was given."""
        (token,) = network.node.claim()
        copies = [(party, back_up(party)) for party in (network.node, network.clearinghouse)]
        network.release(*keys_of(token))
        content = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))
        (answer,) = network.clearinghouse.redeem(content, region=SHANGHAI)
        for party, copy in copies:
            restore(party, copy)
        assert reasons(shanghai_says(network, shown(content, answer, SHANGHAI))) == [
            (SHANGHAI, "its voucher or redemption is not in custody here")
        ]
        for region in (HANGZHOU, SHANGHAI):
            told = [each for each in network.clearinghouse.feed(region) if each.HasField("withdrawn")]
            assert len(told) == 1, region


def answer_of_outbox(network: Network) -> bytes:
    """The clearinghouse's answer as the node keeps it."""
    (sent,) = network.node.rows("outbox")
    (batch,) = [row for row in network.node.rows("signed_batch") if row["id"] == sent["answer_batch"]]
    (answer,) = pb.RedeemStreamRequest.FromString(batch["items"]).items
    return bytes(answer)


def shown(content: bytes, answer: bytes, region: str) -> custody_pb2.Receipt:
    told, sent = sign_answers([answer], CLEARING_KEY), sign_items([content], TestSigner(region, "message"))
    answered = custody_pb2.AnsweredItem(
        item=content,
        answer=answer,
        hashes=hashlib.sha256(answer).digest(),
        key_id=told.key_id,
        signature=told.signature,
        item_key_id=sent.key_id,
        item_signature=sent.signature,
    )
    return custody_pb2.Receipt(at=answer_of(answer).decided_at, answered=answered)
