"""Repeats among very many records are found, each as often as it is one too many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from verifier.repeats import Records


@given(st.lists(st.binary(min_size=2, max_size=2), max_size=200), st.integers(1, 7))
def test_every_repeat_is_told_and_nothing_else(records: list[bytes], portion: int) -> None:
    known = Records(2)
    for start in range(0, len(records), portion):
        known.add(b"".join(records[start : start + portion]))
    expected = sorted(each for each in set(records) for _ in range(records.count(each) - 1))
    assert sorted(known.repeated()) == expected


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=1), st.binary(min_size=1, max_size=1)), max_size=300))
def test_a_key_with_different_rests_is_told_however_often_each_stands_there(pairs: list[tuple[bytes, bytes]]) -> None:
    known = Records(2, 1)
    known.add(b"".join(key + rest for key, rest in pairs))
    keys = [key for key, _ in set(pairs)]
    expected = sorted(key for key in set(keys) for _ in range(keys.count(key) - 1))
    assert sorted(known.differing()) == expected


def test_rivals_are_all_records_of_a_key_that_came_with_several_rests() -> None:
    records = Records(3, 2)
    records.add(b"aa1bb1aa2bb1")
    records.add(b"cc1aa2")
    assert list(records.rivals()) == [b"aa1", b"aa2"]
