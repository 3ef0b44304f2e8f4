"""A workbook as departments expect it: both languages in each heading, yuan with two decimals, sums as formulas.

Each formula carries its value, so that a preview, or a reader that does not calculate, shows the figures too. Amounts
are fen until the cell, where they become exact decimals.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import xlsxwriter
from xlsxwriter.utility import xl_col_to_name, xl_rowcol_to_cell

from quanlian.errors import InvalidInput

Kind = Literal["text", "count", "yuan", "percent", "ratio"]
UNKNOWN = "—"
"""What stands for a figure that is not known here."""
_FONT = {"font_name": "Microsoft YaHei", "font_size": 10}
_NUMBERS: dict[Kind, str] = {
    "text": "@",
    "count": "#,##0",
    "yuan": "#,##0.00;[Red]-#,##0.00",
    "percent": "0.00%",
    "ratio": "#,##0.00",
}
_NARROWEST, _WIDEST, _LONG_WORD, _ROW_HEIGHT = 9, 44, 8, 18
_SIGNED_COLUMNS = 3
"""Beside the first, which says what is to be signed or told."""
MOST_ROWS = 1_048_576
"""Of a sheet, in Excel and in WPS."""

FIRST_ROW = 4
"""Where the rows of a table begin that stands right under a sheet's title, counted from 1 as formulas do."""


class Column(NamedTuple):
    """A column's heading in both languages; `summed` ones get a total below."""

    zh: str
    en: str
    kind: Kind = "text"
    summed: bool = False


class Formula(NamedTuple):
    """A cell that the workbook computes: `text` with `{row}` for its own row, and the value it must give."""

    text: str
    value: int


Cell = str | int | Formula


class Workbook:
    """One file with some sheets, each printed on A4 across one page's width.

    A row goes to disk once the next one begins, so that memory does not grow with them.
    """

    def __init__(self, title: str) -> None:
        self._content = io.BytesIO()
        self._book = xlsxwriter.Workbook(self._content, {"constant_memory": True})
        self._book.set_properties({"title": title, "comments": "Quanlian 券联"})
        self._formats: dict[str, Any] = {}

    def sheet(self, name: str, title: str) -> Sheet:
        return Sheet(self, self._book.add_worksheet(name), name, title)

    def style(self, kind: Kind = "text", **more: Any) -> Any:
        key = f"{kind} {sorted(more.items())}"
        if key not in self._formats:
            self._formats[key] = self._book.add_format({**_FONT, "num_format": _NUMBERS[kind], **more})
        return self._formats[key]

    def content(self) -> bytes:
        """The finished file."""
        self._book.close()
        return self._content.getvalue()


