"""Between the messages of `v1/*.proto` and the values of this package; only `hand_overs` knows the stubs as well.

Reading checks shapes and raises InvalidInput that names the field; what the values mean is checked where they are used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message

from quanlian.accounts import account_region
from quanlian.apportionment import Leg, Reservation
from quanlian.campaign_changes import Change, ChangeKind
from quanlian.custody import VoucherState
from quanlian.discounts import Order
from quanlian.errors import InvalidInput
from quanlian.ledger import is_limited
from quanlian.redemptions import COMPILED, Outcome, Posting, Redemption, Sale, Sides, State
from quanlian.refusals import Refusal
from quanlian.suspensions import Suspension, SuspensionKind, check_suspension
from quanlian.v1 import campaign_pb2, custody_pb2, redemption_pb2, refusal_pb2, signed_pb2, suspension_pb2, voucher_pb2
from quanlian.vouchers import PACK_ID_BYTES, TAG_BYTES, Token, Voucher, VoucherKey

REQUEST_ID_BYTES = 16
MAX_ITEM_BYTES = 16 * 1024
"""Of one redemption item: many times what a token and an order need, and little beside the limit of a message."""

MAXIMUM_VOUCHERS = 64
"""Of one pack."""

MAXIMUM_AMOUNT_FEN = 10**12
"""Ten billion yuan: no amount of one message is larger, so that no sum leaves 64 bits."""

ROAMING = {"never": 1, "on-demand": 2, "at-issue": 3}
CHANGE_KINDS = frozenset(kind.value for kind in ChangeKind)
SUSPENSION_KINDS = frozenset(kind.value for kind in SuspensionKind)
_ROAMING_NAMES = {number: name for name, number in ROAMING.items()}
M = TypeVar("M", bound=Message)


def parse(kind: type[M], content: bytes, place: str) -> M:
    """A message from its bytes. Raises InvalidInput naming `place`."""
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise _no_message(kind, place) from error


def parse_each(kind: type[M], contents: Iterable[bytes], place: str) -> list[M]:
    """As `parse`, of many of one kind."""
    try:
        return list(map(kind.FromString, contents))
    except DecodeError as error:
        raise _no_message(kind, place) from error


def _no_message(kind: type[M], place: str) -> InvalidInput:
    return InvalidInput(f"not a {kind.DESCRIPTOR.name}", place=place, remedy="send the serialised message")


def batch_digest(items: Sequence[bytes]) -> bytes:
    """What a batch's signature covers: SHA-256 over the items' SHA-256 hashes, so that one can be shown alone."""
    return hashlib.sha256(b"".join(item_hashes(items))).digest()


def item_hashes(items: Sequence[bytes]) -> list[bytes]:
    return [hashlib.sha256(item).digest() for item in items]


# Vouchers


def voucher_to_body(voucher: Voucher) -> bytes:
    """Serialise once; the signature covers these bytes."""
    return _body(voucher).SerializeToString()


class PackBodies:
    """The bodies of packs that differ from a voucher in pack id and holder only: what they share is filled in once."""

    def __init__(self, shared: Voucher) -> None:
        self._message = _body(shared)

    def body(self, pack_id: bytes, holder_tag: bytes) -> bytes:
        message = self._message
        message.pack_id, message.holder_tag = pack_id, holder_tag
        return message.SerializeToString()


def tree_tokens(bodies: Sequence[bytes], signature: bytes, paths: Sequence[Sequence[bytes]]) -> Iterator[bytes]:
    """The tokens of all packs of a tree, in order, each as `token_to_bytes` gives it."""
    message = voucher_pb2.VoucherToken(signature=signature, tree_size=len(bodies))
    for index, (body, path) in enumerate(zip(bodies, paths, strict=True)):
        message.body, message.leaf_index, message.path[:] = body, index, path
        yield message.SerializeToString()


def _body(voucher: Voucher) -> voucher_pb2.VoucherBody:
    return voucher_pb2.VoucherBody(
        version=voucher.version,
        suite=voucher.suite,  # type: ignore[arg-type]
        key_id=voucher.key_id,
        issuer=voucher.issuer,
        campaign=voucher.campaign,
        terms_hash=voucher.terms_hash,
        pack_id=voucher.pack_id,
        voucher_types=voucher.voucher_types,
        holder_tag=voucher.holder_tag,
        issued_at=voucher.issued_at,
        not_before=voucher.not_before,
        not_after=voucher.not_after,
        roaming=ROAMING[voucher.roaming],  # type: ignore[arg-type]
    )


def body_to_voucher(body: bytes) -> Voucher:
    """Raises InvalidInput for a body of another version or with fields of the wrong size."""
    message = parse(voucher_pb2.VoucherBody, body, "token.body")
    if message.version != 1:
        raise InvalidInput(f"{message.version} is not known", place="token.body.version", remedy="send version 1")
    roaming = _ROAMING_NAMES.get(message.roaming)
    if roaming is None:
        raise InvalidInput(f"{message.roaming} is not known", place="token.body.roaming", remedy="send 1 to 3")
    pack_id, holder_tag, voucher_types = message.pack_id, message.holder_tag, tuple(message.voucher_types[:])
    if len(pack_id) != PACK_ID_BYTES:
        _need(False, "token.body.pack_id", f"{PACK_ID_BYTES} bytes")
    if len(holder_tag) != TAG_BYTES:
        _need(False, "token.body.holder_tag", f"{TAG_BYTES} bytes")
    issuer, campaign = message.issuer, message.campaign
    _need_text(issuer, "token.body.issuer", 1, 6)
    _need_text(campaign, "token.body.campaign", 1, 64)
    if not 0 < len(voucher_types) <= MAXIMUM_VOUCHERS:
        _need(False, "token.body.voucher_types", f"1 to {MAXIMUM_VOUCHERS} vouchers")
    return Voucher(
        message.version,
        message.suite,
        message.key_id,
        issuer,
        campaign,
        message.terms_hash,
        pack_id,
        voucher_types,
        holder_tag,
        message.issued_at,
        message.not_before,
        message.not_after,
        roaming,
    )


def token_to_bytes(token: Token) -> bytes:
    return voucher_pb2.VoucherToken(
        body=token.body,
        signature=token.signature,
        tree_size=token.tree_size,
        leaf_index=token.leaf_index,
        path=token.path,
    ).SerializeToString()


def bytes_to_token(content: bytes) -> Token:
    message = parse(voucher_pb2.VoucherToken, content, "token")
    return Token(message.body, message.signature, message.tree_size, message.leaf_index, tuple(message.path[:]))


# Requests


class Purchase(NamedTuple):
    """A quote, authorize or redeem: one voucher for one sale."""

    token: Token
    voucher: Voucher
    voucher_index: int
    sale: Sale
    payer_tag: bytes
    expected_fen: int

    @property
    def key(self) -> VoucherKey:
        return VoucherKey(self.voucher.issuer, self.voucher.pack_id, self.voucher_index)


class Later(NamedTuple):
    """A capture, void or refund of a redemption; `order_fen` as the message means it."""

    redemption_id: bytes
    order_fen: int


class Item(NamedTuple):
    """One request. `operation` is the oneof's field name; `subject` a Purchase, a Later, or the original request id."""

    request_id: bytes
    operation: str
    subject: Purchase | Later | bytes
    content: bytes


