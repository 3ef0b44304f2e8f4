"""One spender at a time: epochs, and who may decide (protocol.md, Custody)."""

from __future__ import annotations

import pytest

from quanlian import custody
from quanlian.apportionment import Leg, Reservation
from quanlian.custody import CLEARINGHOUSE, VoucherState, give, in_custody, may_take, spent_reason
from quanlian.refusals import RefusalReason
from quanlian.vouchers import VoucherKey

HANGZHOU, SHANGHAI = "330100", "310000"
MONEY = Reservation((Leg("funding/330100/2020/c/alipay", 200),), (Leg("funding/330100/2020/c/city", 800),))
ISSUED = VoucherState(
    VoucherKey(HANGZHOU, bytes(15), 0), "c", bytes(32), 1, bytes(16), not_before=0, not_after=100, reservation=MONEY
)


@pytest.mark.parametrize(("epoch", "custodian"), [(0, HANGZHOU), (1, CLEARINGHOUSE), (2, HANGZHOU), (3, CLEARINGHOUSE)])
def test_an_even_epoch_is_the_issuers_and_an_odd_one_the_clearinghouses(epoch: int, custodian: str) -> None:
    voucher = ISSUED._replace(epoch=epoch)
    custodians = [party for party in (HANGZHOU, SHANGHAI, CLEARINGHOUSE) if in_custody(voucher, party)]
    assert custodians == [custodian]


def test_giving_raises_the_epoch_and_the_money_goes_along() -> None:
    given = give(ISSUED)
    assert (given.epoch, given.reservation) == (1, custody.EMPTY)
    assert in_custody(given, CLEARINGHOUSE)
    assert given._replace(epoch=0, reservation=MONEY) == ISSUED


def test_custody_goes_there_and_back() -> None:
    assert in_custody(give(give(ISSUED)), HANGZHOU)


@pytest.mark.parametrize(
    ("known", "offered", "news"),
    [(None, 1, True), (None, 0, False), (0, 1, True), (1, 1, False), (2, 1, False), (2, 3, True), (1, 4, True)],
)
def test_only_a_higher_epoch_is_taken(known: int | None, offered: int, news: bool) -> None:
    assert may_take(known, offered) is news


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (custody.USABLE, None),
        (custody.HELD, RefusalReason.ALREADY_HELD),
        (custody.CAPTURED, RefusalReason.ALREADY_REDEEMED),
        (custody.EXPIRED, RefusalReason.EXPIRED),
        (custody.CANCELLED, RefusalReason.VOUCHER_CANCELLED),
    ],
)
def test_a_release_is_refused_for_what_the_row_says(status: str, reason: RefusalReason | None) -> None:
    assert spent_reason(ISSUED._replace(status=status)) is reason


def test_a_validity_that_passed_but_is_not_recorded_does_not_stop_a_release() -> None:
    assert spent_reason(ISSUED._replace(not_after=0)) is None
