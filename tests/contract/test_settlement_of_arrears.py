"""Money that is not there, or not free: what settling, paying and curing do with it, on both databases.

One redemption of 10.00 makes Hangzhou owe Shanghai 7.00. Both lodge 10,000.00 and take out what a story does not need.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
from local_parties import HANGZHOU, SHANGHAI, LocalClearinghouse, LocalNode, answer_of, item, outcome, purchase
from window_stories import (
    BANK,
    away,
    close,
    deposit,
    instruct,
    mark,
    pay_out,
    posted,
    redeem,
    send_back,
    statement,
)

from clearinghouse import balances_check
from quanlian.errors import InvalidInput
from quanlian.suspensions import SuspensionKind
from quanlian.v1 import clearing_operator_pb2 as pb
from quanlian.v1 import redemption_pb2
from quanlian.wire import body_to_suspension

OWED = 700


class Standing(NamedTuple):
    """What a region has at the clearinghouse, in fen: its balance and what of it is withheld, and its arrears."""

    settlement: int = 0
    withheld: int = 0
    arrears: int = 0


class Story:
    """A clearinghouse whose regions have nothing but what the story gives them; `credit` is Hangzhou's line."""

    def __init__(self, node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
        self.clearinghouse, self.node = clearinghouse, node
        self.tokens = away(node, clearinghouse, 6)
        self.redeemed = 0
        self.windows = 0

    def begin(self, hangzhou: int = 0, shanghai: int = 0, credit: int = 1_000_000) -> None:
        limits = pb.SetLimitsRequest(region=HANGZHOU, net_debit_cap_fen=10**7, credit_line_fen=credit)
        self.clearinghouse.do(self.clearinghouse.service.operations.set_limits(limits))
        for region, left in ((HANGZHOU, hangzhou), (SHANGHAI, shanghai)):
            pay_out(self.clearinghouse, region, 1_000_000 - left, f"begin-{region}")

    def redeem(self, times: int = 1) -> None:
        for _ in range(times):
            token = self.tokens[self.redeemed // 2]
            redeem(self.clearinghouse, self.redeemed + 1, token, self.redeemed % 2)
            self.redeemed += 1

    def refused(self) -> str:
        """Why one more redemption is refused."""
        token = self.tokens[self.redeemed // 2]
        order = purchase(token, self.redeemed % 2, f"order-{self.redeemed}")
        (answer,) = self.clearinghouse.redeem(item(b"refused".rjust(16, b"\0"), redeem=order))
        return outcome(answer)

    def refund(self, *redemptions: int) -> None:
        """The nth redemptions, whole."""
        rows = sorted(self.clearinghouse.rows("posting"), key=lambda row: row["at"])
        ids = list(dict.fromkeys(row["redemption_id"] for row in rows))
        for number in redemptions:
            refund = redemption_pb2.Refund(redemption_id=ids[number], order_fen=5800)
            (answer,) = self.clearinghouse.redeem(item((100 + number).to_bytes(16, "big"), refund=refund))
            assert not answer_of(answer).HasField("refusal")

    def instruct(self) -> int:
        """Close the open window and instruct it. Returns its number."""
        number = close(self.clearinghouse)
        instruct(self.clearinghouse, number)
        return number

    def settle(self, number: int | None = None) -> int:
        number = self.instruct() if number is None else number
        self.clearinghouse.do(self.clearinghouse.service.settlement.settle(number))
        return number

    def standing(self, region: str) -> Standing:
        withheld = {row["region"]: row["withheld_fen"] for row in self.clearinghouse.rows("participant")}
        account = {each: posted(self.clearinghouse, f"{each}/{region}") for each in ("settlement", "arrears")}
        return Standing(-account["settlement"], withheld[region], account["arrears"])

    def is_sound(self, bank: int, hangzhou: Standing, shanghai: Standing) -> None:
        self.clearinghouse.check_books()
        assert (self.standing(HANGZHOU), self.standing(SHANGHAI)) == (hangzhou, shanghai)
        assert posted(self.clearinghouse, BANK) == bank

    def payout(self, number: int, region: str) -> int:
        rows = {(row["settlement_window"], row["region"]): row for row in self.clearinghouse.rows("net_position")}
        return int(rows[(number, region)]["payout_fen"])

    def kinds(self) -> list[str]:
        return [row["kind"] for row in self.clearinghouse.rows("entry")]

    def suspensions(self) -> list[tuple[str, bool, str]]:
        """Of each entry: whose, whether it suspends, who decided."""
        found = [body_to_suspension(row["body"]) for row in self.clearinghouse.rows("suspension")]
        return [(each.subject, each.suspended, each.by) for each in sorted(found, key=lambda each: each.number)]


@pytest.fixture
def story(node: LocalNode, clearinghouse: LocalClearinghouse) -> Story:
    return Story(node, clearinghouse)


NOTHING = Standing()


class TestACreditorInArrears:
    """Window 1: Hangzhou owes 7.00 and has nothing. Window 2: the redemption is refunded, so Shanghai owes it back."""

    @pytest.fixture
    def owed_back(self, story: Story) -> Story:
        story.begin()
        story.redeem()
        story.settle()
        story.is_sound(0, Standing(arrears=OWED), Standing(OWED, withheld=OWED))
        story.refund(0)
        return story

    def test_its_credit_cures_its_arrears_and_is_not_paid_out_too(self, owed_back: Story) -> None:
        assert owed_back.settle() == 2
        owed_back.is_sound(0, NOTHING, NOTHING)
        assert owed_back.payout(2, HANGZHOU) == 0
        assert owed_back.kinds()[-2:] == ["settlement", "cure"]

    def test_it_cannot_be_marked_paid_before_or_after(self, owed_back: Story) -> None:
        number = owed_back.instruct()
        with pytest.raises(InvalidInput, match="pay-outs are not sure"):
            mark(owed_back.clearinghouse, number, HANGZHOU, "early")
        deposit(owed_back.clearinghouse, SHANGHAI, OWED, "lodged")
        with pytest.raises(InvalidInput, match=r"330100 is in arrears of 7\.00 yuan, which its credit cures first"):
            mark(owed_back.clearinghouse, number, HANGZHOU, "still-early")
        owed_back.settle(number)
        owed_back.is_sound(OWED, NOTHING, Standing(OWED))
        with pytest.raises(InvalidInput, match="window 2 pays 330100 nothing out"):
            mark(owed_back.clearinghouse, number, HANGZHOU, "late")
        owed_back.is_sound(OWED, NOTHING, Standing(OWED))

    def test_what_is_left_of_its_credit_is_paid_out_and_what_was_withheld_is_free(self, story: Story) -> None:
        story.begin(hangzhou=400)
        story.redeem()
        first = story.settle()
        story.is_sound(400, Standing(arrears=300), Standing(OWED, withheld=300))
        mark(story.clearinghouse, first, SHANGHAI, "reduced")
        deposit(story.clearinghouse, SHANGHAI, 400, "lodged")
        story.refund(0)
        second = story.settle()
        assert story.payout(second, HANGZHOU) == 400
        story.is_sound(400, Standing(400), NOTHING)
        mark(story.clearinghouse, second, HANGZHOU, "rest")
        story.is_sound(0, NOTHING, NOTHING)

    def test_a_deposit_that_clears_the_arrears_leaves_nothing_withheld(self, story: Story) -> None:
        """Part of them was cured by a later window's credit before."""
        story.begin()
        story.redeem(2)
        story.settle()
        story.is_sound(0, Standing(arrears=1400), Standing(1400, withheld=1400))
        story.refund(0)
        story.settle()
        story.is_sound(0, Standing(arrears=OWED), Standing(OWED, withheld=OWED))
        deposit(story.clearinghouse, HANGZHOU, 1400, "cure")
        story.is_sound(1400, Standing(OWED), Standing(OWED))
        assert pay_out(story.clearinghouse, SHANGHAI, OWED, "freed") == 0


class TestACureBesideAShortfall:
    def test_of_another_region_does_not_hide_it(self, story: Story) -> None:
        """Hangzhou's credit would cure its arrears, and Shanghai, which owes it, lacks as much: the window settles."""
        story.begin()
        story.redeem()
        story.settle()
        deposit(story.clearinghouse, HANGZHOU, OWED, "cure-1")
        pay_out(story.clearinghouse, SHANGHAI, OWED, "freed-1")
        story.redeem()
        story.settle()
        story.is_sound(0, Standing(arrears=OWED), Standing(OWED, withheld=OWED))
        story.refund(0, 1)
        number = story.instruct()
        with pytest.raises(InvalidInput, match=r"310000 尚缺14\.00元.* is short by 14\.00 yuan"):
            mark(story.clearinghouse, number, HANGZHOU, "unsure")
        story.settle(number)
        story.is_sound(0, Standing(OWED, withheld=OWED), Standing(arrears=OWED))
        assert story.kinds()[-3:] == ["settlement", "arrears", "cure"]
        deposit(story.clearinghouse, SHANGHAI, OWED, "cure-3")
        story.is_sound(OWED, Standing(OWED), NOTHING)
        assert pay_out(story.clearinghouse, HANGZHOU, OWED, "freed-3") == 0


class TestAPayOutGoesOutOnce:
    def test_what_a_settled_window_instructs_is_not_taken_out_beside_it(self, story: Story) -> None:
        story.begin(hangzhou=500)
        story.redeem()
        number = story.settle()
        with pytest.raises(InvalidInput, match=r"310000 may take out 0\.00 yuan now"):
            pay_out(story.clearinghouse, SHANGHAI, 1, "by-wish")
        mark(story.clearinghouse, number, SHANGHAI, "by-window")
        story.is_sound(0, Standing(arrears=200), Standing(200, withheld=200))
        with pytest.raises(InvalidInput, match=r"310000 may take out 0\.00 yuan now"):
            pay_out(story.clearinghouse, SHANGHAI, 1, "by-wish")

    def test_nor_does_it_pay_what_its_region_owes_in_a_later_window(self, story: Story) -> None:
        """The bank was told to pay Shanghai 5.00 already; of the 7.00 that it owes back it lacks that much."""
        story.begin(hangzhou=500)
        story.redeem()
        first = story.settle()
        story.refund(0)
        story.settle()
        story.is_sound(500, Standing(500, withheld=500), Standing(500, arrears=500))
        mark(story.clearinghouse, first, SHANGHAI, "by-window")
        story.is_sound(0, Standing(500, withheld=500), Standing(arrears=500))


class TestInstructedWindows:
    def test_are_counted_together_before_a_pay_out_is_marked(self, story: Story) -> None:
        story.begin(hangzhou=OWED)
        story.redeem()
        first = story.instruct()
        story.redeem()
        second = story.instruct()
        for number in (first, second):
            with pytest.raises(InvalidInput, match=r"330100 is short by 7\.00 yuan"):
                mark(story.clearinghouse, number, SHANGHAI, f"window-{number}")
        story.settle(first)
        story.settle(second)
        story.is_sound(OWED, Standing(arrears=OWED), Standing(1400, withheld=OWED))
        assert [story.payout(number, SHANGHAI) for number in (first, second)] == [OWED, 0]
        mark(story.clearinghouse, first, SHANGHAI, "window-1")
        story.is_sound(0, Standing(arrears=OWED), Standing(OWED, withheld=OWED))

    def test_one_whose_pay_out_is_marked_keeps_its_money_whichever_settles_first(self, story: Story) -> None:
        story.begin(hangzhou=OWED)
        story.redeem()
        first = close(story.clearinghouse)
        story.redeem()
        second = story.instruct()
        mark(story.clearinghouse, second, SHANGHAI, "window-2")
        instruct(story.clearinghouse, first)
        story.settle(first)
        story.is_sound(OWED, Standing(OWED, arrears=OWED), Standing(OWED, withheld=OWED))
        deposit(story.clearinghouse, HANGZHOU, 100, "arrives")
        story.is_sound(OWED + 100, Standing(OWED, arrears=600), Standing(OWED, withheld=600))
        story.settle(second)
        story.is_sound(100, Standing(arrears=600), Standing(OWED, withheld=600))

    def test_a_debtor_cannot_take_out_what_they_will_take_from_it(self, story: Story) -> None:
        """Its credit line is for windows that are not instructed."""
        story.begin(hangzhou=OWED)
        story.redeem()
        number = story.instruct()
        with pytest.raises(InvalidInput, match=r"330100 may take out 0\.00 yuan now"):
            pay_out(story.clearinghouse, HANGZHOU, OWED, "before")
        mark(story.clearinghouse, number, SHANGHAI, "paid")
        with pytest.raises(InvalidInput, match=r"330100 may take out 0\.00 yuan now"):
            pay_out(story.clearinghouse, HANGZHOU, OWED, "late")
        story.settle(number)
        story.is_sound(0, NOTHING, NOTHING)

    def test_a_creditor_s_own_debts_in_the_others_come_off_its_pay_out(self, story: Story) -> None:
        story.begin(hangzhou=OWED)
        story.redeem()
        first = story.instruct()
        story.refund(0)
        second = story.instruct()
        with pytest.raises(InvalidInput, match=r"310000 is short by 7\.00 yuan"):
            mark(story.clearinghouse, first, SHANGHAI, "first")
        story.settle(first)
        assert story.payout(first, SHANGHAI) == 0, "window 2 will take it back"
        story.is_sound(OWED, NOTHING, Standing(OWED))
        mark(story.clearinghouse, second, HANGZHOU, "second")
        story.settle(second)
        story.is_sound(0, NOTHING, NOTHING)


class TestWhoIsPaid:
    def test_a_debtor_is_paid_nothing_and_its_money_is_a_deposit(self, story: Story) -> None:
        story.begin()
        story.redeem()
        number = story.instruct()
        refused = r"330100 在场次1应付7\.00元.* owes 7\.00 yuan in window 1 .*quanlian clearinghouse deposit 330100"
        with pytest.raises(InvalidInput, match=refused):
            mark(story.clearinghouse, number, HANGZHOU, "bank-700")
        deposit(story.clearinghouse, HANGZHOU, OWED, "bank-700")
        mark(story.clearinghouse, number, SHANGHAI, "out")
        story.settle(number)
        story.is_sound(0, NOTHING, NOTHING)

    def test_nor_is_a_region_that_neither_owes_nor_is_owed(self, story: Story) -> None:
        number = story.instruct()
        with pytest.raises(InvalidInput, match=r"310000 owes 0\.00 yuan in window 1 and is paid nothing"):
            mark(story.clearinghouse, number, SHANGHAI, "nothing")


class TestWhatIsOwedBack:
    """Shanghai was paid 7.00 for a redemption that is refunded in the open window."""

    @pytest.fixture
    def owed_back(self, story: Story) -> Story:
        story.begin(hangzhou=OWED)
        story.redeem()
        number = story.instruct()
        mark(story.clearinghouse, number, SHANGHAI, "paid-1")
        story.settle(number)
        deposit(story.clearinghouse, SHANGHAI, OWED, "lodged")
        story.refund(0)
        return story

    def test_by_refunds_is_exposure_and_a_pay_out_leaves_it(self, owed_back: Story) -> None:
        status = owed_back.clearinghouse.do(owed_back.clearinghouse.service.operations.status())
        assert {each.region: each.exposure_fen for each in status.regions} == {HANGZHOU: 0, SHANGHAI: OWED}
        with pytest.raises(InvalidInput, match=r"310000 may take out 0\.00 yuan now"):
            pay_out(owed_back.clearinghouse, SHANGHAI, OWED, "last")
        number = owed_back.instruct()
        mark(owed_back.clearinghouse, number, HANGZHOU, "paid-2")
        owed_back.settle(number)
        owed_back.is_sound(0, NOTHING, NOTHING)

    def test_is_not_covered_by_money_that_is_withheld(self, story: Story) -> None:
        story.begin()
        story.redeem()
        story.settle()
        deposit(story.clearinghouse, SHANGHAI, OWED, "lodged")
        story.is_sound(OWED, Standing(arrears=OWED), Standing(1400, withheld=OWED))
        story.refund(0)
        with pytest.raises(InvalidInput, match=r"310000 may take out 0\.00 yuan now"):
            pay_out(story.clearinghouse, SHANGHAI, OWED, "lodged-back")

    def test_is_not_the_other_s_to_take_out_or_to_owe_on_before_it_is_settled(self, owed_back: Story) -> None:
        limits = pb.SetLimitsRequest(region=HANGZHOU, net_debit_cap_fen=10**7)
        owed_back.clearinghouse.do(owed_back.clearinghouse.service.operations.set_limits(limits))
        with pytest.raises(InvalidInput, match=r"330100 may take out 0\.00 yuan now"):
            pay_out(owed_back.clearinghouse, HANGZHOU, 1, "not-yet")
        assert owed_back.refused() == "DEBIT_CAP_EXCEEDED"


class TestArrears:
    def test_use_the_credit_line_until_they_are_cured(self, story: Story) -> None:
        """Were the limit whole again after each window, the arrears would grow without bound."""
        story.begin(credit=1400)
        story.redeem(2)
        story.settle()
        story.clearinghouse.suspend(SuspensionKind.REGION, HANGZHOU, suspended=False)
        assert story.refused() == "DEBIT_CAP_EXCEEDED"
        deposit(story.clearinghouse, HANGZHOU, OWED, "half")
        story.redeem()
        story.settle()
        story.is_sound(OWED, Standing(arrears=1400), Standing(2100, withheld=1400))

    def test_suspend_their_region_by_an_entry_of_its_own_and_the_cure_ends_that(self, story: Story) -> None:
        story.begin()
        story.redeem()
        number = story.settle()
        assert story.suspensions() == [(HANGZHOU, True, "arrears")]
        (row,) = story.clearinghouse.rows("suspension")
        assert row["why"] == f"场次{number}结清后欠款7.00元 · in arrears of 7.00 yuan after window {number}"
        assert story.refused() == "REGION_SUSPENDED"
        deposit(story.clearinghouse, HANGZHOU, OWED - 1, "nearly")
        assert story.refused() == "REGION_SUSPENDED", "one fen is in arrears still"
        deposit(story.clearinghouse, HANGZHOU, 1, "all")
        assert story.suspensions() == [(HANGZHOU, True, "arrears"), (HANGZHOU, False, "arrears")]
        told = [event for event in story.clearinghouse.feed(SHANGHAI) if event.HasField("suspension")]
        assert len(told) == 2
        story.redeem()
        story.clearinghouse.check_books()

    def test_that_stay_suspend_again_with_the_next_settlement(self, story: Story) -> None:
        story.begin()
        story.redeem()
        story.settle()
        story.clearinghouse.suspend(SuspensionKind.REGION, HANGZHOU, suspended=False)
        story.settle()
        assert [each[1] for each in story.suspensions()] == [True, False, True]
        story.settle()
        assert len(story.suspensions()) == 3, "it is suspended already"

    def test_their_cure_leaves_a_suspension_by_the_operator(self, story: Story) -> None:
        story.begin()
        story.redeem()
        story.settle()
        story.clearinghouse.suspend(SuspensionKind.REGION, HANGZHOU)
        assert [each[1:] for each in story.suspensions()][1] == (False, "arrears"), "the operator's takes its place"
        deposit(story.clearinghouse, HANGZHOU, OWED, "all")
        assert story.refused() == "REGION_SUSPENDED"
        story.clearinghouse.suspend(SuspensionKind.REGION, HANGZHOU, suspended=False)
        story.redeem()

    def test_of_a_region_that_the_operator_suspended_before_change_nothing_about_it(self, story: Story) -> None:
        story.begin()
        story.redeem()
        story.clearinghouse.suspend(SuspensionKind.REGION, HANGZHOU)
        story.settle()
        deposit(story.clearinghouse, HANGZHOU, OWED, "all")
        assert len(story.suspensions()) == 1
        assert story.refused() == "REGION_SUSPENDED"

    def test_the_region_s_node_hears_of_it_by_the_feed(self, story: Story) -> None:
        story.begin()
        story.redeem()
        story.settle()
        (claim,) = story.node.claim(1)
        order = item(b"home".rjust(16, b"\0"), redeem=purchase(claim, 0, "home"))
        story.node.follow(story.clearinghouse)
        assert outcome(story.node.redeem(order)[0]) == "REGION_SUSPENDED"
        deposit(story.clearinghouse, HANGZHOU, OWED, "all")
        story.node.follow(story.clearinghouse)
        again = item(b"again".rjust(16, b"\0"), redeem=purchase(claim, 0, "home"))
        assert outcome(story.node.redeem(again)[0]) == "CAPTURED"


class TestTheLedgerCheck:
    @pytest.mark.parametrize(
        ("tampering", "named"),
        [
            (
                "UPDATE participant SET withheld_fen = 0 WHERE region = '310000'",
                "0.00 is withheld from all regions, 2.00 yuan stand in arrears",
            ),
            (
                "UPDATE account SET posted_fen = 100 WHERE account = 'settlement/310000'",
                "2.00 is withheld of a balance of -1.00 yuan",
            ),
            ("UPDATE account SET posted_fen = -1 WHERE account = 'bank/clearinghouse'", "overdrawn by 0.01 yuan"),
        ],
    )
    def test_names_what_is_paid_that_is_not_there(self, story: Story, tampering: str, named: str) -> None:
        story.begin(hangzhou=500)
        story.redeem()
        story.settle()
        with story.clearinghouse.database.transaction() as transaction:
            transaction.connection.exec_driver_sql(tampering)
            assert named in [finding.en for check in balances_check.CHECKS for finding in check(transaction)]


class TestReturnedPayOuts:
    def test_of_a_region_in_arrears_cure_them_and_end_its_suspension(self, story: Story) -> None:
        story.begin()
        story.redeem()
        story.settle()
        send_back(story.clearinghouse, f"begin-{HANGZHOU}", "back")
        story.is_sound(1_000_000, Standing(1_000_000 - OWED), Standing(OWED))
        assert [each[1] for each in story.suspensions()] == [True, False]
        assert statement(story.clearinghouse, HANGZHOU, 1)["closing_fen"] == -OWED
