"""What a department does with its statements: look, reconcile, confirm, dispute, export, report."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import select

from chassis import telemetry
from custodian import campaign_figures
from custodian.books import Books
from node import schema
from node.balances import not_reconciled, own_at_bank
from node.desk import Desk
from node.disputes import DISPUTE, keep_taken, known_disputes, last_number, require_taken, word_in
from node.ports import Clearinghouse
from node.publishing import current_terms
from node.reconciling import KeepReconciliation
from node.service import NodeService
from node.signatures import signed
from pki.identity import Identity
from quanlian.errors import InvalidInput
from quanlian.signing import Signer
from quanlian.statements import (
    BALANCE,
    Difference,
    FunderFigures,
    LineFigures,
    LineKey,
    Reconciliation,
    Statement,
)
from quanlian.terms import Terms
from quanlian.v1 import node_operator_pb2 as pb
from quanlian.v1 import report_pb2, settlement_pb2, signed_pb2

_TOTALS = ("refunded", "closing")
"""Balances that differ as something else does that they follow from."""


_log = telemetry.logger("settling")


class _Word(NamedTuple):
    """Whether this region confirmed a statement, and with which reservation."""

    confirmed: bool = False
    reservation: str = ""


class NodeSettling:
    """The operator's use cases around statements, for which the clearinghouse must be reachable."""

    def __init__(self, service: NodeService, clearinghouse: Clearinghouse, message_signer: Signer) -> None:
        self._service = service
        self._clearinghouse = clearinghouse
        self._signer = message_signer
        self._numbering = asyncio.Lock()
        """Held until a dispute is taken or dropped, so that their numbers have no gap."""

    async def statement(self, window: int, month: str) -> pb.GetOwnStatementResponse:
        """This region's signed statement with the chain of its key. Raises InvalidInput where there is none."""
        response = await self._clearinghouse.statement(window, month)
        self._service.reconciler.read(response.statement, window, month)
        return pb.GetOwnStatementResponse(statement=response.statement, chain=response.chain)

    def evidence(self, window: int) -> AsyncIterator[Sequence[bytes]]:
        return self._clearinghouse.evidence(window)

    async def reconciliation(self, window: int, month: str) -> pb.GetReconciliationResponse:
        """The lists, line by line, both sides."""
        statement, _, result = await self._compared(window, month)
        sides, payments = _sides(statement), await self._service.database.read(self._payments, statement)
        word = await self._confirmation(statement)
        matched = [Difference(key, sides[key], sides[key]) for key in result.matched]
        lists = {
            "matched": matched,
            "missing": result.missing,
            "extra": result.extra,
            "different": result.different,
            "unchecked": result.unchecked,
        }
        return pb.GetReconciliationResponse(
            lines=[
                pb.ReconciledLine(
                    list=name,
                    key=each.key,
                    statement=_figures(each.statement),
                    own=_figures(each.own),
                    payments=payments.get(each.key[-1], ()) if name == "different" and each.key[0] == BALANCE else (),
                )
                for name, differences in lists.items()
                for each in differences
            ],
            confirmed=word.confirmed,
            reservation=word.reservation,
            disputes=await self._service.database.read(self._known_disputes, statement.covers),
            not_reconciled=await self._service.database.read(self._not_reconciled, statement),
        )

    async def disputes(self) -> list[pb.KnownDispute]:
        """This region's disputes, and others' whose adjusting entries concern it, with what was decided."""
        return await self._service.database.read(self._known_disputes)

    def _known_disputes(self, windows: Sequence[int] = ()) -> list[pb.KnownDispute]:
        with self._service.database.snapshot() as transaction:
            return known_disputes(transaction, windows)

    async def confirm(
        self, caller: Identity, window: int, month: str, reservation: str = ""
    ) -> pb.ConfirmOwnStatementResponse:
        """A person's word on a statement, also where lines differ: these are disputed first, or named in the word with
        the reservation (保留意见) that it is given with. One that was confirmed before stays as it was.

        Raises InvalidInput for a difference that nobody disputed, without a reservation.
        """
        statement, document, result = await self._compared(window, month)
        disputed = await self._disputed(statement.covers)
        differing = [each.key for each in (*result.missing, *result.extra, *result.different)]
        reserved = [key for key in differing if not _is_disputed(key, disputed)]
        if reserved and not reservation.strip():
            raise _undisputed(statement, reserved)
        if not reserved:
            reservation = ""
        if not statement.month:
            await self._service.engine.submit(KeepReconciliation(statement, document, result))
        confirmed_before = (await self._confirmation(statement)).confirmed
        names = ["/".join(key) for key in reserved]
        word = self._service.reconciler.confirmation(document, statement, result, caller.uri, reservation, names)
        state = await self._clearinghouse.confirm(word)
        if not confirmed_before:
            await self._service.database.write(self._keep_confirmed, statement, word, caller.uri, reservation)
        return pb.ConfirmOwnStatementResponse(
            state=state,  # type: ignore[arg-type]
            confirmed_before=confirmed_before,
        )

    async def dispute(self, caller: Identity, request: pb.DisputeOwnStatementRequest) -> int:
        """Name lines that are not accepted; returns the dispute's number. Kept here, then sent; the same again, by
        lines and reason, is the one that is known.

        A line that only this node's books have is disputed with its figures and redemptions. Raises InvalidInput for
        what neither side has, and what the clearinghouse does not take.
        """
        if not request.lines or not request.why.strip():
            raise InvalidInput(
                "须写明至少一行和理由 · needs at least one line and a reason",
                place="dispute",
                remedy="用 --line 和 --why 写明 · give them with --line and --why",
            )
        async with self._numbering:
            await self._send_disputes()
            statement, _, result = await self._compared(request.window, "")
            lines = await self._service.database.read(self._disputed_lines, statement, result, request.lines)
            made = await self._service.database.write(self._keep_dispute, caller, request, lines)
            await self._send_disputes()
        return made.number

    def _disputed_lines(
        self, statement: Statement, result: Reconciliation, lines: Sequence[settlement_pb2.LineRef]
    ) -> list[settlement_pb2.LineRef]:
        own = {each.key: each.own for each in result.missing}
        _require_lines(statement, own.keys() | statement.lines.keys() | statement.balances.keys(), lines)
        made = []
        for line in lines:
            key = LineKey(line.role, line.counterpart, line.campaign)
            left_out = key in own
            made.append(
                settlement_pb2.LineRef(
                    role=line.role,
                    counterpart=line.counterpart,
                    campaign=line.campaign,
                    own_figures=_figures(own[key]) if left_out else (),
                    redemption_ids=self._service.reconciler.redemptions(statement.window, key) if left_out else (),
                )
            )
        return made

    def _keep_dispute(
        self, caller: Identity, request: pb.DisputeOwnStatementRequest, lines: Sequence[settlement_pb2.LineRef]
    ) -> settlement_pb2.Dispute:
        with self._service.database.transaction() as transaction:
            known = [
                settlement_pb2.Dispute.FromString(body)
                for body in transaction.connection.execute(select(schema.dispute.c.body)).scalars()
            ]
            if same := [each for each in known if _is_same(each, request)]:
                return same[0]
            region = self._service.region.code
            made = settlement_pb2.Dispute(
                region=region,
                number=last_number(transaction, region) + 1,
                window=request.window,
                lines=lines,
                why=request.why,
                by=caller.uri,
                at=transaction.now(),
            )
            message = signed(made.SerializeToString(), DISPUTE, self._signer)
            row = {
                "number": made.number,
                "settlement_window": made.window,
                "body": message.body,
                "key_id": message.key_id,
                "signature": message.signature,
                "sent": False,
                "taken": None,
            }
            transaction.insert(schema.dispute, [row])
        return made

    async def send_disputes(self) -> None:
        """Give the clearinghouse the disputes that it does not have yet, in order. Raises Unavailable.

        One that it does not take is not kept, so that its number is free and it holds up no other: InvalidInput. One
        that it took before is kept all the same: a clearinghouse that was restored takes it again by its own word.
        """
        async with self._numbering:
            await self._send_disputes()

    async def _send_disputes(self) -> None:
        table = schema.dispute
        for row in await self._service.engine.read(
            table.select().where(table.c.sent.is_(False)).order_by(table.c.number)
        ):
            message = signed_pb2.SignedMessage(body=row.body, key_id=row.key_id, signature=row.signature)
            try:
                taken = await self._clearinghouse.dispute(message, word_in(row.taken))
            except InvalidInput as error:
                if row.taken is not None:
                    _log.error("a dispute is not taken again", number=row.number, error=str(error))
                    continue
                await self._service.database.write(self._drop_dispute, row.number)
                raise
            require_taken(self._service.keyring, message, taken)
            await self._service.database.write(self._mark_sent, message, taken)

    async def report(self, campaign: str) -> report_pb2.CampaignFigures:
        """The seven figures of an own campaign, over this node's books and the clearinghouse's."""
        away = await self._clearinghouse.campaign_figures(campaign)
        return await self._service.database.read(self._report, campaign, away)

    def _report(self, campaign: str, away: report_pb2.CampaignFigures) -> report_pb2.CampaignFigures:
        region = self._service.region.code
        with self._service.database.snapshot() as transaction:
            terms = current_terms(Desk(transaction, self._service.region, self._service.shelf), campaign)
            if terms is None:
                raise InvalidInput(
                    f"本节点没有活动 {campaign} · no campaign {campaign} here",
                    place="campaign",
                    remedy="先发布 · publish it first",
                )
            home = campaign_figures.decided(transaction, region, campaign)
            issued_count, issued_fen = _issued(transaction, campaign)
            used = campaign_figures.budgets_used(transaction, list(terms.budgets()))
            advanced, mirrored = (
                campaign_figures.advances_owed(transaction, kind, region, campaign)
                for kind in ("advance", "advance_away")
            )
        borne_away = {each.bearer: each.used_away_fen for each in away.others}
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
            advances=campaign_figures.advance_messages(terms, mirrored, advanced),
            others=campaign_figures.others_messages(borne_away, home.others),
        )

    async def _compared(self, window: int, month: str) -> tuple[Statement, bytes, Reconciliation]:
        message = (await self._clearinghouse.statement(window, month)).statement
        reconciler = self._service.reconciler
        statement = reconciler.read(message, window, month)
        return statement, message.body, await self._service.database.read(reconciler.compare, statement)

    def _payments(self, statement: Statement) -> dict[str, list[pb.BankPayment]]:
        """Of a window's money at the bank that differs: the payments that make up our side, by the balance's name."""
        if statement.month:
            return {}
        with self._service.database.snapshot() as transaction:
            told = own_at_bank(transaction, statement)
        return {
            name: [
                pb.BankPayment(bank_reference=payment.bank_reference, amount_fen=payment.amount_fen, at=payment.at)
                for payment in each.unstated
            ]
            for name, each in told.items()
            if each
        }

    def _not_reconciled(self, statement: Statement) -> list[int]:
        with self._service.database.snapshot() as transaction:
            return not_reconciled(transaction, statement)

    async def _confirmation(self, statement: Statement) -> _Word:
        if statement.month:
            month = schema.statement_month
            rows = await self._service.engine.read(month.select().where(month.c.month == statement.month))
            return _Word(rows[0].confirmed, rows[0].reservation) if rows else _Word()
        table = schema.settlement_window
        rows = await self._service.engine.read(table.select().where(table.c.number == statement.window))
        return _Word(rows[0].confirmed, rows[0].reservation) if rows else _Word()

    async def _disputed(self, windows: Sequence[int]) -> set[LineKey]:
        table = schema.dispute
        rows = await self._service.engine.read(table.select().where(table.c.settlement_window.in_(windows)))
        return {
            LineKey(line.role, line.counterpart, line.campaign)
            for row in rows
            for line in settlement_pb2.Dispute.FromString(row.body).lines
        }

    def _keep_confirmed(self, statement: Statement, word: signed_pb2.SignedMessage, by: str, reservation: str) -> None:
        if not statement.month:
            self._service.reconciler.mark_confirmed(statement.window, word, reservation)
            return
        row = {
            "month": statement.month,
            "confirmed_by": by,
            "reservation": reservation,
            "confirmed": True,
            "confirmation": word.SerializeToString(),
        }
        with self._service.database.transaction() as transaction:
            transaction.upsert(schema.statement_month, [row])

    def _drop_dispute(self, number: int) -> None:
        with self._service.database.transaction() as transaction:
            transaction.connection.execute(schema.dispute.delete().where(schema.dispute.c.number == number))

    def _mark_sent(self, dispute: signed_pb2.SignedMessage, taken: signed_pb2.SignedMessage) -> None:
        """Once it is taken it stays, and an entry says so."""
        with self._service.database.transaction() as transaction:
            books, at = Books(transaction), transaction.now()
            keep_taken(transaction, books, at, settlement_pb2.TakenDispute(dispute=dispute, taken=taken))
            books.save(DISPUTE, at)