def request_id_of(content: bytes) -> bytes:
    """The request id of an item, also of one that is otherwise malformed; empty when it cannot be read."""
    try:
        return redemption_pb2.RedemptionItem.FromString(content).request_id
    except DecodeError:
        return b""


def bytes_to_item(content: bytes) -> Item:
    """Raises InvalidInput naming the field that is wrong: the refusal MALFORMED."""
    if len(content) > MAX_ITEM_BYTES:
        _need(False, "item", f"at most {MAX_ITEM_BYTES} bytes")
    message = parse(redemption_pb2.RedemptionItem, content, "item")
    request_id = message.request_id
    if len(request_id) != REQUEST_ID_BYTES:
        _need(False, "request_id", f"{REQUEST_ID_BYTES} bytes")
    operation = message.WhichOneof("operation")
    if operation is None:
        raise InvalidInput("no operation", place="item", remedy="set one of the operations")
    subject: Purchase | Later | bytes
    if operation in ("quote", "authorize", "redeem"):
        subject = _purchase(getattr(message, operation))
    elif operation == "reverse":
        subject = message.reverse.original_request_id
        _need(len(subject) == REQUEST_ID_BYTES, "reverse.original_request_id", f"{REQUEST_ID_BYTES} bytes")
    else:
        later = getattr(message, operation)
        order_fen = 0 if operation == "void" else later.order_fen
        _need_amount(order_fen, f"{operation}.order_fen")
        _need(operation != "refund" or order_fen > 0, "refund.order_fen", "more than 0")
        _need(len(later.redemption_id) == 16, f"{operation}.redemption_id", "16 bytes")
        subject = Later(later.redemption_id, order_fen)
    return Item(request_id, operation, subject, content)


