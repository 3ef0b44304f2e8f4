"""Settlement windows as works: close, calculate, confirm, instruct. Each is one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, bindparam, func, select

from chassis.database import Query
from clearinghouse import schema
from clearinghouse.custody import return_free_money
from clearinghouse.desk import Desk
from clearinghouse.domain.windows import (
    Flow,
    Turnover,
    WindowState,
    bilateral,
    require_state,
    statement_lines,
    totals,
)
from clearinghouse.silence import confirm_by_silence
from custodian import schema as custodian_schema
from quanlian import netting
from quanlian.errors import InvalidInput
from quanlian.money import yuan
from quanlian.signing import Signer, digest
from quanlian.statements import Statement, statement_to_json
from quanlian.v1 import settlement_pb2, signed_pb2

_STATEMENT = schema.statement.c
_UNCONFIRMED = Query(
    select(_STATEMENT.region).where(
        _STATEMENT.settlement_window == bindparam("number"), _STATEMENT.confirmation.is_(None)
    )
)


def _sums_by_region(table: Table, *conditions: ColumnElement[bool], window: str = "settlement_window") -> Query:
    """What a window's deposits, pay-outs or returned pay-outs come to, by region; `window` is the column that tells."""
    region, total = table.c.region, func.sum(table.c.amount_fen).label("fen")
    chosen = (table.c[window] == bindparam("number"), region != "", *conditions)
    return Query(select(region, total).where(*chosen).group_by(region))


def _paid_in_by_region(of_funders: bool) -> tuple[Query, Query, Query]:
    """What came in; what of it was taken back since by a reversing entry; and what such entries take from a window."""
    sums = []
    for table, window in (
        (schema.deposit, "settlement_window"),
        (schema.deposit_reversal, "settlement_window"),
        (schema.deposit_reversal, "reversed_window"),
    ):
        is_funders = table.c.account.startswith("prefund/")
        sums.append(_sums_by_region(table, is_funders if of_funders else ~is_funders, window=window))
    return sums[0], sums[1], sums[2]


_LODGED, _PREFUNDED = _paid_in_by_region(of_funders=False), _paid_in_by_region(of_funders=True)
_GIVEN_BACK = _sums_by_region(schema.prefund_return)
_PAID_OUT = _sums_by_region(schema.payout)
_RETURNED = _sums_by_region(schema.payout, window="returned_window")


@dataclass(slots=True)
class Close:
    """Close the open window and open the next in the same transaction; what commits later belongs to the next.

    `number` is the window that is meant, 0 whichever is open. To close one that is closed already changes nothing, so
    that a command which never saw its answer can be sent again.
    """

    number: int = 0

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> int:
        number = self.number or desk.window
        if number > desk.window:
            raise InvalidInput(
                f"场次{number}尚未开始 · window {number} is not open yet",
                place="window",
                remedy=f"截止进行中的场次{desk.window} · close window {desk.window}, which is open",
            )
        if number == desk.window:
            set_window(desk, number, state=WindowState.CLOSED.name, closed_at=desk.at)
            return_free_money(desk, number)
            desk.transaction.insert(schema.settlement_window, [new_window(number + 1, desk.at)])
            desk.window, desk.window_opened_at = number + 1, desk.at
        return number


