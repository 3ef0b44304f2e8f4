"""What a party's database knows of one redemption, and the port by which a party tells what its own tables know."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, NamedTuple

import sqlalchemy as sa

from chassis.database import Transaction
from custodian import schema
from custodian.book_rows import json_to_legs
from custodian.books import Books
from quanlian import wire
from quanlian.agreements import Agreement
from quanlian.apportionment import Reservation
from quanlian.errors import InvalidInput
from quanlian.mirrored_story import Mirrored
from quanlian.redemption_story import Booked, Facts, Hold
from quanlian.redemptions import Posting
from quanlian.story_steps import Window
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import redemption_pb2
from quanlian.visitors_story import AskedFund
from quanlian.vouchers import VoucherKey

ENTRY_POINTS = "quanlian.redemption_facts"


class PartyFacts(NamedTuple):
    """A kind of party: the table that tells its database, and what it alone keeps.

    `terms` is a file by its hash, or None; `agreement` one by its name, `NUMBER vN`; `reserved` what a voucher came
    with; `asked` what limited the redeeming region's part, or None; `window` says how a settlement window stands;
    `mirrored` what these books have of a redemption that another party decided, or None.
    """

    has_table: str
    terms: Callable[[Transaction, bytes], bytes | None]
    agreement: Callable[[Transaction, str], Agreement | None]
    reserved: Callable[[Transaction, VoucherKey], Reservation | None]
    asked: Callable[[Transaction, bytes], AskedFund | None]
    window: Callable[[Transaction, int], Window]
    mirrored: Callable[[Transaction, bytes], Mirrored | None]


def facts_of(transaction: Transaction, redemption_id: bytes) -> Facts | Mirrored:
    """All of a redemption that was decided here; of another what was told of it. Raises InvalidInput for none."""
    party = _party(transaction)
    books = Books(transaction)
    redemption = books.redemption(redemption_id)
    if redemption is None:
        mirrored = party.mirrored(transaction, redemption_id)
        if mirrored is not None:
            return mirrored
        raise InvalidInput(
            "不在本账 · is not on these books",
            place=f"redemption {redemption_id.hex()}",
            remedy="核对编号，或查裁定方的账 · check the id, or ask the party that decided it",
        )
    document = party.terms(transaction, redemption.terms_hash)
    voucher = books.voucher(redemption.voucher)
    if document is None or voucher is None:
        raise InvalidInput(
            "缺少细则或消费券 · has lost its terms or its voucher",
            place=f"redemption {redemption_id.hex()}",
            remedy="先核对账目 · check the books: quanlian ledger check",
        )
    terms = parse_terms(document, "terms")
    booked = _booked(transaction, redemption_id)
    windows = sorted({each.posting.window for each in booked} - {0})
    return Facts(
        redemption,
        booked,
        terms,
        terms.voucher_types[voucher.voucher_type - 1],
        party.agreement(transaction, redemption.agreement) if redemption.agreement else None,
        _hold(transaction, redemption_id),
        party.reserved(transaction, redemption.voucher),
        tuple(party.window(transaction, number) for number in windows),
        party.asked(transaction, redemption_id),
    )


def _party(transaction: Transaction) -> PartyFacts:
    inspector = sa.inspect(transaction.connection)
    for entry in entry_points(group=ENTRY_POINTS):
        party: PartyFacts = entry.load()
        if inspector.has_table(party.has_table):
            return party
    raise InvalidInput(
        "不是节点或清分平台的数据库 · is neither a node's nor the clearinghouse's",
        place="database",
        remedy="写一方的数据库 · name a party's",
    )


def _booked(transaction: Transaction, redemption_id: bytes) -> tuple[Booked, ...]:
    posting, entry = schema.posting, schema.entry
    query = (
        sa.select(*posting.c, entry.c.kind.label("entry_kind"), entry.c.reference)
        .join_from(posting, entry, posting.c.entry == entry.c.number, isouter=True)
        .where(posting.c.redemption_id == redemption_id)
        .order_by(posting.c.number)
    )
    return tuple(Booked(_posting(row), row.entry, _dispute(row)) for row in transaction.connection.execute(query))


def _dispute(row: Any) -> str:
    """The region and number of the dispute that an adjusting entry names."""
    return row.reference.removeprefix("dispute ") if row.entry_kind == "adjustment" else ""


def _posting(row: Any) -> Posting:
    return Posting(
        row.redemption_id,
        row.number,
        row.kind,
        row.order_fen,
        row.discount_fen,
        json_to_legs(row.legs),
        row.settlement_window,
        row.at,
    )


def _hold(transaction: Transaction, redemption_id: bytes) -> Hold | None:
    """As the answer to authorize told it; a redeem holds what it captures."""
    table = schema.request
    query = table.select().where(table.c.redemption_id == redemption_id, table.c.operation == "authorize")
    row = transaction.connection.execute(query).first()
    if row is None:
        return None
    answer = redemption_pb2.RedemptionAnswer.FromString(row.answer)
    return Hold(answer.order_fen, answer.discount_fen, wire.legs_of(answer.legs))
