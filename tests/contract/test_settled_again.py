"""A clearinghouse that was restored tells its nodes again what it told in its former life: nothing is booked twice."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from local_parties import (
    HANGZHOU,
    OPERATOR,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    keys_of,
    message_signer,
)
from restored_network import Network, back_up, restore
from window_stories import close, instruct, mark, pay_ahead, redeem

from node.service import NodeService
from node.settling import NodeSettling
from node.signatures import signed
from quanlian.v1 import custody_pb2, limit_pb2, node_operator_pb2, settlement_pb2, signed_pb2

MONTH, MONTH_SECONDS = "2026-05", 40 * 86_400


@pytest.fixture
def network(node: LocalNode, clearinghouse: LocalClearinghouse, tmp_path: Path) -> Network:
    return Network(node, clearinghouse, tmp_path)


@pytest.fixture
def copy(network: Network) -> dict[str, list[dict[str, Any]]]:
    """Of a clearinghouse whose window 1 is closed, and that the node has reconciled."""
    redeem_in_window_1(network)
    network.reconcile()
    return back_up(network.clearinghouse)


def redeem_in_window_1(network: Network) -> None:
    (token,) = network.node.claim()
    network.release(*keys_of(token))
    redeem(network.clearinghouse, 1, token)
    close(network.clearinghouse)
    network.follow()


def confirm(network: Network, window: int, month: str, reservation: str) -> None:
    def run(service: NodeService) -> Awaitable[node_operator_pb2.ConfirmOwnStatementResponse]:
        settling = NodeSettling(service, network.between, message_signer())  # type: ignore[arg-type]
        return settling.confirm(OPERATOR, window, month, reservation)

    network.do(run)


def words(network: Network, table: str = "statement") -> list[bytes | None]:
    """What the clearinghouse has of each region's word."""
    return [row["confirmation"] for row in network.clearinghouse.rows(table)]


def settle(clearinghouse: LocalClearinghouse, reference: str) -> None:
    instruct(clearinghouse, 1)
    mark(clearinghouse, 1, SHANGHAI, reference)
    clearinghouse.do(clearinghouse.service.settlement.settle(1))


def set_back(network: Network, copy: dict[str, list[dict[str, Any]]]) -> None:
    restore(network.clearinghouse, copy)
    assert not network.recover_clearinghouse(SHANGHAI).disputed
    network.meet()
    network.follow()


def posted(network: Network) -> list[dict[str, int]]:
    return [
        {row["account"]: row["posted_fen"] for row in party.rows("account") if row["posted_fen"]}
        for party in (network.node, network.clearinghouse)
    ]


def tell(network: Network, **event: object) -> None:
    with network.clearinghouse.database.transaction() as transaction:
        desk = network.clearinghouse.service.engine.desk(transaction)
        desk.tell(HANGZHOU, **event)
        desk.save("test")
    network.follow()


def reasons(network: Network) -> list[str]:
    return [row["reason"] for row in network.node.rows("parked_event")]


def test_a_window_that_is_settled_again_is_booked_once(network: Network, copy: dict[str, Any]) -> None:
    settle(network.clearinghouse, "pay")
    network.follow()
    before = posted(network)
    set_back(network, copy)
    network.reconcile()
    settle(network.clearinghouse, "pay")
    network.follow()
    assert posted(network) == before
    network.check()


def test_a_window_that_is_settled_again_with_money_paid_ahead_is_booked_once(network: Network) -> None:
    (token,) = network.node.claim()
    network.release(*keys_of(token))
    redeem(network.clearinghouse, 1, token)
    pay_ahead(network.clearinghouse, HANGZHOU, "spring/city", 300, "ahead")
    close(network.clearinghouse)
    network.follow()
    network.reconcile()
    copy = back_up(network.clearinghouse)
    settle(network.clearinghouse, "pay")
    network.follow()
    before = posted(network)
    set_back(network, copy)
    settle(network.clearinghouse, "pay")
    network.follow()
    assert posted(network) == before
    network.check()


