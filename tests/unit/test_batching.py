"""A batch whose fault concerns only the work that caused it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custodian.batching import decide_apart, raised
from quanlian.errors import InvalidInput, Unavailable


def run(works: Sequence[object]) -> list[object]:
    """One transaction: the first error in it undoes it all."""
    for work in works:
        if isinstance(work, Exception):
            raise work
    return [f"decided {work}" for work in works]


@pytest.mark.parametrize("fault", [InvalidInput("bad"), AssertionError("a fault of the program"), KeyError("row")])
def test_the_others_of_a_batch_get_their_results(fault: Exception) -> None:
    assert decide_apart(run, ["a", fault, "b"]) == ["decided a", fault, "decided b"]
    with pytest.raises(type(fault)):
        raised(fault)


def test_one_fault_costs_the_others_of_its_batch_a_few_transactions_more() -> None:
    runs: list[int] = []

    def counted(works: Sequence[object]) -> list[object]:
        runs.append(len(works))
        return run(works)

    for place in (0, 1, 511, 700, 999):
        fault = InvalidInput("bad")
        works: list[object] = [*range(place), fault, *range(place + 1, 1000)]
        expected = [fault if n == place else f"decided {n}" for n in range(1000)]
        assert decide_apart(counted, works) == expected, "in their order"
        assert len(runs) <= 2 * 10 + 1, "not one for each"
        assert sum(runs) <= 3 * 1000 + 30
        runs.clear()


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_whatever_fails_and_however_many_each_gets_its_own_result(faulty: list[bool]) -> None:
    works = [InvalidInput(str(n)) if bad else n for n, bad in enumerate(faulty)]
    expected = [work if isinstance(work, Exception) else f"decided {work}" for work in works]
    assert decide_apart(run, works) == expected


def test_a_database_that_does_not_answer_is_nobodys_fault() -> None:
    with pytest.raises(Unavailable):
        decide_apart(run, ["a", Unavailable("no database"), "b"])
