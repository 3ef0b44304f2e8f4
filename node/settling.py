"""What a department does with its statements: look, reconcile, confirm, dispute, export, report."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import select

from custodian import campaign_figures
from custodian.books import Books
from node import schema
from node.desk import Desk
from node.ports import Clearinghouse
from node.publishing import current_terms
from node.reconciling import KeepReconciliation
from node.service import NodeService
from node.signatures import require_clearinghouse, signed
from pki.identity import Identity
from quanlian.accounts import used_away_account
from quanlian.errors import InvalidInput
from quanlian.signing import Signer
from quanlian.statements import (
    Difference,
    LineFigures,
    LineKey,
    Reconciliation,
    Statement,
    json_to_statement,
    reconcile,
)
from quanlian.terms import Terms
from quanlian.v1 import node_operator_pb2 as pb
from quanlian.v1 import report_pb2, settlement_pb2, signed_pb2

DISPUTE = "dispute"
"""The kind of the journal's entry."""


class NodeSettling:
    """The operator's use cases around statements, for which the clearinghouse must be reachable."""

    def __init__(self, service: NodeService, clearinghouse: Clearinghouse, message_signer: Signer) -> None:
        self._service = service
        self._clearinghouse = clearinghouse
        self._signer = message_signer

    async def statement(self, window: int, month: str) -> pb.GetOwnStatementResponse:
        """This region's signed statement with the chain of its key. Raises InvalidInput where there is none."""
        response = await self._clearinghouse.statement(window, month)
        require_clearinghouse(self._service.keyring, response.statement, "statement")
        return pb.GetOwnStatementResponse(statement=response.statement, chain=response.chain)

    def evidence(self, window: int) -> AsyncIterator[Sequence[bytes]]:
        return self._clearinghouse.evidence(window)

    async def reconciliation(self, window: int, month: str) -> pb.GetReconciliationResponse:
        """The four lists, line by line, both sides."""
        statement, _, result = await self._compared(window, month)
        sides = _sides(statement)
        matched = [Difference(key, sides[key], sides[key]) for key in result.matched]
        lists = {
            "matched": matched,
            "missing": result.missing,
            "extra": result.extra,
            "different": result.different,
        }
        return pb.GetReconciliationResponse(
            lines=[
                pb.ReconciledLine(list=name, key=each.key, statement=_figures(each.statement), own=_figures(each.own))
                for name, differences in lists.items()
                for each in differences
            ],
            confirmed=await self._is_confirmed(statement),
        )

    async def confirm(self, caller: Identity, window: int, month: str) -> int:
        """A person's word on a statement, also where lines differ: these are disputed first. Returns the state.

        Raises InvalidInput for a difference that nobody disputed.
        """
        statement, document, result = await self._compared(window, month)
        disputed = await self._disputed(statement.covers)
        for each in (*result.missing, *result.extra, *result.different):
            if not _is_disputed(each.key, disputed):
                raise InvalidInput(
                    f"{'/'.join(each.key)} differs from this node's books",
                    place=f"statement {statement.period}",
                    remedy="dispute the line first (quanlian node dispute), or find its cause",
                )
        if not statement.month:
            await self._service.engine.submit(KeepReconciliation(statement, document, result))
        state = await self._service.reconciler.confirm(document, statement, result, caller.uri)
        await asyncio.to_thread(self._keep_confirmed, statement, caller.uri)
        return state

    async def dispute(self, caller: Identity, request: pb.DisputeOwnStatementRequest) -> int:
        """Name lines that are not accepted; returns the dispute's number. Kept here, then sent."""
        if not request.lines or not request.why:
            raise InvalidInput("needs at least one line and a reason", place="dispute")

        def keep() -> settlement_pb2.Dispute:
            with self._service.database.transaction() as transaction:
                numbers = transaction.connection.execute(select(schema.dispute.c.number)).scalars()
                made = settlement_pb2.Dispute(
                    region=self._service.region.code,
                    number=max(numbers, default=0) + 1,
                    window=request.window,
                    lines=request.lines,
                    why=request.why,
                    by=caller.uri,
                    at=transaction.now(),
                )
                message = signed(made.SerializeToString(), "dispute", self._signer)
                row = {
                    "number": made.number,
                    "settlement_window": made.window,
                    "body": message.body,
                    "key_id": message.key_id,
                    "signature": message.signature,
                    "sent": False,
                }
                transaction.insert(schema.dispute, [row])
            return made

        statement, _, _ = await self._compared(request.window, "")
        _require_lines(statement, request.lines)
        made = await asyncio.to_thread(keep)
        await self.send_disputes()
        return made.number

    async def send_disputes(self) -> None:
        """Give the clearinghouse the disputes that it does not have yet, in order. Raises Unavailable."""
        table = schema.dispute
        for row in await self._service.engine.read(
            table.select().where(table.c.sent.is_(False)).order_by(table.c.number)
        ):
            message = signed_pb2.SignedMessage(body=row.body, key_id=row.key_id, signature=row.signature)
            await self._clearinghouse.dispute(message)
            await asyncio.to_thread(self._mark_sent, row.number)

    async def report(self, campaign: str) -> report_pb2.CampaignFigures:
        """The seven figures of an own campaign, over this node's books and the clearinghouse's."""
        away = await self._clearinghouse.campaign_figures(campaign)
        return await asyncio.to_thread(self._report, campaign, away)

    def _report(self, campaign: str, away: report_pb2.CampaignFigures) -> report_pb2.CampaignFigures:
        region = self._service.region.code
        with self._service.database.snapshot() as transaction:
            terms = current_terms(Desk(transaction, self._service.region, self._service.shelf), campaign)
            if terms is None:
                raise InvalidInput(f"no campaign {campaign} here", place="campaign", remedy="publish it first")
            home = campaign_figures.decided(transaction, region, campaign)
            issued_count, issued_fen = _issued(transaction, campaign)
            mirrors = {account: _mirror(account) for account in terms.budgets()}
            used = campaign_figures.budgets_used(transaction, [*mirrors, *mirrors.values()])
        own_merchants = home.merchants.get(region, set()) | set(away.home_merchants)
        return report_pb2.CampaignFigures(
            campaign=campaign,
            title_zh=terms.title_zh,
            title_en=terms.title_en,
            issued_count=issued_count,
            issued_fen=issued_fen,
            redeemed_count=home.whole.redeemed + away.redeemed_count,
            order_fen=home.whole.order_fen + away.order_fen,
            redeemed_fen=home.whole.redeemed_fen + away.redeemed_fen,
            refunded_fen=home.whole.refunded_fen + away.refunded_fen,
            merchants=len(own_merchants) + away.merchants - len(away.home_merchants),
            by_category=_joined(home.by_category, away.by_category),
            by_region=_joined(home.by_region, away.by_region),
            by_day=_joined(home.by_day, away.by_day),
            funders=_budgets(terms, used, away),
        )

    async def _compared(self, window: int, month: str) -> tuple[Statement, bytes, Reconciliation]:
        message = (await self.statement(window, month)).statement
        statement = json_to_statement(message.body)
        sums = await asyncio.to_thread(self._service.reconciler.own_sums, statement.covers)
        return statement, message.body, reconcile(statement, *sums)

    async def _is_confirmed(self, statement: Statement) -> bool:
        if statement.month:
            month = schema.statement_month
            rows = await self._service.engine.read(month.select().where(month.c.month == statement.month))
            return bool(rows and rows[0].confirmed_by)
        table = schema.settlement_window
        rows = await self._service.engine.read(table.select().where(table.c.number == statement.window))
        return bool(rows and rows[0].confirmed)

    async def _disputed(self, windows: Sequence[int]) -> set[LineKey]:
        table = schema.dispute
        rows = await self._service.engine.read(table.select().where(table.c.settlement_window.in_(windows)))
        return {
            LineKey(line.role, line.counterpart, line.campaign)
            for row in rows
            for line in settlement_pb2.Dispute.FromString(row.body).lines
        }

    def _keep_confirmed(self, statement: Statement, by: str) -> None:
        if not statement.month:
            self._service.reconciler.mark_confirmed(statement.window)
            return
        with self._service.database.transaction() as transaction:
            transaction.upsert(schema.statement_month, [{"month": statement.month, "confirmed_by": by}])

    def _mark_sent(self, number: int) -> None:
        with self._service.database.transaction() as transaction:
            transaction.update(schema.dispute, {"number": number}, {"sent": True})
            (row,) = transaction.select_keys(schema.dispute, [schema.dispute.c.number], [(number,)])
            books, at = Books(transaction), transaction.now()
            books.record(DISPUTE, at, str(number), row.signature)
            books.save(DISPUTE, at)


