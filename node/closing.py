"""Close-out of a campaign: what its budgets did not use is released, what was paid ahead goes back to its funders.

money.md, Close-out. The money goes back by payments to the accounts that it came from, newest deposit first, within 15
working days (Jincheng plan, 9.4).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from custodian.prefund import DAYS_TO_RETURN, Deposit, newest_first
from custodian.working_days import IsWorking, working_day_after
from node import schema
from node.bank import RETURN, committed_fen, draw_settled
from node.desk import Desk
from node.dues import AT_ONCE
from node.paying import Item, make_out
from node.publishing import current_terms
from quanlian.accounts import prefund_of, used_away_account
from quanlian.errors import InvalidInput
from quanlian.ledger import Movement
from quanlian.money import yuan
from quanlian.refusals import CHINA
from quanlian.terms import Terms


@dataclass(slots=True)
class CloseOut:
    """Release a campaign's unused budgets and make out what goes back to its funders.

    Closing out again gives back what refunds freed since; where nothing is free, nothing changes. Raises InvalidInput
    with everything that is still open.
    """

    campaign: str
    by: str
    is_working: IsWorking

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        terms = current_terms(desk, self.campaign)
        if terms is None:
            raise InvalidInput(f"no campaign {self.campaign} here", place="campaign", remedy="publish it first")
        draw_settled(desk)
        still_open = list(open_matters(desk, terms))
        if still_open:
            raise InvalidInput(
                "；\n".join(still_open),
                place=f"campaign {self.campaign}",
                remedy="办结后再试 settle these first, then close out again",
            )
        released = [
            (account, free) for account in sorted(terms.budgets()) if (free := desk.books.balance(account).free_fen) > 0
        ]
        number = closed_out(desk, self.campaign) + 1
        returns = self._make_out_returns(desk, terms)
        if number > 1 and not released and not returns:
            return
        lowered = [Movement(account, "", limit_fen=-fen) for account, fen in released]
        desk.books.book("close-out", desk.at, f"{self.campaign}/{number}", lowered)
        row = {
            "campaign": self.campaign,
            "number": number,
            "at": desk.at,
            "closed_by": self.by,
            "due_on": working_day_after(_last_day(desk, terms), DAYS_TO_RETURN, self.is_working).isoformat(),
            "released": json.dumps(released, separators=(",", ":")),
        }
        desk.transaction.insert(schema.close_out, [row])

    def _make_out_returns(self, desk: Desk, terms: Terms) -> list[int]:
        """Payments of what each funder paid ahead and did not use, newest deposit first."""
        made, committed = [], committed_fen(desk)
        for account in sorted(terms.budgets()):
            left = -desk.books.balance(prefund_of(account)).posted_fen - committed[account]
            for deposit, fen in newest_first(_deposits(desk, prefund_of(account)), left):
                funder, items = account.rpartition("/")[2], [Item(AT_ONCE, account, fen)]
                made.append(make_out(desk, RETURN, funder, items, self.by, self.campaign, deposit.bank_reference))
        return made


def closed_out(desk: Desk, campaign: str) -> int:
    """How often a campaign was closed out."""
    table = schema.close_out
    return len(desk.transaction.select_keys(table, [table.c.campaign], [(campaign,)]))


def released_fen(desk: Desk, campaign: str) -> Counter[str]:
    """What close-outs took from each account's budget."""
    table, released = schema.close_out, Counter[str]()
    for row in desk.transaction.select_keys(table, [table.c.campaign], [(campaign,)]):
        released.update(dict(json.loads(row.released)))
    return released


def open_matters(desk: Desk, terms: Terms) -> Iterator[str]:
    """What keeps a campaign from being closed out, in Chinese and English; nothing where all is settled."""
    standing = desk.campaigns.standing(desk.name, terms.campaign)
    if desk.at < terms.ends_at and not standing.claims_closed:
        ends = datetime.fromtimestamp(terms.ends_at, CHINA)
        yield f"活动至{ends:%Y-%m-%d %H:%M}方结束 it ends on {ends:%Y-%m-%d %H:%M}, and is not withdrawn"
    balances = [desk.books.balance(account) for account in terms.budgets()]
    reserved, held = sum(each.reserved_fen for each in balances), sum(each.held_fen for each in balances)
    if reserved or held:
        yield (
            f"未核销、过期或作废的券尚预留{yuan(reserved)}元、占用{yuan(held)}元 "
            f"vouchers neither used, expired nor cancelled have {yuan(reserved)} yuan reserved and {yuan(held)} held"
        )
    elsewhere = sum(_elsewhere(desk, terms).values())
    if elsewhere:
        yield (
            f"清分平台尚有{yuan(elsewhere)}元，其券用完或过期后随场次退回 {yuan(elsewhere)} yuan are with the "
            "clearinghouse: they come back at a window's close once its vouchers are used or over"
        )
    windows = _unsettled_windows(desk, terms)
    if windows:
        listed = ", ".join(map(str, windows))
        yield f"第{listed}场尚未结清 window {listed} is not settled"
    yield from _unpaid_acquirers(desk, terms)


