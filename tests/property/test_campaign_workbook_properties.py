"""Whatever terms a campaign has, its workbook gives them back; whatever a workbook holds gets an answer."""

from __future__ import annotations

import string
import tomllib
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from workbook_edits import complete_file, opened

from node.campaign.workbook.cells import Lost, Raw
from node.campaign.workbook.conversion import import_workbook, read_campaign
from node.campaign.workbook.layout import Form
from node.campaign.workbook.pages import Page, pages_of
from node.campaign.workbook.reading import Workbook
from node.campaign.workbook.sheets import Sheet
from node.campaign.workbook.writing import write_workbook
from quanlian import terms
from quanlian.campaign_check import check_campaign
from quanlian.refusals import CHINA
from quanlian.regions import regions
from quanlian.terms_writing import rewrite_terms, write_terms

SAMPLE = tomllib.loads(complete_file().decode(), parse_float=Decimal)
TITLES = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20).filter(str.isprintable)
NAMES = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=12)
AMOUNTS = st.integers(1, 10**14).map(lambda fen: (Decimal(fen) / 100).quantize(Decimal("0.01")))
SHARES = st.integers(1, 200_000).map(lambda ppm: Decimal(ppm) / 10_000)
COUNTS = st.integers(1, 10**9)
SCOPES = st.sampled_from(["*", "yrd", "yrd-demonstration-zone", *(each.code for each in regions())])


def subset(words: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(words), min_size=1, unique=True)


