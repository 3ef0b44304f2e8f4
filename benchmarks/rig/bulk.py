"""A clearinghouse's books after many redemptions, made in bulk.

Who pays what is decided by the same functions as in the service (discount, split, capture, refund, ceilings), once for
all redemptions of a hand-over that agree in campaign, region and discount; every row that the service writes of a
redemption is written, by its own `Books`: voucher, hand-over, redemption, postings, spend, proof, answer, feed, sums by
window and hour, ledger lines with their digests. What is left out is what was signed around the requests
(`signed_batch`), the checks before a decision, and unless they are asked for answers and feed. `quanlian ledger check`
holds of the whole result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from clearinghouse import schema
from clearinghouse.desk import Desk, visitors_to_json
from clearinghouse.domain.ceilings import ceiling_movements
from clearinghouse.domain.exposure import owed_change
from clearinghouse.service import ClearinghouseService
from custodian.books import StoredAnswer
from quanlian import redemptions, wire
from quanlian.accounts import reimbursement_account
from quanlian.agreements import lookup
from quanlian.apportionment import split
from quanlian.custody import VoucherState
from quanlian.discounts import Order, discount
from quanlian.ledger import Movement, is_limited
from quanlian.redemptions import Outcome, Posting, Redemption, RefundRule, Sale
from quanlian.refusals import Refusal
from quanlian.terms import Terms
from quanlian.wire import Stamp, posting_message
from rig.delta import CAMPAIGNS, CLEARINGHOUSE, Setting
from rig.issuing import PACK, HandedOver, Issued, Issuer
from rig.traffic import MERCHANT

HAND_OVER_PACKS, REFUND_IN = 200, 33
BYTES_A_REDEMPTION = 5_000
"""Of disk, files of evidence included."""


class _Use(NamedTuple):
    """A redemption that stands for all of its hand-over with the same region and discount, and what it moves."""

    captured: Redemption
    posting: Posting
    movements: list[Movement]
    owed_fen: int


class Bulk:
    """Fills the open window."""

    def __init__(self, setting: Setting, service: ClearinghouseService, issuer: Issuer) -> None:
        self._setting, self._service, self._issuer = setting, service, issuer

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
                _HandOverUsed(desk, terms, handed, self._setting, self._issuer, told).use(count)
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
        self, desk: Desk, terms: Terms, handed: HandedOver, setting: Setting, issuer: Issuer, told: bool
    ) -> None:
        self._desk, self._terms, self._handed, self._issuer, self._told = desk, terms, handed, issuer, told
        self._others = [code for code in setting.regions if code != terms.issuer]
        self._uses: dict[tuple[str, int], _Use] = {}
        self._counts: dict[tuple[str, int], int] = {}
        self._left: dict[str, dict[str, int]] = {}
        self._proofs: list[dict[str, object]] = []

    def use(self, count: int) -> None:
        used = self._handed.vouchers[:count]
        self._desk.books.load_vouchers(each.state.key for each in used)
        for each in used:
            self._redeem(each)
        self._move()
        self._desk.transaction.insert(schema.proof, self._proofs)

    def _redeem(self, issued: Issued) -> None:
        random, id = self._issuer.random, self._issuer.fresh()
        redeemer = random.choice(self._others)
        order = Order(random.randrange(4000, 30_000), "retail", "shop")
        fen = discount(self._terms.voucher_types[0], order).amount_fen
        use = self._use(issued.state, redeemer, fen, order)
        self._counts[(redeemer, fen)] += 1
        sale = Sale(MERCHANT, id.hex(), order)
        used = use.captured._replace(id=id, voucher=issued.state.key, sale=sale, order_fen=order.order_fen)
        posting = use.posting._replace(redemption_id=id, order_fen=order.order_fen)
        dead = issued.state.captured()
        self._prove(issued, used)
        self._apply(Outcome(used, dead, (), posting), "redeem")
        if random.randrange(REFUND_IN) == 0:
            self._refund(used, dead, order.order_fen // 3)

    def _use(self, state: VoucherState, redeemer: str, fen: int, order: Order) -> _Use:
        key = (redeemer, fen)
        if key not in self._uses:
            self._uses[key], self._counts[key] = self._decide(state, redeemer, fen, order), 0
        return self._uses[key]

    def _decide(self, state: VoucherState, redeemer: str, fen: int, order: Order) -> _Use:
        desk, issuer = self._desk, self._terms.issuer
        agreement = lookup(desk.agreements(), self._terms.campaign, issuer, redeemer, desk.at)
        visitors, free = desk.visitors(redeemer), desk.books.free_fen
        paid = split(fen, order.order_fen, state.reservation, agreement, redeemer, issuer, visitors, free)
        assert paid is not None
        draft = Redemption(
            id=b"", voucher=state.key, campaign=self._terms.campaign, terms_hash=self._terms.terms_hash,
            redeeming_region=redeemer, participant=redeemer, acquirer="", sale=Sale(MERCHANT, "", order),
            order_fen=order.order_fen, discount_fen=fen, legs=paid.legs, standing=paid.legs, rest=paid.released,
            expires_at=desk.at + self._terms.hold_seconds, authorized_at=desk.at, agreement=agreement.name,
        )  # fmt: skip
        held = redemptions.authorize(draft, state, paid)
        credit = reimbursement_account(redeemer)
        captured = redemptions.capture(held.redemption, held.voucher, 0, credit, desk.window, desk.at)
        assert isinstance(captured, Outcome)
        assert captured.posting is not None
        after = captured.redemption
        movements = [*held.movements, *captured.movements, *ceiling_movements(None, after)]
        return _Use(after, captured.posting, movements, owed_change(None, after)[1])

    def _prove(self, issued: Issued, used: Redemption) -> None:
        plan, redeemer = self._desk.visitors(used.redeeming_region), used.redeeming_region
        assert plan is not None
        if redeemer not in self._left:
            self._left[redeemer] = {account: self._desk.books.free_fen(account) for account in plan.accounts}
        left = self._left[redeemer]
        self._proofs.append(
            {
                "redemption_id": used.id,
                "token": issued.token,
                "order_fen": used.order_fen,
                "discount_fen": used.discount_fen,
                "visitors": visitors_to_json(plan, left, None),
            }
        )
        for leg in used.legs:
            if leg.account in left:
                left[leg.account] -= leg.amount_fen

    def _refund(self, used: Redemption, dead: VoucherState, order_fen: int) -> None:
        desk, credit = self._desk, reimbursement_account(used.redeeming_region)
        rule = RefundRule(self._terms.refund_policy, self._terms.voucher_types[0].minimum_spend_fen)
        outcome = redemptions.refund(used, dead, order_fen, rule, credit, desk.window, desk.at)
        assert not isinstance(outcome, Refusal)
        owed_fen = owed_change(used, outcome.redemption)[1]
        self._owe(used.redeeming_region, owed_fen)
        desk.books.move(ceiling_movements(used, outcome.redemption))
        self._apply(outcome, "refund")

    def _apply(self, outcome: Outcome, operation: str) -> None:
        """Book it, answer it, tell the issuer."""
        desk, redemption = self._desk, outcome.redemption
        desk.books.apply(outcome)
        if not self._told:
            return
        assert outcome.posting is not None
        request_id = self._issuer.fresh()
        answer = wire.accepted(Stamp(request_id, CLEARINGHOUSE, desk.at), outcome)
        stored = StoredAnswer(bytes(32), answer, redemption.id, operation)
        desk.books.answer((redemption.participant, request_id), stored, desk.at)
        desk.tell(redemption.voucher.issuer, posting=posting_message(outcome.posting, redemption))

    def _move(self) -> None:
        """What every use moves, as often as it was used."""
        for (redeemer, _), use in zip(self._uses, self._uses.values(), strict=True):
            count = self._counts[(redeemer, use.captured.discount_fen)]
            moved = [Movement(each[0], each[1], *(fen * count for fen in each[2:])) for each in use.movements]
            self._desk.books.move(moved)
            self._owe(redeemer, use.owed_fen * count)

    def _owe(self, redeemer: str, fen: int) -> None:
        self._desk.move_position(self._terms.issuer, posted_fen=fen)
        self._desk.move_position(redeemer, due_fen=fen)