def _elsewhere(desk: Desk, terms: Terms) -> dict[str, int]:
    """What of each budget is neither on this book nor used away: reserved, held or free there, or on its way."""
    released, elsewhere = released_fen(desk, terms.campaign), {}
    for account, budget_fen in terms.budgets().items():
        funder = account.rpartition("/")[2]
        mirror = used_away_account(desk.name, terms.fiscal_year, terms.campaign, funder)
        used_fen = desk.books.balance(mirror).posted_fen
        elsewhere[account] = budget_fen - released[account] - desk.books.balance(account).limit_fen - used_fen
    return elsewhere


def _unsettled_windows(desk: Desk, terms: Terms) -> list[int]:
    """Windows with redemptions of the campaign that this node has not heard to be settled."""
    use, window = schema.away_use, schema.settlement_window
    settled = sa.select(window.c.number).where(window.c.settled)
    query = (
        sa.select(use.c.settlement_window)
        .distinct()
        .where(use.c.account.in_(list(terms.budgets())), use.c.settlement_window.not_in(settled))
        .order_by(use.c.settlement_window)
    )
    return list(desk.transaction.connection.execute(query).scalars())


def _unpaid_acquirers(desk: Desk, terms: Terms) -> Iterator[str]:
    due, payment = schema.acquirer_due, schema.payment
    query = (
        sa.select(sa.func.sum(due.c.owed_fen - due.c.instructed_fen))
        .where(due.c.settlement_window == AT_ONCE, due.c.account.in_(list(terms.budgets())))
        .group_by(due.c.acquirer)
    )
    owed = sum(max(0, int(fen)) for fen in desk.transaction.connection.execute(query).scalars())
    if owed:
        yield f"尚欠收单机构{yuan(owed)}元未制单 {yuan(owed)} yuan owed to acquirers have no payment yet"
    rows: Any = desk.transaction.connection.execute(payment.select().where(payment.c.bank_reference.is_(None))).all()
    unpaid = [
        str(row.number)
        for row in rows
        if row.campaign != terms.campaign and any(account in terms.budgets() for _, account, _ in json.loads(row.items))
    ]
    if unpaid:
        listed = ", ".join(unpaid)
        yield f"付款{listed}尚未登记银行流水 payment {listed} is not marked paid"


def _deposits(desk: Desk, purse: str) -> list[Deposit]:
    """A funder's deposits with what of them was not given back yet."""
    receipt, payment, run = schema.bank_receipt, schema.payment, desk.transaction.connection.execute
    query = sa.select(payment.c.deposit, payment.c.amount_fen).where(
        payment.c.kind == RETURN, payment.c.returned_reference.is_(None)
    )
    returned: Counter[str] = Counter()
    for deposit, fen in run(query).all():
        returned[deposit] += fen
    rows: Any = run(receipt.select().where(receipt.c.account == purse)).all()
    return [Deposit(row.bank_reference, row.received_at, row.amount_fen - returned[row.bank_reference]) for row in rows]


def _last_day(desk: Desk, terms: Terms) -> date:
    """The day on which the last voucher ended, in China."""
    return datetime.fromtimestamp(last_end(desk, terms) - 1, CHINA).date()


def last_end(desk: Desk, terms: Terms) -> int:
    """When the last voucher ended: as issued, or by a notice that extended them. Where none was issued, when the
    campaign did.
    """
    table = schema.claim_round
    ends = [row.last_end for row in desk.transaction.select_keys(table, [table.c.campaign], [(terms.campaign,)])]
    last = max(ends, default=min(terms.ends_at, desk.at))
    return desk.campaigns.standing(desk.name, terms.campaign).not_after(last)
