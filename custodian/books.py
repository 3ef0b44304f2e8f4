"""A party's books for the length of one transaction: loaded in bulk, changed in order, saved in bulk.

Decisions read and write the copies held here, so each sees what the ones before it in the batch did; `save` writes
vouchers, redemptions, history, the ledger's entry and its running totals together. An entry that does not sum to zero
or takes a funder beyond its limit raises BooksDoNotBalance, and the transaction is rolled back.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import sqlalchemy as sa

from chassis.database import Query, Transaction
from custodian.evidence import SignedBatch, own_answers_row, received_row
from quanlian import ledger
from quanlian.accounts import is_funding
from quanlian.apportionment import Leg, Reservation
from quanlian.custody import VoucherState
from quanlian.discounts import Order
from quanlian.errors import BooksDoNotBalance
from quanlian.ledger import Balance, Movement
from quanlian.redemptions import Outcome, Posting, Redemption, Sale, Sides, State
from quanlian.signing import Signer
from quanlian.vouchers import VoucherKey

from . import schema
from .seals import BEGINNING, entry_digest
from .totals import Captures, HourlyFlows, HourlyKey, Sums, add_captures, add_up

RequestKey = tuple[str, bytes]
CLAIM = "claim"
"""The operation of a request that is no redemption's: its answer carries the signed token."""
REDEMPTIONS = "redemption"
"""The series that numbers a party's redemptions as they are committed, so that a list read in pages misses none."""
_REMEMBERED = 16_384
"""Texts of legs: vouchers of one type that are used in one region share theirs."""
Figures = list[int]
"""Of an account or a line, in fen: posted, reserved, held, limit; of a line also what was posted the other way."""
_GIVEN_BACK = 4
LineName = tuple[str, str]
"""Account and counterpart."""
_ENTRY = "entry"
_COUNTER, _DIGEST = schema.counter.c, schema.entry.c.digest
_COUNTERS = Query(
    sa.select(
        _COUNTER.name,
        _COUNTER.value,
        sa.case(
            (
                _COUNTER.name == _ENTRY,
                sa.select(_DIGEST).where(schema.entry.c.number == _COUNTER.value).scalar_subquery(),
            )
        ).label("digest"),
    )
)
"""All series at once, and the digest of the last entry: a party has a few for each region, a commit needs three."""
_COUNTER_KEY = (_COUNTER.name,)
_REQUEST_KEY = tuple(schema.request.primary_key)
_VOUCHER_KEY = tuple(schema.voucher.primary_key)
_REDEMPTION_KEY = tuple(schema.redemption.primary_key)
_CAPTURED, _NO_LEGS = State.CAPTURED.name, "[]"
_REDEMPTION_COLUMNS = tuple(column.name for column in schema.redemption.columns)
_ACCOUNT_KEY = tuple(schema.account.primary_key)


class StoredAnswer(NamedTuple):
    """What a request was answered; `body_hash` None: reversed before it arrived, so any body fits."""

    body_hash: bytes | None
    answer: bytes
    redemption_id: bytes | None
    operation: str
    request_batch: bytes | None = None


class Capture(NamedTuple):
    """A redemption that was captured at once, as its rows: of `redemption`, and of `posting` without its entry."""

    redemption: tuple[Any, ...]
    posting: tuple[Any, ...]


class Paid(NamedTuple):
    """What plain captures of one kind have in common: the discount, who bears it (`legs_to_json`), by which agreement,
    and for how long they would have been held.
    """

    discount_fen: int
    legs: str
    agreement: str
    hold_seconds: int


