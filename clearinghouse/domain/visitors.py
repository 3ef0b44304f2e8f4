"""A region's standing fund for visitors: who may fund it, and how far a budget may fall (money.md, Agreements)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, get_args

from quanlian.apportionment import ShortfallRule
from quanlian.errors import InvalidInput
from quanlian.ledger import Balance
from quanlian.money import yuan

RULES: tuple[str, ...] = get_args(ShortfallRule)
YEARS = range(2000, 2100)
_NAME = re.compile(r"[a-z0-9-]{1,48}")


class VisitorsFunder(NamedTuple):
    """A funder and its budget for one year, in fen. Weight 0 makes it a backstop, as in terms."""

    name: str
    weight: int
    budget_fen: int


def check_visitors_fund(year: int, rule: str, funders: Sequence[VisitorsFunder]) -> None:
    """Raises InvalidInput for a fund that could not pay by its rule."""
    names = [each.name for each in funders]
    if year not in YEARS:
        raise _invalid(f"{year} is no fiscal year", f"give a year from {YEARS[0]} to {YEARS[-1]}")
    if rule not in RULES:
        raise _invalid(f"{rule!r} is no rule", f"use {', '.join(RULES)}")
    for name in names:
        if not _NAME.fullmatch(name):
            raise _invalid(f"{name!r} is no funder's name", "use lower-case letters, digits and hyphens")
        if names.count(name) > 1:
            raise _invalid(f"{name} stands there twice", "name each funder once")
    if not any(each.weight for each in funders):
        raise _invalid("no funder has a weight", "give at least one a weight above 0")
    if any(each.budget_fen < 0 for each in funders):
        raise _invalid("a budget is negative", "give amounts of 0 or more")


def require_budget(balance: Balance, name: str, budget_fen: int) -> None:
    """Raises InvalidInput for a budget under what the funder has used and set aside already."""
    used_fen = balance.limit_fen - balance.free_fen
    if budget_fen < used_fen:
        raise _invalid(
            f"{name} has used or set aside {yuan(used_fen)} yuan, its budget cannot fall to {yuan(budget_fen)}",
            "keep the funder with at least that budget",
        )


def _invalid(what: str, remedy: str) -> InvalidInput:
    return InvalidInput(what, place="visitors' fund", remedy=remedy)
