"""Refusals in their order, party by party: a request that is wrong in every way, put right one wrong at a time.

Each step's answer is the first reason that is left, with its figures, in both languages; the last step is accepted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
import sqlalchemy as sa
from batch_stories import request_id
from local_parties import (
    AT,
    CLEARINGHOUSE,
    HANGZHOU,
    KEYRING,
    OPERATOR,
    PLATFORM,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    Party,
    TestSigner,
    answer_of,
    campaign,
    item,
    keys_of,
    merchant_code,
    outcome,
    purchase,
    undone,
)

from clearinghouse.redeeming import Redeem
from custodian.campaigns import Campaigns, SignedChange
from custodian.receiving import receive
from custodian.suspensions import Suspensions, sign_suspension
from node.cancelling import Cancel
from node.redeeming import Intake
from quanlian import vouchers, wire
from quanlian.campaign_changes import Change, ChangeKind
from quanlian.refusals import RefusalReason
from quanlian.suspensions import Suspension, SuspensionKind, key_subject, merchant_subject, voucher_subject
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import claim_pb2, node_operator_pb2, refusal_pb2, signed_pb2
from quanlian.v1 import redemption_pb2 as pb
from quanlian.vouchers import Voucher, VoucherKey

VOUCHER_SIGNER, CLEARING = TestSigner(HANGZHOU, "voucher"), TestSigner(CLEARINGHOUSE, "message")
TAG = b"t" * 16
THRESHOLD, TIERED = 0, 1
ADMITTED, BLOCKED, UNKNOWN_MERCHANT = merchant_code(), merchant_code(1), merchant_code(2)
DAY = 86_400

CAR = """
[[voucher_type]]
id = "car"
title_zh = "汽车补贴"
title_en = "Car subsidy"
kind = "tiered"
categories = ["retail"]
[[voucher_type.tier]]
class = "new-energy"
from = 30000.00
amount = 10.00

[[pack]]
"""
"""A second type of voucher, of the same highest discount."""

Wrong = str
SHARED: tuple[Wrong, ...] = (
    "MALFORMED",
    "UNKNOWN_KEY",
    "BAD_SIGNATURE",
    "KEY_NOT_VALID",
    "KEY_REVOKED",
    "REGION_SUSPENDED",
    "CAMPAIGN_UNKNOWN",
    "TERMS_MISMATCH",
    "CAMPAIGN_SUSPENDED",
    "VOUCHER_UNKNOWN",
    "VOUCHER_CANCELLED",
    "VOUCHER_SUSPENDED",
    "NOT_YET_VALID",
    "EXPIRED",
    "REGION_NOT_COVERED",
    "CHANNEL_NOT_COVERED",
)
AT_NODE = (
    *SHARED,
    "MERCHANT_NOT_ADMITTED",
    "MERCHANT_BLOCKED",
    "CATEGORY_NOT_COVERED",
    "HOLDER_MISMATCH",
    "BELOW_MINIMUM_SPEND",
    "NO_MATCHING_TIER",
    "AMOUNT_MISMATCH",
    "ORDER_ALREADY_DISCOUNTED",
    "ALREADY_HELD",
    "ALREADY_REDEEMED",
)
"""What a node can answer for a voucher of its own; `LEVERAGE_TOO_LOW` is for visitors' vouchers, the money reserved."""
AT_CLEARINGHOUSE = (
    *SHARED,
    "MERCHANT_BLOCKED",
    "CATEGORY_NOT_COVERED",
    "HOLDER_MISMATCH",
    "BELOW_MINIMUM_SPEND",
    "NO_MATCHING_TIER",
    "AMOUNT_MISMATCH",
    "ALREADY_HELD",
    "ALREADY_REDEEMED",
    "NOT_IN_CUSTODY",
    "ISSUER_UNREACHABLE",
    "FUNDING_EXHAUSTED",
    "DEBIT_CAP_EXCEEDED",
)
"""Admission, leverage bounds and orders are the redeeming node's to judge."""

