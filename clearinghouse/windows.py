"""Settlement windows as works: close, calculate, confirm, instruct, pay, settle. Each is one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clearinghouse import schema
from clearinghouse.custody import return_free_money
from clearinghouse.desk import Desk
from clearinghouse.domain.windows import (
    Flow,
    Turnover,
    WindowState,
    bilateral,
    require_state,
    settlement_movements,
    statement_lines,
)
from custodian import schema as custodian_schema
from quanlian import netting
from quanlian.accounts import bank_account, settlement_account
from quanlian.errors import InvalidInput
from quanlian.ledger import Movement
from quanlian.signing import Signer, digest
from quanlian.statements import Statement, statement_to_json
from quanlian.v1 import settlement_pb2, signed_pb2


@dataclass(slots=True)
class Close:
    """Close the open window and open the next in the same transaction; what commits later belongs to the next."""

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> int:
        number = desk.window
        _set_window(desk, number, state=WindowState.CLOSED.name, closed_at=desk.at)
        return_free_money(desk, number)
        desk.transaction.insert(schema.settlement_window, [new_window(number + 1, desk.at)])
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
        for region in desk.regions:
            lines, funders = statement_lines(region, flows, turnovers)
            statement = Statement(
                window=self.number,
                region=region,
                opened_at=row.opened_at,
                closed_at=row.closed_at,
                opening_fen=desk.position(region).secured_fen,
                lines=lines,
                funders=funders,
            )
            if statement.net_fen != nets[region]:
                raise InvalidInput(
                    f"the statement of {region} gives {statement.net_fen}, netting {nets[region]} fen",
                    place=f"window {self.number}",
                )
            self._keep_statement(desk, statement)
            desk.tell(region, statement_ready=self.number)
        gross = netting.figures(pairs).gross_fen
        _set_window(desk, self.number, state=WindowState.CALCULATED.name, gross_fen=gross)

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
                {"settlement_window": self.number, "region": region, "net_fen": fen, "bank_reference": ""}
                for region, fen in sorted(nets.items())
            ],
        )

    def _keep_statement(self, desk: Desk, statement: Statement) -> None:
        document = statement_to_json(statement)
        desk.transaction.insert(
            schema.statement,
            [
                {
                    "settlement_window": self.number,
                    "region": statement.region,
                    "document": document,
                    "key_id": self.signer.key_id,
                    "signature": self.signer.sign("statement", document),
                }
            ],
        )


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
        found = desk.transaction.select_keys(
            table, [table.c.settlement_window, table.c.region], [(number, self.region)]
        )
        if not found or self.confirmation.region != self.region:
            raise InvalidInput(f"no statement of {self.region} for window {number}", place="confirmation")
        if digest("statement", found[0].document) != self.confirmation.statement_digest:
            raise InvalidInput("confirms another statement", place="confirmation.statement_digest")
        if found[0].confirmation is None:
            desk.transaction.connection.execute(
                table.update()
                .where(table.c.settlement_window == number, table.c.region == self.region)
                .values(
                    confirmation=self.message.body,
                    confirmation_key_id=self.message.key_id,
                    confirmation_signature=self.message.signature,
                )
            )
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
    """The bank's word that a region's instruction was carried out."""

    number: int
    region: str
    bank_reference: str

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        require_state(self.number, WindowState[_window(desk, self.number).state], WindowState.INSTRUCTED)
        if not self.bank_reference:
            raise InvalidInput("is empty", place="bank_reference", remedy="give the bank's reference")
        table = schema.net_position
        rows = desk.transaction.select_keys(
            table, [table.c.settlement_window, table.c.region], [(self.number, self.region)]
        )
        if not rows:
            raise InvalidInput(f"{self.region} has no position in window {self.number}", place="region")
        if rows[0].bank_reference == self.bank_reference:
            return
        self._require_new_reference(desk, rows[0].bank_reference)
        desk.transaction.connection.execute(
            table.update()
            .where(table.c.settlement_window == self.number, table.c.region == self.region)
            .values(bank_reference=self.bank_reference)
        )

    def _require_new_reference(self, desk: Desk, marked: str) -> None:
        """A payment keeps the reference it was marked with, and a reference names one payment or deposit."""
        table, deposit = schema.net_position, schema.deposit
        used = desk.transaction.select_keys(table, [table.c.bank_reference], [(self.bank_reference,)])
        used += desk.transaction.select_keys(deposit, [deposit.c.bank_reference], [(self.bank_reference,)])
        if marked or used:
            what = f"is marked with {marked}" if marked else f"{self.bank_reference} names another payment"
            raise InvalidInput(what, place="bank_reference", remedy="check the bank's reference")


@dataclass(slots=True)
class Settle:
    """SETTLED is one transaction for all regions: claims and contributions against `settlement`, payments booked."""

    number: int

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        require_state(self.number, WindowState[_window(desk, self.number).state], WindowState.INSTRUCTED)
        turnovers, _ = _totals(desk, self.number)
        for region in desk.regions:
            balance = -desk.books.balance(settlement_account(region)).posted_fen
            desk.books.move(settlement_movements(region, turnovers, balance))
            desk.tell(region, window_settled=self.number)
        for (debtor, creditor), fen in bilateral(turnovers).items():
            desk.move_position(debtor, posted_fen=-fen)
            desk.move_position(creditor, due_fen=-fen)
        desk.books.move(self._payments(desk))
        for region in desk.regions:
            desk.watch(region)
        _set_window(desk, self.number, state=WindowState.SETTLED.name)

    def _payments(self, desk: Desk) -> list[Movement]:
        """Pay out to each region that receives, and was marked paid: Dr `settlement` / Cr `bank`."""
        table = schema.net_position
        rows = desk.transaction.connection.execute(
            table.select().where(table.c.settlement_window == self.number, table.c.net_fen > 0)
        ).all()
        movements = []
        for row in rows:
            if not row.bank_reference:
                raise InvalidInput(
                    f"{row.region} is not marked paid", place=f"window {self.number}", remedy="mark its payment first"
                )
            movements.append(Movement(settlement_account(row.region), "", posted_fen=row.net_fen))
            movements.append(Movement(bank_account("clearinghouse"), "", posted_fen=-row.net_fen))
        return movements


def new_window(number: int, at: int) -> dict[str, Any]:
    return {"number": number, "state": WindowState.OPEN.name, "opened_at": at, "closed_at": 0, "gross_fen": 0}


def _window(desk: Desk, number: int) -> Any:
    table = schema.settlement_window
    rows = desk.transaction.select_keys(table, [table.c.number], [(number,)])
    if not rows:
        raise InvalidInput(f"no window {number}", place="window", remedy="list the windows for their numbers")
    return rows[0]


def _set_window(desk: Desk, number: int, **values: Any) -> None:
    table = schema.settlement_window
    desk.transaction.connection.execute(table.update().where(table.c.number == number).values(**values))


def _all_confirmed(desk: Desk, number: int) -> bool:
    table = schema.statement
    rows = desk.transaction.connection.execute(
        table.select().where(table.c.settlement_window == number, table.c.confirmation.is_(None))
    )
    return rows.first() is None


def _totals(desk: Desk, number: int) -> tuple[list[Turnover], list[Flow]]:
    turnover, flow = custodian_schema.turnover, custodian_schema.flow
    run = desk.transaction.connection.execute
    turnovers = [
        Turnover(row.account, row.counterpart, row.posted_fen)
        for row in run(turnover.select().where(turnover.c.settlement_window == number))
    ]
    flows = [Flow(*row[1:]) for row in run(flow.select().where(flow.c.settlement_window == number))]
    return turnovers, flows
