"""Databases for whole networks: parties in processes of their own, which name their schemas themselves."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

DatabaseUrls = Callable[[str], str]


@pytest.fixture(scope="module")
def network_database(request: pytest.FixtureRequest) -> Iterator[DatabaseUrls]:
    """What `--database-url` is for a network on a backend: nothing for SQLite, else a database of its own."""
    made: list[str] = []

    def url(backend: str) -> str:
        if backend == "sqlite":
            return ""
        server = sa.make_url(request.getfixturevalue("postgres_url"))
        made.append(f"network_{uuid.uuid4().hex[:12]}")
        _administer(server, f"CREATE DATABASE {made[-1]}")
        return server.set(drivername="postgresql", database=made[-1]).render_as_string(hide_password=False)

    yield url
    for name in made:
        _administer(sa.make_url(request.getfixturevalue("postgres_url")), f"DROP DATABASE {name} WITH (FORCE)")


def _administer(server: sa.URL, statement: str) -> None:
    engine = sa.create_engine(server.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()