def test_a_month_that_is_stated_again_is_the_one_that_is_known(
    network: Network, copy: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settlement = network.clearinghouse.service.settlement
    for party in (network.node, network.clearinghouse):
        party.pass_seconds(MONTH_SECONDS)
    with monkeypatch.context() as patch:
        patch.setattr(settlement, "_months_to_state", list)
        close(network.clearinghouse)
    copy = back_up(network.clearinghouse)
    network.clearinghouse.do(settlement.calculate_closed())
    network.follow()
    assert [row["month"] for row in network.node.rows("statement_month")] == [MONTH]
    set_back(network, copy)
    network.clearinghouse.do(settlement.calculate_closed())
    network.follow()
    assert [row["month"] for row in network.node.rows("statement_month")] == [MONTH]
    assert len([each for each in network.clearinghouse.feed(HANGZHOU) if each.HasField("month_ready")]) == 1
    network.check()


def test_a_warning_that_has_the_number_of_one_that_was_forgotten_takes_its_place(network: Network) -> None:
    for percent in (75, 90):
        warning = limit_pb2.LimitWarning(
            region=HANGZHOU, number=1, measure=limit_pb2.LIMIT_MEASURE_NET_DEBIT, percent=percent
        )
        tell(network, limit_warning=warning)
    assert [row["percent"] for row in network.node.rows("limit_warning")] == [90]
    network.check()


class TestConfirmed:
    """What a region confirmed to a clearinghouse that forgot it is confirmed again, by the word that was given."""

    def test_a_settled_window_by_the_node_itself(self, network: Network) -> None:
        redeem_in_window_1(network)
        copy = back_up(network.clearinghouse)
        network.reconcile()
        before = words(network)
        settle(network.clearinghouse, "pay")
        network.follow()
        set_back(network, copy)
        assert words(network) == [None, None]
        network.reconcile()
        assert words(network) == before
        assert [row["confirmed"] for row in network.node.rows("settlement_window")] == [True]
        network.check()

    def test_a_person_s_word_with_its_reservation(self, network: Network) -> None:
        redeem_in_window_1(network)
        with network.node.database.transaction() as transaction:
            transaction.connection.execute(network.node.tables["clearing_item"].delete())
        copy = back_up(network.clearinghouse)
        confirm(network, 1, "", "our copy was lost")
        before = words(network)
        set_back(network, copy)
        network.reconcile()
        assert words(network) == before
        (row,) = network.node.rows("settlement_window")
        assert (row["confirmed"], row["reservation"]) == (True, "our copy was lost")

    def test_a_month(self, network: Network, copy: dict[str, Any]) -> None:
        for party in (network.node, network.clearinghouse):
            party.pass_seconds(MONTH_SECONDS)
        close(network.clearinghouse)
        network.follow()
        network.reconcile()
        copy = back_up(network.clearinghouse)
        confirm(network, 0, MONTH, "")
        before = words(network, "monthly_statement")
        assert any(before)
        set_back(network, copy)
        assert not any(words(network, "monthly_statement"))
        network.reconcile()
        assert words(network, "monthly_statement") == before
        (row,) = network.node.rows("statement_month")
        assert (row["confirmed"], row["confirmed_by"]) == (True, OPERATOR.uri)
        network.check()

    def test_another_statement_is_compared_anew(self, network: Network, copy: dict[str, Any]) -> None:
        table = network.node.tables["settlement_window"]
        other = settlement_pb2.Confirmation(region=HANGZHOU, window=1, statement_digest=b"another")
        message = signed(other.SerializeToString(), "confirmation", message_signer())
        with network.node.database.transaction() as transaction:
            values = {"confirmed": False, "confirmation": message.SerializeToString()}
            transaction.update(table, {"number": 1}, values)
        network.reconcile()
        (row,) = network.node.rows("settlement_window")
        assert row["confirmed"]
        assert row["confirmation"] != message.SerializeToString()


class TestMoneyThatComesBack:
    def test_told_again_it_is_booked_once(self, network: Network, copy: dict[str, Any]) -> None:
        (known,) = network.node.rows("fund_return")
        before = network.node.rows("account")
        (event,) = [each for each in network.clearinghouse.feed(HANGZHOU) if each.HasField("fund_return")]
        tell(network, fund_return=event.fund_return)
        assert network.node.rows("fund_return") == [known]
        assert network.node.rows("account") == before
        network.check()

    def test_other_money_under_its_number_is_parked_with_what_to_do(
        self, network: Network, copy: dict[str, Any]
    ) -> None:
        before = network.node.rows("account")
        body = custody_pb2.FundReturn(region=HANGZHOU, number=1, window=9).SerializeToString()
        signer = network.clearinghouse.service.engine.signer
        message = signed_pb2.SignedMessage(body=body, key_id=signer.key_id, signature=signer.sign("fund-return", body))
        tell(network, fund_return=message)
        (reason,) = reasons(network)
        assert "other money came back under number 1" in reason
        assert network.node.rows("account") == before


class TestPostings:
    def test_told_again_it_is_booked_once(self, network: Network, copy: dict[str, Any]) -> None:
        before = posted(network)
        (event,) = [each for each in network.clearinghouse.feed(HANGZHOU) if each.HasField("posting")]
        tell(network, posting=event.posting)
        assert posted(network) == before
        network.node.check_books()

    def test_another_under_its_number_is_parked_with_what_to_do(self, network: Network, copy: dict[str, Any]) -> None:
        before = posted(network)
        (event,) = [each for each in network.clearinghouse.feed(HANGZHOU) if each.HasField("posting")]
        event.posting.discount_fen += 1
        tell(network, posting=event.posting)
        assert posted(network) == before
        (reason,) = reasons(network)
        assert "has another posting under number 1" in reason
