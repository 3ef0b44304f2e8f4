"""Commits of one party's database are numbered without a gap, whichever of its processes makes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from chassis.database import Database, KeyTaken
from custodian import schema
from custodian.lineage import Lineage
from custodian.seals import seal


def test_two_processes_of_a_party_number_their_commits_together(
    database_factory: Callable[[str], Database], tmp_path: Path
) -> None:
    one, other = database_factory("node_310000"), database_factory("node_310000")
    with one.transaction() as transaction:
        schema.METADATA.create_all(transaction.connection)
    for database in (one, other):
        assert Lineage(database, tmp_path / "lineage").begin()
    for database in (one, one, other, one, other, other):
        with database.transaction() as transaction:
            transaction.upsert(schema.counter, [{"name": "entry", "value": 1}])
    with one.snapshot() as snapshot:
        (row,) = snapshot.connection.execute(schema.lineage.select())
    assert row.commits == 6
    assert row.seal == seal(schema.lineage, row._mapping)
    assert Lineage(one, tmp_path / "lineage").begin()


def test_a_commit_that_is_rolled_back_has_no_number(database: Database, tmp_path: Path) -> None:
    with database.transaction() as transaction:
        schema.METADATA.create_all(transaction.connection)
    lineage = Lineage(database, tmp_path / "lineage")
    assert lineage.begin()
    row = {"name": "entry", "value": 1}
    for _ in range(2):
        with database.transaction() as transaction:
            transaction.upsert(schema.counter, [row])
    with pytest.raises(KeyTaken), database.transaction() as transaction:
        transaction.insert(schema.counter, [row])
    with database.transaction() as transaction:
        transaction.upsert(schema.counter, [row])
    assert lineage.known.commits == 3
