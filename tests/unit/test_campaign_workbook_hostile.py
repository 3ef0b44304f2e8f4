"""Files that are no workbook, or one made to harm: one clear error, in bounded time and memory."""

from __future__ import annotations

import resource
import time
import zipfile
from collections.abc import Callable
from io import BytesIO

import pytest
from workbook_edits import complete_file, exported

from node.campaign.workbook.archive import MAX_FILE_BYTES, MAX_TAGS, MAX_UNPACKED_BYTES
from node.campaign.workbook.conversion import import_workbook
from node.campaign.workbook.reading import MAX_ROWS
from quanlian.errors import InvalidInput

SECONDS = 30.0
"""Far more than it takes, for a machine that is busy."""
MEGABYTES = 600
SHEET = "xl/worksheets/sheet9.xml"
"""The vouchers, which is the eighth sheet that holds terms."""


def rebuilt(change: Callable[[dict[str, bytes]], None]) -> bytes:
    """A sound workbook with some of its parts changed."""
    with zipfile.ZipFile(BytesIO(exported(complete_file()))) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return stream.getvalue()


def with_part(name: str, part: bytes) -> bytes:
    def change(parts: dict[str, bytes]) -> None:
        parts[name] = part

    return rebuilt(change)


def with_rows(rows: bytes) -> bytes:
    def change(parts: dict[str, bytes]) -> None:
        parts[SHEET] = parts[SHEET].replace(b"</sheetData>", rows + b"</sheetData>")

    return rebuilt(change)


def replaced(name: str, old: bytes, new: bytes) -> bytes:
    def change(parts: dict[str, bytes]) -> None:
        assert old in parts[name]
        parts[name] = parts[name].replace(old, new)

    return rebuilt(change)


def doubled() -> bytes:
    stream = BytesIO(exported(complete_file()))
    with zipfile.ZipFile(stream, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("xl/workbook.xml", b"<workbook/>")
    return stream.getvalue()


LAUGHS = b'<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "cannot be opened"),
    "text": (lambda: b"campaign,face\n1,2\n", "cannot be opened"),
    "a campaign file": (complete_file, "cannot be opened"),
    "an old .xls": (lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "old .xls or has a password"),
    "half a workbook": (lambda: exported(complete_file())[:60_000], "cannot be opened"),
    "a zip of something else": (lambda: _zip({"readme.txt": b"hello"}), "is not a workbook"),
    "another office file": (lambda: _zip({"content.xml": b"<x/>", "mimetype": b"ods"}), "is not a workbook"),
    "another compression": (
        lambda: _zip({"xl/workbook.xml": b"<x/>", "[Content_Types].xml": b"<x/>"}, zipfile.ZIP_LZMA),
        "is not compressed as Excel does",
    ),
    "too long a file": (lambda: b"PK" + b"\0" * MAX_FILE_BYTES, "is over"),
    "a zip bomb": (lambda: with_part("xl/media/a.bin", b"\0" * (MAX_UNPACKED_BYTES + 1)), "unpacks to"),
    "a thousand parts": (lambda: _zip({f"xl/{number}.xml": b"" for number in range(1000)}), "in 1000 parts"),
    "too many tags": (lambda: with_rows(b"<row/>" * (MAX_TAGS + 1)), "tags"),
    "macros": (lambda: with_part("xl/vbaProject.bin", b"\0"), "has macros"),
    "macros by its type": (
        lambda: replaced("[Content_Types].xml", b"spreadsheetml.sheet.main", b"sheet.macroEnabled.main"),
        "has macros",
    ),
    "links to other files": (lambda: with_part("xl/externalLinks/externalLink1.xml", b"<x/>"), "links to other files"),
    "entities": (lambda: replaced(SHEET, b"<worksheet", LAUGHS + b"<worksheet"), "declares XML entities"),
    "two parts of a name": (doubled, "two parts of the same name"),
    "more rows than terms have": (
        lambda: with_rows(b"".join(b'<row r="%d"><c><v>1</v></c></row>' % row for row in range(99, 99 + 2 * MAX_ROWS))),
        f"has over {MAX_ROWS} rows",
    ),
    "a row beyond Excel": (lambda: with_rows(b'<row r="99999999999"><c r="A1"><v>1</v></c></row>'), "rows"),
    "cells that are nowhere": (lambda: with_rows(b'<row r="99"><c r="?!"><v>1</v></c></row>'), "not a sound workbook"),
    "text that is not there": (
        lambda: with_rows(b'<row r="99"><c r="A99" t="s"><v>123456</v></c></row>'),
        "not a sound workbook",
    ),
    "no XML": (lambda: with_part(SHEET, b"\0\1\2"), "not a sound workbook"),
    "XML in XML": (lambda: with_part("xl/styles.xml", b"<a>" * 100_000), "not a sound workbook"),
}


def _zip(parts: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return stream.getvalue()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_may_not_be_opened_is_one_error_with_its_remedy(name: str) -> None:
    make, rule = HOSTILE[name]
    content = make()
    started = time.monotonic()
    with pytest.raises(InvalidInput, match=rule) as refused:
        import_workbook(content, "bad.xlsx")
    assert time.monotonic() - started < SECONDS
    assert str(refused.value).startswith("bad.xlsx")
    assert refused.value.remedy
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < MEGABYTES * 1024


UNUSUAL: dict[str, Callable[[], bytes]] = {
    "an empty last row, as LibreOffice writes it": lambda: with_rows(b'<row r="1048576"><c r="A1048576" s="1"/></row>'),
    "a dimension that is not so": lambda: replaced(SHEET, b'<dimension ref="A1:L9"/>', b'<dimension ref="A1"/>'),
    "cells merged over the whole sheet": lambda: replaced(
        SHEET, b"</sheetData>", b'</sheetData><mergeCells><mergeCell ref="A1:XFD1048576"/></mergeCells>'
    ),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_is_merely_unusual_is_read(name: str) -> None:
    started = time.monotonic()
    assert import_workbook(UNUSUAL[name](), "odd.xlsx").content == complete_file()
    assert time.monotonic() - started < SECONDS


def test_as_many_shared_texts_as_fit_are_read_in_bounded_time() -> None:
    rich = b"<si><r><rPr><b/><i/></rPr><t>x</t></r></si>"

    def change(parts: dict[str, bytes]) -> None:
        used = sum(part.count(b"<") for part in parts.values())
        more = rich * ((MAX_TAGS - used) // rich.count(b"<") - 1)
        parts["xl/sharedStrings.xml"] = parts["xl/sharedStrings.xml"].replace(b"</sst>", more + b"</sst>")

    content = rebuilt(change)
    started = time.monotonic()
    assert import_workbook(content, "long.xlsx").content == complete_file()
    assert time.monotonic() - started < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < MEGABYTES * 1024


def test_a_number_beyond_all_measure_is_an_error_in_its_cell() -> None:
    found = import_workbook(with_rows(b'<row r="40"><c r="A40"><v>1E999</v></c></row>'), "plan.xlsx")
    faults = [fault for fault in found.errors if fault.place.cell == "A40"]
    assert [fault.value for fault in faults] == ["#NUM!"]