class Books:
    """The working set of one transaction. `origin` knows vouchers that have no row yet (a node's packs)."""

    def __init__(
        self,
        transaction: Transaction,
        origin: Callable[[list[VoucherKey]], dict[VoucherKey, VoucherState]] = lambda keys: {},
    ) -> None:
        self._transaction = transaction
        self._origin = origin
        self._wanted_requests: list[RequestKey] = []
        self._wanted_vouchers: list[VoucherKey] = []
        self._wanted_redemptions: list[bytes] = []
        self._wanted_accounts: list[str] = []
        self._requests: dict[RequestKey, StoredAnswer | None] = {}
        self._vouchers: dict[VoucherKey, VoucherState | None] = {}
        self._redemptions: dict[bytes, Redemption | None] = {}
        self._numbers: dict[bytes, int] = {}
        self._stored_redemptions: set[bytes] = set()
        self._balances: dict[str, Figures] = {}
        self._counters: dict[str, int] | None = None
        self._last_digest: bytes | None = None
        self._answered: dict[RequestKey, int] = {}
        """When each was decided, in UTC seconds."""
        self._changed_vouchers: dict[VoucherKey, None] = {}
        self._changed_redemptions: dict[bytes, None] = {}
        self._changed_counters: set[str] = set()
        self._moved: dict[LineName, Figures] = {}
        self._history: list[tuple[Redemption, Posting]] = []
        self._captures: dict[bytes, Capture] = {}
        self._flows: Sums = {}
        self._batches: dict[bytes, SignedBatch] = {}
        self.hourly = HourlyFlows()

    # Loading

    def want(
        self,
        requests: Iterable[RequestKey] = (),
        vouchers: Iterable[VoucherKey] = (),
        redemptions: Iterable[bytes] = (),
        accounts: Iterable[str] = (),
    ) -> None:
        """Note what a decision will read; `fetch` reads it all at once, accounts are read with the first asked for."""
        self._wanted_requests += requests
        self._wanted_accounts += accounts
        self._wanted_vouchers += vouchers
        self._wanted_redemptions += redemptions

    def fetch(self) -> None:
        """Read what was wanted: a few statements a batch, however many decisions it has."""
        self.load_requests(self._wanted_requests)
        self.load_redemptions(self._wanted_redemptions)
        self.load_vouchers(self._wanted_vouchers)

    def load_requests(self, keys: Iterable[RequestKey]) -> None:
        missing = [key for key in dict.fromkeys(keys) if key not in self._requests]
        if not missing:
            return
        self._requests.update(dict.fromkeys(missing))
        for row in self._transaction.select_keys(schema.request, _REQUEST_KEY, missing):
            self._requests[(row.participant, row.request_id)] = StoredAnswer(
                row.body_hash, row.answer, row.redemption_id, row.operation, row.request_batch
            )

    def load_redemptions(self, ids: Iterable[bytes]) -> None:
        """Redemptions by id, and the vouchers that they used."""
        missing = [id for id in dict.fromkeys(ids) if id not in self._redemptions and not self._unfold(id)]
        if not missing:
            return
        self._redemptions.update(dict.fromkeys(missing))
        for row in self._transaction.select_keys(schema.redemption, _REDEMPTION_KEY, [(id,) for id in missing]):
            self._redemptions[row.id] = redemption_of(row)
            self._numbers[row.id] = row.number
            self._stored_redemptions.add(row.id)
        self.load_vouchers(found.voucher for id in missing if (found := self._redemptions[id]))

    def load_vouchers(self, keys: Iterable[VoucherKey]) -> None:
        """Vouchers by key, and the redemptions that hold them."""
        missing = [key for key in dict.fromkeys(keys) if key not in self._vouchers]
        if not missing:
            return
        self._vouchers.update(dict.fromkeys(missing))
        for row in self._transaction.select_keys(schema.voucher, _VOUCHER_KEY, missing):
            stored = _voucher(row)
            self._vouchers[stored.key] = stored
        self._vouchers.update(self._origin([key for key in missing if self._vouchers[key] is None]))
        self.load_redemptions(
            state.hold for key in missing if (state := self._vouchers[key]) and state.hold is not None
        )

    # Reading

    def request(self, key: RequestKey) -> StoredAnswer | None:
        if key not in self._requests:
            self.load_requests([key])
        return self._requests[key]

    def voucher(self, key: VoucherKey) -> VoucherState | None:
        if key not in self._vouchers:
            self.load_vouchers([key])
        return self._vouchers[key]

    def redemption(self, id: bytes) -> Redemption | None:
        if id not in self._redemptions:
            self.load_redemptions([id])
        return self._redemptions[id]

    def held_until(self, voucher: VoucherState | None) -> int | None:
        """When the hold of a voucher ends, None without one."""
        held = self.redemption(voucher.hold) if voucher and voucher.hold is not None else None
        return held.expires_at if held else None

    def balance(self, account: str) -> Balance:
        return Balance(account, *self._figures(account))

    def posted_fen(self, account: str) -> int:
        return self._figures(account)[0]

    def load_balances(self, accounts: Iterable[str]) -> None:
        """Read at once what decisions will ask for account by account."""
        self._load_balances(accounts)

    def free_fen(self, account: str) -> int:
        """What a funder may still commit on this book."""
        posted_fen, reserved_fen, held_fen, limit_fen = self._figures(account)
        return limit_fen - posted_fen - reserved_fen - held_fen

    def _figures(self, account: str) -> Figures:
        if account not in self._balances:
            self._load_balances([account])
        return self._balances[account]

    def next_number(self, counter: str) -> int:
        """The next number of a series without gaps; given back if the transaction is rolled back."""
        counters = self._known_counters()
        counters[counter] = counters.get(counter, 0) + 1
        self._changed_counters.add(counter)
        return counters[counter]

    def pass_numbers(self, counter: str, last: int) -> int:
        """No number up to `last` is given out any more; returns how many that are passed over."""
        passed = max(0, last - self.counter(counter))
        if passed:
            self._known_counters()[counter] = last
            self._changed_counters.add(counter)
        return passed

    def counter(self, name: str) -> int:
        """The last number given out."""
        return self._known_counters().get(name, 0)

    @property
    def next_entry(self) -> int:
        """Number of the journal's entry that is written next."""
        return self.counter(_ENTRY) + 1

    def _known_counters(self) -> dict[str, int]:
        """All of them, and with them the digest of the last entry."""
        if self._counters is None:
            self._counters = {}
            for row in self._transaction.rows(_COUNTERS):
                self._counters[row.name] = row.value
                if row.name == _ENTRY:
                    self._last_digest = row.digest
        return self._counters

    # Changing

    def answer(self, key: RequestKey, stored: StoredAnswer, at: int) -> None:
        self._requests[key] = stored
        self._answered[key] = at

    def keep_batch(self, batch: SignedBatch | None) -> None:
        """Keep the message that a request or an answer came in, as evidence."""
        if batch is not None:
            self._batches[batch.id] = batch

    def put_voucher(self, state: VoucherState) -> None:
        self._vouchers[state.key] = state
        self._changed_vouchers[state.key] = None

    def move(self, movements: Iterable[Movement], times: int = 1) -> None:
        """Change accounts, and what the entry will say of them: its lines are summed up as they come.

        `times`: as that many of the same would.
        """
        movements = list(movements)
        balances, moved = self._balances, self._moved
        if missing := [each.account for each in movements if each.account not in balances]:
            self._load_balances(missing)
        for account, counterpart, posted_fen, reserved_fen, held_fen, limit_fen in movements:
            line = moved.get((account, counterpart))
            if line is None:
                line = moved[account, counterpart] = [0, 0, 0, 0, 0]
            if posted_fen < 0:
                line[_GIVEN_BACK] -= posted_fen * times
            for figures in (balances[account], line):
                figures[0] += posted_fen * times
                figures[1] += reserved_fen * times
                figures[2] += held_fen * times
                figures[3] += limit_fen * times

    def apply(self, outcome: Outcome) -> None:
        redemption, posting = outcome.redemption, outcome.posting
        self.keep(redemption, outcome.voucher, posting)
        self.move(outcome.movements)
        if posting:
            key, flow = _totals_of(redemption.sides, redemption.sale.order.category, posting.at, posting.window)
            self.hourly.count(key, posting.order_fen, posting.discount_fen)
            add_up(self._flows, flow, posting.order_fen, posting.discount_fen)

    def keep(self, redemption: Redemption, voucher: VoucherState, posting: Posting | None) -> None:
        """What became of a redemption and its voucher, its posting as history; money and totals are told apart."""
        id = redemption.id
        self._vouchers[voucher.key] = voucher
        self._changed_vouchers[voucher.key] = None
        if id not in self._numbers:
            self._numbers[id] = self.next_number(REDEMPTIONS)
        self._redemptions[id] = redemption
        self._changed_redemptions[id] = None
        if posting:
            self._history.append((redemption, posting))

    def capture(
        self, id: bytes, dead: VoucherState, received: Any, sale: Sale, paid: Paid, at: int, window: int
    ) -> None:
        """As `keep` of a redemption that is captured at once: its rows are written down without the objects that they
        are made of otherwise, since in this transaction hardly anybody will ask for it. `received` says who asked.
        """
        key = dead.key
        self._vouchers[key] = dead
        self._changed_vouchers[key] = None
        self._redemptions.pop(id, None)
        (merchant, order_id, order), order_fen = sale, sale.order.order_fen
        discount_fen, legs, agreement, hold_seconds = paid
        self._captures[id] = Capture(
            (
                id, *key, dead.campaign, dead.terms_hash, received.redeeming_region, received.participant,
                received.acquirer, merchant, order_id, order.category, order.channel, order.klass, order.invoice_fen,
                order.price_fen, _CAPTURED, order_fen, discount_fen, legs, legs, _NO_LEGS, _NO_LEGS, agreement,
                at + hold_seconds, at, at, window, 0, 0, 0, 1, self.next_number(REDEMPTIONS),
            ),
            (id, 1, "capture", order_fen, discount_fen, legs, window, at),
        )  # fmt: skip

    def _unfold(self, id: bytes) -> bool:
        """Whether it was captured by rows, and so now is kept as others are."""
        capture = self._captures.pop(id, None)
        if capture is None:
            return False
        row = SimpleNamespace(**dict(zip(_REDEMPTION_COLUMNS, capture.redemption, strict=False)))
        redemption, (_, number, kind, order_fen, discount_fen, _, window, at) = redemption_of(row), capture.posting
        posting = Posting(id, number, kind, order_fen, discount_fen, redemption.legs, window, at)
        self._redemptions[id], self._numbers[id] = redemption, row.number
        self._changed_redemptions[id] = None
        self._history.append((redemption, posting))
        return True

    def count_captures(self, sides: Sides, category: str, at: int, window: int, captures: Captures) -> None:
        """Captures between two regions that were kept, in the running totals."""
        key, flow = _totals_of(sides, category, at, window)
        self.hourly.count_captures(key, captures)
        add_captures(self._flows, flow, captures)

    # Saving

    def book(self, kind: str, at: int, reference: str, movements: Iterable[Movement]) -> None:
        """Write movements as an entry of their own; what else the transaction moved and posted is left to `save`."""
        others, self._moved = self._moved, {}
        self.move(movements)
        self._save_entry(kind, at, 0, reference, [])
        self._moved = others

    def record(self, kind: str, at: int, document: str, signature: bytes) -> None:
        """Write that a signed document came, as an entry without lines: it cannot vanish from its table unseen."""
        others, self._moved = self._moved, {}
        self._save_entry(kind, at, 0, record_reference(document, signature), [], without_lines=True)
        self._moved = others

    def save(self, kind: str, at: int, window: int = 0, reference: str = "", signer: Signer | None = None) -> None:
        """Write everything that changed, with one journal entry of `kind` for all movements.

        Answers to redemption requests are signed by `signer`, once for each participant.
        """
        save, tables = self._transaction, schema
        captures = self._captures.values()
        postings = [*map(_posting_row, self._history), *(each.posting for each in captures)]
        self._save_entry(kind, at, window, reference, postings)
        self._save_requests(signer, at)
        save.replace(tables.voucher, [_voucher_row(self._vouchers[key]) for key in self._changed_vouchers])
        self._save_redemptions()
        captured = [redemption for redemption, posting in self._history if posting.kind == "capture"]
        spent = [(*each.voucher, each.id) for each in captured]
        save.append(tables.spend, [*spent, *(_spent_by(each.redemption) for each in captures)])
        save.add(tables.flow, self._flows)
        self.hourly.save(save)
        save.upsert(
            tables.counter,
            [{"name": name, "value": self.counter(name)} for name in sorted(self._changed_counters)],
        )

    def _save_entry(
        self,
        kind: str,
        at: int,
        window: int,
        reference: str,
        history: Sequence[tuple[Any, ...]],
        *,
        without_lines: bool = False,
    ) -> None:
        """`history` are rows of postings without their entry."""
        lines = ledger.lines(Movement(*key, *figures[:_GIVEN_BACK]) for key, figures in self._moved.items())
        if not (lines or history or without_lines):
            return
        number = self.next_number(_ENTRY)
        touched = sorted({line.account for line in lines})
        balances = [self.balance(account) for account in touched]
        ledger.check_limits(balances)
        entry = {"number": number, "kind": kind, "settlement_window": window, "at": at, "reference": reference}
        rows = [(number, n, *line) for n, line in enumerate(lines, 1)]
        postings = [(*posting, number) for posting in history]
        self._last_digest = entry_digest(self._digest_of(number - 1), entry, rows, postings)
        self._transaction.insert(schema.entry, [{**entry, "digest": self._last_digest}])
        self._transaction.append(schema.line, rows)
        self._transaction.append(schema.posting, postings)
        self._transaction.replace(schema.account, balances)
        self._save_turnover(window)

    def _digest_of(self, last: int) -> bytes:
        """Raises BooksDoNotBalance when the entry before is gone: nothing may follow a journal that was cut."""
        if last == 0:
            return BEGINNING
        if self._last_digest is None:
            raise BooksDoNotBalance(f"entry {last} is missing from the journal: check it with quanlian ledger check")
        return bytes(self._last_digest)

    def _save_requests(self, signer: Signer | None, at: int) -> None:
        """Answers with the messages that they came and went in; a participant's are signed together."""
        batches = [received_row(batch, at) for batch in self._batches.values()]
        by_signature: dict[tuple[str, bool], list[tuple[RequestKey, StoredAnswer]]] = {}
        for key in self._answered:
            stored = self._requests[key]
            assert stored is not None
            is_signed = signer is not None and stored.operation != CLAIM
            by_signature.setdefault((key[0], is_signed), []).append((key, stored))
        rows: list[tuple[Any, ...]] = []
        for (_, is_signed), answered in by_signature.items():
            answer_batch = None
            if is_signed and signer is not None:
                batches.append(own_answers_row([stored.answer for _, stored in answered], signer, at))
                answer_batch = batches[-1]["id"]
            rows += [
                (*key, body_hash, answer, redemption_id, operation, self._answered[key], request_batch, answer_batch)
                for key, (body_hash, answer, redemption_id, operation, request_batch) in answered
            ]
        self._transaction.upsert(schema.signed_batch, batches)
        self._transaction.append(schema.request, rows)

    def _save_redemptions(self) -> None:
        new, known = list[tuple[Any, ...]](), list[tuple[Any, ...]]()
        for id in self._changed_redemptions:
            rows = known if id in self._stored_redemptions else new
            rows.append(_redemption_row(self._redemptions[id], self._numbers[id]))
        new += [each.redemption for each in self._captures.values()]
        self._transaction.append(schema.redemption, new)
        self._transaction.replace(schema.redemption, known)

    def _save_turnover(self, window: int) -> None:
        """What was posted, and of a funder its refunds: a batch may refund as much of it as it captures."""
        sums = {
            (window, *name): (figures[0], figures[_GIVEN_BACK] if is_funding(name[0]) else 0)
            for name, figures in sorted(self._moved.items())
        }
        self._transaction.add(schema.turnover, {key: amounts for key, amounts in sums.items() if any(amounts)})

    def _load_balances(self, accounts: Iterable[str]) -> None:
        wanted, self._wanted_accounts = self._wanted_accounts, []
        missing = [account for account in dict.fromkeys((*accounts, *wanted)) if account not in self._balances]
        if not missing:
            return
        self._balances.update((account, [0, 0, 0, 0]) for account in missing)
        for row in self._transaction.select_keys(schema.account, _ACCOUNT_KEY, [(each,) for each in missing]):
            self._balances[row.account] = [row.posted_fen, row.reserved_fen, row.held_fen, row.limit_fen]


