"""Advanced legs (垫付): what a funder pays for a dry one stays owed, through split, refund, hand-over and void."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from batch_stories import request_id
from department import linked
from local_parties import (
    LocalClearinghouse,
    LocalNode,
    Party,
    answer_of,
    item,
    keys_of,
    purchase,
)

from custodian.ledger.check import check_books
from quanlian.apportionment import Leg
from quanlian.errors import InvalidInput
from quanlian.v1 import custody_pb2, signed_pb2, voucher_pb2
from quanlian.v1 import redemption_pb2 as pb
from quanlian.wire import handed_voucher
from reporting.campaign_report import report_data, show_report

OWED = "advance/330100/spring/county/city"
AWAY = "advance_away/330100/spring/county/city"
CITY, COUNTY = (f"funding/330100/2026/spring/{name}" for name in ("city", "county"))


def published(node: LocalNode, cascade: str = "advanced") -> bytes:
    """A pack of two; the county's 5.00 leave it 1.66 short of its 3.33 for the second voucher."""
    node.publish(cascade=cascade, county=5)
    (token,) = node.claim()
    return token


def owed(party: Party, account: str = OWED) -> int:
    rows = [row for row in party.rows("account") if row["account"] == account]
    return rows[0]["posted_fen"] if rows else 0


def holds(party: Party) -> bool:
    with party.database.snapshot() as transaction:
        assert check_books(transaction) == []
    return True


def test_what_is_advanced_is_owed_once_it_is_used(node: LocalNode) -> None:
    token = published(node)
    node.redeem(item(request_id(1), redeem=purchase(token, 0, "order-1")))
    assert owed(node) == 0, "the county paid its own part of the first voucher"
    (answer,) = node.redeem(item(request_id(2), redeem=purchase(token, 1, "order-2")))
    assert owed(node) == 166
    legs = {leg.account: [(each.debtor, each.amount_fen) for each in leg.advanced] for leg in answer_of(answer).legs}
    assert legs == {CITY: [(COUNTY, 166)], COUNTY: []}
    assert holds(node)


def test_what_is_borne_is_owed_to_nobody(node: LocalNode) -> None:
    token = published(node, "borne")
    node.redeem(item(request_id(2), redeem=purchase(token, 1, "order-2")))
    assert owed(node) == 0
    assert node.balance("spring/city")[0] == 833


def test_refunds_in_parts_take_the_debt_back_to_nothing(node: LocalNode) -> None:
    token = published(node)
    (answer,) = node.redeem(item(request_id(1), redeem=purchase(token, 1, "order-1")))
    id = answer_of(answer).redemption_id
    left = []
    for number, order_fen in enumerate((1000, 1700, 3100), 2):
        node.redeem(item(request_id(number), refund=pb.Refund(redemption_id=id, order_fen=order_fen)))
        left.append(owed(node))
        assert holds(node)
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0


def test_a_smaller_capture_and_a_void_leave_the_make_up_right(node: LocalNode) -> None:
    token = published(node)
    (held,) = node.redeem(item(request_id(1), authorize=purchase(token, 1, "order-1")))
    node.redeem(item(request_id(2), void=pb.Void(redemption_id=answer_of(held).redemption_id)))
    (again,) = node.redeem(item(request_id(3), authorize=purchase(token, 1, "order-1")))
    assert answer_of(again).legs == answer_of(held).legs, "the voucher has its reservation again, make-up and all"
    capture = pb.Capture(redemption_id=answer_of(again).redemption_id, order_fen=2900)
    node.redeem(item(request_id(4), capture=capture))
    assert owed(node) == 83
    assert holds(node)


def test_the_make_up_moves_with_custody(node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
    token = published(node)
    clearinghouse.learn(node)
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(token))))
    clearinghouse.redeem(item(request_id(1), redeem=purchase(token, 1, "order-1")))
    # Of 10.00, 7.00 are the issuer's: its city's 5.83 hold 1.16 of the county's 1.66.
    assert owed(clearinghouse) == 116
    assert holds(clearinghouse)
    assert holds(node)


@pytest.fixture
def both(node: LocalNode, clearinghouse: LocalClearinghouse) -> bytes:
    """Two packs of which the city advances for the county: 1.66, 3.33 and 3.33; all but the first are used away."""
    token = published(node)
    (second,) = node.claim()
    clearinghouse.learn(node)
    node.redeem(item(request_id(1), redeem=purchase(token, 1, "order-1")))
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(second))))
    for index in (0, 1):
        clearinghouse.redeem(item(request_id(2 + index), redeem=purchase(second, index, f"order-{2 + index}")))
    node.follow(clearinghouse)
    return second


