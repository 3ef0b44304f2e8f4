"""The node's side of one transaction: what its works read and write beside the shared books.

A work is one thing to decide (a request, a claim, an answer of the clearinghouse, news from its feed). All works of a
batch load first, then decide in order over the same desk, then everything is saved together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

from chassis.database import Found, Transaction
from chassis.rows import form_of
from custodian.book_rows import json_to_legs
from custodian.books import REDEMPTIONS, Books, Take
from custodian.campaigns import Campaigns
from custodian.decisions import Apportioned, Received
from custodian.suspensions import Suspensions
from node import schema
from node.domain.claims import Issue, usual_issue
from node.dues import AT_ONCE, Dues
from quanlian.accounts import payable_account
from quanlian.apportionment import Reservation, split
from quanlian.custody import EMPTY, VoucherState
from quanlian.ledger import is_limited
from quanlian.redemptions import Outcome, Redemption, State
from quanlian.signing import Signer, Verifier
from quanlian.suspensions import SuspensionKind, merchant_subject, voucher_subject
from quanlian.terms import Terms
from quanlian.terms_parsing import parse_terms
from quanlian.v1.redemption_pb2 import RedemptionRecord
from quanlian.validation import Discounted, Facts, MerchantFacts, OrderTaken
from quanlian.vouchers import VoucherKey
from quanlian.wire import Purchase, bought


class Work(Protocol):
    """One thing to decide. `load` says what it will read, for the whole batch to be read at once; `decide` returns
    the result, or a function that gives it once packs are sealed.
    """

    def load(self, desk: Desk) -> None: ...

    def decide(self, desk: Desk) -> Any: ...


class Region(NamedTuple):
    """What stays the same from batch to batch.

    `leverage_bound` is for visitors' vouchers, `minimum_leverage` for those that the region issues itself. `verifier`
    tells how its own keys stand.
    """

    code: str
    leverage_bound: Fraction | None
    message_signer: Signer
    voucher_signer: Signer
    tag_key: bytes
    verifier: Verifier
    minimum_leverage: Fraction | None = None


RoundKey = tuple[str, str]
"""Campaign and round."""


class TermsShelf:
    """Parsed terms by hash, and what their rounds usually issue. A version never changes, so what is here stays true.

    `sold_out` are rounds whose quota was exhausted when somebody last asked: a hint where to look first, no more.
    """

    def __init__(self) -> None:
        self._terms: dict[bytes, Terms] = {}
        self._usual: dict[tuple[bytes, str], Issue | None] = {}
        self.sold_out: set[RoundKey] = set()

    def clear(self) -> None:
        """The database was set back: it may have no row for what is here."""
        self._terms.clear()
        self.sold_out.clear()

    def get(self, terms_hash: bytes) -> Terms | None:
        return self._terms.get(terms_hash)

    def put(self, document: bytes) -> Terms:
        terms = parse_terms(document, "terms")
        self._terms[terms.terms_hash] = terms
        return terms

    def usual_issue(self, terms: Terms | None, round_id: str) -> Issue | None:
        """As `node.domain.claims.usual_issue`, worked out once a version and round."""
        if terms is None:
            return None
        key = (terms.terms_hash, round_id)
        if key not in self._usual:
            self._usual[key] = usual_issue(terms, round_id)
        return self._usual[key]


ClearingItemKey = tuple[str, bytes, int]
"""Side, redemption, number of the posting."""


class OrderUse(NamedTuple):
    """Who used a public voucher on an order; `until` is the end of a hold, None once it is captured or undecided."""

    taken_by: bytes
    until: int | None


class Sent(NamedTuple):
    """A request that the clearinghouse decides, as it stands in the outbox."""

    caller: str
    request_id: bytes
    own_id: bytes
    operation: str
    body_hash: bytes
    content: bytes
    merchant: str
    order_id: str
    redemption_id: bytes | None
    sent_at: int
    answered: bool
    request_batch: bytes | None = None
    answer_batch: bytes | None = None


class Away(NamedTuple):
    """A redemption at this region's merchants that the clearinghouse decided, as its latest answer tells it.

    `particulars` is a serialised RedemptionRecord with what nothing here decides by; `number` is given when it is kept.
    """

    redemption_id: bytes
    caller: str
    merchant: str
    order_id: str
    state: str
    order_fen: int
    discount_fen: int
    refunded_order_fen: int
    expires_at: int
    particulars: bytes
    number: int = 0


_SENT = tuple(schema.outbox.c[name] for name in Sent._fields)
_AWAY = tuple(schema.away.c[name] for name in Away._fields)
_OUTBOX_KEY, _OWN_ID = tuple(schema.outbox.primary_key), (schema.outbox.c.own_id,)
_AWAY_KEY, _PACK_KEY = tuple(schema.away.primary_key), tuple(schema.pack.primary_key)
_ORDER_KEY, _MERCHANT_KEY = tuple(schema.merchant_order.primary_key), tuple(schema.merchant.primary_key)
_ITEM_KEY = tuple(schema.clearing_item.primary_key)


class Desk:
    """One transaction of a node; implements `custodian.decisions.Party`."""

    def __init__(self, transaction: Transaction, region: Region, shelf: TermsShelf) -> None:
        self.transaction = transaction
        self.region = region
        self.shelf = shelf
        self.at = transaction.now()
        self.window = 0
        self.books = Books(transaction, self._from_packs)
        self.campaigns = Campaigns(transaction)
        self.suspensions = Suspensions(transaction)
        self.sealing: list[Callable[[], None]] = []
        self.claims: Any = None
        self.dues = Dues()
        self._wanted_orders: list[tuple[str, str]] = []
        self._wanted_outbox: list[tuple[str, bytes]] = []
        self._wanted_sent: list[bytes] = []
        self._wanted_away: list[bytes] = []
        self._away: dict[bytes, Away | None] = {}
        self._changed_away: set[bytes] = set()
        self._clearing_items: dict[ClearingItemKey, tuple[Any, ...]] = {}
        self._withdrawn_items: list[dict[str, Any]] = []
        self._wanted_items: list[ClearingItemKey] = []
        self._known_items: dict[ClearingItemKey, bool] = {}
        self._orders: dict[tuple[str, str], OrderUse | None] = {}
        self._orders_are_named = False
        self._changed_orders: set[tuple[str, str]] = set()
        self._merchants: dict[str, MerchantFacts] = {}
        self._outbox: dict[tuple[str, bytes], Sent | None] = {}
        self._by_own_id: dict[bytes, Sent | None] = {}
        self._changed_outbox: set[tuple[str, bytes]] = set()
        self._packs: dict[bytes, Any] = {}

    # Party

    @property
    def name(self) -> str:
        return self.region.code

    def facts(self, received: Received, purchase: Purchase, voucher: VoucherState | None) -> Facts:
        """The redeeming region's facts, and the issuer's where the voucher was issued here."""
        own = purchase.voucher.issuer == self.region.code
        terms = self.terms(purchase.voucher.terms_hash)
        standing = self.campaigns.standing(purchase.voucher.issuer, purchase.voucher.campaign)
        merchant = self.merchant(purchase.sale.merchant)
        assert received.key is not None
        return Facts(
            voucher=purchase.voucher,
            key=self.suspensions.judged(received.key),
            index=purchase.voucher_index,
            sale=purchase.sale,
            expected_fen=purchase.expected_fen,
            payer_tag=purchase.payer_tag,
            redeeming_region=self.region.code,
            suspended_regions=self.suspensions.regions(purchase.voucher.issuer, self.region.code),
            campaign_known=terms is not None or self._campaign_known(purchase),
            terms=terms if terms and terms.issuer == purchase.voucher.issuer else None,
            known=voucher is not None if own else None,
            state=voucher,
            held_until=self.books.held_until(voucher),
            voucher_suspended_at=self.suspensions.since(SuspensionKind.VOUCHER, voucher_subject(purchase.key)),
            merchant=merchant,
            campaign_suspended=standing.paused,
            standing=standing,
            leverage_bound=None if own else self.region.leverage_bound,
            order_taken=self.order_taken(purchase.sale.merchant, purchase.sale.order_id),
        )

    def apportion(
        self, received: Received, purchase: Purchase, found: Discounted, voucher: VoucherState
    ) -> Apportioned:
        """At home all of the public's part is the issuer's, so no agreement is asked."""
        payers = [leg.account for leg in voucher.reservation.legs()]
        self.books.want(accounts=[*payers, payable_account(received.acquirer)])
        paid = split(
            found.discount_fen,
            purchase.sale.order.order_fen,
            voucher.reservation,
            None,
            self.region.code,
            self.region.code,
            None,
            self.books.free_fen,
        )
        return Apportioned(paid, "")

    def over_cap(self, draft: Redemption) -> None:
        """A home redemption leaves no debt between regions."""

    def credit(self, redemption: Redemption) -> str:
        return payable_account(redemption.acquirer)

    def applied(self, before: Redemption | None, outcome: Outcome, request_id: bytes = b"") -> None:
        """Keep the order reserved as long as the hold or the capture stands, and what its acquirer is owed by whom."""
        redemption = outcome.redemption
        for leg in outcome.posting.legs if outcome.posting else ():
            if is_limited(leg.account):
                self.dues.owe(AT_ONCE, redemption.acquirer, leg.account, leg.amount_fen)
        order = (redemption.sale.merchant, redemption.sale.order_id)
        if redemption.state is State.AUTHORIZED:
            self.take_order(*order, redemption.id, redemption.expires_at)
        elif redemption.state in (State.VOIDED, State.EXPIRED):
            self.free_order(*order, redemption.id)
        elif redemption.state is State.CAPTURED:
            self.take_order(*order, redemption.id, None)

    def want(
        self,
        orders: Iterable[tuple[str, str]] = (),
        outbox: Iterable[tuple[str, bytes]] = (),
        sent: Iterable[bytes] = (),
        away: Iterable[bytes] = (),
        clearing_items: Iterable[ClearingItemKey] = (),
    ) -> None:
        """Note what a work will read beside the books; `fetch` reads it all at once."""
        self._wanted_orders += orders
        self._wanted_outbox += outbox
        self._wanted_sent += sent
        self._wanted_away += away
        self._wanted_items += clearing_items

    def fetch(self) -> None:
        self.books.expect_numbers()
        self.suspensions.expect()
        asked = (
            self._ask_orders(self._wanted_orders),
            self._ask_outbox(self._wanted_outbox),
            self._ask_sent(self._wanted_sent),
            self._ask_away(self._wanted_away),
            self._ask_clearing_items(self._wanted_items),
        )
        self.books.fetch()
        for take in asked:
            take()
        answered = [sent for own_id in self._wanted_sent if (sent := self._by_own_id[own_id])]
        self.books.load_requests((sent.caller, sent.request_id) for sent in answered)

    # Terms, merchants, orders

    def terms(self, terms_hash: bytes) -> Terms | None:
        """Terms that this node holds, from the shelf or the database."""
        known = self.shelf.get(terms_hash)
        if known is None:
            table = schema.terms
            rows = self.transaction.select_keys(table, [table.c.terms_hash], [(terms_hash,)])
            known = self.shelf.put(rows[0].document) if rows else None
        return known

    def _campaign_known(self, purchase: Purchase) -> bool:
        """Whether some version of the voucher's campaign is known here."""
        table = schema.terms
        key = (purchase.voucher.issuer, purchase.voucher.campaign)
        return bool(self.transaction.select_keys(table, [table.c.issuer, table.c.campaign], [key]))

    def load_orders(self, orders: Iterable[tuple[str, str]]) -> None:
        """Order reservations, and the merchants concerned."""
        self._ask_orders(orders)()

    def _ask_orders(self, orders: Iterable[tuple[str, str]]) -> Take:
        missing = [order for order in dict.fromkeys(orders) if order not in self._orders]
        self._orders.update(dict.fromkeys(missing))
        codes = [code for code in dict.fromkeys(merchant for merchant, _ in missing) if code not in self._merchants]
        self._merchants.update((code, MerchantFacts(admitted=False)) for code in codes)
        taken = self.transaction.ask_keys(schema.merchant_order, _ORDER_KEY, missing)
        merchants = self.transaction.ask_keys(schema.merchant, _MERCHANT_KEY, [(code,) for code in codes])

        def take() -> None:
            for row in taken():
                self._orders[(row.merchant, row.order_id)] = OrderUse(row.taken_by, row.until)
            for row in merchants():
                categories = frozenset(json.loads(row.categories))
                self._merchants[row.code] = MerchantFacts(admitted=True, categories=categories)

        return take

    def merchant(self, code: str) -> MerchantFacts:
        """As admitted here, and since when it is suspended if it is."""
        blocked_at = self.suspensions.since(SuspensionKind.MERCHANT, merchant_subject(self.region.code, code))
        admitted = self._merchants[code]
        return admitted if blocked_at is None else admitted._replace(blocked_at=blocked_at)

    def order_taken(self, merchant: str, order_id: str) -> OrderTaken | None:
        """The public voucher that stands on the order, whoever decided it; a hold that has passed does not stand."""
        taken = self._order(merchant, order_id)
        if taken is None or (taken.until is not None and self.at >= taken.until):
            return None
        here = self.books.redemption(taken.taken_by)
        if here is not None:
            return OrderTaken(here.voucher, here.state is not State.AUTHORIZED, taken.until)
        away = self.away(taken.taken_by)
        if away is not None:
            record = RedemptionRecord.FromString(away.particulars)
            return OrderTaken(_voucher_of(record), away.state != State.AUTHORIZED.name, taken.until)
        sent = self.sent_as(taken.taken_by)
        if sent is not None and not sent.answered:
            return OrderTaken(_voucher_of(bought(sent.content, self.name)), is_captured=False)
        return OrderTaken(None, is_captured=True)

    def holds_order(self, merchant: str, order_id: str, taken_by: bytes) -> bool:
        """Whether the order is still `taken_by`'s: once its hold has passed, another voucher may have taken it."""
        taken = self._order(merchant, order_id)
        return taken is not None and taken.taken_by == taken_by

    def _order(self, merchant: str, order_id: str) -> OrderUse | None:
        if (merchant, order_id) not in self._orders:
            self.load_orders([(merchant, order_id), *self._named_orders()])
        return self._orders[(merchant, order_id)]

    def _named_orders(self) -> list[tuple[str, str]]:
        """Once, those of all that the batch has read: what frees one order comes with others that free theirs."""
        if self._orders_are_named:
            return []
        self._orders_are_named = True
        sent = [(each.merchant, each.order_id) for each in self._outbox.values() if each]
        away = [(each.merchant, each.order_id) for each in self._away.values() if each]
        here = [(each.sale.merchant, each.sale.order_id) for each in self.books.redemptions()]
        return sent + away + here

    def take_order(self, merchant: str, order_id: str, taken_by: bytes, until: int | None) -> None:
        self._orders[(merchant, order_id)] = OrderUse(taken_by, until)
        self._changed_orders.add((merchant, order_id))

    def free_order(self, merchant: str, order_id: str, taken_by: bytes) -> None:
        """Give the order free if `taken_by` still holds it; the row stays, its time passed."""
        if self.holds_order(merchant, order_id, taken_by):
            self.take_order(merchant, order_id, taken_by, 0)

    # Outbox

    def load_outbox(self, keys: Iterable[tuple[str, bytes]]) -> None:
        self._ask_outbox(keys)()

    def _ask_outbox(self, keys: Iterable[tuple[str, bytes]]) -> Take:
        missing = [key for key in dict.fromkeys(keys) if key not in self._outbox]
        self._outbox.update(dict.fromkeys(missing))
        return self._keeping(self.transaction.ask_keys(schema.outbox, _OUTBOX_KEY, missing, _SENT))

    def load_sent(self, own_ids: Iterable[bytes]) -> None:
        self._ask_sent(own_ids)()

    def _ask_sent(self, own_ids: Iterable[bytes]) -> Take:
        missing = [own_id for own_id in dict.fromkeys(own_ids) if own_id not in self._by_own_id]
        self._by_own_id.update(dict.fromkeys(missing))
        return self._keeping(self.transaction.ask_keys(schema.outbox, _OWN_ID, [(each,) for each in missing], _SENT))

    def _keeping(self, found: Found) -> Take:
        def take() -> None:
            for row in found():
                self._keep(Sent._make(row))

        return take

    def sent(self, key: tuple[str, bytes]) -> Sent | None:
        if key not in self._outbox:
            self.load_outbox([key])
        return self._outbox[key]

    def sent_as(self, own_id: bytes) -> Sent | None:
        if own_id not in self._by_own_id:
            self.load_sent([own_id])
        return self._by_own_id[own_id]

    def put_outbox(self, sent: Sent) -> None:
        self._keep(sent)
        self._changed_outbox.add((sent.caller, sent.request_id))

    def _keep(self, sent: Sent) -> None:
        self._outbox[(sent.caller, sent.request_id)] = sent
        self._by_own_id[sent.own_id] = sent

    # Away redemptions

    def load_away(self, ids: Iterable[bytes]) -> None:
        self._ask_away(ids)()

    def _ask_away(self, ids: Iterable[bytes]) -> Take:
        missing = [id for id in dict.fromkeys(ids) if id not in self._away]
        self._away.update(dict.fromkeys(missing))
        found = self.transaction.ask_keys(schema.away, _AWAY_KEY, [(id,) for id in missing], _AWAY)
        return lambda: self._away.update((row.redemption_id, Away._make(row)) for row in found())

    def away(self, redemption_id: bytes) -> Away | None:
        if redemption_id not in self._away:
            self.load_away([redemption_id])
        return self._away[redemption_id]

    def put_away(self, away: Away) -> None:
        if not away.number:
            away = away._replace(number=self.books.next_number(REDEMPTIONS))
        self._away[away.redemption_id] = away
        self._changed_away.add(away.redemption_id)

    def load_clearing_items(self, keys: Iterable[ClearingItemKey]) -> None:
        self._ask_clearing_items(keys)()

    def _ask_clearing_items(self, keys: Iterable[ClearingItemKey]) -> Take:
        missing = [key for key in dict.fromkeys(keys) if key not in self._known_items]
        self._known_items.update(dict.fromkeys(missing, False))
        found = self.transaction.ask_keys(schema.clearing_item, _ITEM_KEY, missing, _ITEM_KEY)
        return lambda: self._known_items.update(((row.side, row.redemption_id, row.number), True) for row in found())

    def has_clearing_item(self, key: ClearingItemKey) -> bool:
        """Whether a posting of the clearinghouse is kept already."""
        if key not in self._known_items:
            self.load_clearing_items([key])
        return self._known_items[key]

    def add_clearing_item(self, key: ClearingItemKey, figures: tuple[Any, ...]) -> None:
        """`figures` are the other columns of the row, in their order, but for the entry, which `save` writes."""
        self._known_items[key] = True
        self._clearing_items[key] = (*key, *figures)

    def clearing_item(self, key: ClearingItemKey) -> Mapping[str, Any] | None:
        """The row of one that is kept."""
        if key in self._clearing_items:
            return dict(zip(form_of(schema.clearing_item).names, self._clearing_items[key], strict=False))
        if not self.has_clearing_item(key):
            return None
        return dict(self.transaction.select_keys(schema.clearing_item, _ITEM_KEY, [key])[0]._mapping)

    def withdraw_clearing_item(self, key: ClearingItemKey, withdrawn: Mapping[str, Any]) -> None:
        """What counts no more, kept as `withdrawn` tells; the books take it back by opposite movements."""
        item = self.clearing_item(key)
        self._withdrawn_items.append({**withdrawn, "booked": item.get("entry") if item else None})
        self._known_items[key] = False
        if self._clearing_items.pop(key, None) is None:
            table = schema.clearing_item
            side, redemption_id, number = key
            which = (table.c.side == side, table.c.redemption_id == redemption_id, table.c.number == number)
            self.transaction.connection.execute(table.delete().where(*which))

    # Saving

    def save(self) -> None:
        self.books.save("batch", self.at, signer=self.region.message_signer)
        self.dues.save(self.transaction)
        self._save_clearing_items(self.books.next_entry - 1)
        changed_away = [away for id in sorted(self._changed_away) if (away := self._away[id])]
        self.transaction.replace(schema.away, [(*each[:9], each.number, each.particulars) for each in changed_away])
        self.transaction.replace(
            schema.merchant_order,
            [(*order, *taken) for order in sorted(self._changed_orders) if (taken := self._orders[order])],
        )
        self.transaction.replace(
            schema.outbox, [sent for key in sorted(self._changed_outbox) if (sent := self._outbox[key])]
        )

    def _save_clearing_items(self, entry: int) -> None:
        self.transaction.append(schema.clearing_item, [(*row, entry) for row in self._clearing_items.values()])
        withdrawn = [{**row, "booked": row["booked"] or entry, "entry": entry} for row in self._withdrawn_items]
        self.transaction.insert(schema.withdrawn_posting, withdrawn)

    # Packs

    def _from_packs(self, keys: list[VoucherKey]) -> dict[VoucherKey, VoucherState]:
        """Vouchers that nothing has happened to since their claim."""
        own = [key for key in keys if key.issuer == self.region.code]
        missing = [id for id in dict.fromkeys(key.pack_id for key in own) if id not in self._packs]
        self._packs.update(dict.fromkeys(missing))
        for row in self.transaction.select_keys(schema.pack, _PACK_KEY, [(id,) for id in missing]):
            self._packs[row.pack_id] = row
        found = {key: voucher_of_pack(key, self._packs[key.pack_id]) for key in own if self._packs[key.pack_id]}
        return {key: state for key, state in found.items() if state is not None}


