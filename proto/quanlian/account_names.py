"""What an account of the ledger's chart is called, in Chinese and English (money.md, Ledger)."""

from __future__ import annotations

from typing import Literal

from quanlian.accounts import MERCHANT, VISITORS
from quanlian.errors import InvalidInput
from quanlian.regions import region

Funds = Literal["reserved", "held", "used"]
"""What an amount of a `funding` account is."""

_FUNDS: dict[Funds, tuple[str, str]] = {
    "reserved": ("预留资金", "reserved"),
    "held": ("占用资金", "held"),
    "used": ("已用资金", "used"),
}
_KINDS = {
    "borne": ("商户自担", "borne by merchants"),
    "prefund": ("预拨资金", "paid ahead"),
    "contribution": ("已结算出资", "settled contribution"),
    "reimbursement": ("应付垫付款", "reimbursement owed"),
    "settlement": ("结算账户", "settlement account"),
    "arrears": ("欠款", "arrears"),
    "bank": ("银行存款", "bank"),
    "suspense": ("待查收款", "suspense"),
    "payable": ("应付收单机构", "payable to acquirer"),
    "clearing": ("应收清分平台", "due from the clearinghouse"),
    "used_away": ("异地已用资金", "used away"),
    "ceiling": ("协议年度承担额（备查）", "paid under an agreement, memo"),
    "advance": ("垫付（备查）", "advances owed, memo"),
    "advance_away": ("异地垫付（备查）", "advances owed for use away, memo"),
}
_WORDS = {VISITORS: ("异地用券资金", "visitors' fund"), MERCHANT: ("商户", "merchants")}


def account_name(code: str, funds: Funds = "used") -> tuple[str, str]:
    """(Chinese, English): what kind of account, then its dimensions, regions by their names.

    `funds` says what the amount of a funder is that the name stands beside.
    """
    kind, *dimensions = code.split("/")
    zh, en = _FUNDS[funds] if kind == "funding" else _KINDS.get(kind, (kind, kind))
    return "·".join([zh, *(_dimension(each)[0] for each in dimensions if each)]), ", ".join(
        [en, *(_dimension(each)[1] for each in dimensions if each)]
    )


def _dimension(text: str) -> tuple[str, str]:
    if text in _WORDS:
        return _WORDS[text]
    try:
        return region(text).name, text
    except InvalidInput:
        return text, text
