"""Settlement windows as works: close, calculate, confirm, instruct, pay, settle. Each is one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table, bindparam, func, select

from chassis.database import Query
from clearinghouse import schema
from clearinghouse.custody import return_free_money
from clearinghouse.desk import Desk
from clearinghouse.domain.windows import (
    Flow,
    Turnover,
    WindowState,
    arrears_movements,
    bilateral,
    by_region,
    require_state,
    settlement_movements,
    statement_lines,
    totals,
)
from clearinghouse.money import CHECK_REFERENCE, arrears_fen, book_payout, require_new_reference, settlement_fen
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


def _sums_by_region(table: Table, window: str = "settlement_window") -> Query:
    """What a window's deposits, pay-outs or returned pay-outs come to, by region; `window` is the column that tells."""
    region, total = table.c.region, func.sum(table.c.amount_fen).label("fen")
    return Query(select(region, total).where(table.c[window] == bindparam("number"), region != "").group_by(region))


_LODGED, _PAID_OUT = _sums_by_region(schema.deposit), _sums_by_region(schema.payout)
_RETURNED = _sums_by_region(schema.payout, "returned_window")


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
            _set_window(desk, number, state=WindowState.CLOSED.name, closed_at=desk.at)
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
        row = _window(desk, self.number)
        if WindowState[row.state] is not WindowState.CLOSED:
            return
        turnovers, flows = _totals(desk, self.number)
        pairs = bilateral(turnovers)
        nets = dict.fromkeys(desk.regions, 0) | netting.net_positions(pairs)
        netting.require_zero_sum(nets)
        self._keep_positions(desk, pairs, nets)
        statements = self._statements(desk, row, turnovers, flows)
        for statement in statements:
            if statement.net_fen != nets[statement.region]:
                raise InvalidInput(
                    f"the statement of {statement.region} gives {statement.net_fen}, "
                    f"netting {nets[statement.region]} fen",
                    place=f"window {self.number}",
                )
            desk.tell(statement.region, statement_ready=self.number)
        desk.transaction.insert(schema.statement, [self._signed(statement) for statement in statements])
        gross = netting.figures(pairs).gross_fen
        _set_window(desk, self.number, state=WindowState.CALCULATED.name, gross_fen=gross)

    def _statements(self, desk: Desk, row: Any, turnovers: list[Turnover], flows: list[Flow]) -> list[Statement]:
        opening = _closing_balances(desk, self.number - 1)
        lodged, paid_out, returned = (_by_region(desk, query, self.number) for query in (_LODGED, _PAID_OUT, _RETURNED))
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
        row = _window(desk, number)
        keep_confirmation(desk, table, table.c.settlement_window, number, self)
        state = WindowState[row.state]
        if state is WindowState.CALCULATED and _all_confirmed(desk, number):
            _set_window(desk, number, state=WindowState.CONFIRMED.name)
            return WindowState.CONFIRMED
        return state


@dataclass(slots=True)
class Instruct:
    """Turn a confirmed window's net positions into payment instructions."""

    number: int

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        require_state(self.number, WindowState[_window(desk, self.number).state], WindowState.CONFIRMED)
        _set_window(desk, self.number, state=WindowState.INSTRUCTED.name)


@dataclass(slots=True)
class MarkPaid:
    """The bank's word that a region's instruction was carried out.

    While a debtor is short nobody can say yet what its creditors get: their pay-outs are marked once the window is
    settled, and booked then.
    """

    number: int
    region: str
    bank_reference: str

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        state = WindowState[_window(desk, self.number).state]
        if state is not WindowState.SETTLED:
            require_state(self.number, state, WindowState.INSTRUCTED)
        if not self.bank_reference:
            raise InvalidInput(
                "缺少银行流水号 · is empty", place="bank_reference", remedy="写明银行流水号 · give the bank's reference"
            )
        table = schema.net_position
        rows = desk.transaction.select_keys(
            table, [table.c.settlement_window, table.c.region], [(self.number, self.region)]
        )
        if not rows:
            raise InvalidInput(
                f"{self.region} 在场次{self.number}没有净额 · {self.region} has no position in window {self.number}",
                place="region",
                remedy="先看该场次 · look at the window: quanlian clearinghouse window",
            )
        if rows[0].bank_reference == self.bank_reference:
            return
        self._require_new_reference(desk, rows[0].bank_reference)
        if rows[0].net_fen > 0 and state is WindowState.INSTRUCTED:
            self._require_no_shortfall(desk)
        key = {"settlement_window": self.number, "region": self.region}
        desk.transaction.update(table, key, {"bank_reference": self.bank_reference})
        if state is WindowState.SETTLED:
            book_payout(desk, self.region, rows[0].payout_fen, self.bank_reference)

    def _require_new_reference(self, desk: Desk, marked: str) -> None:
        """A payment keeps the reference it was marked with, and a reference names one payment or deposit."""
        if marked:
            raise InvalidInput(
                f"已以 {marked} 标记 · is marked with {marked}", place="bank_reference", remedy=CHECK_REFERENCE
            )
        require_new_reference(desk, self.bank_reference)

    def _require_no_shortfall(self, desk: Desk) -> None:
        for row in _positions(desk, self.number):
            short_fen = -(settlement_fen(desk, row.region) - arrears_fen(desk, row.region) + row.net_fen)
            if row.net_fen < 0 and short_fen > 0:
                raise InvalidInput(
                    f"{row.region} 尚缺{yuan(short_fen)}元，场次{self.number}的付款额未定 · {row.region} is short by "
                    f"{short_fen} fen, so pay-outs of window {self.number} are not sure",
                    place="payment",
                    remedy="登记其到账，或到期结清后再标记减额付款 · "
                    "record its money, or settle at the deadline and mark the reduced pay-outs then",
                )


