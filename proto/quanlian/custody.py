"""One spender at a time: who may decide a voucher, and how that right moves (protocol.md, Custody).

Each voucher has an epoch, stored by issuer and clearinghouse: even is the issuer's, odd the clearinghouse's. The giver
raises it in the commit that gives custody up; the taker accepts only an epoch higher than its own.
"""

from __future__ import annotations

from typing import NamedTuple

from quanlian.apportionment import Reservation
from quanlian.refusals import RefusalReason
from quanlian.vouchers import VoucherKey

CLEARINGHOUSE = "clearinghouse"

USABLE, HELD, CAPTURED, EXPIRED, CANCELLED = "usable", "held", "captured", "expired", "cancelled"
EMPTY = Reservation((), ())
_SPENT = {
    HELD: RefusalReason.ALREADY_HELD,
    CAPTURED: RefusalReason.ALREADY_REDEEMED,
    EXPIRED: RefusalReason.EXPIRED,
    CANCELLED: RefusalReason.VOUCHER_CANCELLED,
}


class VoucherState(NamedTuple):
    """A voucher as one party stores it; `reservation` is the money on this party's book, times are UTC seconds."""

    key: VoucherKey
    campaign: str
    terms_hash: bytes
    voucher_type: int
    holder_tag: bytes
    not_before: int
    not_after: int
    reservation: Reservation
    status: str = USABLE
    epoch: int = 0
    hold: bytes | None = None

    def captured(self) -> VoucherState:
        """As a capture leaves it, for good."""
        key, campaign, terms_hash, type_, tag, not_before, not_after, _, _, epoch, _ = self
        return VoucherState(key, campaign, terms_hash, type_, tag, not_before, not_after, EMPTY, CAPTURED, epoch)


def in_custody(voucher: VoucherState, party: str) -> bool:
    """Whether `party` (an adcode, or `clearinghouse`) may spend the voucher now."""
    return party == (CLEARINGHOUSE if voucher.epoch % 2 else voucher.key.issuer)


def spent_reason(voucher: VoucherState) -> RefusalReason | None:
    """Why a voucher cannot be released or held, by its recorded status alone.

    A validity that has passed but is not yet recorded does not stop a release (rule 3).
    """
    return _SPENT.get(voucher.status)


def is_dead(voucher: VoucherState, not_after: int, at: int) -> bool:
    """Whether a voucher is past use: captured, cancelled or expired, `not_after` being its end as it stands now."""
    return voucher.status in (CAPTURED, EXPIRED, CANCELLED) or at >= not_after


def give(voucher: VoucherState) -> VoucherState:
    """The giver's row after a hand-over: the epoch raised, its reservation gone with the voucher."""
    return voucher._replace(epoch=voucher.epoch + 1, reservation=EMPTY)


def may_take(known_epoch: int | None, offered_epoch: int) -> bool:
    """Whether a hand-over is news: an epoch higher than the taker's own (rule 2); anything else is ignored."""
    return offered_epoch > (known_epoch or 0)