@dataclass(slots=True)
class Calculate:
    """Net positions and a signed statement for every region, from running totals alone.

    Of two who close windows at once, the second may find the first one's window calculated: that is no fault.
    """

    number: int
    signer: Signer

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        row = window_row(desk, self.number)
        if WindowState[row.state] is not WindowState.CLOSED:
            return
        turnovers, flows = window_totals(desk, self.number)
        pairs = bilateral(turnovers)
        nets = dict.fromkeys(desk.regions, 0) | netting.net_positions(pairs)
        netting.require_zero_sum(nets)
        self._keep_positions(desk, pairs, nets)
        statements = self._statements(desk, row, turnovers, flows)
        for statement in statements:
            if statement.net_fen != nets[statement.region]:
                stated, netted = yuan(statement.net_fen), yuan(nets[statement.region])
                raise InvalidInput(
                    f"{statement.region}对账单净额{stated}元，轧差{netted}元 · "
                    f"the statement of {statement.region} gives {stated}, netting {netted} yuan",
                    place=f"window {self.number}",
                )
            desk.tell(statement.region, statement_ready=self.number)
        desk.transaction.insert(schema.statement, [self._signed(statement) for statement in statements])
        gross = netting.figures(pairs).gross_fen
        set_window(desk, self.number, state=WindowState.CALCULATED.name, gross_fen=gross)

    def _statements(self, desk: Desk, row: Any, turnovers: list[Turnover], flows: list[Flow]) -> list[Statement]:
        opening = _closing_balances(desk, self.number - 1)
        lodged, prefunded = (_paid_in(desk, queries, self.number) for queries in (_LODGED, _PREFUNDED))
        given_back, paid_out, returned = (
            _by_region(desk, query, self.number) for query in (_GIVEN_BACK, _PAID_OUT, _RETURNED)
        )
        window = totals(turnovers, flows)
        statements = []
        for region in desk.regions:
            lines, funders = statement_lines(region, window)
            statements.append(
                Statement(
                    window=self.number,
                    region=region,
                    opened_at=row.opened_at,
                    closed_at=row.closed_at,
                    opening_fen=opening.get(region, 0),
                    lines=lines,
                    funders=funders,
                    lodged_fen=lodged.get(region, 0),
                    paid_out_fen=paid_out.get(region, 0) - returned.get(region, 0),
                    prefunded_fen=prefunded.get(region, 0) - given_back.get(region, 0),
                )
            )
        return statements

    def _keep_positions(self, desk: Desk, pairs: Mapping[tuple[str, str], int], nets: Mapping[str, int]) -> None:
        desk.transaction.insert(
            schema.bilateral,
            [
                {"settlement_window": self.number, "debtor": pair[0], "creditor": pair[1], "amount_fen": fen}
                for pair, fen in sorted(pairs.items())
            ],
        )
        desk.transaction.insert(
            schema.net_position,
            [
                {
                    "settlement_window": self.number,
                    "region": region,
                    "net_fen": fen,
                    "payout_fen": max(0, fen),
                    "bank_reference": "",
                }
                for region, fen in sorted(nets.items())
            ],
        )

    def _signed(self, statement: Statement) -> dict[str, Any]:
        document = statement_to_json(statement)
        return {
            "settlement_window": self.number,
            "region": statement.region,
            "closing_fen": statement.closing_fen,
            "document": document,
            "key_id": self.signer.key_id,
            "signature": self.signer.sign("statement", document),
        }


@dataclass(slots=True)
class Confirm:
    """A region's signed word that a statement agrees with its books. The last one confirms the window."""

    region: str
    message: signed_pb2.SignedMessage
    confirmation: settlement_pb2.Confirmation

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> WindowState:
        number, table = self.confirmation.window, schema.statement
        row = window_row(desk, number)
        keep_confirmation(desk, table, table.c.settlement_window, number, self)
        state = WindowState[row.state]
        if state is WindowState.CALCULATED and _all_confirmed(desk, number):
            set_window(desk, number, state=WindowState.CONFIRMED.name)
            return WindowState.CONFIRMED
        return state


@dataclass(slots=True)
class Instruct:
    """Turn a confirmed window's net positions into payment instructions; silence past the dispute deadline confirms."""

    number: int

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        state = WindowState[window_row(desk, self.number).state]
        if state is WindowState.CALCULATED:
            confirm_by_silence(desk, self.number)
        else:
            require_state(self.number, state, WindowState.CONFIRMED)
        set_window(desk, self.number, state=WindowState.INSTRUCTED.name)


