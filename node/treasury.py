"""What a department does with its dedicated account: receipts, payments to acquirers, the close-out of a campaign."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select

from chassis.database import Transaction
from custodian.working_days import calendar
from node import schema
from node.bank import RETURN, AssignReceipt, Payer, RecordReceipt
from node.closing import CloseOut, released_fen
from node.desk import Desk
from node.engine import Engine
from node.operations import NodeOperations
from node.paying import InstructPayments, Lodge, MarkPaid, MarkReturned
from node.publishing import current_terms
from node.reversing import Reverse
from pki.identity import Identity
from quanlian.accounts import contribution_of, prefund_of, suspense_account, used_away_account
from quanlian.terms import Terms
from quanlian.v1 import node_operator_pb2 as pb
from quanlian.v1 import payment_pb2


class NodeTreasury:
    """The operator's use cases around money; everything that changes the books goes through the group commit."""

    def __init__(self, engine: Engine, operations: NodeOperations) -> None:
        self._engine = engine
        self._operations = operations

    async def record_receipt(self, request: pb.RecordDedicatedReceiptRequest) -> int:
        work = RecordReceipt(
            _payer(request.payer), request.amount_fen, request.bank_reference, request.memo, request.at
        )
        return int(await self._work(work))

    async def assign_receipt(self, request: pb.AssignDedicatedReceiptRequest) -> int:
        return int(await self._work(AssignReceipt(request.bank_reference, _payer(request.payer))))

    async def receipts(self, unmatched: bool) -> list[payment_pb2.DedicatedReceipt]:
        """What came in, oldest first."""
        table = schema.bank_receipt
        query = table.select().order_by(table.c.received_at, table.c.bank_reference)
        if unmatched:
            query = query.where(table.c.account == suspense_account())
        names = ("bank_reference", "account", "amount_fen", "received_at", "memo")
        return [
            payment_pb2.DedicatedReceipt(**{name: getattr(row, name) for name in names})
            for row in await self._engine.read(query)
        ]

    async def lodge(self, caller: Identity, request: pb.RecordLodgingRequest) -> int:
        return int(await self._work(Lodge(request.amount_fen, request.bank_reference, caller.uri, request.at)))

    async def reverse(self, caller: Identity, request: pb.ReverseBankEntryRequest) -> pb.ReverseBankEntryResponse:
        """Take back what was recorded wrongly. Raises InvalidInput where its money was used."""
        row, before = await self._work(Reverse(request.bank_reference, caller.uri, request.why))
        return pb.ReverseBankEntryResponse(
            bank_reference=row.bank_reference,
            kind=row.kind,
            account=row.account,
            amount_fen=row.amount_fen,
            at=row.reversed_at,
            by=row.reversed_by,
            why=row.why,
            reversed_before=before,
        )

    async def instruct(self, caller: Identity) -> pb.InstructPaymentsResponse:
        """Make out what acquirers are owed and is covered; and what waits for money."""
        instructed = await self._work(InstructPayments(caller.uri))
        return pb.InstructPaymentsResponse(
            payments=await self._payments(schema.payment.c.number.in_(instructed.numbers)),
            held_back=[payment_pb2.HeldBack(**each._asdict()) for each in instructed.held_back],
        )

    async def payments(self, made: bool) -> list[payment_pb2.Payment]:
        """Payments for the bank to make, or all."""
        column = schema.payment.c
        return await self._payments(column.number > 0 if made else column.bank_reference.is_(None))

    async def mark_made(self, request: pb.MarkPaymentMadeRequest) -> payment_pb2.Payment:
        await self._work(MarkPaid(request.number, request.bank_reference))
        return (await self._payments(schema.payment.c.number == request.number))[0]

    async def mark_returned(self, request: pb.MarkPaymentReturnedRequest) -> payment_pb2.Payment:
        await self._work(MarkReturned(request.number, request.bank_reference))
        return (await self._payments(schema.payment.c.number == request.number))[0]

    async def close_out(self, caller: Identity, request: pb.CloseOutCampaignRequest) -> payment_pb2.CloseOut:
        """Close a campaign out, again where refunds freed money since, and tell the network.

        Raises InvalidInput with all that is open.
        """
        is_working = calendar(request.working_days, request.file_name or "working days")
        await self._work(CloseOut(request.campaign, caller.uri, is_working))
        await self._operations.tell_closed_out(caller, request.campaign)
        return await self._engine.database.read(self._closed, request.campaign)

    def _closed(self, campaign: str) -> payment_pb2.CloseOut:
        table, payment = schema.close_out, schema.payment
        with self._engine.database.snapshot() as transaction:
            desk = Desk(transaction, self._engine.region, self._engine.shelf)
            terms = current_terms(desk, campaign)
            assert terms is not None, "a campaign that was closed out has terms"
            query = table.select().where(table.c.campaign == campaign).order_by(table.c.number.desc())
            last = transaction.connection.execute(query).first()
            query = payment.select().where(payment.c.kind == RETURN, payment.c.campaign == campaign)
            returns: Sequence[Any] = transaction.connection.execute(query.order_by(payment.c.number)).all()
            assert last is not None
            return payment_pb2.CloseOut(
                campaign=campaign,
                number=last.number,
                at=last.at,
                closed_by=last.closed_by,
                due_on=last.due_on,
                funders=_funders(desk, terms, returns),
                returns=map(_payment, returns),
            )

    async def _payments(self, condition: Any) -> list[payment_pb2.Payment]:
        table = schema.payment
        return [_payment(row) for row in await self._engine.read(table.select().where(condition).order_by("number"))]

    async def _work(self, work: Any) -> Any:
        return await self._engine.submit(work)


