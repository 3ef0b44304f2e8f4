"""Sheets as an .xlsx file, with what people need to fill it in, and faults marked in their cells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, time
from decimal import Decimal
from io import BytesIO
from typing import Any, Final

import xlsxwriter

from node.campaign.workbook.cells import Lost, Raw
from node.campaign.workbook.dropdowns import INPUT_ROWS, explanation, offered, validation
from node.campaign.workbook.faults import Fault
from node.campaign.workbook.guide import GUIDE, SHEETS
from node.campaign.workbook.layout import FAULTS_TITLE, GUIDE_TITLE, LISTS_TITLE, SOURCE_TITLE, Form
from node.campaign.workbook.pages import Cell, Page, cell_at
from node.campaign.workbook.reading import encoded
from node.campaign.workbook.styles import (
    ERROR,
    HEADING,
    LINK,
    TEXT,
    TIME,
    TITLE,
    WARNING,
    Style,
    style_of,
    value_style,
    width_of,
)

_MAX_TEXT: Final = 32_767
_WIDTHS: Final = (11, 42)
_UPRIGHT_WIDTHS: Final = (34, 26, 44, 44, 30, 24)
_GUIDE_WIDTH: Final = 72
_NOTE_WIDTH: Final = 44
_MAX_LINES: Final = 24
_A4: Final = 9
_CREATED: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - the same terms give the same bytes on any day
_EPOCH_1904_DAYS: Final = 1_462
_FIRST_YEAR: Final = 1900
_ERRORS: Final = ("#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!")
_FAULT_HEADINGS: Final = (
    ("序号 No.", 8),
    ("错误/警告 Kind", 14),
    ("单元格 Cell", 28),
    ("字段 Field", 32),
    ("值 Value", 24),
    ("规则 Rule", 46),
    ("改法 Remedy", 46),
    ("依据 Source", 30),
)


def write_workbook(
    pages: Sequence[Page], source: bytes | None, errors: Sequence[Fault] = (), warnings: Sequence[Fault] = ()
) -> bytes:
    """The whole file. `source` is the campaign file that it is made from; faults come with a sheet that lists them."""
    stream = BytesIO()
    book = xlsxwriter.Workbook(stream, {"in_memory": True})
    book.set_properties({"created": _CREATED})
    writer = _Writer(book, pages)
    if errors or warnings:
        writer.add_faults(errors, warnings)
    writer.add_guide()
    for page in pages:
        marks: dict[Cell, list[Fault]] = {}
        for fault in (*errors, *warnings):
            if fault.place.sheet == page.layout.title:
                marks.setdefault(cell_at(fault.place.cell or "A1"), []).append(fault)
        writer.add_page(page, marks, frozenset(errors))
    writer.add_lists()
    if source is not None:
        writer.add_source(source)
    book.close()
    return stream.getvalue()


class _Writer:
    """Adds sheets to one workbook."""

    def __init__(self, book: Any, pages: Sequence[Page]) -> None:
        self._book, self._pages, self._lists = book, pages, offered(pages)
        self._formats: dict[tuple[tuple[str, Any], ...], Any] = {}

    def add_faults(self, errors: Sequence[Fault], warnings: Sequence[Fault]) -> None:
        """Every fault with a link to its cell, errors first."""
        sheet = self._book.add_worksheet(FAULTS_TITLE)
        sheet.set_tab_color("#C00000")
        for position, (heading, width) in enumerate(_FAULT_HEADINGS):
            sheet.set_column(position, position, width)
            sheet.write_string(0, position, heading, self._format(HEADING))
        named = [("错误 error", ERROR, fault) for fault in errors]
        named += [("警告 warning", WARNING, fault) for fault in warnings]
        for row, (kind, colour, fault) in enumerate(named, 1):
            sheet.write_number(row, 0, row, self._format(TEXT))
            sheet.write_string(row, 1, kind, self._format({**TEXT, **colour}))
            link = f"internal:'{fault.place.sheet}'!{fault.place.cell or 'A1'}"
            sheet.write_url(row, 2, link, self._format(LINK), str(fault.place))
            lines, texts = 1, (fault.field, fault.value, *map("\n".join, fault.rule), fault.source)
            for position, text in enumerate(texts, 3):
                sheet.write_string(row, position, text[:_MAX_TEXT], self._format(TEXT))
                lines = max(lines, _lines(text, _FAULT_HEADINGS[position][1] - 4))
            sheet.set_row(row, 4 + 16 * min(lines, _MAX_LINES))
        sheet.freeze_panes(1, 0)
        sheet.autofilter(0, 0, len(named), len(_FAULT_HEADINGS) - 1)
        _set_print(sheet, 0)

    def add_guide(self) -> None:
        """How to use the workbook, and a link to each of its sheets."""
        sheet = self._book.add_worksheet(GUIDE_TITLE)
        sheet.hide_gridlines(2)
        sheet.set_column(0, 0, 5)
        sheet.set_column(1, 2, _GUIDE_WIDTH)
        sheet.set_row(0, 32)
        sheet.write_string(0, 1, "消费券活动细则", self._format(TITLE))
        sheet.write_string(0, 2, "Terms of a voucher campaign", self._format(TITLE))
        for row, texts in enumerate(GUIDE, 2):
            sheet.write_number(row, 0, row - 1, self._format(TEXT))
            for position, text in enumerate(texts, 1):
                sheet.write_string(row, position, text, self._format(TEXT))
            sheet.set_row(row, 4 + 16 * max(-(-width_of(text) // (_GUIDE_WIDTH - 4)) for text in texts))
        top = len(GUIDE) + 3
        sheet.write_string(top, 1, "工作表 Sheet", self._format(HEADING))
        sheet.write_string(top, 2, "内容 What it holds", self._format(HEADING))
        for row, page in enumerate(self._pages, top + 1):
            link = f"internal:'{page.layout.title}'!A1"
            sheet.write_url(row, 1, link, self._format(LINK), page.layout.title)
            sheet.write_string(row, 2, " · ".join(SHEETS[page.layout.table]), self._format(TEXT))
        _set_print(sheet, 0)

    def add_page(self, page: Page, marks: Mapping[Cell, Sequence[Fault]], errors: frozenset[Fault]) -> None:
        """A sheet of the terms: what is in its cells, drop-downs, messages, and its faults."""
        sheet = self._book.add_worksheet(page.layout.title)
        if page.layout.upright:
            for position, width in enumerate(_UPRIGHT_WIDTHS):
                sheet.set_column(position, position, width)
            sheet.freeze_panes(1, 0)
            _set_print(sheet, 0)
        else:
            self._set_columns(sheet, page)
        empty = {page.at(page.first, row): None for row in page.columns if page.layout.upright}
        cells: dict[Cell, Any] = {**empty, **dict.fromkeys(marks), **page.cells}
        for cell, value in sorted(cells.items(), key=lambda each: each[0]):
            faults = marks.get(cell, ())
            mark = (ERROR if errors.intersection(faults) else WARNING) if faults else {}
            self._put(sheet, page, cell, value, {**style_of(page, cell), **mark})
            if faults:
                _write_note(sheet, cell, "\n\n".join(map(_told, faults)))
        for position, column in page.columns.items():
            top, left = page.at(page.first, position)
            bottom = top if page.layout.upright else top + INPUT_ROWS - 1
            rule = validation(column, self._pages, self._lists)
            sheet.data_validation(top - 1, left - 1, bottom - 1, left - 1, rule)
            if not page.layout.upright and (1, position) not in marks:
                _write_note(sheet, (1, position), explanation(column))

    def add_lists(self) -> None:
        """What drop-downs offer, on a sheet that stays out of sight."""
        sheet = self._book.add_worksheet(LISTS_TITLE)
        for position, (name, labels) in enumerate(self._lists.items()):
            for row, text in enumerate((name, *labels)):
                sheet.write_string(row, position, text)
        sheet.very_hidden()

    def add_source(self, source: bytes) -> None:
        """The campaign file with its comments, so that reading back what nobody changed gives the same file."""
        sheet = self._book.add_worksheet(SOURCE_TITLE)
        sheet.write_string(0, 0, "细则文件原文，请勿改动 The campaign file; do not edit (base64)")
        for row, text in enumerate(encoded(source), 1):
            sheet.write_string(row, 0, text)
        sheet.very_hidden()

    def _set_columns(self, sheet: Any, page: Page) -> None:
        """Widths that fit what the columns hold, and formats for the rows to come."""
        narrow, wide = _WIDTHS
        for position, column in page.columns.items():
            rows = [(cell[0], _text(value)) for cell, value in page.cells.items() if cell[1] == position]
            needed = [width_of(text) + 2 for row, text in rows if row >= page.first or column.form is not Form.TICK]
            width = min(max([narrow, *needed]), wide)
            sheet.set_column(position - 1, position - 1, width, self._format(value_style(column)))
        sheet.set_row(0, 34)
        sheet.set_row(1, 28)
        sheet.freeze_panes(max(page.first - 1, 1), 1)
        _set_print(sheet, max(page.first - 2, 0))

    def _put(self, sheet: Any, page: Page, cell: Cell, found: Any, style: Style) -> None:
        """A cell as the terms or the workbook that was read have it; text that looks like a formula stays text."""
        value = found.value if isinstance(found, Raw) else found
        column = page.columns.get(cell[0] if page.layout.upright else cell[1])
        form = column.form if column else None
        row, position = cell[0] - 1, cell[1] - 1
        if value is None:
            sheet.write_blank(row, position, None, self._format(style))
        elif isinstance(value, bool):
            sheet.write_boolean(row, position, value, self._format(style))
        elif error := _error_of(value):
            sheet.write_formula(row, position, f"={error}", self._format(style), error)
        elif isinstance(value, datetime | time):
            sheet.write_datetime(row, position, value.replace(tzinfo=None), self._format({**style, **TIME}))
        elif isinstance(value, int | float | Decimal):
            if form is Form.PERCENT:
                style = {**style, "num_format": _percent_format(found)}
            if form in (Form.INSTANT, Form.END):
                style = {**style, **TIME}
                if isinstance(found, Raw) and found.since.year == 1904:
                    value += _EPOCH_1904_DAYS
            sheet.write_number(row, position, value, self._format(style))
        else:
            sheet.write_string(row, position, _text(found)[:_MAX_TEXT], self._format(style))

    def _format(self, style: Style) -> Any:
        key = tuple(sorted(style.items()))
        if key not in self._formats:
            self._formats[key] = self._book.add_format(style)
        return self._formats[key]


def _error_of(value: Any) -> str | None:
    """What Excel shows for a value that no cell of its own can hold; None for one that it can.

    As text it would be a good title. A formula is not written again: what it does is not known.
    """
    if isinstance(value, Lost):
        return value.shown if value.shown in _ERRORS else "#N/A"
    if isinstance(value, datetime):
        return "#NUM!" if value.year < _FIRST_YEAR else None
    return "#NUM!" if isinstance(value, int | float | Decimal) and not math.isfinite(value) else None


def _percent_format(found: Any) -> str:
    """As many decimals as the share has; a number that was found without a percent sign stays without."""
    if isinstance(found, Raw):
        return "0.00##%" if found.percent else "General"
    return "0.00%" if found == round(found, 4) else "0.0000%"


def _set_print(sheet: Any, last_heading: int) -> None:
    sheet.set_landscape()
    sheet.set_paper(_A4)
    sheet.fit_to_pages(1, 0)
    sheet.repeat_rows(0, last_heading)


def _write_note(sheet: Any, cell: Cell, text: str) -> None:
    lines = _lines(text, _NOTE_WIDTH)
    size = {"width": 330, "height": 18 * lines + 14}
    look = {"author": "券联 Quanlian", "font_name": "微软雅黑", "font_size": 9}
    sheet.write_comment(cell[0] - 1, cell[1] - 1, text[:_MAX_TEXT], {**size, **look})


def _lines(text: str, width: int) -> int:
    return sum(max(-(-width_of(line) // width), 1) for line in text.splitlines())


def _told(fault: Fault) -> str:
    wrong, remedy = map("\n".join, fault.rule)
    return f"{wrong}\n\n改法 Remedy\n{remedy}\n\n依据 Source: {fault.source}"


def _text(found: Any) -> str:
    return str(found.value if isinstance(found, Raw) else found)
