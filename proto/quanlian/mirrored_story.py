"""The story of a redemption's money as a region knows it that did not decide it: by the postings that it was told of.

What only the decider stored (the hold, the agreement's sum, what a fund or ceiling had left, its journal's entries) is
not guessed at; the last step says where it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from quanlian.accounts import VISITORS, account_region
from quanlian.apportionment import Leg, Reservation
from quanlian.explanation import titles
from quanlian.money import yuan
from quanlian.redemption_story import upheld
from quanlian.redemptions import Posting, State
from quanlian.state_names import NODE_WINDOW_STATES_ZH, REDEMPTION_STATES_ZH
from quanlian.story_steps import StoryStep, Window, advanced, opposite, owed, place, unused
from quanlian.terms import Terms, VoucherType

AWAY, STATEMENT, WINDOWS = "money.md, Split at authorize", "money.md, Statement", "money.md, Settlement windows"


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What a region's books have of a redemption that another party decided, amounts in fen.

    `terms`, `voucher_type` and `reserved` are known to the issuing region, `order_id`, `merchant` and `agreement` to
    the redeeming one; empty for the other. `postings` are in their order; none while it is on hold. `disputes` names
    what adjusting entries follow, by the posting's number.
    """

    decider: str
    issuer: str
    redeeming_region: str
    campaign: str
    state: str
    postings: tuple[Posting, ...]
    windows: tuple[Window, ...]
    terms: Terms | None = None
    voucher_type: VoucherType | None = None
    reserved: Reservation | None = None
    merchant: str = ""
    order_id: str = ""
    agreement: str = ""
    disputes: Mapping[int, str] = field(default_factory=dict)

    @property
    def standing(self) -> tuple[Leg, ...]:
        """What each funder bears after refunds and adjusting entries."""
        sums: dict[str, Leg] = {}
        for posting in self.postings:
            for leg in posting.legs:
                sums[leg.account] = sums.get(leg.account, Leg(leg.account, 0)).plus(leg)
        return tuple(leg for leg in sums.values() if leg.amount_fen)


def mirrored_story(told: Mirrored) -> list[StoryStep]:
    """What was used where, each posting with who pays, where the money stands, and what the decider could add."""
    steps = [_use(told), *_reserved(told)]
    for posting in told.postings:
        steps.append(_posted(told, posting))
        if posting.kind == "capture":
            steps += [*_shared(told, posting), *_freed(told, posting)]
    return [*steps, *_standing(told), _more(told)]


def _use(told: Mirrored) -> StoryStep:
    issuer, where, kind = place(told.issuer), place(told.redeeming_region), told.voucher_type
    zh, en = f"{issuer}活动{told.campaign}的券", f"a voucher of {told.issuer}'s campaign {told.campaign}"
    if kind is not None:
        most = yuan(kind.max_discount_fen)
        zh, en = f"{zh}“{kind.title_zh}”（最高优惠{most}元）", f"{en}, “{kind.title_en}” of {most} at most,"
    zh, en = f"{zh}在{where}使用", f"{en} used in {told.redeeming_region}"
    if told.merchant:
        zh += f"，商户{told.merchant}，订单{told.order_id}"
        en += f", merchant {told.merchant}, order {told.order_id}"
    return StoryStep(None, f"{zh}，由{told.decider}裁定", f"{en}, decided by {told.decider}", AWAY)


def _reserved(told: Mirrored) -> Iterator[StoryStep]:
    if told.reserved is not None:
        legs = _moved(told.reserved.legs())
        lent = advanced(legs, titles(told.terms))
        zh, en = "领取时已向发券地出资方预留的最高优惠", "at issue the highest discount was reserved"
        yield StoryStep(None, zh + lent.zh, en + lent.en, "money.md, Reserved at issue", legs, funds="reserved")


def _posted(told: Mirrored, posting: Posting) -> StoryStep:
    order, discount = yuan(abs(posting.order_fen)), yuan(abs(posting.discount_fen))
    rule = "money.md, Refunds"
    if posting.kind == "capture":
        zh, en = f"请款{order}元，优惠{discount}元", f"captured {order}: a discount of {discount}"
    elif posting.order_fen:
        zh, en = f"退货{order}元，退回出资方{discount}元", f"refund of {order}: {discount} go back to funders"
    else:
        zh, en = upheld(told.disputes.get(posting.number, ""), posting)
        rule = STATEMENT
    debts = owed(posting.legs, titles(told.terms))
    zh, en = f"{zh}{debts.zh}；场次{posting.window}", f"{en}{debts.en}; window {posting.window}"
    return StoryStep(posting.at, zh, en, rule, _moved(posting.legs))


