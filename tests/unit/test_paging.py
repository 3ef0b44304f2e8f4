"""Whatever there is to send, a message stays under its limit."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from custodian.paging import PAGE_BYTES, first_page, pages

SIZES = st.lists(st.integers(0, 3 * PAGE_BYTES), max_size=60)


@given(SIZES, st.integers(1, 10))
def test_nothing_is_lost_or_reordered_and_no_page_is_too_long_or_too_large(sizes: list[int], limit: int) -> None:
    found = list(pages(sizes, lambda size: size, limit))
    assert [size for page in found for size in page] == sizes
    for page in found:
        assert 0 < len(page) <= limit
        assert sum(page) <= PAGE_BYTES or len(page) == 1


@given(SIZES, st.integers(1, 10))
def test_no_page_could_have_taken_the_next_part_too(sizes: list[int], limit: int) -> None:
    found = list(pages(sizes, lambda size: size, limit))
    for page, following in pairwise(found):
        assert len(page) == limit or sum(page) + following[0] > PAGE_BYTES


def test_the_first_page_of_nothing_is_empty() -> None:
    assert first_page([], len, 10) == []
    assert first_page([b"a", b"b", b"c"], len, 2) == [b"a", b"b"]
