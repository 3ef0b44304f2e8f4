"""The journal as text: what a redemption's captures, refunds and adjustments say in its comments."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import pytest
from rich.cells import cell_len

from custodian.ledger.journal import JournalEntry, JournalPosting, text
from quanlian.apportionment import Leg

CITY, COUNTY = Leg("funding/330100/2026/spring/city", -1), Leg("funding/330100/2026/spring/county", 0)


class Line(NamedTuple):
    account: str
    posted_fen: int = 0
    reserved_fen: int = 0
    held_fen: int = 0
    limit_fen: int = 0
    counterpart: str = ""


def test_what_stands_outside_the_double_entry_is_in_brackets_and_the_rest_sums_to_zero() -> None:
    lines = (
        Line("funding/330100/2026/spring/city", 1000, -1000),
        Line("payable/alipay", -1000),
        Line("advance/330100/spring/county/city", 333),
        Line("advance_away/330100/spring/county/city", 116),
        Line("ceiling/310000/2026/HZ-SH", 300, held_fen=-300),
    )
    shown = text(JournalEntry(7, "redeem", 2, 1_780_000_000, "", lines)).splitlines()[1:]
    plain, memo = ([each.split() for each in shown if ("[" in each) is wanted] for wanted in (False, True))
    assert [each[0] for each in plain] == ["funding/330100/2026/spring/city", "payable/alipay"]
    assert sum(Decimal(each[1].replace(",", "")) for each in plain) == 0
    assert [(each[0], each[-2]) for each in memo] == [
        ("[预留", "-10.00"),
        ("[垫付", "3.33"),
        ("[异地垫付", "1.16"),
        ("[年度上限", "3.00"),
        ("[占用", "-3.00"),
    ]


def test_amounts_stand_under_one_another_whatever_the_width_of_the_words_before_them() -> None:
    lines = (Line("funding/330100/2026/spring/city", 1000, -1000, 20), Line("payable/alipay", -123_456_00))
    shown = text(JournalEntry(7, "redeem", 2, 1_780_000_000, "", lines)).splitlines()[1:]
    assert len({cell_len(each) for each in shown}) == 1


def comments(posting: JournalPosting) -> list[str]:
    entry = JournalEntry(7, "redeem", 2, 1_780_000_000, "", (), (posting,))
    return [line.split("; ", 1)[1].strip() for line in text(entry).splitlines()[1:]]


@pytest.mark.parametrize(
    ("kind", "order_fen", "discount_fen", "told"),
    [
        ("capture", 5800, 1000, "核销 capture ab/2: 订单 order 58.00, 优惠 discount 10.00"),
        ("refund", -2292, -562, "退款 refund ab/2: 订单 order -22.92, 优惠 discount -5.62"),
        ("refund", 0, -1, "调整 adjustment ab/2: 订单 order 0.00, 优惠 discount -0.01"),
    ],
)
def test_order_and_discount_are_named_and_an_adjustment_is_no_refund(
    kind: str, order_fen: int, discount_fen: int, told: str
) -> None:
    assert comments(JournalPosting(b"\xab", 2, kind, order_fen, discount_fen, ()))[0] == told


def test_only_who_paid_or_got_back_is_listed() -> None:
    (_, leg) = comments(JournalPosting(b"\xab", 2, "refund", 0, -1, (CITY, COUNTY)))
    assert leg.split() == [CITY.account, "-0.01"]
