"""What one check looked at, and what it found to contradict it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, TypeVar

K = TypeVar("K", bound=Hashable)


class Inquiry:
    """Counts what was examined; a finding is a sentence that names database, row and amounts."""

    def __init__(self) -> None:
        self.examined = 0
        self.findings: list[str] = []

    def find(self, finding: str) -> None:
        self.findings.append(finding)

    def require(self, holds: bool, finding: str) -> None:
        """Examine one thing; it contradicts the invariant unless it `holds`."""
        self.examined += 1
        if not holds:
            self.find(finding)

    def equal(self, place: str, said: Any, recomputed: Any, unit: str = " fen") -> None:
        """Examine one figure: what the database says against what was added up again."""
        self.examined += 1
        if said != recomputed:
            self.find(f"{place}: says {said}{unit}, recomputed {recomputed}{unit}")

    def same_sums(self, place: str, said: Mapping[K, int], recomputed: Mapping[K, int]) -> None:
        """Examine two tables of sums over the same keys; a key that is missing counts as 0."""
        keys = {*said, *recomputed}
        self.examined += len(keys)
        for key in _sorted(key for key in keys if said.get(key, 0) != recomputed.get(key, 0)):
            name = " ".join(map(str, key)) if isinstance(key, tuple) else str(key)
            self.find(f"{place} {name}: says {said.get(key, 0)} fen, recomputed {recomputed.get(key, 0)} fen")


def _sorted(keys: Iterable[K]) -> list[K]:
    return sorted(keys, key=repr)
