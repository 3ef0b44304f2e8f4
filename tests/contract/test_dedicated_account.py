"""Money through a region's dedicated account: funders pay ahead, acquirers are paid, a campaign is closed out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa
from dedicated_account import Treasury, spend_and_end
from local_parties import HANGZHOU, OPERATOR, SHANGHAI, LocalNode
from window_stories import pay_ahead, posted

from node.bank import Payer, RecordReceipt, draw_there
from node.desk import Desk
from node.paying import Lodge
from quanlian.campaign_changes import ChangeKind
from quanlian.errors import InvalidInput
from quanlian.refusals import CHINA
from quanlian.v1 import node_operator_pb2 as pb
from quanlian.v1 import redemption_pb2 as redemption

BANK = f"bank/{HANGZHOU}"
CITY, COUNTY = "2026/spring/city", "2026/spring/county"


class TestReceipts:
    def test_a_funder_s_money_is_booked_once_under_its_reference(self, treasury: Treasury) -> None:
        assert treasury.fund("city", 500, "b-1") == 500
        assert treasury.fund("city", 500, "b-1") == 500
        assert (treasury.posted(BANK), treasury.prefunded("city")) == (500, 500)
        with pytest.raises(InvalidInput, match="b-1 was booked for another payment"):
            treasury.fund("county", 500, "b-1")
        with pytest.raises(InvalidInput, match="no funder province of spring"):
            treasury.fund("province", 500, "b-2")
        treasury.check()

    @pytest.mark.parametrize("typed", ["F1 ", " F1", "F1\n", "\u3000F1", "Ｆ１", "F1\u200b"])
    def test_a_reference_that_looks_alike_is_the_same(self, treasury: Treasury, typed: str) -> None:
        assert treasury.fund("city", 500, "F1") == treasury.fund("city", 500, typed) == 500
        with pytest.raises(InvalidInput, match="F1 names another payment"):
            treasury.lodge(500, typed)
        assert [row["bank_reference"] for row in treasury.node.rows("bank_receipt")] == ["F1"]
        treasury.check()

    @pytest.mark.parametrize("blank", ["", "   ", "\t", "\u3000", "\u200b"])
    def test_a_blank_is_no_reference(self, treasury: Treasury, blank: str) -> None:
        for record in (treasury.receive, treasury.lodge):
            with pytest.raises(InvalidInput, match="缺少银行流水号 · has no bank reference"):
                record(500, blank)
        assert (treasury.node.rows("bank_receipt"), treasury.node.rows("payment")) == ([], [])

    def test_what_older_books_have_under_a_reference_with_blanks_is_still_found(
        self, treasury: Treasury, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as older:
            older.setattr("node.bank.booked_form", str)
            treasury.receive(500, "F1 ")
        assert treasury.receive(500, "F1 ") == 500, "told again it changes nothing"
        assert treasury.assign("F1 ", campaign="spring", funder="city") == 500
        treasury.reverse("F1 ", "not the city's")
        assert treasury.reverse("F1 ").kind == "receipt"
        assert treasury.reverse("F1 ").reversed_before
        treasury.check()

    def test_a_receipt_nobody_is_known_for_waits_in_suspense_until_it_is_assigned(self, treasury: Treasury) -> None:
        assert treasury.receive(700, "stray") == 700
        (listed,) = treasury.department.do(treasury.department.treasury.receipts(unmatched=True))
        assert (listed.bank_reference, listed.account, listed.memo) == ("stray", "suspense", "as the bank says")
        assert treasury.assign("stray", campaign="spring", funder="county") == 700
        assert treasury.assign("stray", campaign="spring", funder="county") == 700
        assert (treasury.posted("suspense"), treasury.prefunded("county")) == (0, 700)
        assert treasury.department.do(treasury.department.treasury.receipts(unmatched=True)) == []
        with pytest.raises(InvalidInput, match="is prefund/330100/2026/spring/county's already"):
            treasury.assign("stray", clearinghouse=True)
        with pytest.raises(InvalidInput, match="names nobody"):
            treasury.assign("stray")
        with pytest.raises(InvalidInput, match="nothing is not a receipt"):
            treasury.assign("nothing", clearinghouse=True)
        treasury.check()

    def test_money_that_comes_in_january_can_be_of_the_year_before(self, treasury: Treasury) -> None:
        treasury.pass_days(300)
        of_2026 = {"campaign": "visitors", "funder": "city", "fiscal_year": 2026}
        assert treasury.receive(300, "v-2026", **of_2026) == 300
        assert treasury.receive(50, "v-2027", campaign="visitors", funder="city") == 50
        assert treasury.receive(7, "later") == 7
        assert treasury.assign("later", **of_2026) == 307
        purse = f"prefund/{HANGZHOU}/{{}}/visitors/city"
        assert [-treasury.posted(purse.format(year)) for year in (2026, 2027)] == [307, 50]

    @pytest.mark.parametrize(
        ("payer", "why"),
        [
            ({"campaign": "visitors", "funder": "city", "fiscal_year": 2028}, "2028 is not from 2000 to 2027"),
            ({"campaign": "visitors", "funder": "city", "fiscal_year": 26}, "26 is not from 2000 to 2027"),
            ({"campaign": "spring", "funder": "city", "fiscal_year": 2026}, "for the visitors' fund alone"),
            ({"clearinghouse": True, "fiscal_year": 2026}, "for the visitors' fund alone"),
        ],
    )
    def test_a_year_is_one_that_visitors_money_can_be_of(
        self, treasury: Treasury, payer: dict[str, Any], why: str
    ) -> None:
        with pytest.raises(InvalidInput, match=why):
            treasury.receive(300, "v-1", **payer)
        assert treasury.node.rows("bank_receipt") == []

    def test_money_of_the_visitors_fund_has_its_year(self, treasury: Treasury) -> None:
        assert treasury.fund("city", 300, "v-1", campaign="visitors") == 300
        assert treasury.prefunded("city", "visitors") == 300

    def test_what_is_paid_to_the_clearinghouse_stands_there(self, funded: Treasury) -> None:
        request = pb.RecordLodgingRequest(amount_fen=900, bank_reference="lodged")
        for _ in range(2):
            assert funded.department.do(funded.department.treasury.lodge(OPERATOR, request)) == 900
        assert funded.posted(BANK) == 60_000 - 900
        request = pb.RecordLodgingRequest(amount_fen=900, bank_reference="city-1")
        with pytest.raises(InvalidInput, match="city-1 names another payment"):
            funded.department.do(funded.department.treasury.lodge(OPERATOR, request))
        funded.check()


def test_money_moves_before_there_is_a_campaign(node: LocalNode) -> None:
    node.decide(RecordReceipt(Payer(), 900, "stray"), Lodge(700, "lodged", "operator"))
    node.check_books()


class TestPayingAcquirers:
    def test_an_acquirer_gets_what_it_advanced_less_refunds_and_each_funder_pays_its_part(
        self, funded: Treasury
    ) -> None:
        one, two = funded.node.claim(2)
        first = funded.redeem_here(one)
        funded.redeem_here(two, platform="wechat")
        funded.refund_here(first, 2900)
        answer = funded.instruct()
        assert [(each.number, each.payee, each.amount_fen) for each in answer.payments] == [
            (1, "alipay", 500),
            (2, "wechat", 1000),
        ]
        assert [(each.account.rpartition("/")[2], each.amount_fen) for each in answer.payments[1].items] == [
            ("city", 667),
            ("county", 333),
        ]
        assert not answer.held_back
        assert funded.posted(BANK) == 60_000
        made = funded.pay(2, "bank-2")
        assert (made.bank_reference, made.payee) == ("bank-2", "wechat")
        assert funded.pay(2, "bank-2") == made
        assert (funded.posted(BANK), funded.posted("payable/wechat")) == (59_000, 0)
        assert funded.posted("payable/alipay") == -500
        assert funded.posted(f"contribution/{HANGZHOU}/{CITY}") == -667
        assert (funded.prefunded("city"), funded.prefunded("county")) == (40_000 - 667, 20_000 - 333)
        funded.check()

    def test_nothing_is_made_out_twice(self, funded: Treasury) -> None:
        funded.redeem_here(*funded.node.claim())
        assert len(funded.instruct().payments) == 1
        assert len(funded.instruct().payments) == 0
        (waiting,) = funded.department.do(funded.department.treasury.payments(made=False))
        funded.pay(waiting.number, "bank-1")
        assert funded.department.do(funded.department.treasury.payments(made=False)) == []
        assert len(funded.department.do(funded.department.treasury.payments(made=True))) == 1

    def test_a_reference_names_one_payment_and_a_payment_has_one(self, funded: Treasury) -> None:
        one, two = funded.node.claim(2)
        funded.redeem_here(one)
        funded.redeem_here(two, platform="wechat")
        funded.instruct()
        funded.pay(1, "bank-1")
        for number, reference, why in (
            (2, "bank-1", "names another payment"),
            (2, "city-1", "names another payment"),
            (1, "bank-9", "is marked with bank-1"),
            (2, "", "has no bank reference"),
            (3, "bank-3", "no payment 3"),
        ):
            with pytest.raises(InvalidInput, match=why):
                funded.pay(number, reference)
        funded.check()

    def test_what_a_refund_takes_back_after_the_payment_is_taken_off_the_next(self, funded: Treasury) -> None:
        one, two = funded.node.claim(2)
        first = funded.redeem_here(one)
        funded.pay(funded.instruct().payments[0].number, "bank-1")
        funded.refund_here(first, 5800)
        assert not funded.instruct().payments, "it owes 10.00, which waits for the next payment"
        funded.redeem_here(two, 0)
        assert not funded.instruct().payments, "10.00 less 10.00"
        funded.redeem_here(two, 1)
        (payment,) = funded.instruct().payments
        assert payment.amount_fen == 1000
        funded.pay(payment.number, "bank-2")
        assert funded.prefunded("city") == 40_000 - 2 * 667
        assert funded.posted("payable/alipay") == 0
        funded.check()

    def test_a_campaign_whose_funder_has_not_paid_ahead_waits_and_says_for_whose_money(
        self, treasury: Treasury
    ) -> None:
        treasury.fund("city", 10_000, "city-1")
        treasury.fund("county", 300, "county-1")
        treasury.redeem_here(*treasury.node.claim())
        answer = treasury.instruct()
        assert not answer.payments
        (held,) = answer.held_back
        assert (held.campaign, held.account, held.short_fen) == ("spring", f"funding/{HANGZHOU}/{COUNTY}", 33)
        treasury.fund("county", 33, "county-2")
        assert treasury.instruct().payments[0].amount_fen == 1000
        treasury.check()

    def test_away_redemptions_are_paid_once_their_window_is_settled(self, funded: Treasury) -> None:
        (token,) = funded.node.claim()
        funded.release(token)
        funded.redeem_here_by_the_clearinghouse(token, 0)
        funded.redeem_in_shanghai(token, 1)
        assert not funded.instruct().payments
        assert funded.settle_window() == 1
        assert funded.prefunded("city") == 40_000 - 667 - 467, "settled use comes out of what it paid ahead"
        assert funded.posted(f"contribution/{HANGZHOU}/{COUNTY}") == -(333 + 233)
        (payment,) = funded.instruct().payments
        assert [(each.window, each.account, each.amount_fen) for each in payment.items] == [
            (1, f"clearing/{HANGZHOU}", 1000)
        ]
        funded.pay(payment.number, "bank-1")
        lodging = pb.RecordLodgingRequest(amount_fen=700, bank_reference="lodged")
        funded.department.do(funded.department.treasury.lodge(OPERATOR, lodging))
        assert funded.posted(f"settlement/{HANGZHOU}") == 0, "what Shanghai is due was lodged"
        assert funded.posted(BANK) == funded.prefunded("city") + funded.prefunded("county")
        funded.check()

    def test_use_that_was_not_paid_ahead_is_drawn_on_when_the_money_comes(self, treasury: Treasury) -> None:
        treasury.fund("city", 467, "city-1")
        (token,) = treasury.node.claim()
        treasury.release(token)
        treasury.redeem_in_shanghai(token)
        treasury.settle_window()
        assert (treasury.prefunded("city"), treasury.prefunded("county")) == (0, 0)
        assert treasury.posted(f"contribution/{HANGZHOU}/{COUNTY}") == 0
        assert treasury.fund("county", 1000, "county-1") == 1000 - 233
        treasury.check()


class TestCloseOut:
    def test_is_refused_with_everything_that_is_open(self, funded: Treasury) -> None:
        home, given, kept = funded.node.claim(3)
        funded.release(given)
        funded.redeem_in_shanghai(given)
        funded.department.hear()
        funded.redeem_here(home)
        with pytest.raises(InvalidInput) as refused:
            funded.close_out()
        said = str(refused.value)
        for part in (
            "it ends on 2027-01-01 00:00, and is not withdrawn",
            "vouchers neither used, expired nor cancelled have 30.00 yuan reserved",
            "13.00 yuan are with the clearinghouse",
            "window 1 is not settled",
            "10.00 yuan owed to acquirers have no payment yet",
        ):
            assert part in said, said
        funded.instruct()
        with pytest.raises(InvalidInput, match="payment 1 is not marked paid"):
            funded.close_out()
        request = pb.CloseOutCampaignRequest(campaign="summer")
        with pytest.raises(InvalidInput, match="no campaign"):
            funded.department.do(funded.department.treasury.close_out(OPERATOR, request))
        assert funded.node.rows("close_out") == []
        assert kept

    def test_gives_the_newest_deposits_back_first_and_releases_what_the_budgets_did_not_use(
        self, funded: Treasury
    ) -> None:
        spend_and_end(funded)
        report = funded.close_out()
        assert (report.number, report.closed_by, report.due_on) == (1, OPERATOR.uri, "2026-06-26")
        city, county = report.funders
        assert (city.budget_fen, city.used_home_fen, city.used_away_fen) == (400_000, 667, 467)
        assert city.released_fen == 400_000 - 667 - 467
        assert (city.paid_ahead_fen, city.settled_fen, city.returned_fen) == (40_000, 1134, 38_866)
        assert (county.returned_fen, county.returned_paid_fen, county.owed_fen) == (20_000 - 566, 0, 0)
        assert [(each.payee, each.deposit, each.amount_fen) for each in report.returns] == [
            ("city", "city-2", 30_000),
            ("city", "city-1", 8_866),
            ("county", "county-1", 19_434),
        ]
        funded.check()
        for each in report.returns:
            funded.pay(each.number, f"back-{each.number}")
        assert (funded.prefunded("city"), funded.prefunded("county")) == (0, 0)
        assert funded.posted(BANK) == 700, "what is owed to the clearinghouse and was not lodged yet"
        funded.check()
        assert funded.close_out().number == 1, "told again, it changes nothing"

    def test_a_later_refund_makes_a_supplementary_return(self, funded: Treasury) -> None:
        home, away = spend_and_end(funded)
        for each in funded.close_out().returns:
            funded.pay(each.number, f"back-{each.number}")
        refund = redemption.Refund(redemption_id=away, order_fen=5800)
        funded.clearinghouse.redeem(funded.request(refund=refund))
        funded.department.hear()
        with pytest.raises(InvalidInput, match="is not settled"):
            funded.close_out()
        funded.settle_window()
        report = funded.close_out()
        assert (report.number, report.funders[0].used_away_fen) == (2, 0)
        assert [(each.payee, each.deposit, each.amount_fen) for each in report.returns[3:]] == [
            ("city", "city-1", 467),
            ("county", "county-1", 233),
        ]
        assert sum(each.budget_fen - each.used_home_fen - each.released_fen for each in report.funders) == 0
        funded.check()
        assert home

    def test_what_is_closed_out_is_not_extended(self, funded: Treasury) -> None:
        spend_and_end(funded)
        funded.close_out()
        notice = b'[notice]\ncampaign = "spring"\nvalid_until = 2027-02-01T00:00:00+08:00\n'
        with pytest.raises(InvalidInput, match="is closed out"):
            funded.node.change(ChangeKind.NOTICE, notice)
        assert [row["kind"] for row in funded.node.rows("campaign_change")] == ["PUBLISH", "WITHDRAW", "CLOSE_OUT"]

    def test_the_network_is_told_once_when_the_last_voucher_ended(self, funded: Treasury) -> None:
        spend_and_end(funded)
        ended = max(row["not_after"] for row in funded.node.rows("pack"))
        for _ in range(2):
            funded.close_out()
        told = [change for change in funded.node.changes() if change.kind == ChangeKind.CLOSE_OUT]
        assert [(each.by, each.last_end) for each in told] == [(OPERATOR.uri, ended)]
        funded.learn()
        assert funded.clearinghouse.rows("campaign_change")[-1]["kind"] == "CLOSE_OUT"

    def test_nobody_says_so_of_a_campaign_that_is_not(self, funded: Treasury) -> None:
        with pytest.raises(InvalidInput, match="needs a kind of change"):
            funded.node.change(ChangeKind.CLOSE_OUT)

    def test_a_year_whose_holidays_nobody_told_is_asked_for(self, funded: Treasury) -> None:
        notice = b'[notice]\ncampaign = "spring"\nvalid_until = 2026-12-20T00:00:00+08:00\n'
        spend_and_end(funded, notice)
        with pytest.raises(InvalidInput, match="the holidays of 2027 are not known"):
            funded.close_out(working_days=b"")
        assert funded.close_out().due_on == "2027-01-11"

    def test_both_books_conserve_each_funder_s_budget(self, funded: Treasury) -> None:
        spend_and_end(funded)
        funded.close_out()
        for funder, budget_fen in (("city", 400_000), ("county", 200_000)):
            account = f"funding/{HANGZHOU}/2026/spring/{funder}"
            here = next(row for row in funded.node.rows("account") if row["account"] == account)
            there = next(row for row in funded.clearinghouse.rows("account") if row["account"] == account)
            assert here["limit_fen"] == here["posted_fen"]
            assert there["limit_fen"] == there["posted_fen"]
            released = next(each.released_fen for each in funded.close_out().funders if each.funder == funder)
            assert here["posted_fen"] + there["posted_fen"] + released == budget_fen


class TestPaymentsThatTheBankReturns:
    """退汇: the payee's account is closed, or its number was wrong."""

    def test_undo_what_the_payment_moved_and_keep_what_happened(self, funded: Treasury) -> None:
        funded.redeem_here(*funded.node.claim())
        funded.instruct()
        before = funded.balances()
        funded.pay(1, "bank-1")
        funded.node.pass_seconds(86_400)
        sent_back = funded.send_back(1, "back-1")
        assert (sent_back.bank_reference, sent_back.returned_reference) == ("bank-1", "back-1")
        assert sent_back.returned_at == sent_back.paid_at + 86_400
        assert funded.balances() == before
        payment, returned = funded.node.rows("entry")[-2:]
        assert [(each["kind"], each["reference"]) for each in (payment, returned)] == [
            ("payment", "bank-1"),
            ("returned-payment", "back-1"),
        ]
        lines = {
            number: {(row["account"], row["posted_fen"]) for row in funded.node.rows("line") if row["entry"] == number}
            for number in (payment["number"], returned["number"])
        }
        assert lines[returned["number"]] == {(account, -fen) for account, fen in lines[payment["number"]]}
        assert len(lines[payment["number"]]) == 6, "payable and bank; what each of two funders paid ahead, and settled"
        funded.check()

    def test_are_due_again_and_are_made_out_anew(self, funded: Treasury) -> None:
        one, two = funded.node.claim(2)
        funded.redeem_here(one)
        funded.instruct()
        funded.pay(1, "bank-1")
        funded.send_back(1, "back-1")
        assert funded.listed() == [], "the old payment is not for the bank any more"
        funded.redeem_here(two)
        (payment,) = funded.instruct().payments
        assert (payment.number, payment.payee, payment.amount_fen) == (2, "alipay", 2000)
        funded.check()
        funded.pay(2, "bank-2")
        assert funded.posted("payable/alipay") == 0
        assert funded.prefunded("city") == 40_000 - 2 * 667
        assert not funded.instruct().payments
        funded.check()

    def test_make_an_away_payment_due_again_and_leave_drawn_use_as_it_was(self, funded: Treasury) -> None:
        (token,) = funded.node.claim()
        funded.release(token)
        funded.redeem_here_by_the_clearinghouse(token, 0)
        funded.settle_window()
        funded.instruct()
        before = funded.balances()
        funded.pay(1, "bank-1")
        funded.send_back(1, "back-1")
        assert funded.balances() == before
        assert funded.posted(f"contribution/{HANGZHOU}/{CITY}") == -667, "settled with the window, not by the payment"
        (payment,) = funded.instruct().payments
        assert [(each.window, each.amount_fen) for each in payment.items] == [(1, 1000)]
        funded.check()

    def test_told_again_they_change_nothing(self, funded: Treasury) -> None:
        funded.redeem_here(*funded.node.claim())
        funded.instruct()
        funded.pay(1, "bank-1")
        assert funded.send_back(1, "back-1") == funded.send_back(1, "back-1")
        assert [row["kind"] for row in funded.node.rows("entry")].count("returned-payment") == 1
        assert funded.pay(1, "bank-1").returned_reference == "back-1", "nor does the payment, told again"
        assert len(funded.instruct().payments) == 1
        funded.check()

    def test_a_reference_names_one_movement_of_money(self, funded: Treasury) -> None:
        one, two, three = funded.node.claim(3)
        for token, platform in ((one, "alipay"), (two, "wechat"), (three, "unionpay")):
            funded.redeem_here(token, platform=platform)
        funded.instruct()
        funded.pay(1, "bank-1")
        funded.pay(2, "bank-2")
        funded.send_back(1, "back-1")
        for number, reference, why in (
            (1, "back-9", "was returned as back-1"),
            (2, "back-1", "names another payment"),
            (2, "bank-2", "names another payment"),
            (2, "city-1", "names another payment"),
            (2, "", "has no bank reference"),
            (3, "back-3", "payment 3 was not made"),
            (9, "back-9", "no payment 9"),
        ):
            with pytest.raises(InvalidInput, match=why):
                funded.send_back(number, reference)
        for move in (lambda: funded.pay(3, "back-1"), lambda: funded.fund("city", 1000, "back-1")):
            with pytest.raises(InvalidInput, match="names another payment"):
                move()
        funded.check()

    def test_of_a_lodging_takes_it_off_what_stands_at_the_clearinghouse(self, funded: Treasury) -> None:
        request = pb.RecordLodgingRequest(amount_fen=900, bank_reference="lodged")
        before = funded.balances()
        funded.department.do(funded.department.treasury.lodge(OPERATOR, request))
        funded.send_back(1, "back-1")
        assert funded.balances() == before
        assert funded.department.do(funded.department.treasury.lodge(OPERATOR, request)) == 0, "told again, it is back"
        again = pb.RecordLodgingRequest(amount_fen=900, bank_reference="lodged-2")
        assert funded.department.do(funded.department.treasury.lodge(OPERATOR, again)) == 900
        funded.check()

    def test_to_a_funder_go_back_by_closing_out_again(self, funded: Treasury) -> None:
        spend_and_end(funded)
        for each in funded.close_out().returns:
            funded.pay(each.number, f"back-{each.number}")
        newest = funded.listed(made=True)[1]
        assert (newest.deposit, newest.amount_fen) == ("city-2", 30_000)
        funded.send_back(newest.number, "refused")
        assert funded.prefunded("city") == 30_000
        funded.check()
        report = funded.close_out()
        assert report.number == 2
        city = report.funders[0]
        assert (city.returned_fen, city.returned_paid_fen) == (38_866, 8_866)
        assert (report.returns[0].returned_reference, report.returns[-1].returned_reference) == ("refused", "")
        assert (report.returns[-1].deposit, report.returns[-1].amount_fen) == ("city-2", 30_000)
        funded.pay(report.returns[-1].number, "back-at-last")
        assert (funded.prefunded("city"), funded.prefunded("county"), funded.posted(BANK)) == (0, 0, 700)
        assert funded.close_out().number == 2
        funded.check()

    def test_of_which_a_refund_was_taken_off_leave_its_funder_short_until_they_are_paid_anew(
        self, funded: Treasury
    ) -> None:
        home, given = funded.node.claim(2)
        funded.release(given)
        first = funded.redeem_here(home)
        funded.pay(funded.instruct().payments[0].number, "bank-1")
        funded.refund_here(first, 5800)
        for index in (0, 1):
            funded.redeem_here_by_the_clearinghouse(given, index)
        funded.node.change(ChangeKind.WITHDRAW)
        funded.pass_days(14)
        funded.sweep()
        funded.settle_window()
        (payment,) = funded.instruct().payments
        assert [each.amount_fen for each in payment.items] == [-667, -333, 2000]
        funded.pay(payment.number, "bank-2")
        for each in funded.close_out().returns:
            funded.pay(each.number, f"back-{each.number}")
        funded.send_back(payment.number, "refused")
        assert (funded.prefunded("city"), funded.prefunded("county")) == (-667, -333), "gone to the funders already"
        funded.check()
        assert [each.findings for each in funded.audited() if not each.holds] == []
        (anew,) = funded.instruct().payments
        assert list(anew.items) == list(payment.items)
        funded.pay(anew.number, "bank-3")
        assert (funded.prefunded("city"), funded.prefunded("county"), funded.posted(BANK)) == (0, 0, 0)
        funded.check()

    def test_keep_a_campaign_from_being_closed_out(self, funded: Treasury) -> None:
        spend_and_end(funded)
        funded.send_back(1, "back-1")
        with pytest.raises(InvalidInput, match="owed to acquirers have no payment yet"):
            funded.close_out()
        funded.instruct()
        with pytest.raises(InvalidInput, match="payment 2 is not marked paid"):
            funded.close_out()
        funded.pay(2, "bank-2")
        assert funded.close_out().number == 1
        funded.check()

    def test_after_the_close_out_an_acquirer_is_paid_with_what_came_back(self, funded: Treasury) -> None:
        spend_and_end(funded)
        for each in funded.close_out().returns:
            funded.pay(each.number, f"back-{each.number}")
        funded.send_back(1, "refused")
        (payment,) = funded.instruct().payments
        funded.pay(payment.number, "at last")
        assert (funded.prefunded("city"), funded.posted(BANK)) == (0, 700)
        assert funded.close_out().number == 1
        funded.check()


