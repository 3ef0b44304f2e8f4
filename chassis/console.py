"""What a command shows: tables with figures to the right, JSON for programs, progress for the patient."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

_WIDTH_WITHOUT_TERMINAL = 200
Heading = str | tuple[str, str]
Cell = str | int | Text | None


def _width() -> int | None:
    """A pipe has no width; cutting a table there to 80 columns would lose figures."""
    return None if sys.stdout.isatty() or os.environ.get("COLUMNS") else _WIDTH_WITHOUT_TERMINAL


console = Console(width=_width(), highlight=False)


def yuan(fen: int) -> Text:
    """A cell of money: fen shown as yuan with two decimals and thousands separators, to the right."""
    sign = "-" if fen < 0 else ""
    return figure(f"{sign}{abs(fen) // 100:,}.{abs(fen) % 100:02d}")


def figure(text: str) -> Text:
    """A cell of some other figure, such as a rate, to the right."""
    return Text(text, justify="right")


def table(title: str, headings: Sequence[Heading], rows: Iterable[Sequence[Cell]]) -> Table:
    """A table whose columns of integers and `yuan` cells go to the right.

    A heading is text, or a (Chinese, English) pair shown on two lines.
    """
    cells = [list(row) for row in rows]
    shown = Table(title=title or None, title_justify="left", header_style="bold")
    for position, heading in enumerate(headings):
        column = [row[position] for row in cells if row[position] is not None]
        figures = bool(column) and all(_is_figure(cell) for cell in column)
        text = heading if isinstance(heading, str) else "\n".join(heading)
        shown.add_column(Text(text), justify="right" if figures else "left", overflow="fold")
    for row in cells:
        shown.add_row(*(_rendered(cell) for cell in row))
    return shown


def say(text: str) -> None:
    """Writes a line as it is, without markup."""
    console.print(text, markup=False, soft_wrap=True)


def yes_no(value: bool) -> str:
    """A cell that says whether."""
    return "是 yes" if value else "否 no"


def print_json(value: Any) -> None:
    """Writes JSON to stdout, in UTF-8 and the given key order, for programs to read."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def progress() -> Progress:
    """A progress bar on stderr that leaves nothing behind, and shows nothing where there is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


def _is_figure(cell: Cell) -> bool:
    return isinstance(cell, int) or (isinstance(cell, Text) and cell.justify == "right")


def _rendered(cell: Cell) -> Text:
    if isinstance(cell, Text):
        return cell
    if isinstance(cell, int):
        return Text(f"{cell:,}", justify="right")
    return Text(cell or "")
