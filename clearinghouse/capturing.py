"""Redemptions that follow one another in a batch, decided in one loop.

This is a hot path: at the peak thousands of redemptions are to be decided a second, nearly all of them
plain: authorized and captured at once, of a voucher that is here and usable, with nothing suspended, money in every
fund, and no limit near. What is asked of such a redemption is what `Redeem.decide` asks, as comparisons of a few
numbers; what those of one kind share (terms, agreement, standing fund) is looked up once a run, and how one kind is
paid (legs, movements, messages) is worked out once for all runs. Money and totals are booked once a kind and run.

Whatever is not plain goes to `Redeem.decide`, which has every reason for which a request can be refused, over the books
as those before it left them; only what needs no books at all leaves their booking for later. So this file never refuses
anything, and a property test holds both ways against each other, row by row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from clearinghouse.desk import Desk, visitors_to_json
from clearinghouse.domain.exposure import Position, exposed_fen
from clearinghouse.redeeming import Redeem
from custodian.book_rows import legs_to_json
from custodian.books import StoredAnswer
from custodian.decisions import Answered, Received, Reply
from custodian.plain_captures import Paid
from custodian.totals import Captures
from quanlian import custody
from quanlian.accounts import ceiling_account, reimbursement_account
from quanlian.agreements import Agreement
from quanlian.apportionment import FundingPlan, Leg, Reservation, split
from quanlian.campaign_changes import Standing
from quanlian.custody import VoucherState, in_custody
from quanlian.discounts import discount
from quanlian.ledger import Movement
from quanlian.redemptions import Sides, borne_by, redeemed
from quanlian.signing import SigningKey
from quanlian.suspensions import SuspensionKind, key_subject, merchant_subject, voucher_subject
from quanlian.terms import Terms, VoucherType
from quanlian.wire import CaptureMessages, Moment, Purchase

REMEMBERED = 16_384
"""How many ways of paying are remembered; beyond, they are forgotten together."""

SENT_TOGETHER = 250
"""Captures of a batch after which what they leave is sent to the database, which stores it while others are decided."""

_PLENTY_FEN = 2**62
MERCHANT, VOUCHER = SuspensionKind.MERCHANT, SuspensionKind.VOUCHER


class Payment:
    """How redemptions of one kind with one discount are paid while no fund is dry; never changed once it is made."""

    __slots__ = (
        "category",
        "discount_fen",
        "messages",
        "movements",
        "owed_fen",
        "paid",
        "sides",
        "visitors",
        "visitors_fen",
    )

    def __init__(self, use: Use, legs: tuple[Leg, ...], movements: tuple[Movement, ...], discount_fen: int) -> None:
        self.sides, self.category, self.discount_fen = use.sides, use.category, discount_fen
        self.paid = Paid(discount_fen, legs_to_json(legs), use.agreement_name, use.terms.hold_seconds)
        issuer, redeemer, _ = use.sides
        self.owed_fen = 0 if issuer == redeemer else borne_by(issuer, legs)
        funders = use.visitors.accounts if use.visitors else ()
        self.visitors = tuple([(leg.account, leg.amount_fen) for leg in legs if leg.account in funders])
        """What the redeeming region's standing fund pays, funder by funder; empty where it is not asked."""
        self.visitors_fen = sum([fen for _, fen in self.visitors])
        counted = (Movement(use.ceiling, issuer, posted_fen=self.visitors_fen),) if self.visitors_fen else ()
        self.movements = movements + counted
        self.messages = CaptureMessages(
            use.sides,
            legs,
            discount_fen,
            use.category,
            use.agreement_name,
            custody.CLEARINGHOUSE,
            use.terms.hold_seconds,
        )


class Offer(NamedTuple):
    """A voucher type as its campaign stands, for a category and channel that it covers."""

    terms: Terms
    voucher_type: VoucherType
    standing: Standing


