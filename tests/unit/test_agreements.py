"""Funding agreements: their files, their methods, and which one is in force."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quanlian.agreements import (
    Agreement,
    Clauses,
    FiscalCapacity,
    Fixed,
    IssuerPays,
    LeverageTiered,
    OrderRate,
    Tier,
    agreement_hash,
    lookup,
    parse_agreement,
)
from quanlian.errors import InvalidInput
from quanlian.signing import digest

EXAMPLES = Path(__file__).parents[2] / "examples" / "agreements"
HANGZHOU, SHANGHAI, SUZHOU = "330100", "310000", "320500"
HEAD = """
number = "HZ-SH-1"
version = 2
title = { zh = "杭沪消费券分担协议", en = "Hangzhou and Shanghai" }
effective_from = 2026-01-01T00:00:00+08:00
"""
PARTIES = """
effective_until = 2027-01-01T00:00:00+08:00
fraud_losses = "redeemer"
dispute_days = 15
"""
TABLES = """
[termination]
notice_days = 60
[[party]]
region = "330100"
commerce = { zh = "杭州市商务局", en = "Hangzhou Commerce" }
finance = { zh = "杭州市财政局", en = "Hangzhou Finance" }
[[party]]
region = "310000"
commerce = { zh = "上海市商务委", en = "Shanghai Commerce" }
finance = { zh = "上海市财政局", en = "Shanghai Finance" }
yearly_ceiling = 800.00
"""
MIDNIGHT_IN_HANGZHOU = 1_767_196_800
FIGURES = 'source = "统计公报"\nyear = 2025\n'


def read(text: str) -> Agreement:
    """The agreement of Hangzhou and Shanghai; `text` has its method and ends in tables, if in any."""
    return parse_agreement((HEAD + PARTIES + text + TABLES).encode(), "hz-sh.toml")


def test_the_example_shares_seventy_to_thirty() -> None:
    agreement = parse_agreement((EXAMPLES / "network-default.toml").read_bytes(), "network-default.toml")
    assert agreement.redeemer_pays(800, 5800, 1000) == 240
    assert (agreement.parties, agreement.campaign, agreement.when_visitors_run_out) == (
        (),
        None,
        "issuer-pays",
    )


class TestFiles:
    def test_a_pair_agreement_names_its_parties_and_when_it_starts(self) -> None:
        agreement = read('method = "issuer-pays"')
        assert agreement.parties == (HANGZHOU, SHANGHAI)
        assert agreement.effective_from == MIDNIGHT_IN_HANGZHOU
        assert (agreement.title_zh, agreement.title_en) == ("杭沪消费券分担协议", "Hangzhou and Shanghai")

    def test_tiers_name_their_leverage_as_order_to_discount(self) -> None:
        agreement = read(
            'method = "leverage-tiered"\n'
            "[[parameters.tiers]]\nleverage = { order = 26, discount = 3 }\nissuer = 7\nredeemer = 2\n"
        )
        assert agreement.parameters == LeverageTiered((Tier(26, 3, 7, 2),))

    def test_a_rate_tells_its_derivation_source_and_year(self) -> None:
        agreement = read(
            FIGURES + 'method = "order-rate"\n[parameters]\nrate_ppm = 57500\ncap_bp = 3000\nderivation = "增值税"'
        )
        assert agreement.parameters == OrderRate(57_500, 3_000, "增值税")
        assert (agreement.source, agreement.year) == ("统计公报", 2025)

    def test_published_capacities_serve_both_directions(self) -> None:
        agreement = read(
            FIGURES + 'method = "fiscal-capacity"\n'
            '[[parameters.capacities]]\nregion = "330100"\nfigure = 300\n'
            '[[parameters.capacities]]\nregion = "310000"\nfigure = 100\n'
        )
        assert agreement.between(HANGZHOU, SHANGHAI).parameters == FiscalCapacity(300, 100)
        assert agreement.between(SHANGHAI, HANGZHOU).redeemer_pays(1000, 5800, 1000) == 750
        with pytest.raises(InvalidInput, match="region 320500 has no fiscal capacity"):
            agreement.between(HANGZHOU, SUZHOU)
        with pytest.raises(InvalidInput, match="between two regions"):
            agreement.redeemer_pays(1000, 5800, 1000)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ('method = "half"', r"hz-sh\.toml:10: method: 'half' is not known"),
            ('method = "fixed"', r"hz-sh\.toml:1: parameters: is missing"),
            (
                'method = "fixed"\n[parameters]\nissuer = 1.5\nredeemer = 1',
                r":12: parameters\.issuer: 1\.5 is of",
            ),
            ('method = "fixed"\n[parameters]\nissuer = 0\nredeemer = 0', "leaves both weights at 0"),
            (
                'method = "fixed"\n[parameters]\nissuer = 1\nredeemer = -1',
                r"parameters\.redeemer: -1 is out of range",
            ),
            ('method = "issuer-pays"\nmethode = 1', "methode: 1 is not a field here — did you mean method"),
            (
                'method = "order-rate"\n[parameters]\nrate_ppm = 1\ncap_bp = 1\nderivation = "x"',
                "source: is missing",
            ),
            (
                FIGURES + 'method = "order-rate"\n[parameters]\nrate_ppm = 1\ncap_bp = 10001\nderivation = "x"',
                r"parameters\.cap_bp: 10001 is out of range",
            ),
            (
                'method = "leverage-tiered"\n'
                + "[[parameters.tiers]]\nleverage = { order = 4, discount = 2 }\nissuer = 1\nredeemer = 1\n"
                + "[[parameters.tiers]]\nleverage = { order = 2, discount = 1 }\nissuer = 1\nredeemer = 2\n",
                r"parameters\.tiers\[2\]\.leverage: \{…\} is that of another tier",
            ),
            (
                FIGURES + 'method = "fiscal-capacity"\n[[parameters.capacities]]\nregion = "330100"\nfigure = 300\n',
                "has no figure for 310000",
            ),
        ],
    )
    def test_a_faulty_file_is_refused_with_its_place(self, text: str, problem: str) -> None:
        with pytest.raises(InvalidInput, match=problem):
            read(text)

    @pytest.mark.parametrize(
        ("old", "new", "problem"),
        [
            ('region = "310000"', 'region = "330100"', "are not two regions"),
            ('number = "', 'number = "HZ SH ', "number: .*use letters, digits and hyphens"),
            ("version = 2", "version = 1000001", "version: 1000001 is out of range"),
            ('region = "310000"', 'region = "999999"', r"party\[2\]\.region: '999999' is not a region code"),
            ("notice_days = 60", "", r"termination\.notice_days: is missing"),
            ("dispute_days = 15", "dispute_days = 0", "dispute_days: 0 is out of range"),
            ('"redeemer"', '"nobody"', "fraud_losses: 'nobody' is not known"),
            ("800.00", "800", r"party\[2\]\.yearly_ceiling: 800 is of the wrong type"),
            ("2027-01-01", "2026-01-01", "effective_until: .* is not after effective_from"),
            ("effective_until", "until", "effective_until: is missing"),
            ("commerce = {", "trade = {", r"party\[1\]\.commerce: is missing"),
        ],
    )
    def test_two_regions_sign_with_bureaus_term_and_clauses(self, old: str, new: str, problem: str) -> None:
        text = (HEAD + PARTIES + 'method = "issuer-pays"' + TABLES).replace(old, new)
        with pytest.raises(InvalidInput, match=problem):
            parse_agreement(text.encode(), "hz-sh.toml")

    def test_the_parties_promise_ceilings_and_clauses(self) -> None:
        agreement = read('method = "issuer-pays"')
        assert agreement.clauses == Clauses("redeemer", 15, 60)
        assert [agreement.yearly_ceiling_fen(code) for code in (HANGZHOU, SHANGHAI)] == [None, 80_000]
        assert agreement.offices[1].finance.zh == "上海市财政局"
        assert agreement.name == "HZ-SH-1 v2"

    def test_an_agreement_for_a_campaign_names_its_parties_too(self) -> None:
        text = HEAD + 'campaign = "spring"\nmethod = "issuer-pays"'
        with pytest.raises(InvalidInput, match="party: is missing"):
            parse_agreement(text.encode(), "hz-sh.toml")

    def test_a_network_s_default_has_neither_parties_nor_an_end(self) -> None:
        with pytest.raises(InvalidInput, match=r"effective_until: .* is not a field here"):
            parse_agreement((HEAD + PARTIES + 'method = "issuer-pays"').encode(), "hz-sh.toml")

    def test_a_start_without_a_zone_is_refused(self) -> None:
        text = HEAD.replace("+08:00", "") + PARTIES + 'method = "issuer-pays"'
        with pytest.raises(InvalidInput, match=r"effective_from: .* has no zone"):
            parse_agreement(text.encode(), "hz-sh.toml")

    @pytest.mark.parametrize("content", [b"\xff", b"= 1", b"x = " + b"[" * 5000, b"x = " + b"9" * 5000])
    def test_what_is_not_toml_is_refused(self, content: bytes) -> None:
        with pytest.raises(InvalidInput, match=r"hz-sh\.toml"):
            parse_agreement(content, "hz-sh.toml")

    def test_an_agreement_is_named_by_the_hash_of_its_bytes(self) -> None:
        assert agreement_hash(b"x") == digest("agreement", b"x")


class TestMethods:
    def test_below_every_tier_the_redeeming_region_pays_nothing(self) -> None:
        tiers = LeverageTiered((Tier(5, 1, 1, 1), Tier(8, 1, 0, 1)))
        assert [tiers.redeemer_pays(100, order, 100) for order in (499, 500, 799, 800)] == [0, 50, 50, 100]

    def test_equal_tiers_are_an_error(self) -> None:
        with pytest.raises(InvalidInput, match="same leverage"):
            LeverageTiered((Tier(4, 2, 1, 1), Tier(2, 1, 3, 1)))

    def test_a_cap_over_the_whole_is_an_error(self) -> None:
        with pytest.raises(InvalidInput, match="cap from 0 to 10000 bp"):
            OrderRate(1, 10_001)


class TestLookup:
    DEFAULT = Agreement("DEFAULT", 1, "fixed", Fixed(70, 30))
    PAIR = Agreement("PAIR", 1, "issuer-pays", IssuerPays(), parties=(HANGZHOU, SHANGHAI), effective_from=100)
    CAMPAIGN = Agreement(
        "CAMPAIGN",
        1,
        "fixed",
        Fixed(1, 1),
        campaign="spring",
        parties=(HANGZHOU, SHANGHAI),
        effective_from=200,
    )
    ALL = (DEFAULT, PAIR, CAMPAIGN)

    def test_a_campaigns_agreement_goes_before_the_pairs_and_that_before_the_default(self) -> None:
        assert lookup(self.ALL, "spring", HANGZHOU, SHANGHAI, 200) == self.CAMPAIGN
        assert lookup(self.ALL, "autumn", HANGZHOU, SHANGHAI, 200) == self.PAIR
        assert lookup(self.ALL, "spring", HANGZHOU, SUZHOU, 200) == self.DEFAULT

    def test_a_pairs_agreement_holds_in_both_directions(self) -> None:
        assert lookup(self.ALL, "autumn", SHANGHAI, HANGZHOU, 100) == self.PAIR

    def test_an_agreement_is_in_force_from_its_first_second(self) -> None:
        assert lookup(self.ALL, "spring", HANGZHOU, SHANGHAI, 99) == self.DEFAULT
        assert lookup(self.ALL, "spring", HANGZHOU, SHANGHAI, 199) == self.PAIR

    def test_the_latest_version_in_force_is_used(self) -> None:
        newer = Agreement("DEFAULT", 2, "fixed", Fixed(60, 40), effective_from=50)
        announced = Agreement("DEFAULT", 3, "fixed", Fixed(50, 50), effective_from=500)
        assert lookup((announced, newer, self.DEFAULT), "spring", HANGZHOU, SUZHOU, 200) == newer

    def test_what_has_ended_gives_way_and_brings_no_earlier_version_back(self) -> None:
        forever = Agreement("PAIR", 2, "fixed", Fixed(1, 1), parties=(HANGZHOU, SHANGHAI), effective_from=150)
        ended = Agreement(
            "PAIR", 3, "fixed", Fixed(2, 1), parties=(HANGZHOU, SHANGHAI), effective_from=200, effective_until=300
        )
        known = (self.DEFAULT, self.PAIR, forever, ended)
        found = [lookup(known, "autumn", HANGZHOU, SHANGHAI, at) for at in (199, 200, 299, 300)]
        assert found == [forever, ended, ended, self.DEFAULT]

    def test_a_version_takes_the_place_of_one_that_was_to_begin_after_it(self) -> None:
        signed_first = Agreement("PAIR", 2, "fixed", Fixed(70, 30), parties=(HANGZHOU, SHANGHAI), effective_from=1000)
        brought_forward = Agreement("PAIR", 3, "fixed", Fixed(90, 10), parties=(HANGZHOU, SHANGHAI), effective_from=500)
        known = (self.DEFAULT, self.PAIR, signed_first, brought_forward)
        found = [lookup(known, "autumn", HANGZHOU, SHANGHAI, at) for at in (499, 500, 1000, 9000)]
        assert found == [self.PAIR, brought_forward, brought_forward, brought_forward]

    @given(
        terms=st.lists(
            st.tuples(st.integers(0, 100), st.one_of(st.none(), st.integers(1, 50))), min_size=1, max_size=6
        ),
        at=st.integers(0, 160),
        order=st.randoms(use_true_random=False),
    )
    def test_of_one_number_the_highest_version_that_has_begun_decides_or_none(
        self, terms: list[tuple[int, int | None]], at: int, order: Random
    ) -> None:
        versions = [
            Agreement("PAIR", version, "fixed", Fixed(1, version), parties=(HANGZHOU, SHANGHAI), effective_from=since,
                      effective_until=None if days is None else since + days)
            for version, (since, days) in enumerate(terms, 1)
        ]  # fmt: skip
        begun = [each for each in versions if each.effective_from <= at]
        stands = begun and (begun[-1].effective_until is None or at < begun[-1].effective_until)
        known = [self.DEFAULT, *versions]
        order.shuffle(known)
        assert lookup(known, "autumn", HANGZHOU, SHANGHAI, at) == (begun[-1] if stands else self.DEFAULT)

    def test_no_agreement_at_all_is_an_error(self) -> None:
        with pytest.raises(InvalidInput, match="load the network's default agreement"):
            lookup((self.PAIR,), "spring", HANGZHOU, SUZHOU, 200)
