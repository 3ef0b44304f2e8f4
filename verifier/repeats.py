"""Whatever stands there more than once among very many: 16 to 24 bytes of memory each, no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

_BUCKETS = 256


class Records:
    """Records of one width. They are put apart by their hash, and each part is looked through by itself."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._buckets = [bytearray() for _ in range(_BUCKETS)]

    def add(self, records: bytes) -> None:
        """Take some, end to end."""
        buckets, width = self._buckets, self._width
        for start in range(0, len(records), width):
            record = records[start : start + width]
            buckets[hash(record) % _BUCKETS] += record

    def repeated(self) -> Iterator[bytes]:
        """Each that was added more than once, once for every time but the first."""
        width = self._width
        for bucket in self._buckets:
            content = bytes(bucket)
            counted = Counter(content[start : start + width] for start in range(0, len(content), width))
            if len(counted) * width < len(content):
                yield from (record for record, times in counted.items() for _ in range(times - 1))
