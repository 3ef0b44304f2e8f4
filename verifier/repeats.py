"""Whatever stands there more than once among very many: a few dozen bytes of memory each, no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

_BUCKETS = 256
_WORTH_BUCKETS = 4 << 20
"""Bytes of records from which looking through them all together takes more memory than is right."""


class Records:
    """Records of one width, told apart by the first `key` bytes; the others may differ between two of one key.

    Once they are many they are put apart by the hash of the key, and each part is looked through by itself.
    """

    def __init__(self, width: int, key: int | None = None) -> None:
        self._width, self._key = width, key or width
        self._buckets = [bytearray()]

    def add(self, records: bytes) -> None:
        """Take some, end to end."""
        if len(self._buckets) > 1:
            self._put_apart(records)
            return
        self._buckets[0] += records
        if len(self._buckets[0]) > _WORTH_BUCKETS:
            together, self._buckets = self._buckets[0], [bytearray() for _ in range(_BUCKETS)]
            self._put_apart(bytes(together))

    def repeated(self) -> Iterator[bytes]:
        """Each that was added more than once, once for every time but the first."""
        for records in self._parts():
            yield from _beyond_first(records)

    def differing(self) -> Iterator[bytes]:
        """Each key that was added with different rests, once for every rest but the first."""
        for records in self._parts():
            yield from _beyond_first([each[: self._key] for each in set(records)])

    def rivals(self) -> Iterator[bytes]:
        """Every record whose key was added with another rest too, once each."""
        for records in self._parts():
            distinct = set(records)
            repeated = set(_beyond_first([each[: self._key] for each in distinct]))
            yield from sorted(each for each in distinct if each[: self._key] in repeated)

    def _put_apart(self, records: bytes) -> None:
        buckets, width, key = self._buckets, self._width, self._key
        for start in range(0, len(records), width):
            buckets[hash(records[start : start + key]) % _BUCKETS] += records[start : start + width]

    def _parts(self) -> Iterator[list[bytes]]:
        """The records of each part in which a key stands more than once."""
        width, key = self._width, self._key
        for bucket in self._buckets:
            content = bytes(bucket)
            starts = range(0, len(content), width)
            if len({content[start : start + key] for start in starts}) < len(starts):
                yield [content[start : start + width] for start in starts]


def _beyond_first(keys: list[bytes]) -> Iterator[bytes]:
    """Each that stands there more than once, once for every time but the first."""
    return (key for key, count in Counter(keys).items() for _ in range(count - 1))
