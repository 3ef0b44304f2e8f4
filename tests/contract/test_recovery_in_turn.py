"""Parties that are restored one after the other: what was learned again can be shown again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from local_parties import SHANGHAI, LocalClearinghouse, LocalNode, item, keys_of, outcome, purchase
from restored_network import Network, back_up, restore

HOUR_SECONDS = 3600


@pytest.fixture
def network(node: LocalNode, clearinghouse: LocalClearinghouse, tmp_path: Path) -> Network:
    return Network(node, clearinghouse, tmp_path)


def redeem_away(network: Network, order: str = "order") -> tuple[bytes, bytes]:
    """A voucher that went to the clearinghouse and was redeemed there: the request, and its answer."""
    (token,) = network.node.claim()
    network.release(*keys_of(token))
    content = item(network.node.ids.fresh(), redeem=purchase(token, 0, order))
    (answer,) = network.redeem(content)
    network.follow()
    assert outcome(answer) == "CAPTURED"
    return content, answer


def figures(network: Network) -> list[Any]:
    """What each side has captured, and where its money is."""
    accounts = [
        {row["account"]: row["posted_fen"] for row in party.rows("account") if row["posted_fen"]}
        for party in (network.node, network.clearinghouse)
    ]
    captured = sorted(row["redemption_id"] for row in network.clearinghouse.rows("spend"))
    return [*accounts, captured, sorted(row["redemption_id"] for row in network.node.rows("away"))]


def test_a_node_that_recovered_hands_what_it_learned_to_a_clearinghouse_that_is_restored(network: Network) -> None:
    copies = back_up(network.node), back_up(network.clearinghouse)
    content, answer = redeem_away(network)
    before = figures(network)
    restore(network.node, copies[0])
    assert network.recover_node().answers == 1
    restore(network.clearinghouse, copies[1])
    report = network.recover_clearinghouse(SHANGHAI)
    assert (report.answers, list(report.disputed)) == (1, [])
    network.follow()
    assert figures(network) == before
    assert network.redeem(content) == [answer]
    network.check()


def test_a_clearinghouse_that_recovered_tells_what_it_learned_to_a_node_that_is_restored(network: Network) -> None:
    copies = back_up(network.node), back_up(network.clearinghouse)
    content, answer = redeem_away(network)
    before = figures(network)
    restore(network.clearinghouse, copies[1])
    assert network.recover_clearinghouse(SHANGHAI).answers == 1
    restore(network.node, copies[0])
    report = network.recover_node()
    assert (report.answers, list(report.disputed)) == (1, [])
    network.follow()
    assert figures(network) == before
    assert network.redeem(content) == [answer]
    network.check()


def test_a_clock_of_the_clearinghouse_that_is_an_hour_ahead_hides_no_answer(network: Network) -> None:
    network.clearinghouse.pass_seconds(HOUR_SECONDS)
    redeem_away(network, "order-before-the-copy")
    copy = back_up(network.clearinghouse)
    redeem_away(network)
    before = figures(network)
    restore(network.clearinghouse, copy)
    report = network.recover_clearinghouse(SHANGHAI)
    assert (report.answers, list(report.disputed)) == (1, [])
    assert figures(network) == before
    network.check()
