"""A batch whose fault concerns only the work that caused it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

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


def test_a_database_that_does_not_answer_is_nobodys_fault() -> None:
    with pytest.raises(Unavailable):
        decide_apart(run, ["a", Unavailable("no database"), "b"])
