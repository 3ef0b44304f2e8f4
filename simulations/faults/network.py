"""The network between machines: gRPC's channels and servers in memory, over links that fail as the faults say.

The services' own stubs and servicers run over it. A message is lost, late, repeated or overtaken; a link is cut in one
direction or both. As with TCP, what is lost takes everything after it on its stream along, and both ends notice later.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from random import Random
from typing import Any, NamedTuple

import grpc
import grpc.aio

from chassis.host import handle_as, status_of
from pki.identity import Identity
from simulations.faults.loop import VirtualLoop
from simulations.faults.machines import Machine, Process
from simulations.faults.trace import Trace

LATENCY_SECONDS = (0.001, 0.02)
NOTICE_SECONDS = (0.05, 1.5)
"""After how long an end of a stream learns that the other is gone."""

REPEAT_SECONDS = (0.0, 1.0)
OVERTAKEN_SECONDS = (0.02, 0.5)
STREAMS = frozenset(
    f"/quanlian.v1.{method}"
    for method in ("RedemptionService/RedeemStream", "CustodyService/CustodyStream", "CustodyService/FollowFeed")
)


class Mishap(StrEnum):
    """What befalls the next message on a link."""

    LOST = "lost"
    REPEATED = "repeated"
    OVERTAKEN = "overtaken"


class Link(NamedTuple):
    """One direction between two machines."""

    source: str
    target: str


class Carried(NamedTuple):
    """When a message arrives, in seconds of virtual time: once, twice, or never; the next one not before `floor`."""

    floor: float
    times: tuple[float, ...]


class Network:
    """Every link of one schedule, sound unless a fault says otherwise."""

    def __init__(self, loop: VirtualLoop, trace: Trace, seed: str) -> None:
        self.loop, self.trace = loop, trace
        self.machines: dict[str, Machine] = {}
        self._seed = seed
        self._random: dict[Link, Random] = {}
        self._cut: defaultdict[Link, int] = defaultdict(int)
        self._slow: defaultdict[Link, float] = defaultdict(float)
        self._mishaps: defaultdict[Link, list[Mishap]] = defaultdict(list)
        self._streams = 0
        self.faults_of_services: list[str] = []

    # Faults

    def cut(self, link: Link) -> None:
        self._cut[link] += 1

    def mend(self, link: Link) -> None:
        self._cut[link] -= 1

    def slow(self, link: Link, seconds: float) -> None:
        """Every message takes so much longer from now on; a negative number takes that back."""
        self._slow[link] += seconds

    def befall(self, link: Link, mishap: Mishap) -> None:
        self._mishaps[link].append(mishap)

    def heal(self) -> None:
        """Every link is sound again, whatever was cut or armed."""
        self._cut.clear()
        self._slow.clear()
        self._mishaps.clear()

    # Messages

    def random(self, link: Link) -> Random:
        if link not in self._random:
            self._random[link] = Random(f"{self._seed} {link.source} {link.target}")
        return self._random[link]

    def notice(self, link: Link) -> float:
        return self.random(link).uniform(*NOTICE_SECONDS)

    def number(self) -> int:
        self._streams += 1
        return self._streams

    def carry(self, link: Link, floor: float, what: str, number: int, message: Any, data: bytes) -> Carried:
        """Send a message; it comes no earlier than `floor`, the arrival of the one before it on its stream."""
        random = self.random(link)
        mishap = self._mishaps[link].pop(0) if self._mishaps[link] else None
        arrival = max(floor, self.loop.time() + random.uniform(*LATENCY_SECONDS) + self._slow[link])
        lost = self._cut[link] > 0 or mishap is Mishap.LOST
        fate = Mishap.LOST if lost else mishap
        self.trace.passed(self.loop.time(), link.source, what, (link.target, number, fate), message, data)
        if lost:
            return Carried(floor, ())
        if mishap is Mishap.REPEATED:
            return Carried(arrival, (arrival, arrival + random.uniform(*REPEAT_SECONDS)))
        if mishap is Mishap.OVERTAKEN:
            return Carried(floor, (arrival + random.uniform(*OVERTAKEN_SECONDS),))
        return Carried(arrival, (arrival,))


class Server:
    """What `add_…Servicer_to_server` registers with: the handlers of a process, by method."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """They come again, by name, as registered ones."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        for method, handler in handlers.items():
            self._process.handlers[f"/{service}/{method}"] = handler


