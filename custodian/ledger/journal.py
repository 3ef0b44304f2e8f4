"""The journal as readable text, and balances by account: what a party's books say, read in one snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from rich.cells import cell_len, set_cell_size

from chassis.database import Transaction
from custodian import schema
from custodian.book_rows import json_to_legs
from quanlian.apportionment import Leg
from quanlian.money import yuan
from quanlian.refusals import CHINA
from quanlian.state_names import ENTRIES_ZH, POSTINGS_ZH

AMOUNTS = (
    ("posted_fen", ""),
    ("reserved_fen", "预留 reserved"),
    ("held_fen", "占用 held"),
    ("limit_fen", "额度 limit"),
)
_MEMO_ACCOUNTS = {
    "advance": "垫付 advance",
    "advance_away": "异地垫付 advance away",
    "ceiling": "年度上限 ceiling",
}
"""What is posted on accounts outside the double entry (money.md, Ledger)."""
ACCOUNT_WIDTH = 68


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: of accounts that begin so, from and before a moment (UTC seconds), of one redemption."""

    account: str = ""
    since: int | None = None
    before: int | None = None
    redemption: bytes | None = None


class JournalPosting(NamedTuple):
    """A capture or refund booked by an entry."""

    redemption_id: bytes
    number: int
    kind: str
    order_fen: int
    discount_fen: int
    legs: tuple[Leg, ...]


class JournalEntry(NamedTuple):
    """An entry with the lines that were asked for; `postings` only where one redemption was."""

    number: int
    kind: str
    window: int
    at: int
    reference: str
    lines: tuple[Any, ...]
    postings: tuple[JournalPosting, ...] = ()

    def as_data(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in ("number", "kind", "window", "at", "reference")},
            "lines": [
                {name: getattr(line, name) for name in ("account", "counterpart", *(name for name, _ in AMOUNTS))}
                for line in self.lines
            ],
            "postings": [
                {
                    **each._asdict(),
                    "redemption_id": each.redemption_id.hex(),
                    "legs": [leg._asdict() for leg in each.legs],
                }
                for each in self.postings
            ],
        }


def balances(transaction: Transaction, account: str = "") -> list[Any]:
    """Accounts that begin with `account`, by code, with their four amounts."""
    table = schema.account
    query = table.select().where(table.c.account.startswith(account, autoescape=True)).order_by(table.c.account)
    return list(transaction.connection.execute(query))


def entries(transaction: Transaction, wanted: Wanted) -> Iterator[JournalEntry]:
    """In order, each with its lines."""
    entry, line = schema.entry, schema.line
    conditions = [entry.c.at >= wanted.since] if wanted.since is not None else []
    if wanted.before is not None:
        conditions.append(entry.c.at < wanted.before)
    postings = _postings_of(transaction, wanted.redemption)
    if wanted.redemption is not None:
        conditions.append(entry.c.number.in_(sorted(postings)))
    lines_too = line.c.account.startswith(wanted.account, autoescape=True)
    query = (
        sa.select(entry.c.number, entry.c.kind, entry.c.settlement_window, entry.c.at, entry.c.reference, line)
        .join_from(entry, line, (line.c.entry == entry.c.number) & lines_too, isouter=not wanted.account)
        .where(*conditions)
        .order_by(entry.c.number, line.c.number)
    )
    head: Any = None
    lines: list[Any] = []
    for row in transaction.connection.execution_options(stream_results=True).execute(query):
        if head is not None and head.number != row.number:
            yield _entry(head, lines, postings)
            lines = []
        head = row
        if row.account is not None:
            lines.append(row)
    if head is not None:
        yield _entry(head, lines, postings)


def text(entry: JournalEntry) -> str:
    """As a plain-text accounting file has it: a heading, then a line for each amount; memo amounts in brackets."""
    at = datetime.fromtimestamp(entry.at, CHINA).strftime("%Y-%m-%d %H:%M:%S")
    kind = " ".join(filter(None, (ENTRIES_ZH.get(entry.kind), entry.kind)))
    reference = f" {entry.reference}" if entry.reference else ""
    window = f"  ; 场次 window {entry.window}" if entry.window else ""
    rows = [f"{at} * {entry.number} {kind}{reference}{window}"]
    for line in entry.lines:
        name = f"{line.account} @{line.counterpart}" if line.counterpart else line.account
        for amount, kind in AMOUNTS:
            memo = kind or _MEMO_ACCOUNTS.get(line.account.partition("/")[0], "")
            if fen := getattr(line, amount):
                shown = f"[{memo}] {name}" if memo else name
                rows.append(f"    {set_cell_size(shown, max(ACCOUNT_WIDTH, cell_len(shown)))} {yuan(fen):>18} CNY")
    for posting in entry.postings:
        rows += _comments(posting)
    return "\n".join(rows) + "\n"


def _comments(posting: JournalPosting) -> Iterator[str]:
    """What a capture, refund or adjustment changed of a redemption, and whose money that is."""
    order, discount = yuan(posting.order_fen), yuan(posting.discount_fen)
    kind = posting.kind if posting.order_fen or posting.kind != "refund" else "adjustment"
    name = f"{POSTINGS_ZH[kind]} {kind} {posting.redemption_id.hex()}/{posting.number}"
    yield f"    ; {name}: 订单 order {order}, 优惠 discount {discount}"
    for leg in posting.legs:
        if leg.amount_fen:
            yield f"    ;   {leg.account:<{ACCOUNT_WIDTH - 4}} {yuan(leg.amount_fen):>18}"


def _entry(row: Any, lines: list[Any], postings: dict[int, list[JournalPosting]]) -> JournalEntry:
    of_entry = tuple(postings.get(row.number, ()))
    return JournalEntry(row.number, row.kind, row.settlement_window, row.at, row.reference, tuple(lines), of_entry)


def _postings_of(transaction: Transaction, redemption: bytes | None) -> dict[int, list[JournalPosting]]:
    if redemption is None:
        return {}
    table = schema.posting
    query = table.select().where(table.c.redemption_id == redemption).order_by(table.c.number)
    found: dict[int, list[JournalPosting]] = {}
    for row in transaction.connection.execute(query):
        legs = json_to_legs(row.legs)
        posting = JournalPosting(row.redemption_id, row.number, row.kind, row.order_fen, row.discount_fen, legs)
        found.setdefault(row.entry, []).append(posting)
    return found
