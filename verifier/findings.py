"""What does not hold, and where it stands."""

from __future__ import annotations

from typing import Any, NamedTuple


class Finding(NamedTuple):
    """Something that does not hold: where, what was found and what follows, in fen where these are amounts.

    `line` counts from 1 in `file`; 0 where it is not one line that is wrong.
    """

    place: str
    what: str
    found: str = ""
    expected: str = ""
    file: str = ""
    line: int = 0


class Finder:
    """Collects findings about one place."""

    __slots__ = ("findings", "place")

    def __init__(self, place: str) -> None:
        self.place = place
        self.findings: list[Finding] = []

    def equal(self, what: str, found: Any, expected: Any) -> bool:
        if found != expected:
            self.findings.append(Finding(self.place, what, str(found), str(expected)))
        return bool(found == expected)

    def note(self, what: str, why: object) -> None:
        self.findings.append(Finding(self.place, what, str(why)))