def _funders(desk: Desk, terms: Terms, returns: Sequence[Any]) -> list[payment_pb2.CloseOutFunder]:
    """Where each funder's budget and money went, in the order of the terms."""
    released, returned, paid = released_fen(desk, terms.campaign), Counter[str](), Counter[str]()
    for row in returns:
        if row.returned_reference:
            continue
        returned[row.payee] += row.amount_fen
        paid[row.payee] += row.amount_fen if row.bank_reference else 0
    levels = {each.name: (each.title_zh, each.level) for each in terms.funders}
    found = []
    for account, budget_fen in terms.budgets().items():
        funder = account.rpartition("/")[2]
        title_zh, level = levels.get(funder, ("", "co-funder"))
        mirror = used_away_account(desk.name, terms.fiscal_year, terms.campaign, funder)
        found.append(
            payment_pb2.CloseOutFunder(
                funder=funder,
                title_zh=title_zh,
                level=level,
                budget_fen=budget_fen,
                used_home_fen=desk.books.balance(account).posted_fen,
                used_away_fen=desk.books.balance(mirror).posted_fen,
                released_fen=released[account],
                paid_ahead_fen=_paid_ahead(desk.transaction, prefund_of(account)),
                settled_fen=-desk.books.balance(contribution_of(account)).posted_fen,
                returned_fen=returned[funder],
                returned_paid_fen=paid[funder],
                owed_fen=_owed(desk.transaction, account),
            )
        )
    return found


def _paid_ahead(transaction: Transaction, purse: str) -> int:
    table = schema.bank_receipt
    query = select(func.sum(table.c.amount_fen)).where(table.c.account == purse)
    return int(transaction.connection.execute(query).scalar_one() or 0)


def _owed(transaction: Transaction, account: str) -> int:
    """Used away and not drawn yet, for want of money paid ahead."""
    use = schema.away_use
    query = select(func.sum(use.c.used_fen - use.c.drawn_fen)).where(use.c.account == account)
    return int(transaction.connection.execute(query).scalar_one() or 0)


def _payer(message: pb.Payer) -> Payer:
    return Payer(message.campaign, message.funder, message.clearinghouse, message.fiscal_year)


def _payment(row: Any) -> payment_pb2.Payment:
    return payment_pb2.Payment(
        number=row.number,
        kind=row.kind,
        payee=row.payee,
        amount_fen=row.amount_fen,
        items=[
            payment_pb2.PaymentItem(window=window, account=account, amount_fen=fen)
            for window, account, fen in json.loads(row.items)
        ],
        campaign=row.campaign,
        deposit=row.deposit,
        made_at=row.made_at,
        made_by=row.made_by,
        bank_reference=row.bank_reference or "",
        paid_at=row.paid_at or 0,
        returned_reference=row.returned_reference or "",
        returned_at=row.returned_at or 0,
    )