FIGURES: dict[Wrong, set[str]] = {
    "KEY_NOT_VALID": {"issued_at", "not_before_at", "not_after_at"},
    "KEY_REVOKED": {"issued_at", "revoked_at"},
    "REGION_SUSPENDED": {"region", "since_at"},
    "CAMPAIGN_SUSPENDED": {"since_at"},
    "VOUCHER_SUSPENDED": {"since_at"},
    "NOT_YET_VALID": {"not_before_at"},
    "EXPIRED": {"not_after_at"},
    "REGION_NOT_COVERED": {"region"},
    "MERCHANT_BLOCKED": {"since_at"},
    "BELOW_MINIMUM_SPEND": {"order_fen", "invoice_fen", "minimum_spend_fen", "short_fen"},
    "NO_MATCHING_TIER": {"order_fen", "invoice_fen"},
    "LEVERAGE_TOO_LOW": {"leverage_ppm", "bound_ppm"},
    "AMOUNT_MISMATCH": {"discount_fen", "expected_fen"},
    "ALREADY_HELD": {"expires_at"},
    "FUNDING_EXHAUSTED": {"needed_fen"},
    "DEBIT_CAP_EXCEEDED": {"exposure_fen", "owed_fen", "limit_fen"},
}
RETRYABLE = {
    "REGION_SUSPENDED",
    "CAMPAIGN_SUSPENDED",
    "VOUCHER_SUSPENDED",
    "NOT_YET_VALID",
    "MERCHANT_BLOCKED",
    "ALREADY_HELD",
    "NOT_IN_CUSTODY",
    "ISSUER_UNREACHABLE",
    "FUNDING_EXHAUSTED",
    "DEBIT_CAP_EXCEEDED",
}
UNUSABLE = {
    "MALFORMED",
    "UNKNOWN_KEY",
    "BAD_SIGNATURE",
    "KEY_NOT_VALID",
    "KEY_REVOKED",
    "TERMS_MISMATCH",
    "VOUCHER_UNKNOWN",
    "VOUCHER_CANCELLED",
    "VOUCHER_SUSPENDED",
    "EXPIRED",
    "ALREADY_REDEEMED",
}
"""What a voucher cannot be used after, as far as the decider knows."""
DEADLY = {"VOUCHER_SUSPENDED", "EXPIRED"}
"""Further wrongs that a party knows of although it answers with an earlier one."""


def terms_of(regions: str = '"*"') -> bytes:
    """The spring campaign with a pack of one threshold and one tiered voucher."""
    text = campaign().decode().replace("\n[[pack]]\n", CAR, 1).replace('["ten", "ten"]', '["ten", "car"]')
    return text.replace('regions = ["*"]', f"regions = [{regions}]").encode()


EVERYWHERE, ELSEWHERE = terms_of(), terms_of('"440300"')


