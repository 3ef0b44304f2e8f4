"""The journal as text: what a redemption's captures, refunds and adjustments say in its comments."""

from __future__ import annotations

import pytest

from custodian.ledger.journal import JournalEntry, JournalPosting, text
from quanlian.apportionment import Leg

CITY, COUNTY = Leg("funding/330100/2026/spring/city", -1), Leg("funding/330100/2026/spring/county", 0)


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
