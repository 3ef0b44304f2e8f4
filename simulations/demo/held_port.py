"""Ports of this machine that belong to one network before and between the lives of its processes."""

from __future__ import annotations

import contextlib
import random
import socket
import sys
import weakref

PORTS = range(20_000, 32_000)
"""Below those that a usual system gives to outgoing connections."""


class HeldPort:
    """A port of 127.0.0.1 that this machine gives to nobody else while the object lives.

    Its socket is bound and does not listen. Linux lets one that listens stand beside it if both say SO_REUSEADDR, as
    gRPC's listeners do; who looks for a free port, by `take` or by connecting outwards, is not given it. Elsewhere
    that rule is not to be relied on, and the port is only known to have been free.
    """

    def __init__(self, number: int) -> None:
        """Raises OSError for a port that is taken or held."""
        self.number = number
        holder = socket.socket()
        weakref.finalize(self, holder.close)
        holder.bind(("127.0.0.1", number))
        if sys.platform == "linux":
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            holder.close()

    @classmethod
    def take(cls) -> HeldPort:
        """One that nobody has."""
        for number in random.sample(PORTS, len(PORTS)):
            with contextlib.suppress(OSError):
                return cls(number)
        raise OSError(f"no port of 127.0.0.1 is free between {PORTS.start} and {PORTS.stop - 1}")
