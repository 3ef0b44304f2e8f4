"""What a department does with a statement: reconcile, confirm by hand, dispute; the clearinghouse is a real one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from department import Department, Link, linked
from local_parties import (
    AT,
    HANGZHOU,
    OPERATOR,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    answer_of,
    item,
    keys_of,
    purchase,
    undone,
)
from sound_parties import check

from clearinghouse.disputes import TakeDispute
from node import schema
from quanlian.errors import InvalidInput, Unavailable
from quanlian.v1 import clearing_operator_pb2, node_operator_pb2, redemption_pb2, settlement_pb2, signed_pb2

OTHER_OPERATOR = OPERATOR._replace(name="other")
ISSUERS_LINE = settlement_pb2.LineRef(role="issuer", counterpart=SHANGHAI, campaign="spring")


@pytest.fixture
def department(node: LocalNode, clearinghouse: LocalClearinghouse) -> Iterator[Department]:
    """One voucher used in Shanghai and one at home, window 1 closed; the node has heard all of it."""
    node.publish()
    clearinghouse.learn(node)
    away, home = node.claim(2)
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(away))))
    (answer,) = clearinghouse.redeem(item(bytes(15) + b"a", redeem=purchase(away, 0, "order-1")))
    assert not answer_of(answer).HasField("refusal")
    node.redeem(item(bytes(15) + b"b", redeem=purchase(home, 0, "order-2")))
    clearinghouse.do(clearinghouse.service.settlement.close_window())
    found = linked(node, clearinghouse)
    found.service.start()
    found.hear()
    yield found
    found.service.close()


def lists(answer: node_operator_pb2.GetReconciliationResponse) -> dict[str, list[tuple[str, ...]]]:
    found: dict[str, list[tuple[str, ...]]] = {}
    for each in answer.lines:
        found.setdefault(each.list, []).append(tuple(each.key))
    return found


def test_every_line_is_shown_with_both_sides(department: Department) -> None:
    answer = department.reconciliation()
    assert lists(answer).keys() == {"matched", "unchecked"}
    assert lists(answer)["unchecked"] == [("balance", HANGZHOU, "lodged")]
    line = next(each for each in answer.lines if each.key[0] == "issuer")
    assert (list(line.key), list(line.statement)) == (
        ["issuer", SHANGHAI, "spring"],
        [1, 5800, 1000, 0, 0, 0, 700],
    )
    assert line.own == line.statement


def test_a_fully_matched_daily_statement_confirms_itself(department: Department) -> None:
    assert not department.reconciliation().confirmed
    department.do(department.service.reconciler.reconcile_open_windows())
    assert department.reconciliation().confirmed
    (row,) = [row for row in department.clearinghouse.rows("statement") if row["region"] == HANGZHOU]
    word = settlement_pb2.Confirmation.FromString(row["confirmation"])
    assert (word.matched, word.by) == (8, "")


def lose_postings(department: Department) -> None:
    """The node's own books lack what the clearinghouse posted."""
    with department.node.database.transaction() as transaction:
        transaction.connection.execute(schema.clearing_item.delete())


def test_a_difference_is_never_confirmed_by_itself_and_by_a_person_only_once_it_is_disputed(
    department: Department,
) -> None:
    lose_postings(department)
    department.do(department.service.reconciler.reconcile_open_windows())
    answer = department.reconciliation()
    assert not answer.confirmed
    assert ("issuer", SHANGHAI, "spring") in lists(answer)["extra"]
    with pytest.raises(InvalidInput, match=r"differs from this node's books — .* · dispute the line first"):
        department.do(department.settling.confirm(OPERATOR, 1, ""))
    assert department.dispute(ISSUERS_LINE) == 1
    department.do(department.settling.confirm(OPERATOR, 1, ""))
    assert department.reconciliation().confirmed
    (row,) = [row for row in department.clearinghouse.rows("statement") if row["region"] == HANGZHOU]
    word = settlement_pb2.Confirmation.FromString(row["confirmation"])
    assert (word.extra, word.by) == (3, OPERATOR.uri)


