"""Redemptions at this region's merchants: decided here, or sent to the clearinghouse and booked when it answers.

Load → decide → commit → answer. A request for the clearinghouse is stored in the outbox under this node's own id in
the same commit that reserves its order, so that the very same bytes can be sent again after any crash.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from chassis import telemetry
from chassis.commit import Overloaded
from custodian.book_rows import legs_to_json
from custodian.books import RequestKey, StoredAnswer
from custodian.decisions import Answered, Elsewhere, Received, decide, keep_reversed, settle, undo, written
from custodian.evidence import SignedBatch
from custodian.totals import HourlyKey
from node.away import keep_away
from node.desk import Desk, Sent
from node.way import Way
from quanlian import wire
from quanlian.accounts import advance_away_account, clearing_account, payable_account, used_away_account
from quanlian.apportionment import Leg
from quanlian.ledger import Movement, is_limited
from quanlian.redemptions import COMPILED, Outcome, Redemption, State
from quanlian.refusals import Refusal, RefusalReason
from quanlian.v1 import redemption_pb2
from quanlian.wire import Later, Purchase

_log = telemetry.logger("redemptions")


class Forwarded(NamedTuple):
    """The clearinghouse decides; its answer will come under `own_id`. `content` is what to send, again if need be."""

    own_id: bytes
    content: bytes


class QuoteAsked(NamedTuple):
    """The clearinghouse is asked for a quote with `content`; nothing is kept until it has answered."""

    received: Received
    content: bytes


@dataclass(slots=True)
class Intake:
    """A platform's request; `own_id` is the fresh id that it gets if it must be sent on for the first time.

    While the clearinghouse is unreachable, or the platform has no more room on the way to it, a voucher that only it
    could decide is refused at once: nothing was sent, so nothing can have happened. `entered` is the id under which the
    request is on the `way`; it leaves the way again where the commit fails.
    """

    received: Received
    own_id: bytes
    unreachable: bool = False
    way: Way = field(default_factory=Way)
    entered: bytes | None = None

    @property
    def key(self) -> tuple[str, bytes]:
        return (self.received.participant, self.received.request_id)

    def load(self, desk: Desk) -> None:
        item = self.received.item
        desk.books.want(requests=[self.key])
        desk.want(outbox=[self.key])
        if item is None:
            return
        if isinstance(item.subject, Purchase):
            sale = item.subject.sale
            desk.want(orders=[(sale.merchant, sale.order_id)])
            desk.books.want(vouchers=[item.subject.key])
            desk.suspensions.want_purchase(item.subject, desk.name)
        elif isinstance(item.subject, Later):
            desk.books.want(redemptions=[item.subject.redemption_id])
            desk.want(away=[item.subject.redemption_id])
        else:
            original = (self.received.participant, item.subject)
            desk.books.want(requests=[original])
            desk.want(outbox=[original])

    def decide(self, desk: Desk) -> Answered | Forwarded | QuoteAsked | Overloaded:
        sent = desk.sent(self.key)
        if sent is not None and not (sent.answered and desk.books.request(self.key)):
            if sent.body_hash != self.received.body_hash:
                refusal = wire.refused(self._stamp(desk), Refusal(RefusalReason.REQUEST_ID_REUSED))
                return Answered(refusal)
            if not sent.answered:
                return (
                    Forwarded(sent.own_id, sent.content)
                    if self._may_go(sent.own_id)
                    else self.way.overloaded(self.received.participant)
                )
            self.own_id = sent.own_id
        item = self.received.item
        if item and item.operation == "reverse" and desk.books.request(self.key) is None:
            key = (self.received.participant, _original(item))
            original = desk.sent(key)
            if original is not None and not _is_captured_here(desk, key):
                if not self._may_go(self.own_id):
                    return self.way.overloaded(self.received.participant)
                content = wire.reverse_item(self.own_id, original.own_id, self._origin)
                return self._forward(desk, content, original.merchant, original.order_id)
        reply = decide(self.received, desk.books, desk)
        return reply if isinstance(reply, Answered) else self._elsewhere(desk, reply)

    def _elsewhere(self, desk: Desk, reply: Elsewhere) -> Answered | Forwarded | QuoteAsked | Overloaded:
        item = self.received.item
        assert item is not None
        if isinstance(item.subject, Purchase):
            if self.unreachable or not (item.operation == "quote" or self._may_go(self.own_id)):
                return settle(self.received, Refusal(RefusalReason.NOT_IN_CUSTODY), desk.books, desk)
            sale = item.subject.sale
            content = wire.readdressed(self.received.content, self.own_id, self._origin, reply.discount_fen)
            if item.operation == "quote":
                return QuoteAsked(self.received, content)
            desk.take_order(sale.merchant, sale.order_id, self.own_id, None)
            return self._forward(desk, content, sale.merchant, sale.order_id)
        assert isinstance(item.subject, Later)
        known = desk.away(item.subject.redemption_id)
        if known is None or known.caller != self.received.participant:
            return settle(self.received, Refusal(RefusalReason.REDEMPTION_UNKNOWN), desk.books, desk)
        if not self._may_go(self.own_id):
            return self.way.overloaded(self.received.participant)
        if item.operation == "capture" and known.state == State.AUTHORIZED.name:
            if not desk.holds_order(known.merchant, known.order_id, known.redemption_id):
                refusal = Refusal(RefusalReason.HOLD_EXPIRED, {"expires_at": known.expires_at})
                return settle(self.received, refusal, desk.books, desk)
            desk.take_order(known.merchant, known.order_id, known.redemption_id, None)
        content = wire.readdressed(self.received.content, self.own_id, self._origin)
        return self._forward(desk, content, known.merchant, known.order_id)

    def _may_go(self, own_id: bytes) -> bool:
        if self.entered is None and self.way.enter(self.received.participant, own_id):
            self.entered = own_id
        return self.entered is not None

    def _forward(self, desk: Desk, content: bytes, merchant: str, order_id: str) -> Forwarded:
        """Send it on; one that was refused before without using its id up goes as the same bytes again."""
        item, batch, before = self.received.item, self.received.batch, desk.sent(self.key)
        assert item is not None
        content = before.content if before else content
        desk.books.keep_batch(batch)
        desk.put_outbox(
            Sent(
                caller=self.received.participant,
                request_id=self.received.request_id,
                own_id=self.own_id,
                operation=item.operation,
                body_hash=self.received.body_hash,
                content=content,
                merchant=merchant,
                order_id=order_id,
                redemption_id=item.subject.redemption_id if isinstance(item.subject, Later) else None,
                sent_at=desk.at,
                answered=False,
                request_batch=batch.id if batch else None,
            )
        )
        return Forwarded(self.own_id, content)

    @property
    def _origin(self) -> wire.Origin:
        return wire.Origin(self.received.participant, self.received.request_id, self.received.body_hash)

    def _stamp(self, desk: Desk) -> wire.Stamp:
        return wire.Stamp(self.received.request_id, desk.name, desk.at)


@dataclass(slots=True)
class QuoteAnswer:
    """What the clearinghouse answered to a quote; `content` is None where it could not be reached."""

    received: Received
    content: bytes | None

    def load(self, desk: Desk) -> None:
        desk.books.want(requests=[(self.received.participant, self.received.request_id)])

    def decide(self, desk: Desk) -> bytes:
        """The answer for the platform: kept under its own id, unless the same request was answered meanwhile."""
        received, books = self.received, desk.books
        if books.request((received.participant, received.request_id)) is not None:
            reply = decide(received, books, desk)
            assert isinstance(reply, Answered)
            return reply.content
        if self.content is None:
            return settle(received, Refusal(RefusalReason.NOT_IN_CUSTODY), books, desk).content
        books.keep_batch(received.batch)
        batch_id = received.batch.id if received.batch else None
        origin = wire.Origin(received.participant, received.request_id, received.body_hash)
        return keep_quote(desk, origin, self.content, batch_id)


def keep_quote(desk: Desk, origin: wire.Origin, content: bytes, request_batch: bytes | None) -> bytes:
    """Keep what the clearinghouse answered to a quote under the platform's id; returns it as the platform gets it."""
    answer = wire.answered_again(content, origin.request_id)
    refusal = redemption_pb2.RedemptionAnswer.FromString(content).refusal
    if not refusal.reason or RefusalReason(refusal.reason).consumes_request_id:
        stored = StoredAnswer(origin.body_hash, answer, None, "quote", request_batch)
        desk.books.answer((origin.participant, origin.request_id), stored, desk.at)
    return answer


