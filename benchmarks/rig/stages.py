"""Where the CPU of one thread goes: what each function takes by itself, without those of the list that it calls."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Place = tuple[type, str]
"""A class and the name of one of its methods."""


@contextlib.contextmanager
def timed_stages(places: Mapping[str, Place]) -> Iterator[Counter[str]]:
    """CPU seconds by stage, as they grow within the block; the methods are as they were after it."""
    seconds: Counter[str] = Counter(dict.fromkeys(places, 0.0))  # type: ignore[arg-type]
    within: list[float] = []
    with contextlib.ExitStack() as stack:
        for stage, (owner, name) in places.items():
            original = getattr(owner, name)
            setattr(owner, name, _timed(original, stage, seconds, within))
            stack.callback(setattr, owner, name, original)
        yield seconds


def _timed(method: Callable[..., Any], stage: str, seconds: Counter[str], within: list[float]) -> Callable[..., Any]:
    @functools.wraps(method)
    def timed(*values: Any, **named: Any) -> Any:
        began = time.thread_time()
        within.append(0.0)
        try:
            return method(*values, **named)
        finally:
            taken = time.thread_time() - began
            seconds[stage] += taken - within.pop()  # type: ignore[assignment]
            if within:
                within[-1] += taken

    return timed