def leave_off(department: Department) -> None:
    """What the node heard as of window 1 it believes to be of window 2, whose statement has nothing of it."""
    department.do(department.clearinghouse.service.settlement.close_window())
    department.hear()
    with department.node.database.transaction() as transaction:
        transaction.connection.execute(schema.clearing_item.update().values(settlement_window=2))
    department.do(department.service.reconciler.reconcile_open_windows())


def test_a_line_that_the_statement_lacks_is_disputed_with_what_our_books_have_and_then_confirmed(
    department: Department,
) -> None:
    leave_off(department)
    assert lists(department.reconciliation(2))["missing"][-1] == tuple(
        getattr(ISSUERS_LINE, name) for name in ("role", "counterpart", "campaign")
    )
    with pytest.raises(InvalidInput, match="differs from this node's books"):
        department.do(department.settling.confirm(OPERATOR, 2, ""))
    department.dispute(ISSUERS_LINE, window=2)
    department.do(department.settling.confirm(OPERATOR, 2, ""))
    assert department.reconciliation(2).confirmed
    (theirs,) = department.clearinghouse.rows("dispute")
    (line,) = settlement_pb2.Dispute.FromString(theirs["body"]).lines
    (redemption,) = department.clearinghouse.rows("redemption")
    assert list(line.redemption_ids) == [redemption["id"]]
    assert list(line.own_figures) == [1, 5800, 1000, 0, 0, 0, 700]


def test_that_a_line_was_left_out_is_upheld_without_money_going_back(department: Department) -> None:
    leave_off(department)
    department.dispute(ISSUERS_LINE, window=2)
    before = department.clearinghouse.rows("line")
    request = clearing_operator_pb2.ResolveDisputeRequest(region=HANGZHOU, number=1, upheld=True, why="on window 1")
    answer = department.do(department.clearinghouse.service.settlement.resolve_dispute(request))
    assert (answer.dispute.outcome, list(answer.booked)) == ("upheld", [])
    assert department.clearinghouse.rows("line") == before


def test_a_dispute_that_the_clearinghouse_does_not_take_leaves_its_number_to_the_next(
    department: Department,
) -> None:
    leave_off(department)
    (redemption,) = department.clearinghouse.rows("redemption")
    autumn = settlement_pb2.LineRef(role="issuer", counterpart=SHANGHAI, campaign="autumn")
    with department.node.database.transaction() as transaction:
        transaction.connection.execute(schema.clearing_item.update().values(campaign="autumn"))
    with pytest.raises(InvalidInput, match=f"redemption {redemption['id'].hex()} is not of issuer/310000/autumn"):
        department.dispute(autumn, window=2)
    assert department.node.rows("dispute") == department.clearinghouse.rows("dispute") == []
    assert department.dispute(ISSUERS_LINE) == 1


def test_a_line_of_no_redemptions_is_no_line(department: Department) -> None:
    dispute = settlement_pb2.Dispute(region=HANGZHOU, number=1, window=1, why="invented")
    dispute.lines.add(role="issuer", counterpart=SHANGHAI, campaign="summer")
    work = TakeDispute(signed_pb2.SignedMessage(body=dispute.SerializeToString()), dispute)
    (refused,) = department.clearinghouse.decide(work)
    assert isinstance(refused, InvalidInput)
    assert "issuer/310000/summer is no line of window 1" in str(refused)


def test_a_dispute_names_lines_of_the_statement_and_is_kept_signed_on_both_sides(department: Department) -> None:
    wrong = settlement_pb2.LineRef(role="redeemer", counterpart=SHANGHAI, campaign="spring")
    with pytest.raises(InvalidInput, match=r"is no line of window 1 — 可写的行 · its lines are .*issuer/310000/spring"):
        department.dispute(wrong)
    with pytest.raises(InvalidInput, match="at least one line and a reason"):
        department.dispute(ISSUERS_LINE, why=" ")
    assert [department.dispute(ISSUERS_LINE), department.dispute(ISSUERS_LINE, why="wrong sale")] == [1, 2]
    ours, theirs = department.node.rows("dispute"), department.clearinghouse.rows("dispute")
    assert [row["body"] for row in ours] == [row["body"] for row in theirs]
    assert [row["sent"] for row in ours] == [True, True]
    raised = settlement_pb2.Dispute.FromString(theirs[0]["body"])
    assert (raised.by, raised.why, raised.at) == (OPERATOR.uri, "wrong order", AT)


