"""What a party's own decisions brought for a campaign: one read over its redemptions, grouped (money.md, The seven
figures of a campaign).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import func, select

from chassis.database import Transaction
from custodian import schema
from custodian.book_rows import json_to_legs
from quanlian.accounts import MERCHANT, VISITORS
from quanlian.terms import Terms
from quanlian.v1 import report_pb2

OTHERS = (VISITORS, MERCHANT)
"""Who bears of a discount beside the campaign's funders."""
CAPTURED = ("CAPTURED", "PARTLY_REFUNDED", "REFUNDED")
CHINA_OFFSET_SECONDS, DAY_SECONDS = 8 * 3600, 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Pair(NamedTuple):
    """Two funders of a campaign, by their names in its terms."""

    debtor: str
    advancer: str


@dataclass(slots=True)
class Group:
    """Net of refunds but `refunded_fen`; `redeemed` are vouchers captured and not refunded in full."""

    redeemed: int = 0
    order_fen: int = 0
    redeemed_fen: int = 0
    refunded_fen: int = 0

    def add(self, row: Any) -> None:
        self.redeemed += 0 if row.state == "REFUNDED" else row.redemptions
        self.order_fen += int(row.order_fen)
        self.redeemed_fen += int(row.redeemed_fen)
        self.refunded_fen += int(row.refunded_fen)

    def join(self, message: report_pb2.GroupFigures) -> None:
        self.redeemed += message.redeemed_count
        self.order_fen += message.order_fen
        self.redeemed_fen += message.redeemed_fen
        self.refunded_fen += message.refunded_fen


@dataclass(slots=True)
class Decided:
    """A campaign's redemptions as one party decided them; days are those of capture, Asia/Shanghai."""

    whole: Group = field(default_factory=Group)
    by_category: dict[str, Group] = field(default_factory=dict)
    by_region: dict[str, Group] = field(default_factory=dict)
    by_day: dict[str, Group] = field(default_factory=dict)
    merchants: dict[str, set[str]] = field(default_factory=dict)
    """Merchants with at least one voucher not refunded in full, by region."""
    others: Counter[str] = field(default_factory=Counter)
    """What each of `OTHERS` bears, net of refunds."""


def decided(transaction: Transaction, issuer: str, campaign: str) -> Decided:
    """What stands on this party's books of a campaign."""
    redemption = schema.redemption.c
    day = (redemption.captured_at + CHINA_OFFSET_SECONDS) // DAY_SECONDS
    keys = [redemption.category, redemption.redeeming_region, redemption.merchant, redemption.state, day.label("day")]
    query = (
        select(
            *keys,
            func.count().label("redemptions"),
            func.sum(redemption.order_fen - redemption.refunded_order_fen).label("order_fen"),
            func.sum(redemption.discount_fen - redemption.returned_fen).label("redeemed_fen"),
            func.sum(redemption.returned_fen).label("refunded_fen"),
        )
        .where(redemption.issuer == issuer, redemption.campaign == campaign, redemption.state.in_(CAPTURED))
        .group_by(*keys)
    )
    found = Decided()
    for row in transaction.connection.execute(query):
        found.whole.add(row)
        found.by_category.setdefault(row.category, Group()).add(row)
        found.by_region.setdefault(row.redeeming_region, Group()).add(row)
        found.by_day.setdefault(_day(int(row.day)), Group()).add(row)
        if row.state != "REFUNDED":
            found.merchants.setdefault(row.redeeming_region, set()).add(row.merchant)
    found.others = _borne_by_others(transaction, issuer, campaign)
    return found


def _borne_by_others(transaction: Transaction, issuer: str, campaign: str) -> Counter[str]:
    """From what stands of the legs: a visitors' fund has one account for all campaigns. Most legs are alike."""
    redemption = schema.redemption.c
    query = (
        select(redemption.standing, func.count().label("times"))
        .where(redemption.issuer == issuer, redemption.campaign == campaign, redemption.state.in_(CAPTURED))
        .group_by(redemption.standing)
    )
    borne = Counter[str]()
    for row in transaction.connection.execute(query):
        for leg in json_to_legs(row.standing):
            _, _, _, purpose, funder = leg.account.split("/")
            borne[VISITORS if purpose == VISITORS else funder] += leg.amount_fen * row.times
    return Counter({bearer: borne[bearer] for bearer in OTHERS})


