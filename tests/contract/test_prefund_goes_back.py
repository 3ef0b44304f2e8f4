"""What funders paid ahead at the clearinghouse goes back when a campaign is over, on both databases.

The vouchers of `spring` end by themselves; one redemption of 10.00 uses 4.67 of the city's money and 2.33 of the
county's.
"""

from __future__ import annotations

from datetime import datetime

import pytest
from dedicated_account import Treasury
from local_parties import HANGZHOU, SHANGHAI, LocalClearinghouse, LocalNode, node_signers
from window_stories import BANK, away, close, deposit, instruct, mark, pay_ahead, posted, redeem, statement

from clearinghouse import schema
from clearinghouse.custody import overdue
from custodian.ledger.check import check_books
from custodian.working_days import calendar, working_day_after
from node.signatures import signed
from quanlian.campaign_changes import Change, ChangeKind
from quanlian.errors import InvalidInput
from quanlian.refusals import CHINA
from quanlian.v1 import clearing_operator_pb2 as pb
from quanlian.wire import change_to_body

CITY = f"prefund/{HANGZHOU}/2026/spring/city"
CITY_USES = 467
DAY = 86_400
CALENDAR = b"year = 2027\nholidays = [2027-01-01]\nworkdays = []\n"


def close_out(
    clearinghouse: LocalClearinghouse, region: str = HANGZHOU, campaign: str = "spring", year: int = 0
) -> pb.CloseOutPrefundResponse:
    request = pb.CloseOutPrefundRequest(
        region=region, campaign=campaign, fiscal_year=year, working_days=CALENDAR, file_name="2027.toml"
    )
    return clearinghouse.do(clearinghouse.service.settlement.close_out("operator", request))


