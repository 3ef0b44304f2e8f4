"""Requests of a stream that a fault of this party kept from being decided: for its operator, until they are."""

from __future__ import annotations

from collections.abc import Sequence

from chassis import telemetry
from chassis.ids import FreshIds
from pki.identity import Identity
from quanlian import wire
from quanlian.v1.undecided_pb2 import UndecidedRequest

LEFT_UNDECIDED = "a fault of this party left a request undecided"
KEPT = 1000
"""Beyond these they are only logged."""

_log = telemetry.logger("redemptions")


class Undecided:
    """Such requests of this process's life. Who sent one sends it again, at the latest over its next stream."""

    def __init__(self, ids: FreshIds) -> None:
        self._ids = ids
        self._kept: dict[tuple[str, bytes], UndecidedRequest] = {}

    @property
    def requests(self) -> list[UndecidedRequest]:
        """Oldest first."""
        return list(self._kept.values())

    def leave(self, sender: Identity, items: Sequence[bytes], error: Exception) -> None:
        """Log each, and keep since when it is so and by what fault."""
        for request_id in map(wire.request_id_of, items):
            _log.error(
                LEFT_UNDECIDED, sender=sender.uri, request_id=request_id.hex(), error=repr(error), exc_info=error
            )
            known = self._kept.get((sender.uri, request_id))
            if known is None and len(self._kept) >= KEPT:
                continue
            since = known.since if known else self._ids.milliseconds() // 1000
            left = UndecidedRequest(sender=sender.uri, request_id=request_id, since=since, fault=repr(error))
            self._kept[sender.uri, request_id] = left

    def answered(self, sender: Identity, answers: Sequence[bytes]) -> None:
        """They are decided, whatever stood in their way before."""
        if self._kept:
            for answer in answers:
                self._kept.pop((sender.uri, wire.answer_request_id(answer)), None)
