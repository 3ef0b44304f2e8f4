"""The balances of a statement beside a department's own books: opening, lodged, paid out, refunded, closing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from department import Department, Link, linked
from local_parties import AT, HANGZHOU, OPERATOR, SHANGHAI, LocalClearinghouse, LocalNode
from window_stories import deposit, pay_out

from node import schema
from quanlian.errors import InvalidInput, Unavailable
from quanlian.v1 import clearing_operator_pb2 as clearing_pb2
from quanlian.v1 import node_operator_pb2 as pb
from quanlian.v1 import settlement_pb2

LODGED_FEN = 1_000_000
"""What the clearinghouse has of each region from the first window on."""
DAY = 86_400


@pytest.fixture
def department(node: LocalNode, clearinghouse: LocalClearinghouse) -> Iterator[Department]:
    node.publish()
    clearinghouse.learn(node)
    found = linked(node, clearinghouse)
    found.service.start()
    yield found
    found.service.close()


def close(department: Department) -> int:
    number = department.do(department.clearinghouse.service.settlement.close_window())
    department.hear()
    return number


def reconcile(department: Department) -> None:
    department.do(department.service.reconciler.reconcile_open_windows())


def shown(department: Department, window: int, name: str) -> tuple[str, list[int], list[int]]:
    """In which list a balance is, what the statement says, what our books say."""
    (each,) = (
        each for each in department.reconciliation(window).lines if list(each.key) == ["balance", HANGZHOU, name]
    )
    return each.list, list(each.statement), list(each.own)


def lodge(department: Department, fen: int, reference: str = "lodged", at: int = 0) -> None:
    request = pb.RecordLodgingRequest(amount_fen=fen, bank_reference=reference, at=at)
    department.do(department.treasury.lodge(OPERATOR, request))


def receive(department: Department, fen: int, reference: str, at: int = 0) -> None:
    """From the clearinghouse."""
    payer = pb.Payer(clearinghouse=True)
    request = pb.RecordDedicatedReceiptRequest(payer=payer, amount_fen=fen, bank_reference=reference, at=at)
    department.do(department.treasury.record_receipt(request))


def confirmed(department: Department) -> list[bool]:
    return [row["confirmed"] for row in department.node.rows("settlement_window")]


def pass_days(department: Department, days: int) -> None:
    department.node.pass_seconds(days * DAY)
    department.clearinghouse.pass_seconds(days * DAY)


def test_money_of_which_the_department_keeps_no_record_is_only_theirs_and_holds_nothing_up(
    department: Department,
) -> None:
    close(department)
    reconcile(department)
    assert shown(department, 1, "lodged") == ("unchecked", [LODGED_FEN], [])
    assert shown(department, 1, "opening") == ("matched", [0], [0])
    assert confirmed(department) == [True]


def test_what_the_department_lodged_is_matched(department: Department) -> None:
    lodge(department, LODGED_FEN)
    close(department)
    reconcile(department)
    assert shown(department, 1, "lodged") == ("matched", [LODGED_FEN], [LODGED_FEN])
    assert confirmed(department) == [True]


def test_a_deposit_that_is_booked_wrongly_is_never_confirmed_by_itself(department: Department) -> None:
    lodge(department, LODGED_FEN + 1)
    close(department)
    reconcile(department)
    assert shown(department, 1, "lodged") == ("different", [LODGED_FEN], [LODGED_FEN + 1])
    assert shown(department, 1, "closing")[0] == "different"
    assert confirmed(department) == [False]


def test_a_balance_is_disputed_confirmed_and_decided_like_a_line(department: Department) -> None:
    lodge(department, LODGED_FEN + 1)
    close(department)
    reconcile(department)
    with pytest.raises(InvalidInput, match=f"balance/{HANGZHOU}/closing differs|balance/{HANGZHOU}/lodged differs"):
        department.do(department.settling.confirm(OPERATOR, 1, ""))
    assert department.dispute(settlement_pb2.LineRef(role="balance", counterpart=HANGZHOU, campaign="lodged")) == 1
    department.do(department.settling.confirm(OPERATOR, 1, ""))
    assert confirmed(department) == [True]
    request = clearing_pb2.ResolveDisputeRequest(region=HANGZHOU, number=1, upheld=True, why="a fen was overlooked")
    resolved = department.do(department.clearinghouse.service.settlement.resolve_dispute(request))
    assert (resolved.dispute.outcome, list(resolved.booked)) == ("upheld", [])


def test_a_balance_that_no_statement_has_is_not_disputed(department: Department) -> None:
    close(department)
    for counterpart, name in ((HANGZHOU, "invented"), (SHANGHAI, "lodged")):
        with pytest.raises(InvalidInput, match=f"balance/{counterpart}/{name} is no line of window 1"):
            department.dispute(settlement_pb2.LineRef(role="balance", counterpart=counterpart, campaign=name))


def test_money_is_on_its_way_for_a_while_and_then_missed(department: Department) -> None:
    lodge(department, LODGED_FEN, "first")
    close(department)
    lodge(department, 500, "second")
    close(department)
    pass_days(department, 11)
    close(department)
    reconcile(department)
    assert shown(department, 2, "lodged") == ("matched", [0], [0])
    assert shown(department, 3, "lodged") == ("different", [0], [500])
    assert confirmed(department) == [True, True, False]


def test_money_that_arrives_in_a_later_window_is_matched_there(department: Department) -> None:
    lodge(department, LODGED_FEN, "first")
    close(department)
    lodge(department, 500, "second")
    close(department)
    request = clearing_pb2.RecordDepositRequest(region=HANGZHOU, amount_fen=500, bank_reference="second")
    department.do(department.clearinghouse.service.settlement.record_deposit(request))
    pass_days(department, 4)
    close(department)
    reconcile(department)
    assert shown(department, 3, "lodged") == ("matched", [500], [500])
    assert confirmed(department) == [True, True, True]


@pytest.mark.parametrize("days", [2, 4, 12])
def test_what_was_lodged_before_the_first_record_is_in_nobodys_way(department: Department, days: int) -> None:
    close(department)
    pass_days(department, days)
    lodge(department, 10_000, "first")
    deposit(department.clearinghouse, HANGZHOU, 10_000, "arrived")
    close(department)
    pass_days(department, 30)
    close(department)
    reconcile(department)
    assert shown(department, 1, "lodged") == ("unchecked", [LODGED_FEN], [])
    assert shown(department, 2, "lodged") == ("matched", [10_000], [10_000])
    assert shown(department, 3, "lodged") == ("matched", [0], [0])
    assert confirmed(department) == [True] * 3


def test_what_was_paid_out_before_the_first_receipt_is_in_nobodys_way(department: Department) -> None:
    pay_out(department.clearinghouse, HANGZHOU, 300, "out-1")
    close(department)
    pass_days(department, 2)
    pay_out(department.clearinghouse, HANGZHOU, 200, "out-2")
    receive(department, 200, "in-2")
    close(department)
    reconcile(department)
    assert shown(department, 1, "paid_out") == ("unchecked", [300], [])
    assert shown(department, 2, "paid_out") == ("matched", [200], [200])
    assert confirmed(department) == [True, True]


def test_money_that_is_stated_before_the_first_record_in_its_window_says_what_to_record(department: Department) -> None:
    lodge(department, 10_000, "first")
    close(department)
    reconcile(department)
    assert shown(department, 1, "lodged") == ("different", [LODGED_FEN], [10_000])
    (line,) = (each for each in department.reconciliation().lines if each.key[2:] == ["lodged"])
    assert [(each.bank_reference, each.amount_fen, each.at) for each in line.payments] == [("first", 10_000, AT)]
    assert shown(department, 1, "closing") == ("different", [LODGED_FEN], [10_000])


def test_lodgings_that_are_recorded_late_and_in_any_order_count_by_the_banks_date(department: Department) -> None:
    deposit(department.clearinghouse, HANGZHOU, 20_000, "b")
    close(department)
    pass_days(department, 1)
    deposit(department.clearinghouse, HANGZHOU, 5_000, "c")
    close(department)
    pass_days(department, 1)
    lodge(department, 5_000, "third", AT + DAY)
    lodge(department, 20_000, "second", AT)
    lodge(department, LODGED_FEN, "first", AT)
    reconcile(department)
    assert shown(department, 1, "lodged") == ("matched", [LODGED_FEN + 20_000], [LODGED_FEN + 20_000])
    assert shown(department, 2, "lodged") == ("matched", [5_000], [5_000])
    assert confirmed(department) == [True, True]


def test_a_wrong_date_is_corrected_by_recording_it_again(department: Department) -> None:
    close(department)
    pass_days(department, 1)
    lodge(department, LODGED_FEN)
    lodge(department, LODGED_FEN, at=AT)
    reconcile(department)
    assert shown(department, 1, "lodged") == ("matched", [LODGED_FEN], [LODGED_FEN])
    assert [row["paid_at"] for row in department.node.rows("payment")] == [AT]
    pay_out(department.clearinghouse, HANGZHOU, 300, "out-1")
    receive(department, 300, "out-1")
    receive(department, 300, "out-1", AT)
    assert [row["received_at"] for row in department.node.rows("bank_receipt")] == [AT]
    department.node.check_books()


@pytest.mark.parametrize("record", [lodge, receive])
def test_a_date_to_come_is_refused(department: Department, record: Callable[..., None]) -> None:
    with pytest.raises(InvalidInput, match=r"--at: 2026-05-30 .*is still to come"):
        record(department, 500, "tomorrow", AT + DAY)


def test_a_payment_after_the_close_is_not_of_the_window(department: Department) -> None:
    lodge(department, LODGED_FEN - 500)
    close(department)
    pass_days(department, 1)
    lodge(department, 500, "later")
    reconcile(department)
    assert shown(department, 1, "lodged") == ("different", [LODGED_FEN], [LODGED_FEN - 500])


def test_a_window_that_was_confirmed_never_changes_its_verdict(department: Department) -> None:
    lodge(department, LODGED_FEN)
    close(department)
    reconcile(department)
    lodge(department, 700, "of the same day", AT)
    pass_days(department, 12)
    close(department)
    reconcile(department)
    assert shown(department, 1, "lodged") == ("matched", [LODGED_FEN], [LODGED_FEN])
    assert shown(department, 2, "lodged") == ("different", [0], [700])
    assert confirmed(department) == [True, False]


def test_pay_outs_that_are_booked_and_recorded_in_another_order_are_matched(department: Department) -> None:
    pay_out(department.clearinghouse, HANGZHOU, 300, "out-1")
    close(department)
    pay_out(department.clearinghouse, HANGZHOU, 200, "out-2")
    close(department)
    receive(department, 200, "in-2")
    receive(department, 300, "in-1")
    reconcile(department)
    assert [shown(department, window, "paid_out")[0] for window in (1, 2)] == ["matched", "matched"]
    assert confirmed(department) == [True, True]


def test_a_pay_out_waits_for_its_receipt_where_receipts_are_recorded(department: Department) -> None:
    pay_out(department.clearinghouse, HANGZHOU, 300, "out-1")
    receive(department, 300, "out-1")
    pay_out(department.clearinghouse, HANGZHOU, 200, "out-2")
    close(department)
    reconcile(department)
    assert shown(department, 1, "paid_out") == ("different", [500], [300])
    assert confirmed(department) == [False]
    receive(department, 200, "out-2")
    reconcile(department)
    assert shown(department, 1, "paid_out") == ("matched", [500], [500])
    assert confirmed(department) == [True]


def test_a_statement_that_does_not_open_with_the_balance_before_is_not_confirmed_by_itself(
    department: Department,
) -> None:
    close(department)
    reconcile(department)
    with department.node.database.transaction() as transaction:
        transaction.update(schema.settlement_window, {"number": 1}, {"closing_fen": LODGED_FEN - 1})
    close(department)
    reconcile(department)
    assert shown(department, 2, "opening") == ("different", [LODGED_FEN], [LODGED_FEN - 1])
    assert confirmed(department) == [True, False]


def test_a_month_has_the_balances_of_its_windows(department: Department) -> None:
    close(department)
    reconcile(department)
    pass_days(department, 40)
    close(department)
    unkept = {each.key[2]: each.list for each in department.reconciliation(0, "2026-05").lines}
    assert unkept["lodged"] == "extra", "its second window is not reconciled yet"
    reconcile(department)
    answer = department.reconciliation(0, "2026-05")
    lists = {each.key[2]: (each.list, list(each.statement), list(each.own)) for each in answer.lines}
    assert lists["lodged"] == ("matched", [LODGED_FEN], [LODGED_FEN])
    assert lists["opening"] == ("matched", [0], [0])
    assert lists["closing"] == ("matched", [LODGED_FEN], [LODGED_FEN])


def answering(other: settlement_pb2.GetStatementResponse, window: int) -> object:
    """The clearinghouse answers with another statement where one window's is asked for."""
    sound = Link.statement

    async def statement(self: Link, asked: int, month: str = "") -> settlement_pb2.GetStatementResponse:
        return other if asked == window else await sound(self, asked, month)

    return statement


