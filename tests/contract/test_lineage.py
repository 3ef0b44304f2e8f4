"""Commits of one party's database are numbered without a gap, whichever of its processes makes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chassis.database import Database, KeyTaken
from custodian import schema
from custodian.continuity import Continuity
from custodian.lineage import Lineage, RecoveryNeeded
from custodian.seals import seal
from quanlian.errors import ConfigurationError, Unavailable

TABLES = (schema.counter, schema.lineage)


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


def test_writes_that_come_out_of_turn_leave_the_latest_number(numbered: Database, tmp_path: Path) -> None:
    """The file is written after the writer's turn, so that of two threads the later commit's may come first."""
    lineage = Lineage(numbered, tmp_path / "lineage")
    assert lineage.begin()
    commit(numbered, 5)
    with numbered.transaction() as transaction:
        earlier = lineage._number(transaction)
    earlier()
    commit(numbered)
    latest = lineage.known
    earlier()
    assert lineage.known == latest
    again = Lineage(numbered, tmp_path / "lineage")
    assert again.begin()
    assert again.known == latest


@pytest.fixture
def numbered(database: Database) -> Database:
    """A party's database with the tables that every party has."""
    create_tables(database)
    return database


def create_tables(database: Database) -> None:
    with database.transaction() as transaction:
        schema.METADATA.create_all(transaction.connection)


def commit(database: Database, times: int = 1, value: int = 1) -> None:
    for _ in range(times):
        with database.transaction() as transaction:
            transaction.upsert(schema.counter, [{"name": "entry", "value": value}])


def back_up(database: Database) -> dict[str, list[dict[str, Any]]]:
    with database.snapshot() as snapshot:
        return {
            table.name: [dict(row._mapping) for row in snapshot.connection.execute(table.select())] for table in TABLES
        }


def set_back(restoring: Database, copy: dict[str, list[dict[str, Any]]]) -> None:
    """As an operator's tool does it, in one transaction that no party numbers."""
    with restoring.transaction() as transaction:
        for table in TABLES:
            transaction.connection.execute(table.delete())
            transaction.connection.execute(table.insert(), copy[table.name])