def _sides(statement: Statement) -> dict[tuple[str, ...], Any]:
    sides: dict[tuple[str, ...], Any] = {tuple(key): figures for key, figures in statement.lines.items()}
    return sides | dict(statement.funders.items()) | dict(statement.balances.items())


def _figures(side: LineFigures | FunderFigures | int | None) -> list[int]:
    """The figures of a line or of a funder in declared order, or a balance's one."""
    match side:
        case None:
            return []
        case int():
            return [side]
        case LineFigures():
            return [getattr(side, name) for name in LineFigures.__dataclass_fields__]
        case _:
            return list(side)


def _is_same(dispute: settlement_pb2.Dispute, request: pb.DisputeOwnStatementRequest) -> bool:
    """Whether the request says of the same lines of the same window what the dispute says already."""
    lines, told = (
        {LineKey(line.role, line.counterpart, line.campaign) for line in side.lines} for side in (dispute, request)
    )
    return (dispute.window, dispute.why, lines) == (request.window, request.why, told)


def _is_disputed(key: tuple[str, ...], disputed: set[LineKey]) -> bool:
    """A line by its key; a funder by any disputed line with its counterpart; a total by whatever is disputed."""
    if key[0] == BALANCE and key[2] in _TOTALS:
        return bool(disputed)
    if len(key) == len(LineKey._fields):
        return LineKey(*key) in disputed
    return any(line.counterpart == key[1] for line in disputed)


