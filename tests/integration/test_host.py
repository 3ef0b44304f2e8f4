"""The gRPC host over real connections: who may call what, and what a caller is told when it goes wrong."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from chassis import telemetry
from chassis.commit import Overloaded
from chassis.host import RETRY_AFTER_MS, Host, caller, channel
from pki.authority import RootAuthority
from pki.identity import Identity
from pki.trust import Trust
from quanlian.errors import (
    BadSignature,
    BooksDoNotBalance,
    ConfigurationError,
    InvalidInput,
    TrustError,
    Unavailable,
    UnknownKey,
)

NOW = int(time.time())
DAY = 24 * 3600
SERVICE = "quanlian.test.Echo"
SERVER = Identity("clearinghouse", "server")
HANGZHOU = Identity("330100", "node")
SHANGHAI = Identity("310000", "node")
PLATFORM = Identity("330100", "platform", "alipay")
Context = grpc.aio.ServicerContext[Any, Any]


@dataclass
class Echo:
    """Answers with the caller and the text, or raises what the test put there."""

    error: BaseException | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def say(self, request: StringValue, context: Context) -> StringValue:
        if self.error:
            raise self.error
        return StringValue(value=f"{caller(context).uri} {request.value}")

    async def wait(self, request: StringValue, context: Context) -> StringValue:
        self.entered.set()
        await self.go_on.wait()
        return request

    async def abort(self, request: StringValue, context: Context) -> StringValue:
        await context.abort(grpc.StatusCode.NOT_FOUND, "nothing there")

    async def count(self, request: StringValue, context: Context) -> AsyncIterator[StringValue]:
        for letter in request.value:
            yield StringValue(value=letter)

    async def gather(self, requests: AsyncIterator[StringValue], context: Context) -> StringValue:
        return StringValue(value="".join([request.value async for request in requests]))

    async def talk(self, requests: AsyncIterator[StringValue], context: Context) -> AsyncIterator[StringValue]:
        async for request in requests:
            if self.error:
                raise self.error
            yield StringValue(value=f"{caller(context).uri} {request.value}")

    async def talk_by_hand(self, requests: AsyncIterator[StringValue], context: Context) -> None:
        async for request in requests:
            await context.write(request)

    def register(self, server: grpc.aio.Server) -> None:
        coding = {
            "request_deserializer": StringValue.FromString,
            "response_serializer": StringValue.SerializeToString,
        }
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Say": grpc.unary_unary_rpc_method_handler(self.say, **coding),
            "Wait": grpc.unary_unary_rpc_method_handler(self.wait, **coding),
            "Abort": grpc.unary_unary_rpc_method_handler(self.abort, **coding),
            "Unlisted": grpc.unary_unary_rpc_method_handler(self.say, **coding),
            "Own": grpc.unary_unary_rpc_method_handler(self.say, **coding),
            "Count": grpc.unary_stream_rpc_method_handler(self.count, **coding),
            "Gather": grpc.stream_unary_rpc_method_handler(self.gather, **coding),
            "Talk": grpc.stream_stream_rpc_method_handler(self.talk, **coding),
            "TalkByHand": grpc.stream_stream_rpc_method_handler(self.talk_by_hand, **coding),
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
        server.add_registered_method_handlers(SERVICE, handlers)  # as generated code does


ALLOW = {
    f"/{SERVICE}/{name}": {"node"} for name in ("Say", "Wait", "Abort", "Own", "Count", "Gather", "Talk", "TalkByHand")
}


class Network:
    """A clearinghouse's host and two regions, with the clock by which calls are judged."""

    def __init__(self, directory: Path) -> None:
        root = RootAuthority.create(directory / "root", NOW)
        self.trust = Trust((directory / "root/certificate.pem").read_bytes(), root.fingerprint)
        self.directory = directory
        self.at = NOW
        for identity in (SERVER, HANGZHOU, SHANGHAI):
            authority = root.enrol(directory / "authorities" / identity.host, identity.host, NOW)
            authority.issue_tls(identity, self.files(identity), NOW)
            if identity is HANGZHOU:
                authority.issue_tls(PLATFORM, self.files(PLATFORM), NOW)

    def files(self, identity: Identity) -> Path:
        return self.directory / "tls" / f"{identity.host}-{identity.role}"

    def host(self, echo: Echo, **limits: Any) -> Host:
        host = Host(
            listen=limits.pop("listen", "127.0.0.1:0"),
            credentials_directory=self.files(SERVER),
            trust=self.trust,
            now=lambda: self.at,
            allow=ALLOW,
            hosts={f"/{SERVICE}/Own": {"330100"}},
            **limits,
        )
        host.add(echo.register)
        return host

    @asynccontextmanager
    async def call(self, echo: Echo, identity: Identity = HANGZHOU, **limits: Any) -> AsyncIterator[grpc.aio.Channel]:
        """A channel of `identity` to a running host."""
        host = self.host(echo, **limits)
        port = await host.start()
        async with channel(f"127.0.0.1:{port}", "clearinghouse", self.files(identity)) as opened:
            yield opened
        await host.stop(0)


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(tmp_path)


