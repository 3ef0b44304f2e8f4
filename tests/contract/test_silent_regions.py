"""A region that says nothing to its statement: past the dispute deadline it counts as having confirmed."""

from __future__ import annotations

import pytest
from local_parties import HANGZHOU, SHANGHAI, LocalClearinghouse, LocalNode, answer_of, item, keys_of, purchase

from clearinghouse.windows import Confirm
from quanlian.errors import InvalidInput
from quanlian.signing import digest
from quanlian.v1 import settlement_pb2, signed_pb2

DAY = 86_400


def instruct(clearinghouse: LocalClearinghouse, window: int = 1) -> None:
    clearinghouse.do(clearinghouse.service.settlement.instruct(window))


def confirmed_by(clearinghouse: LocalClearinghouse, window: int = 1) -> dict[str, str]:
    shown = clearinghouse.do(clearinghouse.service.settlement.window(window))
    assert all(each.confirmed is bool(each.confirmed_by) for each in shown.positions)
    return {each.region: each.confirmed_by for each in shown.positions}


@pytest.fixture
def closed(node: LocalNode, clearinghouse: LocalClearinghouse) -> LocalClearinghouse:
    """One voucher of Hangzhou's used in Shanghai; its window is closed, and nobody has confirmed it."""
    node.publish()
    clearinghouse.learn(node)
    (token,) = node.claim(1)
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(token))))
    (answer,) = clearinghouse.redeem(item(bytes(15) + b"a", redeem=purchase(token, 0, "order-1")))
    assert not answer_of(answer).HasField("refusal")
    clearinghouse.do(clearinghouse.service.settlement.close_window())
    return clearinghouse


def test_a_window_waits_for_its_regions_until_the_last_day_for_disputes(closed: LocalClearinghouse) -> None:
    said = r"310000 \(may dispute it until 2026-06-13\), 330100 \(may dispute it until 2026-06-13\)"
    with pytest.raises(InvalidInput, match=f"window 1 is not confirmed by {said}"):
        instruct(closed)
    closed.pass_seconds(15 * DAY)
    with pytest.raises(InvalidInput, match="逾期视为确认"):
        instruct(closed)
    assert confirmed_by(closed) == {HANGZHOU: "", SHANGHAI: ""}


def test_one_silent_region_does_not_hold_up_the_settlement_of_all(closed: LocalClearinghouse) -> None:
    closed.pass_seconds(16 * DAY)
    instruct(closed)
    assert confirmed_by(closed) == {HANGZHOU: "deadline", SHANGHAI: "deadline"}
    assert closed.rows("settlement_window")[0]["state"] == "INSTRUCTED"
    closed.check_books()


def test_who_confirmed_is_told_from_who_was_silent(closed: LocalClearinghouse) -> None:
    (row,) = (row for row in closed.rows("statement") if row["region"] == HANGZHOU)
    word = settlement_pb2.Confirmation(region=HANGZHOU, window=1, statement_digest=digest("statement", row["document"]))
    closed.decide(Confirm(HANGZHOU, signed_pb2.SignedMessage(body=word.SerializeToString()), word))
    closed.pass_seconds(16 * DAY)
    instruct(closed)
    assert confirmed_by(closed) == {HANGZHOU: "region", SHANGHAI: "deadline"}
