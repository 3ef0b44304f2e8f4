"""What Excel offers for a cell, and what it lets people write there; the checker judges all the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from node.campaign.workbook.cells import NO, YES, category_labels, region_label
from node.campaign.workbook.layout import LISTS_TITLE, SCOPES, Column, Form, label
from node.campaign.workbook.pages import Page, address
from quanlian.regions import regions

INPUT_ROWS: Final = 1_000
"""Rows of a list of entries that have drop-downs, filled or not."""
_MAX_MESSAGE: Final = 255
_MAX_MESSAGE_TITLE: Final = 32
_RANGE: Final = re.compile(r"([0-9]+)–([0-9]+)")
_MAX_COUNT: Final = 10**9
_FIRST, _LAST = datetime(2000, 1, 1), datetime(2099, 12, 31, 23, 59, 59)  # noqa: DTZ001 - Excel has no zones


def offered(pages: Sequence[Page]) -> dict[str, list[str]]:
    """The texts of every drop-down, by the field or the form that they belong to."""
    columns = [column for page in pages for column in page.layout.columns]
    words = {
        column.field.name: [label(column.field, word) for word in column.words]
        for column in columns
        if column.form is Form.WORD
    }
    codes = [region_label(region.code) for region in regions()]
    return {
        **words,
        "voucher_type[].categories": category_labels(),
        Form.SCOPE.name: [*map(region_label, SCOPES), *codes],
    }


def explanation(column: Column) -> str:
    """What a field means, its unit, its default and where its rule comes from."""
    entry = column.field
    meaning = f"{entry.zh} {entry.en}\n单位 Unit: {column.unit}\n缺省 Default: {column.default}"
    return f"{meaning}\n依据 Source: {entry.source}"


def validation(column: Column, pages: Sequence[Page], lists: dict[str, list[str]]) -> dict[str, Any]:
    """The drop-down or bounds of a field, and the message beside a selected cell, by XlsxWriter's names."""
    return {
        **_rule(column, pages, lists),
        "input_title": column.zh[:_MAX_MESSAGE_TITLE],
        "input_message": explanation(column)[:_MAX_MESSAGE],
        "error_title": "不符合要求 Not accepted",
        "error_message": column.unit[:_MAX_MESSAGE],
    }


def _rule(column: Column, pages: Sequence[Page], lists: dict[str, list[str]]) -> dict[str, Any]:
    match column.form:
        case Form.FLAG | Form.TICK:
            return {"validate": "list", "source": [YES, NO]}
        case Form.WORD:
            return {"validate": "list", "source": _range_of(column.field.name, lists)}
        case Form.REFERENCE:
            return {"validate": "list", "source": _ids(column.target, pages)}
        case Form.REGION | Form.SCOPE:  # the six digits alone may be written too
            skipped = 0 if column.form is Form.SCOPE else len(SCOPES)
            return {"validate": "list", "source": _range_of(Form.SCOPE.name, lists, skipped), "show_error": False}
        case Form.WORDS:  # several may be written
            source = _ids(column.target, pages) if column.target else _range_of(column.field.name, lists)
            return {"validate": "list", "source": source, "show_error": False}
        case Form.YUAN:
            return _between("decimal", 0.01, 10**12)
        case Form.PERCENT:
            return _between("decimal", 0.000001, 1)
        case Form.RATIO:
            return _between("decimal", 1, 1000)
        case Form.WHOLE:
            return _between("integer", *_bounds(column.field.unit))
        case Form.INSTANT:
            return _between("date", _FIRST, _LAST)
    return {"validate": "any"}


def _between(kind: str, lowest: Any, highest: Any) -> dict[str, Any]:
    return {"validate": kind, "criteria": "between", "minimum": lowest, "maximum": highest}


def _bounds(unit: str) -> tuple[int, int]:
    found = _RANGE.search(unit)
    if found:
        return int(found[1]), int(found[2])
    return (1, 1) if unit == "1" else (0 if unit.endswith("from 0") else 1, _MAX_COUNT)


def _range_of(name: str, lists: dict[str, list[str]], skipped: int = 0) -> str:
    """Where the sheet of lists has the texts: a column for each list, below its name; the first may be skipped."""
    position = list(lists).index(name) + 1
    return _reference(LISTS_TITLE, 2 + skipped, len(lists[name]) + 1, position)


def _ids(table: str, pages: Sequence[Page]) -> str:
    """The cells in which the entries of a table have their ids."""
    page = next(page for page in pages if page.layout.table == table)
    position = next((position for position, column in page.columns.items() if column.key == "id"), 1)
    return _reference(page.layout.title, page.first, page.first + INPUT_ROWS - 1, position)


def _reference(title: str, top: int, bottom: int, position: int) -> str:
    letters = address((1, position))[:-1]
    return f"='{title}'!${letters}${top}:${letters}${bottom}"
