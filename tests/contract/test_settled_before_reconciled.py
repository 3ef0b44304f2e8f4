"""A node restored from a backup may hear that a window is settled before it has that window's statement again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from local_parties import HANGZHOU, SHANGHAI, LocalNode, feed_head

from node.reconciling import KeepReconciliation
from node.service import NodeService
from quanlian.accounts import clearing_account, settlement_account
from quanlian.statements import ISSUER, LineFigures, LineKey, Reconciliation, Statement
from quanlian.v1 import custody_pb2

OWED_FEN = 700
LINES = {LineKey(ISSUER, SHANGHAI, "spring"): LineFigures(captures=1, discount_fen=1000, own_share_fen=OWED_FEN)}
STATEMENT = Statement(window=4, region=HANGZHOU, opened_at=1, closed_at=2, opening_fen=0, lines=LINES)


@pytest.fixture
def service(node: LocalNode) -> Iterator[NodeService]:
    node.publish()
    made = node.another_service()
    made.start()
    yield made
    made.close()


def take(service: NodeService, *events: custody_pb2.FeedEvent) -> None:
    asyncio.run(service.take_news(events, feed_head()))


def keep_statement(service: NodeService) -> None:
    asyncio.run(service.engine.submit(KeepReconciliation(STATEMENT, b"{}", Reconciliation([], [], [], [], []))))


def posted(node: LocalNode) -> dict[str, int]:
    accounts = (clearing_account(HANGZHOU), settlement_account(HANGZHOU))
    return {row["account"]: row["posted_fen"] for row in node.rows("account") if row["account"] in accounts}


def settled_once() -> dict[str, int]:
    return {clearing_account(HANGZHOU): OWED_FEN, settlement_account(HANGZHOU): -OWED_FEN}


def test_a_window_that_settles_after_its_statement_came_clears_its_net_position(
    node: LocalNode, service: NodeService
) -> None:
    take(service, custody_pb2.FeedEvent(sequence=1, statement_ready=4))
    keep_statement(service)
    assert posted(node) == {}
    take(service, custody_pb2.FeedEvent(sequence=2, window_settled=4))
    assert posted(node) == settled_once()


def test_a_window_that_settled_before_its_statement_came_again_clears_it_then_and_once(
    node: LocalNode, service: NodeService
) -> None:
    take(
        service,
        *(custody_pb2.FeedEvent(sequence=1, statement_ready=4), custody_pb2.FeedEvent(sequence=2, window_settled=4)),
    )
    assert set(posted(node).values()) <= {0}
    keep_statement(service)
    keep_statement(service)
    assert posted(node) == settled_once()
    assert [row["settled"] for row in node.rows("settlement_window")] == [True]
