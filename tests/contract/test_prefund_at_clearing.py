"""Money that funders pay ahead at the clearinghouse: what it secures, what windows take of it, on both databases.

One redemption of 10.00 makes Hangzhou owe Shanghai 7.00, of which its city pays 4.67 and its county 2.33; Shanghai's
visitors' fund bears 3.00.
"""

from __future__ import annotations

import pytest
from local_parties import HANGZHOU, SHANGHAI, LocalClearinghouse, LocalNode, answer_of, item, outcome, purchase
from window_stories import (
    BANK,
    away,
    close,
    deposit,
    instruct,
    mark,
    pay_ahead,
    pay_out,
    posted,
    redeem,
    statement,
)

from quanlian.errors import InvalidInput
from quanlian.v1 import clearing_operator_pb2 as pb
from quanlian.v1 import redemption_pb2

CITY, COUNTY = f"prefund/{HANGZHOU}/2026/spring/city", f"prefund/{HANGZHOU}/2026/spring/county"
CITY_USES, COUNTY_USES = 467, 233


class Story:
    """Hangzhou has lodged nothing; its vouchers are used in Shanghai."""

    def __init__(self, node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
        self.clearinghouse = clearinghouse
        self.tokens = away(node, clearinghouse, 6)
        self.redeemed = 0
        pay_out(clearinghouse, HANGZHOU, 1_000_000, "nothing-lodged")

    def redeem(self, times: int = 1) -> None:
        for _ in range(times):
            redeem(self.clearinghouse, self.redeemed + 1, self.tokens[self.redeemed // 2], self.redeemed % 2)
            self.redeemed += 1

    def refused(self) -> str:
        order = purchase(self.tokens[self.redeemed // 2], self.redeemed % 2, f"order-{self.redeemed}")
        (answer,) = self.clearinghouse.redeem(item(f"refused-{self.redeemed}".encode().rjust(16), redeem=order))
        return outcome(answer)

    def refund_all(self) -> None:
        for number, id in enumerate(dict.fromkeys(row["redemption_id"] for row in self.clearinghouse.rows("posting"))):
            refund = redemption_pb2.Refund(redemption_id=id, order_fen=5800)
            (answer,) = self.clearinghouse.redeem(item((100 + number).to_bytes(16, "big"), refund=refund))
            assert not answer_of(answer).HasField("refusal")

    def pay_ahead(self, funder: str, fen: int, reference: str) -> int:
        return pay_ahead(self.clearinghouse, HANGZHOU, funder, fen, reference)

    def instruct(self) -> int:
        number = close(self.clearinghouse)
        instruct(self.clearinghouse, number)
        return number

    def settle(self, number: int | None = None) -> int:
        number = self.instruct() if number is None else number
        self.clearinghouse.do(self.clearinghouse.service.settlement.settle(number))
        self.clearinghouse.check_books()
        return number

    def standing(self) -> tuple[int, int]:
        """What stands of the city's money, and of the county's."""
        return -posted(self.clearinghouse, CITY), -posted(self.clearinghouse, COUNTY)

    def settlement(self, region: str) -> tuple[int, int]:
        """Its settlement account, and its arrears."""
        return -posted(self.clearinghouse, f"settlement/{region}"), posted(self.clearinghouse, f"arrears/{region}")


@pytest.fixture
def story(node: LocalNode, clearinghouse: LocalClearinghouse) -> Story:
    return Story(node, clearinghouse)


class TestDeposits:
    def test_a_funder_s_money_is_booked_once_under_its_reference(self, story: Story) -> None:
        assert story.pay_ahead("spring/city", 500, "ahead-1") == 500
        assert story.pay_ahead("spring/city", 500, "ahead-1") == 500
        assert story.standing() == (500, 0)
        assert posted(story.clearinghouse, BANK) == 1_000_500
        with pytest.raises(InvalidInput, match="ahead-1 was booked for another deposit"):
            story.pay_ahead("spring/county", 500, "ahead-1")
        with pytest.raises(InvalidInput, match="ahead-1 was booked for another deposit"):
            deposit(story.clearinghouse, HANGZHOU, 500, "ahead-1")
        story.clearinghouse.check_books()

    @pytest.mark.parametrize("funder", ["spring/province", "autumn/city", "visitors/county"])
    def test_money_of_a_funder_whom_nobody_published_is_not_booked(self, story: Story, funder: str) -> None:
        with pytest.raises(InvalidInput, match="no funder"):
            story.pay_ahead(funder, 500, "ahead-1")
        with pytest.raises(InvalidInput, match="not enrolled"):
            pay_ahead(story.clearinghouse, "", funder, 500, "ahead-1")
        assert posted(story.clearinghouse, BANK) == 1_000_000

    def test_a_visitors_fund_is_paid_ahead_by_year(self, story: Story) -> None:
        assert story.pay_ahead("visitors/city", 500, "ahead-1") == 500
        assert posted(story.clearinghouse, f"prefund/{HANGZHOU}/2026/visitors/city") == -500

    def test_a_receipt_in_suspense_may_be_a_funder_s(self, story: Story) -> None:
        service, do = story.clearinghouse.service.settlement, story.clearinghouse.do
        do(service.record_deposit(pb.RecordDepositRequest(amount_fen=500, bank_reference="stray")))
        request = pb.AssignReceiptRequest(bank_reference="stray", region=HANGZHOU)
        request.funder.CopyFrom(pb.Funder(campaign="spring", funder="county"))
        assert do(service.assign_receipt(request)) == 500
        assert do(service.assign_receipt(request)) == 500
        assert story.standing() == (0, 500)
        request.ClearField("funder")
        with pytest.raises(InvalidInput, match="county's already"):
            do(service.assign_receipt(request))
        story.clearinghouse.check_books()

    def test_it_is_listed_with_what_was_used(self, story: Story) -> None:
        story.pay_ahead("spring/city", 500, "ahead-1")
        story.pay_ahead("spring/city", 200, "ahead-2")
        story.redeem()
        story.settle()
        (listed,) = story.clearinghouse.do(story.clearinghouse.service.settlement.prefund(HANGZHOU))
        assert (listed.campaign, listed.funder, listed.fiscal_year) == ("spring", "city", 2026)
        assert (listed.paid_fen, listed.used_fen, listed.standing_fen) == (700, CITY_USES, 700 - CITY_USES)
        assert story.clearinghouse.do(story.clearinghouse.service.settlement.prefund(SHANGHAI)) == []


class TestWhatItSecures:
    def test_a_region_owes_up_to_what_it_lodged_and_its_funders_paid_ahead_together(self, story: Story) -> None:
        assert story.refused() == "DEBIT_CAP_EXCEEDED"
        deposit(story.clearinghouse, HANGZHOU, 400, "lodged")
        story.pay_ahead("spring/city", 300, "ahead-1")
        story.redeem()
        assert story.refused() == "DEBIT_CAP_EXCEEDED"
        status = story.clearinghouse.do(story.clearinghouse.service.operations.status())
        (hangzhou,) = [each for each in status.regions if each.region == HANGZHOU]
        figures = (hangzhou.settlement_fen, hangzhou.prefund_fen, hangzhou.limit_fen, hangzhou.exposure_fen)
        assert figures == (400, 300, 700, 700)

    def test_what_it_lodged_may_be_taken_out_again_as_far_as_prefund_covers_what_it_owes(self, story: Story) -> None:
        deposit(story.clearinghouse, HANGZHOU, 400, "lodged")
        story.pay_ahead("spring/city", 500, "ahead-1")
        story.redeem()
        with pytest.raises(InvalidInput, match=r"take out 2\.00 yuan"):
            pay_out(story.clearinghouse, HANGZHOU, 201, "out")
        assert pay_out(story.clearinghouse, HANGZHOU, 200, "out") == 200

    def test_a_region_is_never_paid_out_of_what_funders_paid_ahead(self, story: Story) -> None:
        story.pay_ahead("spring/city", 500, "ahead-1")
        with pytest.raises(InvalidInput, match=r"take out 0\.00 yuan"):
            pay_out(story.clearinghouse, HANGZHOU, 1, "out")


class TestSettlement:
    def test_used_prefund_moves_to_settlement_first_and_covers_the_window_s_debit(self, story: Story) -> None:
        story.pay_ahead("spring/city", 1000, "ahead-1")
        story.pay_ahead("spring/county", 500, "ahead-2")
        story.redeem()
        number = story.instruct()
        mark(story.clearinghouse, number, SHANGHAI, "to-shanghai")
        story.settle(number)
        assert story.standing() == (1000 - CITY_USES, 500 - COUNTY_USES)
        assert story.settlement(HANGZHOU) == (0, 0)
        kinds = [row["kind"] for row in story.clearinghouse.rows("entry")]
        assert kinds[-3:] == ["settlement", "prefund", "pay-out"]

    def test_it_moves_up_to_what_stands_there_and_the_rest_is_short(self, story: Story) -> None:
        story.pay_ahead("spring/city", 1000, "ahead-1")
        story.redeem()
        number = story.instruct()
        with pytest.raises(InvalidInput, match=r"330100 is short by 2\.33 yuan"):
            mark(story.clearinghouse, number, SHANGHAI, "to-shanghai")
        story.settle(number)
        assert story.standing() == (1000 - CITY_USES, 0), "the city's money pays for the city's use alone"
        assert story.settlement(HANGZHOU) == (0, COUNTY_USES)

    def test_two_instructed_windows_are_not_promised_the_same_money(self, story: Story) -> None:
        deposit(story.clearinghouse, HANGZHOU, 2 * COUNTY_USES, "lodged")
        story.pay_ahead("spring/city", CITY_USES + 100, "ahead-1")
        story.redeem()
        first = story.instruct()
        mark(story.clearinghouse, first, SHANGHAI, "to-shanghai-1")
        deposit(story.clearinghouse, HANGZHOU, 700, "lodged-2")
        story.redeem()
        pay_out_fen = 700 + COUNTY_USES - CITY_USES
        second = story.instruct()
        with pytest.raises(InvalidInput, match="may take out"):
            pay_out(story.clearinghouse, HANGZHOU, pay_out_fen, "too-much")
        pay_out(story.clearinghouse, HANGZHOU, 700 - CITY_USES + 100, "all-that-is-free")
        mark(story.clearinghouse, second, SHANGHAI, "to-shanghai-2")
        story.settle(second)
        story.settle(first)
        assert story.standing() == (0, 0)
        assert story.settlement(HANGZHOU) == (0, 0)

    def test_a_refund_after_the_settlement_stands_on_settlement_and_never_draws_on_prefund(self, story: Story) -> None:
        story.pay_ahead("spring/city", 500, "ahead-1")
        story.pay_ahead("spring/county", 500, "ahead-2")
        story.redeem()
        number = story.instruct()
        mark(story.clearinghouse, number, SHANGHAI, "to-shanghai")
        story.settle(number)
        before = story.standing()
        story.refund_all()
        number = story.instruct()
        mark(story.clearinghouse, number, HANGZHOU, "to-hangzhou")
        story.settle(number)
        assert story.standing() == before
        assert story.settlement(HANGZHOU) == (0, 0), "it was paid what Shanghai owed it back"

    def test_a_visitors_fund_s_money_pays_for_what_its_region_bears_of_visitors(self, story: Story) -> None:
        pay_ahead(story.clearinghouse, SHANGHAI, "visitors/city", 1000, "ahead-1")
        deposit(story.clearinghouse, HANGZHOU, 1000, "lodged")
        story.redeem()
        number = story.instruct()
        mark(story.clearinghouse, number, SHANGHAI, "to-shanghai")
        story.settle(number)
        assert posted(story.clearinghouse, f"prefund/{SHANGHAI}/2026/visitors/city") == -700
        assert story.settlement(SHANGHAI) == (1_000_300, 0), "for its merchants, to be paid out"

    def test_statements_tell_what_was_paid_ahead_and_keep_it_in_the_balance(self, story: Story) -> None:
        story.pay_ahead("spring/city", 1000, "ahead-1")
        story.pay_ahead("spring/county", 500, "ahead-2")
        story.redeem()
        first = story.instruct()
        mark(story.clearinghouse, first, SHANGHAI, "to-shanghai")
        story.settle(first)
        second = close(story.clearinghouse)
        said = statement(story.clearinghouse, HANGZHOU, first)
        names = ("opening_fen", "lodged_fen", "prefunded_fen", "paid_out_fen", "net_fen", "closing_fen")
        assert [said[name] for name in names] == [0, 1_000_000, 1500, 1_000_000, -700, 800]
        again = statement(story.clearinghouse, HANGZHOU, second)
        assert [again[name] for name in names] == [800, 0, 0, 0, 0, 800]
        assert sum(story.standing()) + story.settlement(HANGZHOU)[0] == 800
