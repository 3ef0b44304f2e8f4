"""What holds for every netting."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quanlian.netting import figures, net_positions, payouts_after_shortfall

REGION = st.sampled_from(["310000", "320500", "330100", "340100", "140502"])
OBLIGATIONS = st.dictionaries(st.tuples(REGION, REGION), st.integers(-(10**9), 10**12), max_size=25)


@given(OBLIGATIONS)
def test_net_positions_sum_to_zero_and_move_no_more_than_the_gross(owed: dict[tuple[str, str], int]) -> None:
    positions = net_positions(owed)
    told = figures(owed)
    assert sum(positions.values()) == 0
    assert 0 <= told.netted_fen <= told.gross_fen
    assert 0 <= told.saved_ppm <= 1_000_000


@given(st.dictionaries(REGION, st.integers(0, 10**9)), st.data())
def test_a_shortfall_is_taken_whole_and_from_nobody_more_than_its_credit(
    credits: dict[str, int], data: st.DataObject
) -> None:
    shortfall = data.draw(st.integers(0, sum(credits.values())))
    paid = payouts_after_shortfall(credits, shortfall)
    assert sum(credits.values()) - sum(paid.values()) == shortfall
    assert all(0 <= paid[region] <= credits[region] for region in credits)
