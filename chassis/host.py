"""The gRPC host: mutual TLS, and a guard before every handler.

For each call, in this order: who is it (judged now, not at the handshake: certificates expire and are
revoked while connections and TLS sessions live on), may that role and region call this method, is it within
its rate, has it a deadline, has it not too many calls open, can its request be read. Errors leave as gRPC
status; a refusal is data and no error.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from chassis import telemetry
from chassis.commit import Overloaded
from pki.credentials import channel_credentials, peer_identity, server_credentials, target_options
from pki.identity import Identity
from pki.trust import Trust
from quanlian.errors import (
    ConfigurationError,
    InvalidInput,
    QuanlianError,
    TrustError,
    Unavailable,
    UnknownKey,
)

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MAX_OPEN_CALLS = 1024
"""Of one caller, streams among them, over however many connections."""

MAX_CALLS_PER_SECOND = 10_000
MAX_CONNECTION_AGE_SECONDS = 600
KEEPALIVE_SECONDS = 30
RETRY_AFTER_MS = 1000
"""A rate's bucket is full again by then, and a batch decided."""

_STREAMS_PER_OPEN_CALL = 8
"""How far the transport's limit is from the guard's: what passes its own it breaks off without saying why or for how
long. It counts calls that have ended a moment longer than their caller does.
"""

_AGE_GRACE_SECONDS = 30
_METADATA_BYTES = 16 * 1024
_DETAIL_CHARACTERS = 1000

_PASSING = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
Context = grpc.aio.ServicerContext[Any, Any]
_caller: ContextVar[Identity] = ContextVar("caller")
_log = telemetry.logger("host")


def caller(context: Context) -> Identity:
    """The authenticated identity behind the call that is being handled; never take it from the message."""
    return _caller.get()


def handle_as(identity: Identity) -> None:
    """Says who is behind the call that this task handles, after the transport has made sure of it."""
    _caller.set(identity)


def status_of(error: Exception) -> grpc.StatusCode:
    """The gRPC status that an error leaves a handler as."""
    match error:
        case Overloaded():
            return grpc.StatusCode.RESOURCE_EXHAUSTED
        case Unavailable():
            return grpc.StatusCode.UNAVAILABLE
        case ConfigurationError():
            return grpc.StatusCode.INTERNAL
        case InvalidInput():
            return grpc.StatusCode.INVALID_ARGUMENT
        case TrustError() | UnknownKey():
            return grpc.StatusCode.PERMISSION_DENIED
        case _:
            return grpc.StatusCode.INTERNAL


class Host:
    """One listening gRPC server. `allow` names the roles that may call each method
    (`/package.Service/Method`).

    What `allow` does not name nobody may call. `hosts` restricts methods to callers of certain hosts, such
    as a node's own region; without an entry any host may call. `closed` says why a method cannot be called
    now, empty where it can. `now` gives UTC seconds, for judging certificates.
    """

    def __init__(
        self,
        *,
        listen: str,
        credentials_directory: Path,
        trust: Trust,
        now: Callable[[], int],
        allow: Mapping[str, Collection[str]],
        hosts: Mapping[str, Collection[str]] | None = None,
        closed: Callable[[str], str] = lambda method: "",
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        max_open_calls: int = MAX_OPEN_CALLS,
        max_calls_per_second: int = MAX_CALLS_PER_SECOND,
        max_connection_age_seconds: int = MAX_CONNECTION_AGE_SECONDS,
        reuse_port: bool = False,
    ) -> None:
        self._listen = listen
        self._credentials_directory = credentials_directory
        self._guard = _Guard(trust, now, allow, hosts or {}, closed, max_calls_per_second, max_open_calls)
        self._options = [
            *_message_limits(max_message_bytes),
            ("grpc.max_concurrent_streams", _STREAMS_PER_OPEN_CALL * max_open_calls),
            ("grpc.max_connection_age_ms", max_connection_age_seconds * 1000),
            ("grpc.max_connection_age_grace_ms", _AGE_GRACE_SECONDS * 1000),
            ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_SECONDS * 1000 // 2),
            ("grpc.so_reuseport", int(reuse_port)),
        ]
        self._registrations: list[Callable[[grpc.aio.Server], object]] = []
        self._server: grpc.aio.Server | None = None
        self._port = 0

    def add(self, registration: Callable[[grpc.aio.Server], object]) -> None:
        """A service, added before `start`: `lambda server: add_FooServicer_to_server(foo, server)`."""
        self._registrations.append(registration)

    def bind(self) -> int:
        """Takes the address, from the event loop; returns the port (`listen` may ask for port 0).

        A service binds before it opens and migrates its database, so that one which could not serve changes nothing.
        Raises ConfigurationError for unfit credentials, an unusable address, or a port that is taken.
        """
        server = grpc.aio.server(interceptors=[self._guard], options=self._options)
        credentials = server_credentials(self._credentials_directory)
        try:
            port = server.add_secure_port(self._listen, credentials)
        except RuntimeError:
            port = 0
        if port == 0:
            raise ConfigurationError(
                "cannot listen here: the port is taken or the address is not this machine's",
                place=self._listen,
                remedy="stop the other program or choose another address",
            )
        self._server, self._port = server, port
        return port

    async def start(self) -> int:
        """Serves, at the address that `bind` took or else takes now; returns the port. Raises as `bind`."""
        if self._server is None:
            self.bind()
        assert self._server is not None
        for registration in self._registrations:
            registration(by_name(self._server))
        await self._server.start()
        return self._port

    async def stop(self, grace: float = 5.0) -> None:
        """Takes no more calls, gives those in progress `grace` seconds, then ends them."""
        if self._server is not None:
            await self._server.stop(grace)


