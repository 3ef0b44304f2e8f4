"""The cells of sheets as terms that know where each of them stands. No file is read here.

A cell that cannot be read keeps its place with what it shows, so that the checker goes on and its other faults
are found in the same run.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from node.campaign.workbook import rules
from node.campaign.workbook.cells import Misread, Raw, doubt_of, is_blank, shown, value_of
from node.campaign.workbook.faults import Fault, Place
from node.campaign.workbook.layout import LAYOUTS, Form, Layout, layout_of
from node.campaign.workbook.pages import KEY_HEADING, KEY_ROW, VALUE_HEADING, Cell, Page, address
from quanlian.file_rules import Rule
from quanlian.terms_fields import FIELDS
from quanlian.terms_parsing import MAX_VOUCHERS_A_PACK

_SOURCE: Final = "campaigns.md"
_MAX_KEY: Final = 60
_SOUGHT: Final = 12
"""How far from the first row or column headings are looked for."""
_RANKS: Final = {entry.name: rank for rank, entry in enumerate(FIELDS)}


class Sheet(NamedTuple):
    """A sheet as it was found in a workbook: what is in its cells."""

    title: str
    cells: dict[Cell, Raw]


@dataclass(slots=True)
class Reading:
    """What the sheets say, where it stands, what could not be read, and what may not be meant."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    doubts: list[Fault] = field(default_factory=list)
    found: dict[str, Page] = field(default_factory=dict)
    """By table: the sheets with their own positions, whatever their cells hold."""

    def note(self, layout: Layout, place: Place, rule: Rule, name: str = "") -> None:
        """Keep a fault of a sheet's own form; `name` is the field it is about."""
        self.faults.append(Fault(place, name or _path(layout.table), "", rule, _SOURCE))


def read_sheets(sheets: Sequence[Sheet]) -> Reading:
    """The terms that sheets say; every sheet of the layout must be there once."""
    reading = Reading()
    for layout in LAYOUTS:
        same = [sheet for sheet in sheets if layout_called(sheet.title) == layout]
        if same:
            page = reading.found[layout.table] = _find_page(layout, same[0], reading)
            _Rows(page, same[0], reading).read()
        if len(same) == 1:
            continue
        reading.places.setdefault(_path(layout.table), Place(layout.title))
        reading.note(layout, Place(layout.title), rules.TWO_SHEETS.of(count=len(same)) if same else rules.NO_SHEET)
    for table in [*reading.values]:
        reading.values[table] = _sorted(table, reading.values[table])
    return reading


def layout_called(title: str) -> Layout | None:
    """The sheet that a tab is, or is a copy of: `券种 Vouchers`, `券种`, `券种 Vouchers (2)`."""
    name = unicodedata.normalize("NFKC", title).strip().casefold()
    while name.endswith(")") and name.rpartition("(")[2][:-1].isdigit():
        name = name.rpartition("(")[0].strip()
    called = (layout for layout in LAYOUTS if name in (layout.title.casefold(), layout.zh, layout.en.casefold()))
    return next(called, None)


def _find_page(layout: Layout, sheet: Sheet, reading: Reading) -> Page:
    """Where the sheet's fields stand, by their keys, which people may have moved."""
    keys = {cell: _key(raw) for cell, raw in sorted(sheet.cells.items()) if _key(raw)}
    line = _line_of_keys(layout, keys)
    first = line + 1
    if layout.upright:
        headed = [cell[1] for cell, key in keys.items() if key == VALUE_HEADING.casefold() and cell[0] <= _SOUGHT]
        first = headed[0] if headed else 0
    page = Page(layout, {}, first, {**sheet.cells})
    table = _path(layout.table)
    reading.places[table] = Place(layout.title, address((1, first or 1) if layout.upright else (first, 1)))
    if line and first:
        _find_columns(page, {cell: key for cell, key in keys.items() if cell[_along(layout)] == line}, reading)
    else:
        reading.note(layout, _heading(layout), rules.NO_VALUES if line else rules.NO_FIELD_NAMES)
    return page


