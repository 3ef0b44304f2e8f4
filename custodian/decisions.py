"""One request over the books as they stand: idempotency, checks, the decision, its answer.

`decide` is called for each request of a batch in order. It changes nothing but the `Books` of the running transaction
and reads no clock: a batch gives what its requests would have given one by one at the batch's time. What node and
clearinghouse know differently comes from the `Party`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from quanlian import custody, redemptions, wire
from quanlian.apportionment import Split
from quanlian.custody import VoucherState, in_custody
from quanlian.redemptions import Outcome, Redemption, RefundRule, State
from quanlian.refusals import Refusal, RefusalReason
from quanlian.signing import SigningKey
from quanlian.terms import Terms
from quanlian.validation import Discounted, Facts, check, check_without_terms
from quanlian.vouchers import VoucherKey
from quanlian.wire import Item, Later, Purchase, Stamp

from .books import CLAIM, Books, RequestKey, StoredAnswer
from .campaigns import Campaigns
from .evidence import SignedBatch


@dataclass(slots=True)
class Received:
    """A request with what was found before the batch: the issuer's key, or an early refusal (reasons 1–3); both where
    the voucher's terms cannot be had now.

    `participant` scopes the request id; `acquirer` is the platform that serves the merchant; `redemption_id` is the
    fresh id that the redemption gets if there is one; `batch` is the signed message that it came in.
    """

    content: bytes
    request_id: bytes
    participant: str
    acquirer: str
    redeeming_region: str
    redemption_id: bytes
    item: Item | None = None
    key: SigningKey | None = None
    refusal: Refusal | None = None
    batch: SignedBatch | None = None
    body_hash: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.body_hash = hashlib.sha256(self.content).digest()


REVERSIBLE = frozenset({"authorize", "redeem", "capture"})
"""What a reverse undoes: a void or a refund is not undone by asking for the opposite."""


class Answered(NamedTuple):
    """The answer's bytes, to be sent after the commit."""

    content: bytes


class Elsewhere(NamedTuple):
    """This party may not decide: the voucher is in the other's custody, or the redemption is not on these books.

    A node sends the request on; the clearinghouse asks the issuer to release `voucher`, unless it is only a quote:
    that is `discount_fen`, by the rules which this party knows.
    """

    voucher: VoucherKey | None
    discount_fen: int = 0


Reply = Answered | Elsewhere


class Apportioned(NamedTuple):
    """Who pays, by which agreement; `split` is None when the money does not reach, and `lacking` what else is missing,
    as figures of the refusal.
    """

    split: Split | None
    agreement: str
    lacking: Mapping[str, int] = {}


class Party(Protocol):
    """What node and clearinghouse know or do differently."""

    @property
    def name(self) -> str: ...

    @property
    def at(self) -> int: ...

    @property
    def window(self) -> int: ...

    @property
    def campaigns(self) -> Campaigns: ...

    def facts(self, received: Received, purchase: Purchase, voucher: VoucherState | None) -> Facts: ...

    def apportion(
        self, received: Received, purchase: Purchase, found: Discounted, voucher: VoucherState
    ) -> Apportioned: ...

    def over_cap(self, draft: Redemption) -> Refusal | None: ...

    def credit(self, redemption: Redemption) -> str: ...

    def terms(self, terms_hash: bytes) -> Terms | None: ...

    def applied(self, before: Redemption | None, outcome: Outcome, request_id: bytes = b"") -> None: ...


def decide(received: Received, books: Books, party: Party) -> Reply:
    """Answer one request. A stored answer comes back byte for byte; the same id with another body is refused."""
    key = (received.participant, received.request_id)
    known = books.request(key)
    if known is not None:
        if known.body_hash is None or known.body_hash == received.body_hash:
            return Answered(known.answer)
        return _refuse(received, party, Refusal(RefusalReason.REQUEST_ID_REUSED))
    if received.refusal or received.item is None:
        refusal = received.refusal or Refusal(RefusalReason.MALFORMED)
        return settle(received, _refusal_without_terms(received, books, party) or refusal, books, party)
    result = _operate(received, received.item, books, party)
    if isinstance(result, Elsewhere):
        return result
    return settle(received, result, books, party)


def _refusal_without_terms(received: Received, books: Books, party: Party) -> Refusal | None:
    """What stands in the way of a genuine voucher whose terms could not be asked for, by the facts at hand."""
    if received.item is None or received.key is None:
        return None
    purchase = received.item.subject
    assert isinstance(purchase, Purchase)
    voucher = without_expired_hold(books.voucher(purchase.key), books, party)
    return check_without_terms(party.facts(received, purchase, voucher), party.at)


