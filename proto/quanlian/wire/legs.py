"""Who pays how much, and what of it for others."""

from __future__ import annotations

from collections.abc import Iterable

from quanlian.apportionment import Leg
from quanlian.v1 import signed_pb2


def legs_messages(legs: Iterable[Leg]) -> list[signed_pb2.Leg]:
    return [
        signed_pb2.Leg(
            account=leg.account,
            amount_fen=leg.amount_fen,
            advanced=[signed_pb2.Advance(debtor=debtor, amount_fen=fen) for debtor, fen in leg.advanced],
        )
        for leg in legs
    ]


def legs_of(messages: Iterable[signed_pb2.Leg]) -> tuple[Leg, ...]:
    return tuple(
        Leg(message.account, message.amount_fen, tuple((each.debtor, each.amount_fen) for each in message.advanced))
        for message in messages
    )
