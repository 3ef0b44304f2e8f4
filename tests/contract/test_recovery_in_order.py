"""What a restored node learns is replayed in the order of time; a voucher that was captured is never captured again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from local_parties import (
    AT,
    HANGZHOU,
    PLATFORM,
    LocalClearinghouse,
    LocalNode,
    answer_of,
    item,
    keys_of,
    outcome,
    purchase,
)
from restored_network import Network, back_up, in_english, receipt, restore

from clearinghouse.custody import read_hand_over
from custodian.evidence import Requests
from node.recovery import RECOVERY_MARGIN_SECONDS
from quanlian import wire
from quanlian.evidence import REQUEST_KIND
from quanlian.suspensions import SuspensionKind
from quanlian.v1 import redemption_pb2 as pb
from quanlian.v1 import signed_pb2
from quanlian.vouchers import VoucherKey


@pytest.fixture
def network(node: LocalNode, clearinghouse: LocalClearinghouse, tmp_path: Path) -> Network:
    return Network(node, clearinghouse, tmp_path)


def ask(network: Network, **operation: Any) -> tuple[bytes, bytes]:
    """A platform's request, and what it was answered."""
    asked = item(network.node.ids.fresh(), **operation)
    (answer,) = network.redeem(asked)
    return asked, answer


def later(network: Network, seconds: int = 5) -> None:
    for party in (network.node, network.clearinghouse):
        party.pass_seconds(seconds)


def recall(network: Network, key: VoucherKey) -> None:
    network.do(lambda service: service.recall([key]))
    network.follow()


def books(network: Network) -> list[Any]:
    """What a recovery must bring back: money, vouchers, redemptions, orders."""
    named = ("pack_id", "voucher_index", "epoch", "status", "hold", "reservation")
    vouchers = [{name: row.get(name) for name in named} for row in network.node.rows("voucher")]
    accounts = {row["account"]: row for row in network.node.rows("account")}
    figures = ("limit_fen", "reserved_fen", "held_fen", "posted_fen")
    money = {name: [row[figure] for figure in figures] for name, row in accounts.items()}
    tables = [network.node.rows(name) for name in ("redemption", "spend", "merchant_order")]
    return [money, vouchers, *([{**row, "seal": b""} for row in rows] for rows in tables)]


def state_of(network: Network, key: VoucherKey) -> tuple[int, str]:
    (row,) = [row for row in network.node.rows("voucher") if VoucherKey(HANGZHOU, *_ref(row)) == key]
    return row["epoch"], row["status"]


def _ref(row: Any) -> tuple[bytes, int]:
    return row["pack_id"], row["voucher_index"]


@pytest.mark.parametrize("operation", ["redeem", "authorize"])
@pytest.mark.parametrize("seconds", [0, 60], ids=["in one second", "a minute apart"])
@pytest.mark.parametrize("released", ["before the copy", "after the copy"])
def test_what_came_home_and_was_used_here_is_used_once(
    network: Network, operation: str, seconds: int, released: str
) -> None:
    (token,) = network.node.claim()
    key = keys_of(token)[0]
    copy = back_up(network.node)
    network.release(key)
    if released == "before the copy":
        copy = back_up(network.node)
    later(network, seconds)
    recall(network, key)
    later(network, seconds)
    used = ask(network, **{operation: purchase(token, 0, "order")})
    before = books(network)
    restore(network.node, copy)
    network.book(receipt(*used))
    report = network.recover_node()
    assert (report.receipts, list(report.disputed)) == (1, [])
    network.follow()
    assert books(network) == before
    _, again = ask(network, redeem=purchase(token, 0, "another-order"))
    assert outcome(again) == {"redeem": "ALREADY_REDEEMED", "authorize": "ALREADY_HELD"}[operation]
    assert network.redeem(used[0]) == [used[1]]
    network.check()


def test_a_voucher_that_roams_from_its_issue_on_and_was_recalled_is_captured_once(
    open_party: Callable[[str], Any], tmp_path: Path
) -> None:
    node, clearinghouse = LocalNode(open_party("node")), LocalClearinghouse(open_party("clearinghouse"))
    network = Network(node, clearinghouse, tmp_path, roaming="at-issue")
    (token,) = node.claim()
    for row in node.rows("hand_over"):
        message = signed_pb2.SignedMessage(body=row["body"], key_id=row["key_id"], signature=row["signature"])
        clearinghouse.decide(read_hand_over(HANGZHOU, message))
    copy = back_up(node)
    recall(network, keys_of(token)[0])
    used = ask(network, redeem=purchase(token, 0, "order"))
    before = books(network)
    restore(node, copy)
    network.book(receipt(*used))
    assert not network.recover_node().disputed
    network.follow()
    assert books(network) == before
    network.check()


