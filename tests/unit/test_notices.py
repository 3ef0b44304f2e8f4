"""Whether a notice gives holders something: judged by what regions cover, not by what they are called."""

from __future__ import annotations

import pytest
from local_parties import campaign

from quanlian.errors import InvalidInput
from quanlian.notices import NOTHING_GIVEN, Given, Notice, check_notice
from quanlian.terms import Terms
from quanlian.terms_parsing import parse_terms


def terms(regions: str, roaming: str = "on-demand") -> Terms:
    set_to = {"regions": regions, "roaming": f'"{roaming}"'}
    rows = (row.split(" = ") for row in campaign().decode().splitlines())
    content = "\n".join(" = ".join([name, set_to[name]] if name in set_to else [name, *rest]) for name, *rest in rows)
    return parse_terms(content.encode(), "terms.toml")


def judge(known: Terms, *regions: str, given: Given = NOTHING_GIVEN) -> None:
    check_notice(Notice(known.campaign, regions=regions), known, given, known.starts_at)


@pytest.mark.parametrize(
    ("covered", "named"),
    [('["yrd"]', "310000"), ('["*"]', "330100"), ('["yrd"]', "310118"), ('["330000"]', "330421"), ('["*"]', "yrd")],
)
def test_a_region_inside_what_is_covered_gives_nothing(covered: str, named: str) -> None:
    with pytest.raises(InvalidInput, match="holders have that already"):
        judge(terms(covered), named)


def test_a_region_inside_what_an_earlier_notice_gave_gives_nothing() -> None:
    with pytest.raises(InvalidInput, match="holders have that already"):
        judge(terms('["330100"]'), "310118", given=Given(regions=("yrd",)))


@pytest.mark.parametrize(("covered", "named"), [('["330100"]', "330000"), ('["yrd"]', "*"), ('["310000"]', "yrd")])
def test_a_wider_region_gives_something(covered: str, named: str) -> None:
    judge(terms(covered), named)


def test_regions_give_nothing_where_no_voucher_roams() -> None:
    with pytest.raises(InvalidInput, match="no pack of the campaign roams"):
        judge(terms('["330100"]', "never"), "310000")


def test_the_issuers_own_region_gives_something_even_so() -> None:
    known = terms('["310000"]', "never")
    judge(known, known.issuer)