def settle(received: Received, result: Outcome | Refusal | int | None, books: Books, party: Party) -> Answered:
    """Store and give the answer. An int is a quote's discount, None a reverse that found nothing to undo."""
    content, redemption_id = written(Stamp(received.request_id, party.name, party.at), result)
    if not isinstance(result, Refusal) or result.reason.consumes_request_id:
        operation = received.item.operation if received.item else ""
        batch_id = received.batch.id if received.batch else None
        stored = StoredAnswer(received.body_hash, content, redemption_id, operation, batch_id)
        books.keep_batch(received.batch)
        books.answer((received.participant, received.request_id), stored, party.at)
    return Answered(content)


def written(stamp: Stamp, result: Outcome | Refusal | int | None) -> tuple[bytes, bytes | None]:
    """The answer's bytes, and the redemption that it tells of."""
    if isinstance(result, Refusal):
        return wire.refused(stamp, result), None
    if isinstance(result, Outcome):
        return wire.accepted(stamp, result), result.redemption.id
    return wire.done(stamp) if result is None else wire.quoted(stamp, result), None


def _refuse(received: Received, party: Party, refusal: Refusal) -> Answered:
    """An answer that does not consume the request id."""
    return Answered(wire.refused(Stamp(received.request_id, party.name, party.at), refusal))


def _operate(received: Received, item: Item, books: Books, party: Party) -> Outcome | Refusal | int | Elsewhere | None:
    subject = item.subject
    if isinstance(subject, Purchase):
        return _purchase(received, item.operation, subject, books, party)
    if isinstance(subject, Later):
        return _later(received, item.operation, subject, books, party)
    return _reverse(received, subject, books, party)


def _purchase(
    received: Received, operation: str, purchase: Purchase, books: Books, party: Party
) -> Outcome | Refusal | int | Elsewhere:
    """Quote, authorize or redeem. A quote is judged as the redeem would be, and books nothing."""
    voucher = without_expired_hold(books.voucher(purchase.key), books, party)
    found = check(party.facts(received, purchase, voucher), party.at)
    if isinstance(found, Refusal):
        return found
    if voucher is None or not in_custody(voucher, party.name):
        return Elsewhere(purchase.key, found.discount_fen)
    paid = party.apportion(received, purchase, found, voucher)
    if paid.split is None:
        return Refusal(RefusalReason.FUNDING_EXHAUSTED, {"needed_fen": found.discount_fen, **paid.lacking})
    expires_at = party.at + found.terms.hold_seconds
    draft = draft_of(received, purchase, found.discount_fen, paid.split, paid.agreement, party.at, expires_at)
    refusal = party.over_cap(draft)
    if refusal:
        return refusal
    if operation == "quote":
        return found.discount_fen
    if operation == "authorize":
        outcome = redemptions.authorize(draft, voucher, paid.split)
    else:
        outcome = redemptions.redeem(draft, voucher, paid.split, party.credit(draft), party.window, party.at)
    return _apply(None, outcome, books, party, received.request_id)


def draft_of(
    received: Received,
    purchase: Purchase,
    discount_fen: int,
    split: Split,
    agreement: str,
    at: int,
    expires_at: int,
) -> Redemption:
    """A redemption that is held from `at` on, before it is booked."""
    return Redemption(
        id=received.redemption_id,
        voucher=purchase.key,
        campaign=purchase.voucher.campaign,
        terms_hash=purchase.voucher.terms_hash,
        redeeming_region=received.redeeming_region,
        participant=received.participant,
        acquirer=received.acquirer,
        sale=purchase.sale,
        order_fen=purchase.sale.order.order_fen,
        discount_fen=discount_fen,
        legs=split.legs,
        standing=split.legs,
        rest=split.released,
        expires_at=expires_at,
        authorized_at=at,
        agreement=agreement,
    )


def _later(
    received: Received, operation: str, later: Later, books: Books, party: Party
) -> Outcome | Refusal | Elsewhere:
    """Capture, void or refund, by the participant that authorized."""
    redemption = books.redemption(later.redemption_id)
    if redemption is None:
        return Elsewhere(None)
    if redemption.participant != received.participant:
        return Refusal(RefusalReason.REDEMPTION_UNKNOWN)
    voucher = without_expired_hold(books.voucher(redemption.voucher), books, party)
    redemption = books.redemption(later.redemption_id)
    assert voucher is not None
    assert redemption is not None
    result: Outcome | Refusal
    if operation == "capture":
        result = redemptions.capture(
            redemption, voucher, later.order_fen, party.credit(redemption), party.window, party.at
        )
    elif operation == "void":
        result = redemptions.void(redemption, voucher, party.at)
    else:
        result = _refund(redemption, voucher, later.order_fen, party)
    if isinstance(result, Refusal):
        return result._replace(voucher_dead=_is_past_use(voucher, party))
    return _apply(redemption, result, books, party, received.request_id)


