"""A window's statement against this node's own books: compared, and confirmed when every line matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table, bindparam, select

from chassis import telemetry
from chassis.database import Database, Query, Transaction
from custodian.book_rows import json_to_legs
from node import schema
from node.balances import own_balances
from node.desk import Desk
from node.engine import Engine
from node.feed import book_settled
from node.ports import Clearinghouse
from node.signatures import require_clearinghouse, signed
from pki.trust import Keyring
from quanlian import statements
from quanlian.errors import InvalidInput, QuanlianError, Unavailable
from quanlian.signing import Signer, digest
from quanlian.v1 import settlement_pb2, signed_pb2

_WINDOW, _MONTH, _OUTBOX = schema.settlement_window.c, schema.statement_month.c, schema.outbox.c
_UNCONFIRMED = Query(
    select(_WINDOW.number, _WINDOW.confirmation).where(_WINDOW.confirmed.is_(False)).order_by(_WINDOW.number)
)
_MONTHS_TO_CONFIRM_AGAIN = Query(
    select(_MONTH.month, _MONTH.confirmation).where(_MONTH.confirmed.is_(False), _MONTH.confirmation.is_not(None))
)
_UNANSWERED = Query(
    select(_OUTBOX.own_id).where(_OUTBOX.answered.is_(False), _OUTBOX.sent_at <= bindparam("closed_at")).limit(1)
)

_TABLE = schema.settlement_window
_MOST_NAMED = 1000
"""Redemptions that a dispute names of a line that its statement lacks."""

_log = telemetry.logger("reconciling")


class Reconciler:
    """Reconciles by itself what is ready, and gives this region's word."""

    def __init__(self, engine: Engine, keyring: Keyring, signer: Signer, clearinghouse: Clearinghouse) -> None:
        self._engine = engine
        self._keyring = keyring
        self._signer = signer
        self._clearinghouse = clearinghouse

    async def reconcile_open_windows(self) -> None:
        """Fetch, compare and, when fully matched, confirm each statement that is ready and not confirmed.

        In their order, as each opens with what the one before closed with; one that is at fault holds up no other.
        What was confirmed to a clearinghouse that was restored since, months too, is confirmed by the same word again.
        Raises Unavailable.
        """
        for row in await self._engine.rows(_MONTHS_TO_CONFIRM_AGAIN):
            await self._confirm_again(schema.statement_month, {"month": row.month}, row.confirmation)
        for row in await self._engine.rows(_UNCONFIRMED):
            try:
                if not await self._confirm_again(_TABLE, {"number": row.number}, row.confirmation):
                    await self._reconcile(row.number)
            except Unavailable:
                raise
            except QuanlianError as error:
                _log.warning("statement cannot be reconciled", window=row.number, error=str(error))

    async def _reconcile(self, window: int) -> None:
        message = (await self._clearinghouse.statement(window)).statement
        statement = self.read(message, window)
        if await self._awaits_answers_from(statement.closed_at):
            return
        result = await self._engine.database.read(self.compare, statement)
        # Kept before it is confirmed: once it is, the window may settle, and settling books what is kept here.
        await self._engine.submit(KeepReconciliation(statement, message.body, result))
        if result.fully_matched:
            confirmation = self.confirmation(message.body, statement, result)
            await self._clearinghouse.confirm(confirmation)
            await self._engine.database.write(self.mark_confirmed, window, confirmation)
        else:
            _log.warning("statement does not match", window=window, differences=str(result[1:]))

    async def _confirm_again(self, table: Table, key: dict[str, Any], word: bytes | None) -> bool:
        """Give the word that was given before, if one was; whether it is taken, as it is of the same statement."""
        if word is None:
            return False
        try:
            await self._clearinghouse.confirm(signed_pb2.SignedMessage.FromString(word))
        except InvalidInput as error:
            _log.warning("a statement is not confirmed again", **key, error=str(error))
            return False
        await self._engine.database.write(_update, self._engine.database, table, key, {"confirmed": True})
        return True

    def read(self, message: signed_pb2.SignedMessage, window: int, month: str = "") -> statements.Statement:
        """This region's statement of the window or month that was asked for.

        Raises UnknownKey or BadSignature for one that the clearinghouse did not sign, InvalidInput for another one.
        """
        require_clearinghouse(self._keyring, message, "statement")
        statement = statements.json_to_statement(message.body)
        own = self._engine.region.code
        if (statement.region, statement.window, statement.month) != (own, 0 if month else window, month):
            raise InvalidInput(
                f"收到的是{statement.region}的{statement.period} · got {statement.period} of {statement.region}",
                place=f"statement {month or f'window-{window}'}",
                remedy="请清分平台核对 · ask the clearinghouse to look into it",
            )
        return statement

    def compare(self, statement: statements.Statement) -> statements.Reconciliation:
        """A statement against this node's books: lines, funders and balances."""
        sums = self.own_sums(statement.covers)
        with self._engine.database.snapshot() as transaction:
            balances = own_balances(transaction, statement, sums.lines)
        return statements.reconcile(statement, *sums, balances)

    def confirmation(
        self,
        document: bytes,
        statement: statements.Statement,
        result: statements.Reconciliation,
        by: str = "",
        reservation: str = "",
        reserved: Sequence[str] = (),
    ) -> signed_pb2.SignedMessage:
        """This region's signed word on a statement; `by` is the person who gives it, empty for the node itself, and
        `reserved` what it does not agree to, with the reason.
        """
        confirmation = settlement_pb2.Confirmation(
            region=self._engine.region.code,
            window=statement.window,
            month=statement.month,
            statement_digest=digest("statement", document),
            matched=len(result.matched),
            missing=len(result.missing),
            extra=len(result.extra),
            different=len(result.different),
            by=by,
            reservation=reservation,
            reserved=reserved,
        )
        return signed(confirmation.SerializeToString(), "confirmation", self._signer)

    async def _awaits_answers_from(self, closed_at: int) -> bool:
        """Whether a request that may belong to a window is unanswered still: then its books are not complete here."""
        return bool(await self._engine.rows(_UNANSWERED, closed_at=closed_at))

    def own_sums(self, windows: Sequence[int]) -> statements.Sums:
        """This node's own lines and funders of some windows, from its single captures and refunds."""
        table = schema.clearing_item
        with self._engine.database.snapshot() as transaction:
            rows = transaction.select_keys(table, [table.c.settlement_window], [(number,) for number in windows])
        items = (
            statements.ItemFigures(
                row.side,
                row.issuer,
                row.redeeming_region,
                row.campaign,
                row.order_fen,
                row.discount_fen,
                json_to_legs(row.legs),
            )
            for row in rows
        )
        return statements.add_up(self._engine.region.code, items)

    def redemptions(self, window: int, line: statements.LineKey) -> list[bytes]:
        """The redemptions that this node's books have of a line of a window, the first `_MOST_NAMED` of them."""
        region, item = self._engine.region.code, schema.clearing_item.c
        issuer, redeemer = (
            (line.counterpart, region) if line.role == statements.REDEEMER else (region, line.counterpart)
        )
        query = (
            select(item.redemption_id)
            .where(
                item.settlement_window == window,
                item.campaign == line.campaign,
                item.issuer == issuer,
                item.redeeming_region == redeemer,
            )
            .distinct()
            .order_by(item.redemption_id)
            .limit(_MOST_NAMED)
        )
        with self._engine.database.snapshot() as transaction:
            return list(transaction.connection.execute(query).scalars())

    def mark_confirmed(self, window: int, confirmation: signed_pb2.SignedMessage, reservation: str = "") -> None:
        values = {"confirmed": True, "confirmation": confirmation.SerializeToString(), "reservation": reservation}
        _update(self._engine.database, _TABLE, {"number": window}, values)