@dataclass
class Bench:
    """A party with a pack that is in its custody, and how it is asked."""

    party: Party
    redeeming: str
    pack_id: bytes
    ask: Callable[[bytes, frozenset[Wrong]], bytes]
    use: Callable[..., list[bytes]]
    cancel: Callable[[], None]
    suspended_merchant: str

    def key(self, index: int) -> VoucherKey:
        return VoucherKey(HANGZHOU, self.pack_id, index)

    # The world, as wrong as it is said to be

    def spoil(self, wrongs: frozenset[Wrong]) -> None:
        self._spoil_vouchers(wrongs)
        if "KEY_REVOKED" in wrongs:
            self._suspend(SuspensionKind.KEY, key_subject(VOUCHER_SIGNER.key_id), AT - 10 * DAY)
        if "REGION_SUSPENDED" in wrongs:
            self._suspend(SuspensionKind.REGION, self.redeeming)
        if "MERCHANT_BLOCKED" in wrongs:
            self._suspend(SuspensionKind.MERCHANT, merchant_subject(self.redeeming, self.suspended_merchant))
        if "VOUCHER_SUSPENDED" in wrongs:
            for index in (THRESHOLD, TIERED):
                self._suspend(SuspensionKind.VOUCHER, voucher_subject(self.key(index)))
        if "CAMPAIGN_SUSPENDED" in wrongs:
            self._pause("spring")
            self._pause("ghost")
        if "ORDER_ALREADY_DISCOUNTED" in wrongs:
            orders = [
                {"merchant": code, "order_id": "order", "taken_by": b"another", "until": None}
                for code in (ADMITTED, BLOCKED, UNKNOWN_MERCHANT)
            ]
            self._write(lambda transaction: transaction.insert(self.party.tables["merchant_order"], orders))
        if "FUNDING_EXHAUSTED" in wrongs:
            self._execute("UPDATE account SET limit_fen = 0 WHERE account LIKE '%/visitors/%'")
        if "DEBIT_CAP_EXCEEDED" in wrongs:
            self._execute("UPDATE participant SET net_debit_cap_fen = 0")

    def _spoil_vouchers(self, wrongs: frozenset[Wrong]) -> None:
        """A voucher has one recorded status: that of the first wrong which needs one."""
        recorded = [each for each in ("VOUCHER_CANCELLED", "ALREADY_HELD", "ALREADY_REDEEMED") if each in wrongs]
        if not recorded:
            return
        if recorded[0] == "VOUCHER_CANCELLED":
            self.cancel()
            return
        operation = "redeem" if recorded[0] == "ALREADY_REDEEMED" else "authorize"
        sound = [self.request(frozenset(), index, f"other-{index}", operation) for index in (THRESHOLD, TIERED)]
        assert {outcome(answer) for answer in self.use(*sound)} <= {"AUTHORIZED", "CAPTURED"}

    def _suspend(self, kind: SuspensionKind, subject: str, bad_from: int = 0) -> None:
        def store(transaction: Any) -> None:
            suspensions = Suspensions(transaction)
            number = suspensions.last_number(CLEARINGHOUSE) + 1
            suspension = Suspension(CLEARINGHOUSE, number, kind, subject, True, AT - 60, "me", "test", bad_from)
            suspensions.append(sign_suspension(suspension, CLEARING))

        self._write(store)

    def _pause(self, name: str) -> None:
        def store(transaction: Any) -> None:
            campaigns = Campaigns(transaction)
            if not campaigns.standing(HANGZHOU, name).last_number:
                first = Change(HANGZHOU, name, 1, ChangeKind.PUBLISH, AT, "me", "test", b"hash")
                campaigns.append(SignedChange(first, _carried(first)))
            number = campaigns.standing(HANGZHOU, name).last_number + 1
            pause = Change(HANGZHOU, name, number, ChangeKind.PAUSE, AT - 60, "me", "test", b"hash")
            campaigns.append(SignedChange(pause, _carried(pause)))

        self._write(store)

    def _write(self, store: Callable[[Any], None]) -> None:
        with self.party.database.transaction() as transaction:
            store(transaction)

    def _execute(self, statement: str) -> None:
        self._write(lambda transaction: transaction.connection.execute(sa.text(statement)))

    # The request, as wrong as it is said to be

    def request(
        self, wrongs: frozenset[Wrong], index: int | None = None, order_id: str = "order", operation: str = "redeem"
    ) -> bytes:
        if index is None:
            tiered = "NO_MATCHING_TIER" in wrongs and "BELOW_MINIMUM_SPEND" not in wrongs
            index = TIERED if tiered else THRESHOLD
        order = pb.Order(
            merchant=self._merchant(wrongs),
            order_id="x" * 65 if "MALFORMED" in wrongs else order_id,
            order_fen=3850 if "BELOW_MINIMUM_SPEND" in wrongs else 5800,
            category="fuel" if "CATEGORY_NOT_COVERED" in wrongs else "retail",
            channel="delivery" if "CHANNEL_NOT_COVERED" in wrongs else "shop",
            klass="new-energy",
            invoice_fen=100 if "NO_MATCHING_TIER" in wrongs else 3_000_000,
            payer_tag=b"somebody-else---" if "HOLDER_MISMATCH" in wrongs else TAG,
        )
        purchase = pb.Purchase(
            token=self._token(wrongs),
            index=index,
            order=order,
            expected_discount_fen=1 if "AMOUNT_MISMATCH" in wrongs else 1000,
        )
        number = len(wrongs) + 100 * index + (1000 if order_id != "order" else 0)
        return item(request_id(number), **{operation: purchase})

    def _merchant(self, wrongs: frozenset[Wrong]) -> str:
        if "MERCHANT_NOT_ADMITTED" in wrongs:
            return UNKNOWN_MERCHANT
        return self.suspended_merchant if "MERCHANT_BLOCKED" in wrongs else ADMITTED

    def _token(self, wrongs: frozenset[Wrong]) -> bytes:
        key, unknown = VOUCHER_SIGNER.certified, "VOUCHER_UNKNOWN" in wrongs
        terms = parse_terms(ELSEWHERE if "REGION_NOT_COVERED" in wrongs else EVERYWHERE, "spring")
        voucher = Voucher(
            version=1,
            suite=vouchers.SUITE_ED25519,
            key_id=b"unknown!" if "UNKNOWN_KEY" in wrongs else key.key_id,
            issuer=HANGZHOU,
            campaign="ghost" if "CAMPAIGN_UNKNOWN" in wrongs else "spring",
            terms_hash=b"h" * 32 if wrongs & {"CAMPAIGN_UNKNOWN", "TERMS_MISMATCH"} else terms.terms_hash,
            pack_id=self.pack_id,
            voucher_types=(9, 9) if unknown else (1, 2),
            holder_tag=TAG,
            issued_at=key.not_before - 1 if "KEY_NOT_VALID" in wrongs else AT - 60,
            not_before=AT + 60 if "NOT_YET_VALID" in wrongs else AT - 60,
            not_after=AT - 60 if "EXPIRED" in wrongs else AT + 60,
            roaming="on-demand",
        )
        body = wire.voucher_to_body(voucher)
        signature = bytes(64) if "BAD_SIGNATURE" in wrongs else VOUCHER_SIGNER.sign("voucher", body)
        return wire.token_to_bytes(vouchers.Token(body, signature))