def _undisputed(statement: Statement, keys: Sequence[tuple[str, ...]]) -> InvalidInput:
    """Names a line as it can be disputed; a funder differs on a line with its counterpart."""
    key = next((each for each in keys if len(each) == len(LineKey._fields)), None)
    zh, en = ("/".join(key),) * 2 if key else (f"与{keys[0][1]}往来的行", f"a line with {keys[0][1]}")
    return InvalidInput(
        f"{zh} 与本地区账不符 · {en} differs from this node's books",
        place=f"statement {statement.period}",
        remedy="先对该行提出异议（quanlian node dispute），或查明原因；"
        "异议期已过的，以 --with-reservation 写明保留意见后确认 · "
        "dispute the line first (quanlian node dispute), or find its cause; once it can no longer be disputed, "
        "confirm with the reason why you do not agree: --with-reservation",
    )


def _require_lines(
    statement: Statement, known: Collection[tuple[str, ...]], lines: Sequence[settlement_pb2.LineRef]
) -> None:
    for line in lines:
        if LineKey(line.role, line.counterpart, line.campaign) not in known:
            listed = ", ".join("/".join(key) for key in sorted(known) if len(key) == len(LineKey._fields))
            name = f"{line.role}/{line.counterpart}/{line.campaign}"
            raise InvalidInput(
                f"场次{statement.window}双方均无此行 · {name} is no line of window {statement.window}",
                place="--line",
                remedy=f"可写的行 · its lines are {listed or '无 none'}",
            )


def _issued(transaction: Any, campaign: str) -> tuple[int, int]:
    """Vouchers issued, and the sum of their highest discounts."""
    table = schema.claim_round
    rounds = transaction.select_keys(table, [table.c.campaign], [(campaign,)])
    return sum(row.vouchers for row in rounds), sum(row.reserved_fen for row in rounds)


def _joined(groups: Any, others: Any) -> list[report_pb2.GroupFigures]:
    return campaign_figures.group_messages(campaign_figures.joined(groups, others))


def _budgets(terms: Terms, used: dict[str, Any], away: report_pb2.CampaignFigures) -> list[report_pb2.BudgetFigures]:
    """Plan and use of each funder: reserved and held on both books, used at home by this one and away by the
    clearinghouse's, which tells the discounts of the same moment.
    """
    there = {each.funder: each for each in away.funders}
    levels = {each.name: (each.title_zh, each.level) for each in terms.funders}
    found = []
    for account, planned_fen in terms.budgets().items():
        funder = account.rpartition("/")[2]
        own, other = used.get(account), there.get(funder)
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
                used_away_fen=other.used_away_fen if other else 0,
            )
        )
    return found