def confirm_again(transaction: Transaction) -> None:
    """A clearinghouse that has begun a new life may have lost this region's words: each is given once more.

    A window without one that is kept is compared anew, unless it is settled.
    """
    transaction.update(_TABLE, {"settled": False}, {"confirmed": False})
    given = select(_WINDOW.number).where(_WINDOW.confirmed, _WINDOW.confirmation.is_not(None))
    for number in transaction.connection.execute(given).scalars().all():
        transaction.update(_TABLE, {"number": number}, {"confirmed": False})
    transaction.update(schema.statement_month, {"confirmed": True}, {"confirmed": False})


def _update(database: Database, table: Table, key: dict[str, Any], values: dict[str, Any]) -> None:
    with database.transaction() as transaction:
        transaction.update(table, key, values)


@dataclass(slots=True)
class KeepReconciliation:
    """What a window's statement says, and how it compares. A window that a restored node confirmed in its life before
    may be settled by then: its net position is booked now.
    """

    statement: statements.Statement
    document: bytes
    result: statements.Reconciliation

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        table, number, net_fen = _TABLE, self.statement.window, self.statement.net_fen
        (window,) = desk.transaction.select_keys(table, [table.c.number], [(number,)])
        if window.settled:
            book_settled(desk, net_fen - window.net_fen)
        values = {
            "statement": self.document,
            "matched": len(self.result.matched),
            "missing": len(self.result.missing),
            "extra": len(self.result.extra),
            "different": len(self.result.different),
            "net_fen": net_fen,
            "closed_at": self.statement.closed_at,
            "closing_fen": self.statement.closing_fen,
            "lodged_fen": self.statement.lodged_fen,
            "paid_out_fen": self.statement.paid_out_fen,
            "own_lodged_fen": _own_balance(self.statement, self.result, "lodged"),
            "own_paid_out_fen": _own_balance(self.statement, self.result, "paid_out"),
        }
        desk.transaction.update(table, {"number": number}, values)


def _own_balance(statement: statements.Statement, result: statements.Reconciliation, name: str) -> int | None:
    key = statements.LineKey(statements.BALANCE, statement.region, name)
    for each in (*result.different, *result.unchecked):
        if each.key == key:
            return None if each.own is None else int(each.own)
    return statement.balances[key]