class TestAudit:
    def test_the_auditor_follows_the_money_to_acquirers_and_back_to_funders(self, funded: Treasury) -> None:
        spend_and_end(funded)
        for each in funded.close_out().returns:
            funded.pay(each.number, f"back-{each.number}")
            funded.send_back(each.number, f"refused-{each.number}")
        funded.send_back(1, "refused-1")
        funded.instruct()
        assert [each.findings for each in funded.audited() if not each.holds] == []

    @pytest.mark.parametrize(
        ("tampering", "invariant"),
        [
            ("UPDATE close_out SET released = '[]'", "funders_conserved"),
            ("UPDATE payment SET amount_fen = amount_fen + 1 WHERE kind = 'acquirer'", "dedicated_accounts_hold"),
            ("UPDATE payment SET payee = 'wechat' WHERE kind = 'acquirer'", "dedicated_accounts_hold"),
            ("DELETE FROM payment WHERE kind = 'return'", "dedicated_accounts_hold"),
            ("UPDATE bank_receipt SET account = 'suspense'", "dedicated_accounts_hold"),
            ("UPDATE away_use SET drawn_fen = drawn_fen - 1", "dedicated_accounts_hold"),
            ("UPDATE payment SET returned_reference = 'x' WHERE kind = 'acquirer'", "dedicated_accounts_hold"),
            (
                "UPDATE payment SET bank_reference = NULL, returned_reference = 'x' WHERE number = 1",
                "dedicated_accounts_hold",
            ),
        ],
    )
    def test_and_finds_what_does_not_fit(self, funded: Treasury, tampering: str, invariant: str) -> None:
        spend_and_end(funded)
        for each in funded.close_out().returns:
            funded.pay(each.number, f"back-{each.number}")
        with funded.node.database.engine.begin() as connection:
            assert connection.execute(sa.text(tampering)).rowcount
        assert invariant in [each.name for each in funded.audited() if not each.holds]


