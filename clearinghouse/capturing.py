"""Redemptions that follow one another in a batch, decided in one loop.

This is a hot path: at the peak thousands of redemptions are to be decided a second, nearly all of them
plain: authorized and captured at once, of a voucher that is here and usable, with nothing suspended, money in every
fund, and no limit near. What is asked of such a redemption is what `Redeem.decide` asks, as comparisons of a few
numbers; what those of one kind share (terms, agreement, standing fund) is looked up once a run, and how one kind is
paid (legs, movements, messages) is worked out once for all runs. Money and totals are booked once a kind and run.

Whatever is not plain goes to `Redeem.decide`, which has every reason for which a request can be refused, over the books
as those before it left them. So this file never refuses anything, and a property test holds both ways against each
other, row by row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from clearinghouse.desk import Desk, visitors_to_json
from clearinghouse.domain.exposure import Position, exposed_fen
from clearinghouse.redeeming import Redeem
from custodian.books import StoredAnswer
from custodian.decisions import Answered, Received, Reply
from custodian.totals import Captures
from quanlian import custody, wire
from quanlian.accounts import ceiling_account, reimbursement_account
from quanlian.agreements import Agreement
from quanlian.apportionment import FundingPlan, Leg, Reservation, split
from quanlian.campaign_changes import Standing
from quanlian.custody import VoucherState, in_custody
from quanlian.discounts import discount
from quanlian.ledger import Movement
from quanlian.redemptions import Posting, Redemption, Sides, State, borne_by, redeemed
from quanlian.signing import SigningKey
from quanlian.suspensions import SuspensionKind, key_subject, merchant_subject, voucher_subject
from quanlian.terms import Terms, VoucherType
from quanlian.wire import CaptureMessages, Purchase

REMEMBERED = 16_384
"""How many ways of paying are remembered; beyond, they are forgotten together."""

_PLENTY_FEN = 2**62


class Payment:
    """How redemptions of one kind with one discount are paid while no fund is dry; never changed once it is made."""

    __slots__ = (
        "category",
        "discount_fen",
        "legs",
        "messages",
        "movements",
        "owed_fen",
        "sides",
        "visitors",
        "visitors_fen",
    )

    def __init__(self, use: Use, legs: tuple[Leg, ...], movements: tuple[Movement, ...], discount_fen: int) -> None:
        self.sides, self.category, self.discount_fen, self.legs = use.sides, use.category, discount_fen, legs
        issuer, redeemer, _ = use.sides
        self.owed_fen = 0 if issuer == redeemer else borne_by(issuer, legs)
        funders = use.visitors.accounts if use.visitors else ()
        self.visitors = tuple([(leg.account, leg.amount_fen) for leg in legs if leg.account in funders])
        """What the redeeming region's standing fund pays, funder by funder; empty where it is not asked."""
        self.visitors_fen = sum([fen for _, fen in self.visitors])
        counted = (Movement(use.ceiling, issuer, posted_fen=self.visitors_fen),) if self.visitors_fen else ()
        self.movements = movements + counted
        self.messages = CaptureMessages(
            use.sides, legs, discount_fen, use.category, use.agreement_name, custody.CLEARINGHOUSE
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


class Room:
    """How far a region's exposure may move before a limit or a warning is to be looked at."""

    __slots__ = ("_before", "_high_fen", "_limit_fen", "_low_fen", "due_fen", "posted_fen")

    def __init__(self, position: Position) -> None:
        self._before = position
        self._low_fen, self._high_fen = position.quiet_between
        self._limit_fen = position.limit_fen
        self.posted_fen = self.due_fen = 0
        """What this run added."""

    def is_quiet(self, posted_fen: int, due_fen: int) -> bool:
        """Whether the region may owe and be due so much more, and no threshold is reached or left."""
        exposure_fen = self._exposed_fen(posted_fen, due_fen)
        within = not posted_fen or self._exposed_fen(0, 0) + posted_fen <= self._limit_fen
        return self._low_fen <= exposure_fen < self._high_fen and within

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
Payments = dict[tuple[Sides, str, str, FundingPlan | None, Reservation, int, int], Payment | None]
"""By all that they follow from: sides, category, agreement, standing fund, reservation, discount and, where the
agreement looks at it, order.
"""


class Run:
    """Redemptions that follow one another in one transaction."""

    def __init__(self, desk: Desk, payments: Payments) -> None:
        self._desk = desk
        self._payments = payments
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
        for work in works:
            found = self._plain(work.received)
            if found is None:
                self._book()
                replies.append(work.decide(self._desk))
            else:
                replies.append(self._capture(work.received, *found))
        self._book()
        return replies

    def _want_accounts(self, works: Sequence[Redeem]) -> None:
        """All accounts that these may move are read at once, with the first that is asked for."""
        desk, accounts = self._desk, set[str]()
        items = [(each.received.item, each.received.redeeming_region) for each in works]
        purchases = [(item.subject, region) for item, region in items if item and isinstance(item.subject, Purchase)]
        desk.campaigns.load((each.voucher.issuer, each.voucher.campaign) for each, _ in purchases)
        desk.load_visitors({region for _, region in purchases})
        for purchase, _ in purchases:
            state = desk.books.voucher(purchase.key)
            if state is not None:
                accounts.update([leg.account for leg in state.reservation.legs()])
        for region in {region for _, region in purchases}:
            plan = desk.visitors(region)
            accounts.update(plan.accounts if plan else ())
        desk.books.want(accounts=sorted(accounts))

    # Judging

    def _plain(self, received: Received) -> tuple[Purchase, VoucherState, Use, Payment] | None:
        """What is needed to capture it; None where it must be judged with every reason."""
        item, key, books = received.item, received.key, self._desk.books
        if item is None or key is None or received.refusal is not None or item.operation != "redeem":
            return None
        purchase = item.subject
        assert isinstance(purchase, Purchase)
        state = books.voucher(purchase.key)
        if (
            state is None
            or not self._is_usable(state, purchase, key)
            or books.request((received.participant, received.request_id))
        ):
            return None
        use = self._use_of(purchase, received.redeeming_region)
        if use is None or not self._is_valid(use, purchase, received.redeeming_region):
            return None
        found = discount(use.voucher_type, purchase.sale.order)
        if found.refusal is not None or purchase.expected_fen not in (0, found.amount_fen):
            return None
        payment = self._payment_of(use, state.reservation, found.amount_fen, purchase.sale.order.order_fen)
        return (purchase, state, use, payment) if payment and self._is_covered(use, payment) else None

    def _is_usable(self, state: VoucherState, purchase: Purchase, key: SigningKey) -> bool:
        """Whether the voucher is here and neither used nor lost, and its key good for it."""
        voucher = purchase.voucher
        return (
            state.status == custody.USABLE
            and in_custody(state, custody.CLEARINGHOUSE)
            and state.campaign == voucher.campaign
            and key.not_before <= voucher.issued_at < key.not_after
            and self._is_good(key)
            and self._since(SuspensionKind.VOUCHER, voucher_subject(state.key)) is None
        )

    def _is_good(self, key: SigningKey) -> bool:
        """Whether nothing is held against a key, whatever it signed."""
        good = self._keys.get(key.key_id)
        if good is None:
            good = self._since(SuspensionKind.KEY, key_subject(key.key_id)) is None
            self._keys[key.key_id] = good
        return good and key.revoked_from is None

    def _is_valid(self, use: Use, purchase: Purchase, region: str) -> bool:
        """Whether this holder may use the voucher now, there."""
        voucher = purchase.voucher
        return (
            voucher.not_before <= self._desk.at < max(voucher.not_after, use.valid_until)
            and (voucher.issuer, voucher.campaign) == (use.terms.issuer, use.terms.campaign)
            and (voucher.roaming != "never" or region == voucher.issuer)
            and (not purchase.payer_tag or purchase.payer_tag == voucher.holder_tag)
            and self._since(SuspensionKind.MERCHANT, merchant_subject(region, purchase.sale.merchant)) is None
        )

    def _since(self, kind: SuspensionKind, subject: str) -> int | None:
        return self._desk.suspensions.since(kind, subject)

    def _is_covered(self, use: Use, payment: Payment) -> bool:
        """Whether every fund has the money, the ceiling the room, and both regions' limits too."""
        free = self._free
        for account, fen in payment.visitors:
            if free[account] < fen:
                return False
        if use.ceiling_fen is not None and payment.visitors_fen > self._ceiling_left(use, use.ceiling_fen):
            return False
        issuer, redeemer, _ = payment.sides
        if issuer == redeemer:
            return self._room(issuer).is_quiet(0, 0)
        owed_fen = payment.owed_fen
        return self._room(issuer).is_quiet(owed_fen, 0) and self._room(redeemer).is_quiet(0, owed_fen)

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
        voucher, index, order = purchase.voucher, purchase.voucher_index, purchase.sale.order
        if index >= len(voucher.voucher_types):
            return None
        key = (voucher.terms_hash, voucher.voucher_types[index], redeemer, order.category, order.channel)
        if key not in self._uses:
            self._uses[key] = self._use(*key)
        return self._uses[key]

    def _use(self, terms_hash: bytes, number: int, redeemer: str, category: str, channel: str) -> Use | None:
        """None where such vouchers cannot be used so at all now."""
        desk, offer = self._desk, self._offer_of((terms_hash, number, category, channel))
        if offer is None or not self._is_open(redeemer) or not offer.standing.covers_region(offer.terms, redeemer):
            return None
        terms, voucher_type, standing = offer
        issuer, campaign = terms.issuer, terms.campaign
        sides, valid_until = Sides(issuer, redeemer, campaign), standing.given.valid_until
        if issuer == redeemer:
            return Use(sides, category, terms, voucher_type, valid_until, None, "", None, "", None)
        agreement, visitors = desk.agreement(campaign, issuer, redeemer), desk.visitors(redeemer)
        if agreement is None:
            return None
        ceiling = ceiling_account(redeemer, desk.year, agreement.number)
        ceiling_fen = agreement.yearly_ceiling_fen(redeemer)
        return Use(
            sides, category, terms, voucher_type, valid_until, agreement, agreement.name, visitors, ceiling, ceiling_fen
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
            self._regions[region] = self._since(SuspensionKind.REGION, region) is None
        return self._regions[region]

    def _payment_of(self, use: Use, reservation: Reservation, discount_fen: int, order_fen: int) -> Payment | None:
        known = self._payments
        by_order_fen = order_fen if use.agreement and use.agreement.follows_order else 0
        key = (use.sides, use.category, use.agreement_name, use.visitors, reservation, discount_fen, by_order_fen)
        if key not in known:
            if len(known) >= REMEMBERED:
                known.clear()
            known[key] = self._payment(use, reservation, discount_fen, order_fen)
        return known[key]

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
        desk, at, sale = self._desk, self._desk.at, purchase.sale
        order_fen, discount_fen, legs = sale.order.order_fen, payment.discount_fen, payment.legs
        redemption = Redemption(
            received.redemption_id, state.key, state.campaign, purchase.voucher.terms_hash, received.redeeming_region,
            received.participant, received.acquirer, sale, order_fen, discount_fen, legs, legs, custody.EMPTY,
            at + use.terms.hold_seconds, at, use.agreement_name, State.CAPTURED, at, desk.window, postings=1,
        )  # fmt: skip
        posting = Posting(redemption.id, 1, "capture", order_fen, discount_fen, legs, desk.window, at)
        dead = state._replace(status=custody.CAPTURED, hold=None, reservation=custody.EMPTY)
        self._prove(redemption, purchase, use, payment)
        self._take(use, payment, order_fen)
        desk.books.keep(redemption, dead, posting)
        sequence = desk.next_news(state.key.issuer)
        answer, event = payment.messages.written(redemption, received.request_id, sequence)
        desk.keep_news(state.key.issuer, sequence, event)
        batch = received.batch
        desk.books.keep_batch(batch)
        desk.books.answer(
            (received.participant, received.request_id),
            StoredAnswer(received.body_hash, answer, redemption.id, "redeem", batch.id if batch else None),
            at,
        )
        return Answered(answer)

    def _prove(self, redemption: Redemption, purchase: Purchase, use: Use, payment: Payment) -> None:
        """What limited the redeeming region's part, as it was before this redemption."""
        ceiling_left_fen = None if use.ceiling_fen is None else self._ceiling_left(use, use.ceiling_fen)
        plan = use.visitors if payment.visitors else None
        visitors = visitors_to_json(plan, self._free, ceiling_left_fen)
        token = wire.token_to_bytes(purchase.token)
        self._desk.keep_proof((redemption.id, token, redemption.order_fen, redemption.discount_fen, visitors))

    def _take(self, use: Use, payment: Payment, order_fen: int) -> None:
        free = self._free
        for account, fen in payment.visitors:
            free[account] -= fen
        if use.ceiling_fen is not None:
            self._counted[use.ceiling] += payment.visitors_fen
        issuer, redeemer, _ = payment.sides
        if payment.owed_fen:
            self._rooms[issuer].posted_fen += payment.owed_fen
            self._rooms[redeemer].due_fen += payment.owed_fen
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
