"""Reserved legs against the terms that they were reserved by."""

from __future__ import annotations

import pytest
from local_parties import campaign

from quanlian.apportionment import Leg, Reservation, reserve
from quanlian.terms import Terms
from quanlian.terms_parsing import parse_terms
from verifier.reserved import reserved_differences

CITY, COUNTY = "funding/330100/2026/spring/city", "funding/330100/2026/spring/county"
PLATFORM = "funding/330100/2026/spring/alipay"
COFUNDER = b"""
[[cofunder]]
kind = "platform"
name = "alipay"
share_percent = 20
public_pays_if_dry = false
budget = 100.00
"""


def terms(cascade: str = "borne", rule: str = "cascade") -> Terms:
    document = campaign(cascade=cascade).replace(b'shortfall_rule = "cascade"', f'shortfall_rule = "{rule}"'.encode())
    if rule != "cascade":
        document = document.replace(f'cascade = "{cascade}"\n'.encode(), b"")
    return parse_terms(document, "spring.toml")


def differences(found: Terms, *public: Leg) -> list[tuple[object, ...]]:
    return list(reserved_differences(found, found.voucher_types[0], Reservation((), public)))


@pytest.mark.parametrize(("rule", "cascade"), [("cascade", "borne"), ("cascade", "advanced"), ("pro-rata", "borne")])
@pytest.mark.parametrize("county_left_fen", [1000, 100, 0])
def test_what_was_reserved_by_the_terms_holds(rule: str, cascade: str, county_left_fen: int) -> None:
    found = terms(cascade, rule)
    left = {CITY: 5000, COUNTY: county_left_fen}
    reservation = reserve(1000, found.cofunder_plan(), found.funding_plan(), left.__getitem__)
    assert reservation is not None
    assert list(reserved_differences(found, found.voucher_types[0], reservation)) == []


def test_another_amount_is_named() -> None:
    assert differences(terms(), Leg(CITY, 667), Leg(COUNTY, 332)) == [("reserved_fen", 999, 1000)]


def test_another_funder_is_named() -> None:
    other = CITY.replace("city", "province")
    (found,) = differences(terms(), Leg(other, 667), Leg(COUNTY, 333))
    assert found == ("reserved accounts", [other, COUNTY], [CITY, COUNTY])


def test_an_advance_that_the_terms_do_not_know_is_named() -> None:
    legs = (Leg(CITY, 1000, ((COUNTY, 333),)), Leg(COUNTY, 0))
    assert differences(terms("advanced"), *legs) == []
    assert differences(terms("borne"), *legs) == [(f"advanced_fen of {CITY}", 333, 0)]


def test_an_advance_that_leaves_a_debtor_less_or_more_than_its_part_is_named() -> None:
    legs = (Leg(CITY, 1000, ((COUNTY, 300),)), Leg(COUNTY, 0))
    assert differences(terms("advanced"), *legs) == [
        (f"reserved_fen of {CITY}, advances settled", 700, 667),
        (f"reserved_fen of {COUNTY}, advances settled", 300, 333),
    ]


def test_under_refuse_every_funder_pays_its_part() -> None:
    found = differences(terms(rule="refuse"), Leg(CITY, 668), Leg(COUNTY, 332))
    assert [each[0] for each in found] == [
        f"reserved_fen of {CITY}, advances settled",
        f"reserved_fen of {COUNTY}, advances settled",
    ]


@pytest.mark.parametrize(("fen", "named"), [(200, []), (0, [(f"reserved_fen of {PLATFORM}", 0, 200)])])
def test_a_platform_pays_its_share(fen: int, named: list[tuple[object, ...]]) -> None:
    found = parse_terms(campaign() + COFUNDER, "spring.toml")
    city_fen, county_fen = (533, 267) if fen else (667, 333)
    legs = (Leg(CITY, city_fen), Leg(COUNTY, county_fen))
    reservation = Reservation((Leg(PLATFORM, fen),), legs)
    assert list(reserved_differences(found, found.voucher_types[0], reservation)) == named
