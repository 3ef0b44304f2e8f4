"""How a redeeming region's part came out of its visitors' fund, or did not: what limited it when it was split."""

from __future__ import annotations

import json
from typing import NamedTuple

from quanlian.apportionment import Leg, ShortfallRule, fund
from quanlian.file_rules import Words
from quanlian.money import allocate, yuan
from quanlian.story_steps import StoryStep
from quanlian.terms_words import SHORTFALL

RULE = "money.md, A funder that runs dry"
_RULES = SHORTFALL | {"refuse": Words("任一出资方不足即整笔不付", "once one is short the fund pays nothing")}


class AskedFunder(NamedTuple):
    """One funder of the fund; `left_fen` is what it had free at that moment."""

    account: str
    weight: int
    left_fen: int

    @property
    def name(self) -> str:
        return self.account.rpartition("/")[2]


class AskedFund(NamedTuple):
    """A region's visitors' fund as a split found it; no funders where none was asked.

    `ceiling_left_fen` is what the agreement's yearly ceiling left, None without a ceiling.
    """

    rule: ShortfallRule
    funders: tuple[AskedFunder, ...]
    ceiling_left_fen: int | None


def asked_fund(text: str | None) -> AskedFund:
    """As the clearinghouse keeps it: `{rule, funders: [[account, weight, fen left], …], ceiling_left_fen}`."""
    told = json.loads(text) if text else {}
    funders = tuple(AskedFunder(*each) for each in told.get("funders", ()))
    return AskedFund(told.get("rule", "refuse"), funders, told.get("ceiling_left_fen"))


def fund_step(asked: AskedFund, due_fen: int, paid: tuple[Leg, ...]) -> StoryStep:
    """What each funder was due, had left and paid of the redeeming region's part, and what followed."""
    due, left = yuan(due_fen), asked.ceiling_left_fen
    if left is not None and due_fen > left and not paid:
        zh = f"协议年度上限仅余{yuan(left)}元，不足核销地应承担的{due}元，整笔不动用其异地用券资金，由发券地承担"
        en = (
            f"the agreement's yearly ceiling leaves {yuan(left)} for the redeeming region's part of {due}: its "
            "visitors' fund counts as dry and pays nothing of it, the issuing region pays"
        )
        return StoryStep(None, zh, en, "money.md, Agreements")
    if not asked.funders:
        zh = f"核销地应承担{due}元，账上没有当时可动用的异地用券资金，由发券地承担"
        en = f"no visitors' fund is known that was asked for the redeeming region's {due}: the issuing region pays"
        return StoryStep(None, zh, en, RULE)
    told = _asked(asked, due_fen)
    followed = _followed(asked, due_fen, paid)
    return StoryStep(None, f"{told.zh}；{followed.zh}", f"{told.en}; {followed.en}", RULE, paid)


def _asked(asked: AskedFund, due_fen: int) -> Words:
    """The rule, and by weight what each funder was due beside what it had left."""
    wanted = allocate(due_fen, [each.weight for each in asked.funders])
    due = list(zip(asked.funders, map(yuan, wanted), strict=True))
    each_zh = "，".join(f"{each.name}权重{each.weight}应付{want}、当时尚余{yuan(each.left_fen)}" for each, want in due)
    each_en = ", ".join(
        f"{each.name} of weight {each.weight} is due {want} and had {yuan(each.left_fen)} left" for each, want in due
    )
    rule = _RULES[asked.rule]
    return Words(
        f"核销地应承担的{yuan(due_fen)}元由其异地用券资金出（规则 {asked.rule}：{rule.zh}）：{each_zh}",
        f"the redeeming region's part of {yuan(due_fen)} is asked of its visitors' fund "
        f"(rule {asked.rule}: {rule.en}): {each_en}",
    )


def _followed(asked: AskedFund, due_fen: int, paid: tuple[Leg, ...]) -> Words:
    weights, left = [each.weight for each in asked.funders], [each.left_fen for each in asked.funders]
    by_rule = fund(due_fen, weights, left, asked.rule)
    due = {each.account: fen for each, fen in zip(asked.funders, by_rule or (), strict=by_rule is not None) if fen}
    if due != {leg.account: leg.amount_fen for leg in paid if leg.amount_fen}:
        total = yuan(sum(leg.amount_fen for leg in paid))
        return Words(f"账上为{total}元，与规则不符", f"the books say {total}, which does not follow")
    missing = sum(max(0, want - max(0, had)) for want, had in zip(allocate(due_fen, weights), left, strict=True))
    if by_rule is None:
        return Words(
            f"不足{yuan(missing)}元，视为用尽，由发券地承担",
            f"{yuan(missing)} is missing: the fund counts as dry, and the issuing region pays",
        )
    names = [(each.name, yuan(fen)) for each, fen in zip(asked.funders, by_rule, strict=True) if fen]
    paid_zh = "，".join(f"{name}付{fen}" for name, fen in names)
    paid_en = ", ".join(f"{name} pays {fen}" for name, fen in names)
    if not missing:
        return Words(f"各方足额，{paid_zh}", f"each has enough: {paid_en}")
    return Words(
        f"不足的{yuan(missing)}元由其余出资方承担（不追偿），{paid_zh}",
        f"the missing {yuan(missing)} is borne by the others, for good: {paid_en}",
    )
