"""A failing schedule made short: what can be left out is, as long as the rest still fails (delta debugging)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from simulations.faults.plan import Fault, Operation, Plan

Step = Operation | Fault
ATTEMPTS = 300


def shortened(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """A part of `plan` that still fails and, within `ATTEMPTS` tries, fails no more without any one of its steps."""
    steps: list[Step] = [*plan.faults, *plan.operations]
    left, size = ATTEMPTS, max(1, len(steps) // 2)
    while True:
        start, removed = 0, False
        while start < len(steps) and left:
            candidate = steps[:start] + steps[start + size :]
            left -= 1
            if fails(_of(plan, candidate)):
                steps, removed = candidate, True
            else:
                start += size
        if not left or (size == 1 and not removed):
            break
        size = max(1, size // 2)
    short = _of(plan, steps)
    unsettled = replace(short, settles=False)
    return unsettled if short.settles and fails(unsettled) else short


def _of(plan: Plan, steps: list[Step]) -> Plan:
    return replace(
        plan,
        operations=tuple(each for each in steps if isinstance(each, Operation)),
        faults=tuple(each for each in steps if isinstance(each, Fault)),
    )
