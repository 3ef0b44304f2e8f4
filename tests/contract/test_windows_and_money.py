"""Cut-offs, months, shortfalls and their cure, receipts in suspense, on both databases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest
from local_parties import (
    AT,
    HANGZHOU,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    item,
    purchase,
)
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

from chassis.database import Transaction
from clearinghouse.disputes import TakeDispute
from clearinghouse.domain.cutoff import is_due, last_cut_off
from clearinghouse.money import RecordDeposit
from clearinghouse.statements import ConfirmMonth
from clearinghouse.windows import Close
from quanlian.errors import InvalidInput
from quanlian.refusals import CHINA
from quanlian.signing import digest
from quanlian.v1 import clearing_operator_pb2 as pb
from quanlian.v1 import settlement_pb2, signed_pb2

DAY = 86_400


def dispute(clearinghouse: LocalClearinghouse, region: str, window: int) -> None:
    """Of what Hangzhou's vouchers cost in Shanghai."""
    line = settlement_pb2.LineRef(role="issuer", counterpart=SHANGHAI, campaign="spring")
    body = settlement_pb2.Dispute(region=region, number=1, window=window, lines=[line], why="too much")
    (result,) = clearinghouse.decide(TakeDispute(signed_pb2.SignedMessage(body=body.SerializeToString()), body))
    assert not isinstance(result, Exception), result


def adjust(clearinghouse: LocalClearinghouse, region: str, fen: int) -> None:
    """Uphold the region's first dispute on the first redemption."""
    (row, *_) = clearinghouse.rows("redemption")
    request = pb.ResolveDisputeRequest(region=region, number=1, upheld=True, why="so it is")
    request.adjustments.add(redemption_id=row["id"], amount_fen=fen)
    clearinghouse.do(clearinghouse.service.settlement.resolve_dispute(request))


def china(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}+08:00").timestamp())


