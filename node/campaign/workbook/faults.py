"""A fault of a workbook: the cell it is in, what stands there, the rule it breaks, the remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from node.campaign.workbook.rules import EMPTY
from quanlian.file_rules import Rule, Words
from quanlian.terms_file import Problem

_LAST_PART = re.compile(r"(?:\.[^.\[\]]+|\[[0-9]+\])$")


class Place(NamedTuple):
    """A cell, or a whole sheet where `cell` is empty."""

    sheet: str
    cell: str = ""

    def __str__(self) -> str:
        return f"{self.sheet}!{self.cell}" if self.cell else self.sheet


class Fault(NamedTuple):
    """One fault, or a warning. `field` is the field's name in the terms, counted from 1: `pack[2].valid_days`."""

    place: Place
    field: str
    value: str
    rule: Rule
    source: str

    def __str__(self) -> str:
        found = " ".join(part for part in (f"{self.field}:", self.value) if part)
        wrong, remedy = self.rule
        return f"{self.place}: {found} {wrong.zh} — {remedy.zh} · {wrong.en} — {remedy.en} [{self.source}]"

    def as_data(self) -> dict[str, Any]:
        """For `--json`, by the names that the checker's problems have."""
        wrong, remedy = self.rule
        told = {"rule": wrong.en, "remedy": remedy.en, "rule_zh": wrong.zh, "remedy_zh": remedy.zh}
        return {**self.place._asdict(), "field": self.field, "value": self.value, "source": self.source, **told}


def located(problem: Problem, places: Mapping[str, Place], first: Place) -> Fault:
    """The checker's problem in the cell of its field, or of the nearest thing around it that has a cell."""
    field = problem.field
    while field and field not in places:
        shorter = _LAST_PART.sub("", field)
        field = shorter if shorter != field else ""
    rule = Rule(Words(problem.rule_zh, problem.rule), Words(problem.remedy_zh, problem.remedy))
    if rule.wrong == EMPTY.wrong:  # a cell needs no quotes
        rule = EMPTY
    return Fault(places.get(field, first), problem.field, problem.value, rule, problem.source)