def test_the_issuer_sees_what_its_funders_owe_each_other_for_use_away(
    node: LocalNode, clearinghouse: LocalClearinghouse, both: bytes
) -> None:
    assert (owed(node), owed(node, AWAY), owed(clearinghouse)) == (166, 466, 466)
    assert holds(node)
    assert holds(clearinghouse)


def test_refunds_away_take_the_debt_back_at_the_issuer_too(
    node: LocalNode, clearinghouse: LocalClearinghouse, both: bytes
) -> None:
    redemptions = [row["id"] for row in clearinghouse.rows("redemption")]
    for number, order_fen in enumerate((1000, 1700, 3100)):
        for n, id in enumerate(redemptions):
            request = request_id(10 + 2 * number + n)
            clearinghouse.redeem(item(request, refund=pb.Refund(redemption_id=id, order_fen=order_fen)))
        node.follow(clearinghouse)
        assert owed(node, AWAY) == owed(clearinghouse)
        assert holds(node)
    assert (owed(node), owed(node, AWAY)) == (166, 0)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (f"UPDATE account SET posted_fen = posted_fen - 9 WHERE account = '{AWAY}'", AWAY),
        (f"DELETE FROM account WHERE account = '{AWAY}'", AWAY),
        (f"DELETE FROM line WHERE account = '{AWAY}'", AWAY),
        ("UPDATE clearing_item SET legs = REPLACE(legs, '233]]]', '230]]]')", f"{AWAY}"),
        ("UPDATE account SET account = 'advance_away/330100/spring/city/county' WHERE account = '" + AWAY + "'", AWAY),
    ],
)
def test_a_mirrored_debt_that_was_tampered_with_is_named(
    node: LocalNode, clearinghouse: LocalClearinghouse, both: bytes, statement: str, named: str
) -> None:
    with node.database.transaction() as transaction:
        assert transaction.connection.execute(sa.text(statement)).rowcount
    with node.database.snapshot() as transaction:
        rows = [finding.row for finding in check_books(transaction)]
    assert any(named in row for row in rows), rows


def test_the_campaigns_report_adds_the_debts_of_both_ledgers_up(
    node: LocalNode, clearinghouse: LocalClearinghouse, both: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    issuing = linked(node, clearinghouse)
    issuing.service.start()
    figures = issuing.do(issuing.settling.report("spring"))
    there = clearinghouse.do(clearinghouse.service.settlement.campaign_figures("spring", "330100"))
    issuing.service.close()
    names = {"debtor": "county", "debtor_title_zh": "县", "advancer": "city", "advancer_title_zh": "市"}
    assert report_data(figures)["advances"] == [names | {"home_fen": 166, "away_fen": 466, "owed_fen": 632}]
    assert report_data(there)["advances"] == [names | {"home_fen": None, "away_fen": 466, "owed_fen": None}]
    show_report(figures)
    shown = capsys.readouterr().out
    assert "应还垫付 Advances owed" in shown
    assert "6.32" in shown


@pytest.mark.parametrize(
    ("debtor", "fen", "problem"),
    [
        (COUNTY, 1001, "at most the 1000 fen"),
        (COUNTY, -1, "0 to"),
        ("funding/330100/2026/autumn/county", 1, "other funders of the same campaign"),
        (CITY, 1, "other funders of the same campaign"),
    ],
)
def test_a_hand_over_with_a_made_up_debt_is_refused(debtor: str, fen: int, problem: str) -> None:
    leg = signed_pb2.Leg(account=CITY, amount_fen=1000, advanced=[signed_pb2.Advance(debtor=debtor, amount_fen=fen)])
    message = custody_pb2.HandedVoucher(pack_id=bytes(15), reservation=voucher_pb2.Reservation(public=[leg]))
    with pytest.raises(InvalidInput, match=problem):
        handed_voucher(message, "330100")


def test_a_leg_and_its_rest_make_the_leg_again() -> None:
    leg = Leg(CITY, 833, ((COUNTY, 100), ("funding/330100/2026/spring/town", 66)))
    for amount in range(834):
        part = leg.part(amount)
        rest = leg.plus(part, -1)
        assert min(fen for _, fen in (*part.advanced, *rest.advanced, ("", 0))) >= 0
        assert rest.plus(part).amount_fen == 833
        assert sorted(rest.plus(part).advanced) == sorted(leg.advanced)