class Use(NamedTuple):
    """What redemptions of one voucher type share in one region, category and channel, as all stands now."""

    sides: Sides
    category: str
    terms: Terms
    voucher_type: VoucherType
    valid_until: int
    """What a notice gave the holders, in UTC seconds; 0 if none did."""
    agreement: Agreement | None
    agreement_name: str
    visitors: FundingPlan | None
    ceiling: str
    """The account of what counts against a yearly ceiling under the agreement; empty at home."""
    ceiling_fen: int | None
    payments: dict[PaymentKey, Payment | None]
    """Those that are known, of all that is the same here."""


class Room:
    """How far a region's exposure may move before a limit or a warning is to be looked at."""

    __slots__ = ("_before", "_high_fen", "_limit_fen", "_low_fen", "due_fen", "less_fen", "more_fen", "posted_fen")

    def __init__(self, position: Position) -> None:
        self._before = position
        self._low_fen, self._high_fen = position.quiet_between
        self._limit_fen = position.limit_fen
        self.posted_fen = self.due_fen = 0
        """What this run added."""
        self.more_fen = self.less_fen = -1
        """By what the exposure may surely rise, as by what is owed, and fall, as by what is due: then it is quiet."""

    def is_quiet(self, posted_fen: int, due_fen: int) -> bool:
        """Whether the region may owe and be due so much more, and no threshold is reached or left."""
        now_fen = self._exposed_fen(0, 0)
        self.more_fen = min(self._high_fen - 1, self._limit_fen) - now_fen - 1
        self.less_fen = now_fen - self._low_fen - 1
        within = not posted_fen or now_fen + posted_fen <= self._limit_fen
        return within and self._low_fen <= self._exposed_fen(posted_fen, due_fen) < self._high_fen

    def take(self, posted_fen: int, due_fen: int) -> None:
        self.posted_fen += posted_fen
        self.due_fen += due_fen
        self.more_fen -= posted_fen
        self.less_fen -= due_fen

    def _exposed_fen(self, posted_fen: int, due_fen: int) -> int:
        known = self._before
        owed_fen = known.owed_posted_fen + self.posted_fen + posted_fen
        due_fen += known.due_posted_fen + self.due_fen
        return exposed_fen(known.owed_held_fen, owed_fen, due_fen, known.credit_offset_bp)


class _Left(dict[str, int]):
    """What each account may still pay; read when it is first asked for."""

    def __init__(self, left: Callable[[str], int]) -> None:
        self._left = left

    def __missing__(self, account: str) -> int:
        self[account] = fen = self._left(account)
        return fen


OfferKey = tuple[bytes, int, str, str]
UseKey = tuple[bytes, int, str, str, str]
PaymentKey = tuple[Reservation, int, int]
"""Reservation, discount and, where the agreement looks at it, order."""


class Payments:
    """Those that are remembered, by all that they follow from: what uses of one kind share, and then their key."""

    def __init__(self) -> None:
        self._known: dict[tuple[Sides, str, str, int, FundingPlan | None], dict[PaymentKey, Payment | None]] = {}
        self._room = REMEMBERED

    def of(
        self, sides: Sides, category: str, agreement: str, hold_seconds: int, visitors: FundingPlan | None
    ) -> dict[PaymentKey, Payment | None]:
        return self._known.setdefault((sides, category, agreement, hold_seconds, visitors), {})

    def grew(self) -> None:
        """One more is remembered; beyond the limit they are forgotten together."""
        self._room -= 1
        if self._room < 0:
            self._known.clear()
            self._room = REMEMBERED