def _purchase(message: redemption_pb2.Purchase) -> Purchase:
    token = bytes_to_token(message.token)
    voucher = body_to_voucher(token.body)
    order = message.order
    order_fen, invoice_fen, price_fen = order.order_fen, order.invoice_fen, order.price_fen
    merchant, order_id, payer_tag, index = order.merchant, order.order_id, order.payer_tag, message.index
    category, channel, klass = order.category, order.channel, order.klass
    _need_amount(order_fen, "order.order_fen")
    _need_amount(invoice_fen, "order.invoice_fen")
    _need_amount(price_fen, "order.price_fen")
    _need(order_fen > 0, "order.order_fen", "more than 0")
    _need_text(merchant, "order.merchant", 1, 32)
    _need_text(order_id, "order.order_id", 1, 64)
    _need_text(category, "order.category", 0, 64)
    _need_text(channel, "order.channel", 0, 64)
    _need_text(klass, "order.klass", 0, 64)
    if len(payer_tag) > TAG_BYTES:
        _need(False, "order.payer_tag", f"at most {TAG_BYTES} bytes")
    if index >= MAXIMUM_VOUCHERS:
        _need(False, "index", f"less than {MAXIMUM_VOUCHERS}")
    sale = Sale(merchant, order_id, Order(order_fen, category, channel, klass, invoice_fen, price_fen))
    return Purchase(token, voucher, index, sale, payer_tag, message.expected_discount_fen)


class Origin(NamedTuple):
    """Whose request a node sends on; `body_hash` is of the item as it came."""

    participant: str
    request_id: bytes
    body_hash: bytes


def readdressed(content: bytes, request_id: bytes, origin: Origin, expected_discount_fen: int = 0) -> bytes:
    """An item as a node sends it on: the same operation under the node's own request id."""
    message = redemption_pb2.RedemptionItem.FromString(content)
    message.request_id = request_id
    message.origin.CopyFrom(redemption_pb2.Origin(**origin._asdict()))
    if expected_discount_fen:
        getattr(message, str(message.WhichOneof("operation"))).expected_discount_fen = expected_discount_fen
    return message.SerializeToString()


def reverse_item(request_id: bytes, original_request_id: bytes, origin: Origin) -> bytes:
    """A node's reverse of an item that it sent under its own id."""
    reverse = redemption_pb2.Reverse(original_request_id=original_request_id)
    message = redemption_pb2.RedemptionItem(request_id=request_id, reverse=reverse)
    message.origin.CopyFrom(redemption_pb2.Origin(**origin._asdict()))
    return message.SerializeToString()


# Answers


class Stamp(NamedTuple):
    """Who answered which request, and when."""

    request_id: bytes
    decider: str
    decided_at: int


def refused(stamp: Stamp, refusal: Refusal) -> bytes:
    return redemption_pb2.RedemptionAnswer(
        request_id=stamp.request_id,
        refusal=refusal_message(refusal),
        decider=stamp.decider,
        decided_at=stamp.decided_at,
    ).SerializeToString()


def accepted(stamp: Stamp, outcome: Outcome) -> bytes:
    """The answer to an operation that went through; also to one that found nothing left to do."""
    redemption, posting = outcome.redemption, outcome.posting
    shared = _shared_answer(redemption.standing, redemption.agreement, redemption.state, stamp.decider)
    answer = redemption_pb2.RedemptionAnswer.FromString(shared)
    answer.request_id = stamp.request_id
    answer.redemption_id = redemption.id
    answer.returned_fen = outcome.returned_fen
    answer.shopper_fen = outcome.shopper_fen
    answer.expires_at = redemption.expires_at
    answer.decided_at = stamp.decided_at
    answer.order_fen = redemption.order_fen
    answer.refunded_order_fen = redemption.refunded_order_fen
    if posting:
        answer.window = posting.window
        answer.posting.CopyFrom(posting_message(posting, redemption))
    return answer.SerializeToString()


