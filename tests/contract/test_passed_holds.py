"""Holds whose time has passed: from the next batch on they take no money and count under no cap, swept or not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import sqlalchemy as sa
import structlog
from batch_stories import request_id
from local_parties import (
    HANGZHOU,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    answer_of,
    item,
    keys_of,
    outcome,
    purchase,
)

from clearinghouse import custody as clearinghouse_custody
from custodian import overdue, schema
from node import custody as node_custody
from quanlian import redemptions
from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import Unavailable
from quanlian.v1 import clearing_operator_pb2

HOLD_SECONDS = 900
CITY = "funding/310000/2026/visitors/city"


@pytest.fixture
def tokens(node: LocalNode, clearinghouse: LocalClearinghouse) -> list[bytes]:
    """Packs of two that are in the clearinghouse's custody."""
    return released(node, clearinghouse, 3)


def released(node: LocalNode, clearinghouse: LocalClearinghouse, packs: int) -> list[bytes]:
    node.publish()
    clearinghouse.learn(node)
    tokens = node.claim(packs)
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*(key for each in tokens for key in keys_of(each)))))
    return tokens


def authorize(number: int, token: bytes, index: int = 0) -> bytes:
    return item(request_id(number), authorize=purchase(token, index, f"order-{number}"))


def redeem(number: int, token: bytes, index: int = 0) -> bytes:
    return item(request_id(number), redeem=purchase(token, index, f"order-{number}"))


def fund_visitors(clearinghouse: LocalClearinghouse, budget_fen: int) -> None:
    funder = clearing_operator_pb2.VisitorsFunder(name="city", weight=1, budget_fen=budget_fen)
    fund = clearing_operator_pb2.SetVisitorsFundRequest(
        region=SHANGHAI, fiscal_year=2026, rule="refuse", funders=[funder]
    )
    clearinghouse.do(clearinghouse.service.operations.set_visitors_fund(fund))


def cap(clearinghouse: LocalClearinghouse, fen: int) -> None:
    limits = clearing_operator_pb2.SetLimitsRequest(region=HANGZHOU, net_debit_cap_fen=fen)
    clearinghouse.do(clearinghouse.service.operations.set_limits(limits))


def legs_of(content: bytes) -> dict[str, int]:
    return {leg.account.partition("/visitors")[0]: leg.amount_fen for leg in answer_of(content).legs}


def states(party: LocalNode | LocalClearinghouse) -> list[str]:
    return sorted(row["state"] for row in party.rows("redemption"))


def sweep(party: LocalNode | LocalClearinghouse) -> None:
    """What its service does by itself every few seconds."""
    service: Any = party.service if isinstance(party, LocalClearinghouse) else party.another_service()

    async def swept() -> None:
        service.engine.group.start()
        await service.sweep()

    asyncio.run(swept())
    service.engine.group.close()


