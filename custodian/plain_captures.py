"""Redemptions that are captured at once, kept as the rows that the database takes.

In the transaction that captures them hardly anybody asks for them again, so that the objects that they are made of
otherwise are made only for who does. They can be sent before all of the batch is decided, for the database to store
them meanwhile.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

from chassis.database import Transaction
from quanlian.custody import VoucherState
from quanlian.redemptions import Posting, Redemption, Sale, State

from . import schema
from .book_rows import redemption_of

_CAPTURED, _NO_LEGS = State.CAPTURED.name, "[]"
_REDEMPTION_COLUMNS = tuple(column.name for column in schema.redemption.columns)


class Asked(Protocol):
    """Who asked for it, and where."""

    redeeming_region: str
    participant: str
    acquirer: str


class Paid(NamedTuple):
    """What plain captures of one kind have in common: the discount, who bears it (`legs_to_json`), by which agreement,
    and for how long they would have been held.
    """

    discount_fen: int
    legs: str
    agreement: str
    hold_seconds: int


class PlainCapture(NamedTuple):
    """As rows of `redemption`, and of `posting` without its entry."""

    redemption: tuple[Any, ...]
    posting: tuple[Any, ...]


class PlainCaptures:
    """Those of one transaction."""

    def __init__(self) -> None:
        self._unsent: dict[bytes, PlainCapture] = {}
        self.postings: list[tuple[Any, ...]] = []
        """Of those that were sent; they are written with their entry."""

    def keep(
        self, id: bytes, voucher: VoucherState, asked: Asked, sale: Sale, paid: Paid, at: int, window: int, number: int
    ) -> None:
        """`number` is that of the redemption."""
        (merchant, order_id, order), order_fen = sale, sale.order.order_fen
        discount_fen, legs, agreement, hold_seconds = paid
        self._unsent[id] = PlainCapture(
            (
                id, *voucher.key, voucher.campaign, voucher.terms_hash, asked.redeeming_region, asked.participant,
                asked.acquirer, merchant, order_id, order.category, order.channel, order.klass, order.invoice_fen,
                order.price_fen, _CAPTURED, order_fen, discount_fen, legs, legs, _NO_LEGS, _NO_LEGS, agreement,
                at + hold_seconds, at, at, window, 0, 0, 0, 1, number,
            ),
            (id, 1, "capture", order_fen, discount_fen, legs, window, at),
        )  # fmt: skip

    def take(self, id: bytes) -> tuple[Redemption, Posting, int] | None:
        """One that was not sent, with its posting and number, to be kept elsewhere from now on."""
        found = self._unsent.pop(id, None)
        if found is None:
            return None
        row = SimpleNamespace(**dict(zip(_REDEMPTION_COLUMNS, found.redemption, strict=False)))
        redemption, (_, number, kind, order_fen, discount_fen, _, window, at) = redemption_of(row), found.posting
        return redemption, Posting(id, number, kind, order_fen, discount_fen, redemption.legs, window, at), row.number

    def send(self, transaction: Transaction) -> None:
        """All but their postings. Leaves with KeyTaken, at last at the end, where a voucher was spent before."""
        unsent, self._unsent = self._unsent.values(), {}
        transaction.append(schema.redemption, [each.redemption for each in unsent])
        transaction.append(schema.spend, [_spent_by(each.redemption) for each in unsent])
        self.postings += [each.posting for each in unsent]


def _spent_by(redemption: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row of the voucher that a redemption, as its row, used."""
    id, issuer, pack_id, index, *_ = redemption
    return (issuer, pack_id, index, id)
