"""What departments call the states of redemptions and settlement windows."""

from __future__ import annotations

REDEMPTION_STATES_ZH = {
    "AUTHORIZED": "已占用",
    "CAPTURED": "已核销",
    "PARTLY_REFUNDED": "部分退款",
    "REFUNDED": "已退款",
    "VOIDED": "已撤销",
    "EXPIRED": "占用已过期",
}

POSTINGS_ZH = {"capture": "核销", "refund": "退款", "adjustment": "调整"}
"""A refund of no part of the order is an upheld dispute's adjustment."""

WINDOW_STATES_ZH = {
    "OPEN": "进行中",
    "CLOSED": "已截止",
    "CALCULATED": "已轧差，待各地确认",
    "CONFIRMED": "各地已确认",
    "INSTRUCTED": "已出具付款指令",
    "SETTLED": "已结清",
}
