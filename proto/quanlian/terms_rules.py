"""Rules of campaign terms: errors first, then warnings, which are allowed and seldom meant."""

from __future__ import annotations

from typing import Final

from quanlian.file_rules import rule

# Errors: the campaign

VISITORS_NAME: Final = rule(
    "是异地用券资金的名称", "is the name of the funds for visitors", "另取一个代号", "choose another"
)
MERCHANTS_NAME: Final = rule(
    "是商户自有账户的名称", "is the name of the merchants' own account", "另取一个代号", "choose another"
)
ENDS_FIRST: Final = rule("不晚于 {start}", "is not after {start}", "须晚于 {first}", "end after {first}")
NO_LESS_THAN_LEVERAGE: Final = rule(
    "低于面值的 {bound} 倍，即本活动的 minimum_leverage",
    "is under {bound} times the face, the campaign's minimum_leverage",
    "至少 {least}，或降低面值",
    "ask for at least {least}, or lower the face",
)

# Errors: vouchers and packs

UNDER_FACE: Final = rule(
    "低于面值", "is less than the face", "最低消费不得低于面值", "ask for an order of at least the face"
)
SHARES_OF_TICKET: Final = rule(
    "使各景点分成之和超过 100%",
    "takes the shares over 100 percent",
    "分成之和以票价为限",
    "share the ticket's price, no more",
)
TIER_ORDER: Final = rule(
    "不高于上一档",
    "is not above the tier before it",
    "{klass} 各档须由低到高排列",
    "give the tiers of {klass} in rising order",
)
NO_SUCH_VOUCHER: Final = rule(
    "不是本文件的券种",
    "is no voucher type of this file",
    "写某个 [[voucher_type]] 的 id",
    "name the id of a [[voucher_type]]",
)
PACK_TOO_LARGE: Final = rule(
    "共 {count} 张，超过每包 {most} 张",
    "holds {count} vouchers, over {most} a pack",
    "拆成几个券包",
    "make several packs",
)
DAYS_OR_END: Final = rule(
    "与 valid_until 须有且只有一个",
    "and valid_until: exactly one is needed",
    "写天数或写截止时间，二者取一",
    "give the days, or the end, but not both",
)
OVER_BEFORE_CLAIMED: Final = rule(
    "早于开始领取，券未领先过期",
    "is over before its vouchers can be claimed",
    "须晚于 {opens}",
    "end after {opens}",
)
OUTLIVES_CAMPAIGN: Final = rule("晚于活动结束", "is after the campaign's end", "不得晚于 {end}", "end by {end}")

# Errors: rounds

OPENS_BEFORE_START: Final = rule(
    "早于活动开始", "is before the campaign starts", "不得早于 {start}", "open from {start} on"
)
CLOSES_AFTER_END: Final = rule("晚于活动结束", "is after the campaign ends", "不得晚于 {end}", "close by {end}")
NO_SUCH_PACK: Final = rule(
    "不是本文件的券包", "is no pack of this file", "写某个 [[pack]] 的 id", "name the id of a [[pack]]"
)
NO_SUCH_GROUP: Final = rule(
    "不是本文件的人群", "is no group of this file", "写某个 [[group]] 的 id", "name the id of a [[group]]"
)
GROUPS_NEED_MODE: Final = rule(
    "不能与发放方式 {mode} 并用",
    "does not go with mode {mode}",
    "改用 targeted 或 lottery",
    "use targeted, or lottery",
)
EVIDENCE_NEEDS_APPLICATION: Final = rule(
    "不能与发放方式 {mode} 并用", "does not go with mode {mode}", "改用 application", "use application"
)

# Errors: funding

NO_WEIGHT: Final = rule(
    "且其余权重也都是 0",
    "and every other weight is 0",
    "至少给一个出资方大于 0 的权重",
    "give at least one funder a weight above 0",
)
SHARES_OF_DISCOUNT: Final = rule(
    "使共同出资比例之和超过 100%",
    "takes the shares over 100 percent",
    "降低共同出资方的比例",
    "lower the co-funders' shares",
)
ONE_MERCHANT_SHARE: Final = rule(
    "已有一项",
    "has a share already",
    "商户的比例合写在一个 [[cofunder]] 中",
    "put the merchants' share into one [[cofunder]]",
)

# Warnings

