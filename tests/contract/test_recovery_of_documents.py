"""A node that is restored from before its own publications has its campaigns, budgets and limits as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from local_parties import (
    HANGZHOU,
    PLATFORM,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    Party,
    campaign,
    item,
    keys_of,
    merchant_code,
    outcome,
    purchase,
)
from restored_network import Network, back_up, restore

from clearinghouse.custody import read_hand_over
from custodian.ledger.check import check_books
from custodian.lineage import RecoveryNeeded
from node.claiming import read_claim
from node.service import NodeService
from quanlian.campaign_changes import ChangeKind
from quanlian.errors import BadSignature, InvalidInput
from quanlian.suspensions import SuspensionKind
from quanlian.v1 import claim_pb2, custody_pb2


@pytest.fixture
def network(node: LocalNode, clearinghouse: LocalClearinghouse, tmp_path: Path) -> Network:
    return Network(node, clearinghouse, tmp_path)


def published(network: Network, kind: ChangeKind, document: bytes = b"") -> None:
    """A change of the spring campaign that the node makes and the clearinghouse hears of."""
    network.node.change(kind, document)
    network.between.pass_on()


def figures(party: Party) -> dict[str, tuple[int, int]]:
    """Limit and reservation of every account that has one."""
    return {
        row["account"]: (row["limit_fen"], row["reserved_fen"])
        for row in party.rows("account")
        if row["limit_fen"] or row["reserved_fen"]
    }


def claim(network: Network, name: str) -> bytes:
    """A pack of a campaign."""
    ids = network.node.ids
    request = claim_pb2.ClaimItem(request_id=ids.fresh(), campaign=name, round="r1", holder_id="holder")
    claimed = read_claim(request.SerializeToString(), PLATFORM, network.node.region.tag_key, ids.fresh(15))
    (answer,) = network.node.decide(claimed)
    return claim_pb2.ClaimAnswer.FromString(answer).token


def what_was_published(party: Party) -> dict[str, Any]:
    tables = ("terms", "campaign_change", "campaign", "announcement", "suspension")
    return {name: party.rows(name) for name in tables}


def check_nothing_is_parked_or_disputed(network: Network, report: Any) -> None:
    assert [(each.id, each.reason) for each in report.disputed] == []
    network.follow()
    network.check()


async def has_more(service: NodeService) -> None:
    """The clearinghouse shows the node that its database is an older copy."""
    with pytest.raises(RecoveryNeeded):
        await service.recovery.compare(custody_pb2.Position(hand_overs=9))


class TestChanges:
    @pytest.mark.parametrize("city", [5000, 3000], ids=["raised", "lowered"])
    def test_an_amended_budget_is_as_it_was(self, network: Network, city: int) -> None:
        copy = back_up(network.node)
        published(network, ChangeKind.AMEND, campaign(city=city))
        before = figures(network.node), what_was_published(network.node)
        restore(network.node, copy)
        report = network.recover_node()
        assert report.changes == 1
        check_nothing_is_parked_or_disputed(network, report)
        assert (figures(network.node), what_was_published(network.node)) == before

    def test_a_pause_and_a_withdrawal_hold_again(self, network: Network) -> None:
        copy = back_up(network.node)
        for kind in (ChangeKind.PAUSE, ChangeKind.RESUME, ChangeKind.WITHDRAW):
            published(network, kind)
        before = what_was_published(network.node)
        restore(network.node, copy)
        report = network.recover_node()
        assert report.changes == 3
        check_nothing_is_parked_or_disputed(network, report)
        assert what_was_published(network.node) == before

    def test_the_next_change_goes_on_from_the_last(self, network: Network) -> None:
        copy = back_up(network.node)
        published(network, ChangeKind.AMEND, campaign(city=5000))
        restore(network.node, copy)
        network.recover_node()
        network.follow()
        with pytest.raises(InvalidInput, match="is the version in force"):
            network.node.change(ChangeKind.AMEND, campaign(city=5000))
        published(network, ChangeKind.AMEND, campaign(city=6000))
        assert [row["number"] for row in network.clearinghouse.rows("campaign_change")] == [1, 2, 3]
        assert network.node.balance("spring/city")[3] == 600_000
        network.follow()
        network.check()

    def test_a_change_that_was_never_announced_is_announced_after_the_recovery(self, network: Network) -> None:
        network.node.change(ChangeKind.PAUSE)
        with network.node.database.transaction() as transaction:
            transaction.update(network.node.tables["announcement"], {"number": 2}, {"announced": False})
        network.between.changes.clear()
        copy = back_up(network.node)
        network.node.claim()
        restore(network.node, copy)
        network.recover_node()
        network.do(lambda service: service.announcements.announce_changes())
        network.between.pass_on()
        assert [row["kind"] for row in network.clearinghouse.rows("campaign_change")] == ["PUBLISH", "PAUSE"]
        network.follow()
        network.check()

    def test_another_change_under_its_number_is_told_to_the_operator(self, network: Network) -> None:
        copy = back_up(network.node)
        published(network, ChangeKind.PAUSE)
        restore(network.node, copy)
        network.between.changes.clear()
        lineage = network.lineage(network.node)
        assert not lineage.begin()
        lineage.renew()
        network.node.change(ChangeKind.WITHDRAW)
        network.do(has_more)
        report = network.recover_node()
        (disputed,) = report.disputed
        assert disputed.id == "变更 change 2 of spring"
        assert "was changed meanwhile" in disputed.reason

    def test_documents_come_in_pages(self, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("clearinghouse.receipts.PAGE", 2)
        copy = back_up(network.node)
        for city in (4100, 4200, 4300):
            published(network, ChangeKind.AMEND, campaign(city=city))
        before = what_was_published(network.node)
        restore(network.node, copy)
        report = network.recover_node()
        assert report.changes == 3
        check_nothing_is_parked_or_disputed(network, report)
        assert what_was_published(network.node) == before

    def test_terms_that_this_region_did_not_sign_are_not_believed(
        self, network: Network, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        copy = back_up(network.node)
        published(network, ChangeKind.AMEND, campaign(city=5000))
        restore(network.node, copy)
        receipts = network.between.receipts

        async def forged(request: custody_pb2.GetReceiptsRequest) -> custody_pb2.GetReceiptsResponse:
            response = await receipts(request)
            for each in response.documents:
                if each.HasField("terms"):
                    each.terms.body = each.terms.body.replace(b"5000", b"9000")
            return response

        monkeypatch.setattr(network.between, "receipts", forged)
        with pytest.raises(BadSignature):
            network.recover_node()
        assert network.node.balance("spring/city")[3] == 400_000


class TestCampaignPublishedAfterTheCopy:
    @pytest.fixture
    def summer(self, network: Network) -> tuple[dict[str, list[dict[str, Any]]], bytes]:
        """The copy, and a pack of a campaign published after it, whose vouchers went to the clearinghouse."""
        copy = back_up(network.node)
        network.node.publish(campaign="summer")
        network.between.pass_on()
        token = claim(network, "summer")
        network.release(*keys_of(token))
        network.follow()
        return copy, token

    def test_its_budget_is_open_and_what_was_given_is_off_it(
        self, network: Network, summer: tuple[dict[str, list[dict[str, Any]]], bytes]
    ) -> None:
        copy, _ = summer
        before = figures(network.node), what_was_published(network.node)
        restore(network.node, copy)
        report = network.recover_node()
        assert (report.changes, report.hand_overs, report.vouchers) == (1, 1, 2)
        check_nothing_is_parked_or_disputed(network, report)
        assert (figures(network.node), what_was_published(network.node)) == before

    def test_the_next_hand_over_has_a_number_of_its_own(
        self, network: Network, summer: tuple[dict[str, list[dict[str, Any]]], bytes]
    ) -> None:
        copy, token = summer
        restore(network.node, copy)
        network.recover_node()
        network.follow()
        (later,) = network.node.claim()
        network.release(*keys_of(later))
        for each in (token, later):
            request = item(network.node.ids.fresh(), redeem=purchase(each, 0, f"order-{each[-4:].hex()}"))
            (answer,) = network.clearinghouse.redeem(request, region=SHANGHAI)
            assert outcome(answer) == "CAPTURED"
        network.follow()
        network.check()

    def test_without_its_terms_its_vouchers_are_away_and_the_operator_is_told(
        self, network: Network, summer: tuple[dict[str, list[dict[str, Any]]], bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        copy, _ = summer
        restore(network.node, copy)
        monkeypatch.setattr("clearinghouse.receipts._documents", lambda *_: [])
        report = network.recover_node()
        (disputed,) = report.disputed
        assert disputed.id == "移交 hand-over 1"
        assert "资金未从出资限额中扣减" in disputed.reason
        assert "not taken off the funders' limits" in disputed.reason
        assert {row["epoch"] for row in network.node.rows("voucher")} == {1}
        (later,) = network.node.claim()
        (message,) = network.node.release(*keys_of(later))
        assert read_hand_over(HANGZHOU, message.hand_over).number == 2
        network.clearinghouse.decide(read_hand_over(HANGZHOU, message.hand_over))
        with network.node.database.snapshot() as transaction:
            found = {(each.row, each.amount_fen) for each in check_books(transaction)}
        account = f"funding/{HANGZHOU}/2026/summer"
        assert found == {(f"{account}/city limit_fen", 1334), (f"{account}/county limit_fen", 666)}

    def test_its_parked_change_is_taken_once_its_terms_can_be_fetched(
        self, network: Network, summer: tuple[dict[str, list[dict[str, Any]]], bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A node whose recovery could not learn them is told them by its feed."""
        copy, _ = summer
        restore(network.node, copy)
        monkeypatch.setattr("clearinghouse.receipts._documents", lambda *_: [])
        network.recover_node()
        network.follow()
        assert network.node.rows("parked_event") == []
        assert network.node.balance("summer/city")[3] == 400_000


class TestSuspensions:
    def test_a_number_is_not_given_out_again(self, network: Network) -> None:
        copy = back_up(network.node)
        network.node.suspend(SuspensionKind.MERCHANT, merchant_code())
        network.between.pass_on()
        before = network.node.rows("suspension")
        restore(network.node, copy)
        report = network.recover_node()
        assert report.suspensions == 1
        assert network.node.rows("suspension") == before
        network.node.suspend(SuspensionKind.MERCHANT, merchant_code(), suspended=False)
        network.between.pass_on()
        check_nothing_is_parked_or_disputed(network, report)
        assert [row["number"] for row in network.clearinghouse.rows("suspension")] == [1, 2]