def by_name(server: grpc.aio.Server) -> grpc.aio.Server:
    """The server, for a service's `add_…Servicer_to_server`, so that each call's method is found by its name alone.

    For methods that are registered as well gRPC keeps a call of each in waiting and looks at all of them at every call:
    with the sixty of a clearinghouse that costs a call more than its guard and its two signatures.
    """
    return cast("grpc.aio.Server", _ByName(server))


class _ByName:
    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """What `add_generic_rpc_handlers` was given is enough."""


def channel(
    address: str, host: str, credentials_directory: Path, *, max_message_bytes: int = MAX_MESSAGE_BYTES
) -> grpc.aio.Channel:
    """A channel to the server certified as `host` (an adcode or `clearinghouse`), wherever `address` leads.

    It keeps the certificate that it was built with: build a new one when the files have been renewed.
    """
    options = [
        *target_options(host),
        *_message_limits(max_message_bytes),
        ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    return grpc.aio.secure_channel(address, channel_credentials(credentials_directory), options=options)


def _message_limits(max_message_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_metadata_size", _METADATA_BYTES),
    ]


class _Refused(Exception):
    """A call that does not reach its handler."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code, self.details = code, details


def _retry_after(code: grpc.StatusCode) -> tuple[tuple[str, str], ...]:
    """When to try again, in gRPC's own words for it (`grpc-retry-pushback-ms`); nothing where trying does not help."""
    return (("grpc-retry-pushback-ms", str(RETRY_AFTER_MS)),) if code in _PASSING else ()


class _Kind(NamedTuple):
    """One of gRPC's four kinds of methods, and how its handler is built."""

    attribute: str
    build: Callable[..., grpc.RpcMethodHandler[Any, Any]]


_KINDS = {
    (False, False): _Kind("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): _Kind("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): _Kind("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): _Kind("stream_stream", grpc.stream_stream_rpc_method_handler),
}


class _Guard(grpc.aio.ServerInterceptor):
    def __init__(
        self,
        trust: Trust,
        now: Callable[[], int],
        allow: Mapping[str, Collection[str]],
        hosts: Mapping[str, Collection[str]],
        closed: Callable[[str], str],
        max_calls_per_second: int,
        max_open_calls: int,
    ) -> None:
        self._trust = trust
        self._now = now
        self._allow = allow
        self._hosts = hosts
        self._closed = closed
        self._rate = _Rate(max_calls_per_second)
        self._open = _OpenCalls(max_open_calls)
        self._guarded: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        method = handler_call_details.method
        known = self._guarded.get(method)
        if known is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is not None:
            handler = self._guarded[method] = self._wrap(method, handler)
        return handler

    def _wrap(self, method: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler behind the guard.

        A lone request is parsed only after its caller was admitted. On a stream the caller is judged again
        at every message, before the handler sees it.
        """
        kind = _KINDS[bool(handler.request_streaming), bool(handler.response_streaming)]
        behaviour = getattr(handler, kind.attribute)
        read = _readable(method, handler.request_deserializer)
        needs_deadline = not handler.request_streaming and not handler.response_streaming

        def incoming(request: Any, context: Context) -> Any:
            return self._judged(request, context) if handler.request_streaming else read(request)

        async def guarded(request: Any, context: Context) -> Any:
            try:
                with self._admitted(method, context, needs_deadline):
                    return await behaviour(incoming(request, context), context)
            except Exception as error:
                await _end(method, context, error)

        async def guarded_generator(request: Any, context: Context) -> AsyncIterator[Any]:
            try:
                with self._admitted(method, context, needs_deadline):
                    async with contextlib.aclosing(behaviour(incoming(request, context), context)) as answers:
                        async for answer in answers:
                            yield answer
            except Exception as error:
                await _end(method, context, error)

        return kind.build(
            guarded_generator if inspect.isasyncgenfunction(behaviour) else guarded,
            request_deserializer=read if handler.request_streaming else None,
            response_serializer=handler.response_serializer,
        )

    def _admitted(self, method: str, context: Context, needs_deadline: bool) -> _OpenCall:
        """Admits the caller; its call counts as open within the block. Raises _Refused."""
        identity = self._admit(method, context, needs_deadline)
        call = self._open.call(method, identity)
        handle_as(identity)
        return call

    async def _judged(self, requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        """The messages of a stream, up to the one at which the caller's certificate is no longer good."""
        async for request in requests:
            self._identify(context)
            yield request

    def _identify(self, context: Context) -> Identity:
        try:
            return peer_identity(context.auth_context(), self._trust, self._now())
        except TrustError as error:
            raise _Refused(grpc.StatusCode.UNAUTHENTICATED, str(error)) from error

    def _admit(self, method: str, context: Context, needs_deadline: bool) -> Identity:
        identity = self._identify(context)
        if identity.role not in self._allow.get(method, ()):
            raise _Refused(grpc.StatusCode.PERMISSION_DENIED, f"{method}: not for role {identity.role!r}")
        hosts = self._hosts.get(method)
        if hosts is not None and identity.host not in hosts:
            raise _Refused(grpc.StatusCode.PERMISSION_DENIED, f"{method}: not for callers of {identity.host}")
        reason = self._closed(method)
        if reason:
            raise _Refused(grpc.StatusCode.FAILED_PRECONDITION, reason)
        if not self._rate.admits(identity):
            raise _Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{method}: too many calls a second; send it later")
        if needs_deadline and context.time_remaining() is None:
            raise _Refused(grpc.StatusCode.INVALID_ARGUMENT, f"{method}: the call has no deadline; set one")
        return identity


class _Rate:
    """A bucket of one second's calls for each caller; the event loop's clock fills it again."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._buckets: dict[Identity, tuple[float, float]] = {}

    def admits(self, identity: Identity) -> bool:
        at = asyncio.get_running_loop().time()
        left, since = self._buckets.get(identity, (float(self._per_second), at))
        left = min(float(self._per_second), left + (at - since) * self._per_second)
        admitted = left >= 1
        self._buckets[identity] = (left - 1 if admitted else left, at)
        return admitted


class _OpenCalls:
    """How many calls of each caller are being handled: HTTP/2 limits them by the connection only."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: Counter[Identity] = Counter()

    def call(self, method: str, identity: Identity) -> _OpenCall:
        """One more, until its block ends. Raises _Refused."""
        if self._open[identity] >= self._limit:
            raise _Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{method}: {identity.uri} has {self._limit} calls open; end one of them and send it again",
            )
        return _OpenCall(self._open, identity)


class _OpenCall:
    """Counts while its block runs."""

    __slots__ = ("_identity", "_open")

    def __init__(self, open: Counter[Identity], identity: Identity) -> None:
        self._open, self._identity = open, identity

    def __enter__(self) -> None:
        self._open[self._identity] += 1

    def __exit__(self, *raised: object) -> None:
        self._open[self._identity] -= 1


def _readable(method: str, deserializer: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """The deserializer, for which unreadable bytes are InvalidInput and no fault of the server."""

    def read(data: bytes) -> Any:
        try:
            return deserializer(data) if deserializer else data
        except DecodeError as error:
            raise InvalidInput(f"the request cannot be read ({error})", place=method) from error

    return read


async def _end(method: str, context: Context, error: Exception) -> NoReturn:
    """Ends a call with what kept it from its answer, as a status; a handler may have done so itself. Always raises."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, _Refused):
        await context.abort(error.code, error.details, _retry_after(error.code))
    code = status_of(error)
    if code is not grpc.StatusCode.INTERNAL:
        await context.abort(code, str(error)[:_DETAIL_CHARACTERS], _retry_after(code))
    reference = secrets.token_hex(4)
    expected = isinstance(error, QuanlianError)
    _log.error("call failed", method=method, reference=reference, error=str(error), exc_info=not expected and error)
    await context.abort(code, f"{method}: a fault of the service; tell its operator the reference {reference}")