def _freed(told: Mirrored, capture: Posting) -> Iterator[StoryStep]:
    """What the capture left of the voucher's reservation."""
    rest = unused(told.reserved, capture.legs, told.redeeming_region) if told.reserved else ()
    if rest:
        total = yuan(sum(leg.amount_fen for leg in rest))
        zh = f"预留中未用的{total}元由清分平台至迟于场次截止时以退款单归还各出资方"
        en = (
            f"{total} that was reserved and not used goes back to its funders by the clearinghouse's fund return, "
            "at the window's close at the latest"
        )
        yield StoryStep(capture.at, zh, en, "money.md, Ledger", opposite(rest), funds="reserved")


def _shared(told: Mirrored, posting: Posting) -> Iterator[StoryStep]:
    """Who pays of a capture: the redeeming region by its fund for visitors, the issuing one the rest."""
    if told.issuer == told.redeeming_region:
        return
    visitors = tuple(leg for leg in posting.legs if f"/{VISITORS}/" in leg.account)
    there_fen = sum(leg.amount_fen for leg in visitors)
    here, there = yuan(posting.discount_fen - there_fen), yuan(there_fen)
    zh = f"核销地异地用券资金承担{there}元，发券地出资方承担{here}元"
    en = f"the redeeming region's visitors' fund pays {there}, the issuing region's funders {here}"
    if told.agreement:
        zh, en = f"按分担协议{told.agreement}：{zh}", f"by agreement {told.agreement}: {en}"
    yield StoryStep(None, zh, en, "money.md, Agreements")


def _standing(told: Mirrored) -> Iterator[StoryStep]:
    yield _stands(told)
    for window in told.windows:
        zh = f"场次{window.number}：{NODE_WINDOW_STATES_ZH[window.state]}"
        yield StoryStep(None, zh, f"window {window.number}: {window.state}", WINDOWS)
    if not told.postings:
        return
    if told.issuer == told.redeeming_region:
        zh, en = "本地使用，各地之间互不相欠", "used at home: no region owes another"
    else:
        claim = yuan(sum(leg.amount_fen for leg in told.standing if account_region(leg.account) == told.issuer))
        zh = f"{place(told.issuer)}欠{place(told.redeeming_region)}{claim}元，计入场次轧差"
        en = f"{told.issuer} owes {told.redeeming_region} {claim}, netted in its windows"
    yield StoryStep(None, zh, en, WINDOWS)


def _stands(told: Mirrored) -> StoryStep:
    zh, en, rule = (
        f"现状{REDEMPTION_STATES_ZH[told.state]}",
        f"stands {told.state}",
        "protocol.md, Redemption life cycle",
    )
    if told.state == State.AUTHORIZED.name:
        zh, en = (
            f"{zh}：资金由{told.decider}占用，尚未入账",
            f"{en}: {told.decider} holds the money, nothing is booked yet",
        )
        return StoryStep(None, zh, en, rule)
    total, debts = yuan(sum(leg.amount_fen for leg in told.standing)), owed(told.standing, titles(told.terms))
    zh, en = f"{zh}：出资方共承担{total}元{debts.zh}", f"{en}: funders bear {total}{debts.en}"
    return StoryStep(None, zh, en, rule, told.standing)


def _more(told: Mirrored) -> StoryStep:
    """The agreement's sum can be had without asking: a statement's evidence brings every figure, and the agreement."""
    name_zh = told.agreement or "分担协议及其版本"
    name_en = told.agreement or "agreement and version"
    zh = (
        f"以上为本地区账上所有。{name_zh}的计算、占用时的订单、当时异地用券资金与年度上限余额见场次依据"
        f"（quanlian node export-evidence，可用 quanlian verify 复核）；清分平台分录号问{told.decider}"
    )
    en = (
        f"this is what this region's books have. The sum by {name_en}, the order as held and what fund and ceiling "
        "had left are in the window's evidence (quanlian node export-evidence; quanlian verify recomputes it); "
        f"the entries of its journal are with {told.decider}"
    )
    return StoryStep(None, zh, en, STATEMENT)


def _moved(legs: tuple[Leg, ...]) -> tuple[Leg, ...]:
    return tuple(leg for leg in legs if leg.amount_fen)