def test_a_hold_that_ended_here_before_its_voucher_was_given_is_booked_before_that(network: Network) -> None:
    """All of it in one second: the voucher cannot have been used here after it was given."""
    (token,) = network.node.claim()
    copy = back_up(network.node)
    held = ask(network, authorize=purchase(token, 0, "order"))
    voided = ask(network, void=pb.Void(redemption_id=answer_of(held[1]).redemption_id))
    network.release(keys_of(token)[0])
    before = books(network)
    restore(network.node, copy)
    network.book(receipt(*held), receipt(*voided))
    report = network.recover_node()
    assert (report.receipts, list(report.disputed)) == (2, [])
    assert books(network) == before
    network.check()


@pytest.mark.parametrize("seconds", [0, 5], ids=["in one second", "one after the other"])
def test_a_home_capture_on_an_order_that_an_away_hold_had_left_stands(network: Network, seconds: int) -> None:
    (token,) = network.node.claim()
    network.release(keys_of(token)[1])
    _, held = ask(network, authorize=purchase(token, 1, "order"))
    copy = back_up(network.node)
    later(network, seconds)
    ask(network, void=pb.Void(redemption_id=answer_of(held).redemption_id))
    later(network, seconds)
    used = ask(network, redeem=purchase(token, 0, "order"))
    before = books(network)
    restore(network.node, copy)
    network.book(receipt(*used))
    report = network.recover_node()
    assert (report.receipts, report.answers, list(report.disputed)) == (1, 1, [])
    network.follow()
    assert books(network) == before
    assert network.redeem(used[0]) == [used[1]]
    network.check()


def test_a_hold_here_before_its_order_was_used_away_is_booked_again(network: Network) -> None:
    (token,) = network.node.claim()
    network.release(keys_of(token)[1])
    copy = back_up(network.node)
    held = ask(network, authorize=purchase(token, 0, "order"))
    later(network)
    voided = ask(network, void=pb.Void(redemption_id=answer_of(held[1]).redemption_id))
    later(network)
    ask(network, redeem=purchase(token, 1, "order"))
    network.follow()
    before = books(network)
    restore(network.node, copy)
    network.book(receipt(*held), receipt(*voided))
    report = network.recover_node()
    assert (report.receipts, report.answers, list(report.disputed)) == (2, 1, [])
    network.follow()
    assert books(network) == before
    network.check()


@pytest.mark.parametrize("seconds", [60, 2 * RECOVERY_MARGIN_SECONDS], ids=["lately", "long before the copy"])
def test_a_capture_whose_request_had_been_refused_without_using_its_id_up_is_learned(
    network: Network, seconds: int
) -> None:
    (token,) = network.node.claim()
    network.release(*keys_of(token))
    key_id = wire.body_to_voucher(wire.bytes_to_token(token).body).key_id.hex()
    network.clearinghouse.suspend(SuspensionKind.KEY, key_id, suspended=True, bad_from=AT - 100)
    redeem, refused = ask(network, redeem=purchase(token, 0, "order"))
    assert outcome(refused) == "KEY_REVOKED"
    later(network, seconds)
    network.clearinghouse.suspend(SuspensionKind.KEY, key_id, suspended=False, bad_from=0)
    network.node.claim()
    copy = back_up(network.node)
    (answer,) = network.redeem(redeem)
    assert outcome(answer) == "CAPTURED"
    network.follow()
    before = books(network)
    restore(network.node, copy)
    report = network.recover_node()
    assert (report.answers, list(report.disputed)) == (1, [])
    network.follow()
    assert books(network) == before
    assert {row["side"] for row in network.node.rows("clearing_item")} == {"funder", "merchant"}
    _, second = ask(network, redeem=purchase(token, 1, "order"))
    assert outcome(second) == "ORDER_ALREADY_DISCOUNTED"
    network.check()


