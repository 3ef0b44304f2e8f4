"""A clearinghouse is restored from before an answer that only one of the two nodes that it concerns still knows of."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from local_parties import (
    HANGZHOU,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    TestSigner,
    answer_of,
    item,
    keys_of,
    outcome,
    purchase,
)
from restored_network import CLEARING_KEY, Network, back_up, in_english, restore

from custodian.servicer import sign_answers, sign_items
from node.service import NodeService
from quanlian.v1 import custody_pb2, recovery_pb2
from quanlian.v1 import redemption_pb2 as pb

HOLD_SECONDS = 900


@pytest.fixture
def network(node: LocalNode, clearinghouse: LocalClearinghouse, tmp_path: Path) -> Network:
    return Network(node, clearinghouse, tmp_path)


def released(network: Network) -> bytes:
    (token,) = network.node.claim()
    network.release(*keys_of(token))
    return token


def unheard(network: Network, content: bytes) -> bytes:
    """The clearinghouse's answer to what the node sent on, which the node never gets; its feed comes."""
    (forwarded,) = network.node.decide(network.node.intake(content))
    (answer,) = network.clearinghouse.redeem(forwarded.content, region=HANGZHOU)
    network.follow()
    return answer


def decided(answer: bytes) -> pb.RedemptionAnswer:
    """An answer without the id of its request, which is the platform's or the node's."""
    message = answer_of(answer)
    message.ClearField("request_id")
    return message


def clearing_items(network: Network) -> list[tuple[str, bytes, int]]:
    rows = network.node.rows("clearing_item")
    return sorted((row["side"], row["redemption_id"], row["discount_fen"]) for row in rows)


def test_a_capture_gets_its_id_and_time_again_and_is_counted_once(network: Network) -> None:
    token = released(network)
    copy = back_up(network.clearinghouse)
    content = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))
    first = decided(unheard(network, content))
    restore(network.clearinghouse, copy)
    for party in (network.node, network.clearinghouse):
        party.pass_seconds(60)
    report = network.recover_clearinghouse(SHANGHAI)
    assert (report.answers, list(report.disputed)) == (1, [])
    (again,) = network.redeem(content)
    assert decided(again) == first
    network.follow()
    id = first.redemption_id
    assert clearing_items(network) == [("funder", id, first.discount_fen), ("merchant", id, first.discount_fen)]
    network.check()


def test_a_capture_of_a_hold_stands_though_the_hold_has_passed_since(network: Network) -> None:
    token = released(network)
    (held,) = network.redeem(item(network.node.ids.fresh(), authorize=purchase(token, 0, "order")))
    copy = back_up(network.clearinghouse)
    capture = pb.Capture(redemption_id=answer_of(held).redemption_id, order_fen=answer_of(held).order_fen)
    content = item(network.node.ids.fresh(), capture=capture)
    first = decided(unheard(network, content))
    restore(network.clearinghouse, copy)
    for party in (network.node, network.clearinghouse):
        party.pass_seconds(HOLD_SECONDS)
    assert not network.recover_clearinghouse(SHANGHAI).disputed
    (again,) = network.redeem(content)
    assert outcome(again) == "CAPTURED"
    assert decided(again) == first
    network.check()


def test_what_nobody_asks_for_any_more_is_disputed_and_its_voucher_dead(network: Network) -> None:
    token = released(network)
    copy = back_up(network.clearinghouse)
    content = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))
    (answer,) = network.clearinghouse.redeem(content, region=SHANGHAI)
    assert outcome(answer) == "CAPTURED"
    network.follow()
    restore(network.clearinghouse, copy)
    report = network.recover_clearinghouse(SHANGHAI)
    assert [in_english(each.reason) for each in report.disputed] == ["its redeeming node does not ask for it any more"]
    other = item(network.node.ids.fresh(), redeem=purchase(token, 0, "another-order"))
    assert outcome(network.clearinghouse.redeem(other, region=SHANGHAI)[0]) == "VOUCHER_CANCELLED"


def shanghais(content: bytes, answer: bytes) -> custody_pb2.Receipt:
    """What Shanghai's node, which was not restored, holds of an answer."""
    told, sent = sign_answers([answer], CLEARING_KEY), sign_items([content], TestSigner(SHANGHAI, "message"))
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


