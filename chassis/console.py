"""What a command shows: tables with figures to the right, JSON for programs, progress for the patient."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

_WIDTH_WITHOUT_TERMINAL = 200
_NARROWEST_TEXT = 12
_SHORTEST_ENGLISH = 9
_BORDER = 3
Heading = str | tuple[str, str]
Cell = str | int | Text | None


def _width() -> int | None:
    """A pipe has no width; cutting a table there to 80 columns would lose figures."""
    return None if sys.stdout.isatty() or os.environ.get("COLUMNS") else _WIDTH_WITHOUT_TERMINAL


class _Terminal(Console):
    """Cuts nothing: what is wider than the terminal is left to it to wrap."""

    def print(self, *objects: Any, crop: bool = False, **options: Any) -> None:
        super().print(*objects, crop=crop, **options)


console = _Terminal(width=_width(), highlight=False)


def yuan(fen: int) -> Text:
    """A cell of money: fen shown as yuan with two decimals and thousands separators, to the right."""
    sign = "-" if fen < 0 else ""
    return figure(f"{sign}{abs(fen) // 100:,}.{abs(fen) % 100:02d}")


def figure(text: str) -> Text:
    """A cell of some other figure, such as a rate, to the right."""
    return Text(text, justify="right")


def table(title: str, headings: Sequence[Heading], rows: Iterable[Sequence[Cell]]) -> Table:
    """A table whose columns of integers and `yuan` cells go to the right; where it is narrow, only text is folded.

    A heading is text, or a (Chinese, English) pair shown on two lines.
    """
    cells = [[_rendered(cell) if cell is not None else None for cell in row] for row in rows]
    shown = Table(title=title or None, title_justify="left", header_style="bold")
    for position, heading in enumerate(headings):
        column = [cell for row in cells if (cell := row[position]) is not None]
        widest = max((cell.cell_len for cell in column), default=0)
        lines = [heading] if isinstance(heading, str) else list(heading)
        if column and all(cell.justify == "right" for cell in column):
            lines = _folded(lines, widest)
            width = max(widest, *map(cell_len, lines))
            shown.add_column("\n".join(lines), justify="right", no_wrap=True, min_width=width)
        else:
            width = min(max(widest, *map(cell_len, lines)), _NARROWEST_TEXT)
            shown.add_column("\n".join(lines), overflow="fold", min_width=width)
    for row in cells:
        shown.add_row(*(cell or Text() for cell in row))
    needed = sum((column.min_width or 0) + _BORDER for column in shown.columns) + 1
    shown.width = needed if needed > console.width else None
    return shown


def show(title: str, headings: Sequence[Heading], rows: Sequence[Sequence[Cell]], nothing: str) -> None:
    """A table, or the sentence `nothing` where it would have no rows."""
    if rows:
        console.print(table(title, headings, rows))
    else:
        say(nothing)


def say(text: str) -> None:
    """Writes a line as it is, without markup."""
    console.print(text, markup=False, soft_wrap=True)


def yes_no(value: bool) -> str:
    """A cell that says whether."""
    return "是 yes" if value else "否 no"


def tell_files(written: Iterable[Path], as_json: bool) -> None:
    """Which files a command wrote: one a line, or as JSON."""
    files = [str(path) for path in written]
    if as_json:
        print_json([{"file": file} for file in files])
        return
    for file in files:
        say(file)


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


def _folded(lines: Iterable[str], width: int) -> list[str]:
    """A heading over figures of that width: Chinese before its unit, English between words."""
    folded: list[str] = []
    for line in lines:
        head, bracket, unit = line.partition("（")
        if head.isascii():
            folded += wrap(line, max(width, _SHORTEST_ENGLISH), break_long_words=False)
        elif bracket and cell_len(line) > width:
            folded += [head, bracket + unit]
        else:
            folded.append(line)
    return folded


def _rendered(cell: str | int | Text) -> Text:
    if isinstance(cell, Text):
        return cell
    return Text(f"{cell:,}", justify="right") if isinstance(cell, int) else Text(cell)