def _carried(change: Change) -> signed_pb2.SignedMessage:
    return signed_pb2.SignedMessage(body=wire.change_to_body(change), key_id=b"key", signature=b"signature")


def _received(content: bytes, participant: str, region: str, redemption_id: bytes) -> Any:
    """As the party's edge reads it: reasons 1–3 are found there."""
    return receive(
        content,
        participant=participant,
        acquirer=participant,
        redeeming_region=region,
        redemption_id=redemption_id,
        verifier=KEYRING,
    )


def at_node(node: LocalNode) -> Bench:
    """Hangzhou's node with a pack of its own and two versions of the terms."""
    pack_id = _published(node)
    merchant = {"code": BLOCKED, "name": "商户", "categories": "[]"}
    with node.database.transaction() as transaction:
        transaction.upsert(node.tables["merchant"], [merchant])

    def use(*contents: bytes) -> list[bytes]:
        intakes = [Intake(_received(each, PLATFORM, HANGZHOU, node.ids.fresh()), node.ids.fresh()) for each in contents]
        return [reply.content for reply in node.decide(*intakes)]

    def cancel() -> None:
        node.decide(*(Cancel(VoucherKey(HANGZHOU, pack_id, index), "me", "test") for index in (THRESHOLD, TIERED)))

    return Bench(node, HANGZHOU, pack_id, lambda content, wrongs: use(content)[0], use, cancel, BLOCKED)


