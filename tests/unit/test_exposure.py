"""How near a region is to its limits, and when it is warned (money.md, Ledger)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearinghouse.capturing import Room
from clearinghouse.domain.exposure import LimitUse, Measure, Position, crossed

NOTHING_OWED = Position(
    "330100",
    net_debit_cap_fen=1_000,
    credit_line_fen=400,
    credit_offset_bp=0,
    owed_held_fen=0,
    owed_posted_fen=0,
    due_posted_fen=0,
    secured_fen=500,
)
"""Its limit is 900: its own 500 and credit of 400."""


@pytest.mark.parametrize(
    ("used_fen", "limit_fen", "percent"),
    [
        (0, 1000, 0),
        (749, 1000, 0),
        (750, 1000, 75),
        (899, 1000, 75),
        (900, 1000, 90),
        (1000, 1000, 90),
        (5000, 1000, 90),
        (2, 3, 0),
        (3, 4, 75),
        (0, 0, 0),
        (1, 0, 90),
        (1, -5, 90),
        (-10, 1000, 0),
        (-10, -5, 0),
    ],
)
def test_a_threshold_is_reached_at_its_very_fen(used_fen: int, limit_fen: int, percent: int) -> None:
    assert LimitUse(Measure.NET_DEBIT, used_fen, limit_fen).percent == percent


def owing(fen: int, **changes: object) -> Position:
    return NOTHING_OWED._replace(owed_posted_fen=fen, **changes)


def test_holds_count_like_postings_and_dues_only_as_far_as_agreed() -> None:
    position = NOTHING_OWED._replace(owed_held_fen=300, owed_posted_fen=400, due_posted_fen=1000, credit_offset_bp=1000)
    assert position.exposure_fen == 600


def test_what_refunds_turned_into_a_debt_counts_and_into_a_claim_only_as_far_as_agreed() -> None:
    owed_back = NOTHING_OWED._replace(owed_held_fen=300, due_posted_fen=-400)
    assert owed_back.exposure_fen == 700
    claim = NOTHING_OWED._replace(owed_held_fen=300, owed_posted_fen=-400)
    assert claim.exposure_fen == 300
    assert claim._replace(credit_offset_bp=1000).exposure_fen == 260


def test_arrears_have_used_their_part_of_the_limit() -> None:
    in_arrears = NOTHING_OWED._replace(arrears_fen=300)
    assert (NOTHING_OWED.limit_fen, in_arrears.limit_fen) == (900, 600)
    assert in_arrears._replace(net_debit_cap_fen=500).limit_fen == 200, "they are owed under the cap too"
    assert in_arrears.allows(600)
    assert not in_arrears.allows(601)
    assert in_arrears._replace(arrears_fen=2_000).allows(0), "what owes nothing is never refused for the cap"


def test_credit_is_used_from_where_the_region_s_own_money_ends() -> None:
    assert [owing(fen).credit_used_fen for fen in (0, 500, 501, 900)] == [0, 0, 1, 400]
    assert owing(900, credit_line_fen=0).credit_used_fen == 0
    assert owing(10, secured_fen=-50).credit_used_fen == 10, "arrears are not credit that was used"


@pytest.mark.parametrize(
    ("position", "warnings"),
    [
        (owing(674), []),
        (owing(675), [(Measure.NET_DEBIT, 75)]),
        (owing(675, warned=(75, 0)), []),
        (owing(800, warned=(75, 0)), [(Measure.CREDIT_LINE, 75)]),
        (owing(900, credit_line_fen=0), [(Measure.NET_DEBIT, 75), (Measure.NET_DEBIT, 90)]),
        (owing(900, warned=(90, 0)), [(Measure.CREDIT_LINE, 75), (Measure.CREDIT_LINE, 90)]),
        (owing(100, warned=(90, 90)), []),
    ],
)
def test_every_threshold_that_was_reached_since_warns_once(
    position: Position, warnings: list[tuple[Measure, int]]
) -> None:
    assert [(use.measure, percent) for use, percent in crossed(position)] == warnings


FEN = st.integers(-200, 2_000)
POSITIONS = st.builds(
    Position,
    st.just("330100"),
    net_debit_cap_fen=FEN,
    credit_line_fen=st.one_of(st.just(0), st.integers(0, 1_000)),
    credit_offset_bp=st.sampled_from((0, 5_000, 10_000)),
    owed_held_fen=st.integers(0, 500),
    owed_posted_fen=FEN,
    due_posted_fen=FEN,
    secured_fen=FEN,
    arrears_fen=st.sampled_from((0, 300)),
)


@given(POSITIONS, st.integers(-500, 2_000), st.integers(-500, 2_000))
def test_it_is_quiet_just_as_long_as_there_is_nothing_to_warn_of(position: Position, owed: int, due: int) -> None:
    warned = position._replace(warned=position.reached)
    low_fen, high_fen = warned.quiet_between
    later = warned.moved(posted_fen=owed, due_fen=due)
    assert (low_fen <= later.exposure_fen < high_fen) == (later.reached == warned.warned)


@given(POSITIONS)
def test_nothing_is_quiet_while_a_warning_is_due(position: Position) -> None:
    low_fen, high_fen = position._replace(warned=(1, 1)).quiet_between
    assert low_fen == high_fen


@given(POSITIONS, st.lists(st.tuples(st.integers(0, 900), st.integers(0, 900)), max_size=4))
def test_a_run_of_captures_has_room_only_for_what_the_limit_allows_and_warns_of_nothing(
    position: Position, moves: list[tuple[int, int]]
) -> None:
    """What the loop of plain redemptions asks is never less than what the judging of one asks."""
    position = position._replace(warned=position.reached)
    room = Room(position)
    for posted, due in moves:
        after = position.moved(posted_fen=posted, due_fen=due)
        assert room.is_quiet(posted, due) == (position.allows(posted) and after.reached == position.warned)
        if not room.is_quiet(posted, due):
            break
        room.posted_fen, room.due_fen = room.posted_fen + posted, room.due_fen + due
        position = after
