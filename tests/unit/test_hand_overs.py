"""A hand-over is signed as a tree: whole or in part, it shows what its giver signed and nothing else."""

from __future__ import annotations

import pytest
from local_parties import HANGZHOU, message_signer

from quanlian import hand_overs, wire
from quanlian.apportionment import Leg, Reservation
from quanlian.custody import CLEARINGHOUSE, VoucherState
from quanlian.errors import BadSignature, InvalidInput
from quanlian.hand_overs import Head, Incarnations
from quanlian.v1 import custody_pb2, signed_pb2
from quanlian.vouchers import VoucherKey

HEAD = Head(HANGZHOU, CLEARINGHOUSE, 7, 1_780_000_000, Incarnations(2, 3))


def voucher(number: int) -> VoucherState:
    money = Reservation((), (Leg(f"funding/{HANGZHOU}/2026/spring/city", 1000 + number),))
    key = VoucherKey(HANGZHOU, number.to_bytes(15, "big"), 0)
    return VoucherState(key, "spring", bytes(32), 1, bytes(16), 0, 10, money)


def given(count: int) -> signed_pb2.SignedMessage:
    return hand_overs.sign(HEAD, [hand_overs.leaf(voucher(n)) for n in range(count)], message_signer())


def ref(number: int) -> tuple[bytes, int]:
    return number.to_bytes(15, "big"), 0


def test_what_was_signed_is_read_back() -> None:
    found = hand_overs.read(given(5).body)
    assert found.head._replace(size=0, root=b"") == HEAD
    assert found.head.size == 5
    assert [each.reservation.total_fen for each in found.vouchers()] == [1000, 1001, 1002, 1003, 1004]
    assert {each.epoch for each in found.vouchers()} == {1}


def test_the_issuer_is_the_one_of_both_that_is_a_region() -> None:
    assert HEAD.issuer == HEAD._replace(giver=CLEARINGHOUSE, taker=HANGZHOU).issuer == HANGZHOU


def test_the_signature_covers_the_head_and_by_its_root_the_vouchers() -> None:
    message = given(3)
    head = hand_overs.signed_head(message)
    assert message_signer().sign(hand_overs.KIND, head.body) == message.signature
    body = custody_pb2.HandOver.FromString(message.body)
    for vouchers in (body.vouchers[:2], [*body.vouchers, b""], list(reversed(body.vouchers)), []):
        other = custody_pb2.HandOver(head=body.head, vouchers=vouchers).SerializeToString()
        with pytest.raises(BadSignature, match="hand-over 7 brings other vouchers"):
            hand_overs.read(other)


def test_what_is_no_hand_over_is_named() -> None:
    with pytest.raises(InvalidInput, match="hand-over"):
        hand_overs.read(b"none")


@pytest.mark.parametrize("count", [1, 2, 7, 2000])
@pytest.mark.parametrize("shown", [1, 5, 2000])
def test_some_vouchers_are_shown_without_the_others(count: int, shown: int) -> None:
    extract = hand_overs.extract(given(count).body, {ref(n) for n in range(min(count, shown))})
    assert hand_overs.read_extract(extract).number == 7
    assert len(extract.leaves) == min(count, shown)
    money = hand_overs.HandedMoney(HANGZHOU, extract.leaves.values())
    reservation = money.reservation(VoucherKey(HANGZHOU, *ref(0)))
    assert reservation is not None
    assert reservation.total_fen == 1000
    hidden = money.reservation(VoucherKey(HANGZHOU, *ref(count - 1)))
    assert (hidden is None) == (count > shown)


def test_one_of_two_thousand_takes_eleven_hashes_and_all_of_them_none() -> None:
    message = given(2000)
    one = hand_overs.extract(message.body, {ref(999)})
    assert (len(one.leaves), len(one.nodes)) == (1, 11)
    everything = hand_overs.extract(message.body, {ref(n) for n in range(2000)})
    assert (len(everything.leaves), everything.nodes) == (2000, [])


def test_a_voucher_whose_fields_were_written_in_another_order_is_shown_too() -> None:
    message = custody_pb2.HandOver.FromString(given(3).body)
    turned = [leaf[17:] + leaf[:17] for leaf in message.vouchers]
    body = custody_pb2.HandOver(head=message.head, vouchers=turned).SerializeToString()
    assert hand_overs.extract(body, {ref(1)}).leaves == {1: turned[1]}


def test_an_altered_voucher_or_hash_gives_another_root() -> None:
    extract = hand_overs.extract(given(9).body, {ref(2), ref(8)})
    altered = wire.handed_message(voucher(3), 1).SerializeToString()
    for other in (
        extract._replace(leaves={**extract.leaves, 2: altered}),
        extract._replace(nodes=[*extract.nodes[:-1], bytes(32)]),
        extract._replace(leaves={3: extract.leaves[2], 8: extract.leaves[8]}),
    ):
        with pytest.raises(BadSignature, match="do not give the root"):
            hand_overs.read_extract(other)


def test_money_of_another_issuer_s_voucher_is_not_told() -> None:
    money = hand_overs.read(given(1).body).money()
    assert money.reservation(VoucherKey("310000", *ref(0))) is None
