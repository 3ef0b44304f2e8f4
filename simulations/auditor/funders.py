"""Each funder, over both books: free + reserved + held + used + returned + in transit = budget.

Budgets are read from the published terms themselves; reserved, held and used are added up from single vouchers, holds
and postings, and money on its way from the signed bytes of hand-overs and fund returns.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from quanlian.v1 import custody_pb2
from simulations.auditor.databases import Book, Legs, Network, legs
from simulations.auditor.inquiry import Inquiry

Money = Counter[str]


@dataclass(slots=True)
class Uses:
    """What a book's single rows say of its funders, by account, in fen."""

    reserved: Money = field(default_factory=Counter)
    held: Money = field(default_factory=Counter)
    used: Money = field(default_factory=Counter)


@dataclass(slots=True)
class Transit:
    """Limits that moved between a node's book and the clearinghouse's, by account, in fen."""

    given: Money = field(default_factory=Counter)
    taken: Money = field(default_factory=Counter)
    returned: Money = field(default_factory=Counter)
    accepted: Money = field(default_factory=Counter)

    def under_way(self, account: str) -> int:
        return self.given[account] - self.taken[account] + self.returned[account] - self.accepted[account]


def examine(network: Network, inquiry: Inquiry) -> None:
    central = _uses(network.clearinghouse)
    _rows_equal_accounts(network.clearinghouse, central, inquiry)
    visitors = _visitors_budgets(network.clearinghouse)
    declared = Counter(visitors)
    for node in network.nodes.values():
        _packs_add_up(node, inquiry)
        local, transit = _uses(node), _transit(network.clearinghouse, node, inquiry)
        _rows_equal_accounts(node, local, inquiry)
        budgets, released = _published_budgets(network.clearinghouse, node, inquiry), _released(node)
        declared.update(budgets)
        for account, budget_fen in budgets.items():
            _limits(network.clearinghouse, node, account, budget_fen - released[account], transit, inquiry)
            parts = [_parts(node, local, account), _parts(network.clearinghouse, central, account)]
            _conserved(account, parts, transit.under_way(account), released[account], budget_fen, inquiry)
    for account, budget_fen in visitors.items():
        parts = [_parts(network.clearinghouse, central, account)]
        _conserved(account, parts, 0, 0, budget_fen, inquiry)
    for book in network.books:
        for account in filter(_has_budget, book.accounts):
            inquiry.require(account in declared, f"{book.name}: account {account} has no budget in published terms")


def _released(node: Book) -> Money:
    """What close-outs gave back of each account's budget."""
    released: Money = Counter()
    for row in node.rows("SELECT released FROM close_out"):
        for account, fen in json.loads(row.released):
            released[account] += fen
    return released


def _rows_equal_accounts(book: Book, uses: Uses, inquiry: Inquiry) -> None:
    for name, recomputed in (("reserved", uses.reserved), ("held", uses.held), ("posted", uses.used)):
        said = {account: getattr(row, f"{name}_fen") for account, row in book.accounts.items() if _has_budget(account)}
        inquiry.same_sums(f"{book.name}: {name}_fen of account", said, recomputed)


def _limits(clearinghouse: Book, node: Book, account: str, budget_fen: int, transit: Transit, inquiry: Inquiry) -> None:
    """What each book may use follows from the budget and from what was handed over and given back."""
    local_fen = budget_fen - transit.given[account] + transit.accepted[account]
    inquiry.equal(f"{node.name}: limit_fen of account {account}", _limit(node, account), local_fen)
    central_fen = transit.taken[account] - transit.returned[account]
    inquiry.equal(f"clearinghouse: limit_fen of account {account}", _limit(clearinghouse, account), central_fen)


class Parts(NamedTuple):
    """What one book says of one account, in fen."""

    book: str
    free_fen: int
    reserved_fen: int
    held_fen: int
    used_fen: int


def _parts(book: Book, uses: Uses, account: str) -> Parts:
    reserved, held, used = uses.reserved[account], uses.held[account], uses.used[account]
    return Parts(book.name, _limit(book, account) - reserved - held - used, reserved, held, used)


