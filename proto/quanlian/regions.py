"""Regions by their GB/T 2260 administrative division code, and the scopes that terms name."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib import resources
from typing import Final, NamedTuple

from quanlian.errors import InvalidInput

EVERYWHERE: Final = "*"

GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "yrd": ("310000", "320000", "330000", "340000"),
    "yrd-demonstration-zone": ("310118", "320509", "330421"),
}
"""Named groups of regions: the Yangtze River Delta and its demonstration zone (Qingpu, Wujiang, Jiashan)."""


class Region(NamedTuple):
    """A province, city or county. `parent` is the code of the division above, `""` for a province.

    Districts of a municipality, and counties that a province administers itself, stand right under it.
    `name_en` is `""` where we have none.
    """

    code: str
    name: str
    parent: str
    name_en: str = ""


def region(code: str) -> Region:
    """The region with this code. Raises InvalidInput for a code that is not in the table."""
    try:
        return _table()[code]
    except KeyError:
        raise InvalidInput(
            f"{code!r} is not a region code",
            remedy="use the six digits of GB/T 2260, like 330100 for Hangzhou or 310000 for Shanghai",
        ) from None


def full_name(code: str) -> str:
    """A region's name after those that it is part of: 山西省晋城市城区. Raises InvalidInput for an unknown code."""
    found = region(code)
    return (full_name(found.parent) if found.parent else "") + found.name


def regions() -> tuple[Region, ...]:
    """Every region, in the order of the table: a province, its cities, their counties."""
    return tuple(_table().values())


def covers(area_code: str, code: str) -> bool:
    """Whether the area is the region or contains it: a province its cities and counties, a city its counties.

    Raises InvalidInput for an unknown code.
    """
    area, inner = region(area_code).code, region(code).code
    while inner and inner != area:
        inner = region(inner).parent
    return bool(inner)


@lru_cache(maxsize=4096)
@lru_cache(maxsize=4096)
def matches(scope: str, code: str) -> bool:
    """Whether a scope covers the region: a region code, a name in `GROUPS`, or `*` for everywhere.

    Raises InvalidInput for a scope or code that is none of these.
    """
    if scope == EVERYWHERE:
        return bool(region(code))
    if scope in GROUPS:
        return any(covers(area, code) for area in GROUPS[scope])
    if not scope.isdigit():
        raise InvalidInput(
            f"{scope!r} is not a scope of regions",
            remedy=f"use a region code, one of {', '.join(GROUPS)}, or {EVERYWHERE}",
        )
    return covers(scope, code)


def covers_all(scopes: Iterable[str], others: Iterable[str]) -> bool:
    """Whether these scopes together reach wherever the others do. Raises InvalidInput as `matches`."""
    known, codes = tuple(scopes), [code for scope in others for code in GROUPS.get(scope, (scope,))]
    if EVERYWHERE in known:
        return True
    return EVERYWHERE not in codes and all(any(matches(scope, code) for scope in known) for code in codes)


@cache
def _table() -> dict[str, Region]:
    text = resources.files("quanlian").joinpath("data", "regions.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    codes = {row["code"] for row in rows}
    return {
        row["code"]: Region(row["code"], row["name_zh"], _parent(row["code"], codes), row["name_en"]) for row in rows
    }


def _parent(code: str, codes: set[str]) -> str:
    above = (code[:4] + "00", code[:2] + "0000")
    return next((candidate for candidate in above if candidate != code and candidate in codes), "")
