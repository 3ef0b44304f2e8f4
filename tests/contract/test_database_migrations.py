"""A party's tables are built and added to by migrations: wholly or not at all, and by no older program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from chassis.database import Database
from quanlian.errors import ConfigurationError

MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {previous!r}


def upgrade() -> None:
    op.create_table("{table}", sa.Column("id", sa.BigInteger, primary_key=True))
    {more}
"""


def write_migration(folder: Path, revision: str, previous: str | None, table: str, more: str = "") -> Path:
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    path = folder / "versions" / f"{revision}.py"
    path.write_text(MIGRATION.format(revision=revision, previous=previous, table=table, more=more))
    return path


def tables(database: Database) -> set[str]:
    with database.snapshot() as snapshot:
        return set(sa.inspect(snapshot.connection).get_table_names())


def test_migrations_build_the_tables_and_later_ones_add_to_them(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    write_migration(folder, "0001", None, "first")
    database.migrate(str(folder))
    assert tables(database) == {"alembic_version", "first"}
    database.migrate(str(folder))
    write_migration(folder, "0002", "0001", "second")
    database.migrate(str(folder))
    assert tables(database) == {"alembic_version", "first", "second"}


def test_migrating_makes_a_party_s_schema_and_touches_no_other(
    database_url: Callable[[str], str], schema: Callable[[str], str], tmp_path: Path
) -> None:
    write_migration(tmp_path / "migrations", "0001", None, "first")
    for name in ("node", "clearinghouse"):
        database = Database.open(database_url(name), schema(name))
        database.migrate(str(tmp_path / "migrations"))
        assert tables(database) == {"alembic_version", "first"}
        database.close()


def test_a_migration_that_fails_leaves_nothing_behind(database: Database, tmp_path: Path) -> None:
    write_migration(tmp_path / "migrations", "0001", None, "first", more="raise ZeroDivisionError")
    with pytest.raises(ZeroDivisionError):
        database.migrate(str(tmp_path / "migrations"))
    assert tables(database) == set()


def test_a_database_newer_than_the_program_is_refused(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    write_migration(folder, "0001", None, "first")
    newest = write_migration(folder, "0002", "0001", "second")
    database.migrate(str(folder))
    newest.unlink()
    with pytest.raises(ConfigurationError, match=r"migration '0002'.*newer Quanlian"):
        database.migrate(str(folder))


def test_migrations_that_are_nowhere_are_named(database: Database) -> None:
    with pytest.raises(ConfigurationError, match="nowhere/migrations"):
        database.migrate("nowhere/migrations")