class TestCutOffs:
    @pytest.mark.parametrize(
        ("opened", "now", "daily", "due"),
        [
            ("2026-05-29T20:00:00", "2026-05-30T19:59:59", (20, 0), False),
            ("2026-05-29T20:00:00", "2026-05-30T20:00:00", (20, 0), True),
            ("2026-05-29T20:00:00", "2026-06-02T09:00:00", (20, 0), True),
            ("2026-05-30T20:00:00", "2026-05-30T20:00:00", (20, 0), False),
            ("2026-12-31T20:00:00", "2026-12-31T23:59:59", (20, 0), False),
            ("2026-12-31T20:00:00", "2027-01-01T00:00:00", (20, 0), True),
            ("2026-05-29T20:00:00", "2026-12-31T23:59:59", None, False),
            ("2026-05-29T20:00:00", "2027-01-01T00:00:00", None, True),
        ],
    )
    def test_a_window_is_due_at_each_cut_off_and_at_the_end_of_a_fiscal_year(
        self, opened: str, now: str, daily: tuple[int, int] | None, due: bool
    ) -> None:
        assert is_due(china(opened), china(now), daily) is due

    def test_the_cut_off_is_a_time_of_day_in_china(self) -> None:
        moment = datetime.fromtimestamp(last_cut_off(china("2026-05-30T07:00:00"), (0, 0)), CHINA)
        assert moment.isoformat() == "2026-05-30T00:00:00+08:00"

    def test_a_capture_after_the_cut_off_belongs_to_the_next_window_however_late_the_timer_is(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        (token,) = away(node, clearinghouse)
        clearinghouse.service.engine._cut_off = (0, 0)
        redeem(clearinghouse, 1, token)
        clearinghouse.pass_seconds(DAY)
        redeem(clearinghouse, 2, token, 1)
        assert [row["settlement_window"] for row in clearinghouse.rows("posting")] == [1, 2]
        clearinghouse.do(clearinghouse.service.settlement.keep_time())
        assert [row["state"] for row in clearinghouse.rows("settlement_window")] == ["CALCULATED", "OPEN"]
        clearinghouse.check_books()

    def test_the_timer_closes_a_window_in_which_nothing_happens(self, clearinghouse: LocalClearinghouse) -> None:
        clearinghouse.service.engine._cut_off = (0, 0)
        clearinghouse.do(clearinghouse.service.settlement.keep_time())
        assert len(clearinghouse.rows("settlement_window")) == 1, "its cut-off has not come"
        clearinghouse.pass_seconds(DAY)
        clearinghouse.do(clearinghouse.service.settlement.keep_time())
        clearinghouse.do(clearinghouse.service.settlement.keep_time())
        assert [row["state"] for row in clearinghouse.rows("settlement_window")] == ["CALCULATED", "OPEN"]

    def test_one_cut_off_closes_one_window_though_a_batch_comes_before_the_timer(
        self, clearinghouse: LocalClearinghouse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine, settlement = clearinghouse.service.engine, clearinghouse.service.settlement
        engine._cut_off = (0, 0)
        clearinghouse.pass_seconds(DAY)
        writing = clearinghouse.database.transaction

        @contextmanager
        def after_a_batch() -> Iterator[Transaction]:
            monkeypatch.undo()
            clearinghouse.decide()
            with writing() as transaction:
                yield transaction

        monkeypatch.setattr(clearinghouse.database, "transaction", after_a_batch)
        clearinghouse.do(settlement.keep_time())
        assert [row["state"] for row in clearinghouse.rows("settlement_window")] == ["CALCULATED", "OPEN"]

    def test_two_processes_that_notice_one_cut_off_close_one_window_and_state_one_month(
        self, clearinghouse: LocalClearinghouse
    ) -> None:
        parties = [clearinghouse, LocalClearinghouse.another(clearinghouse.database)]
        for party in parties:
            party.service.engine._cut_off = (0, 0)
        clearinghouse.pass_seconds(31 * DAY)

        async def keep_time() -> None:
            await asyncio.gather(*(party.service.settlement.keep_time() for party in parties * 4))

        clearinghouse.do(keep_time())
        assert [row["state"] for row in clearinghouse.rows("settlement_window")] == ["CALCULATED", "OPEN"]
        assert [row["month"] for row in clearinghouse.rows("monthly_statement")] == ["2026-05"] * 2

    def test_money_and_adjusting_entries_after_a_cut_off_belong_to_the_next_window_too(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        (token,) = away(node, clearinghouse)
        clearinghouse.service.engine._cut_off = (0, 0)
        redeem(clearinghouse, 1, token)
        close(clearinghouse)
        dispute(clearinghouse, HANGZHOU, window=1)
        clearinghouse.pass_seconds(china("2027-01-01T00:00:03") - AT)
        adjust(clearinghouse, HANGZHOU, 5)
        deposit(clearinghouse, HANGZHOU, 100, "january")
        assert [(row["kind"], row["settlement_window"]) for row in clearinghouse.rows("posting")] == [
            ("capture", 1),
            ("refund", 3),
        ]
        lodged = {row["bank_reference"]: row["settlement_window"] for row in clearinghouse.rows("deposit")}
        assert (lodged[f"deposit-{HANGZHOU}"], lodged["january"]) == (1, 3)
        windows = {row["number"]: row for row in clearinghouse.rows("settlement_window")}
        assert [windows[number]["state"] for number in (1, 2, 3)] == ["CALCULATED", "CLOSED", "OPEN"]
        assert windows[2]["closed_at"] == windows[3]["opened_at"] == china("2027-01-01T00:00:03")
        clearinghouse.check_books()

    def test_a_close_by_command_after_a_cut_off_closes_one_window(self, clearinghouse: LocalClearinghouse) -> None:
        clearinghouse.service.engine._cut_off = (0, 0)
        clearinghouse.pass_seconds(DAY)
        assert close(clearinghouse) == 1
        assert [row["state"] for row in clearinghouse.rows("settlement_window")] == ["CALCULATED", "OPEN"]

    def test_a_close_that_names_its_window_can_be_sent_again(self, clearinghouse: LocalClearinghouse) -> None:
        service = clearinghouse.service
        assert [clearinghouse.do(service.settlement.close_window(1)) for _ in range(3)] == [1, 1, 1]
        assert [row["number"] for row in clearinghouse.rows("settlement_window")] == [1, 2]
        (result,) = clearinghouse.decide(Close(3))
        assert isinstance(result, InvalidInput)
        assert "window 3 is not open yet" in str(result)


class TestBalances:
    def test_each_statement_opens_with_what_the_one_before_closed_with(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        (token,) = away(node, clearinghouse)
        redeem(clearinghouse, 1, token)
        close(clearinghouse)
        deposit(clearinghouse, HANGZHOU, 500, "top-up")
        redeem(clearinghouse, 2, token, 1)
        instruct(clearinghouse, 1)
        mark(clearinghouse, 1, SHANGHAI, "paid-1")
        clearinghouse.do(clearinghouse.service.settlement.settle(1))
        close(clearinghouse)
        first, second = (statement(clearinghouse, HANGZHOU, window) for window in (1, 2))
        names = ("opening_fen", "lodged_fen", "paid_out_fen", "net_fen", "closing_fen")
        assert [first[name] for name in names] == [0, 1_000_000, 0, -700, 999_300]
        assert [second[name] for name in names] == [999_300, 500, 0, -700, 999_100]
        theirs = statement(clearinghouse, SHANGHAI, 2)
        assert [theirs[name] for name in names] == [1_000_700, 0, 700, 700, 1_000_700]

    def test_a_month_adds_its_windows_up_and_a_person_confirms_it(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        (token,) = away(node, clearinghouse)
        redeem(clearinghouse, 1, token)
        close(clearinghouse)
        redeem(clearinghouse, 2, token, 1)
        close(clearinghouse)
        assert clearinghouse.rows("monthly_statement") == [], "the month is not over"
        clearinghouse.pass_seconds(china("2026-06-01T00:00:00") - AT)
        close(clearinghouse)
        rows = {row["region"]: row for row in clearinghouse.rows("monthly_statement")}
        assert {(row["month"], row["region"]) for row in rows.values()} == {
            ("2026-05", HANGZHOU),
            ("2026-05", SHANGHAI),
        }
        month = json.loads(rows[HANGZHOU]["document"])
        assert (month["month"], month["windows"], month["window"]) == ("2026-05", [1, 2, 3], 0)
        assert [each["captures"] for each in month["lines"]] == [2]
        assert (month["opening_fen"], month["net_fen"], month["closing_fen"]) == (0, -1400, 998_600)
        close(clearinghouse)
        assert len(clearinghouse.rows("monthly_statement")) == 2, "a month is stated once"
        word = settlement_pb2.Confirmation(
            region=HANGZHOU, month="2026-05", statement_digest=digest("statement", rows[HANGZHOU]["document"]), by="Li"
        )
        clearinghouse.decide(ConfirmMonth(HANGZHOU, signed_pb2.SignedMessage(body=b"word"), word))
        kept = {row["region"]: row["confirmation"] for row in clearinghouse.rows("monthly_statement")}
        assert kept == {HANGZHOU: b"word", SHANGHAI: None}


class TestShortfall:
    """Hangzhou lodged 10,000.00 and takes all but 5.00 of it out; its window costs it 7.00."""

    @pytest.fixture
    def short(self, node: LocalNode, clearinghouse: LocalClearinghouse) -> LocalClearinghouse:
        (token,) = away(node, clearinghouse)
        clearinghouse.do(
            clearinghouse.service.operations.set_limits(
                pb.SetLimitsRequest(region=HANGZHOU, net_debit_cap_fen=10**7, credit_line_fen=1000)
            )
        )
        pay_out(clearinghouse, HANGZHOU, 1_000_000 - 500, "out")
        redeem(clearinghouse, 1, token)
        close(clearinghouse)
        instruct(clearinghouse, 1)
        return clearinghouse

    def test_no_pay_out_is_marked_while_a_debtor_is_short(self, short: LocalClearinghouse) -> None:
        with pytest.raises(InvalidInput, match=r"330100 is short by 2\.00 yuan"):
            mark(short, 1, SHANGHAI, "too-early")
        deposit(short, HANGZHOU, 200, "in-time")
        mark(short, 1, SHANGHAI, "now")
        short.do(short.service.settlement.settle(1))
        assert posted(short, "arrears/330100") == 0

    def test_a_shortfall_stands_in_arrears_and_the_pay_out_shrinks_by_it(self, short: LocalClearinghouse) -> None:
        short.do(short.service.settlement.settle(1))
        assert posted(short, "arrears/330100") == 200
        assert posted(short, "settlement/330100") == 0
        (position,) = [row for row in short.rows("net_position") if row["region"] == SHANGHAI]
        assert (position["net_fen"], position["payout_fen"]) == (700, 500)
        bank_before = posted(short, BANK)
        mark(short, 1, SHANGHAI, "reduced")
        assert posted(short, BANK) == bank_before - 500
        assert posted(short, "settlement/310000") == -(1_000_000 + 200), "the rest is Shanghai's and not there yet"
        with pytest.raises(InvalidInput, match=r"may take out 10,000\.00 yuan now"):
            pay_out(short, SHANGHAI, 1_000_001, "all")
        short.check_books()

    def test_a_cure_is_an_entry_of_its_own_and_frees_what_was_withheld(self, short: LocalClearinghouse) -> None:
        short.do(short.service.settlement.settle(1))
        mark(short, 1, SHANGHAI, "reduced")
        deposit(short, HANGZHOU, 150, "part")
        assert posted(short, "arrears/330100") == 50
        assert {row["region"]: row["withheld_fen"] for row in short.rows("participant")} == {HANGZHOU: 0, SHANGHAI: 50}
        deposit(short, HANGZHOU, 150, "rest")
        assert (posted(short, "arrears/330100"), posted(short, "settlement/330100")) == (0, -100)
        pay_out(short, SHANGHAI, 200, "withheld")
        kinds = [row["kind"] for row in short.rows("entry")]
        settled = kinds.index("settlement")
        assert kinds[settled:] == [
            "settlement", "arrears", "pay-out", "deposit", "cure", "deposit", "cure", "pay-out",
        ]  # fmt: skip
        short.check_books()

    def test_the_statement_shows_the_debt_as_a_negative_balance(self, short: LocalClearinghouse) -> None:
        short.do(short.service.settlement.settle(1))
        close(short)
        assert statement(short, HANGZHOU, 2)["opening_fen"] == -200
        assert statement(short, HANGZHOU, 2)["closing_fen"] == -200


class TestBank:
    def test_a_pay_out_must_leave_what_is_owed(self, node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
        (token,) = away(node, clearinghouse)
        redeem(clearinghouse, 1, token)
        with pytest.raises(InvalidInput, match=r"may take out 9,993\.00 yuan now, not 9,993\.01"):
            pay_out(clearinghouse, HANGZHOU, 999_301, "too-much")
        assert pay_out(clearinghouse, HANGZHOU, 999_300, "just") == 700
        assert pay_out(clearinghouse, HANGZHOU, 999_300, "just") == 700, "a reference is booked once"
        with pytest.raises(InvalidInput, match="was booked for another payment"):
            pay_out(clearinghouse, HANGZHOU, 1, "just")
        clearinghouse.check_books()

    def test_a_receipt_is_nobody_s_until_it_is_assigned(self, clearinghouse: LocalClearinghouse) -> None:
        assert deposit(clearinghouse, "", 1234, "stray") == 1234
        assert posted(clearinghouse, "suspense") == -1234
        assign = pb.AssignReceiptRequest(bank_reference="stray", region=SHANGHAI)
        assert [clearinghouse.do(clearinghouse.service.settlement.assign_receipt(assign)) for _ in range(2)] == [
            1_001_234
        ] * 2
        assert posted(clearinghouse, "suspense") == 0
        other = pb.AssignReceiptRequest(bank_reference="stray", region=HANGZHOU)
        with pytest.raises(InvalidInput, match="is settlement/310000's already"):
            clearinghouse.do(clearinghouse.service.settlement.assign_receipt(other))
        unknown = pb.AssignReceiptRequest(bank_reference="none", region=HANGZHOU)
        with pytest.raises(InvalidInput, match="no receipt none"):
            clearinghouse.do(clearinghouse.service.settlement.assign_receipt(unknown))
        close(clearinghouse)
        assert statement(clearinghouse, SHANGHAI, 1)["lodged_fen"] == 1_001_234
        clearinghouse.check_books()

    @pytest.mark.parametrize(
        ("fen", "reference", "told"),
        [
            (0, "bank-1", "金额0.00元须大于零 · the amount of 0.00 must be above zero"),
            (-500, "bank-1", "金额-5.00元须大于零 · the amount of -5.00 must be above zero"),
            (100, "", "缺少银行流水号 · has no bank reference — 用 --reference"),
            (100, "  ", "缺少银行流水号 · has no bank reference — 用 --reference"),
        ],
    )
    def test_an_amount_of_nothing_and_a_missing_reference_are_told_apart_in_both_languages(
        self, clearinghouse: LocalClearinghouse, fen: int, reference: str, told: str
    ) -> None:
        for move in (deposit, pay_out):
            with pytest.raises(InvalidInput, match=told):
                move(clearinghouse, HANGZHOU, fen, reference)

    @pytest.mark.parametrize("typed", ["X1 ", " X1", "X1\n", "Ｘ１", "X1\u200b"])
    def test_a_reference_that_looks_alike_is_the_same(self, clearinghouse: LocalClearinghouse, typed: str) -> None:
        assert deposit(clearinghouse, HANGZHOU, 100, "X1") == deposit(clearinghouse, HANGZHOU, 100, typed)
        with pytest.raises(InvalidInput, match="X1 names another payment"):
            pay_out(clearinghouse, HANGZHOU, 100, typed)
        pay_out(clearinghouse, HANGZHOU, 100, "out")
        assert send_back(clearinghouse, " out", "back") == send_back(clearinghouse, "out", "back ")
        clearinghouse.check_books()

    def test_what_older_books_have_under_a_reference_with_blanks_is_still_found(
        self, clearinghouse: LocalClearinghouse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as older:
            older.setattr("clearinghouse.money.booked_form", str)
            once = deposit(clearinghouse, HANGZHOU, 100, "   ")
        assert deposit(clearinghouse, HANGZHOU, 100, "   ") == once
        request = pb.ReverseDepositRequest(bank_reference="   ", why="no reference")
        told = clearinghouse.do(clearinghouse.service.settlement.reverse_deposit("operator", request))
        assert (told.bank_reference, told.amount_fen) == ("   ", 100)
        clearinghouse.check_books()

    def test_a_reference_names_one_movement_at_the_bank(self, clearinghouse: LocalClearinghouse) -> None:
        deposit(clearinghouse, HANGZHOU, 100, "once")
        with pytest.raises(InvalidInput, match="names another payment"):
            pay_out(clearinghouse, HANGZHOU, 100, "once")
        with pytest.raises(InvalidInput, match="was booked for another deposit"):
            deposit(clearinghouse, SHANGHAI, 100, "once")


class TestPayOutsThatTheBankReturns:
    """退汇: the region's account is closed, or its number was wrong."""

    NAMES = ("opening_fen", "lodged_fen", "paid_out_fen", "net_fen", "closing_fen")

    def figures(self, clearinghouse: LocalClearinghouse, region: str, window: int) -> list[int]:
        return [statement(clearinghouse, region, window)[name] for name in self.NAMES]

    def test_stand_on_the_region_s_balance_again_by_the_opposite_entry(self, clearinghouse: LocalClearinghouse) -> None:
        pay_out(clearinghouse, SHANGHAI, 1_000, "out")
        clearinghouse.pass_seconds(DAY)
        answer = send_back(clearinghouse, "out", "back")
        assert (answer.region, answer.amount_fen, answer.settlement_fen) == (SHANGHAI, 1_000, 1_000_000)
        paid, returned = clearinghouse.rows("entry")[-2:]
        assert [(each["kind"], each["reference"]) for each in (paid, returned)] == [
            ("pay-out", "out"),
            ("returned-pay-out", "back"),
        ]
        lines = {(row["entry"], row["account"], row["posted_fen"]) for row in clearinghouse.rows("line")}
        assert {(account, -fen) for entry, account, fen in lines if entry == paid["number"]} == {
            (account, fen) for entry, account, fen in lines if entry == returned["number"]
        }
        clearinghouse.check_books()
        assert pay_out(clearinghouse, SHANGHAI, 1_000_000, "anew") == 0, "all of it may be paid out again"
        clearinghouse.check_books()

    def test_are_booked_once_under_their_reference(self, clearinghouse: LocalClearinghouse) -> None:
        pay_out(clearinghouse, SHANGHAI, 1_000, "out")
        pay_out(clearinghouse, SHANGHAI, 1_000, "other")
        deposit(clearinghouse, HANGZHOU, 100, "in")
        assert send_back(clearinghouse, "out", "back") == send_back(clearinghouse, "out", "back")
        assert pay_out(clearinghouse, SHANGHAI, 1_000, "out") == 1_000_000 - 1_000, "nor does the pay-out, told again"
        for paid, reference, why in (
            ("out", "back-9", "was returned as back"),
            ("other", "back", "names another payment"),
            ("other", "other", "names another payment"),
            ("other", "in", "names another payment"),
            ("other", "", "has no bank reference"),
            ("in", "back-2", "no pay-out in"),
            ("none", "back-2", "no pay-out none"),
        ):
            with pytest.raises(InvalidInput, match=why):
                send_back(clearinghouse, paid, reference)
        for move in (deposit, pay_out):
            with pytest.raises(InvalidInput, match="names another payment"):
                move(clearinghouse, SHANGHAI, 100, "back")
        clearinghouse.check_books()

    def test_are_taken_off_what_the_open_window_s_statement_says_was_paid_out(
        self, clearinghouse: LocalClearinghouse
    ) -> None:
        pay_out(clearinghouse, SHANGHAI, 1_000, "out")
        pay_out(clearinghouse, SHANGHAI, 300, "at-once")
        send_back(clearinghouse, "at-once", "back-at-once")
        close(clearinghouse)
        send_back(clearinghouse, "out", "back")
        pay_out(clearinghouse, SHANGHAI, 50, "more")
        close(clearinghouse)
        assert self.figures(clearinghouse, SHANGHAI, 1) == [0, 1_000_000, 1_000, 0, 999_000]
        assert self.figures(clearinghouse, SHANGHAI, 2) == [999_000, 0, 50 - 1_000, 0, 999_950]
        assert self.figures(clearinghouse, HANGZHOU, 2) == [1_000_000, 0, 0, 0, 1_000_000]
        clearinghouse.check_books()
        clearinghouse.pass_seconds(china("2026-06-01T00:00:00") - AT)
        close(clearinghouse)
        (month,) = [row for row in clearinghouse.rows("monthly_statement") if row["region"] == SHANGHAI]
        told = json.loads(month["document"])
        assert [told[name] for name in self.NAMES] == [0, 1_000_000, 50, 0, 999_950]
        clearinghouse.check_books()

    def test_of_a_window_s_position_leave_it_settled_and_can_be_paid_out_anew(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        (token,) = away(node, clearinghouse)
        redeem(clearinghouse, 1, token)
        close(clearinghouse)
        instruct(clearinghouse, 1)
        mark(clearinghouse, 1, SHANGHAI, "paid-1")
        with pytest.raises(InvalidInput, match=r"no pay-out paid-1 is booked .* settle its window first"):
            send_back(clearinghouse, "paid-1", "back-1")
        clearinghouse.do(clearinghouse.service.settlement.settle(1))
        positions = clearinghouse.rows("net_position")
        assert send_back(clearinghouse, "paid-1", "back-1").settlement_fen == 1_000_700
        assert clearinghouse.rows("net_position") == positions
        shown = clearinghouse.do(clearinghouse.service.settlement.window(1))
        assert {each.region: (each.bank_reference, each.returned_reference) for each in shown.positions} == {
            HANGZHOU: ("", ""),
            SHANGHAI: ("paid-1", "back-1"),
        }
        assert pay_out(clearinghouse, SHANGHAI, 700, "paid-again") == 1_000_000
        close(clearinghouse)
        assert self.figures(clearinghouse, SHANGHAI, 2) == [1_000_700, 0, 700, 0, 1_000_000]
        clearinghouse.check_books()

    def test_cure_arrears_as_any_money_that_arrives(self, node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
        (token,) = away(node, clearinghouse)
        limits = pb.SetLimitsRequest(region=HANGZHOU, net_debit_cap_fen=10**7, credit_line_fen=1000)
        clearinghouse.do(clearinghouse.service.operations.set_limits(limits))
        pay_out(clearinghouse, HANGZHOU, 1_000_000 - 500, "out")
        redeem(clearinghouse, 1, token)
        close(clearinghouse)
        instruct(clearinghouse, 1)
        clearinghouse.do(clearinghouse.service.settlement.settle(1))
        assert posted(clearinghouse, f"arrears/{HANGZHOU}") == 200
        assert send_back(clearinghouse, "out", "back").settlement_fen == 1_000_000 - 500 - 200
        assert posted(clearinghouse, f"arrears/{HANGZHOU}") == 0
        assert [row["kind"] for row in clearinghouse.rows("entry")][-2:] == ["returned-pay-out", "cure"]
        assert {row["withheld_fen"] for row in clearinghouse.rows("participant")} == {0}
        clearinghouse.check_books()


def test_a_deposit_has_an_entry_of_its_own_and_a_capture_of_its_batch_keeps_its_window(
    node: LocalNode, clearinghouse: LocalClearinghouse
) -> None:
    (token,) = away(node, clearinghouse)
    capture = clearinghouse.request(item(bytes(15) + b"c", redeem=purchase(token, 0, "order")))
    clearinghouse.service.engine.decide([capture, RecordDeposit(SHANGHAI, 500, "in between")])
    deposit, batch = clearinghouse.rows("entry")[-2:]
    assert (deposit["kind"], deposit["reference"], batch["kind"], batch["settlement_window"]) == (
        "deposit",
        "in between",
        "batch",
        1,
    )
    accounts = {row["account"] for row in clearinghouse.rows("line") if row["entry"] == deposit["number"]}
    assert accounts == {BANK, f"settlement/{SHANGHAI}"}
    assert [row["entry"] for row in clearinghouse.rows("posting")] == [batch["number"]]
    clearinghouse.check_books()
