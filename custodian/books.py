"""A party's books for the length of one transaction: loaded in bulk, changed in order, saved in bulk.

Decisions read and write the copies held here, so each sees what the ones before it in the batch did; `save` writes
vouchers, redemptions, history, the ledger's entry and its running totals together. An entry that does not sum to zero
or takes a funder beyond its limit raises BooksDoNotBalance, and the transaction is rolled back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa

from chassis.database import Found, Query, Transaction
from custodian.evidence import SignedBatch, own_answers_row, received_row
from quanlian import ledger
from quanlian.accounts import is_funding
from quanlian.custody import CAPTURED, VoucherState
from quanlian.errors import BooksDoNotBalance
from quanlian.ledger import Balance, Movement
from quanlian.redemptions import Outcome, Posting, Redemption, Sale, Sides
from quanlian.signing import Signer
from quanlian.vouchers import VoucherKey

from . import schema
from .book_rows import posting_row, redemption_of, redemption_row, voucher_of, voucher_row
from .plain_captures import Asked, Paid, PlainCaptures
from .seals import BEGINNING, entry_digest
from .totals import Captures, HourlyFlows, HourlyKey, Sums, add_captures, add_up

Known = TypeVar("Known")
Take = Callable[[], None]
"""Waits for what was asked, and takes it in."""
RequestKey = tuple[str, bytes]
CLAIM = "claim"
"""The operation of a request that is no redemption's: its answer carries the signed token."""
REDEMPTIONS = "redemption"
"""The series that numbers a party's redemptions as they are committed, so that a list read in pages misses none."""
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
_SPEND_KEY = tuple(schema.spend.primary_key)
_REDEMPTION_KEY = tuple(schema.redemption.primary_key)
_ACCOUNT_KEY = tuple(schema.account.primary_key)