def at_clearinghouse(node: LocalNode, clearinghouse: LocalClearinghouse) -> Bench:
    """The clearinghouse with Hangzhou's pack in its custody; Shanghai redeems, and its fund must pay its part."""
    pack_id = _published(node)
    clearinghouse.learn(node)
    keys = [VoucherKey(HANGZHOU, pack_id, index) for index in (THRESHOLD, TIERED)]
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys)))
    agreement = clearinghouse.tables["agreement"]
    with clearinghouse.database.transaction() as transaction:
        row = transaction.connection.execute(agreement.select()).one()
        document = row.document.replace(b'"issuer-pays"', b'"refuse"')
        transaction.connection.execute(agreement.update().values(document=document))
        signature = clearinghouse.statement_signer.sign("agreement", document)
        signed = clearinghouse.tables["agreement_signature"]
        transaction.connection.execute(signed.update().values(signature=signature))

    def use(*contents: bytes, failed: RefusalReason | None = None) -> list[bytes]:
        ids = [clearinghouse.ids.fresh() for _ in contents]
        works = [
            Redeem(_received(each, SHANGHAI, SHANGHAI, id), failed) for each, id in zip(contents, ids, strict=True)
        ]
        return [reply.content for reply in clearinghouse.decide(*works)]

    def ask(content: bytes, wrongs: frozenset[Wrong]) -> bytes:
        """A voucher whose release failed is still with its issuer."""
        failures = [name for name in ("NOT_IN_CUSTODY", "ISSUER_UNREACHABLE") if name in wrongs]
        if not failures:
            return use(content)[0]
        if not wrongs & {"VOUCHER_CANCELLED", "ALREADY_HELD", "ALREADY_REDEEMED"}:
            with clearinghouse.database.transaction() as transaction:
                voucher = clearinghouse.tables["voucher"]
                transaction.connection.execute(voucher.update().values(epoch=0))
        return use(content, failed=RefusalReason[failures[0]])[0]

    def cancel() -> None:
        """As a recovery leaves a voucher that somebody was told is captured."""
        with clearinghouse.database.transaction() as transaction:
            transaction.connection.execute(clearinghouse.tables["voucher"].update().values(status="cancelled"))

    return Bench(clearinghouse, SHANGHAI, pack_id, ask, use, cancel, BLOCKED)


@pytest.fixture(params=["node", "clearinghouse"])
def bench(request: pytest.FixtureRequest, node: LocalNode, clearinghouse: LocalClearinghouse) -> Bench:
    return at_node(node) if request.param == "node" else at_clearinghouse(node, clearinghouse)


def _published(node: LocalNode) -> bytes:
    """Both versions of the terms, and a pack of the first."""
    request = node_operator_pb2.PublishCampaignRequest(terms=EVERYWHERE, file_name="spring.toml")
    node.ask(lambda operations: operations.publish_campaign(OPERATOR, request))
    (token,) = node.claim()
    node.change(ChangeKind.AMEND, ELSEWHERE)
    return keys_of(token)[0].pack_id


def answers(bench: Bench, wrongs: frozenset[Wrong]) -> bytes:
    """What the party answers in a world, and to a request, that are wrong in these ways; the world is undone after."""
    with undone(bench.party):
        bench.spoil(wrongs)
        return bench.ask(bench.request(wrongs), wrongs)


def wrongs_of(bench: Bench) -> tuple[Wrong, ...]:
    return AT_NODE if bench.redeeming == HANGZHOU else AT_CLEARINGHOUSE


def check_refusal(refusal: refusal_pb2.Refusal, name: Wrong) -> None:
    """The figures that its reason has, told in two languages, and whether it is worth trying again."""
    figures = {figure.name: figure.value for figure in refusal.figures}
    assert figures.keys() == FIGURES.get(name, set()), name
    assert refusal.retryable == (name in RETRYABLE), name
    assert re.search(r"[\u4e00-\u9fff]", refusal.message_zh), name
    assert refusal.message_en.isascii(), name
    assert not re.search(r"[{}\[\]—]", refusal.message_zh + refusal.message_en), name
    for known, value in figures.items():
        if known.endswith("_fen") and known not in ("invoice_fen", "order_fen"):
            shown = f"{value // 100:,}.{value % 100:02d}"
            assert shown in refusal.message_zh, (name, known)
            assert shown in refusal.message_en, (name, known)


