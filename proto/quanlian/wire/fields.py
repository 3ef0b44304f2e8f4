"""Messages written field by field, on hot paths: a message is its fields one after another, so that what many share is
written once. A library's message object, filled in and serialised, costs five times as much.
"""

from __future__ import annotations

from functools import lru_cache

from google.protobuf.message import Message


@lru_cache(maxsize=4096)
def before(message: type[Message], field: str, size: int) -> bytes:
    """What is written before the contents of a field of so many bytes; nothing where there are none."""
    return message(**{field: bytes(size)}).SerializeToString()[:-size] if size else b""


@lru_cache(maxsize=64)
def tag(message: type[Message], field: str) -> bytes:
    """What is written before the number, or the length, of a field that has one."""
    return message(**{field: 1}).SerializeToString()[:-1]


def number(value: int) -> bytes:
    """A number from 0 on, as `tag` begins it: seven bits a byte, the lowest first."""
    if value < 0x80:
        return _LOW[value]
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


_LOW = [bytes((value,)) for value in range(0x80)]
