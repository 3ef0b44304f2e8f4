"""What fits one message: never more than a count and a size, however much there is to send."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Part = TypeVar("Part")

PAGE_BYTES = 1024 * 1024
"""Of the parts of one message: with signatures and one large part more it stays under the limit of messages."""


def pages(parts: Iterable[Part], size: Callable[[Part], int], limit: int) -> Iterator[list[Part]]:
    """The parts in order, at most `limit` and `PAGE_BYTES` to a page, a larger part on a page of its own."""
    page: list[Part] = []
    filled = 0
    for part in parts:
        bytes_ = size(part)
        if page and (len(page) == limit or filled + bytes_ > PAGE_BYTES):
            yield page
            page, filled = [], 0
        page.append(part)
        filled += bytes_
    if page:
        yield page


def first_page(parts: Iterable[Part], size: Callable[[Part], int], limit: int) -> list[Part]:
    """As many of the first parts as fit one message."""
    return next(pages(parts, size, limit), [])
