"""The options that commands about statements share."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

_MONTH = re.compile(r"20[0-9]{2}-(0[1-9]|1[0-2])")

Window = Annotated[int, typer.Argument(metavar="[WINDOW]", min=0, show_default=False, help="场次号 · Its number.")]
Month = Annotated[str, typer.Option("--month", metavar="YYYY-MM", help="月份，代替场次 · A month instead of a window.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="写入的文件夹 · The folder to write to.")]


class Format(StrEnum):
    """How a statement is written."""

    JSON = "json"
    XLSX = "xlsx"
    HTML = "html"


Formats = Annotated[
    list[Format] | None,
    typer.Option("--format", help="格式，可重复，默认全部 · Formats; all by default."),
]


def check_period(window: int, month: str) -> None:
    """Raises BadParameter unless exactly one of both is given."""
    if bool(window) == bool(month):
        raise typer.BadParameter("give the number of a window or --month YYYY-MM · 场次号与月份二选一")
    if month and not _MONTH.fullmatch(month):
        raise typer.BadParameter(f"{month!r} is not a month — write it like 2026-05")
