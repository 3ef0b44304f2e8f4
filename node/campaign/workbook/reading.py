"""An .xlsx file as the cells of its sheets, whatever Excel, WPS or LibreOffice made of it; bounded for any file."""

from __future__ import annotations

import base64
import binascii
import math
import re
import warnings
import zipfile
from io import BytesIO
from typing import Any, Final, NamedTuple
from xml.etree.ElementTree import iterparse

import openpyxl

from node.campaign.workbook.archive import check_archive
from node.campaign.workbook.cells import Lost, Raw
from node.campaign.workbook.layout import FAULTS_TITLE, GUIDE_TITLE, LISTS_TITLE, SOURCE_TITLE
from node.campaign.workbook.pages import cell_at
from node.campaign.workbook.sheets import Sheet, layout_called
from quanlian.errors import InvalidInput

MAX_ROWS: Final = 5_000
MAX_COLUMNS: Final = 64
_EXCEL_ROWS: Final = 1_048_576
_NAMED_TAG: Final = re.compile(r"\{[^}]*\}")


class Workbook(NamedTuple):
    """The sheets that hold terms; the file they were exported from, if it is still there; tabs that were not read."""

    sheets: list[Sheet]
    source: bytes | None
    unread: list[str]


def read_workbook(content: bytes, name: str) -> Workbook:
    """Raises InvalidInput for a file that is no workbook or may not be opened (`archive.py`), or holds too much."""
    check_archive(content, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats and extensions that openpyxl does not know
            return _read(content, name)
    except InvalidInput:
        raise
    except Exception as error:  # openpyxl has no exception of its own for a part that is not as it should be
        raise InvalidInput(
            f"不是完好的工作簿 is not a sound workbook ({type(error).__name__})",
            place=name,
            remedy="在Excel或WPS中打开并另存为.xlsx open it in Excel or WPS and save it as .xlsx",
        ) from error


def _read(content: bytes, name: str) -> Workbook:
    book = openpyxl.load_workbook(BytesIO(content), read_only=True, data_only=True, keep_links=False)
    sheets: list[Sheet] = []
    source, unread = None, []
    with zipfile.ZipFile(BytesIO(content)) as archive:
        for sheet in book.worksheets:
            if layout_called(sheet.title):
                cells = _cells(sheet, name)
                for cell, formula in _unsolved(archive, sheet):
                    cells[cell_at(cell)] = Raw(Lost(formula))
                sheets.append(Sheet(sheet.title, cells))
            elif sheet.title == SOURCE_TITLE:
                source = _decoded(_cells(sheet, name))
            elif sheet.title not in (GUIDE_TITLE, LISTS_TITLE, FAULTS_TITLE):
                unread.append(sheet.title)
    return Workbook(sheets, source, unread)


def _cells(sheet: Any, name: str) -> dict[tuple[int, int], Raw]:
    """Every cell of the sheet that holds something. Raises InvalidInput for too many rows."""
    sheet.reset_dimensions()  # which a file may state as it likes
    since = sheet.parent.epoch.date()
    cells: dict[tuple[int, int], Raw] = {}
    before, rows = None, 0
    for number, row in enumerate(sheet.iter_rows(min_row=1, max_col=MAX_COLUMNS), 1):
        if row is not before:  # rows that are not in the file are all one and the same tuple
            before = row
            held = {(number, cell.column): _raw(cell, since) for cell in row if cell.value is not None}
            cells.update(held)
            rows += bool(held)
        if rows > MAX_ROWS or number > _EXCEL_ROWS:
            place, remedy = f"{name}, {sheet.title}", "删除多余的行 delete the surplus rows"
            raise InvalidInput(f"超过{MAX_ROWS}行 has over {MAX_ROWS} rows", place=place, remedy=remedy)
    return cells


def _raw(cell: Any, since: Any) -> Raw:
    if cell.data_type == "e":
        return Raw(Lost(str(cell.value)))
    number = isinstance(cell.value, int | float) and not isinstance(cell.value, bool)
    if number and not math.isfinite(cell.value):
        return Raw(Lost("#NUM!"))
    return Raw(cell.value, percent=number and "%" in cell.number_format, since=since)


def _unsolved(archive: zipfile.ZipFile, sheet: Any) -> list[tuple[str, str]]:
    """The cells with a formula and no stored result, which openpyxl gives as empty."""
    found: list[tuple[str, str]] = []
    with archive.open(sheet._worksheet_path) as part:
        for _, element in iterparse(part):
            tag = _NAMED_TAG.sub("", element.tag)
            if tag == "c":
                parts = {_NAMED_TAG.sub("", child.tag): child.text or "" for child in element}
                if "f" in parts and not parts.get("v") and "is" not in parts:
                    found.append((element.get("r", "A1"), f"={parts['f']}"))
            if tag in ("c", "row"):
                element.clear()
    return found


def _decoded(cells: dict[tuple[int, int], Raw]) -> bytes | None:
    """The file that the workbook was exported from; None if what is left of it cannot be read."""
    try:
        return base64.b64decode(
            "".join(str(raw.value) for (row, _), raw in sorted(cells.items()) if row > 1), validate=True
        )
    except (binascii.Error, ValueError):
        return None


def encoded(source: bytes) -> list[str]:
    """The rows of the sheet that keeps the file which a workbook is exported from."""
    text = base64.b64encode(source).decode("ascii")
    return [text[start : start + _ROW_LETTERS] for start in range(0, len(text), _ROW_LETTERS)]


_ROW_LETTERS: Final = 30_000  # Excel keeps 32,767 in a cell
