"""The databases of a network, opened for reading only, each in one transaction."""

from __future__ import annotations

import json
import sqlite3
from collections import namedtuple
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, cached_property, lru_cache, partial
from typing import Any, NamedTuple
from urllib.parse import quote

import sqlalchemy as sa

CLEARINGHOUSE = "clearinghouse"

Legs = tuple[tuple[str, int], ...]
VoucherKey = tuple[str, bytes, int]


class Party(NamedTuple):
    """Where a party's database is: `name` an adcode or `clearinghouse`, `schema` its PostgreSQL schema or empty."""

    name: str
    url: str
    schema: str = ""


Read = Callable[[str, Mapping[str, str]], Sequence[Any]]
"""Runs a statement with its named parameters; columns of a row are its attributes."""


class Book:
    """One party's tables, as rows."""

    def __init__(self, name: str, read: Read) -> None:
        self.name = name
        self._read = read

    @property
    def is_clearinghouse(self) -> bool:
        return self.name == CLEARINGHOUSE

    def rows(self, statement: str, **parameters: str) -> Sequence[Any]:
        return self._read(statement, parameters)

    @cached_property
    def redemptions(self) -> dict[bytes, Any]:
        """By id."""
        return {row.id: row for row in self.rows("SELECT * FROM redemption ORDER BY id")}

    @cached_property
    def postings(self) -> Sequence[Any]:
        """Captures and refunds in order, each with its redemption's voucher, regions and campaign, if there is one."""
        return self.rows(
            "SELECT p.redemption_id, p.number, p.kind, p.order_fen, p.discount_fen, p.legs, p.settlement_window, "
            "p.at, p.entry, r.issuer, r.redeeming_region, r.campaign, r.category "
            "FROM posting p LEFT JOIN redemption r ON r.id = p.redemption_id ORDER BY p.redemption_id, p.number"
        )

    @cached_property
    def vouchers(self) -> dict[VoucherKey, Any]:
        """Vouchers that have a row of their own, with what became of it: of a captured one `spend` tells, for ever."""
        rows = self.rows(
            "SELECT v.issuer, v.pack_id, v.voucher_index, v.epoch, v.status AS row_status, v.hold AS row_hold, "
            "CASE WHEN s.redemption_id IS NULL THEN v.status ELSE 'captured' END AS status, "
            "CASE WHEN s.redemption_id IS NULL THEN v.hold END AS hold, "
            "CASE WHEN s.redemption_id IS NULL THEN v.reserved_cofunders ELSE '[]' END AS reserved_cofunders, "
            "CASE WHEN s.redemption_id IS NULL THEN v.reserved_public ELSE '[]' END AS reserved_public "
            "FROM voucher v LEFT JOIN spend s "
            "ON s.issuer = v.issuer AND s.pack_id = v.pack_id AND s.voucher_index = v.voucher_index"
        )
        return {(row.issuer, row.pack_id, row.voucher_index): row for row in rows}

    @cached_property
    def packs(self) -> dict[bytes, Any]:
        """A node's packs, by id."""
        rows = self.rows("SELECT pack_id, campaign, roaming, voucher_types, reservations, reserved_fen FROM pack")
        return {row.pack_id: row for row in rows}

    @cached_property
    def requests(self) -> dict[tuple[str, bytes], Any]:
        """What was answered to which bytes, and the redemption that it was about, by participant and request id."""
        rows = self.rows("SELECT participant, request_id, body_hash, answer, redemption_id FROM request")
        return {(row.participant, row.request_id): row for row in rows}

    @cached_property
    def accounts(self) -> dict[str, Any]:
        rows = self.rows("SELECT account, posted_fen, reserved_fen, held_fen, limit_fen FROM account ORDER BY account")
        return {row.account: row for row in rows}

    def posted(self, kind: str) -> dict[str, int]:
        """What stands posted on the accounts of one kind, debits positive."""
        return {row.account: row.posted_fen for row in self.accounts.values() if row.account.startswith(f"{kind}/")}


class Network(NamedTuple):
    """All books of one network; `restored` names parties whose databases were set back to an older copy."""

    clearinghouse: Book
    nodes: dict[str, Book]
    quiescent: bool
    restored: Collection[str] = ()

    @property
    def books(self) -> list[Book]:
        return [self.clearinghouse, *self.nodes.values()]


@contextmanager
def open_network(parties: Sequence[Party], quiescent: bool = True) -> Iterator[Network]:
    """Every party's book, readable until the block ends. Raises ValueError unless there is one clearinghouse."""
    names = [party.name for party in parties]
    if names.count(CLEARINGHOUSE) != 1 or len(set(names)) < len(names):
        raise ValueError(f"a network has one clearinghouse and each node once, not {', '.join(names) or 'nobody'}")
    with ExitStack() as stack:
        books = {party.name: Book(party.name, stack.enter_context(_reading(party))) for party in parties}
        clearinghouse = books.pop(CLEARINGHOUSE)
        yield Network(clearinghouse, dict(sorted(books.items())), quiescent)


def network_in_memory(
    connections: Mapping[str, sqlite3.Connection], quiescent: bool = True, restored: Collection[str] = ()
) -> Network:
    """The books of parties whose SQLite databases are in this process, by their names."""
    books = {name: Book(name, _reader(connection)) for name, connection in connections.items()}
    clearinghouse = books.pop(CLEARINGHOUSE)
    return Network(clearinghouse, dict(sorted(books.items())), quiescent, restored)


def _reader(connection: sqlite3.Connection) -> Read:
    def read(statement: str, parameters: Mapping[str, str]) -> Sequence[Any]:
        cursor = connection.execute(statement, parameters)
        found = cursor.fetchall()
        return list(map(_row_of(tuple([column[0] for column in cursor.description])), found)) if found else found

    return read


@cache
def _row_of(columns: tuple[str, ...]) -> Callable[[tuple[Any, ...]], Any]:
    """Makes a row of what the driver read."""
    return partial(tuple.__new__, namedtuple("Row", columns))


@lru_cache(maxsize=4096)
def legs(text: str) -> Legs:
    """Legs as the databases keep them: `[[account, fen], …]`. Raises ValueError for amounts that are not whole.

    Checks ask for the same few again and again.
    """
    read = tuple((account, fen) for account, fen, *_ in json.loads(text))
    for account, fen in read:
        if type(fen) is not int:
            raise ValueError(f"{fen!r} fen of {account} is not a whole number")
    return read


@contextmanager
def _reading(party: Party) -> Iterator[Read]:
    engine = _engine(sa.make_url(party.url), party.schema)
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
            yield lambda statement, parameters: connection.execute(sa.text(statement), parameters).all()
    finally:
        engine.dispose()


def _engine(url: sa.URL, schema: str) -> sa.Engine:
    if url.get_backend_name() == "sqlite":
        file = f"file:{quote(url.database or '')}?mode=ro"
        return sa.create_engine(
            "sqlite://",
            creator=lambda: sqlite3.connect(file, uri=True, isolation_level=None),
            poolclass=sa.NullPool,
        )
    options = {"options": f"-csearch_path={schema}"} if schema else {}
    return sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args=options,
        isolation_level="REPEATABLE READ",
        poolclass=sa.NullPool,
        execution_options={"postgresql_readonly": True},
    )