def test_a_dispute_raised_again_for_the_same_lines_and_reason_is_the_one_that_is_known(
    department: Department,
) -> None:
    balance = settlement_pb2.LineRef(role="balance", counterpart=HANGZHOU, campaign="lodged")
    assert [department.dispute(ISSUERS_LINE, balance), department.dispute(balance, ISSUERS_LINE)] == [1, 1]
    assert [department.dispute(ISSUERS_LINE), department.dispute(balance)] == [2, 3]
    assert [row["number"] for row in department.clearinghouse.rows("dispute")] == [1, 2, 3]


def test_the_last_dispute_that_is_deleted_is_missed_on_either_side(department: Department) -> None:
    department.dispute(ISSUERS_LINE)
    for party, row in ((department.node, "1"), (department.clearinghouse, f"{HANGZHOU}/1")):
        party.check_books()
        with undone(party):
            with party.database.transaction() as transaction:
                transaction.connection.execute(party.tables["dispute"].delete())
            assert [(each.table, each.row) for each in check(party)] == [("dispute", row)]


def test_a_dispute_that_could_not_be_sent_is_sent_later(
    department: Department, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Link, *of_it: signed_pb2.SignedMessage) -> None:
        raise Unavailable("no route")

    with monkeypatch.context() as patch:
        patch.setattr(Link, "dispute", broken)
        with pytest.raises(Unavailable):
            department.dispute(ISSUERS_LINE)
    assert department.clearinghouse.rows("dispute") == []
    department.do(department.settling.send_disputes())
    department.do(department.settling.send_disputes())
    assert [row["number"] for row in department.clearinghouse.rows("dispute")] == [1]


def test_a_rejected_dispute_books_nothing(department: Department) -> None:
    department.dispute(ISSUERS_LINE)
    before = department.clearinghouse.rows("line")
    request = clearing_operator_pb2.ResolveDisputeRequest(region=HANGZHOU, number=1, upheld=False, why="as it was sold")
    record = department.do(department.clearinghouse.service.settlement.resolve_dispute(request)).dispute
    assert (record.outcome, record.resolution) == ("rejected", "as it was sold")
    assert department.clearinghouse.rows("line") == before


def test_an_adjustment_must_be_of_a_disputed_line_and_within_what_is_left(department: Department) -> None:
    department.dispute(ISSUERS_LINE)
    (redemption,) = department.clearinghouse.rows("redemption")
    for id, fen, why in (
        (bytes(16), 1, "none of the disputed lines"),
        (redemption["id"], 1001, "尚余10.00元，不能调整10.01元 · .* 10.00 yuan left"),
    ):
        adjustment = clearing_operator_pb2.Adjustment(redemption_id=id, amount_fen=fen)
        request = clearing_operator_pb2.ResolveDisputeRequest(
            region=HANGZHOU, number=1, upheld=True, why="so", adjustments=[adjustment]
        )
        with pytest.raises(InvalidInput, match=why):
            department.do(department.clearinghouse.service.settlement.resolve_dispute(request))


def test_an_adjustment_must_be_of_the_disputed_window(department: Department) -> None:
    """What was used in window 2 is not given back for a dispute of window 1, though its line is named alike."""
    department.dispute(ISSUERS_LINE)
    (other,) = department.node.claim(1)
    department.clearinghouse.decide(*department.clearinghouse.hand_overs(department.node.release(*keys_of(other))))
    (answer,) = department.clearinghouse.redeem(item(bytes(15) + b"c", redeem=purchase(other, 0, "order-3")))
    assert not answer_of(answer).HasField("refusal")
    (later,) = (row for row in department.clearinghouse.rows("redemption") if row["settlement_window"] == 2)
    adjustment = clearing_operator_pb2.Adjustment(redemption_id=later["id"], amount_fen=5)
    request = clearing_operator_pb2.ResolveDisputeRequest(
        region=HANGZHOU, number=1, upheld=True, why="so", adjustments=[adjustment]
    )
    with pytest.raises(InvalidInput, match=f"{later['id'].hex()} is on none of the disputed lines"):
        department.do(department.clearinghouse.service.settlement.resolve_dispute(request))


