"""Terms to a workbook and back: what the commands do, on bytes alone."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import NamedTuple

from node.campaign.workbook.faults import Fault, Place, located
from node.campaign.workbook.layout import LAYOUTS
from node.campaign.workbook.pages import Page, cell_at, page_of, pages_of
from node.campaign.workbook.reading import Workbook, read_workbook
from node.campaign.workbook.sheets import Reading, read_sheets
from node.campaign.workbook.writing import write_workbook
from quanlian.campaign_check import check_campaign
from quanlian.terms import Terms
from quanlian.terms_file import Problem
from quanlian.terms_parsing import parse_terms
from quanlian.terms_writing import rewrite_terms, write_terms


class Import(NamedTuple):
    """What a workbook says. `terms` is None and `content` empty if it has errors, in the order of its sheets.

    `unread` are tabs that hold no terms; `pages` are the sheets as they were found, `source` the campaign file
    that the workbook was exported from, None if it is not there. `judged` is as in `Report`.
    """

    terms: Terms | None
    content: bytes
    errors: tuple[Fault, ...]
    warnings: tuple[Fault, ...]
    unread: tuple[str, ...]
    pages: tuple[Page, ...]
    source: bytes | None
    judged: bool

    def marked_copy(self) -> bytes:
        """The workbook as it was found, with each error and warning in its cell and a sheet that lists them."""
        return write_workbook(self.pages, self.source, self.errors, self.warnings)


def export_workbook(content: bytes, name: str) -> bytes:
    """The workbook of the campaign file called `name`. Raises InvalidTerms with every problem of the file."""
    parse_terms(content, name)
    values = tomllib.loads(content.decode("utf-8"), parse_float=Decimal)
    return write_workbook(pages_of(values), content)


def import_workbook(content: bytes, name: str) -> Import:
    """The campaign file that a workbook says, or all that is wrong with it.

    Raises InvalidInput for a file that cannot be read as a workbook.
    """
    return read_campaign(read_workbook(content, name), name)


def read_campaign(book: Workbook, name: str) -> Import:
    """As `import_workbook`, of a workbook that is open.

    The file is the one that the workbook was exported from, with what differs changed: the very same bytes if
    nothing does.
    """
    reading = read_sheets(book.sheets)
    source = book.source if book.source and check_campaign(book.source, name).terms else None
    content = rewrite_terms(source, reading.values) if source else write_terms(reading.values)
    report = check_campaign(content, name)
    errors = _together(reading, report.errors)
    judged = [located(problem, reading.places, _FIRST) for problem in report.warnings]
    warnings = (*reading.doubts, *judged)
    pages = tuple(reading.found.get(layout.table) or page_of(layout, []) for layout in LAYOUTS)
    terms, written = (None, b"") if errors else (report.terms, content)
    return Import(terms, written, errors, warnings, tuple(book.unread), pages, source, report.judged)


_FIRST = Place(LAYOUTS[0].title)


def _together(reading: Reading, problems: tuple[Problem, ...]) -> tuple[Fault, ...]:
    """Every error in the order of sheets and cells; what the checker says of a cell that was misread is no news."""
    misread = {fault.place for fault in reading.faults}
    judged = [located(problem, reading.places, _FIRST) for problem in problems]
    faults = [*reading.faults, *(fault for fault in judged if fault.place not in misread)]
    order = [layout.title for layout in LAYOUTS]
    return tuple(sorted(faults, key=lambda fault: (order.index(fault.place.sheet), cell_at(fault.place.cell or "A1"))))
