"""What one voucher would do to one order: the discount and who pays it, with the rule of each step, or the refusal.

The checks are those that every party runs (`validation.check`), on a voucher claimed when its first round opens,
with the campaign's budgets still whole and a merchant that is admitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources
from typing import Any, NamedTuple

from quanlian.accounts import account_region, visitors_account
from quanlian.agreements import Agreement, parse_agreement
from quanlian.apportionment import FundingPlan, Leg, Reservation, Split, reserve, split
from quanlian.discounts import Order
from quanlian.errors import InvalidInput
from quanlian.file_rules import Words
from quanlian.money import yuan
from quanlian.redemptions import Sale
from quanlian.refusals import Refusal, RefusalReason
from quanlian.regions import full_name, region
from quanlian.signing import SigningKey
from quanlian.story_steps import Titles, advanced
from quanlian.terms import CoFunderTerms, FunderTerms, Pack, Terms, VoucherType, decimal_of
from quanlian.terms_words import CATEGORIES, CLASSES, WORDS
from quanlian.validation import Facts, check
from quanlian.vouchers import SUITE_ED25519, Voucher

VISITORS_FUNDER = "visitors"
_MERCHANT = "any merchant"
_TERMS_SOURCE = "protocol.md, Campaign terms"


class Step(NamedTuple):
    """One step: what was done with which figures, and where its rule comes from."""

    zh: str
    en: str
    source: str


class PaidLeg(NamedTuple):
    """What one funder pays, in fen. `region` is whose money it is."""

    region: str
    funder: str
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """A discount with its legs, which sum to it, or a refusal; and the steps that led there."""

    discount_fen: int
    refusal: Refusal | None
    legs: tuple[PaidLeg, ...]
    steps: tuple[Step, ...]

    def as_data(self) -> dict[str, Any]:
        """For programs: `discount_fen`, `refusal` (None or the reason), `legs`."""
        return {
            "discount_fen": self.discount_fen,
            "refusal": self.refusal.reason.name if self.refusal else None,
            "legs": [leg._asdict() for leg in self.legs],
        }


def funder_title(terms: Terms, funder: str) -> Words:
    """What a leg's funder is called."""
    if funder == VISITORS_FUNDER:
        return Words("异地用券资金", "visitors' fund")
    payers: tuple[FunderTerms | CoFunderTerms, ...] = (*terms.funders, *terms.cofunders)
    titles = {each.name: Words(each.title_zh, each.title_en) for each in payers}
    title = titles.get(funder, Words("商户", "merchant"))
    return Words(title.zh or funder, title.en or funder)


def titles(terms: Terms | None) -> Titles:
    """By the campaign's terms; where they are not known, the name that the account has in them."""

    def title(account: str) -> Words:
        name = account.rpartition("/")[2]
        return funder_title(terms, name) if terms else Words(name, name)

    return title


def network_default() -> Agreement:
    """The agreement between regions that have made no other, as shipped."""
    name = "network-default.toml"
    return parse_agreement(resources.files("quanlian").joinpath("data", name).read_bytes(), name)