def test_an_adjustment_must_be_of_the_disputed_role(department: Department) -> None:
    """As a redeemer's line nothing goes back of what was used as the issuer's."""
    (redemption,) = department.clearinghouse.rows("redemption")
    adjustment = clearing_operator_pb2.Adjustment(redemption_id=redemption["id"], amount_fen=5)

    def uphold(number: int) -> clearing_operator_pb2.ResolveDisputeResponse:
        request = clearing_operator_pb2.ResolveDisputeRequest(
            region=HANGZHOU, number=number, upheld=True, why="so", adjustments=[adjustment]
        )
        return department.do(department.clearinghouse.service.settlement.resolve_dispute(request))

    assert department.dispute(ISSUERS_LINE) == 1
    assert [each.amount_fen for each in uphold(1).booked] == [5]
    dispute = settlement_pb2.Dispute(region=HANGZHOU, number=2, window=1, why="so")
    dispute.lines.add(role="redeemer", counterpart=SHANGHAI, campaign="spring", redemption_ids=[bytes(16)])
    department.clearinghouse.decide(TakeDispute(signed_pb2.SignedMessage(body=dispute.SerializeToString()), dispute))
    with pytest.raises(InvalidInput, match="is on none of the disputed lines"):
        uphold(2)


def test_a_region_that_is_owed_more_is_not_upheld_by_taking_money_from_it(department: Department) -> None:
    """Of 1.00 given back Shanghai would pay 1.00 and get its visitors' fund's 0.30."""
    (redemption,) = department.clearinghouse.rows("redemption")
    dispute = settlement_pb2.Dispute(region=SHANGHAI, number=1, window=1, why="too little")
    dispute.lines.add(role="redeemer", counterpart=HANGZHOU, campaign="spring")
    taken = department.clearinghouse.decide(
        TakeDispute(signed_pb2.SignedMessage(body=dispute.SerializeToString()), dispute)
    )
    assert taken == [AT], "since when it is there"
    before = [department.clearinghouse.rows(table) for table in ("dispute", "entry", "posting", "feed")]
    request = clearing_operator_pb2.ResolveDisputeRequest(
        region=SHANGHAI,
        number=1,
        upheld=True,
        why="so",
        adjustments=[clearing_operator_pb2.Adjustment(redemption_id=redemption["id"], amount_fen=100)],
    )
    with pytest.raises(InvalidInput) as refused:
        department.do(department.clearinghouse.service.settlement.resolve_dispute(request))
    assert "使提出异议的310000少得0.70元" in str(refused.value)
    assert "costs 310000, which disputed, 0.70 yuan" in str(refused.value)
    assert [department.clearinghouse.rows(table) for table in ("dispute", "entry", "posting", "feed")] == before
    request.adjustments.clear()
    with pytest.raises(InvalidInput, match="needs a reason, and adjustments"):
        department.do(department.clearinghouse.service.settlement.resolve_dispute(request))
    request.upheld, request.why = False, "the regions settle it between them"
    assert department.do(department.clearinghouse.service.settlement.resolve_dispute(request)).dispute.outcome == (
        "rejected"
    )
    department.clearinghouse.check_books()


def test_a_dispute_after_its_last_day_is_refused_with_that_day(department: Department) -> None:
    department.clearinghouse.pass_seconds(15 * 86_400)
    assert department.dispute(ISSUERS_LINE) == 1
    department.clearinghouse.pass_seconds(86_400)
    with pytest.raises(InvalidInput, match="window 1 could be disputed until 2026-06-13"):
        department.dispute(ISSUERS_LINE, why="another reason")
    assert department.dispute(ISSUERS_LINE) == 1, "that is known already"
    assert [row["number"] for row in department.node.rows("dispute")] == [1]


