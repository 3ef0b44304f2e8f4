"""What departments call the states of redemptions and settlement windows, and the entries of a journal."""

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

NODE_WINDOW_STATES_ZH = {
    "OPEN": "进行中，尚无对账单",
    "CALCULATED": "已轧差，对账单待取",
    "STATEMENT_RECEIVED": "已收到对账单，待本地区确认",
    "CONFIRMED_HERE": "本地区已确认，待各地",
    "SETTLED": "已结清",
}
"""How far a window has come that a node only hears of."""

ENTRIES_ZH = {
    "adjustment": "调整",
    "agreement-signature": "协议签署",
    "arrears": "欠缴",
    "assignment": "来款认领",
    "batch": "批次",
    "campaign-change": "活动变更",
    "close": "场次截止",
    "close-out": "活动结清",
    "confirmation": "对账单确认",
    "contribution": "出资列支",
    "cure": "补缴",
    "deny-list": "吊销名单",
    "deposit": "到账",
    "dispute": "异议",
    "month-confirmation": "月度对账单确认",
    "pay-out": "划出",
    "payment": "付款",
    "prefund": "预拨列支",
    "prefund-return": "预拨退回",
    "receipt": "待认领到账",
    "recovery": "恢复",
    "release-refusal": "拒绝移交",
    "returned-pay-out": "划出退汇",
    "returned-payment": "付款退汇",
    "reversed-assignment": "冲正来款认领",
    "reversed-deposit": "冲正到账",
    "reversed-payment": "冲正付款",
    "reversed-receipt": "冲正待认领到账",
    "settlement": "场次结清",
    "visitors-fund": "异地用券资金",
    "withdrawal-closing": "撤回处理",
}
