"""Campaign terms as values: what a department signs off and publishes, in fen and UTC seconds.

The signed terms are the very bytes of a TOML file, which `terms_parsing` reads; `terms_hash` names that version of
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final, NoReturn, get_args

from quanlian.accounts import funding_account, merchant_account
from quanlian.apportionment import CoFunder, CoFunderKind, FundingPlan, RefundPolicy, ShortfallRule
from quanlian.errors import InvalidInput
from quanlian.refusals import CHINA
from quanlian.regions import matches

ROAMING = ("never", "on-demand", "at-issue")
CHANNELS = ("shop", "online", "delivery", "group-buying")
REFUND_POLICIES: Final[tuple[RefundPolicy, ...]] = get_args(RefundPolicy)
SHORTFALL_RULES: Final[tuple[ShortfallRule, ...]] = get_args(ShortfallRule)
CASCADES = ("borne", "advanced")
COFUNDER_KINDS: Final[tuple[CoFunderKind, ...]] = get_args(CoFunderKind)
LEVELS = ("central", "province", "city", "county", "township")
VOUCHER_KINDS = ("threshold", "full-value", "tiered", "fixed", "rate", "ticket")
MODES = ("first-come", "lottery", "targeted", "application")

VISITORS_LEVERAGE = ("refuse", "warn", "off")
OTHER_DISCOUNTS = ("before",)
MERCHANT_CONDITIONS = ("registered", "in-region", "sound-accounts", "physical-shop", "full-invoice")
MERCHANT_VETOES = ("dishonesty-list", "major-accident")
EVIDENCE = ("invoice", "vin", "registration", "purchase-tax", "trade-in")
_PPM = 1_000_000
_DAY_SECONDS = 86_400
_CHINA_OFFSET_SECONDS = 8 * 3600  # Asia/Shanghai, without summer time since 1991


@dataclass(frozen=True, slots=True)
class Tier:
    """A step of a subsidy table: `amount_fen` for invoices of class `klass` from `from_fen` on, inclusive."""

    klass: str
    from_fen: int
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Attraction:
    """What a joint ticket (联票) opens: a visit costs `share_ppm` of the ticket's price."""

    id: str
    title_zh: str
    title_en: str
    share_ppm: int


@dataclass(frozen=True, slots=True)
class VoucherType:
    """One kind of voucher. `number` is its position in the file, from 1, which is what a token carries.

    Fields that its `kind` has no use for are 0, empty or None. `face_fen` is the amount of a threshold,
    full-value, fixed or ticket voucher; for a ticket it is the amount agreed for one use, 0 where the attraction
    visited has its share of `price_fen`. A ticket for n `uses` stands n times in its pack.
    """

    number: int
    id: str
    title_zh: str
    title_en: str
    kind: str
    categories: frozenset[str]
    face_fen: int = 0
    minimum_spend_fen: int = 0
    tiers: tuple[Tier, ...] = ()
    rate_ppm: int = 0
    cap_fen: int = 0
    price_limit_fen: int | None = None
    uses: int = 1
    price_fen: int = 0
    attractions: tuple[Attraction, ...] = ()

    @property
    def max_discount_fen(self) -> int:
        """The most that one use can cost, which is reserved at issue (money.md, Who pays)."""
        steps = [tier.amount_fen for tier in self.tiers]
        visits = [self.share_fen(attraction) for attraction in self.attractions]
        return max(self.face_fen, self.cap_fen, *steps, *visits)

    def share_fen(self, attraction: Attraction) -> int:
        """What a visit costs: the attraction's share of the ticket's price, rounded down to the fen."""
        return self.price_fen * attraction.share_ppm // _PPM

    @property
    def leverage(self) -> Fraction | None:
        """Minimum spend ÷ face of a threshold voucher (杠杆比: Jincheng plan, part 6), never divided out."""
        if self.kind != "threshold":
            return None
        return Fraction(self.minimum_spend_fen, self.face_fen)