def explain(
    terms: Terms,
    voucher_type: VoucherType,
    order: Order,
    at_region: str,
    agreement: Agreement | None = None,
    leverage_bound: Fraction | None = None,
) -> Explanation:
    """Explain `order` in `at_region`.

    Away, `agreement` shares the public part; without one the network's default does, unless the terms name another.
    `leverage_bound` is what the redeeming region refuses visitors' vouchers under. Raises InvalidInput for an
    unknown region, a voucher that no pack holds, or an agreement of other regions.
    """
    region(at_region)
    away = at_region != terms.issuer
    agreed = _agreement(terms, at_region, agreement) if away else None
    pack = _pack(terms, voucher_type)
    bound = leverage_bound if away else None
    found = check(_facts(terms, pack, voucher_type, order, at_region, bound), _issued_at(terms, pack))
    if isinstance(found, Refusal):
        return _refused(found, _why(found.reason, terms, pack, voucher_type, order, at_region))
    steps = [discount_step(voucher_type, order, found.discount_fen)]
    budgets = terms.budgets()

    def left(account: str) -> int:
        return budgets.get(account, found.discount_fen)  # a visitors' fund that is there

    reservation = reserve(voucher_type.max_discount_fen, terms.cofunder_plan(), terms.funding_plan(), left)
    if reservation is None:
        return _refused(Refusal(RefusalReason.FUNDING_EXHAUSTED), steps)
    visitors = FundingPlan((visitors_account(at_region, terms.fiscal_year, VISITORS_FUNDER),), (1,), "refuse")
    paid = split(found.discount_fen, order.order_fen, reservation, agreed, at_region, terms.issuer, visitors, left)
    if paid is None:
        return _refused(Refusal(RefusalReason.FUNDING_EXHAUSTED), steps)
    steps += _paying_steps(terms, reservation, paid, agreed, at_region)
    legs = tuple(_paid(leg) for leg in paid.legs if leg.amount_fen)
    return Explanation(found.discount_fen, None, legs, tuple(steps))


def _agreement(terms: Terms, at_region: str, agreement: Agreement | None) -> Agreement:
    default = network_default()
    if agreement is None:
        if terms.agreement not in (None, default.number):
            raise InvalidInput(
                f"its terms name the agreement {terms.agreement}",
                place=f"campaign {terms.campaign}",
                remedy="give that agreement's file",
            )
        return default
    parties = {terms.issuer, at_region}
    if agreement.parties and set(agreement.parties) != parties:
        raise InvalidInput(
            f"is between {' and '.join(agreement.parties)}, not {terms.issuer} and {at_region}",
            place=f"agreement {agreement.number}",
            remedy="give the agreement of these two regions",
        )
    if agreement.campaign not in (None, terms.campaign):
        raise InvalidInput(
            f"is for campaign {agreement.campaign}, not {terms.campaign}",
            place=f"agreement {agreement.number}",
            remedy="give the agreement for this campaign",
        )
    return agreement


def _pack(terms: Terms, voucher_type: VoucherType) -> Pack:
    """The first pack that holds the voucher, for it says whether the voucher roams."""
    found = next((pack for pack in terms.packs if voucher_type.id in pack.vouchers), None)
    if found is None:
        raise InvalidInput(
            f"no pack holds {voucher_type.id}", place=f"campaign {terms.campaign}", remedy="list it in a [[pack]]"
        )
    return found


def _issued_at(terms: Terms, pack: Pack) -> int:
    return min((entry.opens_at for entry in terms.rounds if entry.pack == pack.id), default=terms.starts_at)


def _facts(
    terms: Terms, pack: Pack, voucher_type: VoucherType, order: Order, at_region: str, bound: Fraction | None
) -> Facts:
    issued_at = _issued_at(terms, pack)
    not_before, not_after = pack.validity(issued_at)
    voucher = Voucher(
        version=1,
        suite=SUITE_ED25519,
        key_id=b"",
        issuer=terms.issuer,
        campaign=terms.campaign,
        terms_hash=terms.terms_hash,
        pack_id=b"",
        voucher_types=(voucher_type.number,),
        holder_tag=b"",
        issued_at=issued_at,
        not_before=not_before,
        not_after=not_after,
        roaming=pack.roaming,
    )
    return Facts(
        voucher=voucher,
        key=SigningKey(b"", terms.issuer, "voucher", b"", issued_at, not_after),
        index=0,
        sale=Sale(_MERCHANT, "", order),
        expected_fen=0,
        payer_tag=b"",
        redeeming_region=at_region,
        suspended_regions={},
        campaign_known=True,
        terms=terms,
        leverage_bound=bound,
    )


