"""A campaign as the clearinghouse sees it: what it decided itself, and the budgets that are in its custody."""

from __future__ import annotations

from chassis.database import Transaction
from clearinghouse import schema
from custodian import campaign_figures
from custodian.campaigns import Campaigns
from quanlian.errors import InvalidInput
from quanlian.terms import Terms
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import report_pb2


def clearing_figures(transaction: Transaction, campaign: str, issuer: str) -> report_pb2.CampaignFigures:
    """For a campaign's issuer, or anybody's where `issuer` is empty. Raises InvalidInput for a campaign not known."""
    terms = _newest_terms(transaction, campaign)
    if terms is None or issuer not in ("", terms.issuer):
        raise InvalidInput(
            f"{issuer or '各地'}没有活动 {campaign} · no campaign {campaign} of {issuer or 'any region'}",
            place="campaign",
            remedy="核对活动编号 · check the campaign's id",
        )
    found = campaign_figures.decided(transaction, terms.issuer, campaign)
    message = campaign_figures.figures_message(campaign, terms.issuer, found)
    message.title_zh, message.title_en = terms.title_zh, terms.title_en
    budgets = terms.budgets()
    used = campaign_figures.budgets_used(transaction, list(budgets))
    levels = {each.name: (each.title_zh, each.level) for each in terms.funders}
    for account, planned_fen in budgets.items():
        row = used.get(account)
        funder = account.rpartition("/")[2]
        title_zh, level = levels.get(funder, ("", "co-funder"))
        message.funders.add(
            funder=funder,
            title_zh=title_zh,
            level=level,
            planned_fen=planned_fen,
            reserved_fen=row.reserved_fen if row else 0,
            held_fen=row.held_fen if row else 0,
            used_away_fen=row.posted_fen if row else 0,
        )
    advanced = campaign_figures.advances_owed(transaction, "advance", terms.issuer, campaign)
    message.advances.extend(campaign_figures.advance_messages(terms, advanced))
    return message


def _newest_terms(transaction: Transaction, campaign: str) -> Terms | None:
    """The campaign's terms in force: those of its last change."""
    table = schema.terms
    rows = transaction.select_keys(table, [table.c.campaign], [(campaign,)])
    if not rows:
        return None
    standing = Campaigns(transaction).standing(rows[0].issuer, campaign)
    chosen = [row for row in rows if row.terms_hash == standing.terms_hash] or rows
    return parse_terms(chosen[0].document, "terms")