class Sheet:
    """A sheet filled from the top: a title, facts, one table or more, lines to sign on."""

    def __init__(self, book: Workbook, sheet: Any, name: str, title: str) -> None:
        self._book, self._sheet, self.name = book, sheet, name
        self._row, self._widths = 2, {}  # type: ignore[var-annotated]
        sheet.set_landscape()
        sheet.set_paper(9)
        sheet.fit_to_pages(1, 0)
        sheet.set_margins(0.5, 0.5, 0.6, 0.6)
        sheet.set_footer("&C&P / &N")
        sheet.hide_gridlines(2)
        sheet.set_default_row(_ROW_HEIGHT)
        sheet.write_string(0, 0, title, book.style(bold=True, font_size=15))

    def fact(self, zh: str, en: str, value: str) -> None:
        self._label(f"{zh} {en}", font_color="#55626D")
        if _width(value) <= _WIDEST:
            self._sheet.write_string(self._row, 1, value, self._book.style())
            self._note_width(1, value)
        else:
            self._across(value)
        self._row += 1

    def _label(self, text: str, **style: Any) -> None:
        """In the first column, on as many lines as it may take there."""
        lines = 1 if _width(text) <= _WIDEST else -(-_width(text) // (_WIDEST - _LONG_WORD))
        self._sheet.set_row(self._row, _ROW_HEIGHT * lines)
        self._sheet.write_string(self._row, 0, text, self._book.style(text_wrap=lines > 1, valign="top", **style))
        self._note_width(0, text)

    def _across(self, value: str) -> None:
        """A text that no column is wide enough for, over the columns in which one signs, as high as it needs."""
        lines = -(-_width(value) // (_SIGNED_COLUMNS * _NARROWEST))
        self._sheet.set_row(self._row, _ROW_HEIGHT * lines)
        style = self._book.style(text_wrap=True, valign="top")
        self._sheet.merge_range(self._row, 1, self._row, _SIGNED_COLUMNS, "", style)
        self._sheet.write_string(self._row, 1, value, style)

    def figure(self, zh: str, en: str, value: int | None, kind: Kind) -> None:
        """A labelled number in its kind's format; a dash where it is not known."""
        self._label(f"{zh} {en}", font_color="#55626D")
        cell = UNKNOWN if value is None else value
        self._put(self._row, 1, cell, kind, align="right")
        self._note_width(1, shown(cell, kind))
        self._row += 1

    def amount(self, zh: str, en: str, value: int | Formula, bold: bool = False) -> str:
        """A labelled amount in yuan; returns its cell, for formulas."""
        self._label(f"{zh} {en}", bold=bold)
        self._put(self._row, 1, value, "yuan", bold=bold, top=1 if bold else 0)
        self._note_width(1, shown(value, "yuan"))
        cell: str = xl_rowcol_to_cell(self._row, 1)
        self._row += 1
        return cell

    def space(self) -> None:
        self._row += 1

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> None:
        """Frozen headings, rows and, where a column is summed, a total. Raises InvalidInput for more than fit."""
        top = self._row
        self._headings(columns)
        self._row, sums = top + 1, [0] * len(columns)
        for row in rows:
            if self._row + 1 >= MOST_ROWS:
                raise InvalidInput(
                    f"has more than the {MOST_ROWS:,} rows of a sheet",
                    place=f"workbook, {self.name}",
                    remedy="leave the workbook out: --format json --format html",
                )
            for n, (column, cell) in enumerate(zip(columns, row, strict=True)):
                self._put(self._row, n, cell, column.kind)
                self._note_width(n, shown(cell, column.kind))
                if column.summed:
                    sums[n] += _number(cell)
            self._row += 1
        if self._row > top + 1 and any(column.summed for column in columns):
            self._total(columns, sums, top + 2, self._row)

    def _headings(self, columns: Sequence[Column]) -> None:
        top = self._row
        self._sheet.set_row(top, 48)
        for n, column in enumerate(columns):
            style = self._book.style(
                bold=True, bottom=1, bg_color="#EEF1F4", text_wrap=True, valign="top",
                align="left" if column.kind == "text" else "right",
            )  # fmt: skip
            self._sheet.write_string(top, n, f"{column.zh}\n{column.en}", style)
            self._note_width(n, max(column.zh, column.en[: (len(column.en) + 3) // 2], key=_width))
        self._sheet.freeze_panes(top + 1, 0)
        self._sheet.repeat_rows(top)

    def signatures(self) -> None:
        """Lines for those who make, check and approve."""
        self._row += 2
        for n, text in enumerate(("经办 Maker", "复核 Checker", "审批（盖章） Approver (seal)", "日期 Date")):
            self._sheet.set_row(self._row + n, 26)
            self._sheet.write_string(self._row + n, 0, text, self._book.style())
            self._note_width(0, text)
            for column in range(1, _SIGNED_COLUMNS + 1):
                self._sheet.write_blank(self._row + n, column, None, self._book.style(bottom=1))
        self._row += 4

    def fit(self) -> None:
        """Give each column the width of what it shows."""
        self._sheet.set_column(1, _SIGNED_COLUMNS, _NARROWEST)
        for column, width in self._widths.items():
            self._sheet.set_column(column, column, min(_WIDEST, max(_NARROWEST, width + 2)))

    def _total(self, columns: Sequence[Column], sums: Sequence[int], first: int, last: int) -> None:
        self._sheet.write_string(self._row, 0, "合计 Total", self._book.style(bold=True, top=1))
        for n, column in enumerate(columns):
            if column.summed:
                name = xl_col_to_name(n)
                total = Formula(f"=SUM({name}{first}:{name}{last})", sums[n])
                self._put(self._row, n, total, column.kind, bold=True, top=1)
                self._note_width(n, shown(total, column.kind))
            elif n:
                self._sheet.write_blank(self._row, n, None, self._book.style(top=1))
        self._row += 1

    def _put(self, row: int, column: int, cell: Cell, kind: Kind, **more: Any) -> None:
        style = self._book.style(kind, **more)
        if isinstance(cell, str):
            self._sheet.write_string(row, column, cell, style)
        elif isinstance(cell, Formula):
            text = cell.text.format(row=row + 1)
            self._sheet.write_formula(row, column, text, style, _decimal(cell.value, kind))
        else:
            self._sheet.write_number(row, column, _decimal(cell, kind), style)

    def _note_width(self, column: int, text: str) -> None:
        self._widths[column] = max(self._widths.get(column, 0), _width(text))


def _decimal(value: int, kind: Kind) -> Decimal:
    """Yuan from fen, a part from parts per million, a ratio from hundredths, exactly."""
    return Decimal(value) / {"yuan": 100, "percent": 1_000_000, "ratio": 100}.get(kind, 1)


def _number(cell: Cell) -> int:
    """Nothing for what is not known, as a sum takes it."""
    if isinstance(cell, str):
        return 0
    return cell.value if isinstance(cell, Formula) else cell


def shown(cell: Cell, kind: Kind) -> str:
    """As a cell of that kind shows it, percents with their sign."""
    if isinstance(cell, str):
        return cell
    value = _decimal(_number(cell), kind)
    if kind == "percent":
        return f"{value * 100:,.2f}%"
    return f"{value:,.2f}" if kind in ("yuan", "ratio") else f"{value:,}"


def _width(text: str) -> int:
    """Columns that a text takes: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)