@lru_cache(maxsize=COMPILED)
def _shared_answer(standing: tuple[Leg, ...], agreement: str, state: State, decider: str) -> bytes:
    """What the answers to redemptions of one kind have in common: reading it costs a fifth of setting it."""
    return redemption_pb2.RedemptionAnswer(
        state=state.value,  # type: ignore[arg-type]
        discount_fen=sum(leg.amount_fen for leg in standing),
        legs=legs_messages(standing),
        decider=decider,
        agreement=agreement,
    ).SerializeToString()


def quoted(stamp: Stamp, discount_fen: int) -> bytes:
    return redemption_pb2.RedemptionAnswer(
        request_id=stamp.request_id,
        discount_fen=discount_fen,
        decider=stamp.decider,
        decided_at=stamp.decided_at,
    ).SerializeToString()


def done(stamp: Stamp) -> bytes:
    """The answer to a reverse that found nothing to undo."""
    return redemption_pb2.RedemptionAnswer(
        request_id=stamp.request_id, decider=stamp.decider, decided_at=stamp.decided_at
    ).SerializeToString()


def answer_request_id(answer: bytes) -> bytes:
    """Which request an answer is for. Raises InvalidInput."""
    return parse(redemption_pb2.RedemptionAnswer, answer, "answer").request_id


def answered_again(answer: bytes, request_id: bytes) -> bytes:
    """The clearinghouse's answer as a node passes it on, under the caller's own request id."""
    message = redemption_pb2.RedemptionAnswer.FromString(answer)
    message.request_id = request_id
    return message.SerializeToString()


def refusal_message(refusal: Refusal) -> refusal_pb2.Refusal:
    return refusal_pb2.Refusal(
        reason=refusal.reason.value,  # type: ignore[arg-type]
        message_zh=refusal.message_zh,
        message_en=refusal.message_en,
        retryable=refusal.retryable,
        voucher_usable=refusal.voucher_usable,
        figures=[refusal_pb2.Figure(name=name, value=value) for name, value in refusal.figures.items()],
        field=refusal.field,
    )


# Money


def legs_messages(legs: Iterable[Leg]) -> list[signed_pb2.Leg]:
    return [
        signed_pb2.Leg(
            account=leg.account,
            amount_fen=leg.amount_fen,
            advanced=[signed_pb2.Advance(debtor=debtor, amount_fen=fen) for debtor, fen in leg.advanced],
        )
        for leg in legs
    ]


def legs_of(messages: Iterable[signed_pb2.Leg]) -> tuple[Leg, ...]:
    return tuple(
        Leg(message.account, message.amount_fen, tuple((each.debtor, each.amount_fen) for each in message.advanced))
        for message in messages
    )


def posting_message(posting: Posting, redemption: Redemption, request_id: bytes = b"") -> redemption_pb2.Posting:
    sides, category = redemption.sides, redemption.sale.order.category
    shared = _shared_posting(sides, posting.legs, posting.discount_fen, redemption.state, category)
    message = redemption_pb2.Posting.FromString(shared)
    message.redemption_id = posting.redemption_id
    message.number = posting.number
    message.window = posting.window
    message.order_fen = posting.order_fen
    message.at = posting.at
    message.pack_id = redemption.voucher.pack_id
    message.index = redemption.voucher.voucher_index
    message.request_id = request_id
    return message


@lru_cache(maxsize=COMPILED)
def _shared_posting(sides: Sides, legs: tuple[Leg, ...], discount_fen: int, state: State, category: str) -> bytes:
    """What the postings of one kind have in common."""
    return redemption_pb2.Posting(
        campaign=sides.campaign,
        issuer=sides.issuer,
        redeeming_region=sides.redeeming_region,
        discount_fen=discount_fen,
        legs=legs_messages(legs),
        state=state.value,  # type: ignore[arg-type]
        category=category,
    ).SerializeToString()