@dataclass(slots=True)
class ClearinghouseAnswer:
    """What the clearinghouse answered to an item of the outbox; booked once, however often it comes.

    `batch` is the signed message that it came in.
    """

    content: bytes
    batch: SignedBatch | None = None
    _message: redemption_pb2.RedemptionAnswer | None = None

    @property
    def message(self) -> redemption_pb2.RedemptionAnswer:
        """Raises InvalidInput for what cannot be read."""
        if self._message is None:
            self._message = wire.parse(redemption_pb2.RedemptionAnswer, self.content, "answer")
        return self._message

    def load(self, desk: Desk) -> None:
        message = self.message
        desk.want(sent=[message.request_id], away=[message.redemption_id] if message.redemption_id else [])

    def decide(self, desk: Desk) -> tuple[bytes, bytes] | None:
        """Our own id, and the answer for the platform; None for an answer that nobody here asked for."""
        message = self.message
        sent = desk.sent_as(message.request_id)
        if sent is None:
            _log.warning("an answer to what this node did not send is dropped", request_id=message.request_id.hex())
            return None
        caller_key = (sent.caller, sent.request_id)
        known = desk.books.request(caller_key)
        if known is not None:
            return sent.own_id, known.answer
        answer = wire.answered_again(self.content, sent.request_id)
        desk.put_outbox(sent._replace(answered=True, answer_batch=self.batch.id if self.batch else None))
        desk.books.keep_batch(self.batch)
        if message.HasField("refusal"):
            reason = RefusalReason(message.refusal.reason)
            self._take_refusal(desk, sent, reason)
            if not reason.consumes_request_id:
                return sent.own_id, answer
        redemption_id = message.redemption_id or None
        if not message.HasField("refusal"):
            self._book(desk, sent, message)
            undone = self._reverse_here(desk, sent) if sent.operation == "reverse" else None
            if undone is not None:
                stamp = wire.Stamp(sent.request_id, desk.name, desk.at)
                answer, redemption_id = written(stamp, undone)
        stored = StoredAnswer(sent.body_hash, answer, redemption_id, sent.operation, sent.request_batch)
        desk.books.answer(caller_key, stored, desk.at)
        return sent.own_id, answer

    def _take_refusal(self, desk: Desk, sent: Sent, reason: RefusalReason) -> None:
        """Free the order of what did not come about; a hold whose capture was refused stands as long as it stood."""
        if sent.operation in ("authorize", "redeem"):
            desk.free_order(sent.merchant, sent.order_id, sent.own_id)
        elif sent.operation == "capture" and sent.redemption_id is not None:
            known = desk.away(sent.redemption_id)
            if reason is RefusalReason.HOLD_EXPIRED:
                desk.free_order(sent.merchant, sent.order_id, sent.redemption_id)
            elif known is not None and known.state == State.AUTHORIZED.name:
                desk.take_order(sent.merchant, sent.order_id, sent.redemption_id, known.expires_at)

    def _reverse_here(self, desk: Desk, reverse: Sent) -> Outcome | Refusal | None:
        """What had been refused without using its id up is reversed for good here too, wherever its voucher will be.

        Where its voucher had come home and it was decided here, what stands of it is undone: no copy of it counts
        at the clearinghouse any more.
        """
        original = desk.sent_as(_original(wire.bytes_to_item(reverse.content)))
        if original is None or not original.answered:
            return None
        key = (original.caller, original.request_id)
        known = desk.books.request(key)
        if known is None:
            keep_reversed(key, desk.books, desk)
            return None
        return undo(known, reverse.request_id, desk.books, desk) if _decided_here(desk, key) else None

    def _book(self, desk: Desk, sent: Sent, message: redemption_pb2.RedemptionAnswer) -> None:
        if not message.redemption_id:
            return
        state = State(message.state)
        if state is State.AUTHORIZED:
            desk.take_order(sent.merchant, sent.order_id, message.redemption_id, message.expires_at)
        elif state is State.VOIDED:
            desk.free_order(sent.merchant, sent.order_id, message.redemption_id)
        else:
            desk.take_order(sent.merchant, sent.order_id, message.redemption_id, None)
        keep_away(desk, sent, message)
        if message.HasField("posting"):
            book_posting(desk, sent.caller, message.posting)


