"""What the clearinghouse decides in one loop, against the judging of each request with all its reasons: row by row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from unittest import mock

import pytest
from agreement_documents import BY_LEVERAGE, agreement_document
from batch_stories import redemption_id_of, request_id
from hypothesis import given, settings
from hypothesis import strategies as st
from local_parties import (
    HANGZHOU,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    StandingFactory,
    item,
    keys_of,
    merchant_code,
    outcome,
    purchase,
    received,
    undone,
)

from clearinghouse import capturing
from clearinghouse.capturing import Run
from clearinghouse.desk import Desk
from clearinghouse.redeeming import Redeem
from quanlian import wire
from quanlian.agreements import parse_agreement
from quanlian.suspensions import SuspensionKind, merchant_subject, voucher_subject
from quanlian.v1 import clearing_operator_pb2
from quanlian.v1 import redemption_pb2 as pb
from quanlian.v1.voucher_pb2 import VoucherBody, VoucherToken

PACKS = 5
SENT_TOGETHER = st.sampled_from((1, 3, 250))
"""So that captures of a batch are met before and after their rows were sent."""
CEILING = agreement_document("11.00", BY_LEVERAGE)
"""Shanghai pays by the order's leverage and at most 11.00 a year: as many redemptions as that allows."""
Pair = tuple[LocalClearinghouse, LocalClearinghouse]


class Asked(NamedTuple):
    """One request: which voucher where, and in what it differs from a plain one."""

    operation: str
    voucher: int
    region: str
    order_fen: int
    odd: str


class Batch(NamedTuple):
    """Requests that arrive together, `seconds` after those before; `news` comes just before them."""

    seconds: int
    news: str
    requests: list[Asked]


