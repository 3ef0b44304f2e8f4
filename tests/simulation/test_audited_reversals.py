"""What was answered to a reverse must hold, whenever the original comes: the auditor's check on books made by hand."""

from __future__ import annotations

import sqlite3

import pytest

from quanlian.v1 import redemption_pb2, refusal_pb2
from simulations.auditor import Promise, network_in_memory
from simulations.auditor.inquiry import Inquiry
from simulations.auditor.reversals import examine_reversals

REGION, PLATFORM = "330100", "alipay"
ORIGINAL, REVERSE, REDEMPTION = bytes([1]) * 16, bytes([2]) * 16, bytes([3]) * 16


def _books() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE request (participant, request_id, body_hash, answer, redemption_id)")
    connection.execute("CREATE TABLE redemption (id, state, discount_fen)")
    return connection


def _findings(node: sqlite3.Connection, clearinghouse: sqlite3.Connection, refused: int = 0) -> list[str]:
    item = redemption_pb2.RedemptionItem(request_id=REVERSE)
    item.reverse.original_request_id = ORIGINAL
    answer = redemption_pb2.RedemptionAnswer(request_id=REVERSE, decider=REGION)
    if refused:
        answer.refusal.reason = refused  # type: ignore[assignment]
    promise = Promise(
        REGION, PLATFORM, REVERSE, "step 2", False, item.SerializeToString(), answer.SerializeToString(), 1.0
    )
    inquiry = Inquiry()
    examine_reversals(network_in_memory({"clearinghouse": clearinghouse, REGION: node}), [promise], inquiry)
    return inquiry.findings


def test_a_reverse_whose_original_is_unknown_to_its_node_is_found() -> None:
    (finding,) = _findings(_books(), _books())
    assert finding == "step 2 at 330100: was answered as done, and the original could still come"


def test_an_original_that_is_answered_as_reversed_is_in_order() -> None:
    node = _books()
    node.execute(
        "INSERT INTO request (participant, request_id, answer, redemption_id) VALUES (?, ?, x'', NULL)",
        (PLATFORM, ORIGINAL),
    )
    assert not _findings(node, _books())


@pytest.mark.parametrize("state", ["AUTHORIZED", "CAPTURED", "PARTLY_REFUNDED"])
def test_an_original_that_stands_at_the_clearinghouse_is_found(state: str) -> None:
    node, clearinghouse = _books(), _books()
    node.execute(
        "INSERT INTO request (participant, request_id, answer, redemption_id) VALUES (?, ?, x'', ?)",
        (PLATFORM, ORIGINAL, REDEMPTION),
    )
    clearinghouse.execute("INSERT INTO redemption VALUES (?, ?, 1000)", (REDEMPTION, state))
    (finding,) = _findings(node, clearinghouse)
    assert f"clearinghouse has the original {state} with 1000 fen" in finding


@pytest.mark.parametrize("state", ["VOIDED", "EXPIRED", "REFUNDED"])
def test_an_original_that_was_undone_is_in_order(state: str) -> None:
    node, clearinghouse = _books(), _books()
    node.execute(
        "INSERT INTO request (participant, request_id, answer, redemption_id) VALUES (?, ?, x'', ?)",
        (PLATFORM, ORIGINAL, REDEMPTION),
    )
    clearinghouse.execute("INSERT INTO redemption VALUES (?, ?, 1000)", (REDEMPTION, state))
    assert not _findings(node, clearinghouse)


def test_a_reverse_that_was_refused_promises_nothing() -> None:
    assert not _findings(_books(), _books(), refusal_pb2.REFUSAL_REASON_NOT_AUTHORIZED)
