"""A receipt, an assignment or a lodging that a department recorded wrongly is taken back by a reversing entry."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dedicated_account import Treasury, spend_and_end
from local_parties import AT, HANGZHOU, OPERATOR, undone
from sound_parties import check
from window_stories import deposit, pay_out

from quanlian.errors import InvalidInput

BANK, SETTLEMENT = f"bank/{HANGZHOU}", f"settlement/{HANGZHOU}"
CITY = f"prefund/{HANGZHOU}/2026/spring/city"
LODGED_FEN = 1_000_000
"""What the clearinghouse has of Hangzhou before the story begins."""
DAY = 86_400


def kinds(treasury: Treasury, reference: str) -> list[str]:
    return [row["kind"] for row in treasury.node.rows("entry") if row["reference"] == reference]


def audited(treasury: Treasury) -> list[str]:
    """What the auditor finds about the dedicated account, by its own reckoning."""
    (found,) = (each for each in treasury.audited() if each.name == "dedicated_accounts_hold")
    return list(found.findings)


def away_use_settled(treasury: Treasury) -> None:
    """7.00 of Hangzhou's vouchers in Shanghai, 10.00 of them at its own merchant by way of the clearinghouse."""
    (token,) = treasury.node.claim()
    treasury.release(token)
    treasury.redeem_here_by_the_clearinghouse(token, 0)
    treasury.redeem_in_shanghai(token, 1)
    treasury.settle_window()


def test_a_mistyped_receipt_is_taken_back_and_recorded_anew_under_its_reference(treasury: Treasury) -> None:
    treasury.fund("city", 100_000, "TYPO")
    with pytest.raises(InvalidInput, match="if it was recorded wrongly, reverse it first: quanlian node reverse"):
        treasury.fund("city", 10_000, "TYPO")
    told = treasury.reverse("TYPO")
    assert (told.kind, told.account, told.amount_fen) == ("deposit", CITY, 100_000)
    assert (told.by, told.why, told.at, told.reversed_before) == (OPERATOR.uri, "typed wrongly", AT, False)
    assert treasury.balances().keys().isdisjoint({BANK, CITY})
    treasury.check()
    assert treasury.fund("county", 10_000, "TYPO") == 10_000
    assert kinds(treasury, "TYPO") == ["deposit", "reversed-deposit", "deposit"]
    assert [row["memo"] for row in treasury.node.rows("bank_reversal")] == ["as the bank says"]
    treasury.check()
    assert audited(treasury) == []


def test_told_again_with_the_same_reason_it_changes_nothing(treasury: Treasury) -> None:
    treasury.fund("city", 100_000, "TYPO")
    treasury.reverse("TYPO")
    treasury.fund("city", 10_000, "TYPO")
    before = treasury.node.rows("entry")
    again = treasury.reverse("TYPO")
    assert (again.amount_fen, again.reversed_before) == (100_000, True)
    assert treasury.node.rows("entry") == before
    assert treasury.reverse("TYPO", "and it never came").amount_fen == 10_000
    treasury.check()


def test_a_receipt_of_another_payer_is_in_suspense_again_and_then_assigned(treasury: Treasury) -> None:
    treasury.receive(700, "stray")
    treasury.assign("stray", campaign="spring", funder="city")
    with pytest.raises(InvalidInput, match=r"spring/city's already(.|\n)*reverse it first"):
        treasury.assign("stray", clearinghouse=True)
    assert treasury.reverse("stray", "the clearinghouse's").kind == "assignment"
    assert treasury.posted("suspense") == -700
    treasury.check()
    assert treasury.assign("stray", clearinghouse=True) == -700
    treasury.reverse("stray", "nobody's")
    assert treasury.reverse("stray", "never came").kind == "receipt"
    assert treasury.balances() == {}
    assert kinds(treasury, "stray") == [
        *("receipt", "assignment", "reversed-assignment", "assignment", "reversed-assignment", "reversed-receipt")
    ]
    treasury.check()


def test_a_lodging_is_taken_back_and_its_number_is_not_missed(treasury: Treasury) -> None:
    treasury.lodge(70_000, "TYPO")
    told = treasury.reverse("TYPO")
    assert (told.kind, told.account, told.amount_fen) == ("payment", SETTLEMENT, 70_000)
    assert treasury.balances() == {}
    assert treasury.listed(made=True) == []
    treasury.check()
    assert treasury.lodge(7_000, "TYPO") == 7_000
    assert [each.number for each in treasury.listed(made=True)] == [2]
    assert kinds(treasury, "TYPO") == ["payment", "reversed-payment", "payment"]
    (row,) = treasury.node.rows("bank_reversal")
    assert (row["payment"], row["made_by"], row["banked_at"]) == (1, OPERATOR.uri, AT)
    treasury.check()
    assert audited(treasury) == []


