"""What a restored clearinghouse signed stands as it was signed, whatever its documents say today."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import local_parties
import pytest
from local_parties import (
    AGREEMENT,
    HANGZHOU,
    OPERATOR,
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
from restored_network import CLEARING_KEY, Network, back_up, in_english, restore

from custodian.servicer import sign_answers, sign_items
from node.cancelling import Cancel
from node.service import NodeService
from quanlian.campaign_changes import ChangeKind
from quanlian.suspensions import SuspensionKind
from quanlian.v1 import clearing_operator_pb2, custody_pb2, recovery_pb2
from quanlian.v1 import redemption_pb2 as pb

HEFEI = "340100"
NEW_YEAR = 1_798_732_800
"""2027-01-01 in China."""
MINUTE = 60


@pytest.fixture
def network(node: LocalNode, clearinghouse: LocalClearinghouse, tmp_path: Path) -> Network:
    return Network(node, clearinghouse, tmp_path)


def pass_seconds(network: Network, seconds: int) -> None:
    for party in (network.node, network.clearinghouse):
        party.pass_seconds(seconds)


def released(network: Network) -> bytes:
    (token,) = network.node.claim()
    network.release(*keys_of(token))
    return token


def redeemed(network: Network, token: bytes, region: str = SHANGHAI) -> custody_pb2.Receipt:
    """A voucher used in a region whose node is not here, and what that node holds of the answer."""
    return answered(network, item(network.node.ids.fresh(), redeem=purchase(token, 0, "order")), region)


def answered(network: Network, content: bytes, region: str = SHANGHAI) -> custody_pb2.Receipt:
    (answer,) = network.clearinghouse.redeem(content, region=region)
    assert not answer_of(answer).HasField("refusal"), outcome(answer)
    network.follow()
    told, sent = sign_answers([answer], CLEARING_KEY), sign_items([content], TestSigner(region, "message"))
    shown = custody_pb2.AnsweredItem(
        item=content,
        answer=answer,
        hashes=hashlib.sha256(answer).digest(),
        key_id=told.key_id,
        signature=told.signature,
        item_key_id=sent.key_id,
        item_signature=sent.signature,
    )
    return custody_pb2.Receipt(at=answer_of(answer).decided_at, answered=shown)


def recover(
    network: Network, *receipts: custody_pb2.Receipt, hefeis: bool = False, dispute_lacking: bool = False
) -> recovery_pb2.RecoveryReport:
    """Shanghai (or Hefei beside it) hands over its receipts, Hangzhou's node its own."""

    async def run(service: NodeService) -> recovery_pb2.RecoveryReport:
        recovery = network.clearinghouse.service.recovery
        complete = custody_pb2.HandReceiptsRequest(receipts=receipts, complete=True)
        if hefeis:
            await recovery.hand_receipts(HEFEI, complete)
            complete = custody_pb2.HandReceiptsRequest(complete=True)
        await recovery.hand_receipts(SHANGHAI, complete)
        await service.recovery.hand_receipts()
        report = await network.clearinghouse.service.recover((), dispute_lacking)
        assert report is not None
        return report

    return network.do(run)


def figures(network: Network) -> list[Any]:
    """What stands at both parties: accounts, captures, postings."""
    accounts = [
        {row["account"]: row["posted_fen"] for row in party.rows("account") if row["posted_fen"]}
        for party in (network.node, network.clearinghouse)
    ]
    postings = [(row["redemption_id"], row["number"], row["legs"]) for row in network.clearinghouse.rows("posting")]
    captured = [row["redemption_id"] for row in network.clearinghouse.rows("spend")]
    return [*accounts, captured, postings, [row["redemption_id"] for row in network.node.rows("clearing_item")]]


def require_stands(network: Network, before: list[Any], report: recovery_pb2.RecoveryReport) -> None:
    assert [each.reason for each in report.disputed] == []
    network.follow()
    assert figures(network) == before
    network.check()


def set_fund(network: Network, region: str, *names: str, year: int = 2026) -> None:
    funders = [clearing_operator_pb2.VisitorsFunder(name=each, weight=1, budget_fen=100_000) for each in names]
    request = clearing_operator_pb2.SetVisitorsFundRequest(
        region=region, fiscal_year=year, rule="refuse", funders=funders
    )
    asyncio.run(network.clearinghouse.service.operations.set_visitors_fund(request))


def enrol(network: Network, region: str) -> None:
    operations = network.clearinghouse.service.operations
    named = clearing_operator_pb2.EnrolParticipantRequest(region=region, name_zh="合肥", name_en="Hefei")
    asyncio.run(operations.enrol(named))
    limits = clearing_operator_pb2.SetLimitsRequest(region=region, net_debit_cap_fen=10**7)
    asyncio.run(operations.set_limits(limits))


def test_a_capture_stands_though_its_campaign_was_paused_after_it(network: Network) -> None:
    token = released(network)
    copy = back_up(network.clearinghouse)
    receipt = redeemed(network, token)
    pass_seconds(network, 10 * MINUTE)
    network.node.change(ChangeKind.PAUSE)
    network.clearinghouse.learn(network.node)
    network.follow()
    before = figures(network)
    restore(network.clearinghouse, copy)
    require_stands(network, before, recover(network, receipt))
    other = item(network.node.ids.fresh(), redeem=purchase(token, 1, "another-order"))
    assert outcome(network.clearinghouse.redeem(other)[0]) == "CAMPAIGN_SUSPENDED"