def _line_of_keys(layout: Layout, keys: Mapping[Cell, str]) -> int:
    """The row, or of an upright sheet the column, with the most keys; 0 if there are none."""
    known, along = {layout.mark(column) for column in layout.columns}, _along(layout)
    lines = Counter(cell[along] for cell, key in keys.items() if key in known and cell[along] <= _SOUGHT)
    return max(lines, key=lambda line: (lines[line], -line), default=0)


def _find_columns(page: Page, keys: Mapping[Cell, str], reading: Reading) -> None:
    """Fills in the page's columns; a fault for each key that is missing, unknown or there twice."""
    layout = page.layout
    known = {layout.mark(column): column for column in layout.columns}
    for cell, key in keys.items():
        place = Place(layout.title, address(cell))
        if key in known and known[key] not in page.columns.values():
            page.columns[cell[1 - _along(layout)]] = known[key]
        elif key in known:
            reading.note(layout, place, rules.FIELD_TWICE, key)
        elif key != KEY_HEADING.casefold():
            near = difflib.get_close_matches(key[:_MAX_KEY], known, n=1)
            rule = rules.MISSPELT.of(near=near[0]) if near else rules.NOT_A_FIELD
            reading.note(layout, place, rule, key[:_MAX_KEY])
    for column in layout.columns:
        if column not in page.columns.values():
            name = layout.mark(column)
            reading.note(layout, _heading(layout), rules.FIELD_MISSING.of(name=name), name)


def _heading(layout: Layout) -> Place:
    """Where faults of a sheet's own form are shown."""
    return Place(layout.title, "A1" if layout.upright else address((KEY_ROW, 1)))


def _along(layout: Layout) -> int:
    """Keys stand in one column of an upright sheet (1), else in one row (0)."""
    return 1 if layout.upright else 0


def _key(raw: Raw) -> str:
    return unicodedata.normalize("NFKC", raw.value).strip().casefold() if isinstance(raw.value, str) else ""


