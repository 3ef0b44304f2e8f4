"""Parties over fresh databases whose clocks stand still (`local_parties`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from local_parties import LocalClearinghouse, LocalNode, StandingPostgresql, StandingSqlite, open_standing

StandingFactory = Callable[[str], StandingSqlite | StandingPostgresql]


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


@pytest.fixture
def node(open_party: StandingFactory) -> LocalNode:
    """Hangzhou's node, without a campaign."""
    return LocalNode(open_party("node"))


@pytest.fixture
def clearinghouse(open_party: StandingFactory) -> LocalClearinghouse:
    return LocalClearinghouse(open_party("clearinghouse"))
