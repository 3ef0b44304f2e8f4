"""A region hears how its dispute was decided, and the other region what an adjusting entry did to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from department import Department, linked
from local_parties import HANGZHOU, SHANGHAI, LocalClearinghouse, LocalNode, item, keys_of, purchase

from quanlian.errors import InvalidInput
from quanlian.v1 import clearing_operator_pb2, node_operator_pb2, settlement_pb2

ISSUERS_LINE = settlement_pb2.LineRef(role="issuer", counterpart=SHANGHAI, campaign="spring")
LODGED = settlement_pb2.LineRef(role="balance", counterpart=HANGZHOU, campaign="lodged")


@pytest.fixture
def department(node: LocalNode, clearinghouse: LocalClearinghouse) -> Iterator[Department]:
    """One voucher of Hangzhou's used in Shanghai, in window 1, which is closed."""
    node.publish()
    clearinghouse.learn(node)
    (away,) = node.claim()
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(away))))
    clearinghouse.redeem(item(bytes(15) + b"a", redeem=purchase(away, 0, "order-1")), region=SHANGHAI)
    clearinghouse.do(clearinghouse.service.settlement.close_window())
    found = linked(node, clearinghouse)
    found.service.start()
    found.hear()
    yield found
    found.service.close()


def decide(
    department: Department, *adjustments: tuple[bytes, int], why: str, number: int = 1
) -> clearing_operator_pb2.ResolveDisputeResponse:
    request = clearing_operator_pb2.ResolveDisputeRequest(
        region=HANGZHOU,
        number=number,
        upheld=bool(adjustments),
        why=why,
        adjustments=[clearing_operator_pb2.Adjustment(redemption_id=id, amount_fen=fen) for id, fen in adjustments],
    )
    return department.do(department.clearinghouse.service.settlement.resolve_dispute(request))


def told(department: Department, region: str) -> list[settlement_pb2.DisputeDecision]:
    events = department.clearinghouse.feed(region)
    return [event.dispute_decided for event in events if event.HasField("dispute_decided")]


def known(department: Department) -> list[node_operator_pb2.KnownDispute]:
    return department.do(department.settling.disputes())


def not_decided(department: Department) -> int:
    operations = department.node.operations_of(department.service)
    return department.do(operations.status()).disputes_open


def test_a_rejection_reaches_the_region_that_disputed_with_its_reason(department: Department) -> None:
    department.dispute(ISSUERS_LINE, why="sold to nobody")
    assert not_decided(department) == 1
    assert [each.HasField("decision") for each in known(department)] == [False]
    decide(department, why="the receipt is there")
    department.hear()
    (shown,) = known(department)
    assert (shown.dispute.number, shown.dispute.why, shown.sent) == (1, "sold to nobody", True)
    assert (shown.decision.outcome, shown.decision.why) == ("rejected", "the receipt is there")
    assert list(shown.decision.booked) == []
    assert not_decided(department) == 0
    assert told(department, SHANGHAI) == []


def test_a_blank_is_no_reason_of_a_decision(department: Department) -> None:
    department.dispute(ISSUERS_LINE)
    with pytest.raises(InvalidInput, match="needs a reason"):
        decide(department, why=" ")
    assert not_decided(department) == 1


def test_an_adjustment_reaches_both_regions_with_the_entry_that_booked_it(department: Department) -> None:
    department.dispute(ISSUERS_LINE, LODGED)
    (redemption,) = department.clearinghouse.rows("redemption")
    booked = decide(department, (redemption["id"], 200), why="so it is").booked
    department.hear()
    (shown,) = known(department)
    assert (shown.decision.outcome, list(shown.decision.booked)) == ("upheld", list(booked))
    (posting,) = [row for row in department.clearinghouse.rows("posting") if row["discount_fen"] < 0]
    assert [(each.entry, each.window, each.amount_fen) for each in booked] == [(posting["entry"], 2, 200)]


def test_the_redeeming_region_of_an_adjustment_hears_of_its_own_lines_only(department: Department) -> None:
    department.dispute(ISSUERS_LINE, LODGED)
    (redemption,) = department.clearinghouse.rows("redemption")
    booked = decide(department, (redemption["id"], 200), why="so it is").booked
    (decision,) = told(department, SHANGHAI)
    assert (decision.outcome, decision.why, list(decision.booked)) == ("upheld", "so it is", list(booked))
    assert (decision.dispute.region, decision.dispute.number, decision.dispute.by) == (HANGZHOU, 1, "")
    assert list(decision.dispute.lines) == [ISSUERS_LINE]


def test_a_reconciliation_shows_the_disputes_of_its_window(department: Department) -> None:
    department.dispute(ISSUERS_LINE)
    decide(department, why="it was sold")
    department.do(department.clearinghouse.service.settlement.close_window())
    department.hear()
    assert [each.decision.outcome for each in department.reconciliation().disputes] == ["rejected"]
    assert list(department.reconciliation(2).disputes) == []


def test_a_decision_told_anew_replaces_the_one_before(department: Department) -> None:
    """A restored clearinghouse has forgotten what it decided, and decides again."""
    department.dispute(ISSUERS_LINE)
    decide(department, why="it was sold")
    department.hear()
    (first,) = told(department, HANGZHOU)
    again = settlement_pb2.DisputeDecision()
    again.CopyFrom(first)
    again.why = "looked at again"
    with department.clearinghouse.database.transaction() as transaction:
        desk = department.clearinghouse.service.engine.desk(transaction)
        desk.tell(HANGZHOU, dispute_decided=again)
        desk.save("test")
    department.hear()
    assert [each.decision.why for each in known(department)] == ["looked at again"]
    department.node.check_books()
