"""Campaign changes as a node takes them: its own open budgets, other regions' concern their vouchers."""

from __future__ import annotations

from dataclasses import dataclass

from custodian.campaigns import SignedChange
from node import schema
from node.desk import Desk
from quanlian.campaign_changes import Change, ChangeKind
from quanlian.errors import InvalidInput
from quanlian.ledger import Movement
from quanlian.terms import Terms


@dataclass(slots=True)
class TakeChange:
    """A signed change, its signature checked before: from this node's operator, or from the feed."""

    signed: SignedChange

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        take_change(desk, self.signed)


def take_change(desk: Desk, signed: SignedChange) -> None:
    """Keep a change, once. An own one opens its version's budgets.

    Raises InvalidInput for what cannot follow, and BooksDoNotBalance for a budget under what is used already.
    """
    change = signed.change
    if change.issuer != desk.name and _is_news_of_a_stranger(desk, change):
        return
    if change.issuer == desk.name and change.kind in (ChangeKind.AMEND, ChangeKind.NOTICE, ChangeKind.RESUME):
        _require_not_closed_out(desk, change.campaign)
    if not desk.campaigns.append(signed) or change.issuer != desk.name:
        return
    row = {"campaign": change.campaign, "number": change.number, "announced": False}
    desk.transaction.insert(schema.announcement, [row])
    if change.kind in (ChangeKind.PUBLISH, ChangeKind.AMEND):
        _open_version(desk, change.campaign, change.terms_hash)


def _is_news_of_a_stranger(desk: Desk, change: Change) -> bool:
    """A later change of a campaign that this node has not met: all its changes come with its terms when it does."""
    return change.number > desk.campaigns.standing(change.issuer, change.campaign).last_number + 1


def _require_not_closed_out(desk: Desk, campaign: str) -> None:
    """What is left of a campaign's money has gone back to its funders: nothing may need it again."""
    table = schema.close_out
    if desk.transaction.select_keys(table, [table.c.campaign], [(campaign,)]):
        raise InvalidInput("is closed out", place=f"campaign {campaign}", remedy="publish a new campaign")


def current_terms(desk: Desk, campaign: str) -> Terms | None:
    """The version of an own campaign that claims are issued under."""
    table = schema.campaign
    rows = desk.transaction.select_keys(table, [table.c.campaign], [(campaign,)])
    return desk.terms(rows[0].terms_hash) if rows else None


def _open_version(desk: Desk, campaign: str, terms_hash: bytes) -> None:
    """Move each account's limit by what its budget changed; the version counts for claims from now on."""
    new = desk.terms(terms_hash)
    if new is None:
        raise InvalidInput("its terms are not here", place=f"campaign {campaign}", remedy="quanlian node feed retry")
    old = current_terms(desk, campaign)
    before, after = old.budgets() if old else {}, new.budgets()
    desk.books.move(
        Movement(account, "", limit_fen=after.get(account, 0) - before.get(account, 0))
        for account in sorted(before.keys() | after.keys())
    )
    row = {"campaign": campaign, "terms_hash": terms_hash, "published_at": desk.at}
    desk.transaction.upsert(schema.campaign, [row])
