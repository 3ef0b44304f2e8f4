"""Terms as the cells of sheets. No file is written here.

Terms are held as `tomllib` reads them, amounts as Decimal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from openpyxl.utils import get_column_letter
from openpyxl.utils.cell import coordinate_to_tuple

from node.campaign.workbook.cells import CellValue, Raw, cell_of
from node.campaign.workbook.layout import LAYOUTS, Column, Form, Layout

VALUE_HEADING: Final = "填写 Value"
KEY_HEADING: Final = "字段名 Key"
UPRIGHT_HEADINGS: Final = ("字段", "Field", VALUE_HEADING, "单位或取值 Unit or values", "缺省 Default", KEY_HEADING)
KEY_ROW: Final = 3
_VALUE_COLUMN: Final = UPRIGHT_HEADINGS.index(VALUE_HEADING) + 1

Cell = tuple[int, int]
"""Row and column, both from 1."""


class Page(NamedTuple):
    """One sheet. `columns` are its fields by column, or by row of an upright sheet.

    `first` is the first row of entries, or of an upright sheet the column of the values.
    """

    layout: Layout
    columns: dict[int, Column]
    first: int
    cells: dict[Cell, CellValue | Raw]

    def at(self, line: int, position: int) -> Cell:
        """The cell of the field at `position`; the `line` of an upright sheet is its column of values."""
        return (position, line) if self.layout.upright else (line, position)


def address(cell: Cell) -> str:
    """`C5` for row 5, column 3."""
    return f"{get_column_letter(cell[1])}{cell[0]}"


def cell_at(name: str) -> Cell:
    """Row 5, column 3 for `C5`."""
    return coordinate_to_tuple(name)


def pages_of(values: Mapping[str, Any]) -> list[Page]:
    """Every sheet of the workbook, filled with the terms."""
    return [page_of(layout, list(_entries_of(layout, values))) for layout in LAYOUTS]


def page_of(layout: Layout, entries: Sequence[Mapping[str, Any]]) -> Page:
    """One sheet with its headings, and with its entries by the keys of its columns."""
    cells: dict[Cell, CellValue | Raw] = {}
    if layout.upright:
        first = _VALUE_COLUMN
        for position, heading in enumerate(UPRIGHT_HEADINGS, 1):
            cells[1, position] = heading
        columns = dict(enumerate(layout.columns, 2))
        for row, column in columns.items():
            texts = (column.zh, column.en, None, column.unit, column.default, layout.mark(column))
            cells.update({(row, place): text for place, text in enumerate(texts, 1) if text is not None})
    else:
        first = KEY_ROW + 1
        columns = dict(enumerate(layout.columns, 1))
        for position, column in columns.items():
            cells[1, position], cells[2, position], cells[KEY_ROW, position] = (
                column.zh,
                column.en,
                layout.mark(column),
            )
    page = Page(layout, columns, first, cells)
    for line, entry in enumerate(entries, first):
        for position, column in columns.items():
            if column.key in entry:
                cells[page.at(line, position)] = cell_of(column, entry[column.key])
    return page


def _entries_of(layout: Layout, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a sheet by the keys of its columns."""
    if layout.table == "campaign.regions":
        yield from ({"region": scope} for scope in values["campaign"]["regions"])
    elif layout.table == "pack[].vouchers":
        for pack in values["pack"]:
            for voucher, run in groupby(pack["vouchers"]):
                yield {"pack": pack["id"], "voucher": voucher, "count": len(list(run))}
    elif layout.upright:
        yield _ticked(layout, values.get(layout.table, {}))
    else:
        parent, _, own = layout.table.removesuffix("[]").rpartition("[].")
        for above in values.get(parent, []) if parent else [values]:
            of = {"voucher_type": above["id"]} if parent else {}
            yield from ({**of, **_ticked(layout, entry)} for entry in above.get(own, []))


def _ticked(layout: Layout, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an entry, with a list of ticked words as a field for each word it has."""
    lists = {column.name for column in layout.columns if column.form is Form.TICK}
    fields = {name: value for name, value in entry.items() if name not in lists}
    return {**fields, **{f"{name}: {word}": True for name in lists & entry.keys() for word in entry[name]}}
