"""Packs as issuers sign them, and the hand-overs that bring them to the clearinghouse."""

from __future__ import annotations

import itertools
import random
from typing import NamedTuple

from quanlian import hand_overs, merkle, vouchers, wire
from quanlian.apportionment import Reservation, reserve
from quanlian.custody import CLEARINGHOUSE, VoucherState
from quanlian.hand_overs import Head, Incarnations
from quanlian.signing import signing_bytes
from quanlian.terms import Terms
from quanlian.v1 import signed_pb2
from quanlian.vouchers import SUITE_ED25519, SUITE_ED25519_BATCH, Token, Voucher, VoucherKey
from rig.delta import Setting

PACK, SEED = 10, 2020


class Issued(NamedTuple):
    """A voucher in the clearinghouse's custody, with its pack's token."""

    token: bytes
    state: VoucherState


class HandedOver(NamedTuple):
    number: int
    message: signed_pb2.SignedMessage
    vouchers: list[Issued]


class Issuer:
    """Makes packs of ten, the same for the same seed; many share a hand-over and a signed tree.

    A tree is as large as a busy node's, whose other packs are nowhere here.
    """

    def __init__(self, setting: Setting, at: int) -> None:
        self._setting, self._at = setting, at
        self.random = random.Random(SEED)
        self._numbers = itertools.count(1)

    def fresh(self, size: int = 16) -> bytes:
        """An id that nobody has; they rise, as ids by time do."""
        return next(self._numbers).to_bytes(size, "big")

    def hand_over(self, terms: Terms, packs: int, suite: int = SUITE_ED25519_BATCH) -> HandedOver:
        issuer = terms.issuer
        key_id = self._setting.signers[(issuer, "voucher")].key_id
        issued = [
            Voucher(
                1, suite, key_id, issuer, terms.campaign, terms.terms_hash, self.fresh(15), (1,) * PACK,
                self.fresh(16), self._at, *terms.packs[0].validity(self._at), terms.packs[0].roaming,
            )
            for _ in range(packs)
        ]  # fmt: skip
        highest_fen = terms.voucher_types[0].max_discount_fen
        reserved = reserve(highest_fen, terms.cofunder_plan(), terms.funding_plan(), lambda account: 10**12)
        assert isinstance(reserved, Reservation)
        vouchers_of = [
            Issued(token, _state(voucher, index, reserved))
            for voucher, token in zip(issued, self._tokens(issuer, issued), strict=True)
            for index in range(PACK)
        ]
        number = next(self._numbers)
        leaves = [wire.handed_message(each.state, 1).SerializeToString() for each in vouchers_of]
        head = Head(issuer, CLEARINGHOUSE, number, self._at, Incarnations(1, 1))
        message = hand_overs.sign(head, leaves, self._setting.signers[(issuer, "message")])
        return HandedOver(number, message, vouchers_of)

    def _tokens(self, issuer: str, issued: list[Voucher]) -> list[bytes]:
        bodies, signer = [wire.voucher_to_body(each) for each in issued], self._setting.signers[(issuer, "voucher")]
        if issued[0].suite == SUITE_ED25519:
            return [wire.token_to_bytes(Token(body, signer.sign("voucher", body))) for body in bodies]
        others = [b""] * (vouchers.BATCH_LIMIT - len(bodies))
        root, paths = merkle.tree([*(signing_bytes("voucher", body) for body in bodies), *others])
        payload = vouchers.root_payload(vouchers.BATCH_LIMIT, root)
        signature = signer.sign("voucher-root", payload)
        return [
            wire.token_to_bytes(Token(body, signature, vouchers.BATCH_LIMIT, leaf, tuple(path)))
            for leaf, (body, path) in enumerate(zip(bodies, paths, strict=False))
        ]


def _state(voucher: Voucher, index: int, reserved: Reservation) -> VoucherState:
    return VoucherState(
        VoucherKey(voucher.issuer, voucher.pack_id, index), voucher.campaign, voucher.terms_hash, 1,
        voucher.holder_tag, voucher.not_before, voucher.not_after, reserved, epoch=1,
    )  # fmt: skip
