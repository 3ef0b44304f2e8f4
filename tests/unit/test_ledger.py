"""The ledger's entries: lines that sum to zero, funders that stay within their limits (money.md, Ledger)."""

from __future__ import annotations

import pytest
from journals import Journal

from quanlian.errors import BooksDoNotBalance
from quanlian.ledger import Balance, Movement, check_limits, is_limited, lines

PROVINCE = "funding/330100/2020/hangzhou-2020-r1/province"
CITY = "funding/330100/2020/hangzhou-2020-r1/city"
OWED = "reimbursement/310000"
ACCOUNTS = Journal({"province": PROVINCE, "city": CITY, "owed-to-shanghai": OWED})


def test_an_entry_has_one_line_per_account_and_counterpart() -> None:
    batch = [
        Movement(PROVINCE, "310000", posted_fen=224, held_fen=-224),
        Movement(OWED, "330100", posted_fen=-224),
        Movement(PROVINCE, "310000", posted_fen=300, held_fen=-300),
        Movement(OWED, "330100", posted_fen=-300),
        Movement(PROVINCE, "340100", held_fen=50, reserved_fen=-50),
    ]
    assert ACCOUNTS.entry(batch) == ACCOUNTS.tidy("""
        owed-to-shanghai @330100    posted -524
        province @310000            held -524  posted 524
        province @340100            reserved -50  held 50
    """)


def test_lines_are_sorted_by_account_and_counterpart_so_that_rows_are_locked_in_one_order() -> None:
    batch = [Movement(PROVINCE, "340100", 2), Movement(CITY, "310000", -3), Movement(PROVINCE, "310000", 1)]
    assert [line[:2] for line in lines(batch)] == [(CITY, "310000"), (PROVINCE, "310000"), (PROVINCE, "340100")]


def test_what_cancels_out_within_a_batch_leaves_no_line() -> None:
    hold = Movement(PROVINCE, "310000", reserved_fen=-224, held_fen=224)
    void = Movement(PROVINCE, "310000", reserved_fen=224, held_fen=-224)
    assert lines([hold, void]) == []


def test_one_sided_memo_lines_are_outside_the_zero_sum() -> None:
    assert ACCOUNTS.entry([Movement(CITY, "", reserved_fen=320, limit_fen=320)]) == ACCOUNTS.tidy("""
        city    limit 320  reserved 320
    """)


@pytest.mark.parametrize("credit_fen", [-223, -225, 0])
def test_an_entry_that_does_not_sum_to_zero_is_not_booked(credit_fen: int) -> None:
    entry = [Movement(PROVINCE, "310000", posted_fen=224), Movement(OWED, "330100", posted_fen=credit_fen)]
    with pytest.raises(BooksDoNotBalance, match=f"sum to {224 + credit_fen} fen instead of zero"):
        lines(entry)


def test_a_batch_changes_balances_as_a_person_would_book_it() -> None:
    before = """
        city        limit 10000  reserved 320
        province    limit 9000  reserved 96  held 224
    """
    capture = [
        Movement(PROVINCE, "310000", held_fen=-224, posted_fen=224),
        Movement(PROVINCE, "", reserved_fen=-96),
        Movement(OWED, "330100", posted_fen=-224),
    ]
    handed_over = [Movement(CITY, "", reserved_fen=-320, limit_fen=-320)]
    assert ACCOUNTS.after(before, capture, handed_over) == ACCOUNTS.tidy("""
        city                limit 9680
        owed-to-shanghai    posted -224
        province            limit 9000  posted 224
    """)


def test_free_is_what_a_limit_leaves_after_used_reserved_and_held() -> None:
    [province] = ACCOUNTS.balances("province  limit 9000  reserved 96  held 224  posted 1000").values()
    assert province.free_fen == 9000 - 96 - 224 - 1000


@pytest.mark.parametrize(
    "over",
    [
        "province  limit 999  posted 1000",
        "province  limit 999  reserved 500  held 400  posted 100",
        "province  limit 1000  reserved -1",
        "province  limit 1000  held -1  posted 500",
        "province  limit -1",
    ],
)
def test_a_funder_over_its_limit_or_with_a_negative_hold_stops_the_books(over: str) -> None:
    with pytest.raises(BooksDoNotBalance, match=PROVINCE):
        check_limits(ACCOUNTS.balances(over).values())


def test_a_funder_may_use_its_limit_to_the_last_fen() -> None:
    check_limits(ACCOUNTS.balances("province  limit 1000  reserved 1  held 99  posted 900").values())


def test_the_error_names_every_figure_of_the_account() -> None:
    with pytest.raises(BooksDoNotBalance, match=r"limit 999, used 100, reserved 500, held 400 fen$"):
        check_limits([Balance(PROVINCE, 100, 500, 400, 999)])


@pytest.mark.parametrize(
    "account", [OWED, "borne/310000/c", "payable/alipay", "funding/310000/2020/c/merchant", "funding//2020/c/merchant"]
)
def test_only_funders_have_a_limit(account: str) -> None:
    assert not is_limited(account)
    check_limits([Balance(account, posted_fen=-10_000)])


@pytest.mark.parametrize("account", [PROVINCE, "funding/310000/2020/visitors/city", "funding/330100/2020/c/merchants"])
def test_every_funder_has_a_limit(account: str) -> None:
    assert is_limited(account)