async def say(opened: grpc.aio.Channel, text: str = "hello", method: str = "Say", timeout: float | None = 10) -> str:
    answer = await opened.unary_unary(
        f"/{SERVICE}/{method}",
        request_serializer=StringValue.SerializeToString,
        response_deserializer=StringValue.FromString,
    )(StringValue(value=text), timeout=timeout)
    return str(answer.value)


async def talk(opened: grpc.aio.Channel, *texts: str, method: str = "Talk") -> list[str]:
    stream = opened.stream_stream(
        f"/{SERVICE}/{method}",
        request_serializer=StringValue.SerializeToString,
        response_deserializer=StringValue.FromString,
    )(StringValue(value=text) for text in texts)
    return [answer.value async for answer in stream]


async def refusal(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    return failure.value.code(), failure.value.details() or ""


def test_a_handler_knows_its_caller_by_the_certificate(network: Network) -> None:
    async def scenario() -> None:
        async with network.call(Echo()) as opened:
            assert await say(opened) == f"{HANGZHOU.uri} hello"
            assert await talk(opened, "a", "b") == [f"{HANGZHOU.uri} a", f"{HANGZHOU.uri} b"]

    asyncio.run(scenario())


def test_no_method_keeps_a_call_of_its_own_waiting(network: Network) -> None:
    """gRPC would go over those of all registered methods at every call."""

    async def scenario() -> None:
        async with network.call(Echo()) as opened:
            assert await say(opened) == f"{HANGZHOU.uri} hello"

    with mock.patch("grpc.aio._server.Server.add_registered_method_handlers") as registered:
        asyncio.run(scenario())
    registered.assert_not_called()


def test_every_kind_of_method_passes_the_guard(network: Network) -> None:
    async def scenario() -> None:
        coding = (StringValue.SerializeToString, StringValue.FromString)
        async with network.call(Echo()) as opened:
            count = opened.unary_stream(f"/{SERVICE}/Count", *coding)(StringValue(value="ab"))
            assert [answer.value async for answer in count] == ["a", "b"]
            gather = opened.stream_unary(f"/{SERVICE}/Gather", *coding)
            assert (await gather(iter([StringValue(value="a")] * 3), timeout=60)).value == "aaa"
            assert await talk(opened, "a", "b", method="TalkByHand") == ["a", "b"]

    asyncio.run(scenario())


def test_simultaneous_callers_are_kept_apart(network: Network) -> None:
    async def scenario() -> None:
        host = network.host(Echo())
        address = f"127.0.0.1:{await host.start()}"
        async with (
            channel(address, "clearinghouse", network.files(HANGZHOU)) as first,
            channel(address, "clearinghouse", network.files(SHANGHAI)) as second,
        ):
            calls = [say(opened) for opened in (first, second) * 10]
            assert await asyncio.gather(*calls) == [f"{HANGZHOU.uri} hello", f"{SHANGHAI.uri} hello"] * 10
        await host.stop(0)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("identity", "method", "complaint"),
    [(PLATFORM, "Say", "role 'platform'"), (HANGZHOU, "Unlisted", "role"), (SHANGHAI, "Own", "310000")],
)
def test_who_is_not_on_the_list_is_denied(network: Network, identity: Identity, method: str, complaint: str) -> None:
    async def scenario() -> None:
        async with network.call(Echo(), identity) as opened:
            code, details = await refusal(say(opened, method=method))
            assert code is grpc.StatusCode.PERMISSION_DENIED
            assert complaint in details

    asyncio.run(scenario())


def test_a_method_of_the_own_region_serves_that_region(network: Network) -> None:
    async def scenario() -> None:
        async with network.call(Echo()) as opened:
            assert await say(opened, method="Own") == f"{HANGZHOU.uri} hello"

    asyncio.run(scenario())


def test_a_certificate_that_expires_on_an_open_channel_lets_no_more_calls_in(network: Network) -> None:
    async def scenario() -> None:
        async with network.call(Echo()) as opened:
            assert await say(opened)
            network.at = NOW + DAY
            code, details = await refusal(say(opened))
            assert code is grpc.StatusCode.UNAUTHENTICATED
            assert details
            assert (await refusal(talk(opened, "a")))[0] is grpc.StatusCode.UNAUTHENTICATED

    asyncio.run(scenario())