def test_a_capture_that_nobody_heard_the_answer_of_stands_though_its_campaign_was_paused_after_it(
    network: Network,
) -> None:
    token = released(network)
    copy = back_up(network.clearinghouse)
    content = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))
    (forwarded,) = network.node.decide(network.node.intake(content))
    (answer,) = network.clearinghouse.redeem(forwarded.content, region=HANGZHOU)
    pass_seconds(network, MINUTE)
    network.node.change(ChangeKind.PAUSE)
    network.clearinghouse.learn(network.node)
    network.follow()
    restore(network.clearinghouse, copy)
    assert not network.recover_clearinghouse(SHANGHAI).disputed
    (again,) = network.redeem(content)
    assert answer_of(again).redemption_id == answer_of(answer).redemption_id
    network.check()


def test_a_capture_stands_though_the_voucher_was_suspended_before_it_and_the_clearinghouse_had_not_heard(
    network: Network,
) -> None:
    token = released(network)
    copy = back_up(network.clearinghouse)
    key = keys_of(token)[0]
    network.node.suspend(SuspensionKind.VOUCHER, f"{key.pack_id.hex()}/{key.voucher_index}")
    pass_seconds(network, MINUTE)
    receipt = redeemed(network, token)
    before = figures(network)
    restore(network.clearinghouse, copy)
    report = recover(network, receipt)
    assert report.suspensions == 1
    require_stands(network, before, report)


def test_a_capture_stands_by_the_agreement_that_split_it_though_that_was_signed_after_the_copy(
    network: Network,
) -> None:
    token = released(network)
    copy = back_up(network.clearinghouse)
    document = AGREEMENT.replace(b"version = 1", b"version = 2").replace(b"issuer = 70", b"issuer = 60")
    document = document.replace(b"redeemer = 30", b"redeemer = 40").replace(b"2020-01-01", b"2026-01-01")
    sign = network.clearinghouse.service.agreements.sign_agreement
    network.clearinghouse.do(sign(document, "test.toml", proposes=True))
    pass_seconds(network, 1)
    receipt = redeemed(network, token)
    answer = answer_of(receipt.answered.answer)
    assert (answer.agreement, answer.legs[-1].amount_fen) == ("TEST v2", 400)
    before = figures(network)
    restore(network.clearinghouse, copy)
    pass_seconds(network, MINUTE)
    network.clearinghouse.do(sign(document, "test.toml", proposes=True))
    require_stands(network, before, recover(network, receipt))
    (booked,) = network.clearinghouse.rows("redemption")
    assert booked["agreement"] == "TEST v2"
    refund = pb.Refund(redemption_id=answer.redemption_id, order_fen=answer.order_fen)
    assert outcome(network.clearinghouse.redeem(item(bytes(16), refund=refund))[0]) == "REFUNDED"


class TestVisitorsFund:
    def redeemed_by_two(self, network: Network) -> tuple[custody_pb2.Receipt, list[Any]]:
        """Two funders where the copy has one."""
        token = released(network)
        copy = back_up(network.clearinghouse)
        set_fund(network, SHANGHAI, "city", "county")
        receipt = redeemed(network, token)
        before = figures(network)
        restore(network.clearinghouse, copy)
        return receipt, before

    def test_a_capture_stands_once_the_operator_has_set_the_fund_again(self, network: Network) -> None:
        receipt, before = self.redeemed_by_two(network)
        set_fund(network, SHANGHAI, "city", "county")
        require_stands(network, before, recover(network, receipt))

    def test_without_the_money_it_is_disputed_by_the_name_of_who_lacks_it(self, network: Network) -> None:
        receipt, _ = self.redeemed_by_two(network)
        first, _ = recover(network, receipt, dispute_lacking=True).disputed
        assert (first.region, "visitors/county" in first.reason, "limit 0" in first.reason) == (SHANGHAI, True, True)
        network.follow()
        assert network.clearinghouse.rows("spend") == network.node.rows("clearing_item") == []
        network.check()


