"""A sheet that people read and sign off: in the terminal, and as a page that prints on A4."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from rich.text import Text

from chassis import console
from pki.files import write_atomically
from quanlian.sheet import Section, Sheet


def show_sheet(sheet: Sheet) -> None:
    """The sheet in the terminal."""
    out = console.console
    out.print(Text(f"\n{sheet.title}", style="bold cyan"))
    out.print(Text(sheet.subtitle, style="dim"))
    for section in sheet.sections:
        out.print(Text(f"\n{section.title}", style="bold"))
        if section.rows:
            out.print(_table(section))
        for number, note in enumerate(section.notes, 1):
            out.print(Text(f"  {number}. {note}"))


def _table(section: Section) -> Any:
    headings: list[console.Heading] = list(section.columns) or [""] * len(section.rows[0])
    rows = [
        [console.figure(cell) if index in section.figures else cell for index, cell in enumerate(row)]
        for row in section.rows
    ]
    table = console.table("", headings, rows)
    table.show_header = bool(section.columns)
    return table


def page_of(sheets: Sequence[Sheet]) -> str:
    """The sheets as one HTML page that prints on A4, each language from a page of its own."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = resources.files("chassis").joinpath("sheet.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(sheets=sheets)


def write_page(path: Path, page: str) -> None:
    """Write the page, whole or not at all. Raises ConfigurationError where it cannot be written."""
    write_atomically(path, page.encode("utf-8"))


def sheet_data(sheet: Sheet) -> dict[str, Any]:
    """A sheet for programs."""
    sections = [{**part._asdict(), "figures": sorted(part.figures)} for part in sheet.sections]
    return {**sheet._asdict(), "sections": sections}
