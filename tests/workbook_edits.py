"""Campaign workbooks as people leave them: cells found by sheet and field, edited, and saved again."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.workbook import Workbook

from node.campaign.workbook.cells import Raw
from node.campaign.workbook.conversion import export_workbook
from node.campaign.workbook.layout import LAYOUTS, Layout
from node.campaign.workbook.pages import cell_at
from node.campaign.workbook.reading import Workbook as OpenWorkbook
from node.campaign.workbook.reading import read_workbook
from node.campaign.workbook.sheets import Sheet

_CAMPAIGNS = Path(__file__).parents[1] / "examples" / "campaigns"
EXAMPLES = sorted([*_CAMPAIGNS.glob("*.toml"), *_CAMPAIGNS.glob("amendments/*.toml")])
COMPLETE = Path(__file__).parents[1] / "docs" / "campaigns.md"
Change = Callable[[dict[str, dict[tuple[int, int], Raw]]], None]
Edit = Callable[[Workbook], None]


@cache
def complete_file() -> bytes:
    """The complete file of docs/campaigns.md, which has every field."""
    return COMPLETE.read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0].encode()


@cache
def exported(content: bytes) -> bytes:
    return export_workbook(content, "terms.toml")


def layout(title: str) -> Layout:
    return next(each for each in LAYOUTS if title in (each.zh, each.en, each.title))


def cell_of(title: str, key: str, entry: int = 1) -> str:
    """Where the exported workbook has a field: of the n-th entry of a sheet with a row for each."""
    sheet = layout(title)
    position = [column.key for column in sheet.columns].index(key)
    return f"C{position + 2}" if sheet.upright else f"{'ABCDEFGHIJKLMNOPQRSTUVWXYZ'[position]}{entry + 3}"


def typed(title: str, key: str, value: Any, entry: int = 1) -> Change:
    """What a person leaves in a field, given as the cells that are read from the file."""

    def change(cells: dict[str, dict[tuple[int, int], Raw]]) -> None:
        cells[layout(title).title][cell_at(cell_of(title, key, entry))] = Raw(value)

    return change


def changed(content: bytes, *changes: Change) -> OpenWorkbook:
    """The workbook of a campaign file as it is read after some changes, without a file in between."""
    book = opened(content)
    cells = {sheet.title: dict(sheet.cells) for sheet in book.sheets}
    for change in changes:
        change(cells)
    return book._replace(sheets=[Sheet(title, held) for title, held in cells.items()])


@cache
def opened(content: bytes) -> OpenWorkbook:
    return read_workbook(exported(content), "terms.xlsx")


def put(title: str, key: str, value: Any, entry: int = 1, number_format: str | None = None) -> Edit:
    """An edit that writes a value into a field."""

    def edit(book: Workbook) -> None:
        cell = book[layout(title).title][cell_of(title, key, entry)]
        cell.value = value
        if number_format:
            cell.number_format = number_format

    return edit


def resaved(content: bytes, *edits: Edit) -> bytes:
    """The workbook opened, edited and saved by another program."""
    book = openpyxl.load_workbook(BytesIO(content))
    for edit in edits:
        edit(book)
    stream = BytesIO()
    book.save(stream)
    return stream.getvalue()
