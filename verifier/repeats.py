"""Whatever stands there more than once among very many: a few dozen bytes of memory each, no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

_BUCKETS = 256


class Records:
    """Records of one width, told apart by the first `key` bytes; the others may differ between two of one key.

    They are put apart by the hash of the key, and each part is looked through by itself.
    """

    def __init__(self, width: int, key: int | None = None) -> None:
        self._width, self._key = width, key or width
        self._buckets = [bytearray() for _ in range(_BUCKETS)]

    def add(self, records: bytes) -> None:
        """Take some, end to end."""
        buckets, width, key = self._buckets, self._width, self._key
        for start in range(0, len(records), width):
            buckets[hash(records[start : start + key]) % _BUCKETS] += records[start : start + width]

    def repeated(self) -> Iterator[bytes]:
        """Each that was added more than once, once for every time but the first."""
        return self._beyond_first(lambda records: records)

    def differing(self) -> Iterator[bytes]:
        """Each key that was added with different rests, once for every rest but the first."""
        return self._beyond_first(lambda records: [each[: self._key] for each in set(records)])

    def rivals(self) -> Iterator[bytes]:
        """Every record whose key was added with another rest too, once each."""
        width = self._width
        for bucket in self._buckets:
            content = bytes(bucket)
            distinct = {content[start : start + width] for start in range(0, len(content), width)}
            times = Counter(each[: self._key] for each in distinct)
            if len(times) < len(distinct):
                yield from sorted(each for each in distinct if times[each[: self._key]] > 1)

    def _beyond_first(self, counted: Callable[[list[bytes]], list[bytes]]) -> Iterator[bytes]:
        width = self._width
        for bucket in self._buckets:
            content = bytes(bucket)
            times = Counter(counted([content[start : start + width] for start in range(0, len(content), width)]))
            yield from (record for record, count in times.items() if count > 1 for _ in range(count - 1))
