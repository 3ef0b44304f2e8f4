"""Vouchers that somebody was told are captured, and that a recovery could not book so: never to be spent again."""

from __future__ import annotations

from node.desk import Desk
from node.suspending import Suspend
from quanlian import custody, redemptions
from quanlian.custody import VoucherState, in_custody
from quanlian.redemptions import Redemption, State
from quanlian.suspensions import SuspensionKind, voucher_subject
from quanlian.vouchers import VoucherKey

RECOVERY = "recovery"
"""Who suspends a voucher that a recovery finds disputed."""


def bury(desk: Desk, key: VoucherKey, why: str) -> None:
    """Dead for good: here its hold ends and its money is free; one that is elsewhere stays dead when it comes home, and
    is suspended in the whole network. Of one that no books know there is nothing to spend.
    """
    voucher = desk.books.voucher(key)
    if voucher is None:
        return
    if in_custody(voucher, desk.name):
        _end(desk, voucher)
        return
    if voucher.status == custody.USABLE:
        desk.books.put_voucher(voucher._replace(status=custody.CANCELLED))
    if desk.suspensions.find(SuspensionKind.VOUCHER, voucher_subject(key)) is None:
        subject = f"{key.pack_id.hex()}/{key.voucher_index}"
        why = f"恢复时有争议 · disputed in the recovery: {why}"
        Suspend(SuspensionKind.VOUCHER, subject, True, RECOVERY, why).decide(desk)


def void_hold(desk: Desk, redemption: Redemption, voucher: VoucherState) -> VoucherState:
    """The voucher without its hold, whose end is among what was lost."""
    outcome = redemptions.release_hold(redemption, voucher, State.VOIDED)
    desk.books.apply(outcome)
    desk.applied(redemption, outcome)
    return outcome.voucher


def _end(desk: Desk, voucher: VoucherState) -> None:
    redemption = desk.books.redemption(voucher.hold) if voucher.hold is not None else None
    if voucher.status == custody.HELD and redemption is not None:
        voucher = void_hold(desk, redemption, voucher)
    if voucher.status == custody.USABLE:
        cancelled, movements = redemptions.cancel_voucher(voucher)
        desk.books.put_voucher(cancelled)
        desk.books.move(movements)