def _totals_of(sides: Sides, category: str, at: int, window: int) -> tuple[HourlyKey, tuple[Any, ...]]:
    """Where a posting is counted, by the hour and by the window."""
    issuer, redeemer, campaign = sides
    return HourlyKey(at, issuer, redeemer, campaign, category), (window, issuer, redeemer, campaign)


def last_numbers(transaction: Transaction, *series: str) -> list[int]:
    """What `Books.counter` says of some series, for who needs no more of the books."""
    rows = transaction.select_keys(schema.counter, _COUNTER_KEY, [(name,) for name in series])
    found = {row.name: row.value for row in rows}
    return [found.get(name, 0) for name in series]


def record_reference(document: str, signature: bytes) -> str:
    """How an entry names a signed document: in words, and by a digest of its signature, which covers the rest."""
    return f"{document} {hashlib.sha256(signature).hexdigest()[:32]}"


# Rows


@lru_cache(maxsize=_REMEMBERED)
def legs_to_json(legs: tuple[Leg, ...]) -> str:
    """Legs as the database keeps them: `[[account, fen], …]`, an advanced one with `[[debtor, fen], …]` beside."""
    return json.dumps([leg_data(leg) for leg in legs], separators=(",", ":"))


def leg_data(leg: Leg) -> list[Any]:
    return [leg.account, leg.amount_fen, *([[list(each) for each in leg.advanced]] if leg.advanced else [])]


