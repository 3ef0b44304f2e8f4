"""Figures of the small sound network, recomputed by hand in the comments of each test."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from sound_network import HANGZHOU, SUZHOU, SoundNetwork, parties

from chassis.database import Database
from simulations.figures import CampaignFigures, Figures, Flow, Funding, RegionFigures, figures, two_decimals


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Figures:
    folder = tmp_path_factory.mktemp("figures")
    network = SoundNetwork(lambda name: Database.open(f"sqlite:///{folder / name}.db"))
    network.live()
    network.close()
    return figures(parties(lambda name: f"sqlite:///{folder / name}.db", lambda name: ""))


def test_both_databases_give_the_same_figures(
    known: Figures,
    database_factory: Callable[[str], Database],
    database_url: Callable[[str], str],
    schema: Callable[[str], str],
) -> None:
    SoundNetwork(database_factory).live()
    assert figures(parties(database_url, schema)) == known


def test_regions_and_campaigns_and_flows_are_those_of_the_story(known: Figures) -> None:
    """Hangzhou at home 1000 + (1000 − 375), away 1000 + (1000 − 1000); Suzhou away 1000 − 500, at home 1000.

    Net, window 1: Hangzhou owes 690 and is owed 345; the second window is still open.
    """
    assert known.regions == {
        SUZHOU: RegionFigures(2000, 1000, 500, 1000, 345),
        HANGZHOU: RegionFigures(10_000, 1625, 1000, 500, -345),
    }
    assert known.campaigns == {
        "hangzhou": CampaignFigures(10, 3, 300_000, 5800 + 2500 + 6000, 2625, 1375, 2),
        "suzhou": CampaignFigures(2, 2, 1_000_000, 2050 + 9900, 1500, 500, 2),
    }
    assert known.flows == [
        Flow(SUZHOU, SUZHOU, 1000),
        Flow(SUZHOU, HANGZHOU, 500),
        Flow(HANGZHOU, SUZHOU, 1000),
        Flow(HANGZHOU, HANGZHOU, 1625),
    ]
    assert known.net_sum_fen == 0


def test_a_use_at_home_that_the_clearinghouse_decided_counts_as_home_and_once(known: Figures) -> None:
    assert known.regions[SUZHOU].redeemed_home_fen == 1000
    assert Flow(SUZHOU, SUZHOU, 1000) in known.flows


def test_what_funders_bore_is_what_flowed_merchants_shares_included(known: Figures) -> None:
    assert sum(each.fen for each in known.funding) == sum(flow.fen for flow in known.flows)
    assert Funding(SUZHOU, "visitors/city", 210) in known.funding
    assert Funding(HANGZHOU, "merchant", 100 + 62 + 50) in known.funding


def test_redeemed_amounts_are_the_same_by_region_and_by_campaign(known: Figures) -> None:
    by_region = sum(each.redeemed_home_fen + each.redeemed_away_fen for each in known.regions.values())
    assert by_region == sum(each.redeemed_fen for each in known.campaigns.values())
    assert by_region == sum(each.redeemed_home_fen + each.accepted_for_others_fen for each in known.regions.values())


def test_the_data_has_the_names_of_the_contract(known: Figures) -> None:
    assert list(known.regions[SUZHOU]._asdict()) == [
        "issued_fen",
        "redeemed_home_fen",
        "redeemed_away_fen",
        "accepted_for_others_fen",
        "net_fen",
    ]
    assert list(known.campaigns["suzhou"]._asdict()) == [
        "issued_count",
        "redeemed_count",
        "rate_ppm",
        "order_fen",
        "redeemed_fen",
        "refunded_fen",
        "merchants",
    ]
    assert known.titles["hangzhou"] == ("杭州", "Hangzhou <first>")


def test_a_network_that_only_issued_has_no_rate_and_no_multiplier(
    database_factory: Callable[[str], Database], database_url: Callable[[str], str], schema: Callable[[str], str]
) -> None:
    network = SoundNetwork(database_factory)
    network.publish(HANGZHOU, "hangzhou", "on-demand", "杭州", "Hangzhou")
    found = figures(parties(database_url, schema))
    assert found.campaigns == {"hangzhou": CampaignFigures(0, 0, 0, 0, 0, 0, 0)}
    assert found.campaigns["hangzhou"].direct_multiplier is None
    assert found.flows == []


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [
        (Fraction(14_300, 2625), "5.44"),
        (Fraction(1, 200), "0.00"),
        (Fraction(5), "5.00"),
        (Fraction(123_456_789, 1000), "123,456.78"),
        (None, "—"),
    ],
)
def test_a_multiplier_is_shown_with_two_decimals_rounded_down(ratio: Fraction | None, shown: str) -> None:
    assert two_decimals(ratio) == shown
