"""Merchants as a department keeps them: a CSV file with the columns code, name, categories.

UTF-8, with or without the byte-order mark that Excel writes. Categories are separated by semicolons or spaces; none
means any. The file is read to its end and every problem told with its line.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import NamedTuple

from quanlian.errors import InvalidInput
from quanlian.merchants import check_code

COLUMNS = ("code", "name", "categories")
MAX_NAME_CHARACTERS = 200
MAX_PROBLEMS = 50
_SEPARATORS = re.compile(r"[;；、|\s]+")
_CATEGORY = re.compile(r"[a-z0-9-]{1,48}")


class Merchant(NamedTuple):
    """A line of the file; `code` is the unified social credit code."""

    code: str
    name: str
    categories: tuple[str, ...]


def read_merchants(content: bytes, file_name: str) -> list[Merchant]:
    """The merchants of the file. Raises InvalidInput with every problem, one to a line as `file:line: problem`."""
    merchants: list[Merchant] = []
    problems: list[str] = []
    lines: dict[str, int] = {}
    for line, fields in _rows(content, file_name):
        try:
            merchant = _merchant(fields)
            if merchant.code in lines:
                raise InvalidInput(
                    f"{merchant.code} 与第{lines[merchant.code]}行重复 · "
                    f"{merchant.code} stands on line {lines[merchant.code]} too",
                    remedy="只留一行 · keep one",
                )
            lines[merchant.code] = line
            merchants.append(merchant)
        except InvalidInput as error:
            problems.append(f"{file_name}:{line}: {error}")
    if problems:
        more = (
            [f"……另有{len(problems) - MAX_PROBLEMS}处 · … and {len(problems) - MAX_PROBLEMS} more"]
            if len(problems) > MAX_PROBLEMS
            else []
        )
        raise InvalidInput("\n".join([*problems[:MAX_PROBLEMS], *more]))
    if not merchants:
        raise InvalidInput(
            "没有商户 · names no merchant",
            place=file_name,
            remedy="表头下每行一个 · write one to a line under the heading",
        )
    return merchants


def _rows(content: bytes, file_name: str) -> Iterator[tuple[int, list[str]]]:
    """The lines under the heading that are not empty, with their numbers."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidInput(
            "不是UTF-8编码 · is not UTF-8",
            place=f"{file_name}:{line}",
            remedy="在Excel中另存为“CSV UTF-8”，不用CSV或GBK · save it from Excel as “CSV UTF-8”, not as CSV or GBK",
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    heading = ""
    try:
        for fields in reader:
            values = [field.strip() for field in fields]
            if not any(values):
                continue
            if not heading:
                heading = ",".join(values).lower()
                if heading != ",".join(COLUMNS):
                    raise InvalidInput(
                        f"表头为 {heading[:80]!r} · the heading is {heading[:80]!r}",
                        place=f"{file_name}:{reader.line_num}",
                        remedy=f"首行写 {','.join(COLUMNS)} · begin the file with {','.join(COLUMNS)}",
                    )
                continue
            yield reader.line_num, values
    except csv.Error as error:
        raise InvalidInput(
            f"不是CSV · is not CSV ({error})",
            place=f"{file_name}:{reader.line_num}",
            remedy="检查引号和逗号 · check quotes and commas",
        ) from error


def _merchant(fields: list[str]) -> Merchant:
    if len(fields) != len(COLUMNS):
        raise InvalidInput(
            f"有{len(fields)}栏，应为{len(COLUMNS)}栏 · {len(fields)} fields instead of {len(COLUMNS)}",
            remedy='名称含逗号的加英文引号 · put a name with a comma in "quotes"',
        )
    code, name, categories = fields
    try:
        check_code(code)
    except InvalidInput as error:
        remedy = (
            error.remedy
            or "用数字和大写字母，不含I、O、S、V、Z · use digits and capital letters without I, O, S, V and Z"
        )
        raise InvalidInput(
            f"code: {code!r} 不是统一社会信用代码 · {code!r} is not a unified social credit code", remedy=remedy
        ) from error
    if not name.isprintable() or not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise InvalidInput(
            f"name: {name[:40]!r}",
            remedy=f"写1至{MAX_NAME_CHARACTERS}个字，不换行 · write 1 to {MAX_NAME_CHARACTERS} characters on one line",
        )
    words = tuple(dict.fromkeys(word for word in _SEPARATORS.split(categories) if word))
    wrong = [word for word in words if not _CATEGORY.fullmatch(word)]
    if wrong:
        raise InvalidInput(
            f"categories: {', '.join(wrong)}",
            remedy="用小写字母、数字、连字符，如 retail;catering · "
            "use lower-case letters, digits and hyphens, like retail;catering",
        )
    return Merchant(code, name, words)