@pytest.mark.parametrize("minutes", [-5, 5])
def test_a_capture_of_the_old_year_stands_in_the_new_one(
    node: LocalNode, clearinghouse: LocalClearinghouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    longer = local_parties.TERMS.replace("ends_at = 2027-01-01", "ends_at = 2027-06-01")
    monkeypatch.setattr(local_parties, "TERMS", longer.replace("closes_at = 2026-12-01", "closes_at = 2027-01-15"))
    network = Network(node, clearinghouse, tmp_path)
    pass_seconds(network, NEW_YEAR - 60 * MINUTE - node.database.at)
    token = released(network)
    set_fund(network, SHANGHAI, "city", year=2027)
    copy = back_up(clearinghouse)
    pass_seconds(network, 50 * MINUTE)
    receipt = redeemed(network, token)
    before = figures(network)
    pass_seconds(network, (10 + minutes) * MINUTE)
    restore(clearinghouse, copy)
    require_stands(network, before, recover(network, receipt))


class TestRegionEnrolledAfterTheCopy:
    def redeemed_in_hefei(self, network: Network) -> tuple[custody_pb2.Receipt, list[Any]]:
        token = released(network)
        copy = back_up(network.clearinghouse)
        enrol(network, HEFEI)
        set_fund(network, HEFEI, "city")
        receipt = redeemed(network, token, HEFEI)
        before = figures(network)
        restore(network.clearinghouse, copy)
        return receipt, before

    def test_its_captures_stand_once_it_is_enrolled_again(self, network: Network) -> None:
        receipt, before = self.redeemed_in_hefei(network)
        enrol(network, HEFEI)
        set_fund(network, HEFEI, "city")
        require_stands(network, before, recover(network, receipt, hefeis=True))

    def test_the_recovery_ends_without_it_and_says_what_it_could_not_take(self, network: Network) -> None:
        receipt, _ = self.redeemed_in_hefei(network)
        report = recover(network, receipt, hefeis=True, dispute_lacking=True)
        assert [(each.region, "is not enrolled" in each.reason) for each in report.disputed] == [
            (HEFEI, True),
            (HANGZHOU, False),
        ]
        network.follow()
        assert network.node.rows("clearing_item") == []
        network.check()


def test_hold_capture_and_refunds_come_out_as_they_were(network: Network) -> None:
    token = released(network)
    copy = back_up(network.clearinghouse)
    fresh = network.node.ids.fresh
    receipts = [answered(network, item(fresh(), authorize=purchase(token, 0, "order")))]
    redemption_id = answer_of(receipts[0].answered.answer).redemption_id
    for operation in (
        {"capture": pb.Capture(redemption_id=redemption_id, order_fen=5000)},
        {"refund": pb.Refund(redemption_id=redemption_id, order_fen=1700)},
        {"refund": pb.Refund(redemption_id=redemption_id, order_fen=1300)},
    ):
        pass_seconds(network, MINUTE)
        receipts.append(answered(network, item(fresh(), **operation)))
    asked = item(fresh(), authorize=purchase(token, 1, "order-held"))
    receipts.append(answered(network, asked))
    reverse = item(fresh(), reverse=pb.Reverse(original_request_id=wire_id(asked)))
    receipts.append(answered(network, reverse))
    before, rows = figures(network), network.clearinghouse.rows("redemption")
    restore(network.clearinghouse, copy)
    pass_seconds(network, 60 * MINUTE)
    report = recover(network, *reversed(receipts))
    assert report.answers == len(receipts)
    require_stands(network, before, report)
    assert as_told(network.clearinghouse.rows("redemption")) == as_told(rows)


def test_a_reversed_request_that_comes_after_the_recovery_still_changes_nothing(network: Network) -> None:
    token = released(network)
    copy = back_up(network.clearinghouse)
    late = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))
    reverse = item(network.node.ids.fresh(), reverse=pb.Reverse(original_request_id=wire_id(late)))
    receipt = answered(network, reverse)
    restore(network.clearinghouse, copy)
    assert not recover(network, receipt).disputed
    assert outcome(network.clearinghouse.redeem(late)[0]) == "REVERSED"


def test_what_was_handed_over_within_a_budget_that_was_lowered_since_is_learned(network: Network) -> None:
    copy = back_up(network.clearinghouse)
    tokens = [released(network) for _ in range(3)]
    given_back = [key for token in tokens[1:] for key in keys_of(token)]
    network.do(lambda service: service.recall(given_back))
    network.node.decide(*(Cancel(key, OPERATOR.uri, "issued by mistake") for key in given_back))
    receipt = redeemed(network, tokens[0])
    network.node.change(ChangeKind.AMEND, campaign(city=20))
    network.clearinghouse.learn(network.node)
    network.follow()
    before = figures(network)
    restore(network.clearinghouse, copy)
    report = recover(network, receipt)
    assert report.hand_overs == len(tokens)
    require_stands(network, before, report)


def test_a_second_capture_of_a_voucher_is_disputed_and_the_first_stands(network: Network) -> None:
    token = released(network)
    copy = back_up(network.clearinghouse)
    receipt = redeemed(network, token)
    restore(network.clearinghouse, copy)
    pass_seconds(network, MINUTE)
    again = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order-of-a-life-that-nobody-noticed"))
    second = answered(network, again)
    restore(network.clearinghouse, copy)
    report = recover(network, receipt, second)
    assert "its voucher is captured" in [in_english(each.reason) for each in report.disputed]
    (spent,) = network.clearinghouse.rows("spend")
    assert spent["redemption_id"] == answer_of(receipt.answered.answer).redemption_id


def wire_id(content: bytes) -> bytes:
    return pb.RedemptionItem.FromString(content).request_id


def as_told(rows: Any) -> list[dict[str, Any]]:
    """Without what no answer tells."""
    names = ("seal", "number", "acquirer")
    return [{name: value for name, value in row.items() if name not in names} for row in rows]
