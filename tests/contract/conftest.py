"""Parties over fresh databases whose clocks stand still (`local_parties`)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from dedicated_account import funded, treasury
from local_parties import (
    LocalClearinghouse,
    LocalNode,
    StandingFactory,
    StandingPostgresql,
    StandingSqlite,
    open_standing,
)
from sound_parties import sound

__all__ = ["funded", "sound", "treasury"]


@pytest.fixture
def open_party(database_url: Callable[[str], str], schema: Callable[[str], str]) -> Iterator[StandingFactory]:
    """Opens the fresh database of a party by its name."""
    opened: list[StandingSqlite | StandingPostgresql] = []

    def open_database(name: str) -> StandingSqlite | StandingPostgresql:
        opened.append(open_standing(database_url(name), schema(name)))
        return opened[-1]

    yield open_database
    for database in opened:
        database.close()


@pytest.fixture(scope="module", params=("sqlite", "postgresql"))
def open_lasting_party(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StandingFactory]:
    """Opens a party's fresh database by its name, for as long as a module's tests: on each product."""
    opened: list[StandingSqlite | StandingPostgresql] = []
    folder, mark = tmp_path_factory.mktemp("lasting"), f"t{uuid.uuid4().hex[:12]}"

    def open_database(name: str) -> StandingSqlite | StandingPostgresql:
        if request.param == "sqlite":
            opened.append(open_standing(f"sqlite:///{folder / name}.db", ""))
        else:
            opened.append(open_standing(request.getfixturevalue("postgres_url"), f"{mark}_{name}"))
        return opened[-1]

    yield open_database
    for database in opened:
        if request.param == "postgresql":
            with database.transaction() as transaction:
                transaction.connection.exec_driver_sql(f"DROP SCHEMA {database.schema} CASCADE")
        database.close()


@pytest.fixture
def node(open_party: StandingFactory) -> LocalNode:
    """Hangzhou's node, without a campaign."""
    return LocalNode(open_party("node"))


@pytest.fixture
def clearinghouse(open_party: StandingFactory) -> LocalClearinghouse:
    return LocalClearinghouse(open_party("clearinghouse"))