class Channel:
    """A client's channel to one server, as the generated stubs use it."""

    def __init__(self, network: Network, process: Process, server: str, identity: Identity) -> None:
        self.network, self.process, self.server, self.identity = network, process, server, identity
        self.up, self.down = Link(process.machine.name, server), Link(server, process.machine.name)

    def unary_unary(self, path: str, **codecs: Any) -> Callable[..., Any]:
        async def call(request: Any, timeout: float | None = None) -> Any:
            stream = _Stream(self, path, codecs)
            stream.open(request)
            try:
                return await stream.only(timeout)
            finally:
                stream.cancel()

        return call

    def unary_stream(self, path: str, **codecs: Any) -> Callable[..., Any]:
        def call(request: Any) -> _Stream:
            stream = _Stream(self, path, codecs)
            stream.open(request)
            return stream

        return call

    def stream_stream(self, path: str, **codecs: Any) -> Callable[..., Any]:
        def call() -> _Stream:
            stream = _Stream(self, path, codecs)
            stream.open(None)
            return stream

        return call

    stream_unary = stream_stream

    async def channel_ready(self) -> None:
        """A connection is there as soon as somebody tries to use it."""

    async def close(self) -> None:
        """There is nothing to give back."""


class _End(NamedTuple):
    """The last thing on a stream: how it ended; None if in order."""

    error: Exception | None