class Story:
    """The city paid 3.00 and then 9.00, of which a voucher took 4.67."""

    def __init__(self, node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
        self.clearinghouse = clearinghouse
        (token,) = away(node, clearinghouse)
        self._terms_hash = node.changes()[-1].terms_hash
        pay_ahead(clearinghouse, HANGZHOU, "spring/city", 300, "older")
        clearinghouse.pass_seconds(60)
        pay_ahead(clearinghouse, HANGZHOU, "spring/city", 900, "newer")
        redeem(clearinghouse, 1, token)

    def settle(self) -> None:
        number = close(self.clearinghouse)
        instruct(self.clearinghouse, number)
        mark(self.clearinghouse, number, SHANGHAI, f"to-shanghai-{number}")
        self.clearinghouse.do(self.clearinghouse.service.settlement.settle(number))

    def end(self, last_end: int = 0) -> None:
        """The campaign ends, and with it the voucher that was not used; the issuer's own at `last_end`."""
        ends_at = max(row["not_after"] for row in self.clearinghouse.rows("voucher"))
        self.clearinghouse.pass_seconds(400 * DAY)
        with self.clearinghouse.database.snapshot() as transaction:
            assert transaction.now() > ends_at
            found = overdue(transaction, 500)
        self.clearinghouse.decide(found)
        self.issuer_closes_out(last_end or ends_at)

    def issuer_closes_out(self, last_end: int) -> None:
        """Hangzhou signs that none of the campaign's vouchers is good any more, wherever it was."""
        known, at = self.clearinghouse.rows("campaign_change"), self.clearinghouse.database.at
        number, terms_hash = len(known) + 1, self._terms_hash
        change = Change(HANGZHOU, "spring", number, ChangeKind.CLOSE_OUT, at, "us", "over", terms_hash, b"", last_end)
        message = signed(change_to_body(change), "campaign-change", node_signers().terms)
        self.clearinghouse.do(self.clearinghouse.service.publish_change(HANGZHOU, message))

    def close_out(self, region: str = HANGZHOU, campaign: str = "spring", year: int = 0) -> pb.CloseOutPrefundResponse:
        return close_out(self.clearinghouse, region, campaign, year)

    def give_back(self, of: str, reference: str) -> int:
        work = self.clearinghouse.service.settlement.mark_prefund_returned(of, reference)
        return self.clearinghouse.do(work).amount_fen


class TestVouchersStillWithTheirIssuer:
    """Funders paid ahead at the clearinghouse; six vouchers are good at the node, which withdraws the campaign."""

    def test_keep_their_money_until_they_are_over(self, treasury: Treasury) -> None:
        there = treasury.clearinghouse
        for funder in ("city", "county"):
            pay_ahead(there, HANGZHOU, f"spring/{funder}", 100_000, f"ahead-{funder}")
        token, *_ = treasury.node.claim(3)
        treasury.node.change(ChangeKind.WITHDRAW)
        treasury.learn()
        with pytest.raises(InvalidInput) as refused:
            close_out(there)
        assert "330100的节点尚未结项" in str(refused.value)
        assert "have it run quanlian node close-campaign spring" in str(refused.value)
        treasury.release(token)
        treasury.redeem_in_shanghai(token)
        ended = max(row["not_after"] for row in treasury.node.rows("pack"))
        treasury.pass_days(30)
        treasury.sweep()
        treasury.settle_window()
        with pytest.raises(InvalidInput, match="has not told that it closed it out"):
            close_out(there)
        treasury.close_out()
        treasury.learn()
        closed = close_out(there)
        last = datetime.fromtimestamp(ended - 1, CHINA).date()
        assert closed.due_on == working_day_after(last, 15, calendar(CALENDAR)).isoformat()
        assert [(each.funder, each.amount_fen) for each in closed.returns] == [
            ("city", 100_000 - CITY_USES),
            ("county", 100_000 - 233),
        ]
        there.check_books()


@pytest.fixture
def story(node: LocalNode, clearinghouse: LocalClearinghouse) -> Story:
    return Story(node, clearinghouse)


@pytest.fixture
def over(story: Story) -> Story:
    story.settle()
    story.end()
    return story


class TestCloseOut:
    def test_everything_that_is_open_is_listed(self, story: Story) -> None:
        with pytest.raises(InvalidInput) as refused:
            story.close_out()
        for matter in (
            "and is not withdrawn",
            "vouchers there may still be good",
            "yuan reserved",
            "window 1 is not settled",
        ):
            assert matter in str(refused.value)
        assert story.clearinghouse.rows("close_out") == []

    def test_what_stands_goes_back_newest_deposit_first(self, over: Story) -> None:
        closed = over.close_out()
        parts = [(each.deposit, each.funder, each.amount_fen, each.bank_reference) for each in closed.returns]
        assert parts == [("newer", "city", 1200 - CITY_USES, "")]
        assert closed.closed_by == "operator"

    def test_older_deposits_give_what_the_newest_does_not_cover(self, node: LocalNode, over: Story) -> None:
        pay_ahead(over.clearinghouse, HANGZHOU, "spring/city", 100, "newest")
        parts = [(each.deposit, each.amount_fen) for each in over.close_out().returns]
        assert parts == [("newest", 100), ("newer", 1200 - CITY_USES)]

    def test_its_funders_have_it_within_15_working_days_of_the_last_voucher_s_end(self, over: Story) -> None:
        ends = {row["not_after"] for row in over.clearinghouse.rows("voucher")}
        assert len(ends) == 1
        last = datetime.fromtimestamp(ends.pop() - 1, CHINA).date()
        assert over.close_out().due_on == working_day_after(last, 15, calendar(CALENDAR)).isoformat()

    def test_to_close_out_again_shows_how_far_it_has_come(self, over: Story) -> None:
        first = over.close_out()
        over.give_back("newer", "back-1")
        again = over.close_out()
        assert (again.at, again.due_on) == (first.at, first.due_on)
        assert [(each.deposit, each.bank_reference) for each in again.returns] == [("newer", "back-1")]

    def test_its_days_count_from_the_last_voucher_s_end_wherever_that_was(self, story: Story) -> None:
        """One that stayed with its issuer outlived those that came here."""
        story.settle()
        later = max(row["not_after"] for row in story.clearinghouse.rows("voucher")) + 5 * DAY
        story.end(later)
        last = datetime.fromtimestamp(later - 1, CHINA).date()
        assert story.close_out().due_on == working_day_after(last, 15, calendar(CALENDAR)).isoformat()

    def test_nothing_follows_what_its_issuer_closed_out(self, over: Story) -> None:
        with pytest.raises(InvalidInput, match="is closed out"):
            over.issuer_closes_out(over.clearinghouse.database.at)

    @pytest.mark.parametrize(("region", "campaign"), [(HANGZHOU, "autumn"), (SHANGHAI, "spring"), ("999999", "spring")])
    def test_a_campaign_that_nobody_published_is_not_closed_out(self, over: Story, region: str, campaign: str) -> None:
        with pytest.raises(InvalidInput, match=r"no campaign|not enrolled"):
            over.close_out(region, campaign)


class TestAYearOfVisitors:
    """Shanghai's city paid 10.00 ahead for visitors, of which the one redemption used 3.00."""

    @pytest.fixture
    def visited(self, story: Story) -> Story:
        pay_ahead(story.clearinghouse, SHANGHAI, "visitors/city", 1_000, "visitors-1")
        return story

    def test_what_stands_goes_back_once_the_year_is_over_and_settled(self, visited: Story) -> None:
        with pytest.raises(InvalidInput) as refused:
            visited.close_out(SHANGHAI, "visitors", 2026)
        assert "the year 2026 is not over" in str(refused.value)
        assert "window 1 is not settled" in str(refused.value)
        with pytest.raises(InvalidInput, match="visitors/2026 is not closed out"):
            visited.give_back("visitors-1", "back-1")
        visited.settle()
        visited.end()
        closed = visited.close_out(SHANGHAI, "visitors", 2026)
        assert (closed.campaign, closed.due_on) == ("visitors/2026", "2027-01-22")
        assert [(each.deposit, each.funder, each.amount_fen) for each in closed.returns] == [
            ("visitors-1", "city", 700)
        ]
        assert visited.give_back("visitors-1", "back-1") == 700
        assert posted(visited.clearinghouse, f"prefund/{SHANGHAI}/2026/visitors/city") == 0
        (again,) = visited.close_out(SHANGHAI, "visitors", 2026).returns
        assert again.bank_reference == "back-1"
        visited.clearinghouse.check_books()

    def test_a_year_is_named_and_of_a_fund(self, visited: Story) -> None:
        for year in (0, 2031):
            with pytest.raises(InvalidInput, match=f"has no visitors' fund of {year}"):
                visited.close_out(SHANGHAI, "visitors", year)
        with pytest.raises(InvalidInput, match="for the visitors' fund alone"):
            visited.close_out(year=2026)


class TestReturns:
    def test_the_bank_s_word_takes_it_off_the_books_once(self, over: Story) -> None:
        over.close_out()
        before = posted(over.clearinghouse, BANK)
        assert over.give_back("newer", "back-1") == 1200 - CITY_USES
        assert over.give_back("newer", "back-1") == 1200 - CITY_USES
        assert posted(over.clearinghouse, CITY) == 0
        assert posted(over.clearinghouse, BANK) == before - (1200 - CITY_USES)
        (listed,) = over.clearinghouse.do(over.clearinghouse.service.settlement.prefund(HANGZHOU))
        figures = (listed.paid_fen, listed.used_fen, listed.returned_fen, listed.standing_fen)
        assert figures == (1200, CITY_USES, 1200 - CITY_USES, 0)
        over.clearinghouse.check_books()
        with pytest.raises(InvalidInput, match="nothing of older is to go back"):
            over.give_back("older", "back-2")

    def test_nothing_goes_back_before_the_campaign_is_closed_out(self, over: Story) -> None:
        with pytest.raises(InvalidInput, match="is not closed out"):
            over.give_back("newer", "back-1")
        deposit(over.clearinghouse, HANGZHOU, 500, "lodged")
        with pytest.raises(InvalidInput, match="no deposit of a funder"):
            over.give_back("lodged", "back-1")

    def test_a_bank_reference_names_one_payment(self, over: Story) -> None:
        over.close_out()
        with pytest.raises(InvalidInput, match="older names another payment"):
            over.give_back("newer", "older")
        over.give_back("newer", "back-1")
        with pytest.raises(InvalidInput, match="back-1 names another payment"):
            deposit(over.clearinghouse, HANGZHOU, 500, "back-1")

    def test_the_statement_of_its_window_tells_it(self, over: Story) -> None:
        close(over.clearinghouse)
        over.close_out()
        over.give_back("newer", "back-1")
        window = close(over.clearinghouse)
        said = statement(over.clearinghouse, HANGZHOU, window)
        assert said["prefunded_fen"] == -(1200 - CITY_USES)
        assert said["closing_fen"] == said["opening_fen"] - (1200 - CITY_USES)
        over.clearinghouse.check_books()

    @pytest.mark.parametrize(
        "values",
        [{"amount_fen": 5}, {"deposit": "older"}, {"account": CITY.replace("city", "county")}, {"bank_reference": "x"}],
    )
    def test_one_that_is_altered_behind_its_back_is_named(self, over: Story, values: dict[str, object]) -> None:
        over.close_out()
        over.give_back("newer", "back-1")
        with over.clearinghouse.database.transaction() as transaction:
            transaction.connection.execute(schema.prefund_return.update().values(**values))
        with over.clearinghouse.database.snapshot() as transaction:
            assert "prefund_return" in {each.table for each in check_books(transaction)}