@lru_cache(maxsize=_REMEMBERED)
def json_to_legs(text: str) -> tuple[Leg, ...]:
    return tuple(
        Leg(sys.intern(account), amount_fen, tuple((debtor, fen) for each in advanced for debtor, fen in each))
        for account, amount_fen, *advanced in json.loads(text)
    )


def _voucher_row(state: VoucherState | None) -> tuple[Any, ...]:
    """In the order of the table's columns, as the rows below."""
    assert state is not None
    key, campaign, terms_hash, voucher_type, holder_tag, not_before, not_after, reservation, status, epoch, hold = state
    reserved = legs_to_json(reservation.cofunders), legs_to_json(reservation.public)
    return (
        *key, campaign, terms_hash, voucher_type, holder_tag, not_before, not_after, status, epoch, hold, *reserved,
    )  # fmt: skip


def _voucher(row: Any) -> VoucherState:
    return VoucherState(
        VoucherKey(row.issuer, row.pack_id, row.voucher_index),
        row.campaign,
        row.terms_hash,
        row.voucher_type,
        row.holder_tag,
        row.not_before,
        row.not_after,
        Reservation(json_to_legs(row.reserved_cofunders), json_to_legs(row.reserved_public)),
        row.status,
        row.epoch,
        row.hold,
    )


