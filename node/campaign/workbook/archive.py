"""What a file must be before it is opened as a workbook: a plain .xlsx, and of bounded size whatever it holds.

Python's zipfile never gives more of a part than its declared size, so declared sizes bound what opening costs.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Final, NoReturn

from quanlian.errors import InvalidInput

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
MAX_UNPACKED_BYTES: Final = 16 * 1024 * 1024
MAX_PARTS: Final = 200
MAX_TAGS: Final = 500_000
"""Of all parts: bounds what reading the XML takes to some seconds. LibreOffice's copy of an example has 140,000."""
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MACROS: Final = re.compile(r"vbaProject|macrosheets|activeX|/embeddings/", re.IGNORECASE)
_SAVE_AS: Final = "另存为.xlsx save it as .xlsx (Excel workbook)"
_DECLARATION: Final = re.compile(rb"<!\s*(?:DOCTYPE|ENTITY)", re.IGNORECASE)


def check_archive(content: bytes, name: str) -> None:
    """Raises InvalidInput for a file that is no workbook, is too big, has macros or names other files."""

    def refuse(what: str, remedy: str) -> NoReturn:
        raise InvalidInput(what, place=name, remedy=remedy)

    if len(content) > MAX_FILE_BYTES:
        refuse(f"超过{MAX_FILE_BYTES}字节 is over {MAX_FILE_BYTES} bytes", "删除图片等 remove pictures and the like")
    if content.startswith(_OLE):
        refuse("是.xls或加密的工作簿 is an old .xls or has a password", f"{_SAVE_AS}，不设密码 without a password")
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            _check_parts(archive, refuse)
            tags = 0
            for part in archive.infolist():
                text = archive.read(part)
                tags += text.count(b"<")
                if tags > MAX_TAGS:
                    refuse(
                        f"超过{MAX_TAGS}个标记 holds over {MAX_TAGS} tags",
                        "删除多余的行和格式 delete surplus rows and formats",
                    )
                if _DECLARATION.search(text):
                    refuse("含有XML实体声明 declares XML entities", _SAVE_AS)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        refuse(f"打不开 cannot be opened ({str(error)[:80]})", _SAVE_AS)


def _check_parts(archive: zipfile.ZipFile, refuse: Callable[[str, str], NoReturn]) -> None:
    """What the archive's list of parts tells, before any is unpacked."""
    parts = archive.infolist()
    names = [part.filename for part in parts]
    unpacked = sum(part.file_size for part in parts)
    if len(parts) > MAX_PARTS or unpacked > MAX_UNPACKED_BYTES:
        what = f"解压后有{unpacked}字节、{len(parts)}个部分 unpacks to {unpacked} bytes in {len(parts)} parts"
        refuse(what, f"上限 at most {MAX_UNPACKED_BYTES} bytes, {MAX_PARTS} parts")
    if "xl/workbook.xml" not in names or "[Content_Types].xml" not in names:
        refuse("不是工作簿 is not a workbook", _SAVE_AS)
    if any(part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for part in parts):
        refuse("压缩方式不是Excel所用 is not compressed as Excel does", _SAVE_AS)
    if len(set(names)) < len(names):
        refuse("各部分有重名 has two parts of the same name", _SAVE_AS)
    if any(_MACROS.search(each) for each in names) or b"macroEnabled" in archive.read("[Content_Types].xml"):
        refuse("含有宏或嵌入对象 has macros or embedded objects", f"{_SAVE_AS}，不含宏 without macros")
    if any("externallinks/" in each.lower() for each in names):
        refuse("链接到其他文件 has links to other files", "在“数据—编辑链接”中断开 break them under Data, Edit Links")
