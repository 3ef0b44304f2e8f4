"""Windows from their close to their payment, money at the bank, statements and what is said of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import select

from chassis.database import Query
from clearinghouse import schema
from clearinghouse.arrears import CallOverdue, due_shortfalls
from clearinghouse.closing import CloseOut
from clearinghouse.closing import MarkReturned as MarkPrefundReturned
from clearinghouse.disputes import ADJUSTMENT, Resolve, TakeDispute, booked, record, sign_taken, taken_before
from clearinghouse.engine import Engine
from clearinghouse.evidence import evidence
from clearinghouse.money import AssignReceipt, MarkReturned, PayOut, RecordDeposit
from clearinghouse.prefunding import prefund_list
from clearinghouse.reports import clearing_figures
from clearinghouse.reversing import ReverseDeposit
from clearinghouse.settling import MarkPaid, Settle
from clearinghouse.signatures import require_signed
from clearinghouse.statements import (
    ConfirmMonth,
    StateMonth,
    months_to_state,
    reservation,
    reservation_in,
    signed_statement,
)
from clearinghouse.windows import Calculate, Close, Confirm, Instruct
from custodian.continuity import Continuity
from custodian.prefund import Funder
from custodian.working_days import calendar
from pki.trust import Keyring
from quanlian import netting, wire
from quanlian.errors import InvalidInput
from quanlian.signing import Signer
from quanlian.v1 import clearing_operator_pb2, report_pb2, settlement_pb2, signed_pb2

_WINDOW = schema.settlement_window.c
_NOT_TAKEN = signed_pb2.SignedMessage()
_CLOSED = Query(select(_WINDOW.number).where(_WINDOW.state == "CLOSED").order_by(_WINDOW.number))


class Settlement:
    """The use cases around windows; each step is a transaction of its own."""

    def __init__(self, engine: Engine, keyring: Keyring, statement_signer: Signer, continuity: Continuity) -> None:
        self._engine = engine
        self._keyring = keyring
        self._statement_signer = statement_signer
        self._continuity = continuity

    # Windows

    async def close_window(self, number: int = 0) -> int:
        """Close a window (0: the open one), then calculate what is closed. Returns its number."""
        closed: int = await self._engine.step(Close(number), "close", 0)
        await self.calculate_closed()
        return closed

    async def keep_time(self) -> None:
        """Close the open window when its cut-off has come; what the batches closed themselves is calculated. Call what
        is past due.
        """
        if self._continuity.broken:
            return
        await self._engine.close_if_due()
        await self.calculate_closed()
        if await self._engine.database.read(self._is_anything_past_due):
            await self._engine.step(CallOverdue(), "call", 0)

    def _is_anything_past_due(self) -> bool:
        with self._engine.database.snapshot() as transaction:
            return bool(due_shortfalls(transaction, transaction.now()))

    async def calculate_closed(self) -> None:
        """Calculate every window that is closed and not calculated, also one that a crash left so; then the months
        that are over.
        """
        for number in await self._engine.database.read(self._closed_windows):
            await self._engine.step(Calculate(number, self._statement_signer), "calculate", 0)
        for month in await self._engine.database.read(self._months_to_state):
            await self._engine.step(StateMonth(month, self._statement_signer), "month", 0)

    def _months_to_state(self) -> list[str]:
        with self._engine.database.snapshot() as transaction:
            return months_to_state(transaction)

    def _closed_windows(self) -> list[int]:
        with self._engine.database.snapshot() as transaction:
            return [row.number for row in transaction.rows(_CLOSED)]

    async def confirm(self, region: str, message: signed_pb2.SignedMessage) -> int:
        require_signed(self._keyring, message, "confirmation", region)
        confirmation = wire.parse(settlement_pb2.Confirmation, message.body, "confirmation")
        kind = ConfirmMonth if confirmation.month else Confirm
        return int(await self._engine.step(kind(region, message, confirmation), "confirm", 0))

    async def instruct(self, number: int) -> None:
        await self._engine.step(Instruct(number), "instruct", 0)

    async def mark_paid(self, request: clearing_operator_pb2.MarkPaidRequest) -> None:
        await self._engine.step(MarkPaid(request.window, request.region, request.bank_reference), "mark-paid", 0)

    async def settle(self, number: int) -> None:
        await self._engine.step(Settle(number), "settlement", 0)

    async def window(self, number: int) -> settlement_pb2.SettlementWindow:
        """A window with its positions; 0 asks for the open one."""

        def load() -> settlement_pb2.SettlementWindow:
            table, position, statement = schema.settlement_window, schema.net_position, schema.statement
            payout = schema.payout
            wanted = (table.c.number, number) if number else (table.c.state, "OPEN")
            with self._engine.database.snapshot() as transaction:
                find = transaction.select_keys
                rows = find(table, [wanted[0]], [wanted[1:]])
                if not rows:
                    raise InvalidInput(
                        f"没有场次{number} · no window {number}",
                        place="window",
                        remedy="先列出各场次 · list the windows for their numbers",
                    )
                row = rows[0]
                statements = find(statement, [statement.c.settlement_window], [(row.number,)])
                positions = find(position, [position.c.settlement_window], [(row.number,)])
                paid = find(payout, [payout.c.bank_reference], [(each.bank_reference,) for each in positions])
            returned = {each.bank_reference: each.returned_reference or "" for each in paid}
            confirmed_by = {each.region: _confirmed_by(each) for each in statements}
            reservations = {each.region: reservation_in(each.confirmation) for each in statements}
            shown = _window(row)
            shown.positions.extend(
                settlement_pb2.NetPosition(
                    region=each.region,
                    net_fen=each.net_fen,
                    confirmed=bool(confirmed_by[each.region]),
                    confirmed_by=confirmed_by[each.region],
                    reservation=reservations[each.region],
                    bank_reference=each.bank_reference,
                    payout_fen=each.payout_fen,
                    returned_reference=returned.get(each.bank_reference, ""),
                )
                for each in sorted(positions, key=lambda each: str(each.region))
            )
            return shown

        return await self._engine.database.read(load)

    async def windows(self, limit: int = 0) -> list[settlement_pb2.SettlementWindow]:
        """Windows without their positions, the newest first; at most `limit`, 0 for all."""
        table = schema.settlement_window
        query = table.select().order_by(table.c.number.desc()).limit(limit or None)

        def load() -> list[settlement_pb2.SettlementWindow]:
            with self._engine.database.snapshot() as transaction:
                return [_window(row) for row in transaction.connection.execute(query)]

        return await self._engine.database.read(load)

    async def netting(self, number: int) -> clearing_operator_pb2.GetNettingResponse:
        """Who owed whom over a calculated window, and what netting saved. Raises InvalidInput where there is none."""
        pair, position = schema.bilateral, schema.net_position

        def load() -> dict[tuple[str, str], int]:
            with self._engine.database.snapshot() as transaction:
                run = transaction.connection.execute
                if run(position.select().where(position.c.settlement_window == number)).first() is None:
                    raise InvalidInput(
                        f"场次{number}尚未轧差 · window {number} is not calculated",
                        place="window",
                        remedy="先截止 · close it first",
                    )
                rows = run(pair.select().where(pair.c.settlement_window == number).order_by(*pair.primary_key))
                return {(row.debtor, row.creditor): row.amount_fen for row in rows}

        owed = await self._engine.database.read(load)
        figures = netting.figures(owed)
        return clearing_operator_pb2.GetNettingResponse(
            obligations=[
                clearing_operator_pb2.Obligation(debtor=debtor, creditor=creditor, amount_fen=fen)
                for (debtor, creditor), fen in netting.obligations(owed).items()
            ],
            **figures._asdict(),
        )

    # Money at the bank

    async def record_deposit(self, request: clearing_operator_pb2.RecordDepositRequest) -> int:
        """A region's money or one of its funders', or with no region a receipt that is nobody's yet.

        Returns what stands on the account that was credited, in fen.
        """
        funder = _funder(request)
        work = RecordDeposit(request.region, request.amount_fen, request.bank_reference, request.memo, funder)
        return int(await self._engine.step(work, "deposit", 0))

    async def assign_receipt(self, request: clearing_operator_pb2.AssignReceiptRequest) -> int:
        """Returns what stands on the account of whose the receipt is, in fen."""
        work = AssignReceipt(request.bank_reference, request.region, _funder(request))
        return int(await self._engine.step(work, "assignment", 0))

    async def reverse_deposit(
        self, by: str, request: clearing_operator_pb2.ReverseDepositRequest
    ) -> clearing_operator_pb2.ReverseDepositResponse:
        """Take back what was booked wrongly. Raises InvalidInput where the money does not stand there any more."""
        row = await self._engine.step(ReverseDeposit(request.bank_reference, by, request.why), "reversal", 0)
        return clearing_operator_pb2.ReverseDepositResponse(
            bank_reference=row.bank_reference,
            region=row.region,
            account=row.account,
            amount_fen=row.amount_fen,
            assignment=row.assigned,
            window=row.reversed_window,
            at=row.reversed_at,
            by=row.reversed_by,
            why=row.why,
        )

    async def prefund(self, region: str) -> list[clearing_operator_pb2.Prefund]:
        """What funders paid ahead, by account; of all regions with an empty one."""

        def load() -> list[clearing_operator_pb2.Prefund]:
            with self._engine.database.snapshot() as transaction:
                return prefund_list(transaction, region)

        return await self._engine.database.read(load)

    async def pay_out(self, request: clearing_operator_pb2.PayOutRequest) -> int:
        """Returns what is left of the region's balance, in fen."""
        return int(
            await self._engine.step(PayOut(request.region, request.amount_fen, request.bank_reference), "pay-out", 0)
        )

    async def mark_returned(
        self, request: clearing_operator_pb2.MarkPayOutReturnedRequest
    ) -> clearing_operator_pb2.MarkPayOutReturnedResponse:
        """The bank sent a pay-out back."""
        work = MarkReturned(request.pay_out, request.bank_reference)
        returned = await self._engine.step(work, "returned-pay-out", 0)
        return clearing_operator_pb2.MarkPayOutReturnedResponse(**returned._asdict())

    async def close_out(
        self, by: str, request: clearing_operator_pb2.CloseOutPrefundRequest
    ) -> clearing_operator_pb2.CloseOutPrefundResponse:
        """Give back what stands of what funders paid ahead. Raises InvalidInput with all that is open."""
        is_working = calendar(request.working_days, request.file_name or "working days")
        work = CloseOut(request.region, request.campaign, request.fiscal_year, by, is_working)
        closed = await self._engine.step(work, "close-out", 0)
        assert isinstance(closed, clearing_operator_pb2.CloseOutPrefundResponse)
        return closed

    async def mark_prefund_returned(self, deposit: str, bank_reference: str) -> clearing_operator_pb2.PrefundReturn:
        returned = await self._engine.step(MarkPrefundReturned(deposit, bank_reference), "prefund-return", 0)
        assert isinstance(returned, clearing_operator_pb2.PrefundReturn)
        return returned

    async def bank_receipts(self) -> list[clearing_operator_pb2.BankReceipt]:
        """Receipts in suspense, oldest first."""
        table = schema.deposit
        query = table.select().where(table.c.region == "").order_by(table.c.received_at, table.c.bank_reference)

        def load() -> list[clearing_operator_pb2.BankReceipt]:
            with self._engine.database.snapshot() as transaction:
                return [
                    clearing_operator_pb2.BankReceipt(
                        bank_reference=row.bank_reference,
                        amount_fen=row.amount_fen,
                        received_at=row.received_at,
                        memo=row.memo,
                    )
                    for row in transaction.connection.execute(query)
                ]

        return await self._engine.database.read(load)

    # Statements

    async def statement(self, region: str, window: int, month: str = "") -> signed_pb2.SignedMessage:
        """A region's signed statement of a window, or of a month. Raises InvalidInput where there is none."""

        def load() -> signed_pb2.SignedMessage:
            with self._engine.database.snapshot() as transaction:
                return signed_statement(transaction, region, window, month)

        return await self._engine.database.read(load)

    async def reservation(self, region: str, window: int, month: str) -> str:
        """With which reservation a region confirmed a statement; empty without one."""

        def load() -> str:
            with self._engine.database.snapshot() as transaction:
                return reservation(transaction, region, window, month)

        return await self._engine.database.read(load)

    async def statement_evidence(self, region: str, window: int) -> AsyncIterator[list[bytes]]:
        """What a region's statement can be recomputed from, as lines of JSON, some at a time."""
        lines = evidence(self._engine.database, self._statement_signer, region, window)
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "evidence") as reader:
            try:
                while (some := await loop.run_in_executor(reader, next, lines, None)) is not None:
                    yield some
            finally:
                await loop.run_in_executor(reader, lines.close)

    async def take_dispute(
        self, region: str, message: signed_pb2.SignedMessage, taken: signed_pb2.SignedMessage = _NOT_TAKEN
    ) -> signed_pb2.SignedMessage:
        """Returns this party's signed word that it has the dispute; `taken` is the one that it gave before."""
        require_signed(self._keyring, message, "dispute", region)
        dispute = wire.parse(settlement_pb2.Dispute, message.body, "dispute")
        if dispute.region != region or not dispute.lines or not dispute.why:
            raise InvalidInput(
                f"须写明{region}对账单的行和理由 · needs lines of {region}'s statement and a reason",
                place="dispute",
                remedy="逐行写明并说明理由 · name the lines, and say why",
            )
        work = TakeDispute(message, dispute, taken_before(message, taken, self._keyring))
        return sign_taken(message, int(await self._engine.step(work, "dispute", 0)), self._engine.signer)

    async def disputes(self) -> list[clearing_operator_pb2.DisputeRecord]:
        """Every dispute, the open ones first, then by time."""
        table = schema.dispute
        query = table.select().order_by(table.c.resolved_at != 0, table.c.raised_at, table.c.region, table.c.number)

        def load() -> list[clearing_operator_pb2.DisputeRecord]:
            with self._engine.database.snapshot() as transaction:
                return [record(row) for row in transaction.connection.execute(query)]

        return await self._engine.database.read(load)

    async def resolve_dispute(
        self, request: clearing_operator_pb2.ResolveDisputeRequest
    ) -> clearing_operator_pb2.ResolveDisputeResponse:
        """Decide a dispute; one adjusting entry is booked in the window that is open now and names it."""
        adjustments = [(each.redemption_id, each.amount_fen) for each in request.adjustments]
        work = Resolve(request.region, request.number, request.upheld, request.why.strip(), adjustments)
        resolved = await self._engine.step(work, ADJUSTMENT, None, work.reference)

        def load() -> clearing_operator_pb2.ResolveDisputeResponse:
            with self._engine.database.snapshot() as transaction:
                found = booked(transaction, work.reference)
            return clearing_operator_pb2.ResolveDisputeResponse(dispute=resolved, booked=found)

        return await self._engine.database.read(load)

    async def campaign_figures(self, campaign: str, issuer: str = "") -> report_pb2.CampaignFigures:
        """What was decided here of a campaign, for its issuer or (empty) the clearinghouse's own operator."""

        def load() -> report_pb2.CampaignFigures:
            with self._engine.database.snapshot() as transaction:
                return clearing_figures(transaction, campaign, issuer)

        return await self._engine.database.read(load)


def _funder(
    request: clearing_operator_pb2.RecordDepositRequest | clearing_operator_pb2.AssignReceiptRequest,
) -> Funder | None:
    """None: the region itself, or nobody known."""
    if not request.HasField("funder"):
        return None
    return Funder(request.funder.campaign, request.funder.funder, request.funder.fiscal_year)


def _confirmed_by(statement: Any) -> str:
    """Empty for a statement that is not confirmed."""
    if statement.confirmation is not None:
        return "region"
    return "deadline" if statement.silent_at is not None else ""


def _window(row: Any) -> settlement_pb2.SettlementWindow:
    return settlement_pb2.SettlementWindow(
        number=row.number,
        state=settlement_pb2.WindowState.Value(f"WINDOW_STATE_{row.state}"),
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        gross_fen=row.gross_fen,
    )
