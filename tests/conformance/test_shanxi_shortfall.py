"""Shanxi's 117 counties in 2020: what each level pays, which claims are refused, what each is short of, rule by rule.

From the text: 20 counties had budgeted all of their union funds, 22 between half and all, 68 under half, 7 nothing;
members 0.90 million at province, 2.26 at city, 4.60 at county level, 300 yuan each; the cities raised 0.43 of 0.678
billion yuan. Assumed here, because the text does not say: counties are alike in size; within a band they are spread
evenly, its ends left out; the cities' shortfall is the same share everywhere; the province paid its own part in full.
Scale about 1 : 1000: a county's plan is 200 vouchers of 100.00 yuan, of the three levels by their members.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import pytest

from quanlian.apportionment import FundingPlan, ShortfallRule, reserve
from quanlian.money import allocate

LEVELS = ("province", "city", "county")
MEMBERS = (90, 226, 460)
CITIES_RAISED = Fraction(430, 678)
VOUCHERS, FACE_FEN = 200, 100_00
PLANNED = tuple(allocate(VOUCHERS * FACE_FEN, MEMBERS))
RULES: dict[str, tuple[ShortfallRule, bool]] = {
    "cascade, borne": ("cascade", False),
    "cascade, advanced": ("cascade", True),
    "pro-rata": ("pro-rata", False),
    "refuse": ("refuse", False),
}


def funded_parts() -> list[Fraction]:
    """What part of its plan each county had budgeted."""
    upper = [Fraction(1, 2) + Fraction(step, 2 * 23) for step in range(1, 23)]
    lower = [Fraction(step, 2 * 69) for step in range(1, 69)]
    return [Fraction(1)] * 20 + upper + lower + [Fraction(0)] * 7


def budgets(funded: Fraction) -> dict[str, int]:
    province, city, county = PLANNED
    return dict(zip(LEVELS, (province, int(city * CITIES_RAISED), int(county * funded)), strict=True))


@dataclass
class County:
    """What became of one county's 200 claims."""

    budget: dict[str, int]
    paid: Counter[str] = field(default_factory=Counter)
    wanted: Counter[str] = field(default_factory=Counter)
    owes: Counter[tuple[str, str]] = field(default_factory=Counter)
    issued: int = 0

    def claim(self, rule: ShortfallRule, advanced: bool) -> None:
        plan = FundingPlan(LEVELS, MEMBERS, rule, advanced)
        reservation = reserve(FACE_FEN, [], plan, lambda level: self.budget[level] - self.paid[level])
        if reservation is None:
            return
        self.issued += 1
        for level, own_fen in zip(LEVELS, allocate(FACE_FEN, MEMBERS), strict=True):
            self.wanted[level] += own_fen
        for leg in reservation.public:
            self.paid[leg.account] += leg.amount_fen
            for debtor, fen in leg.advanced:
                self.owes[(debtor, leg.account)] += fen


def counties(rule: str) -> list[County]:
    shanxi = [County(budgets(funded)) for funded in funded_parts()]
    for county in shanxi:
        for _ in range(VOUCHERS):
            county.claim(*RULES[rule])
    return shanxi


class Figures(NamedTuple):
    """Over all counties, yuan: what each level pays; what others paid for it on the vouchers that were issued; what the
    counties owe. `refused` counts vouchers of 23,400.
    """

    refused: int
    paid: tuple[int, ...]
    others_paid: tuple[int, ...]
    counties_owe: int


@pytest.fixture(scope="module", params=RULES)
def outcome(request: pytest.FixtureRequest) -> tuple[str, list[County]]:
    return request.param, counties(request.param)


def test_there_are_117_counties_in_the_bands_of_the_text() -> None:
    parts = funded_parts()
    bands = Counter(
        "all" if part == 1 else "none" if part == 0 else "half" if part >= Fraction(1, 2) else "less" for part in parts
    )
    assert (len(parts), bands) == (117, Counter(all=20, half=22, less=68, none=7))
    assert sum(PLANNED) == VOUCHERS * FACE_FEN


def test_every_voucher_is_paid_in_full_and_nobody_beyond_its_budget(outcome: tuple[str, list[County]]) -> None:
    _, shanxi = outcome
    for county in shanxi:
        assert sum(county.paid.values()) == county.issued * FACE_FEN
        assert all(0 <= county.paid[level] <= county.budget[level] for level in LEVELS)


def test_a_rule_that_helps_issues_as_long_as_there_is_any_money(outcome: tuple[str, list[County]]) -> None:
    rule, shanxi = outcome
    for county in shanxi:
        all_money = sum(county.budget.values()) // FACE_FEN
        if rule == "refuse":
            each = allocate(FACE_FEN, MEMBERS)
            fits = min(county.budget[level] // fen for level, fen in zip(LEVELS, each, strict=True))
            assert county.issued == min(VOUCHERS, fits)
        else:
            assert county.issued == min(VOUCHERS, all_money)


def test_what_is_advanced_is_owed_by_the_short_and_just_that(outcome: tuple[str, list[County]]) -> None:
    """Own parts, plus what is lent to others, less what others lend, is what each pays; borne, nothing is owed."""
    rule, shanxi = outcome
    if rule != "cascade, advanced":
        assert not any(county.owes for county in shanxi)
        return
    for county in shanxi:
        for level in LEVELS:
            lent = sum(fen for (_, advancer), fen in county.owes.items() if advancer == level)
            owed = sum(fen for (debtor, _), fen in county.owes.items() if debtor == level)
            assert county.paid[level] == county.wanted[level] + lent - owed


def test_advancing_changes_who_owes_and_not_who_pays() -> None:
    borne, advanced = counties("cascade, borne"), counties("cascade, advanced")
    assert [county.paid for county in borne] == [county.paid for county in advanced]


FIGURES = {
    "cascade, borne": Figures(10_082, (269_039, 428_482, 634_277), (0, 43_930, 188_629), 0),
    "cascade, advanced": Figures(10_082, (269_039, 428_482, 634_277), (0, 43_930, 188_629), 194_833),
    "pro-rata": Figures(10_082, (266_477, 432_215, 633_106), (0, 43_930, 188_629), 0),
    "refuse": Figures(14_809, (99_655, 250_169, 509_274), (0, 0, 0), 0),
}


def test_the_province_of_shanxi_rule_by_rule(outcome: tuple[str, list[County]]) -> None:
    """The figures of docs/money.md."""
    rule, shanxi = outcome
    paid = [sum(county.paid[level] for county in shanxi) // 100 for level in LEVELS]
    others = [sum(max(0, county.wanted[level] - county.paid[level]) for county in shanxi) // 100 for level in LEVELS]
    owed = sum(fen for county in shanxi for (debtor, _), fen in county.owes.items() if debtor == "county") // 100
    refused = 117 * VOUCHERS - sum(county.issued for county in shanxi)
    assert Figures(refused, tuple(paid), tuple(others), owed) == FIGURES[rule]


def test_what_each_level_is_short_of_its_plan() -> None:
    short = [
        sum(planned - budgets(funded)[level] for funded in funded_parts()) // 100
        for level, planned in zip(LEVELS, PLANNED, strict=True)
    ]
    assert short == [0, 249_279, 752_835]