ASKED = st.builds(
    Asked,
    st.sampled_from(("redeem",) * 8 + ("authorize", "quote", "refund", "reverse")),
    st.integers(0, PACKS * 2 - 1),
    st.sampled_from((SHANGHAI, SHANGHAI, HANGZHOU)),
    st.sampled_from((5800, 5800, 4000, 3999, 12_000)),
    st.sampled_from(
        ("",) * 10
        + ("category", "channel", "payer", "holder", "expected", "unexpected", "merchant")
        + ("again", "reused", "forged", "unknown key", "unreadable")
    ),
)
BATCHES = st.lists(
    st.builds(
        Batch,
        st.sampled_from((0, 0, 60, 900, 8 * 86_400)),
        st.sampled_from(("",) * 5 + ("merchant", "voucher", "region", "key", "cap", "credit")),
        st.lists(ASKED, min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def looped_and_judged(open_lasting_party: StandingFactory) -> tuple[Pair, list[bytes]]:
    """Two clearinghouses with the same packs in their custody; the second judges every request by itself."""
    node = LocalNode(open_lasting_party("node"))
    node.publish()
    tokens = node.claim(PACKS)
    messages = node.release(*(key for token in tokens for key in keys_of(token)))
    looped, judged = (LocalClearinghouse(open_lasting_party(name), visitors_fen=1500) for name in ("looped", "judged"))
    for party in (looped, judged):
        party.learn(node)
        party.decide(*party.hand_overs(messages))
        limit(party, 7000, 0)

    def each_by_itself(desk: Desk, works: list[Redeem]) -> list[Any]:
        return [work.decide(desk) for work in works]

    judged.service.engine._results = each_by_itself  # type: ignore[method-assign,assignment]
    return (looped, judged), tokens


def limit(party: LocalClearinghouse, cap_fen: int, credit_fen: int) -> None:
    request = clearing_operator_pb2.SetLimitsRequest(
        region=HANGZHOU, net_debit_cap_fen=cap_fen, credit_line_fen=credit_fen, credit_offset_bp=5000
    )
    party.do(party.service.operations.set_limits(request))


def hear(party: LocalClearinghouse, news: str, token: bytes) -> None:
    key = keys_of(token)[0]
    match news:
        case "merchant":
            party.suspend(SuspensionKind.MERCHANT, merchant_subject(SHANGHAI, merchant_code(1)))
        case "voucher":
            party.suspend(SuspensionKind.VOUCHER, voucher_subject(key))
        case "region":
            party.suspend(SuspensionKind.REGION, SHANGHAI)
        case "key":
            signed_by = wire.body_to_voucher(wire.bytes_to_token(token).body).key_id
            party.suspend(SuspensionKind.KEY, signed_by.hex(), bad_from=1)
        case "cap":
            limit(party, 2500, 0)
        case "credit":
            limit(party, 10_000_000, 2000)


def id_for(content: bytes, region: str) -> bytes:
    """The id of the redemption that a region's request makes: another region may ask with the same content."""
    return region.encode() + redemption_id_of(content)[len(region) :]


def content_of(asked: Asked, number: int, tokens: list[bytes], earlier: list[tuple[bytes, str]]) -> bytes:
    """`earlier` requests with their regions."""
    if asked.operation in ("refund", "reverse") or asked.odd == "again":
        if not earlier:
            return item(request_id(number), reverse=pb.Reverse(original_request_id=request_id(0)))
        known, region = earlier[asked.voucher % len(earlier)]
        if asked.odd == "again":
            return known
        if asked.operation == "reverse":
            return item(request_id(number), reverse=pb.Reverse(original_request_id=wire.request_id_of(known)))
        refund = pb.Refund(redemption_id=id_for(known, region), order_fen=asked.order_fen)
        return item(request_id(number), refund=refund)
    token = tokens[asked.voucher // 2]
    buying = purchase(token, asked.voucher % 2, f"order-{number}", asked.order_fen)
    match asked.odd:
        case "category":
            buying.order.category = "fuel"
        case "channel":
            buying.order.channel = "web"
        case "payer":
            buying.order.payer_tag = b"somebody else's "
        case "holder":
            buying.order.payer_tag = wire.body_to_voucher(wire.bytes_to_token(token).body).holder_tag
        case "expected" | "unexpected":
            buying.expected_discount_fen = 1000 if asked.odd == "expected" else 999
        case "merchant":
            buying.order.merchant = merchant_code(1)
        case "forged":
            buying.token = forged(token)
        case "unknown key":
            buying.token = of_unknown_key(token)
        case "unreadable":
            buying.order.merchant = ""
    is_reused = asked.odd == "reused" and earlier
    id = wire.request_id_of(earlier[asked.voucher % len(earlier)][0]) if is_reused else request_id(number)
    return item(id, **{asked.operation: buying})


def forged(token: bytes) -> bytes:
    """The same with a signature that nobody made."""
    found = VoucherToken.FromString(token)
    found.signature = bytes(64)
    return found.SerializeToString()


def of_unknown_key(token: bytes) -> bytes:
    found = VoucherToken.FromString(token)
    body = VoucherBody.FromString(found.body)
    body.key_id = bytes(8)
    found.body = body.SerializeToString()
    return found.SerializeToString()


def everything(party: LocalClearinghouse) -> dict[str, list[Mapping[str, Any]]]:
    return {table: party.rows(table) for table in party.tables}


@settings(max_examples=40, deadline=None)
@given(story=BATCHES, sent_together=SENT_TOGETHER)
def test_the_loop_leaves_what_judging_each_request_leaves(
    looped_and_judged: tuple[Pair, list[bytes]], story: list[Batch], sent_together: int
) -> None:
    """The same answers byte for byte, and the same rows in every table: journal, seals and signatures too."""
    with mock.patch.object(capturing, "SENT_TOGETHER", sent_together):
        require_alike(*looped_and_judged, story)


@settings(max_examples=20, deadline=None)
@given(story=BATCHES, sent_together=SENT_TOGETHER)
def test_so_it_does_where_the_order_and_a_yearly_ceiling_count(
    looped_and_judged: tuple[Pair, list[bytes]], story: list[Batch], sent_together: int
) -> None:
    agreement = parse_agreement(CEILING, "ceiling.toml")
    with (
        mock.patch.object(Desk, "agreements", return_value=[agreement]),
        mock.patch.object(capturing, "SENT_TOGETHER", sent_together),
    ):
        require_alike(*looped_and_judged, story, is_on_file=False)


def require_alike(parties: Pair, tokens: list[bytes], story: list[Batch], is_on_file: bool = True) -> None:
    """`is_on_file`: the agreement is in the register, so that the check of the books finds it."""
    with undone(*parties):
        earlier: list[tuple[bytes, str]] = []
        heard: set[str] = set()
        for batch in story:
            contents: list[tuple[bytes, str]] = []
            for asked in batch.requests:
                contents.append((content_of(asked, len(earlier), tokens, earlier), asked.region))
                earlier.append(contents[-1])
            answers = []
            for party in parties:
                party.pass_seconds(batch.seconds)
                if batch.news not in heard:
                    hear(party, batch.news, tokens[0])
                works = [Redeem(received(each, region, region, id_for(each, region))) for each, region in contents]
                answers.append(party.decide(*works))
            heard.add(batch.news)
            assert answers[0] == answers[1]
        looped, judged = parties
        assert everything(looped) == everything(judged)
        if is_on_file:
            looped.check_books()


def test_plain_redemptions_never_reach_the_judge(
    looped_and_judged: tuple[Pair, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (looped, _), tokens = looped_and_judged

    def unexpected(self: Redeem, desk: Desk) -> None:
        raise AssertionError("a plain redemption was judged by itself")

    with undone(looped):
        monkeypatch.setattr(Redeem, "decide", unexpected)
        contents = [item(request_id(n), redeem=purchase(tokens[n], 0, f"order-{n}")) for n in range(3)]
        assert [outcome(each) for each in looped.redeem(*contents)] == ["CAPTURED"] * 3


def test_what_needs_no_books_does_not_break_a_run(looped_and_judged: tuple[Pair, list[bytes]]) -> None:
    """So one bad signature in a hundred costs the good ones beside it no booking of their own."""
    (looped, _), tokens = looped_and_judged
    first, second = (item(request_id(n), redeem=purchase(tokens[n], 0, f"order-{n}")) for n in range(2))
    bad = item(request_id(9), redeem=purchase(forged(tokens[2]), 0, "order-9"))
    with undone(looped), mock.patch.object(Run, "_book", autospec=True, side_effect=Run._book) as booked:
        answers = looped.redeem(first, bad, first, second)
        assert [outcome(each) for each in answers] == ["CAPTURED", "BAD_SIGNATURE", "CAPTURED", "CAPTURED"]
        assert answers[0] == answers[2]
        booked.assert_called_once()
        looped.check_books()