def test_a_redemption_is_adjusted_once_by_a_dispute_and_the_answer_says_where_it_is_booked(
    department: Department,
) -> None:
    department.dispute(ISSUERS_LINE)
    (redemption,) = department.clearinghouse.rows("redemption")
    once = clearing_operator_pb2.Adjustment(redemption_id=redemption["id"], amount_fen=1)

    def uphold(*adjustments: clearing_operator_pb2.Adjustment) -> clearing_operator_pb2.ResolveDisputeResponse:
        request = clearing_operator_pb2.ResolveDisputeRequest(
            region=HANGZHOU, number=1, upheld=True, why="so", adjustments=adjustments
        )
        return department.do(department.clearinghouse.service.settlement.resolve_dispute(request))

    before = department.clearinghouse.rows("posting")
    with pytest.raises(InvalidInput, match=f"redemption {redemption['id'].hex()} is named 2 times"):
        uphold(once, once)
    assert department.clearinghouse.rows("posting") == before
    answer = uphold(once)
    (posting,) = (row for row in department.clearinghouse.rows("posting") if row not in before)
    (told,) = answer.booked
    assert answer.dispute.outcome == "upheld"
    assert (told.redemption_id, told.amount_fen) == (redemption["id"], 1)
    assert (told.entry, told.window) == (posting["entry"], posting["settlement_window"])


def test_the_same_decision_again_gives_the_first_one_s_answer_and_books_nothing(department: Department) -> None:
    department.dispute(ISSUERS_LINE)
    department.dispute(ISSUERS_LINE, why="sold to nobody")
    settlement = department.clearinghouse.service.settlement
    (redemption,) = department.clearinghouse.rows("redemption")

    def resolve(number: int, why: str, *fen: int) -> clearing_operator_pb2.ResolveDisputeResponse:
        request = clearing_operator_pb2.ResolveDisputeRequest(
            region=HANGZHOU,
            number=number,
            upheld=bool(fen),
            why=why,
            adjustments=[
                clearing_operator_pb2.Adjustment(redemption_id=redemption["id"], amount_fen=each) for each in fen
            ],
        )
        return department.do(settlement.resolve_dispute(request))

    first = resolve(1, "so it is", 5), resolve(2, "it was sold")
    department.do(settlement.close_window())
    department.clearinghouse.pass_seconds(60)
    before = [department.clearinghouse.rows(table) for table in ("dispute", "entry", "posting", "feed")]
    assert (resolve(1, "so it is", 5), resolve(2, "it was sold")) == first
    for number, why, *fen in ((1, "so it is", 6), (1, "so it is"), (1, "another reason", 5)):
        with pytest.raises(InvalidInput, match="is upheld already"):
            resolve(number, why, *fen)
    with pytest.raises(InvalidInput, match="is rejected already"):
        resolve(2, "another reason")
    assert [department.clearinghouse.rows(table) for table in ("dispute", "entry", "posting", "feed")] == before


def test_a_return_after_an_upheld_dispute_gives_the_shopper_what_was_paid_and_funders_nothing_twice(
    department: Department,
) -> None:
    """Of an order of 58.00 the shopper paid 48.00; who bears the other 10.00 is no matter of theirs."""
    department.dispute(ISSUERS_LINE)
    clearinghouse = department.clearinghouse
    (redemption,) = clearinghouse.rows("redemption")
    adjustment = clearing_operator_pb2.Adjustment(redemption_id=redemption["id"], amount_fen=1000)
    request = clearing_operator_pb2.ResolveDisputeRequest(
        region=HANGZHOU, number=1, upheld=True, why="so", adjustments=[adjustment]
    )
    department.do(clearinghouse.service.settlement.resolve_dispute(request))
    refund = redemption_pb2.Refund(redemption_id=redemption["id"], order_fen=5800)
    (answer,) = clearinghouse.redeem(item(bytes(15) + b"r", refund=refund))
    told = answer_of(answer)
    assert (told.shopper_fen, told.returned_fen, told.discount_fen) == (4800, 0, 0)
    clearinghouse.check_books()


