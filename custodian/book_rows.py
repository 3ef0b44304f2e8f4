"""Vouchers, redemptions and postings as rows of the shared tables, and back; the tuples are in the columns' order."""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from typing import Any

from quanlian.apportionment import Leg, Reservation
from quanlian.custody import VoucherState
from quanlian.discounts import Order
from quanlian.redemptions import Posting, Redemption, Sale, State
from quanlian.vouchers import VoucherKey

_REMEMBERED = 16_384
"""Texts of legs: vouchers of one type that are used in one region share theirs."""


@lru_cache(maxsize=_REMEMBERED)
def legs_to_json(legs: tuple[Leg, ...]) -> str:
    """Legs as the database keeps them: `[[account, fen], …]`, an advanced one with `[[debtor, fen], …]` beside."""
    return json.dumps([leg_data(leg) for leg in legs], separators=(",", ":"))


def leg_data(leg: Leg) -> list[Any]:
    return [leg.account, leg.amount_fen, *([[list(each) for each in leg.advanced]] if leg.advanced else [])]


@lru_cache(maxsize=_REMEMBERED)
def json_to_legs(text: str) -> tuple[Leg, ...]:
    return tuple(
        Leg(sys.intern(account), amount_fen, tuple((debtor, fen) for each in advanced for debtor, fen in each))
        for account, amount_fen, *advanced in json.loads(text)
    )


def voucher_row(state: VoucherState) -> tuple[Any, ...]:
    key, campaign, terms_hash, voucher_type, holder_tag, not_before, not_after, reservation, status, epoch, hold = state
    reserved = legs_to_json(reservation.cofunders), legs_to_json(reservation.public)
    return (
        *key, campaign, terms_hash, voucher_type, holder_tag, not_before, not_after, status, epoch, hold, *reserved,
    )  # fmt: skip


def voucher_of(row: Any) -> VoucherState:
    return VoucherState(
        VoucherKey(row.issuer, row.pack_id, row.voucher_index),
        row.campaign,
        row.terms_hash,
        row.voucher_type,
        row.holder_tag,
        row.not_before,
        row.not_after,
        Reservation(json_to_legs(row.reserved_cofunders), json_to_legs(row.reserved_public)),
        row.status,
        row.epoch,
        row.hold,
    )


def redemption_row(redemption: Redemption, number: int) -> tuple[Any, ...]:
    (
        id, voucher, campaign, terms_hash, redeeming_region, participant, acquirer, (merchant, order_id, order),
        order_fen, discount_fen, legs, standing, rest, expires_at, authorized_at, agreement, state, captured_at, window,
        refunded_order_fen, returned_fen, shopper_fen, postings,
    ) = redemption  # fmt: skip
    return (
        id, *voucher, campaign, terms_hash, redeeming_region, participant, acquirer, merchant, order_id, order.category,
        order.channel, order.klass, order.invoice_fen, order.price_fen, state.name, order_fen, discount_fen,
        legs_to_json(legs), legs_to_json(standing), legs_to_json(rest.cofunders), legs_to_json(rest.public), agreement,
        expires_at, authorized_at, captured_at, window, refunded_order_fen, returned_fen, shopper_fen, postings,
        number,
    )  # fmt: skip


def redemption_of(row: Any) -> Redemption:
    order = Order(row.order_fen, row.category, row.channel, row.klass, row.invoice_fen, row.price_fen)
    return Redemption(
        id=row.id,
        voucher=VoucherKey(row.issuer, row.pack_id, row.voucher_index),
        campaign=row.campaign,
        terms_hash=row.terms_hash,
        redeeming_region=row.redeeming_region,
        participant=row.participant,
        acquirer=row.acquirer,
        sale=Sale(row.merchant, row.order_id, order),
        order_fen=row.order_fen,
        discount_fen=row.discount_fen,
        legs=json_to_legs(row.legs),
        standing=json_to_legs(row.standing),
        rest=Reservation(json_to_legs(row.rest_cofunders), json_to_legs(row.rest_public)),
        expires_at=row.expires_at,
        authorized_at=row.authorized_at,
        agreement=row.agreement,
        state=State[row.state],
        captured_at=row.captured_at,
        window=row.settlement_window,
        refunded_order_fen=row.refunded_order_fen,
        returned_fen=row.returned_fen,
        shopper_fen=row.shopper_fen,
        postings=row.postings,
    )


def posting_row(posting: Posting) -> tuple[Any, ...]:
    """Without its entry."""
    id, number, kind, order_fen, discount_fen, legs, window, at = posting
    return (id, number, kind, order_fen, discount_fen, legs_to_json(legs), window, at)