def _why(
    reason: RefusalReason, terms: Terms, pack: Pack, voucher_type: VoucherType, order: Order, at_region: str
) -> list[Step]:
    """What the terms say that a refusal turned on, where the refusal itself has no room for it."""
    limit = voucher_type.price_limit_fen
    match reason:
        case RefusalReason.REGION_NOT_COVERED if terms.covers_region(at_region):
            zh = f"券包“{pack.title_zh}”的异地使用为 never：只可在发券地使用，虽然本活动适用地区包括该地"
            en = f"the roaming of the pack “{pack.title_en}” is never: it is good at its issuer alone, though the "
            return [Step(zh, f"{en}campaign covers that region", "protocol.md, Custody")]
        case RefusalReason.REGION_NOT_COVERED:
            return [_covered("适用地区", "regions", terms.regions)]
        case RefusalReason.CHANNEL_NOT_COVERED:
            return [_covered("消费渠道", "channels", sorted(terms.channels))]
        case RefusalReason.CATEGORY_NOT_COVERED:
            return [_covered("适用行业", "categories", sorted(voucher_type.categories))]
        case RefusalReason.NO_MATCHING_TIER if voucher_type.kind == "rate" and limit is not None:
            price = yuan(order.price_fen or order.order_fen)
            zh = f"本券没有档次：价格{price}元超过价格上限{yuan(limit)}元，不予补贴"
            en = f"the voucher has no tiers: the price of {price} is above the price limit of {yuan(limit)}"
            return [Step(zh, en, "money.md, Discount on an order")]
        case RefusalReason.NO_MATCHING_TIER if voucher_type.kind == "tiered":
            tiers = [tier.from_fen for tier in voucher_type.tiers if tier.klass == order.klass]
            klass, least = _class_title(voucher_type, order.klass), yuan(min(tiers, default=0))
            zh, en = f"{klass.zh}的最低档从发票{least}元起", f"the lowest tier of {klass.en} is from {least}"
            return [Step(zh, en, "money.md, Discount on an order")]
    return []


def _covered(label_zh: str, label_en: str, words: Sequence[str]) -> Step:
    """What there is, in the words of the file with their Chinese."""
    titles = [CATEGORIES.get(word) or WORDS.get(word) or _region_title(word) for word in words]
    zh = "、".join(f"{title.zh} {word}" for title, word in zip(titles, words, strict=True))
    return Step(f"本券的{label_zh}：{zh}", f"{label_en} of the voucher: {', '.join(words)}", _TERMS_SOURCE)


def _region_title(word: str) -> Words:
    return Words(full_name(word), word) if word.isdigit() else Words("", word)


def _refused(refusal: Refusal, steps: list[Step]) -> Explanation:
    step = Step(refusal.message_zh, refusal.message_en, 'protocol.md, "Refusal reasons, in order"')
    return Explanation(0, refusal, (), (*steps, step))


def discount_step(voucher_type: VoucherType, order: Order, discount_fen: int) -> Step:
    """What the kind of voucher makes of the order."""
    given, whole = yuan(discount_fen), yuan(order.order_fen)
    klass = _class_title(voucher_type, order.klass)
    match voucher_type.kind:
        case "threshold":
            least = yuan(voucher_type.minimum_spend_fen)
            zh, en = f"满减：订单{whole}元已满{least}元", f"threshold: the order of {whole} reaches {least}"
        case "full-value":
            face = yuan(voucher_type.face_fen)
            zh = f"全额代替：面值{face}元与订单{whole}元取小，不找零"
            en = f"full value: the lesser of face {face} and order {whole}, no change"
        case "tiered":
            invoice = yuan(order.invoice_fen)
            zh = f"按档补贴：{klass.zh}，发票{invoice}元所在档次"
            en = f"tiered: the tier of {klass.en} that the invoice of {invoice} reaches"
        case "rate":
            rate, price = _percent(voucher_type.rate_ppm), yuan(order.price_fen or order.order_fen)
            cap = yuan(voucher_type.cap_fen)
            zh, en = f"按比例补贴：{price}元的{rate}，最高{cap}元", f"rate: {rate} of {price}, at most {cap}"
        case "ticket" if voucher_type.attractions:
            price = yuan(voucher_type.price_fen)
            zh, en = f"门票：{klass.zh}按票价{price}元的分成", f"ticket: the share of {klass.en} in the price {price}"
        case kind:
            zh = "门票：每次约定金额" if kind == "ticket" else "定额补贴"
            en = "ticket: the amount agreed for one use" if kind == "ticket" else "fixed: one amount"
    return Step(f"{zh}，优惠{given}元", f"{en}: {given} off", "money.md, Discount on an order")


