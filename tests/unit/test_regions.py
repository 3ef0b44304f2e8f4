"""Regions contain one another, and terms name them by code, group or everywhere."""

from __future__ import annotations

import pytest

from quanlian.errors import InvalidInput
from quanlian.regions import Region, covers, matches, region

SHANGHAI, QINGPU, SUZHOU, WUJIANG, JIASHAN, HANGZHOU = (
    "310000",
    "310118",
    "320500",
    "320509",
    "330421",
    "330100",
)


def test_a_region_knows_its_name_and_what_it_belongs_to() -> None:
    assert region(HANGZHOU) == Region(HANGZHOU, "杭州市", "330000", "Hangzhou")
    assert region("330113") == Region("330113", "临平区", HANGZHOU, "Linping")
    assert region("330000").parent == ""


@pytest.mark.parametrize(
    ("code", "english"),
    [
        (SHANGHAI, "Shanghai"),
        (SUZHOU, "Suzhou"),
        (HANGZHOU, "Hangzhou"),
        ("340100", "Hefei"),
        ("140502", "Jincheng Chengqu"),
    ],
)
def test_the_regions_of_the_demonstration_have_english_names(code: str, english: str) -> None:
    assert region(code).name_en == english


def test_districts_of_a_municipality_stand_right_under_it() -> None:
    assert region(QINGPU).parent == SHANGHAI
    assert region("500229").parent == "500000"


def test_counties_that_a_province_administers_stand_right_under_it() -> None:
    assert region("419001").parent == "410000"


@pytest.mark.parametrize(
    ("area", "inside"),
    [("330000", HANGZHOU), ("330000", "330113"), (HANGZHOU, "330113"), (SHANGHAI, QINGPU), (SUZHOU, SUZHOU)],
)
def test_an_area_covers_what_it_contains_and_itself(area: str, inside: str) -> None:
    assert covers(area, inside)


@pytest.mark.parametrize(("area", "outside"), [(HANGZHOU, "330000"), (SHANGHAI, SUZHOU), (HANGZHOU, JIASHAN)])
def test_an_area_does_not_cover_what_lies_above_or_beside_it(area: str, outside: str) -> None:
    assert not covers(area, outside)


def test_the_delta_is_three_provinces_and_shanghai() -> None:
    assert all(matches("yrd", code) for code in (SHANGHAI, QINGPU, WUJIANG, HANGZHOU, "340100"))
    assert not matches("yrd", "140502")


def test_the_demonstration_zone_is_qingpu_wujiang_and_jiashan() -> None:
    assert all(matches("yrd-demonstration-zone", code) for code in (QINGPU, WUJIANG, JIASHAN))
    assert not matches("yrd-demonstration-zone", SUZHOU)


def test_everywhere_is_any_known_region() -> None:
    assert matches("*", "140502")
    with pytest.raises(InvalidInput, match="'999999' is not a region code"):
        matches("*", "999999")


@pytest.mark.parametrize("code", ["", "310100", "3301", "330100 ", "３３０１００"])
def test_what_is_not_a_code_is_an_error(code: str) -> None:
    with pytest.raises(InvalidInput, match="is not a region code"):
        region(code)


def test_an_unknown_group_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="yrd-demonstration-zone"):
        matches("pearl-river", SHANGHAI)
