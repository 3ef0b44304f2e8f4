"""Every column of every table of both parties is covered by `quanlian ledger check`, on both databases.

Generated from the schemas: each column of a table is edited in one of its rows, the first, the middle or the last in
turn; each of these three is deleted; a row is copied under another key, and one is made up.
What the check does not find is listed in docs/security.md with its reason; a line there that is not true fails here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sound_parties import BOTH, Sound, check

from chassis.database import Database, Transaction
from custodian.ledger.check import findings
from custodian.ledger.findings import Finding

SECURITY = Path(__file__).parents[2] / "docs" / "security.md"
EXCEPTION = re.compile(r"^\| (node|clearinghouse|both) \| `(\w+)` \| (row|`\w+`) \|", re.MULTILINE)
DELETED = "row"


def exceptions(party: str) -> set[tuple[str, str]]:
    """(table, column, or `row` for a deleted row) that the documentation says are not found."""
    found = EXCEPTION.findall(SECURITY.read_text())
    return {(table, what.strip("`")) for name, table, what in found if name in (party, "both")}


@contextmanager
def undone_at_once(database: Database) -> Iterator[Transaction]:
    """What happens in the block is rolled back."""

    class Undone(Exception):
        """Ends the transaction."""

    try:
        with database.transaction() as transaction:
            yield transaction
            raise Undone
    except Undone:
        pass


def other(column: sa.Column[Any], value: Any) -> Any:
    """A value that the column can have and that is not `value`."""
    kind = column.type
    if isinstance(kind, sa.Boolean):
        return not value
    if isinstance(kind, sa.Integer):
        return (value or 0) + 7919
    return (value or b"") + b"x" if isinstance(kind, sa.LargeBinary) else (value or "") + "x"


def nothing(column: sa.Column[Any]) -> Any:
    """A value that adds nothing to any sum."""
    if isinstance(column.type, sa.Boolean):
        return False
    if isinstance(column.type, sa.Integer):
        return 0
    return b"made up" if isinstance(column.type, sa.LargeBinary) else "made up"


def key_of(table: sa.Table, row: dict[str, Any]) -> sa.ColumnElement[bool]:
    return sa.and_(*(column == row[column.name] for column in table.primary_key))


def is_found(transaction: Transaction, sound_findings: set[Finding]) -> bool:
    return any(finding not in sound_findings for finding in findings(transaction))


def first_middle_last(transaction: Transaction, table: sa.Table) -> list[dict[str, Any]]:
    """Fewer where there are fewer."""
    rows = list(transaction.connection.execute(table.select().order_by(*table.primary_key)))
    places = sorted({0, len(rows) // 2, len(rows) - 1}) if rows else ()
    return [dict(rows[place]._mapping) for place in places]


def a_row(transaction: Transaction, table: sa.Table, place: int = 0) -> tuple[dict[str, Any], set[Finding]]:
    """A row to tamper with, put there if the sound books have none, and what is found before anything is.

    Of the first, middle and last row the one at `place`, counted round.
    """
    if rows := first_middle_last(transaction, table):
        return rows[place % len(rows)], set()
    made = {column.name: other(column, None) for column in table.columns}
    transaction.insert(table, [made])
    row = transaction.connection.execute(table.select()).one()
    return dict(row._mapping), set(findings(transaction))


@pytest.mark.parametrize("name", BOTH)
def test_an_edit_of_any_column_is_found_unless_it_is_documented(sound: Sound, name: str) -> None:
    party, missed = sound.parties[name], set()
    for table in party.tables.values():
        for place, column in enumerate(table.columns):
            with undone_at_once(party.database) as transaction:
                row, before = a_row(transaction, table, place)
                change = {column.name: other(column, row[column.name])}
                transaction.connection.execute(table.update().where(key_of(table, row)).values(change))
                if not is_found(transaction, before):
                    missed.add((table.name, column.name))
    assert missed == {each for each in exceptions(name) if each[1] != DELETED}, sorted(missed)


@pytest.mark.parametrize("name", BOTH)
def test_a_deleted_row_is_found_unless_it_is_documented(sound: Sound, name: str) -> None:
    party, missed = sound.parties[name], set()
    assert check(party) == [], "the books are sound before"
    for table in party.tables.values():
        with party.database.snapshot() as transaction:
            rows = first_middle_last(transaction, table)
        for row in rows:
            with undone_at_once(party.database) as transaction:
                transaction.connection.execute(table.delete().where(key_of(table, row)))
                if not is_found(transaction, set()):
                    missed.add(table.name)
    assert missed == {table for table, what in exceptions(name) if what == DELETED}, " ".join(sorted(missed))


@pytest.mark.parametrize("name", BOTH)
def test_a_row_that_is_copied_or_made_up_is_found(sound: Sound, name: str) -> None:
    party = sound.parties[name]
    for table in party.tables.values():
        with undone_at_once(party.database) as transaction:
            row, before = a_row(transaction, table, 2)
            keys = [column for column in table.columns if column.primary_key or column.unique]
            copied = row | {column.name: other(column, row[column.name]) for column in keys}
            transaction.connection.execute(table.insert().values(copied))
            assert is_found(transaction, before), f"a copied row of {table.name}"
        with undone_at_once(party.database) as transaction:
            made = {column.name: other(column, other(column, None)) for column in table.columns}
            transaction.connection.execute(table.insert().values(made))
            assert is_found(transaction, set()), f"a row of {table.name} that was made up"


@pytest.mark.parametrize("name", BOTH)
def test_a_row_of_zeros_that_was_made_up_is_found(sound: Sound, name: str) -> None:
    party, missed = sound.parties[name], []
    for table in party.tables.values():
        with undone_at_once(party.database) as transaction:
            made = {column.name: nothing(column) for column in table.columns}
            transaction.connection.execute(table.insert().values(made))
            if not is_found(transaction, set()):
                missed.append(table.name)
    assert missed == []