def _redemption_row(redemption: Redemption | None, number: int) -> tuple[Any, ...]:
    assert redemption is not None
    (
        id, voucher, campaign, terms_hash, redeeming_region, participant, acquirer, (merchant, order_id, order),
        order_fen, discount_fen, legs, standing, rest, expires_at, authorized_at, agreement, state, captured_at, window,
        refunded_order_fen, returned_fen, shopper_fen, postings,
    ) = redemption  # fmt: skip
    return (
        id, *voucher, campaign, terms_hash, redeeming_region, participant, acquirer, merchant, order_id, order.category,
        order.channel, order.klass, order.invoice_fen, order.price_fen, state.name, order_fen, discount_fen,
        legs_to_json(legs), legs_to_json(standing), legs_to_json(rest.cofunders), legs_to_json(rest.public), agreement,
        expires_at, authorized_at, captured_at, window, refunded_order_fen, returned_fen, shopper_fen, postings,
        number,
    )  # fmt: skip


def redemption_of(row: Any) -> Redemption:
    """A redemption as its row keeps it."""
    order = Order(row.order_fen, row.category, row.channel, row.klass, row.invoice_fen, row.price_fen)
    return Redemption(
        id=row.id,
        voucher=VoucherKey(row.issuer, row.pack_id, row.voucher_index),
        campaign=row.campaign,
        terms_hash=row.terms_hash,
        redeeming_region=row.redeeming_region,
        participant=row.participant,
        acquirer=row.acquirer,
        sale=Sale(row.merchant, row.order_id, order),
        order_fen=row.order_fen,
        discount_fen=row.discount_fen,
        legs=json_to_legs(row.legs),
        standing=json_to_legs(row.standing),
        rest=Reservation(json_to_legs(row.rest_cofunders), json_to_legs(row.rest_public)),
        expires_at=row.expires_at,
        authorized_at=row.authorized_at,
        agreement=row.agreement,
        state=State[row.state],
        captured_at=row.captured_at,
        window=row.settlement_window,
        refunded_order_fen=row.refunded_order_fen,
        returned_fen=row.returned_fen,
        shopper_fen=row.shopper_fen,
        postings=row.postings,
    )


def _posting_row(history: tuple[Redemption, Posting]) -> tuple[Any, ...]:
    """Without its entry."""
    _, (id, number, kind, order_fen, discount_fen, legs, window, at) = history
    return (id, number, kind, order_fen, discount_fen, legs_to_json(legs), window, at)


def _spent_by(redemption: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row of the voucher that a redemption, as its row, used."""
    id, issuer, pack_id, index, *_ = redemption
    return (issuer, pack_id, index, id)