def _is_past_use(voucher: VoucherState, party: Party) -> bool:
    standing = party.campaigns.standing(voucher.key.issuer, voucher.campaign)
    return custody.is_dead(voucher, standing.not_after(voucher.not_after), party.at)


def _refund(redemption: Redemption, voucher: VoucherState, order_fen: int, party: Party) -> Outcome | Refusal:
    rule, credit = _refund_rule(redemption, voucher, party), party.credit(redemption)
    return redemptions.refund(redemption, voucher, order_fen, rule, credit, party.window, party.at)


def _refund_rule(redemption: Redemption, voucher: VoucherState, party: Party) -> RefundRule:
    """The refund policy of the terms that the voucher was issued under."""
    terms = party.terms(redemption.terms_hash)
    assert terms is not None
    return RefundRule(terms.refund_policy, terms.voucher_types[voucher.voucher_type - 1].minimum_spend_fen)


def _reverse(received: Received, original_id: bytes, books: Books, party: Party) -> Outcome | Refusal | None:
    """Undo by the original request id: a hold is voided, a capture refunded in full.

    Anything else is refused, a claim's pack among it. An id not yet seen is stored as reversed, so that the original,
    arriving later, changes nothing.
    """
    key = (received.participant, original_id)
    original = books.request(key)
    if original is None:
        keep_reversed(key, books, party)
        return None
    return undo(original, received.request_id, books, party)


def undo(original: StoredAnswer, request_id: bytes, books: Books, party: Party) -> Outcome | Refusal | None:
    """Undo what these books hold of an answered request, by a reverse with `request_id`."""
    if original.operation == CLAIM:
        return Refusal(RefusalReason.REDEMPTION_UNKNOWN)
    if original.redemption_id is None:
        return None
    redemption = books.redemption(original.redemption_id)
    assert redemption is not None
    voucher = without_expired_hold(books.voucher(redemption.voucher), books, party)
    redemption = books.redemption(original.redemption_id)
    assert redemption is not None
    assert voucher is not None
    if original.operation not in REVERSIBLE:
        return redemptions.not_authorized(redemption)._replace(voucher_dead=_is_past_use(voucher, party))
    result: Outcome | Refusal
    if redemption.state is State.AUTHORIZED:
        result = redemptions.void(redemption, voucher, party.at)
    elif redemption.state in (State.CAPTURED, State.PARTLY_REFUNDED):
        left = redemption.order_fen - redemption.refunded_order_fen
        result = _refund(redemption, voucher, left, party)
    else:
        return None
    if isinstance(result, Refusal):
        return result._replace(voucher_dead=_is_past_use(voucher, party))
    return _apply(redemption, result, books, party, request_id)


def keep_reversed(key: RequestKey, books: Books, party: Party) -> None:
    """Whatever comes under this id from now on is answered as reversed."""
    answer = wire.refused(Stamp(key[1], party.name, party.at), Refusal(RefusalReason.REVERSED))
    books.answer(key, StoredAnswer(None, answer, None, "reversed"), party.at)


def expire_overdue(voucher: VoucherState, books: Books, party: Party) -> None:
    """Record a hold or a validity that has passed, and return its money; only the custodian does.

    A voucher that a notice has extended is looked at again at its new end, a captured one never again.
    """
    if not in_custody(voucher, party.name):
        return
    if voucher.status == custody.CAPTURED:
        books.note_captured(voucher.key)
        return
    current = without_expired_hold(voucher, books, party)
    if current is None or current.status != custody.USABLE or party.at < current.not_after:
        return
    end = party.campaigns.standing(current.key.issuer, current.campaign).not_after(current.not_after)
    if party.at < end:
        books.put_voucher(current._replace(not_after=end))
    else:
        expired, movements = redemptions.expire_voucher(current)
        books.put_voucher(expired)
        books.move(movements)


def without_expired_hold(voucher: VoucherState | None, books: Books, party: Party) -> VoucherState | None:
    """Whoever finds a hold expired marks it and returns its money in the same commit."""
    if voucher is None or voucher.hold is None:
        return voucher
    redemption = books.redemption(voucher.hold)
    assert redemption is not None
    if party.at < redemption.expires_at:
        return voucher
    outcome = redemptions.release_hold(redemption, voucher, State.EXPIRED)
    return _apply(redemption, outcome, books, party).voucher


def _apply(before: Redemption | None, outcome: Outcome, books: Books, party: Party, request_id: bytes = b"") -> Outcome:
    books.apply(outcome)
    party.applied(before, outcome, request_id)
    return outcome
