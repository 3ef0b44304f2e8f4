"""The custodian's books on both databases: what is saved comes back, what does not balance leaves nothing."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from chassis.database import Database, KeyTaken
from custodian import schema
from custodian.books import Books, StoredAnswer
from quanlian import custody, redemptions
from quanlian.accounts import (
    at_region,
    funding_account,
    merchant_account,
    payable_account,
    visitors_account,
)
from quanlian.apportionment import Leg, Reservation, Split
from quanlian.custody import VoucherState
from quanlian.discounts import Order
from quanlian.errors import BooksDoNotBalance
from quanlian.ledger import Movement
from quanlian.redemptions import Outcome, Redemption, RefundRule, Sale, State
from quanlian.vouchers import VoucherKey

AT, WINDOW = 1_780_000_000, 3
HANGZHOU, SHANGHAI = "330100", "310000"
CITY = funding_account(HANGZHOU, 2026, "spring", "city")
MERCHANTS = merchant_account("", 2026, "spring")
VISITORS = visitors_account(SHANGHAI, 2026, "city")
CREDIT = payable_account("alipay")
TERMS_HASH = bytes(range(32))
PRO_RATA = RefundRule("pro-rata", 4000)
Folder = Callable[[str], Database]


@pytest.fixture
def party(database: Database) -> Database:
    return founded(database)


def founded(database: Database) -> Database:
    """A party's empty books: 100 yuan of the city's, 20 of the visitors' fund."""
    with database.transaction() as transaction:
        schema.METADATA.create_all(transaction.connection)
        books = Books(transaction)
        books.move([Movement(CITY, "", limit_fen=10_000), Movement(VISITORS, "", limit_fen=2_000)])
        books.save("campaign", AT)
    return database


def a_voucher(number: int = 0) -> VoucherState:
    """10 yuan off, reserved: 9 of the city's, 1 of the merchant's."""
    return VoucherState(
        key=VoucherKey(HANGZHOU, bytes([number]) * 15, number % 5),
        campaign="spring",
        terms_hash=TERMS_HASH,
        voucher_type=1,
        holder_tag=b"\x00tag" * 4,
        not_before=AT,
        not_after=AT + 86_400,
        reservation=Reservation((Leg(MERCHANTS, 100),), (Leg(CITY, 900),)),
    )


def a_hold(voucher: VoucherState, number: int = 0) -> tuple[Redemption, Split]:
    """A hold in Shanghai, of which the visitors' fund bears 2.70."""
    legs = (Leg(at_region(MERCHANTS, SHANGHAI), 100), Leg(CITY, 630), Leg(VISITORS, 270))
    released = Reservation((Leg(MERCHANTS, 0),), (Leg(CITY, 270),))
    order = Order(5800, "retail", "shop", "new-energy", 123, 456)
    draft = Redemption(
        id=number.to_bytes(16, "big"),
        voucher=voucher.key,
        campaign=voucher.campaign,
        terms_hash=voucher.terms_hash,
        redeeming_region=SHANGHAI,
        participant=SHANGHAI,
        acquirer="alipay",
        sale=Sale("91310000MA0000000X", f"券-{number}", order),
        order_fen=5800,
        discount_fen=1000,
        legs=legs,
        standing=legs,
        rest=released,
        expires_at=AT + 900,
        authorized_at=AT,
        agreement="QL-DEFAULT v1",
    )
    return draft, Split(legs, released, 630, 270, False)


def issue(books: Books, number: int = 0) -> VoucherState:
    voucher = a_voucher(number)
    books.put_voucher(voucher)
    books.move([Movement(CITY, "", reserved_fen=900)])
    return voucher


def hold(books: Books, number: int = 0) -> Outcome:
    voucher = books.voucher(a_voucher(number).key)
    assert voucher is not None
    outcome = redemptions.authorize(a_hold(voucher, number)[0], voucher, a_hold(voucher, number)[1])
    books.apply(outcome)
    return outcome


def capture(books: Books, number: int = 0, order_fen: int = 0) -> Outcome:
    redemption = books.redemption(number.to_bytes(16, "big"))
    voucher = books.voucher(a_voucher(number).key)
    assert redemption is not None
    assert voucher is not None
    outcome = redemptions.capture(redemption, voucher, order_fen, CREDIT, WINDOW, AT + 1)
    assert isinstance(outcome, Outcome), outcome
    books.apply(outcome)
    return outcome


def refund(books: Books, number: int, order_fen: int) -> Outcome:
    redemption = books.redemption(number.to_bytes(16, "big"))
    voucher = books.voucher(a_voucher(number).key)
    assert redemption is not None
    assert voucher is not None
    outcome = redemptions.refund(redemption, voucher, order_fen, PRO_RATA, CREDIT, WINDOW + 1, AT + 2)
    assert isinstance(outcome, Outcome), outcome
    books.apply(outcome)
    return outcome


