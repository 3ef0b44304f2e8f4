"""Regions that pay ahead, on credit or both: what may be set, when arrears are past due, on both databases.

One redemption of 10.00 makes Hangzhou owe Shanghai 7.00; Hangzhou has lodged nothing.
"""

from __future__ import annotations

import pytest
from local_parties import HANGZHOU, LocalClearinghouse, LocalNode, item, outcome, purchase
from window_stories import away, close, deposit, instruct, pay_ahead, pay_out, posted, redeem

from clearinghouse import schema
from custodian.ledger.check import check_books
from quanlian.errors import InvalidInput
from quanlian.suspensions import SuspensionKind
from quanlian.v1 import clearing_operator_pb2 as pb
from quanlian.wire import body_to_suspension

OWED = 700
DAY = 86_400


class Story:
    def __init__(self, node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
        self.clearinghouse = clearinghouse
        self.tokens = away(node, clearinghouse, 4)
        self.redeemed = 0
        pay_out(clearinghouse, HANGZHOU, 1_000_000, "nothing-lodged")

    def limits(self, credit_fen: int = 0, mode: str = "", days: int = 0) -> str:
        request = pb.SetLimitsRequest(
            region=HANGZHOU,
            net_debit_cap_fen=10**7,
            credit_line_fen=credit_fen,
            funding_mode=mode,
            credit_days=days,
        )
        return self.clearinghouse.do(self.clearinghouse.service.operations.set_limits(request)).funding_mode

    def redeem(self) -> None:
        redeem(self.clearinghouse, self.redeemed + 1, self.tokens[self.redeemed // 2], self.redeemed % 2)
        self.redeemed += 1

    def settle(self) -> None:
        number = close(self.clearinghouse)
        instruct(self.clearinghouse, number)
        self.clearinghouse.do(self.clearinghouse.service.settlement.settle(number))
        self.clearinghouse.check_books()

    def pass_days(self, days: int) -> None:
        self.clearinghouse.pass_seconds(days * DAY)
        self.clearinghouse.do(self.clearinghouse.service.settlement.keep_time())

    def status(self) -> pb.RegionStatus:
        answer = self.clearinghouse.do(self.clearinghouse.service.operations.status())
        return next(each for each in answer.regions if each.region == HANGZHOU)

    def suspensions(self) -> list[tuple[bool, str]]:
        found = [body_to_suspension(row["body"]) for row in self.clearinghouse.rows("suspension")]
        return [(each.suspended, each.why) for each in sorted(found, key=lambda each: each.number)]


@pytest.fixture
def story(node: LocalNode, clearinghouse: LocalClearinghouse) -> Story:
    return Story(node, clearinghouse)


class TestLimits:
    def test_a_region_is_prefunded_until_it_is_given_credit(self, story: Story) -> None:
        assert story.status().funding_mode == "prefunded"
        assert story.limits() == "prefunded"
        assert story.limits(credit_fen=500) == "mixed"
        assert story.limits(credit_fen=500, mode="advanced", days=10) == "advanced"
        status = story.status()
        assert (status.funding_mode, status.credit_days, status.credit_line_fen) == ("advanced", 10, 500)

    def test_a_prefunded_region_has_no_credit(self, story: Story) -> None:
        with pytest.raises(InvalidInput, match="a prefunded region has no credit line"):
            story.limits(credit_fen=1, mode="prefunded")
        assert story.status().credit_line_fen == 0, "nothing of it was set"

    def test_a_region_on_credit_alone_is_not_paid_ahead_for(self, story: Story) -> None:
        story.limits(credit_fen=500, mode="advanced")
        with pytest.raises(InvalidInput, match="nobody pays ahead for it"):
            pay_ahead(story.clearinghouse, HANGZHOU, "spring/city", 100, "ahead")
        assert posted(story.clearinghouse, "bank/clearinghouse") == 1_000_000
        story.limits(credit_fen=500, mode="mixed")
        assert pay_ahead(story.clearinghouse, HANGZHOU, "spring/city", 100, "ahead") == 100
        with pytest.raises(InvalidInput, match=r"1\.00 yuan paid ahead here"):
            story.limits(credit_fen=500, mode="advanced")

    def test_a_mixed_region_owes_up_to_both_together(self, story: Story) -> None:
        story.limits(credit_fen=OWED - 100, mode="mixed")
        pay_ahead(story.clearinghouse, HANGZHOU, "spring/city", 100, "ahead")
        story.redeem()
        order = purchase(story.tokens[0], 1, "one-more")
        (answer,) = story.clearinghouse.redeem(item(b"refused".rjust(16, b"\0"), redeem=order))
        assert outcome(answer) == "DEBIT_CAP_EXCEEDED"


class TestCreditDays:
    def test_a_region_without_them_is_suspended_by_the_settlement_that_leaves_it_in_arrears(self, story: Story) -> None:
        story.limits(credit_fen=OWED)
        story.redeem()
        story.settle()
        status = story.status()
        assert (status.arrears_fen, status.past_due_fen, status.suspended) == (OWED, OWED, True)

    def test_a_region_with_them_is_suspended_once_they_have_passed(self, story: Story) -> None:
        story.limits(credit_fen=OWED, mode="advanced", days=10)
        story.redeem()
        story.settle()
        status = story.status()
        assert (status.arrears_fen, status.past_due_fen, status.suspended) == (OWED, 0, False)
        assert status.limit_fen == 0, "its arrears have used its credit line"
        story.pass_days(10)
        assert story.suspensions() == []
        story.pass_days(1)
        status = story.status()
        assert (status.past_due_fen, status.suspended) == (OWED, True)
        ((suspended, why),) = story.suspensions()
        assert suspended
        assert "7.00 yuan of its arrears are past due" in why
        story.pass_days(1)
        assert len(story.suspensions()) == 1, "it is called once"
        story.clearinghouse.check_books()

    @pytest.mark.parametrize("values", [{"amount_fen": 1}, {"due_at": 2**40}])
    def test_a_shortfall_that_is_altered_behind_its_back_is_named(self, story: Story, values: dict[str, int]) -> None:
        story.limits(credit_fen=OWED, mode="advanced", days=10)
        story.redeem()
        story.settle()
        with story.clearinghouse.database.transaction() as transaction:
            transaction.connection.execute(schema.shortfall.update().values(**values))
        with story.clearinghouse.database.snapshot() as transaction:
            found = check_books(transaction)
        assert "shortfall" in {each.table for each in found}

    def test_who_pays_in_time_is_never_suspended(self, story: Story) -> None:
        story.limits(credit_fen=OWED, mode="advanced", days=10)
        story.redeem()
        story.settle()
        deposit(story.clearinghouse, HANGZHOU, OWED, "in-time")
        story.pass_days(11)
        status = story.status()
        assert (status.arrears_fen, status.past_due_fen, status.due_at, status.suspended) == (0, 0, 0, False)
        assert story.suspensions() == []

    def test_who_pays_late_is_reactivated_by_the_cure(self, story: Story) -> None:
        story.limits(credit_fen=OWED, mode="advanced", days=10)
        story.redeem()
        story.settle()
        story.pass_days(11)
        deposit(story.clearinghouse, HANGZHOU, OWED, "late")
        assert [suspended for suspended, _ in story.suspensions()] == [True, False]

    def test_a_part_that_is_paid_pays_the_oldest_shortfall(self, story: Story) -> None:
        story.limits(credit_fen=2 * OWED, mode="advanced", days=10)
        story.redeem()
        story.settle()
        first_due = story.status().due_at
        story.pass_days(2)
        story.redeem()
        story.settle()
        deposit(story.clearinghouse, HANGZHOU, OWED + 100, "the-first-and-a-bit")
        status = story.status()
        assert (status.arrears_fen, status.due_at) == (OWED - 100, first_due + 2 * DAY)
        story.pass_days(9)
        assert not story.status().suspended
        story.pass_days(2)
        assert story.status().past_due_fen == OWED - 100

    def test_the_operator_s_reactivation_stands_until_another_shortfall_is_past_due(self, story: Story) -> None:
        story.limits(credit_fen=OWED, mode="advanced", days=10)
        story.redeem()
        story.settle()
        story.pass_days(11)
        story.clearinghouse.suspend(SuspensionKind.REGION, HANGZHOU, suspended=False)
        story.pass_days(1)
        assert not story.status().suspended
        assert story.status().past_due_fen == OWED