@pytest.mark.parametrize("of", [(HANGZHOU, 1), (SHANGHAI, 2)], ids=["another window's", "another region's"])
def test_another_statement_than_the_one_asked_for_is_refused(
    department: Department, monkeypatch: pytest.MonkeyPatch, of: tuple[str, int]
) -> None:
    close(department)
    close(department)
    message = department.do(department.clearinghouse.service.settlement.statement(*of))
    other = settlement_pb2.GetStatementResponse(statement=message, chain=b"PEM")
    monkeypatch.setattr(Link, "statement", answering(other, 2))
    for call in (department.settling.statement, department.settling.reconciliation):
        with pytest.raises(InvalidInput, match=f"statement window-2: .*got window-{of[1]} of {of[0]}"):
            department.do(call(2, ""))
    reconcile(department)
    assert confirmed(department) == [True, False]


def test_one_statement_that_cannot_be_read_holds_up_only_what_opens_with_it(
    department: Department, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        close(department)
    unsigned = settlement_pb2.GetStatementResponse()
    unsigned.CopyFrom(department.do(Link(department.clearinghouse).statement(1)))
    unsigned.statement.signature = bytes(64)
    with monkeypatch.context() as patch:
        patch.setattr(Link, "statement", answering(unsigned, 1))
        reconcile(department)
        assert confirmed(department) == [False, False, True]
        assert shown(department, 2, "opening") == ("extra", [LODGED_FEN], [])
    reconcile(department)
    assert confirmed(department) == [True, True, True]


def test_a_clearinghouse_that_does_not_answer_is_asked_again_later(
    department: Department, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(self: Link, window: int, month: str = "") -> settlement_pb2.GetStatementResponse:
        raise Unavailable("no route")

    close(department)
    with monkeypatch.context() as patch:
        patch.setattr(Link, "statement", silent)
        with pytest.raises(Unavailable):
            reconcile(department)
    reconcile(department)
    assert confirmed(department) == [True]