UNDER_ANOTHERS_LEVERAGE: Final = rule(
    "为面值的 {leverage} 倍，低于{region}（在本活动适用地区内）的杠杆比下限 {bound}",
    "is {leverage} times the face, under the leverage of {bound} of region {region}, which this campaign covers",
    "提高 minimum_spend，或不含该地区：其商户可能不收此券",
    "raise minimum_spend, or leave that region out: its merchants may not accept the voucher",
)
NO_ROUND: Final = rule("没有 [[round]]，无人可以领取", "has no [[round]]: nobody can claim", "增加轮次", "add a round")
NO_GROUP_NAMED: Final = rule(
    "未写明发放对象",
    "names no population group",
    "写 groups = […]，逐项为 [[group]] 的 id",
    "add groups = […], each the id of a [[group]]",
)
LONGER_THAN_END: Final = rule(
    "使轮次长于券的有效期，券于 {end} 到期",
    "makes the round longer than the term of its vouchers, which ends {end}",
    "在券到期前结束领取",
    "close the round before its vouchers are over",
)
LONGER_THAN_DAYS: Final = rule(
    "使轮次长于券的有效期：开放 {open} 天，有效 {days} 天",
    "makes the round longer than the term of its vouchers: open for {open} days, good for {days}",
    "拆成几轮，或延长券包的 valid_days",
    "split the round, or give its pack more valid_days",
)
CUT_SHORT: Final = rule(
    "使最后领取的券不足 {days} 天：活动结束即失效",
    "lets people claim vouchers for {days} days that the campaign's end cuts short",
    "提前结束领取，或推迟活动结束",
    "close it earlier, or end the campaign later",
)
CAMPAIGN_OVER_A_YEAR: Final = rule(
    "使活动期超过一年",
    "makes a term over a year",
    "建议 3 至 6 个月，最长一年",
    "3 to 6 months are recommended, a year at most",
)
TERM_OVER_A_YEAR: Final = rule(
    "有效期超过一年",
    "is a term over a year",
    "建议 3 至 6 个月，最长一年",
    "3 to 6 months are recommended, a year at most",
)
BUDGET_SHORT: Final = rule(
    "不足以支付全部轮次的份数：最多占用 {needed} 元，缺 {short} 元",
    "cannot cover the quota of all rounds, which reserves up to {needed}: {short} short",
    "增加预算或减少份数；资金用尽后不再发放",
    "raise the budget or lower the quota; claims are refused once the money is gone",
)
BUDGETS_SHORT: Final = rule(
    "是 {count} 个出资方预算的合计，不足以支付全部轮次的份数：最多占用 {needed} 元，缺 {short} 元",
    "are the budgets of {count} funders together, which cannot cover the quota of all rounds, "
    "which reserves up to {needed}: {short} short",
    "增加预算或减少份数；资金用尽后不再发放",
    "raise the budgets or lower the quota; claims are refused once the money is gone",
)
NEVER_PAYS: Final = rule(
    "在 {rule} 下从不出资",
    "never pays under {rule}",
    "给它权重，或把 shortfall_rule 改为 cascade",
    "give it a weight, or make the shortfall_rule cascade",
)
IN_NO_PACK: Final = rule("不在任何券包中", "is in no pack", "列入某个 [[pack]]", "list it in a [[pack]]")
IN_NO_ROUND: Final = rule("不在任何轮次中", "is in no round", "写入某个 [[round]]", "name it in a [[round]]")
GROUP_IN_NO_ROUND: Final = rule(
    "不在任何轮次中", "is in no round", "写入某个轮次的 groups", "name it in a round's groups"
)
ISSUER_NOT_COVERED: Final = rule(
    "不含发券地 {issuer}",
    "do not cover the issuer {issuer}",
    "加上发券地，否则本地商户不收此券",
    "add it, or its own merchants refuse the vouchers",
)
NOT_REACHED: Final = rule(
    "是全部券包的异地使用方式：发券地以外无处可用",
    "is the roaming of every pack: regions other than the issuer are not reached",
    "改为允许异地使用",
    "allow roaming",
)
NOT_A_CAMPAIGN_YEAR: Final = rule(
    "不是活动期内的年份",
    "is not a year of the campaign",
    "写实际出资的预算年度",
    "name the year whose budget pays",
)