def book_posting(desk: Desk, acquirer: str, posting: redemption_pb2.Posting) -> None:
    """Our merchants' side of a capture or refund, booked, kept and counted."""
    legs = wire.legs_of(posting.legs)
    book_owed(desk, acquirer, posting, legs)
    keep_clearing_item(desk, "merchant", posting, legs)
    count_away(desk, posting)


def book_owed(desk: Desk, acquirer: str, posting: redemption_pb2.Posting, legs: tuple[Leg, ...]) -> None:
    """Owed by the clearinghouse, owed to the acquirer; visitors' funds as used."""
    owed = sum(leg.amount_fen for leg in legs if is_limited(leg.account))
    desk.books.move(
        [
            Movement(clearing_account(desk.name), posting.issuer, posted_fen=owed),
            Movement(payable_account(acquirer), posting.issuer, posted_fen=-owed),
        ]
    )
    desk.dues.owe(posting.window, acquirer, clearing_account(desk.name), owed)
    if posting.issuer != desk.name:
        book_used_away(desk, posting, legs, posting.issuer)


def count_away(desk: Desk, posting: redemption_pb2.Posting, times: int = 1) -> None:
    """A posting of the clearinghouse in this region's running totals; each is heard of once in either role."""
    desk.books.hourly.count(
        HourlyKey(posting.at, posting.issuer, posting.redeeming_region, posting.campaign, posting.category),
        posting.order_fen,
        posting.discount_fen,
        times,
    )