class TestNeedOfRecovery:
    """Who was shown to be an older copy stays so until it is recovered, whatever else is written meanwhile."""

    def test_a_commit_in_flight_does_not_make_it_forgotten(self, numbered: Database, tmp_path: Path) -> None:
        lineage = Lineage(numbered, tmp_path / "lineage")
        assert lineage.begin()
        commit(numbered, 5)
        with numbered.transaction() as transaction:
            number = lineage._number(transaction)
            lineage.mark_as_behind("甲 · a peer has more")
        number()
        again = Lineage(numbered, tmp_path / "lineage")
        assert not again.begin()
        assert again.why == "甲 · a peer has more"

    def test_another_process_that_commits_does_not_make_it_forgotten(
        self, database_factory: Callable[[str], Database], tmp_path: Path
    ) -> None:
        one, other = database_factory("node_310000"), database_factory("node_310000")
        with one.transaction() as transaction:
            schema.METADATA.create_all(transaction.connection)
        lineages = [Lineage(database, tmp_path / "lineage") for database in (one, other)]
        assert all([each.begin() for each in lineages])
        lineages[0].mark_as_behind("a peer has more")
        commit(other, 3)
        assert not Lineage(one, tmp_path / "lineage").begin()

    def test_another_process_answers_nothing_any_more(
        self, database_factory: Callable[[str], Database], tmp_path: Path
    ) -> None:
        one, other = Continuity("recover one"), Continuity("recover other")
        for continuity in (one, other):
            database = database_factory("node_310000")
            with database.transaction() as transaction:
                schema.METADATA.create_all(transaction.connection)
            continuity.begin(Lineage(database, tmp_path / "lineage"))
            continuity.require()
        one.breaks("a peer has more")
        with pytest.raises(RecoveryNeeded, match=r"a peer has more — the operator runs: recover other"):
            other.require()
        assert other.broken

    def test_a_database_that_is_set_back_while_its_party_runs_is_noticed_by_the_next_commit(
        self, database_factory: Callable[[str], Database], tmp_path: Path
    ) -> None:
        database, restoring = database_factory("node_310000"), database_factory("node_310000")
        create_tables(database)
        continuity = Continuity("recover")
        continuity.begin(Lineage(database, tmp_path / "lineage"))
        commit(database, 3)
        copy = back_up(database)
        commit(database, 5, value=2)
        beside = (tmp_path / "lineage").read_bytes()
        set_back(restoring, copy)
        with pytest.raises(RecoveryNeeded, match="5 commits that were answered for are not in its database"):
            commit(database, value=3)
        with pytest.raises(RecoveryNeeded, match="the operator runs: recover"):
            continuity.require()
        assert back_up(database) == copy, "nothing of the commit stands"
        assert (tmp_path / "lineage").read_bytes().startswith(beside), "the mark is not lowered"
        again = Lineage(database, tmp_path / "lineage")
        assert not again.begin()
        assert (again.lost_commits, again.restored.commits) == (5, 3)

    @pytest.mark.parametrize("commits_of_the_other", [0, 1, 4])
    def test_whichever_process_commits_next_notices_it(
        self, database_factory: Callable[[str], Database], tmp_path: Path, commits_of_the_other: int
    ) -> None:
        """Also one that knows of no later commit than the copy does: what the other wrote stands in the file."""
        one, other, restoring = (database_factory("node_310000") for _ in range(3))
        create_tables(one)
        continuities = [Continuity("recover"), Continuity("recover")]
        for continuity, database in zip(continuities, (one, other), strict=True):
            continuity.begin(Lineage(database, tmp_path / "lineage"))
        commit(one, 2)
        copy = back_up(one)
        commit(one)
        commit(other, commits_of_the_other)
        commit(one)
        set_back(restoring, copy)
        with pytest.raises(RecoveryNeeded, match=f"{2 + commits_of_the_other} commits that were answered for"):
            commit(other)
        for continuity in continuities:
            with pytest.raises(RecoveryNeeded):
                continuity.require()

    def test_a_copy_of_an_earlier_incarnation_is_noticed_however_far_it_came(
        self, database_factory: Callable[[str], Database], tmp_path: Path
    ) -> None:
        database, restoring = database_factory("node_310000"), database_factory("node_310000")
        create_tables(database)
        lineage = Lineage(database, tmp_path / "lineage")
        assert lineage.begin()
        commit(database)
        copy = back_up(database)
        lineage.mark_as_behind("a peer has more")
        lineage.renew()
        copy["lineage"][0]["commits"] += 100
        set_back(restoring, copy)
        with pytest.raises(Unavailable, match="its database is of incarnation 1, and it answered from 2"):
            commit(database)

    def test_a_process_that_died_before_it_wrote_the_file_is_no_sign_of_an_older_copy(
        self, database_factory: Callable[[str], Database], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one, other = database_factory("node_310000"), database_factory("node_310000")
        create_tables(one)
        lineages = [Lineage(database, tmp_path / "lineage") for database in (one, other)]
        assert all([each.begin() for each in lineages])
        commit(one, 2)
        with monkeypatch.context() as dying:
            dying.setattr(lineages[1], "_write", lambda mark: None)
            commit(other, 3)
        commit(one)
        assert lineages[0].known.commits == 6
        assert Lineage(one, tmp_path / "lineage").begin()

    def test_a_process_that_writes_late_does_not_lower_the_mark(
        self, database_factory: Callable[[str], Database], tmp_path: Path
    ) -> None:
        one, other = database_factory("node_310000"), database_factory("node_310000")
        create_tables(one)
        lineages = [Lineage(database, tmp_path / "lineage") for database in (one, other)]
        assert all([each.begin() for each in lineages])
        commit(one)
        first = lineages[0].known
        commit(other, 2)
        lineages[0]._write(first)
        assert lineages[0].known.commits == 3
        again = Lineage(one, tmp_path / "lineage")
        assert again.begin()
        assert again.known.commits == 3

    def test_only_a_new_incarnation_ends_it(self, numbered: Database, tmp_path: Path) -> None:
        lineage = Lineage(numbered, tmp_path / "lineage")
        assert lineage.begin()
        commit(numbered)
        lineage.mark_as_behind("a peer has more")
        for _ in range(2):
            lineage = Lineage(numbered, tmp_path / "lineage")
            assert not lineage.begin()
        assert lineage.renew().incarnation == 2
        commit(numbered)
        assert Lineage(numbered, tmp_path / "lineage").begin()

    def test_what_was_lost_is_asked_for_from_where_the_copy_ended(
        self, numbered: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not from what it committed between its restore and when that was noticed."""
        lineage = Lineage(numbered, tmp_path / "lineage")
        assert lineage.begin()
        commit(numbered)
        copy = Lineage(numbered, tmp_path / "lineage")
        assert copy.begin()
        monkeypatch.setattr(numbered, "_advance", lambda clock: clock + 86_400)
        commit(numbered)
        copy.mark_as_behind("a peer has more")
        again = Lineage(numbered, tmp_path / "lineage")
        assert not again.begin()
        assert again.restored.at == copy.restored.at > 0

    @pytest.mark.parametrize("leaves", ["nothing", "an empty file"])
    def test_a_missing_file_is_told_as_such_at_every_start(
        self, numbered: Database, tmp_path: Path, leaves: str
    ) -> None:
        assert Lineage(numbered, tmp_path / "lineage").begin()
        commit(numbered)
        (tmp_path / "lineage").unlink()
        if leaves == "an empty file":
            (tmp_path / "lineage").touch()
        for _ in range(2):
            lineage = Lineage(numbered, tmp_path / "lineage")
            assert not lineage.begin()
            assert "缺失" in lineage.why
            assert "the file lineage beside its keys is missing" in lineage.why
            assert lineage.lost_commits == 0

    def test_a_new_party_needs_no_file(self, numbered: Database, tmp_path: Path) -> None:
        assert Lineage(numbered, tmp_path / "lineage").begin()
        assert Lineage(numbered, tmp_path / "lineage").begin()

    def test_a_file_that_cannot_be_read_is_named(self, numbered: Database, tmp_path: Path) -> None:
        (tmp_path / "lineage").write_text("what is this\n")
        with pytest.raises(ConfigurationError, match=r"lineage: cannot be used.* remove it and recover"):
            Lineage(numbered, tmp_path / "lineage").begin()