def test_a_request_that_is_wrong_in_every_way_is_put_right_one_wrong_at_a_time(bench: Bench) -> None:
    wrongs = wrongs_of(bench)
    for position, name in enumerate(wrongs):
        left = frozenset(wrongs[position:])
        answer = answers(bench, left)
        assert outcome(answer) == name
        refusal = answer_of(answer).refusal
        check_refusal(refusal, name)
        if left & DEADLY:
            assert not refusal.voucher_usable, f"{name}: the voucher is past use for a later reason"
            assert "仍可用" not in refusal.message_zh
    assert outcome(answers(bench, frozenset())) == "CAPTURED"


def test_each_wrong_alone_is_refused_for_it_and_tells_whether_the_voucher_is_still_good(bench: Bench) -> None:
    for name in wrongs_of(bench):
        answer = answers(bench, frozenset({name}))
        assert outcome(answer) == name
        refusal = answer_of(answer).refusal
        check_refusal(refusal, name)
        assert refusal.voucher_usable == (name not in UNUSABLE), name
        assert refusal.message_zh.endswith("；券仍可用") == refusal.voucher_usable, name


def test_a_quote_is_refused_for_what_the_redeem_would_be_refused_for(bench: Bench) -> None:
    """But for a release that failed: a quote asks for none."""

    def quote(wrongs: frozenset[Wrong]) -> bytes:
        with undone(bench.party):
            bench.spoil(wrongs)
            request = pb.RedemptionItem.FromString(bench.request(wrongs))
            return bench.use(item(request.request_id, quote=request.redeem))[0]

    for name in wrongs_of(bench):
        if name not in ("MALFORMED", "NOT_IN_CUSTODY", "ISSUER_UNREACHABLE"):
            assert outcome(quote(frozenset({name}))) == name
    assert outcome(quote(frozenset())) == "quoted"


def test_the_tables_follow_the_order_of_the_protocol() -> None:
    for table in (AT_NODE, AT_CLEARINGHOUSE):
        numbers = [RefusalReason[name].value for name in table]
        assert numbers == sorted(numbers)
        assert len(set(numbers)) == len(numbers)
    every = {reason.name for reason in RefusalReason if reason < RefusalReason.REQUEST_ID_REUSED}
    assert every - set(AT_NODE) - set(AT_CLEARINGHOUSE) == {"LEVERAGE_TOO_LOW"}


LATER: dict[Wrong, set[str]] = {
    "REQUEST_ID_REUSED": set(),
    "REVERSED": set(),
    "REDEMPTION_UNKNOWN": set(),
    "NOT_AUTHORIZED": {"voided_held_at"},
    "HOLD_EXPIRED": {"expires_at"},
    "AMOUNT_EXCEEDS_HOLD": {"order_fen", "held_order_fen"},
    "NOT_CAPTURED": set(),
    "REFUND_EXCEEDS_CAPTURE": {"order_fen", "left_fen"},
}
"""What a known request, or one about an earlier one, can be answered, with its figures."""
STILL_GOOD = {"AMOUNT_EXCEEDS_HOLD", "HOLD_EXPIRED", "NOT_AUTHORIZED", "NOT_CAPTURED"}
"""After these the voucher can be used still, as each comes to pass below."""
TOO_MUCH_FEN = 999_999