class Run:
    """Redemptions that follow one another in one transaction."""

    def __init__(self, desk: Desk, payments: Payments) -> None:
        self._desk, self._at = desk, desk.at
        self._payments = payments
        self._moment = Moment(desk.at, desk.window)
        self._suspended = desk.suspensions.kinds
        self._uses: dict[UseKey, Use | None] = {}
        self._offers: dict[OfferKey, Offer | None] = {}
        self._regions: dict[str, bool] = {}
        self._keys: dict[bytes, bool] = {}
        self._begin()

    def _begin(self) -> None:
        """Nothing is taken yet: rooms and money are as the books have them."""
        self._rooms: dict[str, Room] = {}
        self._free = _Left(self._desk.books.free_fen)
        self._counted: Counter[str] = Counter()
        """What this run added against yearly ceilings."""
        self._made: dict[Payment, list[int]] = {}
        """How many, and the orders together."""

    def decide(self, works: Sequence[Redeem]) -> list[Reply]:
        self._want_accounts(works)
        replies: list[Reply] = []
        for number, work in enumerate(works, 1):
            if self._needs_no_books(work.received):
                replies.append(work.decide(self._desk))
            elif found := self._plain(work.received):
                replies.append(self._capture(work.received, *found))
            else:
                self._book()
                replies.append(work.decide(self._desk))
            if number % SENT_TOGETHER == 0:
                self._desk.send_captures()
        self._book()
        return replies

    def _want_accounts(self, works: Sequence[Redeem]) -> None:
        """All accounts that these may move are read at once, with the first that is asked for."""
        desk, books = self._desk, self._desk.books
        accounts, regions, reserved = set[str](), set[str](), dict[int, Reservation]()
        for work in works:
            item, region = work.received.item, work.received.redeeming_region
            if item is None or work.received.key is None or not isinstance(item.subject, Purchase):
                continue
            regions.add(region)
            state = books.voucher(item.subject.key)
            if state is None:
                continue
            reserved[id(state.reservation)] = state.reservation
            use = self._use_of(item.subject, region)
            if use is not None and use.ceiling:
                accounts.add(use.ceiling)
        accounts.update(leg.account for reservation in reserved.values() for leg in reservation.legs())
        plans = [plan for region in regions if (plan := desk.visitors(region))]
        books.want(accounts=sorted(accounts.union(*(plan.accounts for plan in plans))))

    # Judging

    def _needs_no_books(self, received: Received) -> bool:
        """Whether it was answered before, or refused at the edge: unreadable, by an unknown key, or badly signed."""
        answered = self._desk.books.request((received.participant, received.request_id))
        return answered is not None or (received.refusal is not None and received.key is None)

    def _plain(self, received: Received) -> tuple[Purchase, VoucherState, Use, Payment] | None:
        """What is needed to capture it; None where it must be judged with every reason."""
        item, key, books = received.item, received.key, self._desk.books
        if item is None or key is None or received.refusal is not None or item.operation != "redeem":
            return None
        purchase = item.subject
        assert isinstance(purchase, Purchase)
        state, region = books.voucher(purchase.key), received.redeeming_region
        if (
            state is None
            or state.status != custody.USABLE
            or not in_custody(state, custody.CLEARINGHOUSE)
            or not self._is_good(key, purchase.voucher.issued_at)
        ):
            return None
        use = self._use_of(purchase, region)
        if use is None or not self._is_valid(use, state, purchase, region):
            return None
        order = purchase.sale.order
        found = discount(use.voucher_type, order)
        if found.refusal is not None or purchase.expected_fen not in (0, found.amount_fen):
            return None
        payment = self._payment_of(use, state.reservation, found.amount_fen, order.order_fen)
        return (purchase, state, use, payment) if payment and self._is_covered(use, payment) else None

    def _is_good(self, key: SigningKey, issued_at: int) -> bool:
        """Whether the key was valid then and nothing is held against it, whatever it signed."""
        good = self._keys.get(key.key_id)
        if good is None:
            good = not self._is_suspended(SuspensionKind.KEY, key_subject(key.key_id))
            self._keys[key.key_id] = good
        return good and key.revoked_from is None and key.not_before <= issued_at < key.not_after

    def _is_valid(self, use: Use, state: VoucherState, purchase: Purchase, region: str) -> bool:
        """Whether this holder may use the voucher now, there."""
        voucher, kinds = purchase.voucher, self._suspended
        return (
            voucher.not_before <= self._at < max(voucher.not_after, use.valid_until)
            and voucher.issuer == use.terms.issuer
            and voucher.campaign == use.terms.campaign == state.campaign
            and voucher.terms_hash == state.terms_hash
            and (voucher.roaming != "never" or region == voucher.issuer)
            and (not purchase.payer_tag or purchase.payer_tag == voucher.holder_tag)
            and not (
                MERCHANT in kinds and self._is_suspended(MERCHANT, merchant_subject(region, purchase.sale.merchant))
            )
            and not (VOUCHER in kinds and self._is_suspended(VOUCHER, voucher_subject(state.key)))
        )

    def _is_suspended(self, kind: SuspensionKind, subject: str) -> bool:
        return self._desk.suspensions.find(kind, subject) is not None

    def _is_covered(self, use: Use, payment: Payment) -> bool:
        """Whether every fund has the money, the ceiling the room, and both regions' limits too."""
        free = self._free
        for account, fen in payment.visitors:
            if free[account] < fen:
                return False
        if use.ceiling_fen is not None and payment.visitors_fen > self._ceiling_left(use, use.ceiling_fen):
            return False
        issuer, redeemer, _ = payment.sides
        owed_fen, room = payment.owed_fen, self._room(issuer)
        if owed_fen > room.more_fen and not room.is_quiet(owed_fen, 0):
            return False
        room = self._room(redeemer)
        return owed_fen <= room.less_fen or room.is_quiet(0, owed_fen)

    def _ceiling_left(self, use: Use, ceiling_fen: int) -> int:
        used = self._desk.books.balance(use.ceiling)
        return ceiling_fen - used.posted_fen - used.held_fen - self._counted[use.ceiling]

    def _room(self, region: str) -> Room:
        room = self._rooms.get(region)
        if room is None:
            room = self._rooms[region] = Room(self._desk.position(region))
        return room

    # What redemptions of one kind share

    def _use_of(self, purchase: Purchase, redeemer: str) -> Use | None:
        voucher, index, order = purchase.voucher, purchase.key.voucher_index, purchase.sale.order
        if index >= len(voucher.voucher_types):
            return None
        key = (voucher.terms_hash, voucher.voucher_types[index], redeemer, order.category, order.channel)
        try:
            return self._uses[key]
        except KeyError:
            use = self._uses[key] = self._use(*key)
            return use

    def _use(self, terms_hash: bytes, number: int, redeemer: str, category: str, channel: str) -> Use | None:
        """None where such vouchers cannot be used so at all now."""
        desk, offer = self._desk, self._offer_of((terms_hash, number, category, channel))
        if offer is None or not self._is_open(redeemer) or not offer.standing.covers_region(offer.terms, redeemer):
            return None
        terms, voucher_type, standing = offer
        issuer, campaign = terms.issuer, terms.campaign
        sides, valid_until = Sides(issuer, redeemer, campaign), standing.given.valid_until
        if issuer == redeemer:
            payments = self._payments.of(sides, category, "", terms.hold_seconds, None)
            return Use(sides, category, terms, voucher_type, valid_until, None, "", None, "", None, payments)
        agreement, visitors = desk.agreement(campaign, issuer, redeemer), desk.visitors(redeemer)
        if agreement is None:
            return None
        return Use(
            sides,
            category,
            terms,
            voucher_type,
            valid_until,
            agreement,
            agreement.name,
            visitors,
            ceiling_account(redeemer, desk.year, agreement.number),
            agreement.yearly_ceiling_fen(redeemer),
            self._payments.of(sides, category, agreement.name, terms.hold_seconds, visitors),
        )

    def _offer_of(self, key: OfferKey) -> Offer | None:
        if key not in self._offers:
            self._offers[key] = self._offer(*key)
        return self._offers[key]

    def _offer(self, terms_hash: bytes, number: int, category: str, channel: str) -> Offer | None:
        terms = self._desk.terms(terms_hash)
        if terms is None or not 0 < number <= len(terms.voucher_types) or not self._is_open(terms.issuer):
            return None
        voucher_type = terms.voucher_types[number - 1]
        standing = self._desk.campaigns.standing(terms.issuer, terms.campaign)
        good = not standing.paused and category in voucher_type.categories and standing.covers_channel(terms, channel)
        return Offer(terms, voucher_type, standing) if good else None

    def _is_open(self, region: str) -> bool:
        """Whether a region is not suspended."""
        if region not in self._regions:
            self._regions[region] = not self._is_suspended(SuspensionKind.REGION, region)
        return self._regions[region]

    def _payment_of(self, use: Use, reservation: Reservation, discount_fen: int, order_fen: int) -> Payment | None:
        by_order_fen = order_fen if use.agreement and use.agreement.follows_order else 0
        key = (reservation, discount_fen, by_order_fen)
        try:
            return use.payments[key]
        except KeyError:
            payment = use.payments[key] = self._payment(use, reservation, discount_fen, order_fen)
            self._payments.grew()
            return payment

    def _payment(self, use: Use, reservation: Reservation, discount_fen: int, order_fen: int) -> Payment | None:
        """None where the standing fund is not there to be asked: that is for the judge."""
        issuer, redeemer, _ = use.sides
        if (issuer != redeemer and use.visitors is None) or discount_fen > min(order_fen, reservation.total_fen):
            return None
        agreement, visitors = use.agreement, use.visitors
        paid = split(discount_fen, order_fen, reservation, agreement, redeemer, issuer, visitors, lambda _: _PLENTY_FEN)
        if paid is None or paid.visitors_dry:
            return None
        return Payment(
            use, paid.legs, redeemed(use.sides, reservation, paid, reimbursement_account(redeemer)), discount_fen
        )

    # Taking

    def _capture(
        self, received: Received, purchase: Purchase, state: VoucherState, use: Use, payment: Payment
    ) -> Answered:
        """What `quanlian.redemptions.redeem` makes of it, kept and answered; the rest is booked with the run."""
        desk, books, at = self._desk, self._desk.books, self._at
        sale, id, issuer = purchase.sale, received.redemption_id, state.key.issuer
        self._prove(received, purchase, use, payment)
        self._take(use, payment, sale.order.order_fen)
        books.capture(id, state, received, sale, payment.paid, at, desk.window)
        sequence = desk.next_news(issuer)
        written = payment.messages.written
        answer, event = written(id, state.key, sale.order.order_fen, self._moment, received.request_id, sequence)
        desk.keep_news(issuer, sequence, event)
        batch = received.batch
        books.keep_batch(batch)
        books.answer(
            (received.participant, received.request_id),
            StoredAnswer(received.body_hash, answer, id, "redeem", batch.id if batch else None),
            at,
        )
        return Answered(answer)

    def _prove(self, received: Received, purchase: Purchase, use: Use, payment: Payment) -> None:
        """What limited the redeeming region's part, as it was before this redemption."""
        ceiling_left_fen = None if use.ceiling_fen is None else self._ceiling_left(use, use.ceiling_fen)
        visitors = visitors_to_json(use.visitors if payment.visitors else None, self._free, ceiling_left_fen)
        order_fen = purchase.sale.order.order_fen
        self._desk.keep_proof((received.redemption_id, purchase.shown, order_fen, payment.discount_fen, visitors))

    def _take(self, use: Use, payment: Payment, order_fen: int) -> None:
        free = self._free
        for account, fen in payment.visitors:
            free[account] -= fen
        if use.ceiling_fen is not None:
            self._counted[use.ceiling] += payment.visitors_fen
        issuer, redeemer, _ = payment.sides
        if payment.owed_fen:
            self._rooms[issuer].take(payment.owed_fen, 0)
            self._rooms[redeemer].take(0, payment.owed_fen)
        made = self._made.get(payment)
        if made is None:
            self._made[payment] = [1, order_fen]
        else:
            made[0] += 1
            made[1] += order_fen

    def _book(self) -> None:
        """Move what was taken since the last booking, once a kind."""
        desk, books = self._desk, self._desk.books
        for payment, (count, order_fen) in self._made.items():
            books.move(payment.movements, count)
            captures = Captures(count, order_fen, count * payment.discount_fen)
            books.count_captures(payment.sides, payment.category, desk.at, desk.window, captures)
        for region, room in self._rooms.items():
            desk.move_position(region, posted_fen=room.posted_fen, due_fen=room.due_fen)
        self._begin()
