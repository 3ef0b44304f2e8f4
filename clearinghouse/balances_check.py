"""What regions have at the clearinghouse, for `quanlian ledger check`: nobody is paid what is not there (money.md)."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from chassis.database import Transaction
from clearinghouse import schema
from custodian import schema as books_schema
from custodian.ledger.check import difference, run
from custodian.ledger.findings import Finding
from quanlian.accounts import bank_account
from quanlian.custody import CLEARINGHOUSE
from quanlian.money import yuan


def _balances(transaction: Transaction) -> Iterator[Finding]:
    """The bank's account is never overdrawn, nor a region's settlement account, and what is withheld from all regions
    together is what stands in arrears.
    """
    account = books_schema.account.c
    named = sa.or_(*(account.account.startswith(f"{each}/") for each in ("bank", "settlement", "arrears")))
    posted = {row.account: row.posted_fen for row in run(transaction, books_schema.account.select().where(named))}
    bank = bank_account(CLEARINGHOUSE)
    if (bank_fen := posted.get(bank, 0)) < 0:
        yield Finding(
            "account", bank, None, bank_fen, f"透支{yuan(-bank_fen)}元", f"overdrawn by {yuan(-bank_fen)} yuan"
        )
    withheld_fen = 0
    for row in run(transaction, schema.participant.select().order_by(schema.participant.c.region)):
        withheld_fen += row.withheld_fen
        missing_fen = row.withheld_fen + posted.get(f"settlement/{row.region}", 0)
        if row.withheld_fen < 0 or missing_fen > 0:
            zh = f"暂扣{yuan(row.withheld_fen)}元，结算户余额{yuan(row.withheld_fen - missing_fen)}元"
            en = f"{yuan(row.withheld_fen)} is withheld of a balance of {yuan(row.withheld_fen - missing_fen)} yuan"
            yield Finding("participant", row.region, None, missing_fen, zh, en)
    arrears_fen = sum(fen for name, fen in posted.items() if name.startswith("arrears/"))
    if withheld_fen != arrears_fen:
        zh = f"各地暂扣共{yuan(withheld_fen)}元，欠款共{yuan(arrears_fen)}元"
        en = f"{yuan(withheld_fen)} is withheld from all regions, {yuan(arrears_fen)} yuan stand in arrears"
        yield Finding("participant", "withheld_fen", None, withheld_fen - arrears_fen, zh, en)


def _shortfalls(transaction: Transaction) -> Iterator[Finding]:
    """Each shortfall is a line of its window's entry, and each such line one."""
    entry, line = books_schema.entry.c, books_schema.line.c
    query = (
        sa.select(entry.number, entry.reference, line.account, line.posted_fen)
        .join_from(books_schema.entry, books_schema.line, line.entry == entry.number)
        .where(entry.kind == "arrears", line.account.startswith("arrears/"))
    )
    booked = {f"{row.reference} {row.account.partition('/')[2]}": row for row in run(transaction, query)}
    kept = {
        f"window {row.settlement_window} {row.region}": row.amount_fen
        for row in run(transaction, schema.shortfall.select())
    }
    for place in sorted(booked.keys() | kept.keys()):
        found = booked.get(place)
        said_fen, booked_fen = kept.get(place, 0), found.posted_fen if found else 0
        if said_fen != booked_fen:
            number = found.number if found else None
            yield Finding("shortfall", place, number, said_fen - booked_fen, *difference(said_fen, booked_fen))


CHECKS = (_balances, _shortfalls)