class CaptureMessages:
    """What answers and tells of captures of one kind; what those of a kind share is filled in once."""

    def __init__(
        self, sides: Sides, legs: tuple[Leg, ...], discount_fen: int, category: str, agreement: str, decider: str
    ) -> None:
        state, paid = State.CAPTURED.value, legs_messages(legs)
        self._event = custody_pb2.FeedEvent(
            posting=redemption_pb2.Posting(
                number=1,
                campaign=sides.campaign,
                issuer=sides.issuer,
                redeeming_region=sides.redeeming_region,
                discount_fen=discount_fen,
                legs=paid,
                state=state,  # type: ignore[arg-type]
                category=category,
            )
        )
        self._answer = redemption_pb2.RedemptionAnswer(
            state=state,  # type: ignore[arg-type]
            discount_fen=discount_fen,
            legs=paid,
            decider=decider,
            agreement=agreement,
            posting=self._event.posting,
        )
        self._answered, self._told = self._answer.posting, self._event.posting

    def written(self, redemption: Redemption, request_id: bytes, sequence: int) -> tuple[bytes, bytes]:
        """The answer as `accepted` gives it, and the serialised FeedEvent with `posting_message`."""
        answer, event = self._answer, self._event
        key, at, window, order_fen = redemption.voucher, redemption.captured_at, redemption.window, redemption.order_fen
        answer.request_id, event.sequence = request_id, sequence
        answer.redemption_id, answer.expires_at = redemption.id, redemption.expires_at
        answer.decided_at, answer.order_fen, answer.window = at, order_fen, window
        for posting in (self._answered, self._told):
            posting.redemption_id, posting.window, posting.order_fen, posting.at = redemption.id, window, order_fen, at
            posting.pack_id, posting.index = key.pack_id, key.voucher_index
        self._told.request_id = request_id
        return answer.SerializeToString(), event.SerializeToString()


def order_message(sale: Sale) -> redemption_pb2.Order:
    """A sale as it is told again, without who paid."""
    order = sale.order
    return redemption_pb2.Order(
        merchant=sale.merchant,
        order_id=sale.order_id,
        order_fen=order.order_fen,
        category=order.category,
        channel=order.channel,
        klass=order.klass,
        invoice_fen=order.invoice_fen,
        price_fen=order.price_fen,
    )


def bought(content: bytes, redeeming_region: str) -> redemption_pb2.RedemptionRecord:
    """What was bought with which voucher, from the item of an authorize or redeem that has been read before."""
    item = redemption_pb2.RedemptionItem.FromString(content)
    purchase = item.redeem if item.HasField("redeem") else item.authorize
    voucher = voucher_pb2.VoucherBody.FromString(voucher_pb2.VoucherToken.FromString(purchase.token).body)
    order = purchase.order
    order.ClearField("payer_tag")
    order.DiscardUnknownFields()
    return redemption_pb2.RedemptionRecord(
        issuer=voucher.issuer,
        pack_id=voucher.pack_id,
        index=purchase.index,
        campaign=voucher.campaign,
        redeeming_region=redeeming_region,
        order=order,
    )


def record_message(redemption: Redemption) -> redemption_pb2.RedemptionRecord:
    order = replace(redemption.sale.order, order_fen=redemption.order_fen)
    return redemption_pb2.RedemptionRecord(
        redemption_id=redemption.id,
        issuer=redemption.voucher.issuer,
        pack_id=redemption.voucher.pack_id,
        index=redemption.voucher.voucher_index,
        campaign=redemption.campaign,
        redeeming_region=redemption.redeeming_region,
        order=order_message(redemption.sale._replace(order=order)),
        state=redemption.state.value,  # type: ignore[arg-type]
        discount_fen=redemption.standing_fen,
        returned_fen=redemption.returned_fen,
        refunded_order_fen=redemption.refunded_order_fen,
        legs=legs_messages(redemption.standing),
        authorized_at=redemption.authorized_at,
        captured_at=redemption.captured_at,
        window=redemption.window,
        agreement=redemption.agreement,
    )


# Campaigns


def change_to_body(change: Change) -> bytes:
    """Serialise once; the signature covers these bytes."""
    return change_message(change).SerializeToString()


def change_message(change: Change) -> campaign_pb2.CampaignChange:
    return campaign_pb2.CampaignChange(
        issuer=change.issuer,
        campaign=change.campaign,
        number=change.number,
        kind=change.kind.value,  # type: ignore[arg-type]
        at=change.at,
        by=change.by,
        why=change.why,
        terms_hash=change.terms_hash,
        notice=change.notice,
    )


def body_to_change(body: bytes) -> Change:
    """Raises InvalidInput for another kind, or a change without who and why."""
    message = parse(campaign_pb2.CampaignChange, body, "campaign change")
    _need(message.kind in CHANGE_KINDS, "campaign change.kind", "one of the kinds of change")
    _need(bool(message.by and message.why), "campaign change", "who decided it and why")
    return change_of(message)


