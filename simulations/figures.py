"""A network's figures from its databases, by SQL: what campaigns brought, what regions gave and received.

All amounts are in fen and net of refunds unless they say otherwise; discounts are whole, the merchant's leg included.
Home or away is by region, never by who decided (money.md, The seven figures of a campaign).
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from simulations.auditor.databases import Book, Network, Party, legs, open_network

PPM = 1_000_000
REDEEMED_STATES = ("CAPTURED", "PARTLY_REFUNDED")


class RegionFigures(NamedTuple):
    """`issued_fen` is the sum of the highest discounts reserved; positive `net_fen` receives, over all windows."""

    issued_fen: int
    redeemed_home_fen: int
    redeemed_away_fen: int
    accepted_for_others_fen: int
    net_fen: int


class CampaignFigures(NamedTuple):
    """The seven figures. Counts are of vouchers, redeemed ones not refunded in full; `refunded_fen` is gross."""

    issued_count: int
    redeemed_count: int
    rate_ppm: int
    order_fen: int
    redeemed_fen: int
    refunded_fen: int
    merchants: int

    @property
    def direct_multiplier(self) -> Fraction | None:
        """直接带动比: order amount ÷ redeemed amount; None where nothing is redeemed."""
        return Fraction(self.order_fen, self.redeemed_fen) if self.redeemed_fen else None


class Flow(NamedTuple):
    """Discounts on vouchers of `issuer` at merchants of `redeemer`, which are one region for use at home."""

    issuer: str
    redeemer: str
    fen: int


class Funding(NamedTuple):
    """What a funder of a region bore; a visitors' fund is `visitors/<name>`, a merchant's own share `merchant`."""

    region: str
    funder: str
    fen: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Sorted by their keys: adcode, campaign id. `titles` are a campaign's in Chinese and English, from its terms."""

    regions: dict[str, RegionFigures]
    campaigns: dict[str, CampaignFigures]
    flows: list[Flow]
    funding: list[Funding]
    titles: dict[str, tuple[str, str]]

    @property
    def net_sum_fen(self) -> int:
        return sum(region.net_fen for region in self.regions.values())


def figures(parties: Sequence[Party]) -> Figures:
    """Read every database of a network once and add up. Raises ValueError unless one party is the clearinghouse."""
    with open_network(parties) as network:
        flows = _flows(network)
        documents = _terms(network)
        return Figures(
            regions=_regions(network, flows),
            campaigns=_campaigns(network, documents),
            flows=[Flow(*pair, fen) for pair, fen in sorted(flows.items())],
            funding=_funding(network),
            titles={id: (terms["title_zh"], terms["title_en"]) for id, terms in documents.items()},
        )


def two_decimals(value: Fraction | None) -> str:
    """A ratio as a person reads it, rounded down: `"12.34"`; a dash where there is none."""
    if value is None:
        return "—"
    hundredths = value.numerator * 100 // value.denominator
    return f"{hundredths // 100:,}.{hundredths % 100:02d}"


def percent(ppm: int) -> str:
    """Parts per million as per cent with two decimals, cut: `"83.33%"`."""
    return f"{ppm // 10_000}.{ppm % 10_000 // 100:02d}%"


def _flows(network: Network) -> Counter[tuple[str, str]]:
    """Each capture and refund stands in the book of the party that decided it, so none is counted twice."""
    flows: Counter[tuple[str, str]] = Counter()
    for book in network.books:
        for row in book.rows(
            "SELECT r.issuer, r.redeeming_region, SUM(p.discount_fen) AS fen "
            "FROM posting p JOIN redemption r ON r.id = p.redemption_id GROUP BY r.issuer, r.redeeming_region"
        ):
            flows[(row.issuer, row.redeeming_region)] += int(row.fen)
    return flows


def _regions(network: Network, flows: Counter[tuple[str, str]]) -> dict[str, RegionFigures]:
    net: Counter[str] = Counter()
    for row in network.clearinghouse.rows("SELECT region, SUM(net_fen) AS fen FROM net_position GROUP BY region"):
        net[row.region] = int(row.fen)
    issued = {
        node.name: int(node.rows("SELECT COALESCE(SUM(reserved_fen), 0) AS fen FROM pack")[0].fen)
        for node in network.nodes.values()
    }
    return {
        region: RegionFigures(
            issued_fen=issued.get(region, 0),
            redeemed_home_fen=flows[(region, region)],
            redeemed_away_fen=sum(fen for (issuer, at), fen in flows.items() if issuer == region != at),
            accepted_for_others_fen=sum(fen for (issuer, at), fen in flows.items() if issuer != region == at),
            net_fen=net[region],
        )
        for region in sorted({*issued, *net, *(region for pair in flows for region in pair)})
    }


def _campaigns(network: Network, documents: Iterable[str]) -> dict[str, CampaignFigures]:
    issued: Counter[str] = Counter()
    for node in network.nodes.values():
        for row in node.rows("SELECT campaign, voucher_types, COUNT(*) AS packs FROM pack GROUP BY 1, 2"):
            issued[row.campaign] += row.packs * len(json.loads(row.voucher_types))
    sums: Counter[tuple[str, str]] = Counter()
    merchants: set[tuple[str, str]] = set()
    for book in network.books:
        for row in _redeemed(book):
            live = row.state in REDEEMED_STATES
            sums[(row.campaign, "redeemed")] += row.redemptions if live else 0
            for name in ("order_fen", "discount_fen", "returned_fen"):
                sums[(row.campaign, name)] += int(getattr(row, name))
            if live:
                merchants.add((row.campaign, row.merchant))
    found = {*documents, *issued, *(campaign for campaign, _ in sums)}
    return {
        campaign: CampaignFigures(
            issued_count=issued[campaign],
            redeemed_count=sums[(campaign, "redeemed")],
            rate_ppm=sums[(campaign, "redeemed")] * PPM // issued[campaign] if issued[campaign] else 0,
            order_fen=sums[(campaign, "order_fen")],
            redeemed_fen=sums[(campaign, "discount_fen")],
            refunded_fen=sums[(campaign, "returned_fen")],
            merchants=sum(1 for known, _ in merchants if known == campaign),
        )
        for campaign in sorted(found)
    }


def _redeemed(book: Book) -> Sequence[Any]:
    """Captured redemptions by campaign, merchant and state; order and discount net of refunds."""
    return book.rows(
        "SELECT campaign, merchant, state, COUNT(*) AS redemptions, "
        "SUM(order_fen - refunded_order_fen) AS order_fen, "
        "SUM(discount_fen - returned_fen) AS discount_fen, SUM(returned_fen) AS returned_fen "
        "FROM redemption WHERE state IN ('CAPTURED', 'PARTLY_REFUNDED', 'REFUNDED') GROUP BY campaign, merchant, state"
    )


def _funding(network: Network) -> list[Funding]:
    borne: Counter[tuple[str, str]] = Counter()
    for book in network.books:
        for posting in book.postings:
            for account, fen in legs(posting.legs):
                _, region, _, campaign, funder = account.split("/")
                borne[(region, f"visitors/{funder}" if campaign == "visitors" else funder)] += fen
    return [Funding(*key, fen) for key, fen in sorted(borne.items())]


def _terms(network: Network) -> dict[str, dict[str, Any]]:
    """The published campaigns' heads, by id."""
    documents = {}
    for node in network.nodes.values():
        for row in node.rows("SELECT t.document FROM campaign c JOIN terms t ON t.terms_hash = c.terms_hash"):
            campaign = tomllib.loads(bytes(row.document).decode())["campaign"]
            documents[campaign["id"]] = campaign
    return dict(sorted(documents.items()))
