"""The story of a redemption's money as a region knows it that did not decide it: by the postings that it was told of.

What only the decider stored (the hold, the agreement's sum, what a fund or ceiling had left, its journal's entries) is
not guessed at; the last step says where it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from quanlian.accounts import VISITORS, account_region
from quanlian.apportionment import Leg, Reservation
from quanlian.money import yuan
from quanlian.redemption_story import StoryStep, Window
from quanlian.redemptions import Posting
from quanlian.regions import region
from quanlian.state_names import REDEMPTION_STATES_ZH, WINDOW_STATES_ZH
from quanlian.terms import VoucherType

AWAY, STATEMENT = "money.md, Split at authorize", "money.md, Statement"


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What a region's books have of a redemption that another party decided, amounts in fen.

    `voucher_type` and `reserved` are known to the issuing region, `order_id`, `merchant` and `agreement` to the
    redeeming one; empty for the other. `postings` are in their order; none while it is on hold.
    """

    decider: str
    issuer: str
    redeeming_region: str
    campaign: str
    state: str
    postings: tuple[Posting, ...]
    windows: tuple[Window, ...]
    voucher_type: VoucherType | None = None
    reserved: Reservation | None = None
    merchant: str = ""
    order_id: str = ""
    agreement: str = ""

    @property
    def standing(self) -> tuple[Leg, ...]:
        """What each funder bears after refunds and adjusting entries."""
        sums: Counter[str] = Counter()
        for posting in self.postings:
            for leg in posting.legs:
                sums[leg.account] += leg.amount_fen
        return tuple(Leg(account, fen) for account, fen in sums.items() if fen)


def mirrored_story(told: Mirrored) -> list[StoryStep]:
    """What was used where, each posting with who pays, where the money stands, and what the decider could add."""
    steps = [_use(told), *_reserved(told)]
    for posting in told.postings:
        steps.append(_posted(posting))
        if posting.kind == "capture":
            steps += _shared(told, posting)
    return [*steps, *_standing(told), _more(told)]


def _use(told: Mirrored) -> StoryStep:
    issuer, where, kind = region(told.issuer).name, region(told.redeeming_region).name, told.voucher_type
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
        zh, en = "领取时已向发券地出资方预留的最高优惠", "at issue the highest discount was reserved"
        yield StoryStep(None, zh, en, "money.md, Reserved at issue", _moved(told.reserved.legs()))


def _posted(posting: Posting) -> StoryStep:
    order, discount = yuan(abs(posting.order_fen)), yuan(abs(posting.discount_fen))
    rule = "money.md, Refunds"
    if posting.kind == "capture":
        zh, en = f"请款{order}元，优惠{discount}元", f"captured {order}: a discount of {discount}"
    elif posting.order_fen:
        zh, en = f"退货{order}元，退回出资方{discount}元", f"refund of {order}: {discount} go back to funders"
    else:
        zh, rule = f"异议成立，调整分录退回出资方{discount}元", STATEMENT
        en = f"a dispute was upheld: an adjusting entry gives funders {discount} back"
    zh, en = f"{zh}；场次{posting.window}", f"{en}; window {posting.window}"
    return StoryStep(posting.at, zh, en, rule, _moved(posting.legs))


def _shared(told: Mirrored, posting: Posting) -> Iterator[StoryStep]:
    """Who pays of a capture: the redeeming region by its fund for visitors, the issuing one the rest."""
    visitors = tuple(leg for leg in posting.legs if f"/{VISITORS}/" in leg.account)
    there_fen = sum(leg.amount_fen for leg in visitors)
    here, there = yuan(posting.discount_fen - there_fen), yuan(there_fen)
    zh = f"核销地异地用券资金承担{there}元，发券地出资方承担{here}元"
    en = f"the redeeming region's visitors' fund pays {there}, the issuing region's funders {here}"
    if told.agreement:
        zh, en = f"按分担协议{told.agreement}：{zh}", f"by agreement {told.agreement}: {en}"
    yield StoryStep(None, zh, en, "money.md, Agreements")


def _standing(told: Mirrored) -> Iterator[StoryStep]:
    standing = told.standing
    total = yuan(sum(leg.amount_fen for leg in standing))
    zh, en = (
        f"现状{REDEMPTION_STATES_ZH[told.state]}：出资方共承担{total}元",
        f"stands {told.state}: funders bear {total}",
    )
    yield StoryStep(None, zh, en, "protocol.md, Redemption life cycle", standing)
    for window in told.windows:
        zh = f"场次{window.number}：{WINDOW_STATES_ZH.get(window.state, window.state)}"
        yield StoryStep(None, zh, f"window {window.number}: {window.state}", "money.md, Settlement windows")
    if told.postings:
        owed = yuan(sum(leg.amount_fen for leg in standing if account_region(leg.account) == told.issuer))
        zh = f"{region(told.issuer).name}欠{region(told.redeeming_region).name}{owed}元，计入场次轧差"
        en = f"{told.issuer} owes {told.redeeming_region} {owed}, netted in its windows"
        yield StoryStep(None, zh, en, "money.md, Settlement windows")


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