def entry(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    titles = {"title_zh": TITLES, "title_en": TITLES}
    return st.fixed_dictionaries(
        {"id": NAMES, **titles, "categories": st.lists(NAMES, min_size=1, unique=True), **fields}
    )


TICKETS = entry(
    kind=st.just("ticket"),
    uses=st.integers(1, 4),
    price=AMOUNTS,
    attraction=st.lists(
        st.fixed_dictionaries({"id": NAMES, "title_zh": TITLES, "title_en": TITLES, "share_percent": SHARES}),
        min_size=1,
        max_size=4,
        unique_by=lambda each: each["id"],
    ),
)
TIERED = entry(
    kind=st.just("tiered"),
    tier=st.lists(
        st.fixed_dictionaries({"class": NAMES, "from": AMOUNTS, "amount": AMOUNTS}),
        min_size=1,
        max_size=4,
        unique_by=lambda each: each["class"],
    ),
)
FULL = entry(kind=st.just("full-value"), face=AMOUNTS)
RATE = entry(kind=st.just("rate"), rate_percent=SHARES, cap=AMOUNTS)
VOUCHERS = st.lists(FULL | RATE | TIERED | TICKETS, min_size=1, max_size=5, unique_by=lambda each: each["id"])


@st.composite
def campaigns(draw: st.DrawFn) -> dict[str, Any]:
    """What a valid campaign file may say."""
    vouchers = draw(VOUCHERS)
    ids = [voucher["id"] for voucher in vouchers]
    start = datetime(2026, 1, 1, tzinfo=CHINA) + timedelta(seconds=draw(st.integers(0, 10**8)))
    end = start + timedelta(seconds=draw(st.integers(1, 10**8)))
    campaign = {**SAMPLE["campaign"], "title_zh": draw(TITLES), "starts_at": start, "ends_at": end}
    campaign["regions"] = draw(st.lists(SCOPES, min_size=1, max_size=6))
    campaign["channels"] = draw(subset(terms.CHANNELS))
    campaign.pop("minimum_leverage")
    if draw(st.booleans()):
        campaign.pop("hold_seconds")
    contents = draw(st.lists(st.sampled_from(ids), min_size=1, max_size=16))
    pack = {
        "id": draw(NAMES),
        "title_zh": draw(TITLES),
        "title_en": draw(TITLES),
        "vouchers": contents,
        "valid_days": 9,
    }
    funder = {**SAMPLE["funder"][0], "title_zh": draw(TITLES), "weight": draw(COUNTS), "budget": draw(AMOUNTS)}
    opening = {"id": "r", "pack": pack["id"], "mode": "application", "opens_at": start, "closes_at": end}
    limits = {"quota": draw(COUNTS), "per_person": draw(COUNTS), "evidence": draw(subset(terms.EVIDENCE))}
    return {
        "campaign": campaign,
        "funding": {"shortfall_rule": draw(st.sampled_from(terms.SHORTFALL_RULES))},
        "funder": [funder],
        "merchants": {"vetoes": draw(subset(terms.MERCHANT_VETOES))},
        "voucher_type": vouchers,
        "pack": [pack],
        "round": [{**opening, **limits}],
    }


def as_read(page: Page) -> Sheet:
    """The sheet as Excel gives it back: numbers in binary, shares as hundredths."""
    shares = {position for position, column in page.columns.items() if column.form is Form.PERCENT}
    cells = {
        cell: Raw(float(value) if isinstance(value, Decimal | int) else value, percent=cell[1] in shares)
        for cell, value in page.cells.items()
    }
    return Sheet(page.layout.title, cells)


def read(values: dict[str, Any], source: bytes | None) -> Any:
    return read_campaign(Workbook([as_read(page) for page in pages_of(values)], source, []), "terms.xlsx")


@settings(deadline=None, max_examples=60)
@given(campaigns())
def test_terms_come_back_from_their_sheets(values: dict[str, Any]) -> None:
    content = write_terms(values)
    report = check_campaign(content, "terms.toml")
    assert report.terms is not None, report.errors
    found = read(values, None)
    assert found.errors == ()
    assert replace(found.terms, terms_hash=b"") == replace(report.terms, terms_hash=b"")
    assert read(values, content).content == content


@settings(deadline=None, max_examples=5)
@given(campaigns())
def test_terms_come_back_from_a_file(values: dict[str, Any]) -> None:
    content = write_terms(values)
    assert import_workbook(write_workbook(pages_of(values), content), "terms.xlsx").content == content


@settings(deadline=None, max_examples=60)
@given(campaigns())
def test_a_file_rewritten_says_the_other_terms(values: dict[str, Any]) -> None:
    written = rewrite_terms(complete_file(), values)
    old, new = check_campaign(write_terms(values), "old").terms, check_campaign(written, "new").terms
    assert old is not None
    assert new is not None
    assert replace(new, terms_hash=b"") == replace(old, terms_hash=b"")


ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.datetimes()
    | st.times()
    | st.sampled_from(
        [Lost("=A1"), Lost("#REF!"), "是 yes", "10.00", "20%", "residents", "off-10-from-50", "330400", 64]
    )
)
PLACES = st.tuples(
    st.sampled_from([sheet.title for sheet in opened(complete_file()).sheets]), st.integers(1, 9), st.integers(1, 15)
)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(PLACES, ANYTHING, min_size=1, max_size=12))
def test_whatever_is_typed_is_terms_or_faults_in_cells(typed: dict[tuple[str, int, int], Any]) -> None:
    book = opened(complete_file())
    cells = {sheet.title: dict(sheet.cells) for sheet in book.sheets}
    for (title, row, column), value in typed.items():
        cells[title][row, column] = Raw(value)
    found = read_campaign(book._replace(sheets=[Sheet(title, held) for title, held in cells.items()]), "typed.xlsx")
    assert (found.terms is None) == bool(found.errors)
    assert (found.content == b"") == bool(found.errors)
    for fault in found.errors:
        assert fault.place.sheet in cells
        assert all(words.zh and words.en for words in fault.rule)
    if found.terms is not None:
        assert check_campaign(found.content, "typed.toml").terms == found.terms


@settings(deadline=None, max_examples=6)
@given(st.dictionaries(PLACES, ANYTHING, min_size=1, max_size=12))
def test_a_marked_copy_has_the_same_faults(typed: dict[tuple[str, int, int], Any]) -> None:
    book = opened(complete_file())
    cells = {sheet.title: dict(sheet.cells) for sheet in book.sheets}
    for (title, row, column), value in typed.items():
        if row >= 4:
            cells[title][row, column] = Raw(value)
    found = read_campaign(book._replace(sheets=[Sheet(title, held) for title, held in cells.items()]), "typed.xlsx")
    again = import_workbook(found.marked_copy(), "typed.xlsx")
    assert {fault.place for fault in again.errors} == {fault.place for fault in found.errors}
