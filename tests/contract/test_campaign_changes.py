"""A campaign after its publication: versions, notices, pause and withdrawal, at node and clearinghouse."""

from __future__ import annotations

import asyncio

import pytest
from local_parties import (
    HANGZHOU,
    KEYRING,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    campaign,
    feed_head,
    item,
    outcome,
    purchase,
    refusal_of,
)

from custodian.campaigns import verify_change
from node.custody import overdue
from node.feed import News
from quanlian.campaign_changes import ChangeKind
from quanlian.errors import BadSignature, BooksDoNotBalance, InvalidInput
from quanlian.v1 import custody_pb2

DAY_SECONDS = 86_400
LATER = b'[notice]\ncampaign = "spring"\nvalid_until = 2027-03-01T00:00:00+08:00\n'


def redeemed(node: LocalNode, token: bytes, index: int = 0) -> str:
    request_id = node.ids.fresh()
    (answer,) = node.redeem(item(request_id, redeem=purchase(token, index, f"order-{request_id.hex()}")))
    return outcome(answer)


class TestPublishing:
    def test_publication_is_the_first_change_with_who_and_why(self, node: LocalNode) -> None:
        terms = node.publish()
        (change,) = node.changes()
        assert (change.number, ChangeKind(change.kind)) == (1, ChangeKind.PUBLISH)
        assert change.by == f"spiffe://{HANGZHOU}.quanlian/operator/test"
        assert change.why
        assert change.terms_hash == terms.terms_hash

    def test_the_same_terms_again_change_nothing(self, node: LocalNode) -> None:
        node.publish()
        node.publish()
        assert len(node.changes()) == 1
        assert node.balance("spring/city") == (0, 0, 0, 400_000)

    def test_other_terms_under_the_same_id_are_refused(self, node: LocalNode) -> None:
        node.publish()
        with pytest.raises(InvalidInput, match="published already, with other terms"):
            node.publish(quota=7)


class TestAmending:
    def test_a_new_version_counts_for_vouchers_issued_from_then_on(self, node: LocalNode) -> None:
        old = node.publish()
        (before,) = node.claim()
        made = node.change(ChangeKind.AMEND, campaign(quota=500, city=5000))
        (after,) = node.claim()
        assert made.number == 2
        packs = {row["terms_hash"] for row in node.rows("pack")}
        assert packs == {old.terms_hash, made.terms_hash}
        assert [redeemed(node, before), redeemed(node, after)] == ["CAPTURED", "CAPTURED"]
        node.check_books()

    def test_budgets_move_by_what_they_changed(self, node: LocalNode) -> None:
        node.publish()
        node.claim()
        node.change(ChangeKind.AMEND, campaign(city=5000, county=1000))
        assert node.balance("spring/city") == (0, 1334, 0, 500_000)
        assert node.balance("spring/county") == (0, 666, 0, 100_000)

    def test_a_budget_under_what_is_reserved_is_refused_and_nothing_changes(self, node: LocalNode) -> None:
        node.publish(county=20)
        node.claim(3)
        with pytest.raises(BooksDoNotBalance, match="spring/county"):
            node.change(ChangeKind.AMEND, campaign(county=10))
        assert node.balance("spring/county") == (0, 1998, 0, 2000)
        assert len(node.clearinghouse.changes) == len(node.changes()) == 1

    def test_a_quota_can_be_raised_while_the_round_runs(self, node: LocalNode) -> None:
        node.publish(quota=1)
        first, second = node.decide(node.claim_work("a"), node.claim_work("b"))
        node.change(ChangeKind.AMEND, campaign(quota=2))
        (third,) = node.decide(node.claim_work("b"))
        assert [refusal_of(each) for each in (first, second, third)] == ["", "QUOTA_EXHAUSTED", ""]

    def test_an_outdated_view_is_refused(self, node: LocalNode) -> None:
        published = node.publish()
        node.change(ChangeKind.AMEND, campaign(quota=300))
        with pytest.raises(InvalidInput, match="changed meanwhile: it stands at change 2"):
            node.change(
                ChangeKind.AMEND,
                campaign(quota=400),
                expected_terms_hash=published.terms_hash,
                expected_number=1,
            )
        assert len(node.changes()) == 2

    @pytest.mark.parametrize(
        ("document", "problem"),
        [
            (campaign(campaign="summer"), "not spring of 2026"),
            (campaign(), "is the version in force"),
        ],
    )
    def test_an_amendment_keeps_the_campaign_and_changes_something(
        self, node: LocalNode, document: bytes, problem: str
    ) -> None:
        node.publish()
        with pytest.raises(InvalidInput, match=problem):
            node.change(ChangeKind.AMEND, document)

    @pytest.mark.parametrize("why", ["", " "])
    def test_nobody_changes_a_campaign_without_saying_why(self, node: LocalNode, why: str) -> None:
        node.publish()
        with pytest.raises(InvalidInput, match="why"):
            node.change(ChangeKind.PAUSE, why=why)