def book_used_away(desk: Desk, posting: redemption_pb2.Posting, legs: tuple[Leg, ...], counterpart: str) -> None:
    """Own funders' legs of a posting of the clearinghouse, in the books and in the window's total."""
    desk.books.move(used_away(desk.name, legs, counterpart))
    desk.dues.use(posting.window, desk.name, legs)


@lru_cache(maxsize=COMPILED)
def used_away(region: str, legs: tuple[Leg, ...], counterpart: str) -> tuple[Movement, ...]:
    """Mirror of this region's own legs that the clearinghouse posted: Dr `used_away` / Cr `clearing`, and beside these
    what its funders owe each other for advanced ones.
    """
    movements = []
    for leg in legs:
        _, owner, year, campaign, funder = leg.account.split("/")
        if owner == region and is_limited(leg.account):
            account = used_away_account(region, int(year), campaign, funder)
            movements.append(Movement(account, counterpart, posted_fen=leg.amount_fen))
            movements.append(Movement(clearing_account(region), counterpart, posted_fen=-leg.amount_fen))
            movements += (
                Movement(
                    advance_away_account(region, campaign, debtor.rpartition("/")[2], funder),
                    counterpart,
                    posted_fen=fen,
                )
                for debtor, fen in leg.advanced
            )
    return tuple(movements)


def keep_clearing_item(desk: Desk, side: str, posting: redemption_pb2.Posting, legs: tuple[Leg, ...]) -> None:
    """What the statement of its window must show again."""
    desk.add_clearing_item(
        (side, posting.redemption_id, posting.number),
        (
            posting.window,
            posting.issuer,
            posting.redeeming_region,
            posting.campaign,
            posting.order_fen,
            posting.discount_fen,
            legs_to_json(legs),
            posting.category,
            posting.at,
            posting.pack_id,
            posting.index,
            posting.request_id,
        ),
    )


def _decided_here(desk: Desk, key: RequestKey) -> Redemption | None:
    """The redemption that a request made on this node's own books."""
    known = desk.books.request(key)
    return desk.books.redemption(known.redemption_id) if known and known.redemption_id else None


def _is_captured_here(desk: Desk, key: RequestKey) -> bool:
    """Whether no copy of a request can be taken anywhere else: its voucher is dead, here and for good."""
    made = _decided_here(desk, key)
    return made is not None and made.captured_at > 0


def _original(item: wire.Item) -> bytes:
    assert isinstance(item.subject, bytes)
    return item.subject
