"""Shapes of what is read: a message from its bytes, and what its fields may hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from quanlian.errors import InvalidInput

MAXIMUM_AMOUNT_FEN = 10**12
"""Ten billion yuan: no amount of one message is larger, so that no sum leaves 64 bits."""
M = TypeVar("M", bound=Message)


def parse(kind: type[M], content: bytes, place: str) -> M:
    """A message from its bytes. Raises InvalidInput naming `place`."""
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise _no_message(kind, place) from error


def parse_each(kind: type[M], contents: Iterable[bytes], place: str) -> Iterator[M]:
    """As `parse`, of many of one kind, each when it is asked for."""
    try:
        yield from map(kind.FromString, contents)
    except DecodeError as error:
        raise _no_message(kind, place) from error


def _no_message(kind: type[M], place: str) -> InvalidInput:
    return InvalidInput(
        f"not a {kind.DESCRIPTOR.name}", place=place, remedy="应为序列化后的消息 · send the serialised message"
    )


def need(holds: bool, place: str, wanted_zh: str, wanted: str) -> None:
    """Raises InvalidInput saying in both languages what is wanted at `place`."""
    if not holds:
        raise InvalidInput("out of range", place=place, remedy=f"应为{wanted_zh} · send {wanted}")


def need_text(text: str, place: str, least: int, most: int) -> None:
    """Text that any database stores and any screen shows: of that length, without control characters."""
    if not (least <= len(text) <= most and text.isprintable()):
        need(False, place, f"{least}至{most}个可显示字符", f"{least} to {most} printable characters")


def need_amount(amount_fen: int, place: str) -> None:
    if not 0 <= amount_fen <= MAXIMUM_AMOUNT_FEN:
        need(False, place, f"0至{MAXIMUM_AMOUNT_FEN}分", f"0 to {MAXIMUM_AMOUNT_FEN} fen")
