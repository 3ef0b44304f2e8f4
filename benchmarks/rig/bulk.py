"""A clearinghouse's books after many redemptions, made in bulk.

Who pays what is decided by the same functions as in the service (discount, split, redeem, refund, ceilings), once for
all redemptions that agree in campaign, region and discount; every row that the service writes of a redemption is
written, by its own `Books`: voucher, hand-over, redemption, postings, spend, proof, answer, feed, sums by window and
hour, ledger lines with their digests. What is left out is what was signed around the requests (`signed_batch`), the
checks before a decision, and unless they are asked for answers and feed. `quanlian ledger check` holds of the whole
result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from clearinghouse import schema
from clearinghouse.capturing import SENT_TOGETHER
from clearinghouse.desk import Desk, visitors_to_json
from clearinghouse.domain.ceilings import ceiling_movements
from clearinghouse.domain.exposure import owed_change
from clearinghouse.service import ClearinghouseService
from custodian.book_rows import legs_to_json
from custodian.books import StoredAnswer
from custodian.plain_captures import Paid
from custodian.totals import Captures
from quanlian import redemptions, wire
from quanlian.accounts import reimbursement_account
from quanlian.agreements import lookup
from quanlian.apportionment import Leg, split
from quanlian.custody import VoucherState
from quanlian.discounts import Order, discount
from quanlian.ledger import Movement, is_limited
from quanlian.redemptions import Redemption, RefundRule, Sale, Sides
from quanlian.refusals import Refusal
from quanlian.terms import Terms
from quanlian.vouchers import VoucherKey
from quanlian.wire import Stamp, posting_message
from rig.delta import CAMPAIGNS, CLEARINGHOUSE, Setting
from rig.issuing import PACK, HandedOver, Issued, Issuer
from rig.traffic import MERCHANT

HAND_OVER_PACKS, REFUND_IN, ORDER_STEP_FEN = 200, 33, 500
BYTES_A_REDEMPTION = 5_000
"""Of disk, files of evidence included."""


class _Asked(NamedTuple):
    """Who asked for a redemption, as `custodian.plain_captures.Asked`."""

    redeeming_region: str
    participant: str
    acquirer: str


class _Use(NamedTuple):
    """What redemptions of one campaign with the same region and discount share, while no fund is dry."""

    asked: _Asked
    sides: Sides
    paid: Paid
    messages: wire.CaptureMessages
    movements: tuple[Movement, ...]
    legs: tuple[Leg, ...]
    owed_fen: int


_UseKey = tuple[bytes, str, int]
"""Terms, region and discount."""

_Uses = dict[_UseKey, _Use]


class Bulk:
    """Fills the open window."""

    def __init__(self, setting: Setting, service: ClearinghouseService, issuer: Issuer) -> None:
        self._setting, self._service, self._issuer = setting, service, issuer
        self._uses: _Uses = {}

    def load(
        self, campaigns: list[Terms], size: int, told: bool, progress: Callable[[int], None], spared: int = 0
    ) -> list[Issued]:
        """`size` captures over all campaigns, each in another region than its voucher's; one in 33 is refunded.

        Returns at least `spared` vouchers that are left, some of each hand-over: so that they are found among all
        that is stored and not at its end. Unless `told`, the answers to the requests and the issuers' feeds are left
        out, which settlement does not read.
        """
        left: list[Issued] = []
        uses = self._hand_overs(campaigns, size)
        for terms, count in uses:
            packs = -(-count // PACK) + -(-spared // len(uses) // PACK)
            handed = self._issuer.hand_over(terms, packs)
            self._issuer.random.shuffle(handed.vouchers)
            with self._saved() as desk:
                _take(desk, terms, handed)
            with self._saved() as desk:
                others = [code for code in self._setting.regions if code != terms.issuer]
                _HandOverUsed(desk, terms, handed, others, self._issuer, self._uses, told).use(count)
            left += handed.vouchers[count:]
            progress(count)
        return left

    @contextmanager
    def _saved(self) -> Iterator[Desk]:
        with self._service.database.transaction() as transaction:
            desk = self._service.engine.desk(transaction)
            yield desk
            desk.save()

    def _hand_overs(self, campaigns: list[Terms], size: int) -> list[tuple[Terms, int]]:
        """Campaign and number of captures of each, in no order."""
        found: list[tuple[Terms, int]] = []
        for number, terms in enumerate(campaigns):
            wanted, most = size // CAMPAIGNS + (number < size % CAMPAIGNS), HAND_OVER_PACKS * PACK
            found += [(terms, min(most, wanted - start)) for start in range(0, wanted, most)]
        self._issuer.random.shuffle(found)
        return found


def _take(desk: Desk, terms: Terms, handed: HandedOver) -> None:
    """The vouchers of a hand-over with their money, as the clearinghouse takes them."""
    message = handed.message
    signed = {"body": message.body, "key_id": message.key_id, "signature": message.signature}
    key = {"issuer": terms.issuer, "number": handed.number}
    desk.transaction.insert(schema.hand_over, [{**key, **signed, "taken_at": desk.at}])
    rows = [{**each.state.key._asdict(), "number": handed.number} for each in handed.vouchers]
    desk.transaction.insert(schema.handed_voucher, rows)
    for each in handed.vouchers:
        desk.books.put_voucher(each.state)
    for leg in handed.vouchers[0].state.reservation.legs():
        if is_limited(leg.account):
            fen = leg.amount_fen * len(handed.vouchers)
            desk.books.move([Movement(leg.account, "", reserved_fen=fen, limit_fen=fen)])


class _HandOverUsed:
    """The uses of one hand-over's vouchers, in a transaction."""

    def __init__(
        self,
        desk: Desk,
        terms: Terms,
        handed: HandedOver,
        others: list[str],
        issuer: Issuer,
        known: _Uses,
        told: bool,
    ) -> None:
        self._desk, self._terms, self._handed, self._others = desk, terms, handed, others
        self._issuer, self._known, self._told = issuer, known, told
        self._moment = wire.Moment(desk.at, desk.window)
        self._uses: dict[_UseKey, list[int]] = {}
        """The orders of each."""
        self._left: dict[str, dict[str, int]] = {}
        self._refunded: list[bytes] = []

    def use(self, count: int) -> None:
        used = self._handed.vouchers[:count]
        self._desk.books.load_vouchers(each.state.key for each in used)
        self._desk.books.load_balances(self._accounts())
        for number, each in enumerate(used, 1):
            self._redeem(each)
            if number % SENT_TOGETHER == 0:
                self._desk.send_captures()
        self._desk.send_captures()
        for key, order_fens in self._uses.items():
            self._book(self._known[key], order_fens)
        self._desk.books.load_redemptions(self._refunded)
        for id in self._refunded:
            self._refund(id)

    def _accounts(self) -> Iterator[str]:
        for code in self._others:
            plan = self._desk.visitors(code)
            assert plan is not None
            yield from plan.accounts

    def _redeem(self, issued: Issued) -> None:
        random, id, desk = self._issuer.random, self._issuer.fresh(), self._desk
        order_fen = random.randrange(4000, 30_000, ORDER_STEP_FEN)
        order = Order(order_fen, "retail", "shop")
        use = self._use(issued.state, random.choice(self._others), order)
        self._prove(issued, id, use, order_fen)
        sale = Sale(MERCHANT, id.hex(), order)
        desk.books.capture(id, issued.state, use.asked, sale, use.paid, desk.at, desk.window)
        if self._told:
            self._tell(id, issued.state.key, use, order_fen)
        if random.randrange(REFUND_IN) == 0:
            self._refunded.append(id)

    def _use(self, state: VoucherState, redeemer: str, order: Order) -> _Use:
        fen = discount(self._terms.voucher_types[0], order).amount_fen
        key = (self._terms.terms_hash, redeemer, fen)
        if key not in self._known:
            self._known[key] = self._decide(state, redeemer, fen, order)
        self._uses.setdefault(key, []).append(order.order_fen)
        return self._known[key]

    def _decide(self, state: VoucherState, redeemer: str, fen: int, order: Order) -> _Use:
        desk, terms = self._desk, self._terms
        agreement = lookup(desk.agreements(), terms.campaign, terms.issuer, redeemer, desk.at)
        visitors, free = desk.visitors(redeemer), desk.books.free_fen
        paid = split(fen, order.order_fen, state.reservation, agreement, redeemer, terms.issuer, visitors, free)
        assert paid is not None
        assert not paid.visitors_dry
        draft = Redemption(
            id=b"", voucher=state.key, campaign=terms.campaign, terms_hash=terms.terms_hash, redeeming_region=redeemer,
            participant=redeemer, acquirer="", sale=Sale(MERCHANT, "", order), order_fen=order.order_fen,
            discount_fen=fen, legs=paid.legs, standing=paid.legs, rest=paid.released,
            expires_at=desk.at + terms.hold_seconds, authorized_at=desk.at, agreement=agreement.name,
        )  # fmt: skip
        credit = reimbursement_account(redeemer)
        used = redemptions.redeem(draft, state, paid, credit, desk.window, desk.at)
        sides, hold = used.redemption.sides, terms.hold_seconds
        return _Use(
            _Asked(redeemer, redeemer, ""),
            sides,
            Paid(fen, legs_to_json(paid.legs), agreement.name, hold),
            wire.CaptureMessages(sides, paid.legs, fen, "retail", agreement.name, CLEARINGHOUSE, hold),
            (*used.movements, *ceiling_movements(None, used.redemption)),
            paid.legs,
            owed_change(None, used.redemption)[1],
        )

    def _prove(self, issued: Issued, id: bytes, use: _Use, order_fen: int) -> None:
        redeemer = use.asked.redeeming_region
        plan = self._desk.visitors(redeemer)
        assert plan is not None
        if redeemer not in self._left:
            self._left[redeemer] = {account: self._desk.books.free_fen(account) for account in plan.accounts}
        left = self._left[redeemer]
        self._desk.keep_proof((id, issued.token, order_fen, use.paid.discount_fen, visitors_to_json(plan, left, None)))
        for leg in use.legs:
            if leg.account in left:
                left[leg.account] -= leg.amount_fen

    def _tell(self, id: bytes, voucher: VoucherKey, use: _Use, order_fen: int) -> None:
        """Answer it, and tell the issuer."""
        desk, request_id = self._desk, self._issuer.fresh()
        sequence = desk.next_news(voucher.issuer)
        answer, event = use.messages.written(id, voucher, order_fen, self._moment, request_id, sequence)
        desk.keep_news(voucher.issuer, sequence, event)
        desk.books.answer((use.asked.participant, request_id), StoredAnswer(bytes(32), answer, id, "redeem"), desk.at)

    def _book(self, use: _Use, order_fens: list[int]) -> None:
        """What all uses of one kind move and count, together."""
        desk, count, fen = self._desk, len(order_fens), use.paid.discount_fen
        desk.books.move(use.movements, count)
        captures = Captures(count, sum(order_fens), count * fen)
        desk.books.count_captures(use.sides, "retail", desk.at, desk.window, captures)
        self._owe(use.asked.redeeming_region, use.owed_fen * count)

    def _refund(self, id: bytes) -> None:
        """A third of the order comes back."""
        desk, used = self._desk, self._desk.books.redemption(id)
        assert used is not None
        voucher, credit = desk.books.voucher(used.voucher), reimbursement_account(used.redeeming_region)
        assert voucher is not None
        rule = RefundRule(self._terms.refund_policy, self._terms.voucher_types[0].minimum_spend_fen)
        outcome = redemptions.refund(used, voucher, used.order_fen // 3, rule, credit, desk.window, desk.at)
        assert not isinstance(outcome, Refusal)
        assert outcome.posting is not None
        after = outcome.redemption
        self._owe(used.redeeming_region, owed_change(used, after)[1])
        desk.books.move(ceiling_movements(used, after))
        desk.books.apply(outcome)
        if self._told:
            request_id = self._issuer.fresh()
            answer = wire.accepted(Stamp(request_id, CLEARINGHOUSE, desk.at), outcome)
            stored = StoredAnswer(bytes(32), answer, id, "refund")
            desk.books.answer((after.participant, request_id), stored, desk.at)
            desk.tell(after.voucher.issuer, posting=posting_message(outcome.posting, after))

    def _owe(self, redeemer: str, fen: int) -> None:
        self._desk.move_position(self._terms.issuer, posted_fen=fen)
        self._desk.move_position(redeemer, due_fen=fen)
