"""Migrations make exactly the tables that the schema modules describe, on both databases."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from chassis.database import Database
from clearinghouse import schema as clearinghouse_schema
from custodian import schema as custodian_schema
from node import schema as node_schema


class Owner(NamedTuple):
    """A folder of migrations, the table that tells how far it has come, and what it should make."""

    folder: str
    version_table: str
    tables: sa.MetaData


CUSTODIAN = Owner("custodian:migrations", "custodian_version", custodian_schema.METADATA)
PARTIES = {
    "node": (CUSTODIAN, Owner("node:migrations", "node_version", node_schema.METADATA)),
    "clearinghouse": (
        CUSTODIAN,
        Owner("clearinghouse:migrations", "clearinghouse_version", clearinghouse_schema.METADATA),
    ),
}


@pytest.fixture(params=PARTIES)
def owners(request: pytest.FixtureRequest) -> tuple[Owner, ...]:
    return PARTIES[request.param]


def migrate(database: Database, owners: tuple[Owner, ...]) -> None:
    for owner in owners:
        database.migrate(owner.folder, owner.version_table)


def described(database: Database) -> dict[str, Any]:
    """Every table as the database itself describes it: columns with types, options, keys, uniqueness, indexes."""
    found: dict[str, Any] = {}
    with database.snapshot() as transaction:
        inspector = sa.inspect(transaction.connection)
        for table in inspector.get_table_names():
            columns = {
                column["name"]: (str(column["type"]), column["nullable"], column.get("default"))
                for column in inspector.get_columns(table)
            }
            found[table] = {
                "columns": columns,
                "options": inspector.get_table_options(table),
                "key": inspector.get_pk_constraint(table)["constrained_columns"],
                "unique": sorted(each["column_names"] for each in inspector.get_unique_constraints(table)),
                "indexes": sorted(
                    (str(each["name"]), each["column_names"], bool(each["unique"]))
                    for each in inspector.get_indexes(table)
                    if not each.get("duplicates_constraint")
                ),
            }
    return found


def test_pages_of_redemptions_keep_room_for_what_refunds_write_anew(database: Database) -> None:
    """Else new ones go into what refunds left all over the table, and each changes a page that nothing else changes."""
    database.migrate(CUSTODIAN.folder, CUSTODIAN.version_table)
    with database.snapshot() as transaction:
        options = sa.inspect(transaction.connection).get_table_options("redemption")
    expected = {"postgresql": {"postgresql_with": {"fillfactor": "85"}}, "sqlite": {}}
    assert options == expected[database.dialect]


def test_a_migrated_database_has_the_tables_that_the_code_describes(
    database_factory: Any, owners: tuple[Owner, ...]
) -> None:
    migrated, created = database_factory("migrated"), database_factory("created")
    migrate(migrated, owners)
    with created.transaction() as transaction:
        for owner in owners:
            owner.tables.create_all(transaction.connection)
    tables = described(migrated)
    for owner in owners:
        assert len(tables.pop(owner.version_table)["columns"]) == 1
    assert tables == described(created)


def test_alembic_finds_no_difference_either(database: Database, owners: tuple[Owner, ...]) -> None:
    migrate(database, owners)
    wanted = sa.MetaData()
    for owner in owners:
        for table in owner.tables.tables.values():
            table.to_metadata(wanted)
    versions = {owner.version_table for owner in owners}
    options = {
        "compare_type": True,
        "compare_server_default": True,
        "include_name": lambda name, kind, parents: kind != "table" or name not in versions,
    }
    with database.snapshot() as transaction:
        context = MigrationContext.configure(transaction.connection, opts=options)
        differences = compare_metadata(context, wanted)
    assert differences == []


def test_migrating_again_changes_nothing(database: Database, owners: tuple[Owner, ...]) -> None:
    migrate(database, owners)
    before = described(database)
    with database.transaction() as transaction:
        row = {"name": "entry", "value": 7}
        transaction.insert(custodian_schema.counter, [row])
    migrate(database, owners)
    assert described(database) == before
    with database.snapshot() as transaction:
        rows = transaction.connection.execute(custodian_schema.counter.select()).all()
    assert [(row.name, row.value) for row in rows] == [("entry", 7)]
