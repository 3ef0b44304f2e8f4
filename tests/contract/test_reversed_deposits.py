"""A deposit that was recorded wrongly, or a receipt assigned wrongly, is taken back by a reversing entry."""

from __future__ import annotations

import pytest
from local_parties import HANGZHOU, SHANGHAI, LocalClearinghouse, LocalNode, undone
from sound_parties import check
from window_stories import BANK, away, close, deposit, instruct, mark, pay_ahead, pay_out, posted, redeem, statement

from quanlian.errors import InvalidInput
from quanlian.v1 import clearing_operator_pb2 as pb

OPERATOR = "spiffe://quanlian/clearinghouse/operator/li"
CITY = f"prefund/{HANGZHOU}/2026/spring/city"
LODGED_BEFORE = 1_000_000
"""What each region has at the clearinghouse before the story begins."""


def reverse(clearinghouse: LocalClearinghouse, reference: str, why: str = "typed wrongly") -> pb.ReverseDepositResponse:
    request = pb.ReverseDepositRequest(bank_reference=reference, why=why)
    return clearinghouse.do(clearinghouse.service.settlement.reverse_deposit(OPERATOR, request))


def assign(clearinghouse: LocalClearinghouse, reference: str, region: str) -> int:
    request = pb.AssignReceiptRequest(bank_reference=reference, region=region)
    return int(clearinghouse.do(clearinghouse.service.settlement.assign_receipt(request)))


def test_a_mistyped_deposit_is_taken_back_and_recorded_anew_under_its_reference(
    clearinghouse: LocalClearinghouse,
) -> None:
    before = posted(clearinghouse, BANK)
    deposit(clearinghouse, SHANGHAI, 100_000, "TYPO")
    with pytest.raises(InvalidInput, match="reverse it first: quanlian clearinghouse reverse-deposit"):
        deposit(clearinghouse, SHANGHAI, 10_000, "TYPO")
    told = reverse(clearinghouse, "TYPO")
    assert (told.region, told.amount_fen, told.by, told.why) == (SHANGHAI, 100_000, OPERATOR, "typed wrongly")
    assert posted(clearinghouse, BANK) == before
    assert deposit(clearinghouse, SHANGHAI, 10_000, "TYPO") == LODGED_BEFORE + 10_000
    entries = [row["kind"] for row in clearinghouse.rows("entry") if row["reference"] == "TYPO"]
    assert entries == ["deposit", "reversed-deposit", "deposit"]
    clearinghouse.check_books()


def test_told_again_with_the_same_reason_it_changes_nothing(clearinghouse: LocalClearinghouse) -> None:
    deposit(clearinghouse, SHANGHAI, 100_000, "TYPO")
    first = reverse(clearinghouse, "TYPO")
    deposit(clearinghouse, SHANGHAI, 10_000, "TYPO")
    before = clearinghouse.rows("entry")
    assert reverse(clearinghouse, "TYPO") == first
    assert clearinghouse.rows("entry") == before


def test_a_receipt_of_another_region_is_nobody_s_again_and_then_assigned(clearinghouse: LocalClearinghouse) -> None:
    deposit(clearinghouse, "", 1234, "stray")
    assign(clearinghouse, "stray", HANGZHOU)
    with pytest.raises(InvalidInput, match="is settlement/330100's already"):
        assign(clearinghouse, "stray", SHANGHAI)
    assert reverse(clearinghouse, "stray", "it was Shanghai's").assignment
    assert posted(clearinghouse, "suspense") == -1234
    assert assign(clearinghouse, "stray", SHANGHAI) == LODGED_BEFORE + 1234
    assert posted(clearinghouse, f"settlement/{HANGZHOU}") == -LODGED_BEFORE
    clearinghouse.check_books()


def test_a_receipt_in_suspense_that_never_came_leaves_the_bank(clearinghouse: LocalClearinghouse) -> None:
    before = posted(clearinghouse, BANK)
    deposit(clearinghouse, "", 1234, "stray")
    assert not reverse(clearinghouse, "stray").assignment
    assert (posted(clearinghouse, "suspense"), posted(clearinghouse, BANK)) == (0, before)
    clearinghouse.check_books()


def test_what_a_funder_paid_ahead_is_taken_back_as_long_as_it_was_not_used(
    node: LocalNode, clearinghouse: LocalClearinghouse
) -> None:
    tokens = away(node, clearinghouse, 1)
    pay_ahead(clearinghouse, HANGZHOU, "spring/city", 300, "ahead-1")
    reverse(clearinghouse, "ahead-1")
    assert posted(clearinghouse, CITY) == 0
    pay_ahead(clearinghouse, HANGZHOU, "spring/city", 300, "ahead-2")
    redeem(clearinghouse, 1, tokens[0], 0)
    number = close(clearinghouse)
    instruct(clearinghouse, number)
    mark(clearinghouse, number, SHANGHAI, "paid-out")
    clearinghouse.do(clearinghouse.service.settlement.settle(number))
    with pytest.raises(InvalidInput, match=r"0\.00 yuan of prefund/330100/2026/spring/city are neither used"):
        reverse(clearinghouse, "ahead-2")
    clearinghouse.check_books()


def test_money_that_is_gone_is_not_taken_back(clearinghouse: LocalClearinghouse) -> None:
    deposit(clearinghouse, SHANGHAI, 100_000, "TYPO")
    pay_out(clearinghouse, SHANGHAI, LODGED_BEFORE + 50_000, "went-out")
    with pytest.raises(InvalidInput, match=r"500\.00 yuan of settlement/310000 are neither used nor promised"):
        reverse(clearinghouse, "TYPO")
    clearinghouse.check_books()


def test_nothing_is_reversed_without_a_reason_or_a_deposit(clearinghouse: LocalClearinghouse) -> None:
    with pytest.raises(InvalidInput, match="has no reason"):
        reverse(clearinghouse, "TYPO", "")
    with pytest.raises(InvalidInput, match="no deposit or receipt TYPO is booked"):
        reverse(clearinghouse, "TYPO")


def test_the_window_of_the_reversal_states_it_and_the_one_before_stays(clearinghouse: LocalClearinghouse) -> None:
    deposit(clearinghouse, SHANGHAI, 100_000, "TYPO")
    first = close(clearinghouse)
    reverse(clearinghouse, "TYPO")
    deposit(clearinghouse, SHANGHAI, 10_000, "TYPO")
    second = close(clearinghouse)
    told = [statement(clearinghouse, SHANGHAI, each) for each in (first, second)]
    assert [each["lodged_fen"] for each in told] == [LODGED_BEFORE + 100_000, -90_000]
    assert told[1]["closing_fen"] == LODGED_BEFORE + 10_000
    clearinghouse.check_books()


@pytest.mark.parametrize("change", ["gone", "other account"])
def test_a_reversal_that_is_tampered_with_is_found(clearinghouse: LocalClearinghouse, change: str) -> None:
    deposit(clearinghouse, SHANGHAI, 100_000, "TYPO")
    reverse(clearinghouse, "TYPO")
    table = clearinghouse.tables["deposit_reversal"]
    assert check(clearinghouse) == []
    with undone(clearinghouse):
        with clearinghouse.database.transaction() as transaction:
            if change == "gone":
                transaction.connection.execute(table.delete())
            else:
                transaction.update(table, {"number": 1}, {"account": f"settlement/{HANGZHOU}"})
        assert {each.table for each in check(clearinghouse)} & {"deposit_reversal", "deposit"}