class StoredAnswer(NamedTuple):
    """What a request was answered; `body_hash` None: reversed before it arrived, so any body fits."""

    body_hash: bytes | None
    answer: bytes
    redemption_id: bytes | None
    operation: str
    request_batch: bytes | None = None


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
        self._stored_vouchers: dict[VoucherKey, str] = {}
        """Those that have a row, with the status that it says."""
        self._redemptions: dict[bytes, Redemption | None] = {}
        self._numbers: dict[bytes, int] = {}
        self._stored_redemptions: set[bytes] = set()
        self._balances: dict[str, Figures] = {}
        self._counters: dict[str, int] | None = None
        self._asked_counters: Found | None = None
        self._last_digest: bytes | None = None
        self._answered: dict[RequestKey, int] = {}
        """When each was decided, in UTC seconds."""
        self._changed_vouchers: dict[VoucherKey, VoucherState] = {}
        """As their rows will say; of a captured one maybe as it was before."""
        self._changed_redemptions: dict[bytes, None] = {}
        self._changed_counters: set[str] = set()
        self._moved: dict[LineName, Figures] = {}
        self._history: list[Posting] = []
        self._plain = PlainCaptures()
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
        """Read what was wanted: a few statements a batch, however many decisions it has, which go together."""
        asked = (
            self._ask_requests(self._wanted_requests),
            self._ask_redemptions(self._wanted_redemptions),
            self._ask_vouchers(self._wanted_vouchers),
        )
        for take in asked:
            take()

    def expect_numbers(self) -> None:
        """Ask for the series and the last entry, from which whatever is written goes on."""
        if self._counters is None:
            self._asked_counters = self._transaction.ask(_COUNTERS)

    def load_requests(self, keys: Iterable[RequestKey]) -> None:
        self._ask_requests(keys)()

    def load_redemptions(self, ids: Iterable[bytes]) -> None:
        """Redemptions by id, and the vouchers that they used."""
        self._ask_redemptions(ids)()

    def load_vouchers(self, keys: Iterable[VoucherKey]) -> None:
        """Vouchers by key, and the redemptions that hold them."""
        self._ask_vouchers(keys)()

    def _ask_requests(self, keys: Iterable[RequestKey]) -> Take:
        missing = [key for key in dict.fromkeys(keys) if key not in self._requests]
        if not missing:
            return _nothing
        self._requests.update(dict.fromkeys(missing))
        found = self._transaction.ask_keys(schema.request, _REQUEST_KEY, missing)

        def take() -> None:
            for row in found():
                self._requests[(row.participant, row.request_id)] = StoredAnswer(
                    row.body_hash, row.answer, row.redemption_id, row.operation, row.request_batch
                )

        return take

    def _ask_redemptions(self, ids: Iterable[bytes]) -> Take:
        missing = [id for id in dict.fromkeys(ids) if id not in self._redemptions and not self._unfold(id)]
        if not missing:
            return _nothing
        self._redemptions.update(dict.fromkeys(missing))
        found = self._transaction.ask_keys(schema.redemption, _REDEMPTION_KEY, [(id,) for id in missing])

        def take() -> None:
            for row in found():
                self._redemptions[row.id] = redemption_of(row)
                self._numbers[row.id] = row.number
                self._stored_redemptions.add(row.id)
            self.load_vouchers(known.voucher for id in missing if (known := self._redemptions[id]))

        return take

    def _ask_vouchers(self, keys: Iterable[VoucherKey]) -> Take:
        missing = [key for key in dict.fromkeys(keys) if key not in self._vouchers]
        if not missing:
            return _nothing
        self._vouchers.update(dict.fromkeys(missing))
        found = self._transaction.ask_keys(schema.voucher, _VOUCHER_KEY, missing)
        spends = self._transaction.ask_keys(schema.spend, _SPEND_KEY, missing, _SPEND_KEY)

        def take() -> None:
            for row in found():
                stored = voucher_of(row)
                self._vouchers[stored.key] = stored
                self._stored_vouchers[stored.key] = stored.status
            self._vouchers.update(self._origin([key for key in missing if self._vouchers[key] is None]))
            for row in spends():
                spent = VoucherKey(*row)
                if state := self._vouchers[spent]:
                    self._vouchers[spent] = state.captured()
            held = [state.hold for key in missing if (state := self._vouchers[key]) and state.hold is not None]
            self.load_redemptions(held)

        return take

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

    def redemptions(self) -> list[Redemption]:
        """Those that were read so far."""
        return [each for each in self._redemptions.values() if each]

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
            for row in self._asked_counters() if self._asked_counters else self._transaction.rows(_COUNTERS):
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
        """Write its row as this says."""
        self._vouchers[state.key] = self._changed_vouchers[state.key] = state

    def note_captured(self, key: VoucherKey) -> None:
        """Have the row of a captured voucher say so, if it does not."""
        changed = self._changed_vouchers.get(key)
        if (changed.status if changed else self._stored_vouchers.get(key, CAPTURED)) != CAPTURED:
            self._changed_vouchers[key] = _known(self._vouchers[key])

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
        """What became of a redemption and its voucher, its posting as history; money and totals are told apart.

        A voucher that is captured keeps the row that it has: `spend` tells what became of it (ADR 0018).
        """
        id = redemption.id
        self._vouchers[voucher.key] = voucher
        has_row = voucher.key in self._stored_vouchers or voucher.key in self._changed_vouchers
        if voucher.status != CAPTURED or not has_row:
            self._changed_vouchers[voucher.key] = voucher
        if id not in self._numbers:
            self._numbers[id] = self.next_number(REDEMPTIONS)
        self._redemptions[id] = redemption
        self._changed_redemptions[id] = None
        if posting:
            self._history.append(posting)

    def capture(
        self, id: bytes, voucher: VoucherState, received: Asked, sale: Sale, paid: Paid, at: int, window: int
    ) -> None:
        """As `keep` of a redemption that is captured at once (custodian/plain_captures.py), of a voucher with a row."""
        self._vouchers[voucher.key] = voucher.captured()
        self._redemptions.pop(id, None)
        self._plain.keep(id, voucher, received, sale, paid, at, window, self.next_number(REDEMPTIONS))

    def send_captures(self) -> None:
        """Send what was captured so far, for the database to store while the rest is decided; `save` does it too."""
        self._plain.send(self._transaction)

    def _unfold(self, id: bytes) -> bool:
        """Whether it was captured by rows that are not sent yet, and so now is kept as others are."""
        found = self._plain.take(id)
        if found is None:
            return False
        redemption, posting, self._numbers[id] = found
        self._redemptions[id] = redemption
        self._changed_redemptions[id] = None
        self._history.append(posting)
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
        self.send_captures()
        self._save_entry(kind, at, window, reference, [*map(posting_row, self._history), *self._plain.postings])
        self._save_requests(signer, at)
        save.replace(tables.voucher, [*map(voucher_row, self._changed_vouchers.values())])
        self._save_redemptions()
        captured = [_known(self._redemptions[each.redemption_id]) for each in self._history if each.kind == "capture"]
        save.append(tables.spend, [(*each.voucher, each.id) for each in captured])
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
            stored = _known(self._requests[key])
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
            rows.append(redemption_row(_known(self._redemptions[id]), self._numbers[id]))
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


def _known(found: Known | None) -> Known:
    assert found is not None
    return found


def _nothing() -> None:
    """What is taken in where nothing had to be asked."""


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
