"""The way to the clearinghouse: how much of each platform is on it, so that none can fill it for the others."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping

from chassis.commit import Overloaded
from custodian.allowance import MAX_OPEN_ITEMS

MAX_ON_THE_WAY = MAX_OPEN_ITEMS // 2
"""Requests of one platform that were sent on and not answered, each as often as it was sent: half of what the
clearinghouse takes of a node before it has answered."""


class Way:
    """What was sent on and not answered yet. The engine's thread puts it there, the event loop takes it away.

    What a platform sent stays there when the platform hangs up: the clearinghouse decides it all the same.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._sent: dict[bytes, tuple[str, int]] = {}
        """Whose a request is and how often it was sent, by this node's own id for it."""
        self._of: Counter[str] = Counter()

    def enter(self, platform: str, own_id: bytes) -> bool:
        """Whether the platform has room for one more on the way; then it is there."""
        with self._changing:
            if self._of[platform] >= MAX_ON_THE_WAY:
                return False
            self._put(own_id, platform, self._times(own_id) + 1)
            return True

    def overloaded(self, platform: str) -> Overloaded:
        """What a platform without room is told."""
        return Overloaded(
            f"{platform} has {MAX_ON_THE_WAY} requests on the way to the clearinghouse "
            "— send the same request again later"
        )

    def leave(self, own_ids: Iterable[bytes]) -> None:
        """Each was answered, or not sent, once."""
        with self._changing:
            for own_id in own_ids:
                if own_id in self._sent:
                    self._put(own_id, self._sent[own_id][0], self._times(own_id) - 1)

    def entered(self) -> frozenset[bytes]:
        with self._changing:
            return frozenset(self._sent)

    def send_again(self, before: Iterable[bytes], unanswered: Mapping[bytes, str]) -> None:
        """Over a new stream all that is `unanswered` is sent, once; of what had entered `before` nothing else is."""
        with self._changing:
            for own_id in before:
                if own_id in self._sent and own_id not in unanswered:
                    self._put(own_id, self._sent[own_id][0], 0)
            for own_id, platform in unanswered.items():
                self._put(own_id, platform, 1)

    def _times(self, own_id: bytes) -> int:
        return self._sent[own_id][1] if own_id in self._sent else 0

    def _put(self, own_id: bytes, platform: str, times: int) -> None:
        self._of[platform] += times - self._times(own_id)
        if times:
            self._sent[own_id] = (platform, times)
        else:
            self._sent.pop(own_id, None)