def later_refusals(bench: Bench) -> dict[Wrong, refusal_pb2.Refusal]:
    """What one party answers to each wrong later call, each too large in its amount besides."""
    found: dict[Wrong, refusal_pb2.Refusal] = {}

    def ask(name: Wrong, content: bytes) -> None:
        (answer,) = bench.use(content)
        assert outcome(answer) == name
        found[name] = answer_of(answer).refusal

    def made(operation: str, index: int, order_id: str) -> tuple[bytes, bytes]:
        content = bench.request(frozenset(), index, order_id, operation)
        content = item(
            bench.party.ids.fresh(), **{operation: getattr(pb.RedemptionItem.FromString(content), operation)}
        )
        (answer,) = bench.use(content)
        return content, answer_of(answer).redemption_id

    def later(kind: str, id: bytes) -> bytes:
        call = pb.Refund if kind == "refund" else pb.Capture
        return item(bench.party.ids.fresh(), **{kind: call(redemption_id=id, order_fen=TOO_MUCH_FEN)})

    ask("REDEMPTION_UNKNOWN", later("capture", b"nobody knows it."))
    first, voided = made("authorize", TIERED, "order-voided")
    bench.use(item(bench.party.ids.fresh(), void=pb.Void(redemption_id=voided)))
    ask("NOT_AUTHORIZED", later("capture", voided))
    ask("REQUEST_ID_REUSED", item(wire.request_id_of(first), void=pb.Void(redemption_id=voided)))
    _, held = made("authorize", THRESHOLD, "order-held")
    ask("AMOUNT_EXCEEDS_HOLD", later("capture", held))
    ask("NOT_CAPTURED", later("refund", held))
    undone_id = bench.party.ids.fresh()
    bench.use(item(bench.party.ids.fresh(), reverse=pb.Reverse(original_request_id=undone_id)))
    purchase = pb.RedemptionItem.FromString(bench.request(frozenset(), TIERED, "order-reversed")).redeem
    ask("REVERSED", item(undone_id, redeem=purchase))
    _, captured = made("redeem", TIERED, "order-captured")
    ask("REFUND_EXCEEDS_CAPTURE", later("refund", captured))
    bench.party.pass_seconds(900)
    ask("HOLD_EXPIRED", later("capture", held))
    return found


def test_later_calls_have_their_reasons_with_figures_in_two_languages_at_both_parties(bench: Bench) -> None:
    found = later_refusals(bench)
    later = {reason.name for reason in RefusalReason if 400 <= reason < 600}
    assert found.keys() == LATER.keys() == later, "a reason without a request that leads to it"
    for name, refusal in found.items():
        assert {figure.name for figure in refusal.figures} == LATER[name], name
        assert not refusal.retryable, name
        assert refusal.voucher_usable == (name in STILL_GOOD), name
        assert refusal.message_zh.endswith("；券仍可用") == refusal.voucher_usable, name
        assert re.search(r"[\u4e00-\u9fff]", refusal.message_zh), name
        assert refusal.message_en.isascii(), name
        assert not re.search(r"[{}\[\]—]", refusal.message_zh + refusal.message_en), name


class TestVisitorsVouchers:
    """Shanghai's voucher at Hangzhou's node: what the redeeming region judges before the clearinghouse does."""

    def test_the_region_s_leverage_bound_comes_after_the_tiers_and_before_the_amount(self, node: LocalNode) -> None:
        shanghai = TestSigner(SHANGHAI, "voucher")
        document = campaign(issuer=SHANGHAI)
        terms = parse_terms(document, "spring")
        row = {"terms_hash": terms.terms_hash, "campaign": "spring", "issuer": SHANGHAI, "document": document}
        with node.database.transaction() as transaction:
            stored = row | {"key_id": b"key", "signature": b"signature"}
            transaction.upsert(node.tables["terms"], [stored])
        voucher = Voucher(
            1, vouchers.SUITE_ED25519, shanghai.key_id, SHANGHAI, "spring", terms.terms_hash, b"p" * 15, (1,), TAG,
            AT - 60, AT - 60, AT + 60, "on-demand",
        )  # fmt: skip
        body = wire.voucher_to_body(voucher)
        token = wire.token_to_bytes(vouchers.Token(body, shanghai.sign("voucher", body)))
        node.region = node.region._replace(leverage_bound=Fraction(5))
        KEYRING[shanghai.key_id] = shanghai.certified

        def ask(number: int, order_fen: int, expected_fen: int) -> Any:
            order = pb.Order(
                merchant=ADMITTED, order_id="order", order_fen=order_fen, category="retail", channel="shop"
            )
            purchase = pb.Purchase(token=token, order=order, expected_discount_fen=expected_fen)
            content = item(request_id(number), redeem=purchase)
            received = _received(content, PLATFORM, HANGZHOU, node.ids.fresh())
            (reply,) = node.decide(Intake(received, node.ids.fresh()))
            return reply

        try:
            assert outcome(ask(1, 3850, 1).content) == "BELOW_MINIMUM_SPEND"
            low = ask(2, 5800, 1)
            assert outcome(low.content) == "LEVERAGE_TOO_LOW"
            check_refusal(answer_of(low.content).refusal, "LEVERAGE_TOO_LOW")
            node.region = node.region._replace(leverage_bound=None)
            assert outcome(ask(3, 5800, 1).content) == "AMOUNT_MISMATCH"
            assert not hasattr(ask(4, 5800, 1000), "decider"), "it is sent on to the clearinghouse"
        finally:
            del KEYRING[shanghai.key_id]


