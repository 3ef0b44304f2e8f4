"""A batch whose fault concerns only the work that caused it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from quanlian.errors import ConfigurationError, Unavailable

Work = TypeVar("Work")


def decide_apart(run: Callable[[Sequence[Work]], list[Any]], works: Sequence[Work]) -> list[Any]:
    """Run a batch; if it fails by something in it, run its halves, and so on, so that the others get their answers.

    `run` is one transaction and gives a result per work. A work that fails alone gives its error as result: it costs
    the others of a batch of a thousand some twenty transactions, not a thousand. A database that does not answer is
    nobody's fault and is raised.
    """
    try:
        return run(works)
    except (Unavailable, ConfigurationError):
        raise
    except Exception as error:
        if len(works) == 1:
            return [error]
    half = len(works) // 2
    return [*decide_apart(run, works[:half]), *decide_apart(run, works[half:])]


def raised(result: Any) -> Any:
    """A work's result, raised if it is its error."""
    if isinstance(result, Exception):
        raise result
    return result