def change_of(message: campaign_pb2.CampaignChange) -> Change:
    """The change that a message tells; its kind must be one of `CHANGE_KINDS`."""
    return Change(
        message.issuer,
        message.campaign,
        message.number,
        ChangeKind(message.kind),
        message.at,
        message.by,
        message.why,
        message.terms_hash,
        message.notice,
    )


# Suspensions


def suspension_message(suspension: Suspension) -> suspension_pb2.Suspension:
    return suspension_pb2.Suspension(**suspension._asdict() | {"kind": suspension.kind.value})


def suspension_kind(number: int) -> SuspensionKind:
    """Raises InvalidInput for none that is known."""
    _need(number in SUSPENSION_KINDS, "suspension.kind", "one of the kinds of suspension")
    return SuspensionKind(number)


def suspension_to_body(suspension: Suspension) -> bytes:
    """Serialise once; the signature covers these bytes."""
    return suspension_message(suspension).SerializeToString()


def body_to_suspension(body: bytes) -> Suspension:
    """Raises InvalidInput for what its authority may not say, or one without who and why."""
    message = parse(suspension_pb2.Suspension, body, "suspension")
    _need(bool(message.by and message.why), "suspension", "who decided it and why")
    suspension = Suspension(
        message.authority,
        message.number,
        suspension_kind(message.kind),
        message.subject,
        message.suspended,
        message.at,
        message.by,
        message.why,
        message.bad_from,
    )
    check_suspension(suspension)
    return suspension


# Custody


def handed_message(voucher: VoucherState, epoch: int) -> custody_pb2.HandedVoucher:
    """A voucher as its giver hands it over, `epoch` being the one that the hand-over makes."""
    return custody_pb2.HandedVoucher(
        pack_id=voucher.key.pack_id,
        index=voucher.key.voucher_index,
        epoch=epoch,
        campaign=voucher.campaign,
        terms_hash=voucher.terms_hash,
        voucher_type=voucher.voucher_type,
        holder_tag=voucher.holder_tag,
        not_before=voucher.not_before,
        not_after=voucher.not_after,
        reservation=voucher_pb2.Reservation(
            cofunders=legs_messages(voucher.reservation.cofunders),
            public=legs_messages(voucher.reservation.public),
        ),
    )


def handed_voucher(message: custody_pb2.HandedVoucher, issuer: str) -> VoucherState:
    """A voucher as its taker stores it. Raises InvalidInput for another region's money or a negative amount."""
    reservation = Reservation(legs_of(message.reservation.cofunders), legs_of(message.reservation.public))
    for leg in reservation.legs():
        _need_amount(leg.amount_fen, f"reservation of {leg.account}")
        owner = issuer if is_limited(leg.account) else ""
        _need(
            leg.account.startswith("funding/") and account_region(leg.account) == owner,
            f"reservation of {leg.account}",
            f"funders of {issuer}, and its merchants' share without a region",
        )
        _need_advances(leg)
    return VoucherState(
        VoucherKey(issuer, message.pack_id, message.index),
        message.campaign,
        message.terms_hash,
        message.voucher_type,
        message.holder_tag,
        message.not_before,
        message.not_after,
        reservation,
        epoch=message.epoch,
    )


def _need_advances(leg: Leg) -> None:
    """A leg advances for other funders of its campaign, at most what it is."""
    place, campaign = f"advances of {leg.account}", leg.account.rpartition("/")[0]
    for debtor, fen in leg.advanced:
        _need_amount(fen, place)
        fits = debtor.rpartition("/")[0] == campaign and debtor != leg.account and is_limited(debtor)
        _need(fits, place, "debts of other funders of the same campaign")
    advanced_fen = sum(fen for _, fen in leg.advanced)
    _need(advanced_fen <= leg.amount_fen, place, f"at most the {leg.amount_fen} fen of the leg")


def _need(holds: bool, place: str, wanted: str) -> None:
    if not holds:
        raise InvalidInput("out of range", place=place, remedy=f"send {wanted}")


def _need_text(text: str, place: str, least: int, most: int) -> None:
    """Text that any database stores and any screen shows: of that length, without control characters."""
    if not (least <= len(text) <= most and text.isprintable()):
        _need(False, place, f"{least} to {most} printable characters")


def _need_amount(amount_fen: int, place: str) -> None:
    if not 0 <= amount_fen <= MAXIMUM_AMOUNT_FEN:
        _need(False, place, f"0 to {MAXIMUM_AMOUNT_FEN} fen")