def _class_title(voucher_type: VoucherType, klass: str) -> Words:
    places = {each.id: Words(each.title_zh, each.title_en) for each in voucher_type.attractions}
    return (places if places else CLASSES).get(klass, Words(klass, klass))


def _paying_steps(
    terms: Terms, reservation: Reservation, paid: Split, agreement: Agreement | None, at_region: str
) -> list[Step]:
    cofunders = paid.legs[: len(reservation.cofunders)]
    public = paid.legs[len(reservation.cofunders) : len(reservation.legs())]
    reserved, shared, paying = (_listed(terms, legs) for legs in (reservation.legs(), cofunders, public))
    lent, used_of_it = (advanced(legs, titles(terms)) for legs in (reservation.legs(), public))
    steps = [
        Step(
            f"领取时按最高优惠{yuan(reservation.total_fen)}元预留（各方预算按尚未动用计）：{reserved.zh}{lent.zh}",
            f"reserved at issue, the highest discount of {yuan(reservation.total_fen)}, all budgets taken as whole: "
            f"{reserved.en}{lent.en}",
            "money.md, Reserved at issue",
        )
    ]
    if cofunders:
        steps.append(
            Step(
                f"共同出资方按比例：{shared.zh}",
                f"co-funders pay their shares: {shared.en}",
                "money.md, Split at authorize",
            )
        )
    if agreement is not None:
        total = yuan(paid.issuer_public_fen + paid.redeemer_public_fen)
        issuer, redeemer = (region(code) for code in (terms.issuer, at_region))
        halves = yuan(paid.issuer_public_fen), yuan(paid.redeemer_public_fen)
        parts_zh = f"{issuer.name} {halves[0]}，{redeemer.name} {halves[1]}"
        parts_en = f"{issuer.name_en or issuer.code} {halves[0]}, {redeemer.name_en or redeemer.code} {halves[1]}"
        steps.append(
            Step(
                f"公共部分{total}元按分担协议{agreement.number}（{agreement.method}）：{parts_zh}",
                f"the public part of {total} by agreement {agreement.number} ({agreement.method}): {parts_en}",
                "money.md, Agreements",
            )
        )
    weights = ":".join(str(funder.weight) for funder in terms.funders)
    steps.append(
        Step(
            f"发券地各出资方按预留（权重{weights}）：{paying.zh}{used_of_it.zh}",
            f"the issuer's funders by what is reserved (weights {weights}): {paying.en}{used_of_it.en}",
            "money.md, Split at authorize",
        )
    )
    if paid.redeemer_public_fen:
        amount, visited = yuan(paid.redeemer_public_fen), region(at_region)
        steps.append(
            Step(
                f"核销地{visited.name}的异地用券资金：{amount}元",
                f"the visitors' fund of {visited.name_en or at_region}: {amount}",
                "money.md, Split at authorize",
            )
        )
    return steps


def _paid(leg: Leg) -> PaidLeg:
    return PaidLeg(account_region(leg.account), _funder(leg), leg.amount_fen)


def _funder(leg: Leg) -> str:
    return leg.account.rpartition("/")[2]


def _listed(terms: Terms, legs: tuple[Leg, ...]) -> Words:
    titled = [(funder_title(terms, _funder(leg)), yuan(leg.amount_fen)) for leg in legs]
    return Words(
        "，".join(f"{title.zh} {amount}" for title, amount in titled),
        ", ".join(f"{title.en} {amount}" for title, amount in titled),
    )


def _percent(ppm: int) -> str:
    return f"{decimal_of(Fraction(ppm, 10_000))} %"