def test_the_platform_s_message_is_kept_with_what_is_booked_again(network: Network) -> None:
    (token,) = network.node.claim()
    copy = back_up(network.node)
    used = ask(network, redeem=purchase(token, 0, "order"))
    restore(network.node, copy)
    shown = receipt(*used)
    network.book(shown)
    network.recover_node()
    with network.node.database.snapshot() as transaction:
        requests = Requests(transaction, answer_of(used[1]).request_id, [PLATFORM])
        (row,) = requests.rows
        asked = requests.exchange(row, f"{HANGZHOU}/{PLATFORM}", HANGZHOU).request
    assert asked is not None
    assert (asked.kind, asked.content, asked.hashes) == (REQUEST_KIND, used[0], shown.request.hashes)
    assert (asked.key_id, asked.signature) == (shown.request.key_id, shown.request.signature)


class TestDisputed:
    """A voucher that somebody was told is captured, and that the books cannot take so."""

    def test_here_its_money_is_free_and_no_order_captures_it(self, network: Network) -> None:
        (token,) = network.node.claim()
        copy = back_up(network.node)
        used = ask(network, redeem=purchase(token, 0, "order"))
        restore(network.node, copy)
        network.node.decide(network.node.intake(item(b"x" * 16, redeem=purchase(token, 1, "order"))))
        network.book(receipt(*used))
        report = network.recover_node()
        assert [in_english(each.reason) for each in report.disputed] == [
            "is decided otherwise now than it was answered"
        ]
        assert {row["reserved_fen"] for row in network.node.rows("account")} == {0}
        _, again = ask(network, redeem=purchase(token, 0, "another-order"))
        assert outcome(again) == "VOUCHER_CANCELLED"
        network.check()

    def test_a_hold_that_the_copy_has_on_it_ends(self, network: Network) -> None:
        """Its end is among what was lost: no receipt of the void came."""
        (token,) = network.node.claim()
        _, held = ask(network, authorize=purchase(token, 0, "order"))
        copy = back_up(network.node)
        ask(network, void=pb.Void(redemption_id=answer_of(held).redemption_id))
        used = ask(network, redeem=purchase(token, 0, "another-order"))
        restore(network.node, copy)
        network.book(receipt(*used))
        assert len(network.recover_node().disputed) == 1
        assert state_of(network, keys_of(token)[0]) == (0, "cancelled")
        _, captured = ask(network, capture=pb.Capture(redemption_id=answer_of(held).redemption_id))
        assert outcome(captured) == "NOT_AUTHORIZED"
        network.check()

    def test_elsewhere_it_is_suspended_in_the_whole_network_and_dead_when_it_comes_home(self, network: Network) -> None:
        """The clearinghouse was restored as well, and forgot that it had given the voucher back."""
        (token,) = network.node.claim()
        key = keys_of(token)[0]
        network.release(key)
        copies = back_up(network.node), back_up(network.clearinghouse)
        recall(network, key)
        used = ask(network, redeem=purchase(token, 0, "order"))
        restore(network.node, copies[0])
        network.clearinghouse.database.number_commits(None)
        restore(network.clearinghouse, copies[1])
        (network.folder / "clearinghouse.lineage").unlink()
        network.lineage(network.clearinghouse).begin()
        network.recover_clearinghouse("310000")
        network.book(receipt(*used))
        report = network.recover_node()
        assert [in_english(each.reason) for each in report.disputed] == ["its voucher is not in this node's custody"]
        assert len(network.between.suspensions) == 1, "before the node serves again"
        network.between.pass_on()
        network.follow()
        _, again = ask(network, redeem=purchase(token, 0, "another-order"))
        assert outcome(again) == "VOUCHER_CANCELLED"
        assert [row["kind"] for row in network.clearinghouse.rows("suspended")] == ["VOUCHER"]
        later(network)
        recall(network, key)
        assert state_of(network, key) == (2, "cancelled")
        assert sum(row["reserved_fen"] for row in network.node.rows("account")) == 1000, "the other voucher's"
        network.check()

    def test_one_that_the_copy_has_captured_is_not_usable_again_by_a_hand_over(self, network: Network) -> None:
        (token,) = network.node.claim()
        key = keys_of(token)[0]
        untouched = back_up(network.node)
        network.release(key)
        restore(network.node, untouched)
        network.node.decide(network.node.intake(item(b"x" * 16, redeem=purchase(token, 0, "order"))))
        report = network.recover_node()
        (disputed,) = report.disputed
        assert "is captured in these books" in disputed.reason
        assert state_of(network, key) == (1, "captured")
        assert len(network.between.suspensions) == 1
        assert len(network.node.rows("spend")) == 1