class TestMoneyAndCaps:
    @pytest.mark.parametrize("operation", ["redeem", "authorize", "quote"])
    def test_who_pays_does_not_depend_on_a_hold_that_has_passed(
        self, clearinghouse: LocalClearinghouse, tokens: list[bytes], operation: str
    ) -> None:
        fund_visitors(clearinghouse, 300)
        (held,) = clearinghouse.redeem(authorize(1, tokens[0]))
        assert legs_of(held)["funding/310000/2026"] == 300
        clearinghouse.pass_seconds(HOLD_SECONDS)
        buying = item(request_id(2), **{operation: purchase(tokens[1], 0, "order-2")})
        (answer,) = clearinghouse.redeem(buying)
        assert legs_of(answer) == ({} if operation == "quote" else legs_of(held)), "Shanghai has its 3.00 again"
        assert "EXPIRED" in states(clearinghouse)
        clearinghouse.check_books()

    def test_a_hold_that_stands_keeps_its_money_to_its_last_second(
        self, clearinghouse: LocalClearinghouse, tokens: list[bytes]
    ) -> None:
        fund_visitors(clearinghouse, 300)
        clearinghouse.redeem(authorize(1, tokens[0]))
        clearinghouse.pass_seconds(HOLD_SECONDS - 1)
        (answer,) = clearinghouse.redeem(redeem(2, tokens[1]))
        assert "funding/310000/2026" not in {name for name, fen in legs_of(answer).items() if fen}
        assert states(clearinghouse) == ["AUTHORIZED", "CAPTURED"]

    @pytest.mark.parametrize("operation", ["redeem", "authorize", "quote"])
    def test_nothing_is_owed_for_a_hold_that_has_passed(
        self, clearinghouse: LocalClearinghouse, tokens: list[bytes], operation: str
    ) -> None:
        cap(clearinghouse, 700)
        clearinghouse.redeem(authorize(1, tokens[0]))
        (refused,) = clearinghouse.redeem(redeem(2, tokens[1]))
        assert outcome(refused) == "DEBIT_CAP_EXCEEDED"
        clearinghouse.pass_seconds(HOLD_SECONDS)
        (answer,) = clearinghouse.redeem(item(request_id(3), **{operation: purchase(tokens[1], 0, "order-3")}))
        assert outcome(answer) == {"redeem": "CAPTURED", "authorize": "AUTHORIZED", "quote": "quoted"}[operation]
        clearinghouse.check_books()

    def test_any_batch_of_a_node_gives_the_money_of_passed_holds_back(self, node: LocalNode) -> None:
        node.publish()
        (token,) = node.claim()
        before = node.balance("spring/city")
        node.redeem(authorize(1, token))
        node.pass_seconds(HOLD_SECONDS)
        node.decide()
        assert node.balance("spring/city") == before
        assert states(node) == ["EXPIRED"]
        node.check_books()

    @pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
    def test_nothing_is_owed_for_any_of_more_holds_than_a_batch_records(
        self,
        clearinghouse: LocalClearinghouse,
        tokens: list[bytes],
        together: bool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(overdue, "HOLDS_A_BATCH", 1)
        cap(clearinghouse, 3 * 700)
        clearinghouse.redeem(*(authorize(n, token) for n, token in enumerate(tokens)))
        clearinghouse.pass_seconds(HOLD_SECONDS)
        buying = [redeem(10 + n, token, 1) for n, token in enumerate(tokens)]
        batches = [buying] if together else [[each] for each in buying]
        answers = [outcome(answer) for batch in batches for answer in clearinghouse.redeem(*batch)]
        assert answers == ["CAPTURED"] * 3
        assert states(clearinghouse) == ["CAPTURED"] * 3 + ["EXPIRED"] * 3
        clearinghouse.check_books()

    @pytest.mark.parametrize("find", ["clearinghouse", "node"])
    def test_holds_that_have_passed_are_recorded_in_bounded_commits_before_the_batch(
        self,
        node: LocalNode,
        clearinghouse: LocalClearinghouse,
        tokens: list[bytes],
        find: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        party: LocalNode | LocalClearinghouse = clearinghouse if find == "clearinghouse" else node
        packs = tokens if find == "clearinghouse" else node.claim(3)
        party.redeem(*(authorize(2 * n + i, token, i) for n, token in enumerate(packs) for i in (0, 1)))
        party.pass_seconds(HOLD_SECONDS)
        monkeypatch.setattr(overdue, "HOLDS_A_BATCH", 2)
        before = len(party.rows("entry"))
        party.decide()
        assert states(party) == ["EXPIRED"] * 6
        assert len(party.rows("entry")) - before == 3, "two holds each, the last with the batch"
        party.check_books()

    @pytest.mark.parametrize("find", ["clearinghouse", "node"])
    def test_whoever_comes_after_a_standstill_is_told_to_come_again_until_all_are_recorded(
        self,
        node: LocalNode,
        clearinghouse: LocalClearinghouse,
        tokens: list[bytes],
        find: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        party: LocalNode | LocalClearinghouse = clearinghouse if find == "clearinghouse" else node
        packs = tokens if find == "clearinghouse" else node.claim(3)
        party.redeem(*(authorize(n, token) for n, token in enumerate(packs)))
        party.pass_seconds(HOLD_SECONDS)
        monkeypatch.setattr(overdue, "HOLDS_A_BATCH", 1)
        monkeypatch.setattr(overdue, "COMMITS_AHEAD", 1)
        with pytest.raises(Unavailable, match="recorded first"):
            party.redeem(redeem(10, packs[0]))
        assert states(party) == ["AUTHORIZED", "AUTHORIZED", "EXPIRED"]
        (answer,) = party.redeem(redeem(10, packs[0]))
        assert outcome(answer) == "CAPTURED"
        assert states(party) == ["CAPTURED", "EXPIRED", "EXPIRED", "EXPIRED"]
        party.check_books()

    def test_holds_that_cannot_be_recorded_before_the_batch_are_told_and_stop_nobody_else(
        self, clearinghouse: LocalClearinghouse, tokens: list[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clearinghouse.redeem(*(authorize(n, token) for n, token in enumerate(tokens)))
        clearinghouse.pass_seconds(HOLD_SECONDS)
        monkeypatch.setattr(overdue, "HOLDS_A_BATCH", 1)
        monkeypatch.setattr(redemptions, "release_hold", mock.Mock(side_effect=ArithmeticError("planted")))
        with structlog.testing.capture_logs() as logs:
            answers = clearinghouse.redeem(*(redeem(10 + n, token, 1) for n, token in enumerate(tokens)))
        assert [outcome(answer) for answer in answers] == ["CAPTURED"] * 3
        assert [(log["event"], log["error"]) for log in logs] == [
            ("holds that have passed could not be recorded", "planted")
        ]
        clearinghouse.check_books()

    def test_a_hold_that_cannot_be_recorded_is_told_and_stops_nobody_else(
        self, clearinghouse: LocalClearinghouse, tokens: list[bytes]
    ) -> None:
        clearinghouse.redeem(authorize(1, tokens[0]))
        clearinghouse.pass_seconds(HOLD_SECONDS)
        planted = mock.patch.object(redemptions, "release_hold", side_effect=ArithmeticError("planted"))
        with planted, structlog.testing.capture_logs() as logs:
            answers = clearinghouse.redeem(redeem(2, tokens[1]), redeem(3, tokens[2]))
        assert [outcome(answer) for answer in answers] == ["CAPTURED", "CAPTURED"]
        (log,) = logs
        assert (log["event"], log["error"]) == ("holds that have passed could not be recorded", "planted")
        clearinghouse.check_books()


class TestTheSweep:
    def test_goes_on_at_once_while_there_is_more_than_it_takes(
        self,
        node: LocalNode,
        clearinghouse: LocalClearinghouse,
        tokens: list[bytes],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        (home,) = node.claim()
        node.redeem(authorize(1, home))
        clearinghouse.redeem(*(authorize(n, token) for n, token in enumerate(tokens)))
        for module in ("custodian.overdue", "clearinghouse.service", "node.service"):
            for name in ("HOLDS_A_BATCH", "SWEEP_LIMIT"):
                monkeypatch.setattr(f"{module}.{name}", 1, raising=False)
        for party in (node, clearinghouse):
            party.pass_seconds(8 * 86_400)
            sweep(party)
            assert set(states(party)) == {"EXPIRED"}
            party.check_books()
        assert {row["status"] for row in clearinghouse.rows("voucher")} == {"expired"}
        assert {row["status"] for row in node.rows("voucher") if row["epoch"] == 0} == {"expired"}
        assert all(row["swept"] for row in node.rows("pack"))

    def test_writes_captured_vouchers_once_they_have_ended_and_finds_them_no_more(
        self, clearinghouse: LocalClearinghouse, tokens: list[bytes]
    ) -> None:
        clearinghouse.redeem(redeem(1, tokens[0]), redeem(2, tokens[1], 1))
        assert {row["status"] for row in clearinghouse.rows("voucher")} == {"usable"}, "spend tells of the two"
        clearinghouse.pass_seconds(8 * 86_400)
        sweep(clearinghouse)
        said = sorted(row["status"] for row in clearinghouse.rows("voucher"))
        assert said == ["captured"] * 2 + ["expired"] * 4
        with clearinghouse.database.snapshot() as transaction:
            assert overdue.overdue_vouchers(transaction, CLEARINGHOUSE, 10) == []
        clearinghouse.check_books()

    @pytest.mark.parametrize("find", ["clearinghouse", "node"])
    def test_what_cannot_be_swept_does_not_stand_before_the_others(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, tokens: list[bytes], find: str
    ) -> None:
        party: LocalNode | LocalClearinghouse = clearinghouse if find == "clearinghouse" else node
        first, second = (tokens if find == "clearinghouse" else node.claim(2))[:2]
        party.redeem(authorize(1, first), authorize(2, first, 1))
        party.pass_seconds(1)
        party.redeem(authorize(3, second))
        _give_away(party, keys_of(first)[0].pack_id)
        party.pass_seconds(HOLD_SECONDS)
        with party.database.snapshot() as transaction:
            if isinstance(party, LocalClearinghouse):
                found = clearinghouse_custody.overdue(transaction, 1)
            else:
                found = node_custody.overdue(transaction, HANGZHOU, 1)  # type: ignore[assignment]
        assert [key.pack_id for key in found.vouchers] == [keys_of(second)[0].pack_id]
        sweep(party)
        assert states(party) == ["AUTHORIZED", "AUTHORIZED", "EXPIRED"]

    def test_takes_first_what_has_been_over_for_longest(
        self, clearinghouse: LocalClearinghouse, tokens: list[bytes]
    ) -> None:
        held = []
        for number in (2, 0, 1):
            clearinghouse.redeem(authorize(number, tokens[number]))
            held.append(keys_of(tokens[number])[0])
            clearinghouse.pass_seconds(1)
        clearinghouse.pass_seconds(HOLD_SECONDS)
        look: Callable[..., clearinghouse_custody.Sweep] = clearinghouse_custody.overdue
        with clearinghouse.database.snapshot() as transaction:
            assert look(transaction, 100).vouchers == held
            assert look(transaction, 2).vouchers == held[:2]


def _give_away(party: LocalNode | LocalClearinghouse, pack_id: bytes) -> None:
    """As if somebody else had the pack's vouchers while its holds stand: nothing that this party could end."""
    table = schema.voucher
    with party.database.transaction() as transaction:
        transaction.connection.execute(
            sa.update(table).where(table.c.pack_id == pack_id).values(epoch=table.c.epoch + 1)
        )
