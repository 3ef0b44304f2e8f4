"""What a redeeming region owes under an agreement as a sum that a person can do again, in Chinese and English.

The figures are the agreement's own; the rule is that of `agreements.py` (money.md, Agreements).
"""

from __future__ import annotations

from quanlian.agreements import Agreement, FiscalCapacity, Fixed, LeverageTiered, OrderRate
from quanlian.file_rules import Words
from quanlian.money import yuan
from quanlian.terms import decimal_of


def sum_of(agreement: Agreement, public_fen: int, order_fen: int, discount_fen: int) -> Words:
    """The sum of `redeemer_pays` for an agreement as it stands between two regions (`Agreement.between`)."""
    match agreement.parameters:
        case Fixed(issuer, redeemer):
            return _weighed("权重", "weights", public_fen, issuer, redeemer)
        case FiscalCapacity(issuer, redeemer):
            return _weighed("财力", "capacities", public_fen, issuer, redeemer)
        case LeverageTiered() as tiered:
            return _tiered(tiered, public_fen, order_fen, discount_fen)
        case OrderRate(rate_ppm, cap_bp):
            rate, cap = f"{yuan(order_fen)} × {rate_ppm:,} ÷ 1,000,000", f"{yuan(public_fen)} × {cap_bp:,} ÷ 10,000"
            return Words(f"{rate}与{cap}取小，舍去不足一分", f"the lesser of {rate} and {cap}, rounded down")
        case _:
            return Words("发券地全部承担", "the issuing region pays all")


def _tiered(tiered: LeverageTiered, public_fen: int, order_fen: int, discount_fen: int) -> Words:
    whole = f"{yuan(order_fen)} ÷ {yuan(discount_fen)}"
    tier = tiered.reached(order_fen, discount_fen)
    if tier is None:
        least = decimal_of(min(each.leverage for each in tiered.tiers))
        return Words(f"杠杆{whole}不到最低档{least}", f"a leverage of {whole} is below the lowest tier, {least}")
    weighed = _weighed("权重", "weights", public_fen, tier.issuer, tier.redeemer)
    reached = decimal_of(tier.leverage)
    return Words(
        f"杠杆{whole}达到{reached}档，{weighed.zh}", f"a leverage of {whole} reaches the tier {reached}; {weighed.en}"
    )


def _weighed(zh: str, en: str, public_fen: int, issuer: int, redeemer: int) -> Words:
    share = f"{yuan(public_fen)} × {redeemer:,} ÷ {issuer + redeemer:,}"
    return Words(
        f"发券地与核销地{zh}{issuer:,}:{redeemer:,}，{share}，按最大余额法取整",
        f"{en} of issuing and redeeming region {issuer:,}:{redeemer:,}, {share} by largest remainder",
    )
