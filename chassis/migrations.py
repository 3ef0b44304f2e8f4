"""Runs the Alembic migrations of a folder over a connection that is given, without `env.py` and ini file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy.engine import Connection

from quanlian.errors import ConfigurationError


def upgrade(connection: Connection, folder: Path, place: str, version_table: str) -> None:
    """Applies every migration of `folder` that `version_table` lacks, in the connection's transaction."""
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    _refuse_newer(connection, scripts, place, version_table)

    def steps(revision: Any, context: MigrationContext) -> Iterable[Any]:
        return scripts._upgrade_revs("head", revision)

    with EnvironmentContext(config, scripts, fn=steps) as environment:
        environment.configure(connection=connection, transactional_ddl=True, version_table=version_table)
        environment.run_migrations()


def _refuse_newer(connection: Connection, scripts: ScriptDirectory, place: str, version_table: str) -> None:
    context = MigrationContext.configure(connection, opts={"version_table": version_table})
    for revision in context.get_current_heads():
        try:
            scripts.get_revision(revision)
        except CommandError:
            raise ConfigurationError(
                f"the database is at migration {revision!r}, which this program does not know",
                place=place,
                remedy="it was migrated by a newer Quanlian; run that version or a newer one",
            ) from None
