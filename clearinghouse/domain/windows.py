"""A settlement window's states, its net positions, and the entries that settle it (money.md, Settlement windows)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from functools import cache
from typing import NamedTuple

from quanlian.accounts import (
    MERCHANT,
    VISITORS,
    contribution_account,
    reimbursement_account,
    settlement_account,
)
from quanlian.errors import InvalidInput
from quanlian.ledger import Movement
from quanlian.state_names import WINDOW_STATES_ZH
from quanlian.statements import HOME, ISSUER, REDEEMER, FunderFigures, FunderKey, LineFigures, LineKey


class WindowState(IntEnum):
    OPEN = 1
    CLOSED = 2
    CALCULATED = 3
    CONFIRMED = 4
    INSTRUCTED = 5
    SETTLED = 6


def require_state(number: int, state: WindowState, wanted: WindowState) -> None:
    """Raises InvalidInput when a window is not where a step needs it."""
    if state is not wanted:
        raise InvalidInput(
            f"场次{number}{WINDOW_STATES_ZH[state.name]}，此步须在“{WINDOW_STATES_ZH[wanted.name]}”之后 · "
            f"window {number} is {state.name}, this step needs {wanted.name}",
            place="window",
            remedy="依次截止、确认、出具指令、付款、结清 · follow the order close, confirm, instruct, pay, settle",
        )


class Turnover(NamedTuple):
    """A running total of a window: what was posted on an account against a counterpart region, debits positive.

    Of a funder, `refunded_fen` is what of it refunds gave back.
    """

    account: str
    counterpart: str
    posted_fen: int
    refunded_fen: int = 0


class Flow(NamedTuple):
    """Running counts and amounts of a window between two regions, by campaign."""

    issuer: str
    redeeming_region: str
    campaign: str
    captures: int
    order_fen: int
    discount_fen: int
    refunds: int
    refunded_order_fen: int
    refunded_fen: int


class Funding(NamedTuple):
    """A funding account's dimensions: `funding/<region>/<year>/<campaign>/<funder>`."""

    region: str
    year: int
    campaign: str
    funder: str

    @property
    def is_issuers(self) -> bool:
        """Money of the issuing region's side; the others are the redeeming region's own."""
        return self.campaign != VISITORS and self.funder != MERCHANT


@cache
def funding(account: str) -> Funding | None:
    """The dimensions of a funding account, or None for any other."""
    kind, *parts = account.split("/")
    if kind != "funding":
        return None
    region, year, campaign, funder = parts
    return Funding(region, int(year), campaign, funder)


def by_region(turnovers: Iterable[Turnover]) -> dict[str, list[Turnover]]:
    """Each region's turnovers: those of its own accounts, and those of others that have it as counterpart."""
    found: dict[str, list[Turnover]] = {}
    for each in turnovers:
        account = funding(each.account)
        own = account.region if account else each.account.partition("/")[2]
        for region in {own, each.counterpart} - {""}:
            found.setdefault(region, []).append(each)
    return found


def bilateral(turnovers: Iterable[Turnover]) -> dict[tuple[str, str], int]:
    """What each issuing region owes each redeeming one: (debtor, creditor) → fen."""
    owed: dict[tuple[str, str], int] = {}
    for each in turnovers:
        account = funding(each.account)
        if account and account.is_issuers and each.counterpart != account.region and each.posted_fen:
            pair = (account.region, each.counterpart)
            owed[pair] = owed.get(pair, 0) + each.posted_fen
    return owed


class Totals(NamedTuple):
    """What a window's statements are made of; the cost does not depend on redemptions."""

    flows: Mapping[str, Sequence[Flow]]
    """Each region's, as issuer or as redeeming region."""
    issuers_parts: Mapping[tuple[str, str, str], int]
    """(issuer, redeeming region, campaign) → what the issuer's side bears, in fen."""
    used: Mapping[str, dict[FunderKey, FunderFigures]]
    """Each region's funding accounts, by counterpart."""


def totals(turnovers: Iterable[Turnover], flows: Iterable[Flow]) -> Totals:
    """Put together for all regions at once."""
    found: dict[str, list[Flow]] = {}
    for flow in flows:
        found.setdefault(flow.issuer, []).append(flow)
        if flow.redeeming_region != flow.issuer:
            found.setdefault(flow.redeeming_region, []).append(flow)
    parts: dict[tuple[str, str, str], int] = {}
    used: dict[str, dict[FunderKey, FunderFigures]] = {}
    for account, counterpart, posted_fen, refunded_fen in turnovers:
        dimensions = funding(account)
        if dimensions and (posted_fen or refunded_fen):
            figures = FunderFigures(posted_fen + refunded_fen, refunded_fen)
            used.setdefault(dimensions.region, {})[account, counterpart] = figures
            if dimensions.is_issuers:
                key = (dimensions.region, counterpart, dimensions.campaign)
                parts[key] = parts.get(key, 0) + posted_fen
    return Totals(found, parts, used)


def statement_lines(region: str, window: Totals) -> tuple[dict[LineKey, LineFigures], dict[FunderKey, FunderFigures]]:
    """A region's statement lines and funders."""
    lines = {}
    for flow in window.flows.get(region, ()):
        home = flow.issuer == flow.redeeming_region
        role = HOME if home else ISSUER if flow.issuer == region else REDEEMER
        counterpart = flow.redeeming_region if flow.issuer == region else flow.issuer
        net = flow.discount_fen - flow.refunded_fen
        issuers_part = window.issuers_parts.get(flow[:3], 0)
        share = net if home else issuers_part if role == ISSUER else net - issuers_part
        lines[LineKey(role, counterpart, flow.campaign)] = LineFigures(*flow[3:], share)
    return lines, window.used.get(region, {})


def settlement_movements(region: str, turnovers: Iterable[Turnover]) -> list[Movement]:
    """What settles one region's window: its claims and contributions against `settlement`."""
    movements, settlement = [], settlement_account(region)
    for each in turnovers:
        account = funding(each.account)
        if each.account == reimbursement_account(region) and each.posted_fen:
            movements.append(Movement(each.account, "", posted_fen=-each.posted_fen))
            movements.append(Movement(settlement, "", posted_fen=each.posted_fen))
        elif account and account.region == region and account.funder != MERCHANT and each.posted_fen:
            contribution = contribution_account(region, account.year, account.campaign, account.funder)
            movements.append(Movement(settlement, "", posted_fen=each.posted_fen))
            movements.append(Movement(contribution, "", posted_fen=-each.posted_fen))
    return movements
