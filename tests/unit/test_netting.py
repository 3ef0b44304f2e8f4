"""Multilateral netting: many obligations become one position each."""

from __future__ import annotations

import pytest

from quanlian.errors import BooksDoNotBalance, InvalidInput
from quanlian.netting import (
    NettingFigures,
    figures,
    net_positions,
    obligations,
    payouts_after_shortfall,
    require_zero_sum,
)

HANGZHOU, SHANGHAI, HEFEI = "330100", "310000", "340100"
OWED = {(HANGZHOU, SHANGHAI): 500, (SHANGHAI, HANGZHOU): 200, (HANGZHOU, HEFEI): 100, (HEFEI, SHANGHAI): 150}


def test_each_region_pays_or_receives_once() -> None:
    assert net_positions(OWED) == {SHANGHAI: 450, HANGZHOU: -400, HEFEI: -50}


def test_what_refunds_left_below_zero_is_owed_the_other_way_round() -> None:
    owed = {("310000", "330100"): 1000, ("330100", "310000"): -304, ("340100", "330100"): -50}
    assert obligations(owed) == {("310000", "330100"): 1304, ("330100", "340100"): 50}
    assert net_positions(obligations(owed)) == net_positions(owed)
    assert figures(obligations(owed)) == figures(owed)


def test_netting_tells_what_it_saved() -> None:
    assert figures(OWED) == NettingFigures(gross_fen=950, netted_fen=450, saved_ppm=526_315)
    assert figures({}) == NettingFigures(0, 0, 0)


def test_refunds_that_exceed_discounts_turn_an_obligation_round() -> None:
    assert net_positions({(HANGZHOU, SHANGHAI): -30}) == {SHANGHAI: -30, HANGZHOU: 30}


def test_a_debt_to_oneself_is_no_obligation_between_regions() -> None:
    assert net_positions({(HANGZHOU, HANGZHOU): 70}) == {HANGZHOU: 0}
    assert figures({(HANGZHOU, HANGZHOU): 70}).gross_fen == 0


def test_positions_that_do_not_sum_to_zero_stop_the_settlement() -> None:
    with pytest.raises(BooksDoNotBalance, match="sum to 1 fen"):
        require_zero_sum({HANGZHOU: -99, SHANGHAI: 100})


def test_a_shortfall_shrinks_payouts_in_proportion() -> None:
    assert payouts_after_shortfall({SHANGHAI: 300, HEFEI: 100}, 50) == {SHANGHAI: 262, HEFEI: 88}
    assert payouts_after_shortfall({}, 0) == {}


def test_ties_are_broken_by_region_code_whatever_the_order_of_the_mapping() -> None:
    assert payouts_after_shortfall({HEFEI: 10, SHANGHAI: 10}, 1) == {SHANGHAI: 9, HEFEI: 10}


@pytest.mark.parametrize(("credits", "shortfall"), [({SHANGHAI: 10}, 11), ({SHANGHAI: 10, HEFEI: -1}, 1)])
def test_a_shortfall_beyond_the_credits_is_an_error(credits: dict[str, int], shortfall: int) -> None:
    with pytest.raises(InvalidInput, match="cannot be taken"):
        payouts_after_shortfall(credits, shortfall)
