"""The difference between two versions of a campaign's terms, as lines that a director can read and sign off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, NamedTuple

from quanlian.money import yuan
from quanlian.refusals import CHINA
from quanlian.terms import Terms

_IGNORED = frozenset({"terms_hash", "number"})


class Difference(NamedTuple):
    """One field that changed; `before` or `after` is empty where the entry is new or gone."""

    field: str
    before: str
    after: str


def difference(old: Terms, new: Terms) -> list[Difference]:
    """What changed, field by field; entries of a list are matched by their id or name, not by their place."""
    return list(_compare("", old, new))


def _compare(path: str, old: Any, new: Any) -> Iterator[Difference]:
    if old == new:
        return
    if is_dataclass(old) and is_dataclass(new):
        for each in fields(old):
            if each.name not in _IGNORED:
                before, after = getattr(old, each.name), getattr(new, each.name)
                yield from _compare(f"{path}.{each.name}".lstrip("."), before, after)
    elif _named(old) or _named(new):
        olds, news = {_name(each): each for each in old}, {_name(each): each for each in new}
        for name in [*olds, *(name for name in news if name not in olds)]:
            place = f"{path}[{name}]"
            if name in olds and name in news:
                yield from _compare(place, olds[name], news[name])
            else:
                yield Difference(place, _present(name in olds), _present(name in news))
    else:
        yield Difference(path, _shown(path, old), _shown(path, new))


def _named(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and is_dataclass(value[0])


def _name(entry: Any) -> str:
    """What an entry is called: its id, its name, or, of a tier, its class and lower bound."""
    for attribute in ("id", "name"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return f"{entry.klass} {yuan(entry.from_fen)}"


def _present(there: bool) -> str:
    return "有 present" if there else ""


def _shown(path: str, value: Any) -> str:
    """Yuan for `_fen`, Beijing time for `_at` and `_until`, per cent for `_ppm`, lists sorted."""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        if path.endswith("_fen"):
            return yuan(value)
        if path.endswith(("_at", "_until")):
            return datetime.fromtimestamp(value, UTC).astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S")
        if path.endswith("_ppm"):
            return f"{value // 10_000}.{value % 10_000:04d} %"
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, frozenset | tuple):
        return "、".join(sorted(map(str, value)) if isinstance(value, frozenset) else map(str, value))
    return str(value)
