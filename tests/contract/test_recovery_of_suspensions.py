"""What was suspended after a clearinghouse's copy was made is learned again from the nodes, which all were told."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_parties import (
    CLEARINGHOUSE,
    HANGZHOU,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    item,
    keys_of,
    merchant_code,
    outcome,
    purchase,
)
from restored_network import Network, back_up, restore

from clearinghouse.suspending import Suspend, TakeSuspension
from custodian.suspensions import sign_suspension
from node import suspending as at_node
from quanlian.signing import Signer
from quanlian.suspensions import Suspension, SuspensionKind, voucher_subject
from quanlian.vouchers import VoucherKey

BY, WHY = "spiffe://quanlian/clearinghouse/operator", "reported lost"


@pytest.fixture
def network(node: LocalNode, clearinghouse: LocalClearinghouse, tmp_path: Path) -> Network:
    return Network(node, clearinghouse, tmp_path)


def suspend(network: Network, kind: SuspensionKind, subject: str, suspended: bool = True) -> Suspension:
    decided: Suspension = network.clearinghouse.decide(Suspend(kind, subject, suspended, BY, WHY))[0]
    network.follow()
    return decided


def recorded(network: Network) -> list[tuple[str, int, str, bool]]:
    rows = network.clearinghouse.rows("suspension")
    return sorted((row["authority"], row["number"], row["subject"], row["suspended"]) for row in rows)


def lost(network: Network) -> VoucherKey:
    (token,) = network.node.claim()
    network.release(*keys_of(token))
    return keys_of(token)[0]


def test_a_voucher_stays_suspended_and_the_record_goes_on_from_its_last_number(network: Network) -> None:
    first, second = lost(network), lost(network)
    copy = back_up(network.clearinghouse)
    suspend(network, SuspensionKind.VOUCHER, voucher_subject(first))
    suspend(network, SuspensionKind.VOUCHER, voucher_subject(first), suspended=False)
    suspend(network, SuspensionKind.VOUCHER, voucher_subject(second))
    before = recorded(network)
    restore(network.clearinghouse, copy)
    report = network.recover_clearinghouse(SHANGHAI)
    assert (report.suspensions, list(report.disputed)) == (3, [])
    assert recorded(network) == before
    network.follow()
    assert suspend(network, SuspensionKind.VOUCHER, voucher_subject(first)).number == 4
    assert len(network.node.rows("suspension")) == 4
    network.check()


def test_what_was_redeemed_before_the_suspension_is_decided_again_as_it_was(network: Network) -> None:
    (token,) = network.node.claim()
    network.release(*keys_of(token))
    copy = back_up(network.clearinghouse)
    network.redeem(item(network.node.ids.fresh(), redeem=purchase(token, 0, "order")))
    for party in (network.node, network.clearinghouse):
        party.pass_seconds(60)
    suspend(network, SuspensionKind.REGION, HANGZHOU)
    refused = item(network.node.ids.fresh(), redeem=purchase(token, 1, "another-order"))
    (after,) = network.clearinghouse.redeem(refused, region=SHANGHAI)
    assert outcome(after) == "REGION_SUSPENDED"
    restore(network.clearinghouse, copy)
    report = network.recover_clearinghouse(SHANGHAI)
    assert (report.answers, report.suspensions, list(report.disputed)) == (1, 1, [])
    assert len(network.clearinghouse.rows("spend")) == 1
    (again,) = network.clearinghouse.redeem(refused, region=SHANGHAI)
    assert outcome(again) == "REGION_SUSPENDED"


def test_a_bad_key_stays_on_the_list_that_was_signed(network: Network) -> None:
    key = network.node.region.voucher_signer.key_id.hex()
    copy = back_up(network.clearinghouse)
    suspend(network, SuspensionKind.KEY, key)
    (listed,) = network.clearinghouse.rows("deny_list")
    restore(network.clearinghouse, copy)
    assert not network.recover_clearinghouse(SHANGHAI).disputed
    (again,) = network.clearinghouse.rows("deny_list")
    assert (again["number"], again["body"]) == (listed["number"], listed["body"])
    assert key in {row["subject"] for row in network.clearinghouse.rows("suspended")}


def test_a_region_s_own_decision_that_was_announced_is_brought_again(network: Network) -> None:
    copy = back_up(network.clearinghouse)
    work = at_node.Suspend(SuspensionKind.MERCHANT, merchant_code(), True, BY, WHY)
    decided: Suspension = network.node.decide(work)[0]
    signed = sign_suspension(decided, network.node.region.message_signer)
    network.clearinghouse.decide(TakeSuspension(signed))
    restore(network.clearinghouse, copy)
    assert network.recover_clearinghouse(SHANGHAI).suspensions == 1
    assert recorded(network) == [(HANGZHOU, 1, f"{HANGZHOU}/{merchant_code()}", True)]


def test_one_that_its_authority_did_not_sign_is_not_believed(network: Network) -> None:
    copy = back_up(network.clearinghouse)
    suspend(network, SuspensionKind.REGION, SHANGHAI)
    restore(network.clearinghouse, copy)
    signer: Signer = network.node.region.message_signer
    (row,) = network.node.rows("suspension")
    forged = {**row, "key_id": signer.key_id, "signature": signer.sign("suspension", row["body"])}
    with network.node.database.transaction() as transaction:
        transaction.upsert(network.node.tables["suspension"], [forged])
    report = network.recover_clearinghouse(SHANGHAI)
    assert len(report.disputed) == 1
    assert f"a suspension of {CLEARINGHOUSE} is signed by {HANGZHOU}'s key" in report.disputed[0].reason
    assert recorded(network) == []
