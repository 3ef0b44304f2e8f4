"""What a settled window takes of what funders paid ahead."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clearinghouse.domain.prefund import use_movements, used_first, uses
from clearinghouse.domain.windows import Turnover

CITY, COUNTY = "prefund/330100/2026/spring/city", "prefund/330100/2026/spring/county"
FEN = st.integers(-1000, 1000)


def test_a_funder_s_use_is_of_every_counterpart_and_net_of_refunds() -> None:
    turnovers = [
        Turnover("funding/330100/2026/spring/city", "310000", 500),
        Turnover("funding/330100/2026/spring/city", "320500", -100),
        Turnover("funding/330100/2026/spring/merchant", "330100", 70),
        Turnover("funding/310000/2026/visitors/city", "330100", 30),
        Turnover("reimbursement/330100", "", -40),
    ]
    assert uses("330100", turnovers) == {CITY: 400}


def test_what_was_used_moves_up_to_what_stands_there() -> None:
    assert used_first({CITY: 400, COUNTY: 200}, {CITY: 1000, COUNTY: 50}) == {CITY: 400, COUNTY: 50}


def test_a_window_of_refunds_moves_nothing() -> None:
    assert used_first({CITY: -400}, {CITY: 1000}) == {}


@given(st.dictionaries(st.sampled_from([CITY, COUNTY]), FEN), st.lists(FEN, max_size=6))
def test_no_purse_is_ever_overdrawn_nor_pays_for_more_than_its_use(paid: dict[str, int], used: list[int]) -> None:
    standing = {purse: abs(fen) for purse, fen in paid.items()}
    for fen in used:
        moved = used_first({CITY: fen, COUNTY: fen // 2}, standing)
        movements = use_movements(moved)
        assert sum(each.posted_fen for each in movements) == 0
        for purse, part in moved.items():
            standing[purse] -= part
            assert 0 < part <= fen
            assert standing[purse] >= 0