def others_messages(away: Mapping[str, int], home: Mapping[str, int] | None = None) -> list[report_pb2.BorneByOthers]:
    """What others bear, over both ledgers; `home` is known to the issuer alone."""
    return [
        report_pb2.BorneByOthers(
            bearer=bearer,
            used_home_fen=None if home is None else home.get(bearer, 0),
            used_away_fen=away.get(bearer, 0),
        )
        for bearer in OTHERS
    ]


def group_messages(groups: Mapping[str, Group]) -> list[report_pb2.GroupFigures]:
    return [
        report_pb2.GroupFigures(
            name=name,
            redeemed_count=group.redeemed,
            order_fen=group.order_fen,
            redeemed_fen=group.redeemed_fen,
            refunded_fen=group.refunded_fen,
        )
        for name, group in sorted(groups.items())
    ]


def joined(groups: Mapping[str, Group], others: Iterable[report_pb2.GroupFigures]) -> dict[str, Group]:
    """Own groups and those of the other book, added up by name."""
    whole = {
        name: Group(each.redeemed, each.order_fen, each.redeemed_fen, each.refunded_fen)
        for name, each in groups.items()
    }
    for message in others:
        whole.setdefault(message.name, Group()).join(message)
    return whole


def figures_message(campaign: str, issuer: str, found: Decided) -> report_pb2.CampaignFigures:
    """As it is sent: merchants of the campaign's own region by code, the others counted."""
    home = found.merchants.get(issuer, set())
    return report_pb2.CampaignFigures(
        campaign=campaign,
        redeemed_count=found.whole.redeemed,
        order_fen=found.whole.order_fen,
        redeemed_fen=found.whole.redeemed_fen,
        refunded_fen=found.whole.refunded_fen,
        merchants=sum(len(codes) for codes in found.merchants.values()),
        by_category=group_messages(found.by_category),
        by_region=group_messages(found.by_region),
        by_day=group_messages(found.by_day),
        home_merchants=sorted(home),
        others=others_messages(found.others),
    )


def budgets_used(transaction: Transaction, accounts: Sequence[str]) -> dict[str, Any]:
    """The ledger's accounts with these codes, as far as they exist."""
    table = schema.account
    rows = transaction.select_keys(table, [table.c.account], [(account,) for account in accounts])
    return {row.account: row for row in rows}


def advances_owed(transaction: Transaction, kind: str, issuer: str, campaign: str) -> dict[Pair, int]:
    """What stands on a campaign's memo accounts `advance` or `advance_away`."""
    table = schema.account
    prefix = f"{kind}/{issuer}/{campaign}/"
    query = select(table.c.account, table.c.posted_fen).where(table.c.account.startswith(prefix, autoescape=True))
    owed = {}
    for row in transaction.connection.execute(query):
        debtor, advancer = row.account.removeprefix(prefix).split("/")
        owed[Pair(debtor, advancer)] = int(row.posted_fen)
    return owed


def advance_messages(
    terms: Terms, away: Mapping[Pair, int], home: Mapping[Pair, int] | None = None
) -> list[report_pb2.AdvanceFigures]:
    """Who owes whom what, over both ledgers; `home` is known to the issuer alone."""
    titles = {each.name: each.title_zh for each in terms.funders}
    pairs = sorted(pair for pair in away.keys() | (home or {}).keys() if away.get(pair) or (home or {}).get(pair))
    return [
        report_pb2.AdvanceFigures(
            debtor=pair.debtor,
            debtor_title_zh=titles.get(pair.debtor, ""),
            advancer=pair.advancer,
            advancer_title_zh=titles.get(pair.advancer, ""),
            home_fen=None if home is None else home.get(pair, 0),
            away_fen=away.get(pair, 0),
        )
        for pair in pairs
    ]


def _day(number: int) -> str:
    return (_EPOCH + timedelta(days=number)).date().isoformat()
