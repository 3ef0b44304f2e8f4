"""`docs/campaigns*.md` say what the parser knows, and the parser knows what they say."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest

from quanlian.campaign_check import check_campaign, check_notice_file
from quanlian.terms_fields import FIELDS, NONE, NOTICE_FIELDS, REQUIRED, markdown_table
from quanlian.terms_parsing import parse_terms

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENTS: list[tuple[str, Literal["zh", "en"]]] = [("campaigns.md", "en"), ("campaigns.zh-CN.md", "zh")]
TABLES = {field.name.rpartition(".")[0].replace("[]", "") for field in FIELDS}
STRANGER = "zzzzzzzzzzzzzzzzzzzz"


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def complete_file(name: str) -> str:
    found = re.search(r"```toml\n(.*?)```", text_of(name), re.DOTALL)
    assert found
    return found[1]


FULL = complete_file("campaigns.md")


def fields_in(values: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, value in values.items():
        name = f"{path}{key}"
        entries = value if isinstance(value, list) and value and isinstance(value[0], dict) else [value]
        for entry in entries:
            if isinstance(entry, dict):
                yield from fields_in(entry, f"{name}[]." if isinstance(value, list) else f"{name}.")
            else:
                yield name


def known_to_the_parser() -> set[str]:
    """Put a stranger into every table of the complete file: the parser answers with the fields that it knows."""
    rows = []
    for row in FULL.splitlines():
        rows.append(row)
        if row.startswith("["):
            rows.append(f"{STRANGER} = 1")
    found: set[str] = set()
    for error in check_campaign("\n".join(rows).encode(), "a.toml").errors:
        table = re.sub(r"\[\d+\]", "[]", error.field.rpartition(".")[0])
        found |= {f"{table}.{name}" for name in error.remedy.removeprefix("known are ").split(", ")}
    tables = {f"{each.rpartition('.')[0]}" for each in found}
    return {each for each in found if f"{each}[]" not in tables}


def test_every_field_that_the_parser_knows_is_documented_and_no_other() -> None:
    documented = {field.name for field in FIELDS}
    known = known_to_the_parser() | {"voucher_type[].face"}  # a ticket with attractions has none
    assert known == documented, f"only known: {known - documented}; only documented: {documented - known}"


@pytest.mark.parametrize(("name", "language"), DOCUMENTS)
def test_the_table_of_fields_is_the_one_made_from_the_code(name: str, language: Literal["zh", "en"]) -> None:
    found = re.search(r"<!-- fields: .*? -->\n(.*?)<!-- /fields -->", text_of(name), re.DOTALL)
    assert found
    remedy = "replace it with quanlian.terms_fields.markdown_table"
    assert found[1] == markdown_table(language), f"docs/{name}: the table is stale: {remedy}"


@pytest.mark.parametrize(("name", "language"), DOCUMENTS)
def test_the_table_of_a_notices_fields_is_the_one_made_from_the_code(name: str, language: Literal["zh", "en"]) -> None:
    found = re.search(r"<!-- notice fields: .*? -->\n(.*?)<!-- /notice fields -->", text_of(name), re.DOTALL)
    assert found
    assert found[1] == markdown_table(language, NOTICE_FIELDS), f"docs/{name}: the table is stale"


@pytest.mark.parametrize("name", [name for name, _ in DOCUMENTS])
def test_the_notice_shown_checks_clean_and_has_only_the_fields_told(name: str) -> None:
    shown = next(text for text in re.findall(r"```toml\n(.*?)```", text_of(name), re.DOTALL) if "[notice]" in text)
    assert check_notice_file(shown.encode(), name).errors == ()
    (error,) = check_notice_file(f"{shown}{STRANGER} = 1\n".encode(), name).errors
    known = set(error.remedy.removeprefix("known are ").split(", "))
    assert known == {field.key for field in NOTICE_FIELDS}


def test_the_complete_file_has_every_field_and_checks_clean_in_both_languages() -> None:
    assert set(fields_in(tomllib.loads(FULL, parse_float=Decimal))) == {field.name for field in FIELDS}
    assert complete_file("campaigns.zh-CN.md") == FULL
    report = check_campaign(FULL.encode(), "campaigns.md")
    assert (report.errors, report.warnings) == ((), ())


@pytest.mark.parametrize(
    "field", [f for f in FIELDS if f.default not in (REQUIRED, NONE) and " " not in f.default], ids=lambda f: f.name
)
def test_leaving_a_field_out_is_writing_its_default(field: Any) -> None:
    table, _, key = field.name.rpartition(".")
    written = field.default if field.default.isdigit() or field.default in ("true", "false") else f'"{field.default}"'
    line = rf"(?m)^{key} = .*\n"
    head, heading, tail = FULL.partition(f"[[{table[:-2]}]]" if table.endswith("[]") else f"[{table}]")
    if key == "uses":
        head, heading, tail = FULL.partition('id = "towns"')
    assert re.search(line, tail), f"{field.name} is not in the complete file"
    without = head + heading + re.sub(line, "", tail, count=1)
    stated = head + heading + re.sub(line, f"{key} = {written}\n", tail, count=1)
    first, second = parse_terms(without.encode(), "without"), parse_terms(stated.encode(), "stated")
    assert replace(first, terms_hash=b"") == replace(second, terms_hash=b"")


@pytest.mark.parametrize(("name", "language"), DOCUMENTS)
def test_twelve_mistakes_are_told(name: str, language: str) -> None:
    assert re.findall(r"(?m)^(\d+)\. \*\*", text_of(name)) == [str(number) for number in range(1, 13)]
