"""The least leverage (杠杆比: minimum spend ÷ face) that regions ask of threshold vouchers at their merchants."""

from __future__ import annotations

import csv
from fractions import Fraction
from functools import cache
from importlib import resources
from typing import NamedTuple


class Bound(NamedTuple):
    """A region's published bound. `visitors` is how it treats other regions' vouchers: `refuse`, `warn` or `off`.

    What a region really refuses is its node's setting; this is what a campaign can be checked against beforehand.
    """

    region: str
    minimum: Fraction
    visitors: str
    source: str


@cache
def published_bounds() -> tuple[Bound, ...]:
    """The bounds that come with this package, by region code."""
    text = resources.files("quanlian").joinpath("data", "leverage_bounds.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return tuple(Bound(row["code"], Fraction(row["minimum"]), row["visitors"], row["source"]) for row in rows)


def bound_of(region: str) -> Bound | None:
    """The published bound of a region, None if it has none."""
    return next((bound for bound in published_bounds() if bound.region == region), None)
