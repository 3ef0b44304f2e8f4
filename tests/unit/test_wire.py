"""Messages and values: what goes out comes back, and what is malformed names its field."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message

from quanlian import merkle, wire
from quanlian.apportionment import Leg, Reservation
from quanlian.custody import VoucherState
from quanlian.discounts import Order
from quanlian.errors import InvalidInput
from quanlian.redemptions import Outcome, Posting, Redemption, Sale, State
from quanlian.refusals import Refusal, RefusalReason
from quanlian.v1 import claim_pb2, custody_pb2, redemption_pb2, refusal_pb2, voucher_pb2
from quanlian.vouchers import Token, Voucher, VoucherKey
from quanlian.wire import Item, Later, Purchase, Stamp

REQUEST, OTHER_REQUEST, REDEMPTION = b"request-id-of-16", b"another-id-of-16", b"redemption-id-16"
ORIGIN = wire.Origin("alipay", REQUEST, bytes(32))
VOUCHER = Voucher(
    version=1,
    suite=2,
    key_id=b"key-id-8",
    issuer="330100",
    campaign="hangzhou-2020-r1",
    terms_hash=bytes(range(32)),
    pack_id=b"pack-id-of-15-b",
    voucher_types=(1, 1, 300),
    holder_tag=b"holder-tag-16-by",
    issued_at=1_585_300_000,
    not_before=1_585_300_001,
    not_after=1_585_900_000,
    roaming="at-issue",
)
TOKEN = Token(wire.voucher_to_body(VOUCHER), b"s" * 64, 256, 200, (b"a" * 32, b"b" * 32))
SALE = Sale("91310000MA1FL2MN4X", "order-1", Order(5800, "catering", "shop", "new-energy", 3_000_000, 4_999))
PROVINCE, CITY = "funding/330100/2020/hangzhou-2020-r1/province", "funding/330100/2020/hangzhou-2020-r1/city"
LEGS = (Leg(PROVINCE, 560), Leg("funding/310000/2020/visitors/city", 440))


def a_purchase(**changes: Any) -> redemption_pb2.Purchase:
    """The message of SALE with TOKEN; `changes` are of its order, or of itself."""
    order = redemption_pb2.Order(
        merchant=SALE.merchant,
        order_id=SALE.order_id,
        order_fen=5800,
        category="catering",
        channel="shop",
        payer_tag=VOUCHER.holder_tag,
        klass="new-energy",
        invoice_fen=3_000_000,
        price_fen=4_999,
    )
    purchase = redemption_pb2.Purchase(token=wire.token_to_bytes(TOKEN), index=2, order=order)
    purchase.expected_discount_fen = 1000
    for name, value in changes.items():
        setattr(purchase.order if name in order.DESCRIPTOR.fields_by_name else purchase, name, value)
    return purchase


def a_token(**changes: Any) -> bytes:
    return wire.token_to_bytes(TOKEN._replace(body=wire.voucher_to_body(VOUCHER._replace(**changes))))


def an_item(request_id: bytes = REQUEST, /, **operation: Message) -> bytes:
    return redemption_pb2.RedemptionItem(
        request_id=request_id,
        **operation,  # type: ignore[arg-type]
    ).SerializeToString()


def a_redemption(**changes: Any) -> Redemption:
    redemption = Redemption(
        id=REDEMPTION,
        voucher=VoucherKey("330100", VOUCHER.pack_id, 2),
        campaign="hangzhou-2020-r1",
        terms_hash=bytes(32),
        redeeming_region="310000",
        participant="alipay",
        acquirer="alipay",
        sale=SALE,
        order_fen=5800,
        discount_fen=1000,
        legs=LEGS,
        standing=LEGS,
        rest=Reservation((), ()),
        expires_at=1_585_300_900,
        authorized_at=1_585_300_000,
        agreement="YRD-1 v2",
    )
    return redemption._replace(**changes)


class TestTokens:
    @pytest.mark.parametrize("roaming", ["never", "on-demand", "at-issue"])
    def test_a_body_goes_there_and_back(self, roaming: str) -> None:
        voucher = VOUCHER._replace(roaming=roaming)
        assert wire.body_to_voucher(wire.voucher_to_body(voucher)) == voucher

    @pytest.mark.parametrize("token", [TOKEN, Token(TOKEN.body, b"s" * 64)], ids=["batch", "single"])
    def test_a_token_goes_there_and_back(self, token: Token) -> None:
        assert wire.bytes_to_token(wire.token_to_bytes(token)) == token

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("version", 0),
            ("version", 2),
            ("roaming", 0),
            ("roaming", 4),
            ("pack_id", bytes(14)),
            ("pack_id", bytes(16)),
            ("holder_tag", b""),
            ("holder_tag", bytes(15)),
            ("holder_tag", bytes(32)),
            ("voucher_types", []),
            ("voucher_types", [1] * 65),
        ],
        ids=str,
    )
    def test_a_malformed_body_names_its_field(self, field: str, value: Any) -> None:
        message = voucher_pb2.VoucherBody.FromString(TOKEN.body)
        message.ClearField(field)  # type: ignore[arg-type]
        message.MergeFrom(voucher_pb2.VoucherBody(**{field: value}))
        with pytest.raises(InvalidInput) as error:
            wire.body_to_voucher(message.SerializeToString())
        assert error.value.place == f"token.body.{field}"

    def test_a_pack_may_hold_64_vouchers(self) -> None:
        voucher = VOUCHER._replace(voucher_types=(1,) * 64)
        assert wire.body_to_voucher(wire.voucher_to_body(voucher)) == voucher

    @pytest.mark.parametrize("content", [b"\xff", b"\x0a\x05ab", b"\x22\x01\xff"], ids=["tag", "length", "utf-8"])
    def test_bytes_that_are_no_message_are_named(self, content: bytes) -> None:
        with pytest.raises(
            InvalidInput, match=r"token\.body: not a VoucherBody — 应为序列化后的消息 · send the serialised message"
        ):
            wire.body_to_voucher(content)
        with pytest.raises(InvalidInput, match="token: not a VoucherToken"):
            wire.bytes_to_token(b"\xff")


class TestRequests:
    @pytest.mark.parametrize("operation", ["quote", "authorize", "redeem"])
    def test_a_purchase_is_read_whole(self, operation: str) -> None:
        content = an_item(**{operation: a_purchase()})
        key = VoucherKey(VOUCHER.issuer, VOUCHER.pack_id, 2)
        purchase = Purchase(wire.token_to_bytes(TOKEN), TOKEN, VOUCHER, key, SALE, VOUCHER.holder_tag, 1000)
        assert wire.bytes_to_item(content) == Item(REQUEST, operation, purchase, content)
        assert purchase.key == VoucherKey("330100", VOUCHER.pack_id, 2)

    @pytest.mark.parametrize(
        ("operation", "message", "order_fen"),
        [
            ("capture", redemption_pb2.Capture(redemption_id=REDEMPTION, order_fen=4800), 4800),
            ("capture", redemption_pb2.Capture(redemption_id=REDEMPTION), 0),
            ("void", redemption_pb2.Void(redemption_id=REDEMPTION), 0),
            ("refund", redemption_pb2.Refund(redemption_id=REDEMPTION, order_fen=2000), 2000),
        ],
    )
    def test_later_calls_name_their_redemption(self, operation: str, message: Message, order_fen: int) -> None:
        item = wire.bytes_to_item(an_item(**{operation: message}))
        assert (item.operation, item.subject) == (operation, Later(REDEMPTION, order_fen))

    def test_a_reverse_names_the_original_request(self) -> None:
        item = wire.bytes_to_item(wire.reverse_item(REQUEST, OTHER_REQUEST, ORIGIN))
        assert item[:3] == (REQUEST, "reverse", OTHER_REQUEST)

    @pytest.mark.parametrize(
        ("place", "content"),
        [
            ("item", lambda: b"\xff"),
            ("item", lambda: an_item()),
            ("request_id", lambda: an_item(b"short", redeem=a_purchase())),
            ("request_id", lambda: an_item(bytes(17), redeem=a_purchase())),
            ("token", lambda: an_item(redeem=a_purchase(token=b"\xff"))),
            ("token.body.version", lambda: an_item(redeem=a_purchase(token=b""))),
            ("order.order_fen", lambda: an_item(redeem=a_purchase(order_fen=0))),
            ("order.order_fen", lambda: an_item(redeem=a_purchase(order_fen=-1))),
            ("order.order_fen", lambda: an_item(redeem=a_purchase(order_fen=10**12 + 1))),
            ("order.invoice_fen", lambda: an_item(redeem=a_purchase(invoice_fen=-1))),
            ("order.price_fen", lambda: an_item(redeem=a_purchase(price_fen=2**62))),
            ("order.merchant", lambda: an_item(redeem=a_purchase(merchant=""))),
            ("order.merchant", lambda: an_item(redeem=a_purchase(merchant="9" * 33))),
            ("order.order_id", lambda: an_item(redeem=a_purchase(order_id=""))),
            ("order.order_id", lambda: an_item(redeem=a_purchase(order_id="9" * 65))),
            ("order.order_id", lambda: an_item(redeem=a_purchase(order_id="9\0"))),
            ("order.merchant", lambda: an_item(redeem=a_purchase(merchant="9\n"))),
            ("order.klass", lambda: an_item(redeem=a_purchase(klass="k\0"))),
            ("order.category", lambda: an_item(redeem=a_purchase(category="c" * 65))),
            ("order.channel", lambda: an_item(redeem=a_purchase(channel="\x7f"))),
            ("order.payer_tag", lambda: an_item(redeem=a_purchase(payer_tag=bytes(17)))),
            ("index", lambda: an_item(redeem=a_purchase(index=2**32 - 1))),
            ("token.body.issuer", lambda: an_item(redeem=a_purchase(token=a_token(issuer="33\0")))),
            ("token.body.campaign", lambda: an_item(redeem=a_purchase(token=a_token(campaign="")))),
            ("capture.redemption_id", lambda: an_item(capture=redemption_pb2.Capture())),
            ("capture.order_fen", lambda: an_item(capture=redemption_pb2.Capture(order_fen=-1))),
            ("void.redemption_id", lambda: an_item(void=redemption_pb2.Void(redemption_id=bytes(15)))),
            ("refund.redemption_id", lambda: an_item(refund=redemption_pb2.Refund(order_fen=1))),
            ("refund.order_fen", lambda: an_item(refund=redemption_pb2.Refund(redemption_id=REDEMPTION))),
            ("refund.order_fen", lambda: an_item(refund=redemption_pb2.Refund(order_fen=10**12 + 1))),
            ("reverse.original_request_id", lambda: wire.reverse_item(REQUEST, b"short", ORIGIN)),
            ("reverse.original_request_id", lambda: wire.reverse_item(REQUEST, REQUEST, ORIGIN)),
            ("expected_discount_fen", lambda: an_item(redeem=a_purchase(expected_discount_fen=-1))),
        ],
    )
    def test_a_malformed_item_names_its_field(self, place: str, content: Callable[[], bytes]) -> None:
        with pytest.raises(InvalidInput) as error:
            wire.bytes_to_item(content())
        assert error.value.place == place
        assert " · " in error.value.remedy, "in both languages"

    def test_the_largest_amount_is_ten_billion_yuan(self) -> None:
        item = wire.bytes_to_item(an_item(redeem=a_purchase(order_fen=10**12, merchant="9" * 32, order_id="9" * 64)))
        assert isinstance(item.subject, Purchase)
        assert item.subject.sale.order.order_fen == 1_000_000_000_000

    def test_the_request_id_of_a_malformed_item_can_still_be_answered(self) -> None:
        assert wire.request_id_of(an_item(redeem=a_purchase(order_fen=-1))) == REQUEST
        assert wire.request_id_of(b"\xff") == b""


class TestForwarding:
    def test_a_node_sends_an_item_on_under_its_own_id_and_expectation(self) -> None:
        sent = wire.bytes_to_item(wire.readdressed(an_item(redeem=a_purchase()), OTHER_REQUEST, ORIGIN, 900))
        received = wire.bytes_to_item(an_item(redeem=a_purchase(expected_discount_fen=900)))
        assert sent.request_id == OTHER_REQUEST
        assert sent[1:3] == received[1:3]

    def test_a_later_call_is_sent_on_as_it_is(self) -> None:
        refund = redemption_pb2.Refund(redemption_id=REDEMPTION, order_fen=2000)
        origin = redemption_pb2.Origin(participant="alipay", request_id=REQUEST, body_hash=bytes(32))
        sent = wire.readdressed(an_item(refund=refund), OTHER_REQUEST, ORIGIN)
        assert sent == an_item(OTHER_REQUEST, refund=refund, origin=origin)

    def test_fields_of_a_later_version_are_sent_on(self) -> None:
        unknown = b"\xca\x3e\x01x"  # field 1001, one byte
        assert wire.readdressed(an_item(redeem=a_purchase()) + unknown, OTHER_REQUEST, ORIGIN).endswith(unknown)

    def test_an_answer_is_passed_on_under_the_callers_id(self) -> None:
        answer = wire.quoted(Stamp(REQUEST, "clearinghouse", 5), 1000)
        assert wire.answer_request_id(answer) == REQUEST
        assert wire.answered_again(answer, OTHER_REQUEST) == wire.quoted(Stamp(OTHER_REQUEST, "clearinghouse", 5), 1000)

    def test_bytes_that_are_no_answer_are_named(self) -> None:
        with pytest.raises(InvalidInput, match="answer: not a RedemptionAnswer"):
            wire.answer_request_id(b"\xff")


class TestAnswers:
    STAMP = Stamp(REQUEST, "330100", 1_585_300_060)

    def read(self, content: bytes) -> redemption_pb2.RedemptionAnswer:
        answer = redemption_pb2.RedemptionAnswer.FromString(content)
        assert (answer.request_id, answer.decider, answer.decided_at) == self.STAMP
        return answer

    def test_a_refusal_carries_reason_figures_and_both_languages(self) -> None:
        refusal = Refusal(RefusalReason.AMOUNT_MISMATCH, {"discount_fen": 1000, "expected_fen": 999})
        answer = self.read(wire.refused(self.STAMP, refusal))
        said = answer.refusal
        assert said.reason == refusal_pb2.REFUSAL_REASON_AMOUNT_MISMATCH
        assert (said.message_zh, said.message_en) == (refusal.message_zh, refusal.message_en)
        assert (said.retryable, said.voucher_usable) == (False, True)
        assert [(figure.name, figure.value) for figure in said.figures] == list(refusal.figures.items())
        assert answer.state == redemption_pb2.REDEMPTION_STATE_UNSPECIFIED
        assert not answer.redemption_id

    def test_a_hold_says_until_when_and_who_bears_it(self) -> None:
        state = VoucherState(a_redemption().voucher, "c", bytes(32), 1, bytes(16), 0, 1, Reservation((), ()))
        answer = self.read(wire.accepted(self.STAMP, Outcome(a_redemption(), state, ())))
        assert (answer.redemption_id, answer.state) == (REDEMPTION, redemption_pb2.REDEMPTION_STATE_AUTHORIZED)
        assert (answer.discount_fen, answer.order_fen, answer.expires_at) == (1000, 5800, 1_585_300_900)
        assert (answer.agreement, answer.window) == ("YRD-1 v2", 0)
        assert wire.legs_of(answer.legs) == LEGS
        assert not answer.HasField("posting")

    def test_a_refund_says_what_went_where_and_what_still_stands(self) -> None:
        standing = (Leg(PROVINCE, 367), Leg(LEGS[1].account, 289))
        redemption = a_redemption(
            state=State.PARTLY_REFUNDED, standing=standing, refunded_order_fen=2000, returned_fen=344, postings=2
        )
        returned = (Leg(PROVINCE, -193), Leg(LEGS[1].account, -151))
        posting = Posting(REDEMPTION, 2, "refund", -2000, -344, returned, 8, 1_585_300_060)
        state = VoucherState(redemption.voucher, "c", bytes(32), 1, bytes(16), 0, 1, Reservation((), ()))
        answer = self.read(wire.accepted(self.STAMP, Outcome(redemption, state, (), posting, 344, 1656)))
        assert (answer.discount_fen, answer.returned_fen, answer.shopper_fen) == (656, 344, 1656)
        assert (answer.window, answer.refunded_order_fen) == (8, 2000)
        assert wire.legs_of(answer.legs) == standing
        sent = answer.posting
        assert (sent.number, sent.order_fen, sent.discount_fen, sent.at) == (2, -2000, -344, 1_585_300_060)
        assert (sent.issuer, sent.redeeming_region, sent.campaign) == ("330100", "310000", "hangzhou-2020-r1")
        assert (sent.pack_id, sent.index, int(sent.state)) == (VOUCHER.pack_id, 2, State.PARTLY_REFUNDED)
        assert wire.legs_of(sent.legs) == returned

    def test_a_quote_reserves_nothing(self) -> None:
        answer = self.read(wire.quoted(self.STAMP, 1000))
        assert (answer.discount_fen, answer.redemption_id, answer.state) == (1000, b"", 0)

    def test_a_reverse_of_nothing_is_just_done(self) -> None:
        answer = self.read(wire.done(self.STAMP))
        assert (answer.discount_fen, answer.redemption_id, answer.HasField("refusal")) == (0, b"", False)

    def test_a_state_has_the_number_of_the_protocol(self) -> None:
        numbers = dict(redemption_pb2.RedemptionState.items())
        assert {state.name: state.value for state in State} == {
            name.removeprefix("REDEMPTION_STATE_"): number for name, number in numbers.items() if number
        }

    def test_a_record_shows_a_redemption_as_stored(self) -> None:
        record = wire.record_message(a_redemption(state=State.CAPTURED, captured_at=9, window=7, order_fen=4800))
        assert (record.order.order_fen, record.order.merchant, record.state) == (4800, SALE.merchant, 2)
        assert (record.captured_at, record.window, record.discount_fen) == (9, 7, 1000)


class TestCustody:
    STATE = VoucherState(
        VoucherKey("330100", VOUCHER.pack_id, 3),
        "hangzhou-2020-r1",
        bytes(range(32)),
        1,
        VOUCHER.holder_tag,
        10,
        20,
        Reservation(
            (
                Leg("funding/330100/2020/hangzhou-2020-r1/alipay", 200),
                Leg("funding//2020/hangzhou-2020-r1/merchant", 50),
            ),
            (Leg(PROVINCE, 0), Leg(CITY, 750)),
        ),
    )

    def test_a_hand_over_carries_the_voucher_with_its_money(self) -> None:
        message = custody_pb2.HandedVoucher.FromString(wire.handed_message(self.STATE, 1).SerializeToString())
        assert wire.handed_voucher(message, "330100") == self.STATE._replace(epoch=1)

    @pytest.mark.parametrize(
        "leg",
        [
            Leg(PROVINCE, -1),
            Leg(PROVINCE, 10**12 + 1),
            Leg("funding/310000/2020/visitors/city", 1),
            Leg("funding/310000/2020/hangzhou-2020-r1/merchant", 1),
            Leg("funding//2020/visitors/city", 1),
            Leg("settlement/330100", 1),
            Leg("prefund/330100/2020/hangzhou-2020-r1/city", 1),
            Leg("bank/330100", 1),
            Leg("borne//hangzhou-2020-r1", 1),
            Leg("", 1),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("part", ["cofunders", "public"])
    def test_a_region_hands_over_only_money_of_its_own_funders(self, part: str, leg: Leg) -> None:
        reservation = self.STATE.reservation._replace(**{part: (leg,)})
        message = wire.handed_message(self.STATE._replace(reservation=reservation), 1)
        with pytest.raises(InvalidInput):
            wire.handed_voucher(message, "330100")


class TestBatches:
    def test_a_digest_covers_each_item_with_its_length(self) -> None:
        hashes = hashlib.sha256(b"ab").digest() + hashlib.sha256(b"").digest()
        assert wire.batch_digest([b"ab", b""]) == hashlib.sha256(hashes).digest()
        assert wire.batch_digest([]) == hashlib.sha256().digest()

    def test_no_two_batches_share_a_digest(self) -> None:
        batches = [[], [b""], [b"", b""], [b"ab"], [b"a", b"b"], [b"b", b"a"], [b"ab", b""], [b"", b"ab"]]
        assert len({wire.batch_digest(items) for items in batches}) == len(batches)


class TestPacksOfOneTree:
    """They are written field by field, and must be what protobuf writes."""

    @pytest.mark.parametrize("campaign", ["hangzhou-2020-r1", "100%d %b"])
    def test_a_body_is_that_of_its_voucher(self, campaign: str) -> None:
        shared = VOUCHER._replace(campaign=campaign)
        bodies = wire.PackBodies(shared)
        for pack_id, tag in ((b"%" * 15, b"\xff" * 16), (bytes(15), bytes(range(16)))):
            assert bodies.body(pack_id, tag) == wire.voucher_to_body(shared._replace(pack_id=pack_id, holder_tag=tag))

    @pytest.mark.parametrize("size", [1, 2, 3, 200, 256])
    def test_tokens_and_answers_are_those_of_each(self, size: int) -> None:
        bodies = [b"body %d" % number for number in range(size)]
        _, paths = merkle.tree(bodies)
        signature = bytes(range(64))
        tokens = list(wire.tree_tokens(bodies, signature, paths))
        ids = [number.to_bytes(16, "big") for number in range(size)]
        answers = list(wire.claim_answers(ids, tokens, 1_790_000_000))
        for number, (body, path) in enumerate(zip(bodies, paths, strict=True)):
            assert tokens[number] == wire.token_to_bytes(Token(body, signature, size, number, tuple(path)))
            message = claim_pb2.ClaimAnswer(request_id=ids[number], token=tokens[number], decided_at=1_790_000_000)
            assert answers[number] == message.SerializeToString()