class TestMoneyThatWasUsedIsNotTakenBack:
    def test_paid_to_acquirers_or_made_out_to_them(self, treasury: Treasury) -> None:
        treasury.fund("county", 1_000, "county-1")
        treasury.fund("city", 1_000, "TYPO")
        first = treasury.redeem_here(*treasury.node.claim())
        treasury.instruct()
        for _ in range(2):
            with pytest.raises(InvalidInput) as refused:
                treasury.reverse("TYPO")
            assert f"3.33 yuan of {CITY} are neither used nor promised, 10.00 would be taken back" in str(refused.value)
            assert f"{CITY} 现仅余3.33元未动用" in str(refused.value)
            assert "待同一来款方补足后再冲正" in str(refused.value)
            treasury.pay(1, "paid-1")
        treasury.fund("city", 667, "city-2")
        treasury.reverse("TYPO")
        assert treasury.prefunded("city") == 0
        treasury.check()
        treasury.refund_here(first, 5800)
        assert not treasury.instruct().payments

    def test_unless_what_really_came_is_recorded_first_and_suffices(self, treasury: Treasury) -> None:
        treasury.fund("county", 1_000, "county-1")
        treasury.fund("city", 40_000, "TYPO")
        treasury.redeem_here(*treasury.node.claim())
        treasury.pay(treasury.instruct().payments[0].number, "paid-1")
        with pytest.raises(InvalidInput, match="first record that under its reference with a mark"):
            treasury.reverse("TYPO")
        treasury.fund("city", 4_000, "TYPO*")
        treasury.reverse("TYPO")
        assert treasury.prefunded("city") == 4_000 - 667
        treasury.check()

    def test_returned_to_their_funder(self, funded: Treasury) -> None:
        spend_and_end(funded)
        funded.close_out()
        with pytest.raises(InvalidInput, match=r"300\.00 yuan of city-2 go back to its funder: payment 2"):
            funded.reverse("city-2")
        for each in funded.close_out().returns:
            funded.pay(each.number, f"back-{each.number}")
        funded.send_back(2, "refused")
        assert funded.reverse("city-2", "it was the county's").amount_fen == 30_000
        assert funded.prefunded("city") == 0
        funded.check()
        assert [each.findings for each in funded.audited() if not each.holds] == []

    def test_drawn_on_for_uses_away(self, treasury: Treasury) -> None:
        treasury.fund("city", 2_000, "TYPO")
        away_use_settled(treasury)
        assert treasury.prefunded("city") == 2_000 - 667 - 467
        with pytest.raises(InvalidInput, match=r"8\.66 yuan of prefund/330100/2026/spring/city are neither used"):
            treasury.reverse("TYPO")
        treasury.check()

    @pytest.mark.parametrize("assigned", [False, True])
    def test_of_the_clearinghouse_paid_to_acquirers_or_lodged_on(self, funded: Treasury, assigned: bool) -> None:
        if assigned:
            funded.receive(500, "TYPO")
            funded.assign("TYPO", clearinghouse=True)
        else:
            funded.receive(500, "TYPO", clearinghouse=True)
        funded.lodge(400, "lodged")
        with pytest.raises(InvalidInput, match=r"1\.00 yuan of settlement/330100 are neither used nor promised, 5\.00"):
            funded.reverse("TYPO")
        funded.reverse("lodged")
        away_use_settled(funded)
        (payment,) = funded.instruct().payments
        assert payment.amount_fen == 1_000, "of 17.00 that settled use set free, and of 5.00 that came"
        funded.lodge(700, "lodged")
        funded.lodge(1, "one fen more")
        with pytest.raises(InvalidInput, match=r"4\.99 yuan of settlement/330100 are neither used"):
            funded.reverse("TYPO")
        funded.reverse("one fen more")
        funded.reverse("TYPO")
        assert not assigned or funded.posted("suspense") == -500
        funded.check()

    def test_but_what_was_lodged_before_it_came_is_none_of_its_use(self, funded: Treasury) -> None:
        funded.lodge(LODGED_FEN, "lodged")
        funded.receive(500, "TYPO", clearinghouse=True)
        before = funded.balances()
        funded.receive(300, "later", clearinghouse=True)
        funded.reverse("later")
        assert funded.balances() == before
        funded.lodge(1, "one fen more")
        with pytest.raises(InvalidInput, match=r"4\.99 yuan of settlement/330100"):
            funded.reverse("TYPO")
        funded.check()


@pytest.mark.parametrize(
    ("done", "reference", "said"),
    [
        (lambda treasury: None, "nothing", "no receipt or lodging nothing is booked"),
        (lambda treasury: treasury.pay(1, "paid-1"), "paid-1", "paid-1 names payment 1: only receipts and lodgings"),
        (
            lambda treasury: (treasury.lodge(900, "lodged"), treasury.send_back(2, "back-2")),
            "lodged",
            r"the bank sent the 9\.00 yuan of lodged back as back-2",
        ),
    ],
)
def test_what_is_no_standing_receipt_or_lodging_is_not_reversed(
    funded: Treasury, done: Callable[[Treasury], object], reference: str, said: str
) -> None:
    funded.redeem_here(*funded.node.claim())
    funded.instruct()
    done(funded)
    before = funded.balances()
    with pytest.raises(InvalidInput, match=said):
        funded.reverse(reference)
    assert (funded.balances(), funded.node.rows("bank_reversal")) == (before, [])
    with pytest.raises(InvalidInput, match="has no reason"):
        funded.reverse("city-1", "")