class TestNotices:
    def test_a_notice_extends_vouchers_that_are_out(self, node: LocalNode) -> None:
        node.publish()
        noticed, left = node.claim(2)
        assert redeemed(node, noticed) == "CAPTURED"
        node.change(ChangeKind.NOTICE, LATER, why="宏观形势 postponed")
        node.pass_seconds(30 * DAY_SECONDS)
        assert redeemed(node, left) == "CAPTURED"

    def test_without_it_they_expire(self, node: LocalNode) -> None:
        node.publish()
        (token,) = node.claim()
        node.pass_seconds(30 * DAY_SECONDS)
        assert redeemed(node, token) == "EXPIRED"

    def test_a_notice_counts_for_vouchers_claimed_after_it_too(self, node: LocalNode) -> None:
        node.publish()
        node.change(ChangeKind.NOTICE, LATER)
        (token,) = node.claim()
        node.pass_seconds(30 * DAY_SECONDS)
        assert redeemed(node, token) == "CAPTURED"

    def test_the_sweep_leaves_extended_vouchers_their_money(self, node: LocalNode) -> None:
        node.publish()
        (token,) = node.claim()
        node.change(ChangeKind.NOTICE, LATER)
        node.pass_seconds(30 * DAY_SECONDS)
        for _ in range(2):
            with node.database.snapshot() as transaction:
                found = overdue(transaction, HANGZHOU, 100)
            node.decide(found)
        assert not found.vouchers
        assert node.balance("spring/city") == (0, 1334, 0, 400_000)
        assert redeemed(node, token, 1) == "CAPTURED"

    @pytest.mark.parametrize(
        ("notice", "problem"),
        [
            (LATER.replace(b"2027-03", b"2026-06"), "postpones no pack's end"),
            (LATER.replace(b"2027-03", b"2026-05"), "is past"),
            (LATER.replace(b"spring", b"summer"), "is for summer"),
            (LATER + b'channels = ["shop"]\n', "holders have that already"),
            (LATER + b"minimum_spend = 50.00\n", "minimum_spend"),
            (b'[notice]\ncampaign = "spring"\n', "gives holders nothing"),
        ],
    )
    def test_a_notice_that_gives_nothing_or_takes_away_is_refused(
        self, node: LocalNode, notice: bytes, problem: str
    ) -> None:
        node.publish()
        with pytest.raises(InvalidInput, match=problem):
            node.change(ChangeKind.NOTICE, notice)
        assert len(node.changes()) == 1

    def test_a_notice_takes_back_nothing_that_an_earlier_one_gave(self, node: LocalNode) -> None:
        node.publish()
        node.change(ChangeKind.NOTICE, LATER)
        with pytest.raises(InvalidInput, match="postpones no pack's end"):
            node.change(ChangeKind.NOTICE, LATER.replace(b"2027-03", b"2027-02"))
        assert len(node.changes()) == 2


class TestPauseAndWithdrawal:
    def test_a_paused_campaign_gives_and_takes_no_vouchers_until_resumed(self, node: LocalNode) -> None:
        node.publish()
        first, second = node.claim(2)
        assert redeemed(node, first) == "CAPTURED"
        node.change(ChangeKind.PAUSE)
        (claim,) = node.decide(node.claim_work("later"))
        assert refusal_of(claim) == "CAMPAIGN_SUSPENDED"
        assert redeemed(node, second) == "CAMPAIGN_SUSPENDED"
        node.change(ChangeKind.RESUME)
        assert redeemed(node, second) == "CAPTURED"

    def test_after_withdrawal_nothing_is_issued_and_vouchers_out_stay_good(self, node: LocalNode) -> None:
        node.publish()
        (token,) = node.claim()
        node.change(ChangeKind.WITHDRAW)
        (claim,) = node.decide(node.claim_work("later"))
        assert refusal_of(claim) == "CAMPAIGN_SUSPENDED"
        assert redeemed(node, token) == "CAPTURED"

    def test_steps_that_the_state_does_not_allow_are_refused(self, node: LocalNode) -> None:
        node.publish()
        with pytest.raises(InvalidInput, match="is not paused"):
            node.change(ChangeKind.RESUME)
        node.change(ChangeKind.WITHDRAW)
        with pytest.raises(InvalidInput, match="is withdrawn"):
            node.change(ChangeKind.AMEND, campaign(quota=9))


class TestTheNetwork:
    def test_the_clearinghouse_tells_every_region(self, node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
        node.publish()
        clearinghouse.learn(node)
        for change in node.clearinghouse.changes:
            asyncio.run(clearinghouse.service.publish_change(HANGZHOU, change))
            asyncio.run(clearinghouse.service.publish_change(HANGZHOU, change))
        told = [custody_pb2.FeedEvent.FromString(row["event"]) for row in clearinghouse.rows("feed")]
        assert {row["region"] for row in clearinghouse.rows("feed")} == {HANGZHOU, SHANGHAI}
        assert [event.campaign_change.body for event in told] == [node.clearinghouse.changes[0].body] * 2

    def test_only_the_issuer_changes_its_campaign(self, node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
        node.publish()
        clearinghouse.learn(node)
        with pytest.raises(InvalidInput, match=f"is a change of {HANGZHOU}"):
            asyncio.run(clearinghouse.service.publish_change(SHANGHAI, node.clearinghouse.changes[0]))

    def test_an_altered_change_is_noticed(self, node: LocalNode) -> None:
        node.publish()
        message = node.clearinghouse.changes[0]
        message.body = message.body.replace(b"spring", b"sprinG")
        with pytest.raises(BadSignature):
            verify_change(message, KEYRING)

    def test_the_feed_brings_a_node_its_own_change_again_and_it_counts_once(self, node: LocalNode) -> None:
        node.publish()
        signed = verify_change(node.clearinghouse.changes[0], KEYRING)
        event = custody_pb2.FeedEvent(sequence=1, campaign_change=signed.message)
        node.decide(News([event], feed_head(), {1: signed}))
        assert len(node.changes()) == 1
        assert node.balance("spring/city") == (0, 0, 0, 400_000)