@dataclass(frozen=True, slots=True)
class Pack:
    """What one claim gives. `vouchers` are voucher type ids; a voucher's index in the token is its position
    here.

    Either `valid_days` or `valid_until` is set. `ends_at` is the campaign's end, which no voucher of it
    outlives.
    """

    id: str
    title_zh: str
    title_en: str
    vouchers: tuple[str, ...]
    roaming: str
    valid_days: int | None
    valid_until: int | None
    ends_at: int

    def validity(self, issued_at: int) -> tuple[int, int]:
        """`[not_before, not_after)` in UTC seconds of a pack issued at `issued_at`.

        N days end at 24:00 Asia/Shanghai of day N, the day of the claim being day 1. Validity stops at the
        campaign's end, because what is redeemed during the campaign is what gets settled (Jincheng plan,
        10.2); a later end is the issuer's notice to give. Raises InvalidInput if the pack's validity is over
        before it is issued.
        """
        if self.valid_days is not None:
            today = (issued_at + _CHINA_OFFSET_SECONDS) // _DAY_SECONDS
            until = (today + self.valid_days) * _DAY_SECONDS - _CHINA_OFFSET_SECONDS
        else:
            until = self.ends_at if self.valid_until is None else self.valid_until
        not_after = min(until, self.ends_at)
        if not_after <= issued_at:
            remedy = "close its rounds before then, or issue under terms with a later end"
            raise InvalidInput(f"its validity ended at {written(not_after)}", place=f"pack {self.id}", remedy=remedy)
        return issued_at, not_after


@dataclass(frozen=True, slots=True)
class Group:
    """A population group that vouchers are meant for (对象特定性: Zhejiang proposal)."""

    id: str
    title_zh: str
    title_en: str


@dataclass(frozen=True, slots=True)
class Round:
    """One opening of claims, `[opens_at, closes_at)`.

    `quota`, `per_person` (in the round) and `per_day` (a person and day) count packs. No `groups` is everybody;
    `evidence` is what an application shows.
    """

    id: str
    pack: str
    mode: str
    opens_at: int
    closes_at: int
    quota: int
    per_person: int
    per_day: int | None = None
    groups: frozenset[str] = frozenset()
    evidence: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FunderTerms:
    """A public funder. Weight 0 makes it a backstop that pays only what others lack, under `cascade`."""

    name: str
    title_zh: str
    level: str
    weight: int
    budget_fen: int
    title_en: str = ""


