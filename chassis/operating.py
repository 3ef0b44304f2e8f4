"""An operator's call to its own party: one request over mutual TLS, one answer or one clear error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, TypeVar

import grpc
import typer
from google.protobuf.message import Message
from pydantic import BaseModel, Field

from chassis.config import load_settings
from chassis.host import MAX_MESSAGE_BYTES
from pki import files, tls_files
from pki.credentials import target_options, utc_seconds
from pki.trust import Trust
from quanlian.errors import ConfigurationError, InvalidInput, QuanlianError, TrustError, Unavailable
from quanlian.money import parse_yuan
from quanlian.signing import SigningKey

S = TypeVar("S")
Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class OperatorSettings(BaseModel):
    """How an operator reaches its party. Every field can also be set as `QUANLIAN_OPERATOR_<FIELD>`."""

    host: str = Field(pattern=r"^([0-9]{6}|clearinghouse)$", description="region code of the node, or clearinghouse")
    address: str = Field(pattern=r"^\S+:[0-9]{1,5}$", description="host:port that the party listens on")
    tls_directory: Path = Field(description="the operator's tls.crt, tls.key and root.crt")
    timeout_seconds: float = Field(default=30.0, gt=0, description="how long to wait for the answer")

    @property
    def place(self) -> str:
        return f"{self.host} at {self.address}"


def operator_settings(path: Path | None) -> OperatorSettings:
    """From the file and the environment. Raises ConfigurationError with every problem."""
    return load_settings(OperatorSettings, path, "operator")


def call(
    settings: OperatorSettings,
    service: Callable[[grpc.Channel], S],
    method: Callable[[S], grpc.UnaryUnaryMultiCallable[Request, Response]],
    request: Request,
) -> Response:
    """The answer of `method` of the stub `service`. Raises an error that names the party and what it said.

    ConfigurationError for the operator's own certificate, TrustError where one side does not admit the other,
    InvalidInput for what the party refuses, Unavailable for no answer, which may come after the work was done where
    there is any to do.
    """
    if request.ByteSize() > MAX_MESSAGE_BYTES:
        raise InvalidInput(
            f"{request.ByteSize():,} bytes are too many for one message",
            place=settings.place,
            remedy=f"send at most {MAX_MESSAGE_BYTES:,} bytes: divide the file",
        )
    with _channel(settings) as channel:
        try:
            return method(service(channel))(request, timeout=settings.timeout_seconds)
        except grpc.RpcError as error:
            said = str(error.details() or "")
            raise _explained(settings, error.code(), said, acts=not _only_reads(request)) from error


def follow(
    settings: OperatorSettings,
    service: Callable[[grpc.Channel], S],
    method: Callable[[S], grpc.UnaryStreamMultiCallable[Request, Response]],
    request: Request,
) -> Iterator[Response]:
    """The messages that `method` streams, as long as they come. Raises as `call`."""
    with _channel(settings) as channel:
        try:
            yield from method(service(channel))(request)
        except grpc.RpcError as error:
            said = str(error.details() or "")
            raise _explained(settings, error.code(), said, acts=not _only_reads(request)) from error


def read_file(path: Path) -> bytes:
    """A file that the operator named. Raises ConfigurationError when it cannot be read."""
    return files.read(path, "name a file that exists and that you may read")


def read_signing_chain(settings: OperatorSettings, path: Path) -> tuple[bytes, SigningKey]:
    """A PEM chain that leads to the operator's own root, and the key it vouches for.

    Raises ConfigurationError naming the file.
    """
    content = read_file(path)
    root = files.read(settings.tls_directory / tls_files.ROOT, "issue it: quanlian pki issue tls")
    try:
        return content, Trust(root).signing_key(content)
    except TrustError as error:
        raise ConfigurationError(
            str(error), place=str(path), remedy="name the .crt file that `quanlian pki issue signer` wrote"
        ) from error


class Amount(int):
    """Fen; typed in yuan."""


def amount(text: str) -> Amount:
    """An amount as a person types it: `1234.50`, or whole yuan. Raises BadParameter, which names the option."""
    try:
        return Amount(parse_yuan(f"{text}.00" if text.isascii() and text.isdigit() else text))
    except InvalidInput as error:
        raise typer.BadParameter(
            f"{text!r} is not an amount in yuan: write it with two decimals or none, not negative, without separators, "
            "like 1234.50 or 1234 · 金额以元计，不为负，写两位小数或整元，不加分隔符，如 1234.50 或 1234"
        ) from error


Config = Annotated[
    Path | None,
    typer.Option(
        "--config", help="连接设置文件 · How to reach the party (operator.toml); QUANLIAN_OPERATOR_… override."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="输出 JSON，金额以分计 · Print JSON, amounts in fen.")]
Yuan = Annotated[Amount, typer.Argument(metavar="YUAN", parser=amount, help="金额（元） · Yuan, like 1234.50 or 1234.")]
Reference = Annotated[str, typer.Option("--reference", metavar="REF", help="银行流水号 · The bank's reference.")]


@contextlib.contextmanager
def _channel(settings: OperatorSettings) -> Iterator[grpc.Channel]:
    tls = tls_files.read(settings.tls_directory, utc_seconds())
    identity = tls.identity
    if identity.role != "operator" or identity.host != settings.host:
        raise ConfigurationError(
            f"the certificate is {identity.uri}, which does not operate {settings.host}",
            place=str(settings.tls_directory),
            remedy=f"issue operator/NAME under the authority of {settings.host}, or correct `host`",
        )
    credentials = grpc.ssl_channel_credentials(tls.root, tls.key, tls.chain)
    with grpc.secure_channel(settings.address, credentials, options=target_options(settings.host)) as channel:
        yield channel


def _only_reads(request: Message) -> bool:
    return request.DESCRIPTOR.name.startswith(("Get", "List"))


def _explained(settings: OperatorSettings, code: grpc.StatusCode, details: str, acts: bool) -> QuanlianError:
    place, said = settings.place, details.strip()
    match code:
        case grpc.StatusCode.INVALID_ARGUMENT:
            return InvalidInput(said, place=place)
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return TrustError(f"{place}: does not admit this call: {said}")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            remedy = "it may have done the work all the same — look at its status before you try again"
            return Unavailable(
                f"{place}: no answer within {settings.timeout_seconds:g} s; {remedy if acts else 'try again later'}"
            )
        case grpc.StatusCode.UNIMPLEMENTED:
            return ConfigurationError(
                "does not offer this",
                place=place,
                remedy="check `host` and `address`, and that both sides are one version",
            )
        case grpc.StatusCode.UNAVAILABLE if said.startswith("failed to connect"):
            return _unreached(place, said)
        case grpc.StatusCode.FAILED_PRECONDITION:
            return Unavailable(f"{place}: {said}")
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Unavailable(f"{place}: cannot do it now: {said} — try again later")
        case _:
            return Unavailable(f"{place}: {code.name}: {said}")


def _unreached(place: str, said: str) -> QuanlianError:
    """Why gRPC could not connect; it tells in words only."""
    if "Verification" in said or "handshake" in said or "SSL" in said or "certificate" in said:
        return TrustError(
            f"{place}: the server there is not certified as this party, or does not accept the certificate shown — "
            f"check `host`, `address` and that both have the same root.crt ({said.rpartition(': ')[2]})"
        )
    return Unavailable(f"{place}: nothing answers there — check that the party is running, and its address")