class TestLaterCalls:
    """Capture, void and refund have their own reasons; whether the voucher is still good is seen from the voucher."""

    @pytest.fixture
    def token(self, node: LocalNode) -> bytes:
        node.publish()
        return node.claim()[0]

    def refusal(self, node: LocalNode, number: int, **operation: Any) -> refusal_pb2.Refusal:
        (answer,) = node.redeem(item(request_id(number), **operation))
        return answer_of(answer).refusal

    def hold(self, node: LocalNode, token: bytes) -> bytes:
        (held,) = node.redeem(item(request_id(1), authorize=purchase(token, 0, "order-1")))
        return answer_of(held).redemption_id

    def test_a_capture_of_more_than_was_held_leaves_the_voucher_good(self, node: LocalNode, token: bytes) -> None:
        id = self.hold(node, token)
        refusal = self.refusal(node, 2, capture=pb.Capture(redemption_id=id, order_fen=5801))
        assert refusal.message_zh == "确认金额58.01元超过占用金额58.00元；券仍可用"
        assert refusal.voucher_usable

    def test_a_hold_that_expired_leaves_the_voucher_good_unless_it_was_used_since(
        self, node: LocalNode, token: bytes
    ) -> None:
        id = self.hold(node, token)
        node.pass_seconds(900)
        assert self.refusal(node, 2, capture=pb.Capture(redemption_id=id)).voucher_usable
        node.redeem(item(request_id(3), redeem=purchase(token, 0, "order-2")))
        late = self.refusal(node, 4, capture=pb.Capture(redemption_id=id))
        assert RefusalReason(late.reason) is RefusalReason.HOLD_EXPIRED
        assert not late.voucher_usable
        assert "仍可用" not in late.message_zh

    def test_a_hold_that_expired_with_its_voucher_leaves_nothing(self, node: LocalNode, token: bytes) -> None:
        id = self.hold(node, token)
        node.pass_seconds(8 * DAY)
        assert not self.refusal(node, 2, void=pb.Void(redemption_id=id)).voucher_usable

    def test_what_was_captured_is_dead_and_what_is_not_known_is_not_called_good(
        self, node: LocalNode, token: bytes
    ) -> None:
        (captured,) = node.redeem(item(request_id(1), redeem=purchase(token, 0, "order-1")))
        id = answer_of(captured).redemption_id
        for number, wrong in enumerate(
            (
                {"void": pb.Void(redemption_id=id)},
                {"refund": pb.Refund(redemption_id=id, order_fen=5801)},
                {"void": pb.Void(redemption_id=b"nobody knows it.")},
            ),
            start=2,
        ):
            refusal = self.refusal(node, number, **wrong)
            assert not refusal.voucher_usable, refusal
            assert "good" not in refusal.message_en

    def test_a_claim_that_is_refused_speaks_of_no_voucher(self, node: LocalNode) -> None:
        node.publish(city=1, county=1)
        (answer,) = node.decide(node.claim_work("somebody"))
        refusal = claim_pb2.ClaimAnswer.FromString(answer).refusal
        assert refusal.message_zh == "资金不足，需20.00元"
        assert refusal.message_en == "the funders' money does not reach for 20.00 yuan"
        assert not refusal.voucher_usable
