"""How cells look: headings, values by their form, faults."""

from __future__ import annotations

import unicodedata
from typing import Any, Final

from node.campaign.workbook.layout import Column, Form
from node.campaign.workbook.pages import UPRIGHT_HEADINGS, Cell, Page

Style = dict[str, Any]
"""Properties of a cell's format, by XlsxWriter's names."""

_FONT: Final[Style] = {"font_name": "微软雅黑", "font_size": 10, "valign": "vcenter"}
HEADING: Final[Style] = {
    **_FONT,
    "font_color": "#FFFFFF",
    "bg_color": "#1F4E79",
    "border": 1,
    "text_wrap": True,
    "bold": True,
}
SUBHEADING: Final[Style] = {**HEADING, "bg_color": "#2E75B6", "font_size": 9, "bold": False}
KEY: Final[Style] = {
    **_FONT,
    "font_size": 8,
    "font_color": "#7F7F7F",
    "bg_color": "#DDEBF7",
    "border": 1,
    "italic": True,
}
TEXT: Final[Style] = {**_FONT, "text_wrap": True, "valign": "top"}
TITLE: Final[Style] = {**_FONT, "bold": True, "font_size": 16, "font_color": "#1F4E79"}
LINK: Final[Style] = {**_FONT, "font_color": "#0563C1", "underline": 1, "valign": "top"}
ERROR: Final[Style] = {"bg_color": "#FF7C80", "font_color": "#000000"}
WARNING: Final[Style] = {"bg_color": "#FFE699", "font_color": "#000000"}
_CELL: Final[Style] = {**_FONT, "border": 1, "border_color": "#BFBFBF"}
_NAME: Final[Style] = {**_CELL, "bg_color": "#DDEBF7", "text_wrap": True}
_REMARK: Final[Style] = {**_CELL, "text_wrap": True, "font_size": 9}
TIME: Final[Style] = {"num_format": "yyyy-mm-dd hh:mm:ss"}
_NUMBER_FORMATS: Final[dict[Form, str]] = {
    Form.YUAN: "#,##0.00",
    Form.PERCENT: "0.00%",
    Form.WHOLE: "#,##0",
    Form.RATIO: "General",
    Form.INSTANT: TIME["num_format"],
}
_UPRIGHT: Final = ({**_NAME, "bold": True}, _NAME, _REMARK, _REMARK, _REMARK, KEY)
"""By column; that of the values has a style of its own."""


def value_style(column: Column) -> Style:
    """Of a value, by its form; a year has no thousands separator."""
    year = column.field.unit.startswith("year")
    return {**_CELL, "num_format": "0" if year else _NUMBER_FORMATS.get(column.form, "@")}


def style_of(page: Page, cell: Cell) -> Style:
    """Of any cell of a sheet that holds terms."""
    line, position = cell
    if page.layout.upright:
        column = page.columns.get(line)
        if column and position == page.first:
            return {**value_style(column), "bg_color": "#FFFDF0", "align": "left", "text_wrap": True}
        return HEADING if line == 1 else _UPRIGHT[min(position, len(UPRIGHT_HEADINGS)) - 1]
    if line < page.first:
        return (HEADING, SUBHEADING, KEY)[min(line, 3) - 1]
    column = page.columns.get(position)
    return value_style(column) if column else _CELL


def width_of(text: str) -> int:
    """Columns of a screen that a text takes, a Chinese character two."""
    lines = text.splitlines() or [""]
    return max(sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line) for line in lines)
