"""How many items a caller of streams may have open; one that does not read its answers is not read from either."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from pki.identity import Identity

MAX_OPEN_ITEMS = 16_000
"""Items of one stream that were taken and whose answers its caller has not read: then it must read first."""

MAX_OPEN_ITEMS_OF_CALLER = 4 * MAX_OPEN_ITEMS
"""Of all streams of one caller: what it leaves unread on one of them holds up none of the others."""


class Allowances:
    """What the streams of each caller have open together, as long as it has any."""

    def __init__(self) -> None:
        self._callers: WeakValueDictionary[Identity, _Caller] = WeakValueDictionary()

    def of(self, caller: Identity) -> Allowance:
        """For a new stream of this caller."""
        return Allowance(self._callers.setdefault(caller, _Caller()))


class _Caller:
    def __init__(self) -> None:
        self.open = 0
        self.given_back = asyncio.Event()


class Allowance:
    """The items that one stream may have open."""

    def __init__(self, caller: _Caller) -> None:
        self._caller = caller
        self._open = 0

    async def take(self, count: int) -> None:
        """Waits until so many more may be open."""
        while self._is_beyond(count):
            self._caller.given_back.clear()
            await self._caller.given_back.wait()
        self._open += count
        self._caller.open += count

    def give_back(self, count: int) -> None:
        self._open -= count
        self._caller.open -= count
        self._caller.given_back.set()

    def end(self) -> None:
        """The stream is over: nothing of it is open any more."""
        self.give_back(self._open)

    def _is_beyond(self, count: int) -> bool:
        return self._open + count > MAX_OPEN_ITEMS or self._caller.open + count > MAX_OPEN_ITEMS_OF_CALLER
