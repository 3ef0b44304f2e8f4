"""A statement as files: signed JSON, a workbook, a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pki import files
from quanlian.errors import ConfigurationError
from quanlian.signing import digest
from quanlian.statements import json_to_statement
from reporting.signed_file import SignedFile
from reporting.statement_options import Format
from reporting.statement_page import statement_page
from reporting.statement_workbook import statement_workbook


def write_statement(signed: SignedFile, out: Path, formats: Sequence[Format]) -> list[Path]:
    """Write a signed statement into a folder, which is made, in all these formats or in none.

    Raises ConfigurationError where it cannot be written, InvalidInput for one that a format cannot hold.
    """
    statement = json_to_statement(signed.body)
    name = f"statement-{statement.region}-{statement.period}"
    reference = f"{name}.json SHA-256 {digest('statement', signed.body).hex()} key {signed.key_id.hex()}"
    shown: dict[Format, bytes] = {}
    if Format.XLSX in formats:
        shown[Format.XLSX] = statement_workbook(statement, reference)
    if Format.HTML in formats:
        shown[Format.HTML] = statement_page(statement, reference).encode()
    make_folder(out)
    paths = [out / f"{name}.{form}" for form in formats]
    for form, path in zip(formats, paths, strict=True):
        if form is Format.JSON:
            signed.write(path)
        else:
            files.write_atomically(path, shown[form])
    return paths


def make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"cannot be made ({error.strerror})", place=str(out), remedy="name a folder that you may write to"
        ) from error