def _conserved(
    account: str, books: Sequence[Parts], transit_fen: int, returned_fen: int, budget_fen: int, inquiry: Inquiry
) -> None:
    free, reserved, held, used = (sum(column) for column in list(zip(*books, strict=True))[1:])
    total_fen = free + reserved + held + used + returned_fen + transit_fen
    inquiry.require(
        total_fen == budget_fen,
        f"{account}: free {free} + reserved {reserved} + held {held} + used {used} + returned {returned_fen} "
        f"+ in transit {transit_fen} = {total_fen} fen, its budget is {budget_fen} fen",
    )
    for each in books:
        if each.free_fen < 0:
            inquiry.find(f"{each.book}: {account} has committed {-each.free_fen} fen more than this book may use")


def _uses(book: Book) -> Uses:
    uses = Uses()
    for row in book.vouchers.values():
        _add(uses.reserved, legs(row.reserved_cofunders) + legs(row.reserved_public))
    if not book.is_clearinghouse:
        _add_packs(uses.reserved, book)
    for row in book.redemptions.values():
        if row.state == "AUTHORIZED":
            _add(uses.held, legs(row.legs))
            _add(uses.reserved, legs(row.rest_cofunders) + legs(row.rest_public))
    for posting in book.postings:
        _add(uses.used, legs(posting.legs))
    return uses


def _add_packs(reserved: Money, node: Book) -> None:
    """Vouchers without a row of their own: as their claim left them, at-issue packs being handed over at once."""
    for pack in node.packs.values():
        if pack.roaming == "at-issue":
            continue
        for index, (cofunders, public) in enumerate(_reservations(pack.reservations)):
            if (node.name, pack.pack_id, index) not in node.vouchers:
                _add(reserved, [(leg[0], leg[1]) for leg in (*cofunders, *public)])


@lru_cache(maxsize=1024)
def _reservations(text: str) -> Sequence[Any]:
    """By index; a number stands for the voucher of that index, which reserved alike."""
    written = json.loads(text)
    return [written[each] if isinstance(each, int) else each for each in written]


def _packs_add_up(node: Book, inquiry: Inquiry) -> None:
    """What a pack says that it reserved against its vouchers' legs, merchants' shares included."""
    for id, pack in node.packs.items():
        parts = [leg for reservation in _reservations(pack.reservations) for part in reservation for leg in part]
        place = f"{node.name}: pack {id.hex()}, reserved_fen by its legs"
        inquiry.equal(place, pack.reserved_fen, sum(leg[1] for leg in parts))


def _transit(clearinghouse: Book, node: Book, inquiry: Inquiry) -> Transit:
    """Hand-overs and fund returns of one node; both sides must hold the very same bytes."""
    transit = Transit()
    region = node.name
    given = {row.number: row for row in node.rows("SELECT number, body, taken FROM hand_over ORDER BY number")}
    taken = {
        row.number: row.body
        for row in clearinghouse.rows(
            "SELECT number, body FROM hand_over WHERE issuer = :region ORDER BY number", region=region
        )
    }
    returned = {
        row.number: row.body
        for row in clearinghouse.rows(
            "SELECT number, body FROM fund_return WHERE region = :region ORDER BY number", region=region
        )
    }
    accepted = {row.number: row.body for row in node.rows("SELECT number, body FROM fund_return ORDER BY number")}
    bodies = {number: row.body for number, row in given.items()}
    _same_bytes(f"hand-over of {region}", bodies, taken, inquiry)
    _same_bytes(f"fund return to {region}", returned, accepted, inquiry)
    for number, row in given.items():
        if row.taken and number not in taken:
            inquiry.find(f"hand-over of {region} {number} is marked as taken and the clearinghouse does not have it")
    recalled, retaken = _custody_returns(clearinghouse, node)
    _same_bytes(f"custody return to {region}", recalled, retaken, inquiry)
    for money, sent in (
        (transit.given, bodies),
        (transit.taken, taken),
        (transit.returned, recalled),
        (transit.accepted, retaken),
    ):
        for body in sent.values():
            _add(money, _handed(body))
    for money, sent in ((transit.returned, returned), (transit.accepted, accepted)):
        for body in sent.values():
            _add(money, [(leg.account, leg.amount_fen) for leg in custody_pb2.FundReturn.FromString(body).legs])
    return transit