class TestReconciliation:
    def own(self, treasury: Treasury, window: int, name: str) -> tuple[str, list[int]]:
        """In which list a balance is, and what our books say."""
        lines = treasury.department.reconciliation(window).lines
        (each,) = (each for each in lines if list(each.key) == ["balance", HANGZHOU, name])
        return each.list, list(each.own)

    def close(self, treasury: Treasury) -> None:
        treasury.department.do(treasury.clearinghouse.service.settlement.close_window())
        treasury.department.hear()
        treasury.department.do(treasury.department.service.reconciler.reconcile_open_windows())

    def test_a_lodging_counts_no_more_and_the_right_one_confirms_the_statement(self, treasury: Treasury) -> None:
        treasury.lodge(LODGED_FEN * 10, "TYPO")
        self.close(treasury)
        assert self.own(treasury, 1, "lodged") == ("different", [LODGED_FEN * 10])
        treasury.node.pass_seconds(DAY)
        treasury.reverse("TYPO")
        assert self.own(treasury, 1, "lodged") == ("unchecked", [])
        treasury.lodge(LODGED_FEN, "TYPO", AT)
        treasury.department.do(treasury.department.service.reconciler.reconcile_open_windows())
        assert self.own(treasury, 1, "lodged") == ("matched", [LODGED_FEN])
        assert [row["confirmed"] for row in treasury.node.rows("settlement_window")] == [True]

    def test_a_confirmed_window_keeps_its_verdict_and_later_ones_take_the_lodging_recorded_anew(
        self, treasury: Treasury
    ) -> None:
        treasury.lodge(LODGED_FEN, "TYPO")
        self.close(treasury)
        treasury.node.pass_seconds(DAY)
        treasury.clearinghouse.pass_seconds(DAY)
        treasury.reverse("TYPO", "its reference was another")
        treasury.lodge(LODGED_FEN, "right", AT)
        deposit(treasury.clearinghouse, HANGZHOU, 500, "second")
        treasury.lodge(500, "second")
        self.close(treasury)
        assert [self.own(treasury, window, "lodged") for window in (1, 2)] == [
            ("matched", [LODGED_FEN]),
            ("matched", [500]),
        ]

    @pytest.mark.parametrize("assigned", [False, True])
    def test_a_receipt_from_the_clearinghouse_counts_no_more(self, treasury: Treasury, assigned: bool) -> None:
        pay_out(treasury.clearinghouse, HANGZHOU, 400, "out")
        treasury.receive(300, "first", clearinghouse=True)
        if assigned:
            treasury.receive(200, "TYPO")
            treasury.assign("TYPO", clearinghouse=True)
        else:
            treasury.receive(200, "TYPO", clearinghouse=True)
        self.close(treasury)
        assert self.own(treasury, 1, "paid_out") == ("different", [500])
        treasury.reverse("TYPO")
        assert self.own(treasury, 1, "paid_out") == ("different", [300])


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM bank_reversal WHERE kind = '{kind}'",
        "UPDATE bank_reversal SET account = 'suspense' WHERE kind = '{kind}'",
        "UPDATE bank_reversal SET amount_fen = amount_fen + 1 WHERE kind = '{kind}'",
    ],
)
@pytest.mark.parametrize("kind", ["deposit", "assignment", "payment"])
def test_a_reversal_that_is_tampered_with_is_found(treasury: Treasury, kind: str, change: str) -> None:
    treasury.fund("city", 1_000, "city-1")
    treasury.receive(700, "stray")
    treasury.assign("stray", clearinghouse=True)
    treasury.lodge(500, "lodged")
    for reference in ("lodged", "stray", "city-1"):
        treasury.reverse(reference)
    treasury.check()
    with undone(treasury.node):
        with treasury.node.database.transaction() as transaction:
            assert transaction.connection.exec_driver_sql(change.format(kind=kind)).rowcount == 1
        found = {each.table for each in check(treasury.node)}
        assert "bank_reversal" in found
        assert found & {"bank_receipt", "payment"}


def test_what_a_payment_will_give_back_to_a_funder_is_not_there_before_it_is_made(funded: Treasury) -> None:
    home, given = funded.node.claim(2)
    funded.release(given)
    first = funded.redeem_here(home)
    funded.pay(funded.instruct().payments[0].number, "paid-1")
    funded.refund_here(first, 5800)
    for index in (0, 1):
        funded.redeem_here_by_the_clearinghouse(given, index)
    funded.settle_window()
    (payment,) = funded.instruct().payments
    assert [each.amount_fen for each in payment.items] == [-667, -333, 2000]
    funded.reverse("city-1")
    assert funded.fund("city", 1_500, "city-3") == 29_499
    with pytest.raises(InvalidInput, match=r"294\.99 yuan of .* are neither used nor promised, 300\.00 would"):
        funded.reverse("city-2")
    funded.pay(payment.number, "paid-2")
    assert funded.reverse("city-2").amount_fen == 30_000
    assert funded.prefunded("city") == 166
    funded.check()
