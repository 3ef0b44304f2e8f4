"""How a region pays for what its vouchers cost elsewhere: ahead, on credit, or both (money.md, Ledger)."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from quanlian.errors import InvalidInput
from quanlian.money import yuan

BASIS = 10_000
MOST_CREDIT_DAYS = 366


class FundingMode(StrEnum):
    PREFUNDED = "prefunded"
    """What is lodged and paid ahead is all that secures it."""
    ADVANCED = "advanced"
    """On credit alone: nobody pays ahead for it."""
    MIXED = "mixed"


class Limits(NamedTuple):
    """What the clearinghouse allows a region; amounts in fen."""

    net_debit_cap_fen: int
    credit_line_fen: int
    credit_offset_bp: int
    funding_mode: str
    credit_days: int
    """Calendar days after a settlement within which the region pays what its balance did not cover; 0: at once."""


def mode_named(name: str, credit_line_fen: int) -> FundingMode:
    """The mode of that name; of none, the one that a credit line or its absence gives. Raises InvalidInput."""
    if not name:
        return FundingMode.MIXED if credit_line_fen else FundingMode.PREFUNDED
    try:
        return FundingMode(name)
    except ValueError as error:
        known = ", ".join(FundingMode)
        raise InvalidInput(
            f"没有资金方式 {name} · no funding mode {name}", place="limits", remedy=f"写其一 · one of {known}"
        ) from error


def check_limits(limits: Limits, prefund_fen: int) -> None:
    """Raises InvalidInput for figures that cannot be, or that do not fit the mode or what stands of funders' money."""
    low = min(limits.net_debit_cap_fen, limits.credit_line_fen, limits.credit_offset_bp, limits.credit_days)
    if low < 0 or limits.credit_offset_bp > BASIS or limits.credit_days > MOST_CREDIT_DAYS:
        raise InvalidInput(
            "超出范围 · is out of range",
            place="limits",
            remedy=f"金额不小于零，比例不超过 10000 bp，天数不超过 {MOST_CREDIT_DAYS} · "
            f"send amounts of 0 or more, at most 10000 bp and {MOST_CREDIT_DAYS} days",
        )
    if limits.funding_mode == FundingMode.PREFUNDED and (limits.credit_line_fen or limits.credit_days):
        raise InvalidInput(
            "预拨方式不设信用额度和信用天数 · a prefunded region has no credit line and no credit days",
            place="limits",
            remedy="额度与天数写零，或改用 mixed · set both to 0, or choose mixed",
        )
    if limits.funding_mode != FundingMode.PREFUNDED and not limits.credit_line_fen:
        raise InvalidInput(
            f"{limits.funding_mode} 须设信用额度 · {limits.funding_mode} needs a credit line",
            place="limits",
            remedy="写明信用额度，或用 prefunded · give a credit line, or choose prefunded",
        )
    if limits.funding_mode == FundingMode.ADVANCED and prefund_fen:
        raise InvalidInput(
            f"出资方尚有预拨{yuan(prefund_fen)}元 · its funders have {yuan(prefund_fen)} yuan paid ahead here",
            place="limits",
            remedy="用 mixed，或待其用完或退回 · choose mixed, or wait until it is used or given back",
        )
