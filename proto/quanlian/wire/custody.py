"""Vouchers on their way from one party to another."""

from __future__ import annotations

from quanlian.accounts import account_region
from quanlian.apportionment import Leg, Reservation
from quanlian.custody import VoucherState
from quanlian.ledger import is_limited
from quanlian.v1 import custody_pb2, voucher_pb2
from quanlian.vouchers import VoucherKey
from quanlian.wire.legs import legs_messages, legs_of
from quanlian.wire.reading import need, need_amount


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
        need_amount(leg.amount_fen, f"reservation of {leg.account}")
        owner = issuer if is_limited(leg.account) else ""
        need(
            leg.account.startswith("funding/") and account_region(leg.account) == owner,
            f"reservation of {leg.account}",
            f"{issuer}的出资账户，商户自担部分不写地区",
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
        need_amount(fen, place)
        fits = debtor.rpartition("/")[0] == campaign and debtor != leg.account and is_limited(debtor)
        need(fits, place, "同一活动其他出资方的欠款", "debts of other funders of the same campaign")
    advanced_fen = sum(fen for _, fen in leg.advanced)
    need(
        advanced_fen <= leg.amount_fen,
        place,
        f"不超过该笔的{leg.amount_fen}分",
        f"at most the {leg.amount_fen} fen of the leg",
    )