def _sides(statement: Statement) -> dict[tuple[str, ...], Any]:
    sides: dict[tuple[str, ...], Any] = {tuple(key): figures for key, figures in statement.lines.items()}
    return sides | dict(statement.funders.items())


def _figures(side: LineFigures | int | None) -> list[int]:
    """The figures of a line in declared order, or a funder's one."""
    if side is None:
        return []
    return [side] if isinstance(side, int) else [getattr(side, name) for name in LineFigures.__dataclass_fields__]


def _is_disputed(key: tuple[str, ...], disputed: set[LineKey]) -> bool:
    """A line by its key; a funder by any disputed line with its counterpart."""
    if len(key) == len(LineKey._fields):
        return LineKey(*key) in disputed
    return any(line.counterpart == key[1] for line in disputed)


def _require_lines(statement: Statement, lines: Sequence[settlement_pb2.LineRef]) -> None:
    for line in lines:
        if LineKey(line.role, line.counterpart, line.campaign) not in statement.lines:
            known = ", ".join("/".join(key) for key in sorted(statement.lines)) or "none"
            raise InvalidInput(
                f"{line.role}/{line.counterpart}/{line.campaign} is no line of window {statement.window}",
                place="--line",
                remedy=f"its lines are {known}",
            )


def _issued(transaction: Any, campaign: str) -> tuple[int, int]:
    """Vouchers issued, and the sum of their highest discounts."""
    table = schema.claim_round
    rounds = transaction.select_keys(table, [table.c.campaign], [(campaign,)])
    return sum(row.vouchers for row in rounds), sum(row.reserved_fen for row in rounds)


