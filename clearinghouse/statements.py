"""Statements as the clearinghouse keeps them: of windows (`windows.Calculate` makes them) and of months."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from chassis.database import Query, Transaction
from clearinghouse import schema
from clearinghouse.desk import Desk
from clearinghouse.domain.cutoff import month_of
from clearinghouse.domain.windows import WindowState
from clearinghouse.windows import keep_confirmation
from quanlian.errors import InvalidInput
from quanlian.signing import Signer
from quanlian.statements import Statement, json_to_statement, monthly, statement_to_json
from quanlian.v1 import settlement_pb2, signed_pb2

_WINDOW = schema.settlement_window.c
_WINDOWS = Query(select(_WINDOW.number, _WINDOW.state, _WINDOW.opened_at).order_by(_WINDOW.number))
_STATED = Query(select(schema.monthly_statement.c.month).distinct())


@dataclass(slots=True)
class StateMonth:
    """A signed statement of a month for every region, from those of the windows that opened in it.

    Of two who find a month over at once, the second finds it stated: that is no fault.
    """

    month: str
    signer: Signer

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        if self.month in _stated(desk.transaction):
            return
        numbers = [row.number for row in _windows(desk.transaction) if month_of(row.opened_at) == self.month]
        statements = _by_region(desk, numbers)
        rows = []
        for region, each in sorted(statements.items()):
            document = statement_to_json(monthly(self.month, each))
            rows.append(
                {
                    "month": self.month,
                    "region": region,
                    "document": document,
                    "key_id": self.signer.key_id,
                    "signature": self.signer.sign("statement", document),
                }
            )
            desk.tell(region, month_ready=self.month)
        desk.transaction.insert(schema.monthly_statement, rows)


@dataclass(slots=True)
class ConfirmMonth:
    """A person's signed word, for a region, that a month's statement is right."""

    region: str
    message: signed_pb2.SignedMessage
    confirmation: settlement_pb2.Confirmation

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> int:
        table = schema.monthly_statement
        keep_confirmation(desk, table, table.c.month, self.confirmation.month, self)
        return WindowState.CONFIRMED


def months_to_state(transaction: Transaction) -> list[str]:
    """Months that are over, whose windows are all calculated, and that have no statements yet."""
    now = month_of(transaction.now())
    months: dict[str, bool] = {}
    for row in _windows(transaction):
        done = WindowState[row.state] >= WindowState.CALCULATED
        month = month_of(row.opened_at)
        months[month] = months.get(month, True) and done
    stated = _stated(transaction)
    return sorted(month for month, done in months.items() if done and month < now and month not in stated)


def _stated(transaction: Transaction) -> set[str]:
    return {row.month for row in transaction.rows(_STATED)}


def signed_statement(transaction: Transaction, region: str, window: int, month: str) -> signed_pb2.SignedMessage:
    """A region's statement of a month, or without one of a window. Raises InvalidInput where there is none."""
    row = _statement(transaction, region, window, month)
    return signed_pb2.SignedMessage(body=row.document, key_id=row.key_id, signature=row.signature)


def reservation(transaction: Transaction, region: str, window: int, month: str) -> str:
    """With which reservation a region confirmed a statement; empty without one."""
    return reservation_in(_statement(transaction, region, window, month).confirmation)


def reservation_in(confirmation: bytes | None) -> str:
    return settlement_pb2.Confirmation.FromString(confirmation or b"").reservation


def _statement(transaction: Transaction, region: str, window: int, month: str) -> Any:
    if month:
        table = schema.monthly_statement
        rows = transaction.select_keys(table, [table.c.month, table.c.region], [(month, region)])
    else:
        table = schema.statement
        rows = transaction.select_keys(table, [table.c.settlement_window, table.c.region], [(window, region)])
    if not rows:
        raise InvalidInput(
            f"没有{region}的{month or f'场次{window}'}对账单 · "
            f"no statement of {region} for {month or f'window {window}'}",
            place="month" if month else "window",
            remedy="月度对账单在该月结束后首次截止时出具 · a month is stated at the first close after it is over"
            if month
            else "写已截止的场次 · give a window that is closed",
        )
    return rows[0]


def _by_region(desk: Desk, numbers: Sequence[int]) -> dict[str, list[Statement]]:
    table = schema.statement
    query = table.select().where(table.c.settlement_window.in_(numbers)).order_by(table.c.settlement_window)
    found: dict[str, list[Statement]] = {}
    for row in desk.transaction.connection.execute(query):
        found.setdefault(row.region, []).append(json_to_statement(row.document))
    return found


def _windows(transaction: Transaction) -> list[Any]:
    return transaction.rows(_WINDOWS)
