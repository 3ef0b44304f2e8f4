"""Agreements of Hangzhou with Shanghai, as the two sign them."""

from __future__ import annotations

_DOCUMENT = """
number = "HZ-SH"
version = 1
title = {{ zh = "协议", en = "Agreement" }}
effective_from = 2026-01-01T00:00:00+08:00
effective_until = 2027-01-01T00:00:00+08:00
when_visitors_run_out = "{dry}"
fraud_losses = "issuer"
dispute_days = 15
{shares}
[termination]
notice_days = 30
[[party]]
region = "330100"
commerce = {{ zh = "商", en = "C" }}
finance = {{ zh = "财", en = "F" }}
[[party]]
region = "310000"
commerce = {{ zh = "商", en = "C" }}
finance = {{ zh = "财", en = "F" }}
yearly_ceiling = {ceiling}
"""

HALF_EACH = """
method = "fixed"
[parameters]
issuer = 50
redeemer = 50
"""

BY_LEVERAGE = """
method = "leverage-tiered"
[parameters]
[[parameters.tiers]]
leverage = { order = 4, discount = 1 }
issuer = 70
redeemer = 30
[[parameters.tiers]]
leverage = { order = 10, discount = 1 }
issuer = 40
redeemer = 60
"""


def agreement_document(ceiling: str, shares: str = HALF_EACH, dry: str = "issuer-pays") -> bytes:
    """`ceiling` is the most that Shanghai pays in a year, in yuan; `dry` what happens when its visitors' fund is."""
    return _DOCUMENT.format(ceiling=ceiling, shares=shares, dry=dry).encode()