def _voucher_of(record: RedemptionRecord) -> VoucherKey:
    return VoucherKey(record.issuer, record.pack_id, record.index)


def voucher_of_pack(key: VoucherKey, row: Any) -> VoucherState | None:
    """A voucher as its claim left it: at-issue packs went to the clearinghouse with their money at once."""
    types = json.loads(row.voucher_types)
    if not 0 <= key.voucher_index < len(types):
        return None
    given = row.roaming == "at-issue"
    return VoucherState(
        key,
        row.campaign,
        row.terms_hash,
        types[key.voucher_index],
        row.holder_tag,
        row.not_before,
        row.not_after,
        EMPTY if given else reservation_of_pack(row, key.voucher_index),
        epoch=1 if given else 0,
    )


def pack_reservations(text: str) -> list[Any]:
    """Legs of co-funders and of the public by a voucher's index, as JSON; a number stands for the voucher of that
    index, which reserved alike.
    """
    written = json.loads(text)
    return [written[each] if isinstance(each, int) else each for each in written]


def reservation_of_pack(row: Any, index: int) -> Reservation:
    """What a claim reserved for a voucher of a pack's row."""
    cofunders, public = pack_reservations(row.reservations)[index]
    return Reservation(json_to_legs(json.dumps(cofunders)), json_to_legs(json.dumps(public)))
