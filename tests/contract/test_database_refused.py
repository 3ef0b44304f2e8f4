"""A database that would lose what it acknowledged, or cannot be used, is refused with its name and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from chassis.database import Database
from chassis.postgresql import durability_faults
from quanlian.errors import ConfigurationError, Unavailable


def test_a_durable_database_is_accepted(database: Database) -> None:
    database.check_durability()


def test_sqlite_without_full_sync_is_refused(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'a.db'}")
    sa.event.listen(database.engine, "connect", lambda driver, record: driver.execute("PRAGMA synchronous=NORMAL"))
    database.engine.dispose()
    with pytest.raises(ConfigurationError, match="synchronous is 1"):
        database.check_durability()
    database.close()


def test_postgresql_that_acknowledges_before_it_writes_is_refused(postgres_url: str) -> None:
    mark = "&" if "?" in postgres_url else "?"
    database = Database.open(f"{postgres_url}{mark}options=-c%20synchronous_commit%3Doff")
    with pytest.raises(ConfigurationError, match="synchronous_commit is off"):
        database.check_durability()
    database.close()


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit", "full_page_writes"])
def test_each_setting_that_loses_commits_is_named(setting: str) -> None:
    durable = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
    assert durability_faults(durable) == []
    (fault,) = durability_faults({**durable, setting: "off"})
    assert setting in fault


def test_a_url_of_no_known_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="mysql"):
        Database.open("mysql://u:secret@host/name")
    with pytest.raises(ConfigurationError, match="cannot be read") as refusal:
        Database.open("postgresql//u:secret@host")
    assert "secret" not in str(refusal.value)


def test_a_path_that_cannot_hold_a_database_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="absent"):
        Database.open(f"sqlite:///{tmp_path}/absent/a.db")
    with pytest.raises(ConfigurationError, match="folder"):
        Database.open(f"sqlite:///{tmp_path}")
    with pytest.raises(ConfigurationError, match="memory"):
        Database.open("sqlite:///:memory:")


def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Hangzhou, " * 500)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="not an SQLite database"):
        Database.open(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_a_server_that_does_not_answer_is_unavailable_and_the_password_stays_unseen() -> None:
    with pytest.raises(Unavailable, match="does not answer") as failure:
        Database.open("postgresql://quanlian:s3cret@127.0.0.1:1/quanlian")
    assert "s3cret" not in str(failure.value)
    assert "quanlian:***@127.0.0.1:1/quanlian" in str(failure.value)


def test_a_database_that_does_not_exist_is_named(postgres_url: str) -> None:
    url = sa.make_url(postgres_url).set(database="absent").render_as_string(hide_password=False)
    with pytest.raises(ConfigurationError, match=r"does not exist.*absent"):
        Database.open(url)


def test_a_user_that_the_server_does_not_know_is_refused(postgres_url: str) -> None:
    url = sa.make_url(postgres_url).set(username="stranger", password="s3cret").render_as_string(False)
    with pytest.raises(ConfigurationError, match="refuses") as failure:
        Database.open(url)
    assert "s3cret" not in str(failure.value)


def test_a_schema_name_that_would_need_quotes_is_refused(postgres_url: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot name a schema"):
        Database.open(postgres_url, 'x"; DROP TABLE account; --')
