"""What the clock has passed and nobody has recorded yet: holds and vouchers in a party's custody.

The first batch after a hold's end records it before it decides anything, so that no answer, and nobody's money or cap,
depends on when a sweep came by. Holds beyond what a batch takes go before it, in commits of their own; vouchers are
left to the sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import and_, bindparam, literal_column, select

from chassis import telemetry
from chassis.database import Found, Query, Transaction
from custodian import schema
from custodian.batching import decide_apart
from custodian.books import Books
from custodian.decisions import Party, expire_overdue
from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import Unavailable
from quanlian.vouchers import VoucherKey

HOLDS_A_BATCH = 500
"""Holds that a commit records: about a tenth of a second."""

COMMITS_AHEAD = 20
"""Of passed holds that may go before one batch: some seconds, in which whoever waits is not told yet to come again."""

_log = telemetry.logger("overdue")
_HELD, _VOUCHER = schema.redemption.c, schema.voucher.c
_KEY, _HELD_KEY = (tuple(columns[name] for name in VoucherKey._fields) for columns in (_VOUCHER, _HELD))
_IS_HERE = _VOUCHER.epoch % 2 == bindparam("parity")
_HOLDS = Query(
    select(*_HELD_KEY)
    .join(schema.voucher, and_(_VOUCHER.hold == _HELD.id, *map(lambda a, b: a == b, _KEY, _HELD_KEY)))
    .where(_HELD.state == literal_column("'AUTHORIZED'"), _HELD.expires_at <= bindparam("at"), _IS_HERE)
    .order_by(_HELD.expires_at, _HELD.id)
    .limit(bindparam("most"))
)
_VOUCHERS = Query(
    select(*_KEY)
    .where(_VOUCHER.status == literal_column("'usable'"), _IS_HERE, _VOUCHER.not_after <= bindparam("at"))
    .order_by(_VOUCHER.not_after, *_KEY)
    .limit(bindparam("most"))
)
"""Both by the end and then by key, as their indexes have them; these hold no state but the one that is written out."""


class Desk(Party, Protocol):
    """One transaction of a node or of the clearinghouse."""

    @property
    def transaction(self) -> Transaction: ...

    @property
    def books(self) -> Books: ...


def overdue_holds(transaction: Transaction, party: str, limit: int) -> list[VoucherKey]:
    """Vouchers in the party's custody whose hold has passed, the longest over first, at most `limit`."""
    return _keys(_ask(_HOLDS, transaction, party, limit))


def overdue_vouchers(transaction: Transaction, party: str, limit: int) -> list[VoucherKey]:
    """Vouchers in the party's custody whose own end has passed, as `overdue_holds`."""
    return _keys(_ask(_VOUCHERS, transaction, party, limit))


def _ask(query: Query, transaction: Transaction, party: str, limit: int) -> Found:
    parity = int(party == CLEARINGHOUSE)
    return transaction.ask(query, at=transaction.now(), parity=parity, most=limit)


def _keys(found: Found) -> list[VoucherKey]:
    return [VoucherKey(*tuple(row)) for row in found()]


class ManyHolds(Unavailable):
    """More holds have passed than a batch records beside its own work: nothing of it is decided before they are."""


@dataclass(slots=True)
class PassedHolds:
    """The first work of every batch: what has passed by the batch's time is recorded before anything is decided.

    Where it is more than a commit takes, the batch ends with ManyHolds, and the work goes ahead `alone` with as many.
    """

    alone: bool = False
    _found: Found = list

    def load(self, desk: Desk) -> None:
        self._found = _ask(_HOLDS, desk.transaction, desk.name, HOLDS_A_BATCH + 1)

    def decide(self, desk: Desk) -> None:
        passed = _keys(self._found)
        if len(passed) > HOLDS_A_BATCH and not self.alone:
            raise ManyHolds(
                f"{desk.name}: holds that have passed are recorded first — send the same request again later"
            )
        desk.books.load_vouchers(passed[:HOLDS_A_BATCH])
        for key in passed[:HOLDS_A_BATCH]:
            voucher = desk.books.voucher(key)
            assert voucher is not None
            expire_overdue(voucher, desk.books, desk)


def decide_after_passed_holds(run: Callable[[Sequence[Any]], list[Any]], works: Sequence[Any]) -> list[Any]:
    """As `decide_apart`, with all that has passed recorded first; what cannot be recorded is told in the log.

    Raises ManyHolds where it is more than `COMMITS_AHEAD` take: nothing was decided, and the next batch goes on.
    """
    for left in reversed(range(COMMITS_AHEAD + 1)):
        try:
            error, *results = decide_apart(run, [PassedHolds(), *works])
            break
        except ManyHolds:
            if left == 0:
                raise
            (error,) = decide_apart(run, [PassedHolds(alone=True)])
            if error is not None:
                results = decide_apart(run, works)
                break
    if error is not None:
        _log.error("holds that have passed could not be recorded", error=str(error) or repr(error))
    return results