def _mirror(account: str) -> str:
    _, region, year, campaign, funder = account.split("/")
    return used_away_account(region, int(year), campaign, funder)


def _joined(groups: Any, others: Any) -> list[report_pb2.GroupFigures]:
    return campaign_figures.group_messages(campaign_figures.joined(groups, others))


def _budgets(terms: Terms, used: dict[str, Any], away: report_pb2.CampaignFigures) -> list[report_pb2.BudgetFigures]:
    """Plan and use of each funder: reserved and held on both books, used at home and away."""
    there = {each.funder: each for each in away.funders}
    levels = {each.name: (each.title_zh, each.level) for each in terms.funders}
    found = []
    for account, planned_fen in terms.budgets().items():
        funder = account.rpartition("/")[2]
        own, mirror, other = used.get(account), used.get(_mirror(account)), there.get(funder)
        title_zh, level = levels.get(funder, ("", "co-funder"))
        found.append(
            report_pb2.BudgetFigures(
                funder=funder,
                title_zh=title_zh,
                level=level,
                planned_fen=planned_fen,
                reserved_fen=(own.reserved_fen if own else 0) + (other.reserved_fen if other else 0),
                held_fen=(own.held_fen if own else 0) + (other.held_fen if other else 0),
                used_home_fen=own.posted_fen if own else 0,
                used_away_fen=mirror.posted_fen if mirror else 0,
            )
        )
    return found