class _Arrived:
    """What has come to one end of a stream, for the one who reads there."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._messages: deque[Any] = deque()
        self._reader: asyncio.Future[None] | None = None

    def put(self, message: Any) -> None:
        self._messages.append(message)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> Any:
        while not self._messages:
            self._reader = self._loop.create_future()
            await self._reader
        return self._messages.popleft()


class _Direction:
    """Messages one way on one stream: in order, up to the first that is lost."""

    def __init__(self, network: Network, link: Link, method: str, number: int) -> None:
        self.received = _Arrived(network.loop)
        self.broken = False
        self._network, self._link, self._method, self._number = network, link, method, number
        self._floor = 0.0

    def send(self, what: str, message: Any, data: bytes, arrive: Callable[[], None]) -> bool:
        """Whether it is on its way; False for the first that is lost, and nothing after it goes out."""
        if self.broken:
            return True
        what = f"{what} {self._method}"
        self._floor, times = self._network.carry(self._link, self._floor, what, self._number, message, data)
        for time in times:
            self._network.loop.call_at(time, arrive)
        self.broken = not times
        return not self.broken


class _Stream:
    """One call: the client's end as stubs give it, the handler's task at the server, and what passes between."""

    def __init__(self, channel: Channel, path: str, codecs: dict[str, Any]) -> None:
        self.channel, self.network = channel, channel.network
        self._client, self._server_name = channel.process, channel.server
        self._path, self._codecs = path, codecs
        self._number = self.network.number()
        method = path.rpartition("/")[2]
        self._up_link, self._down_link = channel.up, channel.down
        self._up = _Direction(self.network, self._up_link, method, self._number)
        self._down = _Direction(self.network, self._down_link, method, self._number)
        self._server: Process | None = None
        self._handler: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._over = False
        self._client.at_end[self._number] = self._client_is_gone

    # The client's end

    def open(self, request: Any) -> None:
        data = b"" if request is None else self._codecs["request_serializer"](request)
        self._send_up("calls", request, data, lambda: self._begin(request is not None, data))

    async def write(self, message: Any) -> None:
        if self._over:
            raise asyncio.InvalidStateError("the call is over")
        data = self._codecs["request_serializer"](message)
        self._send_up("sends on", message, data, lambda: self._up.received.put(data))

    async def read(self) -> Any:
        received = await self._down.received.get()
        if not isinstance(received, _End):
            return self._codecs["response_deserializer"](received)
        self._over = True
        self._down.received.put(received)
        if received.error:
            raise received.error
        raise StopAsyncIteration

    async def only(self, timeout: float | None) -> Any:
        """The answer of a unary call, or DEADLINE_EXCEEDED after so many seconds."""
        if timeout is not None:
            self._deadline = self.network.loop.call_later(timeout, self._expire, timeout)
        answer = await self.read()
        self._over = True
        return answer

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return await self.read()

    def cancel(self) -> None:
        """The client has done with it; the server hears of that."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._client.at_end.pop(self._number, None)
        if not self._over:
            self._over = True
            self._leave()

    def _leave(self) -> None:
        if self._client.alive:
            self.network.loop.call_later(self.network.notice(self._up_link), self._stop_handler)

    def _expire(self, seconds: float) -> None:
        self._leave()
        self._end_client(_error(grpc.StatusCode.DEADLINE_EXCEEDED, f"no answer in {seconds} s"))

    def _send_up(self, what: str, message: Any, data: bytes, arrive: Callable[[], None]) -> None:
        if self._client.alive and not self._up.send(what, message, data, arrive):
            self._break(self._up_link)

    # The server's end

    def _begin(self, with_request: bool, data: bytes) -> None:
        """The call arrives: start its handler, if there is somebody. Only a lone request can arrive twice."""
        if self._handler is not None and self._path in STREAMS:
            return
        server = self.network.machines[self._server_name].process
        if server is None or server.handler(self._path) is None:
            self._end_client(_error(grpc.StatusCode.UNAVAILABLE, f"{self._server_name} does not answer"))
            return
        self._server = server
        server.at_end[self._number] = self._server_is_gone
        self._handler = server.spawn(self._handle(server, with_request, data))

    async def _handle(self, server: Process, with_request: bool, data: bytes) -> None:
        handle_as(self.channel.identity)
        handler = server.handler(self._path)
        error: Exception | None = None
        try:
            if closed := server.closed(self._path):
                raise _error(grpc.StatusCode.FAILED_PRECONDITION, closed)
            request = handler.request_deserializer(data) if with_request else self._requests(handler)
            if handler.response_streaming:
                behaviour = handler.stream_stream or handler.unary_stream
                async with contextlib.aclosing(behaviour(request, None)) as responses:
                    async for response in responses:
                        self._send_down(server, handler, response)
            else:
                self._send_down(server, handler, await handler.unary_unary(request, None))
        except grpc.aio.AioRpcError as refusal:
            error = refusal
        except Exception as fault:
            if status_of(fault) is grpc.StatusCode.INTERNAL:
                self.network.faults_of_services.append(f"{self._path} at {self._server_name} failed: {fault!r}")
            error = _error(status_of(fault), str(fault))
        server.at_end.pop(self._number, None)
        ends = error is not None or handler.response_streaming
        if server.alive and ends and not self._down.send("ends", None, b"", lambda: self._end_client(error)):
            self._break(self._down_link)

    async def _requests(self, handler: Any) -> AsyncIterator[Any]:
        while True:
            yield handler.request_deserializer(await self._up.received.get())

    def _send_down(self, server: Process, handler: Any, response: Any) -> None:
        data = handler.response_serializer(response)
        arrive = self._down.received.put
        if server.alive and not self._down.send("answers", response, data, lambda: arrive(data)):
            self._break(self._down_link)

    # Ends

    def _break(self, link: Link) -> None:
        """Something was lost: the stream is of no use, and each end notices in its own time."""
        self._up.broken = self._down.broken = True
        later = self.network.loop.call_later
        gone = _error(grpc.StatusCode.UNAVAILABLE, "the stream broke")
        later(self.network.notice(link), self._end_client, gone)
        later(self.network.notice(link), self._stop_handler)

    def _client_is_gone(self) -> None:
        self._up.broken = True
        self.network.loop.call_later(self.network.notice(self._up_link), self._stop_handler)

    def _server_is_gone(self) -> None:
        self._down.broken = True
        gone = _error(grpc.StatusCode.UNAVAILABLE, f"{self._server_name} is gone")
        self.network.loop.call_later(self.network.notice(self._down_link), self._end_client, gone)

    def _end_client(self, error: Exception | None) -> None:
        self._down.received.put(_End(error))

    def _stop_handler(self) -> None:
        if self._handler is not None and self._server is not None:
            self._server.at_end.pop(self._number, None)
            self._handler.cancel()


def _error(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    empty = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, empty, empty, details)