def test_a_stream_ends_at_the_message_for_which_its_caller_is_no_longer_good(network: Network) -> None:
    async def scenario() -> None:
        async with network.call(Echo()) as opened:
            stream = opened.stream_stream(
                f"/{SERVICE}/Talk",
                request_serializer=StringValue.SerializeToString,
                response_deserializer=StringValue.FromString,
            )()
            await stream.write(StringValue(value="a"))
            assert (await stream.read()).value == f"{HANGZHOU.uri} a"
            network.at = NOW + DAY
            await stream.write(StringValue(value="b"))
            assert (await refusal(stream.read()))[0] is grpc.StatusCode.UNAUTHENTICATED

    asyncio.run(scenario())


def test_a_caller_without_certificate_gets_no_connection(network: Network) -> None:
    async def scenario() -> None:
        host = network.host(Echo())
        port = await host.start()
        root = (network.files(SERVER) / "root.crt").read_bytes()
        options = [("grpc.ssl_target_name_override", "clearinghouse.quanlian")]
        credentials = grpc.ssl_channel_credentials(root)
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as opened:
            assert (await refusal(say(opened)))[0] is grpc.StatusCode.UNAVAILABLE
        await host.stop(0)

    asyncio.run(scenario())


def test_a_unary_call_needs_a_deadline_and_a_stream_does_not(network: Network) -> None:
    async def scenario() -> None:
        async with network.call(Echo()) as opened:
            code, details = await refusal(say(opened, timeout=None))
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert "deadline" in details
            assert len(await talk(opened, "a")) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput("too long", place="name"), grpc.StatusCode.INVALID_ARGUMENT),
        (TrustError("not yours"), grpc.StatusCode.PERMISSION_DENIED),
        (BadSignature("broken"), grpc.StatusCode.PERMISSION_DENIED),
        (UnknownKey("whose"), grpc.StatusCode.PERMISSION_DENIED),
        (Overloaded("later"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (Unavailable("later"), grpc.StatusCode.UNAVAILABLE),
    ],
)
def test_an_error_tells_the_caller_what_to_do(network: Network, error: Exception, code: grpc.StatusCode) -> None:
    async def scenario() -> None:
        async with network.call(Echo(error)) as opened:
            assert await refusal(say(opened)) == (code, str(error))
            assert await refusal(talk(opened, "a")) == (code, str(error))

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [KeyError("fen"), BooksDoNotBalance("fen"), ConfigurationError("fen")])
def test_a_fault_of_the_service_is_told_by_reference_only(
    network: Network, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> str:
        telemetry.configure("json")
        async with network.call(Echo(error)) as opened:
            code, details = await refusal(say(opened))
            assert code is grpc.StatusCode.INTERNAL
            assert "fen" not in details
            return details.split()[-1]

    reference = asyncio.run(scenario())
    log = capsys.readouterr().err
    assert reference in log
    assert "fen" in log


def test_a_handler_may_end_its_call_itself(network: Network) -> None:
    async def scenario() -> None:
        async with network.call(Echo()) as opened:
            assert await refusal(say(opened, method="Abort")) == (grpc.StatusCode.NOT_FOUND, "nothing there")

    asyncio.run(scenario())


def test_bytes_that_are_no_request_are_refused_and_only_read_for_those_admitted(network: Network) -> None:
    async def raw(opened: grpc.aio.Channel) -> tuple[grpc.StatusCode, str]:
        return await refusal(opened.unary_unary(f"/{SERVICE}/Say")(b"\xff\xff", timeout=60))

    async def raw_stream(opened: grpc.aio.Channel) -> tuple[grpc.StatusCode, str]:
        stream = opened.stream_stream(f"/{SERVICE}/Talk")(iter([b"\xff\xff"]))
        return await refusal(stream.read())

    async def scenario() -> None:
        async with network.call(Echo()) as opened:
            code, details = await raw(opened)
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert "cannot be read" in details
            assert (await raw_stream(opened))[0] is grpc.StatusCode.INVALID_ARGUMENT
        async with network.call(Echo(), PLATFORM) as opened:
            assert (await raw(opened))[0] is grpc.StatusCode.PERMISSION_DENIED

    asyncio.run(scenario())


def test_a_message_beyond_the_size_limit_is_refused(network: Network) -> None:
    async def scenario() -> None:
        async with network.call(Echo(), max_message_bytes=1000) as opened:
            assert await say(opened, "a" * 500)
            assert (await refusal(say(opened, "a" * 2000)))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED

    asyncio.run(scenario())


def test_a_caller_beyond_its_rate_is_turned_away_and_others_are_not(network: Network) -> None:
    async def scenario() -> None:
        host = network.host(Echo(), max_calls_per_second=3)
        address = f"127.0.0.1:{await host.start()}"
        async with (
            channel(address, "clearinghouse", network.files(HANGZHOU)) as flooder,
            channel(address, "clearinghouse", network.files(SHANGHAI)) as other,
        ):
            outcomes = await asyncio.gather(*(say(flooder) for _ in range(50)), return_exceptions=True)
            errors = [each for each in outcomes if isinstance(each, grpc.aio.AioRpcError)]
            refused = [each.code() for each in errors]
            assert set(refused) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
            told = {dict(each.trailing_metadata() or ())["grpc-retry-pushback-ms"] for each in errors}
            assert told == {str(RETRY_AFTER_MS)}
            assert len(refused) < 50
            assert await say(other)
        await host.stop(0)

    asyncio.run(scenario())


def test_a_caller_with_too_many_calls_open_is_turned_away_over_however_many_connections_and_others_are_not(
    network: Network,
) -> None:
    async def opened_stream(opened: grpc.aio.Channel) -> Any:
        stream = opened.stream_stream(
            f"/{SERVICE}/Talk",
            request_serializer=StringValue.SerializeToString,
            response_deserializer=StringValue.FromString,
        )()
        await stream.write(StringValue(value="a"))
        assert (await stream.read()).value
        return stream

    async def scenario() -> None:
        host = network.host(Echo(), max_open_calls=2)
        address = f"127.0.0.1:{await host.start()}"
        async with (
            channel(address, "clearinghouse", network.files(HANGZHOU)) as first,
            channel(address, "clearinghouse", network.files(HANGZHOU)) as second,
            channel(address, "clearinghouse", network.files(SHANGHAI)) as other,
        ):
            ended, hung_up = [await opened_stream(each) for each in (first, second)]
            for call in (say(first), talk(second, "a")):
                with pytest.raises(grpc.aio.AioRpcError, match=f"{HANGZHOU.uri} has 2 calls open") as refused:
                    await call
                assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert dict(refused.value.trailing_metadata() or ())["grpc-retry-pushback-ms"] == str(RETRY_AFTER_MS)
            assert [await say(other), await talk(other, "a")]
            await ended.done_writing()
            assert await ended.read() is grpc.aio.EOF
            assert await say(second), "one of its calls is over"
            hung_up.cancel()
            again = await opened_stream(first)
            async with asyncio.timeout(10):
                while await _refusal(say(second)) is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    pass
            again.cancel()
        await host.stop(0)

    asyncio.run(scenario())


def test_more_calls_at_once_than_may_be_open_are_each_answered_or_told_when_to_come_again(network: Network) -> None:
    """By the service, and not by its transport, which would break them off without a word."""

    async def say_or_wait(opened: grpc.aio.Channel) -> str:
        try:
            await say(opened)
        except grpc.aio.AioRpcError as refused:
            later = dict(refused.trailing_metadata() or ()).get("grpc-retry-pushback-ms")
            return f"{refused.code().name} {later}"
        return "answered"

    async def scenario() -> set[str]:
        host = network.host(Echo(), max_open_calls=128)
        address = f"127.0.0.1:{await host.start()}"
        async with channel(address, "clearinghouse", network.files(HANGZHOU)) as opened:
            await say(opened)
            outcomes = await asyncio.gather(*(say_or_wait(opened) for _ in range(1000)))
        await host.stop(0)
        return set(outcomes)

    outcomes = asyncio.run(scenario())
    assert "answered" in outcomes
    assert outcomes <= {"answered", f"RESOURCE_EXHAUSTED {RETRY_AFTER_MS}"}


async def _refusal(call: Awaitable[object]) -> grpc.StatusCode | None:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None


def test_stopping_lets_a_call_in_progress_finish(network: Network) -> None:
    async def scenario() -> None:
        echo = Echo()
        host = network.host(echo)
        port = await host.start()
        async with channel(f"127.0.0.1:{port}", "clearinghouse", network.files(HANGZHOU)) as opened:
            answer = asyncio.ensure_future(say(opened, "done", method="Wait"))
            await echo.entered.wait()
            stopping = asyncio.ensure_future(host.stop(10))
            await asyncio.sleep(0)
            echo.go_on.set()
            assert await answer == "done"
            await stopping

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["taken", "elsewhere"])
def test_an_address_that_cannot_be_used_is_named(network: Network, kind: str) -> None:
    async def scenario(listen: str) -> None:
        with pytest.raises(ConfigurationError, match=listen):
            await network.host(Echo(), listen=listen).start()

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        asyncio.run(scenario(f"127.0.0.1:{port}" if kind == "taken" else "203.0.113.1:7000"))


def test_a_host_holds_its_address_before_it_serves(network: Network) -> None:
    """So that a second process finds it taken before it opens a database."""

    async def scenario() -> None:
        first = network.host(Echo())
        port = first.bind()
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}: cannot listen here"):
            network.host(Echo(), listen=f"127.0.0.1:{port}").bind()
        assert await first.start() == port
        async with channel(f"127.0.0.1:{port}", "clearinghouse", network.files(HANGZHOU)) as opened:
            assert "330100" in await say(opened)
        await first.stop(0)

    asyncio.run(scenario())