class _Rows:
    """Reads the entries of one sheet into a reading."""

    def __init__(self, page: Page, sheet: Sheet, reading: Reading) -> None:
        self._page, self._cells, self._reading = page, sheet.cells, reading
        self._table = page.layout.table

    def read(self) -> None:
        """Every entry, and the place of each field."""
        readers: dict[str, Callable[[], None]] = {
            "campaign.regions": self._read_regions,
            "pack[].vouchers": self._read_contents,
        }
        if not self._page.columns:
            return
        if self._page.layout.upright:
            self._read_upright()
        else:
            readers.get(self._table, self._read_entries)()

    def _lines(self) -> Iterator[int]:
        """The rows that hold something in a column of the sheet."""
        rows = {
            row
            for (row, position), raw in self._cells.items()
            if row >= self._page.first and not is_blank(raw) and position in self._page.columns
        }
        return iter(sorted(rows))

    def _read_upright(self) -> None:
        entry = self._entry(self._page.first, self._table)
        if entry:
            self._reading.values[self._table] = entry

    def _read_entries(self) -> None:
        above, _, own = self._table.removesuffix("[]").rpartition("[].")
        for row in self._lines():
            parent, path = self._reading.values, ""
            if above:
                found = self._parent("voucher_type", above, row)
                parent, path = found or ({}, "")
                path = f"{path}." if found else f"{above}."
            entries = parent.setdefault(own, [])
            entry = self._entry(row, f"{path}{own}[{len(entries) + 1}]")
            entry.pop("voucher_type", None)
            entries.append(entry)

    def _read_regions(self) -> None:
        scopes: list[Any] = []
        for row in self._lines():
            path = f"campaign.regions[{len(scopes) + 1}]"
            scopes.append(self._entry(row, path)["region"])
            self._reading.places[path] = self._place(row, "region")
        if scopes:
            self._reading.values.setdefault("campaign", {})["regions"] = scopes

    def _read_contents(self) -> None:
        for row in self._lines():
            found = self._parent("pack", "pack", row)
            entry = self._entry(row, "pack.vouchers")
            count = entry.get("count", 1)
            if isinstance(count, int) and not 1 <= count <= MAX_VOUCHERS_A_PACK:
                self._fault(row, "count", rules.TOO_MANY_VOUCHERS.of(most=MAX_VOUCHERS_A_PACK))
            counted = count if isinstance(count, int) and 1 <= count <= MAX_VOUCHERS_A_PACK else 1
            if "voucher" not in entry:
                self._fault(row, "voucher", rules.EMPTY)
            elif found:
                pack, path = found
                listed = pack.setdefault("vouchers", [])
                self._reading.places.setdefault(f"{path}.vouchers", self._place(row, "voucher"))
                for number in range(len(listed) + 1, len(listed) + 1 + counted):
                    self._reading.places[f"{path}.vouchers[{number}]"] = self._place(row, "voucher")
                listed.extend([entry["voucher"]] * counted)

    def _parent(self, key: str, table: str, row: int) -> tuple[dict[str, Any], str] | None:
        """The entry that a row belongs to, and its path; a fault if there is none with this id."""
        position = self._position(key)
        if position is None:
            return None
        raw = self._cells.get((row, position))
        name = None
        if raw is not None and not is_blank(raw):
            try:
                name = value_of(self._page.columns[position], raw)
            except Misread:
                return None  # noted when the row is read
        for number, entry in enumerate(self._reading.values.get(table, []), 1):
            if name is not None and entry.get("id") == name:
                return entry, f"{table}[{number}]"
        sheet = layout_of(f"{table}[]").title
        self._fault(row, key, (rules.UNNAMED if name is None else rules.NO_ENTRY).of(sheet=sheet))
        return None

    def _entry(self, line: int, path: str) -> dict[str, Any]:
        """The fields of one entry that are not blank; ticked words become the list they belong to."""
        entry: dict[str, Any] = {}
        places = self._reading.places
        for position, column in self._page.columns.items():
            cell = self._page.at(line, position)
            name = column.name if column.form is Form.TICK else column.key
            place = Place(self._page.layout.title, address(cell))
            places.setdefault(path, place)
            places.setdefault(f"{path}.{name}", place)
            raw = self._cells.get(cell)
            if raw is None or is_blank(raw):
                continue
            try:
                value = value_of(column, raw)
            except Misread as fault:
                value = shown(raw) or "?"
                self._reading.faults.append(Fault(place, f"{path}.{name}", value, fault.rule, column.field.source))
            doubt = doubt_of(column, raw, value)
            if doubt:
                named = f"{path}.{name}"
                self._reading.doubts.append(Fault(place, named, shown(raw), doubt, column.field.source))
            if column.form is not Form.TICK:
                entry[name] = value
            elif value is True:
                ticked = entry.setdefault(name, [])
                ticked.append(column.words[0])
                places[f"{path}.{name}[{len(ticked)}]"] = place
                if len(ticked) == 1:
                    places[f"{path}.{name}"] = place
        for column in self._page.layout.columns:  # a column that is missing has one fault, not one a row
            missing = f"{path}.{column.name}"
            places.setdefault(missing, _heading(self._page.layout))
        return entry

    def _position(self, key: str) -> int | None:
        return next((position for position, column in self._page.columns.items() if column.key == key), None)

    def _place(self, row: int, key: str) -> Place:
        return Place(self._page.layout.title, address((row, self._position(key) or 1)))

    def _fault(self, row: int, key: str, rule: Rule) -> None:
        value = shown(self._cells.get((row, self._position(key) or 1)))
        column = self._page.layout.column(key)
        self._reading.faults.append(
            Fault(self._place(row, key), f"{_path(self._table)}.{key}", value, rule, column.field.source)
        )


def _path(table: str) -> str:
    return table.replace("[]", "")


def _sorted(table: str, value: Any) -> Any:
    """A table with its fields in the order of `FIELDS`, tables inside it too."""
    if isinstance(value, list):
        entries = all(isinstance(entry, dict) for entry in value)
        return [_sorted(f"{table}[]", entry) for entry in value] if entries else value
    if not isinstance(value, dict):
        return value
    names = sorted(value, key=lambda name: _RANKS.get(f"{table}.{name}", len(_RANKS)))
    return {name: _sorted(f"{table}.{name}", value[name]) for name in names}