CONFIRMATIONS = {"statement": "confirmation", "monthly_statement": "month-confirmation"}
"""Kinds of the journal's entries, by the table of what is confirmed."""


def new_window(number: int, at: int) -> dict[str, Any]:
    return {"number": number, "state": WindowState.OPEN.name, "opened_at": at, "closed_at": 0, "gross_fen": 0}


def keep_confirmation(desk: Desk, table: Any, period: Any, value: Any, confirm: Any) -> None:
    """Store a region's confirmation beside the statement of a window or month; the first one stays.

    Raises InvalidInput where there is no such statement, or it confirms other bytes.
    """
    found = desk.transaction.select_keys(table, [period, table.c.region], [(value, confirm.region)])
    confirmation = confirm.confirmation
    if not found or confirmation.region != confirm.region:
        zh, en = (value, value) if isinstance(value, str) else (f"场次{value}", f"window {value}")
        raise InvalidInput(
            f"没有{confirm.region}{zh}的对账单 · no statement of {confirm.region} for {en}", place="confirmation"
        )
    if digest("statement", found[0].document) != confirmation.statement_digest:
        raise InvalidInput(
            "所确认的是另一份对账单 · confirms another statement",
            place="confirmation.statement_digest",
            remedy="重新取回对账单并核对 · fetch the statement again and compare it",
        )
    if found[0].confirmation is None:
        values = {
            "confirmation": confirm.message.body,
            "confirmation_key_id": confirm.message.key_id,
            "confirmation_signature": confirm.message.signature,
        }
        desk.transaction.update(table, {period.name: value, "region": confirm.region}, values)
        desk.books.record(CONFIRMATIONS[table.name], desk.at, f"{value} {confirm.region}", confirm.message.signature)


def window_row(desk: Desk, number: int) -> Any:
    """Raises InvalidInput where there is no such window."""
    table = schema.settlement_window
    rows = desk.transaction.select_keys(table, [table.c.number], [(number,)])
    if not rows:
        raise InvalidInput(
            f"没有场次{number} · no window {number}",
            place="window",
            remedy="先列出各场次 · list the windows for their numbers",
        )
    return rows[0]


def set_window(desk: Desk, number: int, **values: Any) -> None:
    desk.transaction.update(schema.settlement_window, {"number": number}, values)


def _closing_balances(desk: Desk, number: int) -> dict[str, int]:
    """What each region's statement of a window closed with; nothing before the first."""
    table = schema.statement
    rows = desk.transaction.select_keys(table, [table.c.settlement_window], [(number,)])
    return {row.region: row.closing_fen for row in rows}


def _by_region(desk: Desk, query: Query, number: int) -> dict[str, int]:
    return {row.region: int(row.fen) for row in desk.transaction.rows(query, number=number)}


def _paid_in(desk: Desk, queries: tuple[Query, Query, Query], number: int) -> dict[str, int]:
    """A window keeps what it counted; what was reversed is taken off the window of the reversing entry."""
    came, undone, taken_back = (_by_region(desk, query, number) for query in queries)
    regions = came.keys() | undone.keys() | taken_back.keys()
    return {each: came.get(each, 0) + undone.get(each, 0) - taken_back.get(each, 0) for each in regions}


def _all_confirmed(desk: Desk, number: int) -> bool:
    return not desk.transaction.rows(_UNCONFIRMED, number=number)


def window_totals(desk: Desk, number: int) -> tuple[list[Turnover], list[Flow]]:
    """The running totals that a window is calculated and settled from."""
    turnover, flow = custodian_schema.turnover, custodian_schema.flow
    find = desk.transaction.select_keys
    turnovers = find(turnover, [turnover.c.settlement_window], [(number,)], tuple(turnover.c)[1:])
    flows = find(flow, [flow.c.settlement_window], [(number,)], tuple(flow.c)[1:])
    return list(map(Turnover._make, turnovers)), list(map(Flow._make, flows))
