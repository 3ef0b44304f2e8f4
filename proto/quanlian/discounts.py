"""What a voucher takes off an order: the table of discounts, all of it.

Every party computes it for itself and compares (`AMOUNT_MISMATCH`), so it is integers in fen throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from quanlian.errors import InvalidInput
from quanlian.terms import VoucherType

_PPM = 1_000_000


@dataclass(slots=True, unsafe_hash=True)
class Order:
    """An order at the till. `order_fen` is payable after merchant and platform discounts and before the
    voucher.

    `klass` is the vehicle type of a tiered subsidy or the attraction of a joint ticket, `invoice_fen` the invoice
    amount that a tier is found by, and `price_fen` the price that a rate applies to; 0 means not stated, and a rate
    then applies to the order. Raises InvalidInput for an amount below zero. Nobody changes one, but it is not frozen:
    one is made for every redemption, and freezing makes that three times as dear.
    """

    order_fen: int
    category: str
    channel: str
    klass: str = ""
    invoice_fen: int = 0
    price_fen: int = 0

    def __post_init__(self) -> None:
        if self.order_fen >= 0 and self.invoice_fen >= 0 and self.price_fen >= 0:
            return
        for field in ("order_fen", "invoice_fen", "price_fen"):
            if getattr(self, field) < 0:
                raise InvalidInput(f"{getattr(self, field)} fen is below zero", place=field, remedy="send 0 or more")


class Discount(NamedTuple):
    """What is taken off, or why nothing is.

    `refusal` is `BELOW_MINIMUM_SPEND` or `NO_MATCHING_TIER`; `needed_fen` the figure it turned on: the
    minimum spend, the lowest invoice amount of the order's class (0 if the class has no tier), or the highest
    price allowed.
    """

    amount_fen: int
    refusal: str | None = None
    needed_fen: int = 0


def discount(voucher_type: VoucherType, order: Order) -> Discount:
    """The discount of one voucher on `order`, never more than the order."""
    match voucher_type.kind:
        case "threshold" if order.order_fen < voucher_type.minimum_spend_fen:
            return Discount(0, "BELOW_MINIMUM_SPEND", voucher_type.minimum_spend_fen)
        case "tiered":
            found = _tiered(voucher_type, order)
        case "rate":
            found = _rate(voucher_type, order)
        case "ticket" if voucher_type.attractions:
            found = _visit(voucher_type, order)
        case _:  # full value gives no change: the rest of the face is forfeited
            found = Discount(voucher_type.face_fen)
    return found if found.amount_fen <= order.order_fen else found._replace(amount_fen=order.order_fen)


def _tiered(voucher_type: VoucherType, order: Order) -> Discount:
    """The tier of the order's class with the highest lower bound that the invoice reaches, inclusive."""
    tiers = [tier for tier in voucher_type.tiers if tier.klass == order.klass]
    reached = [tier for tier in tiers if tier.from_fen <= order.invoice_fen]
    if not reached:
        return Discount(0, "NO_MATCHING_TIER", min((tier.from_fen for tier in tiers), default=0))
    return Discount(max(reached, key=lambda tier: tier.from_fen).amount_fen)


def _visit(voucher_type: VoucherType, order: Order) -> Discount:
    """The visited attraction's share of a joint ticket's price; the order's class names the attraction."""
    visited = next((each for each in voucher_type.attractions if each.id == order.klass), None)
    return Discount(voucher_type.share_fen(visited)) if visited else Discount(0, "NO_MATCHING_TIER")


def _rate(voucher_type: VoucherType, order: Order) -> Discount:
    """Rounded down to the fen first, then held to the cap; a price above the limit has no subsidy at all."""
    price_fen = order.price_fen or order.order_fen
    if voucher_type.price_limit_fen is not None and price_fen > voucher_type.price_limit_fen:
        return Discount(0, "NO_MATCHING_TIER", voucher_type.price_limit_fen)
    return Discount(min(price_fen * voucher_type.rate_ppm // _PPM, voucher_type.cap_fen))