def contents(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, in the order of its key."""
    with database.snapshot() as transaction:
        return {
            table.name: [
                tuple(row) for row in transaction.connection.execute(table.select().order_by(*table.primary_key))
            ]
            for table in schema.METADATA.sorted_tables
        }


def story(database: Database) -> None:
    """Several transactions, each with several operations."""
    with database.transaction() as transaction:
        books = Books(transaction)
        for number in range(1, 5):
            issue(books, number)
        books.answer(("alipay", b"\x00" * 16), StoredAnswer(b"hash", b"answer\x00", None, "claim"), AT)
        books.save("batch", AT)
    with database.transaction() as transaction:
        books = Books(transaction)
        for number in (1, 2, 3):
            hold(books, number)
        capture(books, 1)
        capture(books, 2, order_fen=3000)
        books.save("batch", AT + 1, WINDOW)
    with database.transaction() as transaction:
        books = Books(transaction)
        refund(books, 1, 2000)
        refund(books, 2, 3000)
        books.next_number("hand-over")
        books.save("batch", AT + 2, WINDOW + 1, "二月")


def test_what_is_saved_is_loaded_again(party: Database) -> None:
    with party.transaction() as transaction:
        books = Books(transaction)
        issue(books)
        held = hold(books)
        stored = StoredAnswer(None, b"\x00\xffanswer", held.redemption.id, "reversed")
        books.answer(("alipay", b"request-id-16-by"), stored, AT)
        books.save("batch", AT)
    with party.snapshot() as transaction:
        books = Books(transaction)
        books.want(
            requests=[("alipay", b"request-id-16-by"), ("alipay", b"never")],
            vouchers=[held.voucher.key],
            redemptions=[held.redemption.id],
        )
        books.fetch()
        assert books.request(("alipay", b"request-id-16-by")) == stored
        assert books.request(("alipay", b"never")) is None
        assert books.voucher(held.voucher.key) == held.voucher
        assert books.redemption(held.redemption.id) == held.redemption
        assert books.balance(CITY)[1:] == (0, 270, 630, 10_000)


def test_a_captured_redemption_and_its_history_come_back(party: Database) -> None:
    story(party)
    with party.snapshot() as transaction:
        books = Books(transaction)
        whole, part = (books.redemption(number.to_bytes(16, "big")) for number in (1, 2))
        assert whole is not None
        assert part is not None
        assert (whole.state, whole.refunded_order_fen, whole.returned_fen) == (State.PARTLY_REFUNDED, 2000, 344)
        assert (part.state, part.order_fen, part.standing_fen) == (State.REFUNDED, 3000, 0)
        voucher = books.voucher(whole.voucher)
        assert voucher is not None
        assert voucher.status == custody.CAPTURED
    kinds = Counter((row[2], row[0][-1]) for row in contents(party)["posting"])
    assert kinds == {("capture", 1): 1, ("refund", 1): 1, ("capture", 2): 1, ("refund", 2): 1}


def test_an_entry_that_does_not_balance_leaves_nothing(party: Database) -> None:
    before = contents(party)

    def unbalanced() -> None:
        with party.transaction() as transaction:
            books = Books(transaction)
            issue(books)
            books.answer(("alipay", b"id"), StoredAnswer(b"hash", b"answer", None, "redeem"), AT)
            books.move([Movement(CITY, SHANGHAI, posted_fen=100), Movement(CREDIT, HANGZHOU, posted_fen=-99)])
            books.save("batch", AT, WINDOW)

    with pytest.raises(BooksDoNotBalance, match="sum to 1 fen"):
        unbalanced()
    assert contents(party) == before


def test_a_funder_beyond_its_limit_leaves_nothing(party: Database) -> None:
    before = contents(party)

    def beyond() -> None:
        with party.transaction() as transaction:
            books = Books(transaction)
            issue(books)
            books.move([Movement(CITY, "", reserved_fen=9_101)])
            books.save("batch", AT)

    with pytest.raises(BooksDoNotBalance, match="limit 10000"):
        beyond()
    assert contents(party) == before


def test_a_funder_may_be_used_to_the_last_fen(party: Database) -> None:
    with party.transaction() as transaction:
        books = Books(transaction)
        issue(books)
        books.move([Movement(CITY, "", reserved_fen=9_100)])
        books.save("batch", AT)
        assert books.free_fen(CITY) == 0


def test_a_second_capture_is_stopped_even_if_the_voucher_s_row_is_lost(party: Database) -> None:
    with party.transaction() as transaction:
        books = Books(transaction)
        issue(books)
        hold(books)
        capture(books)
        books.save("batch", AT, WINDOW)
    with party.transaction() as transaction:
        for table in (schema.voucher, schema.redemption, schema.posting):
            transaction.connection.execute(table.delete())
    before = contents(party)

    def capture_again() -> None:
        with party.transaction() as transaction:
            books = Books(transaction)
            issue(books)
            hold(books)
            capture(books)
            books.save("batch", AT, WINDOW)

    with pytest.raises(KeyTaken):
        capture_again()
    assert contents(party) == before


def test_two_captures_of_one_voucher_in_one_batch_are_stopped(party: Database) -> None:
    before = contents(party)

    def capture_twice() -> None:
        with party.transaction() as transaction:
            books = Books(transaction)
            voucher = issue(books)
            hold(books)
            captured = capture(books)
            books.put_voucher(voucher._replace(reservation=custody.EMPTY))
            other = captured.redemption._replace(id=b"other-redemption")
            posting = captured.posting
            assert posting is not None
            again = posting._replace(redemption_id=other.id)
            books.apply(captured._replace(redemption=other, posting=again, movements=()))
            books.save("batch", AT, WINDOW)

    with pytest.raises(KeyTaken):
        capture_twice()
    assert contents(party) == before


def test_a_stored_answer_is_never_replaced(party: Database) -> None:
    def store(answer: bytes) -> None:
        with party.transaction() as transaction:
            books = Books(transaction)
            books.answer(("alipay", b"id"), StoredAnswer(b"hash", answer, None, "redeem"), AT)
            books.save("batch", AT)

    store(b"first")
    with pytest.raises(KeyTaken):
        store(b"second")
    assert [row[3] for row in contents(party)["request"]] == [b"first"]


def test_a_series_has_no_gap_after_a_rollback(party: Database) -> None:
    def number(fail: bool = False) -> int:
        with party.transaction() as transaction:
            books = Books(transaction)
            given = books.next_number("hand-over")
            books.save("batch", AT)
            if fail:
                raise ZeroDivisionError
            return given

    assert number() == 1
    with pytest.raises(ZeroDivisionError):
        number(fail=True)
    assert [number(), number()] == [2, 3]


def test_entries_are_numbered_without_gaps_after_one_that_failed(party: Database) -> None:
    def fail() -> None:
        with party.transaction() as transaction:
            books = Books(transaction)
            books.move([Movement(CITY, "", posted_fen=1)])
            books.save("batch", AT)

    story(party)
    with pytest.raises(BooksDoNotBalance):
        fail()
    with party.transaction() as transaction:
        books = Books(transaction)
        refund(books, 1, 1000)
        books.save("batch", AT + 3, WINDOW + 1)
    assert [row[0] for row in contents(party)["entry"]] == [1, 2, 3, 4, 5]


def test_a_funders_refunds_are_told_apart_from_its_use_also_where_a_batch_has_both(party: Database) -> None:
    """Two captures of 6.30 and a return of one of them in one entry of one window, then the other's in the next."""
    with party.transaction() as transaction:
        books = Books(transaction)
        for number in (0, 1):
            issue(books, number)
            hold(books, number)
            capture(books, number)
        redemption, voucher = books.redemption((0).to_bytes(16, "big")), books.voucher(a_voucher(0).key)
        assert redemption is not None
        assert voucher is not None
        returned = redemptions.refund(redemption, voucher, 5800, PRO_RATA, CREDIT, WINDOW, AT + 2)
        assert isinstance(returned, Outcome)
        books.apply(returned)
        books.save("batch", AT + 2, WINDOW)
    with party.transaction() as transaction:
        books = Books(transaction)
        refund(books, 1, 5800)
        books.save("batch", AT + 3, WINDOW + 1)
    totals = {(row[0], row[1]): row[3:] for row in contents(party)["turnover"] if row[1].startswith("funding/")}
    assert totals == {
        (WINDOW, CITY): (630, 630),
        (WINDOW, VISITORS): (270, 270),
        (WINDOW, at_region(MERCHANTS, SHANGHAI)): (100, 100),
        (WINDOW + 1, CITY): (-630, 630),
        (WINDOW + 1, VISITORS): (-270, 270),
        (WINDOW + 1, at_region(MERCHANTS, SHANGHAI)): (-100, 100),
    }


def test_what_changes_nothing_writes_no_entry(party: Database) -> None:
    before = contents(party)
    with party.transaction() as transaction:
        books = Books(transaction)
        books.move([Movement(CITY, "", reserved_fen=900), Movement(CITY, "", reserved_fen=-900)])
        books.save("batch", AT)
    assert contents(party) == before


def test_running_totals_equal_the_sum_of_their_lines(party: Database) -> None:
    story(party)
    tables = contents(party)
    window_of = {row[0]: row[2] for row in tables["entry"]}
    balances: dict[str, list[int]] = {}
    turnover: Counter[tuple[int, str, str]] = Counter()
    sums: Counter[int] = Counter()
    for entry, _, account, counterpart, *amounts in tables["line"]:
        known = balances.setdefault(account, [0, 0, 0, 0])
        balances[account] = [a + b for a, b in zip(known, amounts, strict=True)]
        turnover[(window_of[entry], account, counterpart)] += amounts[0]
        sums[entry] += amounts[0]
    assert {row[0]: list(row[1:]) for row in tables["account"]} == balances
    stated = {row[:3]: row[3] for row in tables["turnover"] if row[3]}
    assert stated == {key: fen for key, fen in turnover.items() if fen}
    assert set(sums.values()) == {0}


def test_flows_count_every_posting_of_their_window_once(party: Database) -> None:
    story(party)
    pair = (HANGZHOU, SHANGHAI, "spring")
    # Captured: 58.00 whole, and 30.00 of 58.00, which releases 1000·28 div 58 = 482 of the discount.
    assert contents(party)["flow"] == [
        (WINDOW, *pair, 2, 5800 + 3000, 1000 + 518, 0, 0, 0),
        (WINDOW + 1, *pair, 0, 0, 0, 2, 2000 + 3000, 344 + 518),
    ]


def test_both_databases_keep_the_same_rows(tmp_path: Path, postgres_url: str) -> None:
    schema_name = f"books_{uuid.uuid4().hex}"
    sqlite = founded(Database.open(f"sqlite:///{tmp_path / 'books.db'}"))
    postgresql = Database.open(postgres_url, schema_name)
    with postgresql.engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {schema_name}")
    try:
        story(sqlite)
        story(founded(postgresql))
        assert contents(sqlite) == contents(postgresql)
    finally:
        with postgresql.engine.begin() as connection:
            connection.execute(sa.schema.DropSchema(schema_name, cascade=True))
        for database in (sqlite, postgresql):
            database.close()


def rows_of(database: Database, table: sa.Table) -> list[Any]:
    with database.snapshot() as transaction:
        return list(transaction.connection.execute(table.select()))


def overdue(database: Database) -> None:
    """The sweep finds the voucher's end passed, captured as it is."""
    with database.transaction() as transaction:
        books = Books(transaction)
        books.note_captured(_captured(books).key)
        books.save("redemption", AT + 2, WINDOW)


def _captured(books: Books) -> VoucherState:
    voucher = books.voucher(a_voucher().key)
    assert voucher is not None
    return voucher


class TestACapturedVoucher:
    """Keeps its row, which may say usable or held: `spend` tells (ADR 0018)."""

    @pytest.fixture(params=[False, True], ids=["in the transaction of its hold", "held before"])
    def captured(self, party: Database, request: pytest.FixtureRequest) -> Database:
        steps: list[Callable[[Books], object]] = [issue, hold, capture]
        if not request.param:
            steps = [issue, lambda books: (hold(books), capture(books))]
        for step in steps:
            with party.transaction() as transaction:
                books = Books(transaction)
                step(books)
                books.save("redemption", AT + 1, WINDOW)
        return party

    def test_keeps_the_row_that_it_had_however_it_was_batched(self, captured: Database) -> None:
        (row,) = rows_of(captured, schema.voucher)
        assert (row.status, row.hold) == ("held", bytes(16))
        assert [spent.redemption_id for spent in rows_of(captured, schema.spend)] == [bytes(16)]

    def test_is_seen_without_hold_and_money_by_whoever_decides(self, captured: Database) -> None:
        with captured.snapshot() as transaction:
            voucher = _captured(Books(transaction))
        assert (voucher.status, voucher.hold, voucher.reservation) == (custody.CAPTURED, None, custody.EMPTY)

    def test_is_written_once_it_has_ended(self, captured: Database) -> None:
        overdue(captured)
        (row,) = rows_of(captured, schema.voucher)
        assert (row.status, row.hold, row.reserved_public, row.reserved_cofunders) == ("captured", None, "[]", "[]")
        overdue(captured)
        assert rows_of(captured, schema.voucher) == [row]

    def test_is_written_so_too_where_it_is_found_ended_in_the_transaction_of_its_capture(self, party: Database) -> None:
        with party.transaction() as transaction:
            books = Books(transaction)
            issue(books)
            hold(books)
            capture(books)
            books.note_captured(_captured(books).key)
            books.save("redemption", AT + 1, WINDOW)
        assert [row.status for row in rows_of(party, schema.voucher)] == ["captured"]