def test_the_fixtures_days_are_china_s(treasury: Treasury) -> None:
    assert datetime.fromtimestamp(treasury.node.database.at, CHINA).date().isoformat() == "2026-05-29"
    assert SHANGHAI != HANGZHOU


class TestMoneyPaidAheadAtTheClearinghouse:
    """The city pays its part of what is used away there; its money is not drawn on twice."""

    @pytest.fixture
    def paid_there(self, treasury: Treasury) -> Treasury:
        treasury.fund("city", 1000, "city-here")
        treasury.fund("county", 1000, "county-here")
        pay_ahead(treasury.clearinghouse, HANGZHOU, "spring/city", 300, "city-there")
        return treasury

    def test_it_pays_for_use_in_a_settled_window_before_what_stands_here(self, paid_there: Treasury) -> None:
        (token,) = paid_there.node.claim(1)
        paid_there.release(token)
        paid_there.redeem_in_shanghai(token)
        paid_there.settle_window()
        assert posted(paid_there.clearinghouse, f"prefund/{CITY}") == 0
        assert paid_there.prefunded("city") == 1000 - (467 - 300)
        assert paid_there.prefunded("county") == 1000 - 233
        assert paid_there.posted(f"contribution/{HANGZHOU}/{CITY}") == -467
        assert paid_there.posted(f"settlement/{HANGZHOU}") == 300 - 700, "as the clearinghouse has it, less lodgings"
        paid_there.check()
        paid_there.clearinghouse.check_books()
        assert [each for each in paid_there.audited() if not each.holds] == []

    def test_to_hear_of_it_twice_changes_nothing(self, paid_there: Treasury) -> None:
        (token,) = paid_there.node.claim(1)
        paid_there.release(token)
        paid_there.redeem_in_shanghai(token)
        number = paid_there.settle_window()
        before = paid_there.balances()
        with paid_there.node.database.transaction() as transaction:
            engine = paid_there.department.service.engine
            desk = Desk(transaction, engine.region, engine.shelf)
            draw_there(desk, number, {f"prefund/{HANGZHOU}/{CITY}": 300})
            desk.save()
        assert paid_there.balances() == before

    def test_a_statement_with_it_matches_the_region_s_books(self, paid_there: Treasury) -> None:
        paid_there.settle_window()
        (row,) = paid_there.node.rows("settlement_window")
        assert (row["missing"], row["extra"], row["different"], row["confirmed"]) == (0, 0, 0, True)
        assert row["closing_fen"] == 1_000_000 + 300