@dataclass(frozen=True, slots=True)
class CoFunderTerms:
    """A platform, bank or merchant that pays `share_ppm` of each discount; a merchant has no budget."""

    kind: CoFunderKind
    name: str
    share_ppm: int
    public_pays_if_dry: bool
    budget_fen: int | None
    title_zh: str = ""
    title_en: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """A campaign as published. Rounds and validity stay inside `[starts_at, ends_at)`, UTC seconds.

    One public voucher per order, and merchant and platform discounts before it, is the rule of the whole network
    (Jincheng plan, 6.2 and 9.2): a file may state it and cannot change it. `visitors_leverage` states how the
    issuing region treats other regions' vouchers; its node's setting decides.
    """

    campaign: str
    title_zh: str
    title_en: str
    issuer: str
    fiscal_year: int
    budget_document: str
    starts_at: int
    ends_at: int
    roaming: str
    regions: tuple[str, ...]
    channels: frozenset[str]
    hold_seconds: int
    refund_policy: RefundPolicy
    minimum_leverage: Fraction | None
    cofunders: tuple[CoFunderTerms, ...]
    funders: tuple[FunderTerms, ...]
    shortfall_rule: ShortfallRule
    cascade: str
    agreement: str | None
    voucher_types: tuple[VoucherType, ...]
    packs: tuple[Pack, ...]
    rounds: tuple[Round, ...]
    terms_hash: bytes
    visitors_leverage: str = "off"
    groups: tuple[Group, ...] = ()
    merchant_conditions: frozenset[str] = frozenset()
    merchant_vetoes: frozenset[str] = frozenset()

    def covers_region(self, code: str) -> bool:
        """Whether vouchers may be used in this region. Raises InvalidInput for an unknown code."""
        return any(matches(scope, code) for scope in self.regions)

    def pack(self, pack_id: str) -> Pack:
        """The pack with this id. Raises InvalidInput if there is none."""
        found = next((pack for pack in self.packs if pack.id == pack_id), None)
        return found or self._lacks("pack", pack_id, self.packs)

    def round(self, round_id: str) -> Round:
        """The round with this id. Raises InvalidInput if there is none."""
        found = next((entry for entry in self.rounds if entry.id == round_id), None)
        return found or self._lacks("round", round_id, self.rounds)

    def voucher_type(self, type_id: str) -> VoucherType:
        """The voucher type with this id. Raises InvalidInput if there is none."""
        found = next((entry for entry in self.voucher_types if entry.id == type_id), None)
        return found or self._lacks("voucher type", type_id, self.voucher_types)

    def funding_plan(self) -> FundingPlan:
        """Accounts, weights and shortfall rule of the public funders, in declared order."""
        return FundingPlan(
            accounts=tuple(self._account(funder.name) for funder in self.funders),
            weights=tuple(funder.weight for funder in self.funders),
            rule=self.shortfall_rule,
            advanced=self.cascade == "advanced",
        )

    def cofunder_plan(self) -> tuple[CoFunder, ...]:
        """The co-funders in declared order; a merchant's region is not known until redemption."""
        return tuple(
            CoFunder(
                kind=cofunder.kind,
                account=merchant_account("", self.fiscal_year, self.campaign)
                if cofunder.kind == "merchant"
                else self._account(cofunder.name),
                share_ppm=cofunder.share_ppm,
                public_pays_if_dry=cofunder.public_pays_if_dry,
            )
            for cofunder in self.cofunders
        )

    def budgets(self) -> dict[str, int]:
        """What each account of a public funder, platform or bank may use in all, in fen."""
        budgets = {self._account(funder.name): funder.budget_fen for funder in self.funders}
        for cofunder in self.cofunders:
            if cofunder.budget_fen is not None:
                budgets[self._account(cofunder.name)] = cofunder.budget_fen
        return budgets

    def _account(self, funder: str) -> str:
        return funding_account(self.issuer, self.fiscal_year, self.campaign, funder)

    def _lacks(self, what: str, name: str, known: Sequence[Pack | Round | VoucherType]) -> NoReturn:
        names = ", ".join(each.id for each in known)
        zh = {"pack": "券包", "round": "轮次", "voucher type": "券种"}[what]
        raise InvalidInput(
            f"没有{zh}{name!r} no {what} {name!r}",
            place=f"campaign {self.campaign}",
            remedy=f"可用 use one of {names}",
        )


def decimal_of(ratio: Fraction) -> str:
    """A ratio as a person writes it: `5`, `3.5`, `3.33…`."""
    hundredths, rest = divmod(ratio.numerator * 100, ratio.denominator)
    whole, cents = divmod(hundredths, 100)
    decimals = f".{cents:02d}".rstrip("0").rstrip(".")
    return f"{whole}{decimals}" if not rest else f"{whole}.{cents:02d}…"


def written(at: int) -> str:
    """An instant as a campaign file writes it, in Beijing time."""
    return datetime.fromtimestamp(at, CHINA).isoformat()


def year_after(at: int) -> int:
    """The same day and hour a year later in Beijing, both in UTC seconds; 1 March after 29 February."""
    day = datetime.fromtimestamp(at, CHINA)
    leap_day = (day.month, day.day) == (2, 29)
    later = day.replace(year=day.year + 1, month=3, day=1) if leap_day else day.replace(year=day.year + 1)
    return at + (later - day) // timedelta(seconds=1)