def test_what_can_no_longer_be_disputed_is_confirmed_with_a_signed_reservation(department: Department) -> None:
    lose_postings(department)
    for party in (department.node, department.clearinghouse):
        party.pass_seconds(40 * 86_400)
    department.clearinghouse.do(department.clearinghouse.service.settlement.close_window())
    department.hear()
    department.do(department.service.reconciler.reconcile_open_windows())
    with pytest.raises(InvalidInput, match="could be disputed until"):
        department.dispute(ISSUERS_LINE)
    for window, month in ((1, ""), (0, "2026-05")):
        with pytest.raises(InvalidInput, match=f"issuer/{SHANGHAI}/spring differs.*--with-reservation"):
            department.do(department.settling.confirm(OPERATOR, window, month, "  "))
        assert not department.reconciliation(window, month).confirmed
        department.do(department.settling.confirm(OPERATOR, window, month, "our copy was lost"))
        answer = department.reconciliation(window, month)
        assert (answer.confirmed, answer.reservation) == (True, "our copy was lost")
        settlement = department.clearinghouse.service.settlement
        assert department.do(settlement.reservation(HANGZHOU, window, month)) == "our copy was lost"
    (row,) = (row for row in department.clearinghouse.rows("monthly_statement") if row["region"] == HANGZHOU)
    word = settlement_pb2.Confirmation.FromString(row["confirmation"])
    assert (word.by, word.reservation) == (OPERATOR.uri, "our copy was lost")
    assert f"issuer/{SHANGHAI}/spring" in word.reserved
    shown = department.do(department.clearinghouse.service.settlement.window(1))
    assert [each.reservation for each in shown.positions if each.region == HANGZHOU] == ["our copy was lost"]
    department.clearinghouse.check_books()


def test_a_statement_that_agrees_is_confirmed_without_a_reservation(department: Department) -> None:
    department.do(department.settling.confirm(OPERATOR, 1, "", "just in case"))
    answer = department.reconciliation()
    assert (answer.confirmed, answer.reservation) == (True, "")


def test_a_month_waits_for_a_person(department: Department) -> None:
    department.clearinghouse.pass_seconds(40 * 86_400)
    department.node.pass_seconds(40 * 86_400)
    department.clearinghouse.do(department.clearinghouse.service.settlement.close_window())
    department.hear()
    before = department.reconciliation(0, "2026-05")
    assert list(before.not_reconciled) == [1, 2]
    assert {each.key[2] for each in before.lines if each.list == "extra"} >= {"lodged", "paid_out"}
    department.do(department.service.reconciler.reconcile_open_windows())
    assert not department.reconciliation(0, "2026-05").not_reconciled
    assert not department.reconciliation(0, "2026-05").confirmed
    assert not department.do(department.settling.confirm(OPERATOR, 0, "2026-05")).confirmed_before
    again = department.do(department.settling.confirm(OTHER_OPERATOR, 0, "2026-05"))
    assert again.confirmed_before, "the first confirmation stays"
    assert department.reconciliation(0, "2026-05").confirmed
    assert [row["confirmed_by"] for row in department.node.rows("statement_month")] == [OPERATOR.uri]
    confirmed = {row["region"]: row["confirmation"] for row in department.clearinghouse.rows("monthly_statement")}
    assert settlement_pb2.Confirmation.FromString(confirmed[HANGZHOU]).month == "2026-05"
    assert confirmed[SHANGHAI] is None


def test_a_report_adds_home_and_away_up(department: Department) -> None:
    figures = department.do(department.settling.report("spring"))
    assert (figures.issued_count, figures.redeemed_count, figures.order_fen) == (4, 2, 11_600)
    assert {each.name: each.redeemed_fen for each in figures.by_region} == {HANGZHOU: 1000, SHANGHAI: 1000}
    city, county = figures.funders
    assert (city.used_home_fen, city.used_away_fen) == (667, 467)
    assert (county.used_home_fen, county.used_away_fen) == (333, 233)
    assert city.planned_fen == 400_000
    assert [(each.bearer, each.used_home_fen, each.used_away_fen) for each in figures.others] == [
        ("visitors", 0, 300),
        ("merchant", 0, 0),
    ]
    with pytest.raises(InvalidInput, match="no campaign summer"):
        department.do(department.settling.report("summer"))