def _custody_returns(clearinghouse: Book, node: Book) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """Vouchers that the clearinghouse gave back with their money, and those that the node has taken, by number."""
    given = clearinghouse.rows(
        "SELECT number, body FROM custody_return WHERE region = :region ORDER BY number", region=node.name
    )
    taken = node.rows("SELECT number, body FROM custody_return ORDER BY number")
    return {row.number: row.body for row in given}, {row.number: row.body for row in taken}


def _same_bytes(what: str, sent: Mapping[int, bytes], received: Mapping[int, bytes], inquiry: Inquiry) -> None:
    for number, body in received.items():
        inquiry.require(
            sent.get(number) == body,
            f"{what} {number} was received and {'is not what was sent' if number in sent else 'never sent'}",
        )


@lru_cache(maxsize=1024)
def _handed(body: bytes) -> Legs:
    vouchers = map(custody_pb2.HandedVoucher.FromString, custody_pb2.HandOver.FromString(body).vouchers)
    reservations = [voucher.reservation for voucher in vouchers]
    return tuple((leg.account, leg.amount_fen) for each in reservations for leg in (*each.cofunders, *each.public))


def _published_budgets(clearinghouse: Book, node: Book, inquiry: Inquiry) -> dict[str, int]:
    """Each funder's account and budget from the terms that the node published, the same at the clearinghouse."""
    budgets: dict[str, int] = {}
    central = {row.terms_hash: row.document for row in clearinghouse.rows("SELECT terms_hash, document FROM terms")}
    for row in node.rows(
        "SELECT c.campaign, c.terms_hash, t.document FROM campaign c LEFT JOIN terms t ON t.terms_hash = c.terms_hash"
    ):
        place = f"{node.name}: terms of {row.campaign}"
        if row.document is None:
            inquiry.require(False, f"{place} are missing")
            continue
        digest = hashlib.sha256(b"quanlian/v1/terms\0" + row.document).digest()
        inquiry.require(digest == row.terms_hash, f"{place} are not those that their hash names")
        inquiry.require(central.get(row.terms_hash) == row.document, f"{place} are not those of the clearinghouse")
        budgets.update(_budgets(row.document))
    return budgets


@lru_cache(maxsize=64)
def _budgets(document: bytes) -> Mapping[str, int]:
    terms: dict[str, Any] = tomllib.loads(document.decode(), parse_float=Decimal)
    campaign = terms["campaign"]
    payers = [*terms["funder"], *(each for each in terms.get("cofunder", ()) if each["kind"] != "merchant")]
    prefix = f"funding/{campaign['issuer']}/{campaign['fiscal_year']}/{campaign['id']}"
    return {f"{prefix}/{payer['name']}": int(payer["budget"] * 100) for payer in payers}


def _visitors_budgets(clearinghouse: Book) -> dict[str, int]:
    """A region's standing funds for visitors, which only the clearinghouse's book has."""
    return {
        f"funding/{row.region}/{row.fiscal_year}/visitors/{row.name}": row.budget_fen
        for row in clearinghouse.rows("SELECT region, fiscal_year, name, budget_fen FROM visitors_funder")
    }


def _limit(book: Book, account: str) -> int:
    row = book.accounts.get(account)
    return 0 if row is None else int(row.limit_fen)


def _has_budget(account: str) -> bool:
    """Funders have budgets; a merchant's own share has none."""
    return account.startswith("funding/") and not account.endswith("/merchant")


def _add(money: Money, amounts: Iterable[tuple[str, int]]) -> None:
    for account, fen in amounts:
        if _has_budget(account):
            money[account] += fen
