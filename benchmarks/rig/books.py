"""Whether a clearinghouse's books balance after a part of a benchmark: one that does not may report no figure."""

from __future__ import annotations

import sqlalchemy as sa

from chassis.database import Database
from clearinghouse import schema
from custodian import schema as books
from custodian.ledger.check import check_books
from quanlian.accounts import is_memo

CHECKED_WHOLE = 100_000
"""Redemptions up to which the whole `quanlian ledger check` is run; it holds all of them in memory."""


class BooksDiffer(Exception):
    """What does not balance."""


def require_balance(database: Database, window: int, captures: int) -> str:
    """Says how the books were checked. Raises BooksDiffer."""
    require_sums(database, window, captures)
    if captures > CHECKED_WHOLE:
        return "sums of the books"
    with database.snapshot() as transaction:
        findings = check_books(transaction)
    if findings:
        raise BooksDiffer(f"{len(findings)} findings, first {findings[0]}")
    return "quanlian ledger check"


def require_sums(database: Database, window: int, captures: int) -> None:
    """Entries sum to zero, accounts and turnovers are their lines, flows and spends the postings, nets give zero."""
    line, posting, flow = books.line.c, books.posting.c, books.flow.c
    with database.snapshot() as transaction:
        run = transaction.connection.execute
        by_account = sa.select(line.account, sa.func.sum(line.posted_fen)).group_by(line.account)
        lines = {account: int(fen) for account, fen in run(by_account)}
        stored = dict(run(sa.select(books.account.c.account, books.account.c.posted_fen)).tuples().all())
        _equal("accounts", {key: fen for key, fen in stored.items() if fen}, {k: v for k, v in lines.items() if v})
        _equal("sum of all lines", sum(fen for account, fen in lines.items() if not is_memo(account)), 0)
        totals = sa.select(sa.func.count(), sa.func.sum(posting.order_fen), sa.func.sum(posting.discount_fen))
        captured = run(totals.where(posting.settlement_window == window, posting.kind == "capture")).one()
        counted = run(
            sa.select(sa.func.sum(flow.captures), sa.func.sum(flow.order_fen), sa.func.sum(flow.discount_fen)).where(
                flow.settlement_window == window
            )
        ).one()
        _equal("captures by flow", tuple(map(int, counted)), tuple(map(int, captured)))
        _equal("captures", int(captured[0]), captures)
        _equal("spends", run(sa.select(sa.func.count()).select_from(books.spend)).scalar(), _all_captures(transaction))
        nets = sa.select(sa.func.sum(schema.net_position.c.net_fen)).where(
            schema.net_position.c.settlement_window == window
        )
        _equal("sum of net positions", int(run(nets).scalar() or 0), 0)


def _all_captures(transaction: object) -> int:
    query = sa.select(sa.func.count()).select_from(books.posting).where(books.posting.c.kind == "capture")
    return int(transaction.connection.execute(query).scalar() or 0)  # type: ignore[attr-defined]


def _equal(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise BooksDiffer(f"{what}: {str(found)[:200]}, must be {str(expected)[:200]}")
