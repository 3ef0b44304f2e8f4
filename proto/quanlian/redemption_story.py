"""The whole story of one redemption's money, step by step, each with its figures and its rule, in Chinese and English.

Told from what the deciding party stored: its terms, its agreement, its answers and postings. The sums are done again,
so a step that does not follow says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from quanlian.account_names import Funds
from quanlian.accounts import VISITORS, at_region
from quanlian.agreement_sum import sum_of
from quanlian.agreements import Agreement
from quanlian.apportionment import Leg, Reservation, capture_release, reduce_legs, refund_due
from quanlian.explanation import discount_step, titles
from quanlian.file_rules import Words
from quanlian.ledger import is_limited
from quanlian.money import yuan
from quanlian.redemptions import Posting, Redemption, State, owed_between_regions
from quanlian.state_names import REDEMPTION_STATES_ZH, WINDOW_STATES_ZH
from quanlian.story_steps import StoryStep, Window, advanced, opposite, owed, place, unused
from quanlian.terms import Terms, VoucherType
from quanlian.visitors_story import AskedFund, fund_step

SPLIT, REFUNDS = "money.md, Split at authorize", "money.md, Refunds"


class Hold(NamedTuple):
    """A redemption as it was authorized: before a smaller capture and refunds changed it."""

    order_fen: int
    discount_fen: int
    legs: tuple[Leg, ...]


class Booked(NamedTuple):
    """A capture or refund with the journal's entry; `dispute` names the one that an adjusting entry follows."""

    posting: Posting
    entry: int
    dispute: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a party knows of a redemption that it decided.

    `held` is None where it was captured at once or its first answer is gone, `reserved` where the books no longer say
    what the voucher came with, `asked` where no visitors' fund was concerned.
    """

    redemption: Redemption
    booked: tuple[Booked, ...]
    terms: Terms
    voucher_type: VoucherType
    agreement: Agreement | None
    held: Hold | None
    reserved: Reservation | None
    windows: tuple[Window, ...]
    asked: AskedFund | None = None

    @property
    def split_funds(self) -> Funds:
        """What the split made of the money: a redeem uses it at once."""
        return "used" if self.held is None and self.booked else "held"


def story(facts: Facts) -> list[StoryStep]:
    """Sale and discount, who pays and why, then every capture and refund, and where the money stands."""
    steps = [_sale(facts), *_split(facts)]
    returned = refunded = withheld = 0
    for booked in facts.booked:
        if booked.posting.kind == "capture":
            steps += [_capture(facts, booked), *_freed(facts, booked.posting)]
        else:
            refunded -= booked.posting.order_fen
            if booked.posting.order_fen:
                due = _returns_due(facts, refunded, withheld - booked.posting.order_fen)
                steps.append(_refund(facts, booked, refunded, due, returned, withheld))
                withheld = due.fen
            else:
                steps.append(_adjustment(facts, booked))
            returned -= booked.posting.discount_fen
    steps += [*_released(facts), *_standing(facts)]
    return [step._replace(legs=tuple(leg for leg in step.legs if leg.amount_fen)) for step in steps]


def _sale(facts: Facts) -> StoryStep:
    redemption, held = facts.redemption, _held(facts)
    sale, where = redemption.sale, place(redemption.redeeming_region)
    found = discount_step(facts.voucher_type, replace(sale.order, order_fen=held.order_fen), held.discount_fen)
    zh = (
        f"{place(redemption.voucher.issuer)}的“{facts.voucher_type.title_zh}”在{where}商户{sale.merchant}的订单"
        f"{sale.order_id}（{yuan(held.order_fen)}元）上使用。{found.zh}"
    )
    en = (
        f"“{facts.voucher_type.title_en}” of {redemption.voucher.issuer} used in {redemption.redeeming_region}, "
        f"merchant {sale.merchant}, order {sale.order_id} of {yuan(held.order_fen)}: {found.en}"
    )
    return StoryStep(redemption.authorized_at, zh, en, found.source)


def _split(facts: Facts) -> Iterator[StoryStep]:
    """Reserved, then the three steps of money.md, as they were held."""
    redemption, held = facts.redemption, _held(facts)
    named = {at_region(each.account, redemption.redeeming_region) for each in facts.terms.cofunder_plan()}
    cofunded = tuple(leg for leg in held.legs if leg.account in named)
    own, visitors = _sides(held.legs)
    yield _reserved(facts, own, visitors)
    public = tuple(leg for leg in held.legs if leg not in cofunded and leg not in visitors)
    public_fen = sum(leg.amount_fen for leg in public + visitors)
    if cofunded:
        amount = yuan(sum(leg.amount_fen for leg in cofunded))
        zh, en = (
            f"优惠{yuan(held.discount_fen)}元按预留分摊，共同出资方先承担{amount}元",
            f"of {yuan(held.discount_fen)} by what is reserved the co-funders pay {amount} first",
        )
        zh, en = f"{zh}，其余{yuan(public_fen)}元为公共资金", f"{en}; {yuan(public_fen)} are public"
        yield StoryStep(None, zh, en, SPLIT, cofunded, funds=facts.split_funds)
    due_fen = _redeemer_due(facts, held, public_fen)
    yield _between_regions(facts, held, public_fen, due_fen, sum(leg.amount_fen for leg in visitors))
    yield _over_issuers_funders(facts, public)
    yield from _visitors(facts, due_fen, visitors)


def _sides(legs: tuple[Leg, ...]) -> tuple[tuple[Leg, ...], tuple[Leg, ...]]:
    """What the voucher's reservation pays, and what the redeeming region's fund for visitors does."""
    visitors = tuple(leg for leg in legs if f"/{VISITORS}/" in leg.account)
    return tuple(leg for leg in legs if leg not in visitors), visitors


def _reserved(facts: Facts, own: tuple[Leg, ...], visitors: tuple[Leg, ...]) -> StoryStep:
    highest, taken = yuan(facts.voucher_type.max_discount_fen), yuan(sum(leg.amount_fen for leg in own))
    zh = f"领取时已按最高优惠{highest}元向发券地出资方预留，本次使用其中{taken}元"
    en = f"at issue the highest discount of {highest} was reserved; this use takes {taken} of it"
    if visitors:
        there = yuan(sum(leg.amount_fen for leg in visitors))
        zh, en = f"{zh}，另由核销地承担{there}元", f"{en}, and the redeeming region pays another {there}"
    reserved = facts.reserved.legs() if facts.reserved else ()
    lent = advanced(reserved, titles(facts.terms))
    return StoryStep(None, zh + lent.zh, en + lent.en, "money.md, Reserved at issue", reserved, funds="reserved")


def _visitors(facts: Facts, due_fen: int, visitors: tuple[Leg, ...]) -> Iterator[StoryStep]:
    if facts.asked and due_fen and (facts.asked.funders or not visitors):
        yield fund_step(facts.asked, due_fen, visitors)._replace(funds=facts.split_funds)
    elif visitors:
        amount = yuan(sum(leg.amount_fen for leg in visitors))
        zh, en = (
            f"核销地部分由其异地用券资金承担：{amount}元",
            f"the redeeming region's part from its visitors' fund: {amount}",
        )
        yield StoryStep(None, zh, en, SPLIT, visitors, funds=facts.split_funds)


def _over_issuers_funders(facts: Facts, public: tuple[Leg, ...]) -> StoryStep:
    part = yuan(sum(leg.amount_fen for leg in public))
    zh = f"发券地部分按各出资方的预留分摊：{part}元"
    en = f"the issuer's part over its funders by what each reserved: {part}"
    if facts.reserved:
        weights = ":".join(yuan(leg.amount_fen) for leg in facts.reserved.public)
        zh, en = f"{zh}按{weights}，最大余额法取整", f"{en} by {weights}, largest remainder"
    lent = advanced(public, titles(facts.terms))
    return StoryStep(None, zh + lent.zh, en + lent.en, SPLIT, public, funds=facts.split_funds)


def _redeemer_due(facts: Facts, held: Hold, public_fen: int) -> int:
    """What the agreement has the redeeming region pay; 0 where the agreement is not known, or none is concerned."""
    issuer, redeemer = facts.redemption.voucher.issuer, facts.redemption.redeeming_region
    if facts.agreement is None or issuer == redeemer:
        return 0
    agreed = facts.agreement.between(issuer, redeemer)
    return agreed.redeemer_pays(public_fen, held.order_fen, held.discount_fen)


def _between_regions(facts: Facts, held: Hold, public_fen: int, due: int, visitors_fen: int) -> StoryStep:
    redemption, agreement = facts.redemption, facts.agreement
    if redemption.voucher.issuer == redemption.redeeming_region:
        zh, en = "本地使用，公共部分全由发券地承担", "used at home: all of the public part is the issuer's"
        return StoryStep(None, f"{zh}：{yuan(public_fen)}元", f"{en}: {yuan(public_fen)}", SPLIT)
    name = redemption.agreement
    if agreement is None:
        zh = f"按分担协议{name}：核销地{yuan(visitors_fen)}元，发券地{yuan(public_fen - visitors_fen)}元"
        en = f"by agreement {name}: redeeming {yuan(visitors_fen)}, issuing {yuan(public_fen - visitors_fen)}"
        return StoryStep(None, zh, en, "money.md, Agreements")
    agreed = agreement.between(redemption.voucher.issuer, redemption.redeeming_region)
    how = sum_of(agreed, public_fen, held.order_fen, held.discount_fen)
    zh = f"公共部分{yuan(public_fen)}元按分担协议{name}（{agreement.method}）：{how.zh}；核销地应承担{yuan(due)}元"
    en = (
        f"the public part of {yuan(public_fen)} by agreement {name} ({agreement.method}): {how.en}: "
        f"redeeming region {yuan(due)}"
    )
    if due and not visitors_fen:
        zh += "；其异地用券资金或年度上限不足，由发券地承担"
        en += "; its visitors' fund or yearly ceiling could not meet it, so the issuing region pays"
    elif due != visitors_fen:
        zh += f"；账上为{yuan(visitors_fen)}元，与协议不符"
        en += f"; the books say {yuan(visitors_fen)}, which does not follow"
    return StoryStep(None, zh, en, "money.md, Agreements")


def _capture(facts: Facts, booked: Booked) -> StoryStep:
    posting, held = booked.posting, _held(facts)
    zh = f"请款{yuan(posting.order_fen)}元，优惠{yuan(posting.discount_fen)}元入账"
    en = f"captured {yuan(posting.order_fen)}: a discount of {yuan(posting.discount_fen)} is booked"
    if posting.order_fen != held.order_fen:
        released = capture_release(held.discount_fen, held.order_fen, posting.order_fen)
        less = yuan(held.order_fen - posting.order_fen)
        share = f"{yuan(held.discount_fen)} × {less} ÷ {yuan(held.order_fen)}"
        zh += f"；少请{less}元，按{share}退回{yuan(released)}元"
        en += f"; {less} less than was held gives {share} = {yuan(released)} back"
    return _booked_step(facts, booked, zh, en, REFUNDS)


def _freed(facts: Facts, capture: Posting) -> Iterator[StoryStep]:
    """What a capture leaves of the hold, and of what the voucher had reserved beside it."""
    held, redemption = _held(facts), facts.redemption
    captured = {leg.account: leg for leg in capture.legs}
    less = tuple(
        leg.plus(captured[leg.account], -1) if leg.account in captured else leg
        for leg in held.legs
        if is_limited(leg.account)
    )
    back = _way_back(capture)
    if any(leg.amount_fen for leg in less):
        total = yuan(sum(leg.amount_fen for leg in less))
        zh, en = f"少请部分解除占用{total}元{back.zh}", f"{total} that was held is free again{back.en}"
        yield StoryStep(capture.at, zh, en, REFUNDS, opposite(less), funds="held")
    rest = unused(facts.reserved, held.legs, redemption.redeeming_region) if facts.reserved else ()
    if rest:
        total = yuan(sum(leg.amount_fen for leg in rest))
        zh = f"预留中未用的{total}元解除预留，归还各出资方{back.zh}"
        en = f"{total} that was reserved and not used is free again for its funders{back.en}"
        yield StoryStep(capture.at, zh, en, "money.md, Ledger", opposite(rest), funds="reserved")


def _way_back(capture: Posting) -> Words:
    """How money of the issuing region that a capture at the clearinghouse frees comes home."""
    if not capture.window:
        return Words("", "")
    return Words(
        "；其中发券地的资金至迟于场次截止时以退款单归还其节点",
        "; the issuing region's goes back to its node by a fund return, at the window's close at the latest",
    )


class _Due(NamedTuple):
    """What returns so far give funders by the refund rule alone, and how that comes about."""

    fen: int
    how: Words


def _returns_due(facts: Facts, total_fen: int, most_fen: int) -> _Due:
    """When returns reach `total_fen` of the order, the last of which can bring it to `most_fen`."""
    redemption, minimum = facts.redemption, facts.voucher_type.minimum_spend_fen
    due = refund_due(redemption.discount_fen, redemption.order_fen, total_fen, facts.terms.refund_policy, minimum)
    how = _due(facts, total_fen, due)
    if due > most_fen:
        most = yuan(most_fen)
        how = Words(f"{how.zh}，本次至多退到{most}", f"{how.en}, this return can bring it to {most} at most")
    return _Due(min(due, most_fen), how)


def _refund(facts: Facts, booked: Booked, total_fen: int, due: _Due, had_fen: int, withheld_fen: int) -> StoryStep:
    """`had_fen` is what funders had got back before; by returns alone it was `withheld_fen`."""
    posting = booked.posting
    part, back, had = yuan(-posting.order_fen), yuan(-posting.discount_fen), yuan(had_fen)
    shopper, kept = yuan(-posting.order_fen - (due.fen - withheld_fen)), yuan(due.fen - withheld_fen)
    zh = (
        f"退货{part}元，累计{yuan(total_fen)}元：应退回出资方累计{due.how.zh}元，此前已退{had}元，"
        f"本次{back}元，按各方尚余分摊；顾客得{shopper}元"
    )
    en = (
        f"refund of {part}, {yuan(total_fen)} in all: funders are due {due.how.en} in all, had "
        f"{had}, now get {back}, each by what it still bears; the shopper gets {shopper} "
        f"({facts.terms.refund_policy})"
    )
    if had_fen != withheld_fen:
        zh += f"，即{part}减应退的{kept}元，调整分录与顾客无关"
        en += f": {part} less {kept} due, for an adjusting entry is no matter of the shopper"
    return _booked_step(facts, booked, zh, en, REFUNDS)


def _due(facts: Facts, total_fen: int, due_fen: int) -> Words:
    """What funders are due of a discount D when returns reach ρ of an order O, as a sum."""
    redemption, minimum = facts.redemption, facts.voucher_type.minimum_spend_fen
    whole, left_fen = yuan(redemption.discount_fen), redemption.order_fen - total_fen
    if facts.terms.refund_policy == "full-clawback" and left_fen < minimum:
        least, total, left = yuan(minimum), yuan(total_fen), yuan(left_fen)
        return Words(
            f"{yuan(due_fen)}（余{left}元不足{least}元，取{whole}与{total}中小者）",
            f"{yuan(due_fen)} (the {left} left is under {least}: the lesser of {whole} and {total})",
        )
    share = f"{whole} × {yuan(total_fen)} ÷ {yuan(redemption.order_fen)} = {yuan(due_fen)}"
    return Words(share, share)


def _adjustment(facts: Facts, booked: Booked) -> StoryStep:
    """A refund of no part of the order is the adjusting entry of an upheld dispute."""
    zh, en = upheld(booked.dispute, booked.posting)
    return _booked_step(facts, booked, zh, en, "money.md, Statement")


def upheld(dispute: str, posting: Posting) -> Words:
    """`dispute` is its region and number, or empty where the books do not name it."""
    back = yuan(-posting.discount_fen)
    return Words(
        f"异议{dispute}成立，调整分录退回出资方{back}元",
        f"{f'dispute {dispute}' if dispute else 'a dispute'} was upheld: an adjusting entry gives funders {back} back",
    )


def _booked_step(facts: Facts, booked: Booked, zh: str, en: str, rule: str) -> StoryStep:
    posting, debts = booked.posting, owed(booked.posting.legs, titles(facts.terms))
    zh, en = zh + debts.zh, en + debts.en
    zh += f"；分录{booked.entry}" + (f"，场次{posting.window}" if posting.window else "")
    en += f"; entry {booked.entry}" + (f", window {posting.window}" if posting.window else "")
    return StoryStep(posting.at, zh, en, rule, posting.legs, booked.entry)


def _released(facts: Facts) -> Iterator[StoryStep]:
    """A hold that was voided or expired: its money goes back where it came from."""
    redemption, held = facts.redemption, _held(facts)
    if redemption.state not in (State.VOIDED, State.EXPIRED):
        return
    own, visitors = _sides(held.legs)
    back = yuan(sum(leg.amount_fen for leg in own))
    voided = redemption.state is State.VOIDED
    why = Words("撤销", "voided") if voided else Words("占用过期", "the hold expired")
    zh, en = (
        f"{why.zh}：占用的{back}元恢复为该券的预留",
        f"{why.en}: {back} that was held is reserved for the voucher again",
    )
    if visitors:
        freed = yuan(sum(leg.amount_fen for leg in visitors))
        zh, en = f"{zh}，核销地异地用券资金{freed}元解除占用", f"{en}, and {freed} of the visitors' fund is free"
    at = None if voided else redemption.expires_at
    yield StoryStep(at, zh, en, "protocol.md, Redemption life cycle", opposite(held.legs), funds="held")


def _standing(facts: Facts) -> Iterator[StoryStep]:
    """Where the money stands, and how it is settled between the regions."""
    redemption = facts.redemption
    yield _stands(facts)
    claim = owed_between_regions(redemption, redemption.standing)
    if not facts.booked:
        return
    if redemption.voucher.issuer == redemption.redeeming_region and not facts.windows:
        payable = sum(leg.amount_fen for leg in redemption.standing if is_limited(leg.account))
        zh = f"应付收单机构{redemption.acquirer} {yuan(payable)}元，不涉及他地"
        en = f"{yuan(payable)} are payable to the acquirer {redemption.acquirer}; no other region is concerned"
        yield StoryStep(None, zh, en, "money.md, Ledger")
        return
    for window in facts.windows:
        zh = f"场次{window.number}：{WINDOW_STATES_ZH.get(window.state, window.state)}"
        yield StoryStep(None, zh, f"window {window.number}: {window.state}", "money.md, Settlement windows")
    if redemption.voucher.issuer == redemption.redeeming_region:
        zh, en = "本地使用，各地之间互不相欠", "used at home: no region owes another"
        yield StoryStep(None, zh, en, "money.md, Settlement windows")
        return
    zh = f"{place(redemption.voucher.issuer)}欠{place(redemption.redeeming_region)}{yuan(claim)}元，计入场次轧差"
    en = f"{redemption.voucher.issuer} owes {redemption.redeeming_region} {yuan(claim)}, netted in its windows"
    yield StoryStep(None, zh, en, "money.md, Settlement windows")


def _stands(facts: Facts) -> StoryStep:
    redemption = facts.redemption
    state, total = redemption.state.name, yuan(redemption.standing_fen)
    zh, en = f"现状{REDEMPTION_STATES_ZH[state]}", f"stands {state}"
    rule, standing = "protocol.md, Redemption life cycle", redemption.standing
    if redemption.state is State.AUTHORIZED:
        zh, en = f"{zh}：占用出资方资金{total}元", f"{en}: {total} of the funders' money is held"
        return StoryStep(None, zh, en, rule, standing, funds="held")
    debts = owed(standing, titles(facts.terms))
    zh, en = f"{zh}：出资方共承担{total}元{debts.zh}", f"{en}: funders bear {total}{debts.en}"
    return StoryStep(None, zh, en, rule, standing)


def follows(facts: Facts) -> bool:
    """Whether each refund took from every leg what the rules take."""
    left: Sequence[Leg] = ()
    for booked in facts.booked:
        legs = booked.posting.legs
        if booked.posting.kind == "capture":
            left = legs
            continue
        parts = reduce_legs(left, -booked.posting.discount_fen)
        if [-leg.amount_fen for leg in legs] != parts:
            return False
        left = [Leg(leg.account, leg.amount_fen - part) for leg, part in zip(left, parts, strict=True)]
    return True


def _held(facts: Facts) -> Hold:
    redemption = facts.redemption
    return facts.held or Hold(redemption.order_fen, redemption.discount_fen, redemption.legs)