def test_a_voucher_that_clearinghouse_and_issuer_both_forgot_to_have_moved_is_not_spent_at_home_again(
    network: Network,
) -> None:
    (token,) = network.node.claim()
    copies = [(party, back_up(party)) for party in (network.node, network.clearinghouse)]
    network.release(*keys_of(token))
    content = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))
    (answer,) = network.clearinghouse.redeem(content, region=SHANGHAI)
    assert outcome(answer) == "CAPTURED"
    for party, copy in copies:
        restore(party, copy)
    handed = custody_pb2.HandReceiptsRequest(receipts=[shanghais(content, answer)], complete=True)

    async def recover(service: NodeService) -> recovery_pb2.RecoveryReport:
        recovery = network.clearinghouse.service.recovery
        await recovery.hand_receipts(SHANGHAI, handed)
        await service.recovery.hand_receipts()
        return await network.clearinghouse.service.recover(())

    report = network.do(recover)
    assert [(each.region, in_english(each.reason)) for each in report.disputed] == [
        (SHANGHAI, "its voucher or redemption is not in custody here")
    ]
    network.recover_node()
    network.follow()
    home, other = (item(network.node.ids.fresh(), redeem=purchase(token, n, f"order-at-home-{n}")) for n in range(2))
    answers = [network.node.decide(network.node.intake(each))[0].content for each in (home, other)]
    assert [outcome(each) for each in answers] == ["VOUCHER_SUSPENDED", "CAPTURED"]


def test_what_comes_out_otherwise_than_it_was_told_is_disputed(network: Network) -> None:
    token = released(network)
    copy = back_up(network.clearinghouse)
    content = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))
    told = decided(unheard(network, content))
    with network.node.database.transaction() as transaction:
        key = {"side": "funder", "redemption_id": told.redemption_id, "number": 1}
        transaction.update(network.node.tables["clearing_item"], key, {"discount_fen": told.discount_fen - 1})
    restore(network.clearinghouse, copy)
    report = network.recover_clearinghouse(SHANGHAI)
    assert [in_english(each.reason) for each in report.disputed] == ["is decided otherwise now than it was told"]
    assert network.clearinghouse.rows("spend") == []


def held_at_shanghai(network: Network, token: bytes) -> bytes:
    """A hold on the pack's first voucher; its id."""
    content = item(network.node.ids.fresh(), authorize=purchase(token, 0, "order-at-shanghai"))
    (answer,) = network.clearinghouse.redeem(content, region=SHANGHAI)
    return answer_of(answer).redemption_id


def test_a_hold_whose_end_nobody_has_any_more_was_over_before_what_was_answered_after_it(network: Network) -> None:
    token = released(network)
    hold = held_at_shanghai(network, token)
    copy = back_up(network.clearinghouse)
    void = item(network.node.ids.fresh(), void=pb.Void(redemption_id=hold))
    assert outcome(network.clearinghouse.redeem(void, region=SHANGHAI)[0]) == "VOIDED"
    content = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))
    (answer,) = network.redeem(content)
    assert outcome(answer) == "CAPTURED"
    restore(network.clearinghouse, copy)
    assert not network.recover_clearinghouse(SHANGHAI).disputed
    states = {row["id"]: row["state"] for row in network.clearinghouse.rows("redemption")}
    assert states == {hold: "VOIDED", answer_of(answer).redemption_id: "CAPTURED"}
    network.follow()
    network.check()


def test_a_disputed_voucher_on_hold_is_not_spent_once_the_hold_ends(network: Network) -> None:
    token = released(network)
    hold = held_at_shanghai(network, token)
    copy = back_up(network.clearinghouse)
    void = item(network.node.ids.fresh(), void=pb.Void(redemption_id=hold))
    network.clearinghouse.redeem(void, region=SHANGHAI)
    unasked = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))
    assert outcome(network.clearinghouse.redeem(unasked, region=SHANGHAI)[0]) == "CAPTURED"
    network.follow()
    restore(network.clearinghouse, copy)
    assert len(network.recover_clearinghouse(SHANGHAI).disputed) == 1
    for party in (network.node, network.clearinghouse):
        party.pass_seconds(HOLD_SECONDS)
    other = item(network.node.ids.fresh(), redeem=purchase(token, 0, "another-order"))
    assert outcome(network.clearinghouse.redeem(other, region=SHANGHAI)[0]) == "VOUCHER_SUSPENDED"
