"""Stored columns with a form of their own (legs, signed bodies, terms): read where they can be, named where not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from google.protobuf.message import DecodeError

from chassis.database import Transaction
from custodian.book_rows import json_to_legs
from custodian.ledger.findings import Finding, row_key
from quanlian import hand_overs, wire
from quanlian.apportionment import Leg
from quanlian.custody import VoucherState
from quanlian.errors import QuanlianError
from quanlian.v1 import custody_pb2

Content = TypeVar("Content")
UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, DecodeError, QuanlianError)
ROWS_AT_ONCE = 2000


class Encoded(NamedTuple):
    """A table whose rows `decode` reads in full; it raises one of UNREADABLE for a row that it cannot."""

    table: sa.Table
    decode: Callable[[Any], object]


def read(decode: Callable[[Any], Content], content: Any, otherwise: Content) -> Content:
    """What a stored column says; `otherwise` for one that `unreadable` names."""
    try:
        return decode(content)
    except UNREADABLE:
        return otherwise


def legs_in(text: str) -> tuple[Leg, ...]:
    """The legs of a stored list; none where it cannot be read."""
    return read(strict_legs, text, ())


def strict_legs(text: str) -> tuple[Leg, ...]:
    """Raises one of UNREADABLE, also for legs whose amounts are no whole fen."""
    legs = json_to_legs(text)
    for leg in legs:
        for account, fen in ((leg.account, leg.amount_fen), *leg.advanced):
            if not isinstance(account, str) or not isinstance(fen, int):
                raise ValueError(f"{account!r}, {fen!r} is no account and amount")
    return legs


def listed(text: str) -> list[Any]:
    """A stored JSON list; empty where it cannot be read."""
    return read(_strict_list, text, [])


def _strict_list(text: str) -> list[Any]:
    found = json.loads(text)
    if not isinstance(found, list):
        raise ValueError(f"{text!r} is no list")
    return found


def unreadable(transaction: Transaction, encoded: tuple[Encoded, ...]) -> Iterator[Finding]:
    """Each row that cannot be read, with its entry if it has one."""
    for table, decode in encoded:
        for row in transaction.connection.execute(table.select(), execution_options={"yield_per": ROWS_AT_ONCE}):
            try:
                decode(row)
            except UNREADABLE as error:
                entry = row._mapping.get("entry")
                fen = row._mapping.get("discount_fen")
                words = f"{type(error).__name__} {error}"
                yield Finding(
                    table.name,
                    row_key(table, row),
                    entry if isinstance(entry, int) else None,
                    fen if isinstance(fen, int) else 0,
                    f"内容无法读出：{words}",
                    f"cannot be read: {words}",
                )


def strict_hand_over(body: bytes) -> list[VoucherState]:
    """The vouchers of a hand-over or a return, which must be those that its head names. Raises one of UNREADABLE."""
    return hand_overs.read(body).vouchers()


def vouchers_in(body: bytes) -> list[VoucherState]:
    """None where they cannot be read."""
    return read(lambda content: hand_overs.kept(content).vouchers(), body, [])


def returned_legs(body: bytes) -> tuple[Leg, ...]:
    """What a fund return gives back; nothing where it cannot be read."""
    return read(lambda content: wire.legs_of(custody_pb2.FundReturn.FromString(content).legs), body, ())
