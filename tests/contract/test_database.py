"""SQLite and PostgreSQL give the same results, and refuse the same things."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from chassis.database import Database, KeyTaken, Query, Transaction
from custodian.seals import seal, seal_column
from quanlian.errors import ConfigurationError, Unavailable

METADATA = sa.MetaData()
ACCOUNT = sa.Table(
    "account",
    METADATA,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("balance", sa.BigInteger, nullable=False),
    sa.Column("seal", sa.LargeBinary),
    sa.Column("open", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("notes", sa.Text),
    sa.Column("label", sa.String(8)),
)
TOTAL = sa.Table(
    "total",
    METADATA,
    sa.Column("settlement_window", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("region", sa.Text, primary_key=True),
    sa.Column("captures", sa.BigInteger, nullable=False),
    sa.Column("order", sa.BigInteger, nullable=False),
)
SEALED = sa.Table(
    "sealed",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    seal_column(),
)
DOCUMENT = sa.Table(
    "document",
    METADATA,
    sa.Column("id", sa.LargeBinary, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("pages", sa.Integer, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("signed", sa.Boolean, nullable=False),
    sa.Column("body", sa.LargeBinary),
    seal_column(),
)
SINGLE = sa.Table("single", METADATA, sa.Column("id", sa.LargeBinary, primary_key=True))
_RELATIONS = sa.select(sa.func.count().label("count")).select_from(sa.table("pg_class", sa.column("relname")))
_ALL, _NAMED = Query(_RELATIONS), Query(_RELATIONS.where(sa.column("relname") == sa.bindparam("name")))
KEY = [ACCOUNT.c.owner, ACCOUNT.c.number]


@pytest.fixture
def accounts(database: Database) -> Database:
    with database.transaction() as transaction:
        METADATA.create_all(transaction.connection)
    return database


def account(owner: str, number: int, balance: int = 0, **more: object) -> dict[str, object]:
    return {"owner": owner, "number": number, "balance": balance, **more}


def balances(database: Database) -> dict[tuple[str, int], int]:
    with database.snapshot() as snapshot:
        rows = snapshot.connection.execute(sa.select(*KEY, ACCOUNT.c.balance))
        return {(row.owner, row.number): row.balance for row in rows}


def test_what_a_transaction_wrote_is_there_afterwards(accounts: Database) -> None:
    with accounts.transaction() as transaction:
        transaction.insert(ACCOUNT, [account("330100", 1, 500), account("310000", 1, 700)])
    assert balances(accounts) == {("330100", 1): 500, ("310000", 1): 700}


def test_what_a_failed_transaction_wrote_is_gone(accounts: Database) -> None:
    def fail_after_writing() -> None:
        with accounts.transaction() as transaction:
            transaction.insert(ACCOUNT, [account("330100", 1)])
            transaction.upsert(ACCOUNT, [account("330100", 2)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_writing()
    assert balances(accounts) == {}


def test_every_type_of_value_comes_back_as_it_went(accounts: Database) -> None:
    first = account("杭州\t\\N\n", 1, 2**60, seal=b"\x00\xff\\", open=False, notes="券", label="a")
    second = account("", 2, -1, seal=None, open=True, notes=None, label=None)
    with accounts.transaction() as transaction:
        transaction.insert(ACCOUNT, [first])
        transaction.upsert(ACCOUNT, [second])
        transaction.upsert(ACCOUNT, [first])
        found = transaction.select_keys(ACCOUNT, KEY, [(first["owner"], 1), ("", 2)])
    assert sorted((dict(row._mapping) for row in found), key=lambda row: row["number"]) == [first, second]


def test_a_column_that_is_not_given_gets_the_server_s_default(accounts: Database) -> None:
    with accounts.transaction() as transaction:
        transaction.insert(ACCOUNT, [account("330100", 1)])
        transaction.upsert(ACCOUNT, [account("330100", 2)])
        rows = transaction.select_keys(ACCOUNT, KEY, [("330100", 1), ("330100", 2)])
    assert [row.open for row in rows] == [True, True]


def test_an_upsert_replaces_the_given_columns_and_leaves_the_others(accounts: Database) -> None:
    with accounts.transaction() as transaction:
        transaction.insert(ACCOUNT, [account("330100", 1, 5, seal=b"kept"), account("330100", 2, 6, seal=b"other")])
    with accounts.transaction() as transaction:
        transaction.upsert(ACCOUNT, [account("330100", 1, 50), account("330100", 3, 7)])
        (row,) = transaction.select_keys(ACCOUNT, KEY, [("330100", 1)])
    assert (row.balance, row.seal) == (50, b"kept")
    assert balances(accounts) == {("330100", 1): 50, ("330100", 2): 6, ("330100", 3): 7}


def test_of_two_rows_with_one_key_an_upsert_keeps_the_last(accounts: Database) -> None:
    with accounts.transaction() as transaction:
        transaction.upsert(ACCOUNT, [account("330100", 1, 1), account("330100", 1, 2)])
    assert balances(accounts) == {("330100", 1): 2}


@pytest.mark.parametrize("count", [1, 20])
def test_whole_rows_as_tuples_replace_those_of_their_key(accounts: Database, count: int) -> None:
    with accounts.transaction() as transaction:
        transaction.append(ACCOUNT, [("330100", 1, 5, b"old", False, None, "gone")])
        transaction.replace(ACCOUNT, [("330100", n, n * 10, b"new", True, None, None) for n in range(1, count + 1)])
        transaction.replace(ACCOUNT, [])
    assert balances(accounts) == {("330100", n): n * 10 for n in range(1, count + 1)}
    with accounts.snapshot() as snapshot:
        row = snapshot.connection.execute(sa.select(ACCOUNT).where(ACCOUNT.c.number == 1)).one()
    assert (row.open, row.label, bytes(row.seal)) == (True, None, b"new")


def test_an_upsert_of_keys_alone_leaves_existing_rows_as_they_are(accounts: Database) -> None:
    with accounts.transaction() as transaction:
        transaction.upsert(SINGLE, [{"id": b"a"}, {"id": b"b"}])
        transaction.upsert(SINGLE, [{"id": b"b"}, {"id": b"c"}])
        found = transaction.select_keys(SINGLE, [SINGLE.c.id], [(b"a",), (b"b",), (b"c",), (b"d",)])
    assert sorted(row.id for row in found) == [b"a", b"b", b"c"]


def test_a_taken_key_undoes_the_whole_transaction_and_says_so(accounts: Database) -> None:
    with accounts.transaction() as transaction:
        transaction.insert(ACCOUNT, [account("330100", 1, 5)])
    with pytest.raises(KeyTaken), accounts.transaction() as transaction:
        transaction.insert(ACCOUNT, [account("310000", 9), account("330100", 1, 6)])
    with pytest.raises(KeyTaken), accounts.transaction() as transaction:
        transaction.connection.execute(sa.insert(ACCOUNT), [account("330100", 1, 6)])
    assert balances(accounts) == {("330100", 1): 5}


def test_rows_that_give_different_columns_are_a_fault_of_the_program(accounts: Database) -> None:
    for extra in ({"seal": b"x"}, {}):
        with pytest.raises((ValueError, KeyError)), accounts.transaction() as transaction:
            transaction.insert(ACCOUNT, [account("330100", 1, label="a"), account("330100", 2, **extra)])
    assert balances(accounts) == {}


def test_only_rows_whose_whole_key_is_asked_for_are_selected(accounts: Database) -> None:
    with accounts.transaction() as transaction:
        transaction.insert(ACCOUNT, [account(owner, n) for owner in ("330100", "310000") for n in range(5)])
        wanted = [("330100", 1), ("310000", 2), ("310000", 2), ("330100", 99)]
        found = transaction.select_keys(ACCOUNT, KEY, wanted, fetch=KEY)
        owned = transaction.select_keys(ACCOUNT, [ACCOUNT.c.owner], [("310000",)])
        assert transaction.select_keys(ACCOUNT, KEY, []) == []
    assert sorted(tuple(row) for row in found) == [("310000", 2), ("330100", 1)]
    assert len(owned) == 5


def test_a_list_of_keys_may_be_longer_than_a_statement_takes(accounts: Database) -> None:
    count = 40_000
    with accounts.transaction() as transaction:
        transaction.insert(ACCOUNT, [account("330100", n, n) for n in range(count)])
        transaction.upsert(ACCOUNT, [account("330100", n, -n) for n in range(count)])
        found = transaction.select_keys(ACCOUNT, KEY, [("330100", n) for n in range(-1, count)])
    assert sorted(row.balance for row in found) == list(range(1 - count, 1))


def test_the_clock_stands_still_in_a_transaction_and_never_runs_back(
    accounts: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with accounts.transaction() as transaction:
        first = transaction.now()
        monkeypatch.setattr(type(transaction), "_clock", lambda self: first + 100)
        assert transaction.now() == first
    with accounts.transaction() as transaction:
        assert transaction.now() == first + 100
    monkeypatch.undo()
    with accounts.snapshot() as snapshot:
        assert snapshot.now() == first + 100


def test_two_writers_exclude_each_other(
    accounts: Database, database_url: Callable[[str], str], schema: Callable[[str], str]
) -> None:
    """Four threads read a balance and write it back increased; without exclusion increments are lost."""
    handles = [Database.open(database_url("party"), schema("party"), lock_wait_seconds=60) for _ in range(2)]
    with handles[0].transaction() as transaction:
        transaction.insert(ACCOUNT, [account("330100", 1, 0)])

    def increase(database: Database) -> None:
        for _ in range(25):
            with database.transaction() as transaction:
                (row,) = transaction.select_keys(ACCOUNT, KEY, [("330100", 1)])
                transaction.upsert(ACCOUNT, [account("330100", 1, row.balance + 1)])

    threads = [threading.Thread(target=increase, args=(handles[n % 2],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert balances(accounts) == {("330100", 1): 100}
    for each in handles:
        each.close()


def test_two_parties_do_not_wait_for_each_other(database_factory: Callable[[str], Database]) -> None:
    node, clearinghouse = database_factory("node"), database_factory("clearinghouse")
    with node.transaction() as first, clearinghouse.transaction() as second:
        assert first.now() <= second.now() + 1


def test_a_writer_that_waits_too_long_is_told_that_the_database_is_held(
    database_url: Callable[[str], str], schema: Callable[[str], str], database: Database
) -> None:
    impatient = Database.open(database_url("party"), schema("party"), lock_wait_seconds=0.05)
    with database.transaction() as holder:
        holder.connection.execute(sa.text("CREATE TABLE held (n INTEGER)"))
        with pytest.raises(Unavailable, match="another writer"), impatient.transaction():
            pass
    with impatient.transaction() as transaction:
        assert transaction.connection.execute(sa.text("SELECT count(*) FROM held")).scalar_one() == 0
    impatient.close()


def test_a_writer_that_waits_is_not_passed_over_by_one_that_writes_on_end(accounts: Database) -> None:
    written, done = [0], threading.Event()

    def write_on_end() -> None:
        while not done.is_set():
            with accounts.transaction() as transaction:
                transaction.upsert(ACCOUNT, [account("330100", 1, written[0])])
                written[0] += 1

    busy = threading.Thread(target=write_on_end)
    busy.start()
    passed_over = []
    for _ in range(20):
        before = written[0]
        with accounts.transaction():
            passed_over.append(written[0] - before)
    done.set()
    busy.join()
    assert max(passed_over) <= 2, "the one that was under way, and one that asked before"


def test_a_writer_that_waits_too_long_for_its_own_service_is_told_so_and_keeps_nobody_waiting(
    database_url: Callable[[str], str], schema: Callable[[str], str], database: Database
) -> None:
    impatient = Database.open(database_url("party"), schema("party"), lock_wait_seconds=0.05)
    refused: list[Exception] = []

    def write() -> None:
        try:
            with impatient.transaction():
                pass
        except Unavailable as error:
            refused.append(error)

    with impatient.transaction():
        waiting = threading.Thread(target=write)
        waiting.start()
        waiting.join()
    assert "another writer of this service" in str(refused[0])
    write()
    assert len(refused) == 1
    impatient.close()


def test_a_snapshot_keeps_its_picture_while_others_write(accounts: Database) -> None:
    count = sa.select(sa.func.count()).select_from(ACCOUNT)
    with accounts.snapshot() as snapshot:
        assert snapshot.connection.execute(count).scalar_one() == 0
        with accounts.transaction() as transaction:
            transaction.insert(ACCOUNT, [account("330100", 1)])
        assert snapshot.connection.execute(count).scalar_one() == 0
    with accounts.snapshot() as snapshot:
        assert snapshot.connection.execute(count).scalar_one() == 1


def test_after_a_snapshot_that_was_left_with_its_questions_unanswered_the_next_goes_on(accounts: Database) -> None:
    with accounts.transaction() as transaction:
        transaction.insert(ACCOUNT, [account("330100", 1, 5)])

    def leave() -> None:
        with accounts.snapshot() as snapshot:
            snapshot.ask_keys(ACCOUNT, KEY, [("330100", 1)])
            raise InterruptedError

    with pytest.raises(InterruptedError) as kept:
        leave()
    assert balances(accounts) == {("330100", 1): 5}
    assert kept.tb, "what was raised still knows the snapshot"


def test_a_snapshot_cannot_be_written_to(accounts: Database) -> None:
    with pytest.raises(ConfigurationError, match="read-only"), accounts.snapshot() as snapshot:
        snapshot.connection.execute(sa.insert(ACCOUNT), [account("330100", 1)])
    with accounts.transaction() as transaction:
        transaction.insert(ACCOUNT, [account("330100", 1)])


def test_a_value_too_long_for_its_column_is_not_cut(accounts: Database) -> None:
    if accounts.dialect == "postgresql":
        with pytest.raises(Exception, match="too long"), accounts.transaction() as transaction:
            transaction.upsert(ACCOUNT, [account("330100", 1, label="nine char")])
    else:
        with accounts.transaction() as transaction:
            transaction.upsert(ACCOUNT, [account("330100", 1, label="nine char")])
            (row,) = transaction.select_keys(ACCOUNT, KEY, [("330100", 1)])
        assert row.label == "nine char"


def test_postgresql_with_a_table_that_a_crash_empties_is_refused(accounts: Database) -> None:
    if accounts.dialect == "sqlite":
        accounts.check_durability()
        return
    with accounts.transaction() as transaction:
        transaction.connection.exec_driver_sql("ALTER TABLE single SET UNLOGGED")
    with pytest.raises(ConfigurationError, match="ALTER TABLE single SET LOGGED"):
        accounts.check_durability()


def test_a_full_disk_is_told_and_nothing_of_the_batch_is_kept(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'a.db'}")
    with database.transaction() as transaction:
        METADATA.create_all(transaction.connection)
        transaction.connection.exec_driver_sql("PRAGMA max_page_count = 10")
    with pytest.raises(Unavailable, match="disk is full"), database.transaction() as transaction:
        transaction.insert(ACCOUNT, [account("330100", n, seal=bytes(1000)) for n in range(100)])
    assert balances(database) == {}
    database.close()


def test_a_statement_that_comes_again_is_parsed_once_and_planned_each_time(postgres_url: str) -> None:
    """A plan made while a table was empty would stay; one without values is kept whatever is set, so none is prepared.

    All on one connection, which counts its plans.
    """
    with closing(Database.open(postgres_url)) as database:
        for _ in range(20):
            with database.snapshot() as transaction:
                transaction.now()
                transaction.rows(_NAMED, name="pg_class")
                transaction.rows(_ALL)
                transaction.connection.execute(_RELATIONS)
        with database.snapshot() as transaction:
            kept = "SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements"
            ((statement, generic, custom),) = transaction.connection.exec_driver_sql(kept).all()
    assert "relname = $1" in statement
    assert (generic, custom > 10) == (0, True)


def test_after_a_lost_connection_the_next_transaction_finds_a_new_one(postgres_url: str) -> None:
    database = Database.open(postgres_url)

    def lose_the_connection() -> None:
        with database.transaction() as transaction:
            pid = transaction.connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            with database.engine.begin() as other:
                other.exec_driver_sql("SELECT pg_terminate_backend(%s, 5000)", (pid,))
            transaction.connection.exec_driver_sql("SELECT 1")

    with pytest.raises(Unavailable):
        lose_the_connection()
    with database.transaction() as transaction:
        assert transaction.now() > 0
    database.close()


OPEN_ABOVE = Query(
    sa.select(ACCOUNT.c.number, ACCOUNT.c.balance, ACCOUNT.c.notes)
    .where(ACCOUNT.c.owner == sa.bindparam("owner"), ACCOUNT.c.balance > sa.bindparam("least"), ACCOUNT.c.open)
    .order_by(ACCOUNT.c.number)
    .limit(sa.bindparam("most"))
)


def test_a_query_finds_by_the_values_of_its_parameters(accounts: Database) -> None:
    with accounts.transaction() as transaction:
        transaction.insert(
            ACCOUNT, [account(owner, n, 100 * n, notes=str(n)) for owner in ("330100", "310000") for n in range(5)]
        )
        transaction.update(ACCOUNT, {"owner": "330100", "number": 3}, {"open": False})
    with accounts.snapshot() as snapshot:
        found = snapshot.rows(OPEN_ABOVE, owner="330100", least=100, most=10)
        first = snapshot.rows(OPEN_ABOVE, owner="330100", least=100, most=1)
        nothing = snapshot.rows(OPEN_ABOVE, owner="340100", least=0, most=10)
    assert [(row.number, row.balance, row.notes) for row in found] == [(2, 200, "2"), (4, 400, "4")]
    assert [row.number for row in first] == [2]
    assert nothing == []


def test_an_update_changes_the_rows_of_its_key_alone_and_counts_them(accounts: Database) -> None:
    with accounts.transaction() as transaction:
        transaction.insert(ACCOUNT, [account("330100", 1, 5), account("330100", 2, 5), account("310000", 1, 5)])
        values = {"balance": 7, "seal": b"\x00s", "notes": "[1]", "label": "x"}
        assert transaction.update(ACCOUNT, {"owner": "330100", "number": 1}, values) == 1
        assert transaction.update(ACCOUNT, {"owner": "330100"}, {"label": None}) == 2
        assert transaction.update(ACCOUNT, {"owner": "340100"}, {"balance": 9}) == 0
        (row,) = transaction.select_keys(ACCOUNT, KEY, [("330100", 1)])
    assert (row.balance, row.seal, row.notes, row.label) == (7, b"\x00s", "[1]", None)
    assert balances(accounts) == {("330100", 1): 7, ("330100", 2): 5, ("310000", 1): 5}


def test_running_totals_grow_by_what_is_added_and_begin_with_it(accounts: Database) -> None:
    with accounts.transaction() as transaction:
        transaction.add(TOTAL, {(1, "330100"): [1, 500], (1, "310000"): (2, -700)})
        transaction.add(TOTAL, {(1, "330100"): [3, 2**60], (2, "330100"): [0, 0]})
        transaction.add(TOTAL, {})
    with accounts.snapshot() as snapshot:
        stored = {tuple(row) for row in snapshot.connection.execute(TOTAL.select())}
    assert stored == {(1, "330100", 4, 500 + 2**60), (1, "310000", 2, -700), (2, "330100", 0, 0)}


@pytest.mark.parametrize(
    ("key", "values", "count"),
    [
        ({"id": 1}, {"count": 5}, 1),
        ({"kind": "open"}, {"kind": "closed"}, 2),
        ({"id": 1, "kind": "open", "count": 0}, {"id": 1, "kind": "open", "count": 1}, 1),
        ({"id": 1, "kind": "open", "count": 7}, {"id": 1, "kind": "open", "count": 8}, 0),
        ({"id": 9}, {"count": 5}, 0),
    ],
)
def test_a_sealed_row_that_is_updated_has_its_new_seal(
    accounts: Database, key: dict[str, object], values: dict[str, object], count: int
) -> None:
    with accounts.transaction() as transaction:
        transaction.insert(SEALED, [{"id": n, "kind": "open", "count": 0} for n in (1, 2)])
    with accounts.transaction() as transaction:
        assert transaction.update(SEALED, key, values) == count
    with accounts.snapshot() as snapshot:
        rows = snapshot.connection.execute(SEALED.select()).all()
    assert all(row.seal == seal(SEALED, row._mapping) for row in rows)
    fits = [row for row in rows if all(row._mapping[name] == value for name, value in values.items())]
    assert len(fits) == count


@pytest.mark.parametrize("count", [1, 100, 101])
def test_what_a_transaction_wrote_it_reads_in_every_way(accounts: Database, count: int) -> None:
    numbers = range(1, count + 1)
    with accounts.transaction() as transaction:
        transaction.insert(ACCOUNT, [account("330100", n, n) for n in numbers])
        assert len(transaction.select_keys(ACCOUNT, KEY, [("330100", n) for n in numbers])) == count
        transaction.upsert(ACCOUNT, [account("330100", n, 2 * n) for n in numbers])
        assert len(transaction.rows(OPEN_ABOVE, owner="330100", least=1, most=1000)) == count
        transaction.add(TOTAL, {(1, str(n)): (n, 0) for n in numbers})
        assert transaction.connection.scalar(sa.select(sa.func.count()).select_from(TOTAL)) == count
        transaction.upsert(ACCOUNT, [account("310000", n, 5) for n in numbers])
        assert transaction.update(ACCOUNT, {"owner": "310000"}, {"balance": 6}) == count
        transaction.insert(SINGLE, [{"id": bytes([n])} for n in numbers])
    expected = {("330100", n): 2 * n for n in numbers} | {("310000", n): 6 for n in numbers}
    assert balances(accounts) == expected


AFTERWARDS: dict[str, Callable[[Transaction], object]] = {
    "writing": lambda transaction: transaction.upsert(ACCOUNT, [account("310000", n) for n in range(100)]),
    "updating": lambda transaction: transaction.update(ACCOUNT, {"owner": "330100"}, {"balance": 5}),
    "looking up": lambda transaction: transaction.select_keys(ACCOUNT, KEY, [("330100", 1), ("310000", 1)]),
    "asking": lambda transaction: transaction.rows(OPEN_ABOVE, owner="330100", least=1, most=1000),
}


@pytest.mark.parametrize("afterwards", AFTERWARDS.values(), ids=AFTERWARDS)
@pytest.mark.parametrize("count", [1, 101])
def test_a_key_that_is_taken_is_told_whatever_is_done_after_it(
    accounts: Database, count: int, afterwards: Callable[[Transaction], object]
) -> None:
    with accounts.transaction() as transaction:
        transaction.insert(ACCOUNT, [account("330100", 1)])

    def write() -> None:
        with accounts.transaction() as transaction:
            transaction.insert(ACCOUNT, [account("330100", n) for n in range(1, count + 1)])
            afterwards(transaction)

    with pytest.raises(KeyTaken):
        write()
    assert balances(accounts) == {("330100", 1): 0}


@pytest.mark.parametrize("count", [20, 120])
def test_many_rows_that_are_the_same_have_a_key_that_is_taken(accounts: Database, count: int) -> None:
    with pytest.raises(KeyTaken), accounts.transaction() as transaction:
        transaction.append(SINGLE, [(b"the same",)] * count)


def test_one_row_that_cannot_be_stored_keeps_those_of_other_tables_out_too(accounts: Database) -> None:
    with accounts.transaction() as transaction:
        transaction.append(SINGLE, [(b"taken",)])

    def write() -> None:
        with accounts.transaction() as transaction:
            transaction.insert(ACCOUNT, [account("330100", 1)])
            transaction.append(SINGLE, [(b"free",), (b"taken",)])
            transaction.add(TOTAL, {(1, "330100"): [1, 500]})

    with pytest.raises(KeyTaken):
        write()
    with accounts.snapshot() as snapshot:
        assert [tuple(row) for row in snapshot.connection.execute(SINGLE.select())] == [(b"taken",)]
        assert snapshot.connection.execute(TOTAL.select()).all() == []
    assert balances(accounts) == {}


def test_what_is_asked_together_is_answered_in_any_order_as_it_stood_when_it_was_asked(accounts: Database) -> None:
    with accounts.transaction() as transaction:
        transaction.insert(ACCOUNT, [account("330100", n, 100 * n, notes="") for n in range(4)])
        by_key = transaction.ask_keys(ACCOUNT, KEY, [("330100", 1), ("330100", 9), ("310000", 1)])
        nothing = transaction.ask_keys(ACCOUNT, KEY, [])
        rich = transaction.ask(OPEN_ABOVE, owner="330100", least=150, most=10)
        transaction.insert(ACCOUNT, [account("330100", 9, 900, notes="")])
        richer = transaction.ask(OPEN_ABOVE, owner="330100", least=150, most=10)
        assert [row.number for row in richer()] == [2, 3, 9]
        assert [row.number for row in rich()] == [2, 3]
        assert nothing() == []
        assert [(row.number, row.balance) for row in by_key()] == [(1, 100)]
    with accounts.snapshot() as snapshot:
        first, second = (snapshot.ask_keys(ACCOUNT, KEY, [("330100", n)]) for n in (2, 3))
        assert [row.balance for row in (*second(), *first())] == [300, 200]
        assert [row.balance for row in (*second(), *first())] == [300, 200], "an answer stays"


def documents(count: int, first: int = 0) -> list[tuple[object, ...]]:
    """Rows that differ in their bytes alone."""
    return [(b"%%%d" % (1000 + first + number), "100%d %b 券", 3, 2**40, True, b"%s" * 5) for number in range(count)]


@pytest.mark.parametrize(
    "other",
    [
        (b"%1", "other", -1, 0, False, b""),
        (b"", "", 0, 1, True, None),
        (b"%2000", "100%d %b 券", 3, 2**40, False, b"%s" * 5),
        (b"%20000", "100%d %b 券", 1, 1, True, b"longer %b"),
    ],
)
def test_rows_that_are_much_alike_come_back_as_they_went(accounts: Database, other: tuple[object, ...]) -> None:
    bodiless = [(*row[:-1], None) for row in documents(20, 70)]
    written = [*documents(20), other, *documents(20, 20), *documents(30, 40), *bodiless]
    with accounts.transaction() as transaction:
        for rows in (written[:20], written[20:30], written[30:71], bodiless):
            transaction.append(DOCUMENT, rows)
        transaction.append(SINGLE, [(bytes([number]),) for number in range(20)])
    with accounts.snapshot() as snapshot:
        found = snapshot.connection.execute(DOCUMENT.select()).all()
        assert {tuple(row)[:-1] for row in found} == set(written)
        assert all(row.seal == seal(DOCUMENT, row._mapping) for row in found)
        assert len(snapshot.connection.execute(SINGLE.select()).all()) == 20


def test_after_a_failure_amid_many_rows_the_next_transaction_goes_on(accounts: Database) -> None:
    def fail_amid() -> None:
        with accounts.transaction() as transaction:
            transaction.append(DOCUMENT, documents(20))
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail_amid()
    with accounts.transaction() as transaction:
        transaction.append(DOCUMENT, documents(20))
    with accounts.snapshot() as snapshot:
        assert len(snapshot.connection.execute(DOCUMENT.select()).all()) == 20