@dataclass(slots=True)
class Settle:
    """SETTLED is one transaction for all regions: claims and contributions against `settlement`, then what a debtor
    cannot cover as arrears, then the pay-outs that the bank made, each as entries of their own.
    """

    number: int

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        require_state(self.number, WindowState[_window(desk, self.number).state], WindowState.INSTRUCTED)
        reference = f"window {self.number}"
        turnovers, _ = _totals(desk, self.number)
        own = by_region(turnovers)
        settled = [each for region in desk.regions for each in settlement_movements(region, own.get(region, ()))]
        desk.books.book("settlement", desk.at, reference, settled)
        for region in desk.regions:
            desk.tell(region, window_settled=self.number)
        for (debtor, creditor), fen in bilateral(turnovers).items():
            desk.move_position(debtor, posted_fen=-fen)
            desk.move_position(creditor, due_fen=-fen)
        shortfall_fen = self._stand_in_arrears(desk, reference)
        self._pay_out(desk, shortfall_fen)
        for region in desk.regions:
            desk.watch(region)
        _set_window(desk, self.number, state=WindowState.SETTLED.name)

    def _stand_in_arrears(self, desk: Desk, reference: str) -> int:
        """Returns what all debtors together are newly short of."""
        before = sum(arrears_fen(desk, region) for region in desk.regions)
        moved = [
            movement
            for region in desk.regions
            for movement in arrears_movements(region, settlement_fen(desk, region), arrears_fen(desk, region))
        ]
        desk.books.book("arrears", desk.at, reference, moved)
        return max(0, sum(arrears_fen(desk, region) for region in desk.regions) - before)

    def _pay_out(self, desk: Desk, shortfall_fen: int) -> None:
        """Book what the bank paid already; the other pay-outs shrink by their part of the shortfall (money.md,
        Settlement windows), and what they lack is withheld until the arrears are cured.
        """
        creditors = [row for row in _positions(desk, self.number) if row.net_fen > 0]
        open_fen = {row.region: row.net_fen for row in creditors if not row.bank_reference}
        if open_fen and not shortfall_fen:
            raise InvalidInput(
                f"{min(open_fen)} 的付款未标记 · {min(open_fen)} is not marked paid",
                place=f"window {self.number}",
                remedy="先标记其付款 · mark its payment first",
            )
        payouts = netting.payouts_after_shortfall(open_fen, min(shortfall_fen, sum(open_fen.values())))
        for row in creditors:
            if row.bank_reference:
                book_payout(desk, row.region, row.net_fen, row.bank_reference)
            elif payouts[row.region] < row.net_fen:
                desk.withhold(row.region, row.net_fen - payouts[row.region])
                key = {"settlement_window": self.number, "region": row.region}
                desk.transaction.update(schema.net_position, key, {"payout_fen": payouts[row.region]})


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
        raise InvalidInput(f"no statement of {confirm.region} for {period.name} {value}", place="confirmation")
    if digest("statement", found[0].document) != confirmation.statement_digest:
        raise InvalidInput("confirms another statement", place="confirmation.statement_digest")
    if found[0].confirmation is None:
        values = {
            "confirmation": confirm.message.body,
            "confirmation_key_id": confirm.message.key_id,
            "confirmation_signature": confirm.message.signature,
        }
        desk.transaction.update(table, {period.name: value, "region": confirm.region}, values)
        desk.books.record(CONFIRMATIONS[table.name], desk.at, f"{value} {confirm.region}", confirm.message.signature)


def _window(desk: Desk, number: int) -> Any:
    table = schema.settlement_window
    rows = desk.transaction.select_keys(table, [table.c.number], [(number,)])
    if not rows:
        raise InvalidInput(
            f"没有场次{number} · no window {number}",
            place="window",
            remedy="先列出各场次 · list the windows for their numbers",
        )
    return rows[0]


def _set_window(desk: Desk, number: int, **values: Any) -> None:
    desk.transaction.update(schema.settlement_window, {"number": number}, values)


def _positions(desk: Desk, number: int) -> list[Any]:
    table = schema.net_position
    rows = desk.transaction.select_keys(table, [table.c.settlement_window], [(number,)])
    return sorted(rows, key=lambda row: str(row.region))


def _closing_balances(desk: Desk, number: int) -> dict[str, int]:
    """What each region's statement of a window closed with; nothing before the first."""
    table = schema.statement
    rows = desk.transaction.select_keys(table, [table.c.settlement_window], [(number,)])
    return {row.region: row.closing_fen for row in rows}


def _by_region(desk: Desk, query: Query, number: int) -> dict[str, int]:
    return {row.region: int(row.fen) for row in desk.transaction.rows(query, number=number)}


def _all_confirmed(desk: Desk, number: int) -> bool:
    return not desk.transaction.rows(_UNCONFIRMED, number=number)


def _totals(desk: Desk, number: int) -> tuple[list[Turnover], list[Flow]]:
    turnover, flow = custodian_schema.turnover, custodian_schema.flow
    posted, figures = (turnover.c.account, turnover.c.counterpart, turnover.c.posted_fen), tuple(flow.c)[1:]
    find = desk.transaction.select_keys
    turnovers = find(turnover, [turnover.c.settlement_window], [(number,)], posted)
    flows = find(flow, [flow.c.settlement_window], [(number,)], figures)
    return list(map(Turnover._make, turnovers)), list(map(Flow._make, flows))
